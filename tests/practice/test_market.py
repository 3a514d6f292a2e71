"""The market's rules in virtual time: states, money and every way to say no."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from uprez.practice import Clock, Idle, Market, Options
from uprez.practice.faults import FAULTS, Armed
from uprez.practice.meter import Moved
from uprez.practice.offers import Offer
from uprez.practice.process import StartError
from uprez.practice.refusal import Refusal

LAUNCH = {"image": "python:3.11-bookworm", "disk": 20, "label": "a", "onstart": "/bin/bash", "args": ["-c", "true"]}


def offer_of(market: Market, *, gpus: int = 1, machine_gpus: int = 1) -> Offer:
    """Give a long-lived offer of so many GPUs that nobody has."""
    free = {each["id"] for each in market.search({"num_gpus": {"eq": gpus}})}
    return next(
        each
        for each in market.offer_list()
        if each.id in free
        and (each.num_gpus, each.machine_gpus) == (gpus, machine_gpus)
        and each.end_s > market.clock.now_s() + 9e5
    )


def rent(market: Market, offer: Offer | None = None, **more: object) -> int:
    """Rent an offer and give the instance."""
    answer = market.create((offer or offer_of(market)).id, {**LAUNCH, **more})
    assert answer["success"] is True
    return int(str(answer["new_contract"]))


def running(market: Market, **more: object) -> int:
    """Rent and wait until it runs."""
    instance = rent(market, **more)
    market.advance(20)
    return instance


def row(market: Market, instance: int) -> Any:
    """Give an instance's row."""
    found = market.show(instance)
    assert found is not None
    return found


def states(market: Market, instance: int) -> tuple[object, object, object, object]:
    """Give its four states."""
    one = row(market, instance)
    return one["actual_status"], one["cur_state"], one["next_state"], one["intended_status"]


def refused(work: Any, *arguments: Any, **more: Any) -> tuple[int, str]:
    """Call what must be refused; give status and error."""
    with pytest.raises(Refusal) as no:
        work(*arguments, **more)
    assert not isinstance(no.value.body, str)
    return no.value.status, str(no.value.body["error"])


STOPPED = ("stopped", "stopped", "stopped")


def test_boot_goes_through_the_real_sequence(market: Market, idle: Idle) -> None:
    """null, created, loading with pull progress, running; the container starts with the last and not before."""
    instance = rent(market)
    seen = []
    for _ in range(21):
        one = row(market, instance)
        seen.append((one["actual_status"], one["status_msg"]))
        assert bool(idle.running) == (one["actual_status"] == "running")
        market.advance(1)
    assert list(dict.fromkeys(status for status, _ in seen)) == [None, "created", "loading", "running"]
    assert ("loading", "Successfully loaded python:3.11-bookworm") in seen
    assert seen[-1] == ("running", "success, running python:3.11-bookworm")
    assert states(market, instance) == ("running", "running", "running", "running")


def test_the_container_gets_its_own_key_and_what_was_given(market: Market, idle: Idle) -> None:
    """Args mode: onstart is the entrypoint, args its arguments; docker flags in env are no variables."""
    instance = running(market, env={"A": "1", "-p 8080:8080": "1"})
    container = idle.running[instance]
    assert container.command == ("/bin/bash", "-c", "true")
    assert container.environment["CONTAINER_ID"] == str(instance)
    assert market.keys[container.environment["CONTAINER_API_KEY"]].instance == instance
    assert container.environment["A"] == "1"
    assert "-p 8080:8080" not in container.environment
    assert container.environment["VAST_TCP_PORT_8080"] == "33000"
    assert list(row(market, instance)["ports"]) == ["8080/tcp"]
    assert row(market, instance)["extra_env"] == [["A", "1"], ["-p 8080:8080", "1"]]


def test_the_bill_is_exact(market: Market) -> None:
    """GPU from running to stop, disk from creation to destruction, traffic by its bytes; nothing after the end."""
    offer = offer_of(market)
    instance = rent(market, offer)
    market.advance(20 + 3600)  # boot, then an hour
    market.manage(instance, {"state": "stopped"})
    market.advance(7200)
    market.traffic(instance, down=3 * 10**9, up=10**9)
    market.destroy(instance)
    market.advance(10**6)
    disk = offer.storage_usd_per_gb_month * 20 / 730 * (20 + 3600 + 7200) / 3600
    due = offer.usd_per_hour + disk + 3 * offer.down_usd_per_gb + offer.up_usd_per_gb
    assert abs(market.spent_usd() - due) < Decimal("1e-17")
    assert market.bills[instance].gpu_ms == 3_600_000
    assert market.credit_usd() == Decimal(25) - market.spent_usd()


