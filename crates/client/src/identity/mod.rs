//! Inboxes: looking them up, replaying their logs, and changing our own.

mod draft;
mod own;

pub use draft::IdentityDraft;

use std::collections::BTreeMap;
use std::time::Duration;

use tidings_envelope::api::{TopicCursor, TopicPage, TopicQuery};
use tidings_envelope::{StateContent, StateKey, Topic, state_value_hash};
use tidings_identity::{AssociationState, LogError, Member, Recipient, Sequence};
use tidings_mls::{InboxFacts, InboxHead, InboxSequence};
use tidings_types::constants::PAGE_ENTRIES_MAX;
use tidings_types::{EthereumAddress, InboxId, NetworkId, Position, ShardId, Wire};

use crate::core::Core;
use crate::error::{CallerError, ClientError, VerifyFailure};
use crate::look_up::{LookUp, Proved};
use crate::verify::{Ordered, VerifiedPage};

/// How long to wait before replicas are asked again for an update that should be there.
///
/// A replica that voted for a block may learn a moment later that it is final.
const CERTIFIED_WAIT: Duration = Duration::from_millis(100);

/// How often they are asked again before the update counts as absent.
const CERTIFIED_WAITS_MAX: u32 = 30;

/// How many replicas in a row may leave out updates that are proved to exist.
const WITHHELD_MAX: usize = 16;

