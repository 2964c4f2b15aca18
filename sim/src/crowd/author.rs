//! A person who writes: one envelope at a time, tried at one node after another until there is
//! proof that it is stored or decided on, or until it has expired.

use std::collections::VecDeque;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use tidings_envelope::api::{PublishRequest, PublishResponse, PublishResult};
use tidings_envelope::{
    AckLevel, ClientEnvelope, EnvelopeBody, Lane, Operation, OrderedReceipt, Outcome, Receipt,
};
use tidings_types::{EnvelopeId, ErrorCode, NodeId, Period, Position};

use super::{Conversation, Heard, honest_request, is_applied};
use crate::ledger::{Ledger, Sent, Verdict};
use crate::randomness::Draw;
use crate::setup::{PAYER, Setup};
use crate::world::{Answer, Call};

/// How often a commit that lost is made anew.
const COMMIT_TRIES_MAX: u32 = 4;

/// How long an author waits when no node says what period it is, in milliseconds.
const NO_PERIOD_MS: u64 = 300;

/// Something that an author is to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// How it is to be ordered.
    pub lane: Lane,
    /// How long the payload is, in bytes.
    pub length: usize,
    /// Whether an ordered envelope is a commit, which builds on a position.
    pub builds_on: bool,
    /// How often it has lost already.
    pub tries: u32,
}

/// What an author wants of the network.
#[expect(
    clippy::large_enum_variant,
    reason = "values are few and short-lived; a box would cost every caller"
)]
#[derive(Debug)]
pub enum Wants {
    /// To send a request to a node.
    Call {
        /// Which node.
        node: NodeId,
        /// What.
        request: PublishRequest,
    },
    /// To be asked again.
    Later {
        /// In how many milliseconds.
        ms: u64,
    },
}

/// Somebody who writes.
#[derive(Debug)]
pub struct Author {
    /// Its number.
    pub number: u32,
    /// Which conversation it writes in.
    pub conversation: usize,
    /// What it has yet to publish.
    pub wishes: VecDeque<Wish>,
    nodes: Vec<NodeId>,
    turn: usize,
    serial: u64,
    position: Position,
    pending: Option<Pending>,
    is_calling: bool,
}

/// Every so many envelopes an author is content with one node that holds it.
const LOCAL_EVERY: u64 = 4;

/// What an author publishes now.
#[derive(Debug, Clone)]
struct Pending {
    id: EnvelopeId,
    envelope: ClientEnvelope,
    wish: Wish,
    level: AckLevel,
    tried: u32,
}

impl Author {
    /// An author who asks these nodes, in this order.
    #[must_use]
    pub fn new(number: u32, conversation: usize, nodes: Vec<NodeId>) -> Self {
        Self {
            number,
            conversation,
            wishes: VecDeque::new(),
            nodes,
            turn: 0,
            serial: 0,
            position: Position(0),
            pending: None,
            is_calling: false,
        }
    }

