"""The Vast.ai client and its decisions, against a stub that answers as the documents and their traps say."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import uprez
from uprez.config.settings import Rental
from uprez.errors import (
    BillingError,
    KeyRefused,
    MarketError,
    MaybeMade,
    NoSuchAsk,
    QuotaExceeded,
    RateLimited,
    Refused,
    Unclear,
)
from uprez.market.base import OfferQuery, query
from uprez.market.vast import fields, records
from uprez.market.vast.create import Order, labelled, rent
from uprez.market.vast.destroy import Verdict, confirmed, destroy
from uprez.market.vast.limiter import Limiter
from uprez.market.vast.offers import search, searching, told, wanted
from uprez.market.vast.records import VastOffer
from uprez.market.vast.rules import reason
from uprez.market.vast.throughput import FRAMES_PER_S, frames_per_s
from uprez.market.vast.wire import Vast
from vast_stub import KEY, OFFER, Clock, Say, Stub, clock, listing, server, stub, vast

__all__ = ["clock", "server", "stub", "vast"]  # fixtures: pytest finds them by name
ORDER = Order(image="python:3.11-bookworm", disk_gb=40, label="uprez/0/1/2", args=("-c", "run"))
NO_ASK = {"success": False, "msg": "error 404/3603: no_such_ask Instance type by id 1 is not available."}
ANY = OfferQuery()
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def offer(**changes: Any) -> VastOffer:
    """Give an offer as the server would send it."""
    row = fields.row(fields.document(json.dumps({**OFFER, **changes}).encode()))
    found = records.offer(row or {})
    assert found is not None
    return found


def test_the_key_is_in_one_header_and_nowhere_else(vast: Vast, stub: Stub) -> None:
    """Not in a URL, a body, a message or a repr, also when the server repeats it."""
    stub.says(Say(status=401, body={"success": False, "error": "auth_error", "msg": f"Invalid user key {KEY}"}))
    with pytest.raises(KeyRefused) as caught:
        vast.instances()
    _, path, headers, body = stub.asked[0]
    assert headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in path + repr(body) + str(caught.value) + repr(vast)
    assert len(stub.asked) == 1


@pytest.mark.parametrize(
    ("say", "kind"),
    [
        (Say(status=404, body={"success": False, "error": "auth_error", "msg": "Invalid user key"}), KeyRefused),
        (Say(status=404, body=b"<html>not found</html>"), Unclear),
        (Say(status=502, body=b"<html>bad gateway</html>"), Unclear),
        (Say(status=400, body={"error": "invalid_args", "message": "no"}), Refused),
        (Say(body={"success": False, "error": "x", "msg": "y"}), Refused),
        (Say(body={"instances": []}), Unclear),
        (Say(lost=True), Unclear),
    ],
)
def test_only_null_and_vasts_own_404_mean_gone(vast: Vast, stub: Stub, say: Say, kind: type[MarketError]) -> None:
    """Trap 2: {"instances": null} is gone; a gateway's page, a bad key or silence is not."""
    stub.says(say)
    with pytest.raises(kind):
        vast.show(7)
    for gone in (Say(body={"instances": None}), Say(status=404, body={"error": "no_such_instance", "msg": "no"})):
        stub.says(gone)
        assert vast.show(7) is None
    stub.says(Say(body={"instances": {"id": 7, "label": None, "actual_status": None}}))
    found = vast.show(7)
    assert found is not None
    assert (found.id, found.label, found.actual_status) == (7, "", "")


def test_the_list_is_followed_to_its_end_on_v1(vast: Vast, stub: Stub) -> None:
    """Trap 1: v1 pages of 25, by next_token."""
    stub.says(listing(1, 2, token="a"), listing(3))  # noqa: S106
    assert [one.id for one in vast.instances()] == [1, 2, 3]
    assert "limit=25" in stub.asked[0][1]
    assert "after_token=a" in stub.asked[1][1]
    assert stub.methods() == ["GET /api/v1/instances/"] * 2


