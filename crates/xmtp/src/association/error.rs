//! Why an update is refused, and whose fault that is.

use tidings_types::{ErrorCode, EthereumAddress};

use super::limit::{
    ACTIONS_PER_UPDATE_MAX, INSTALLATIONS_PER_INBOX_MAX, MEMBERS_PER_INBOX_MAX, TIMESTAMP_NS_MAX,
    UPDATE_BYTES_MAX, UPDATES_PER_INBOX_MAX,
};
use super::{Identifier, InboxId, Member, SignatureKind};

/// Whose fault a refusal is; decides what the client is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The bytes are no update that an honest client makes.
    Input,
    /// A signature does not verify, or is not by whom the action names.
    Signature,
    /// The update does not fit the inbox as it is; perhaps another came first.
    State,
    /// The inbox is full.
    Limit,
    /// This edge cannot judge the update, which may well be valid.
    Edge,
}

/// Why an update is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssociationError {
    // The input.
    /// There are more bytes than any update has.
    #[error("{length_bytes} bytes exceed the maximum of {UPDATE_BYTES_MAX}")]
    UpdateTooLarge {
        /// How many bytes there are.
        length_bytes: usize,
    },
    /// The bytes are not the message.
    #[error("the update cannot be decoded")]
    Undecodable(#[from] prost::DecodeError),
    /// A field that every such message has is absent.
    #[error("{field} is missing")]
    FieldMissing {
        /// The field's name.
        field: &'static str,
    },
    /// A field is longer than its limit.
    #[error("{field} exceeds {length_bytes_max} bytes")]
    FieldTooLong {
        /// The field's name.
        field: &'static str,
        /// The limit.
        length_bytes_max: usize,
    },
    /// A field of fixed length has another.
    #[error("{field} is not of {length_bytes} bytes")]
    FieldLengthWrong {
        /// The field's name.
        field: &'static str,
        /// The length it must have.
        length_bytes: usize,
    },
    /// The update changes nothing.
    #[error("the update has no actions")]
    NoActions,
    /// The update holds too much.
    #[error("{count} actions exceed the maximum of {ACTIONS_PER_UPDATE_MAX}")]
    TooManyActions {
        /// How many actions there are.
        count: usize,
    },
    /// The inbox id is not in its only form.
    #[error("the inbox id is not 64 lower-case hex digits")]
    InboxIdMalformed,
    /// An Ethereum address is not in its only form.
    #[error("the address is not 0x and 40 lower-case hex digits")]
    AddressMalformed,
    /// A passkey is no point of P-256.
    #[error("the passkey is not a p-256 public key")]
    PasskeyMalformed,
    /// An identifier is of a kind that is not known here.
    #[error("identifier kind {kind} is not known")]
    IdentifierKindUnknown {
        /// The number on the wire.
        kind: i32,
    },
    /// The time cannot be shown in the signed text.
    #[error("time {timestamp_ns} is after {TIMESTAMP_NS_MAX}")]
    TimestampTooLate {
        /// Nanoseconds since 1970.
        timestamp_ns: u64,
    },
    /// A contract wallet is not named by a CAIP-10 id of an Ethereum chain.
    #[error("the account id is not eip155, a chain id and an address")]
    AccountIdMalformed,

    // The signatures.
    /// The signature is no signature of anyone over this update.
    #[error("the {kind} signature does not verify")]
    SignatureInvalid {
        /// Its kind.
        kind: SignatureKind,
    },
    /// A passkey's client data is not WebAuthn's.
    #[error("the passkey's client data is malformed")]
    ClientDataMalformed,
    /// A passkey signed something else than this update.
    #[error("the passkey signed another challenge")]
    ChallengeMismatch,
    /// Delegation by keys of XMTP's second version has ended.
    #[error("signatures by keys of xmtp v2 are no longer accepted")]
    LegacyKeyRetired,
    /// Somebody else signed than the member that the action names.
    #[error("{signer} signed in place of {expected}")]
    SignerMismatch {
        /// Whom the action names.
        expected: Member,
        /// Who signed.
        signer: Member,
    },

    // The state.
    /// The inbox does not exist, and the first action does not create it.
    #[error("the first action of an inbox must create it")]
    CreateMissing,
    /// The inbox exists already.
    #[error("the inbox exists already")]
    CreateRepeated,
    /// The update is not one of this inbox.
    #[error("the update names inbox {named}, not {expected}")]
    InboxMismatch {
        /// The inbox that the actions belong to.
        expected: InboxId,
        /// The inbox that the update names.
        named: InboxId,
    },
    /// A signature was used before.
    #[error("a signature was used in an earlier update")]
    SignatureReplayed,
    /// Someone lets itself in.
    #[error("{member} cannot add itself")]
    AddsItself {
        /// Who.
        member: Member,
    },
    /// The new member belongs to the inbox already.
    #[error("{member} is a member already")]
    AlreadyMember {
        /// The member.
        member: Member,
    },
    /// The one that adds is neither a member nor the recovery identifier.
    #[error("{signer} has no authority to add members")]
    AuthorityMissing {
        /// Who signed.
        signer: Member,
    },
    /// An installation may add addresses and passkeys only.
    #[error("an installation cannot add an installation")]
    InstallationAddsInstallation,
    /// Only the recovery identifier revokes, and hands its role on.
    #[error("{signer} is not the recovery identifier {recovery}")]
    RecoveryMismatch {
        /// Who holds the role.
        recovery: Identifier,
        /// Who signed.
        signer: Member,
    },
    /// The account of the same address on another chain is another account.
    #[error("{signer} signed for chain {found:?}, not {expected:?}")]
    ChainMismatch {
        /// The account.
        signer: Member,
        /// The chain of the member; none for an account of a key.
        expected: Option<u64>,
        /// The chain of the signature.
        found: Option<u64>,
    },

    // The limits of an inbox.
    /// The inbox has as many installations as it can have.
    #[error("an inbox has at most {INSTALLATIONS_PER_INBOX_MAX} installations")]
    TooManyInstallations,
    /// The inbox has as many members as it can have.
    #[error("an inbox has at most {MEMBERS_PER_INBOX_MAX} members")]
    TooManyMembers,
    /// The log is full; revoking is possible a little longer.
    #[error("an inbox has at most {UPDATES_PER_INBOX_MAX} updates")]
    TooManyUpdates,

    // The edge.
    /// A contract wallet on a chain that this edge does not read.
    #[error("signatures of contract wallet {account} on chain {chain_id} cannot be checked here")]
    ContractWalletUnsupported {
        /// The wallet.
        account: EthereumAddress,
        /// Its chain.
        chain_id: u64,
    },
    /// A contract wallet's chain does not answer now.
    #[error("the chain {chain_id} of contract wallet {account} does not answer")]
    ContractWalletUnavailable {
        /// The wallet.
        account: EthereumAddress,
        /// Its chain.
        chain_id: u64,
    },
}

