"""What the ledger remembers of how long things took, a row for each task that counts, and what is believed by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from uprez.fleet import estimate
from uprez.fleet.belief import Belief, between
from uprez.fleet.ledger import Ledger
from uprez.fleet.rows import Measured
from uprez.fleet.work import Piece, Work
from uprez.job import Options, Video
from uprez.market.base import Line
from uprez.market.vast import throughput
from uprez.models import MODELS
from uprez.models.needed import models_of
from uprez.status import Done

BOOT, LINE, INDEX, ASSEMBLE = "boot", "line", "index", "assemble"
"""Kinds of rows that are no work of networks."""
LATEST = 50
"""Machines, or jobs, that are looked at: programs change."""
OURS = (1 / 3, 1.0)
"""Of a published rate: nothing is published that fetches and encodes as we do, and nobody has measured our own."""
LINES_MBPS = (1.0, 100_000.0)
"""What a worker may say of its line to be believed: it is its host's word."""
SHARES = (0.02, 2.0)
"""Likewise, of what its host advertises."""
MACHINES_DIFFER = 1.2
"""The factor within which nine in ten machines of one GPU are: CPUs, clocks and cooling differ."""


@dataclass(frozen=True, kw_only=True)
class Beliefs:
    """What is believed of everything that takes time or moves bytes, beside the work itself."""

    load_s: Belief
    """From the order to the container's start: its image is pulled, and only the disk costs."""
    install_s: Belief
    """From there to the worker's first word, where nobody says what the line carries."""
    line_share: Belief
    """Of what a host says of its line, that is reached: learnt of what comes, believed of what goes too."""
    unpack_s: Belief
    """From the container's start to the worker's first word, beside the fetching."""
    packages_bytes: Belief
    index_s: Belief
    """Where nobody says what the line carries."""
    read_s: Belief
    """Of an index, beside the fetching."""
    join_bytes_per_s: Belief
    """Of a result, at its assembly: segments come, the result goes. Where nobody says what the line carries."""
    weave_bytes_per_s: Belief
    """Of a result, at its assembly, beside the fetching and sending."""
    bits_per_pixel: Belief
    """Of a result."""


RENTED = Beliefs(
    load_s=between(60, 420, factor=2),
    install_s=between(60, 300, factor=1.5),
    line_share=between(0.4, 1, factor=1.5),
    unpack_s=between(40, 200, factor=1.5),
    packages_bytes=between(0.8e9, 4e9, factor=1.2),
    index_s=between(30, 240, factor=2),
    read_s=between(20, 180, factor=2),
    join_bytes_per_s=between(3e6, 60e6, factor=2),
    weave_bytes_per_s=between(30e6, 500e6, factor=2),
    bits_per_pixel=between(0.03, estimate.LOSSY_BITS, factor=2),
)
"""Before anything was measured: the wheels that a machine fetches are 0.8 to 4 GB, a boot is 4 to 10 minutes."""
LOCAL = Beliefs(
    load_s=between(0.1, 2, factor=2),
    install_s=between(0.5, 5, factor=2),
    line_share=between(0.4, 1, factor=1.5),
    unpack_s=between(0.5, 5, factor=2),
    packages_bytes=between(1, 2, factor=1.2),
    index_s=between(1, 60, factor=3),
    read_s=between(1, 60, factor=3),
    join_bytes_per_s=between(20e6, 500e6, factor=2),
    weave_bytes_per_s=between(20e6, 500e6, factor=2),
    bits_per_pixel=between(0.03, estimate.LOSSY_BITS, factor=2),
)
LOSSLESS = between(estimate.LOSSLESS_BITS / 4, estimate.LOSSLESS_BITS, factor=1.5)


def kind_of(options: Options) -> str:
    """Name what is done with frames, as far as a machine's speed at it depends on that."""
    order = f" {options.strategy}" if options.mode == "both" else ""
    return f"{' and '.join(models_of(options))} x{options.scale} {options.codec}{order}"


