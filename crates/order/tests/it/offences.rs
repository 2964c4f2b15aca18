//! Evidence in the ordered lane: recorded once, for ever.

use tidings_envelope::{Evidence, Operation, Outcome, Step, Vote};
use tidings_types::{BlockHash, ErrorCode, Height, NodeId, Round, ShardId};

use crate::lane::{Lane, applied};
use crate::network::node_key;

fn evidence(lane: &Lane, round: u32, blocks: [u8; 2]) -> Evidence {
    let [one, two] = blocks.map(|block| {
        let block = Some(BlockHash([block; 32]));
        let (height, round, step) = (Height(4), Round(round), Step::Prevote);
        let vote = Vote { shard: ShardId(0), height, round, step, block };
        vote.sign(NodeId(3), &node_key(NodeId(3)), lane.network)
    });
    Evidence::Votes(one, two)
}

fn operation(evidence: &Evidence) -> Operation {
    Operation::Evidence(Box::new(evidence.clone()))
}

#[test]
fn an_offence_is_recorded_once_whatever_proves_it() {
    // covers: EVD-006
    // covers: ORD-002
    let mut lane = Lane::new();
    let (one, other) = (evidence(&lane, 1, [1, 2]), evidence(&lane, 1, [2, 3]));
    assert_eq!(one.offence(), other.offence());
    assert_eq!(lane.apply_one(operation(&one)), applied(2));
    let repeated = Outcome::Refused { code: ErrorCode::Repeated };
    assert_eq!(lane.apply_one(operation(&one)), repeated);
    assert_eq!(lane.apply_one(operation(&other)), repeated);
    assert_eq!(lane.state.offence(NodeId(3), one.offence()), Some((Height(2), 0)));
    assert_eq!(lane.apply_one(operation(&evidence(&lane, 2, [1, 2]))), applied(5));
    assert_eq!(lane.state.offences().count(), 2);
    // Two proofs of one offence have no place in one block.
    let third = [evidence(&lane, 3, [1, 2]), evidence(&lane, 3, [3, 4])];
    let operations = third.iter().map(operation).collect();
    let (staged, waiting) = lane.state.stage(operations, lane.context()).unwrap();
    assert_eq!((staged.block.operations.len(), waiting.len()), (1, 1));
}

#[test]
fn what_proves_nothing_is_not_ordered() {
    // covers: EVD-001
    // covers: ORD-007
    let lane = Lane::new();
    let judge = |operation: &Operation, shard| {
        tidings_order::judge_operation(operation, &lane.judging(shard))
    };
    let good = evidence(&lane, 1, [1, 2]);
    assert_eq!(judge(&operation(&good), ShardId(0)), Ok(()));
    assert_eq!(judge(&operation(&good), ShardId(1)), Err(ErrorCode::WrongShard));
    let nothing = evidence(&lane, 1, [1, 1]);
    assert_eq!(judge(&operation(&nothing), ShardId(0)), Err(ErrorCode::OperationInvalid));
    let Evidence::Votes(mut one, two) = good else { unreachable!() };
    one.node = NodeId(2);
    let forged = operation(&Evidence::Votes(one, two));
    assert_eq!(judge(&forged, ShardId(0)), Err(ErrorCode::OperationInvalid));
}
