//! Inboxes: finding them, replaying their logs, and changing our own.

mod draft;
mod own;

pub use draft::IdentityDraft;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use tidings_envelope::Topic;
use tidings_envelope::api::{TopicCursor, TopicPage, TopicQuery};
use tidings_identity::{AssociationState, LogError, Member, Recipient, Sequence};
use tidings_mls::{InboxFacts, InboxHead, InboxSequence};
use tidings_types::constants::PAGE_ENTRIES_MAX;
use tidings_types::{EthereumAddress, InboxId, NetworkId, Position, ShardId, Wire};

use crate::core::Core;
use crate::error::{CallerError, ClientError, VerifyFailure};
use crate::verify::{Ordered, VerifiedPage};

#[derive(Deserialize)]
struct InboxOf {
    inbox: InboxId,
}

/// How long to wait before replicas are asked again for an update that should be there.
///
/// A replica that voted for a block may learn a moment later that it is final.
const CERTIFIED_WAIT: Duration = Duration::from_millis(100);

/// How often they are asked again before the update counts as absent.
const CERTIFIED_WAITS_MAX: u32 = 30;

/// How often a node is asked again for an inbox that it does not know, which may be new.
const ABSENT_WAITS_MAX: u32 = 3;

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
        let mut found: Option<InboxOf> = self.nodes.look_up(ShardId(0), &path).await?;
        for _ in 0..ABSENT_WAITS_MAX {
            if found.is_some() {
                break;
            }
            tokio::time::sleep(CERTIFIED_WAIT).await;
            found = self.nodes.look_up(ShardId(0), &path).await?;
        }
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
        let needed = self.witnesses(until);
        // What is there, one replica can show; that nothing more is there, it takes several.
        let mut wanted = 1;
        let mut patience = CERTIFIED_WAITS_MAX;
        loop {
            let pages = self.identity_pages(inbox, log.position, wanted).await?;
            let witnesses = pages.len();
            let longest = pages.into_iter().max_by_key(|page| page.ordered.len());
            let entries = longest.map(|page| page.ordered).unwrap_or_default();
            for entry in &entries {
                log.advance(self.network, inbox, entry)?;
                let reached = log.state.as_ref().map(AssociationState::sequence);
                if until.is_some() && reached == until {
                    return Ok(log.state);
                }
            }
            match entries.is_empty() {
                false => wanted = 1,
                true if wanted < needed => wanted = needed,
                true if until.is_some() && patience > 0 => {
                    patience -= 1;
                    tokio::time::sleep(CERTIFIED_WAIT).await;
                }
                true if until.is_some() && witnesses < needed => {
                    let reason = format!("only {witnesses} of {needed} replicas answered");
                    return Err(ClientError::Unreachable { reason });
                }
                true => break,
            }
        }
        if let Some(state) = &log.state {
            self.store().transact(|tx| tx.put_inbox(log.position, state))?;
        }
        Ok(if until.is_none() { log.state } else { None })
    }

    /// How many replicas have to agree on where a log ends.
    ///
    /// That an update does not exist makes a commit void, so members must not differ on it: of
    /// a certificate's quorum one honest replica voted for any update that was certified.
    fn witnesses(&self, until: Option<Sequence>) -> usize {
        let registry = self.nodes.registry();
        match until {
            Some(_) => registry.certificate_quorum(ShardId(0)),
            None => registry.durability_quorum(ShardId(0)),
        }
    }

    async fn identity_pages(
        &self,
        inbox: InboxId,
        position: Position,
        wanted: usize,
    ) -> Result<Vec<VerifiedPage>, ClientError> {
        let topic = Topic::identity(inbox);
        let cursor = TopicCursor { position, ..Default::default() };
        let limit = u16::try_from(PAGE_ENTRIES_MAX).unwrap_or(u16::MAX);
        let query = TopicQuery::new(topic, cursor.clone(), limit).to_wire();
        let registry = self.nodes.registry();
        let verifier = self.verifier(&registry);
        let accept = |page: TopicPage| verifier.page(&topic, &cursor, page);
        self.nodes.ask_several(ShardId(0), "v1/query", &query, wanted, accept).await
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
