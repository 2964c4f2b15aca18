//! What is voted on, won, queued and carried out on a chain with the program alone.

use serde_json::Value;

use crate::chain::{ACCOUNTS, Chain};

/// The holder of all tokens deploys; the council and the keeper are others.
fn plan() -> String {
    format!(
        "council = \"{}\"
keeper = \"{}\"
keeper_until = 4000000000
timelock_seconds = 3000
voting_delay_seconds = 1000
voting_period_seconds = 2000
proposal_threshold_tokens = 100
[parameters]
BondMin = 5
UnbondingSeconds = 0
WithdrawalSeconds = 0
",
        ACCOUNTS[1], ACCOUNTS[2]
    )
}

const HOLDER: usize = 0;
const COUNCIL: usize = 1;
const KEEPER: usize = 2;

impl Chain {
    /// A proposal as `tidings gov status` has it.
    fn proposal(&self, which: &str) -> Value {
        self.act(&["gov", "status", which])[0].clone()
    }

    /// Lets the holder's vote carry a proposal that was just made, up to the timelock.
    fn win(&self, number: &str) {
        self.pass(1001);
        self.act(&["gov", "vote", number, "for"]);
        self.pass(2001);
        self.act(&["gov", "queue", number]);
    }
}

#[test]
fn a_vote_is_held_and_carried_out() {
    // covers: SET-021, SET-022
    let chain = Chain::start(&plan());
    assert!(chain.says(&["gov", "phase"]).starts_with("Phase 1 of 3: the council admits"));
    assert!(chain.says(&["gov", "status"]).contains("Nothing was proposed"));
    chain.register(HOLDER, "first", "11");
    chain.register(HOLDER, "second", "22");
    let foretold = chain.says(&["operator", "bond", "0", "5", "--dry-run"]);
    let lines: Vec<&str> = foretold.lines().collect();
    assert!(lines[0].starts_with("would sign") && lines[0].ends_with("gas"), "{foretold}");
    assert!(lines[1].contains("its gas shows once that is done"), "{foretold}");
    assert_eq!(chain.act(&["operator", "status", "0"])[0]["bond_tokens"], "0");
    chain.act(&["operator", "bond", "0", "5"]);
    chain.act(&["operator", "bond", "1", "5"]);
    chain.act_as(COUNCIL, &["operator", "admit", "0"]);

    // Who holds tokens has votes once they are delegated, if only to themselves.
    let propose = ["gov", "propose", "--advance-phase", "--set", "BondMin=7", "--why", "to grow"];
    let refusal = chain.refuses(HOLDER, 1, &propose);
    assert!(refusal.contains("GovernorInsufficientProposerVotes"), "{refusal}");
    chain.act(&["gov", "delegate"]);
    // Votes count from the second after they were delegated.
    chain.pass(1);
    let foretold = chain.says(&[propose.as_slice(), &["--dry-run"]].concat());
    assert!(foretold.contains("would sign"), "{foretold}");
    assert!(
        foretold.contains(
            "propose to go to the next phase of admission, for good and set BondMin to 7 tokens"
        ),
        "{foretold}"
    );
    let made = chain.act(&propose);
    assert_eq!(made["number"], 1);
    let found = chain.proposal(made["id"].as_str().unwrap());
    assert_eq!((&found["number"], &found["state"]), (&made["number"], &"pending".into()));
    assert_eq!(
        (&found["does"][1], &found["why"]),
        (&"set BondMin to 7 tokens".into(), &"to grow".into())
    );

    let early = chain.refuses(HOLDER, 1, &["gov", "vote", "1", "for"]);
    assert!(early.contains("the vote on proposal 1 begins after"), "{early}");
    chain.pass(1001);
    let stranger = chain.refuses(COUNCIL, 1, &["gov", "vote", "1", "against"]);
    assert!(stranger.contains("had no votes"), "{stranger}");
    let told = chain.tells(&["gov", "vote", "1", "for", "--why", "it is time"]);
    assert!(told.contains("about to sign for") && told.contains("vote for proposal 1"), "{told}");
    let twice = chain.refuses(HOLDER, 1, &["gov", "vote", "1", "against"]);
    assert!(twice.contains("has voted on proposal 1 already"), "{twice}");
    let early = chain.refuses(HOLDER, 1, &["gov", "queue", "1"]);
    assert!(early.contains("is active; only one that was won"), "{early}");

    chain.pass(2001);
    let unqueued = chain.refuses(HOLDER, 1, &["gov", "execute", "1"]);
    assert!(unqueued.contains("tidings gov queue 1"), "{unqueued}");
    chain.act_as(KEEPER, &["gov", "queue", "1"]);
    let early = chain.refuses(HOLDER, 1, &["gov", "execute", "1"]);
    assert!(early.contains("proposal 1 waits, and can be carried out from"), "{early}");
    chain.pass(3000);
    chain.act_as(KEEPER, &["gov", "execute", "1"]);
    assert_eq!(chain.proposal("1")["state"], "executed");
    assert!(chain.says(&["gov", "phase"]).starts_with("Phase 2 of 3"));
    assert_eq!(chain.parameter("BondMin"), 7);

    // Now a vote admits, and the council does not.
    let refusal = chain.refuses(COUNCIL, 1, &["operator", "admit", "1"]);
    assert!(refusal.contains("NotAllowed"), "{refusal}");
    chain.act(&["operator", "bond", "1", "2"]);
    chain.act(&["gov", "propose", "--admit", "1", "--why", "we know them"]);
    chain.win("2");
    chain.pass(3000);
    let shown = chain.says(&["gov", "execute", "2", "--dry-run"]);
    assert!(shown.contains("carry out proposal 2: let node 1 into probation"), "{shown}");
    chain.act(&["gov", "execute", "2"]);
    assert_eq!(chain.act(&["operator", "status", "1"])[0]["status"], "probation");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_signed() {
    let chain = Chain::start(&plan());
    chain.act(&["gov", "delegate"]);
    // Votes count from the second after they were delegated.
    chain.pass(1);
    let propose = |more: &[&'static str]| [&["gov", "propose", "--why", "x"], more].concat();
    for (words, expected) in [
        (propose(&["--set", "Colour=1"]), "there is no parameter Colour"),
        (propose(&["--set", "BondMin=100000001"]), "BondMin is 0 to 100000000 tokens"),
        (propose(&["--set", "BondMin=many"]), "NAME=VALUE"),
        (propose(&["--call", "0x12:00"]), "ADDRESS:HEX"),
        (propose(&[]), "required"),
        (vec!["gov", "propose", "--advance-phase"], "--why"),
        (vec!["gov", "vote", "1", "perhaps"], "abstain"),
        (vec!["gov", "vote", "first", "for"], "a proposal is a number"),
    ] {
        let refusal = chain.refuses(HOLDER, 2, &words);
        assert!(refusal.contains(expected), "{words:?}: {refusal}");
    }
    for (words, expected) in [
        (vec!["gov", "propose", "--advance-phase", "--why", " "], "say why"),
        (vec!["gov", "vote", "1", "for"], "no such proposal"),
    ] {
        let refusal = chain.refuses(HOLDER, 1, &words);
        assert!(refusal.contains(expected), "{words:?}: {refusal}");
    }

    // What too few want comes to nothing, and a proposer can think again.
    chain.act(&["gov", "propose", "--advance-phase", "--why", "nobody comes"]);
    chain.act(&["gov", "propose", "--advance-phase", "--why", "a mistake"]);
    let stranger = chain.refuses(KEEPER, 1, &["gov", "cancel", "2"]);
    assert!(stranger.contains("its proposer"), "{stranger}");
    chain.act(&["gov", "cancel", "2"]);
    chain.pass(3002);
    let states = chain.act(&["gov", "status"]);
    let states: Vec<&Value> = states.as_array().unwrap().iter().map(|it| &it["state"]).collect();
    assert_eq!(states, ["defeated", "canceled"]);
    let lost = chain.refuses(HOLDER, 1, &["gov", "queue", "1"]);
    assert!(lost.contains("is defeated"), "{lost}");
    let late = chain.refuses(HOLDER, 1, &["gov", "vote", "1", "for"]);
    assert!(late.contains("ended at"), "{late}");

    // The guardian's keeper stops a contract, and nobody else does.
    let refusal = chain.refuses(HOLDER, 1, &["gov", "pause", "registry"]);
    assert!(refusal.contains("NotTheKeeper"), "{refusal}");
    chain.act_as(KEEPER, &["gov", "pause", "registry"]);
    let refusal = chain.refuses(HOLDER, 1, &["operator", "admit", "0"]);
    assert!(refusal.contains("Stopped"), "{refusal}");
}