    /// Whether there is nothing left to publish.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.pending.is_none() && self.wishes.is_empty()
    }

    /// The nodes in the order in which they are asked from here on.
    #[must_use]
    pub fn candidates(&self) -> Vec<NodeId> {
        let mut nodes = self.nodes.clone();
        let count = nodes.len().max(1);
        nodes.rotate_left(self.turn % count);
        nodes
    }

    /// How often the present envelope was tried without success.
    #[must_use]
    pub fn tried(&self) -> u32 {
        self.pending.as_ref().map_or(0, |pending| pending.tried)
    }

    /// Begins with the next wish, or tries the present one again.
    pub fn go_on(
        &mut self,
        conversation: &Conversation,
        period: Option<Period>,
        ledger: &mut Ledger,
        setup: &Setup,
        rng: &mut ChaCha20Rng,
    ) -> Option<Wants> {
        if self.is_calling || self.is_done() {
            return None;
        }
        if self.pending.is_none() {
            let Some(period) = period else { return Some(Wants::Later { ms: NO_PERIOD_MS }) };
            let wish = self.wishes.pop_front()?;
            self.begin(wish, conversation, period, ledger, setup, rng);
        }
        let node = *self.nodes.get(self.turn % self.nodes.len().max(1))?;
        let pending = self.pending.as_mut()?;
        pending.tried += 1;
        self.is_calling = true;
        let request = honest_request(&pending.envelope, node, conversation.shard, setup);
        let request = PublishRequest { level: pending.level, ..request };
        Some(Wants::Call { node, request })
    }

    fn begin(
        &mut self,
        wish: Wish,
        conversation: &Conversation,
        period: Period,
        ledger: &mut Ledger,
        setup: &Setup,
        rng: &mut ChaCha20Rng,
    ) {
        let mut payload = vec![0; wish.length];
        rng.fill_bytes(&mut payload);
        payload.extend_from_slice(&self.number.to_be_bytes());
        payload.extend_from_slice(&self.serial.to_be_bytes());
        let payload = payload.try_into().unwrap_or_default();
        let not_after = period.plus(1 + rng.below(2));
        let expected = wish.builds_on.then_some(self.position);
        let topic = conversation.topic;
        let body = EnvelopeBody {
            lane: wish.lane,
            expected_position: expected,
            ..EnvelopeBody::broadcast(topic, PAYER, not_after, payload)
        };
        let id = body.id();
        let author = Some((self.number, self.serial));
        ledger.sends(id, Sent { topic, not_after, author });
        let level = match self.serial % LOCAL_EVERY == LOCAL_EVERY - 1 {
            true => AckLevel::Local,
            false => AckLevel::Replicated,
        };
        self.serial += 1;
        let envelope = body.sign(&conversation.key, setup.network);
        self.pending = Some(Pending { id, envelope, wish, level, tried: 0 });
    }

    /// Hears of its call; answers what is proved by it.
    ///
    /// # Errors
    /// What is wrong with a proof that the node gave.
    pub fn hear(
        &mut self,
        call: &Call,
        answer: &Answer,
        setup: &Setup,
    ) -> Result<Option<Heard>, String> {
        self.is_calling = false;
        let by = call.seat.node;
        match answer {
            Answer::Lost => {
                self.turn += 1;
                Ok(None)
            }
            Answer::Refused(code) => Ok(self.refused(*code, by)),
            Answer::Response(response) => {
                let heard = self.respond(response, by, setup);
                if heard.is_err() {
                    self.turn += 1;
                }
                heard
            }
        }
    }

    fn respond(
        &mut self,
        response: &PublishResponse,
        by: NodeId,
        setup: &Setup,
    ) -> Result<Option<Heard>, String> {
        let Some(pending) = self.pending.clone() else { return Ok(None) };
        match response.results.first() {
            None => Err("no result".to_owned()),
            Some(PublishResult::Refused { code }) => Ok(self.refused(*code, by)),
            Some(PublishResult::Stored { .. }) => {
                let receipt = response.receipt(0).ok_or("no such checkpoint")?;
                let heard = stored(&pending, &receipt, setup)?;
                self.pending = None;
                Ok(Some(heard))
            }
            Some(PublishResult::Ordered(receipt)) => {
                let heard = decided(&pending, receipt, setup)?;
                self.decided(&pending, receipt.decided.outcome);
                Ok(Some(heard))
            }
        }
    }

    /// The ordered lane has decided; a commit that lost is made anew on the new position.
    fn decided(&mut self, pending: &Pending, outcome: Outcome) {
        self.pending = None;
        match outcome {
            Outcome::Applied { position } => self.position = self.position.max(position),
            Outcome::Conflict { position } => {
                self.position = position;
                if pending.wish.tries < COMMIT_TRIES_MAX {
                    let tries = pending.wish.tries + 1;
                    self.wishes.push_front(Wish { tries, ..pending.wish });
                }
            }
            Outcome::Refused { .. } => {}
        }
    }

    fn refused(&mut self, code: ErrorCode, by: NodeId) -> Option<Heard> {
        self.turn += 1;
        match code {
            // Whether it was stored somewhere, nobody can say; it will not be any more.
            ErrorCode::EnvelopeExpired | ErrorCode::BatchExpired => self.pending = None,
            _ if code.peer_at_fault() || code == ErrorCode::Internal => {
                return Some(Heard::Blamed { by, code });
            }
            _ => {}
        }
        None
    }

    /// Gives up what has not been begun.
    pub fn cut_short(&mut self) {
        self.wishes.clear();
    }
}

fn stored(pending: &Pending, receipt: &Receipt, setup: &Setup) -> Result<Heard, String> {
    let level = pending.level;
    receipt.verify(setup.network, &setup.registry, level).map_err(|error| error.to_string())?;
    let header = &receipt.header;
    if header.envelope_id != pending.id || header.topic != pending.envelope.body.topic {
        return Err("the receipt is of another envelope".to_owned());
    }
    let log = receipt.checkpoint.checkpoint.log;
    let mut holders = vec![log.node];
    holders.extend(receipt.acknowledgements.iter().map(|it| it.replica));
    let (id, index, entry) = (pending.id, header.index, header.hash());
    Ok(Heard::Stored { id, log, index, entry, holders, level })
}

fn decided(pending: &Pending, receipt: &OrderedReceipt, setup: &Setup) -> Result<Heard, String> {
    setup.check_ordered(receipt)?;
    let Operation::Envelope(envelope) = &receipt.decided.operation else {
        return Err("the receipt is of no envelope".to_owned());
    };
    if envelope.envelope.body.id() != pending.id {
        return Err("the receipt is of another envelope".to_owned());
    }
    let header = &receipt.header;
    let outcome = receipt.decided.outcome;
    debug_assert_eq!(receipt.position().is_some(), is_applied(outcome));
    let verdict = Verdict { height: header.height, index: receipt.index, outcome };
    Ok(Heard::Decided { id: pending.id, shard: header.shard, block: header.hash(), verdict })
}
