//! The replica's state and what it answers about itself.
//!
//! `inputs`, `answers` and `durable` hold what changes it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tidings_envelope::{
    AdmissionContext, Checkpoint, CongestionHistory, LogId, Registry, RegistryHistory,
};
use tidings_order::{LaneState, OrderContext};
use tidings_payer::{Allowance, Due, Missing};
use tidings_types::node_key::NodeKey;
use tidings_types::{
    EnvelopeId, ErrorCode, EthereumAddress, Height, LogIndex, LogSize, NetworkId, NodeId, Period,
    ShardId,
};

use crate::effect::{Effect, Now, WriteTicket};
use crate::followed::FollowedLog;
use crate::inquiry::Inquiry;
use crate::lane::Lane;
use crate::offences::Offences;
use crate::own_log::{OwnLog, Signing};
use crate::requests::Requests;
use crate::statement::Speaker;
use crate::store::{OrderedPlace, Restored, WriteSet};

/// The congestion factors of several shards (FEE-010).
pub type CongestionByShard = BTreeMap<ShardId, Arc<CongestionHistory>>;

/// Who the replica is, and what it is told once.
#[derive(Debug)]
pub struct ReplicaConfig {
    /// The node's number.
    pub node: NodeId,
    /// Signs checkpoints, acknowledgements and votes.
    pub key: NodeKey,
    /// Tells this process from others with the same key; 32 random bytes.
    pub nonce: [u8; 32],
    /// How long a publish request waits, in milliseconds.
    pub publish_timeout_ms: u64,
}

/// What was found in storage cannot be gone on from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A log's frontier does not fit its checkpoint.
    #[error("the stored log {0} is damaged")]
    Log(LogId),
    /// A shard's ordered state does not decode.
    #[error("the stored ordered state of shard {0} is damaged")]
    Lane(ShardId),
}

/// An entry of this node that a client may still ask about again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentEntry {
    /// Which envelope.
    pub id: EnvelopeId,
    /// In which of the node's logs.
    pub log: LogId,
    /// Where in it.
    pub index: LogIndex,
    /// The period in which it was admitted.
    pub fee_period: Period,
    /// What it is billed as.
    pub due: Due,
}

/// What a shard looks like from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardStatus {
    /// Which shard.
    pub shard: ShardId,
    /// The height of its last final block known here.
    pub height: Height,
    /// The larger of the congestion factors of its period and of the next (FEE-010).
    pub congestion_permille: u32,
    /// The log that this process writes, once its incarnation is open.
    pub log: Option<LogId>,
    /// Another process has this node's key.
    pub superseded: bool,
    /// Two certificates for one height have stopped its ordered lane.
    pub halted: bool,
}

/// What happens once a write set is durable.
#[derive(Debug)]
pub(crate) enum AfterWrite {
    OwnFlush(ShardId, LogSize),
    Followed(LogId, LogSize),
    Logged(ShardId, u64),
    Decided(ShardId, Vec<OrderedPlace>),
    Nothing,
}

