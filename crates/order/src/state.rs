//! The ordered state of a shard as typed keys and values, and the tree that proves them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidings_envelope::{
    BlockHeader, CongestionHistory, Settled, StateBranch, StateKey, StateLeaf, Topic, TopicHead,
    state_value_hash,
};
use tidings_identity::AssociationState;
use tidings_types::{
    BlockHash, BoundedBytes, EnvelopeId, EthereumAddress, Hash, Height, InboxId, Incarnation,
    NodeId, OffenceId, Period, PicoDollars, RegistryEpoch, Wire, labelled_hash, sparse_merkle,
};

use crate::state_tree::StateTree;

/// What the ordered state maps to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateValue {
    /// For [`StateKey::Period`] and [`StateKey::Attestation`].
    Period(Period),
    /// For [`StateKey::Statement`]: of which period, and how many bytes were taken.
    Statement(Period, u64),
    /// For [`StateKey::Topic`].
    Topic(TopicHead),
    /// For [`StateKey::Inbox`].
    Inbox(Box<AssociationState>),
    /// For [`StateKey::Account`].
    Account(InboxId),
    /// For [`StateKey::Incarnation`]: the number and the nonce of the process that opened it.
    Incarnation(Incarnation, [u8; 32]),
    /// For [`StateKey::Decided`] and [`StateKey::Offence`]: the height and operation index of
    /// the decision.
    Decided(Height, u32),
    /// For [`StateKey::Decisions`]: covers them in the order in which they were made.
    Decisions(Hash),
    /// For [`StateKey::Congestion`], in thousandths.
    Congestion(u32),
    /// For [`StateKey::Epoch`] and [`StateKey::Signer`].
    Epoch(RegistryEpoch),
    /// For [`StateKey::OperationFees`].
    Fees(PicoDollars),
}

/// Stored bytes are not an ordered state, or not the one that the last block certifies; the
/// storage is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored ordered state is damaged")]
pub struct StateCorrupt;

impl StateValue {
    /// The period that somebody has come to.
    pub(crate) fn period(&self) -> Option<Period> {
        match self {
            Self::Period(period) | Self::Statement(period, _) => Some(*period),
            _ => None,
        }
    }

    fn as_congestion(&self) -> Option<u32> {
        match self {
            Self::Congestion(permille) => Some(*permille),
            _ => None,
        }
    }

    pub(crate) fn as_epoch(&self) -> Option<RegistryEpoch> {
        match self {
            Self::Epoch(epoch) => Some(*epoch),
            _ => None,
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Period(period) => period.to_wire(),
            Self::Topic(head) => head.to_wire(),
            Self::Inbox(state) => state.to_wire(),
            Self::Account(inbox) => inbox.to_wire(),
            Self::Incarnation(number, nonce) => [number.to_wire(), nonce.to_vec()].concat(),
            Self::Decided(height, index) => [height.to_wire(), index.to_wire()].concat(),
            Self::Decisions(digest) => digest.to_vec(),
            Self::Statement(period, taken) => [period.to_wire(), taken.to_wire()].concat(),
            Self::Congestion(permille) => permille.to_wire(),
            Self::Epoch(epoch) => epoch.to_wire(),
            Self::Fees(fees) => fees.to_wire(),
        }
    }

    fn from_bytes(key: &StateKey, bytes: &[u8]) -> Option<Self> {
        Some(match key {
            StateKey::Period | StateKey::Attestation(_) => {
                Self::Period(Period::from_wire(bytes).ok()?)
            }
            StateKey::Statement(_) => {
                let (period, taken) = bytes.split_first_chunk::<8>()?;
                Self::Statement(Period(u64::from_be_bytes(*period)), u64::from_wire(taken).ok()?)
            }
            StateKey::Congestion(_) => Self::Congestion(u32::from_wire(bytes).ok()?),
            StateKey::Epoch(_) | StateKey::Signer(..) => {
                Self::Epoch(RegistryEpoch::from_wire(bytes).ok()?)
            }
            StateKey::OperationFees(_) => Self::Fees(PicoDollars::from_wire(bytes).ok()?),
            StateKey::Topic(_) => Self::Topic(TopicHead::from_wire(bytes).ok()?),
            StateKey::Inbox(_) => Self::Inbox(Box::new(AssociationState::from_wire(bytes).ok()?)),
            StateKey::Account(_) => Self::Account(InboxId::from_wire(bytes).ok()?),
            StateKey::Incarnation(_) => {
                let (number, nonce) = bytes.split_first_chunk::<4>()?;
                Self::Incarnation(Incarnation(u32::from_be_bytes(*number)), nonce.try_into().ok()?)
            }
            StateKey::Decided(..) | StateKey::Offence(..) => {
                let (height, index) = bytes.split_first_chunk::<8>()?;
                Self::Decided(Height(u64::from_be_bytes(*height)), u32::from_wire(index).ok()?)
            }
            StateKey::Decisions(_) => Self::Decisions(bytes.try_into().ok()?),
        })
    }
}

