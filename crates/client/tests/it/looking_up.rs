//! Replicas that lie in look-ups: about an account, about an inbox, or about what time it is.

use std::sync::atomic::Ordering;

use tidings_client::{
    AssociationState, CallerError, Client, ClientError, Config, Event, Member, Recipient, Unlock,
    VerifyFailure,
};
use tidings_envelope::{StateContent, StateProofInvalid};
use tidings_identity::EthereumSigner;
use tidings_types::{ErrorCode, Height, InboxId, NodeId, Period};

use crate::ledger::wallet;
use crate::network::{Behaviour, Network};
use crate::people::Person;

/// What `node` may do while the others are honest.
const LIES: [Behaviour; 4] =
    [Behaviour::ForgetsInboxes, Behaviour::Misleads, Behaviour::SwapsStates, Behaviour::Down];

fn address_of(number: u8) -> Recipient {
    Recipient::Address(wallet(number).address())
}

/// A client that has seen nothing yet and asks node 1 first.
async fn stranger(network: &Network) -> (Client, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let mut config = Config::new(&network.gateway, "key");
    config.node = Some(NodeId(1));
    let unlock = Unlock::key_file(home.path().join("key"));
    (Client::create(home.path(), &unlock, &config).await.unwrap(), home)
}

/// Adds a second wallet to somebody's inbox.
async fn add_wallet(person: &Person, number: u8) -> AssociationState {
    let mut draft = person.client.draft_add_account(wallet(number).address()).await.unwrap();
    draft.sign_with(&wallet(number)).unwrap();
    person.client.submit(draft).await.unwrap()
}

fn sequence(state: &AssociationState) -> u64 {
    state.sequence().0
}

fn behave(network: &Network, nodes: std::ops::RangeInclusive<u32>, behaviour: Behaviour) {
    nodes.for_each(|node| network.behave(node, behaviour));
}

#[tokio::test]
async fn one_lying_replica_changes_nothing() {
    // covers: API-031
    let network = Network::start().await;
    let bob = Person::new(&network, 2).await;
    for lie in LIES {
        let (alice, _home) = stranger(&network).await;
        network.behave(1, lie);
        for recipient in [address_of(2), bob.recipient()] {
            let state = alice.resolve(&recipient).await.unwrap();
            assert_eq!(state.inbox(), bob.inbox, "{lie:?}");
        }
        let unknown = alice.resolve(&address_of(99)).await;
        let is_unknown =
            matches!(unknown, Err(ClientError::Caller(CallerError::UnknownRecipient(_))));
        assert!(is_unknown, "{lie:?}: {unknown:?}");
        network.behave(1, Behaviour::Honest);
    }
}

#[tokio::test]
async fn what_nobody_can_prove_is_not_believed() {
    // covers: API-031
    let network = Network::start().await;
    let bob = Person::new(&network, 2).await;
    let (alice, _home) = stranger(&network).await;
    // A hidden inbox is not taken for an absent one.
    behave(&network, 1..=4, Behaviour::ForgetsInboxes);
    let hidden = alice.resolve(&bob.recipient()).await.unwrap_err();
    let expected = VerifyFailure::State(StateProofInvalid::Path);
    assert!(matches!(&hidden, ClientError::Unverified(it) if *it == expected), "{hidden:?}");
    assert_eq!(hidden.code(), Some(ErrorCode::MerkleProofInvalid));
    behave(&network, 1..=4, Behaviour::Misleads);
    let misled = alice.resolve(&address_of(2)).await.unwrap_err();
    assert_eq!(misled.code(), Some(ErrorCode::MerkleProofInvalid));
    behave(&network, 1..=4, Behaviour::SwapsStates);
    let swapped = alice.resolve(&bob.recipient()).await.unwrap_err();
    assert_eq!(swapped.code(), Some(ErrorCode::MerkleProofInvalid));
    behave(&network, 1..=4, Behaviour::Honest);
    assert_eq!(alice.resolve(&bob.recipient()).await.unwrap().inbox(), bob.inbox);
}

#[tokio::test]
async fn a_state_older_than_one_that_was_seen_is_refused_for_ever() {
    // covers: API-031
    let network = Network::start().await;
    let bob = Person::new(&network, 2).await;
    let alice = Person::new(&network, 1).await;
    let before = network.ledger().height();
    let now = add_wallet(&bob, 22).await;
    let seen = alice.client.resolve(&bob.recipient()).await.unwrap();
    assert_eq!(sequence(&seen), sequence(&now));
    // A second wallet that all replicas pretend not to know of.
    behave(&network, 1..=4, Behaviour::Sleeps(before));
    let alice = alice.restart();
    let stale = alice.client.resolve(&address_of(22)).await.unwrap_err();
    assert!(
        matches!(stale, ClientError::Unverified(VerifyFailure::StateStale { shown, .. }) if shown == before),
        "{stale:?}"
    );
    assert_eq!(stale.code(), Some(ErrorCode::StateStale));
    assert!(stale.retryable());
    // One that is awake is enough.
    network.behave(3, Behaviour::Honest);
    assert_eq!(alice.client.resolve(&address_of(22)).await.unwrap().inbox(), bob.inbox);
}

#[tokio::test]
async fn a_stranger_goes_by_the_newest_of_two_replicas() {
    // covers: API-033
    let network = Network::start().await;
    let bob = Person::new(&network, 2).await;
    let before = network.ledger().height();
    let now = add_wallet(&bob, 22).await;
    // Whoever asks for the first time has seen nothing that an old state could contradict.
    network.behave(1, Behaviour::Sleeps(before));
    let (alice, _home) = stranger(&network).await;
    let state = alice.resolve(&bob.recipient()).await.unwrap();
    assert_eq!(sequence(&state), sequence(&now));
}

