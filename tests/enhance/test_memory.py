"""Memory: what a model may take, what is said where that is too little, and smaller tiles where it runs out."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pictures import Waves
from plain import COLOUR, VIDEO
from small import small_network
from starved import large
from uprez.enhance import memory
from uprez.enhance import session as sessions
from uprez.enhance.engine import Engine
from uprez.enhance.rungs import RUNGS, Array, How, Running
from uprez.enhance.upscale import LEAST_TILE_PX, Means, Upscaler
from uprez.errors import MemoryShortError, ModelError
from uprez.job import Encoding, Options
from uprez.market.base import QUIET
from uprez.media.frame import Frame, Moment
from uprez.media.target import Target
from uprez.models import MODELS
from uprez.models.graphs import GraphSpec

MIB = 1 << 20
HD = replace(VIDEO, width=1920, height=1080)
UHD = Target(codec="h264", width=3840, height=2160, colour=COLOUR)
NETWORK = small_network(2)
MODEL = replace(MODELS["realesr-animevideov3"], native_scale=2, halo_px=3, working_bytes={"cpu": 4000})
SPEC = GraphSpec(width=128, height=96, out_width=256, out_height=192, native_scale=2, source=COLOUR, target=COLOUR)
FRAME = Waves(width=128, height=96, colour=COLOUR).at(0, pts=11)


def encoding(rung: str = "libx264", preset: str | None = "medium", threads: int = 2) -> Encoding:
    """Settings of an encoder."""
    options = (("preset", preset),) if preset else ()
    return Encoding(codec="h264", rung=rung, pix_fmt="yuv420p", options=options, threads=threads)


# --- what there is


def limits(folder: Path, monkeypatch: pytest.MonkeyPatch, *texts: str | None) -> None:
    """Let a container's limits be these; None: there is no such file."""
    paths = [folder / f"limit{number}" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        if text is not None:
            path.write_text(text)
    monkeypatch.setattr(memory, "_CGROUPS", tuple(paths))


def test_the_memory_is_the_machines_or_its_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least of them; a container without a limit, or with one above the machine, takes nothing away."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits(tmp_path, monkeypatch, None, None)
    assert memory.machine_bytes() == machine
    limits(tmp_path, monkeypatch, "max\n", None)
    assert memory.machine_bytes() == machine
    limits(tmp_path, monkeypatch, f"{machine * 4}\n", "9223372036854771712\n")
    assert memory.machine_bytes() == machine
    limits(tmp_path, monkeypatch, f"{300 * MIB}\n", None)
    assert memory.machine_bytes() == 300 * MIB
    limits(tmp_path, monkeypatch, "max\n", f"{200 * MIB}\n")
    assert memory.machine_bytes() == 200 * MIB


def test_queues_are_shorter_where_frames_are_large() -> None:
    """Four frames, unless those are more than a sixty-fourth of the memory; and always one."""
    small = Target(codec="h264", width=640, height=360, colour=COLOUR)
    assert memory.queue_depth(2048 * MIB, VIDEO, small) == memory.QUEUE_DEPTH
    frame = 3840 * 2160 * 3 // 2
    assert [memory.queue_depth(64 * frame * count, HD, UHD) for count in (1, 2, 3, 4, 100)] == [1, 2, 3, 4, 4]
    assert memory.queue_depth(MIB, HD, UHD) == 1
    deep = replace(UHD, colour=replace(COLOUR, depth=10))
    assert memory.queue_depth(16 * frame * 2, HD, deep) == 1
    assert memory.queue_depth(16 * frame, replace(HD, width=3840, height=2160), small) == 1  # the source's count too


# --- what an encoder takes


@pytest.mark.parametrize("rung", ["libx264", "libx265", "libsvtav1", "ffv1", "h264_nvenc"])
def test_an_encoder_takes_more_for_larger_pictures_and_more_threads(rung: str) -> None:
    """By the pixel; twice as much for samples of two bytes."""
    half = replace(UHD, width=1920)
    sizes = [memory.encoder_bytes(encoding(rung), wanted) for wanted in (half, UHD)]
    assert 2 * sizes[0] == pytest.approx(sizes[1], rel=0.01)
    threads = [memory.encoder_bytes(encoding(rung, threads=count), UHD) for count in (1, 2, 16)]
    assert threads[0] < threads[1] < threads[2]
    deep = replace(UHD, colour=replace(COLOUR, depth=10))
    assert memory.encoder_bytes(encoding(rung), deep) == pytest.approx(2 * sizes[1], rel=0.01)


@pytest.mark.parametrize("rung", ["libx264", "libx265"])
def test_a_slower_preset_looks_further_ahead_and_takes_more(rung: str) -> None:
    """From ultrafast to veryslow, never less; without a preset it is that of medium."""
    presets = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
    taken = [memory.encoder_bytes(encoding(rung, preset), UHD) for preset in presets]
    assert all(one <= other for one, other in itertools.pairwise(taken))
    assert taken[0] < taken[5] < taken[-1]
    assert memory.encoder_bytes(encoding(rung, None), UHD) == taken[5]


@pytest.mark.parametrize(
    ("rung", "threads", "measured_mib"),
    [("libx264", 2, 1509), ("libx264", 16, 2358), ("libx265", 2, 1521), ("libx265", 16, 1903), ("libsvtav1", 2, 2485)],
)
def test_the_estimate_is_what_was_measured(rung: str, threads: int, measured_mib: int) -> None:
    """At 3840x2160 and preset medium (6), within an eighth."""
    taken = memory.encoder_bytes(encoding(rung, "6" if rung == "libsvtav1" else "medium", threads), UHD)
    assert taken / MIB == pytest.approx(measured_mib, rel=1 / 8)


# --- what is left for the model


def test_a_model_gets_what_is_left() -> None:
    """All but what program, frames and encoder take; the more there is, the more it gets, and never all."""
    total = 8192 * MIB
    left = memory.for_model(total, HD, UHD, encoding())
    taken = memory.PROGRAM_BYTES + memory.encoder_bytes(encoding(), UHD)
    assert 0 < left < total - taken
    assert memory.for_model(2 * total, HD, UHD, encoding()) >= left + 0.9 * total
    assert memory.for_model(total, HD, UHD, encoding(preset="ultrafast")) > left
    assert memory.for_model(total, HD, UHD, encoding(threads=16)) < left


def test_too_little_is_refused_with_the_numbers() -> None:
    """What there is, what the encoder and frames take, what all of it would be, and that much is then enough."""
    with pytest.raises(MemoryShortError) as caught:
        memory.for_model(1024 * MIB, HD, UHD, encoding())
    said = caught.value.message
    assert said.startswith("1024 MiB are too little for 3840x2160 by libx264")
    assert f"about {memory.encoder_bytes(encoding(), UHD) >> 20} MiB itself" in said
    assert "--memory" in (caught.value.hint or "")
    enough = int(said.rsplit(" ", 1)[1]) + 1
    # A larger memory takes longer queues: the number is about right, and a little more is enough.
    assert memory.for_model(int(enough * 1.2) * MIB, HD, UHD, encoding()) > 0


def test_a_2_gib_machine_makes_4k_of_1080p() -> None:
    """With the encoder's preset medium and two threads there is room for a model."""
    assert memory.for_model(2048 * MIB, HD, UHD, encoding()) > 48 * MIB


# --- tiles


def opened(memory_bytes: int | None = None, say: Callable[[str], None] = lambda _: None) -> Upscaler:
    """Open a small network on the CPU."""
    return Upscaler(NETWORK, MODEL, SPEC, Means(families=("cpu",), threads=1, memory_bytes=memory_bytes, say=say))


def same(one: Frame, other: Frame) -> bool:
    """Say whether two pictures are the same to within what rounding makes of the smallest difference."""
    assert one.pts == other.pts
    return all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(one.planes, other.planes, strict=True))


