"""`uprez probe`: what a video is, for people and for programs."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from uprez.cli.main import run_cli
from uprez.config.variables import FALLBACKS, NAMES, OLD_NAMES


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with no setting of ours."""
    for name in (*NAMES, *OLD_NAMES, *FALLBACKS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UPREZ_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def clip(folder: Path) -> Path:
    """A portrait clip of a phone: turned, of a variable rate, with sound."""
    path = folder / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.set_display_rotation(-90)
        sound = container.add_stream("aac", rate=48000, layout="stereo")
        for at in (0, 33, 70, 99, 140):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64), at, np.uint8), format="gray")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        tone = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        tone.sample_rate, tone.pts = 48000, 0
        container.mux(sound.encode(tone))
        container.mux(sound.encode(None))
    return path


def left(*arguments: str) -> object:
    """Run the command; give its exit code."""
    with pytest.raises(SystemExit) as ended:
        run_cli(("probe", *arguments))
    return ended.value.code


def test_it_is_told_in_lines_of_80_columns(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Picture, length, colour, how it is shown and each stream; nothing is written."""
    assert left(clip.name) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("clip.mp4: mov, ")
    facts = {line.split()[0]: " ".join(line.split()[1:]) for line in lines[1:]}
    assert facts["picture"].startswith("h264 64x48, ")
    assert facts["picture"].endswith(" 5 frames")
    assert facts["length"].startswith("~0:00:00.1")
    assert facts["colour"] == "yuv420p, BT.601 (by its size), limited range, chroma left"
    assert facts["shown"] == "turned by 90 degrees clockwise, 48x64"
    assert facts["audio"].startswith("#1 aac 2 channels 48000 Hz")
    assert list(Path().iterdir()) == [Path("clip.mp4")]


def test_every_packet_says_more(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --packets nothing is an estimate, and a variable rate is told."""
    assert left(clip.name, "--packets") == 0
    out = capsys.readouterr().out
    assert "~" not in out
    assert "variable rate, keyframes: 1" in out


def test_a_program_reads_the_same(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON object: the video, and with --packets the index in figures."""
    assert left(clip.name, "--json", "--packets") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["video"]["turn"] == {"quarters": 1, "mirrored": False}
    assert found["video"]["colour"]["matrix"] == "bt601"
    assert found["index"] == {
        "frames": 5,
        "keyframes": 1,
        "vfr": True,
        "first_pts": found["index"]["first_pts"],
        "end_pts": found["index"]["end_pts"],
        "time_base": found["video"]["time_base"],
        "damaged_packets": 0,
        "clock_jumps": 0,
    }
    assert left(clip.name, "--json") == 0
    assert "index" not in json.loads(capsys.readouterr().out)


def test_what_is_no_video_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing file and a text file are errors that name the place and what to do."""
    (folder / "notes.mp4").write_text("ffconcat version 1.0\nfile clip.mp4\n")
    assert left("gone.mp4") == 2
    assert "gone.mp4 is not a file" in capsys.readouterr().err
    assert left("notes.mp4") == 1
    assert "notes.mp4: cannot be read as a video" in capsys.readouterr().err
