-- All numbers are signed 64-bit integers; all other values are canonical bytes.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per log: how far it reaches, and what appending to it needs.
CREATE TABLE logs (
    key INTEGER PRIMARY KEY,
    node INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    incarnation INTEGER NOT NULL,
    size INTEGER NOT NULL,
    total_bytes INTEGER NOT NULL,
    pruned_bytes INTEGER NOT NULL,
    frontier BLOB NOT NULL,
    UNIQUE (node, shard, incarnation)
) STRICT;

-- The key is log_key * 2^40 + index, so a log's entries lie side by side in order.
CREATE TABLE entries (
    key INTEGER PRIMARY KEY,
    log_key INTEGER NOT NULL,
    topic_index INTEGER NOT NULL,
    topic BLOB NOT NULL,
    header BLOB NOT NULL,
    payload BLOB
) STRICT;

CREATE INDEX entries_by_topic ON entries (topic, log_key, topic_index);

-- One row per flush: entries from first to below size. The earliest end of a payload's
-- retention among them is expires_at; total_bytes counts the log up to here.
CREATE TABLE checkpoints (
    log_key INTEGER NOT NULL,
    size INTEGER NOT NULL,
    first INTEGER NOT NULL,
    period INTEGER NOT NULL,
    total_bytes INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    checkpoint BLOB NOT NULL,
    PRIMARY KEY (log_key, size)
) STRICT, WITHOUT ROWID;

CREATE INDEX checkpoints_by_expiry ON checkpoints (expires_at);

-- A block's operations are rows of their own, so that a topic's page reads only what it serves.
CREATE TABLE blocks (
    shard INTEGER NOT NULL,
    height INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    header BLOB NOT NULL,
    certificate BLOB NOT NULL,
    PRIMARY KEY (shard, height)
) STRICT;

CREATE TABLE operations (
    shard INTEGER NOT NULL,
    height INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    decided BLOB NOT NULL,
    PRIMARY KEY (shard, height, idx)
) STRICT;

-- Where a topic's ordered entries are, each with its Merkle path in the block.
CREATE TABLE ordered (
    topic BLOB NOT NULL,
    position INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    height INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    path BLOB NOT NULL,
    PRIMARY KEY (topic, position)
) STRICT, WITHOUT ROWID;

-- What a shard's agreement on the next height must remember, in order.
CREATE TABLE agreement (
    shard INTEGER NOT NULL,
    height INTEGER NOT NULL,
    place INTEGER NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (shard, height, place)
) STRICT, WITHOUT ROWID;

-- The blocks that its records name.
CREATE TABLE candidates (
    shard INTEGER NOT NULL,
    height INTEGER NOT NULL,
    hash BLOB NOT NULL,
    block BLOB NOT NULL,
    PRIMARY KEY (shard, height, hash)
) STRICT;

-- Certified blocks beside others of the same height.
CREATE TABLE forks (
    shard INTEGER NOT NULL,
    height INTEGER NOT NULL,
    hash BLOB NOT NULL,
    certified BLOB NOT NULL,
    PRIMARY KEY (shard, height, hash)
) STRICT;

CREATE TABLE state (
    shard INTEGER NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (shard, key)
) STRICT, WITHOUT ROWID;

-- One proof of each offence; kept for ever.
CREATE TABLE evidence (
    offence BLOB PRIMARY KEY,
    evidence BLOB NOT NULL
) STRICT;
