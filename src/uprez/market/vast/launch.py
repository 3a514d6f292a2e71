"""What a rented machine is started with: what it runs first, and its environment. Neither holds a secret of ours."""

from __future__ import annotations

from importlib import resources

from uprez.market.base import QUIET

ENTRYPOINT = "/bin/bash"
LINGER_S = 60
"""Between the end of the work and the end of the machine, so that the controller can read its last lines."""
NO_PYTHON = "no Python 3.11 or later in this image"
"""The reason in the status of a machine whose image is of no use: every other machine would say the same."""
CAPABILITIES = "compute,video,utility"
"""What of the driver the container sees: CUDA, NVENC and NVDEC, nvidia-smi."""


def runner() -> str:
    """Give the text of remote_runner.sh as it is sent: without comments and empty lines."""
    text = resources.files("uprez.market.vast").joinpath("remote_runner.sh").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    return "\n".join(lines)


def arguments() -> tuple[str, ...]:
    """Give the arguments of ENTRYPOINT."""
    return ("-c", runner())


def environment(
    *,
    lease: str,
    boot_url: str,
    life_s: float,
    hard_life_s: float,
    base_url: str,
    bucket: str = "",
    endpoint: str = "",
    linger_s: float = LINGER_S,
) -> dict[str, str]:
    """Give the environment of a machine.

    It has `life_s` seconds from its first start unless the worker renews its lease, and `hard_life_s` whatever happens.
    The boot URL is the only thing in it that opens anything; bucket and endpoint are for people who look.
    """
    given = {
        "UPREZ_LEASE": lease,
        "UPREZ_BOOT_URL": boot_url,
        "UPREZ_LIFE_S": str(int(life_s)),
        "UPREZ_HARD_S": str(int(hard_life_s)),
        "UPREZ_LINGER_S": str(int(linger_s)),
        "VAST_URL": base_url.rstrip("/"),
        "B2_BUCKET": bucket,
        "B2_ENDPOINT": endpoint,
        "NVIDIA_DRIVER_CAPABILITIES": CAPABILITIES,
        **QUIET,
    }
    return {name: value for name, value in given.items() if value}
