//! Receipts of the broadcast lane: what they prove, and that nothing can be changed in them.

use proptest::prelude::*;
use tidings_envelope::*;
use tidings_types::*;

use crate::network::{Log, Network, node_key};

const SIZE: usize = 11;

fn check(
    receipt: &Receipt,
    network: &Network,
    level: AckLevel,
    expected: Result<(), ReceiptInvalid>,
) {
    assert_eq!(receipt.verify(network.id, &network.registry, level), expected);
}

fn too_few(found: usize, needed: usize) -> Result<(), ReceiptInvalid> {
    Err(ReceiptInvalid::TooFew { found, needed })
}

#[test]
fn the_level_counts_distinct_replicas() {
    // covers: LOG-007
    let network = Network::new(7, 1, 7);
    let log = Log::new(&network, 11, 0);
    for (by, found) in [
        (&[][..], 1),
        (&[1], 1),
        (&[2], 2),
        (&[2, 2, 2], 2),
        (&[1, 2, 1], 2),
        (&[2, 3], 3),
        (&[1, 2, 3, 4, 5, 6, 7], 7),
    ] {
        let receipt = log.receipt(&network, 4, SIZE, by);
        let expected = if found >= 3 { Ok(()) } else { too_few(found, 3) };
        check(&receipt, &network, AckLevel::Local, Ok(()));
        check(&receipt, &network, AckLevel::Replicated, expected);
    }
}

#[test]
fn every_entry_of_every_size_has_a_receipt() {
    // covers: LOG-007
    let network = Network::new(4, 1, 4);
    let log = Log::new(&network, 11, 0);
    for size in 1..=SIZE {
        for index in 0..size {
            let receipt = log.receipt(&network, index, size, &[3]);
            check(&receipt, &network, AckLevel::Replicated, Ok(()));
        }
    }
}

#[test]
fn a_stranger_acknowledges_nothing() {
    // covers: LOG-007
    let network = Network::new(8, 1, 4);
    let committee = network.registry.committee(ShardId(0));
    let mut log = Log::new(&network, 11, 0);
    log.id.node = committee[0];
    let outside = (1..=8).map(NodeId).find(|node| !committee.contains(node)).unwrap();
    let receipt = log.receipt(&network, 4, SIZE, &[committee[1].0, outside.0]);
    let invalid = Err(ReceiptInvalid::Acknowledgement(outside));
    check(&receipt, &network, AckLevel::Replicated, invalid);
    check(&receipt, &network, AckLevel::Local, invalid);
    let unknown = log.receipt(&network, 4, SIZE, &[99]);
    let invalid = Err(ReceiptInvalid::Acknowledgement(NodeId(99)));
    check(&unknown, &network, AckLevel::Local, invalid);
}

#[test]
fn an_originator_outside_the_committee_holds_nothing() {
    // covers: LOG-007
    let network = Network::new(8, 1, 4);
    let committee = network.registry.committee(ShardId(0));
    let mut log = Log::new(&network, 11, 0);
    log.id.node = (1..=8).map(NodeId).find(|node| !committee.contains(node)).unwrap();
    let by: Vec<u32> = committee.iter().map(|node| node.0).collect();
    let receipt = log.receipt(&network, 4, SIZE, &by);
    let outside = Err(ReceiptInvalid::OutsideCommittee(log.id.node));
    check(&receipt, &network, AckLevel::Local, outside);
    check(&receipt, &network, AckLevel::Replicated, outside);
    log.id.node = NodeId(99);
    let receipt = log.receipt(&network, 4, SIZE, &by);
    let unknown = Err(ReceiptInvalid::UnknownNode(NodeId(99)));
    check(&receipt, &network, AckLevel::Local, unknown);
}