def test_the_bill_does_not_depend_on_how_often_anybody_looks(idle: Idle) -> None:
    """Settling every second and settling once give the same bill and the same states."""
    spent = []
    for step in (1, 600):
        market = Market(Clock(), idle, Options(boot_s=(20.0, 20.0), credit_usd=Decimal("0.01")))
        instance = rent(market)
        for _ in range(0, 600, step):
            market.advance(step)
        spent.append((market.spent_usd(), states(market, instance)))
    assert spent[0] == spent[1]


def test_credit_that_ends_stops_everything(idle: Idle) -> None:
    """At zero instances stop without a call, storage goes on, and nothing more can be rented."""
    market = Market(Clock(), idle, Options(boot_s=(20.0, 20.0), credit_usd=Decimal("0.02")))
    instance = running(market)
    market.advance(10 * 3600)
    assert states(market, instance) == ("exited", *STOPPED)
    assert idle.running == {}
    before = market.credit_usd()
    assert -Decimal("0.05") < before < 0
    market.advance(3600)
    assert market.credit_usd() < before
    assert refused(market.create, offer_of(market).id, LAUNCH) == (400, "insufficient_credit")


def test_an_ask_can_be_taken_once(market: Market) -> None:
    """A taken ask is 410 with cancel_unavail; without, a stopped instance that success:false names; unknown is 404."""
    offer = offer_of(market)
    rent(market, offer)
    assert refused(market.create, offer.id, {**LAUNCH, "cancel_unavail": True}) == (410, "no_such_ask")
    answer = market.create(offer.id, {**LAUNCH, "cancel_unavail": False})
    assert answer["success"] is False
    assert states(market, int(str(answer["new_contract"])))[1:] == STOPPED
    assert refused(market.create, 1, LAUNCH) == (404, "no_such_ask")


def test_offers_of_one_machine_exclude_each_other(market: Market) -> None:
    """All four GPUs rented, its smaller asks vanish; given back, they are listed again, the taken one anew."""
    offer = offer_of(market, gpus=4, machine_gpus=4)
    machine = {"machine_id": {"eq": offer.machine_id}}
    before = {each["id"] for each in market.search(machine)}
    instance = rent(market, offer)
    assert market.search(machine) == []
    market.destroy(instance)
    after = {each["id"] for each in market.search(machine)}
    assert (len(after), offer.id in after, before - after) == (len(before), False, {offer.id})


def test_the_disk_is_capped_by_the_offer(market: Market) -> None:
    """More than a machine has is given silently as what it has."""
    offer = offer_of(market)
    assert row(market, rent(market, offer, disk=10**6))["disk_space"] == offer.disk_gb


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"image": ""}, "invalid_args"),
        ({"label": "x" * 257}, "invalid_args"),
        ({"args": ["-c", "x" * 4090]}, "invalid_args"),
        ({"args": None, "onstart": "x" * 4049}, "invalid_args"),
        ({"args": "echo"}, "invalid_args"),
        ({"disk": "much"}, "invalid_args"),
        ({"env": {f"-p {port}:{port}": "1" for port in range(65)}}, "invalid_args"),
        ({"env": {"A": "x" * 32768}}, "invalid_args"),
        ({"price": 0}, "invalid_price"),
        ({"price": 129}, "invalid_price"),
    ],
)
def test_what_the_market_does_not_take_is_refused(market: Market, body: dict[str, object], error: str) -> None:
    """Sizes, types and prices are checked before anything is made."""
    assert refused(market.create, offer_of(market).id, {**LAUNCH, **body}) == (400, error)
    assert market.rows() == []


def test_stop_start_and_label(market: Market, idle: Idle) -> None:
    """A stop ends the container, a start runs it again on its disk; labels change at once."""
    instance = running(market)
    market.manage(instance, {"state": "stopped", "label": "b"})
    assert states(market, instance) == ("stopped", *STOPPED)
    assert idle.running == {}
    market.manage(instance, {"state": "running"})
    market.advance(5)
    assert (row(market, instance)["actual_status"], idle.starts) == ("running", 2)
    assert row(market, instance)["label"] == "b"
    assert refused(market.manage, instance, {"label": "x" * 1025}) == (400, "label_too_long")
    assert refused(market.manage, instance, {"state": "frozen"}) == (400, "invalid_args")
    assert refused(market.manage, 5, {"label": "x"}) == (404, "no_such_instance")


