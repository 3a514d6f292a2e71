"""The environment of a rented machine, made by pip from pins."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from uprez import packing
from uprez.market import install
from uprez.market.gpu import PROVIDERS
from uprez.market.install import InstallError, Traffic

PIP = """\
Collecting numpy==2.4.6 (from -r requirements.txt (line 7))
  Downloading numpy-2.4.6-cp311-cp311-manylinux_2_28_x86_64.whl (20.0 MB)
Collecting six==1.17.0 (from -r requirements.txt (line 9))
  Downloading six-1.17.0-py2.py3-none-any.whl (11 kB)
Requirement already satisfied: mdurl==0.1.2 in /x
Processing ./uprez-0.1.0-py3-none-any.whl
  Downloading nvidia_cublas-13.whl (1.1 GB)
Installing collected packages: numpy
"""


def test_what_pip_fetches_is_counted() -> None:
    """The sizes that pip prints add up; large files, from their line to the next, give the speed of the line."""
    traffic = Traffic()
    for second, line in enumerate(PIP.splitlines()):
        traffic.line(line, 2.0 * second)
    assert traffic.down_bytes == 20_000_000 + 11_000 + 1_100_000_000
    assert traffic.mbps == 2240.0  # 1,120 MB in 4 s
    assert Traffic().mbps is None


def test_words_of_pip_lose_their_secrets() -> None:
    """No signature, token or password stays in what is shown of an error."""
    text = "GET https://me:pw@host/a?X-Amz-Credential=AK&X-Amz-Signature=abc&x=1 token=t0 failed"
    assert (
        install.redacted(text) == "GET https://...host/a?X-Amz-Credential=...&X-Amz-Signature=...&x=1 token=... failed"
    )


@pytest.mark.parametrize("provider", PROVIDERS)
def test_pins_have_hashes_and_name_no_place(provider: str) -> None:
    """Each provider has its pins: exact, hashed, from wherever the machine fetches."""
    text = install.pins(provider).decode()
    lines = text.replace("\\\n", " ").splitlines()
    assert "://" not in text
    assert all(re.fullmatch(r"[a-z0-9._-]+==\S+( *--hash=sha256:[0-9a-f]{64})+", line) for line in lines)


def test_pins_are_the_versions_of_development() -> None:
    """What rented machines run is what was tested here; only what differs by GPU is theirs alone."""
    repo = Path(__file__).resolve().parents[2]
    ours = set(re.findall(r"^([a-z0-9._-]+==[^ ;]+)", (repo / "requirements" / "dev.txt").read_text(), re.MULTILINE))
    extra = {}
    for provider in PROVIDERS:
        theirs = set(re.findall(r"^([a-z0-9._-]+==\S+)", install.pins(provider).decode(), re.MULTILINE))
        extra[provider] = {pin.partition("==")[0] for pin in theirs - ours}
        assert ("onnxruntime" in {pin.partition("==")[0] for pin in theirs}) == (provider != "cuda")
    assert extra["cpu"] == set()
    assert extra["tensorrt-rtx"] == {"onnxruntime-ep-nv-tensorrt-rtx-cu12"}
    assert extra["webgpu"] == {"onnxruntime-ep-webgpu"}
    assert "onnxruntime-gpu" in extra["cuda"]
    assert all(name == "onnxruntime-gpu" or name.startswith("nvidia-") for name in extra["cuda"])


def test_pins_cover_what_the_wheel_needs() -> None:
    """The wheel is installed without its dependencies: the pins hold each of them, but pip and the CPU's own."""
    import tomllib

    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[<>=; ]", each)[0].lower().replace("_", "-") for each in project["dependencies"]}
    for provider in PROVIDERS:
        pinned = set(re.findall(r"^([a-z0-9._-]+)==", install.pins(provider).decode(), re.MULTILINE))
        left_out = {"cpu": set(), "cuda": {"onnxruntime"}}.get(provider, set())
        left_out |= {"pip"} if provider == "cpu" else {"pip", "onnxruntime-ep-openvino"}
        assert needed - pinned == left_out


def test_a_package_that_cannot_be_had_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip says reaches the message, and no stamp is left."""
    monkeypatch.setenv("HOME", str(tmp_path))  # pip asks rustc for its version, and rustup's writes there
    packed = packing.pack_installed()
    wheel = tmp_path / packed.name
    wheel.write_bytes(packed.data)
    with pytest.raises(InstallError, match=r"pip ended with 1: .*no-such-package"):
        install.install(tmp_path, wheel, b"no-such-package==1 --hash=sha256:" + b"0" * 64)
    assert not list((tmp_path / "venv").glob("whole-*"))


def test_what_a_killed_install_left_is_made_anew_and_a_whole_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap 27: a container that is started again finds its folders, and neither trips over them nor trusts them."""
    ran: list[list[str]] = []
    monkeypatch.setattr(install, "_run", lambda command, *_: (ran.append(command), (venv / "bin").mkdir(parents=True)))
    venv, wheel = tmp_path / "venv", tmp_path / "uprez.whl"
    wheel.write_bytes(b"wheel")
    (venv / "bin").mkdir(parents=True)
    monkeypatch.setattr(install, "_make", lambda *_: ["pip"])
    install.install(tmp_path, wheel, b"")
    assert len(ran) == 1
    install.install(tmp_path, wheel, b"")
    assert len(ran) == 1, "a whole one stays"
    install.install(tmp_path, wheel, b"other pins")
    assert len(ran) == 2, "other pins are another environment"
