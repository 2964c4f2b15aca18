//! The protocol's numbers, generated from spec/constants.toml.
//!
//! Do not edit: change spec/constants.toml and run `cargo xtask codegen`.

/// The first protocol version; it opens every wire structure, so that an old peer can tell what
/// it does not understand.
///
/// Unit: version. Source: spec/01-encoding.md.
pub const PROTOCOL_VERSION: u16 = 1;

/// A tree whose size is a 64-bit number is at most 64 levels deep, so a longer path is never
/// honest.
///
/// Unit: hashes. Source: RFC 6962 §2.1.
pub const MERKLE_PATH_HASHES_MAX: usize = 64;

/// 1 MiB holds the largest commit of a full group; anything larger travels as a sealed blob by
/// reference.
///
/// Unit: bytes. Source: spec/03-envelopes.md.
pub const ENVELOPE_PAYLOAD_BYTES_MAX: usize = 1_048_576;

/// The smallest padded size: a short text, a reaction and a read receipt look alike.
///
/// Unit: bytes. Source: Padmé, from 256 bytes.
pub const PADDING_BYTES_MIN: usize = 256;

/// A recipient that is offline overnight still finds its messages.
///
/// Unit: days. Source: spec/03-envelopes.md.
pub const RETENTION_DAYS_MIN: u16 = 1;

/// Storage is paid in advance; a year bounds what an operator promises at today's price.
///
/// Unit: days. Source: spec/03-envelopes.md.
pub const RETENTION_DAYS_MAX: u16 = 365;

/// Bounds how long an envelope can wait in a gateway and how long nodes must remember its id.
///
/// Unit: periods. Source: spec/03-envelopes.md.
pub const NOT_AFTER_PERIODS_AHEAD_MAX: u64 = 2;

/// How long after its fee period an entry is still billed: who keeps it back for longer works
/// for nothing, and ids need not be kept for ever.
///
/// Unit: periods. Source: spec/15-settlement.md.
pub const LATE_PERIODS_MAX: u64 = 4;

/// Two by which an envelope may expire after it is taken, and four by which its shard may trail
/// the others.
///
/// Unit: periods. Source: spec/11-fees.md.
pub const FEE_PERIODS_BEFORE_EXPIRY_MAX: u64 = 6;

/// A replica may trail the period marker by one period and a retry by another, so ids outlive
/// the expiry by two.
///
/// Unit: periods. Source: spec/03-envelopes.md.
pub const IDEMPOTENCY_PERIODS_AFTER_EXPIRY: u64 = 2;

/// One payer signature then costs each envelope a path of at most ten hashes.
///
/// Unit: envelopes. Source: spec/03-envelopes.md.
pub const BATCH_ENVELOPES_MAX: usize = 1_024;

/// While one flush is in flight the next one gathers for at least this long, so that one fsync
/// and one checkpoint serve many entries.
///
/// Unit: ms. Source: spec/04-log.md.
pub const ORIGINATOR_FLUSH_INTERVAL_MS_MIN: u64 = 3;

/// Keeps the work behind one request bounded when entries are small.
///
/// Unit: entries. Source: spec/09-http-api.md.
pub const PAGE_ENTRIES_MAX: usize = 1_000;

/// Keeps the memory behind one request bounded when entries are large.
///
/// Unit: bytes. Source: spec/09-http-api.md.
pub const PAGE_BYTES_MAX: usize = 4_194_304;

/// An app server follows its users over one connection; the index of one connection stays under
/// 10 MB.
///
/// Unit: topics. Source: spec/09-http-api.md.
pub const SUBSCRIPTION_TOPICS_MAX: usize = 100_000;

/// 256 random bits need no slow hash at rest.
///
/// Unit: bytes. Source: spec/09-http-api.md.
pub const API_KEY_BYTES: usize = 32;

/// Welcomes and trees beyond this size have not been measured.
///
/// Unit: installations. Source: spec/08-mls.md.
pub const GROUP_INSTALLATIONS_MAX: usize = 3_000;

/// Keeps a commit with its key packages under the envelope limit.
///
/// Unit: installations. Source: spec/08-mls.md.
pub const GROUP_ADDS_PER_COMMIT_MAX: usize = 500;

/// A topic generation ends after this many commits, so a removed observer of topics loses the
/// thread soon.
///
/// Unit: commits. Source: spec/02-topics.md.
pub const GENERATION_COMMITS_MAX: u64 = 64;

