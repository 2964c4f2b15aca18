-- All numbers are signed 64-bit integers; all other values are canonical bytes.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BYTEA NOT NULL
);

-- One row per log: how far it reaches, and what appending to it needs.
CREATE TABLE logs (
    key BIGINT PRIMARY KEY,
    node BIGINT NOT NULL,
    shard BIGINT NOT NULL,
    incarnation BIGINT NOT NULL,
    size BIGINT NOT NULL,
    total_bytes BIGINT NOT NULL,
    pruned_bytes BIGINT NOT NULL,
    frontier BYTEA NOT NULL,
    UNIQUE (node, shard, incarnation)
);

-- The key is log_key * 2^40 + index, so a log's entries lie side by side in order.
CREATE TABLE entries (
    key BIGINT PRIMARY KEY,
    log_key BIGINT NOT NULL,
    topic_index BIGINT NOT NULL,
    topic BYTEA NOT NULL,
    header BYTEA NOT NULL,
    payload BYTEA
);

-- Payloads are ciphertext: trying to compress them is wasted.
ALTER TABLE entries ALTER COLUMN payload SET STORAGE EXTERNAL;

CREATE INDEX entries_by_topic ON entries (topic, log_key, topic_index);

-- One row per flush: entries from first to below size. The earliest end of a payload's
-- retention among them is expires_at; total_bytes counts the log up to here.
CREATE TABLE checkpoints (
    log_key BIGINT NOT NULL,
    size BIGINT NOT NULL,
    first BIGINT NOT NULL,
    period BIGINT NOT NULL,
    total_bytes BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    checkpoint BYTEA NOT NULL,
    PRIMARY KEY (log_key, size)
);

CREATE INDEX checkpoints_by_expiry ON checkpoints (expires_at);

-- A block's operations are rows of their own, so that a topic's page reads only what it serves.
CREATE TABLE blocks (
    shard BIGINT NOT NULL,
    height BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    header BYTEA NOT NULL,
    certificate BYTEA NOT NULL,
    PRIMARY KEY (shard, height)
);

CREATE TABLE operations (
    shard BIGINT NOT NULL,
    height BIGINT NOT NULL,
    idx BIGINT NOT NULL,
    decided BYTEA NOT NULL,
    PRIMARY KEY (shard, height, idx)
);

ALTER TABLE operations ALTER COLUMN decided SET STORAGE EXTERNAL;

-- Where a topic's ordered entries are, each with its Merkle path in the block.
CREATE TABLE ordered (
    topic BYTEA NOT NULL,
    position BIGINT NOT NULL,
    shard BIGINT NOT NULL,
    height BIGINT NOT NULL,
    idx BIGINT NOT NULL,
    path BYTEA NOT NULL,
    PRIMARY KEY (topic, position)
);

-- What a shard's agreement on the next height must remember, in order.
CREATE TABLE agreement (
    shard BIGINT NOT NULL,
    height BIGINT NOT NULL,
    place BIGINT NOT NULL,
    record BYTEA NOT NULL,
    PRIMARY KEY (shard, height, place)
);

-- The blocks that its records name.
CREATE TABLE candidates (
    shard BIGINT NOT NULL,
    height BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    block BYTEA NOT NULL,
    PRIMARY KEY (shard, height, hash)
);

-- Certified blocks beside others of the same height.
CREATE TABLE forks (
    shard BIGINT NOT NULL,
    height BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    certified BYTEA NOT NULL,
    PRIMARY KEY (shard, height, hash)
);

CREATE TABLE state (
    shard BIGINT NOT NULL,
    key BYTEA NOT NULL,
    value BYTEA NOT NULL,
    PRIMARY KEY (shard, key)
);

-- One proof of each offence; kept for ever.
CREATE TABLE evidence (
    offence BYTEA PRIMARY KEY,
    evidence BYTEA NOT NULL
);