def test_a_start_without_a_gpu_is_queued_and_fires_later(market: Market) -> None:
    """resources_unavailable comes with 200, and the start happens, and bills, once the GPU is free."""
    instance = running(market)
    market.manage(instance, {"state": "stopped"})
    machine = row(market, instance)["machine_id"]
    other = rent(market, next(each for each in market.offer_list() if each.machine_id == machine))
    assert refused(market.manage, instance, {"state": "running"}) == (200, "resources_unavailable")
    market.advance(100)
    assert row(market, instance)["cur_state"] == "stopped"
    market.destroy(other)
    market.advance(10)
    assert row(market, instance)["actual_status"] == "running"


def test_a_bid_is_outbid_and_comes_back_when_raised(market: Market) -> None:
    """Outbid: paused without a word, all states stopped; a bid that is high enough again starts it."""
    offer = offer_of(market)
    instance = running(market, offer=offer, price=float(offer.min_bid))
    market.inject(Armed(name="outbid"))
    assert states(market, instance) == ("exited", *STOPPED)
    market.change_bid(instance, float(offer.min_bid) * 1.05)
    market.advance(30)
    assert row(market, instance)["cur_state"] == "stopped"
    market.change_bid(instance, float(offer.min_bid) * 1.3)
    market.advance(30)
    assert row(market, instance)["actual_status"] == "running"
    assert refused(market.change_bid, instance, 0) == (400, "invalid_price")


def test_on_demand_displaces_a_bid(market: Market) -> None:
    """Whoever pays the full price gets the GPU of a bid instance."""
    offer = offer_of(market)
    bid = running(market, offer=offer, price=float(offer.min_bid))
    again = next(each for each in market.offer_list() if each.machine_id == offer.machine_id)
    rent(market, again)
    assert states(market, bid) == ("exited", *STOPPED)
    assert refused(market.change_bid, rent(market, offer_of(market)), 0.5) == (400, "invalid_args")


def test_a_bid_that_is_too_low_makes_a_stopped_instance(market: Market) -> None:
    """success:false with new_contract, unless cancel_unavail; it bills its disk until it is destroyed."""
    offer = offer_of(market)
    answer = market.create(offer.id, {**LAUNCH, "price": 0.001})
    assert answer["success"] is False
    market.advance(3600)
    assert market.spent_usd() > 0
    assert refused(market.create, offer.id, {**LAUNCH, "price": 0.001, "cancel_unavail": True}) == (410, "no_such_ask")


def test_a_job_that_ends_is_exited_and_goes_on_billing(market: Market, idle: Idle) -> None:
    """The end of the command is not the end of the contract."""
    instance = running(market)
    idle.finished.add(instance)
    assert states(market, instance) == ("exited", "running", "running", "running")
    before = market.bills[instance].gpu_ms
    market.advance(60)
    assert market.bills[instance].gpu_ms == before + 60_000


def test_destroy_removes_everything_but_the_bill(market: Market, idle: Idle) -> None:
    """Row, key and process are gone at once; a second destroy says no_such_instance."""
    instance = running(market)
    key = idle.running[instance].environment["CONTAINER_API_KEY"]
    market.destroy(instance)
    assert market.show(instance) is None
    assert (key in market.keys, idle.running) == (False, {})
    assert refused(market.destroy, instance) == (404, "no_such_instance")
    assert instance in market.bills


def test_the_contract_ends_at_its_date(market: Market) -> None:
    """At end_date the instance is stopped, and deleted 48 hours later."""
    short = min(market.offer_list(), key=lambda each: each.end_s)
    instance = running(market, offer=short)
    market.advance(short.end_s - market.clock.now_s())
    assert states(market, instance) == ("exited", *STOPPED)
    market.advance(48 * 3600)
    assert market.show(instance) is None


# --- faults