def units(gmac: float, pixels: float) -> float:
    """Measure work: by what the networks compute, or without any by the pixels of the result, in 10^6."""
    return gmac or pixels / 1e6


# --- written


def note_done(ledger: Ledger, work: Work, piece: Piece, done: Done) -> None:
    """Record what a task took that counts; of a machine whose GPU has no name nothing is learnt."""
    row = ledger.lease(done.task.partition("-")[0])
    if work.plan is None or done.fault or done.seconds <= 0 or not (row.gpu or row.place == "local"):
        return
    segment = work.plan.segments[piece.segment] if piece.kind == "enhance" else None
    frames = segment.count if segment else work.plan.frames
    ledger.measured(
        Measured(
            lease=row.id,
            job=work.job.id,
            gpu=row.gpu,
            work=kind_of(work.job.options) if segment else piece.kind,
            gmac=_gmac_per_frame(work.video, work.job.options) * frames if segment else 0.0,
            frames=frames,
            pixels=frames * work.plan.width * work.plan.height,
            bytes=work.job.source.size if piece.kind == INDEX else done.size,
            seconds=done.seconds,
        )
    )


def note_ready(ledger: Ledger, lease: str, fetched_bytes: int, reached_mbps: float | None = None) -> None:
    """Record that a worker said its first word, and what came before it; `reached_mbps`: at which Mbit/s it fetched."""
    ledger.ready(lease)
    row = ledger.lease(lease)
    if row.ready_at is None:
        return
    began = row.running_at or row.intended_at
    seconds = (row.ready_at - began).total_seconds()
    if seconds > 0:
        ledger.measured(Measured(lease=lease, gpu=row.gpu, work=BOOT, bytes=fetched_bytes, seconds=seconds))
    if reached_mbps is not None and LINES_MBPS[0] <= reached_mbps <= LINES_MBPS[1] and fetched_bytes > 0:
        fetch_s = fetched_bytes * 8 / 1e6 / reached_mbps
        ledger.measured(Measured(lease=lease, gpu=row.gpu, work=LINE, bytes=fetched_bytes, seconds=fetch_s))


def _gmac_per_frame(video: Video, options: Options) -> float:
    figures = estimate.estimate(video, options)
    return (figures.work_gmac or 0.0) / figures.frames if figures.frames else 0.0


# --- read


