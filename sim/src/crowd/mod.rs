//! Clients: authors who publish until it is proved that they have, readers who follow topics
//! with cursors, and tricksters.

mod author;
mod reader;
mod trick;

pub use author::{Author, Wants, Wish};
pub use reader::{Page, Reader};

use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use sha2::{Digest, Sha256};
use tidings_envelope::api::PublishRequest;
use tidings_envelope::{
    AckLevel, BatchHeader, ClientEnvelope, Lane, LogId, Outcome, Target, Topic,
};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::SigningKey;
use tidings_types::{
    BlockHash, EntryHash, EnvelopeId, ErrorCode, LogIndex, NodeId, Period, PicoDollars, ShardId,
    Wire,
};

use crate::ledger::{Check, Invariant, Ledger, Verdict, demand};
use crate::randomness::Draw;
use crate::scenario::Scenario;
use crate::setup::{PAYER, Setup, key, session_key};
use crate::world::{Answer, Call};

/// How many requests are remembered for those who send them again.
const HISTORY_MAX: usize = 40;

/// A topic that several people write to.
#[derive(Debug)]
pub struct Conversation {
    /// The topic.
    pub topic: Topic,
    /// Its key, which every member holds.
    pub key: SigningKey,
    /// The topic's shard.
    pub shard: ShardId,
    /// The nodes that keep the shard.
    pub committee: Vec<NodeId>,
}

/// What a client has proof of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// An envelope is in a log, and these nodes have signed that they hold it.
    Stored {
        /// Which envelope.
        id: EnvelopeId,
        /// In which log.
        log: LogId,
        /// Where in it.
        index: LogIndex,
        /// The entry.
        entry: EntryHash,
        /// Who holds it.
        holders: Vec<NodeId>,
        /// Whether those are enough to rely on.
        level: AckLevel,
    },
    /// The ordered lane has decided on an envelope.
    Decided {
        /// Which envelope.
        id: EnvelopeId,
        /// In which shard's block.
        shard: ShardId,
        /// The block.
        block: BlockHash,
        /// What it says.
        verdict: Verdict,
    },
    /// A node says that the author is at fault, who is not.
    Blamed {
        /// Which node.
        by: NodeId,
        /// Of what.
        code: ErrorCode,
    },
}

/// Everybody who uses the network.
#[derive(Debug)]
pub struct Crowd {
    /// What is written to.
    pub conversations: Vec<Conversation>,
    /// Who writes.
    pub authors: Vec<Author>,
    /// Who reads.
    pub readers: Vec<Reader>,
    history: Vec<PublishRequest>,
    verdicts: Sha256,
    rng: ChaCha20Rng,
}

impl Crowd {
    /// The scenario's authors, and one reader for each conversation.
    #[must_use]
    pub fn new(scenario: &Scenario, setup: &Setup) -> Self {
        let conversations = (0..scenario.shape.topics).map(|it| conversation(it.into(), setup));
        let conversations: Vec<Conversation> = conversations.collect();
        let authors = (0..scenario.shape.authors).map(|number| {
            let place = usize::try_from(number % scenario.shape.topics).unwrap_or_default();
            let mut nodes = conversations[place].committee.clone();
            let turn = usize::try_from(number).unwrap_or_default() % nodes.len().max(1);
            nodes.rotate_left(turn);
            Author::new(number, place, nodes)
        });
        let authors = authors.collect();
        let readers = (0..conversations.len()).map(Reader::new).collect();
        Self {
            conversations,
            authors,
            readers,
            history: Vec::new(),
            verdicts: Sha256::new(),
            rng: scenario.seed.stream("crowd", 0),
        }
    }

    /// Adds an author who writes through one node only, once on each lane.
    pub fn add_probe(&mut self, shard: ShardId, node: NodeId, setup: &Setup) -> usize {
        let known = self.conversations.iter().position(|it| it.shard == shard);
        let place = known.unwrap_or_else(|| {
            let fitting = (1_000..).map(|number| conversation(number, setup));
            self.conversations.extend(fitting.take(10_000).find(|it| it.shard == shard));
            self.conversations.len() - 1
        });
        let number = u32::try_from(self.authors.len()).unwrap_or(u32::MAX);
        let mut author = Author::new(number, place, vec![node]);
        for lane in [Lane::Broadcast, Lane::Ordered] {
            author.wishes.push_back(Wish { lane, length: 32, builds_on: false, tries: 0 });
        }
        self.authors.push(author);
        self.authors.len() - 1
    }

    /// The nodes that an author asks, in this order.
    #[must_use]
    pub fn candidates(&self, author: usize) -> Vec<NodeId> {
        self.authors.get(author).map(Author::candidates).unwrap_or_default()
    }

