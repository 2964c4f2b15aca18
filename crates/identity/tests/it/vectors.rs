//! The shared vectors: updates encoded and signed by an independent implementation.

use serde::Deserialize;
use tidings_identity::{AssociationState, IdentityUpdate, Member, ParsedUpdate, UnsignedUpdate};
use tidings_types::{NetworkId, Wire};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Suite {
    suite: String,
    version: u16,
    #[serde(rename = "description")]
    _description: String,
    network: NetworkId,
    cases: Vec<Case>,
}

/// One update, tried on the state that the accepted cases before it lead to.
#[derive(Deserialize)]
struct Case {
    comment: String,
    update: String,
    outcome: String,
    #[serde(flatten)]
    accepted: Option<Accepted>,
}

#[derive(Deserialize)]
struct Accepted {
    hash: String,
    typed_data: serde_json::Value,
    text: String,
    state: String,
    state_hash: String,
    members: Vec<Member>,
}

fn check(file: &str, accepted_count: usize, refused_count: usize) {
    let path = format!("{}/../../spec/vectors/identity/{file}", env!("CARGO_MANIFEST_DIR"));
    let suite: Suite = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!((suite.suite.as_str(), suite.version), ("identity", 1));
    let mut current: Option<AssociationState> = None;
    let mut counts = (0, 0);
    for case in &suite.cases {
        let comment = &case.comment;
        let bytes = hex::decode(&case.update).unwrap();
        let outcome = AssociationState::advance(current.as_ref(), suite.network, &bytes);
        match outcome {
            Ok(state) => {
                assert_eq!(case.outcome, "accepted", "{comment}");
                let expected = case.accepted.as_ref().unwrap();
                check_texts(current.as_ref(), suite.network, &bytes, expected);
                check_state(&state, expected);
                current = Some(state);
                counts.0 += 1;
            }
            Err(error) => {
                assert_eq!(error.code().as_str(), case.outcome, "{comment}: {error}");
                counts.1 += 1;
            }
        }
    }
    assert_eq!(counts, (accepted_count, refused_count));
}

/// The texts are those the wallets saw, and the wallets' signatures finish our own draft.
fn check_texts(
    current: Option<&AssociationState>,
    network: NetworkId,
    bytes: &[u8],
    expected: &Accepted,
) {
    let update = IdentityUpdate::from_wire(bytes).unwrap();
    let mut draft = UnsignedUpdate::from_body(current, network, update.body.clone()).unwrap();
    let statement = draft.statement();
    assert_eq!(hex::encode(statement.update()), expected.hash);
    let typed_data: serde_json::Value = serde_json::from_str(&statement.typed_data_json()).unwrap();
    assert_eq!(typed_data, expected.typed_data);
    assert_eq!(statement.eip191_text(), expected.text);
    for signature in update.signatures.iter() {
        draft.attach(signature.clone()).unwrap();
    }
    assert_eq!(draft.finish().unwrap().to_wire(), bytes);
    let verified = ParsedUpdate::parse(bytes).unwrap().verify(network).unwrap();
    assert_eq!(hex::encode(verified.hash()), expected.hash);
}

fn check_state(state: &AssociationState, expected: &Accepted) {
    let members: Vec<Member> = state.members().map(|(member, _)| *member).collect();
    assert_eq!(members, expected.members);
    assert_eq!(hex::encode(state.to_wire()), expected.state);
    assert_eq!(hex::encode(state.hash()), expected.state_hash);
    assert_eq!(AssociationState::from_wire(&state.to_wire()).as_ref(), Ok(state));
}

#[test]
fn an_inbox_lives_on_signatures_of_an_independent_wallet() {
    // covers: IDN-001 IDN-002 IDN-008 IDN-009 IDN-011 IDN-012 IDN-015 IDN-016 IDN-019
    check("life.json", 7, 0);
}

#[test]
fn an_agent_needs_no_wallet() {
    // covers: IDN-011 IDN-016 IDN-017
    check("agent.json", 2, 1);
}

#[test]
fn signatures_in_any_other_form_are_refused() {
    // covers: IDN-007 IDN-008 IDN-009 IDN-010 IDN-011 IDN-015 IDN-016
    check("signatures.json", 2, 17);
}

#[test]
fn replays_gaps_and_forks_are_refused() {
    // covers: IDN-002 IDN-005
    check("sequence.json", 2, 8);
}

#[test]
fn actions_against_the_rules_are_refused() {
    // covers: IDN-001 IDN-006 IDN-012 IDN-013 IDN-015 IDN-017
    check("actions.json", 3, 15);
}

#[test]
fn other_encodings_are_refused() {
    // covers: IDN-003 IDN-004
    check("encoding.json", 2, 16);
}
