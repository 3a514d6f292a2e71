"""Whether a worker's survey can be true: a rented host may lie, and all that follows is built on it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from uprez.errors import EncodeError, VerifyError
from uprez.fleet.work import Work
from uprez.job import Stream, Survey, Video
from uprez.media import encode, probe
from uprez.media.packets import JUMPING
from uprez.media.target import target
from uprez.models import MODELS
from uprez.models.needed import models_of

TOLERANCE = 0.02
"""By which share an index may have more frames than the header says."""
PRORES_DECODED = frozenset({"yuv422p12le", "yuv444p12le"})
"""What FFmpeg gives back of the 4444 profiles."""


_TIMES: dict[int, int] = {}
MOST_TIMES = 50_000
"""That are kept for others to share: half an hour of one clock."""


def sharing(survey: Survey) -> Survey:
    """Give a survey whose times are the objects that others have: videos of one clock then hold them once.

    An int takes 28 bytes, its place in a tuple 8.
    """
    times = survey.index.pts
    shared = _TIMES.setdefault if len(_TIMES) + len(times) <= MOST_TIMES else _TIMES.get
    pts = tuple(map(shared, times, times))
    return replace(survey, index=replace(survey.index, pts=pts))


def check(survey: Survey, work: Work) -> None:
    """Compare an index with what the header and the file say, and the encoder with what was asked for.

    Raises VerifyError, or InputError when the source cannot be read.

    Fewer frames than the header's are in order: an edit list hides some (a trimmed phone video), an AVI may count
    twice. That a file ends early was found when the index was read.
    """
    quick, video, frames = work.video, survey.index.video, len(survey.index.pts)
    if (video.width, video.height, video.codec) != (quick.width, quick.height, quick.codec):
        raise VerifyError(f"the index is of {video.codec} {video.width}x{video.height}, another video than was probed")
    if what := differs(video, quick):
        raise VerifyError(f"the index has another {what}")
    # Of a clock that jumps the header's length, and so its count, says little.
    counts = quick.frames if not survey.index.breaks or quick.container not in JUMPING else None
    if not frames or (counts and frames > max(counts + 2, counts * (1 + TOLERANCE))):
        raise VerifyError(f"the index has {frames} frames, the header says about {quick.frames}")
    _check_numbers(survey)
    _check_encoding(survey, work)
    _check_precision(survey, work)
    if not probe.holds(work.source_url(), survey.index):
        raise VerifyError("the index lacks frames that the video has")


def differs(video: Video, quick: Video) -> str | None:
    """Say in which fact two looks at one video differ, of those that decide what a result shows and holds."""
    pairs = ((what, theirs, ours) for what, theirs, ours in _facts(video, quick) if theirs != ours)
    return next((f"{what} than was probed: {theirs} where {ours} was found" for what, theirs, ours in pairs), None)


def _check_numbers(survey: Survey) -> None:
    """What is reckoned with must be reckonable."""
    index, ready = survey.index, survey.preflight
    if any(after <= before for before, after in pairwise(index.pts)) or not set(index.keyframes) <= set(index.pts):
        raise VerifyError("the index has frames out of order, or keyframes that are no frames")
    if index.last_duration < 1 or not 0 < ready.seconds_per_frame < math.inf:
        raise VerifyError("the survey holds a duration that nothing can have")
    decoded, codec = ready.encoding.decoded_as, ready.encoding.codec
    if decoded and (codec != "prores" or decoded not in PRORES_DECODED):
        raise VerifyError(f"the survey says that {codec} is decoded as {decoded}")


def _check_encoding(survey: Survey, work: Work) -> None:
    """The settings of an encoder follow from what is asked, whatever the machine: only which one it is does not."""
    found, options, video = survey.preflight.encoding, work.job.options, survey.index.video
    if found.rung in (each.rung for each in work.given_up):
        raise VerifyError(f"the survey chose {found.rung}, which failed at this video before")
    wanted = target(video, options)
    try:
        due = encode.encoding(
            wanted.codec,
            found.rung,
            encode.picture(video, options, wanted),
            crf=options.crf,
            preset=options.encoder_preset,
            threads=found.threads,
        )
    except EncodeError as error:
        raise VerifyError(f"the survey's encoder is not what was asked for: {error.message}") from error
    if replace(found, decoded_as="") != due:
        raise VerifyError(f"the survey's settings of {found.rung} are not those that were asked for")


def _check_precision(survey: Survey, work: Work) -> None:
    """What was asked for holds; without a network there is nothing that it could change."""
    asked, found = work.job.options.precision, survey.preflight.precision
    networks = [name for name in models_of(work.job.options) if MODELS[name].architecture]
    if asked != "auto" and networks and found != asked:
        raise VerifyError(f"the survey computes in {found}, {asked} was asked for")


def _facts(*videos: Video) -> Iterator[tuple[object, ...]]:
    """Name the facts that decide what a result looks like and holds, each with its value in every one of the videos."""
    yield ("picture stream", *(video.stream for video in videos))
    yield ("colour", *(video.colour for video in videos))
    yield ("sample shape", *(video.sar for video in videos))
    yield ("turn", *(video.turn for video in videos))
    yield ("time base", *(video.time_base for video in videos))
    yield ("list of chapters", *(video.chapters for video in videos))
    yield ("set of streams", *([_named(each) for each in video.others] for video in videos))


def _named(stream: Stream) -> tuple[object, ...]:
    return stream.index, stream.kind, stream.codec, stream.language, stream.dispositions
