-- What an edge can read: every XMTP envelope of the network, by topic.
-- All of it is found again in the network's logs and lanes, so nothing here needs to survive a crash.
CREATE TABLE IF NOT EXISTS envelopes (
    topic BLOB NOT NULL,
    originator INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    -- Rises with every envelope as this edge came to know it.
    arrival INTEGER NOT NULL,
    -- Rises within a topic and originator.
    sent_ns INTEGER NOT NULL,
    expires_s INTEGER NOT NULL,
    digest BLOB NOT NULL,
    envelope BLOB NOT NULL,
    PRIMARY KEY (topic, originator, sequence)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS envelopes_by_arrival ON envelopes (arrival);
CREATE INDEX IF NOT EXISTS envelopes_by_digest ON envelopes (digest);
CREATE INDEX IF NOT EXISTS envelopes_by_expiry ON envelopes (expires_s);

CREATE TABLE IF NOT EXISTS newest (
    topic BLOB NOT NULL PRIMARY KEY,
    rank INTEGER NOT NULL,
    originator INTEGER NOT NULL,
    sequence INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS identifiers (
    kind INTEGER NOT NULL,
    identifier TEXT NOT NULL,
    inbox BLOB NOT NULL,
    arrival INTEGER NOT NULL,
    PRIMARY KEY (kind, identifier, inbox)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS followed_logs (
    node INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    incarnation INTEGER NOT NULL,
    next INTEGER NOT NULL,
    PRIMARY KEY (node, shard, incarnation)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS followed_lanes (
    shard INTEGER NOT NULL PRIMARY KEY,
    next INTEGER NOT NULL
);
