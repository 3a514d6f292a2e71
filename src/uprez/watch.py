"""The worker's ear: follows its sheet, keeps the lease's clock and the dead-man, and says when to stop."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

from uprez import sheet as sheets
from uprez.errors import DeniedError, FetchError, Stopped, UprezError, WorkerError
from uprez.market import deadman
from uprez.sheet import Sheet, Task
from uprez.store import urls

GONE = frozenset({404, 410})
IDLE_WATCH_S = 2.0
"""Between two looks at the sheet, at most, for a worker that waits for work: its machine costs as one that works."""
DENIED_MOST = 2
"""Refusals after which the sheet is given up: the first may be a passing fault of the store."""
DENIED_ALONE = 15
"""The same where nobody would rent another machine: at two minutes each, half an hour."""


class Watch:
    """Re-reads the sheet in a thread, also in mid-task.

    The lease's clock is this machine's monotonic one: it starts here and starts again when the sheet's `renewal` rises.
    A sheet that cannot be read changes nothing; the lease then simply runs out.
    """

    def __init__(
        self, boot_url: str, *, deadline_file: Path | None = None, deadline_epoch_file: Path | None = None
    ) -> None:
        self._etag: str | None = None
        self._url = boot_url
        self._deadline_file = deadline_file
        self._deadline_epoch_file = deadline_epoch_file
        self._changed = threading.Condition()
        self._closing = False
        self._idle = False
        self._denied = 0
        self._sheet = self._first_sheet()
        self._ends = time.monotonic() + self._sheet.length_s
        self._move_epoch(self._sheet)
        self._thread = threading.Thread(target=self._follow, name="watch", daemon=True)
        self._thread.start()

    @property
    def sheet(self) -> Sheet:
        """The sheet as last read."""
        return self._sheet

    @property
    def shut_out(self) -> bool:
        """Say whether the sheet's address was refused twice: the signature ran out, nobody renews it."""
        return self._denied >= (DENIED_ALONE if self._sheet.detached else DENIED_MOST)

    def current(self, task: Task) -> Task:
        """Give a task as the sheet has it now: its URLs are signed anew while the lease is renewed."""
        return next((wanted for wanted in self._sheet.tasks if wanted.id == task.id), task)

    def close(self) -> None:
        """Stop following."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def next_task(self, done: frozenset[str]) -> Task | None:
        """Wait for work; None when there will be none: told to stop, lease over, or idle too long."""
        idle_since = time.monotonic()
        with self._changed:
            try:
                while True:
                    if self._sheet.stop or self.shut_out or time.monotonic() >= self._ends:
                        return None
                    task = next((task for task in self._sheet.tasks if task.id not in done), None)
                    idle = time.monotonic() - idle_since
                    if task or (idle >= self._sheet.idle_s and not self._sheet.hold):
                        return task
                    if not self._idle:
                        self._idle = True
                        self._changed.notify_all()
                    self._changed.wait(min(self._sheet.watch_s, 1.0))
            finally:
                self._idle = False

    def check(self, task: Task, *, left_s: float | None) -> None:
        """Raise Stopped when the task should not go on; called between frames.

        `left_s` is how long the task still needs, None when that is not known: work begun in a lease that has ended
        goes on only if it fits in the grace.
        """
        sheet = self._sheet
        if sheet.stop:
            raise Stopped("the controller said stop")
        if self.shut_out:
            raise Stopped("the sheet may no longer be read")
        if all(task.id != wanted.id for wanted in sheet.tasks):
            raise Stopped("the controller no longer wants this task")
        over_s = time.monotonic() - self._ends
        if over_s >= 0 and (left_s is None or over_s + left_s > sheet.grace_s):
            raise Stopped("the lease has ended")

    def _first_sheet(self) -> Sheet:
        fetched = urls.get(self._url)
        if fetched is None:
            raise WorkerError("there is no sheet at the address given at boot")
        sheet = sheets.read(fetched.data)
        self._etag = fetched.etag
        self._url = sheet.next_sheet_url  # the address given at boot opens it for a while only
        return sheet

    def _follow(self) -> None:
        while self._rested():
            self._read()

    def _rested(self) -> bool:
        """Wait until it is time for another look; False: there is to be none."""
        looked = time.monotonic()
        with self._changed:
            while not self._closing:
                pause_s = min(self._sheet.watch_s, IDLE_WATCH_S) if self._idle else self._sheet.watch_s
                left_s = looked + pause_s - time.monotonic()
                if left_s <= 0:
                    return True
                self._changed.wait(left_s)
        return False

    def _read(self) -> None:
        try:
            fetched = urls.get(self._url, etag=self._etag)
            self._denied = 0
            if fetched is None:
                return
            new = sheets.read(fetched.data)
        except DeniedError:
            self._denied += 1
            return
        except FetchError as error:
            self._denied += error.status in GONE  # the run that wrote it has cleared up behind itself
            return
        except UprezError:
            return  # the lease runs on; if the sheet stays unreadable it ends by itself
        with self._changed:
            self._etag, self._url = fetched.etag, new.next_sheet_url
            if new.renewal > self._sheet.renewal:
                self._renew(new)
            self._sheet = new
            self._changed.notify_all()

    def _renew(self, new: Sheet) -> None:
        self._ends = time.monotonic() + new.length_s
        with contextlib.suppress(OSError):  # a full disk: the dead-man keeps the old deadline, and we still listen
            if self._deadline_file is not None:
                deadman.write_deadline(self._deadline_file, self._ends + new.grace_s)
        self._move_epoch(new)

    def _move_epoch(self, sheet: Sheet) -> None:
        """On a rented machine the lease begins here, after a boot of unknown length; never past the hard life."""
        if self._deadline_epoch_file is not None:
            with contextlib.suppress(OSError):
                deadman.extend_epoch(self._deadline_epoch_file, time.time() + sheet.length_s + sheet.grace_s)
