-- The trees of logs: a tile at level k holds up to 256 hashes of tree level 8k, those of level 0 once
-- they are full. What follows the last full tile of level 0 is computed from entries.
CREATE TABLE tiles (
    log_key BIGINT NOT NULL,
    level BIGINT NOT NULL,
    idx BIGINT NOT NULL,
    hashes BYTEA NOT NULL,
    PRIMARY KEY (log_key, level, idx)
);

-- How many entries of a log its tiles cover; less than its size only in a store of format 2, whose
-- logs get their tiles when the store is opened.
ALTER TABLE logs ADD COLUMN tiled BIGINT NOT NULL DEFAULT 0;
