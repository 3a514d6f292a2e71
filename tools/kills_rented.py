"""Kill and interrupt the controller at each of its calls on the practice market; look at what is left, for how long.

A round begins from nothing: a market of its own that really runs what is rented, a bucket, the real `uprez run`. It
holds when no instance is left, every instance that was billed is in the ledger and seen gone, the bill is within the
budget, and the command, started again, ends with the right result without computing anew what counted.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPO / "tests" / folder) for folder in ("e2e", "nouns", "s3")]

from killed import IMAGE, SEGMENTS, Moment, Rented, full_disk  # noqa: E402  the tests' own market
from s3_server import S3Server  # noqa: E402
from uprez.errors import EXIT_INTERRUPTED, EXIT_OK, BillingError  # noqa: E402
from uprez.practice import image  # noqa: E402

HEADING = "## Rented machines"
AT_ONCE = 4
"""Rounds side by side: most of each is waiting for the intervals between two calls."""
LEASE_S, BOOT_S, GRACE_S = 10.0, 30.0, 5.0
LIFE_S = BOOT_S + LEASE_S + GRACE_S
SLACK_S = 6.0
"""A machine looks at its deadline each second, boots a second, and its DELETE takes a moment."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

CALLS = (
    Moment(endpoint="user"),
    Moment(endpoint="list"),
    Moment(endpoint="search"),
    Moment(endpoint="user", nth=2),
    Moment(endpoint="create"),
    Moment(endpoint="list", since="create"),
    Moment(endpoint="logs"),
    Moment(endpoint="log_file"),
    Moment(endpoint="list", since="create", nth=5),
    Moment(endpoint="manage"),
    Moment(endpoint="logs", stopping=True),
    Moment(endpoint="log_file", stopping=True),
    Moment(endpoint="destroy"),
    Moment(endpoint="list", since="destroy"),
    Moment(endpoint="list", since="destroy", nth=2),
    Moment(endpoint="list", since="destroy", nth=3),
)
"""Every call of a run at the market, in its order."""
REQUESTS = (
    Moment(endpoint="PUT", key="/wheels/"),
    Moment(endpoint="PUT", key="/sheet.json"),
    Moment(endpoint="PUT", key="/sheet.json", nth=2),
    Moment(endpoint="PUT", key="/plan-"),
    Moment(endpoint="PUT", key="/segment-1.json"),
    Moment(endpoint="COPY", key="output/"),
    Moment(endpoint="PUT", key="/result.json"),
    Moment(endpoint="PUT", key="/results.json"),
    Moment(endpoint="DELETE"),
)
"""What a run writes to the store."""
STEPS = (
    Moment(endpoint="search"),
    Moment(endpoint="create"),
    Moment(endpoint="list", since="create"),
    Moment(endpoint="PUT", key="/segment-1.json"),
    Moment(endpoint="logs", stopping=True),
    Moment(endpoint="destroy"),
    Moment(endpoint="list", since="destroy"),
)
"""Where a run is interrupted: searching, creating, booting, working, at its last log, at DELETE, before it is sure."""
WORKING = Moment(endpoint="PUT", key="/segment-1.json")
FOR_GOOD = (
    ("while it installs", Moment(endpoint="list", since="create", nth=2), ""),
    ("while it works", WORKING, ""),
    ("while it works, DELETE answers 500 five times", WORKING, "500"),
    ("while it works, DELETE answers 429 five times", WORKING, "429_json"),
)
"""Where a run is killed for good, and what the machine's own DELETE is answered then."""
HUSHED = {
    "stdout closed from the start": "closed",
    "the reader leaves after three lines": "head",
    "the reader stops reading": "full",
    "the reader stops reading, then SIGTERM": "signal",
}
FULL = {
    "this computer's disk is full from create on": Moment(endpoint="create", when="after"),
    "this computer's disk is full once it works": Moment(endpoint="PUT", key="/plan-"),
    "this computer's disk is full from DELETE on": Moment(endpoint="destroy"),
}

