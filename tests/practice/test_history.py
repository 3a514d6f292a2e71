"""Whatever is asked in whatever order, the books agree: random calls in virtual time, judged by their history."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uprez.practice import Clock, Idle, Market, Options
from uprez.practice.faults import Armed
from uprez.practice.refusal import Refusal

START = Decimal(1000)
DAY_S = 86400
LAUNCH = {"image": "x", "onstart": "bash", "cancel_unavail": False}
BOOTS = ("boot_forever", "boot_bad_image", "boot_cdi", "stopped_contract", "capped_disk", "no_such_ask_410")
AT_ONCE = ("exited", "restart", "outbid", "offline", "credit_0")

WHICH = st.integers(0, 3)
RENT = st.tuples(st.just("rent"), WHICH, st.sampled_from([None, None, "low", "high"]), st.booleans())
CHANGE = st.tuples(st.sampled_from(["stop", "start", "start", "reboot", "finish", "traffic"]), WHICH)
STRIKE = st.tuples(st.just("strike"), WHICH, st.sampled_from(AT_ONCE), st.sampled_from([None, 3.0, 9.0]))
PASS = st.tuples(st.just("pass"), st.integers(1, 9))
RARE = st.one_of(
    st.tuples(st.just("destroy"), WHICH),
    st.tuples(st.just("bid"), WHICH, st.sampled_from([0.01, 0.2, 5.0])),
    st.tuples(st.just("arm"), st.sampled_from(("regpu", *BOOTS)), st.sampled_from([None, 4.0])),
)
OPERATIONS = st.sampled_from((RENT, CHANGE, CHANGE, STRIKE, PASS, PASS, RARE)).flatmap(lambda kind: kind)


@dataclass
class History:
    """A market, and what its rows have shown second by second."""

    idle: Idle = field(default_factory=Idle)
    gpu_ms: Counter[int] = field(default_factory=Counter)
    disk_ms: Counter[int] = field(default_factory=Counter)
    start_usd: Decimal = START
    gone: dict[int, Decimal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        options = Options(machines=2, seed=4, boot_s=(2.0, 2.0), credit_usd=START)
        # some seconds before midnight, so that days end on the way
        self.market = Market(Clock(start_s=DAY_S * 20_000 - 20), self.idle, options)

    def ids(self) -> list[int]:
        """Give what is rented."""
        return [int(str(row["id"])) for row in self.market.rows()]

    def pass_seconds(self, seconds: int) -> None:
        """Let time pass, noting what each second begins with: everything happens at whole seconds."""
        for _ in range(seconds):
            for row in self.market.rows():
                one, hidden = int(str(row["id"])), row["actual_status"] == "offline"
                self.gpu_ms[one] += 1000 * (row["cur_state"] == "running" and not hidden)
                self.disk_ms[one] += 1000 * (not hidden)
            self.market.advance(1)
            self.check()

    def do(self, name: str, *values: object) -> None:
        """Do one thing; what is refused has done nothing wrong."""
        with contextlib.suppress(Refusal):
            getattr(self, f"do_{name}")(*values)

    def do_pass(self, seconds: int) -> None:
        """Wait."""
        self.pass_seconds(seconds)

    def do_rent(self, which: int, bid: str | None, stopped: bool) -> None:
        """Rent on demand or by a bid."""
        offers = self.market.offer_list()
        offer = offers[which % len(offers)]
        price = None if bid is None else float(offer.min_bid) * (0.5 if bid == "low" else 1.2)
        state = {"target_state": "stopped"} if stopped else {}
        self.market.create(offer.id, {**LAUNCH, **state, "price": price})

    def one(self, which: int) -> int:
        """Choose an instance, or one that is not there."""
        ids = self.ids() or [1]
        return ids[which % len(ids)]

    def do_stop(self, which: int) -> None:
        """Stop one."""
        self.market.manage(self.one(which), {"state": "stopped"})

    def do_start(self, which: int) -> None:
        """Start one."""
        self.market.manage(self.one(which), {"state": "running"})

    def do_reboot(self, which: int) -> None:
        """Reboot one."""
        self.market.reboot(self.one(which))

    def do_destroy(self, which: int) -> None:
        """Destroy one."""
        one = self.one(which)
        self.market.destroy(one)
        self.gone[one] = self.market.bills[one].usd()

    def do_finish(self, which: int) -> None:
        """Let its job end."""
        self.idle.finished.add(self.one(which))

    def do_traffic(self, which: int) -> None:
        """Declare traffic."""
        self.market.traffic(self.one(which), down=123_456_789, up=7)

    def do_bid(self, which: int, price: float) -> None:
        """Change a bid."""
        self.market.change_bid(self.one(which), price)

    def do_strike(self, which: int, fault: str, seconds: float | None) -> None:
        """Let a fault strike."""
        self.market.inject(Armed(name=fault, instance=self.one(which), seconds=seconds))
        if fault == "credit_0":
            self.start_usd = self.market.spent_usd()

    def do_arm(self, fault: str, seconds: float | None) -> None:
        """Arm a fault."""
        self.market.inject(Armed(name=fault, seconds=seconds))

    def check(self) -> None:
        """Compare the books with each other and with the history."""
        market, rows = self.market, self.market.rows()
        assert market.credit_usd() == self.start_usd - sum(bill.usd() for bill in market.bills.values())
        assert {one: market.bills[one].usd() for one in self.gone} == self.gone
        ids = {int(str(row["id"])) for row in rows}
        assert ids | self.gone.keys() == market.bills.keys()
        assert not ids & self.gone.keys()
        assert len(market.keys) == 1 + len(rows)
        for one, bill in market.bills.items():
            assert (bill.gpu_ms, bill.disk_ms) == (self.gpu_ms[one], self.disk_ms[one])
        by_machine: Counter[object] = Counter()
        for row in rows:
            if row["cur_state"] == "running":
                by_machine[row["machine_id"]] += int(str(row["num_gpus"]))
        sizes = {offer.machine_id: offer.machine_gpus for offer in market.offer_list()}
        assert all(used <= sizes[int(str(machine))] for machine, used in by_machine.items())
        runs = {int(str(row["id"])) for row in rows if row["actual_status"] == "running"}
        assert (
            runs
            <= self.idle.running.keys()
            <= {
                int(str(row["id"]))
                for row in rows
                if row["cur_state"] == "running" and row["actual_status"] != "offline"
            }
        )
        assert all(row["cur_state"] == "running" for row in rows if row["actual_status"] == "running")
        days = market.charges({"limit": "100"})["results"]
        assert isinstance(days, list)
        assert abs(sum(Decimal(str(row["amount"])) for row in days) - market.spent_usd()) < Decimal("1e-9")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(st.lists(OPERATIONS, min_size=8, max_size=40))
def test_the_books_agree_with_the_history(operations: list[tuple[object, ...]]) -> None:
    """Credit and bills add up exactly, no GPU is let twice, what is gone stays gone, and rows show what runs."""
    history = History()
    for index in range(3):
        history.do("rent", index, None if index else "high", False)
    history.pass_seconds(3)
    for name, *values in operations:
        history.do(str(name), *values)
        history.check()
    history.pass_seconds(30)
    while history.ids():
        history.do("destroy", 0)
        history.check()
    spent = history.market.spent_usd()
    history.market.advance(10**6)
    assert history.market.spent_usd() == spent
    assert history.idle.running == {}
