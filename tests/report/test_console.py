"""The console: lines for people in any pipe, events for programs, a live view on a terminal only."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez.report.console import Console, printable
from uprez.report.live import JobRow, Totals, View
from waiting import until


def spoken(act: Callable[[Console], None], *, as_json: bool = False, verbose: bool = False) -> str:
    """Let a console speak into a pipe, give what came out."""
    stream = io.StringIO()
    console = Console(as_json=as_json, verbose=verbose, stream=stream)
    with console.live():
        act(console)
    return stream.getvalue()


def view(name: str, frames: int, total: int, fps: float) -> View:
    """Show one job."""
    job = JobRow(name=name, state="working", frames=frames, total=total, fps=fps, segments=2)
    return View(jobs=(job,), leases=(), totals=Totals())


def everything(console: Console, name: str = "a.mp4") -> None:
    """Say one thing of every kind."""
    console.info(f"info {name}")
    console.ok(f"ok {name}")
    console.warn(f"warn {name}")
    console.error(f"error {name}", "hint")
    console.debug(f"debug {name}")
    console.line("LIST", f"list {name}")
    console.log("12:00:00", f"log {name}")
    console.show(view(name, 1, 10, 2.5))
    console.result({"schema": 1, "batch": name})


def test_lines_are_tagged_as_people_know_them() -> None:
    """Each kind of line has its ASCII tag; the worker's log is indented and keeps the worker's time."""
    assert spoken(everything).splitlines() == [
        "[INFO] info a.mp4",
        "[OK] ok a.mp4",
        "[WARN] warn a.mp4",
        "[ERROR] error a.mp4",
        "[HINT] hint",
        "[LIST] list a.mp4",
        "  [LOG] 12:00:00 log a.mp4",
    ]


def test_verbose_says_more() -> None:
    """Debugging lines appear only when they were asked for."""
    assert "[DEBUG] debug a.mp4" in spoken(everything, verbose=True)


@settings(deadline=None)  # a busy machine is no failure
@given(name=st.text())
def test_in_a_pipe_a_line_is_a_line(name: str) -> None:
    """No name, whatever is in it, brings a control character, a second line or a second tag to a pipe."""
    lines = spoken(lambda console: everything(console, name)).split("\n")
    assert len(lines) == 8
    assert all(char.isprintable() for line in lines for char in line)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("[bold]x[/bold]", "[bold]x[/bold]"),
        ("a\n[OK] Batch processing complete", r"a\n[OK] Batch processing complete"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("r\rl", r"r\rl"),
        ("\u202etxt.exe", r"\u202etxt.exe"),
        (os.fsdecode(b"\xff"), r"\udcff"),
        ("naïve 😀.mp4", "naïve 😀.mp4"),
    ],
)
def test_names_are_shown_and_do_nothing(name: str, shown: str) -> None:
    """Markup is text, and what would steer a terminal or fake a line is escaped."""
    assert spoken(lambda console: console.info(name)) == f"[INFO] {shown}\n"


@settings(deadline=None)  # a busy machine is no failure
@given(name=st.text())
def test_as_json_every_line_is_an_event_and_the_last_is_the_results(name: str) -> None:
    """A program reads one JSON object a line, ASCII only, with the text as it was."""
    text = spoken(lambda console: everything(console, name), as_json=True, verbose=True)
    assert text.isascii()
    events = [json.loads(line) for line in text.splitlines()]
    assert [event["event"] for event in events] == [*["line"] * 7, "log", "results"]
    assert events[0] == {"event": "line", "tag": "INFO", "text": f"info {name}"}
    assert events[7] == {"event": "log", "time": "12:00:00", "text": f"log {name}"}
    assert events[8] == {"event": "results", "schema": 1, "batch": name}


def test_an_ascii_console_loses_nothing() -> None:
    """Where a character cannot be shown it is escaped, and the run goes on."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="backslashreplace")
    console = Console(stream=stream)
    console.info("naïve 😀")
    console.info("next")
    assert raw.getvalue() == b"[INFO] na\\xefve \\U0001f600\n[INFO] next\n"


def test_a_closed_pipe_silences_and_no_more() -> None:
    """When the reader is gone (`| head`), everything can still be said; nobody hears it."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    console = Console(stream=stream)
    with console.live():
        for _ in range(3):
            everything(console)
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_a_closed_stream_silences_and_no_more() -> None:
    """The same when the stream itself was closed."""
    stream = io.StringIO()
    console = Console(stream=stream)
    stream.close()
    everything(console)


class Terminal:
    """A pseudo-terminal: what is written to `stream` is collected until `hang_up`."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8")
        self._parts: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                self._parts.append(os.read(self._master, 1 << 16))
            except OSError:  # the other side is closed
                return

    def close(self) -> str:
        """End, and give what was seen."""
        self.stream.close()
        self._reader.join()
        os.close(self._master)
        return b"".join(self._parts).decode()


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Rich believe that a terminal can do everything, wherever the tests run."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def terminal() -> Terminal:
    """A terminal with colours and 100 columns."""
    return Terminal()


