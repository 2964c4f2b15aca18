//! Proof of what a shard's ordered state holds under a key, or that it holds nothing there.

use tidings_types::constants::{PROTOCOL_VERSION, STATE_PATH_HASHES_MAX, STATE_VALUE_BYTES_MAX};
use tidings_types::sparse_merkle::{EMPTY, leaf_hash, root_from_path, shared_depth};
use tidings_types::{
    BoundedBytes, BoundedVec, Hash, Height, InboxId, Incarnation, NetworkId, Period, PicoDollars,
    RegistryEpoch, Wire,
};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::{BlockHeader, Certificate, Registry, StateKey, TopicHead, state_value_hash};

/// One bit per level of the tree.
const LEVELS_BYTES_MAX: usize = STATE_PATH_HASHES_MAX / 8;

/// Why a proof about the state proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateProofInvalid {
    /// The structure's version is not known.
    #[error("unknown version")]
    Version,
    /// The block is of another registry epoch than the registry at hand.
    #[error("the block is of registry epoch {0}")]
    Epoch(RegistryEpoch),
    /// The block's certificate does not reach a quorum.
    #[error("the block certificate does not verify")]
    Certificate,
    /// The key is not one that the tree holds.
    #[error("single decisions are not in the tree")]
    Key,
    /// The path does not lead from the key's place to the block's state root.
    #[error("the path does not lead from the key to the state root")]
    Path,
    /// The value is not one that the key can have.
    #[error("the value is not one that the key can have")]
    Value,
}

/// What lies where a key's leaf is or would be.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum StateLeaf {
    /// No leaf: the state holds nothing under the key.
    #[tls_codec(discriminant = 1)]
    Empty,
    /// Another key's leaf, alone on the key's way: the state holds nothing under the key.
    #[tls_codec(discriminant = 2)]
    Other {
        /// The other key's way through the tree.
        path: Hash,
        /// The hash of its value.
        value: Hash,
    },
    /// The key's value.
    #[tls_codec(discriminant = 3)]
    Value(BoundedBytes<STATE_VALUE_BYTES_MAX>),
    /// The hash of the key's value, for keys whose values are large.
    #[tls_codec(discriminant = 4)]
    Digest(Hash),
}

/// The hashes beside a way through the tree, without those of empty subtrees.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct StatePath {
    /// How many levels the way goes down.
    length: u16,
    /// A bit per level from the root on, first bit first: whether the subtree beside is not empty.
    occupied: BoundedBytes<LEVELS_BYTES_MAX>,
    /// The hashes of those subtrees, from the root downwards.
    hashes: BoundedVec<Hash, STATE_PATH_HASHES_MAX>,
}

impl StatePath {
    /// The path beside which these subtrees lie, from the root downwards; none when there are
    /// more than `STATE_PATH_HASHES_MAX`.
    #[must_use]
    pub fn new(siblings: &[Hash]) -> Option<Self> {
        let mut occupied = vec![0; siblings.len().div_ceil(8)];
        for (bit, byte) in siblings.chunks(8).zip(&mut occupied) {
            let bits = bit.iter().zip([0x80, 0x40, 0x20, 0x10, 8, 4, 2, 1]);
            *byte = bits.filter(|(hash, _)| **hash != EMPTY).map(|(_, bit)| bit).sum();
        }
        let hashes = siblings.iter().copied().filter(|hash| *hash != EMPTY).collect();
        Some(Self {
            length: u16::try_from(siblings.len()).ok()?,
            occupied: BoundedBytes::new(occupied).ok()?,
            hashes: BoundedVec::new(hashes).ok()?,
        })
    }

    /// All hashes beside the way, from the root downwards; none when the parts do not fit
    /// together in the one form that [`StatePath::new`] gives them.
    #[must_use]
    pub fn siblings(&self) -> Option<Vec<Hash>> {
        let mut hashes = self.hashes.iter().copied();
        let sibling = |level: usize| match self.occupied.get(level / 8)? & (0x80 >> (level % 8)) {
            0 => Some(EMPTY),
            _ => hashes.next(),
        };
        let siblings: Vec<Hash> =
            (0..usize::from(self.length)).map(sibling).collect::<Option<_>>()?;
        (Self::new(&siblings).as_ref() == Some(self)).then_some(siblings)
    }
}

/// A key's place in the state tree and the way to it.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct StateBranch {
    /// What lies there.
    pub leaf: StateLeaf,
    /// What lies beside the way.
    pub path: StatePath,
}