INTRODUCTION = """\
The real `uprez run` on the practice market, a clip in {segments} segments: {good} of {all} rounds hold.
A round holds when no instance is left, each that was billed is in the ledger and seen gone, the bill is within
the budget, and no segment that counted is computed again. Seconds are from the blow, {at_once} rounds at once.
"""
PARTS = {
    ("SIGKILL",): """\
SIGKILL of the controller just before and just after what each of its calls does, its answer
never read; then the same command again. Where it was killed before a call that rents made anything, nobody
can know that for 4 minutes, since the list may lag: the market's clock was put forward, but for one round.
""",
    tuple(number.name for number in SIGNALS): """\
A signal at each step: the run gives back and ends with 130.
""",
    ("for good",): f"""\
SIGKILL and nobody starts it again: the machine ends itself. The lease lasts
{LEASE_S:.0f} s, its grace {GRACE_S:.0f} s, the boot may take {BOOT_S:.0f} s: {LIFE_S:.0f} s from its start
unless it was renewed.
""",
    ("other",): """\
Nobody to read what it prints (seconds from its start), no room on the disk from some moment on, a
market that does not destroy.
""",
}
"""The words before the rows of each kind."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one blow did."""

    kind: str
    title: str
    left: str
    """Right after it."""
    gone_s: float
    """From the blow until the market had no instance of that run."""
    end: str
    faults: tuple[str, ...] = ()


def rounds(only: str = "") -> Iterator[tuple[str, Callable[[Rented], Round]]]:
    """Name all rounds, or those whose name holds a text; the longest come first."""
    every: list[tuple[str, Callable[[Rented], Round]]] = [("other stubborn", stubborn)]
    every += [("SIGKILL unheard of", unheard), ("SIGKILL lagging list", lagging), ("SIGKILL twice", twice)]
    every += [(f"for good {title}", partial(for_good, title, moment, fault)) for title, moment, fault in FOR_GOOD]
    for moment in (*CALLS, *REQUESTS):
        every += [(f"SIGKILL {one.title}", partial(killed, one)) for one in _both(moment)]
    for step in STEPS:
        every += [(f"{number.name} {step.title}", partial(interrupted, step, number)) for number in SIGNALS]
    every += [("SIGINT impatient", impatient), ("SIGTERM start", interrupted_start)]
    every += [(f"other {title}", partial(hushed, title, how)) for title, how in HUSHED.items()]
    every += [(f"other {title}", partial(full, title, moment)) for title, moment in FULL.items()]
    return ((name, play) for name, play in every if only in name)


def killed(moment: Moment, rented: Rented) -> Round:
    """Kill the run at a moment, and start it again."""
    rented.strike_run(moment)
    counted = rented.counted()
    faults = [] if rented.struck.is_set() else ["the moment never came"]
    forward = rented.unheard()
    if forward:
        rented.settle()
    run = rented.start()
    gone_s = _gone(rented)
    again = rented.end(run)
    faults += rented.wrong(again, counted)
    end = f"{again.code}" + (", the market's clock put forward" if forward else "")
    return Round(kind="SIGKILL", title=moment.title, left=rented.left, gone_s=gone_s, end=end, faults=tuple(faults))


def interrupted(moment: Moment, number: signal.Signals, rented: Rented) -> Round:
    """Interrupt the run at a moment."""
    run = rented.strike_run(moment, number)
    gone_s = _emptied(rented, run)
    ended = rented.end(run)
    faults = [] if rented.struck.is_set() else ["the moment never came"]
    faults += rented.faults()
    if ended.code != EXIT_INTERRUPTED:
        faults.append(f"it ended with {ended.code}: {ended.out[-300:]}")
    end = f"{ended.code}"
    return Round(kind=number.name, title=moment.title, left=rented.left, gone_s=gone_s, end=end, faults=tuple(faults))


def for_good(title: str, moment: Moment, fault: str, rented: Rented) -> Round:
    """Kill the run at a moment and leave it at that: the machine ends itself."""
    rented.strike_run(moment)
    if fault:
        rented.fault(fault, endpoint="destroy", times=5)
    (bill,) = rented.market.bills.values()
    gone_s = rented.wait_until_gone(3 * LIFE_S)
    lived_s = bill.disk_ms / 1000
    # A renewal a moment ago gives it a lease and a grace from then on.
    most = max(LIFE_S, LIFE_S - BOOT_S + lived_s - gone_s) + SLACK_S + (5 * 2.5 if fault else 0)
    faults = [f"it lived for {lived_s:.0f} s, {most:.0f} s were its time"] if lived_s > most else []
    return Round(
        kind="for good",
        title=f"{title} ({moment.title})",
        left=rented.left,
        gone_s=gone_s,
        end=f"it ended itself, {lived_s:.0f} s old",
        faults=tuple(faults),
    )


def unheard(rented: Rented) -> Round:
    """Kill the run before anything was rented, and let the next one wait until nothing can have come of it."""
    return _again(rented, Moment(endpoint="create"), "before create, and nobody moves a clock")


