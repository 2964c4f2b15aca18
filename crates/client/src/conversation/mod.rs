//! Conversations: what they are, making and changing them, and sending.

mod change;
mod commit;
mod id;
mod make;
mod message;
mod send;

pub(crate) use change::Intent;
pub use id::ConversationId;
pub use message::Message;

use std::collections::BTreeMap;

use serde::Serialize;
use tidings_mls::{Group, GroupKind, GroupPolicy, Who};
use tidings_types::ed25519::PublicKey;
use tidings_types::{InboxId, Position};

use crate::store::{Consent, ConversationKind, ConversationRow, ConversationState};

/// A conversation as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conversation {
    /// Its name on the network.
    pub id: ConversationId,
    /// What kind it is.
    pub kind: ConversationKind,
    /// The group's name; empty for a DM.
    pub name: String,
    /// The other inbox of a DM; who added us, in a group that we did not make.
    pub peer: Option<InboxId>,
    /// Whether we take part.
    pub state: ConversationState,
    /// Why we do not, for people.
    pub reason: Option<String>,
    /// What we decided about the peer.
    pub consent: Consent,
    /// The newest message, if there is one.
    pub latest: Option<Message>,
}

/// Who may do something in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Every member.
    Members,
    /// Admins.
    Admins,
    /// Nobody, ever.
    Nobody,
}

impl From<Who> for Permission {
    fn from(who: Who) -> Self {
        match who {
            Who::Everyone => Self::Members,
            Who::Admins => Self::Admins,
            Who::Nobody => Self::Nobody,
        }
    }
}

/// A conversation in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConversationInfo {
    /// As it is listed.
    #[serde(flatten)]
    pub conversation: Conversation,
    /// What the group is about.
    pub description: String,
    /// Every member inbox and its installations in the group.
    pub members: BTreeMap<InboxId, Vec<PublicKey>>,
    /// The member inboxes that are admins.
    pub admins: Vec<InboxId>,
    /// The member inboxes that asked to leave.
    pub leaving: Vec<InboxId>,
    /// Who may add members.
    pub may_add: Permission,
    /// Who may remove members.
    pub may_remove: Permission,
    /// Who may change name and description.
    pub may_rename: Permission,
    /// The MLS epoch.
    pub epoch: u64,
    /// Equal at all members in the same epoch, and at nobody else; hex.
    pub authenticator: String,
    /// How far the ordered lane of the current topic generation has been read.
    pub position: Position,
}

impl ConversationInfo {
    pub(crate) fn new(conversation: Conversation, group: &Group) -> Self {
        let settings = group.settings();
        let GroupPolicy { add, remove, metadata } = settings.policy;
        let members = group.installations().into_iter();
        Self {
            conversation,
            description: settings.description().to_owned(),
            members: members.map(|(inbox, keys)| (inbox, keys.into_iter().collect())).collect(),
            admins: settings.admin_set().into_iter().collect(),
            leaving: group.leaving().into_iter().collect(),
            may_add: add.into(),
            may_remove: remove.into(),
            may_rename: metadata.into(),
            epoch: group.epoch(),
            authenticator: hex::encode(group.authenticator()),
            position: group.position(),
        }
    }
}

/// What the store keeps about a group that was just made or joined.
pub(crate) fn row_of(group: &Group, adder: Option<InboxId>) -> ConversationRow {
    let settings = group.settings();
    let own = group.inbox();
    let (kind, peer) = match settings.kind {
        GroupKind::Dm => {
            let peer = settings.fixed_inboxes.iter().find(|inbox| **inbox != own);
            (ConversationKind::Dm, peer.copied())
        }
        _ => (ConversationKind::Group, adder),
    };
    ConversationRow {
        id: ConversationId(group.id().0),
        kind,
        name: settings.name().to_owned(),
        peer,
        state: ConversationState::Active,
        reason: None,
    }
}
