"""The wheel that rented machines install: this very uprez, or a clone of another version of it.

A host needs neither git nor access to any repository: the wheel is packed here, byte for byte the same for the same
files, so that its hash names it in the store.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import hashlib
import importlib.metadata
import io
import os
import re
import subprocess
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uprez import sheet
from uprez.errors import UsageError

PACKAGE = "uprez"
SUPERSEDED = "vastai_inerup"
"""The project that uprez replaces: its repository may still be named in a configuration that was taken over."""
GIT_S = 300.0
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can hold."""
_WHEEL = "Wheel-Version: 1.0\nGenerator: uprez\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A wheel."""

    name: str
    """Of its file."""
    data: bytes
    sha256: str


def pack_installed() -> Packed:
    """Pack the uprez that runs here, whether it was installed or is worked on; raises UsageError when it is neither."""
    try:
        found = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise UsageError("this uprez was never installed, so it has no version", hint="pip install .") from error
    metadata = {"METADATA": (found.read_text("METADATA") or "").encode()}
    if points := found.read_text("entry_points.txt"):
        metadata["entry_points.txt"] = points.encode()
    for file in found.files or ():
        if file.parent.name == "licenses" and ".dist-info" in file.parent.parent.name:
            metadata[f"licenses/{file.name}"] = file.read_binary()
    return _pack(Path(__file__).resolve().parent, found.version, metadata)


def pack_clone(folder: Path) -> Packed:
    """Pack a source checkout. Nothing of it is run here.

    Raises UsageError: it is no uprez, or one whose sheets this controller does not write.
    """
    project = _project(folder)
    package = folder / "src" / PACKAGE
    theirs = _sheet_schema(package / "sheet.py")
    if theirs != sheet.SCHEMA:
        raise UsageError(
            f"the uprez in {folder} reads sheets of schema {theirs}, this one writes {sheet.SCHEMA}",
            hint="set git_branch to a version that fits, or remove git_repo to use this very version",
        )
    version = str(project.get("version", ""))
    if not re.fullmatch(r"[0-9][0-9A-Za-z.!+]*", version):
        raise UsageError(f"{folder / 'pyproject.toml'}: project.version is {version!r}, which is no version")
    metadata = {"METADATA": _metadata(project, version).encode(), "entry_points.txt": _commands(project).encode()}
    return _pack(package, version, metadata)


def clone(repo: str, branch: str | None, folder: Path, *, warn: Callable[[str], None]) -> str | None:
    """Clone one branch (None: the repository's own choice) into `folder`, which must not exist; gives the commit.

    None, with a warning, for the repository of the project that uprez replaces. Never asks for a password. Raises
    UsageError with git's words.
    """
    if SUPERSEDED in repo:
        warn(f"git_repo names {SUPERSEDED}, the system that uprez replaces: remove this key (this version is used)")
        return None
    chosen = ("--branch", branch) if branch else ()
    _git(["clone", "--quiet", "--depth", "1", *chosen, "--", repo, str(folder)], repo, branch)
    return _git(["-C", str(folder), "rev-parse", "HEAD"], repo, branch).strip()


def _git(arguments: list[str], repo: str, branch: str | None) -> str:
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "GIT_SSH_COMMAND": "ssh -oBatchMode=yes"}
    what = f"git_repo {shown(repo)}" + (f", git_branch {branch}" if branch else "")
    command = ["git", *arguments]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **quiet, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_S,
            check=False,
        )
    except FileNotFoundError as error:
        hint = "install git, or remove git_repo to use this very version"
        raise UsageError(f"{what} cannot be cloned: there is no git here", hint=hint) from error
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"{what} cannot be cloned within {GIT_S:.0f} s", hint="check the address") from error
    if done.returncode:
        words = " ".join(done.stderr.replace(repo, shown(repo)).split())[-300:]
        raise UsageError(
            f"{what} cannot be cloned: {shown(words)}", hint="check the address, the branch and the rights"
        )
    return done.stdout


def shown(text: str) -> str:
    """Take the credentials out of the URLs in a text."""
    return re.sub(r"(?<=://)[^/@\s]+@", "", text)


def _project(folder: Path) -> Mapping[str, Any]:
    path = folder / "pyproject.toml"
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint="set git_repo to a repository of uprez") from error
    if not isinstance(project, dict) or project.get("name") != PACKAGE:
        name = project.get("name") if isinstance(project, dict) else None
        raise UsageError(f"{path}: the project is {name!r}, not {PACKAGE!r}", hint="set git_repo to one of uprez")
    return project


def _sheet_schema(path: Path) -> int | None:
    """Read SCHEMA out of a sheet.py without running it; None where there is none."""
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            match node:
                case ast.Assign(targets=[ast.Name(id="SCHEMA")], value=ast.Constant(value=int(schema))):
                    return schema
                case ast.AnnAssign(target=ast.Name(id="SCHEMA"), value=ast.Constant(value=int(schema))):
                    return schema
    return None


def _metadata(project: Mapping[str, Any], version: str) -> str:
    lines = ["Metadata-Version: 2.4", f"Name: {PACKAGE}", f"Version: {version}"]
    lines += [f"Requires-Python: {project['requires-python']}"] if "requires-python" in project else []
    lines += [f"Requires-Dist: {each}" for each in project.get("dependencies", ())]
    return "\n".join(lines) + "\n"


def _commands(project: Mapping[str, Any]) -> str:
    return "".join(["[console_scripts]\n", *(f"{k} = {v}\n" for k, v in sorted(project.get("scripts", {}).items()))])


def _pack(package: Path, version: str, metadata: Mapping[str, bytes]) -> Packed:
    """Write the wheel: the package's files in order, then what describes them."""
    about = f"{PACKAGE}-{version}.dist-info"
    members = {f"{PACKAGE}/{path.relative_to(package).as_posix()}": path.read_bytes() for path in _files(package)}
    members |= {f"{about}/{name}": data for name, data in {**metadata, "WHEEL": _WHEEL.encode()}.items()}
    members[f"{about}/RECORD"] = _record(members, about)
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in members.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3  # Unix, wherever it is made
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    wheel = sink.getvalue()
    return Packed(name=f"{PACKAGE}-{version}-py3-none-any.whl", data=wheel, sha256=hashlib.sha256(wheel).hexdigest())


def _files(package: Path) -> Iterable[Path]:
    """List the package's own files; a link could lead out of a clone, and bytecode is of this machine."""
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package).parts
        linked = any((package / Path(*inside[:depth])).is_symlink() for depth in range(1, len(inside) + 1))
        if not linked and path.is_file() and "__pycache__" not in inside and path.suffix not in (".pyc", ".pyo"):
            yield path


def _record(members: Mapping[str, bytes], about: str) -> bytes:
    def line(name: str, data: bytes) -> str:
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        return f"{name},sha256={digest},{len(data)}\n"

    lines = [line(name, data) for name, data in members.items()]
    return "".join([*lines, f"{about}/RECORD,,\n"]).encode()
