//! What somebody wants to change in a group, made into a commit for the group as it stands.

use std::collections::BTreeSet;

use tidings_identity::AssociationState;
use tidings_mls::{Changes, Group};
use tidings_types::InboxId;

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
    /// Who asked to leave is let go.
    LetGo,
}

impl Core {
    /// The changes that are still needed; none when the group is as wanted.
    pub(crate) async fn changes(
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
            Intent::LetGo => {
                let somebody = !group.leaving().is_empty();
                Ok(somebody.then(Changes::default))
            }
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
