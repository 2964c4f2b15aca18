//! What somebody wants to change in a group, made into a commit for the group as it stands.

use std::collections::BTreeSet;

use tidings_identity::AssociationState;
use tidings_mls::{Changes, Group, GroupSettings, Wish};
use tidings_types::constants::WISH_INBOXES_MAX;
use tidings_types::{BoundedVec, InboxId};

use crate::ConversationId;
use crate::core::{Core, Engine};
use crate::error::ClientError;
use crate::identity::head;

/// What is wanted; it stays the same when another commit comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Intent {
    /// These inboxes are members.
    Add(BTreeSet<InboxId>),
    /// These inboxes are not members.
    Remove(BTreeSet<InboxId>),
    /// The group has this name and description.
    Describe {
        /// The name, unless it stays.
        name: Option<String>,
        /// The description, unless it stays.
        description: Option<String>,
    },
    /// Who asked to leave, or is to go, is let go.
    LetGo,
}

impl Intent {
    /// What to ask whoever commits next for; none if there is nothing to ask for.
    pub(crate) fn wish(&self, settings: &GroupSettings) -> Option<Wish> {
        let some = |inboxes: Vec<InboxId>| {
            let first = inboxes.into_iter().take(WISH_INBOXES_MAX).collect();
            BoundedVec::new(first).unwrap_or_default()
        };
        let text = |text: &Option<String>, current: &str| {
            text.clone().filter(|text| text != current).map(String::into_bytes)
        };
        let mut wish = Wish::default();
        match self {
            Self::Add(inboxes) => {
                let missing = inboxes.iter().filter(|inbox| !settings.is_member(**inbox));
                wish.add = some(missing.copied().collect());
            }
            Self::Remove(inboxes) => {
                let present = inboxes.iter().filter(|inbox| settings.is_member(**inbox));
                wish.remove = some(present.copied().collect());
            }
            Self::Describe { name, description } => {
                wish.name = text(name, settings.name()).and_then(|it| it.try_into().ok());
                wish.description =
                    text(description, settings.description()).and_then(|it| it.try_into().ok());
            }
            Self::LetGo => {}
        }
        (wish != Wish::default()).then_some(wish)
    }
}

impl Core {
    /// The changes that are still needed, and with them what others wished for; none when the group is as wanted.
    pub(crate) async fn changes(
        &self,
        engine: &mut Engine,
        id: ConversationId,
        intent: &Intent,
    ) -> Result<Option<Changes>, ClientError> {
        let Some(mut changes) = self.own_changes(engine, id, intent).await? else {
            return Ok(None);
        };
        let (_, group) = engine.group(id)?;
        let settings = group.settings();
        let mut wanted: BTreeSet<InboxId> = BTreeSet::new();
        for (_, wish) in group.wishes() {
            wanted.extend(wish.add.iter().filter(|inbox| !settings.is_member(**inbox)));
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
            changes.name = changes.name.or(wish.name.as_ref().and_then(|it| text(it)));
            changes.description =
                changes.description.or(wish.description.as_ref().and_then(|it| text(it)));
        }
        for head in &changes.heads {
            wanted.remove(&head.inbox);
        }
        for inbox in wanted.into_iter().filter(|inbox| !changes.remove.contains(inbox)) {
            // Whom we cannot reach, the one who wished may.
            if let Ok(more) = self.additions([inbox].into()).await {
                changes.heads.extend(more.heads);
                changes.invitees.extend(more.invitees);
            }
        }
        Ok(Some(changes))
    }

    async fn own_changes(
        &self,
        engine: &mut Engine,
        id: ConversationId,
        intent: &Intent,
    ) -> Result<Option<Changes>, ClientError> {
        let (_, group) = engine.group(id)?;
        match intent {
            Intent::Add(inboxes) => {
                let missing = missing(group, inboxes);
                if missing.is_empty() {
                    return Ok(None);
                }
                Ok(Some(self.additions(missing).await?))
            }
            Intent::Remove(inboxes) => {
                let settings = group.settings();
                let remove: BTreeSet<InboxId> =
                    inboxes.iter().filter(|inbox| settings.is_member(**inbox)).copied().collect();
                Ok((!remove.is_empty()).then(|| Changes { remove, ..Default::default() }))
            }
            Intent::Describe { name, description } => {
                let settings = group.settings();
                let name = name.clone().filter(|name| name != settings.name());
                let description = description.clone().filter(|text| text != settings.description());
                let nothing = name.is_none() && description.is_none();
                Ok((!nothing).then(|| Changes { name, description, ..Default::default() }))
            }
            Intent::LetGo => Ok(group.owes_commit().then(Changes::default)),
        }
    }

    async fn additions(&self, inboxes: BTreeSet<InboxId>) -> Result<Changes, ClientError> {
        let mut changes = Changes::default();
        for inbox in inboxes {
            let state: AssociationState = self.newest_inbox(inbox).await?;
            changes.invitees.extend(self.invitees(&state).await?);
            changes.heads.push(head(&state));
        }
        Ok(changes)
    }
}

/// The inboxes that are not members, or asked to leave and are wanted back.
fn missing(group: &Group, inboxes: &BTreeSet<InboxId>) -> BTreeSet<InboxId> {
    let settings = group.settings();
    inboxes.iter().filter(|inbox| !settings.is_member(**inbox)).copied().collect()
}
