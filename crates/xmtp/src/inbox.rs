//! Inboxes as the index knows them.

use prost::Message;
use tidings_types::Hash;

use crate::association::{
    AssociationError, AssociationState, Diff, Identifier, NoContractWallets, ParsedUpdate,
};
use crate::index::{Cursor, IdentifierChange, IndexError, Reader, Stored};
use crate::proto::associations::{IdentifierKind, IdentityUpdate};
use crate::proto::envelopes::ClientEnvelope;
use crate::proto::envelopes::client_envelope::Payload;
use crate::topic::XmtpTopic;

/// Why an update is not entered.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// It breaks a rule.
    #[error(transparent)]
    Association(#[from] AssociationError),
    /// The inbox cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The index holds something that is no update, which nobody enters.
    #[error("the index holds an update that does not apply")]
    Damaged,
}

/// The inbox of an identity topic, if it exists.
///
/// # Errors
/// [`InboxError::Index`], [`InboxError::Damaged`].
pub async fn load(
    reader: &Reader,
    topic: &XmtpTopic,
) -> Result<Option<AssociationState>, InboxError> {
    let (topics, start) = (std::slice::from_ref(topic), Cursor::new());
    let mut state = None;
    for stored in reader.after(topics, &start, usize::MAX, usize::MAX).await? {
        let update = update_of(&stored).ok_or(InboxError::Damaged)?;
        let (next, _) = apply(state.as_ref(), update).map_err(|_| InboxError::Damaged)?;
        state = Some(next);
    }
    Ok(state)
}

/// The inbox after an update, and what changed (XMTP-005).
///
/// # Errors
/// [`AssociationError`] names the first rule broken.
pub fn apply(
    state: Option<&AssociationState>,
    update: IdentityUpdate,
) -> Result<(AssociationState, Diff), AssociationError> {
    let verified = ParsedUpdate::try_from(update)?.verify(&NoContractWallets)?;
    let transition = AssociationState::apply(state, &verified)?;
    Ok((transition.state, transition.diff))
}

/// What an update changes about who has which identifier.
#[must_use]
pub fn identifier_changes(diff: &Diff) -> Vec<IdentifierChange> {
    let change = |identifier: &Identifier, belongs| IdentifierChange {
        kind: i32::from(match identifier {
            Identifier::Ethereum(_) => IdentifierKind::Ethereum,
            Identifier::Passkey(_) => IdentifierKind::Passkey,
        }),
        identifier: identifier.to_string(),
        inbox: diff.inbox.0.to_vec(),
        belongs,
    };
    // What left and joined again is in both, so what joins comes last.
    let removed = diff.removed_identifiers().map(|identifier| change(identifier, false));
    removed.chain(diff.added_identifiers().map(|identifier| change(identifier, true))).collect()
}

/// A hash of an encoded envelope, by which a repeat is known.
#[must_use]
pub fn digest(envelope: &[u8]) -> Hash {
    tidings_types::sha256(envelope)
}

fn update_of(stored: &Stored) -> Option<IdentityUpdate> {
    match ClientEnvelope::decode(&stored.envelope[..]).ok()?.payload? {
        Payload::IdentityUpdate(update) => Some(update),
        _ => None,
    }
}
