-- What the ledger remembers: who it is, which batches ran, and every lease from intent to confirmed end.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE batches (
    id         TEXT PRIMARY KEY,
    started_at TEXT NOT NULL,
    ended_at   TEXT,
    exit_code  INTEGER,
    home       TEXT NOT NULL,   -- URL of the place the results go to
    options    TEXT NOT NULL    -- JSON, as asked
) STRICT;

CREATE TABLE leases (
    id           TEXT PRIMARY KEY,
    batch        TEXT NOT NULL REFERENCES batches (id),
    market       TEXT NOT NULL,
    -- intent: about to create. held: created. ending: being given back. gone: seen gone. lost: could not be seen gone.
    state        TEXT NOT NULL CHECK (state IN ('intent', 'held', 'ending', 'gone', 'lost')),
    label        TEXT NOT NULL UNIQUE,
    machine      TEXT NOT NULL,
    instance     TEXT,
    usd_per_hour TEXT NOT NULL,
    intended_at  TEXT NOT NULL,
    held_at      TEXT,
    ended_at     TEXT,
    reason       TEXT
) STRICT;

CREATE INDEX leases_open ON leases (state) WHERE state <> 'gone';