def lagging(rented: Rented) -> Round:
    """Kill the run when the machine is there and in no list for a while."""
    return _again(rented, Moment(endpoint="create", when="after"), "after create, six lists lag", "list_lag")


def twice(rented: Rented) -> Round:
    """Kill the run, then the next one while it clears up."""
    rented.strike_run(Moment(endpoint="create", when="after"))
    return _again(rented, Moment(endpoint="destroy"), "after create; the next run before its destroy")


def _again(rented: Rented, moment: Moment, title: str, fault: str = "") -> Round:
    """Kill the run at a moment and start it again, however long that takes."""
    rented.strike_run(moment)
    if fault:
        rented.fault(fault, times=6)
    run = rented.start()
    gone_s = _gone(rented)
    ended = rented.end(run, 400)
    return Round(
        kind="SIGKILL",
        title=title,
        left=rented.left,
        gone_s=gone_s,
        end=f"{ended.code}",
        faults=(*rented.wrong(ended, 0),),
    )


def stubborn(rented: Rented) -> Round:
    """Let a market answer every DELETE with 500: code 6, the id and the command; the next run gives it back."""
    rented.fault("500", endpoint="destroy", times=-1)
    rented.struck_at = time.monotonic()
    ended = rented.end(rented.start(), 600)
    rented.left, rented.had, faults = rented.described(), rented.instances(), _unsaid(rented, ended.out)
    if ended.code != BillingError.exit_code:
        faults.append(f"it ended with {ended.code}")
    if [row["state"] for row in rented.leases()] != ["lost"]:
        faults.append("the ledger does not call it lost")
    rented.market.faults.disarm("500")
    rented.struck_at = time.monotonic()
    run = rented.start()
    gone_s = _gone(rented)
    faults += rented.wrong(rented.end(run), 0)
    title = "every DELETE answers 500; then no more, and the command again"
    return Round(kind="other", title=title, left=rented.left, gone_s=gone_s, end="6, then 0", faults=tuple(faults))


def impatient(rented: Rented) -> Round:
    """Interrupt three times while the market does not destroy; then let `uprez reap` do it."""
    rented.fault("500", endpoint="destroy", times=-1)
    run = rented.strike_run(Moment(endpoint="list", since="create"), signal.SIGINT)
    while not rented.market.faults.struck["500"] and run.poll() is None:
        time.sleep(0.1)
    for _ in range(2):
        run.send_signal(signal.SIGINT)
        time.sleep(0.3)
    ended = rented.end(run)
    faults = _unsaid(rented, ended.out)
    if ended.code != BillingError.exit_code:
        faults.append(f"it ended with {ended.code}")
    rented.market.faults.disarm("500")
    reaped = rented.uprez("reap")
    gone_s = time.monotonic() - rented.struck_at
    faults += [*rented.faults(), *([reaped.out] if reaped.code else [])]
    title = "three times, DELETE answers 500; then `uprez reap`"
    return Round(kind="SIGINT", title=title, left=rented.left, gone_s=gone_s, end="6, then 0", faults=tuple(faults))


def interrupted_start(rented: Rented) -> Round:
    """Interrupt the run that gives back what a dead one left."""
    rented.strike_run(Moment(endpoint="list", since="create"))
    run = rented.strike_run(Moment(endpoint="destroy"), signal.SIGTERM)
    gone_s = _emptied(rented, run)
    ended = rented.end(run)
    faults = rented.faults() + ([] if ended.code == EXIT_INTERRUPTED else [f"it ended with {ended.code}"])
    title = "before destroy of what a killed run left"
    return Round(
        kind="SIGTERM", title=title, left=rented.left, gone_s=gone_s, end=f"{ended.code}", faults=tuple(faults)
    )


def hushed(title: str, how: str, rented: Rented) -> Round:
    """Take away whoever reads what the run prints."""
    rented.struck_at = time.monotonic()
    if how == "closed":
        run = rented.start("run", program=("bash", "-c", 'exec "$0" "$@" >&-', sys.executable, "-m", "uprez"))
    else:
        run = rented.start("run", "--verbose", pipe_bytes=4096)
    if how == "head":
        for _ in range(3):
            run.stdout.readline() if run.stdout else None
        if run.stdout:
            run.stdout.close()
    expected = EXIT_OK
    if how == "signal":
        rented.wait_for_calls("manage", 1)
        run.send_signal(signal.SIGTERM)
        rented.struck_at, expected = time.monotonic(), EXIT_INTERRUPTED
    code = run.wait(100)
    gone_s = time.monotonic() - rented.struck_at
    faults = rented.faults() + ([] if code == expected else [f"it ended with {code}"])
    if expected == EXIT_OK and "output/clip.x2.mp4" not in rented.keys("output/"):
        faults.append("there is no result")
    return Round(kind="other", title=title, left="-", gone_s=gone_s, end=f"{code}", faults=tuple(faults))


