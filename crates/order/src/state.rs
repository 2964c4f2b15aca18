//! The ordered state of a shard as typed keys and values.

use std::collections::BTreeMap;

use tidings_envelope::{BlockHeader, Topic};
use tidings_identity::AssociationState;
use tidings_types::{
    BlockHash, EnvelopeId, EthereumAddress, Hash, Height, InboxId, Incarnation, NodeId, OffenceId,
    OperationHash, Period, Position, RegistryEpoch, Wire, labelled_hash,
};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

/// What the ordered state maps from.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    TlsSize,
    TlsSerialize,
    TlsDeserializeBytes,
)]
#[repr(u8)]
pub enum StateKey {
    /// The current period.
    #[tls_codec(discriminant = 1)]
    Period,
    /// A topic's position and last operation.
    #[tls_codec(discriminant = 2)]
    Topic(Topic),
    /// An inbox's association state.
    #[tls_codec(discriminant = 3)]
    Inbox(InboxId),
    /// The inbox that an account joined last.
    #[tls_codec(discriminant = 4)]
    Account(EthereumAddress),
    /// A node's last incarnation in this shard.
    #[tls_codec(discriminant = 5)]
    Incarnation(NodeId),
    /// An envelope that was decided on, kept until nobody can present it again.
    #[tls_codec(discriminant = 6)]
    Decided(Period, EnvelopeId),
    /// What a node is shown to have done, kept for ever.
    #[tls_codec(discriminant = 7)]
    Offence(NodeId, OffenceId),
}

/// Where a topic stands in the ordered lane.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, TlsSize, TlsSerialize, TlsDeserializeBytes,
)]
pub struct TopicHead {
    /// How many operations were applied.
    pub position: Position,
    /// The last of them; zero before the first.
    pub last: OperationHash,
}

/// What the ordered state maps to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateValue {
    /// For [`StateKey::Period`].
    Period(Period),
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
}

/// Stored bytes are not an ordered state; the storage is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored ordered state is damaged")]
pub struct StateCorrupt;

impl StateValue {
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Period(period) => period.to_wire(),
            Self::Topic(head) => head.to_wire(),
            Self::Inbox(state) => state.to_wire(),
            Self::Account(inbox) => inbox.to_wire(),
            Self::Incarnation(number, nonce) => [number.to_wire(), nonce.to_vec()].concat(),
            Self::Decided(height, index) => [height.to_wire(), index.to_wire()].concat(),
        }
    }

    fn from_bytes(key: &StateKey, bytes: &[u8]) -> Option<Self> {
        Some(match key {
            StateKey::Period => Self::Period(Period::from_wire(bytes).ok()?),
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

/// The ordered state of a shard after its last final block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneState {
    height: Height,
    head: BlockHash,
    epoch: Option<RegistryEpoch>,
    root: Hash,
    entries: BTreeMap<StateKey, StateValue>,
}

impl LaneState {
    /// The state that storage holds.
    ///
    /// # Errors
    /// [`StateCorrupt`] when a key or value does not decode.
    pub fn restore(
        head: Option<&BlockHeader>,
        stored: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<Self, StateCorrupt> {
        let mut entries = BTreeMap::new();
        for (key, value) in stored {
            let key = StateKey::from_wire(key).map_err(|_| StateCorrupt)?;
            let value = StateValue::from_bytes(&key, value).ok_or(StateCorrupt)?;
            entries.insert(key, value);
        }
        let (height, hash, root) = match head {
            None => Default::default(),
            Some(header) => (header.height, header.hash(), header.state_root),
        };
        let epoch = head.map(|header| header.next_epoch);
        Ok(Self { height, head: hash, epoch, root, entries })
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
        match self.value(&StateKey::Period) {
            Some(StateValue::Period(period)) => *period,
            _ => Period::default(),
        }
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
        let offences = self.entries.range(from..).map_while(|(key, _)| match key {
            StateKey::Offence(node, offence) => Some((*node, *offence)),
            _ => None,
        });
        offences
    }

    pub(crate) fn value(&self, key: &StateKey) -> Option<&StateValue> {
        self.entries.get(key)
    }

    /// The decisions that expired before `period`, oldest first.
    pub(crate) fn decisions_before(&self, period: Period) -> impl Iterator<Item = StateKey> {
        let from = StateKey::Decided(Period(0), EnvelopeId([0; 32]));
        let to = StateKey::Decided(period, EnvelopeId([0; 32]));
        self.entries.range(from..to).map(|(key, _)| *key)
    }

    /// The digest that the next block's header carries for these changes (ORD-004).
    pub(crate) fn root_after(&self, changes: &Changes) -> Hash {
        let mut bytes = self.root.to_vec();
        for (key, value) in stored(changes) {
            bytes.extend_from_slice(&key);
            match value {
                None => bytes.push(0),
                Some(value) => {
                    bytes.push(1);
                    bytes.extend_from_slice(&labelled_hash("state value", &[&value]));
                }
            }
        }
        labelled_hash("state root", &[&bytes])
    }

    /// Takes over the changes of a block that became final.
    pub(crate) fn advance(&mut self, header: &BlockHeader, changes: Changes) {
        for (key, value) in changes {
            match value {
                Some(value) => self.entries.insert(key, value),
                None => self.entries.remove(&key),
            };
        }
        self.height = header.height;
        self.head = header.hash();
        self.epoch = Some(header.next_epoch);
        self.root = header.state_root;
    }
}
