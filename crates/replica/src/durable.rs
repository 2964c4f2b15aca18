//! What follows once a write set is on disk: serving, acknowledging, voting, answering.

use std::sync::Arc;

use tidings_envelope::{LogId, Operation, Outcome, SignedAcknowledgement};
use tidings_types::{ErrorCode, NodeId, ShardId};

use crate::effect::{Effect, Now, WriteTicket};
use crate::followed::FollowedLog;
use crate::replica::{AfterWrite, Replica};
use crate::requests::Fate;
use crate::store::{Decided, OrderedPlace, WriteSet};
use crate::wire::ControlFrame;

impl Replica {
    /// The write set is durable, and so is every one before it.
    pub fn persisted(&mut self, ticket: WriteTicket, now: Now) {
        self.storage_failing = false;
        while self.writes.front().is_some_and(|(oldest, ..)| *oldest <= ticket) {
            if let Some((_, set, after)) = self.writes.pop_front() {
                self.count_taken(&set);
                self.after_write(set, after, now);
            }
        }
        self.advance(now);
    }

    /// A write set could not be written; the shell goes on trying the same set.
    ///
    /// Whoever waits is told so; what was admitted may still become durable, and asking again
    /// with the same id is safe.
    pub fn storage_failed(&mut self, now: Now) {
        self.storage_failing = true;
        for (request, response) in
            self.requests.expire(now.monotonic_ms, Some(ErrorCode::StorageUnavailable))
        {
            self.effects.push_back(Effect::Reply(request, response));
        }
    }

    fn after_write(&mut self, set: WriteSet, after: AfterWrite, now: Now) {
        match after {
            AfterWrite::OwnFlush(shard, size) => {
                self.serve(set);
                if let Some(speaker) = self.speakers.get_mut(&shard) {
                    speaker.service.published(size, now.monotonic_ms);
                }
                if let Some(own) = self.own.get_mut(&shard) {
                    let served = own.is_durable(size);
                    self.settle_served(served);
                }
            }
            AfterWrite::Followed(log, size) => {
                self.serve(set);
                let followed = self.followed.get_mut(&log);
                let doubts = followed.map(|followed| followed.is_durable(size));
                self.acknowledge(log);
                for (peer, claim) in doubts.unwrap_or_default() {
                    self.compare(peer, claim, now);
                }
            }
            AfterWrite::Logged(shard, sequence) => {
                if let Some(lane) = self.lanes.get_mut(&shard) {
                    lane.agreement().logged(sequence);
                }
            }
            AfterWrite::Decided(shard, places) => {
                for decided in set.decided {
                    self.serve_block(shard, decided, places.clone());
                }
            }
            AfterWrite::Nothing => {}
        }
    }

    fn serve(&mut self, set: WriteSet) {
        for flush in set.flushes {
            self.effects.push_back(Effect::Serve(Arc::new(flush)));
        }
    }

    fn serve_block(&mut self, shard: ShardId, decided: Decided, places: Vec<OrderedPlace>) {
        let certified = Arc::new(decided.certified);
        self.effects.push_back(Effect::ServeBlock(Arc::clone(&certified), places));
        let mut receipts = None;
        let operations = certified.block.operations.iter();
        for (index, operation) in (0u32..).zip(operations) {
            let Operation::Envelope(envelope) = &operation.operation else {
                continue;
            };
            let body = &envelope.envelope.body;
            let id = body.id();
            let waiters = self.lanes.get_mut(&shard).map(|lane| lane.take_waiters(id));
            for waiter in waiters.unwrap_or_default() {
                let repeated = Outcome::Refused { code: ErrorCode::Repeated };
                let first_told = operation.outcome == repeated;
                if first_told && self.recall(waiter, shard, body.not_after, id) {
                    continue;
                }
                let receipts = receipts.get_or_insert_with(|| certified.receipts());
                let fate = match receipts.get(index) {
                    Some(receipt) => Fate::Ordered(Box::new(receipt)),
                    None => Fate::Refused(ErrorCode::Internal),
                };
                self.settle(waiter, fate);
            }
        }
    }

    /// Signs that everything up to the newest durable checkpoint is held (REP-006).
    pub(crate) fn acknowledge(&mut self, log: LogId) {
        let signer = &self.config;
        let held = self.followed.get(&log).and_then(FollowedLog::acknowledgeable);
        let Some((size, checkpoint)) = held.filter(|_| self.peers.contains(&log.node)) else {
            return;
        };
        let acknowledgement =
            SignedAcknowledgement::sign(signer.node, checkpoint, &signer.key, self.network);
        let frame = ControlFrame::Acknowledge { log, size, checkpoint, acknowledgement };
        self.effects.push_back(Effect::Control(log.node, frame));
    }

    pub(crate) fn acknowledge_all_of(&mut self, peer: NodeId) {
        let logs: Vec<LogId> =
            self.followed.keys().copied().filter(|log| log.node == peer).collect();
        logs.into_iter().for_each(|log| self.acknowledge(log));
    }
}
