"""The market: who has rented what, what state it is in, and what it costs, by a clock that tests can move.

Nothing happens between two calls: each call first lets the time since the last one pass (`settle`), event by event, so
that a boot, the end of the money and a bill come out the same however seldom anybody looks. `PracticeServer` also
calls `settle` by itself, so that processes start when nobody asks.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal

from uprez.practice import launch, listing, logs, offers, smi
from uprez.practice.access import EVERYTHING, INSTANCE, Key, Limits, Style
from uprez.practice.billing import MS_AN_HOUR, Bill, Rates
from uprez.practice.clock import Clock
from uprez.practice.faults import IMMEDIATE, Armed, Faults
from uprez.practice.instance import Instance, Trouble, row
from uprez.practice.process import Container, Machines, StartError, command
from uprez.practice.query import Row, number
from uprez.practice.refusal import Refusal, no_such_instance, refuse

REBOOT_MS = 5000
"""From a start on a disk that is there already to running."""
LAG_MS = 60_000
"""How young an instance is that `list_lag` hides."""
BURY_S = 0.3
"""Real seconds that an instance which ended itself has to hear the answer."""
QUEUED_S = 60.0
KEPT_MS = 48 * MS_AN_HOUR
"""A contract that has ended is deleted after so long."""
TROUBLES: tuple[Trouble, ...] = ("boot_forever", "boot_bad_image", "boot_cdi")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a market is set up."""

    seed: int = 1
    machines: int = 90
    credit_usd: Decimal = Decimal(25)
    boot_s: tuple[float, float] = (15.0, 50.0)
    """Between these, by the seed."""
    log_delay_s: float = 1.0
    limits: bool = True
    """Refuse calls that come too soon after another."""
    style: Style = "detail"
    """How those refusals look."""
    retry_after: bool = False


