//! Logs that the official client made, and who it says belongs to the inboxes in the end.

use serde::Deserialize;
use tidings_xmtp::association::{
    AssociationError, AssociationState, Identifier, InboxId, InstallationKey, NoContractWallets,
    ParsedUpdate, VerifiedUpdate,
};

#[derive(Deserialize)]
pub struct Fixture {
    pub logs: Vec<Log>,
}

/// An inbox's log, and what the client made of it.
#[derive(Deserialize)]
pub struct Log {
    client: String,
    inbox: String,
    pub updates: Vec<Step>,
    recovery: String,
    identifiers: Vec<String>,
    installations: Vec<String>,
}

#[derive(Deserialize)]
pub struct Step {
    step: String,
    text: String,
    /// The encoded update in hex, as it was published.
    pub update: String,
}

impl Step {
    pub fn bytes(&self) -> Vec<u8> {
        hex::decode(&self.update).unwrap()
    }
}

pub fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/official-client.json")).unwrap()
}

fn verified(step: &Step) -> VerifiedUpdate {
    let update = ParsedUpdate::parse(&step.bytes()).unwrap();
    assert_eq!(update.text().as_str(), step.text, "{}", step.step);
    update.verify(&NoContractWallets).unwrap_or_else(|error| panic!("{}: {error}", step.step))
}

#[test]
fn both_releases_made_a_log_for_wallets_and_one_with_passkeys() {
    let logs = fixture().logs;
    let made: Vec<_> = logs.iter().map(|log| (log.client.as_str(), log.updates.len())).collect();
    let (nightly, older) =
        ("@xmtp/node-sdk 6.1.0-nightly.20260726.b649d1a", "@xmtp/node-sdk 5.4.0");
    assert_eq!(made, [(nightly, 13), (nightly, 5), (older, 13), (older, 5)]);
}

#[test]
fn all_updates_of_the_official_client_apply() {
    for log in fixture().logs {
        let mut state: Option<AssociationState> = None;
        for step in &log.updates {
            let next = AssociationState::apply(state.as_ref(), &verified(step));
            state = Some(next.unwrap_or_else(|error| panic!("{}: {error}", step.step)).state);
        }
        let state = state.unwrap();
        assert_eq!(state.inbox(), InboxId::parse(&log.inbox).unwrap());
        assert_eq!(state.recovery().to_string(), log.recovery);
        let mut identifiers: Vec<_> = state.identifiers().map(Identifier::to_string).collect();
        identifiers.sort();
        assert_eq!(identifiers, log.identifiers);
        let installations: Vec<_> = state.installations().map(|key| key.to_string()).collect();
        assert_eq!(installations, log.installations);
    }
}

#[test]
fn no_update_of_the_official_client_applies_twice() {
    for log in fixture().logs {
        let updates: Vec<_> = log.updates.iter().map(verified).collect();
        let state = AssociationState::replay(&updates).unwrap();
        for (index, update) in updates.iter().enumerate() {
            let again = AssociationState::apply(Some(&state), update).unwrap_err();
            assert_eq!(again, AssociationError::SignatureReplayed, "update {index}");
        }
    }
}

#[test]
fn the_diff_says_what_a_lookup_must_know() {
    let fixture = fixture();
    let wallets = &fixture.logs[0];
    let mut state = None;
    let mut found = Vec::new();
    for update in wallets.updates.iter().map(verified) {
        let next = AssociationState::apply(state.as_ref(), &update).unwrap();
        let added = next.diff.added_identifiers().count();
        found.push((added, next.diff.removed_identifiers().count()));
        state = Some(next.state);
    }
    let (none, link, unlink) = ((0, 0), (1, 0), (0, 1));
    let expected = [link, none, link, none, none, unlink, none, none, none, link, none, none, none];
    assert_eq!(found, expected);
    let key = state.unwrap().installations().next().unwrap();
    assert_ne!(key, InstallationKey([0; 32]));
}
