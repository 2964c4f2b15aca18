-- The trees of logs: a tile at level k holds up to 256 hashes of tree level 8k, those of level 0 once
-- they are full. What follows the last full tile of level 0 is computed from entries.
CREATE TABLE tiles (
    log_key INTEGER NOT NULL,
    level INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (log_key, level, idx)
) STRICT, WITHOUT ROWID;

-- How many entries of a log its tiles cover; less than its size only in a store of format 2, whose
-- logs get their tiles when the store is opened.
ALTER TABLE logs ADD COLUMN tiled INTEGER NOT NULL DEFAULT 0;