#[tokio::test]
async fn an_absence_is_believed_of_several_replicas_only() {
    // covers: API-032
    let network = Network::start().await;
    let (alice, _home) = stranger(&network).await;
    let nobody = alice.resolve(&Recipient::Inbox(InboxId([9; 32]))).await;
    assert!(matches!(nobody, Err(ClientError::Caller(CallerError::UnknownRecipient(_)))));
    let before = network.ledger().height();
    let bob = Person::new(&network, 2).await;
    // The first replica shows a block in which there is no such inbox yet.
    network.behave(1, Behaviour::Sleeps(before));
    assert_eq!(alice.resolve(&bob.recipient()).await.unwrap().inbox(), bob.inbox);
    // Alone it cannot make anybody believe it.
    let (carol, _home) = stranger(&network).await;
    behave(&network, 2..=4, Behaviour::Down);
    let alone = carol.resolve(&bob.recipient()).await.unwrap_err();
    assert!(alone.retryable(), "{alone:?}");
    assert!(!matches!(alone, ClientError::Caller(_)), "{alone:?}");
}

#[tokio::test]
async fn a_replica_that_has_fallen_asleep_is_found_out_by_the_period() {
    // covers: API-032
    let network = Network::start().await;
    let bob = Person::new(&network, 2).await;
    let (alice, _home) = stranger(&network).await;
    alice.resolve(&bob.recipient()).await.unwrap();
    let before = network.ledger().height();
    let now = add_wallet(&bob, 22).await;
    let later = network.ledger().period().plus(3);
    network.ledger().begin(later);
    assert_eq!(alice.period().await.unwrap(), Period(100));
    network.behave(1, Behaviour::Sleeps(before));
    // A client that listens hears the period; here it reads a registry and a status.
    let (dave, _home) = stranger(&network).await;
    assert_eq!(dave.period().await.unwrap(), later);
    for _ in 0..10 {
        let state = dave.resolve(&bob.recipient()).await.unwrap();
        assert_eq!(sequence(&state), sequence(&now));
    }
}

#[tokio::test]
async fn a_period_that_one_node_makes_up_costs_requests_and_no_answers() {
    // covers: API-032
    let network = Network::start().await;
    let bob = Person::new(&network, 2).await;
    network.behave(1, Behaviour::Hurries);
    let (alice, _home) = stranger(&network).await;
    alice.sync().await.unwrap();
    for _ in 0..5 {
        assert_eq!(alice.resolve(&bob.recipient()).await.unwrap().inbox(), bob.inbox);
    }
}

#[tokio::test]
async fn most_look_ups_ask_one_replica() {
    let network = Network::start().await;
    let bob = Person::new(&network, 2).await;
    let (alice, _home) = stranger(&network).await;
    alice.resolve(&bob.recipient()).await.unwrap();
    let before = network.shared.look_ups.load(Ordering::SeqCst);
    for _ in 0..200 {
        alice.resolve(&bob.recipient()).await.unwrap();
    }
    // One in eight is compared: 225 on average, and 300 is ten standard deviations away.
    let asked = network.shared.look_ups.load(Ordering::SeqCst) - before;
    assert!((200..300).contains(&asked), "{asked}");
}

#[tokio::test]
async fn proofs_can_be_shown() {
    let network = Network::start().await;
    let bob = Person::new(&network, 2).await;
    let (alice, _home) = stranger(&network).await;
    let proofs = alice.prove(&address_of(2)).await.unwrap();
    let height = network.ledger().height();
    let [account, inbox] = proofs.as_slice() else { panic!("{proofs:?}") };
    assert_eq!(account.content, StateContent::Account(bob.inbox));
    assert!(matches!(inbox.content, StateContent::Inbox(_)));
    for proved in &proofs {
        assert_eq!((proved.height(), proved.period()), (height, Period(100)));
        let ledger = network.ledger();
        let verified = proved.proof.verify(ledger.network, &ledger.registry);
        assert_eq!(verified, Ok(proved.content));
    }
    let absent = alice.prove(&address_of(99)).await.unwrap();
    assert_eq!(absent.len(), 1);
    assert_eq!(absent[0].content, StateContent::Absent);
}

#[tokio::test]
async fn two_certified_blocks_of_one_height_end_all_belief() {
    // covers: API-033
    let network = Network::start().await;
    let bob = Person::new(&network, 2).await;
    let alice = Person::new(&network, 1).await;
    alice.client.resolve(&bob.recipient()).await.unwrap();
    let mut events = alice.client.listen();
    behave(&network, 1..=4, Behaviour::Forks);
    let forked = alice.client.resolve(&bob.recipient()).await.unwrap_err();
    let is_forked = |error: &ClientError| matches!(error, ClientError::Unverified(VerifyFailure::Forked { height, .. }) if *height > Height(0));
    assert!(is_forked(&forked), "{forked:?}");
    assert_eq!(forked.code(), Some(ErrorCode::OrderingHalted));
    loop {
        if let Event::Forked { .. } = events.next().await.unwrap() {
            break;
        }
    }
    events.stop().await;
    // Not even honest answers help, now or after a restart.
    behave(&network, 1..=4, Behaviour::Honest);
    let alice = alice.restart();
    let still = alice.client.resolve(&bob.recipient()).await.unwrap_err();
    assert!(is_forked(&still), "{still:?}");
    let member = Member::EthereumAccount(wallet(2).address());
    let (stranger, _home) = stranger(&network).await;
    assert!(stranger.resolve(&bob.recipient()).await.unwrap().contains(&member));
}