/// How often replicas are asked again for an account that they do not know, which may be new.
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

    /// What is proved about a recipient, step by step, up to the first thing that is not there.
    pub(crate) async fn prove(&self, recipient: &Recipient) -> Result<Vec<Proved>, ClientError> {
        let mut proofs = Vec::new();
        let inbox = match recipient {
            Recipient::Inbox(inbox) => Some(*inbox),
            Recipient::Address(address) => {
                let look_up = LookUp::new(ShardId(0), StateKey::Account(*address));
                let proved = self.look_up(look_up).await?;
                let content = proved.content;
                proofs.push(proved);
                match content {
                    StateContent::Account(inbox) => Some(inbox),
                    _ => None,
                }
            }
            Recipient::Name(name) => {
                return Err(CallerError::NameNotResolvable(name.to_string()).into());
            }
        };
        if let Some(inbox) = inbox {
            proofs.push(self.look_up_inbox(inbox).await?.0);
        }
        Ok(proofs)
    }

    /// The newest certified state of an inbox.
    pub(crate) async fn newest_inbox(
        &self,
        inbox: InboxId,
    ) -> Result<AssociationState, ClientError> {
        let (_, state) = self.look_up_inbox(inbox).await?;
        Ok(state.ok_or_else(|| CallerError::UnknownRecipient(inbox.to_string()))?)
    }

    /// The state of an inbox after the update at `sequence`; none when it has no such update.
    pub(crate) async fn inbox_at(
        &self,
        inbox: InboxId,
        sequence: Sequence,
    ) -> Result<Option<AssociationState>, ClientError> {
        self.replay(inbox, sequence).await
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
        let look_up = LookUp::new(ShardId(0), StateKey::Account(address));
        let mut found = self.look_up(look_up).await?;
        for _ in 0..ABSENT_WAITS_MAX {
            if found.content != StateContent::Absent {
                break;
            }
            tokio::time::sleep(CERTIFIED_WAIT).await;
            found = self.look_up(look_up).await?;
        }
        let StateContent::Account(inbox) = found.content else {
            return Err(CallerError::UnknownRecipient(address.to_string()).into());
        };
        let state = self.newest_inbox(inbox).await?;
        // It may have left in between.
        if !state.contains(&Member::EthereumAccount(address)) {
            return Err(VerifyFailure::AccountMismatch(inbox).into());
        }
        self.store().transact(|tx| tx.put_inbox_of(address, inbox))?;
        Ok(state)
    }

    /// Looks an inbox up; also its state, if there is such an inbox.
    pub(crate) async fn look_up_inbox(
        &self,
        inbox: InboxId,
    ) -> Result<(Proved, Option<AssociationState>), ClientError> {
        let cached = self.store().view().inbox(inbox)?.map(|(_, state)| state);
        let known = cached.as_ref().map(|state| state_value_hash(&state.to_wire()));
        let look_up = LookUp { known, ..LookUp::new(ShardId(0), StateKey::Inbox(inbox)) };
        let proved = self.look_up(look_up).await?;
        let state = match (&proved.content, &proved.value) {
            (StateContent::Absent, _) => return Ok((proved, None)),
            (_, None) => cached,
            (_, Some(bytes)) => AssociationState::from_wire(bytes).ok(),
        };
        let state = state.filter(|state| state.inbox() == inbox);
        let state = state.ok_or(VerifyFailure::InboxState(inbox))?;
        if proved.value.is_some() {
            // An identity topic counts nothing but updates.
            let position = Position(state.sequence().0).plus(1);
            self.store().transact(|tx| tx.put_inbox(position, &state))?;
        }
        Ok((proved, Some(state)))
    }

    /// Replays an inbox's log up to `until` from the last verified state before it.
    async fn replay(
        &self,
        inbox: InboxId,
        until: Sequence,
    ) -> Result<Option<AssociationState>, ClientError> {
        let known = self.store().view().inbox(inbox)?;
        let mut log = match known {
            Some((_, state)) if state.sequence() == until => return Ok(Some(state)),
            Some((position, state)) if state.sequence() < until => {
                Replay { position, state: Some(state) }
            }
            _ => Replay::default(),
        };
        let mut patience = CERTIFIED_WAITS_MAX;
        // How many replicas in a row left out what is proved to be there.
        let mut withheld = 0;
        loop {
            let page = self.identity_page(inbox, log.position, withheld).await?;
            for entry in &page.ordered {
                log.advance(self.network, inbox, entry)?;
                if log.state.as_ref().map(AssociationState::sequence) == Some(until) {
                    return Ok(log.state);
                }
            }
            if !page.ordered.is_empty() {
                withheld = 0;
                continue;
            }
            let end = self.identity_end(inbox).await?;
            if end > log.position {
                withheld += 1;
                if withheld > WITHHELD_MAX {
                    let (expected, found) = (end.0, log.position.0);
                    return Err(VerifyFailure::Position { expected, found }.into());
                }
                continue;
            }
            if patience == 0 {
                return Ok(None);
            }
            patience -= 1;
            tokio::time::sleep(CERTIFIED_WAIT).await;
        }
    }

    /// How many updates an inbox has, as a quorum of replicas proves.
    ///
    /// That an update does not exist makes a commit void, so members must not differ on it: of
    /// a certificate's quorum one honest replica voted for any update that was certified.
    async fn identity_end(&self, inbox: InboxId) -> Result<Position, ClientError> {
        let witnesses = self.nodes.registry().certificate_quorum(ShardId(0));
        let key = StateKey::Topic(Topic::identity(inbox));
        let head = self.look_up(LookUp { witnesses, ..LookUp::new(ShardId(0), key) }).await?;
        match head.content {
            StateContent::Topic(head) => Ok(head.position),
            _ => Ok(Position(0)),
        }
    }

    /// A page of an inbox's log; the first `skip` replicas are asked last.
    async fn identity_page(
        &self,
        inbox: InboxId,
        position: Position,
        skip: usize,
    ) -> Result<VerifiedPage, ClientError> {
        let topic = Topic::identity(inbox);
        let cursor = TopicCursor { position, ..Default::default() };
        let limit = u16::try_from(PAGE_ENTRIES_MAX).unwrap_or(u16::MAX);
        let query = TopicQuery::new(topic, cursor.clone(), limit).to_wire();
        let registries = self.nodes.registries();
        let verifier = self.verifier(&registries);
        let accept = |page: TopicPage| verifier.page(&topic, &cursor, page);
        self.nodes.ask(ShardId(0), skip, "v1/query", &query, accept).await
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
