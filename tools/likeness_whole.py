"""The clips of tools/likeness_clips.py through `uprez run`: worker and controller judge every segment and result."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

import likeness_clips
from likeness_clips import Clip

SEGMENT_FRAMES = 6


def run(clips: Sequence[Clip], materials: Path, models: Sequence[str]) -> tuple[list[str], list[str]]:
    """Enhance the clips; gives what was made, in words, and the lines of the console that doubt any of it."""
    said, doubts = [], []
    with tempfile.TemporaryDirectory(prefix="uprez-likeness-") as folder:
        inputs = Path(folder) / "input"
        inputs.mkdir()
        for clip in clips:
            _write(inputs / f"{clip.name.replace(' ', '-')}.mkv", clip, materials)
        for model in models:
            outputs = Path(folder) / model
            flags = ("--input-dir", str(inputs), "--output-dir", str(outputs), "--model", model)
            command = [sys.executable, "-m", "uprez", "run", *flags, "--segment-frames", str(SEGMENT_FRAMES)]
            ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            results = json.loads(next(outputs.glob(".uprez/batches/*/results.json")).read_bytes())
            done = [job for job in results["jobs"] if job["state"] == "done"]
            segments = sum(job["segments_computed"] for job in done)
            said.append(f"{model}: {len(done)} of {len(clips)} done, {segments} segments")
            doubts += [line for line in ended.stdout.splitlines() if "[WARN]" in line or "[ERROR]" in line]
            doubts += ended.stderr.splitlines()
            doubts += [f"{job['input']}: {job['error']}" for job in results["jobs"] if job["state"] != "done"]
    return said, doubts


def _write(path: Path, clip: Clip, materials: Path) -> None:
    frames = likeness_clips.frames(clip, materials)
    video = likeness_clips.video(frames)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        for frame in frames:
            picture = av.VideoFrame(video.width, video.height, "yuv420p")
            for plane, samples in zip(picture.planes, frame.planes, strict=True):
                padded = np.zeros((plane.height, plane.line_size), np.uint8)
                padded[:, : plane.width] = samples
                plane.update(padded.tobytes())
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
