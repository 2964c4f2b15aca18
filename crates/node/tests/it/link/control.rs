//! Control frames: both ways, in order, of any legal size, and never without bound.

use tidings_envelope::{Checkpoint, DecidedOperation, Operation, Outcome, PeriodStatement};
use tidings_node::link::{LinkEvent, LinkLimits, LinkSendError};
use tidings_order::OrderMessage;
use tidings_replica::wire::ControlFrame;
use tidings_types::constants::{BLOCK_BYTES_MAX, STATEMENT_LOGS_MAX};
use tidings_types::node_key::NodeKey;
use tidings_types::{
    BoundedVec, ErrorCode, LogSize, NetworkId, NodeId, Period, Position, ShardId, Wire,
};

use super::fixture::{Network, block, log_of, numbered, transport_key};
use super::raw::{self, Raw};

/// A proposal of so many full statements, some forty kilobytes each.
fn proposal(statements: usize) -> ControlFrame {
    let (key, network) = (NodeKey::from_secret(&[1; 32]).unwrap(), NetworkId([1; 32]));
    let held = Checkpoint::new(log_of(1), LogSize(1), [0; 32], Period(1)).sign(&key, network);
    let held = BoundedVec::new(vec![held; STATEMENT_LOGS_MAX]).unwrap();
    let about = (NodeId(1), ShardId(0), Period(2));
    let statement = PeriodStatement::sign(about, held, BoundedVec::default(), 0, &key, network);
    let operation = Operation::Statement(Box::new(statement));
    let outcome = Outcome::Applied { position: Position(2) };
    let mut block = block(1).block;
    let decided = vec![DecidedOperation { operation, outcome }; statements];
    block.operations = BoundedVec::new(decided).unwrap();
    ControlFrame::Lane { shard: ShardId(0), message: OrderMessage::Block(block) }
}

#[tokio::test]
async fn frames_come_both_ways_and_in_order() {
    // covers: REP-002
    const FRAMES: u64 = 300;
    let mut network = Network::linked(4).await;
    for number in 0..FRAMES {
        for id in 1..=4 {
            let others = (1..=4).filter(|peer| *peer != id).map(NodeId);
            network.node(id).links.send_all(others, &numbered(id, number)).unwrap();
        }
    }
    for id in 1..=4u32 {
        let mut next = [0; 5];
        for _ in 0..FRAMES * 3 {
            let LinkEvent::Control(from, frame) = network.node(id).event().await else { panic!() };
            let expected = &mut next[usize::try_from(from.0).unwrap()];
            assert_eq!(frame, numbered(from.0, *expected));
            *expected += 1;
        }
        assert_eq!(network.node(id).events.try_recv(), None);
        assert_eq!(network.node(id).links.counters().links_up(), 3);
        assert_eq!(network.node(id).links.counters().control_received(), FRAMES * 3);
    }
}

#[tokio::test]
async fn the_largest_block_passes_and_more_does_not() {
    // covers: REP-012
    let mut network = Network::linked(2).await;
    let length = |statements| proposal(statements).to_wire().len();
    let statements = BLOCK_BYTES_MAX / (length(2) - length(1));
    assert!(length(statements) > BLOCK_BYTES_MAX - (length(2) - length(1)));
    let largest = proposal(statements);
    network.node(1).links.send(NodeId(2), &largest).unwrap();
    let event = network.node(2).event().await;
    assert!(event == LinkEvent::Control(NodeId(1), largest), "another frame came");
    let sent = network.node(1).links.send(NodeId(2), &proposal(statements * 2));
    assert_eq!(sent, Err(LinkSendError::TooLarge));
    network.node(1).links.send(NodeId(2), &numbered(1, 1)).unwrap();
    let event = network.node(2).event().await;
    assert_eq!(event, LinkEvent::Control(NodeId(1), numbered(1, 1)));
}

#[tokio::test]
async fn who_does_not_read_loses_the_link() {
    // covers: REP-010
    let limits = LinkLimits { control_queue_bytes_max: 4 << 20, ..LinkLimits::default() };
    let mut network = Network::new(2, &limits);
    let node = network.node(2);
    let address = node.links.local_address();
    let mut peer = Raw::call(&raw::endpoint(), &transport_key(1), address).await;
    peer.hello().await;
    assert_eq!(node.event().await, LinkEvent::Up(NodeId(1)));
    // The peer reads nothing, so that at most a window of these leaves the queue.
    let frame = proposal(24);
    let refused = loop {
        if let Err(error) = node.links.send(NodeId(1), &frame) {
            break error;
        }
    };
    assert_eq!(refused, LinkSendError::Overloaded(NodeId(1)));
    assert_eq!(node.event().await, LinkEvent::Down(NodeId(1)));
    assert_eq!(peer.code().await, ErrorCode::Overloaded);
    assert_eq!(node.links.counters().overloaded(), 1);
    assert_eq!(node.links.send(NodeId(1), &frame), Err(LinkSendError::Down(NodeId(1))));
}
