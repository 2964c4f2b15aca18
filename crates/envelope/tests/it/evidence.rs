//! Evidence: a contradiction is proven to anybody, and an honest node is never accused.

use proptest::prelude::*;
use tidings_envelope::*;
use tidings_types::*;

use crate::network::{Log, Network, PERIOD, node_key};

fn check(evidence: &Evidence, network: &Network, expected: bool) {
    let signer = node_key(NodeId(1)).address();
    assert_eq!(evidence.verify(network.id, signer).is_ok(), expected);
    let again = Evidence::from_wire(&evidence.to_wire()).unwrap();
    assert_eq!(again.verify(network.id, signer).is_ok(), expected);
    // The same offence cannot be held against anybody else, nor on another network.
    assert!(evidence.verify(network.id, node_key(NodeId(2)).address()).is_err());
    assert!(evidence.verify(NetworkId([9; 32]), signer).is_err());
}

#[test]
fn two_roots_of_one_size_are_an_offence() {
    // covers: LOG-008
    let network = Network::new(4, 1, 4);
    let (one, two) = (Log::new(&network, 7, 0), Log::new(&network, 7, 1));
    let [left, right] = [&one, &two].map(|log| log.checkpoint(&network, 7, PERIOD));
    check(&Evidence::Checkpoints(left, right), &network, true);
    check(&Evidence::Checkpoints(right, left), &network, true);
}

#[test]
fn two_entries_at_one_index_are_an_offence_whatever_the_sizes() {
    // covers: LOG-008
    let network = Network::new(4, 1, 4);
    let (one, two) = (Log::new(&network, 9, 0), Log::new(&network, 9, 1));
    for (left, right) in [(5, 5), (5, 9), (9, 6)] {
        let proofs = (one.proof(&network, 4, left), two.proof(&network, 4, right));
        check(&Evidence::Entries(proofs.0, proofs.1), &network, true);
    }
}

#[test]
fn what_does_not_contradict_proves_nothing() {
    // covers: LOG-008
    let network = Network::new(4, 1, 4);
    let (one, two) = (Log::new(&network, 9, 0), Log::new(&network, 9, 1));
    let at = |size| one.checkpoint(&network, size, PERIOD);
    check(&Evidence::Checkpoints(at(7), at(7)), &network, false);
    check(&Evidence::Checkpoints(at(7), at(8)), &network, false);
    let later = one.checkpoint(&network, 7, PERIOD.plus(1));
    check(&Evidence::Checkpoints(at(7), later), &network, false);
    let proof = |index, size| one.proof(&network, index, size);
    check(&Evidence::Entries(proof(4, 7), proof(4, 9)), &network, false);
    check(&Evidence::Entries(proof(4, 7), proof(5, 7)), &network, false);
    let other = two.proof(&network, 5, 7);
    check(&Evidence::Entries(proof(4, 7), other), &network, false);
}

#[test]
fn different_logs_do_not_contradict_each_other() {
    // covers: LOG-008
    let network = Network::new(4, 1, 4);
    let one = Log::new(&network, 7, 0);
    let changes: [fn(&mut LogId); 2] =
        [|log| log.incarnation = Incarnation(2), |log| log.shard = ShardId(1)];
    for change in changes {
        let mut two = Log::new(&network, 7, 1);
        change(&mut two.id);
        let [left, right] = [&one, &two].map(|log| log.checkpoint(&network, 7, PERIOD));
        check(&Evidence::Checkpoints(left, right), &network, false);
        let proofs = [&one, &two].map(|log| log.proof(&network, 4, 7));
        let [left, right] = proofs;
        check(&Evidence::Entries(left, right), &network, false);
    }
}

#[test]
fn forged_parts_prove_nothing() {
    // covers: LOG-008
    let network = Network::new(4, 1, 4);
    let (one, two) = (Log::new(&network, 7, 0), Log::new(&network, 7, 1));
    let honest = one.checkpoint(&network, 7, PERIOD);
    let mut forged = honest;
    forged.checkpoint.root = [0; 32];
    check(&Evidence::Checkpoints(honest, forged), &network, false);
    let mut versioned = two.checkpoint(&network, 7, PERIOD);
    versioned.checkpoint.version = 2;
    check(&Evidence::Checkpoints(honest, versioned), &network, false);
    let mut header = one.proof(&network, 4, 7);
    header.header.fee = PicoDollars(99);
    check(&Evidence::Entries(one.proof(&network, 4, 7), header), &network, false);
    let mut path = two.proof(&network, 4, 7);
    path.path = one.proof(&network, 4, 7).path;
    check(&Evidence::Entries(one.proof(&network, 4, 7), path), &network, false);
}

/// What an accuser makes of the statements of a node that only ever appended to one log.
fn accusation(network: &Network, choice: (bool, usize, usize, usize, usize)) -> Evidence {
    let log = Log::new(network, 9, 0);
    let (entries, left, right, index, other) = choice;
    let periods = (PERIOD.plus(left as u64), PERIOD.plus(right as u64));
    match entries {
        true => Evidence::Entries(
            log.proof(network, index.min(left - 1), left),
            log.proof(network, other.min(right - 1), right),
        ),
        false => Evidence::Checkpoints(
            log.checkpoint(network, left, periods.0),
            log.checkpoint(network, right, periods.1),
        ),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn an_honest_node_is_never_accused(
        choice in (any::<bool>(), 1usize..=9, 1usize..=9, 0usize..9, 0usize..9),
        damage in prop::option::of((any::<prop::sample::Index>(), 0u8..8)),
    ) {
        // covers: LOG-008
        let network = Network::new(4, 1, 4);
        let mut bytes = accusation(&network, choice).to_wire();
        if let Some((place, bit)) = damage {
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
        }
        if let Ok(evidence) = Evidence::from_wire(&bytes) {
            let signer = node_key(NodeId(1)).address();
            prop_assert!(evidence.verify(network.id, signer).is_err());
        }
    }
}
