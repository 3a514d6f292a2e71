"""The first run on the real Vast.ai: at most five cents, to answer what no page says.

Only where `UPREZ_LIVE=yes` says so, with a key of an account and of a bucket, after a typed confirmation. First small
questions, one of them a machine of a few minutes that ends itself; then one second of video by the whole command. What
was found goes into docs/live.md. Whatever may have been made carries a label that `uprez reap` knows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from dotenv import dotenv_values

from uprez import batch, http
from uprez.config.layers import load
from uprez.config.settings import Settings
from uprez.errors import BillingError, FetchError, UprezError
from uprez.fleet import budget
from uprez.fleet.budget import Traffic
from uprez.fleet.labels import Label
from uprez.http import Limits
from uprez.market.base import OfferQuery
from uprez.market.vast import create, destroy, offers
from uprez.market.vast.market import VENDOR
from uprez.market.vast.offers import Choice
from uprez.market.vast.wire import Vast
from uprez.report.console import Console

REPO = Path(__file__).resolve().parent.parent
PAGE = REPO / "docs" / "live.md"
CLIP = REPO / ".cache" / "materials" / "carphone_pristine.mp4"
CAP = Decimal("0.05")
"""US dollars for all of it."""
PROBE = Decimal("0.01")
"""Of them, for the machine of the small questions."""
LIFE_S = 600
"""After which that machine ends itself."""
DISK_GB = 10
WORD = "rent for five cents"
NEEDED = ("VAST_API_KEY", "B2_KEY", "B2_SECRET", "B2_BUCKET", "B2_ENDPOINT")
ANY_STATUS = frozenset(range(300, 600))
LIMITS = Limits(connect_s=10, read_s=60, total_s=120, tries=1)
SIZES = (15_000, 4_060, 1_200)
"""Characters of a script, the largest first: more than two of the three documented limits, than one, than none."""
QUESTIONS = {
    "retry_after": "Does a 429 carry `Retry-After`?",
    "request_logs": "How often may `request_logs` be called?",
    "stale": "Can `result_url` give an old snapshot?",
    "onstart": "How long may entry point and arguments be?",
    "env": "Does a dict of `env` arrive in `args` mode?",
    "key_file": "Is there a `/root/.vast_api_key` in `args` mode?",
    "low_bid": "What does a bid below the least answer, with `cancel_unavail`?",
    "loading": "Does the GPU cost while an image is loaded?",
    "rows": "Are 64 offers the most, on demand and for bids?",
    "temp_url": "Is `temp_download_url` there, and for how long?",
}
SCRIPT = """echo "mark=$UPREZ_LIVE_MARK"
[ -e /root/.vast_api_key ] && echo key_file=yes || echo key_file=no
i=0; while [ $i -lt %(beats)d ]; do i=$((i+1)); echo "beat=$i"; sleep %(beat_s)s; done
while :; do python3 -c 'import os,urllib.request as r
e=os.environ
u=e["VAST_URL"]+"/api/v0/instances/"+e["CONTAINER_ID"]+"/"
r.urlopen(r.Request(u,headers={"Authorization":"Bearer "+e["CONTAINER_API_KEY"]},method="DELETE"),timeout=30)'
sleep 10; done
"""
UNKNOWN = "not known yet"
NEVER = "**Never run against the real service so far.**"


@dataclass(frozen=True, kw_only=True)
class Said:
    """An answer of the server, unread."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> Mapping[str, object]:
        """Give its JSON object, empty where it is none."""
        try:
            found = json.loads(self.text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(kw_only=True)
class Prober:
    """Asks the small questions, and remembers what it found."""

    vast: Vast
    key: str
    pause_s: float = 5.0
    """Between two looks."""
    boot_s: float = 420.0
    answers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: object = None) -> Said:
        """Make one call as it is, without our client's patience: its refusals are what is looked for."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        sent = None if body is None else json.dumps(body).encode()
        answer = http.request(
            method, self.vast.base + path, headers=headers, body=sent, accept=ANY_STATUS, limits=LIMITS
        )
        return Said(status=answer.status, headers=answer.headers, text=answer.data.decode(errors="replace"))

    def limits(self) -> None:
        """Call a list too soon, to see what a refusal looks like."""
        path = "/api/v1/instances/?select_filters=%7B%7D&limit=25"
        self.answers["retry_after"] = self._refusal(lambda: self.ask("GET", path))

    def rows(self) -> None:
        """Ask for more offers than there should be."""
        found = []
        for kind in ("on-demand", "bid"):
            time.sleep(self.pause_s)
            said = self.ask("POST", "/api/v0/bundles/", {"limit": 100, "type": kind, "rentable": {"eq": True}})
            got = said.body.get("offers")
            found.append(f"{kind}: {len(got) if isinstance(got, list) else said.status} for a limit of 100")
        self.answers["rows"] = "; ".join(found)

    def low_bid(self) -> None:
        """Bid a tenth of a cent for the cheapest, which nobody accepts; what is made all the same goes at once."""
        found = offers.search(self.vast, OfferQuery(bid=True, disk_gb=DISK_GB)).choices
        if not found:
            self.answers["low_bid"] = "no machine was to be bid for"
            return
        said, made = self._rented(found[0], {**self._order("true", 0), "price": 0.001})
        self.answers["low_bid"] = f"{said.status} {said.text[:120]}" + (" (made, and destroyed)" if made else "")
        if made is not None:
            destroy.confirmed(self.vast, made)

    def machine(self, choice: Choice) -> None:
        """Rent one machine for minutes, with the longest script that is taken, and look at what it prints."""
        credit = self.vast.account().credit_usd
        made, size = self._rent(choice)
        if made is None:
            return
        self.answers["onstart"] = f"{size} characters were taken"
        try:
            loading_s = self._until_running(made)
            self._loading(choice, credit, loading_s)
            self._logs(made)
        finally:
            destroy.confirmed(self.vast, made)

    def _rent(self, choice: Choice) -> tuple[int | None, int]:
        for size in SIZES:
            time.sleep(self.pause_s)
            script = SCRIPT % {"beats": LIFE_S // 5, "beat_s": min(5.0, self.pause_s)}
            said, made = self._rented(choice, self._order(script, size))
            if made is not None and said.body.get("success") is True:
                return made, size
            if made is not None:
                destroy.confirmed(self.vast, made)
            self.answers["onstart"] = f"{size} characters: {said.status} {said.text[:120]}"
        return None, 0

    def _until_running(self, instance: int) -> float:
        """Wait for its container; gives the seconds that it took."""
        began = time.monotonic()
        while time.monotonic() - began < self.boot_s:
            found = self.vast.show(instance)
            if found is None or found.actual_status == "running":
                break
            time.sleep(self.pause_s)
        return time.monotonic() - began

    def _loading(self, choice: Choice, before: Decimal | None, loading_s: float) -> None:
        after = self.vast.account().credit_usd
        if before is None or after is None:
            return
        gpu = choice.rates.gpu_usd_per_hour * Decimal(str(loading_s)) / 3600
        self.answers["loading"] = (
            f"credit fell by {before - after:.6f} in {loading_s:.0f} s of loading; the GPU alone would be {gpu:.6f}"
        )

    def _logs(self, instance: int) -> None:
        """Take the log twice: what it holds, whether it moved on, how soon it may be asked for."""
        path = f"/api/v0/instances/request_logs/{instance}/"
        first, url, temp = self._log(path)
        time.sleep(2 * self.pause_s)
        second, again, _ = self._log(path)
        same = "same" if url == again else "another"
        self.answers["stale"] = f"{same} address; the first look after a new request gave " + (
            "the old text" if first == second else "a new one"
        )
        marks = dict(line.partition("=")[::2] for line in (first + second).splitlines() if "=" in line)
        self.answers["env"] = {"live": "yes"}.get(marks.get("mark", ""), f"no: {marks.get('mark')}")
        self.answers["key_file"] = marks.get("key_file", UNKNOWN)
        signed = parse_qs(urlsplit(temp).query).get("X-Amz-Expires", ["?"])[0]
        self.answers["temp_url"] = f"yes, signed for {signed} s" if temp else "no"
        self.answers["request_logs"] = self._refusal(lambda: self.ask("PUT", path, {"tail": "10"}))

    def _log(self, path: str) -> tuple[str, str, str]:
        """Ask for the log and wait until there is something; gives it, its address and the other address."""
        said = self.ask("PUT", path, {"tail": "1000"})
        url, temp = (str(said.body.get(name) or "") for name in ("result_url", "temp_download_url"))
        for _ in range(20):
            time.sleep(self.pause_s / 5)
            try:
                text = http.request("GET", url, accept=frozenset({403, 404}), limits=LIMITS)
            except FetchError:
                continue
            if text.status < 300 and b"mark=" in text.data:
                return text.data.decode(errors="replace"), url, temp
        return "", url, temp

    def _refusal(self, call: Callable[[], Said]) -> str:
        """Call at once again, a few times, until that is refused."""
        began = time.monotonic()
        for count in range(1, 6):
            said = call()
            if said.status == 429:
                names = {name.lower(): value for name, value in said.headers.items()}
                after = names.get("retry-after")
                return f"call {count} was refused, Retry-After {after or 'missing'}: {said.text[:100]}"
        return f"5 calls in {time.monotonic() - began:.1f} s were not refused"

    def _order(self, script: str, size: int) -> dict[str, object]:
        """Order a machine that ends itself; padded by a comment to so many characters."""
        deadline = self.vast.now() + timedelta(seconds=LIFE_S)
        label = Label(ledger=secrets.token_hex(4), lease=secrets.token_hex(4), deadline=deadline)
        text = script + "#" * max(0, size - len(script) - len("/bin/bash-c"))
        return {
            "client_id": "me",
            "image": "python:3.11-bookworm",
            "disk": DISK_GB,
            "label": str(label),
            "runtype": "args",
            "onstart": "/bin/bash",
            "args": ["-c", text],
            "env": {"UPREZ_LIVE_MARK": "live", "VAST_URL": self.vast.base},
            "target_state": "running",
            "cancel_unavail": True,
        }

    def _rented(self, choice: Choice, order: dict[str, object]) -> tuple[Said, int | None]:
        """Rent, once; what came of a call without an answer is looked for by its label."""
        try:
            said = self.ask("PUT", f"/api/v0/asks/{choice.offer.id}/", order)
        except FetchError as error:
            said = Said(status=0, headers={}, text=error.message)
        made = said.body.get("new_contract")
        if isinstance(made, int):
            return said, made
        unclear = said.status == 0 or said.status >= 500 or said.status < 300
        found = create.labelled(self.vast, str(order["label"])) if unclear else []
        return said, found[0].id if found else None


def refusal(environment: Mapping[str, str | None]) -> str | None:
    """Say why this must not run here, None when it may."""
    if environment.get("UPREZ_LIVE") != "yes":
        return "set UPREZ_LIVE=yes: this rents on Vast.ai, with real money"
    missing = [name for name in NEEDED if not environment.get(name)]
    return f"not set: {', '.join(missing)}" if missing else None


def is_real(base: str) -> bool:
    """Say whether an address is Vast.ai's own."""
    host = urlsplit(base).hostname or ""
    return host == VENDOR or host.endswith(f".{VENDOR}")