/// New values by key; `None` deletes. Ordered, so that its bytes are canonical.
pub(crate) type Changes = BTreeMap<StateKey, Option<StateValue>>;

/// Changes as storage takes them.
pub(crate) fn stored(changes: &Changes) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let pair = |(key, value): (&StateKey, &Option<StateValue>)| {
        (key.to_wire(), value.as_ref().map(StateValue::to_bytes))
    };
    changes.iter().map(pair).collect()
}

/// The digest of an expiry's decisions with one more (ORD-031).
pub(crate) fn digest_with(before: Hash, id: EnvelopeId, height: Height, index: u32) -> Hash {
    let place = [height.to_wire(), index.to_wire()].concat();
    labelled_hash("decisions", &[&before, &id.0, &place])
}

/// The congestion factors and epochs of periods that a state holds.
fn congestion_in(entries: &BTreeMap<StateKey, StateValue>) -> CongestionHistory {
    let current = entries.get(&StateKey::Period).and_then(StateValue::period).unwrap_or_default();
    let factors = entries.range(StateKey::Congestion(Period(0))..);
    let factors = factors.map_while(|(key, value)| match key {
        StateKey::Congestion(from) => Some((*from, value.as_congestion()?)),
        _ => None,
    });
    let epochs = entries.range(StateKey::Epoch(Period(0))..);
    let epochs = epochs.map_while(|(key, value)| match key {
        StateKey::Epoch(from) => Some((*from, value.as_epoch()?)),
        _ => None,
    });
    CongestionHistory::restore(current, factors.collect(), epochs.collect())
}

/// The ordered state of a shard after its last final block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneState {
    height: Height,
    head: BlockHash,
    epoch: Option<RegistryEpoch>,
    entries: BTreeMap<StateKey, StateValue>,
    tree: StateTree,
    congestion: Arc<CongestionHistory>,
}

