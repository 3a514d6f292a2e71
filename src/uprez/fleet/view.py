"""What the live view shows of a batch: made of its jobs, its leases and its money, and only where somebody sees it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from uprez.fleet import budget, estimate
from uprez.fleet.dispatch import Name
from uprez.fleet.renting import Renter
from uprez.fleet.serving import Serving, usual
from uprez.fleet.work import ASSEMBLE, Piece, Work
from uprez.report.live import JobRow, JobState, LeaseRow, Totals, View

DOING: dict[str, JobState] = {"index": "indexing", "enhance": "working", "assemble": "assembling"}
"""What a job is at while a worker does this for it."""


@dataclass(frozen=True, kw_only=True)
class _Size:
    """How large a job is."""

    frames: int | None
    """Of its result; None where nobody knows."""
    pixels: int
    """Of one of them."""


@dataclass(kw_only=True)
class Views:
    """Makes views of a batch, one a pass."""

    renter: Renter
    works: Sequence[Work]
    _sizes: dict[str, _Size] = field(default_factory=dict)
    """Of jobs that have no plan, as their headers tell."""

    def show(self, servings: Sequence[Serving], checking: Collection[Name], *, renting: bool) -> None:
        """Show where the batch is; `checking`: the pieces that are looked at."""
        if not self.renter.console.wants_view:
            return
        rows = [self._job(work, servings, checking) for work in self.works]
        ledger = self.renter.ledger
        rented, now = self.renter.terms.budget_usd is not None, ledger.clock()
        cost = {row.id: budget.cost(row, now) for row in ledger.leases(self.renter.batch)} if rented else {}
        totals = Totals(
            share=self._share(rows),
            left_s=self._left_s(rows, servings),
            renting=renting,
            spent_usd=sum(cost.values(), Decimal(0)),
            promised_usd=self.renter.committed() if rented else Decimal(0),
            budget_usd=self.renter.terms.budget_usd,
        )
        leases = tuple(_lease(serving, cost.get(serving.lease.id)) for serving in servings)
        self.renter.console.show(View(jobs=tuple(rows), leases=leases, totals=totals))

    def _job(self, work: Work, servings: Sequence[Serving], checking: Collection[Name]) -> JobRow:
        total = self._size(work).frames
        made = _made(work, servings, checking)
        frames = work.frames_counted + sum(count for count, _ in made.values())
        return JobRow(
            name=work.job.source.name,
            state=_state(work, servings, checking),
            frames=frames if total is None else min(frames, total),
            total=total,
            fps=sum(fps for _, fps in made.values()),
            counted=len(work.counted),
            segments=len(work.plan.segments) if work.plan else 0,
        )

    def _size(self, work: Work) -> _Size:
        """Say how large a job is, by its plan or by its header."""
        if work.plan is not None:
            return _Size(frames=work.plan.frames, pixels=work.plan.width * work.plan.height)
        if work.job.id not in self._sizes:
            found = estimate.estimate(work.video, work.job.options)
            self._sizes[work.job.id] = _Size(frames=found.frames, pixels=found.width * found.height)
        return self._sizes[work.job.id]

    def _share(self, rows: Sequence[JobRow]) -> float:
        """Say how much of the work is done, by pixels of the results; a job that failed is work no more."""
        done, total = 0, 0
        for work, row in zip(self.works, rows, strict=True):
            size = self._size(work)
            if work.state == "failed" or size.frames is None:
                continue
            total += size.frames * size.pixels
            done += (row.frames if work.state == "open" else size.frames) * size.pixels
        return done / total if total else 0.0

    def _left_s(self, rows: Sequence[JobRow], servings: Sequence[Serving]) -> float | None:
        """Reckon what the rest takes on the machines there are, a job without a plan like those that have one."""
        usual_s = usual(servings)
        speed = sum(1 / serving.slowness(usual_s) for serving in servings if _is_ready(serving))
        plans = [work.plan for work in self.works if work.plan is not None]
        pixels = sum(plan.frames * plan.width * plan.height for plan in plans)
        if not speed or not pixels:
            return None
        like = sum(plan.frames * plan.preflight.seconds_per_frame for plan in plans) / pixels
        seconds = 0.0
        for work, row in zip(self.works, rows, strict=True):
            if work.state != "open":
                continue
            size = self._size(work)
            if size.frames is None:
                return None
            each = work.frame_s(usual_s) if usual_s or work.plan else like * size.pixels
            seconds += (size.frames - row.frames) * each
        return seconds / speed


def _made(work: Work, servings: Sequence[Serving], checking: Collection[Name]) -> dict[Piece, tuple[int, float]]:
    """Give what is made of segments that do not count yet: frames, and frames a second; of two attempts the better."""
    segments = work.plan.segments if work.plan else ()
    missing = {Piece("enhance", one.number): one.count for one in segments if one.number not in work.counted}
    made = {piece: (missing[piece], 0.0) for job, piece in checking if job == work.job.id and piece in missing}
    for serving in servings:
        doing, status = serving.doing, serving.status
        if serving.state != "serving" or doing is None or status is None or doing[0] is not work:
            continue
        if (piece := doing[1]) in missing:
            found = (min(status.frames, missing[piece]), status.fps)
            made[piece] = max(made.get(piece, (0, 0.0)), found)
    return made


def _state(work: Work, servings: Sequence[Serving], checking: Collection[Name]) -> JobState:
    if work.state != "open":
        return "failed" if work.state == "failed" else "done"
    serving = [one for one in servings if one.state == "serving"]
    doing = {one.doing[1].kind for one in serving if one.doing is not None and one.doing[0] is work}
    for kind in ("enhance", "assemble", "index"):
        if kind in doing:
            return DOING[kind]
    if any(job == work.job.id for job, _ in checking):
        return "checking"
    return "begun" if work.plan is not None else "waiting"


def _is_ready(serving: Serving) -> bool:
    """Say whether it has a worker that works, or could."""
    return serving.state == "serving" and serving.status is not None and serving.status.phase != "booting"


def _lease(serving: Serving, usd: Decimal | None) -> LeaseRow:
    lease, offer = serving.lease, serving.lease.offer
    state, name = _doing(serving)
    return LeaseRow(
        id=lease.id,
        gpu=offer.gpu or offer.description,
        state=state,
        name=name,
        fps=serving.status.fps if serving.status is not None and serving.makes_frames() else 0.0,
        usd_per_hour=None if usd is None else lease.row.rates.usd_per_hour,
        usd=usd,
    )


def _doing(serving: Serving) -> tuple[str, str]:
    """Say what a machine does, and for which video."""
    if serving.state != "serving":
        return ("leaving" if serving.state == "leaving" else "given back"), ""
    if not _is_ready(serving):
        return "booting", ""
    if serving.doing is None:
        return "idle", ""
    work, piece = serving.doing
    name = work.job.source.name
    if piece.kind == "enhance" and work.plan is not None:
        return f"segment {piece.segment + 1}/{len(work.plan.segments)}", name
    return ("assembly" if piece == ASSEMBLE else "index"), name