@pytest.mark.parametrize(
    "last",
    [
        Say(status=500, body=b""),
        Say(body={"success": True, "next_token": None}),
        Say(body={"instances": None, "next_token": None}),
        Say(body={"instances": [{"label": "x"}], "next_token": None}),
        Say(body={"instances": [], "next_token": None, "total_instances": 3}),
        listing(2, token="a"),  # noqa: S106
        Say(body={"instances": [{"id": one} for one in range(1, 26)]}),
        Say(status=410, body={"error": "gone", "msg": "use v1"}),
    ],
)
def test_a_list_that_is_not_whole_never_reads_as_none(vast: Vast, stub: Stub, last: Say) -> None:
    """Trap 18: whatever breaks it, it raises."""
    stub.says(listing(1, token="a"), last)  # noqa: S106
    with pytest.raises(MarketError):
        vast.instances()


@pytest.mark.parametrize(
    ("headers", "body", "least"),
    [
        ({}, b"API requests too frequent", 3),
        ({}, b"API requests too frequent endpoint threshold=4.5", 4.5),
        ({}, {"detail": "API requests too frequent endpoint threshold=4.5"}, 4.5),
        ({}, {"success": False, "error": "rate_limit_exceeded", "msg": "threshold=3.0", "retry_after": 7}, 7),
        ({"Retry-After": "9"}, {"detail": "API requests too frequent"}, 9),
    ],
)
def test_too_soon_is_waited_for_and_tried_again(
    vast: Vast, stub: Stub, clock: Clock, headers: dict[str, str], body: Any, least: float
) -> None:
    """Trap 5: a destroy that came too soon is made again, never sooner than the server or the table asks."""
    stub.says(Say(status=429, body=body, headers=headers), Say())
    assert vast.destroy(7)
    assert sum(clock.slept) >= least
    assert len(stub.asked) == 2


def test_the_days_quota_is_not_tried_again(vast: Vast, stub: Stub) -> None:
    """It comes back at midnight."""
    stub.says(Say(status=429, body={"error": "search_quota_exceeded", "msg": "x"}, headers={"Retry-After": "30000"}))
    with pytest.raises(QuotaExceeded):
        vast.search({})
    assert len(stub.asked) == 1


def test_calls_of_an_endpoint_keep_their_distance_in_every_thread(clock: Clock) -> None:
    """No two of eight threads get their turn closer together than published; another endpoint need not wait."""
    turns: list[float] = []
    lock = threading.Lock()

    def sleep(seconds: float) -> None:
        with lock:
            clock.now += seconds

    limiter = Limiter(clock=lambda: clock.now, sleep=sleep)

    def call() -> None:
        limiter.wait("search")
        turns.append(limiter._free["search"])

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now - 1000 >= 7 * 2.0
    before = clock.now
    limiter.wait("list")
    assert clock.now == before


@pytest.mark.parametrize("status", [200, 400, 404, 410, 500])
def test_an_offer_that_is_gone_is_known_by_its_word(vast: Vast, stub: Stub, status: int) -> None:
    """Trap 6: no_such_ask in any status."""
    stub.says(Say(status=status, body=NO_ASK))
    with pytest.raises(NoSuchAsk):
        rent(vast, offer(), ORDER)


@pytest.mark.parametrize(
    "say",
    [
        Say(lost=True),
        Say(status=500, body={"error": "x"}),
        Say(status=504, body=b"<html>"),
        Say(body=b"{"),
        Say(body={"success": True}),
        Say(body={}),
    ],
)
def test_an_unclear_renting_is_never_repeated_and_names_its_label(vast: Vast, stub: Stub, say: Say) -> None:
    """Trap 4: a lost answer may hide a machine; the list settles it, though it lags."""
    stub.says(say)
    with pytest.raises(MaybeMade) as caught:
        rent(vast, offer(), ORDER)
    assert caught.value.label == ORDER.label
    assert len(stub.asked) == 1
    stub.says(listing(), listing(), listing(9, label=ORDER.label))
    assert [one.id for one in labelled(vast, ORDER.label)] == [9]
    stub.says(listing(8, label="other"))
    assert labelled(vast, ORDER.label) == []


