"""Multipart uploads: begun once, listed, given up. What is neither completed nor aborted is billed for ever."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from uprez.store import s3
from uprez.store.requests import Requests, content_type, patiently


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A multipart upload that takes parts."""

    number: int
    """Of its record in the ledger."""
    upload: str
    """The id that the store gave it."""


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """A multipart upload that is neither completed nor aborted."""

    key: str
    upload: str
    begun: datetime | None


def begin(at: Requests, key: str, **parameters: Any) -> str:  # noqa: ANN401
    """Begin an upload; one begun by a try whose answer was lost is found in the list and used."""
    before = _under(at, key)

    def once() -> str:
        try:
            answer = at.once("create_multipart_upload", Key=at.full(key), ContentType=content_type(key), **parameters)
        except s3.failures() as error:
            lost = _under(at, key) - before if s3.passing(error) else ()
            if not lost:
                raise
            return min(lost)
        return str(answer["UploadId"])

    return patiently(once)


def listed(at: Requests, prefix: str) -> Iterator[Unfinished]:
    """List the uploads under keys that begin with `prefix` and have not ended."""
    for page in at.pages("list_multipart_uploads", at.full(prefix)):
        for entry in page.get("Uploads", ()):
            yield Unfinished(key=at.relative(entry["Key"]), upload=entry["UploadId"], begun=entry.get("Initiated"))


def abort(at: Requests, key: str, upload: str) -> None:
    """Give an upload up, with the parts it has; one that has ended already is success."""
    try:
        at.call("abort_multipart_upload", key, UploadId=upload)
    except s3.errors().ClientError as error:
        if not s3.absent(error):
            raise


def _under(at: Requests, key: str) -> frozenset[str]:
    return frozenset(entry.upload for entry in listed(at, key) if entry.key == key)
