"""The environment variables that uprez reads, in one place."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def folders() -> tuple[Path, Path]:
    """Give the folder for this machine's state and the one for converted networks.

    UPREZ_STATE_DIR and UPREZ_CACHE_DIR; else where the platform keeps such things.
    """
    state = os.environ.get("UPREZ_STATE_DIR") or platformdirs.user_state_dir("uprez", appauthor=False)
    cache = os.environ.get("UPREZ_CACHE_DIR") or platformdirs.user_cache_dir("uprez", appauthor=False)
    return Path(state).absolute(), Path(cache).absolute()
