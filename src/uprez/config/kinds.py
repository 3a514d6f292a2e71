"""How the text of a setting becomes its value.

Every value is read as it was written, by its key's own kind, wherever it stands: a file, a variable or a flag. So
YAML's guesses change nothing: `1:30` is a time (not 90 in base 60), `no` a name, `2` and "2" the same scale.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from uprez.config.settings import Secret

Value = str | bool | int | Decimal | Fraction | Secret | tuple[str, ...]

CODECS = ("h264", "hevc", "av1", "prores", "ffv1")
WITHOUT_QUALITY = ("prores", "ffv1")
"""Codecs without a constant quality to choose."""
WITHOUT_PRESETS = ("ffv1",)
WORST_QUALITY = 63
"""Of the longest scale; which scale a codec has is in `media.ladders`."""
CONTAINERS = ("mp4", "mkv", "mov")
PIX_FMTS = (
    *("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"),
    *("yuv420p12le", "yuv422p12le", "yuv444p12le", "yuv420p16le", "yuv422p16le", "yuv444p16le"),
    "yuv440p",
)
"""Not every codec has every one."""
UNWRITTEN = ("avi", "webm", "ts", "m4v", "wmv", "flv", "mpg", "mpeg")
"""Suffixes of containers that uprez reads and does not write."""
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
"""No exponents: a Fraction of 1e999999999 would fill the memory."""
_UNITS_S = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_IN_UNITS = re.compile("".join(rf"(?:(?P<{unit}>{_NUMBER.pattern}){unit})?" for unit in _UNITS_S))
"""A length of time such as 2h30m, or nothing."""
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{1,61}[A-Za-z0-9]")
LEAST_MEMORY = 512 << 20
"""Bytes without which no worker gets anywhere."""
_BYTES = {"b": 1} | {
    letter + rest: (1000 if rest == "b" else 1024) ** power
    for power, letter in enumerate("kmgt", 1)
    for rest in ("", "b", "ib", "i")
}
"""Of a unit: MB is a million, MiB and M are 2^20."""
SWITCHES = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a value is read, and what to tell whoever wrote another."""

    read: Callable[[str], Value]
    """Raises ValueError with what is wrong, to follow the value in a sentence."""
    allowed: str
    """What may be written; the hint of the error."""
    metavar: str
    many: bool = False
    """A list: in YAML a sequence, in a flag with commas or repeated; `read` gets one item and gives a tuple."""


def nearest(value: str, known: Iterable[str]) -> str:
    """Give ": did you mean 'x'?" for the nearest known value, or nothing."""
    near = difflib.get_close_matches(value, list(known), n=1)
    return f": did you mean {near[0]!r}?" if near else ""


def number(least: str, most: str, allowed: str, *, unit: str = "NUMBER") -> Kind:
    """Make the kind of a decimal number within bounds."""

    def read(text: str) -> Value:
        if not _NUMBER.fullmatch(text.removeprefix("-")):
            raise ValueError("is not a number")
        return _within(Decimal(text), Decimal(least), Decimal(most))

    return Kind(read=read, allowed=allowed, metavar=unit)


def whole(least: int, most: int, allowed: str) -> Kind:
    """Make the kind of a whole number within bounds."""

    def read(text: str) -> Value:
        if not re.fullmatch(r"-?[0-9]{1,9}", text):
            raise ValueError("is not a whole number")
        return int(_within(Decimal(text), Decimal(least), Decimal(most)))

    return Kind(read=read, allowed=allowed, metavar="N")


def choice(*names: str, metavar: str | None = None) -> Kind:
    """Make the kind of one name out of few; `metavar` stands for them where they are too many for a line."""

    def read(text: str) -> Value:
        if text not in names:
            raise ValueError(f"is unknown{nearest(text, names)}")
        return text

    return Kind(read=read, allowed=f"known: {', '.join(names)}", metavar=metavar or "|".join(names))


def words(allowed: str, clean: Callable[[str], str]) -> Kind:
    """Make the kind of a list of names."""

    def read(text: str) -> Value:
        return tuple(clean(part) for part in text.split(",") if part.strip())

    return Kind(read=read, allowed=allowed, metavar="NAME,...", many=True)


def _within(value: Decimal, least: Decimal, most: Decimal) -> Decimal:
    if value < least:
        raise ValueError("is too small")
    if value > most:
        raise ValueError("is too large")
    return value


