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

fn vote(round: u32, step: Step, block: Option<u8>) -> Vote {
    let block = block.map(|byte| BlockHash([byte; 32]));
    Vote { shard: ShardId(0), height: Height(4), round: Round(round), step, block }
}

#[test]
fn two_votes_in_one_step_are_an_offence() {
    // covers: EVD-001
    // covers: EVD-003
    let network = Network::new(4, 1, 4);
    let pair = |one: Vote, two: Vote| {
        let signed = [one, two].map(|vote| vote.sign(NodeId(1), &node_key(NodeId(1)), network.id));
        Evidence::Votes(signed[0], signed[1])
    };
    let prevote = |block| vote(2, Step::Prevote, block);
    check(&pair(prevote(Some(1)), prevote(Some(2))), &network, true);
    check(&pair(prevote(None), prevote(Some(2))), &network, true);
    check(&pair(prevote(Some(1)), prevote(Some(1))), &network, false);
    check(&pair(prevote(Some(1)), vote(2, Step::Precommit, Some(2))), &network, false);
    check(&pair(prevote(Some(1)), vote(3, Step::Prevote, Some(2))), &network, false);
    // What is signed for no block is no vote for a block of zeros.
    // covers: ORD-023
    check(&pair(prevote(None), prevote(Some(0))), &network, false);
    check(&pair(prevote(Some(0)), prevote(Some(2))), &network, false);
    // Two nodes may vote as they like.
    let Evidence::Votes(one, mut two) = pair(prevote(Some(1)), prevote(Some(2))) else {
        unreachable!()
    };
    two.node = NodeId(2);
    check(&Evidence::Votes(one, two), &network, false);
}

#[test]
fn two_proposals_in_one_round_are_an_offence() {
    // covers: EVD-001
    // covers: EVD-004
    let network = Network::new(4, 1, 4);
    let proposal = |round: u32, block: u8, valid_round: Option<u32>| Proposal {
        shard: ShardId(0),
        height: Height(4),
        round: Round(round),
        valid_round: valid_round.map(Round),
        block: BlockHash([block; 32]),
    };
    let pair = |one: Proposal, two: Proposal| {
        let key = node_key(NodeId(1));
        let signed = [one, two].map(|proposal| proposal.sign(NodeId(1), &key, network.id));
        Evidence::Proposals(signed[0], signed[1])
    };
    check(&pair(proposal(1, 1, None), proposal(1, 2, None)), &network, true);
    check(&pair(proposal(1, 1, None), proposal(1, 2, Some(0))), &network, true);
    check(&pair(proposal(1, 1, None), proposal(1, 1, Some(0))), &network, false);
    check(&pair(proposal(1, 1, None), proposal(2, 2, None)), &network, false);
}

/// Evidence of a log of one entry, whose envelope and header were changed before the originator
/// signed for them.
fn invalid_entry(
    network: &Network,
    change: impl FnOnce(&mut PayerEnvelope, &mut EntryHeader),
) -> Evidence {
    let mut envelope = network.paid(network.envelope(|_| {}));
    let mut header = network.entry(0, &envelope).header;
    change(&mut envelope, &mut header);
    let payload = envelope.to_wire();
    header.payload_hash = sha256(&payload);
    header.payload_length = u32::try_from(payload.len()).unwrap();
    let log = Log {
        id: LogId { node: NodeId(1), shard: ShardId(0), incarnation: Incarnation(1) },
        headers: vec![header],
    };
    let proof = log.proof(network, 0, 1);
    Evidence::InvalidEntry(InvalidEntry { proof, payload: payload.try_into().unwrap() })
}

#[test]
fn an_entry_that_is_invalid_on_its_face_is_an_offence() {
    // covers: EVD-001
    // covers: EVD-005
    let network = Network::new(4, 1, 4);
    check(&invalid_entry(&network, |_, _| {}), &network, false);
    let invalid: [fn(&mut PayerEnvelope, &mut EntryHeader); 7] = [
        |envelope, _| match &mut envelope.envelope.proof {
            WriteProof::Key { signature, .. } => signature.0[3] ^= 1,
            _ => unreachable!(),
        },
        |envelope, _| envelope.batch.signature.0[3] ^= 1,
        |envelope, _| envelope.batch.header.target = Target::Node(NodeId(2)),
        |envelope, _| envelope.batch.header.root[0] ^= 1,
        |_, header| header.payer.0[0] ^= 1,
        |_, header| header.fee = PicoDollars(1_000_000_001),
        |_, header| header.fee_period = PERIOD.plus(2),
    ];
    for change in invalid {
        check(&invalid_entry(&network, change), &network, true);
    }
}

#[test]
fn a_foreign_payload_and_a_newer_version_accuse_nobody() {
    // covers: EVD-005
    let network = Network::new(4, 1, 4);
    let Evidence::InvalidEntry(mut entry) = invalid_entry(&network, |_, header| {
        header.fee = PicoDollars(u64::MAX);
    }) else {
        unreachable!()
    };
    check(&Evidence::InvalidEntry(entry.clone()), &network, true);
    entry.payload = b"anything".to_vec().try_into().unwrap();
    check(&Evidence::InvalidEntry(entry), &network, false);
    check(
        &invalid_entry(&network, |envelope, _| envelope.envelope.body.version = 2),
        &network,
        false,
    );
    check(&invalid_entry(&network, |_, header| header.version = 2), &network, false);
}

#[test]
fn one_offence_has_one_id() {
    // covers: EVD-002
    let network = Network::new(4, 1, 4);
    let key = node_key(NodeId(1));
    let sign = |vote: Vote| vote.sign(NodeId(1), &key, network.id);
    let votes = |round, one, two| {
        let (one, two) = (vote(round, Step::Prevote, one), vote(round, Step::Prevote, two));
        Evidence::Votes(sign(one), sign(two))
    };
    let offence = votes(2, Some(1), Some(2)).offence();
    assert_eq!(votes(2, Some(2), Some(1)).offence(), offence);
    assert_eq!(votes(2, None, Some(3)).offence(), offence);
    assert_ne!(votes(3, Some(1), Some(2)).offence(), offence);
    let (one, two) = (Log::new(&network, 9, 0), Log::new(&network, 9, 1));
    let entries = |size| Evidence::Entries(one.proof(&network, 4, size), two.proof(&network, 4, 9));
    assert_eq!(entries(5).offence(), entries(8).offence());
    assert_ne!(entries(5).offence(), offence);
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

#[derive(serde::Deserialize)]
struct Judged {
    network_id: NetworkId,
    signer: EthereumAddress,
    node: u32,
    evidence: String,
    offence: OffenceId,
    holds: bool,
    outcome: String,
}

#[derive(serde::Deserialize)]
struct File {
    cases: Vec<Judged>,
}

/// The court convicts by nothing that nodes refuse.
#[test]
fn vectors() {
    // covers: EVD-001
    // covers: EVD-002
    // covers: SET-019
    let json = include_str!("../../../../spec/vectors/evidence/judged.json");
    for case in serde_json::from_str::<File>(json).unwrap().cases {
        let evidence = Evidence::from_wire(&hex::decode(&case.evidence).unwrap()).unwrap();
        assert_eq!(evidence.accused(), NodeId(case.node));
        assert_eq!(evidence.offence(), case.offence);
        assert_eq!(evidence.verify(case.network_id, case.signer).is_ok(), case.holds);
        assert!(case.outcome != "convicted" || case.holds);
        assert!(case.outcome != "refused" || !case.holds);
    }
}
