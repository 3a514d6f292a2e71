"""How the market says no: a status and the body that goes with it."""

from __future__ import annotations

from collections.abc import Mapping


class Refusal(Exception):  # noqa: N818  an answer to the client, not a failure of ours
    """An answer that is not success; `body` is sent as JSON, or as it is when it is text."""

    def __init__(
        self, status: int, body: Mapping[str, object] | str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body
        self.headers = headers or {}


def refuse(status: int, error: str, msg: str, **more: object) -> Refusal:
    """Make a refusal in the market's usual form."""
    return Refusal(status, {"success": False, "error": error, "msg": msg, **more})


def no_such_instance(instance: int) -> Refusal:
    """Say that an instance is not there (any more)."""
    return refuse(404, "no_such_instance", f"Instance {instance} not found.")
