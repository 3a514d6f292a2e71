"""What each container holds of a source unchanged, and which one a result gets. Pure."""

from __future__ import annotations

from uprez.job import Stream, StreamKind, Video

_LOSSY_SOUND = ("aac", "ac3", "dts", "eac3", "mp2", "mp3", "opus", "vorbis")
_LOSSLESS_SOUND = ("alac", "flac", "mlp", "truehd", "tta", "wavpack")
_OLD_SOUND = ("adpcm_ima_qt", "amr_nb", "amr_wb", "nellymoser", "pcm_alaw", "pcm_f32be", "pcm_mulaw", "pcm_s8")
"""Of cameras, telephones and recorders."""
_PCM_BIG = ("pcm_s16be", "pcm_s24be", "pcm_s32be")
_PCM_LITTLE = ("pcm_f32le", "pcm_f64le", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_u8")

CARRIES: dict[str, dict[StreamKind, frozenset[str]]] = {
    "mp4": {
        "audio": frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"}),
        "subtitle": frozenset({"mov_text"}),
        "video": frozenset({"h264", "hevc", "av1", "mpeg4"}),
    },
    "mov": {
        "audio": frozenset({"aac", "ac3", "alac", "eac3", "mp2", "mp3", *_OLD_SOUND, *_PCM_BIG, *_PCM_LITTLE}),
        "subtitle": frozenset({"mov_text"}),
        "video": frozenset({"h264", "hevc", "prores", "mjpeg", "mpeg4"}),
    },
    "mkv": {
        "audio": frozenset((*_LOSSY_SOUND, *_LOSSLESS_SOUND, *_PCM_BIG, *_PCM_LITTLE)),
        "subtitle": frozenset(
            ("ass", "dvb_subtitle", "dvd_subtitle", "hdmv_pgs_subtitle", "mov_text", "ssa", "subrip", "webvtt")
        ),
        "video": frozenset(
            ("h264", "hevc", "av1", "ffv1", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4", "prores", "vp8", "vp9")
        ),
    },
}
"""By kind of stream, FFmpeg's names of codecs. Matroska has the text of mov_text, as SubRip."""
PICTURES = {
    "mp4": frozenset({"h264", "hevc", "av1"}),
    "mov": frozenset({"h264", "hevc", "prores"}),
    "mkv": frozenset({"h264", "hevc", "av1", "prores", "ffv1"}),
}
"""The codecs of results that each takes."""
COVERS = {
    "mp4": frozenset({"mjpeg", "png"}),
    "mov": frozenset[str](),
    "mkv": frozenset({"mjpeg", "png", "bmp", "gif", "tiff", "webp"}),
}
"""Pictures that stand for the file."""
FORMATS = {"mp4": "mp4", "mov": "mov", "mkv": "matroska"}
"""FFmpeg's names of the muxers."""
QUICKTIME = frozenset({"mp4", "mov"})
"""Exact times, and an index at the front."""

SYNONYMS = {
    "deu": "ger",
    "fre": "fra",
    "nld": "dut",
    "ell": "gre",
    "isl": "ice",
    "zho": "chi",
    "cze": "ces",
    "slo": "slk",
    "rum": "ron",
    "mkd": "mac",
    "sqi": "alb",
    "eus": "baq",
    "cym": "wel",
    "fas": "per",
    "msa": "may",
    "hye": "arm",
    "kat": "geo",
    "bod": "tib",
    "mya": "bur",
}
"""ISO 639-2 has two codes for some languages; QuickTime, as FFmpeg writes it, knows these."""
_IN_MOV = """
eng fra ger ita dut spa dan por nor heb jpn ara fin gre ice mlt tur chi urd hin tha kor lit pol
hun est lav rus ukr ces slk slv ron bul mac alb baq cat wel per may ind vie tam tel mal ben kan
mar arm geo swa lat aze kaz uzb mon tib bur khm lao nep sin som amh tgl epo yid und
"""
_COUNTED = ("mov", "matroska")
"""Demuxers whose other pictures are copied: those of a transport stream may be another programme's."""


def container_for(video: Video, codec: str) -> str:
    """Give the suffix of a result of a codec: the first that loses nothing.

    Of MP4 and QuickTime that is "mp4" or else "mov"; ProRes goes into "mov"; Matroska holds all the rest, but for a few
    kinds of sound that only QuickTime does.
    """
    wanted = ("mp4", "mov") if video.is_of("mov") else ("mov",) if codec == "prores" else ()
    return next(
        (name for name in (*wanted, "mkv", "mov") if codec in PICTURES[name] and _keeps_all(video, name)), "mkv"
    )


def carried(video: Video, container: str) -> tuple[Stream, ...]:
    """List the streams beside the picture that a result holds, in file order."""
    return tuple(stream for stream in video.others if fits(stream, video, container))


def copied(video: Video, container: str) -> tuple[Stream, ...]:
    """List those of the carried streams that have packets: in a result they follow the picture in this order."""
    return tuple(stream for stream in carried(video, container) if stream.kind != "attachment" and not stream.cover)


def lost(video: Video, container: str) -> tuple[Stream, ...]:
    """List the streams that another container holds and this one does not."""
    missing = (stream for stream in video.others if not fits(stream, video, container))
    return tuple(stream for stream in missing if any(fits(stream, video, other) for other in FORMATS))


def left_behind(video: Video, container: str) -> tuple[str, ...]:
    """Name, for a warning, what of the source a result of this container does not hold."""
    streams = [
        named(stream)
        for stream in video.others
        if not fits(stream, video, container)
        and stream.codec != "bin_data"  # an MP4's chapter titles, which are copied
    ]
    return (*streams, *_unsaid(video, container))


def named(stream: Stream) -> str:
    """Name a stream for people."""
    kind = "cover art" if stream.cover else stream.kind
    title = f' "{stream.title}"' if stream.title else ""
    return f"stream {stream.index} ({kind}, {stream.codec}{title})"


def fits(stream: Stream, video: Video, container: str) -> bool:
    """Say whether a container holds a stream of a video."""
    if stream.kind == "attachment":
        return container == "mkv"
    if stream.cover:
        return "attached_pic" in stream.dispositions and stream.codec in COVERS[container]
    if stream.kind == "video" and not any(map(video.is_of, _COUNTED)):
        return False
    return stream.codec in CARRIES[container].get(stream.kind, frozenset())


def language_in(container: str, language: str) -> str:
    """Give a language's code as the container has it."""
    return SYNONYMS.get(language, language) if container == "mov" else language


def _keeps_all(video: Video, container: str) -> bool:
    return not lost(video, container) and not _unsaid(video, container)


def _unsaid(video: Video, container: str) -> tuple[str, ...]:
    """Name what a container has no way to say of the streams it holds."""
    if container == "mkv":
        return tuple(
            f"the style of stream {each.index} (its text becomes SubRip)"
            for each in video.others
            if each.codec == "mov_text"
        )
    if container != "mov":
        return ()
    said = []
    for stream in carried(video, container):
        if stream.language and language_in(container, stream.language) not in _IN_MOV.split():
            said.append(f"the language of stream {stream.index} ({stream.language})")
        if marks := [word for word in stream.dispositions if word != "default"]:
            said.append(f"that stream {stream.index} is {' and '.join(marks)}")
    return tuple(said)
