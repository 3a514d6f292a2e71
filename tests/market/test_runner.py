"""What a rented machine runs first, run by a real bash: it gives the machine back, whatever else goes wrong."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from boot_desk import LEASE, Desk
from uprez import packing, status
from uprez.market.vast import create, launch
from uprez.packing import Packed
from uprez.practice import Clock, Market, Options, PracticeServer, Processes, image
from uprez.practice.faults import Armed
from uprez.sheet import Install, Ref
from waiting import until

INSTANCE = "/api/v0/instances/77/"
TOOLS = ("bash", "curl", "env", "mkdir", "sed", "sleep")
"""What the runner needs of an image, apart from Python."""


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Give a store and a market in one."""
    desk = Desk()
    yield desk
    desk.close()


@pytest.fixture(scope="module")
def packed() -> Packed:
    """Give this uprez as a wheel."""
    return packing.pack_installed()


@dataclass(kw_only=True)
class Host:
    """A folder with its own tools, in which the runner is started as on a rented machine."""

    folder: Path
    desk: Desk
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        """The runner's folder."""
        return self.folder / "home" / "uprez"

    @property
    def log(self) -> str:
        """All that it printed."""
        return (self.folder / "log").read_text()

    def tools(self, *names: str, without: str = "") -> None:
        """Lay links to programs of this machine into the folder that is its PATH."""
        (self.folder / "bin").mkdir(exist_ok=True)
        for name in names:
            if name != without:
                (self.folder / "bin" / name).symlink_to(shutil.which(name) or name)

    def start(self, boot_url: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start the runner, again in the same home if it was started before."""
        (self.folder / "home").mkdir(exist_ok=True)
        self.desk.objects[INSTANCE] = b"{}"
        given = launch.environment(
            lease=LEASE, boot_url=boot_url, life_s=600, hard_life_s=900, base_url=self.desk.url, linger_s=0
        )
        own = {"HOME": str(self.folder / "home"), "PATH": str(self.folder / "bin"), "UPREZ_POLL_S": "0.05"}
        market = {"CONTAINER_ID": "77", "CONTAINER_API_KEY": "k3y", "UPREZ_PROVIDER": "cpu"}
        with (self.folder / "log").open("ab") as log:
            child = subprocess.Popen(
                [launch.ENTRYPOINT, *launch.arguments()],
                cwd=self.folder,
                env={**given, **own, **market, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started.append(child)
        return child

    def stop(self) -> None:
        """Kill everything that was started."""
        for child in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


@pytest.fixture
def host(tmp_path: Path, desk: Desk) -> Iterator[Host]:
    """Give a host with Python and the usual tools, on which nothing stays."""
    host = Host(folder=tmp_path, desk=desk)
    yield host
    host.stop()


def complete(host: Host) -> None:
    """Give a host what an image has."""
    host.tools(*TOOLS)
    (host.folder / "bin" / "python3").symlink_to(sys.executable)


def test_text_and_environment_fit_and_hold_no_secret() -> None:
    """The market's 4,000 characters hold entrypoint and text; the boot URL is all that opens anything."""
    assert len(launch.ENTRYPOINT) + sum(map(len, launch.arguments())) < create.MOST_SCRIPT
    assert "#" not in {line.strip()[:1] for line in launch.runner().splitlines()}
    given = launch.environment(
        lease=LEASE,
        boot_url="https://s3/sheet?sig",
        life_s=1800.7,
        hard_life_s=86700,
        base_url="https://market/",
        bucket="videos",
        endpoint="https://s3",
    )
    assert given == {
        "UPREZ_LEASE": LEASE,
        "UPREZ_BOOT_URL": "https://s3/sheet?sig",
        "UPREZ_LIFE_S": "1800",
        "UPREZ_HARD_S": "86700",
        "UPREZ_LINGER_S": "60",
        "VAST_URL": "https://market",
        "B2_BUCKET": "videos",
        "B2_ENDPOINT": "https://s3",
        "NVIDIA_DRIVER_CAPABILITIES": "compute,video,utility",
        "ORT_DISABLE_TELEMETRY": "1",
    }


def test_it_destroys_itself_at_its_deadline(host: Host) -> None:
    """Nobody answers and nothing works: at the deadline the instance goes, by its own key, as often as it takes."""
    complete(host)
    host.desk.answers["DELETE", INSTANCE] = [429, 500, 404]
    host.desk.answers["GET", "/sheet"] = [503]
    began = time.time()
    host.start(f"{host.desk.url}/sheet", UPREZ_LIFE_S="1")
    until(lambda: len(host.desk.deletes()) >= 3)
    assert 0 <= time.time() - began < 30
    assert set(host.desk.deletes()) == {"Bearer k3y"}
    assert "the time of this machine is over" in host.log
    assert "DELETE of this instance: 429" in host.log


def test_a_restart_does_not_extend_its_time(host: Host) -> None:
    """Started again in the same home, the runner keeps the deadline and the hard one of its first start."""
    complete(host)
    host.desk.answers["GET", "/sheet"] = [503]
    first = host.start(f"{host.desk.url}/sheet", UPREZ_LIFE_S="400", UPREZ_HARD_S="410")
    until((host.home / "deadline").exists)
    until((host.home / "deadline").read_text)
    kept = [(host.home / name).read_text() for name in ("hard", "deadline")]
    os.killpg(first.pid, signal.SIGKILL)
    (host.home / "deadline").write_text(f"{int(time.time()) - 1}\n")  # so that nobody has to wait for it
    host.start(f"{host.desk.url}/sheet", UPREZ_LIFE_S="4000", UPREZ_HARD_S="5000")
    until(host.desk.deletes)
    assert (host.home / "hard").read_text() == kept[0]
    assert int(kept[0]) - int(kept[1]) == 10


@pytest.mark.parametrize("written", ["99999999999\n", "", "later\n", "1e99", "08\n"])
def test_a_deadline_never_passes_the_hard_one(host: Host, written: str) -> None:
    """Whatever the worker's file says, the hard life ends it; what is no number changes nothing."""
    complete(host)
    host.desk.answers["GET", "/sheet"] = [503]
    host.home.mkdir(parents=True)
    (host.home / "deadline").write_text(written)
    host.start(f"{host.desk.url}/sheet", UPREZ_LIFE_S="3000", UPREZ_HARD_S="1")
    until(host.desk.deletes)


def test_signals_and_the_death_of_all_work_do_not_stop_it(host: Host) -> None:
    """It ignores TERM, HUP and INT; when its boot is killed, the machine is given back."""
    complete(host)
    host.desk.answers["GET", "/sheet"] = [503]
    shell = host.start(f"{host.desk.url}/sheet")
    until(lambda: host.desk.seen)
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        shell.send_signal(each)
    assert shell.poll() is None
    assert host.desk.deletes() == []
    children = Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text().split()
    work = next(int(each) for each in children if "sleep" not in Path(f"/proc/{each}/comm").read_text())
    os.kill(work, signal.SIGKILL)
    until(host.desk.deletes)
    assert shell.poll() is None


def test_an_expired_sheet_gives_the_machine_back(host: Host) -> None:
    """A sheet that is refused three times is given up: the container was started again after its lease."""
    complete(host)
    host.desk.answers["GET", "/sheet"] = [403, 403, 403]
    host.start(f"{host.desk.url}/sheet?X-Amz-Signature=c0ffee")
    until(host.desk.deletes)
    assert [method for method, *_ in host.desk.seen].count("GET") == 3
    assert "ERROR: cannot fetch the sheet: HTTPError 403" in host.log
    assert "c0ffee" not in host.log


def test_a_wheel_that_is_not_the_promised_one_is_not_run(host: Host, packed: Packed) -> None:
    """A wheel of another hash ends the boot, and the controller reads why."""
    complete(host)
    url = host.desk.lay(packed)
    host.desk.objects["/wheel"] = packed.data + b"x"
    host.start(url)
    until(host.desk.deletes)
    said = status.read(host.desk.objects["/status"])
    assert (said.phase, said.reason) == ("left", f"{packed.name} is not what was promised")


def test_an_image_without_python_is_named(host: Host, packed: Packed) -> None:
    """By curl alone, the controller reads why the machine left."""
    host.tools(*TOOLS)
    (host.folder / "bin" / "python3").write_text("#!/bin/sh\nexit 1\n")  # as an older one says
    (host.folder / "bin" / "python3").chmod(0o755)
    host.start(host.desk.lay(packed))
    until(host.desk.deletes)
    said = status.read(host.desk.objects["/status"])
    assert (said.lease, said.beat, said.phase) == (LEASE, 0, "left")
    assert said.reason == launch.NO_PYTHON


def test_without_curl_python_gives_it_back(host: Host) -> None:
    """An image need not have curl; the key is on no command line either way."""
    host.tools(*TOOLS, without="curl")
    (host.folder / "bin" / "python3").symlink_to(sys.executable)
    host.desk.answers["GET", "/sheet"] = [403]
    host.start(f"{host.desk.url}/sheet")
    until(host.desk.deletes)
    assert host.desk.deletes()[0] == "Bearer k3y"
    until(lambda: "DELETE of this instance: 200" in host.log)


def test_a_machine_without_its_key_says_so(host: Host) -> None:
    """Without a key nothing can be given back from inside; the log names it, once."""
    complete(host)
    host.desk.answers["GET", "/sheet"] = [403]
    host.start(f"{host.desk.url}/sheet", CONTAINER_API_KEY="")
    until(lambda: "there is no CONTAINER_API_KEY" in host.log)
    time.sleep(0.3)
    assert host.log.count("there is no CONTAINER_API_KEY") == 1
    assert host.desk.deletes() == []


def packages(cache: Path) -> Mapping[str, str]:
    """Give an image that holds the dependencies already."""
    given = image.environment(cache)
    return {name: value for name, value in given.items() if name != "PATH"}


def test_a_worker_is_installed_works_and_leaves(host: Host, packed: Packed) -> None:
    """From the sheet to the worker's last status: what it is reaches the controller, no secret reaches the log."""
    complete(host)
    (host.folder / "bin" / "nvidia-smi").write_text(
        "#!/bin/sh\necho 'NVIDIA GeForce RTX 3090, 24576, 24200, 550.90, 8.6'\n"
    )
    (host.folder / "bin" / "nvidia-smi").chmod(0o755)
    host.start(host.desk.lay(packed), **packages(host.folder / "cache"))
    until(host.desk.deletes)
    said = status.read(host.desk.objects["/status"])
    assert said.phase == "left"
    assert said.machine is not None
    assert (said.machine.gpu, said.machine.vram_mb, said.machine.driver) == ("NVIDIA GeForce RTX 3090", 24576, "550.90")
    assert said.machine.provider == "cpu"
    assert said.machine.down_bytes == len(packed.data)
    assert said.down_bytes > 0
    assert (
        len([path for method, path, _ in host.desk.seen if (method, path) == ("PUT", "/status")]) > 2
    )  # while it boots
    assert "VASTAI_PIPELINE_COMPLETED_SUCCESSFULLY" in host.log
    assert "the work ended with 0" in host.log
    assert not {"c0ffee", "k3y"} & {word for word in ("c0ffee", "k3y") if word in host.log}
    outside = [line for line in host.log.splitlines() if not line.startswith((f"uprez-boot {LEASE} ", f"{LEASE}:"))]
    assert outside == []


def test_a_half_made_environment_is_made_again(host: Host, packed: Packed) -> None:
    """A container that was killed while it installed does not take what lies there for whole; a whole one stays."""
    complete(host)
    more = packages(host.folder / "cache")
    url = host.desk.lay(packed)
    (host.home / "venv" / "bin").mkdir(parents=True)
    (host.home / "venv" / "bin" / "python").write_text("#!/bin/sh\nexit 9\n")
    host.start(url, **more)
    until(host.desk.deletes)
    assert "the work ended with 0" in host.log
    (stamp,) = (host.home / "venv").glob("whole-*")
    written = stamp.stat().st_mtime_ns
    host.start(url, **more)
    until(lambda: host.log.count("the work ended with 0") == 2)
    assert stamp.stat().st_mtime_ns == written


def test_packages_that_cannot_be_had_are_named(host: Host, packed: Packed) -> None:
    """Pins that the sheet names count instead of the wheel's; when pip fails, the controller reads its words."""
    complete(host)
    pins = b"no-such-package==1 --hash=sha256:" + b"0" * 64
    host.desk.objects["/pins"] = pins
    ref = Ref(url=f"{host.desk.url}/pins", sha256=hashlib.sha256(pins).hexdigest(), size=len(pins))
    wheel = Ref(url=f"{host.desk.url}/wheel", sha256=packed.sha256, size=len(packed.data))
    order = Install(wheel=wheel, wheel_name=packed.name, constraints=ref)
    host.start(host.desk.lay(packed, install=order), PIP_NO_INDEX="1")
    until(host.desk.deletes)
    said = status.read(host.desk.objects["/status"])
    assert (said.phase, said.beat) == ("left", 0)
    assert said.reason is not None
    assert "pip ended with 1" in said.reason
    assert "no-such-package" in said.reason


def test_a_machine_is_never_used_for_more_than_the_sheet_says(host: Host, packed: Packed) -> None:
    """A rented GPU that is not there makes no CPU machine: it says so and goes, before anything is installed."""
    complete(host)
    host.start(host.desk.lay(packed, families=("tensorrt-rtx", "cuda")), UPREZ_PROVIDER="")
    until(host.desk.deletes)
    said = status.read(host.desk.objects["/status"])
    assert said.phase == "left"
    assert said.reason is not None
    assert re.search("no GPU .nvidia-smi does not run.*the sheet accepts tensorrt-rtx, cuda", said.reason)
    assert not (host.home / "venv").exists()


@pytest.mark.slow
def test_a_machine_with_nothing_but_an_index(host: Host, packed: Packed) -> None:
    """The same text and flags, from bare Python to a worker: every package comes from the index and is checked."""
    wheelhouse = Path(__file__).resolve().parents[2] / ".cache" / "wheelhouse"
    if not (wheelhouse / ".ready").exists():
        pytest.skip("needs `make wheelhouse`")
    complete(host)
    host.start(host.desk.lay(packed), **image.environment(wheelhouse=wheelhouse) | {"PATH": str(host.folder / "bin")})
    until(host.desk.deletes)
    assert "the work ended with 0" in host.log


@pytest.fixture
def rented(tmp_path: Path) -> Iterator[PracticeServer]:
    """Give a practice market whose machines boot at once and really run."""
    options = Options(boot_s=(0.2, 0.2), limits=False)
    processes = Processes(tmp_path / "market", image=image.environment(tmp_path / "cache"))
    server = PracticeServer(Market(Clock(1.0), processes, options))
    yield server
    server.close()


def rent(server: PracticeServer, boot_url: str, **environment: str) -> int:
    """Rent the first machine, as a client would."""
    given = launch.environment(
        lease=LEASE, boot_url=boot_url, life_s=600, hard_life_s=900, base_url=server.url, linger_s=0
    )
    body = {
        "image": "python:3.11-bookworm",
        "disk": 20,
        "runtype": "args",
        "onstart": launch.ENTRYPOINT,
        "args": list(launch.arguments()),
        "env": {**given, "UPREZ_POLL_S": "0.1", **environment},
    }
    answer = server.market.create(server.market.offer_list()[0].id, body)
    return int(str(answer["new_contract"]))


def test_a_rented_machine_works_and_gives_itself_back(rented: PracticeServer, desk: Desk, packed: Packed) -> None:
    """On the practice market: rented, installed, worked, gone, though the market refuses the first DELETE."""
    rented.market.inject(Armed(name="500", endpoint="destroy", times=1))
    rent(rented, desk.lay(packed))
    until(lambda: not rented.market.rows())
    said = status.read(desk.objects["/status"])
    assert said.machine is not None
    assert said.machine.own_key_works is True
    assert said.machine.gpus >= 1
    assert said.phase == "left"


def test_a_rented_machine_that_hears_nothing_gives_itself_back(rented: PracticeServer, desk: Desk) -> None:
    """Nobody is there but the market: the row goes at the deadline, and a reboot in between does not help."""
    desk.answers["GET", "/sheet"] = [503]
    made = rent(rented, f"{desk.url}/sheet", UPREZ_LIFE_S="3")
    began = time.monotonic()
    until(lambda: desk.seen)
    rented.market.reboot(made)
    until(lambda: not rented.market.rows())
    assert time.monotonic() - began < 30
