"""A prefix of an S3-compatible bucket as a store, over botocore's client and no other.

No checksum header is ever sent: B2 refuses them. Most requests are repeated blindly; what must not be (`copy`, and the
beginning of an upload in `multipart`) looks first at what the try without an answer has left.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from uprez import http
from uprez.config.settings import Access
from uprez.errors import FetchError, StoreError
from uprez.job import Pin
from uprez.sheet import Upload
from uprez.store import copy, multipart, s3, sign
from uprez.store.base import Meta, Store, Uploads
from uprez.store.multipart import Begun, Unfinished
from uprez.store.requests import Requests, bare, content_type, patiently, version

SMALL = 16 << 20
"""Bytes of the largest object that is read whole."""
COPY_BYTES = 5_000_000_000
"""Largest object that is copied in one request; B2 counts its 5 GB in powers of ten."""
COPY_PART_BYTES = 1 << 30
MOST_PARTS = 10_000


class BucketStore:
    """Objects below a prefix of a bucket; safe to use from several threads."""

    def __init__(
        self,
        access: Access,
        bucket: str,
        prefix: str = "",
        *,
        connect_s: float = 10.0,
        read_s: float = 60.0,
        copy_s: float = 600.0,
        copy_bytes: int = COPY_BYTES,
        copy_part_bytes: int = COPY_PART_BYTES,
    ) -> None:
        self._at = Requests(access, bucket, prefix, connect_s=connect_s, read_s=read_s, copy_s=copy_s)
        self.bucket, self.prefix = bucket, self._at.prefix
        self.url = f"s3://{bucket}/{self.prefix}".rstrip("/")
        self._limits = http.Limits(connect_s=connect_s, read_s=read_s)
        self._copy_bytes, self._copy_part_bytes = copy_bytes, copy_part_bytes
        self._conditional = True
        """Whether this store knows If-None-Match on a write; B2 does not."""

    @property
    def skew_s(self) -> float:
        """The store's clock minus ours, by its last answer; 0 while they agree to the second or nothing is known."""
        return self._at.skew_s

    def read(self, key: str) -> bytes | None:
        """Give a small object's bytes; None when there is none."""

        def once() -> bytes:
            body = self._at.once("get_object", Key=self._at.full(key))["Body"]
            with contextlib.closing(body):
                data = bytes(body.read(SMALL + 1))
            if len(data) > SMALL:  # whoever holds a signed URL may have written anything
                raise StoreError(f"{self.shown(key)} is larger than {SMALL >> 20} MiB: not a record of uprez")
            return data

        with self._named("read", key):
            try:
                return patiently(once)
            except s3.errors().ClientError as error:
                if s3.absent(error):
                    return None
                raise

    def head(self, key: str) -> Meta | None:
        """Say what is under a key; None when nothing is."""
        with self._named("look at", key):
            return self._at.head(key)

    def write(self, key: str, data: bytes) -> Meta:
        """Write a small object, in place of what was there."""
        with self._named("write", key):
            answer = self._at.call("put_object", key, Body=data, ContentType=content_type(key))
        return Meta(key=key, size=len(data), etag=bare(answer.get("ETag")), version=version(answer))

    def create(self, key: str, data: bytes) -> bool:
        """Write a small object only if there is none of that name; says whether this call (or a lost one before) did.

        Equal bytes under that name are taken for those of a write whose answer was lost.
        """
        with self._named("create", key):
            if self._conditional:
                made = self._create(key, data)
                if made is not None:
                    return made or self.read(key) == data
            if self.head(key) is not None:
                return self.read(key) == data
            self.write(key, data)
        return True

    def _create(self, key: str, data: bytes) -> bool | None:
        """Write if there is nothing; None where the store does not know how to."""
        try:
            self._at.call("put_object", key, Body=data, ContentType=content_type(key), IfNoneMatch="*")
        except s3.errors().ClientError as error:
            if s3.status(error) in (409, 412):
                return False
            if s3.ignorant(error):
                self._conditional = False
                return None
            raise
        return True

    def listing(self, prefix: str = "") -> Iterator[Meta]:
        """List what lies under keys that begin with `prefix`, in no order; all of it, or StoreError."""
        with self._named("list", prefix):
            for page in self._at.pages("list_objects_v2", self._at.full(prefix)):
                for entry in page.get("Contents", ()):
                    yield Meta(
                        key=self._at.relative(entry["Key"]),
                        size=entry["Size"],
                        etag=bare(entry.get("ETag")),
                        modified=entry.get("LastModified"),
                    )

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects with all their versions and delete markers; an absent one is success."""
        wanted = sorted({self._at.full(key) for key in keys})
        for start in range(0, len(wanted), 1000):
            self._delete(wanted[start : start + 1000])

    @contextlib.contextmanager
    def local(self, meta: Meta | Pin) -> Iterator[Path]:
        """Lend an object as a temporary file, which must not be changed.

        Raises StoreError when the object is no longer the one that `meta` describes.
        """
        with tempfile.TemporaryDirectory(prefix="uprez-") as folder:
            path = Path(folder) / "object"
            self._download(meta, path)
            yield path

    def get_url(self, key: str, *, seconds: float, version: str | None = None) -> str:
        """Give a URL by which anybody may read this object for so long."""
        return self._signed("GET", key, seconds, {"versionId": version} if version else {})

    def put_url(self, key: str, *, seconds: float) -> str:
        """Give a URL by which anybody may write this object for so long."""
        return self._signed("PUT", key, seconds, {})

    def place(self, source: Store, pin: Pin, name: str, *, replace: bool, uploads: Uploads) -> Meta:
        """Give a pinned object of `source`, which lies in the same bucket, a name in this store.

        A copy that the server makes, with our SHA-256 noted on it, so that a rerun knows it for ours. Raises
        FileExistsError when the name is taken by anything else, unless `replace`.
        """
        if not isinstance(source, BucketStore) or source.bucket != self.bucket:
            raise ValueError(f"{source.url} is not in the bucket of {self.url}")
        found = self.head(name)
        if found and copy.same(found, pin):
            return found
        if found and not replace:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.shown(name))
        with self._named("publish", name):
            if pin.size <= self._copy_bytes:
                copy.whole(source._at, pin, self._at, name, alone=not replace)
            else:
                part_bytes, store = self._copy_part_bytes, self.url
                copy.in_parts(
                    source._at,
                    pin,
                    self._at,
                    name,
                    alone=not replace,
                    part_bytes=part_bytes,
                    store=store,
                    uploads=uploads,
                )
        placed = self.head(name)
        if not placed or not copy.same(placed, pin):
            size = f"has {placed.size} bytes" if placed else "is gone"
            raise StoreError(f"{self.shown(name)} {size} after it was published; {pin.size} were copied")
        return placed

    def begin_upload(self, key: str, uploads: Uploads) -> Begun:
        """Begin a multipart upload, recorded before and after; abort_upload or its own URLs end it."""
        number = uploads.intend(self.url, key)
        with self._named("begin an upload of", key):
            upload = multipart.begin(self._at, key)
        uploads.began(number, upload)
        return Begun(number=number, upload=upload)

    def upload(self, key: str, upload: str, *, size: int, part_bytes: int, seconds: float) -> Upload:
        """Sign all that a machine without keys needs to send at most `size` bytes into an upload and to end it.

        Raises ValueError when that would take more parts than S3 allows.
        """
        count = max(1, -(-size // part_bytes))
        if count > MOST_PARTS:
            raise ValueError(f"{size} bytes in parts of {part_bytes} are {count} parts: at most {MOST_PARTS} may be")
        return Upload(
            part_bytes=part_bytes,
            part_urls=tuple(
                self._signed("PUT", key, seconds, {"partNumber": number, "uploadId": upload})
                for number in range(1, count + 1)
            ),
            complete_url=self._signed("POST", key, seconds, {"uploadId": upload}),
            abort_url=self._signed("DELETE", key, seconds, {"uploadId": upload}),
        )

    def abort_upload(self, key: str, upload: str) -> None:
        """Give an upload up, with the parts it has; one that has ended already is success."""
        with self._named("abort the upload of", key):
            multipart.abort(self._at, key, upload)

    def uploads(self, prefix: str = "") -> Iterator[Unfinished]:
        """List the multipart uploads under keys that begin with `prefix` and have not ended."""
        with self._named("list the uploads of", prefix):
            yield from multipart.listed(self._at, prefix)

    def versioning(self) -> bool:
        """Say whether the bucket keeps (or once kept) older versions: what is overwritten then goes on being billed."""
        with self._named("read the versioning of", None):
            return "Status" in self._at.ask("get_bucket_versioning")

    def has_lifecycle(self) -> bool:
        """Say whether a lifecycle rule is set that may remove old versions."""
        with self._named("read the lifecycle rules of", None):
            try:
                answer = self._at.ask("get_bucket_lifecycle_configuration")
            except s3.errors().ClientError as error:
                if s3.code(error) == "NoSuchLifecycleConfiguration":
                    return False
                raise
        return any(rule.get("Status") == "Enabled" for rule in answer.get("Rules", ()))

    def shown(self, key: str | None) -> str:
        """Name an object for people: s3://bucket/key."""
        return self._at.shown(key)

    def _delete(self, keys: list[str]) -> None:
        with self._named("delete", self._at.relative(keys[0])):
            doomed = [entry for group in _groups(keys) for entry in self._versions(*group)] if self._keeps else []
            doomed += [{"Key": key} for key in keys if not self._keeps]
            for start in range(0, len(doomed), 1000):
                batch = {"Objects": doomed[start : start + 1000], "Quiet": True}
                refused = self._at.ask("delete_objects", Delete=batch).get("Errors", ())
                for entry in refused:
                    raise s3.refused(f"delete s3://{self.bucket}/{entry['Key']}", entry, self.skew_s)

    @cached_property
    def _keeps(self) -> bool:
        """Whether old versions have to be looked for; without the right to ask, they have."""
        try:
            return self.versioning()
        except StoreError:
            return True

    def _versions(self, prefix: str, keys: frozenset[str]) -> Iterator[dict[str, str]]:
        for page in self._at.pages("list_object_versions", prefix):
            entries = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            for entry in entries:
                if entry["Key"] in keys:
                    yield {"Key": entry["Key"], "VersionId": entry["VersionId"]}
            if entries and min(entry["Key"].encode() for entry in entries) > max(key.encode() for key in keys):
                return  # listed in the order of keys: what follows are others that only begin alike

    def _download(self, meta: Meta | Pin, path: Path) -> None:
        what = self.shown(meta.key)
        url = self.get_url(meta.key, seconds=sign.LONGEST_S, version=meta.version)
        try:
            sha256 = http.download(url, path, etag=f'"{meta.etag}"', most=meta.size, limits=self._limits)
        except FetchError as error:
            raise self._fetch_failed(what, error) from error
        except OSError as error:
            raise StoreError(f"cannot keep a copy of {what}: {error.strerror}", hint="is the disk full?") from error
        if path.stat().st_size != meta.size or (isinstance(meta, Pin) and sha256 != meta.sha256):
            raise StoreError(f"{what} is not the object that was pinned: its bytes differ")

    def _fetch_failed(self, what: str, error: FetchError) -> StoreError:
        if error.status in (404, 412):
            return StoreError(f"{what} is gone or has changed since it was pinned")
        return error

    def _signed(self, method: str, key: str, seconds: float, query: dict[str, str | int]) -> str:
        where = (self.bucket, self._at.full(key))
        return sign.presign(self._at.access, method, *where, seconds=seconds, query=query, skew_s=self.skew_s)

    def _named(self, verb: str, key: str | None) -> contextlib.AbstractContextManager[None]:
        return self._at.named(verb, key)


def _groups(keys: list[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Group keys for listing their versions: many of one folder at once, a few one by one."""
    folders: dict[str, list[str]] = {}
    for key in keys:
        folders.setdefault(key.rpartition("/")[0], []).append(key)
    for folder, names in folders.items():
        if folder and len(names) > 3:
            yield f"{folder}/", frozenset(names)
        else:
            yield from ((name, frozenset({name})) for name in names)
