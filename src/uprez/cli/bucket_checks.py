"""What `uprez doctor` finds out about a bucket: each right that a run needs, tried once and cleared up behind."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

from uprez import http
from uprez.cli.findings import Finding, examine, fail, ok, warn
from uprez.errors import FetchError, StoreError
from uprez.store import keys, sign
from uprez.store.bucket import BucketStore

if TYPE_CHECKING:
    from uprez.config.settings import Access, Settings

REACH = http.Limits(connect_s=5.0, read_s=5.0, total_s=10.0, tries=2)
SKEW_S = 60.0
"""Seconds that clocks may differ; a store refuses what is signed 15 minutes off."""
SIGNED_S = 300.0
_GUIDE = "docs/guides/buckets.md"


def check(settings: Settings) -> Iterator[Finding]:
    """Try the bucket of the results; where it cannot be reached nothing else is tried, so that this is soon said."""
    where, access = settings.output_dir, settings.access
    name = where.bucket or settings.bucket
    if name is None:
        yield ok("bucket", "none is set: results go to a folder")
        return
    if access is None:
        yield fail("bucket", f"{name}: there are no credentials", "put B2_KEY, B2_SECRET and B2_ENDPOINT into .env")
        return
    reached = examine(
        "bucket", lambda: _reach(access), hint="check B2_ENDPOINT (b2.endpoint), the network and the proxy"
    )
    yield from reached
    if any(finding.level == "FAIL" for finding in reached):
        return
    whole = BucketStore(access, name, connect_s=5.0, read_s=10.0)
    state = BucketStore(access, name, settings.state_prefix, connect_s=5.0, read_s=10.0)
    listed = examine("bucket list", lambda: _list(whole, where.key))
    yield from listed
    if any(finding.level == "FAIL" for finding in listed):
        return
    yield from examine("bucket clock", lambda: _clock(whole))
    marked = examine("state prefix", lambda: _marker(state))
    yield from marked
    if all(finding.level == "OK" for finding in marked):
        yield from _write(whole, state)
    yield from examine("bucket versions", lambda: _versions(whole))


def _reach(access: Access) -> Iterator[Finding]:
    url = sign.endpoint(access)
    answer = http.request("GET", f"{url}/", accept=frozenset(range(300, 600)), limits=REACH)
    yield ok("bucket", f"{url} answers ({answer.status} without a signature)")


def _list(whole: BucketStore, prefix: str) -> Iterator[Finding]:
    first = next(iter(whole.listing(prefix)), None)
    yield ok("bucket list", f"{whole.shown(prefix)} can be listed" + ("" if first else ", and is empty"))


def _clock(whole: BucketStore) -> Iterator[Finding]:
    skew_s = whole.skew_s
    if abs(skew_s) <= SKEW_S:
        yield ok("bucket clock", f"agrees with this machine's to {max(2.0, abs(skew_s)):.0f} s")
        return
    way = "behind" if skew_s > 0 else "ahead of"
    text = f"this machine's clock is {abs(skew_s):.0f} s {way} the store's"
    yield warn("bucket clock", text, "set this machine's clock (NTP): from 15 minutes on the store refuses")


def _marker(state: BucketStore) -> Iterator[Finding]:
    if state.read(keys.MARKER) is not None:
        yield ok("state prefix", f"{state.url} is ours")
    elif next(iter(state.listing()), None) is None:
        yield ok("state prefix", f"{state.url} is free; the first run marks it as ours")
    else:
        text = f"{state.url} holds objects but not uprez's marker {keys.MARKER}, so it is not used"
        yield fail("state prefix", text, "choose another state_prefix, or move those objects away")


def _write(whole: BucketStore, state: BucketStore) -> Iterator[Finding]:
    """Write, read and delete one small object: below the prefix if that is ours, else beside it."""
    number = secrets.token_hex(4)
    marked = state.read(keys.MARKER) is not None
    store, key = (state, keys.probe(number)) if marked else (whole, keys.probe_beside(state.prefix, number))
    try:
        yield from examine("bucket write", lambda: _put(store, key))
        yield from examine("signed URLs", lambda: _signed(store, key))
    finally:
        yield from examine("bucket delete", lambda: _delete(store, key))


def _put(store: BucketStore, key: str) -> Iterator[Finding]:
    store.write(key, b"written by its key")
    yield ok("bucket write", f"{store.shown(key)} was written")


def _signed(store: BucketStore, key: str) -> Iterator[Finding]:
    """Do what a worker does, over the wire: it has URLs and no key."""
    data, got = b"written by a signed URL", b""
    for method, url in (("PUT", store.put_url(key, seconds=SIGNED_S)), ("GET", store.get_url(key, seconds=SIGNED_S))):
        try:
            got = http.request(method, url, body=data if method == "PUT" else None, limits=REACH).data
        except FetchError as error:
            hint = error.hint or "check the region and this machine's clock"
            yield fail("signed URLs", f"the store refuses a signed {method}: {error.message}", hint)
            return
    if got != data:
        yield fail("signed URLs", "the store gave other bytes than were sent", "is a cache before the endpoint?")
        return
    yield ok("signed URLs", "one PUT and one GET worked without a key")


def _delete(store: BucketStore, key: str) -> Iterator[Finding]:
    store.delete([key])
    if store.head(key) is not None:
        text = f"{store.shown(key)} is still there after it was deleted"
        yield fail("bucket delete", text, f"the key needs deleteFiles: {_GUIDE}")
        return
    yield ok("bucket delete", "the probe is gone, with its versions")


def _versions(whole: BucketStore) -> Iterator[Finding]:
    cannot = "the key may not read the bucket's settings: the rest works"
    try:
        keeps = whole.versioning()
    except StoreError as error:
        yield warn("bucket versions", f"not known: {error.message}", f"{cannot}; see {_GUIDE}")
        return
    if not keeps:
        yield ok("bucket versions", "old versions are not kept")
        return
    ruled = False
    with contextlib.suppress(StoreError):  # no right to ask: then the hint is right for whoever has set no rule
        ruled = whole.has_lifecycle()
    if ruled:
        yield ok("bucket versions", "old versions are kept, and a lifecycle rule is set")
        return
    yield warn(
        "bucket versions",
        "every old version is kept and billed, and no lifecycle rule is seen",
        f"B2: set 'Keep only the last version of the file', or a rule for the state prefix; see {_GUIDE}",
    )