/// An X-Wing encapsulation (1,120 bytes) and the sealed key, hash and position fit, and all
/// pointers look alike.
///
/// Unit: bytes. Source: spec/08-mls.md.
pub const WELCOME_POINTER_BYTES_MAX: usize = 1_536;

/// A mailbox bucket is shared by at least this many installations, so an entry names nobody.
///
/// Unit: installations. Source: spec/02-topics.md.
pub const MAILBOX_INSTALLATIONS_MIN: usize = 256;

/// A welcome to a replaced key package may be this late and still be opened.
///
/// Unit: days. Source: spec/08-mls.md.
pub const KEY_PACKAGE_RETENTION_DAYS: u16 = 14;

/// An honest leaf has about 300 bytes; a swollen one would stay in the tree and make welcomes
/// too large for an envelope.
///
/// Unit: bytes. Source: spec/08-mls.md.
pub const LEAF_NODE_BYTES_MAX: usize = 1_024;

/// A commit carries one; a few more leave room without making an entry expensive to judge.
///
/// Unit: statements. Source: spec/08-mls.md.
pub const STATEMENTS_PER_ENTRY_MAX: usize = 4;

/// One word against one decides nothing: a single liar could have any committer removed while
/// the others sleep.
///
/// Unit: inboxes. Source: spec/08-mls.md.
pub const RESTART_WITNESSES: usize = 2;

/// Whoever followed the commit has at least one full period to say so.
///
/// Unit: periods. Source: spec/08-mls.md.
pub const RESTART_PERIODS: u64 = 2;

/// Two witnesses prove a rejoin at once and twice as many in each period after it, so silence
/// for four means that nobody saw it.
///
/// Unit: periods. Source: spec/08-mls.md.
pub const REJOIN_PERIODS: u64 = 4;

/// As many as members that lose one race; the rest wishes again in the next epoch.
///
/// Unit: wishes. Source: spec/08-mls.md.
pub const WISHES_PER_EPOCH_MAX: usize = 64;

/// A wish is heard though its maker was some commits behind, and not for ever.
///
/// Unit: positions. Source: spec/08-mls.md.
pub const WISH_POSITIONS_MAX: u64 = 64;

/// A wish is a hint of a few lines, not a way to move a whole group.
///
/// Unit: inboxes. Source: spec/08-mls.md.
pub const WISH_INBOXES_MAX: usize = 64;

/// Bounds the signature checks behind one ordered operation.
///
/// Unit: actions. Source: spec/07-identity.md.
pub const IDENTITY_ACTIONS_PER_UPDATE_MAX: usize = 32;

/// Bounds the association state that every member of a group keeps for an inbox.
///
/// Unit: members. Source: spec/07-identity.md.
pub const IDENTITY_MEMBERS_MAX: usize = 1_024;

/// Keeps the state bounded while an inbox may revoke for ever; four times a full membership
/// stays barred from return.
///
/// Unit: installations. Source: spec/07-identity.md.
pub const IDENTITY_REVOKED_MAX: usize = 4_096;

/// The largest update of supported members, 32 actions and 64 signatures, stays under 9 KiB.
///
/// Unit: bytes. Source: spec/07-identity.md.
pub const IDENTITY_UPDATE_BYTES_MAX: usize = 16_384;

/// Agreement is quadratic in the committee; 31 members tolerate ten faults.
///
/// Unit: nodes. Source: spec/06-ordered-lane.md.
pub const COMMITTEE_MEMBERS_MAX: usize = 31;

/// Bounds the checks between a proposal and the votes on it.
///
/// Unit: operations. Source: spec/06-ordered-lane.md.
pub const BLOCK_OPERATIONS_MAX: usize = 4_096;

/// A block travels to every member inside one round's timeout.
///
/// Unit: bytes. Source: spec/06-ordered-lane.md.
pub const BLOCK_BYTES_MAX: usize = 8_388_608;

/// Short enough that expiry can be watched, long enough that a message never expires under way
/// on one machine.
///
/// Unit: ms. Source: spec/06-ordered-lane.md.
pub const DEVNET_PERIOD_MS: u64 = 10_000;

/// An envelope's largest payload and 6 KiB for its fields, its batch header and its Merkle
/// path.
///
/// Unit: bytes. Source: spec/03-envelopes.md.
pub const ENTRY_PAYLOAD_BYTES_MAX: usize = 1_054_720;

/// Every log that a committee of 31 writes in a period, with room for restarts.
///
/// Unit: checkpoints. Source: spec/15-settlement.md.
pub const STATEMENT_LOGS_MAX: usize = 256;