def test_a_renting_that_came_too_soon_is_the_callers(vast: Vast, stub: Stub, clock: Clock) -> None:
    """It made nothing; the next one keeps the penalty."""
    stub.says(Say(status=429, body=b"API requests too frequent endpoint threshold=4.5"), Say(body={"new_contract": 5}))
    with pytest.raises(RateLimited):
        rent(vast, offer(), ORDER)
    assert len(stub.asked) == 1
    vast.limiter.wait("create")
    assert sum(clock.slept) >= 12


def test_a_failure_that_made_an_instance_is_destroyed(vast: Vast, stub: Stub) -> None:
    """Trap 3: success false with new_contract is an instance, stopped and billing."""
    stub.says(Say(body={"success": False, "error": "bid_too_low", "new_contract": 5}), Say(), listing(), listing())
    with pytest.raises(Refused, match="instance 5"):
        rent(vast, offer(), ORDER)
    assert "DELETE /api/v0/instances/5/" in stub.methods()
    made = Say(body={"success": False, "error": "x", "new_contract": 5})
    stub.answer = lambda method, *_: made if method == "PUT" else Say() if method == "DELETE" else listing(5)
    with pytest.raises(BillingError, match="instance 5"):
        rent(vast, offer(), ORDER)


def test_what_is_rented_has_its_id_and_what_was_sent_is_whole(vast: Vast, stub: Stub) -> None:
    """Trap 28: scripts stay short, env is a dict, and a bid is never forgotten."""
    stub.says(Say(body={"success": True, "new_contract": 5, "instance_api_key": "k" * 64}))
    made = rent(vast, offer(), dataclasses.replace(ORDER, environment={"A": "1"}, bid_usd_per_hour=Decimal("0.2")))
    assert made.id == 5
    assert "k" * 64 not in repr(made)
    sent = stub.asked[0][3]
    assert (sent["runtype"], sent["cancel_unavail"], sent["env"], sent["price"]) == ("args", True, {"A": "1"}, 0.2)
    with pytest.raises(ValueError, match="without a bid"):
        rent(vast, offer(is_bid=True), ORDER)
    with pytest.raises(ValueError, match="characters"):
        dataclasses.replace(ORDER, args=("-c", "x" * 4000))


@pytest.mark.parametrize(
    ("delete", "lists", "verdict"),
    [
        (Say(), [listing(5), listing(5), listing(), listing()], Verdict.DESTROYED),
        (Say(status=404, body={"error": "no_such_instance"}), [listing()], Verdict.ALREADY_GONE),
        (Say(), [listing(5)], Verdict.LEAKED),
        (Say(), [Say(status=503, body=b"")], Verdict.UNKNOWN),
        (Say(status=500, body=b""), [listing()], Verdict.UNKNOWN),
        (Say(status=401, body={"error": "auth_error"}), [listing()], Verdict.UNKNOWN),
    ],
)
def test_giving_back_ends_with_a_verdict(
    vast: Vast, stub: Stub, delete: Say, lists: list[Say], verdict: Verdict
) -> None:
    """Trap 5: destroyed only when two complete lists lack it; what is not certain names the id and the command."""

    def answer(method: str, path: str, body: Any) -> Say:
        del path, body
        return delete if method == "DELETE" else lists.pop(0) if len(lists) > 1 else lists[0]

    stub.answer = answer
    assert destroy(vast, 5).verdict is verdict
    if verdict in (Verdict.LEAKED, Verdict.UNKNOWN):
        with pytest.raises(BillingError, match="instance 5") as caught:
            confirmed(vast, 5)
        assert "destroy instance 5" in str(caught.value.hint)


def test_a_log_is_waited_for_and_fetched_without_the_key(vast: Vast, stub: Stub) -> None:
    """404 until the host has sent it; not_ready is no error, and neither is a host that is late."""
    asked = Say(body={"success": True, "result_url": f"{stub.url}/x.log"})
    late = [Say(status=404, body=b""), Say(body=b"line")]
    stub.answer = lambda method, *_: asked if method == "PUT" else late.pop(0)
    assert vast.log(5) == "line"
    assert stub.asked[0][3] == {"tail": "1000"}
    assert "authorization" not in stub.asked[-1][2]
    stub.answer = lambda method, *_: asked if method == "PUT" else Say(status=404, body=b"")
    assert vast.log(5, daemon=True) is None
    stub.answer = None
    stub.says(Say(body={"success": False, "error": "not_ready", "msg": "wait"}))
    assert vast.log(5) is None


