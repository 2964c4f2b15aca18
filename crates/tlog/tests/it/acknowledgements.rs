//! Counting signed acknowledgements until enough replicas hold a checkpoint.

use tidings_envelope::{SignedAcknowledgement, SignedCheckpoint};
use tidings_tlog::{AckError, AckTracker, RegressError};
use tidings_types::node_key::NodeKey;
use tidings_types::{EthereumAddress, LogSize, NodeId};

use crate::originator::{LOG, NETWORK, Originator};

fn key(node: u32) -> NodeKey {
    NodeKey::from_secret(&[node as u8; 32]).unwrap()
}

fn committee(nodes: &[u32]) -> Vec<(NodeId, EthereumAddress)> {
    nodes.iter().map(|node| (NodeId(*node), key(*node).address())).collect()
}

fn tracker(needed: usize) -> AckTracker {
    AckTracker::new(NETWORK, LOG, needed, committee(&[1, 2, 3, 4]))
}

fn acknowledge(node: u32, signed: &SignedCheckpoint) -> SignedAcknowledgement {
    let digest = signed.checkpoint.digest(NETWORK);
    SignedAcknowledgement::sign(NodeId(node), digest, &key(node), NETWORK)
}

#[test]
fn the_newest_checkpoint_with_enough_holders_is_covered() {
    // covers: LOG-006
    // covers: LOG-015
    let originator = Originator::with_entries(30, 1);
    let [one, two, three] = [10, 20, 30].map(|size| originator.checkpoint(size));
    let mut tracker = tracker(3);
    for signed in [one, two, three] {
        assert_eq!(tracker.publish(signed), Ok(None));
    }
    assert!(tracker.covered().is_none());
    assert_eq!(tracker.acknowledge(LogSize(20), acknowledge(2, &two)), Ok(None));
    // Two replicas at different checkpoints do not add up.
    assert_eq!(tracker.acknowledge(LogSize(30), acknowledge(3, &three)), Ok(None));
    // The same replica twice is still one.
    assert_eq!(tracker.acknowledge(LogSize(20), acknowledge(2, &two)), Ok(None));
    assert_eq!(tracker.acknowledge(LogSize(20), acknowledge(3, &two)), Ok(Some(LogSize(20))));
    let covered = tracker.covered().unwrap();
    assert_eq!((covered.checkpoint(), covered.holders_count()), (&two, 3));
    assert!(covered.acknowledgements().all(|acknowledgement| {
        let signer = key(acknowledgement.replica.0).address();
        acknowledgement.verify(two.checkpoint.digest(NETWORK), NETWORK, signer).is_ok()
    }));
    // What comes late for an older checkpoint changes nothing; a fourth holder is kept.
    assert_eq!(tracker.acknowledge(LogSize(10), acknowledge(4, &one)), Ok(None));
    assert_eq!(tracker.acknowledge(LogSize(20), acknowledge(4, &two)), Ok(None));
    assert_eq!(tracker.covered().unwrap().holders_count(), 4);
    assert_eq!(tracker.acknowledge(LogSize(30), acknowledge(2, &three)), Ok(Some(LogSize(30))));
    let held: Vec<_> = tracker.held().map(|(node, size)| (node.0, size.0)).collect();
    assert_eq!(held, vec![(2, 30), (3, 30), (4, 20)]);
}

#[test]
fn one_holder_is_enough_when_no_fault_is_tolerated() {
    // covers: LOG-015
    let originator = Originator::with_entries(5, 1);
    assert_eq!(tracker(1).publish(originator.checkpoint(5)), Ok(Some(LogSize(5))));
}

#[test]
fn what_is_no_replicas_signature_does_not_count() {
    // covers: LOG-006
    // covers: LOG-015
    let originator = Originator::with_entries(30, 1);
    let [one, two] = [10, 20].map(|size| originator.checkpoint(size));
    let mut tracker = tracker(2);
    tracker.publish(one).unwrap();
    let mut check = |size, acknowledgement, expected| {
        assert_eq!(tracker.acknowledge(LogSize(size), acknowledgement), Err(expected));
    };
    check(10, acknowledge(9, &one), AckError::NotAReplica(NodeId(9)));
    check(10, acknowledge(1, &one), AckError::NotAReplica(NodeId(1)));
    check(10, acknowledge(2, &two), AckError::SignatureInvalid(NodeId(2)));
    let lent = SignedAcknowledgement { replica: NodeId(3), ..acknowledge(2, &one) };
    check(10, lent, AckError::SignatureInvalid(NodeId(3)));
    check(20, acknowledge(2, &two), AckError::UnknownCheckpoint(LogSize(20)));
    assert!(tracker.covered().is_none());
}

#[test]
fn a_log_never_goes_back() {
    // covers: LOG-014
    let originator = Originator::with_entries(30, 1);
    let mut tracker = tracker(2);
    tracker.publish(originator.checkpoint(20)).unwrap();
    for size in [20, 10] {
        let (last, offered) = (LogSize(20), LogSize(size));
        assert_eq!(
            tracker.publish(originator.checkpoint(size)),
            Err(RegressError { last, offered })
        );
    }
}

#[test]
fn a_new_committee_is_asked_anew() {
    // covers: LOG-015
    let originator = Originator::with_entries(30, 1);
    let [one, two] = [10, 20].map(|size| originator.checkpoint(size));
    let mut tracker = tracker(3);
    tracker.publish(one).unwrap();
    tracker.acknowledge(LogSize(10), acknowledge(2, &one)).unwrap();
    assert_eq!(tracker.reconfigure(2, committee(&[1, 3])), None);
    assert_eq!(
        tracker.acknowledge(LogSize(10), acknowledge(2, &one)),
        Err(AckError::NotAReplica(NodeId(2)))
    );
    assert_eq!(tracker.acknowledge(LogSize(10), acknowledge(3, &one)), Ok(Some(LogSize(10))));
    tracker.publish(two).unwrap();
    assert_eq!(tracker.reconfigure(1, committee(&[1])), Some(LogSize(20)));
}

#[test]
fn silent_replicas_do_not_fill_the_memory() {
    let originator = Originator::with_entries(4_200, 1);
    let mut tracker = tracker(2);
    for size in 1..=4_200 {
        tracker.publish(originator.checkpoint(size)).unwrap();
    }
    let oldest = originator.checkpoint(1);
    assert_eq!(tracker.acknowledge(LogSize(1), acknowledge(2, &oldest)), Ok(None));
    let newest = originator.checkpoint(4_200);
    let covered = tracker.acknowledge(LogSize(4_200), acknowledge(2, &newest));
    assert_eq!(covered, Ok(Some(LogSize(4_200))));
}
