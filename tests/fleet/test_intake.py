"""What a run takes in, and what it refuses before anything is rented."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import av
import pytest

from film import film
from house import write_clip
from uprez.config.layers import load
from uprez.config.settings import Settings
from uprez.errors import UsageError
from uprez.fleet import forecast
from uprez.fleet.intake import Intake, take_in
from uprez.models import MODELS, Model, weights
from uprez.report.console import Console


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty folder of inputs, in a current folder without settings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input").mkdir()
    return tmp_path / "input"


def taken(**flags: object) -> tuple[Intake, str]:
    """Take in what is in ./input; gives what was found and what was said."""
    return _taken(load({"model": "lanczos", **flags}))


def _taken(settings: Settings) -> tuple[Intake, str]:
    said = io.StringIO()
    return take_in(settings, Console(stream=said), None), said.getvalue()


def hdr_clip(path: Path) -> None:
    """Make a clip of three frames that says it is PQ."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=25, options={"x265-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = 9, 9, 16
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p10le")))
        container.mux(stream.encode(None))


@pytest.mark.usefixtures("rife")
def test_a_mode_that_interpolates_names_frames_and_rate(inputs: Path) -> None:
    """What a dry run says of each video and of all: frames and rate of the result, by which models, and its name."""
    for name in ("a.mp4", "b.mp4"):
        write_clip(inputs / name, 10, (64, 48), 0 if name == "a.mp4" else 9)
    for flags, outputs, line in (
        ({"mode": "interp", "model": None}, "2xfps", "64x48, ~20 frames at 50 fps by rife"),
        ({"mode": "both", "target_fps": "59.94"}, "x2-59.94fps", "128x96, ~24 frames at 59.94 fps by lanczos and rife"),
        ({"mode": "both", "factor": "5/2"}, "x2-2.5xfps", "128x96, ~25 frames at 62.5 fps by lanczos and rife"),
    ):
        settings = replace(load({"model": "lanczos", **flags}), dry_run=True)
        said = io.StringIO()
        console = Console(stream=said)
        intake = take_in(settings, console, None)
        forecast.tell(intake, settings, console)
        assert [work.output for work in intake.jobs] == [f"a.{outputs}.mp4", f"b.{outputs}.mp4"]
        assert f"[INFO] a.mp4: 64x48 h264, ~10 frames -> {line}\n" in said.getvalue()
        count = int(line.partition("~")[2].partition(" ")[0])
        assert f"~20 frames -> ~{2 * count} frames\n" in said.getvalue()


def test_an_ids_model_is_all_that_the_job_needs(inputs: Path, rife: Model) -> None:
    """One model's digest is its own, as it always was; of two it depends on both."""
    write_clip(inputs / "a.mp4", 10, (64, 48), 0)

    def digest(**flags: object) -> str:
        (work,) = taken(**flags)[0].works
        return work.job.model_sha256

    lanczos, both, between = digest(), digest(mode="both"), digest(mode="interp", model=None)
    assert lanczos == weights.sha256_of_model(MODELS["lanczos"])
    assert between == weights.sha256_of_model(rife)
    assert len({lanczos, both, between, digest(mode="both", model="realesr-animevideov3")}) == 4


@pytest.mark.usefixtures("inputs", "rife")
def test_a_model_that_interpolates_makes_no_picture_larger() -> None:
    """Named as what upscales it is refused, with what it is for; the mode interp brings it by itself."""
    with pytest.raises(UsageError, match="--model rife makes frames between others") as caught:
        taken(model="rife")
    assert "--mode interp or both uses it; to make pictures larger: realesr-animevideov3" in str(caught.value.hint)
    assert taken(mode="interp", model=None)[0].jobs == ()


@pytest.mark.usefixtures("inputs")
def test_what_no_encoder_takes_stops_the_run() -> None:
    """A preset, a quality or a format that no rung has is a usage error, even where no video is."""
    for flags in (
        {"encoder_preset": "tiny"},
        {"codec": "av1", "crf": "0"},
        {"codec": "h264", "pix_fmt": "yuv420p12le"},
        {"codec": "prores", "pix_fmt": "yuv422p10le", "encoder_preset": "4444"},
    ):
        with pytest.raises(UsageError):
            taken(**flags)


@pytest.mark.usefixtures("inputs")
def test_a_rented_gpu_that_will_not_encode_is_worth_a_warning() -> None:
    """A preset that only CPU encoders know is warned of once where a machine is rented, and nowhere else."""
    slow = load({"encoder_preset": "slow"})
    warning = "The rented machine's CPU will encode, not its GPU (h264_nvenc: knows no preset"
    assert warning in _taken(replace(slow, market="vast"))[1]
    assert warning not in _taken(slow)[1]
    assert warning not in _taken(replace(load({"encoder_preset": "p7"}), market="vast"))[1]


def test_what_a_video_cannot_become_is_refused_before_the_work(inputs: Path) -> None:
    """HDR in 8 bits fails its own job, by name and with a next step; as it is, it is taken."""
    hdr_clip(inputs / "film.mkv")
    refused, said = taken(pix_fmt="yuv420p")
    assert (len(refused.jobs), [job.input for job in refused.failed]) == (0, ["film.mkv"])
    assert "would show bands in 8 bits" in said
    assert "[HINT]" in said
    good, _ = taken()
    assert [work.output for work in good.jobs] == ["film.x2.mkv"]


def test_a_codec_and_a_container_that_never_fit_stop_the_run(inputs: Path) -> None:
    """The flags alone show it: nothing is started, and what would fit is named."""
    hdr_clip(inputs / "film.mkv")
    for codec, container, others in (
        ("prores", "mp4", "mov or mkv"),
        ("av1", "mov", "mp4 or mkv"),
        ("ffv1", "mov", "mkv"),
    ):
        with pytest.raises(UsageError, match=f"{container} cannot carry {codec} pictures") as stopped:
            taken(codec=codec, container=container)
        assert f"--container {others}," in str(stopped.value.hint)
    assert [work.output for work in taken(codec="prores", container="mov")[0].jobs] == ["film.x2.mov"]


def test_a_container_that_would_lose_a_stream_is_refused_by_name(inputs: Path) -> None:
    """MP4 for a film with ASS, PGS, fonts and FLAC fails its job, naming each; left out on request, kept by default."""
    plain = inputs.parent / "plain.mkv"
    write_clip(plain, 10, (64, 48), 0)
    film(plain, inputs / "film.mkv")
    refused, said = taken(container="mp4")
    assert not refused.jobs
    for name in ("(subtitle, ass)", "(subtitle, hdmv_pgs_subtitle)", '(attachment, font/ttf "Schrift ä.ttf")'):
        assert name in said
    assert "[HINT] choose --container mkv, or leave such streams out with --drop-unsupported" in " ".join(said.split())
    dropped, said = taken(container="mp4", drop_unsupported=True)
    assert [work.output for work in dropped.jobs] == ["film.x2.mp4"]
    assert "not carried into mp4: stream" in said
    assert [work.output for work in taken()[0].jobs] == ["film.x2.mkv"]
