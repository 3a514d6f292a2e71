"""What a result says it holds, beside what its source holds: streams, marks, chapters, attachments, covers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction

from uprez.errors import VerifyError
from uprez.job import Chapter, Index, Plan, Stream, Video
from uprez.media import extras, subtitles
from uprez.media.containers import carried, copied, language_in
from uprez.media.timeline import Timeline

_MARKS = frozenset({"default", "forced"})
"""What Matroska keeps of every stream's marks, whatever it came in."""
_CHAPTER_S = Fraction(1, 20)
"""By how much a chapter may begin elsewhere: MP4 has them as a track with a clock of its own."""


def check(url: str, seen: Video, source_url: str, *, plan: Plan, index: Index, times: Timeline, name: str) -> None:
    """Compare all of a result that has no packets, and the kinds of its streams. Raises VerifyError.

    `seen` is what a probe says of the result. Raises InputError when the source cannot be read.
    """
    due = copied(index.video, plan.container)
    got = [stream for stream in seen.others if stream.kind not in ("data", "attachment") and not stream.cover]
    _check_streams(name, got, due, plan.container)
    held = [each for each in carried(index.video, plan.container) if each.kind == "attachment" or each.cover]
    mine = [each for each in seen.others if each.kind == "attachment" or each.cover]
    if held or mine:
        found, wanted = (_digests(place, streams) for place, streams in ((url, mine), (source_url, held)))
        if found != wanted:
            raise VerifyError(
                f"{name}: its attachments and covers are not the source's: {len(found)}, not {len(wanted)}"
            )
    _check_chapters(name, seen.chapters, index.video.chapters, times)


def _check_streams(name: str, got: Sequence[Stream], due: Sequence[Stream], container: str) -> None:
    kinds = [_kind(stream, container) for stream in due]
    if [(stream.kind, stream.codec) for stream in got] != kinds:
        listed = ", ".join(codec for _, codec in kinds) or "nothing"
        raise VerifyError(
            f"{name}: beside the picture it holds {', '.join(each.codec for each in got) or 'nothing'}; {listed} is due"
        )
    for stream, wanted in zip(got, due, strict=True):
        language = language_in(container, wanted.language or "und")
        stated = len(language) == 3 and language.isascii() and language.isalpha()  # what else there is, MP4 cannot say
        if stated and (stream.language or "und") != language and container != "mov":
            raise VerifyError(f"{name}: the language of its {wanted.kind} is {stream.language}, {language} is due")
        marks, stood = (_MARKS.intersection(each.dispositions) for each in (stream, wanted))
        if container == "mkv" and marks != stood:
            raise VerifyError(f"{name}: its {wanted.kind} is marked {sorted(marks)}, {sorted(stood)} is due")


def _kind(stream: Stream, container: str) -> tuple[str, str]:
    return stream.kind, "subrip" if subtitles.becomes_subrip(stream, container) else stream.codec


def _digests(url: str, streams: Sequence[Stream]) -> list[str]:
    return sorted(hashlib.sha256(data).hexdigest() for data in extras.contents(url, streams) if data)


def _check_chapters(name: str, got: Sequence[Chapter], stated: Sequence[Chapter], times: Timeline) -> None:
    start, end = times.origin * times.time_base, (times.origin + times.end) * times.time_base
    due = [
        (max(each.start, start) - start, each.title) for each in stated if max(each.start, start) < min(each.end, end)
    ]
    if len(got) != len(due):
        raise VerifyError(f"{name}: {len(got)} chapters, {len(due)} are due")
    for chapter, (at, title) in zip(got, due, strict=True):
        if abs(chapter.start - at) > _CHAPTER_S or (title and chapter.title != title):
            wanted = f"{title!r} at {float(at):.3f} s is due"
            raise VerifyError(f"{name}: a chapter {chapter.title!r} at {float(chapter.start):.3f} s, {wanted}")
