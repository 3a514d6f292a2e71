"""What a run has cost, by what it was for and by job. Pure, in Decimal USD."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from uprez.fleet import account
from uprez.fleet.rows import LeaseRow
from uprez.report.results import USES, JobResult, Use

TOLD_USD = Decimal("0.001")
"""What is told to a person is rounded to this; a sum below `SMALL_USD` to a tenth of it."""
SMALL_USD = Decimal("0.1")
NAMES: dict[Use, str] = {"boot": "boots"}
"""How a person reads a use, where that is not its name."""


@dataclass(frozen=True, kw_only=True)
class Bill:
    """The sum of a run's leases; each of its breakdowns adds up."""

    by_use: Mapping[Use, Decimal]
    by_job: Mapping[str, Decimal]
    """By id; what was for none is in none."""

    @property
    def usd(self) -> Decimal:
        """All of it."""
        return sum(self.by_use.values(), Decimal(0))

    def line(self, budget_usd: Decimal | None) -> str:
        """Say it in a line, what it was for in the order of its size; the parts add up there too."""
        unit = TOLD_USD if self.usd >= SMALL_USD else TOLD_USD / 10
        total = self.usd.quantize(unit)
        parts = account.split(total, map(Fraction, self.by_use.values()), unit)
        told = sorted(((usd, use) for use, usd in zip(self.by_use, parts, strict=True) if usd), reverse=True)
        words = ", ".join(f"{NAMES.get(use, use)} ${usd:f}" for usd, use in told)
        of = "" if budget_usd is None else f" of ${_whole(budget_usd)}"
        return f"Cost: ${total:f}{of}" + (f" ({words})" if words else "")


def _whole(usd: Decimal) -> str:
    """Write a sum that somebody gave: with two decimals, or all it has."""
    exponent = usd.as_tuple().exponent
    return f"{usd:.2f}" if isinstance(exponent, int) and exponent >= -2 else f"{usd:f}"


def of(rows: Iterable[LeaseRow], now: datetime) -> Bill:
    """Sum up leases; `now` by the clock that the ledger goes by."""
    by_use: dict[Use, Decimal] = dict.fromkeys(USES, Decimal(0))
    by_job: dict[str, Decimal] = {}
    for row in rows:
        for heading, usd in account.stated(row, now).usd.items():
            by_use[heading.use] += usd
            if heading.job:
                by_job[heading.job] = by_job.get(heading.job, Decimal(0)) + usd
    return Bill(by_use=by_use, by_job=by_job)


def charged(jobs: Iterable[JobResult], bill: Bill) -> tuple[JobResult, ...]:
    """Write into each job what it has cost; of those with one id, which are made once, the first has cost it all."""
    left = dict(bill.by_job)
    return tuple(replace(job, cost_usd=left.pop(job.job, Decimal(0))) for job in jobs)
