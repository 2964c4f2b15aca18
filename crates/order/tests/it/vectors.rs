//! The shared vectors: a lane that an independent implementation played block by block.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tidings_envelope::{
    Block, CertifiedBlock, DecidedOperation, IncarnationRequest, Operation, Registry,
    RegistryHistory, StateContent, StateKey, StateProof, state_value_hash,
};
use tidings_order::{LaneContext, LaneState, judge_operation};
use tidings_types::node_key::NodeSignature;
use tidings_types::{BlockHash, EthereumAddress, NetworkId, ShardId, Wire};

#[derive(Deserialize)]
struct Suite<Case> {
    network: NetworkId,
    registry: Option<Registry>,
    cases: Vec<Case>,
}

fn suite<Case: DeserializeOwned>(path: &str) -> Suite<Case> {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors");
    let text = std::fs::read_to_string(format!("{vectors}/{path}")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn wire<T: Wire>(text: &str) -> T {
    T::from_wire(&hex::decode(text).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct Step {
    comment: String,
    operations: Vec<String>,
    outcomes: Vec<String>,
    header: String,
    hash: BlockHash,
    state_root: String,
    block: String,
    certified: String,
}

#[test]
fn a_lane_plays_as_another_implementation_played_it() {
    // covers: ORD-001
    // covers: ORD-003
    // covers: ORD-004
    // covers: ORD-005
    // covers: ORD-006
    // covers: ORD-008
    // covers: ORD-011
    let suite = suite::<Step>("ordered/lane.json");
    let registry = suite.registry.unwrap();
    assert_eq!((registry.validate(), registry.network_id()), (Ok(()), suite.network));
    let registries = RegistryHistory::new(Arc::new(registry.clone()));
    let context =
        LaneContext { network: suite.network, registries: &registries, shard: ShardId(0) };
    let mut state = LaneState::default();
    for case in suite.cases {
        let comment = &case.comment;
        let operations: Vec<Operation> = case.operations.iter().map(|text| wire(text)).collect();
        for operation in &operations {
            let judging = state.judging(context, &registry);
            let judged = judge_operation(operation, &judging);
            assert_eq!(judged, Ok(()), "{comment}");
        }
        let (staged, waiting) = state.stage(operations, context).unwrap();
        assert!(waiting.is_empty(), "{comment}");
        let outcome = |decided: &DecidedOperation| hex::encode(decided.outcome.to_wire());
        let outcomes: Vec<String> = staged.block.operations.iter().map(outcome).collect();
        assert_eq!(outcomes, case.outcomes, "{comment}");
        let header = staged.block.header;
        assert_eq!(hex::encode(header.state_root), case.state_root, "{comment}");
        assert_eq!(hex::encode(header.to_wire()), case.header, "{comment}");
        assert_eq!(header.hash(), case.hash, "{comment}");
        assert_eq!(hex::encode(staged.block.to_wire()), case.block, "{comment}");
        let certified: CertifiedBlock = wire(&case.certified);
        assert_eq!(certified.block, staged.block, "{comment}");
        certified.certificate.verify(&header, suite.network, &registry).unwrap();
        let checked = state.check(&wire::<Block>(&case.block), |_| false, context);
        assert_eq!(checked.as_ref(), Ok(&staged), "{comment}");
        state.commit(staged);
    }
}

#[derive(Deserialize)]
struct Opening {
    comment: String,
    digest: String,
    signer: EthereumAddress,
    wire: String,
}

#[test]
fn incarnations_are_signed_as_typed_data() {
    // covers: ORD-005
    let registry = suite::<Step>("ordered/lane.json").registry.unwrap();
    let suite = suite::<Opening>("ordered/incarnations.json");
    for case in suite.cases {
        let request: IncarnationRequest = wire(&case.wire);
        assert_eq!(request.verify(suite.network, &registry), Ok(()), "{}", case.comment);
        let digest = hex::decode(&case.digest).unwrap().try_into().unwrap();
        let NodeSignature(bytes) = request.signature;
        let recovered = NodeSignature(bytes).recover(&digest);
        assert_eq!(recovered, Ok(case.signer), "{}", case.comment);
    }
}

#[derive(Deserialize)]
struct Proof {
    comment: String,
    key: String,
    held: String,
    value: Option<String>,
    wire: String,
}

#[test]
fn proofs_made_elsewhere_are_believed_or_not() {
    // covers: ORD-030
    // covers: ORD-032
    let suite = suite::<Proof>("ordered/proofs.json");
    let registry = suite.registry.unwrap();
    for case in suite.cases {
        let (comment, proof) = (&case.comment, wire::<StateProof>(&case.wire));
        let key: StateKey = wire(&case.key);
        assert_eq!(proof.key, key, "{comment}");
        let proved = proof.verify(suite.network, &registry);
        let value = case.value.map(|text| hex::decode(text).unwrap()).unwrap_or_default();
        let place = |bytes: &[u8]| {
            let (height, index) = bytes.split_at(8);
            (Wire::from_wire(height).unwrap(), Wire::from_wire(index).unwrap())
        };
        let expected = match (case.held.as_str(), key) {
            ("refused", _) => {
                assert!(proved.is_err(), "{comment}: {proved:?}");
                continue;
            }
            ("nothing", _) => StateContent::Absent,
            ("digest", StateKey::Inbox(_)) => StateContent::Inbox(state_value_hash(&value)),
            ("value", StateKey::Period) => StateContent::Period(Wire::from_wire(&value).unwrap()),
            ("value", StateKey::Topic(_)) => StateContent::Topic(Wire::from_wire(&value).unwrap()),
            ("value", StateKey::Account(_)) => {
                StateContent::Account(Wire::from_wire(&value).unwrap())
            }
            ("value", StateKey::Incarnation(_)) => {
                let (number, nonce) = value.split_at(4);
                let number = Wire::from_wire(number).unwrap();
                StateContent::Incarnation(number, nonce.try_into().unwrap())
            }
            ("value", StateKey::Offence(..)) => {
                let (height, index) = place(&value);
                StateContent::Offence(height, index)
            }
            ("value", StateKey::Decisions(_)) => StateContent::Decisions(value.try_into().unwrap()),
            other => panic!("{comment}: {other:?}"),
        };
        assert_eq!(proved, Ok(expected), "{comment}");
    }
}