class Market:
    """One account's view of a market. Safe to call from many threads."""

    def __init__(self, clock: Clock, machines: Machines, options: Options | None = None) -> None:
        self.clock = clock
        self.options = options or Options()
        self.faults = Faults()
        self.faults.arm(Armed(name="v0_gone", times=-1))
        self.limits = Limits(style=self.options.style, retry_after=self.options.retry_after)
        self.key = secrets.token_hex(32)
        self.keys = {self.key: Key(permissions=EVERYTHING)}
        self.bills: dict[int, Bill] = {}
        """Of every instance that ever was."""
        self._machines = machines
        self._rng = random.Random(self.options.seed)  # noqa: S311  lengths of boots, not a secret
        self._lock = threading.RLock()
        self._at_ms = clock.now_ms()
        self._listed = offers.table(self.options.seed, machines=self.options.machines, now_s=clock.now_s())
        self._taken: dict[int, offers.Offer] = {}
        self._instances: dict[int, Instance] = {}
        self._credit = self.options.credit_usd
        self._ids = 7_835_610
        self._next_ask = 30_000_000
        self._doomed: dict[int, tuple[float, bool]] = {}
        self._snapshots = logs.Snapshots()

    # --- time

    def settle(self) -> None:
        """Let the time that has passed happen."""
        with self._lock:
            now = max(self.clock.now_ms(), self._at_ms)
            while True:
                at = max(self._at_ms, min([now, *self._due()]))
                self._charge(at)
                self._turn(at)
                if at >= now:
                    break
            for one in self._instances.values():
                one.show_boot(now)
                if one.actual == "running" and not one.hidden and self._machines.ended(one.id):
                    one.actual, one.status_msg = "exited", ""
            self._bury()

    def advance(self, seconds: float) -> None:
        """Move the clock forward and let it happen."""
        self.clock.advance(seconds)
        self.settle()

    def _due(self) -> list[int]:
        """Give the times, after the last one, at which something happens by itself."""
        times: list[int | None] = [self._broke_ms()]
        for one in self._instances.values():
            ends = round(one.offer.end_s * 1000)
            times += [one.boots_ms, one.back_ms, one.queued_ms, ends, ends + KEPT_MS]
        return [each for each in times if each is not None and each > self._at_ms]

    def _charge(self, at: int) -> None:
        passed, self._at_ms = at - self._at_ms, at
        for one in self._instances.values():
            one.bill.pass_time(passed, gpu=one.bills_gpu, disk=not one.hidden)

    def _turn(self, at: int) -> None:
        """Do what is due at this time."""
        for one in list(self._instances.values()):
            ends = round(one.offer.end_s * 1000)
            if at >= ends + KEPT_MS:
                self._drop(one)
            elif at >= ends and one.intended != "stopped":
                self._pause(one, "exited")
            elif one.boots_ms is not None and at >= one.boots_ms:
                self._boot_ends(one)
            elif one.back_ms is not None and at >= one.back_ms:
                one.hidden, one.back_ms = False, None
                one.begin_boot(at, REBOOT_MS)
            elif one.queued_ms is not None and at >= one.queued_ms and self._fits(one.offer, bid=one.bid is not None):
                self._boot(one, REBOOT_MS)
        if self.credit_usd() <= 0:
            for one in self._instances.values():
                if one.intended != "stopped":
                    self._pause(one, "exited")

    def _broke_ms(self) -> int | None:
        """Give when the money ends if nothing changes."""
        left = self.credit_usd()
        burn = sum(
            (one.bill.rates.gpu_usd_per_hour * one.bills_gpu + one.bill.rates.disk_usd_per_hour)
            for one in self._instances.values()
            if not one.hidden
        )
        if left <= 0 or not burn:
            return None
        return self._at_ms + int((left * MS_AN_HOUR / burn).to_integral_value(ROUND_CEILING))

    # --- booting and stopping

    def _boot(self, one: Instance, length_ms: int) -> None:
        if one.bid is None:
            self._displace(one)
        trouble = next((name for name in TROUBLES if self.faults.take(name, instance=one.id)), None)
        one.begin_boot(self._at_ms, length_ms, trouble)
        one.wrong_gpu = bool(self.faults.take("wrong_gpu", instance=one.id)) or one.wrong_gpu
        one.vram_taken = bool(self.faults.take("vram_taken", instance=one.id)) or one.vram_taken

    def _boot_ends(self, one: Instance) -> None:
        if one.trouble is not None:
            one.fail_boot()
            return
        one.boots_ms = None
        try:
            self._doomed.pop(one.id, None)
            self._machines.start(self._container(one))
        except StartError as error:
            one.pause("created", f"{error}\nfailed to start containers: C.{one.id}")
            return
        one.cur = one.actual = "running"
        one.status_msg = f"success, running {one.launch.image}"

    def _container(self, one: Instance) -> Container:
        wanted = one.launch
        own = {
            "CONTAINER_ID": str(one.id),
            "CONTAINER_API_KEY": one.key,
            "VAST_CONTAINERLABEL": f"C.{one.id}",
            "PUBLIC_IPADDR": one.offer.ip,
            "GPU_COUNT": str(one.offer.num_gpus),
        }
        return Container(
            id=one.id,
            command=command(wanted.runtype, wanted.onstart, wanted.args, wanted.args_str),
            environment=own | wanted.variables(),
            nvidia_smi=smi.script(smi.gpu(one.offer, wrong=one.wrong_gpu, taken=one.vram_taken)),
            hold=wanted.runtype != "args",
        )

    def _pause(self, one: Instance, actual: str, *, own: bool = False) -> None:
        one.pause(actual)
        self._end(one.id, own=own, remove=False)

    def _end(self, instance: int, *, own: bool, remove: bool) -> None:
        """End what runs: at once, or, when it asked itself, as soon as it can have heard the answer."""
        self._doomed[instance] = (time.monotonic() + BURY_S if own else 0.0, remove)
        self._bury()

    def _bury(self) -> None:
        for instance, (when, remove) in list(self._doomed.items()):
            if time.monotonic() >= when:
                del self._doomed[instance]
                (self._machines.remove if remove else self._machines.kill)(instance)

    def _fits(self, offer: offers.Offer, *, bid: bool) -> bool:
        """Say whether a machine has the GPUs: bids give way to whoever pays the full price."""
        held = [one for one in self._instances.values() if one.holds and one.offer.machine_id == offer.machine_id]
        used = sum(one.offer.num_gpus for one in held if bid or one.bid is None)
        return offer.num_gpus <= offer.machine_gpus - used

    def _displace(self, new: Instance) -> None:
        """Pause the lowest bids of a machine until there is room."""
        beside = [each for each in self._instances.values() if each.offer.machine_id == new.offer.machine_id]
        for one in sorted(beside, key=lambda each: each.bid or Decimal(0)):
            if self._fits(new.offer, bid=True):
                return
            if one.bid is not None and one.holds and one is not new:
                self._outbid(one)

    def _outbid(self, one: Instance) -> None:
        self._pause(one, "exited")
        one.displaced = True

    # --- what clients ask

    def search(self, query: Mapping[str, object]) -> list[dict[str, object]]:
        """Answer a search; raises Refusal."""
        with self._lock:
            self.settle()
            bid = query.get("type") in ("bid", "interruptible")
            free = [offer for offer in self._listed if self._fits(offer, bid=bid)]
            ignored = ("*",) if self.faults.take("ignored_filter") else ()
            return offers.search(free, query, now_s=self.clock.now_s(), ignored=ignored)

    def create(self, ask: int, body: Mapping[str, object]) -> dict[str, object]:
        """Rent an offer; raises Refusal. The answer may name an instance although it is no success."""
        with self._lock:
            self.settle()
            wanted = launch.parse(body)
            if self.credit_usd() <= 0:
                raise refuse(400, "insufficient_credit", "Your account has no credit left.")
            self._refuse_ask(ask)
            offer = next((each for each in self._listed if each.id == ask), None)
            taken = self._taken.get(ask)
            if offer is None and taken is None:
                raise _gone(ask, 404)
            room = offer is not None and self._fits(offer, bid=wanted.bid is not None)
            high = offer is not None and (wanted.bid is None or wanted.bid >= offer.min_bid)
            fine = room and high and not self.faults.take("stopped_contract")
            if not fine and wanted.cancel_unavail and (not room or not high):
                raise _gone(ask, 410)
            one = self._make(offer or _known(taken), wanted)
            if fine and offer is not None:
                self._relist(offer)
            if fine and not wanted.stopped:
                self._boot(one, round(self._rng.uniform(*self.options.boot_s) * 1000))
            else:
                one.pause("created")
                one.displaced = wanted.bid is not None and not fine
            answer = {"success": fine, "new_contract": one.id, "instance_api_key": one.key}
            return answer if fine else answer | {"error": "resources_unavailable", "msg": "Instance created, stopped."}

    def _refuse_ask(self, ask: int) -> None:
        for status in (404, 410, 400):
            if self.faults.take(f"no_such_ask_{status}"):
                raise _gone(ask, status)

    def _make(self, offer: offers.Offer, wanted: launch.Launch) -> Instance:
        self._ids += 1 + self._rng.randrange(40)
        disk = min(wanted.disk_gb, offer.disk_gb)
        if self.faults.take("capped_disk"):
            disk = round(disk / 2, 1)
        rates = Rates(
            gpu_usd_per_hour=offer.usd_per_hour if wanted.bid is None else wanted.bid,
            disk_usd_per_hour=offer.storage_usd_per_hour(disk),
            down_usd_per_gb=offer.down_usd_per_gb,
            up_usd_per_gb=offer.up_usd_per_gb,
        )
        one = Instance(
            id=self._ids,
            offer=offer,
            launch=wanted,
            key=secrets.token_hex(32),
            label=wanted.label,
            disk_gb=disk,
            created_ms=self._at_ms,
            bill=Bill(instance=self._ids, label=wanted.label, rates=rates),
            bid=wanted.bid,
        )
        self.bills[one.id] = one.bill
        self.keys[one.key] = Key(permissions=INSTANCE, instance=one.id)
        self._instances[one.id] = one
        return one

    def _relist(self, offer: offers.Offer) -> None:
        """List an ask that was taken under a new id: it is shown again when its machine has room."""
        self._taken[offer.id] = offer
        self._next_ask += 1
        self._listed[self._listed.index(offer)] = replace(offer, id=self._next_ask)

    def page(self, query: Mapping[str, str]) -> dict[str, object]:
        """Give one page of the instances; raises Refusal."""
        with self._lock:
            self.settle()
            if query.get("after_token") and self.faults.take("list_page"):
                raise Refusal(500, {"success": False, "error": "internal", "msg": "internal server error"})
            lag = self.faults.take("list_lag")
            shown = [one for one in self._instances.values() if not lag or self._at_ms - one.created_ms > LAG_MS]
            return listing.page([self._row(one) for one in shown], query)

    def list_v0(self) -> dict[str, object]:
        """Give all instances the old way; raises Refusal, for accounts that are too new."""
        if self.faults.take("v0_gone"):
            raise refuse(410, "gone", "This endpoint is deprecated: use /api/v1/instances/")
        with self._lock:
            self.settle()
            rows = [self._row(one) for one in self._instances.values()]
            return {"success": True, "instances_found": len(rows), "instances": rows}

    def show(self, instance: int) -> Row | None:
        """Give one instance, None when it is gone."""
        with self._lock:
            self.settle()
            one = self._instances.get(instance)
            return None if one is None else self._row(one)

    def _row(self, one: Instance) -> Row:
        wrong = one.actual == "running" and bool(self.faults.take("misreported", instance=one.id))
        return row(one, now_s=self.clock.now_s(), misreported=wrong)

    def manage(self, instance: int, body: Mapping[str, object], *, own: bool = False) -> None:
        """Change label or state; raises Refusal."""
        with self._lock:
            self.settle()
            one = self._get(instance)
            if "label" in body:
                one.label = launch.check_label(body["label"], launch.MOST_LABEL_LATER, "label_too_long")
            if "state" in body:
                self._set_state(one, body["state"], own=own)
            elif "label" not in body:
                raise refuse(400, "invalid_args", "nothing to change: give state or label")

    def _set_state(self, one: Instance, state: object, *, own: bool) -> None:
        if state == "stopped":
            self._pause(one, "stopped", own=own)
            one.displaced = False
            self.settle()  # whoever waits for its GPU
        elif state == "running":
            self._start(one)
        else:
            raise refuse(400, "invalid_args", f"state {state} must be running or stopped")

    def _start(self, one: Instance) -> None:
        if one.holds:
            return
        if self.credit_usd() <= 0:
            raise refuse(400, "insufficient_credit", "Your account has no credit left.")
        fault = self.faults.take("regpu", instance=one.id)
        if fault or not self._fits(one.offer, bid=one.bid is not None):
            wait_s = (fault.seconds or QUEUED_S) if fault else 1.0
            one.intended = one.next = "running"
            one.queued_ms = self._at_ms + round(wait_s * 1000)
            raise Refusal(200, {
                "success": False,
                "error": "resources_unavailable",
                "msg": "Required resources are currently unavailable, state change queued.",
            })  # fmt: skip
        self._boot(one, REBOOT_MS)

    def change_bid(self, instance: int, price: object) -> None:
        """Change what a bid instance pays; a displaced one goes on when it is enough. Raises Refusal."""
        with self._lock:
            self.settle()
            one = self._get(instance)
            if one.bid is None:
                raise refuse(400, "invalid_args", "Can't change price of on-demand contract.")
            one.bid = launch.check_bid(price)
            one.bill.rates = replace(one.bill.rates, gpu_usd_per_hour=one.bid)
            least = next((each.min_bid for each in self._listed if _same_ask(each, one.offer)), one.offer.min_bid)
            if one.holds and one.bid < least:
                self._outbid(one)
            elif one.displaced and one.bid >= least and self._fits(one.offer, bid=True):
                self._boot(one, REBOOT_MS)

    def reboot(self, instance: int) -> None:
        """Stop and start, keeping GPU and disk; raises Refusal."""
        with self._lock:
            self.settle()
            one = self._get(instance)
            if one.actual not in ("running", "exited"):
                raise refuse(400, "invalid_args", f"Instance {instance} is not running.")
            self._machines.kill(instance)
            self._machines.start(self._container(one))
            one.actual = "running"

    def destroy(self, instance: int, *, own: bool = False) -> None:
        """Remove an instance with its disk, logs and key; raises Refusal when it is not there."""
        with self._lock:
            self.settle()
            self._drop(self._get(instance), own=own)
            self.settle()  # whoever waits for its GPU

    def _drop(self, one: Instance, *, own: bool = False) -> None:
        del self._instances[one.id]
        del self.keys[one.key]
        self._snapshots.forget(one.id)
        self._end(one.id, own=own, remove=True)

    def _get(self, instance: int) -> Instance:
        if instance not in self._instances:
            raise no_such_instance(instance)
        return self._instances[instance]

    # --- logs

    def request_logs(self, instance: int, body: Mapping[str, object]) -> str:
        """Make a snapshot and give the name under which it will appear; raises Refusal."""
        with self._lock:
            self.settle()
            if instance not in self._instances:
                raise refuse(404, "invalid_id", f"Instance {instance} not found.")
            one = self._instances[instance]
            if one.actual is None:
                raise Refusal(200, {"success": False, "error": "not_ready", "msg": "Instance is not ready yet."})
            daemon = str(body.get("daemon_logs", "")).lower() == "true"
            name = self._snapshots.name(one, "daemon" if daemon else "")
            text = logs.daemon_log(one) if daemon else self._log_text(one, body)
            fault = self.faults.first(("logs_stale", "logs_404", "logs_late", "logs_cut"))
            if fault == "logs_404":
                self._snapshots.forget(instance)
                name = self._snapshots.name(one, "daemon" if daemon else "")
            elif fault != "logs_stale":
                delay = 20.0 if fault == "logs_late" else self.options.log_delay_s
                text = text[: max(0, len(text) - 7)] if fault == "logs_cut" else text
                self._snapshots.put(name, self._at_ms + round(delay * 1000), text)
            return name

    def _log_text(self, one: Instance, body: Mapping[str, object]) -> bytes:
        printed = self._machines.log(one.id)
        if printed is None:
            return f"Error response from daemon: No such container: C.{one.id}\n".encode()
        lines = number(body.get("tail", "1000"))
        pattern = body.get("filter")
        return logs.cut(printed, tail=1000 if lines is None else int(lines), pattern=str(pattern) if pattern else None)

    def log_file(self, name: str) -> bytes | None:
        """Give a snapshot that has appeared."""
        with self._lock:
            return self._snapshots.get(name, self.clock.now_ms())

    # --- money and truth

    def credit_usd(self) -> Decimal:
        """Give what is left of the account's money; storage may bring it below zero."""
        return self._credit - self.spent_usd()

    def spent_usd(self) -> Decimal:
        """Give what everything has cost so far."""
        return sum((bill.usd() for bill in self.bills.values()), Decimal(0))

    def traffic(self, instance: int, *, down: int = 0, up: int = 0) -> None:
        """Charge an instance for bytes that it is said to have moved; raises Refusal."""
        with self._lock:
            self.settle()
            self._get(instance).bill.pass_traffic(down=down, up=up)

    def rows(self) -> list[Row]:
        """Give every instance that there is, whatever faults would hide."""
        with self._lock:
            self.settle()
            return [row(one, now_s=self.clock.now_s()) for one in self._instances.values()]

    def offer_list(self) -> list[offers.Offer]:
        """Give all asks, those without room too."""
        with self._lock:
            return list(self._listed)

    # --- faults

    def inject(self, fault: Armed) -> None:
        """Arm a fault, or let it strike when it is one that strikes at once; raises KeyError, Refusal."""
        with self._lock:
            self.settle()
            if fault.name not in IMMEDIATE:
                self.faults.arm(fault)
                return
            one = None if fault.name == "credit_0" else self._chosen(fault.instance)
            self._strike(fault, one)
            self.faults.struck[fault.name] += 1
            self.settle()

    def _chosen(self, instance: int | None) -> Instance:
        newest = max(self._instances, default=-1)
        return self._get(newest if instance is None else instance)

    def _strike(self, fault: Armed, one: Instance | None) -> None:
        if one is None:
            self._credit = self.spent_usd()
        elif fault.name == "exited":
            self._machines.kill(one.id)
            one.boots_ms = None
            one.cur, one.actual, one.status_msg = "running", "exited", ""
        elif fault.name == "restart":
            self.reboot(one.id)
        elif fault.name == "outbid":
            self._strike_outbid(one)
        else:
            self._machines.kill(one.id)
            one.boots_ms = one.queued_ms = None
            one.hidden, one.actual = True, "offline"
            one.back_ms = None if fault.seconds is None else self._at_ms + round(fault.seconds * 1000)

    def _strike_outbid(self, one: Instance) -> None:
        if one.bid is None:
            raise refuse(400, "invalid_args", f"Instance {one.id} is on demand: nobody can outbid it.")
        higher = (one.bid * Decimal("1.1")).quantize(Decimal("0.0001"), ROUND_CEILING)
        self._listed = [replace(each, min_bid=higher) if _same_ask(each, one.offer) else each for each in self._listed]
        self._outbid(one)

    def close(self) -> None:
        """End everything that runs."""
        with self._lock:
            for instance in (*self._instances, *self._doomed):
                self._machines.kill(instance)


def _same_ask(one: offers.Offer, other: offers.Offer) -> bool:
    return (one.machine_id, one.num_gpus) == (other.machine_id, other.num_gpus)


def _known(offer: offers.Offer | None) -> offers.Offer:
    if offer is None:
        raise AssertionError("an ask is listed or taken")
    return offer


def _gone(ask: int, status: int) -> Refusal:
    """Say that an offer is not there, in the words that go with each status."""
    if status == 410:
        return refuse(
            410, "no_such_ask", f"error 410/3907: no_such_ask Instance type by id {ask} is no longer available."
        )
    text = f"error 404/3603: no_such_ask Instance type by id {ask} is not available."
    return refuse(status, "invalid_args" if status == 400 else "no_such_ask", text, ask_id=ask)
