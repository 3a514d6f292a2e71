"""The image that practice machines run: a Python whose packages are there already, so that nothing is fetched.

What a real image is to a real host, a folder is here: links to those packages of the running interpreter that the
pins of a machine without a GPU ask for. uprez itself is not among them: its wheel is really installed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import sys
from pathlib import Path

from uprez.market.install import pins

PROVIDER = "cpu"
"""What practice machines install, whatever GPU their nvidia-smi shows."""


class Mismatch(Exception):  # noqa: N818 # it says no more than that the packages here are not the pinned ones
    """This interpreter's packages are not those of the pins."""


def environment(cache: Path | None = None, *, wheelhouse: Path | None = None) -> dict[str, str]:
    """Give the environment that the image brings, for `Processes(image=...)`.

    With `cache`, a folder below it holds the links, made once for each set of pins; raises Mismatch where the packages
    of this interpreter are of other versions. With `wheelhouse`, machines find packages there. With either, machines
    ask no index.
    """
    image = {
        "UPREZ_PROVIDER": PROVIDER,
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
    }
    if cache or wheelhouse:
        image["PIP_NO_INDEX"] = "1"
        image["PIP_CONFIG_FILE"] = os.devnull
    if wheelhouse:
        image["PIP_FIND_LINKS"] = str(wheelhouse.resolve())
    if cache:
        image["PYTHONPATH"] = str(prepared(cache))
    return image


def here(cache: Path) -> dict[str, str]:
    """Give the environment with this interpreter's packages where they are the pinned ones, else one with an index."""
    try:
        return environment(cache)
    except Mismatch:
        return environment()


def prepared(cache: Path) -> Path:
    """Give the folder of links, made when there is none; raises Mismatch."""
    text = pins(PROVIDER)
    name = hashlib.sha256(text + sys.prefix.encode()).hexdigest()[:16]
    base = cache.resolve() / f"image-{name}"
    if base.is_dir():
        return base
    beside = base.with_name(f"{base.name}.{os.getpid()}")
    beside.mkdir(parents=True, exist_ok=True)
    for pin in re.findall(rb"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE):
        for path in _entries(pin[0].decode(), pin[1].decode()):
            if not (beside / path.name).is_symlink():
                (beside / path.name).symlink_to(path)
    try:
        beside.rename(base)
    except OSError:
        if not base.is_dir():  # else another process was quicker
            raise
    return base


def _entries(name: str, version: str) -> set[Path]:
    """Give what a distribution has put into site-packages: its packages, modules, libraries and metadata."""
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise Mismatch(f"{name} is not installed here") from error
    if found.version != version:
        raise Mismatch(f"{name} is {found.version} here, the pins say {version}")
    root = Path(str(found.locate_file("")))
    tops = {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}
    return {root / top for top in tops}
