-- The registry's snapshots by epoch, as JSON; kept for ever, since what names an epoch is judged by
-- the snapshot of that epoch.
CREATE TABLE registries (
    epoch INTEGER PRIMARY KEY,
    registry BLOB NOT NULL
) STRICT;