class Memory:
    """What is known of machines, from the ledger where there is one."""

    def __init__(self, ledger: Ledger | None, *, rented: bool) -> None:
        self._ledger = ledger
        self.rented = rented
        """Its machines are of a market where they cost money."""

    def speeds(self, video: Video, options: Options) -> dict[str, Belief]:
        """Say what is believed of the units a second of every GPU that somebody has measured at such work."""
        names = set(throughput.published()) if self.rented else {""}
        if self._ledger is not None:
            names.update(self._ledger.gpus(kind_of(options)))
        found = {name: self._speed(name, video, options) for name in sorted(names) if bool(name) == self.rented}
        return {name: speed for name, speed in found.items() if speed is not None}

    def beliefs(self, options: Options) -> Beliefs:
        """Say what is believed of all the rest."""
        guess = RENTED if self.rented else LOCAL
        boots, indexed, joined = (self._rows(kind) for kind in (BOOT, INDEX, ASSEMBLE))
        made = self._rows(kind_of(options), by="job")
        bits = LOSSLESS if options.codec == "ffv1" else guess.bits_per_pixel
        loads = self._ledger.loads_s(rented=self.rented, most=LATEST) if self._ledger else []
        lines = self._lines(guess.line_share, boots)
        return Beliefs(
            load_s=guess.load_s.corrected(loads),
            install_s=guess.install_s.corrected([row.seconds for row in boots]),
            line_share=lines.share,
            unpack_s=guess.unpack_s.corrected([lines.beside_s(row, line) for row, line in _told(boots)]),
            packages_bytes=guess.packages_bytes.corrected([row.bytes for row in boots]),
            index_s=guess.index_s.corrected([row.seconds / row.tasks for row in indexed]),
            read_s=guess.read_s.corrected([lines.beside_s(row, line) / row.tasks for row, line in _told(indexed)]),
            weave_bytes_per_s=guess.weave_bytes_per_s.corrected(
                [row.bytes / lines.beside_s(row, line, sent=True) for row, line in _told(joined)]
            ),
            join_bytes_per_s=guess.join_bytes_per_s.corrected([row.bytes / row.seconds for row in joined]),
            bits_per_pixel=bits.corrected([8 * row.bytes / row.pixels for row in made if row.pixels]),
        )

    def _lines(self, guess: Belief, boots: Sequence[Measured]) -> _Lines:
        """Say which lines were measured, and what is believed by them of all others."""
        reached = {row.lease: row.bytes / row.seconds for row in self._rows(LINE)}
        shares = [reached[row.lease] / line.down for row, line in _told(boots) if row.lease in reached]
        return _Lines(reached=reached, share=guess.corrected([one for one in shares if SHARES[0] <= one <= SHARES[1]]))

    def _speed(self, gpu: str, video: Video, options: Options) -> Belief | None:
        measured = [units(row.gmac, row.pixels) / row.seconds for row in self._rows(kind_of(options), gpu)]
        guess = _published(gpu, video, options)
        if guess is None and measured:
            # Around what was measured, to be corrected by it: the samples alone then say where the middle is.
            guess = between(min(measured) / 3, max(measured) * 3, factor=MACHINES_DIFFER)
        return None if guess is None else guess.corrected(measured)

    def _rows(self, kind: str, gpu: str | None = None, *, by: Literal["lease", "job"] = "lease") -> list[Measured]:
        if self._ledger is None:
            return []
        rows = self._ledger.measurements(kind, gpu, by=by, most=LATEST)
        return [row for row in rows if bool(row.gpu) == self.rented]


@dataclass(frozen=True, kw_only=True)
class _Lines:
    """What machines' lines carried."""

    reached: Mapping[str, float]
    """Bytes a second that came, of the leases that said so."""
    share: Belief

    def beside_s(self, row: Measured, line: Line, *, sent: bool = False) -> float:
        """Give what is left of a time beside the fetching; never nothing, since lines are slower now and then.

        `sent`: as many bytes went too.
        """
        moving_s = row.bytes / self.reached.get(row.lease, line.down * self.share.middle)
        moving_s += row.bytes / (line.up * self.share.middle) if sent else 0.0
        return max(row.seconds - moving_s, row.seconds / 10)


def _told(rows: Sequence[Measured]) -> list[tuple[Measured, Line]]:
    """Give the rows of machines whose hosts say what their lines carry."""
    return [(row, row.line) for row in rows if row.line is not None]


@contextmanager
def remembered(state_dir: Path, *, rented: bool) -> Iterator[Memory]:
    """Read what is known; a ledger that is not there is not made. Raises UsageError when it cannot be used."""
    path = state_dir / "ledger.sqlite"
    ledger = Ledger(path) if path.exists() else None
    try:
        yield Memory(ledger, rented=rented)
    finally:
        if ledger is not None:
            ledger.close()


def _published(gpu: str, video: Video, options: Options) -> Belief | None:
    """Believe in a part of what was published of a GPU, by the seconds that each network takes."""
    work = estimate.network_gmac(video, options)
    if not gpu or not work or not sum(work.values()):
        return None
    rates = {name: throughput.gmac_per_s(gpu, MODELS[name].architecture or "") for name in work}
    seconds = [gmac / rate for name, gmac in work.items() if (rate := rates[name])]
    if len(seconds) < len(work):
        return None
    rate = sum(work.values()) / sum(seconds)
    return between(OURS[0] * rate, OURS[1] * rate, factor=MACHINES_DIFFER)
