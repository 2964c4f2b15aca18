//! What a Byzantine operator does with the messages of an otherwise honest process.
//!
//! A cheat that runs two processes with one key is made of two seats and needs nothing here.

mod fabricate;
mod forge;

pub use fabricate::fabricated;
pub use forge::Forgery;

use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use tidings_envelope::LogEntry;
use tidings_envelope::api::{PublishResponse, PublishResult};
use tidings_replica::wire::{ControlFrame, FeedFlush, FeedFrame, Have};
use tidings_types::{BoundedVec, LogSize, NodeId, Wire};

use crate::message::Message;
use crate::randomness::Draw;
use crate::scenario::Cheat;

/// How many messages a replaying node remembers.
const MEMORY_MAX: usize = 300;

/// A message on its way out, after the cheat's treatment.
#[derive(Debug)]
pub struct Outgoing {
    /// To whom.
    pub to: NodeId,
    /// What.
    pub message: Message,
    /// How long it is held back, in microseconds; then it may overtake others.
    pub late_us: u64,
}

/// An operator's habits; an honest one has none.
#[derive(Debug, Default)]
pub struct Habits {
    cheats: Vec<Cheat>,
    memory: Vec<Message>,
    answers: Vec<PublishResponse>,
    /// The log that the node shows instead of its own.
    pub forgery: Option<Forgery>,
}

impl Habits {
    /// Takes up another way of cheating.
    pub fn take_up(&mut self, cheat: Cheat) {
        if cheat == Cheat::Forge {
            self.forgery = Some(Forgery::default());
        }
        self.cheats.push(cheat);
    }

    /// What becomes of a message to `to`; honest operators send it as it is.
    pub fn outgoing(
        &mut self,
        to: NodeId,
        message: Message,
        peers: &[NodeId],
        rng: &mut ChaCha20Rng,
    ) -> Vec<Outgoing> {
        let mut sent = vec![Outgoing { to, message, late_us: 0 }];
        for cheat in self.cheats.clone() {
            match cheat {
                Cheat::Omit { permille, victims } => {
                    sent.retain(|it| !victims.contains(&it.to) || !rng.chance(permille));
                }
                Cheat::Shuffle { ms_max } => {
                    sent.iter_mut().for_each(|it| it.late_us = 1 + rng.below(ms_max * 1_000));
                }
                Cheat::Replay { permille } => self.replay(&mut sent, permille, peers, rng),
                Cheat::Garble { permille } => {
                    for it in &mut sent {
                        if rng.chance(permille) {
                            garble(&mut it.message, rng);
                        }
                    }
                }
                Cheat::Misstate { more } => {
                    sent.iter_mut().for_each(|it| misstate(&mut it.message, more));
                }
                Cheat::Starve { victims } => {
                    sent.retain(|it| !victims.contains(&it.to) || !nourishes(&it.message));
                }
                Cheat::Withhold => sent.iter_mut().for_each(|it| withhold(&mut it.message)),
                Cheat::Twins { .. }
                | Cheat::Hurry
                | Cheat::Fabricate
                | Cheat::Forge
                | Cheat::Lie
                | Cheat::Stale { .. } => {}
            }
        }
        sent
    }

    /// Remembers what came, to send it to others.
    pub fn incoming(&mut self, message: &Message) {
        if self.cheats.iter().any(|cheat| matches!(cheat, Cheat::Replay { .. })) {
            self.remember(message);
        }
    }

    fn remember(&mut self, message: &Message) {
        let worth_it = matches!(message, Message::Control(_) | Message::Feed(_));
        if worth_it && self.memory.len() < MEMORY_MAX {
            self.memory.push(message.clone());
        }
    }