#[test]
fn an_entry_of_another_shard_is_in_no_ones_log() {
    // covers: LOG-007
    let network = Network::new(4, 4, 4);
    let mut log = Log::new(&network, 11, 0);
    let home = log.headers[0].topic.shard(4);
    log.id.shard = home;
    check(&log.receipt(&network, 4, SIZE, &[3]), &network, AckLevel::Replicated, Ok(()));
    log.id.shard = ShardId((home.0 + 1) % 4);
    let receipt = log.receipt(&network, 4, SIZE, &[3]);
    check(&receipt, &network, AckLevel::Local, Err(ReceiptInvalid::Shard));
}

#[test]
fn acknowledgements_are_of_this_checkpoint_by_their_own_signer() {
    // covers: LOG-006
    // covers: LOG-007
    let network = Network::new(4, 1, 4);
    let log = Log::new(&network, 11, 0);
    let receipt = log.receipt(&network, 4, SIZE, &[3]);
    let invalid = |node| Err(ReceiptInvalid::Acknowledgement(NodeId(node)));
    let mut earlier = receipt.clone();
    earlier.acknowledgements = log.receipt(&network, 4, SIZE - 1, &[3]).acknowledgements;
    check(&earlier, &network, AckLevel::Replicated, invalid(3));
    let mut lent = receipt.clone();
    let acknowledgement =
        SignedAcknowledgement { replica: NodeId(2), ..receipt.acknowledgements[0] };
    lent.acknowledgements = vec![acknowledgement].try_into().unwrap();
    check(&lent, &network, AckLevel::Replicated, invalid(2));
    let digest = receipt.checkpoint.checkpoint.digest(network.id);
    let forged = SignedAcknowledgement::sign(NodeId(2), digest, &node_key(NodeId(3)), network.id);
    lent.acknowledgements = vec![forged].try_into().unwrap();
    check(&lent, &network, AckLevel::Replicated, invalid(2));
}

#[test]
fn a_receipt_is_of_one_network_and_one_version() {
    // covers: LOG-005
    let network = Network::new(4, 1, 4);
    let log = Log::new(&network, 11, 0);
    let receipt = log.receipt(&network, 4, SIZE, &[3]);
    let elsewhere = receipt.verify(NetworkId([9; 32]), &network.registry, AckLevel::Local);
    assert_eq!(elsewhere, Err(ReceiptInvalid::Checkpoint));
    let mut other = receipt;
    other.header.version = 2;
    check(&other, &network, AckLevel::Local, Err(ReceiptInvalid::Version));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// A change of any bit leaves bytes that are no receipt, or a receipt that proves nothing.
    #[test]
    fn no_bit_can_be_changed(place: prop::sample::Index, bit in 0u8..8) {
        // covers: LOG-007
        let network = Network::new(4, 1, 4);
        let log = Log::new(&network, 6, 0);
        let mut bytes = log.receipt(&network, 2, 6, &[3]).to_wire();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        if let Ok(changed) = Receipt::from_wire(&bytes) {
            let verdict = changed.verify(network.id, &network.registry, AckLevel::Replicated);
            prop_assert!(verdict.is_err());
        }
    }
}

#[test]
fn a_response_hands_out_the_receipts_of_its_results() {
    use tidings_envelope::api::{AcknowledgedCheckpoint, PublishResponse, PublishResult};
    let network = Network::new(4, 1, 4);
    let receipt = Log::new(&network, 6, 0).receipt(&network, 2, 6, &[3]);
    let stored = |checkpoint| PublishResult::Stored {
        header: receipt.header,
        path: receipt.path.clone(),
        checkpoint,
    };
    let refused = PublishResult::Refused { code: ErrorCode::Overloaded };
    let response = PublishResponse {
        version: 1,
        checkpoints: vec![AcknowledgedCheckpoint {
            checkpoint: receipt.checkpoint,
            acknowledgements: receipt.acknowledgements.clone(),
        }]
        .try_into()
        .unwrap(),
        results: vec![stored(0), stored(1), refused].try_into().unwrap(),
    };
    assert_eq!(response.receipt(0), Some(receipt));
    assert_eq!((1..4).find_map(|index| response.receipt(index)), None);
}
