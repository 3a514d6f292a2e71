"""What rented machines run: this very version of uprez, or the one in a repository at a branch."""

from __future__ import annotations

import tempfile
from pathlib import Path

from uprez.config.settings import Settings
from uprez.packing import Packed, clone, pack_clone, pack_installed
from uprez.report.console import Console


def packed(settings: Settings, console: Console) -> Packed:
    """Pack it here, before anything is rented: no machine needs git, nor the right to read the repository.

    Raises UsageError: no such repository or branch, no uprez in it, or one whose sheets this controller does not write.
    """
    if settings.git_repo is None:
        return pack_installed()
    with tempfile.TemporaryDirectory(prefix="uprez-") as folder:
        commit = clone(settings.git_repo, settings.git_branch, Path(folder) / "clone", warn=console.warn)
        if commit is None:
            return pack_installed()
        console.info(
            f"Machines run commit {commit[:12]}" + (f" of {settings.git_branch}" if settings.git_branch else "")
        )
        return pack_clone(Path(folder) / "clone")
