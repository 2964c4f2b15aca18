//! What an operator and a payer change after they have joined.

use serde_json::Value;

use crate::chain::{ACCOUNTS, Chain};
use crate::program::word;

const PLAN: &str = "timelock_seconds = 10
[parameters]
BondMin = 5
UnbondingSeconds = 0
WithdrawalSeconds = 0
";

#[test]
fn a_node_changes_what_it_says_its_keys_and_who_is_paid() {
    // covers: SET-016
    let chain = Chain::start(PLAN);
    chain.register(0, "first", "11");
    let node = || chain.act(&["operator", "status", "0"])[0].clone();
    let before = node();
    chain.act(&["operator", "update", "0", "--name", "renamed", "--weight", "3"]);
    let after = node();
    assert_eq!((&after["name"], &after["weight"]), (&Value::from("renamed"), &Value::from(3)));
    assert_eq!((&after["http"], &after["quic"]), (&before["http"], &before["quic"]));
    chain.act(&["operator", "set-payout", "0", ACCOUNTS[1]]);
    assert_eq!(node()["payout"], ACCOUNTS[1]);

    let transport = chain.secret("next-transport", "33");
    let rotate = ["operator", "rotate-transport", "0", "--transport-key-file", word(&transport)];
    chain.act(&rotate);
    let again = chain.refuses(0, 1, &rotate);
    assert!(again.contains("KeyTaken"), "{again}");
    let signing = chain.secret("next-signing", "44");
    let rotate = ["operator", "rotate-signing", "0", "--signing-key-file", word(&signing)];
    let stranger = chain.refuses(1, 1, &rotate);
    assert!(stranger.contains("is not operated by"), "{stranger}");
    // The contract has checked that the key's holder wants it; it signs from the next epoch on.
    chain.act(&rotate);
    assert_eq!(node()["signing"], before["signing"]);
    let free = chain.refuses(0, 1, &["operator", "release", "0"]);
    assert!(free.contains("WrongStatus"), "{free}");
    let nothing = chain.refuses(0, 2, &["operator", "update", "0"]);
    assert!(nothing.contains("--weight"), "{nothing}");
}

#[test]
fn a_payer_thinks_again() {
    let chain = Chain::start(PLAN);
    let payer = ACCOUNTS[0];
    chain.act(&["chain", "mint", payer, "10"]);
    chain.act(&["payer", "deposit", "10"]);
    let none = chain.refuses(0, 1, &["payer", "cancel-withdrawal"]);
    assert!(none.contains("NothingRequested"), "{none}");
    chain.act(&["payer", "request-withdrawal", "4"]);
    assert_eq!(chain.act(&["payer", "status", payer])["balance_dollars"], "6");
    chain.act(&["payer", "cancel-withdrawal"]);
    assert_eq!(chain.act(&["payer", "status", payer])["balance_dollars"], "10");
    let none = chain.refuses(0, 1, &["payer", "release-cap", "0"]);
    assert!(none.contains("NothingToRelease"), "{none}");
}
