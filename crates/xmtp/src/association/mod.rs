//! XMTP's rules of identity: who belongs to an inbox, and which updates may change that.
//!
//! An inbox's log is a list of updates, each a list of actions signed together (XIP-46).
//! Bytes become a [`ParsedUpdate`], its signatures make it a [`VerifiedUpdate`], and
//! [`AssociationState::apply`] takes it whole or refuses it; each step is a pure function.
//!
//! A client refuses a whole log for one update that does not apply, so nothing may be ordered
//! that these rules refuse, and they are nowhere more lenient than the clients' own.
#![deny(clippy::disallowed_methods)]

mod contract;
mod error;
mod limit;
mod member;
mod passkey;
mod signature;
mod state;
mod text;
mod timestamp;
mod transition;
mod update;
mod wire;

pub use contract::{
    ContractClaim, ContractVerdict, ContractWallets, JudgedContractWallets, NoContractWallets,
};
pub use error::{AssociationError, Fault};
pub use limit::*;
pub use member::{Identifier, InboxId, InstallationKey, Member, MemberKind, PasskeyKey};
pub use passkey::PasskeyAssertion;
pub use signature::{ContractSignature, ReplayKey, Signature, SignatureKind, Signed};
pub use state::{AssociationState, MemberInfo};
pub use text::SignatureText;
pub use timestamp::TimestampNs;
pub use transition::{Diff, Transition};
pub use update::{Action, ParsedUpdate, VerifiedUpdate};
