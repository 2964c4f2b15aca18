//! Proposed blocks that no honest proposer makes get no vote, for a reason.

use tidings_envelope::{Block, ChainReference, DecidedOperation, Outcome};
use tidings_order::BlockInvalid;
use tidings_types::{
    BlockHash, BoundedVec, ErrorCode, Height, Period, Position, RegistryEpoch, ShardId, merkle,
};

use crate::lane::{Lane, marker};

/// A lane and a block that may follow: an opening, a commit and a proposal.
fn world() -> (Lane, Block) {
    let lane = Lane::new();
    let operations =
        vec![lane.opening(2, 0, 1), lane.commit_at(9, 0, b"commit"), lane.envelope(8, |_| {})];
    let block = lane.stage(operations).block;
    (lane, block)
}

fn check(change: impl FnOnce(&mut Block), expected: BlockInvalid) {
    let (lane, mut block) = world();
    assert!(lane.state.check(&block, |_| false, lane.context()).is_ok());
    change(&mut block);
    assert_eq!(lane.state.check(&block, |_| false, lane.context()), Err(expected));
}

/// Changes the operations and makes the header fit them again.
fn rewrite(block: &mut Block, change: impl FnOnce(&mut Vec<DecidedOperation>)) {
    let mut operations = block.operations.to_vec();
    change(&mut operations);
    block.header.operations_count = u32::try_from(operations.len()).unwrap();
    block.header.operations_root = merkle::root(&Block::leaves(&operations));
    block.operations = BoundedVec::new(operations).unwrap();
}

#[test]
fn a_block_follows_the_last_final_one() {
    // covers: ORD-012
    let not_next = BlockInvalid::NotNext(Height(1));
    check(|block| block.header.height = Height(1), not_next);
    check(|block| block.header.height = Height(3), not_next);
    check(|block| block.header.parent = BlockHash([0; 32]), not_next);
    check(|block| block.header.shard = ShardId(1), not_next);
}

#[test]
fn a_header_fits_its_operations() {
    // covers: ORD-011
    let inconsistent = BlockInvalid::Inconsistent;
    check(|block| block.header.version = 2, inconsistent);
    check(|block| block.header.operations_count = 2, inconsistent);
    check(|block| block.header.operations_root = [0; 32], inconsistent);
    check(|block| block.operations = BoundedVec::default(), inconsistent);
}

#[test]
fn operations_stand_in_their_order() {
    // covers: ORD-002
    let out_of_order = BlockInvalid::OutOfOrder;
    for (one, two) in [(0, 1), (1, 2), (0, 2)] {
        check(|block| rewrite(block, |operations| operations.swap(one, two)), out_of_order);
    }
    // The same commit twice, and two markers.
    let doubled = |block: &mut Block| {
        rewrite(block, |operations| operations.insert(1, operations[1].clone()));
    };
    check(doubled, out_of_order);
    let markers = |block: &mut Block| {
        let outcome = Outcome::Applied { position: Position(2) };
        let decided = |period| DecidedOperation { operation: marker(period), outcome };
        rewrite(block, |operations| {
            operations.splice(0..0, [decided(2), decided(3)]);
        });
    };
    check(markers, out_of_order);
}

#[test]
fn every_operation_may_be_there() {
    // covers: ORD-007
    let (lane, _) = world();
    let expired = lane.envelope(8, |body| body.not_after = Period(0));
    let late = |block: &mut Block| {
        rewrite(block, |operations| operations[2].operation = expired);
    };
    check(late, BlockInvalid::Operation { index: 2, code: ErrorCode::EnvelopeExpired });
}

#[test]
fn a_block_is_of_the_epoch_that_its_parent_named() {
    // covers: ORD-013
    let other = RegistryEpoch(2);
    check(|block| block.header.registry_epoch = other, BlockInvalid::Diverges);
    // A registry that is not known here cannot take over.
    check(|block| block.header.next_epoch = other, BlockInvalid::Epoch(other));
    check(|block| block.header.next_committee = [0; 32], BlockInvalid::Diverges);
}

#[test]
fn executing_a_block_gives_what_it_says() {
    // covers: ORD-004
    let diverges = BlockInvalid::Diverges;
    check(|block| block.header.state_root = [0; 32], diverges);
    check(|block| block.header.period = Period(2), diverges);
    let reference = ChainReference { chain_id: 1, number: 1, hash: [0; 32] };
    check(|block| block.header.chain_reference = Some(reference), diverges);
    let outcome = Outcome::Applied { position: Position(7) };
    let lie = |block: &mut Block| {
        rewrite(block, |operations| operations[1].outcome = outcome);
    };
    check(lie, diverges);
    let drop_last = |block: &mut Block| {
        rewrite(block, |operations| {
            operations.pop();
        });
    };
    check(drop_last, diverges);
}

#[test]
fn a_final_block_is_executed_in_its_place() {
    // covers: ORD-012
    let (lane, block) = world();
    let staged = lane.state.restage(&block, lane.context()).unwrap();
    assert_eq!(staged.block, block);
    let mut other = block;
    other.header.parent = BlockHash([0; 32]);
    let verdict = lane.state.restage(&other, lane.context());
    assert_eq!(verdict, Err(BlockInvalid::NotNext(Height(1))));
}
