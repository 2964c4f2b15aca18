//! Publish requests: how each envelope is taken, and how its fate becomes an answer.

use tidings_envelope::api::AcknowledgedCheckpoint;
use tidings_envelope::{EntryHeader, LogId, MerklePath, Operation, OrderedReceipt};
use tidings_payer::Due;
use tidings_types::{EnvelopeId, ErrorCode, LogIndex, Period, ShardId, mutant};

use crate::effect::{Effect, Now, RequestId};
use crate::lane::Lane;
use crate::own_log::{Found, Served};
use crate::publish::{BroadcastItem, Item, PreparedPublish};
use crate::replica::Replica;
use crate::requests::{Fate, Waiter};

impl Replica {
    /// Takes a publish request; [`Effect::Reply`] answers it.
    pub fn publish(&mut self, request: RequestId, prepared: PreparedPublish, now: Now) {
        let late = |item: &Item| match item {
            Item::Ordered { .. } => ErrorCode::OrderingUnavailable,
            Item::Broadcast(_) | Item::Refused { .. } => ErrorCode::ReplicationPending,
        };
        let when_late = prepared.items.iter().map(late).collect();
        let deadline_ms = now.monotonic_ms.saturating_add(self.config.publish_timeout_ms);
        self.requests.open(request, prepared.level, when_late, deadline_ms);
        if let Some(response) = self.requests.close_if_empty(request) {
            self.effects.push_back(Effect::Reply(request, response));
        }
        for (item, content) in prepared.items.into_iter().enumerate() {
            let waiter = Waiter { request, item };
            let refused = match content {
                Item::Refused { id, code } => self.answer_repeat(waiter, id).err().map(|()| code),
                _ if self.draining => Some(ErrorCode::ShuttingDown),
                _ if self.storage_failing => Some(ErrorCode::StorageUnavailable),
                Item::Broadcast(item) => self.publish_broadcast(waiter, *item).err(),
                Item::Ordered { id, not_after, shard, operation } => {
                    match self.recall(waiter, shard, not_after, id) {
                        true => None,
                        false => self.publish_ordered(waiter, id, shard, *operation, now).err(),
                    }
                }
            };
            if let Some(code) = refused {
                self.settle(waiter, Fate::Refused(code));
            }
        }
        self.advance(now);
    }

    fn publish_broadcast(&mut self, waiter: Waiter, item: BroadcastItem) -> Result<(), ErrorCode> {
        let id = item.id;
        if !mutant!(ForgetIds) && self.answer_stored(waiter, id) {
            return Ok(());
        }
        if self.superseded.contains(&item.shard) {
            return Err(ErrorCode::ShuttingDown);
        }
        let level = self.requests.level(waiter.request).ok_or(ErrorCode::Internal)?;
        let due = Due::of(&item.header, item.shard);
        self.check_allowance(&due)?;
        let own = self.own.get_mut(&item.shard).ok_or(ErrorCode::NotReady)?;
        let index = own.push(item, waiter, level)?;
        self.recent.insert(id, (own.id(), index));
        self.recent_order.push_back((due.period, id));
        self.allowance.take(&due);
        Ok(())
    }

    fn publish_ordered(
        &mut self,
        waiter: Waiter,
        id: EnvelopeId,
        shard: ShardId,
        operation: Operation,
        now: Now,
    ) -> Result<(), ErrorCode> {
        self.with_lane(shard, now, |lane, context| lane.submit(id, operation, waiter, context))
            .unwrap_or(Err(ErrorCode::WrongShard))
    }

    /// Whether this node takes so much from the payer (FEE-009).
    fn check_allowance(&mut self, due: &Due) -> Result<(), ErrorCode> {
        let latest = self.registries.latest();
        let state = self.lanes.get(&due.shard).map(Lane::state);
        let epoch = state.and_then(|state| state.congestion().epoch(due.period));
        let of_period = epoch.and_then(|epoch| self.registries.at(epoch)).unwrap_or(latest);
        match self.allowance.has_room(due, latest, of_period) {
            true => Ok(()),
            false => Err(ErrorCode::PayerOverCap),
        }
    }