def test_the_account_is_read(vast: Vast, stub: Stub) -> None:
    """Trap 25: what may be spent is `credit`."""
    stub.says(Say(body={"id": 1, "credit": 12.34, "balance": 0, "practice": True}))
    account = vast.account()
    assert (account.credit_usd, account.practice) == (Decimal("12.34"), True)
    stub.says(Say(body={"id": 1, "credit": -0.02}))  # stopped machines bill their disks
    assert vast.account().credit_usd == Decimal("-0.02")


@settings(deadline=None)
@given(row=st.dictionaries(st.sampled_from([*OFFER, "success", "label"]), JUNK))
def test_no_junk_breaks_the_parser(row: dict[str, Any]) -> None:
    """Whatever a field holds, a record comes out, or none; and every rule can judge it."""
    read = fields.row(fields.document(json.dumps(row).encode())) or {}
    records.instance(read)
    records.account(read)
    found = records.offer(read)
    if found is not None:
        assert reason(found, query(Rental(min_vram_gb=Decimal(1)))) != ""


NUMBERS = st.integers(-5, 200_000) | st.floats(0, 30) | st.sampled_from(["0.2", "x", None, 24564, 0.05, 1, True])
ROWS = st.fixed_dictionaries(
    {"id": st.integers(1, 50)}, optional={name: NUMBERS for name in OFFER if name not in ("id", "gpu_name")}
).map(lambda changes: {**OFFER, **changes})


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS, max_size=6), most=st.decimals("0.1", 2, places=2))
def test_no_offer_that_breaks_a_criterion_is_ever_returned(
    rows: list[dict[str, Any]], most: Decimal, vast: Vast, stub: Stub
) -> None:
    """Trap 9: the server ignores every filter; what comes out meets each one all the same."""
    stub.says(Say(body={"offers": rows}))
    asked = query(Rental(max_usd_per_hour=most, min_vram_gb=Decimal(12), min_cuda=Decimal(12), verified=True))
    for one in search(vast, asked).choices:
        found = one.offer
        assert one.usd_per_hour <= most
        assert found.gpu_ram_mb is not None
        assert found.gpu_ram_mb >= 11_160
        assert found.cuda is not None
        assert found.cuda >= 12
        assert found.verified
        assert found.num_gpus == 1
        assert found.rentable


BROKEN: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("rentable", {"rentable": False}, {}),
    ("num_gpus", {"num_gpus": 2}, {}),
    ("type", {"is_bid": True}, {}),
    ("gpu_blacklist", {}, {"gpu_blacklist": ("rtx_4090",), "gpu_names": ("RTX 4090",)}),
    ("gpu_models", {}, {"gpu_names": ("RTX 3090",)}),
    ("host_blacklist", {}, {"host_blacklist": ("6789",)}),
    ("host_whitelist", {}, {"hosts": ("1",)}),
    ("machines", {}, {"machines": ("12345",)}),
    ("price", {"dph_base": 0, "dph_total": None}, {}),
    ("max_price", {"dph_total": 0.40}, {"max_usd_per_hour": Decimal("0.10")}),
    ("max_price", {"inet_up_cost": 0.039}, {"max_usd_per_hour": Decimal("0.50")}),
    ("max_price", {"storage_cost": 5}, {"max_usd_per_hour": Decimal("0.50")}),
    ("min_price", {}, {"min_usd_per_hour": Decimal(1)}),
    ("min_vram", {"gpu_ram": 16311}, {"min_gpu_ram_mb": Decimal(22320)}),
    ("min_cuda", {"cuda_max_good": None}, {"min_cuda": Decimal(12)}),
    ("compute_cap", {"compute_cap": 750}, {"min_compute_cap": 860}),
    ("min_reliability", {"reliability": 0.9}, {"min_reliability": Decimal("0.95")}),
    ("min_dlperf", {}, {"min_dlperf": Decimal(96)}),
    ("min_dlperf_per_dphtotal", {}, {"min_dlperf_per_usd": Decimal(1000)}),
    ("min_inet_down", {}, {"min_inet_down_mbps": Decimal(1000)}),
    ("min_inet_up", {}, {"min_inet_up_mbps": Decimal(1000)}),
    ("min_cpu_cores", {}, {"min_cpu_cores": Decimal(17)}),
    ("min_cpu_ram", {}, {"min_cpu_ram_mb": Decimal(200_000)}),
    ("min_disk_bw", {}, {"min_disk_mbytes_per_s": Decimal(3000)}),
    ("min_gpu_mem_bw", {}, {"min_gpu_mem_gbytes_per_s": Decimal(900)}),
    ("min_pcie_gen", {}, {"min_pcie_gen": Decimal(5)}),
    ("disk", {"disk_space": 20}, {}),
    ("duration", {"duration": 600}, {}),
    ("verified", {"verification": "deverified"}, {"verified": True}),
    ("datacenter", {}, {"datacenter": True}),
    ("static_ip", {"static_ip": False}, {"static_ip": True}),
]


