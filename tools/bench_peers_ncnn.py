"""The PNG pipeline that ncnn tools are used in: frames to PNG, each through the network to PNG, PNGs to a video.

Run by the peers' Python, in an empty folder:

    python bench_peers_ncnn.py CLIP OUT FRAMES PARAM BIN THREADS CRF PRESET
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import ncnn
import numpy as np

FFMPEG = ("ffmpeg", "-y", "-hide_banner", "-loglevel", "warning", "-nostdin")


def main(clip: str, out: str, frames: int, param: str, weights: str, threads: int, crf: str, preset: str) -> None:
    """Run the three steps one after the other."""
    small, large = Path("small"), Path("large")
    small.mkdir()
    large.mkdir()
    rate = _ffmpeg_rate(clip)
    _ffmpeg("-i", clip, "-frames:v", str(frames), str(small / "%08d.png"))
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    net.load_param(param)
    net.load_model(weights)
    for path in sorted(small.glob("*.png")):
        cv2.imwrite(str(large / path.name), _enlarged(net, cv2.imread(str(path))))
    codec = ("-c:v", "libx264", "-preset", preset, "-crf", crf, "-pix_fmt", "yuv420p")
    _ffmpeg("-framerate", rate, "-i", str(large / "%08d.png"), *codec, out)


def _enlarged(net: ncnn.Net, picture: np.ndarray) -> np.ndarray:
    rows, columns = picture.shape[:2]
    given = ncnn.Mat.from_pixels(picture, ncnn.Mat.PixelType.PIXEL_BGR2RGB, columns, rows)
    given.substract_mean_normalize([], [1 / 255] * 3)
    with net.create_extractor() as extractor:
        extractor.input("data", given)
        code, made = extractor.extract("output")
    if code:
        sys.exit(f"ncnn ended with {code}")
    rgb = np.rint(np.array(made).clip(0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(rgb[::-1].transpose(1, 2, 0))


def _ffmpeg(*arguments: str) -> None:
    subprocess.run([*FFMPEG, *arguments], check=True)


def _ffmpeg_rate(clip: str) -> str:
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=avg_frame_rate"]
    return subprocess.run([*command, "-of", "csv=p=0", clip], check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    _clip, _out, _frames, _param, _weights, _threads, _crf, _preset = sys.argv[1:]
    main(_clip, _out, int(_frames), _param, _weights, int(_threads), _crf, _preset)
