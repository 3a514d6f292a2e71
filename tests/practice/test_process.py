"""Real processes: what a rented machine sees, and that nothing of it ever stays."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from uprez.practice import Clock, Market
from uprez.practice.offers import CARDS
from uprez.practice.process import Container, Idle, Processes, StartError, command
from uprez.practice.smi import gpu, script
from waiting import until


def alive(pid: int) -> bool:
    """Say whether a process is there and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def container(text: str, *, hold: bool = False, **environment: str) -> Container:
    """Make a container that runs a shell's text."""
    smi = script(gpu(Market(Clock(), Idle()).offer_list()[0]))
    return Container(id=7, command=("/bin/bash", "-c", text), environment=environment, nvidia_smi=smi, hold=hold)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Give machines that really run things."""
    made = Processes(tmp_path / "market", image={"IMAGE": "yes"})
    yield made
    made.close()


def printed(processes: Processes) -> str:
    """Give what the container has printed."""
    return (processes.log(7) or b"").decode()


def test_nothing_of_ours_is_inherited(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is the image's, the given one, PATH and folders of its own; no file of ours is open."""
    monkeypatch.setenv("VAST_API_KEY", "canary")
    processes.start(container("env; ls /proc/self/fd | wc -l; pwd", GIVEN="1"))
    until(lambda: processes.ended(7))
    lines = printed(processes).splitlines()
    names = {line.partition("=")[0] for line in lines if "=" in line}
    assert names <= {"HOME", "TMPDIR", "LANG", "PATH", "GIVEN", "IMAGE", "PWD", "SHLVL", "_"}
    assert lines[-2:] == ["4", str(processes.folder(7) / "root")]  # in, out, errors, and the folder that ls reads


def test_a_restart_goes_on_in_the_same_folder(processes: Processes) -> None:
    """Disk and log remain when a container is started again; removal takes both."""
    for _ in range(2):
        processes.start(container("echo run $(ls); touch mark"))
        until(lambda: processes.ended(7))
    assert printed(processes) == "run\nrun mark\n"
    processes.remove(7)
    assert not processes.folder(7).exists()
    assert processes.log(7) is None


def test_home_stays_and_the_image_has_its_say(tmp_path: Path) -> None:
    """HOME is the same folder after a restart; an image's PATH and HOME replace ours, nvidia-smi stays in front."""
    for image in ({}, {"PATH": "/image/bin:/usr/bin:/bin", "HOME": "/image"}):
        with contextlib.closing(Processes(tmp_path / str(len(image)), image=image)) as processes:
            for _ in range(2):
                processes.start(container("echo $HOME $PATH"))
                until(lambda: processes.ended(7))
            lines = printed(processes).splitlines()
            folder = processes.folder(7)
            home, path = image.get("HOME", str(folder / "root")), image.get("PATH", os.environ["PATH"])
            assert lines == [f"{home} {folder / 'bin'}:{path}"] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="descendants in other sessions are found by /proc")
def test_kill_reaches_what_left_for_another_session(processes: Processes) -> None:
    """A child that called setsid and outlived its parent is ended too; a quiet one does not end the container."""
    processes.start(container("(setsid sleep 600 & echo $!); setsid sh -c 'echo $$; sleep 600' & sleep 600"))
    until(lambda: len(printed(processes).split()) == 2)
    pids = [int(each) for each in printed(processes).split()]
    assert all(map(alive, pids))
    processes.kill(7)
    assert not any(map(alive, pids))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_nothing_survives_a_market_that_is_killed(tmp_path: Path) -> None:
    """SIGKILL of the market's process ends what it ran within a moment."""
    text = (
        "import pathlib, sys, time; from uprez.practice.process import Container, Processes; "
        "Processes(pathlib.Path(sys.argv[1])).start(Container(id=7, command=('/bin/sh', '-c', "
        "'setsid sleep 600 & echo $! $$; wait'), environment={}, nvidia_smi='', hold=True)); time.sleep(600)"
    )
    market = subprocess.Popen([sys.executable, "-c", text, str(tmp_path)])
    log = tmp_path / "C.7" / "log"
    until(lambda: log.exists() and len(log.read_text().split()) == 2)
    pids = [int(each) for each in log.read_text().split()]
    assert all(map(alive, pids))
    os.kill(market.pid, signal.SIGKILL)
    market.wait()
    until(lambda: not any(map(alive, pids)))


def test_a_shell_container_outlives_its_script(processes: Processes) -> None:
    """With `hold` the container runs on when onstart has ended; without, it has ended too."""
    processes.start(container("echo over", hold=True))
    until(lambda: printed(processes) == "over\n")
    time.sleep(0.15)
    assert not processes.ended(7)


def test_a_command_that_is_not_there_is_named(processes: Processes) -> None:
    """What docker says of an entrypoint that is shell text."""
    lost = Container(id=7, command=("cd /workspace && ls",), environment={}, nvidia_smi="", hold=False)
    with pytest.raises(StartError, match="executable file not found"):
        processes.start(lost)


def test_entrypoint_and_arguments() -> None:
    """`args` mode overrides the entrypoint by onstart; other modes run onstart in a shell."""
    assert command("args", "/bin/bash", ("-c", "x y"), None) == ("/bin/bash", "-c", "x y")
    assert command("args", None, (), "sh -c 'x y'") == ("sh", "-c", "x y")
    assert command("ssh_direc ssh_proxy", "x; y", (), None) == ("/bin/bash", "-c", "x; y")


def smi(processes: Processes, arguments: str) -> list[str]:
    """Run nvidia-smi in a container and give its lines."""
    processes.start(container(f"nvidia-smi {arguments}; echo rc $?"))
    until(lambda: processes.ended(7))
    lines = printed(processes).splitlines()
    processes.remove(7)
    return lines


def test_nvidia_smi_answers_for_the_rented_gpu(processes: Processes) -> None:
    """Query, list and table name the offer's GPU; an unknown field is an error as on a real machine."""
    offer = Market(Clock(), Idle()).offer_list()[0]
    name, total = f"NVIDIA GeForce {offer.gpu_name}", CARDS[offer.gpu_name].ram_mib
    query = "--query-gpu=name,memory.total,memory.free,driver_version,compute_cap"
    values = f"{name}, {total}, {total - 1}, {offer.driver}, {offer.card.compute_cap / 100}"
    assert smi(processes, f"{query} --format=csv,noheader,nounits") == [values] * offer.num_gpus + ["rc 0"]
    assert smi(processes, "--query-gpu=index,memory.used --format=csv -i 0") == [
        "index, memory.used [MiB]",
        "0, 1 MiB",
        "rc 0",
    ]
    assert smi(processes, "-L")[0].startswith(f"GPU 0: {name} (UUID: GPU-")
    table = "\n".join(smi(processes, ""))
    assert f"Driver Version: {offer.driver}" in table
    assert f"CUDA Version: {offer.cuda}" in table
    assert f"1MiB / {total:6}MiB" in table
    assert smi(processes, "--query-gpu=colour --format=csv")[-1] == "rc 2"
