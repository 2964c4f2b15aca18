//! End-to-end encrypted groups over MLS (RFC 9420): installations and their key packages, groups
//! with a policy that every member judges alike, topic generations, seals, welcomes and content.
//!
//! The crate is sans-IO: envelopes go in, envelopes, verdicts and deltas of stored state come
//! out.
//! The rules are in spec/08-mls.md.
//!
//! An [`Installation`] publishes a [`KeyPackageManifest`].
//! A [`Group`] is created, or joined through a [`StagedJoin`].
//! [`Group::send`] and [`Group::open`] speak the broadcast lane, [`Group::commit`],
//! [`Group::leave`] and [`Group::process_ordered`] the ordered lane.
//! After each of them [`Group::take_delta`] says what to store.
//!
//! ```
//! use rand_core::SeedableRng;
//! use tidings_mls::{
//!     Content, Group, InboxHead, InboxSequence, Installation, NewGroup, OpenedMessage, SealContext,
//! };
//! use tidings_types::ed25519::SigningKey;
//! use tidings_types::{EthereumAddress, InboxId, NetworkId, Period, TimestampSeconds};
//!
//! let mut rng = rand_chacha::ChaCha20Rng::from_seed([1; 32]);
//! let (network, inbox) = (NetworkId([7; 32]), InboxId([1; 32]));
//! let device = Installation::new(network, inbox, SigningKey::generate(&mut rng), &mut rng);
//! let installations = [device.public_key()].into();
//! let head = InboxHead { inbox, sequence: InboxSequence(0), installations };
//!
//! let mut notes = Group::create(&device, &head, NewGroup::Own, &mut rng)?;
//! let context = SealContext {
//!     payer: EthereumAddress([2; 20]),
//!     not_after: Period(2),
//!     retention_days: 30,
//! };
//! let sent = notes.send(&device, Content::text("milk")?, TimestampSeconds(0), &context)?;
//! assert_eq!(sent.envelope.body.topic, notes.topic());
//! assert_eq!(notes.open(&sent.envelope, Period(1))?, OpenedMessage::Own);
//! assert!(!notes.take_delta().is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(clippy::disallowed_methods)]

#[cfg(test)]
extern crate self as tidings_mls;

mod commit;
mod content;
mod contest;
mod error;
mod facts;
mod generation;
mod group;
mod hearing;
mod installation;
mod join;
mod judge;
mod manifest;
mod membership;
mod message;
mod past_epochs;
mod plan;
mod policy;
mod provider;
mod record;
mod rejoin;
mod request;
mod restart;
mod roster;
mod seal;
mod secret;
mod settings;
mod statement;
mod step;
mod store;
mod verdict;
mod welcome;
mod wish;
#[cfg(test)]
#[allow(dead_code, reason = "shared with the integration tests, which use the rest")]
#[path = "../tests/it/world.rs"]
mod world;

pub use commit::{Changes, OutgoingWelcome, PendingCommit};
pub use content::{
    CONTENT_BYTES_MAX, CONTENT_TYPE_BYTES_MAX, Content, EMOJI_BYTES_MAX, MessageId, ReactionAction,
    ReceivedMessage, TextBytes,
};
pub use error::{CommitError, CreateError, GrantError, JoinError, LoadError, OpenError, SealError};
pub use facts::{InboxFacts, InboxHead, InboxSequence};
pub use group::{Group, GroupId, NewGroup};
pub use installation::{Installation, InstallationError};
pub use join::StagedJoin;
pub use judge::OrderedEntry;
pub use manifest::{
    Invitee, KEY_PACKAGE_BYTES_MAX, KeyPackageManifest, ManifestBody, ManifestError,
    WELCOME_KEY_BYTES,
};
pub use message::{OpenedMessage, OutgoingMessage};
pub use past_epochs::{PAST_EPOCHS_MAX, PAST_EPOCHS_MIN};
pub use provider::{Change, Delta};
pub use record::{GENERATION_GRACE_PERIODS, GroupStatus, PAST_GENERATIONS_MAX};
pub use rejoin::{RejoinGrant, StagedRejoin};
pub use request::{Note, RejoinRequest};
pub use seal::SealContext;
pub use secret::Secret;
pub use settings::{
    GROUP_DESCRIPTION_BYTES_MAX, GROUP_NAME_BYTES_MAX, GroupKind, GroupPolicy, GroupSettings,
    Membership, Who,
};
pub use verdict::{Applied, ProcessError, Verdict, VoidReason};
pub use welcome::{PointerError, WelcomePointer, WelcomeReference};
pub use wish::Wish;