def test_a_picture_that_fits_is_whole() -> None:
    """Nothing is said of memory."""
    said: list[str] = []
    whole = opened(4400 * 128 * 96, said.append)
    assert whole.tiling is None
    assert whole.notes == said == []


def test_a_picture_that_does_not_fit_is_cut() -> None:
    """Into tiles that do, which is noted and said, and is the same picture."""
    said: list[str] = []
    tiled = opened(4400 * 128 * 96 // 2, said.append)
    assert tiled.tiling is not None
    assert tiled.tiling.window_px <= 128 * 96 // 2
    assert tiled.notes == said == [f"{tiled.tiling}, to stay within the memory"]
    assert same(tiled(FRAME), opened()(FRAME))


def test_no_memory_is_no_reason_for_tiles_of_a_few_pixels() -> None:
    """Below the smallest tile the memory is not what is short: there it stays."""
    tiled = opened(1)
    assert tiled.tiling is not None
    assert tiled.tiling.window_px <= LEAST_TILE_PX
    with pytest.raises(MemoryShortError, match="does not fit into 0 MiB, not even in small tiles") as caught:
        Upscaler(NETWORK, replace(MODEL, halo_px=60), SPEC, Means(families=("cpu",), threads=1, memory_bytes=1))
    assert caught.value.hint == "give it more with --memory"


# --- out of memory


class Full:
    """A device that has memory for a number of pixels, and says what runtimes say where that is too little."""

    def __init__(self, inner: Running, room: Callable[[], int], words: str, log: list[str]) -> None:
        self._inner, self._room, self._words, self._log = inner, room, words, log
        self.inputs, self.outputs = inner.inputs, inner.outputs
        log.append("open")

    def run(self, names: Sequence[str], feed: Mapping[str, Array]) -> Sequence[Array]:
        """Run, or fail."""
        if feed["y"].size > self._room():
            raise RuntimeError(self._words)
        return self._inner.run(names, feed)

    def share(self, count: int) -> int:
        """Run as many at once as anybody wants."""
        return count

    def __del__(self) -> None:
        """Let go of the memory."""
        self._log.append("gone")


WORDS = [
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 1073741824",
    "CUDA failure 2: out of memory ; GPU=0",
    "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
    "NvTensorRTRTX EP execution context enqueue failed.",
    "std::bad_alloc",
    "WebGPU device lost (2): reset",
]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let the CPU's rung be such a device; gives what was opened and let go of."""

    def make(room: Callable[[], int], words: str = WORDS[0]) -> list[str]:
        log: list[str] = []

        def open_full(data: bytes, how: How) -> tuple[Running, str]:
            inner, device = RUNGS[-1].open(data, how)
            return Full(inner, room, words, log), device

        monkeypatch.setattr(sessions, "RUNGS", (replace(RUNGS[-1], open=open_full),))
        return log

    return make


@pytest.mark.parametrize("words", WORDS, ids=lambda words: words[:30])
def test_out_of_memory_at_the_opening_takes_smaller_tiles(full: Callable[..., list[str]], words: str) -> None:
    """Whatever the runtime calls it: half as many pixels, again and again, said each time; and the same picture."""
    whole = opened()(FRAME)
    full(lambda: 128 * 96 // 2 - 1, words)
    said: list[str] = []
    tiled = opened(say=said.append)
    assert tiled.tiling is not None
    assert tiled.tiling.window_px <= 128 * 96 // 2 - 1
    assert said[0].startswith("[WARN] out of memory with 12288 pixels at once, trying half as many: ")
    assert words.rsplit(" : ", maxsplit=1)[-1][:20] in said[0]
    assert tiled.notes[-1] == f"{tiled.tiling}, to stay within the memory"
    assert same(tiled(FRAME), whole)


def test_out_of_memory_in_the_middle_makes_the_same_frame_again(full: Callable[..., list[str]]) -> None:
    """The session that failed is let go of before the next one opens, or that would find the same full device."""
    whole = opened()(FRAME)
    room = [128 * 96]
    log = full(lambda: room[0])
    made = opened()
    assert same(made(FRAME), whole)
    room[0] = 128 * 96 - 1
    log.clear()
    assert same(made(FRAME), whole)
    assert made.tiling is not None
    assert log[:2] == ["gone", "open"]
    assert log.count("open") - log.count("gone") == 0  # one is open, and the first was before


@pytest.mark.parametrize("at", [0, 1, 4])
def test_frames_made_at_once_survive_too_little_memory(full: Callable[..., list[str]], at: int) -> None:
    """Whichever of them meets it, and whether the other runs or has yet to begin: all come out, in order."""
    room = [128 * 96]
    full(lambda: room[0])
    upscaler = opened()
    waves = Waves(width=128, height=96, colour=COLOUR)
    frames = [waves.at(number, pts=number) for number in range(6)]
    due = [upscaler(frame) for frame in frames]

    def shown() -> Iterator[Moment]:
        for number, frame in enumerate(frames):
            if number == at:
                room[0] = 128 * 96 - 1
            yield Moment(left=frame, right=frame)

    made = list(Engine(Options(), upscaler, None).frames(shown()))
    assert upscaler.tiling is not None
    assert all(same(got, wanted) for got, wanted in zip(made, due, strict=True))


@pytest.mark.parametrize(("pictures", "at_once"), [(None, 2), (2.5, 2), (1.5, 1), (0.5, 1)])
def test_two_frames_at_once_need_memory_for_both(
    full: Callable[..., list[str]], pictures: float | None, at_once: int
) -> None:
    """A picture that just fits is made alone; nothing is cut for the sake of a second one."""
    full(lambda: 128 * 96)
    upscaler = opened(None if pictures is None else round(pictures * 4400 * 128 * 96))
    assert upscaler.share(2) == at_once
    assert (upscaler.tiling is None) == (pictures is None or pictures > 1)


def test_what_no_tile_mends_is_told(full: Callable[..., list[str]]) -> None:
    """A device that has no memory at all ends with the runtime's words, not with an endless search."""
    full(lambda: 0)
    said: list[str] = []
    with pytest.raises(MemoryShortError, match="Failed to allocate"):
        opened(say=said.append)
    # 12288 pixels; then some 6144, whose half would be below the smallest tile.
    assert [line[:32] for line in said if line.startswith("[WARN]")] == ["[WARN] out of memory with 12288 "]


def test_another_failure_is_no_reason_for_tiles(full: Callable[..., list[str]]) -> None:
    """It is raised at once, as what it is."""
    full(lambda: 0, "the driver is too old")
    said: list[str] = []
    with pytest.raises(ModelError, match="the driver is too old") as caught:
        opened(say=said.append)
    assert not isinstance(caught.value, MemoryShortError)
    assert said == []


CHILD = """
import json, resource, sys
import numpy as np
sys.path[:0] = {path}
from starved import large
large(64, 4)  # all that the runtime maps once
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + (180 << 20), pages + (180 << 20)))
said = []
made, frame = large(640, 64, said.append)
np.savez(sys.argv[1], *made(frame).planes)
print(json.dumps([said, str(made.tiling)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is Linux's")
def test_a_process_that_gets_no_more_memory_makes_the_picture_in_tiles(tmp_path: Path) -> None:
    """For real: ONNX Runtime's own words where the operating system refuses."""
    whole, frame = large(640, 64)
    due = whole(frame).planes
    assert whole.tiling is None
    program = CHILD.format(path=[folder for folder in sys.path if folder])
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "planes.npz")],
        env={**os.environ, **QUIET},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    said, tiling = json.loads(ended.stdout.splitlines()[-1])
    assert any(line.startswith("[WARN] out of memory with 409600 pixels at once") for line in said), said
    assert "tiles of" in tiling
    with np.load(tmp_path / "planes.npz") as planes:
        for name, wanted in zip(planes.files, due, strict=True):
            assert np.abs(planes[name].astype(int) - wanted).max() <= 1
