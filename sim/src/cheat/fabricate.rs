//! A block that nobody has agreed on, with the one signature that a cheat can give it.

use tidings_envelope::{Block, BlockHeader, Certificate, CertifiedBlock, CommitSignature};
use tidings_types::{BoundedVec, NodeId, Round, merkle};

use crate::setup::{Setup, node_key};

/// An empty block after `last`, signed by the cheat alone.
#[must_use]
pub fn fabricated(node: NodeId, last: &BlockHeader, setup: &Setup) -> CertifiedBlock {
    let header = BlockHeader {
        height: last.height.plus(1),
        parent: last.hash(),
        operations_count: 0,
        operations_root: merkle::root(&[]),
        state_root: [0xfa; 32],
        ..*last
    };
    let round = Round(0);
    let own = CommitSignature::sign(node, &header, round, &node_key(node), setup.network);
    let signatures = BoundedVec::new(vec![own]).unwrap_or_default();
    let block = Block { header, operations: BoundedVec::default() };
    CertifiedBlock { block, certificate: Certificate { round, signatures } }
}
