//! Incarnations: every start of a node gets a number of its own, and only its own key asks.

use tidings_envelope::{IncarnationRequest, Operation};
use tidings_order::judge_operation;
use tidings_types::{ErrorCode, Incarnation, NodeId, ShardId};

use crate::lane::{Lane, applied, conflict};
use crate::network::node_key;

#[test]
fn every_start_gets_the_next_number() {
    // covers: ORD-005
    let mut lane = Lane::new();
    for number in 0..5u8 {
        let opening = lane.opening(2, number.into(), number);
        assert_eq!(lane.apply_one(opening), applied(u64::from(number) + 1));
        let expected = (Incarnation(u32::from(number) + 1), [number; 32]);
        assert_eq!(lane.state.incarnation(NodeId(2)), expected);
    }
    assert_eq!(lane.state.incarnation(NodeId(3)), (Incarnation(0), [0; 32]));
}

#[test]
fn of_two_processes_with_one_key_the_first_counts() {
    // covers: ORD-005
    let mut lane = Lane::new();
    let (one, two) = (lane.opening(2, 0, 1), lane.opening(2, 0, 2));
    assert_eq!(lane.apply(vec![one.clone(), two]), [applied(1), conflict(1)]);
    assert_eq!(lane.state.incarnation(NodeId(2)), (Incarnation(1), [1; 32]));
    // The same request again opens nothing either.
    assert_eq!(lane.apply_one(one), conflict(1));
    let ahead = lane.opening(2, 7, 3);
    assert_eq!(lane.apply_one(ahead), conflict(1));
}

#[test]
fn nobody_opens_for_another() {
    // covers: ORD-005
    // covers: ORD-007
    let lane = Lane::new();
    let check = |node, shard, signer, expected| {
        let (previous, nonce, key) = (Incarnation(0), [1; 32], node_key(NodeId(signer)));
        let request =
            IncarnationRequest::sign(NodeId(node), shard, previous, nonce, &key, lane.network);
        let operation = Operation::OpenIncarnation(request);
        let verdict = judge_operation(&operation, &lane.judging(ShardId(0)));
        assert_eq!(verdict, expected);
    };
    check(2, ShardId(0), 2, Ok(()));
    check(2, ShardId(0), 3, Err(ErrorCode::OperationInvalid));
    check(99, ShardId(0), 99, Err(ErrorCode::OperationInvalid));
    check(2, ShardId(1), 2, Err(ErrorCode::WrongShard));
}
