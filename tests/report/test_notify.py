"""The webhook: what is sent, that nothing leaks, and that no receiver can hold up or fail a run."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from uprez import http
from uprez.config.settings import Secret
from uprez.errors import UsageError
from uprez.report import notify
from uprez.report.console import Console
from uprez.report.notify import Notifier
from uprez.report.results import JobResult, JobState, Output, Results

REPO = Path(__file__).resolve().parents[2]
KEY = "T00SECRET"
OUTPUT = Output(
    url="s3://films/output/cat.x2.mp4",
    path="output/cat.x2.mp4",
    size=1_234_567,
    etag="0",
    sha256="5e" * 32,
    frames=50,
    duration_s=2.0,
    width=1280,
    height=720,
    audio_tracks=1,
)
DONE = JobResult(job="00112233aabbccdd", input="cat.mp4", state="done", output=OUTPUT, seconds=12.5)
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def results(*jobs: JobResult, exit_code: int = 0, dry_run: bool = False) -> Results:
    """Make the results of a run."""
    return Results(
        uprez="1",
        batch="0a1b2c3d",
        started_at=START,
        ended_at=START + timedelta(seconds=90),
        exit_code=exit_code,
        dry_run=dry_run,
        output_dir="s3://films/output/",
        cost_usd=Decimal("0.1234"),
        jobs=jobs,
    )


class Receiver:
    """A web server that keeps what it is sent and answers what it is told to."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self.body = b""
        self.delay_s = 0.0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append({"type": self.headers["Content-Type"], **json.loads(body)})
                time.sleep(receiver.delay_s)
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.send_header("Content-Length", str(len(receiver.body)))
                self.end_headers()
                self.wfile.write(receiver.body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = Secret(f"http://127.0.0.1:{self.server.server_address[1]}/services/{KEY}?token={KEY}")
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Give a receiver that is up."""
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def told(url: Secret | None, *jobs: JobResult, end: Results | None = None, within_s: float = 20.0) -> str:
    """Report jobs and a run; give what the console said."""
    stream = StringIO()
    notifier = Notifier(url, Console(stream=stream))
    for job in jobs:
        notifier.job("0a1b2c3d", job)
    if end:
        notifier.batch(end, "s3://films/.uprez/batches/0a1b2c3d/results.json")
    notifier.close(within_s)
    return stream.getvalue()


def test_jobs_and_the_run_are_told_in_order(receiver: Receiver) -> None:
    """One POST for a job with its output, one for the run with counts, cost and code; the console is silent."""
    failed = JobResult(job="1" * 16, input="bad.mp4", state="failed", error="no picture", hint="do that")
    assert told(receiver.url, DONE, failed, end=results(DONE, failed, exit_code=1)) == ""
    done, bad, end = receiver.got
    assert [event["event"] for event in receiver.got] == ["job.done", "job.failed", "batch.done"]
    assert all(event["schema"] == 1 and event["batch"] == "0a1b2c3d" for event in receiver.got)
    assert len({event["id"] for event in receiver.got}) == 3
    assert done["type"].startswith("application/json")
    assert done["output"] == {
        "url": "s3://films/output/cat.x2.mp4",
        "size": 1_234_567,
        "sha256": "5e" * 32,
        "frames": 50,
        "duration_s": 2.0,
        "width": 1280,
        "height": 720,
    }
    assert (bad["output"], bad["error"], bad["hint"]) == (None, "no picture", "do that")
    assert end["counts"] == {"done": 1, "skipped": 0, "failed": 1, "unfinished": 0}
    assert (end["exit_code"], end["cost_usd"], end["seconds"]) == (1, "0.1234", 90.0)
    assert end["results"] == "s3://films/.uprez/batches/0a1b2c3d/results.json"


def test_the_guide_shows_what_is_sent() -> None:
    """The examples of docs/guides/webhook.md are these very payloads."""
    page = (REPO / "docs" / "guides" / "webhook.md").read_text(encoding="utf-8")
    examples = [json.loads(block.partition("```")[0]) for block in page.split("```json\n")[1:]]
    made = [notify.job_event("0a1b2c3d", DONE)]
    made.append(notify.batch_event(results(DONE), "s3://films/.uprez/batches/0a1b2c3d/results.json"))
    for event in (*made, *examples):
        event["at"] = "then"
    assert examples == made, json.dumps(made, indent=2)


def test_chats_show_one_line(receiver: Receiver) -> None:
    """Slack's `text` and Discord's `content` are one short line; a name in it calls nobody."""
    told(receiver.url, JobResult(job="1" * 16, input="<!channel> & @everyone" + "x" * 900, state="failed", error="e"))
    (event,) = receiver.got
    assert event["text"].startswith("uprez: &lt;!channel&gt; &amp; @everyone")
    assert len(event["content"]) == notify.TEXT_MOST
    assert event["allowed_mentions"] == {"parse": []}


def test_signatures_are_left_out(receiver: Receiver) -> None:
    """A signed URL in an error or a warning loses its query before it leaves."""
    signed = "cannot GET http://host/a.mp4?X-Amz-Expires=9&X-Amz-Signature=abc: 403"
    told(receiver.url, JobResult(job="1" * 16, input="a.mp4", state="failed", error=signed, warnings=(signed,)))
    assert "X-Amz" not in json.dumps(receiver.got)
    assert receiver.got[0]["error"] == "cannot GET http://host/a.mp4 403"


@pytest.mark.parametrize("state", ["skipped", "planned"])
def test_what_was_not_done_is_not_told(receiver: Receiver, state: JobState) -> None:
    """Thousands of skipped jobs make no thousands of messages, and a dry run none."""
    told(receiver.url, JobResult(job="1" * 16, input="a.mp4", state=state), end=results(dry_run=True))
    assert receiver.got == []


def test_passing_failures_are_tried_again(receiver: Receiver) -> None:
    """A receiver that is busy twice gets the report the third time, and nothing is said."""
    receiver.answers = [503, 429]
    assert told(receiver.url, DONE) == ""
    assert len(receiver.got) == 3


def test_a_receiver_that_refuses_is_named_once_without_its_key(receiver: Receiver) -> None:
    """Each kind of failure is one warning with the host, although the server repeats the path in its answer."""
    receiver.answers = [404, 404, 410]
    receiver.body = f"Cannot POST /services/{KEY}?token={KEY}".encode()
    said = told(receiver.url, DONE, DONE, DONE).splitlines()
    host = f"127.0.0.1:{receiver.server.server_address[1]}"
    assert said == [
        f"[WARN] The webhook at {host} was not told: it answered 404 Not Found. The work goes on",
        f"[WARN] The webhook at {host} was not told: it answered 410 Gone. The work goes on",
    ]
    assert len(receiver.got) == 3


def test_nobody_there_is_said_without_the_key() -> None:
    """A refused connection is one warning with the host alone."""
    said = told(Secret(f"http://127.0.0.1:9/services/{KEY}?token={KEY}"), DONE, DONE)
    assert said.startswith("[WARN] The webhook at 127.0.0.1:9 was not told: ")
    assert len(said.splitlines()) == 1
    assert KEY not in said


def test_a_slow_receiver_delays_nothing(receiver: Receiver) -> None:
    """Reports are handed over at once; closing waits no longer than it may, and says what was left."""
    receiver.delay_s = 5.0
    begin = time.monotonic()
    said = told(receiver.url, DONE, DONE, within_s=0.3)
    assert time.monotonic() - begin < 4.5
    assert "2 reports to the webhook" in said


def test_an_unexpected_failure_is_a_warning(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks while sending is said and goes no further."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"http://x/{KEY}")

    monkeypatch.setattr(http, "request", broken)
    said = told(receiver.url, DONE)
    assert "sending failed: RuntimeError" in said
    assert KEY not in said


@pytest.mark.parametrize("url", [f"http://example.com/{KEY}", f"ftp://localhost/{KEY}", KEY, "http://[1"])
def test_an_address_that_others_could_read_is_refused(url: str) -> None:
    """Plain http is for this machine; the message does not hold the key."""
    with pytest.raises(UsageError) as caught:
        Notifier(Secret(url), Console(stream=StringIO()))
    assert KEY not in caught.value.message


def test_without_a_webhook_nothing_happens() -> None:
    """No URL: no thread, no message."""
    assert told(None, DONE, end=results(DONE)) == ""
