"""Typed JSON: how the dataclasses of `job`, `sheet` and `status` leave a machine and are checked on the next."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from uprez.errors import WorkerError

T = TypeVar("T")


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast("type[Any]", kind))


def dump(record: object) -> bytes:
    """Write a record as one line of JSON; fractions become strings such as "24000/1001"."""
    data: bytes = _adapter(cast("Hashable", type(record))).dump_json(record)
    return data


def load(kind: type[T], data: bytes, *, where: str) -> T:
    """Read and check a record.

    Raises WorkerError, naming `where` and the first field that is wrong.
    """
    try:
        record: T = _adapter(cast("Hashable", kind)).validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole document"
        raise WorkerError(f"{where} is not a valid {kind.__name__}: {place}: {first['msg']}") from error
    return record
