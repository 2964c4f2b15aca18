-- The registry's snapshots by epoch, as JSON; kept for ever, since what names an epoch is judged by
-- the snapshot of that epoch.
CREATE TABLE registries (
    epoch BIGINT PRIMARY KEY,
    registry BYTEA NOT NULL
);