def affordable(found: tuple[Choice, ...]) -> Choice | None:
    """Give the cheapest machine whose whole life fits, with a GB of traffic."""
    for one in found:
        if budget.commitment(one.rates, LIFE_S, Traffic(down_bytes=10**9, up_bytes=10**7)) <= PROBE:
            return one
    return None


def settings(source: Path) -> Settings:
    """Give the settings of the run: one second of one clip, on leases that the cap pays for."""
    given = load({"input": str(source), "duration": "1", "market": "vast", "max_price": "0.12", "min_vram": "6"})
    short = replace(given.rented, boot_s=600, lease_s=300, grace_s=60, hard_life_s=1200)
    return replace(given, budget_usd=CAP - PROBE, rented=short, max_runtime_s=900.0)


def page(answers: Mapping[str, str], *, when: datetime | None, run: str = "") -> str:
    """Write docs/live.md."""
    told = f"Made by `make live` on {when:%Y-%m-%d}. {run}".strip() if when else NEVER
    lines = [f"| {text} | {answers.get(name, UNKNOWN).replace('|', '/')} |" for name, text in QUESTIONS.items()]
    return "\n".join(
        [
            "# The real service",
            "",
            told,
            "",
            "What no page of Vast.ai says, or two say differently: uprez is built to bear either answer.",
            f"`make live` asks. It needs `UPREZ_LIVE=yes`, `VAST_API_KEY` and the bucket's `B2_*`, spends {CAP} USD",
            "at most, and wants a typed confirmation. Its questions and this page are tested on the practice market.",
            "",
            "| question | answer |",
            "|---|---|",
            *(" ".join(line.split()) for line in lines),
            "",
        ]
    )