def test_a_terminal_shows_a_view_below_lines(terminal: Terminal) -> None:
    """Frames, total and speed are shown live, and the lines above survive unchanged."""
    console = Console(stream=terminal.stream)
    with console.live():
        assert console.wants_view
        console.show(view("a.mp4", 3, 50, 1.25))
        everything(console, "b [red]:smile: 😀.mp4")
        console.show(view("a.mp4", 7, 50, 2.5))
    assert not console.wants_view
    console.ok("afterwards")
    seen = terminal.close()
    assert "7/50" in seen
    assert "2.50 fps" in seen
    assert "\x1b[" in seen
    for line in (
        "[INFO] info b [red]:smile: 😀.mp4\r\n",
        "[HINT] hint\r\n",
        "  [LOG] 12:00:00 log b",
        "[OK] afterwards",
    ):
        assert line in seen
    assert "results" not in seen


def test_long_lines_are_not_cut_on_a_terminal(terminal: Terminal) -> None:
    """A path longer than the terminal is wide stays in one piece, to be copied."""
    console = Console(stream=terminal.stream)
    path = "/folder/" + "x" * 300 + " y.mp4"
    with console.live():
        console.info(path)
    assert f"[INFO] {path}\r\n" in terminal.close()


def test_a_rows_name_cannot_steer_the_terminal(terminal: Terminal) -> None:
    """The name of a row is escaped like the names in lines."""
    console = Console(stream=terminal.stream)
    with console.live():
        console.show(view("a\x1b]0;owned\x07\nb", 1, 2, 0.0))
        console.show(view("[red]c", 1, 2, 0.0))
    seen = terminal.close()
    assert "\x1b]0;" not in seen
    assert r"a\x1b]0;" in seen
    assert "[red]c" in seen


def test_json_on_a_terminal_has_no_view(terminal: Terminal) -> None:
    """Who asks for events gets events, wherever they go."""
    console = Console(stream=terminal.stream, as_json=True)
    with console.live():
        everything(console)
    seen = terminal.close()
    assert "\x1b" not in seen
    assert [json.loads(line)["event"] for line in seen.splitlines()][-1] == "results"


def test_a_terminal_that_hangs_up_stops_nothing() -> None:
    """When the window is closed in mid-run, the block goes on to its end and the machine is given back."""
    master, slave = pty.openpty()
    stream = os.fdopen(slave, "w")
    console = Console(stream=stream)
    reached = []
    with console.live():
        console.show(view("a.mp4", 1, 10, 1.0))
        os.close(master)
        everything(console)
        reached.append("end of the block")
    everything(console)
    with contextlib.suppress(OSError):
        stream.close()
    assert reached


def test_an_error_in_the_block_is_not_the_consoles(terminal: Terminal) -> None:
    """An exception passes through the live block as it is, and the view is gone."""
    console = Console(stream=terminal.stream)
    with pytest.raises(OSError, match="disk"), console.live():
        raise OSError("disk")
    console.info("after")
    assert terminal.close().endswith("[INFO] after\r\n")


def test_a_dumb_terminal_gets_plain_lines(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a cursor cannot be moved, a terminal is written to like a pipe."""
    monkeypatch.setenv("TERM", "dumb")
    console = Console(stream=terminal.stream)
    with console.live():
        assert not console.wants_view
        everything(console)
    seen = terminal.close()
    assert "[INFO] info a.mp4" in seen
    assert "\x1b" not in seen


def test_nobody_waits_for_a_terminal_that_stands_still() -> None:
    """While nobody reads (Ctrl-S), whoever shows views goes on; they do not pile up, and the last one is drawn."""
    master, slave = pty.openpty()
    stream, seen = os.fdopen(slave, "w", encoding="utf-8"), bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # the other side is closed
            while True:
                seen.extend(os.read(master, 1 << 16))

    console, reader = Console(stream=stream, beside=True), threading.Thread(target=read, daemon=True)
    with console.live():
        for number in range(11_001):
            console.show(view("a.mp4", number, 11_000, 1.0))
        reader.start()
        until(lambda: b"11000/11000" in bytes(seen))
        console.info("said afterwards")
    stream.close()
    reader.join()
    os.close(master)
    assert b"said afterwards" in seen
    assert b"left out" not in seen
    assert len(seen) < 100_000


@settings(deadline=None)  # a busy machine is no failure
@given(text=st.text())
def test_escaping_keeps_what_is_printable(text: str) -> None:
    """Printable text is left alone; after escaping, all of it is printable."""
    assert printable(text).isprintable()
    assert printable("".join(char for char in text if char.isprintable())) == "".join(
        char for char in text if char.isprintable()
    )


def test_a_console_without_a_stream_uses_standard_output(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What a run says goes to standard output, nothing to standard error."""
    everything(Console(), str(tmp_path))
    out, err = capsys.readouterr()
    assert out.startswith("[INFO] info /")
    assert err == ""
