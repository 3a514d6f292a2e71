"""`make live`, as far as it can be tried without an account: what it refuses, what it asks, what it writes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

import live
from uprez.config.settings import Secret
from uprez.market.base import Rates
from uprez.market.vast.limiter import Limiter
from uprez.market.vast.wire import Vast
from uprez.practice import Clock, Market, Options, PracticeServer, Processes
from uprez.practice.faults import Armed

SET = {"UPREZ_LIVE": "yes", **dict.fromkeys(live.NEEDED, "x")}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PracticeServer]:
    """Give a market whose time passes twenty times as fast, and whose machines really run."""
    options = Options(boot_s=(3.0, 3.0), limits=False)
    server = PracticeServer(Market(Clock(20.0), Processes(tmp_path / "market"), options))
    yield server
    server.close()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Give a file that stands for a clip: nobody looks into it."""
    (tmp_path / "clip.mp4").write_bytes(b"clip")
    return tmp_path / "clip.mp4"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"UPREZ_LIVE": ""}, "UPREZ_LIVE=yes"),
        ({"UPREZ_LIVE": "1"}, "UPREZ_LIVE=yes"),
        ({"VAST_API_KEY": ""}, "not set: VAST_API_KEY"),
        ({"B2_SECRET": ""}, "not set: B2_SECRET"),
    ],
)
def test_it_runs_only_where_it_is_meant_to(changes: dict[str, str], why: str) -> None:
    """Opted in by name, with every key."""
    assert why in (live.refusal({**SET, **changes}) or "")
    assert live.refusal(SET) is None


def test_only_the_real_service_will_do() -> None:
    """Not a practice market, and nothing that merely looks like it."""
    assert live.is_real("https://console.vast.ai")
    for other in ("http://127.0.0.1:8700", "https://vast.ai.example.org", "https://notvast.ai"):
        assert not live.is_real(other)


@pytest.mark.parametrize("typed", ["", "yes", "rent"])
def test_nothing_is_rented_without_the_whole_sentence(
    server: PracticeServer, monkeypatch: pytest.MonkeyPatch, typed: str, clip: Path, tmp_path: Path
) -> None:
    """Any other answer ends it with code 2, before anything was made or written."""
    for name, value in {**SET, "VAST_URL": server.url, "VAST_API_KEY": server.market.key}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("B2_BUCKET", "videos")
    monkeypatch.setenv("B2_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("B2_REGION", "r")
    monkeypatch.setattr("builtins.input", lambda _: typed)
    monkeypatch.setattr(sys, "argv", ["live.py", "--practice", "--write", str(tmp_path / "live.md")])
    monkeypatch.setattr(live, "CLIP", clip)
    assert live.main() == 2
    assert server.market.bills == {}
    assert not (tmp_path / "live.md").exists()
    monkeypatch.setattr(sys, "argv", ["live.py"])
    assert live.main() == 2


def test_the_cap_holds_by_arithmetic(monkeypatch: pytest.MonkeyPatch, clip: Path) -> None:
    """Probe and run together are the cap; a lease of the run fits its part at the dearest price that it may have."""
    for name, value in {**SET, "B2_BUCKET": "videos", "B2_ENDPOINT": "https://s3.example.org"}.items():
        monkeypatch.setenv(name, value)
    given = live.settings(clip)
    assert given.budget_usd + live.PROBE == live.CAP == Decimal("0.05")
    rates = Rates(gpu_usd_per_hour=Decimal("0.10"))
    timing = given.rented
    assert live.budget.commitment(rates, timing.boot_s + timing.lease_s + timing.grace_s, live.Traffic()) < Decimal(
        "0.04"
    )


def test_every_question_is_answered(server: PracticeServer) -> None:
    """On a market where things really run; whatever was made is gone, and cost less than its part."""
    server.market.inject(Armed(name="429_json", endpoint="list"))
    vast = Vast(server.url, Secret(server.market.key), limiter=Limiter(sleep=lambda _: None))
    prober = live.Prober(vast=vast, key=server.market.key, pause_s=0.2, boot_s=20)
    answers = live.probe(prober)
    assert server.market.rows() == []
    assert 0 < server.market.spent_usd() < live.PROBE
    assert set(answers) == set(live.QUESTIONS)
    assert "Retry-After" in answers["retry_after"]
    assert "missing" not in answers["retry_after"]
    assert answers["rows"] == "on-demand: 64 for a limit of 100; bid: 64 for a limit of 100"
    assert answers["low_bid"].startswith("410")
    assert answers["env"] == "yes"
    assert answers["key_file"] in ("yes", "no")
    assert "were taken" in answers["onstart"]
    assert "of loading" in answers["loading"]
    text = live.page(answers, when=datetime(2026, 11, 25, tzinfo=UTC), run="It ended.")
    assert "on 2026-11-25. It ended." in text
    assert text.count("\n| ") == 1 + len(live.QUESTIONS)
    assert live.UNKNOWN not in text


def test_the_page_says_that_it_was_never_run_or_when() -> None:
    """docs/live.md is what the tool writes: every question, and no claim without a run."""
    text = live.PAGE.read_text()
    assert text == live.page({}, when=None) or "Made by `make live` on 20" in text
    assert all(question in text for question in live.QUESTIONS.values())