impl StateBranch {
    /// What a tree with this root holds under `key` (ORD-032).
    ///
    /// # Errors
    /// [`StateProofInvalid`] when the branch is not of such a tree, or not for such a key.
    pub fn read(&self, key: &StateKey, root: Hash) -> Result<StateContent, StateProofInvalid> {
        let place = key.path().ok_or(StateProofInvalid::Key)?;
        let siblings = self.path.siblings().ok_or(StateProofInvalid::Path)?;
        let (subtree, content) = match &self.leaf {
            StateLeaf::Empty => (EMPTY, StateContent::Absent),
            StateLeaf::Other { path, value } => {
                let shared = shared_depth(path, &place);
                if *path == place || shared < siblings.len() {
                    return Err(StateProofInvalid::Path);
                }
                (leaf_hash(path, value), StateContent::Absent)
            }
            StateLeaf::Value(value) => {
                let content = StateContent::from_value(key, value);
                let content = content.ok_or(StateProofInvalid::Value)?;
                (leaf_hash(&place, &state_value_hash(value)), content)
            }
            StateLeaf::Digest(value) => match key {
                StateKey::Inbox(_) => (leaf_hash(&place, value), StateContent::Inbox(*value)),
                _ => return Err(StateProofInvalid::Value),
            },
        };
        match root_from_path(&place, subtree, &siblings) == Some(root) {
            true => Ok(content),
            false => Err(StateProofInvalid::Path),
        }
    }
}

/// What the ordered state is proved to hold under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateContent {
    /// Nothing.
    Absent,
    /// Under [`StateKey::Period`] and [`StateKey::Attestation`].
    Period(Period),
    /// Under [`StateKey::Topic`].
    Topic(TopicHead),
    /// Under [`StateKey::Inbox`]: [`state_value_hash`] of its association state's encoding.
    Inbox(Hash),
    /// Under [`StateKey::Account`].
    Account(InboxId),
    /// Under [`StateKey::Incarnation`]: the number and the nonce of the process that opened it.
    Incarnation(Incarnation, [u8; 32]),
    /// Under [`StateKey::Offence`]: height and operation index of the evidence.
    Offence(Height, u32),
    /// Under [`StateKey::Decisions`]: the digest of those with this expiry.
    Decisions(Hash),
    /// Under [`StateKey::Statement`]: of which period, and how many bytes were taken.
    Statement(Period, u64),
    /// Under [`StateKey::Congestion`]: the factor from that period on, in thousandths.
    Congestion(u32),
    /// Under [`StateKey::Epoch`]: the registry epoch that entries are held to from that period on;
    /// under [`StateKey::Signer`]: that whose key signs the node's logs from that one on.
    Epoch(RegistryEpoch),
    /// Under [`StateKey::OperationFees`].
    Fees(PicoDollars),
}

impl StateContent {
    fn from_value(key: &StateKey, bytes: &[u8]) -> Option<Self> {
        match key {
            StateKey::Period | StateKey::Attestation(_) => {
                Some(Self::Period(Period::from_wire(bytes).ok()?))
            }
            StateKey::Statement(_) => {
                let (period, taken) = bytes.split_first_chunk::<8>()?;
                let period = Period(u64::from_be_bytes(*period));
                Some(Self::Statement(period, u64::from_wire(taken).ok()?))
            }
            StateKey::Congestion(_) => Some(Self::Congestion(u32::from_wire(bytes).ok()?)),
            StateKey::Epoch(_) | StateKey::Signer(..) => {
                Some(Self::Epoch(RegistryEpoch::from_wire(bytes).ok()?))
            }
            StateKey::OperationFees(_) => Some(Self::Fees(PicoDollars::from_wire(bytes).ok()?)),
            StateKey::Topic(_) => Some(Self::Topic(TopicHead::from_wire(bytes).ok()?)),
            StateKey::Account(_) => Some(Self::Account(InboxId::from_wire(bytes).ok()?)),
            StateKey::Incarnation(_) => {
                let (number, nonce) = bytes.split_first_chunk::<4>()?;
                let number = Incarnation(u32::from_be_bytes(*number));
                Some(Self::Incarnation(number, nonce.try_into().ok()?))
            }
            StateKey::Offence(..) => {
                let (height, index) = bytes.split_first_chunk::<8>()?;
                let height = Height(u64::from_be_bytes(*height));
                Some(Self::Offence(height, u32::from_wire(index).ok()?))
            }
            StateKey::Decisions(_) => Some(Self::Decisions(bytes.try_into().ok()?)),
            StateKey::Inbox(_) | StateKey::Decided(..) => None,
        }
    }
}

/// Proof of what a shard's ordered state held under a key after a certified block.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct StateProof {
    /// The version of this structure.
    pub version: u16,
    /// Which key.
    pub key: StateKey,
    /// What is there, and how it hangs together with the block's `state_root`.
    pub branch: StateBranch,
    /// The block after which it is there.
    pub header: BlockHeader,
    /// By a quorum of the shard's committee.
    pub certificate: Certificate,
}

impl StateProof {
    /// Checks certificate and branch; answers what was under the key (ORD-032).
    ///
    /// `registry` is the snapshot of the header's epoch.
    ///
    /// # Errors
    /// [`StateProofInvalid`] names the first thing that does not hold.
    pub fn verify(
        &self,
        network: NetworkId,
        registry: &Registry,
    ) -> Result<StateContent, StateProofInvalid> {
        if self.version != PROTOCOL_VERSION {
            return Err(StateProofInvalid::Version);
        }
        if self.header.registry_epoch != registry.epoch {
            return Err(StateProofInvalid::Epoch(self.header.registry_epoch));
        }
        let content = self.branch.read(&self.key, self.header.state_root)?;
        let certified = self.certificate.verify(&self.header, network, registry);
        certified.map_err(|_| StateProofInvalid::Certificate)?;
        Ok(content)
    }
}
