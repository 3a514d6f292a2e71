-- What a lease costs, and where: an instance's number means nothing at another market or in another account.

ALTER TABLE leases ADD COLUMN place TEXT NOT NULL DEFAULT 'local';
ALTER TABLE leases ADD COLUMN gpu_usd_per_hour TEXT NOT NULL DEFAULT '0';
ALTER TABLE leases ADD COLUMN disk_usd_per_hour TEXT NOT NULL DEFAULT '0';
ALTER TABLE leases ADD COLUMN down_usd_per_gb TEXT NOT NULL DEFAULT '0';
ALTER TABLE leases ADD COLUMN up_usd_per_gb TEXT NOT NULL DEFAULT '0';
ALTER TABLE leases ADD COLUMN running_at TEXT;                      -- first seen running: its GPU costs from here
ALTER TABLE leases ADD COLUMN down_bytes INTEGER NOT NULL DEFAULT 0;  -- as the worker counts them
ALTER TABLE leases ADD COLUMN up_bytes INTEGER NOT NULL DEFAULT 0;
