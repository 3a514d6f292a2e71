"""The page of the benchmarks: a section for each part, with its command, machine, versions and load."""

from __future__ import annotations

import os
import platform
import shlex
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from uprez.market.local import cores

HEAD = """# Benchmarks

Each section says by which command, on what machine and with which versions it was made.
"""
TITLES = (
    "Against peers: realesr-animevideov3 x4",
    "Against peers: RIFE 2x",
    "Inference alone",
    "A clip on twos",
    "On a GPU",
)
"""The sections that `make bench` makes, in their order; those by other commands come after them and stay."""
OURS = ("uprez", "onnxruntime", "onnxruntime-ep-openvino", "openvino", "ncnn", "av", "numpy")
LINE = 120
BUSY = 0.5
"""Load average from which on the figures are marked as taken on a busy machine."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part's title and what stands below it, in Markdown."""

    title: str
    text: str

    @classmethod
    def of(cls, title: str, text: str) -> Section:
        """Take a text with its paragraphs' lines broken anew; tables stay as they are."""
        blocks = (block if block.startswith("|") else _wrapped(block) for block in text.strip("\n").split("\n\n"))
        return cls(title=title, text="\n\n".join(blocks))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where and how a run was made."""

    command: str
    machine: str
    load: float
    """Of the machine just before."""

    def remark(self, versions: Mapping[str, str]) -> str:
        """Give the lines that say so."""
        named = ", ".join(f"{name} {value}" for name, value in versions.items())
        busy = f"busy (load {self.load:.1f}): trust the ratios, not the seconds" if self.load > BUSY else "quiet"
        return f"By `{self.command}` on {self.machine}, which was {busy}. {named}."


def setting(arguments: Sequence[str]) -> Setting:
    """Describe the run that begins now."""
    command = f'make bench BENCH_ARGS="{shlex.join(arguments)}"' if arguments else "make bench"
    machine = f"{cores()} cores of {_cpu()}, {platform.system()} {platform.machine()}"
    return Setting(command=command, machine=machine, load=os.getloadavg()[0])


def our_versions() -> dict[str, str]:
    """Give the versions of uprez and of what it runs on, of those that are installed."""
    return _versions(OURS)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Give a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def page(old: str, made: Sequence[Section]) -> str:
    """Give the page with new sections in the place of old ones of the same title; all others stay as they are."""
    kept = {title: text for title, text in sections(old).items() if text}
    kept |= {section.title: section.text.strip("\n") for section in made}
    ours = [title for title in TITLES if title in kept]
    others = [title for title in kept if title not in TITLES]
    return HEAD + "".join(f"\n## {title}\n\n{kept[title]}\n" for title in (*ours, *others))


def sections(text: str) -> dict[str, str]:
    """Give a page's sections by title, in order."""
    found = {}
    for part in f"\n{text}".split("\n## ")[1:]:
        title, _, rest = part.partition("\n")
        found[title.strip()] = rest.strip("\n")
    return found


def _wrapped(paragraph: str) -> str:
    return textwrap.fill(paragraph, LINE, break_long_words=False, break_on_hyphens=False)


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except ModuleNotFoundError:  # PackageNotFoundError is one
            continue
    return found


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123  read line by line
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
