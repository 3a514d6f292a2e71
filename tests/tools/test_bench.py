"""The parts of `make bench` that measure nothing: its tables and page, medians, PSNR, and the clip on twos."""

from __future__ import annotations

import os
import sys
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np
import pytest

import bench_clips
import bench_inference
import bench_likeness
import bench_page
import bench_process
import bench_whole
from bench_inference import Timed
from bench_page import Section, Setting
from bench_process import Ended
from uprez.media.frame import Frame

OLD = """# Benchmarks: of an earlier version

| a | b |
| --- | --- |

## A clip on twos

old figures

## Renting, on the practice market

| what | time |
| --- | --- |
| renting | 39.1 s |

The bill.
"""


def frame(value: int) -> Frame:
    """A picture of one colour."""
    sides = ((18, 32), (9, 16), (9, 16))
    return Frame(planes=tuple(np.full(shape, value, np.uint8) for shape in sides), pts=value)


def test_a_table_has_a_head_and_its_rows() -> None:
    """Markdown, a line each."""
    assert bench_page.table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


def test_a_page_keeps_the_sections_of_other_commands() -> None:
    """New sections come in their order, old ones of the same title go, all others stay as they were."""
    made = [Section.of("On a GPU", "none"), Section.of("A clip on twos", "new figures")]
    page = bench_page.page(OLD, made)
    rest = OLD[OLD.index("## Renting") :]
    assert page == f"{bench_page.HEAD}\n## A clip on twos\n\nnew figures\n\n## On a GPU\n\nnone\n\n{rest}"
    assert bench_page.page(page, []) == page


def test_a_section_breaks_its_lines_but_not_its_tables() -> None:
    """A paragraph's lines are at most 120 characters long."""
    table = bench_page.table(("a" * 150, "b"), [("1", "2")])
    text = Section.of("title", f"{'word ' * 60}\n\n{table}\nend\n").text
    assert [len(line) <= 120 for line in text.split("\n\n")[0].splitlines()] == [True] * 3
    assert table.strip() in text


@pytest.mark.parametrize(("load", "said"), [(0.1, "quiet"), (3.0, "busy (load 3.0)")])
def test_a_remark_says_how_busy_the_machine_was(load: float, said: str) -> None:
    """Figures of a busy machine are marked."""
    remark = Setting(command="make bench", machine="a machine", load=load).remark({"uprez": "1.0"})
    assert said in remark
    assert remark.endswith("uprez 1.0.")


def test_a_score_is_the_median_scaled_to_all_frames() -> None:
    """A program that made a fourth of the frames is counted four times."""
    score = bench_whole.score([Ended(seconds=each, peak_mib=each) for each in (3, 1, 2)], Fraction(4))
    assert (score.seconds, score.spread, score.peak_mib) == (8, (4, 12), 3)


def test_rates_are_told_as_shares_of_the_best_matrix_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock of one tick a look each run takes one, so that rates are as the operations."""
    ticks = count()
    monkeypatch.setattr(bench_inference.time, "perf_counter", lambda: float(next(ticks)))
    monkeypatch.setattr(bench_inference.time, "sleep", lambda _: None)
    timed = [
        Timed(name="small", flop=1e9, run=lambda: None, is_matrix=True),
        Timed(name="large", flop=2e9, run=lambda: None, is_matrix=True),
        Timed(name="network", flop=3e9, run=lambda: None),
    ]
    rows = bench_inference.interleaved("1x1", timed, rounds=3)
    assert [(row.name, row.gflops, row.share) for row in rows] == [
        ("small", 1, 0.5),
        ("large", 2, 1),
        ("network", 3, 1.5),
    ]


def test_psnr_of_equal_pictures_is_capped() -> None:
    """So that means stay finite."""
    found = bench_likeness.apart(frame(90).planes, frame(90).planes, "bt601")
    assert (found.luma, found.rgb, found.shift) == (100, 100, 0)


def test_a_shift_of_luma_shows_in_all_colours_and_is_taken_off() -> None:
    """Two code values of luma are 2 * 255 / 219 of each colour; nothing is left without the mean difference."""
    one, other = frame(90), frame(90)
    other = Frame(planes=(other.planes[0] + np.uint8(2), *other.planes[1:]), pts=0)
    found = bench_likeness.apart(one.planes, other.planes, "bt601")
    assert found.shift == 2
    assert found.luma == pytest.approx(20 * np.log10(255 / 2))
    assert found.rgb == pytest.approx(20 * np.log10(219 / 2), abs=1e-4)
    assert (found.luma_unshifted, found.rgb_unshifted) == (100, 100)


def test_a_step_of_red_chroma_is_weighed_by_the_matrix() -> None:
    """BT.709: one code of V is 1.5748 / 224 of red and -0.4681 / 224 of green."""
    one = frame(128)
    other = Frame(planes=(*one.planes[:2], one.planes[2] + np.uint8(1)), pts=0)
    found = bench_likeness.apart(one.planes, other.planes, "bt709")
    assert found.luma == 100
    assert found.rgb == pytest.approx(-10 * np.log10((1.5748**2 + 0.46812**2) / 3 / 224**2), abs=1e-3)


def test_a_clip_on_twos_has_every_picture_twice() -> None:
    """Its frames are numbered anew, and it passes its own check."""
    made = list(bench_clips.on_twos([frame(value) for value in (10, 20, 30)]))
    assert [(each.pts, int(each.planes[0][0, 0])) for each in made] == list(enumerate((10, 10, 20, 20, 30, 30)))
    bench_clips.check_on_twos(made)


@pytest.mark.parametrize("values", [(10, 10, 10, 10), (10, 20, 20, 30)], ids=["four times", "pairs that differ"])
def test_another_clip_is_not_on_twos(values: tuple[int, ...]) -> None:
    """It is refused, or the figures would say something else than they claim."""
    with pytest.raises(ValueError, match="frames"):
        bench_clips.check_on_twos([frame(value) for value in values])


def test_a_written_clip_on_twos_is_read_again(materials: Path, tmp_path: Path) -> None:
    """Stored without loss, pairs of a real film are identical."""
    bench_clips.write_on_twos(materials / "bikes.mp4", tmp_path / "twos.mkv", 6, threads=1)
    assert (tmp_path / "twos.mkv").stat().st_size > 0


def test_a_program_is_watched_with_all_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of a child's child counts, and a failure shows what was printed."""
    monkeypatch.setattr(bench_process, "LOOK_S", 0.02)
    child = "x = bytearray(b'1' * (64 << 20)); import time; time.sleep(0.3)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    ended = bench_process.run([sys.executable, "-c", code], environment=os.environ, folder=tmp_path)
    assert ended.peak_mib > 64
    with pytest.raises(SystemExit, match="no such thing"):
        bench_process.run(
            [sys.executable, "-c", "raise SystemExit('no such thing')"], environment=os.environ, folder=tmp_path
        )