@contextmanager
def noted(answers: dict[str, str], *names: str) -> Iterator[None]:
    """A question that goes wrong is an answer too, and keeps none of the others."""
    try:
        yield
    except UprezError as error:
        for name in names:
            answers.setdefault(name, f"asked, and failed: {error.message[:120]}")
        if isinstance(error, BillingError):
            raise


def probe(prober: Prober) -> dict[str, str]:
    """Ask the small questions, the free ones first."""
    answers = prober.answers
    with noted(answers, "retry_after"):
        prober.limits()
    with noted(answers, "rows"):
        prober.rows()
    with noted(answers, "low_bid"):
        prober.low_bid()
    with noted(answers, *QUESTIONS):
        choice = affordable(offers.search(prober.vast, OfferQuery(disk_gb=DISK_GB)).choices)
        if choice is not None:
            prober.machine(choice)
    return answers


def main() -> int:
    """Ask, run, write; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, default=PAGE)
    parser.add_argument("--practice", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    try:
        return live(chosen.write, practice=chosen.practice)
    except UprezError as error:
        print(f"[ERROR] {error.message}" + (f"\n[HINT] {error.hint}" if error.hint else ""), file=sys.stderr)
        return error.exit_code


def live(path: Path, *, practice: bool) -> int:
    """Ask whether it may, then do it. Raises UprezError; BillingError names what may have been left."""
    environment = {**dotenv_values(".env"), **os.environ}
    if why := refusal(environment):
        return _refused(why)
    given = settings(CLIP)
    if not practice and not is_real(given.vast_url):
        return _refused(f"{given.vast_url} is not Vast.ai: it would answer nothing")
    if given.vast_api_key is None:
        raise AssertionError("the market vast without a key")
    vast = Vast(given.vast_url, given.vast_api_key)
    account = vast.account()
    if account.practice is not practice:
        return _refused("this account is one of a practice market")
    print(f"Account {account.id} at {vast.base}, credit {account.credit_usd}. At most {CAP} USD will be spent.")
    if input(f"Type '{WORD}' to go on: ") != WORD:
        print("Nothing was rented.")
        return 2
    answers = probe(Prober(vast=vast, key=given.vast_api_key.reveal()))
    began = time.monotonic()
    code = asyncio.run(batch.run(given, Console(verbose=True)))
    run = f"One second of video ended with code {code} after {time.monotonic() - began:.0f} s."
    path.write_text(page(answers, when=datetime.now(UTC), run=run))
    print(f"[OK] {path}")
    return code


def _refused(why: str) -> int:
    print(f"[ERROR] {why}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
