//! Inboxes: finding them, replaying their logs, and changing our own.

mod draft;
mod own;

pub use draft::IdentityDraft;

use std::collections::BTreeMap;

use serde::Deserialize;
use tidings_envelope::api::{TopicCursor, TopicPage, TopicQuery};
use tidings_envelope::Topic;
use tidings_identity::{AssociationState, LogError, Member, Recipient, Sequence};
use tidings_mls::{InboxFacts, InboxHead, InboxSequence};
use tidings_types::constants::PAGE_ENTRIES_MAX;
use tidings_types::{EthereumAddress, InboxId, NetworkId, Position, ShardId, Wire};

use crate::core::Core;
use crate::error::{CallerError, ClientError, VerifyFailure};
use crate::verify::Ordered;

#[derive(Deserialize)]
struct InboxOf {
    inbox: InboxId,
}

impl Core {
    /// The inbox of a recipient and its verified state.
    pub(crate) async fn resolve(
        &self,
        recipient: &Recipient,
    ) -> Result<AssociationState, ClientError> {
        match recipient {
            Recipient::Inbox(inbox) => self.newest_inbox(*inbox).await,
            Recipient::Address(address) => self.inbox_of(*address).await,
            Recipient::Name(name) => Err(CallerError::NameNotResolvable(name.to_string()).into()),
        }
    }

    /// The newest state of an inbox, replayed from certified entries.
    pub(crate) async fn newest_inbox(
        &self,
        inbox: InboxId,
    ) -> Result<AssociationState, ClientError> {
        let state = self.replay(inbox, None).await?;
        Ok(state.ok_or_else(|| CallerError::UnknownRecipient(inbox.to_string()))?)
    }

    /// The state of an inbox after the update at `sequence`; none when it has no such update.
    pub(crate) async fn inbox_at(
        &self,
        inbox: InboxId,
        sequence: Sequence,
    ) -> Result<Option<AssociationState>, ClientError> {
        self.replay(inbox, Some(sequence)).await
    }

    /// The facts that the judging of a commit asks for.
    pub(crate) async fn facts(
        &self,
        needed: BTreeMap<InboxId, InboxSequence>,
        mut facts: InboxFacts,
    ) -> Result<InboxFacts, ClientError> {
        for (inbox, sequence) in needed {
            facts = match self.inbox_at(inbox, Sequence(sequence.0)).await? {
                Some(state) => facts.with(head(&state)),
                None => facts.with_absent(inbox),
            };
        }
        Ok(facts)
    }

    async fn inbox_of(&self, address: EthereumAddress) -> Result<AssociationState, ClientError> {
        let path = format!("v1/inboxes/by-address/{address}");
        let found: Option<InboxOf> = self.nodes.look_up(ShardId(0), &path).await?;
        let unknown = || CallerError::UnknownRecipient(address.to_string());
        let inbox = found.ok_or_else(unknown)?.inbox;
        let state = self.newest_inbox(inbox).await?;
        // A node names the inbox; the inbox's own log has to agree.
        if !state.contains(&Member::EthereumAccount(address)) {
            return Err(VerifyFailure::AccountMismatch(inbox).into());
        }
        self.store().transact(|tx| tx.put_inbox_of(address, inbox))?;
        Ok(state)
    }

    /// Replays an inbox's log up to `until`, or to its end, from the last verified state.
    async fn replay(
        &self,
        inbox: InboxId,
        until: Option<Sequence>,
    ) -> Result<Option<AssociationState>, ClientError> {
        let known = self.store().view().inbox(inbox)?;
        let mut log = match known {
            Some((_, state)) if until == Some(state.sequence()) => return Ok(Some(state)),
            Some((position, state)) if until.is_none_or(|until| state.sequence() < until) => {
                Replay { position, state: Some(state) }
            }
            _ => Replay::default(),
        };
        loop {
            let (entries, more) = self.identity_page(inbox, log.position).await?;
            for entry in &entries {
                log.advance(self.network, inbox, entry)?;
                let reached = log.state.as_ref().map(AssociationState::sequence);
                if until.is_some() && reached == until {
                    return Ok(log.state);
                }
            }
            if !more || entries.is_empty() {
                break;
            }
        }
        if let Some(state) = &log.state {
            self.store().transact(|tx| tx.put_inbox(log.position, state))?;
        }
        Ok(if until.is_none() { log.state } else { None })
    }

    async fn identity_page(
        &self,
        inbox: InboxId,
        position: Position,
    ) -> Result<(Vec<Ordered>, bool), ClientError> {
        let topic = Topic::identity(inbox);
        let cursor = TopicCursor { position, ..Default::default() };
        let limit = u16::try_from(PAGE_ENTRIES_MAX).unwrap_or(u16::MAX);
        let query = TopicQuery::new(topic, cursor.clone(), limit).to_wire();
        let registry = self.nodes.registry();
        let verifier = self.verifier(&registry);
        let accept = |page: TopicPage| verifier.page(&topic, &cursor, page);
        let page = self.nodes.ask(ShardId(0), 0, "v1/query", &query, accept).await?;
        Ok((page.ordered, page.more))
    }
}

/// An inbox's log up to some position.
#[derive(Default)]
struct Replay {
    position: Position,
    state: Option<AssociationState>,
}

impl Replay {
    fn advance(
        &mut self,
        network: NetworkId,
        inbox: InboxId,
        entry: &Ordered,
    ) -> Result<(), VerifyFailure> {
        let payload = &entry.envelope.body.payload;
        let next: Result<_, LogError> =
            AssociationState::advance(self.state.as_ref(), network, payload);
        let next = next?;
        if next.inbox() != inbox {
            return Err(VerifyFailure::Misplaced);
        }
        self.state = Some(next);
        self.position = entry.position;
        Ok(())
    }
}

/// What groups need to know about an inbox.
pub(crate) fn head(state: &AssociationState) -> InboxHead {
    InboxHead {
        inbox: state.inbox(),
        sequence: InboxSequence(state.sequence().0),
        installations: state.installations().collect(),
    }
}