    /// Answers an envelope that came before, if this is one (ENV-010).
    fn answer_repeat(
        &mut self,
        waiter: Waiter,
        id: Option<(EnvelopeId, Period)>,
    ) -> Result<(), ()> {
        let (id, not_after) = id.ok_or(())?;
        let shards: Vec<ShardId> = self.lanes.keys().copied().collect();
        let recalled = shards.into_iter().any(|shard| self.recall(waiter, shard, not_after, id));
        if recalled || self.answer_stored(waiter, id) { Ok(()) } else { Err(()) }
    }

    /// Asks the shell for a decision of the ordered lane, if there was one.
    pub(crate) fn recall(
        &mut self,
        waiter: Waiter,
        shard: ShardId,
        not_after: Period,
        id: EnvelopeId,
    ) -> bool {
        let state = self.lane_state(shard);
        let Some((height, index)) = state.and_then(|state| state.decision(not_after, id)) else {
            return false;
        };
        let Waiter { request, item } = waiter;
        self.effects.push_back(Effect::Recall { request, item, shard, height, index });
        true
    }

    /// Lets a repeat of a broadcast envelope wait for, or be given, the first one's receipt.
    fn answer_stored(&mut self, waiter: Waiter, id: EnvelopeId) -> bool {
        let Some((log, index)) = self.recent.get(&id).copied() else {
            return false;
        };
        let level = self.requests.level(waiter.request);
        let own = self.own.get_mut(&log.shard).filter(|own| own.id() == log);
        let against = match (own, level) {
            (Some(own), Some(level)) => match own.wait(index, waiter, level) {
                Found::Waiting => {
                    let served = own.serve();
                    self.settle_served(served);
                    return true;
                }
                Found::InStorage => own.covered(),
            },
            _ => None,
        };
        match against {
            Some(against) if against.checkpoint.checkpoint.size.0 > index.0 => {
                self.prove(waiter, log, index, against);
            }
            // It is in a log of an earlier start, whose acknowledgements are not at hand; another
            // node can take it, and readers tell it by its id.
            _ => self.settle(waiter, Fate::Refused(ErrorCode::NotReady)),
        }
        true
    }

    /// The shell's answer to [`Effect::Prove`].
    pub fn proved(
        &mut self,
        request: RequestId,
        item: usize,
        against: AcknowledgedCheckpoint,
        found: Option<(EntryHeader, MerklePath)>,
    ) {
        let fate = match found {
            Some((header, path)) => Fate::Stored { header, path, covered: against },
            None => Fate::Refused(ErrorCode::StorageUnavailable),
        };
        self.settle(Waiter { request, item }, fate);
    }

    /// The shell's answer to [`Effect::Recall`].
    pub fn recalled(&mut self, request: RequestId, item: usize, found: Option<OrderedReceipt>) {
        let fate = match found {
            Some(receipt) => Fate::Ordered(Box::new(receipt)),
            None => Fate::Refused(ErrorCode::StorageUnavailable),
        };
        self.settle(Waiter { request, item }, fate);
    }

    pub(crate) fn settle(&mut self, waiter: Waiter, fate: Fate) {
        if let Some(response) = self.requests.settle(waiter, fate) {
            self.effects.push_back(Effect::Reply(waiter.request, response));
        }
    }

    pub(crate) fn settle_served(&mut self, served: Vec<Served>) {
        for Served { waiter, log, index, proven, covered } in served {
            match proven {
                Some((header, path)) => {
                    self.settle(waiter, Fate::Stored { header, path, covered });
                }
                None => self.prove(waiter, log, index, covered),
            }
        }
    }

    /// Has storage prove an entry under a checkpoint that enough replicas hold.
    fn prove(
        &mut self,
        waiter: Waiter,
        log: LogId,
        index: LogIndex,
        against: AcknowledgedCheckpoint,
    ) {
        let (Waiter { request, item }, against) = (waiter, Box::new(against));
        self.effects.push_back(Effect::Prove { request, item, log, index, against });
    }
}
