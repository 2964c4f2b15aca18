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
#![deny(clippy::disallowed_methods)]

#[cfg(test)]
extern crate self as tidings_mls;

mod commit;
mod content;
mod error;
mod facts;
mod generation;
mod group;
mod installation;
mod join;
mod judge;
mod manifest;
mod membership;
mod message;
mod plan;
mod policy;
mod provider;
mod record;
mod rejoin;
mod roster;
mod seal;
mod secret;
mod settings;
mod verdict;
mod welcome;
#[cfg(test)]
#[allow(dead_code, reason = "shared with the integration tests, which use the rest")]
#[path = "../tests/it/world.rs"]
mod world;

pub use commit::{Changes, OutgoingWelcome, PendingCommit};
pub use content::{
    CONTENT_BYTES_MAX, CONTENT_TYPE_BYTES_MAX, Content, EMOJI_BYTES_MAX, MessageId,
    ReactionAction, ReceivedMessage, TextBytes,
};
pub use error::{CommitError, CreateError, JoinError, LoadError, OpenError, SealError};
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
pub use provider::{Change, Delta};
pub use record::{
    GENERATION_GRACE_PERIODS, GroupStatus, PAST_EPOCHS_MAX, PAST_GENERATIONS_MAX,
};
pub use rejoin::{RejoinGrant, StagedRejoin};
pub use seal::SealContext;
pub use secret::Secret;
pub use settings::{
    GROUP_DESCRIPTION_BYTES_MAX, GROUP_NAME_BYTES_MAX, GroupKind, GroupPolicy, GroupSettings,
    Membership, Who,
};
pub use verdict::{Applied, ProcessError, Verdict, VoidReason};
pub use welcome::{PointerError, WelcomePointer, WelcomeReference};
