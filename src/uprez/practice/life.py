"""The life of an instance: boot, run, pause, start again, be gone."""

from __future__ import annotations

import time
from decimal import Decimal

from uprez.practice import room, smi
from uprez.practice.instance import Instance, Trouble, ports
from uprez.practice.process import Container, StartError, command
from uprez.practice.refusal import Refusal, refuse
from uprez.practice.state import State

REBOOT_MS = 5000
"""From a start on a disk that is there already to running."""
BURY_S = 0.3
"""Real seconds that an instance which ended itself has to hear the answer."""
QUEUED_S = 60.0
TROUBLES: tuple[Trouble, ...] = ("boot_forever", "boot_bad_image", "boot_cdi")


def boot(state: State, one: Instance, length_ms: int) -> None:
    """Begin a boot; who pays the full price displaces bids."""
    if one.bid is None:
        _displace(state, one)
    trouble = next((name for name in TROUBLES if state.faults.take(name, instance=one.id)), None)
    one.begin_boot(state.at_ms, length_ms, trouble)
    one.wrong_gpu = bool(state.faults.take("wrong_gpu", instance=one.id)) or one.wrong_gpu
    one.vram_taken = bool(state.faults.take("vram_taken", instance=one.id)) or one.vram_taken


def boot_ends(state: State, one: Instance) -> None:
    """Run the container, or show what has gone wrong."""
    if one.trouble is not None:
        one.fail_boot()
    else:
        _run(state, one)


def _run(state: State, one: Instance) -> None:
    one.boots_ms = None
    state.doomed.pop(one.id, None)
    try:
        state.machines.start(_container(one))
    except StartError as error:
        one.pause("created", f"{error}\nfailed to start containers: C.{one.id}")
        return
    one.cur = one.actual = "running"
    one.status_msg = f"success, running {one.launch.image}"


def _container(one: Instance) -> Container:
    wanted = one.launch
    own = {
        "CONTAINER_ID": str(one.id),
        "CONTAINER_API_KEY": one.key,
        "VAST_CONTAINERLABEL": f"C.{one.id}",
        "PUBLIC_IPADDR": one.offer.ip,
        "GPU_COUNT": str(one.offer.num_gpus),
    }
    for inside, places in ports(one).items():
        number, _, kind = inside.partition("/")
        own[f"VAST_{kind.upper()}_PORT_{number}"] = places[0]["HostPort"]
    return Container(
        id=one.id,
        command=command(wanted.runtype, wanted.onstart, wanted.args, wanted.args_str),
        environment=own | wanted.variables(),
        nvidia_smi=smi.script(smi.gpu(one.offer, wrong=one.wrong_gpu, taken=one.vram_taken)),
        hold=wanted.runtype != "args",
    )


def start(state: State, one: Instance) -> None:
    """Start a stopped instance; raises Refusal when it has to wait for its GPU, and lets it wait."""
    if one.holds:
        return
    if state.credit_usd() <= 0:
        raise refuse(400, "insufficient_credit", "Your account has no credit left.")
    fault = state.faults.take("regpu", instance=one.id)
    if fault or one.hidden or not room.fits(state, one.offer, bid=one.bid is not None):
        wait_s = (fault.seconds or QUEUED_S) if fault else 1.0
        one.intended = one.next = "running"
        one.queued_ms = state.at_ms + round(wait_s * 1000)
        raise Refusal(200, {
            "success": False,
            "error": "resources_unavailable",
            "msg": "Required resources are currently unavailable, state change queued.",
        })  # fmt: skip
    boot(state, one, REBOOT_MS)


def reboot(state: State, one: Instance, *, fresh: bool = False) -> None:
    """Stop and start, keeping the GPU, and the disk unless it is to be fresh; raises Refusal."""
    if one.cur != "running" or one.hidden:
        raise refuse(400, "invalid_args", f"Instance {one.id} is not running.")
    (state.machines.remove if fresh else state.machines.kill)(one.id)
    _run(state, one)


def exit_now(state: State, one: Instance) -> None:
    """Let the container die; its contract goes on. Raises Refusal."""
    if not one.holds or one.hidden:
        raise refuse(400, "invalid_args", f"Instance {one.id} is not running.")
    state.machines.kill(one.id)
    one.boots_ms = None
    one.cur, one.actual, one.status_msg = "running", "exited", ""


def hide(state: State, one: Instance, back_ms: int | None) -> None:
    """Let the host be gone until it comes back."""
    state.machines.kill(one.id)
    one.resumes = one.holds
    one.hidden, one.back_ms, one.boots_ms = True, back_ms, None


def come_back(state: State, one: Instance) -> None:
    """Let the host be there again: what it ran is run again."""
    one.hidden, one.back_ms = False, None
    if one.resumes:
        one.begin_boot(state.at_ms, REBOOT_MS)


def pause(state: State, one: Instance, actual: str, *, own: bool = False) -> None:
    """Stop an instance; its disk remains."""
    one.pause(actual)
    _end(state, one.id, own=own, remove=False)


def outbid(state: State, one: Instance) -> None:
    """Pause a bid until it is the highest again."""
    pause(state, one, "exited")
    one.displaced = True


def _displace(state: State, new: Instance) -> None:
    """Pause the lowest bids of a machine until there is room."""
    beside = [each for each in state.instances.values() if each.offer.machine_id == new.offer.machine_id]
    for one in sorted(beside, key=lambda each: each.bid or Decimal(0)):
        if room.fits(state, new.offer, bid=True):
            return
        if one.bid is not None and one.holds and one is not new:
            outbid(state, one)


def drop(state: State, one: Instance, *, own: bool = False) -> None:
    """Remove an instance with its disk, logs and key; its bill is final."""
    del state.instances[one.id]
    del state.keys[one.key]
    state.snapshots.forget(one.id)
    _end(state, one.id, own=own, remove=True)
    charge_traffic(state, one)
    state.gone_usd += one.bill.usd()


def charge_traffic(state: State, one: Instance) -> None:
    """Charge what has gone through the meter since the last look."""
    moved = state.machines.moved(one.id)
    one.bill.pass_traffic(day=state.day, down=moved.down, up=moved.up)


def _end(state: State, instance: int, *, own: bool, remove: bool) -> None:
    """End what runs: at once, or, when it asked itself, as soon as it can have heard the answer."""
    state.doomed[instance] = (time.monotonic() + BURY_S if own else 0.0, remove)
    bury(state)


def bury(state: State) -> None:
    """End what is to be ended by now."""
    for instance, (when, remove) in list(state.doomed.items()):
        if time.monotonic() >= when:
            del state.doomed[instance]
            (state.machines.remove if remove else state.machines.kill)(instance)
