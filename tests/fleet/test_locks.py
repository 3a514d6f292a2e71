"""The lock of a batch: held while its process lives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from uprez.fleet.locks import batch_lock, is_controlled

HOLDER = """
import sys
from pathlib import Path
from uprez.fleet.locks import batch_lock
with batch_lock(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_batch_is_controlled_while_its_process_lives(tmp_path: Path) -> None:
    """A batch counts as controlled for as long as the process that holds it, and for no moment after a SIGKILL."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path), "b0000001"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        assert is_controlled(tmp_path, "b0000001")
        assert not is_controlled(tmp_path, "b0000002")
        child.kill()
        child.wait()
        assert not is_controlled(tmp_path, "b0000001")


def test_batch_is_free_after_its_block(tmp_path: Path) -> None:
    """Leaving the block frees the batch; asking does not take it."""
    with batch_lock(tmp_path, "b0000001"):
        assert is_controlled(tmp_path, "b0000001")
    assert not is_controlled(tmp_path, "b0000001")
    assert not is_controlled(tmp_path, "b0000001")