@pytest.mark.parametrize(("rule", "changes", "asked"), BROKEN)
def test_each_rule_drops_what_breaks_it(rule: str, changes: dict[str, Any], asked: dict[str, Any]) -> None:
    """Traps 7, 9, 20, 23 and 24: every criterion is checked here, and named."""
    assert reason(offer(), ANY) is None
    assert reason(offer(**changes), OfferQuery(**asked)) == rule


def test_every_measured_gpu_is_found_by_its_name() -> None:
    """In any case of letters."""
    for name, speed in FRAMES_PER_S.items():
        assert frames_per_s(name) == frames_per_s(name.lower()) == speed
    assert frames_per_s("L4") is None


def test_a_24_gb_card_counts_as_one() -> None:
    """Trap 10: it reports 24,564 MB, or 23,028 with error correction."""
    for reported in (24564, 24576, 23028):
        assert reason(offer(gpu_ram=reported), query(Rental(min_vram_gb=Decimal(24)))) is None


@pytest.mark.parametrize(("asked_gb", "reported"), [(12, 11264), (8, 6144), (16, 12288), (24, 20470)])
def test_a_smaller_card_does_not_count_as_a_larger_one(asked_gb: int, reported: int) -> None:
    """What a card keeps back is less than what lies between two sizes that are sold: 11 GB are not 12."""
    assert reason(offer(gpu_ram=reported), query(Rental(min_vram_gb=Decimal(asked_gb)))) is not None


def test_what_is_asked_is_in_the_servers_words() -> None:
    """Trap 11: type inside the query, notin, disk_space, real names, and the disk in the price."""
    asked = wanted(OfferQuery(gpu_blacklist=("RTX 3090",), hosts=("1", "x"), bid=True, disk_gb=50), Decimal("0.2"))
    assert (asked["type"], asked["limit"], asked["allocated_storage"]) == ("bid", 64, 50)
    assert asked["gpu_name"] == {"notin": ["RTX 3090"]}
    assert asked["host_id"] == {"in": [1]}
    assert (asked["disk_space"], asked["dph_total"]) == ({"gte": 50}, {"gte": 0.2})


def test_more_than_64_offers_are_paged_by_price(vast: Vast, stub: Stub) -> None:
    """Trap 8: a full page goes on from its last price, until enough will do; a server in a circle is left."""
    rows = [{**OFFER, "id": one, "dph_total": 0.3 + one / 1000, "num_gpus": 2} for one in range(1, 65)]
    stub.says(Say(body={"offers": rows}), Say(body={"offers": [OFFER, "junk", {}]}))
    found = search(vast, ANY)
    assert ([one.offer.id for one in found.choices], found.capped) == ([20671312], False)
    assert found.dropped == {"num_gpus": 64, "unreadable": 2}
    assert stub.asked[1][3]["dph_total"] == {"gte": 0.364}
    stub.says(Say(body={"offers": rows}))
    assert search(vast, ANY).capped
    assert len(stub.asked) == 4


