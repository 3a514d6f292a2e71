"""Requests for objects below one prefix of a bucket: keys, tries and listings in one place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from uprez.config.settings import Access
from uprez.http.retry import tried
from uprez.store import s3, sign
from uprez.store.base import Meta

NOTE = "uprez-sha256"
"""User metadata in which the SHA-256 of a published output stands."""
TRIES = 5
TRIES_S = 120.0
"""Seconds after which nothing is tried again."""

_MARKS = {
    "list_objects_v2": {"ContinuationToken": "NextContinuationToken"},
    "list_object_versions": {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"},
    "list_multipart_uploads": {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"},
}
"""How each listing is told where to go on, and where its page says so."""

_TYPES = {
    ".avi": "video/x-msvideo",
    ".json": "application/json",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mp4": "video/mp4",
    ".txt": "text/plain; charset=utf-8",
    ".webm": "video/webm",
}
"""Content types by suffix; not the system's table, which differs from one machine to the next."""

_Result = TypeVar("_Result")


class Requests:
    """Sends what it is told to a bucket; failures are botocore's until `named` makes them StoreError."""

    def __init__(
        self, access: Access, bucket: str, prefix: str, *, connect_s: float, read_s: float, copy_s: float
    ) -> None:
        self.access = access
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.connection = s3.connect(access, connect_s=connect_s, read_s=read_s)
        self._slow = s3.connect(access, connect_s=connect_s, read_s=copy_s)

    @property
    def skew_s(self) -> float:
        """The store's clock minus ours, by its last answer; 0 while they agree or nothing is known."""
        return self.connection.skew_s

    def call(self, operation: str, key: str, *, slow: bool = False, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401
        """Send a request for an object, again while that may help."""
        return patiently(lambda: self.once(operation, slow=slow, Key=self.full(key), **parameters))

    def ask(self, operation: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401
        """Send a request about the bucket, again while that may help."""
        return patiently(lambda: self.once(operation, **parameters))

    def once(self, operation: str, *, slow: bool = False, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401
        """Send a request once; a `slow` one is answered when the server has copied gigabytes.

        One that was refused and showed that the store's clock is another than was thought is sent again, dated by it.
        """
        connection = self._slow if slow else self.connection
        believed_s = connection.skew_s
        try:
            answer: dict[str, Any] = getattr(connection.client, operation)(Bucket=self.bucket, **parameters)
        except s3.errors().ClientError:
            if abs(connection.skew_s - believed_s) < s3.AGREED_S:
                raise
            answer = getattr(connection.client, operation)(Bucket=self.bucket, **parameters)
        return answer

    def head(self, key: str) -> Meta | None:
        """Say what is under a key; None when nothing is."""
        try:
            answer = self.call("head_object", key)
        except s3.errors().ClientError as error:
            if s3.absent(error):
                return None
            if not s3.passing(error):  # the answer to a HEAD has no words: a GET is told what is wrong
                self.call("get_object", key, Range="bytes=0-0")
            raise
        return Meta(
            key=key,
            size=answer["ContentLength"],
            etag=bare(answer.get("ETag")),
            version=version(answer),
            modified=answer.get("LastModified"),
            note=answer.get("Metadata", {}).get(NOTE),
        )

    def pages(self, operation: str, prefix: str) -> Iterator[dict[str, Any]]:
        """Give the pages of a listing to the last."""
        marks: dict[str, str] = {}
        while True:
            page = self.ask(operation, Prefix=prefix, **marks)
            yield page
            if not page.get("IsTruncated"):
                return
            marks = {ask: page[said] for ask, said in _MARKS[operation].items() if page.get(said)}

    def shown(self, key: str | None) -> str:
        """Name an object for people: s3://bucket/key."""
        return f"s3://{self.bucket}" if key is None else f"s3://{self.bucket}/{self.full(key)}"

    def named(self, verb: str, key: str | None) -> contextlib.AbstractContextManager[None]:
        """Say in an error what was to be done, and with what."""
        return s3.named(f"{verb} {self.shown(key)}", lambda: self.skew_s, sign.endpoint(self.access))

    def full(self, key: str) -> str:
        """Give the key in the bucket of a key below the prefix."""
        return f"{self.prefix}/{key}" if self.prefix else key

    def relative(self, key: str) -> str:
        """Give it back."""
        return key[len(self.prefix) + 1 :] if self.prefix else key


def patiently(once: Callable[[], _Result]) -> _Result:
    """Try a request again while that may help; raises botocore's last failure."""
    return tried(once, s3.passing, tries=TRIES, total_s=TRIES_S)


def content_type(name: str) -> str:
    """Give the content type of an object by its name's suffix."""
    return _TYPES.get(os.path.splitext(name)[1].lower(), "application/octet-stream")  # noqa: PTH122 # a key is no path


def bare(etag: str | None) -> str:
    """Give an ETag without its quotes."""
    return (etag or "").strip('"')


def version(answer: dict[str, Any]) -> str | None:
    """Give the version that an answer names; "null" is that of a bucket which keeps none."""
    found = answer.get("VersionId")
    return None if found in (None, "null") else str(found)