def _scale(text: str) -> Value:
    scale = Fraction(text) if _NUMBER.fullmatch(text) else Fraction(0)
    if not 1 <= scale <= 4:
        raise ValueError("cannot be done")
    return scale


def _rate(text: str) -> Value:
    """Read "25", "23.976" or "24000/1001"; what is written with decimals for a rate of NTSC means that rate."""
    top, _, bottom = text.partition("/")
    if not _NUMBER.fullmatch(top) or not re.fullmatch(r"[0-9]{1,9}", bottom or "1") or not int(bottom or "1"):
        raise ValueError("is not a number of frames a second")
    rate = Fraction(top) / int(bottom or "1")
    exact = Fraction(round(rate * Fraction(1001, 1000)) * 1000, 1001)
    rate = exact if "." in top and abs(rate - exact) < Fraction(1, 200) else rate
    if not 1 <= rate <= 1000:
        raise ValueError("cannot be done")
    return rate


def _factor(text: str) -> Value:
    """Read "2", "2.5" or "5/2"."""
    top, _, bottom = text.partition("/")
    if not _NUMBER.fullmatch(top) or not re.fullmatch(r"[0-9]{1,9}", bottom or "1") or not int(bottom or "1"):
        raise ValueError("is not a number")
    factor = Fraction(top) / int(bottom or "1")
    if not 1 < factor <= 16:
        raise ValueError("cannot be done")
    return factor


def _size(text: str) -> Value:
    """Read "2GiB", "8G", "1500MB" or a number of bytes."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([kmgt]i?b?|b)?", text.lower())
    if not found:
        raise ValueError("is not a size")
    size = Fraction(found[1]) * _BYTES[found[2] or "b"]
    if size < LEAST_MEMORY:
        raise ValueError("is too small")
    if size > 2**50:
        raise ValueError("is too large")
    return int(size)


def seconds(text: str) -> Fraction:
    """Read "90", "1.5", "2:05", "1:02:03.5" or "2h30m" as seconds, exactly; raises ValueError."""
    text = text.strip().lower()
    if text and (units := _IN_UNITS.fullmatch(text)):
        return sum((size * Fraction(units[unit] or 0) for unit, size in _UNITS_S.items()), Fraction(0))
    parts = text.split(":")
    numbers = [Fraction(part) for part in parts if _NUMBER.fullmatch(part)]
    if len(numbers) != len(parts) or len(parts) > 3:
        raise ValueError("is not a time")
    return sum((number * 60**power for power, number in enumerate(reversed(numbers))), Fraction(0))


def _length(text: str) -> Value:
    length = seconds(text)
    if length <= 0:
        raise ValueError("is no length of time")
    return length


def _switch(text: str) -> Value:
    if text.lower() not in SWITCHES:
        raise ValueError("is neither true nor false")
    return SWITCHES[text.lower()]


def _text(text: str) -> Value:
    if not text.strip() or not text.isprintable():
        raise ValueError("is empty, or holds characters that do not print")
    return text


def _place(text: str) -> Value:
    if not text.strip() or "\0" in text:
        raise ValueError("is no path")
    return text


def _secret(text: str) -> Value:
    if not text.strip() or not text.isprintable() or text != text.strip():
        raise ValueError("is empty, or holds blanks around it or characters that do not print")
    return Secret(text)


def _file_name(text: str) -> Value:
    if not text.strip() or "\0" in text or text != Path(text).name or text in (".", ".."):
        raise ValueError("is not a file name")
    suffix = PurePosixPath(text).suffix.lower().removeprefix(".")
    if suffix in UNWRITTEN:
        raise ValueError(f"ends in .{suffix}, which this version does not write")
    return text


def _bucket(text: str) -> Value:
    if not _BUCKET.fullmatch(text):
        raise ValueError("is not the name of a bucket")
    return text


def _prefix(text: str) -> Value:
    parts = text.strip("/").split("/")
    if text.startswith("/") or not text.isprintable() or any(part in ("", ".", "..") for part in parts):
        raise ValueError("is not a folder below the outputs")
    return text.strip("/")


def _url(text: str) -> Value:
    """Take a URL that cannot be listened to: HTTPS, or HTTP that does not leave this machine."""
    scheme, host = scheme_and_host(text)
    if scheme not in ("http", "https") or not host:
        raise ValueError("is not a URL")
    if scheme == "http" and not is_loopback(host):
        raise ValueError("is plain http, which anyone on the way could read and change")
    return text


def _endpoint(text: str) -> Value:
    given = text if "://" in text else f"https://{text}"
    _url(given)
    parts = urlsplit(given)
    if parts.query or parts.fragment or parts.path.strip("/"):
        raise ValueError("holds more than a host")
    return given.rstrip("/")


def _api(text: str) -> Value:
    """Take the address of an API; the old system's held the version's path, which is written by the wire here."""
    return _endpoint(re.sub(r"(/api)?(/v[01])?/*$", "", text))


def _webhook(text: str) -> Value:
    _url(text)
    return Secret(text)


def _compute_cap(text: str) -> Value:
    """Read 8.6, "8.6", 86 or 860 as Vast.ai's 860."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("is not a compute capability")
    value = Decimal(text)
    value = value * 100 if value < 20 else value * 10 if value < 200 else value
    if value != int(value) or not 100 <= value <= 2000:
        raise ValueError("is not a compute capability")
    return int(value)


