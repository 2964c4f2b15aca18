//! A person who reads a topic from one node after another, with cursors that are good at any.

use std::collections::{BTreeMap, BTreeSet};

use tidings_envelope::api::{LogCursor, TopicEntry};
use tidings_envelope::{ClientEnvelope, LogId, Operation, OrderedReceipt, ParsedEnvelope};
use tidings_types::{EntryHash, EnvelopeId, Position, TopicIndex};

use super::Conversation;
use crate::setup::Setup;

/// How often a log may contradict the cursor before it is read again from its start.
const STRIKES_MAX: u32 = 4;

/// What a node shows of a topic.
#[derive(Debug, Default)]
pub struct Page {
    /// Entries of logs, in order within each.
    pub broadcast: Vec<TopicEntry>,
    /// Entries of the ordered lane, by position.
    pub ordered: Vec<OrderedReceipt>,
}

/// Somebody who reads.
#[derive(Debug)]
pub struct Reader {
    /// Which conversation.
    pub conversation: usize,
    /// How far each log is read.
    pub cursors: BTreeMap<LogId, LogCursor>,
    /// How far the ordered lane is read.
    pub position: Position,
    /// What was delivered.
    pub delivered: BTreeSet<EnvelopeId>,
    /// Which of the nodes is asked next.
    pub turn: usize,
    strikes: BTreeMap<LogId, u32>,
}

impl Reader {
    /// A reader who has read nothing.
    #[must_use]
    pub fn new(conversation: usize) -> Self {
        Self {
            conversation,
            cursors: BTreeMap::new(),
            position: Position(0),
            delivered: BTreeSet::new(),
            turn: 0,
            strikes: BTreeMap::new(),
        }
    }

    /// Takes a page; answers the envelopes that it delivers, and whether the page was in order.
    ///
    /// A page that is not in order moves no cursor past the fault, and another node is asked
    /// next.
    pub fn take(
        &mut self,
        page: &Page,
        conversation: &Conversation,
        setup: &Setup,
    ) -> (Vec<EnvelopeId>, bool) {
        let mut delivered = Vec::new();
        let mut faulty = BTreeSet::new();
        for entry in &page.broadcast {
            if faulty.contains(&entry.log) {
                continue;
            }
            match self.follow(entry, conversation, setup) {
                Ok(id) => delivered.extend(id.filter(|id| self.delivered.insert(*id))),
                Err(()) => {
                    faulty.insert(entry.log);
                    self.strike(entry.log);
                }
            }
        }
        let mut is_in_order = faulty.is_empty();
        for receipt in &page.ordered {
            match self.follow_ordered(receipt, conversation, setup) {
                Ok(id) => delivered.extend(Some(id).filter(|id| self.delivered.insert(*id))),
                Err(()) => {
                    is_in_order = false;
                    break;
                }
            }
        }
        if !is_in_order {
            self.turn += 1;
        }
        (delivered, is_in_order)
    }

    /// A log that goes on contradicting the cursor is one that its originator has forked; ids
    /// tell what was delivered.
    fn strike(&mut self, log: LogId) {
        let strikes = self.strikes.entry(log).or_default();
        *strikes += 1;
        if *strikes >= STRIKES_MAX {
            *strikes = 0;
            self.cursors.remove(&log);
        }
    }

    /// Moves the cursor over an entry; answers the envelope, unless it is to be set aside.
    fn follow(
        &mut self,
        entry: &TopicEntry,
        conversation: &Conversation,
        setup: &Setup,
    ) -> Result<Option<EnvelopeId>, ()> {
        let TopicEntry { log, entry } = entry;
        let cursor = self.cursors.get(log);
        let due = cursor.map_or((TopicIndex(0), EntryHash::default()), |it| (it.next, it.previous));
        let header = &entry.header;
        let is_next = (header.topic_index, header.previous) == due;
        if !is_next || header.topic != conversation.topic {
            return Err(());
        }
        let envelope = entry.open().ok_or(())?.envelope;
        let next = header.topic_index.plus(1);
        self.cursors.insert(*log, LogCursor { log: *log, next, previous: header.hash() });
        let is_genuine =
            envelope.body.id() == header.envelope_id && may_write(&envelope, conversation, setup);
        Ok(is_genuine.then(|| envelope.body.id()))
    }

    fn follow_ordered(
        &mut self,
        receipt: &OrderedReceipt,
        conversation: &Conversation,
        setup: &Setup,
    ) -> Result<EnvelopeId, ()> {
        let is_next = receipt.position() == Some(self.position.plus(1));
        let proves = setup.check_ordered(receipt).is_ok();
        let Operation::Envelope(envelope) = &receipt.decided.operation else { return Err(()) };
        if !is_next || !proves || envelope.envelope.body.topic != conversation.topic {
            return Err(());
        }
        self.position = self.position.plus(1);
        Ok(envelope.envelope.body.id())
    }
}

/// Whether the holder of the topic's key signed.
fn may_write(envelope: &ClientEnvelope, conversation: &Conversation, setup: &Setup) -> bool {
    let is_sound = envelope.body.topic == conversation.topic
        && ParsedEnvelope::check(envelope.clone()).is_ok();
    let statement = envelope.statement(setup.network);
    is_sound && statement.is_some_and(|statement| statement.verify().is_ok())
}
