"""Make the URLs that a sheet carries: each gives the right to one object and nothing more.

In a folder that is the file's own URL. Signed S3 requests come here with the bucket stores.
"""

from __future__ import annotations

from uprez.store.open import Home


def url(home: Home, key: str) -> str:
    """Give the URL by which a worker reads or writes the object `key`."""
    return (home.prefix / key).as_uri()