def _reliability(text: str) -> Value:
    """Read a share (0.95), or per cent (95%)."""
    share = text.removesuffix("%")
    if not _NUMBER.fullmatch(share):
        raise ValueError("is not a number")
    return _within(Decimal(share) / (100 if text.endswith("%") else 1), Decimal(0), Decimal(1))


def gpu_name(text: str) -> str:
    """Write a GPU's name as Vast.ai does: "RTX_4090" is "RTX 4090"."""
    return " ".join(text.replace("_", " ").split())


def scheme_and_host(url: str) -> tuple[str, str]:
    """Split what decides over a URL; empty where there is none."""
    try:
        parts = urlsplit(url)
        return parts.scheme.lower(), parts.hostname or ""
    except ValueError:
        return "", ""


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


SCALE = Kind(read=_scale, allowed="a number from 1 to 4, such as 1.5", metavar="NUMBER")
TIME = Kind(read=seconds, allowed="write seconds (1.5), h:mm:ss (1:02:03) or units (2h30m, 1d)", metavar="TIME")
LENGTH = Kind(
    read=_length,
    allowed="more than 0 seconds: write seconds (1.5), h:mm:ss (1:02:03) or units (2h30m, 1d)",
    metavar="TIME",
)
FACTOR = Kind(read=_factor, allowed="above 1 and up to 16, such as 2, 2.5 or 5/2", metavar="NUMBER")
SIZE = Kind(read=_size, allowed="at least 512MiB, such as 2GiB, 1500MB or 8G (which is 8GiB)", metavar="SIZE")
RATE = Kind(read=_rate, allowed="1 to 1000 frames a second, such as 25, 23.976 or 24000/1001", metavar="FPS")
SWITCH = Kind(read=_switch, allowed="true or false", metavar="")
TEXT = Kind(read=_text, allowed="some text", metavar="TEXT")
SECRET = Kind(read=_secret, allowed="the value as the account page shows it", metavar="SECRET")
NAME = Kind(read=_text, allowed="a name", metavar="NAME")
FILE_NAME = Kind(
    read=_file_name, allowed="a name ending in .mp4, .mkv or .mov; folders go to --output-dir", metavar="NAME"
)
PLACE = Kind(read=_place, allowed="a path, s3://BUCKET/KEY, b2://BUCKET/KEY or an HTTP URL", metavar="PATH|URL")
BUCKET = Kind(read=_bucket, allowed="3 to 63 letters, digits, dots and hyphens", metavar="NAME")
PREFIX = Kind(read=_prefix, allowed="a name such as .uprez, or several with / between", metavar="NAME")
URL = Kind(read=_url, allowed="an https:// URL (http:// on this machine only)", metavar="URL")
ENDPOINT = Kind(read=_endpoint, allowed="such as https://s3.us-west-004.backblazeb2.com", metavar="URL")
API = Kind(read=_api, allowed="such as https://console.vast.ai", metavar="URL")
WEBHOOK = Kind(read=_webhook, allowed="an https:// or http:// URL", metavar="URL")
COMPUTE_CAP = Kind(read=_compute_cap, allowed="such as 8.6 (or 860, as Vast.ai writes it)", metavar="X.Y")
SHARE = Kind(read=_reliability, allowed="a number from 0 to 1, such as 0.95", metavar="0-1")
FOLDER_OR_SWITCH = Kind(read=_place, allowed="true, false or a folder", metavar="DIR")
GPUS = words("names such as RTX_4090, with commas between", gpu_name)
IDS = words("names with commas between", str.strip)
