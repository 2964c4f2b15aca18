//! What hostile clients send, and what must become of it.

use tidings_envelope::api::{PublishRequest, PublishResult};
use tidings_envelope::{ClientEnvelope, EnvelopeBody, Lane, Target};
use tidings_types::{NodeId, Period, Position};

use super::{Conversation, Crowd, honest_request, request};
use crate::ledger::{Check, Invariant, Ledger, Sent, demand};
use crate::randomness::Draw;
use crate::scenario::Trick;
use crate::setup::{PAYER, Setup, key, session_key};
use crate::world::Answer;

/// A request of a hostile client.
#[derive(Debug)]
pub struct Attempt {
    /// To which node.
    pub node: NodeId,
    /// What.
    pub request: PublishRequest,
    /// Whether the request is a false envelope and then a good one.
    pub mixes: bool,
}

impl Crowd {
    /// What a trick sends, and to whom.
    pub fn trick(
        &mut self,
        trick: Trick,
        period: Period,
        ledger: &mut Ledger,
        setup: &Setup,
    ) -> Vec<Attempt> {
        let place = usize::try_from(self.rng.below(self.conversations.len() as u64));
        let Some(conversation) = self.conversations.get(place.unwrap_or_default()) else {
            return Vec::new();
        };
        let serial = self.rng.below(u64::MAX);
        let Some(node) = self.rng.pick(&conversation.committee).copied() else { return Vec::new() };
        let to = |node, request, mixes| vec![Attempt { node, request, mixes }];
        let make = |not_after, text: &[u8]| envelope(conversation, not_after, serial, text, setup);
        let good = make(period.plus(1), b"good");
        match trick {
            Trick::Replayed | Trick::Elsewhere => self.again(trick, ledger, setup),
            Trick::Everywhere => self.everywhere(place.unwrap_or_default(), period, ledger, setup),
            Trick::Garbage | Trick::WrongKey | Trick::Tampered | Trick::TooFar => {
                note(ledger, &good);
                let false_one = false_envelope(trick, conversation, period, serial, setup);
                let both = [false_one, good];
                let mut mixed = request(&both, Target::Node(node), &session_key(), setup);
                if trick == Trick::Garbage {
                    let mut envelopes = mixed.envelopes.into_vec();
                    envelopes[0] = vec![0xff; 40].try_into().unwrap_or_default();
                    mixed.envelopes = envelopes.try_into().unwrap_or_default();
                }
                to(node, mixed, true)
            }
            Trick::Expired => {
                let late = make(period.minus(1), b"late");
                note(ledger, &late);
                to(node, honest_request(&late, node, conversation.shard, setup), false)
            }
            Trick::Twice => {
                note(ledger, &good);
                let both = [good.clone(), good];
                to(node, request(&both, Target::Node(node), &session_key(), setup), false)
            }
            Trick::WrongPayer => {
                let stranger = key("stranger's session", 0);
                to(node, request(&[good], Target::Node(node), &stranger, setup), false)
            }
        }
    }

    /// A request that was made before, to the same node or to another.
    fn again(&mut self, trick: Trick, ledger: &Ledger, setup: &Setup) -> Vec<Attempt> {
        let Some(old) = self.remembered() else { return Vec::new() };
        let nodes: Vec<NodeId> = setup.nodes().collect();
        let node = match (trick, old.batch.header.target) {
            (Trick::Replayed, Target::Node(node)) => Some(node),
            _ => self.rng.pick(&nodes).copied(),
        };
        let Some(node) = node else { return Vec::new() };
        let sent = old.ids.first().and_then(|id| ledger.sent(*id));
        let is_fresh = self.rng.chance(500) && sent.is_some();
        let request = match old.batch.header.target {
            // As a gateway that takes another node does.
            Target::Node(_) if trick == Trick::Elsewhere && is_fresh => {
                let mut header = old.batch.header;
                header.target = Target::Node(node);
                PublishRequest {
                    batch: header.sign(&session_key(), setup.network),
                    ..(*old).clone()
                }
            }
            _ => (*old).clone(),
        };
        vec![Attempt { node, request, mixes: false }]
    }

    /// One commit for a position that is long taken, given to every node at once.
    fn everywhere(
        &mut self,
        place: usize,
        period: Period,
        ledger: &mut Ledger,
        setup: &Setup,
    ) -> Vec<Attempt> {
        let Some(conversation) = self.conversations.get(place) else { return Vec::new() };
        let payload = self.rng.below(u64::MAX).to_be_bytes().to_vec();
        let body = EnvelopeBody {
            lane: Lane::Ordered,
            expected_position: Some(Position(0)),
            ..EnvelopeBody::broadcast(
                conversation.topic,
                PAYER,
                period.plus(1),
                payload.try_into().unwrap_or_default(),
            )
        };
        let envelope = body.sign(&conversation.key, setup.network);
        note(ledger, &envelope);
        let nodes = conversation.committee.iter();
        let attempts = nodes.map(|node| Attempt {
            node: *node,
            request: honest_request(&envelope, *node, conversation.shard, setup),
            mixes: false,
        });
        attempts.collect()
    }

    /// One bad envelope is refused alone, and the good one behind it is not held up.
    ///
    /// # Errors
    /// The invariant that the answer of a correct node breaks.
    pub fn judge_trick(&self, ledger: &Ledger, by: NodeId, mixes: bool, answer: &Answer) -> Check {
        let Answer::Response(response) = answer else { return Ok(()) };
        if !mixes || !ledger.is_correct(by) {
            return Ok(());
        }
        let [first, second] = &*response.results else { return Ok(()) };
        demand(matches!(first, PublishResult::Refused { .. }), Invariant::OnlyWriters, || {
            format!("node {by} took an envelope that nobody with the right to wrote")
        })?;
        let blames = match second {
            PublishResult::Refused { code } => code.peer_at_fault(),
            _ => false,
        };
        demand(!blames, Invariant::NoWedge, || {
            format!("node {by} refused a good envelope because of a bad one")
        })
    }
}

fn envelope(
    conversation: &Conversation,
    not_after: Period,
    serial: u64,
    text: &[u8],
    setup: &Setup,
) -> ClientEnvelope {
    let payload = [text, &serial.to_be_bytes()].concat().try_into().unwrap_or_default();
    let body = EnvelopeBody::broadcast(conversation.topic, PAYER, not_after, payload);
    body.sign(&conversation.key, setup.network)
}

/// An envelope that no node may take.
fn false_envelope(
    trick: Trick,
    conversation: &Conversation,
    period: Period,
    serial: u64,
    setup: &Setup,
) -> ClientEnvelope {
    match trick {
        Trick::TooFar => envelope(conversation, period.plus(9), serial, b"far", setup),
        Trick::Tampered => {
            let good = envelope(conversation, period.plus(1), serial, b"tampered", setup);
            let mut payload = good.body.payload.clone().into_vec();
            payload[0] ^= 1;
            let payload = payload.try_into().unwrap_or_default();
            let body = EnvelopeBody { payload, ..good.body };
            ClientEnvelope { body, proof: good.proof }
        }
        _ => {
            let payload = serial.to_be_bytes().to_vec().try_into().unwrap_or_default();
            let topic = conversation.topic;
            let body = EnvelopeBody::broadcast(topic, PAYER, period.plus(1), payload);
            body.sign(&key("stranger", 0), setup.network)
        }
    }
}

fn note(ledger: &mut Ledger, envelope: &ClientEnvelope) {
    let body = &envelope.body;
    let sent = Sent { topic: body.topic, not_after: body.not_after, author: None };
    ledger.sends(body.id(), sent);
}
