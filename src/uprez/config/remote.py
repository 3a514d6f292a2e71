"""The remote config: fetched at every run, laid over the local file, and allowed little.

Whoever can write it steers the picture and the order of work. It never reaches the account, the outputs or what a
machine starts, and it can make renting stricter and cheaper, never looser.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from uprez.config.document import Document, Given, Reader, Values, walk
from uprez.config.key import Rule
from uprez.config.keys import KEYS, flag_of
from uprez.config.kinds import Value
from uprez.config.locations import input_folder, shown
from uprez.errors import FetchError, UsageError

MOST = 1 << 20
"""Bytes of a remote config."""
SILENCE_S = 10.0
TOTAL_S = 30.0
TRIES = 3


class Answer(Protocol):
    """What a fetch brings back."""

    @property
    def status(self) -> int:
        """200, or 304 where the copy that we have is current."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By name, in any case."""

    @property
    def data(self) -> bytes:
        """The body."""


Fetch = Callable[[str, Mapping[str, str]], Answer]
"""GET a URL with these headers; raises FetchError."""


def fetch(url: str, headers: Mapping[str, str]) -> Answer:
    """Ask the real server."""
    from uprez import http  # for its weight: most runs have no remote config

    limits = http.Limits(connect_s=SILENCE_S, read_s=SILENCE_S, total_s=TOTAL_S, tries=TRIES)
    return http.request("GET", url, headers=headers, most=MOST, accept=frozenset({304}), limits=limits)


def download(url: str, state_dir: Path, get: Fetch) -> Document:
    """Fetch and read a remote config. Raises FetchError where it cannot be had, UsageError where it is wrong.

    The copy of the last run saves the transfer when the server says that it is current, and nothing else: a server that
    cannot be asked is a failure.
    """
    copy = state_dir / "remote" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"
    etag, body = _read_copy(copy)
    answer = get(url, {"If-None-Match": etag} if etag else {})
    if answer.status == 304 and etag:
        data = body
    elif answer.status == 200:
        data = answer.data
        _write_copy(copy, answer.headers.get("ETag"), data)
    else:
        raise FetchError(f"{shown(url)} answered {answer.status} and no config", status=answer.status)
    return Reader(name=shown(url), layer="remote").document(data)


def check(document: Document, below: Values, expanded: Mapping[str, Values], bucket: str | None) -> None:
    """Refuse what a remote config may not set; raises UsageError that names the key's path.

    `below` is what the layers under it say, `expanded` what each local preset sets, and the bounds are theirs.
    """
    for preset, name, given in walk(document):
        path = _path(preset, name)
        if KEYS[name].remote == "no" or (name.startswith("vast.") and preset is None):
            raise UsageError(
                f"{given.origin.place}: {path} may not be set by a remote config",
                hint="remove it there; a remote config may set video, batch and presets",
            )
        bound = expanded.get(preset or "", {}).get(name) or below.get(name)
        _check_rule(path, name, given, bound, bucket)


def guard(url: str, before: Values, after: Values) -> None:
    """Refuse what would loosen a bound by another way, such as naming a laxer preset. Raises UsageError."""
    for name, old in before.items():
        new = after.get(name)
        if new is not None and not _holds(KEYS[name].remote, old.value, new.value, strict=False):
            raise UsageError(
                f"{shown(url)} would loosen {name} from {old.text} to {new.text} ({new.origin.place})",
                hint=f"without it, {old.text} holds; a flag may change it: {flag_of(name)}",
            )


def told(document: Document) -> list[str]:
    """Say what a remote config sets, in lines for the console."""
    texts = [f"{_path(preset, name)}={given.text}" for preset, name, given in walk(document)]
    lines = [f"[OK] Remote config merged: {list(document.sections)}"]
    return [*lines, f"[INFO] Remote config sets: {', '.join(texts)}"] if texts else lines


def _path(preset: str | None, name: str) -> str:
    return name if preset is None else f"presets.{preset}.{name}"


def _check_rule(path: str, name: str, given: Given, bound: Given | None, bucket: str | None) -> None:
    rule = KEYS[name].remote
    if rule == "prefix":
        _check_prefix(path, given, bucket)
    elif not _holds(rule, bound.value if bound else None, given.value, strict=True):
        held = f"it is {bound.text or 'empty'} without the remote config" if bound else "nothing is set here"
        raise UsageError(
            f"{given.origin.place}: {path} {given.text or 'empty'} {_MAY[rule]}: {held}",
            hint=f"change it there, or here; a flag may set anything: {flag_of(name)}",
        )


_MAY: dict[Rule, str] = {
    "falls": "may only fall in a remote config",
    "rises": "may only rise in a remote config",
    "true": "may only become true in a remote config",
    "grows": "may only grow in a remote config",
    "narrows": "may only narrow a list that is there, in a remote config",
}


def _holds(rule: Rule, old: Value | None, new: Value, *, strict: bool) -> bool:
    """Say whether a value keeps a bound. Not `strict`: a list may also appear where there was none."""
    if rule == "falls":
        return old is None or new <= old  # type: ignore[operator]  # both are the key's own kind
    if rule == "rises":
        return old is None or new >= old  # type: ignore[operator]
    if rule == "true":
        return new is True or old is not True
    if rule == "grows":
        return _names(old) <= _names(new)
    if rule == "narrows":
        if not _names(old):
            return not strict or not _names(new)
        return bool(_names(new)) and _names(new) <= _names(old)
    return True


def _names(value: Value | None) -> frozenset[str]:
    return frozenset(value) if isinstance(value, tuple) else frozenset()


def _check_prefix(path: str, given: Given, bucket: str | None) -> None:
    """Refuse all but a prefix of the bucket that is set here."""
    where = f"{given.origin.place}: {path}"
    if bucket is None:
        raise UsageError(f"{where} {given.text} names a prefix of the bucket, and none is set", hint="set b2.bucket")
    if "://" in given.text or given.text.startswith(("/", ".", "~")) or "\\" in given.text:
        raise UsageError(
            f"{where} {shown(given.text)} is no prefix of the bucket",
            hint="a remote config names no folder here, no URL and no other bucket",
        )
    input_folder(given.text, bucket, where)


def _read_copy(path: Path) -> tuple[str | None, bytes]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        etag, body = str(found["etag"]), str(found["body"]).encode("latin-1")
    except (OSError, ValueError, KeyError, TypeError):
        return None, b""  # none yet, or it was cut short: the server sends it again
    return etag, body


def _write_copy(path: Path, etag: str | None, body: bytes) -> None:
    """Keep the answer for the next run; a machine without room for it fetches again."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        if etag is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside.write_text(json.dumps({"etag": etag, "body": body.decode("latin-1")}), encoding="utf-8")
        beside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):  # the folder itself may be what is wrong
            beside.unlink(missing_ok=True)
