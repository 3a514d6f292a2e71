-- What a batch was asked to do and what came of it; what its machines were, and spent their time on; which machines are
-- shunned, and how fast others were.

ALTER TABLE batches ADD COLUMN saved TEXT;          -- JSON: its settings without secrets, for `uprez resume`
ALTER TABLE batches ADD COLUMN summary TEXT;        -- JSON: jobs by state and cost, for `uprez history`
ALTER TABLE batches ADD COLUMN detached_at TEXT;    -- from then on its leases work to their ends without a controller
ALTER TABLE batches ADD COLUMN jobs TEXT;           -- JSON: ids of the jobs that were left to them
ALTER TABLE batches ADD COLUMN collected_at TEXT;   -- and what they published was verified

ALTER TABLE leases ADD COLUMN gpu TEXT NOT NULL DEFAULT '';  -- the market's name of it
ALTER TABLE leases ADD COLUMN line_down REAL;                -- bytes a second, as its host says
ALTER TABLE leases ADD COLUMN line_up REAL;
ALTER TABLE leases ADD COLUMN ready_at TEXT;                 -- its worker's first word
ALTER TABLE leases ADD COLUMN use TEXT;                      -- JSON: seconds by what they were for
ALTER TABLE leases ADD COLUMN before_usd TEXT NOT NULL DEFAULT '0';  -- more than at today's prices, before they changed

CREATE TABLE bans (
    number    INTEGER PRIMARY KEY,
    place     TEXT NOT NULL,    -- as of leases
    machine   TEXT NOT NULL,
    batch     TEXT NOT NULL,
    reason    TEXT NOT NULL,
    evidence  TEXT,             -- where what it made is kept
    banned_at TEXT NOT NULL,
    until     TEXT NOT NULL     -- ISO 8601, by the ledger's clock
) STRICT;

CREATE INDEX bans_machine ON bans (place, machine);

CREATE TABLE speeds (
    number      INTEGER PRIMARY KEY,
    lease       TEXT NOT NULL,
    job         TEXT NOT NULL,  -- '' of a boot
    gpu         TEXT NOT NULL,  -- '' on the local market
    work        TEXT NOT NULL,  -- names of the networks, and what was done with them; or boot, line, index, assemble
    gmac        REAL NOT NULL,  -- of the networks
    frames      INTEGER NOT NULL,
    pixels      INTEGER NOT NULL,  -- of the result
    bytes       INTEGER NOT NULL,  -- of what was made; of a boot or an index, what was fetched for it
    seconds     REAL NOT NULL,  -- of the task, fetching and encoding in it
    measured_at TEXT NOT NULL
) STRICT;

CREATE INDEX speeds_gpu ON speeds (gpu, work);