/// Everything that a node decides by.
pub struct Replica {
    pub(crate) config: ReplicaConfig,
    pub(crate) network: NetworkId,
    pub(crate) registries: Arc<RegistryHistory>,
    pub(crate) own: BTreeMap<ShardId, OwnLog>,
    pub(crate) followed: BTreeMap<LogId, FollowedLog>,
    pub(crate) lanes: BTreeMap<ShardId, Lane>,
    pub(crate) superseded: BTreeSet<ShardId>,
    pub(crate) peers: BTreeSet<NodeId>,
    pub(crate) requests: Requests,
    /// Where each recently admitted envelope went, for repeats.
    pub(crate) recent: BTreeMap<EnvelopeId, (LogId, LogIndex)>,
    /// The same by the period of admission, oldest first.
    pub(crate) recent_order: VecDeque<(Period, EnvelopeId)>,
    /// What was taken from payers, against their caps.
    pub(crate) allowance: Allowance,
    pub(crate) writes: VecDeque<(WriteTicket, WriteSet, AfterWrite)>,
    pub(crate) next_ticket: u64,
    pub(crate) storage_failing: bool,
    pub(crate) draining: bool,
    pub(crate) offences: Offences,
    /// What this node says of each of its shards.
    pub(crate) speakers: BTreeMap<ShardId, Speaker>,
    /// Comparisons of logs with peers that are under way.
    pub(crate) inquiries: BTreeMap<(LogId, NodeId), Inquiry>,
    /// What a peer has shown of a log and was found to contradict nothing.
    pub(crate) settled: BTreeMap<(LogId, NodeId), Checkpoint>,
    /// How many proofs are being looked up for each peer.
    pub(crate) proofs_for: BTreeMap<NodeId, usize>,
    /// Why a peer's last stretch of a log was refused, so that it is told once.
    pub(crate) refused: BTreeMap<(LogId, NodeId), ErrorCode>,
    /// The sizes of the checkpoints that peers were shown last.
    pub(crate) shown_sizes: BTreeMap<LogId, LogSize>,
    /// What logs wait for, so that each is told once.
    pub(crate) awaited: BTreeMap<LogId, Missing>,
    /// Sizes that peers were told last.
    pub(crate) told: BTreeMap<LogId, LogSize>,
    pub(crate) told_at_ms: u64,
    pub(crate) told_all_at_ms: u64,
    pub(crate) effects: VecDeque<Effect>,
}

impl Replica {
    /// A replica that goes on from what storage holds.
    ///
    /// `registries` are all snapshots known, in storage too.
    ///
    /// # Errors
    /// [`RestoreError`] when storage is damaged.
    pub fn restore(
        config: ReplicaConfig,
        registries: Arc<RegistryHistory>,
        restored: Restored,
        recent: Vec<RecentEntry>,
    ) -> Result<Self, RestoreError> {
        let (network, registry) = (registries.network(), registries.latest());
        let mut followed = BTreeMap::new();
        for (log, stored) in restored.logs {
            let restored = FollowedLog::restore(log, stored, network);
            followed.insert(log, restored.ok_or(RestoreError::Log(log))?);
        }
        let mut lanes = BTreeMap::new();
        let mut stored_lanes = restored.lanes;
        for shard in registry.shards_of(config.node) {
            stored_lanes.entry(shard).or_default();
        }
        // What this node followed before it goes on following, member or not.
        for (shard, stored) in stored_lanes {
            let lane = Lane::restore(shard, stored, config.nonce);
            lanes.insert(shard, lane.map_err(|_| RestoreError::Lane(shard))?);
        }
        let mut recent_order: Vec<_> =
            recent.iter().map(|entry| (entry.fee_period, entry.id)).collect();
        recent_order.sort_unstable();
        let mut allowance = Allowance::default();
        recent.iter().for_each(|entry| allowance.take(&entry.due));
        let mut replica = Self {
            config,
            network,
            registries,
            own: BTreeMap::new(),
            followed,
            lanes,
            superseded: BTreeSet::new(),
            peers: BTreeSet::new(),
            requests: Requests::default(),
            recent: recent.into_iter().map(|entry| (entry.id, (entry.log, entry.index))).collect(),
            recent_order: recent_order.into(),
            allowance,
            writes: VecDeque::new(),
            next_ticket: 0,
            storage_failing: false,
            draining: false,
            offences: Offences::default(),
            speakers: BTreeMap::new(),
            inquiries: BTreeMap::new(),
            settled: BTreeMap::new(),
            proofs_for: BTreeMap::new(),
            refused: BTreeMap::new(),
            shown_sizes: BTreeMap::new(),
            awaited: BTreeMap::new(),
            told: BTreeMap::new(),
            told_at_ms: 0,
            told_all_at_ms: 0,
            effects: VecDeque::new(),
        };
        replica.restore_evidence(&restored.evidence);
        Ok(replica)
    }

