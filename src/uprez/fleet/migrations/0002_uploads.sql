-- Multipart uploads are billed until they are completed or aborted, so each is written down before it begins.

CREATE TABLE uploads (
    number   INTEGER PRIMARY KEY,
    batch    TEXT NOT NULL REFERENCES batches (id),
    store    TEXT NOT NULL,     -- URL of the store that `key` is relative to
    key      TEXT NOT NULL,
    upload   TEXT,              -- the store's id; NULL when its answer never came
    began_at TEXT NOT NULL,
    ended_at TEXT
) STRICT;

CREATE INDEX uploads_open ON uploads (batch) WHERE ended_at IS NULL;
