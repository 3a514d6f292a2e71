"""`uprez compare`: how like two videos are, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

Command = Callable[..., tuple[int, str, str]]


def clip(path: Path, size: tuple[int, int], light: int = 0) -> None:
    """Six frames in which a slope moves."""
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    slope = rows * 100 // size[1] + columns * 100 // size[0]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(6):
            plane = (slope + 5 * number + light + 20 * (light and number == 4)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(plane, format="gray").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(autouse=True)
def clips(folder: Path) -> None:
    """A source, and a lighter result of twice its size whose fifth frame is lighter still."""
    clip(folder / "source.mkv", (64, 48))
    clip(folder / "result.mkv", (128, 96), light=2)


def test_it_is_told_in_lines_of_80_columns(command: Command, folder: Path) -> None:
    """Both videos, how they were paired, times, and the worst frame of either figure; nothing is written."""
    code, out, err = command("compare", "source.mkv", "result.mkv")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[:2] == ["source.mkv", "result.mkv"]
    facts = {line.split()[0]: " ".join(line.split()[1:]) for line in lines[2:]}
    assert facts["A"] == "ffv1 64x48 yuv420p, 6 frames, 0:00:00.240"
    assert facts["B"] == "ffv1 128x96 yuv420p, 6 frames, 0:00:00.240"
    assert facts["pairs"] == "6 by time, all measured, at 64x48"
    assert facts["times"] == "are equal"
    assert facts["PSNR"].endswith(" dB at worst, at 0:00:00.160")
    assert " on average, " in facts["SSIM"]
    assert sorted(path.name for path in folder.iterdir()) == ["result.mkv", "source.mkv"]


def test_a_program_reads_the_same(command: Command) -> None:
    """One JSON object; no figure stands where there is no error."""
    found = json.loads(command("compare", "source.mkv", "result.mkv", "--json", "--frames", "2")[1])
    assert found["videos"][1] == {"width": 128, "height": 96, "frames": 6, "seconds": 0.24}
    assert (found["pairs"], found["measured"], found["notes"]) == (6, 2, [])
    assert 30 < found["psnr_db"]["worst"] <= found["psnr_db"]["average"] < 45
    same = json.loads(command("compare", "source.mkv", "source.mkv", "--json")[1])
    assert same["psnr_db"] == {"average": None, "worst": None, "worst_at_s": 0.0}
    assert same["ssim"]["average"] == 1


def test_equal_videos_are_told_as_equal(command: Command) -> None:
    """No decibels are invented."""
    assert "PSNR   equal in all that was measured" in command("compare", "source.mkv", "source.mkv")[1]


def test_one_time_is_one_frame(command: Command) -> None:
    """With --at only the frame shown then is measured."""
    out = command("compare", "source.mkv", "result.mkv", "--at", "0.1")[1]
    assert "6 by time, 1 measured" in out
    assert " dB at 0:00:00.080" in out


def test_the_worst_frame_is_put_side_by_side(command: Command, folder: Path) -> None:
    """The picture is a PNG of both frames at the larger one's height, and nothing is left beside it."""
    assert command("compare", "source.mkv", "result.mkv", "--picture", "both.png")[0] == 0
    with av.open(str(folder / "both.png")) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert picture.shape == (96, 128 + 4 + 128, 3)
    assert picture[:, 132:].mean() - picture[:, :128].mean() == pytest.approx(22, abs=2)
    assert sorted(path.name for path in folder.iterdir()) == ["both.png", "result.mkv", "source.mkv"]


@pytest.mark.parametrize(
    ("arguments", "code", "said", "hint"),
    [
        (("gone.mkv",), 2, "gone.mkv is not a file", "give a path"),
        (("notes.txt",), 1, "notes.txt: cannot be read as a video", None),
        (("source.mkv", "--at", "soon"), 2, "--at soon is not a time", "write seconds"),
        (("source.mkv", "--at", "9"), 1, "no frame of both is shown at 9.000 s", "choose an earlier time"),
        (("source.mkv", "--at", "0", "--frames", "2"), 2, "--at names one frame", "give one of the two"),
        (("source.mkv", "--frames", "0"), 2, "--frames 0 is nothing to compare", "give 1 or more"),
        (("source.mkv", "--picture", "a.jpg"), 2, "--picture a.jpg is no name of a PNG file", "name it .png"),
        (("source.mkv", "--picture", "no/a.png"), 2, "there is no folder no", "make it"),
        (("source.mkv", "--picture", "old.png"), 2, "old.png exists already", "choose another name"),
    ],
)
def test_a_mistake_is_named_with_the_next_step(
    command: Command, folder: Path, arguments: tuple[str, ...], code: int, said: str, hint: str | None
) -> None:
    """The value and its place; a picture that is there is left as it is."""
    (folder / "notes.txt").write_text("no video\n" * 99)
    (folder / "old.png").write_text("mine")
    left, _, err = command("compare", "source.mkv", *arguments)
    assert left == code
    assert said in err
    assert hint is None or f"[HINT] {hint}" in err
    assert (folder / "old.png").read_text() == "mine"
