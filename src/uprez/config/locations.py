"""Where inputs are and outputs go: a text becomes a folder here, a part of a bucket, or a URL."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from uprez.config import kinds
from uprez.config.settings import Location
from uprez.errors import UsageError

INPUT, OUTPUT = "input/", "output/"
"""Where a bucket's videos are, and where the results go, unless something else is said."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_BACKBLAZE = re.compile(r"s3\.([a-z0-9-]+)\.backblazeb2\.com")


def locate(text: str, bucket: str | None, where: str) -> Location:
    """Say where a text points; `where` begins the messages of UsageError.

    A URL says it itself. A path that begins with `/`, `.` or `~` is on this machine, and so is every path while no
    bucket is set; with one, any other name is a key or a prefix in it.
    """
    scheme = _SCHEME.match(text)
    if scheme:
        return _from_url(text, scheme.group()[:-3].lower(), where)
    if bucket is None or text.startswith(("/", ".", "~")):
        return Location(text=text, folder=_path(text, where))
    return Location(text=text, bucket=bucket, key=_key(text, text, where))


def input_folder(text: str, bucket: str | None, where: str) -> Location:
    """Say where to search for videos; in a bucket, one bare word is a prefix below `input/`."""
    found = locate(text, bucket, where)
    if found.url is not None:
        raise UsageError(f"{where} {shown(text)} is a URL, which cannot be searched", hint="one video: --input URL")
    if found.bucket is None:
        return found
    bare = not _SCHEME.match(text) and "/" not in text and f"{text}/" != INPUT
    return _prefix(found, INPUT if bare else "")


def output_folder(text: str, bucket: str | None, where: str) -> Location:
    """Say where results go."""
    found = locate(text, bucket, where)
    if found.url is not None:
        raise UsageError(f"{where} {shown(text)} is a URL, which cannot be written to", hint="a folder or a bucket")
    return found if found.bucket is None else _prefix(found)


def region_of(endpoint: str | None) -> str | None:
    """Read the region off a Backblaze endpoint: https://s3.<region>.backblazeb2.com."""
    found = _BACKBLAZE.fullmatch(kinds.scheme_and_host(endpoint or "")[1])
    return found.group(1) if found else None


def shown(url: str) -> str:
    """Give a URL without user, query and fragment, which may hold a key."""
    if not _SCHEME.match(url):
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return "that URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _from_url(text: str, scheme: str, where: str) -> Location:
    if scheme in ("http", "https"):
        if not kinds.scheme_and_host(text)[1]:
            raise UsageError(f"{where} {shown(text)} names no host")
        return Location(text=shown(text), url=text)
    rest = text[len(scheme) + 3 :]
    if scheme == "file":
        host, _, path = rest.partition("/")
        if host not in ("", "localhost"):
            raise UsageError(f"{where} {text} names another machine", hint="write file:///path")
        return Location(text=text, folder=_path(url2pathname(f"/{path}"), where))
    if scheme not in ("s3", "b2"):
        raise UsageError(
            f"{where} {shown(text)} has an unknown scheme", hint="known: s3://, b2://, file://, http://, https://"
        )
    name, _, key = rest.partition("/")
    try:
        kinds.BUCKET.read(name)
    except ValueError as error:
        raise UsageError(f"{where} {text} {error.args[0]}", hint=f"{scheme}://BUCKET/KEY") from error
    return Location(text=text, bucket=name, key=_key(key, text, where))


def _path(text: str, where: str) -> Path:
    """Refuse a path that the system cannot even look up, such as one with a name of 300 letters."""
    try:
        path = Path(text).expanduser()
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{where} {text[:60]}... cannot be a path: {error.args[-1]}") from error
    return path


def _key(key: str, text: str, where: str) -> str:
    key = key.lstrip("/")
    if any(part in (".", "..") for part in key.split("/")):
        raise UsageError(f"{where} {text} leads out of its place in the bucket", hint="write the key without . and ..")
    return key


def _prefix(found: Location, below: str = "") -> Location:
    key = found.key.rstrip("/")
    return Location(text=found.text, bucket=found.bucket, key=below + (f"{key}/" if key else ""))