@pytest.mark.parametrize(
    ("fault", "status", "message"),
    [
        ("boot_forever", "loading", ""),
        ("boot_bad_image", "loading", "manifest unknown"),
        ("boot_cdi", "created", "failed to inject CDI devices"),
    ],
)
def test_boots_fail_as_on_real_hosts(market: Market, idle: Idle, fault: str, status: str, message: str) -> None:
    """A boot that goes wrong never runs, shows the market's own signs, and bills no GPU."""
    market.inject(Armed(name=fault))
    instance = running(market)
    market.advance(3600)
    assert states(market, instance) == (status, *STOPPED)
    assert message in row(market, instance)["status_msg"]
    assert (market.bills[instance].gpu_ms, idle.starts) == (0, 0)


@pytest.mark.parametrize("status", [404, 410, 400])
def test_a_lost_offer_has_three_faces(market: Market, status: int) -> None:
    """no_such_ask is in the body, whatever the status; nothing was made."""
    market.inject(Armed(name=f"no_such_ask_{status}"))
    with pytest.raises(Refusal) as no:
        market.create(offer_of(market).id, LAUNCH)
    assert (no.value.status, "no_such_ask" in str(no.value.body)) == (status, True)
    assert market.rows() == []


def test_an_offline_host_bills_nothing_and_may_come_back(market: Market, idle: Idle) -> None:
    """offline: no process, no charge; after its time the container runs again."""
    instance = running(market)
    market.inject(Armed(name="offline", seconds=600))
    before = market.spent_usd()
    market.advance(599)
    assert (row(market, instance)["actual_status"], idle.running) == ("offline", {})
    assert market.spent_usd() == before
    market.advance(10)
    assert (row(market, instance)["actual_status"], idle.starts) == ("running", 2)


def test_an_offline_host_keeps_what_it_has_and_starts_nothing(market: Market, idle: Idle) -> None:
    """Its GPUs are not let again; a start waits until it is back; what was stopped meanwhile stays stopped."""
    offer = offer_of(market)
    instance = running(market, offer=offer)
    machine = {"machine_id": {"eq": offer.machine_id}}
    market.inject(Armed(name="offline", seconds=100))
    assert market.search(machine) == []
    market.manage(instance, {"state": "stopped"})
    assert len(market.search(machine)) == 1
    market.advance(150)
    assert states(market, instance) == ("stopped", *STOPPED)
    market.inject(Armed(name="offline", seconds=100))
    assert refused(market.manage, instance, {"state": "running"}) == (200, "resources_unavailable")
    market.advance(50)
    assert states(market, instance) == ("offline", "stopped", "running", "running")
    market.advance(60)
    assert (states(market, instance)[0], idle.starts) == ("running", 2)


def test_an_offline_host_lets_no_gpu_twice(market: Market, idle: Idle) -> None:
    """Gone while an instance booted, it keeps its GPU for it; a bid that is raised meanwhile waits too."""
    offer = offer_of(market)
    instance = rent(market, offer, price=float(offer.min_bid))
    market.inject(Armed(name="offline", seconds=60))
    assert market.search({"type": "bid", "machine_id": {"eq": offer.machine_id}}) == []
    market.inject(Armed(name="outbid"))
    market.change_bid(instance, float(offer.min_bid) * 2)
    market.advance(59)
    assert (states(market, instance)[0], idle.running) == ("offline", {})
    market.advance(10)
    assert states(market, instance)[0] == "running"


@pytest.mark.parametrize("fault", ["restart", "exited"])
def test_what_does_not_run_can_neither_restart_nor_exit(market: Market, idle: Idle, fault: str) -> None:
    """A paused, a stopped and an offline instance: the fault is refused and nothing changes."""
    instance = running(market, offer=(offer := offer_of(market)), price=float(offer.min_bid))
    for unable in ("outbid", "offline"):
        market.inject(Armed(name=unable))
        before = row(market, instance)
        assert refused(market.inject, Armed(name=fault)) == (400, "invalid_args")
        assert (row(market, instance), idle.running) == (before, {})
    assert market.faults.struck[fault] == 0


