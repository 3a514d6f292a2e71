"""Look at an upscaled clip the way somebody who does not believe it would: by PyAV and NumPy alone, nothing of uprez.

Each check gives what it found in words, or raises DisprovedError with what is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

FRAMES_COMPARED = 5
LEAST_PSNR_DB = 28.0
"""On the demo's clip Real-ESRGAN's pictures come back at 30 dB, a frame too early or too late at 26 dB or less."""


class DisprovedError(Exception):
    """A claim about the result does not hold."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the result is said to be: the first `seconds` of `source`, `scale` times as wide and high."""

    source: Path
    result: Path
    seconds: Fraction
    scale: int


@dataclass(frozen=True, kw_only=True)
class Sound:
    """One audio packet: its time in seconds, and SHA-256 of its bytes."""

    time: Fraction
    sha256: str


def size(claim: Claim) -> str:
    """Check that the picture has `scale` times the width and height."""
    before, after = _size(claim.source), _size(claim.result)
    if after != (before[0] * claim.scale, before[1] * claim.scale):
        raise DisprovedError(f"{before} became {after}")
    return f"{before[0]}x{before[1]} -> {after[0]}x{after[1]}"


def frames(claim: Claim) -> str:
    """Check that exactly the source's frames of the part come out of the decoder, each at its source's time."""
    wanted = [time for time in _frame_times(claim.source) if time < claim.seconds]
    got = list(_frame_times(claim.result))
    if len(got) != len(wanted):
        raise DisprovedError(f"{len(got)} frames decoded, {len(wanted)} expected")
    late = max(abs(a - b) for a, b in zip(got, wanted, strict=True))
    if late > Fraction(1, 1000):
        raise DisprovedError(f"a frame is {float(late) * 1000:.1f} ms away from its time")
    return f"{len(got)} decoded, each at its source's time"


def picture(claim: Claim) -> str:
    """Check that frames of the result, made small again, are the source's frames."""
    worst = min(_psnr_db(small, large, claim.scale) for small, large in _pairs(claim))
    if worst < LEAST_PSNR_DB:
        raise DisprovedError(f"a frame made small again is only {worst:.1f} dB near its source")
    return f"{FRAMES_COMPARED} frames made small again are {worst:.1f} dB or more near their source"


def audio(claim: Claim) -> str:
    """Check that the sound is the source's, packet by packet, bit for bit, in order and in time."""
    wanted = [sound for sound in _sounds(claim.source) if sound.time < claim.seconds]
    got = _sounds(claim.result)
    if [sound.sha256 for sound in got] != [sound.sha256 for sound in wanted]:
        raise DisprovedError(f"{len(got)} packets, {len(wanted)} expected, and not the same bytes in the same order")
    if any(abs(a.time - b.time) > Fraction(1, 1000) for a, b in zip(got, wanted, strict=True)):
        raise DisprovedError("a packet is more than 1 ms away from its time")
    return f"{len(got)} packets equal the source's bit for bit"


def duration(claim: Claim) -> str:
    """Check that picture and file last as long as the part, to one frame."""
    with av.open(str(claim.result)) as container:
        rate = container.streams.video[0].average_rate
        whole = Fraction(container.duration or 0, 1_000_000)
    times = list(_frame_times(claim.result))
    if not rate:
        raise DisprovedError("the result states no frame rate")
    shown = times[-1] - times[0] + 1 / rate
    if max(abs(shown - claim.seconds), abs(whole - claim.seconds)) > 1 / rate:
        raise DisprovedError(f"picture {_s(shown)}, file {_s(whole)}, asked for {_s(claim.seconds)}")
    return f"picture {_s(shown)}, file {_s(whole)}, asked for {_s(claim.seconds)}"


def _s(seconds: Fraction) -> str:
    return f"{float(seconds):.3f} s"


def _size(path: Path) -> tuple[int, int]:
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return frame.width, frame.height


def _frame_times(path: Path) -> Iterator[Fraction]:
    """Give every decoded frame's time in seconds after the first."""
    with av.open(str(path)) as container:
        first: Fraction | None = None
        for frame in container.decode(video=0):
            if frame.pts is None or frame.time_base is None:
                raise DisprovedError(f"a frame of {path.name} has no time")
            time = frame.pts * frame.time_base
            first = time if first is None else first
            yield time - first


def _sounds(path: Path) -> list[Sound]:
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        return [_sound(packet) for packet in packets]


def _sound(packet: av.Packet[AudioStream]) -> Sound:
    if packet.pts is None or packet.time_base is None:
        raise DisprovedError("a packet of sound has no time")
    return Sound(time=packet.pts * packet.time_base, sha256=hashlib.sha256(bytes(packet)).hexdigest())


def _pairs(claim: Claim) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Give the luma of some frames, evenly spread, of the source and of the result."""
    total = sum(1 for time in _frame_times(claim.source) if time < claim.seconds)
    chosen = {number * (total - 1) // (FRAMES_COMPARED - 1) for number in range(FRAMES_COMPARED)}
    sources, results = list(_lumas(claim.source, chosen)), list(_lumas(claim.result, chosen))
    if len(results) != len(sources):
        raise DisprovedError(f"the result ends before frame {max(chosen)}")
    yield from zip(sources, results, strict=True)


def _lumas(path: Path, chosen: set[int]) -> Iterator[NDArray[np.float64]]:
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in chosen:
                yield frame.to_ndarray(format="gray").astype(np.float64)
            if number >= max(chosen):
                return


def _psnr_db(small: NDArray[np.float64], large: NDArray[np.float64], scale: int) -> float:
    height, width = small.shape
    halved = large.reshape(height, scale, width, scale).mean(axis=(1, 3))
    return float(10 * np.log10(255**2 / max(np.square(small - halved).mean(), 1e-9)))