/// Every log of a shard in a year: 31 replicas that each restart every three days.
///
/// Unit: logs. Source: spec/09-http-api.md.
pub const CURSOR_LOGS_MAX: usize = 4_096;

/// One frame adds a thousand topics, so that no frame grows past a few megabytes.
///
/// Unit: topics. Source: spec/09-http-api.md.
pub const SUBSCRIBE_TOPICS_MAX: usize = 1_000;

/// One flush of an originator, or one catch-up step: large enough that a step's round trip and
/// signature cost little per entry.
///
/// Unit: entries. Source: spec/05-replication.md.
pub const FEED_ENTRIES_MAX: usize = 8_192;

/// A receiver allocates at most this for one frame; a flush is closed before it grows to half
/// of it.
///
/// Unit: bytes. Source: spec/05-replication.md.
pub const FEED_FRAME_BYTES_MAX: usize = 33_554_432;

/// A flush is closed when its payloads reach this, so that with one more envelope it still fits
/// a frame four times over.
///
/// Unit: bytes. Source: spec/05-replication.md.
pub const FLUSH_BYTES_MAX: usize = 8_388_608;

/// The same bound as a cursor's: every log of a shard in a year.
///
/// Unit: logs. Source: spec/05-replication.md.
pub const HAVE_LOGS_MAX: usize = 4_096;

/// Four full blocks: what a committee can order within about a second; more is answered with
/// overloaded.
///
/// Unit: operations. Source: spec/06-ordered-lane.md.
pub const ORDER_QUEUE_OPERATIONS_MAX: usize = 16_384;

/// 64 MiB are eight of the largest blocks; the number of operations alone would allow 16 GiB of
/// them.
///
/// Unit: bytes. Source: spec/06-ordered-lane.md.
pub const ORDER_QUEUE_BYTES_MAX: usize = 67_108_864;

/// What an originator writes in about two seconds at its best; more waiting is answered with
/// overloaded.
///
/// Unit: entries. Source: spec/05-replication.md.
pub const PENDING_ENTRIES_MAX: usize = 65_536;

/// A key of the state tree is a path of 256 bits; two keys drawn by chance among a billion part
/// after some 60, and only ground ones later.
///
/// Unit: hashes. Source: spec/06-ordered-lane.md.
pub const STATE_PATH_HASHES_MAX: usize = 256;

/// Every value of the state but an inbox's, of which a proof carries the hash, so that every
/// proof is small.
///
/// Unit: bytes. Source: spec/06-ordered-lane.md.
pub const STATE_VALUE_BYTES_MAX: usize = 64;

/// The largest association state and room for further fields; it travels beside a proof of its
/// hash.
///
/// Unit: bytes. Source: spec/09-http-api.md.
pub const ASSOCIATION_STATE_BYTES_MAX: usize = 262_144;

/// A replica may trail by one period and its clock by another; what is proved by an older block
/// needs f+1 replicas that have none newer.
///
/// Unit: periods. Source: spec/09-http-api.md.
pub const LOOK_UP_PERIODS_BEHIND_MAX: u64 = 2;

// A page always has room for one envelope of any legal size, so paging never sticks.
const _: () = assert!(ENVELOPE_PAYLOAD_BYTES_MAX < PAGE_BYTES_MAX);

// A block always has room for one operation of any legal size, so ordering never sticks.
const _: () = assert!(ENVELOPE_PAYLOAD_BYTES_MAX < BLOCK_BYTES_MAX);

// Some retention is legal.
const _: () = assert!(RETENTION_DAYS_MIN < RETENTION_DAYS_MAX);

// A full batch is a perfect tree, and all its paths have one length.
const _: () = assert!(BATCH_ENVELOPES_MAX.is_power_of_two());

// The limit on one commit is not a limit on the group.
const _: () = assert!(GROUP_ADDS_PER_COMMIT_MAX < GROUP_INSTALLATIONS_MAX);

// The smallest padded payload is a legal payload.
const _: () = assert!(PADDING_BYTES_MIN < ENVELOPE_PAYLOAD_BYTES_MAX);

// One cascade never pushes its own installations out of the revoked list.
const _: () = assert!(IDENTITY_MEMBERS_MAX <= IDENTITY_REVOKED_MAX);

// The number of levels fits its field.
const _: () = assert!(STATE_PATH_HASHES_MAX < u16::MAX as usize);

// A member takes at most 76 bytes, its four revoked installations 128, and everything else less
// than 128.
const _: () = assert!(204 * IDENTITY_MEMBERS_MAX + 128 <= ASSOCIATION_STATE_BYTES_MAX);