impl AssociationError {
    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::UpdateTooLarge { .. }
            | Self::Undecodable(_)
            | Self::FieldMissing { .. }
            | Self::FieldTooLong { .. }
            | Self::FieldLengthWrong { .. }
            | Self::NoActions
            | Self::TooManyActions { .. }
            | Self::InboxIdMalformed
            | Self::AddressMalformed
            | Self::PasskeyMalformed
            | Self::IdentifierKindUnknown { .. }
            | Self::TimestampTooLate { .. }
            | Self::AccountIdMalformed => Fault::Input,
            Self::SignatureInvalid { .. }
            | Self::ClientDataMalformed
            | Self::ChallengeMismatch
            | Self::LegacyKeyRetired
            | Self::SignerMismatch { .. } => Fault::Signature,
            Self::CreateMissing
            | Self::CreateRepeated
            | Self::InboxMismatch { .. }
            | Self::SignatureReplayed
            | Self::AddsItself { .. }
            | Self::AlreadyMember { .. }
            | Self::AuthorityMissing { .. }
            | Self::InstallationAddsInstallation
            | Self::RecoveryMismatch { .. }
            | Self::ChainMismatch { .. } => Fault::State,
            Self::TooManyInstallations | Self::TooManyMembers | Self::TooManyUpdates => {
                Fault::Limit
            }
            Self::ContractWalletUnsupported { .. } | Self::ContractWalletUnavailable { .. } => {
                Fault::Edge
            }
        }
    }

    /// The stable code that the sender sees; it says whether to retry.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UpdateTooLarge { .. }
            | Self::FieldTooLong { .. }
            | Self::TooManyActions { .. } => ErrorCode::TooLarge,
            Self::ContractWalletUnavailable { .. } => ErrorCode::Unreachable,
            Self::ContractWalletUnsupported { .. } | Self::IdentifierKindUnknown { .. } => {
                ErrorCode::UnknownVersion
            }
            Self::CreateMissing => ErrorCode::InboxUnknown,
            Self::SignatureReplayed | Self::CreateRepeated => ErrorCode::IdentitySequenceWrong,
            Self::TooManyUpdates | Self::TooManyMembers | Self::TooManyInstallations => {
                ErrorCode::QuotaExceeded
            }
            _ => match self.fault() {
                Fault::Input => ErrorCode::Malformed,
                Fault::Signature => ErrorCode::IdentitySignatureInvalid,
                _ => ErrorCode::IdentityActionInvalid,
            },
        }
    }
}
