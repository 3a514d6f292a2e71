"""What a person should know of a video before it is enhanced, and of its result. Pure."""

from __future__ import annotations

from uprez.job import Index, Options, Video
from uprez.media.ladders import LADDERS


def of_video(video: Video) -> list[str]:
    """Say what of a video will not be in its result."""
    said = []
    if video.alpha:
        said.append("its alpha plane is left out")
    if video.captions:
        said.append("its closed captions, which are inside the picture's packets, are left out")
    if video.dynamic_hdr:
        said.append(f"its {' and '.join(video.dynamic_hdr)} metadata is left out: it would not fit the new pictures")
    return said


def of_index(index: Index, options: Options, codec: str) -> list[str]:
    """Say what was found in a video's packets, and what is done about it in a result of this codec."""
    said = of_video(index.video)
    if index.video.mastering and not any(rung.says_hdr for rung in LADDERS[codec]):
        said.append(f"its mastering display and light levels are left out, which {codec} results do not carry")
    if index.video.interlaced and options.deinterlace != "off":
        said.append("interlaced video: deinterlaced by bwdif, one picture for each frame")
    elif index.video.interlaced:
        said.append("interlaced video is enhanced as it is (deinterlace: off)")
    if index.damaged:
        said.append(f"packets damaged: at least {index.damaged}; what cannot be decoded is patched")
    if index.breaks:
        said.append(f"its clock jumps {_times(index.breaks)}: what follows goes on from there")
    return said


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
