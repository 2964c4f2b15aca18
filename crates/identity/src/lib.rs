//! The identity of people and agents: an inbox, who belongs to it, and the log that says so.
//!
//! An inbox is a log of signed updates.
//! Bytes become a [`ParsedUpdate`], its signatures make it a [`VerifiedUpdate`], and
//! [`AssociationState`] takes it or refuses it; each step is a pure function.
//! The rules are in spec/07-identity.md.
//!
//! ```
//! use tidings_identity::{AssociationState, LocalWallet, Member, ParsedUpdate, UpdateBuilder};
//! use tidings_identity::{EthereumSigner, WalletForm};
//! use tidings_types::{NetworkId, Wire, ed25519::SigningKey};
//!
//! let network = NetworkId([7; 32]);
//! let wallet = LocalWallet::from_secret(&[1; 32])?;
//! let device = SigningKey::from_secret(&[2; 32]);
//! let person = Member::EthereumAccount(wallet.address());
//!
//! let mut draft = UpdateBuilder::create(person, 0, person)
//!     .add_member(Member::Installation(device.public_key()), person)
//!     .build(network)?;
//! draft.sign_with_wallet(&wallet, WalletForm::TypedData)?;
//! draft.sign_with_installation(&device)?;
//! let bytes = draft.finish()?.to_wire();
//!
//! let update = ParsedUpdate::parse(&bytes)?.verify(network)?;
//! let state = AssociationState::create(network, &update)?;
//! assert!(state.contains(&Member::Installation(device.public_key())));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(clippy::disallowed_methods)]

mod builder;
mod member;
mod name;
mod signature;
mod state;
mod text;
mod transition;
mod update;
mod verify;
mod wallet;

pub use builder::{
    AttachError, BuildError, UnsignedUpdate, UpdateBuilder, UpdateIncomplete, WalletError,
};
pub use member::{Member, ParseMemberError};
pub use name::{
    Name, NameResolver, ParseAddressError, ParseNameError, ParseRecipientError, Recipient,
    parse_address,
};
pub use signature::{Proof, RESERVED_PROOF_BYTES_MAX, UpdateSignature, WalletSignature};
pub use state::{AssociationState, MemberInfo, StateDecodeError};
pub use text::Statement;
pub use transition::{ApplyError, LogError};
pub use update::{
    Action, IdentityUpdate, SIGNATURES_PER_UPDATE_MAX, Sequence, UpdateBody, inbox_id,
};
pub use verify::{ParseError, ParsedUpdate, VerifiedUpdate, VerifyError};
pub use wallet::{EthereumSigner, LocalWallet, WalletForm, WalletRequest, WalletSecretInvalid};
