"""Keys: what is composed can be parsed, and nothing else can."""

from __future__ import annotations

import re
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez.store import keys
from uprez.store.keys import Key

LEASES = st.from_regex(r"[0-9a-f]{8}", fullmatch=True)
JOBS = st.from_regex(r"[0-9a-f]{16}", fullmatch=True)
HASHES = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
PLANS = st.integers(1, 999_999)
NUMBERS = st.integers(0, 999_999_999)
TRIES = st.integers(1, 999_999_999)


@st.composite
def composed(draw: st.DrawFn) -> tuple[str, Key]:
    """Draw a key from every composer, with what it should say."""
    lease, job, plan, number = draw(LEASES), draw(JOBS), draw(PLANS), draw(NUMBERS)
    attempt, plan_id = keys.attempt(lease, draw(TRIES)), keys.plan_id(plan, draw(HASHES))
    pairs = [
        (keys.MARKER, Key(shape="marker")),
        (keys.sheet(lease), Key(shape="sheet", lease=lease)),
        (keys.status(lease), Key(shape="status", lease=lease)),
        (keys.log(lease, number), Key(shape="log", lease=lease, number=number)),
        (keys.index(job, attempt), Key(shape="index", job=job, attempt=attempt)),
        (keys.index_pin(job), Key(shape="index_pin", job=job)),
        (keys.plan(job, plan_id), Key(shape="plan", job=job, plan_id=plan_id)),
        (
            keys.segment(job, plan_id, number, attempt),
            Key(shape="segment", job=job, plan_id=plan_id, number=number, attempt=attempt),
        ),
        (keys.segment_pin(job, plan_id, number), Key(shape="segment_pin", job=job, plan_id=plan_id, number=number)),
        (keys.assembly(job, plan_id, attempt), Key(shape="assembly", job=job, plan_id=plan_id, attempt=attempt)),
        (keys.publish(job), Key(shape="publish", job=job)),
        (keys.manifest(job), Key(shape="manifest", job=job)),
        (keys.results(lease), Key(shape="results", batch=lease)),
    ]
    return draw(st.sampled_from(pairs))


@settings(deadline=None)  # a busy machine is no failure
@given(pair=composed())
def test_every_key_says_what_it_was_made_of(pair: tuple[str, Key]) -> None:
    """Composing and parsing are each other's inverse for every composer."""
    key, meant = pair
    assert keys.parse(key) == meant


@settings(deadline=None)  # a busy machine is no failure
@given(pair=composed(), place=st.integers(0, 80), more=st.text(min_size=1, max_size=4))
def test_a_key_with_anything_more_is_no_key_or_a_plain_one(pair: tuple[str, Key], place: int, more: str) -> None:
    """Whatever is slipped into a key, what still parses leads nowhere else: no dots, no folders, no blanks."""
    key = pair[0][:place] + more + pair[0][place:]
    if keys.parse(key) is not None:
        assert re.fullmatch(r"[a-z0-9./-]+", key)
        assert ".." not in key
        assert key.count("/") == pair[0].count("/")


@settings(deadline=None)  # a busy machine is no failure
@given(text=st.text(max_size=80) | st.from_regex(r"(jobs|leases|batches)/[0-9a-f./-]{0,60}", fullmatch=True))
def test_strange_text_is_no_key(text: str) -> None:
    """Text that nobody composed is not taken for a key, however much it looks like one; `..` never is."""
    found = keys.parse(text)
    assert found is None or recomposed(found) == text


def recomposed(key: Key) -> str:
    """Compose what a parsed key says once more."""
    facts = asdict(key)
    made = {
        "marker": lambda: keys.MARKER,
        "sheet": lambda: keys.sheet(key.lease),
        "status": lambda: keys.status(key.lease),
        "log": lambda: keys.log(key.lease, key.number),
        "index": lambda: keys.index(key.job, key.attempt),
        "index_pin": lambda: keys.index_pin(key.job),
        "plan": lambda: keys.plan(key.job, key.plan_id),
        "segment": lambda: keys.segment(key.job, key.plan_id, key.number, key.attempt),
        "segment_pin": lambda: keys.segment_pin(key.job, key.plan_id, key.number),
        "assembly": lambda: keys.assembly(key.job, key.plan_id, key.attempt),
        "publish": lambda: keys.publish(key.job),
        "manifest": lambda: keys.manifest(key.job),
        "results": lambda: keys.results(key.batch),
    }
    return made[facts["shape"]]()


STRANGE = [
    "",
    "/",
    "..",
    "../uprez.json",
    "uprez.json\n",
    "/uprez.json",
    "uprez.json#1",
    "jobs/0123456789abcdef/../uprez.json",
    "jobs/0123456789ABCDEF/result.json",
    "jobs/0123456789abcdef/result.json\n",
    "jobs/0123456789abcdef/plan-0-01234567.json",
    "jobs/0123456789abcdef/plan-01-01234567.json",
    "jobs/0123456789abcdef/plan-\u0661.json",
    "jobs/0123456789abcdef/1-01234567/segment-00/01234567-1",
    "leases/01234567/sheet.json/..",
    "leases//sheet.json",
    "movie.mp4",
]


@pytest.mark.parametrize("text", STRANGE)
def test_nearly_a_key_is_no_key(text: str) -> None:
    """Parents, blanks, capitals, leading zeros and foreign digits are refused."""
    assert keys.parse(text) is None


def test_every_shape_is_in_the_list_people_read() -> None:
    """The module's list names as many kinds of keys as can be parsed, in one place each."""
    lines = [line for line in (keys.__doc__ or "").splitlines() if re.match(r"[a-z]+[./]\S", line)]
    assert len(lines) == len(keys._SHAPES)


@settings(deadline=None)  # a busy machine is no failure
@given(first=composed(), second=composed())
def test_a_prefix_holds_one_lease_or_one_job(first: tuple[str, Key], second: tuple[str, Key]) -> None:
    """Nothing of another lease or job begins with a lease's or job's prefix."""
    (_, one), (other_key, other) = first, second
    if one.job:
        assert other_key.startswith(keys.job_prefix(one.job)) == (one.job == other.job)
    if one.lease:
        assert other_key.startswith(keys.lease_prefix(one.lease)) == (one.lease == other.lease)