def test_the_cheapest_is_said_as_ever_and_value_ranks_by_the_picture(vast: Vast, stub: Stub) -> None:
    """The old system's three lines; a dearer GPU that is faster wins by value, one that nobody measured comes last."""
    free = {"inet_up_cost": 0, "inet_down_cost": 0, "storage_cost": 0}
    small = {"gpu_name": "RTX 5060 Ti", "gpu_ram": 16311, "dph_total": 0.071, "dph_base": 0.07}
    rows = [
        {**OFFER, **free, "id": 1, "gpu_name": "RTX 3090", "dph_total": 0.2, "dph_base": 0.2},
        {**OFFER, **free, **small, "id": 2},
        {**OFFER, **free, "id": 3},
    ]
    stub.says(Say(body={"offers": rows}))
    asked = query(Rental(min_vram_gb=Decimal(12), max_usd_per_hour=Decimal("0.35")))
    assert searching(asked) == "Searching offers: min_vram=12GB, max_price=$0.35/hr"
    found = search(vast, asked)
    assert told(found) == [
        "Found 3 matching offers (after filtering)",
        "Cheapest: $0.071/hr, RTX 5060 Ti, 16GB VRAM",
    ]
    assert [one.offer.id for one in found.choices] == [2, 1, 3]
    by_value = dataclasses.replace(asked, rank="value")
    assert [one.offer.id for one in search(vast, by_value).choices] == [3, 1, 2]
    preferred = dataclasses.replace(asked, gpu_priority=("RTX 4090",))
    assert [one.offer.id for one in search(vast, preferred).choices] == [3, 2, 1]


CALLS: dict[str, Callable[[Vast], object]] = {
    "search": lambda vast: search(vast, ANY),
    "create": lambda vast: rent(vast, offer(), ORDER),
    "list": lambda vast: vast.instances(),
    "show": lambda vast: vast.show(7),
    "label": lambda vast: vast.label(7, "x"),
    "stop": lambda vast: vast.stop(7),
    "bid": lambda vast: vast.bid(7, "0.2"),
    "destroy": lambda vast: vast.destroy(7),
    "log": lambda vast: vast.log(7),
    "account": lambda vast: vast.account(),
}
"""Every call that the client can make."""
DOCUMENTED = {
    "POST /api/v0/bundles/",
    "PUT /api/v0/asks/N/",
    "GET /api/v1/instances/",
    "GET /api/v0/instances/N/",
    "PUT /api/v0/instances/N/",
    "PUT /api/v0/instances/bid_price/N/",
    "PUT /api/v0/instances/request_logs/N/",
    "DELETE /api/v0/instances/N/",
    "GET /api/v0/users/current",
}


@pytest.mark.parametrize("status", [400, 401, 403, 409, 500])
@pytest.mark.parametrize("call", CALLS)
def test_every_refusal_is_raised(vast: Vast, stub: Stub, call: str, status: int) -> None:
    """Trap 29: nothing that went wrong comes back as if it had not."""
    stub.says(Say(status=status, body={"success": False, "error": "x", "msg": "no"}))
    with pytest.raises(MarketError):
        CALLS[call](vast)


def test_only_documented_endpoints_are_called(vast: Vast, stub: Stub) -> None:
    """Trap 14: method and path, slashes included; `POST /instances` or `GET .../logs` do not exist."""
    methods = {name for name in vars(Vast) if not name.startswith("_")} - {"ask", "base", "now", "instances", "log"}
    assert methods <= {*CALLS}, "a new call belongs into the table"
    stub.says(Say(status=409, body={"success": False, "error": "x", "msg": "no"}))
    for call in CALLS.values():
        with pytest.raises(MarketError):
            call(vast)
    assert {re.sub(r"/\d+/", "/N/", asked) for asked in stub.methods()} == DOCUMENTED


def test_a_client_asks_nothing_before_it_is_asked(vast: Vast, stub: Stub) -> None:
    """Trap 31: opening one reaches nobody, and the official package, which does, is nowhere imported."""
    assert repr(vast)
    assert stub.asked == []
    package = Path(uprez.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.partition(".")[0] == "vastai"], path
