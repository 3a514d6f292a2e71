"""What a client asks for when it rents: the body of `PUT /asks/{id}/`, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from uprez.practice.query import number
from uprez.practice.refusal import refuse

LEAST_DISK_GB = 8.0
MOST_TEXT = 4096
"""Characters of args, args_str and onstart together."""
MOST_ONSTART = 4048
MOST_LABEL = 256
MOST_LABEL_LATER = 1024
MOST_IMAGE = 1024
MOST_ENV = 32768
MOST_PORTS = 64
BIDS = (Decimal("0.001"), Decimal(128))


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One request to rent."""

    image: str
    disk_gb: float
    label: str | None
    runtype: str
    onstart: str | None
    args: tuple[str, ...]
    args_str: str | None
    env: Mapping[str, str]
    """Docker flags such as `-p 8080:8080` are keys of it too."""
    bid: Decimal | None
    """USD per hour for the whole offer; None: on demand."""
    cancel_unavail: bool
    stopped: bool
    """Make it, but do not start it."""

    def variables(self) -> dict[str, str]:
        """Give what becomes the container's environment."""
        return {name: value for name, value in self.env.items() if not name.startswith("-")}

    def ports(self) -> list[str]:
        """Give the container's ports that are to be open, such as 8080/tcp."""
        wanted = [name.split()[-1].split(":")[-1] for name in self.env if name.startswith("-p ")]
        return [port if "/" in port else f"{port}/tcp" for port in wanted]


def parse(body: Mapping[str, object]) -> Launch:
    """Check the body of a create call; raises Refusal."""
    image = body.get("image")
    if not isinstance(image, str) or not 0 < len(image) <= MOST_IMAGE:
        raise _bad("image must be a text of 1 to 1024 characters")
    label = check_label(body.get("label"), MOST_LABEL, "invalid_args")
    onstart, args, args_str = _text(body, "onstart"), _args(body), _text(body, "args_str")
    size = sum(map(len, (*args, args_str or "", onstart or "")))
    if size > MOST_TEXT or len(onstart or "") > MOST_ONSTART:
        raise _bad(f"args, args_str and onstart are {size} characters, the maximum is {MOST_TEXT}")
    bid = None if body.get("price") is None else check_bid(body["price"])
    stopped = body.get("target_state") == "stopped"
    cancel = body.get("cancel_unavail")
    return Launch(
        image=image,
        disk_gb=_disk(body.get("disk")),
        label=label,
        runtype=str(body.get("runtype") or ("args" if args or args_str else "ssh")),
        onstart=onstart,
        args=args,
        args_str=args_str,
        env=_env(body.get("env")),
        bid=bid,
        cancel_unavail=bool(cancel) if cancel is not None else bid is None and not stopped,
        stopped=stopped,
    )


def check_bid(price: object) -> Decimal:
    """Read a bid; raises Refusal."""
    value = number(price)
    if value is None or not BIDS[0] <= Decimal(str(value)) <= BIDS[1]:
        raise refuse(400, "invalid_price", "Please set a bid price >= 0.001.")
    return Decimal(str(value))


def check_label(label: object, most: int, error: str) -> str | None:
    """Read a label; raises Refusal."""
    if label is None or label == "":
        return None
    if not isinstance(label, str) or len(label) > most:
        raise refuse(400, error, f"label must be a text of at most {most} characters")
    return label


def _bad(msg: str) -> Exception:
    return refuse(400, "invalid_args", msg)


def _text(body: Mapping[str, object], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise _bad(f"{name} must be a text")
    return value or None


def _args(body: Mapping[str, object]) -> tuple[str, ...]:
    args = body.get("args")
    if args is None:
        return ()
    if not isinstance(args, list) or not all(isinstance(each, str) for each in args):
        raise _bad("args must be a list of texts")
    return tuple(args)


def _disk(disk: object) -> float:
    value = LEAST_DISK_GB if disk is None else number(disk)
    if value is None or value <= 0:
        raise _bad("disk must be a number of GB")
    return max(value, LEAST_DISK_GB)


def _env(env: object) -> dict[str, str]:
    if not isinstance(env, dict):
        return {}  # as the real server: a text is ignored without a word
    given = {str(name): str(value) for name, value in env.items()}
    if sum(len(name) + len(value) for name, value in given.items()) > MOST_ENV:
        raise _bad(f"env is longer than {MOST_ENV} characters")
    if sum(name.startswith("-p ") for name in given) > MOST_PORTS:
        raise _bad(f"env opens more than {MOST_PORTS} ports")
    return given