def full(title: str, moment: Moment, rented: Rented) -> Round:
    """Fill the ledger's disk at a moment; the next run, with room again, clears up and ends well."""
    run = rented.strike_run(moment, full_disk)
    gone_s = _gone(rented)
    first = rented.end(run)
    faults = [f"instance {number} is left" for number in rented.instances()]
    if rented.unheard():
        rented.settle()
    faults += rented.wrong(rented.uprez(), 0)
    end = f"{first.code}, then 0"
    return Round(kind="other", title=title, left=rented.left, gone_s=gone_s, end=end, faults=tuple(faults))


def _unsaid(rented: Rented, out: str) -> list[str]:
    """Say what a run that leaves a machine behind did not tell: its id and what ends it by hand."""
    wanted = [f"vastai destroy instance {number} -y" for number in rented.instances()]
    return [f"it did not say: {words}" for words in wanted if words not in out]


def play_all(only: str, at_once: int) -> list[Round]:
    """Play the rounds, some side by side; prints each as it ends."""
    image.prepared(IMAGE)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so do children
    with tempfile.TemporaryDirectory(prefix="uprez-kills-") as folder:
        top = Path(folder)
        (top / "s3").mkdir()
        server = S3Server(top / "s3")
        try:
            with ThreadPoolExecutor(at_once) as pool:
                made = [
                    pool.submit(_play, top / str(number), server, name, play)
                    for number, (name, play) in enumerate(rounds(only))
                ]
                return [one.result() for one in made]
        finally:
            server.close()


def table(played: Sequence[Round]) -> str:
    """Write the section of docs/kills.md."""
    good = sum(not one.faults for one in played)
    text = f"{HEADING}\n\n" + INTRODUCTION.format(segments=SEGMENTS, good=good, all=len(played), at_once=AT_ONCE)
    for kinds, words in PARTS.items():
        text += f"\n{words}\n| what | left then | no instance after | the end |\n|---|---|---|---|\n"
        text += "".join(f"{row(one)}\n" for one in played if one.kind in kinds)
    heard = max((one.gone_s for one in played if one.kind not in ("for good", "other")), default=0.0)
    return f"{text}\nLongest until nothing was left, where somebody started it again or it heard: {heard:.0f} s.\n"


def row(one: Round) -> str:
    """Write one line of the table."""
    name = f"{one.kind} {one.title}" if one.kind in {number.name for number in SIGNALS} else one.title
    verdict = "; ".join(one.faults).replace("\n", " ") or one.end
    return f"| {name} | {one.left} | {one.gone_s:.1f} s | {verdict} |"


def _play(top: Path, server: S3Server, name: str, play: Callable[[Rented], Round]) -> Round:
    top.mkdir()
    rented = Rented(top, server, lease_s=LEASE_S, boot_s=BOOT_S)
    try:
        found = play(rented)
    except Exception as error:  # noqa: BLE001  one round that breaks is a fault among the others
        said = f"{type(error).__name__}: {error}"
        found = Round(
            kind=name.partition(" ")[0], title=name.partition(" ")[2], left="?", gone_s=0.0, end="", faults=(said,)
        )
    finally:
        rented.close()
    print(f"{found.kind}: {row(found)}", flush=True)
    return found


def _both(moment: Moment) -> tuple[Moment, Moment]:
    return moment.at("before"), moment.at("after")


def _gone(rented: Rented) -> float:
    """Wait until no instance of those at the blow is there; gives the seconds since it, 0 where there was none."""
    if not rented.had:
        return 0.0
    while set(rented.had) & set(rented.instances()) and time.monotonic() - rented.struck_at < 2 * LIFE_S:
        time.sleep(0.1)
    return time.monotonic() - rented.struck_at


def _emptied(rented: Rented, run: subprocess.Popen[str]) -> float:
    """Wait for the run's end; gives the seconds from the blow until the market was empty for good."""
    last = rented.struck_at
    while run.poll() is None and time.monotonic() - rented.struck_at < 2 * LIFE_S:
        if rented.instances():
            last = time.monotonic()
        time.sleep(0.1)
    return last - rented.struck_at
