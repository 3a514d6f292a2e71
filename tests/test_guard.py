"""The guard of `tests/guard`: planted tests that misbehave must fail, one that behaves must pass."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

GUARD = Path(__file__).resolve().parent / "guard"

PLANTED = {
    "the real home": "open(os.path.join(pwd.getpwuid(os.getuid()).pw_dir, '.uprez-planted'), 'w')",
    "the home of the environment": "(Path.home() / 'planted').mkdir()",
    "a listing of home": "os.listdir(Path.home())",
    "a swallowed attempt": "try: open(Path.home() / 'x', 'w')\n    except Exception: pass",
    "a database in home": "sqlite3.connect(Path.home() / 'ledger.sqlite')",
    "a child that writes to home": "subprocess.run(['sh', '-c', 'echo > $HOME/planted'])",
    "a child Python that lists home": "subprocess.run([sys.executable, '-c', "
    "'import os; os.listdir(os.environ[\"HOME\"])'])",
    "another machine": "socket.create_connection(('192.0.2.1', 9), timeout=0.01)",
    "another machine's name": "socket.getaddrinfo('host.invalid', 80)",
    "a child Python that calls out": "subprocess.run([sys.executable, '-c', "
    "'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(bytes(1), (\"192.0.2.1\", 9))'])",
}
BEHAVED = """
    (tmp_path / 'a').write_text('a'); sqlite3.connect(':memory:')
    server = socket.create_server(('127.0.0.1', 0))
    socket.create_connection(server.getsockname()).close(); server.close()
    assert subprocess.run([sys.executable, '-c', 'print(1)']).returncode == 0
"""


def run_planted(folder: Path, body: str) -> subprocess.CompletedProcess[str]:
    """Run one test with `body` under the guard alone, in a pytest of its own whose outcome this one's guard ignores."""
    imports = "import os, pwd, socket, sqlite3, subprocess, sys\nfrom pathlib import Path\n"
    (folder / "conftest.py").write_text("from uprez_guard_plugin import guard\n")
    (folder / "test_planted.py").write_text(f"{imports}def test_planted(tmp_path):\n    {body}\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UPREZ_TEST_GUARD")}
    environment |= {"PYTHONPATH": str(GUARD), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    command += ["--basetemp", str(folder / "temp")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("what", PLANTED)
def test_a_test_that_reaches_out_fails(what: str, tmp_path: Path) -> None:
    """A test that touches home or another machine fails, in its own process or by a child, caught or not."""
    done = run_planted(tmp_path, PLANTED[what])
    assert done.returncode == 1, done.stdout + done.stderr
    assert "a test may" in done.stdout or "appeared in the home folder" in done.stdout


def test_nothing_was_planted_in_the_real_home(tmp_path: Path) -> None:
    """The refusal comes before the deed: no file appears in the real home folder."""
    run_planted(tmp_path, PLANTED["the real home"])
    assert not os.path.lexists(Path(pwd.getpwuid(os.getuid()).pw_dir) / ".uprez-planted")


def test_a_test_that_behaves_passes(tmp_path: Path) -> None:
    """Temporary folders, a database in memory, loopback and child processes are free."""
    done = run_planted(tmp_path, BEHAVED.strip())
    assert done.returncode == 0, done.stdout + done.stderr