def test_a_restart_that_fails_pauses_the_instance(market: Market, idle: Idle, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at a first start: docker's words, and no more GPU to pay."""
    instance = running(market)

    def fail(_: object) -> None:
        raise StartError("no such file")

    monkeypatch.setattr(idle, "start", fail)
    market.reboot(instance)
    assert states(market, instance) == ("created", *STOPPED)
    assert "no such file" in row(market, instance)["status_msg"]


def test_a_displaced_bid_comes_back_by_itself(market: Market) -> None:
    """Once whoever paid the full price is gone, the bid is the highest again; a stop of one's own ends that."""
    offer = offer_of(market)
    bid = running(market, offer=offer, price=float(offer.min_bid))
    for stop in (False, True):
        again = next(each for each in market.offer_list() if each.same_ask(offer))
        other = rent(market, again)
        assert states(market, bid)[1:] == STOPPED
        if stop:
            market.manage(bid, {"state": "stopped"})
        market.destroy(other)
        market.advance(5)
        assert (states(market, bid)[0] == "running") is not stop


def test_charges_are_by_day(market: Market) -> None:
    """One row for each instance and UTC day, which add up to the bill, however seldom anybody looks."""
    instance = rent(market, label="mine")
    market.advance(2.5 * 86400)
    market.traffic(instance, down=10**9, up=10**9)
    market.destroy(instance)
    found: Any = market.charges({"select_filters": '{"day": {"gte": 0}}', "latest_first": "True", "limit": "2"})
    assert (found["total"], found["count"], found["next_token"]) == (4, 2, "2")
    rest: Any = market.charges({"after_token": "2"})
    rows = market.charges({})["results"]
    assert isinstance(rows, list)
    assert [each["day"] for each in rows] == sorted({each["day"] for each in rows})
    assert rest["results"] == rows[2:]
    assert found["results"] == rows[:1:-1]
    assert {each["source"] for each in rows} == {f"instance-{instance}"}
    assert [item["type"] for item in rows[0]["items"]] == ["gpu", "disk", "bwd", "bwu"]
    assert sum(each["amount"] for each in rows) == pytest.approx(float(market.bills[instance].usd()))
    hours = [each["items"][0]["amount"] / float(market.bills[instance].rates.gpu_usd_per_hour) for each in rows[1:-1]]
    assert hours == pytest.approx([24, 24])
    assert refused(market.charges, {"after_token": "x"}) == (400, "invalid_token")


def test_measured_traffic_is_charged_at_the_next_look(market: Market, idle: Idle) -> None:
    """What the machines have counted is on the bill, up to the end and not after it."""
    offer = next(each for each in market.offer_list() if each.down_usd_per_gb)
    instance = running(market, offer=offer)
    idle.traffic[instance] = Moved(down=5 * 10**9)
    market.settle()
    assert market.bills[instance].items["down"] == 5 * offer.down_usd_per_gb
    idle.traffic[instance] = Moved(down=10**9, up=1)
    market.destroy(instance)
    idle.traffic[instance] = Moved(down=10**9)
    market.advance(9)
    assert (market.bills[instance].down, market.bills[instance].up) == (6 * 10**9, 1)


def test_traffic_can_take_the_last_money(market: Market, idle: Idle) -> None:
    """Bytes count as much as time: at zero everything stops at that look."""
    offer = next(each for each in market.offer_list() if each.down_usd_per_gb)
    instance = running(market, offer=offer)
    idle.traffic[instance] = Moved(down=10**14)
    assert states(market, instance) == ("exited", *STOPPED)
    assert market.credit_usd() < 0


def test_faults_that_strike_at_once(market: Market, idle: Idle) -> None:
    """exited, restart and credit_0 do what they say, to the newest instance or to the account."""
    instance = running(market)
    market.inject(Armed(name="exited"))
    assert states(market, instance) == ("exited", "running", "running", "running")
    market.inject(Armed(name="restart"))
    assert (row(market, instance)["actual_status"], idle.starts) == ("running", 2)
    market.inject(Armed(name="credit_0"))
    assert states(market, instance) == ("exited", *STOPPED)
    assert refused(market.create, offer_of(market).id, LAUNCH) == (400, "insufficient_credit")


def test_faults_of_a_create(market: Market, idle: Idle) -> None:
    """Half a disk, a contract without success, another GPU, memory that is taken."""
    market.inject(Armed(name="capped_disk"))
    assert row(market, rent(market))["disk_space"] == 10
    market.inject(Armed(name="stopped_contract"))
    answer = market.create(offer_of(market).id, LAUNCH)
    assert (answer["success"], states(market, int(str(answer["new_contract"])))[1:]) == (False, STOPPED)
    market.inject(Armed(name="wrong_gpu"))
    assert "GTX 1650" in idle.running[running(market)].nvidia_smi
    market.inject(Armed(name="vram_taken"))
    assert "FREE=400" in idle.running[running(market)].nvidia_smi


def test_faults_of_looking(market: Market) -> None:
    """A wrong status, a list that lags, a search that filters nothing, each as often as it was armed."""
    instance = running(market)
    market.inject(Armed(name="misreported", times=2))
    assert [states(market, instance)[0] for _ in range(3)] == ["exited", "exited", "running"]
    market.inject(Armed(name="list_lag"))
    assert [market.page({})["total_instances"] for _ in range(2)] == [0, 1]
    market.inject(Armed(name="ignored_filter"))
    assert [len(market.search({"gpu_name": {"eq": "none"}})) for _ in range(2)] == [64, 0]
    market.inject(Armed(name="regpu", seconds=30))
    market.manage(instance, {"state": "stopped"})
    assert refused(market.manage, instance, {"state": "running"}) == (200, "resources_unavailable")
    market.advance(40)
    assert states(market, instance)[0] == "running"
    assert dict(market.faults.struck) == {"misreported": 2, "list_lag": 1, "ignored_filter": 1, "regpu": 1}


def test_show_can_lag_and_say_gone_in_another_way(market: Market) -> None:
    """A young instance is not there yet, and one that is gone is 404."""
    instance = rent(market)
    market.inject(Armed(name="show_lag"))
    assert [market.show(instance) is None for _ in range(2)] == [True, False]
    market.destroy(instance)
    market.inject(Armed(name="show_404"))
    assert refused(market.show, instance) == (404, "no_such_instance")
    assert market.show(instance) is None


def test_a_recycled_container_begins_anew(market: Market, idle: Idle) -> None:
    """Its disk and log are gone, its GPU is not; what does not run cannot be recycled."""
    instance = rent(market)
    assert refused(market.recycle, instance) == (400, "invalid_args")
    market.advance(20)
    idle.printed[instance] = b"before"
    market.recycle(instance)
    assert (states(market, instance)[0], idle.printed[instance], idle.starts) == ("running", b"", 2)


def test_an_unknown_fault_is_an_error(market: Market) -> None:
    """A test cannot arm what will never strike."""
    with pytest.raises(KeyError):
        market.inject(Armed(name="meteor"))
    assert all(FAULTS.values())


# --- logs


def snapshot(market: Market, instance: int, **body: object) -> str:
    """Ask for a log and give its name."""
    return market.request_logs(instance, body)


def test_logs_appear_later_and_replace_each_other(market: Market, idle: Idle) -> None:
    """A snapshot takes its time; until the next one is there the address shows the one before."""
    instance = rent(market)
    assert refused(snapshot, market, instance) == (200, "not_ready")
    market.advance(5)
    name = snapshot(market, instance)
    assert market.log_file(name) is None
    market.advance(1)
    assert market.log_file(name) == f"Error response from daemon: No such container: C.{instance}\n".encode()
    market.advance(20)
    idle.printed[instance] = b"one\ntwo\nthree\n"
    assert snapshot(market, instance, tail="2") == name
    assert b"No such container" in (market.log_file(name) or b"")
    market.advance(1)
    assert market.log_file(name) == b"two\nthree\n"
    snapshot(market, instance, filter="o")
    market.advance(1)
    assert market.log_file(name) == b"one\ntwo\n"
    daemon = snapshot(market, instance, daemon_logs="true")
    market.advance(1)
    assert f"start C.{instance}" in (market.log_file(daemon) or b"").decode()
    market.destroy(instance)
    assert market.log_file(name) is None


def test_logs_go_wrong_on_demand(market: Market, idle: Idle) -> None:
    """Stale, cut, late and missing snapshots."""
    instance = running(market)
    seen = []
    for text, fault in ((b"1\n", None), (b"2\n", "logs_stale"), (b"3 is long\n", "logs_cut"), (b"4\n", "logs_late")):
        if fault:
            market.inject(Armed(name=fault))
        idle.printed[instance] = text
        name = snapshot(market, instance)
        market.advance(1)
        seen.append(market.log_file(name))
    assert seen == [b"1\n", b"1\n", b"3 i", b"3 i"]
    market.advance(20)
    assert market.log_file(snapshot(market, instance)) == b"4\n"
    idle.printed[instance] = b"1\n2\n3\n4\n5\n6\n7\n8\n"
    market.inject(Armed(name="logs_rotated"))
    name = snapshot(market, instance)
    market.advance(1)
    assert market.log_file(name) == b"7\n8\n"
    market.inject(Armed(name="logs_404"))
    name = snapshot(market, instance)
    market.advance(99)
    assert market.log_file(name) is None
