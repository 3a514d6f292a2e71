"""Abort the multipart uploads that an earlier run left: a store bills their parts until somebody does."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from uprez.fleet.ledger import Ledger
from uprez.fleet.locks import is_controlled
from uprez.fleet.rows import UploadRow
from uprez.report.console import Console
from uprez.store.bucket import BucketStore
from uprez.store.open import Home

MARGIN = timedelta(minutes=15)
"""By how much the store's clock may be behind ours: an upload that began before its record by more is not it."""


def reconcile(home: Home, ledger: Ledger, locks: Path, console: Console) -> None:
    """End every upload in the ledger that nobody needs any more and whose bucket is this one.

    Raises StoreError when the bucket cannot be asked.
    """
    stores = {store.url: store for store in (home.state, home.outputs) if isinstance(store, BucketStore)}
    alone = {row.id for row in ledger.detached()}
    for row in ledger.open_uploads():
        if row.batch in alone or is_controlled(locks, row.batch):
            continue
        store = stores.get(row.store)
        if store is None:
            console.warn(f"An upload to {row.store.rstrip('/')}/{row.key} of an earlier run is still open there")
            console.line("HINT", "a run with that bucket ends it")
            continue
        for upload in _ids(store, row):
            store.abort_upload(row.key, upload)
            console.info(f"Gave up an unfinished upload of an earlier run: {row.key}")
        ledger.upload_ended(row.number)


def _ids(store: BucketStore, row: UploadRow) -> list[str]:
    """Give the id that was recorded; without one, those of the same key that began when it did."""
    if row.upload is not None:
        return [row.upload]
    since = datetime.fromisoformat(row.began_at) - MARGIN
    return [
        found.upload
        for found in store.uploads(row.key)
        if found.key == row.key and (found.begun is None or found.begun >= since)
    ]
