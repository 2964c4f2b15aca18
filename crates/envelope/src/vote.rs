//! Votes and proposals: what committee members sign while they agree on a block.
//!
//! Both are signed over EIP-712 by the node's registered key, so that a contract can judge two
//! of them (EVD-003, EVD-004).

use alloy_sol_types::sol;
use tidings_types::node_key::{NodeKey, NodeSignature, NodeSignatureInvalid, digest};
use tidings_types::{BlockHash, EthereumAddress, Hash, Height, NetworkId, NodeId, Round, ShardId};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

mod eip712 {
    //! The EIP-712 types, named as wallets and contracts see them.
    super::sol! {
        struct Vote {
            uint16 shard;
            uint64 height;
            uint32 round;
            uint8 step;
            bytes32 block;
        }

        struct Proposal {
            uint16 shard;
            uint64 height;
            uint32 round;
            int64 validRound;
            bytes32 block;
        }
    }
}

/// Which of a round's two votes.
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
pub enum Step {
    /// The first: whether the proposal is acceptable.
    Prevote = 1,
    /// The second: whether enough others found it so.
    Precommit = 2,
}

/// What a committee member says in one step of one round.
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
pub struct Vote {
    /// Whose ordered lane.
    pub shard: ShardId,
    /// At which height.
    pub height: Height,
    /// In which round, from 0.
    pub round: Round,
    /// In which step.
    pub step: Step,
    /// For which block; none is a vote for no block in this round.
    pub block: Option<BlockHash>,
}

impl Vote {
    /// The vote with the node's signature (ORD-003).
    #[must_use]
    pub fn sign(self, node: NodeId, key: &NodeKey, network: NetworkId) -> SignedVote {
        SignedVote { node, vote: self, signature: key.sign(&self.digest(network)) }
    }

    /// The EIP-712 digest; no block is a hash of zeros.
    #[must_use]
    pub fn digest(&self, network: NetworkId) -> Hash {
        let statement = eip712::Vote {
            shard: self.shard.0,
            height: self.height.0,
            round: self.round.0,
            step: match self.step {
                Step::Prevote => 1,
                Step::Precommit => 2,
            },
            block: self.block.unwrap_or_default().0.into(),
        };
        digest(&statement, network)
    }
}

/// A vote with its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct SignedVote {
    /// Who votes.
    pub node: NodeId,
    /// What it says.
    pub vote: Vote,
    /// By the node's registered key.
    pub signature: NodeSignature,
}

impl SignedVote {
    /// Checks that `signer` signed.
    ///
    /// # Errors
    /// [`NodeSignatureInvalid`] otherwise, and for a block of zeros: a signature for no block
    /// would be one for it too, and prove two votes where there was one (ORD-023).
    pub fn verify(
        &self,
        network: NetworkId,
        signer: EthereumAddress,
    ) -> Result<(), NodeSignatureInvalid> {
        if self.vote.block == Some(BlockHash::default()) {
            return Err(NodeSignatureInvalid);
        }
        self.signature.verify(&self.vote.digest(network), signer)
    }
}

/// What a round's proposer asks the committee to vote on.
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
pub struct Proposal {
    /// Whose ordered lane.
    pub shard: ShardId,
    /// At which height.
    pub height: Height,
    /// In which round, from 0.
    pub round: Round,
    /// The earlier round in which a quorum prevoted for the block; none for a new block.
    pub valid_round: Option<Round>,
    /// Which block.
    pub block: BlockHash,
}

impl Proposal {
    /// The proposal with the node's signature (ORD-018).
    #[must_use]
    pub fn sign(self, node: NodeId, key: &NodeKey, network: NetworkId) -> SignedProposal {
        SignedProposal { node, proposal: self, signature: key.sign(&self.digest(network)) }
    }

    /// The EIP-712 digest; no valid round is -1.
    #[must_use]
    pub fn digest(&self, network: NetworkId) -> Hash {
        let statement = eip712::Proposal {
            shard: self.shard.0,
            height: self.height.0,
            round: self.round.0,
            validRound: self.valid_round.map_or(-1, |round| i64::from(round.0)),
            block: self.block.0.into(),
        };
        digest(&statement, network)
    }
}

/// A proposal with its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct SignedProposal {
    /// Who proposes.
    pub node: NodeId,
    /// What it proposes.
    pub proposal: Proposal,
    /// By the node's registered key.
    pub signature: NodeSignature,
}

impl SignedProposal {
    /// Checks that `signer` signed.
    ///
    /// # Errors
    /// [`NodeSignatureInvalid`] otherwise.
    pub fn verify(
        &self,
        network: NetworkId,
        signer: EthereumAddress,
    ) -> Result<(), NodeSignatureInvalid> {
        self.signature.verify(&self.proposal.digest(network), signer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: NetworkId = NetworkId([9; 32]);

    fn vote() -> Vote {
        Vote {
            shard: ShardId(1),
            height: Height(5),
            round: Round(2),
            step: Step::Prevote,
            block: Some(BlockHash([7; 32])),
        }
    }

    #[test]
    fn votes_bind_every_field_and_the_network() {
        // covers: ORD-003
        let key = NodeKey::from_secret(&[1; 32]).unwrap();
        let signed = vote().sign(NodeId(1), &key, NETWORK);
        assert!(signed.verify(NETWORK, key.address()).is_ok());
        assert!(signed.verify(NetworkId([8; 32]), key.address()).is_err());
        let others = [
            Vote { shard: ShardId(2), ..vote() },
            Vote { height: Height(6), ..vote() },
            Vote { round: Round(3), ..vote() },
            Vote { step: Step::Precommit, ..vote() },
            Vote { block: None, ..vote() },
        ];
        for vote in others {
            assert!(SignedVote { vote, ..signed }.verify(NETWORK, key.address()).is_err());
        }
    }

    #[test]
    fn proposals_bind_every_field_and_the_network() {
        // covers: ORD-018
        let key = NodeKey::from_secret(&[1; 32]).unwrap();
        let proposal = Proposal {
            shard: ShardId(1),
            height: Height(5),
            round: Round(2),
            valid_round: Some(Round(0)),
            block: BlockHash([7; 32]),
        };
        let signed = proposal.sign(NodeId(1), &key, NETWORK);
        assert!(signed.verify(NETWORK, key.address()).is_ok());
        assert!(signed.verify(NetworkId([8; 32]), key.address()).is_err());
        let others = [
            Proposal { shard: ShardId(2), ..proposal },
            Proposal { height: Height(6), ..proposal },
            Proposal { round: Round(3), ..proposal },
            Proposal { valid_round: None, ..proposal },
            Proposal { block: BlockHash([8; 32]), ..proposal },
        ];
        for proposal in others {
            assert!(SignedProposal { proposal, ..signed }.verify(NETWORK, key.address()).is_err());
        }
    }
}
