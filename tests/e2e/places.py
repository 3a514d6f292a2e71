"""Places of results for tests, as a run leaves them: outputs, manifests and what may be left beside."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

from s3_server import S3Server
from uprez import wire
from uprez.config.settings import Access
from uprez.job import Options
from uprez.report.results import Made, Manifest, Output
from uprez.store import keys
from uprez.store.bucket import BucketStore
from uprez.store.open import MARKER, Home

NAMES = (
    "plain.x2.mp4",
    "две собаки.x2.mp4",
    "кот 🐈 и 👨‍👩‍👧.x2.mp4",
    "a b/c  d.x2.mp4",
    "50% #1 + 2.x2.mp4",
    "%41+%2F?x=1&y=2.x2.mp4",
    "[x] {y} 'z' \"w\".x2.mp4",
)
"""Names that something on the way is likely to spoil."""
MADE = Made(
    plan=1,
    model="lanczos",
    family="cpu",
    provider="CPUExecutionProvider",
    precision="f32",
    encoder="libx264",
    ladder=(),
    segments=1,
)


def bucket_home(access: Access, bucket: str, prefix: str = ".uprez") -> Home:
    """Open a bucket as `open_home` does, with the outputs below output/."""
    state = BucketStore(access, bucket, prefix)
    state.write(keys.MARKER, json.dumps(MARKER).encode())
    return Home(outputs=BucketStore(access, bucket), base="output/", state=state)


def environment(server: S3Server, bucket: str, *, port: int | None = None) -> dict[str, str]:
    """Give the variables by which the command finds a bucket of the server."""
    return {
        "B2_KEY": server.key,
        "B2_SECRET": server.secret,
        "B2_BUCKET": bucket,
        "B2_ENDPOINT": f"http://127.0.0.1:{port or server.port}",
        "B2_REGION": "us-east-1",
    }


def publish(home: Home, job: str, name: str, data: bytes | None = None) -> Output:
    """Leave what a finished job leaves: its output and its manifest."""
    data = f"the picture of {name}".encode() if data is None else data
    path = f"{home.base}{name}"
    if home.root is not None:
        (home.root / path).parent.mkdir(parents=True, exist_ok=True)
        (home.root / path).write_bytes(data)
    else:
        home.outputs.write(path, data)
    meta = home.outputs.head(path)
    assert meta is not None
    output = Output(
        url=home.url(path),
        path=path,
        size=len(data),
        etag=meta.etag,
        sha256=hashlib.sha256(data).hexdigest(),
        version=meta.version,
        frames=50,
        duration_s=2.0,
        width=320,
        height=180,
        audio_tracks=1,
    )
    manifest = Manifest(
        job=job,
        input=name.replace(".x2.mp4", ".mp4"),
        identity=job,
        options=Options(),
        outputs=(output,),
        made=MADE,
        finished_at=datetime.now(UTC),
    )
    home.state.write(keys.manifest(job), wire.dump(manifest))
    return output