    /// Which node this is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.config.node
    }

    /// The address of the key under which this node signs.
    #[must_use]
    pub fn signing_address(&self) -> EthereumAddress {
        self.config.key.address()
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// The registry snapshot in force.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        self.registries.latest()
    }

    /// Every registry snapshot known here.
    #[must_use]
    pub fn registries(&self) -> &Arc<RegistryHistory> {
        &self.registries
    }

    /// Protocol time: the latest period of any shard followed here.
    #[must_use]
    pub fn period(&self) -> Period {
        self.lanes.values().map(|lane| lane.state().period()).max().unwrap_or_default()
    }

    /// A shard's ordered state, if this node follows it.
    #[must_use]
    pub fn lane_state(&self, shard: ShardId) -> Option<&LaneState> {
        self.lanes.get(&shard).map(Lane::state)
    }

    /// The congestion factors of each shard followed here (FEE-010).
    #[must_use]
    pub fn congestion(&self) -> CongestionByShard {
        let of = |(shard, lane): (&ShardId, &Lane)| (*shard, Arc::clone(lane.state().congestion()));
        self.lanes.iter().map(of).collect()
    }

    /// Each shard followed here.
    pub fn shards(&self) -> impl Iterator<Item = ShardStatus> {
        self.lanes.iter().map(|(shard, lane)| ShardStatus {
            shard: *shard,
            height: lane.state().height(),
            congestion_permille: lane.state().congestion().foreseen_permille(),
            log: self.own.get(shard).map(OwnLog::id),
            superseded: self.superseded.contains(shard),
            halted: lane.is_halted(),
        })
    }

    /// How much of each log is durable here.
    #[must_use]
    pub fn durable_logs(&self) -> BTreeMap<LogId, LogSize> {
        let followed = self.followed.iter().map(|(log, followed)| (*log, followed.durable()));
        followed.chain(self.own.values().map(|own| (own.id(), own.size()))).collect()
    }

    /// Whether every shard of this node can take envelopes.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.storage_failing
            && !self.draining
            && self.lanes.keys().all(|shard| self.own.contains_key(shard))
    }

    /// Whether storage has failed and not yet recovered.
    #[must_use]
    pub fn storage_is_failing(&self) -> bool {
        self.storage_failing
    }

    /// How many write sets are not durable yet; the shell slows down when they pile up.
    #[must_use]
    pub fn writes_outstanding(&self) -> usize {
        self.writes.len()
    }

    /// What admission depends on, for [`crate::prepare_publish`].
    #[must_use]
    pub fn admission(&self) -> AdmissionContext<'_> {
        AdmissionContext {
            network: self.network,
            registries: &self.registries,
            period: self.period(),
            node: self.config.node,
        }
    }

    /// The next thing to be done, until there is none.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When `tick` is due next, in monotonic milliseconds, if before the shell's regular tick.
    #[must_use]
    pub fn poll_timeout_ms(&self) -> Option<u64> {
        let flush = self.own.values().filter_map(OwnLog::flush_due_ms).min();
        let period_ms = self.registry().period_ms;
        let lanes = self.lanes.values().filter_map(|lane| lane.next_due_ms(period_ms)).min();
        flush.into_iter().chain(lanes).chain(self.requests.next_deadline_ms()).min()
    }

    pub(crate) fn signing(&self) -> Signing<'_> {
        Signing { key: &self.config.key, network: self.network, period: self.period() }
    }

    /// Runs `input` on a shard's lane with the context that orderers need.
    pub(crate) fn with_lane<R>(
        &mut self,
        shard: ShardId,
        now: Now,
        input: impl FnOnce(&mut Lane, OrderContext<'_>) -> R,
    ) -> Option<R> {
        let latest_period = self.period();
        let lane = self.lanes.get_mut(&shard)?;
        let context = OrderContext {
            network: self.network,
            registries: &self.registries,
            node: self.config.node,
            key: &self.config.key,
            now_ms: now.monotonic_ms,
            latest_period,
        };
        Some(input(lane, context))
    }

    pub(crate) fn persist(&mut self, set: WriteSet, after: AfterWrite) {
        let ticket = WriteTicket(self.next_ticket);
        self.next_ticket += 1;
        self.effects.push_back(Effect::Persist(ticket, set.clone()));
        self.writes.push_back((ticket, set, after));
    }
}
