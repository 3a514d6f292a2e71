"""Who holds a batch: what its lock file says, and that nobody else holds it meanwhile."""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from uprez.errors import UsageError
from uprez.fleet import controllers, locks
from uprez.fleet.locks import Controller, Progress, batch_lock, is_controlled

BATCH = "b0000001"
HOW = Progress(jobs=2, done=1, failed=0, frames=10, total=None)
HOLDER = """
import sys
from pathlib import Path
from uprez.fleet.controllers import continuing
from uprez.fleet.locks import batch_lock
with {"lock": batch_lock, "rest": continuing}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(folder: Path, what: str) -> Iterator[int]:
    """Let another process hold a batch, or what is left of one; gives its pid."""
    command = [sys.executable, "-c", HOLDER, what, str(folder), BATCH]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.communicate("")


def test_a_lock_names_its_process_and_how_far_it_is(tmp_path: Path) -> None:
    """While it is held; afterwards nobody holds it, whatever the file still says."""
    assert controllers.holder(tmp_path, BATCH) is None
    with batch_lock(tmp_path, BATCH):
        found = controllers.holder(tmp_path, BATCH)
        assert found == Controller(pid=os.getpid(), host=platform.node())
        assert found.is_here
        locks.sign(tmp_path, BATCH, HOW)
        assert controllers.holder(tmp_path, BATCH) == Controller(pid=os.getpid(), host=platform.node(), progress=HOW)
        locks.sign(tmp_path, BATCH)
        assert controllers.holder(tmp_path, BATCH) == found, "a shorter text leaves nothing of the longer one"
    assert controllers.holder(tmp_path, BATCH) is None


def test_another_process_is_named_by_its_pid(tmp_path: Path) -> None:
    """And not the one that held the lock before it."""
    with batch_lock(tmp_path, BATCH):
        pass
    with held(tmp_path, "lock") as pid:
        found = controllers.holder(tmp_path, BATCH)
        assert found is not None
        assert found.pid == pid


def test_a_pid_of_another_host_means_nothing_here() -> None:
    """It is named with its host."""
    assert not Controller(pid=1, host="elsewhere").is_here
    assert Controller(pid=1, host="elsewhere").named == "pid 1 on elsewhere"


def test_a_lock_without_a_name_is_held_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier version wrote nothing into it."""
    monkeypatch.setattr(controllers, "TRY_S", 0.0)
    with batch_lock(tmp_path, BATCH):
        (tmp_path / f"{BATCH}.lock").write_bytes(b"")
        found = controllers.holder(tmp_path, BATCH)
    assert found == Controller()
    assert found.named == "a process that does not give its number"


def test_only_one_goes_on_with_a_batch(tmp_path: Path) -> None:
    """The second is refused and told the first one's pid; the batch's own leases look cared for by nobody."""
    with held(tmp_path, "rest") as pid:
        assert not is_controlled(tmp_path, BATCH)
        with (
            pytest.raises(UsageError, match=rf"is being gone on with \(pid {pid}\)"),
            controllers.continuing(tmp_path, BATCH),
        ):
            pass
    with controllers.continuing(tmp_path, BATCH):
        pass


def test_a_batch_that_lives_is_not_gone_on_with(tmp_path: Path) -> None:
    """Its controller's pid is named."""
    with (
        held(tmp_path, "lock") as pid,
        pytest.raises(UsageError, match=rf"still runs \(pid {pid}\)"),
        controllers.continuing(tmp_path, BATCH),
    ):
        pass


def test_a_look_does_not_keep_anybody_from_going_on(tmp_path: Path) -> None:
    """Whoever asks whether a lock is held takes it for a moment; that is waited for."""
    with controllers.continuing(tmp_path, BATCH):
        pass
    with locks.path(tmp_path, f"{BATCH}.continued").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        looked = threading.Timer(0.2, fcntl.flock, (file, fcntl.LOCK_UN))
        looked.start()
        with controllers.continuing(tmp_path, BATCH):
            assert controllers.holder(tmp_path, f"{BATCH}.continued") is not None
        looked.join()
