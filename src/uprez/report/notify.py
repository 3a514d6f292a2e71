"""The webhook: one POST for each job that ends and one for the run. docs/guides/webhook.md shows what is sent.

Sent by a thread of its own, so that a slow receiver delays nothing, and a failing one fails nothing. Neither a message
nor a payload holds the webhook's own address, which is its key, or a signed URL.
"""

from __future__ import annotations

import json
import queue
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from uprez import http
from uprez.config.kinds import is_loopback
from uprez.config.settings import Secret
from uprez.errors import FetchError, UsageError
from uprez.report.console import Console
from uprez.report.results import JobResult, Output, Results

SCHEMA = 1
SENDS = ("done", "failed", "unfinished")
"""States of a job that are reported; thousands that were skipped are only counted, at the end."""
LIMITS = http.Limits(connect_s=10.0, read_s=10.0, total_s=45.0, tries=4)
HASTY = http.Limits(connect_s=10.0, read_s=10.0, total_s=10.0, tries=1)
"""After a report that failed, until one arrives again."""
CLOSE_S = 30.0
TEXT_MOST = 500
"""Characters of the line for people; a chat refuses long ones."""

_SIGNED = re.compile(r"\?[^\s'\"]*X-Amz-[^\s'\"]*", re.IGNORECASE)


class Notifier:
    """Reports to a webhook; without a URL it reports nothing."""

    def __init__(self, url: Secret | None, console: Console) -> None:
        """Check the address; raises UsageError for plain http to another machine."""
        self._url = url
        self._console = console
        self._host = _host(url) if url else ""
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._troubles: Counter[str] = Counter()
        self._hasty = False

    def job(self, batch: str, job: JobResult) -> None:
        """Report a job that ended."""
        if self._url is not None and job.state in SENDS:
            self._put(job_event(batch, job))

    def batch(self, results: Results, where: str | None = None) -> None:
        """Report the end of a run; `where` is the address of its results.json, not signed."""
        if self._url is not None and not results.dry_run:
            self._put(batch_event(results, where))

    def close(self, within_s: float = CLOSE_S) -> None:
        """Wait until all is sent, but no longer; say what was not."""
        if self._thread is None:
            return
        self._events.put(None)
        self._thread.join(within_s)
        with self._lock:
            left = self._waiting
        if left:
            self._console.warn(f"{left} reports to the webhook at {self._host} were not sent within {within_s:g} s")
        self._thread = None

    def _put(self, event: dict[str, Any]) -> None:
        with self._lock:
            self._waiting += 1
        self._events.put(event)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="uprez-webhook", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                self._send(event)
            except FetchError as error:
                self._failed(self._reason(error))
            except Exception as error:  # noqa: BLE001  the root of a thread: no report is worth the work
                self._failed(f"sending failed: {type(error).__name__}")
            else:
                self._hasty = False
            with self._lock:
                self._waiting -= 1

    def _send(self, event: dict[str, Any]) -> None:
        if self._url is None:
            raise AssertionError("nothing is queued without a URL")
        http.request(
            "POST",
            self._url.reveal(),
            headers={"Content-Type": "application/json; charset=utf-8"},
            body=json.dumps(event, ensure_ascii=True).encode(),
            limits=HASTY if self._hasty else LIMITS,
        )

    def _failed(self, reason: str) -> None:
        """Say a kind of trouble once."""
        self._hasty = True
        self._troubles[reason] += 1
        if self._troubles[reason] == 1:
            self._console.warn(f"The webhook at {self._host} was not told: {reason}. The work goes on")

    def _reason(self, error: FetchError) -> str:
        """Say what went wrong without the path of the URL; a server may repeat it, so its words are left out too."""
        if error.status is not None:
            known = {status.value: status.phrase for status in HTTPStatus}
            return f"it answered {error.status} {known.get(error.status, '')}".rstrip()
        url = self._url.reveal() if self._url else ""
        return error.message.partition(http.shown(url))[2].removeprefix(": ") or "no answer"


def job_event(batch: str, job: JobResult) -> dict[str, Any]:
    """Make the report of one job."""
    event: dict[str, Any] = {
        "schema": SCHEMA,
        "event": f"job.{job.state}",
        "id": f"{batch}/{job.job}/{job.state}",
        "at": _now(),
        "batch": batch,
        "job": job.job,
        "input": job.input,
        "output": _output(job.output) if job.output else None,
        "seconds": job.seconds,
        "error": job.error,
        "hint": job.hint,
        "warnings": list(job.warnings),
    }
    return _finished(event, _job_line(job))


def batch_event(results: Results, where: str | None) -> dict[str, Any]:
    """Make the report of a run."""
    counts = Counter(job.state for job in results.jobs)
    event: dict[str, Any] = {
        "schema": SCHEMA,
        "event": "batch.done",
        "id": f"{results.batch}/batch.done",
        "at": _now(),
        "batch": results.batch,
        "exit_code": results.exit_code,
        "counts": {state: counts[state] for state in ("done", "skipped", "failed", "unfinished")},
        "left": results.left,
        "cost_usd": str(results.cost_usd),
        "seconds": round((results.ended_at - results.started_at).total_seconds(), 3),
        "output_dir": results.output_dir,
        "results": where,
    }
    told = ", ".join(f"{count} {state}" for state, count in event["counts"].items() if count) or "nothing to do"
    line = f"uprez: batch {results.batch} ended with code {results.exit_code}: {told}, {results.cost_usd} USD"
    return _finished(event, line)


def _output(output: Output) -> dict[str, Any]:
    return {
        "url": output.url,
        "size": output.size,
        "sha256": output.sha256,
        "frames": output.frames,
        "duration_s": output.duration_s,
        "width": output.width,
        "height": output.height,
    }


def _job_line(job: JobResult) -> str:
    if job.output is None:
        return f"uprez: {job.input} {job.state}" + (f": {job.error}" if job.error else "")
    made = job.output
    return f"uprez: {job.input} {job.state}: {made.width}x{made.height}, {made.frames} frames, {made.size / 1e6:.1f} MB"


def _finished(event: dict[str, Any], line: str) -> dict[str, Any]:
    """Leave out every signature, and add the line that chats show: Slack reads `text`, Discord `content`."""
    event = {name: _mapped(value, _unsigned) for name, value in event.items()}
    short = line if len(line) <= TEXT_MOST else f"{line[: TEXT_MOST - 3]}..."
    short = _unsigned(short)
    event["text"] = short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    event["content"] = short
    event["allowed_mentions"] = {"parse": []}
    return event


def _mapped(value: Any, change: Callable[[str], str]) -> Any:  # noqa: ANN401  whatever JSON holds
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    if isinstance(value, dict):
        return {name: _mapped(item, change) for name, item in value.items()}
    return value


def _unsigned(text: str) -> str:
    return _SIGNED.sub("", text)


def _host(url: Secret) -> str:
    try:
        parts = urlsplit(url.reveal())
        host, scheme = parts.hostname or "", parts.scheme
        shown = f"{host}:{parts.port}" if parts.port else host
    except ValueError:
        host = scheme = shown = ""
    if scheme not in ("http", "https") or not host:
        raise UsageError("webhook_url is not a URL", hint="https://host/path")
    if scheme == "http" and not is_loopback(host):
        raise UsageError(
            f"webhook_url goes to {shown} by plain http, which anyone on the way could read", hint="use https://"
        )
    return shown


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")