impl LaneState {
    /// The state that storage holds, if it is the one that `head` certifies.
    ///
    /// # Errors
    /// [`StateCorrupt`] when a key or value does not decode, or all of them together give
    /// another root than the header's (ORD-004), or decisions another digest (ORD-031).
    pub fn restore(
        head: Option<&BlockHeader>,
        stored: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<Self, StateCorrupt> {
        let (mut entries, mut leaves) = (BTreeMap::new(), BTreeMap::new());
        for (key, value) in stored {
            let (key, bytes) = (StateKey::from_wire(key).map_err(|_| StateCorrupt)?, value);
            let value = StateValue::from_bytes(&key, bytes).ok_or(StateCorrupt)?;
            entries.insert(key, value);
            leaves.extend(key.path().map(|path| (path, Some(state_value_hash(bytes)))));
        }
        let tree = StateTree::default().with(&leaves);
        let epoch = head.map(|header| header.next_epoch);
        let (height, head, root) = match head {
            None => Default::default(),
            Some(header) => (header.height, header.hash(), Some(header.state_root)),
        };
        let congestion = Arc::new(congestion_in(&entries));
        let state = Self { height, head, epoch, entries, tree, congestion };
        match root.unwrap_or(sparse_merkle::EMPTY) == state.tree.root() && state.digests_agree() {
            true => Ok(state),
            false => Err(StateCorrupt),
        }
    }

    /// Whether the digests that the tree holds cover the decisions and nothing else.
    fn digests_agree(&self) -> bool {
        let mut made: BTreeMap<Period, Vec<(Height, u32, EnvelopeId)>> = BTreeMap::new();
        let mut held = BTreeMap::new();
        for (key, value) in &self.entries {
            match (key, value) {
                (StateKey::Decided(expiry, id), StateValue::Decided(height, index)) => {
                    made.entry(*expiry).or_default().push((*height, *index, *id));
                }
                (StateKey::Decisions(expiry), StateValue::Decisions(digest)) => {
                    held.insert(*expiry, *digest);
                }
                _ => {}
            }
        }
        let digest = |(expiry, mut decisions): (Period, Vec<(Height, u32, EnvelopeId)>)| {
            decisions.sort_unstable();
            let with = |before, (height, index, id)| digest_with(before, id, height, index);
            (expiry, decisions.into_iter().fold(Hash::default(), with))
        };
        made.into_iter().map(digest).eq(held)
    }

    /// The height of the last final block; 0 before the first.
    #[must_use]
    pub fn height(&self) -> Height {
        self.height
    }

    /// The hash of the last final block; zero before the first.
    #[must_use]
    pub fn head(&self) -> BlockHash {
        self.head
    }

    /// The registry epoch of the next block (ORD-013).
    #[must_use]
    pub fn epoch(&self) -> RegistryEpoch {
        self.epoch.unwrap_or(RegistryEpoch::FIRST)
    }

    /// The current period.
    #[must_use]
    pub fn period(&self) -> Period {
        self.period_at(&StateKey::Period)
    }

    /// The last period of which a member made its statement (SET-023); 0 before the first.
    #[must_use]
    pub fn stated(&self, node: NodeId) -> Period {
        self.period_at(&StateKey::Statement(node))
    }

    /// The period of a member's last statement, and what it had taken by that, in bytes.
    pub(crate) fn statement(&self, node: NodeId) -> Option<(Period, u64)> {
        match self.value(&StateKey::Statement(node)) {
            Some(StateValue::Statement(period, taken)) => Some((*period, *taken)),
            _ => None,
        }
    }

    /// The congestion factors of the shard's periods (FEE-010).
    #[must_use]
    pub fn congestion(&self) -> &Arc<CongestionHistory> {
        &self.congestion
    }

    /// The last period of the usage report that a member attested last (SET-024); 0 before the
    /// first.
    #[must_use]
    pub fn attested(&self, node: NodeId) -> Period {
        self.period_at(&StateKey::Attestation(node))
    }

    fn period_at(&self, key: &StateKey) -> Period {
        self.value(key).and_then(StateValue::period).unwrap_or_default()
    }

    /// Where a topic stands.
    #[must_use]
    pub fn topic(&self, topic: Topic) -> TopicHead {
        match self.value(&StateKey::Topic(topic)) {
            Some(StateValue::Topic(head)) => *head,
            _ => TopicHead::default(),
        }
    }

    /// An inbox's state, if the inbox exists.
    #[must_use]
    pub fn inbox(&self, inbox: InboxId) -> Option<&AssociationState> {
        match self.value(&StateKey::Inbox(inbox)) {
            Some(StateValue::Inbox(state)) => Some(state),
            _ => None,
        }
    }

    /// The inbox that an account joined last and still belongs to.
    #[must_use]
    pub fn inbox_of(&self, account: EthereumAddress) -> Option<InboxId> {
        match self.value(&StateKey::Account(account)) {
            Some(StateValue::Account(inbox)) => Some(*inbox),
            _ => None,
        }
    }

    /// A node's last incarnation and the nonce of the process that opened it.
    #[must_use]
    pub fn incarnation(&self, node: NodeId) -> (Incarnation, [u8; 32]) {
        match self.value(&StateKey::Incarnation(node)) {
            Some(StateValue::Incarnation(number, nonce)) => (*number, *nonce),
            _ => (Incarnation::default(), [0; 32]),
        }
    }

    /// The epochs whose keys signed a node's logs, from the incarnation on that each is noted at,
    /// the newest first; those of `until` or before.
    pub(crate) fn signer_epochs(
        &self,
        node: NodeId,
        until: Incarnation,
    ) -> impl Iterator<Item = RegistryEpoch> {
        let known = StateKey::Signer(node, Incarnation(0))..=StateKey::Signer(node, until);
        self.entries.range(known).rev().filter_map(|(_, value)| value.as_epoch())
    }

    /// Where an envelope with this expiry was decided on, as height and operation index.
    #[must_use]
    pub fn decision(&self, not_after: Period, id: EnvelopeId) -> Option<(Height, u32)> {
        match self.value(&StateKey::Decided(not_after, id)) {
            Some(StateValue::Decided(height, index)) => Some((*height, *index)),
            _ => None,
        }
    }

    /// Where a node's offence was recorded, as height and operation index.
    #[must_use]
    pub fn offence(&self, node: NodeId, offence: OffenceId) -> Option<(Height, u32)> {
        match self.value(&StateKey::Offence(node, offence)) {
            Some(StateValue::Decided(height, index)) => Some((*height, *index)),
            _ => None,
        }
    }

    /// Every offence recorded, by node.
    pub fn offences(&self) -> impl Iterator<Item = (NodeId, OffenceId)> {
        let from = StateKey::Offence(NodeId(0), OffenceId([0; 32]));
        self.entries.range(from..).map_while(|(key, _)| match key {
            StateKey::Offence(node, offence) => Some((*node, *offence)),
            _ => None,
        })
    }

    /// What the state holds under `key`, as proved by the root that the last block certifies.
    ///
    /// None for single decisions, which are not in the tree (ORD-031).
    #[must_use]
    pub fn prove(&self, key: &StateKey) -> Option<StateBranch> {
        let mut branch = self.tree.branch(&key.path()?)?;
        if matches!(branch.leaf, StateLeaf::Digest(_)) {
            let value = self.value(key)?;
            if !matches!(value, StateValue::Inbox(_)) {
                branch.leaf = StateLeaf::Value(BoundedBytes::new(value.to_bytes()).ok()?);
            }
        }
        Some(branch)
    }

    pub(crate) fn value(&self, key: &StateKey) -> Option<&StateValue> {
        self.entries.get(key)
    }

    /// The decisions that expired before `period`, oldest first, and then their digests.
    pub(crate) fn decisions_before(&self, period: Period) -> impl Iterator<Item = StateKey> {
        let from = StateKey::Decided(Period(0), EnvelopeId([0; 32]));
        let to = StateKey::Decided(period, EnvelopeId([0; 32]));
        let digests = StateKey::Decisions(Period(0))..StateKey::Decisions(period);
        self.entries.range(from..to).chain(self.entries.range(digests)).map(|(key, _)| *key)
    }

    /// The payers that owe for operations of the current period.
    pub(crate) fn with_operation_fees(&self) -> impl Iterator<Item = StateKey> {
        let all = StateKey::OperationFees(EthereumAddress([0; 20]))..;
        let keys = self.entries.range(all).map(|(key, _)| *key);
        keys.take_while(|key| matches!(key, StateKey::OperationFees(_)))
    }

    /// The tree after these changes; its root is what the next block's header carries (ORD-004).
    pub(crate) fn tree_after(&self, changes: &Changes) -> StateTree {
        let leaf = |(key, value): (&StateKey, &Option<StateValue>)| {
            let value = value.as_ref().map(|value| state_value_hash(&value.to_bytes()));
            Some((key.path()?, value))
        };
        self.tree.with(&changes.iter().filter_map(leaf).collect())
    }

    /// Takes over the changes of a block that became final, and the tree after them.
    pub(crate) fn advance(&mut self, header: &BlockHeader, changes: Changes, tree: StateTree) {
        if changes.contains_key(&StateKey::Period) {
            let next = header.period.plus(1);
            let value = |key| changes.get(&key).and_then(Option::as_ref);
            let settled = Settled {
                permille: value(StateKey::Congestion(next)).and_then(StateValue::as_congestion),
                epoch: value(StateKey::Epoch(next)).and_then(StateValue::as_epoch),
            };
            Arc::make_mut(&mut self.congestion).begin(header.period, settled);
        }
        for (key, value) in changes {
            match value {
                Some(value) => self.entries.insert(key, value),
                None => self.entries.remove(&key),
            };
        }
        self.height = header.height;
        self.head = header.hash();
        self.epoch = Some(header.next_epoch);
        self.tree = tree;
    }
}