    fn replay(
        &mut self,
        sent: &mut Vec<Outgoing>,
        permille: u64,
        peers: &[NodeId],
        rng: &mut ChaCha20Rng,
    ) {
        for it in sent.iter() {
            self.remember(&it.message);
        }
        let Some(model) = sent.first() else { return };
        if !rng.chance(permille) {
            return;
        }
        // A frame of a feed goes out again on the stream of a feed, a control frame to anybody.
        let is_feed = matches!(model.message, Message::Feed(_));
        let fits = |old: &&Message| matches!(old, Message::Feed(_)) == is_feed;
        let old: Vec<&Message> = self.memory.iter().filter(fits).collect();
        let is_control = matches!(model.message, Message::Control(_));
        let to = match rng.pick(peers) {
            Some(peer) if is_control => *peer,
            _ => model.to,
        };
        if let Some(message) = rng.pick(&old).filter(|_| is_feed || is_control) {
            sent.push(Outgoing { to, message: (*message).clone(), late_us: 0 });
        }
    }

    /// What becomes of an answer to a client; `None` when there is none.
    pub fn answer(
        &mut self,
        mut response: PublishResponse,
        rng: &mut ChaCha20Rng,
    ) -> Option<PublishResponse> {
        if !self.cheats.contains(&Cheat::Lie) {
            return Some(response);
        }
        let old = rng.pick(&self.answers).cloned();
        self.answers.push(response.clone());
        match (rng.below(4), old) {
            (0, _) => None,
            (1, _) => {
                let mut checkpoints = response.checkpoints.into_vec();
                checkpoints.iter_mut().for_each(|it| it.acknowledgements = BoundedVec::default());
                response.checkpoints = BoundedVec::new(checkpoints).unwrap_or_default();
                Some(response)
            }
            (2, Some(old)) => Some(old),
            (_, old) => {
                let results = old.map(|old| old.results.into_vec()).unwrap_or_default();
                let mut mixed: Vec<PublishResult> = response.results.into_vec();
                mixed.iter_mut().zip(results).for_each(|(result, other)| *result = other);
                response.results = BoundedVec::new(mixed).unwrap_or_default();
                Some(response)
            }
        }
    }

    /// Whether the node serves blocks of its own making.
    #[must_use]
    pub fn fabricate(&self) -> bool {
        self.cheats.contains(&Cheat::Fabricate)
    }

    /// How many entries are left out of what readers are shown; `None` when nothing is.
    #[must_use]
    pub fn left_out(&self) -> Option<u64> {
        self.cheats.iter().find_map(|cheat| match cheat {
            Cheat::Stale { left_out } => Some(*left_out),
            _ => None,
        })
    }
}

fn garble(message: &mut Message, rng: &mut ChaCha20Rng) {
    let mut bytes = match &*message {
        Message::Feed(frame) => frame.to_wire(),
        other => other.bytes(),
    };
    let place = usize::try_from(rng.below(bytes.len() as u64)).unwrap_or_default();
    if let Some(byte) = bytes.get_mut(place) {
        *byte ^= 1 << rng.below(8);
        *message = Message::decoded(message, &bytes);
    }
}

fn misstate(message: &mut Message, more: bool) {
    let Message::Control(ControlFrame::Have(logs)) = message else { return };
    let size = |size: u64| if more { 2 * size + 3 } else { size / 2 };
    let logs = logs.iter().map(|it| Have { log: it.log, size: LogSize(size(it.size.0)) });
    let logs = BoundedVec::new(logs.collect()).unwrap_or_default();
    *message = Message::Control(ControlFrame::Have(logs));
}

/// Whether a message brings what others cannot go on without.
fn nourishes(message: &Message) -> bool {
    matches!(message, Message::Feed(_) | Message::Control(ControlFrame::Lane { .. }))
}

fn withhold(message: &mut Message) {
    let Message::Feed(frame) = message else { return };
    let FeedFrame::Flush(flush) = &**frame else { return };
    let bare = flush.entries.iter().map(|entry| LogEntry { header: entry.header, payload: None });
    let entries = BoundedVec::new(bare.collect()).unwrap_or_default();
    let flush = FeedFlush { entries, checkpoint: flush.checkpoint };
    *message = Message::Feed(Arc::new(FeedFrame::Flush(flush)));
}
