"""Server-side copies that appear under a person's name: pinned, noted as ours, and never made twice."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from typing import Any

from uprez.job import Pin
from uprez.store import multipart, s3
from uprez.store.base import Meta, Uploads
from uprez.store.requests import NOTE, Requests, content_type, patiently


def same(found: Meta | None, pin: Pin) -> bool:
    """Say whether an object is a copy that we made of a pinned one: by its size and our note."""
    return found is not None and (found.size, found.note) == (pin.size, pin.sha256)


def whole(source: Requests, pin: Pin, at: Requests, name: str, *, alone: bool) -> None:
    """Copy in one request; S3 allows that up to 5 GB. `alone`: raises FileExistsError if the name is taken by then."""

    def copy(condition: dict[str, str]) -> None:
        at.once(
            "copy_object",
            slow=True,
            Key=at.full(name),
            **_pinned(source, pin),
            Metadata={NOTE: pin.sha256},
            MetadataDirective="REPLACE",
            ContentType=content_type(name),
            **condition,
        )

    _decided(lambda: _conditionally(copy, alone), at, name, pin)


def in_parts(
    source: Requests,
    pin: Pin,
    at: Requests,
    name: str,
    *,
    alone: bool,
    part_bytes: int,
    store: str,
    uploads: Uploads,
) -> None:
    """Copy range by range into a multipart upload, which `uploads` remembers as one of `store` until it has ended."""
    number = uploads.intend(store, name)
    upload = multipart.begin(at, name, Metadata={NOTE: pin.sha256})
    uploads.began(number, upload)
    try:
        count = -(-pin.size // part_bytes)
        parts = [_part(source, pin, at, name, upload, part, part_bytes) for part in range(1, count + 1)]

        def complete(condition: dict[str, str]) -> None:
            which = {"Key": at.full(name), "UploadId": upload}
            at.once("complete_multipart_upload", slow=True, **which, MultipartUpload={"Parts": parts}, **condition)

        _decided(lambda: _conditionally(complete, alone), at, name, pin)
    except BaseException:  # also Ctrl-C: what has begun is billed until it is aborted
        with contextlib.suppress(*s3.failures()):  # then the record stays, and the next start aborts it
            multipart.abort(at, name, upload)
            uploads.ended(number)
        raise
    uploads.ended(number)


def _part(
    source: Requests, pin: Pin, at: Requests, name: str, upload: str, part: int, part_bytes: int
) -> dict[str, Any]:
    start = (part - 1) * part_bytes
    end = min(start + part_bytes, pin.size) - 1
    which = {"UploadId": upload, "PartNumber": part, "CopySourceRange": f"bytes={start}-{end}"}
    answer = at.call("upload_part_copy", name, slow=True, **_pinned(source, pin), **which)
    return {"PartNumber": part, "ETag": answer["CopyPartResult"]["ETag"]}


def _conditionally(act: Callable[[dict[str, str]], None], alone: bool) -> None:
    """Let a copy appear only where nothing is: a look beforehand leaves the minutes that the copy takes.

    A store that does not know the condition is asked without it: then the look has to do.
    """
    try:
        act({"IfNoneMatch": "*"} if alone else {})
    except s3.errors().ClientError as error:
        if not alone or not s3.ignorant(error):
            raise
        act({})


def _pinned(source: Requests, pin: Pin) -> dict[str, Any]:
    """Name a pinned object as the source of a copy: by its version, or else only while it has this ETag."""
    named = {"Bucket": source.bucket, "Key": source.full(pin.key)}
    if pin.version:
        return {"CopySource": {**named, "VersionId": pin.version}}
    return {"CopySource": named, "CopySourceIfMatch": f'"{pin.etag}"'}


def _decided(act: Callable[[], None], at: Requests, name: str, pin: Pin) -> None:
    """Do what makes `name` appear; whether a try whose answer was lost did it, is looked up before another."""

    def once() -> None:
        try:
            act()
        except s3.failures() as error:
            taken = s3.status(error) in (409, 412) and not s3.absent(error)
            # absent: completed by a try whose answer was lost
            if not s3.passing(error) and not s3.absent(error) and not taken:
                raise
            found = at.head(name)
            if same(found, pin):
                return
            if taken and found is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), at.shown(name)) from error
            raise

    patiently(once)
