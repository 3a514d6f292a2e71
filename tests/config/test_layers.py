"""Settings: flags over defaults, every value checked where it enters."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez.config.layers import CODECS, load, one_of, parse_seconds
from uprez.errors import UsageError
from uprez.job import Options


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep this machine's state and cache in the test's folder."""
    monkeypatch.setenv("UPREZ_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("UPREZ_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def test_defaults_are_those_of_the_options(folders: Path) -> None:
    """The defaults file and the options' own defaults agree, so a job's id does not depend on which one was used."""
    settings = load({})
    assert settings.options == Options()
    assert (settings.market, settings.output_dir) == ("local", Path("output"))
    assert (settings.state_dir, settings.cache_dir) == (folders / "state", folders / "cache")
    assert (settings.local.boot_s, settings.local.lease_s, settings.local.grace_s) == (30, 60, 10)


def test_flags_win_over_defaults(tmp_path: Path) -> None:
    """Each flag that is given takes the place of its default."""
    settings = load(
        {
            "input_dir": tmp_path,
            "output_dir": tmp_path / "out",
            "name": "a.mkv",
            "start": "0:01.5",
            "duration": "2",
            "scale": "1.5",
            "model": "lanczos",
            "mode": "upscale",
            "codec": "hevc",
            "crf": 20,
            "segment_frames": 12,
            "dry_run": True,
        }
    )
    assert settings.options == Options(
        scale=Fraction(3, 2),
        model="lanczos",
        codec="hevc",
        container="mkv",
        crf=20,
        start=Fraction(3, 2),
        duration=Fraction(2),
    )
    assert (settings.input_dir, settings.output_dir, settings.name) == (tmp_path, tmp_path / "out", "a.mkv")
    assert (settings.segment_frames, settings.dry_run) == (12, True)


def test_flags_that_were_not_given_change_nothing() -> None:
    """None is not a value: the default below it counts."""
    assert load({"scale": None, "crf": None, "codec": None, "start": None, "output_dir": None}) == load({})


BAD = [
    ("scale", "0.5", "--scale", "1 to 4"),
    ("scale", "4.01", "--scale", "1 to 4"),
    ("scale", "nan", "--scale", "1 to 4"),
    ("scale", "1e999999999", "--scale", "1 to 4"),
    ("scale", "-2", "--scale", "1 to 4"),
    ("scale", "", "--scale", "1 to 4"),
    ("mode", "both", "--mode", "--mode upscale"),
    ("mode", "interp", "--mode", "--mode upscale"),
    ("mode", "upscal", "--mode", "upscale"),
    ("codec", "h265", "--codec", "hevc"),
    ("crf", -1, "--crf", "0 (best)"),
    ("crf", 52, "--crf", "0 (best)"),
    ("start", "-1", "--start", "write seconds"),
    ("start", "1:2:3:4", "--start", "write seconds"),
    ("start", "soon", "--start", "write seconds"),
    ("duration", "", "--duration", "write seconds"),
    ("duration", "0", "--duration", "more than 0"),
    ("duration", "1e9", "--duration", "write seconds"),
    ("segment_frames", 0, "--segment-frames", "at least 1"),
    ("name", "a/b.mp4", "--name", "--output-dir"),
    ("name", "..", "--name", "--output-dir"),
    ("name", " ", "--name", "--output-dir"),
    ("name", "a.avi", ".avi", ".mkv"),
]


@pytest.mark.parametrize(("name", "value", "flag", "step"), BAD)
def test_a_bad_value_is_named_with_its_flag_and_the_next_step(
    name: str, value: str | int, flag: str, step: str
) -> None:
    """Whoever mistyped reads what, where, and what to write instead."""
    with pytest.raises(UsageError) as caught:
        load({name: value})
    assert flag in caught.value.message
    assert str(value) in caught.value.message
    assert step in str(caught.value.hint)


@pytest.mark.parametrize("mode", ["interp", "both"])
def test_interpolation_says_what_is_missing(mode: str) -> None:
    """Asking for frames in between names the network that this version lacks."""
    with pytest.raises(UsageError, match="RIFE"):
        load({"mode": mode})


@pytest.mark.parametrize(
    ("name", "container"),
    [(None, "auto"), ("a", "auto"), ("a.mp4", "mp4"), ("a.MKV", "mkv"), ("v1.2", "auto"), ("é #%.mp4", "mp4")],
)
def test_the_container_is_read_off_the_name(name: str | None, container: str) -> None:
    """A suffix that uprez writes chooses the container; any other dot is part of the name."""
    assert load({"name": name}).options.container == container


@settings(deadline=None)  # a busy machine is no failure
@given(hours=st.integers(0, 99), minutes=st.integers(0, 59), micros=st.integers(0, 59_999_999))
def test_a_time_is_read_exactly_in_every_notation(hours: int, minutes: int, micros: int) -> None:
    """Seconds, minutes:seconds and hours:minutes:seconds name the same instant, to the microsecond."""
    rest, total = Fraction(micros, 10**6), 3600 * hours + 60 * minutes
    seconds = f"{micros // 10**6}.{micros % 10**6:06}"
    assert parse_seconds(f"{hours}:{minutes:02}:{seconds}", "--start") == total + rest
    assert parse_seconds(f" {60 * hours + minutes}:{seconds} ", "--start") == total + rest
    assert parse_seconds(f"{total + micros // 10**6}.{micros % 10**6:06}", "--start") == total + rest


@settings(deadline=None)  # a busy machine is no failure
@given(text=st.text(max_size=12) | st.text(alphabet="0123456789:. -+e/", max_size=12))
def test_any_text_is_a_time_or_a_usage_error(text: str) -> None:
    """Nothing else can happen: what is accepted has digits in each part and is never negative."""
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?(:\d{1,9}(\.\d{1,9})?){0,2}", text.strip(), re.ASCII):
        assert parse_seconds(text, "--start") >= 0
    else:
        with pytest.raises(UsageError, match=re.escape(repr(text))):
            parse_seconds(text, "--start")


@settings(deadline=None)  # a busy machine is no failure
@given(numerator=st.integers(0, 5000), places=st.integers(0, 3))
def test_a_scale_is_taken_exactly_or_refused(numerator: int, places: int) -> None:
    """Every decimal from 1 to 4 is that very fraction; all others are refused."""
    scale = Fraction(numerator, 10**places)
    text = f"{numerator // 10**places}.{numerator % 10**places:0{places}}" if places else str(numerator)
    if 1 <= scale <= 4:
        assert load({"scale": text}).options.scale == scale
    else:
        with pytest.raises(UsageError, match=r"--scale"):
            load({"scale": text})


def test_a_near_miss_is_answered_with_the_nearest() -> None:
    """A typing error gets a suggestion, nonsense the list alone."""
    with pytest.raises(UsageError, match=r"--codec 'hevv' is unknown: did you mean 'hevc'\?"):
        one_of("hevv", CODECS, "--codec")
    with pytest.raises(UsageError, match=r"--codec 'zzzz' is unknown$") as caught:
        one_of("zzzz", CODECS, "--codec")
    assert caught.value.hint == "known: auto, h264, hevc, ffv1"


def test_quality_means_nothing_to_a_lossless_codec() -> None:
    """--crf with ffv1 is refused before anything starts."""
    with pytest.raises(UsageError, match="lossless"):
        load({"codec": "ffv1", "crf": 20})