    /// What an author wants next, if the last call is answered.
    pub fn go_on(
        &mut self,
        author: usize,
        period: Option<Period>,
        ledger: &mut Ledger,
        setup: &Setup,
    ) -> Option<Wants> {
        let it = self.authors.get_mut(author)?;
        let conversation = self.conversations.get(it.conversation)?;
        let wants = it.go_on(conversation, period, ledger, setup, &mut self.rng);
        if let Some(Wants::Call { request, .. }) = &wants
            && self.history.len() < HISTORY_MAX
        {
            self.history.push(request.clone());
        }
        wants
    }

    /// An author hears of its call; answers what is proved by it.
    ///
    /// # Errors
    /// What is wrong with a proof that a node gave.
    pub fn hear(
        &mut self,
        author: usize,
        call: &Call,
        answer: &Answer,
        setup: &Setup,
    ) -> Result<Option<Heard>, String> {
        let Some(it) = self.authors.get_mut(author) else { return Ok(None) };
        let heard = it.hear(call, answer, setup);
        if let Ok(Some(heard)) = &heard {
            self.verdicts.update(it.number.to_be_bytes());
            note(&mut self.verdicts, heard);
        }
        heard
    }

    /// How long an author waits before it goes on, in microseconds.
    pub fn pause_us(&mut self, author: usize) -> u64 {
        let tried = self.authors.get(author).map_or(0, Author::tried);
        if tried == 0 { 1_000 } else { 20_000 + self.rng.below(100_000 << tried.min(4)) }
    }

    /// A node gave a proof that proves nothing; only cheats do.
    ///
    /// # Errors
    /// When the node is correct.
    pub fn judge_lie(&self, ledger: &Ledger, node: NodeId, lie: &str) -> Check {
        demand(!ledger.is_correct(node), Invariant::NoAcknowledgedLoss, || {
            format!("node {node} gave a receipt that proves nothing: {lie}")
        })
    }

    /// The hash over what clients heard, in hex, without anything that a wall clock may change.
    #[must_use]
    pub fn verdicts(&self) -> String {
        let hash: [u8; 32] = self.verdicts.clone().finalize().into();
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Notes what an author heard, without the hashes that cover timestamps.
fn note(verdicts: &mut Sha256, heard: &Heard) {
    match heard {
        Heard::Stored { id, log, index, .. } => {
            verdicts.update([1]);
            verdicts.update(id.0);
            verdicts.update([log.to_wire(), index.to_wire()].concat());
        }
        Heard::Decided { id, verdict, .. } => {
            verdicts.update([2]);
            verdicts.update(id.0);
            verdicts.update([verdict.height.to_wire(), verdict.index.to_wire()].concat());
            verdicts.update(verdict.outcome.to_wire());
        }
        Heard::Blamed { by, code } => {
            verdicts.update([vec![3], by.to_wire(), code.to_wire()].concat());
        }
    }
}

fn conversation(number: u64, setup: &Setup) -> Conversation {
    let key = key("topic", number);
    let topic = Topic::group(&key.public_key());
    let shard = topic.shard(setup.registry.shard_count);
    Conversation { topic, key, shard, committee: setup.registry.committee(shard) }
}

/// A request as a gateway makes it, for one node or for the topic's shard.
#[must_use]
pub fn request(
    envelopes: &[ClientEnvelope],
    target: Target,
    signer: &SigningKey,
    setup: &Setup,
) -> PublishRequest {
    let ids: Vec<EnvelopeId> = envelopes.iter().map(|envelope| envelope.body.id()).collect();
    let not_after = envelopes.iter().map(|it| it.body.not_after).max().unwrap_or_default();
    let header = BatchHeader {
        version: PROTOCOL_VERSION,
        payer: PAYER,
        session_key: signer.public_key(),
        target,
        registry_epoch: setup.registry.epoch,
        not_after,
        max_fee: PicoDollars(u64::MAX),
        count: u32::try_from(ids.len()).unwrap_or(u32::MAX),
        root: BatchHeader::root_of(&ids),
    };
    let bytes = envelopes.iter().filter_map(|envelope| envelope.to_wire().try_into().ok());
    PublishRequest {
        version: PROTOCOL_VERSION,
        level: AckLevel::Replicated,
        batch: header.sign(signer, setup.network),
        envelopes: bytes.collect::<Vec<_>>().try_into().unwrap_or_default(),
        ids: ids.try_into().unwrap_or_default(),
    }
}

/// The request of an honest gateway for one envelope.
#[must_use]
pub fn honest_request(
    envelope: &ClientEnvelope,
    node: NodeId,
    shard: ShardId,
    setup: &Setup,
) -> PublishRequest {
    let target = match envelope.body.lane {
        Lane::Broadcast => Target::Node(node),
        Lane::Ordered => Target::Shard(shard),
    };
    request(std::slice::from_ref(envelope), target, &session_key(), setup)
}

/// Whether an outcome took effect.
#[must_use]
pub fn is_applied(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Applied { .. })
}

/// What authors send is kept for those who send it again.
impl Crowd {
    fn remembered(&mut self) -> Option<Arc<PublishRequest>> {
        self.rng.pick(&self.history).cloned().map(Arc::new)
    }
}
