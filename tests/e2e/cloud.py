"""A bucket for tests: a real S3 server behind its proxy, and the command that works on it in this process."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import av
import pytest

from house import House
from uprez import batch
from uprez.config.layers import load
from uprez.config.settings import Settings, Timing
from uprez.report.console import Console

if TYPE_CHECKING:
    from s3_proxy import Proxy
    from s3_server import S3Server

QUICK = Timing(
    boot_s=90,
    lease_s=60,
    grace_s=10,
    watch_s=0.2,
    status_s=1,
    poll_s=0.1,
    log_s=0,
    silence_s=60,
    stall_s=120,
    hard_life_s=600,
)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A run that ended."""

    code: int
    text: str

    @property
    def links(self) -> list[str]:
        """The download URLs that it gave."""
        lines = [line for line in self.text.splitlines() if line.startswith("[RESULT] Download URL")]
        return [line.partition(": ")[2] for line in lines]


@dataclass(kw_only=True)
class Cloud:
    """A bucket and the command that works on it, in this process."""

    server: S3Server
    proxy: Proxy
    bucket: str
    house: House

    def put(self, key: str, path: Path) -> None:
        """Upload a file as its owner would."""
        self.server.client.put_object(Bucket=self.bucket, Key=key, Body=path.read_bytes())

    def keys(self, prefix: str = "") -> list[str]:
        """List the bucket by the tests' own client."""
        pages = self.server.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return sorted(entry["Key"] for page in pages for entry in page.get("Contents", ()))

    def get(self, key: str) -> bytes:
        """Read an object by the tests' own client."""
        return bytes(self.server.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def versions(self, key: str) -> int:
        """Count the versions of one object."""
        found = self.server.client.list_object_versions(Bucket=self.bucket, Prefix=key).get("Versions", ())
        return sum(entry["Key"] == key for entry in found)

    def uploads(self) -> list[str]:
        """List the multipart uploads that are billed."""
        return [
            entry["Key"] for entry in self.server.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ())
        ]

    def settings(self, **flags: object) -> Settings:
        """Give the settings of a run, with numbers that suit a server on this machine."""
        given = {"model": "lanczos", "segment_frames": 6, **flags}
        return replace(load(given), bucket_timing=QUICK, local=QUICK)

    def run(self, **flags: object) -> Ran:
        """Run a batch."""
        said = io.StringIO()
        code = asyncio.run(batch.run(self.settings(**flags), Console(stream=said)))
        return Ran(code=code, text=said.getvalue())


@pytest.fixture(params=[pytest.param(False, marks=pytest.mark.long("longer")), True], ids=["plain", "versioned"])
def versioned(request: pytest.FixtureRequest) -> bool:
    """Whether the bucket keeps versions, as B2's do."""
    return bool(request.param)


@pytest.fixture
def cloud(
    s3_server: S3Server, s3_proxy: Proxy, house: House, versioned: bool, monkeypatch: pytest.MonkeyPatch
) -> Cloud:
    """Give a bucket of its own, and set its credentials in the environment."""
    bucket = s3_server.bucket(versioned=versioned)
    values = {
        "B2_KEY": s3_server.key,
        "B2_SECRET": s3_server.secret,
        "B2_BUCKET": bucket,
        "B2_ENDPOINT": f"http://127.0.0.1:{s3_proxy.port}",
        "B2_REGION": "us-east-1",
        "UPREZ_STATE_DIR": str(house.top / "state"),
        "UPREZ_CACHE_DIR": str(house.top / "cache"),
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(house.top)
    return Cloud(server=s3_server, proxy=s3_proxy, bucket=bucket, house=house)


def check(cloud: Cloud, key: str, frames: int, *, sound: bool = True) -> None:
    """Look at a finished bucket with code of our own: one whole result, what the record says, and nothing else."""
    data = cloud.get(key)
    with av.open(io.BytesIO(data)) as video:
        assert sum(1 for _ in video.decode(video=0)) == frames
        assert bool(video.streams.audio) == sound
    (manifest,) = [name for name in cloud.keys(".uprez/jobs/") if name.endswith("/result.json")]
    left = [name for name in cloud.keys(".uprez/jobs/") if "/evidence/" not in name]
    assert left == [manifest], "what led to the result was removed"
    output = json.loads(cloud.get(manifest))["outputs"][0]
    assert (output["path"], output["size"]) == (key, len(data))
    assert output["sha256"] == hashlib.sha256(data).hexdigest()
    assert cloud.versions(key) == 1, "it was published once"
    assert cloud.uploads() == []
