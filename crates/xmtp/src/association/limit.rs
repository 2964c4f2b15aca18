//! What bounds the work and the memory that one update or one inbox can cost.

/// The largest encoded update; one with every action signed by passkeys would be larger, but
/// clients sign a handful of actions at once, in a few kilobytes.
///
/// Unit: bytes.
pub const UPDATE_BYTES_MAX: usize = 262_144;

/// Enough to revoke every installation of a full inbox at once; each action costs at most two
/// signature checks of about 0.2 ms.
pub const ACTIONS_PER_UPDATE_MAX: usize = 64;

/// Clients stop at 10 by themselves, which several that register at once can pass.
pub const INSTALLATIONS_PER_INBOX_MAX: usize = 32;

/// Installations, addresses and passkeys together; bounds the state of an inbox.
pub const MEMBERS_PER_INBOX_MAX: usize = 128;

/// XMTP's own limit; clients fetch and check the whole log.
pub const UPDATES_PER_INBOX_MAX: u32 = 256;

/// How many more updates there may be which only revoke and change recovery, so that no stolen
/// installation can use up the log and thereby stay.
pub const RECOVERY_UPDATES_PER_INBOX_MAX: u32 = 64;

/// A passkey's origin is shown and never judged.
///
/// Unit: bytes.
pub const RELYING_PARTY_BYTES_MAX: usize = 512;

/// Leaves room for the deployment call that an ERC-6492 signature carries.
///
/// Unit: bytes.
pub const CONTRACT_SIGNATURE_BYTES_MAX: usize = 16_384;

/// The longest CAIP-10 id of an Ethereum account: `eip155:`, a 64-bit number, and an address.
///
/// Unit: bytes.
pub const ACCOUNT_ID_BYTES_MAX: usize = 7 + 20 + 1 + 42;

/// An authenticator's 37 bytes and its extensions.
///
/// Unit: bytes.
pub const AUTHENTICATOR_DATA_BYTES_MAX: usize = 1_024;

/// Holds the largest signature text in base64, and an origin.
///
/// Unit: bytes.
pub const CLIENT_DATA_BYTES_MAX: usize = 20_480;

/// The longest DER form of a P-256 signature.
///
/// Unit: bytes.
pub const DER_SIGNATURE_BYTES_MAX: usize = 72;

/// The latest time that the signed text can name, in the year 2262.
///
/// Unit: nanoseconds since 1970.
pub const TIMESTAMP_NS_MAX: u64 = i64::MAX as u64;

/// The two lines of an action that names an uncompressed passkey, and the line feed.
const ACTION_TEXT_BYTES_MAX: usize = 180;

/// Header, inbox, time and footer.
const FRAME_TEXT_BYTES_MAX: usize = 256;

const TEXT_BYTES_MAX: usize = FRAME_TEXT_BYTES_MAX + ACTIONS_PER_UPDATE_MAX * ACTION_TEXT_BYTES_MAX;

// A passkey can sign the longest text: it is in the client data in base64.
const _: () = assert!(TEXT_BYTES_MAX.div_ceil(3) * 4 + 1_024 <= CLIENT_DATA_BYTES_MAX);

// One update can empty an inbox of installations.
const _: () = assert!(INSTALLATIONS_PER_INBOX_MAX <= ACTIONS_PER_UPDATE_MAX);
const _: () = assert!(INSTALLATIONS_PER_INBOX_MAX < MEMBERS_PER_INBOX_MAX);
