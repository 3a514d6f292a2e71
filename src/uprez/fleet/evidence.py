"""What is made of an attempt that is not right: it is removed, and why is kept for people and for later starts.

`jobs/<job>/evidence/<plan>/<attempt>.json` says why, `.png` beside it shows what was due and what there was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from uprez.errors import UnlikeError, UprezError, VerifyError
from uprez.fleet.work import Work
from uprez.media import stills
from uprez.media.likeness import Finding
from uprez.media.witness import Looks
from uprez.store import keys, objects
from uprez.store.open import Home

SENSELESS = (AttributeError, IndexError, KeyError, TypeError, ValueError, ArithmeticError)
"""What reading a file may end with that nobody foresaw: it was made by a machine that may be anybody's."""
_SILENT = frozenset({"hevc", "vp9", "av1", "mpeg4"})
"""Codecs whose decoders conceal damage and say nothing."""


@contextmanager
def refused(home: Home, work: Work, key: str) -> Iterator[None]:
    """Keep why an attempt is refused, and remove it: no later start is to look at it once more, and luckier.

    A file that nothing can be made of is refused too.
    """
    try:
        with sensible(key):
            yield
    except VerifyError as error:
        refuse(home, work, key, error.message)
        raise


@contextmanager
def sensible(key: str) -> Iterator[None]:
    """Raise VerifyError where what a worker made leads to an error that is none of ours."""
    try:
        yield
    except UprezError:
        raise
    except SENSELESS as error:
        what = f"{type(error).__name__}: {error}"
        raise VerifyError(f"{key.rsplit('/', 1)[-1]}: nothing can be made of it ({what})") from error


def refuse(home: Home, work: Work, key: str, why: str) -> None:
    """Remove an attempt, and keep why."""
    note(home, work, key, why)
    objects.delete(home, [key])


def note(home: Home, work: Work, key: str, why: str) -> None:
    """Keep why an attempt is not right."""
    testify(home, work, key, "json", json.dumps({"key": key, "refused": why}, indent=2).encode())


def kept(home: Home, work: Work, key: str) -> str | None:
    """Say where it is kept why an attempt is not right, or came to be so; None before there is a plan."""
    if work.plan is None:
        return None
    return home.state_shown(keys.evidence(work.job.id, work.plan_id, key.rsplit("/", 1)[-1], "json"))


def testify(home: Home, work: Work, key: str, suffix: str, data: bytes) -> str:
    """Keep something about an attempt; says where."""
    attempt = key.rsplit("/", 1)[-1]
    kept = keys.evidence(work.job.id, work.plan_id, attempt, suffix)
    home.state.write(kept, data)
    return home.state_shown(kept)


def judge(home: Home, work: Work, number: int, key: str, looks: Looks, earlier: Looks | None) -> None:
    """Decide about a segment's pictures that do not look like the source's; raises UnlikeError."""
    held = replace(looks, findings=certain(work, looks))
    findings = held.findings or looks.findings
    if not findings:
        return
    frame, finding = min(findings.items(), key=lambda pair: pair[1].soft)
    found = f"segment {number + 1}: frame {frame} {finding.text}"
    picture = show(home, work, key, looks, frame)
    if not held.findings:
        work.warnings.append(f"{found}; its source is damaged there, so that nothing follows from it: see {picture}")
    elif earlier is not None and held.agrees(earlier):
        work.warnings.append(f"{found}; two attempts agree, so that it counts: see {picture}")
    else:
        raise UnlikeError(f"{found}: see {picture}", seen=held)


def is_lie(error: UprezError) -> bool:
    """Say whether an attempt was refused for what no honest machine makes; some distance from the source may be."""
    if isinstance(error, UnlikeError) and isinstance(error.seen, Looks):
        return not all(finding.soft for finding in error.seen.findings.values())
    return isinstance(error, VerifyError)


def certain(work: Work, looks: Looks) -> dict[int, Finding]:
    """Leave out what damage of the source may explain.

    Where the controller's own decoder met damage, anything; where a clock jumps, or damage is told of by packets alone
    and the decoder would say nothing, another moment. Other colours or no picture are never a source's.
    """
    if work.survey is None:
        raise AssertionError("a piece of a job without a survey")
    index = work.survey.index
    odd = bool(index.breaks or index.patched or (index.damaged and index.video.codec in _SILENT))
    return {
        frame: finding
        for frame, finding in looks.findings.items()
        if not (looks.windows[frame].damaged or (odd and finding.of_time))
    }


def show(home: Home, work: Work, key: str, looks: Looks, frame: int) -> str:
    """Keep what was due at a frame beside what there is; says where."""
    due, got = looks.windows[frame].due, looks.thumbs[frame]
    picture = stills.side_by_side(stills.seen(due), stills.seen(got))
    return testify(home, work, key, "png", stills.png(picture))
