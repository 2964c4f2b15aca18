//! Lost answers, lying nodes, crashes: nothing is lost, nothing counts twice.

use std::task::Poll;

use tidings_client::{
    Client, ClientError, Config, Delivery, GroupPolicy, StoreError, Unlock, VerifyFailure,
};
use tidings_types::{NetworkId, NodeId, Period};

use crate::ledger::PAYERS;
use crate::network::{Behaviour, Forgery, Network};
use crate::people::{Person, agree};

#[tokio::test]
async fn a_lost_answer_never_doubles_a_message() {
    let network = Network::start().await;
    let (alice, bob) = (Person::new(&network, 1).await, Person::new(&network, 2).await);
    let dm = alice.client.dm(&bob.recipient()).await.unwrap();
    bob.sync().await;
    network.lose_answers(2);
    alice.say(dm, "once").await;
    network.refuse_calls(2);
    alice.say(dm, "twice").await;
    bob.sync().await;
    alice.sync().await;
    assert_eq!(bob.texts(dm), ["once", "twice"]);
    assert_eq!(alice.texts(dm), ["once", "twice"]);
}

#[tokio::test]
async fn a_message_outlives_an_outage_and_a_crash() {
    let network = Network::start().await;
    let (alice, bob) = (Person::new(&network, 1).await, Person::new(&network, 2).await);
    let dm = alice.client.dm(&bob.recipient()).await.unwrap();
    // Longer than the client tries.
    network.refuse_calls(100);
    let message = alice.client.send_text(dm, "patience").await.unwrap();
    assert_eq!(message.delivery, Delivery::Sending);
    let alice = alice.restart();
    network.refuse_calls(0);
    alice.sync().await;
    assert_eq!(alice.client.messages(dm, 0, 10).unwrap()[0].delivery, Delivery::Sent);
    bob.sync().await;
    assert_eq!(bob.texts(dm), ["patience"]);
}

#[tokio::test]
async fn an_envelope_that_expired_unseen_is_sent_anew_and_one_that_was_stored_is_not() {
    let network = Network::start().await;
    let (alice, bob) = (Person::new(&network, 1).await, Person::new(&network, 2).await);
    let dm = alice.client.dm(&bob.recipient()).await.unwrap();
    bob.sync().await;
    network.refuse_calls(100);
    alice.client.send_text(dm, "late").await.unwrap();
    network.refuse_calls(0);
    network.lose_answers(100);
    alice.client.send_text(dm, "stored").await.unwrap();
    network.lose_answers(0);
    network.ledger().begin(Period(200));
    let alice = alice.restart();
    alice.sync().await;
    for message in alice.client.messages(dm, 0, 10).unwrap() {
        assert_eq!(message.delivery, Delivery::Sent);
    }
    bob.sync().await;
    let mut texts = bob.texts(dm);
    texts.sort();
    assert_eq!(texts, ["late", "stored"]);
}

#[tokio::test]
async fn another_payer_is_named_in_what_comes_next() {
    // covers: GTW-021
    let network = Network::start().await;
    let (alice, bob) = (Person::new(&network, 1).await, Person::new(&network, 2).await);
    let members = [bob.recipient()];
    let id = alice.client.group_create("", "", GroupPolicy::OPEN, &members).await.unwrap();
    bob.sync().await;
    // What was refused untried is made anew at once: a message, a commit, and one with a welcome.
    network.ledger().payer = PAYERS[1];
    alice.say(id, "anew").await;
    network.ledger().payer = PAYERS[0];
    alice.client.group_describe(id, Some("ours".into()), None).await.unwrap();
    network.ledger().payer = PAYERS[1];
    let dm = alice.client.dm(&bob.recipient()).await.unwrap();
    bob.sync().await;
    agree(&[&alice, &bob], id).await;
    agree(&[&alice, &bob], dm).await;
    assert_eq!(bob.texts(id), ["anew"]);
    assert_eq!(bob.client.conversation(id).await.unwrap().conversation.name, "ours");
}

#[tokio::test]
async fn what_may_wait_somewhere_is_not_sent_anew_because_of_another_payer() {
    // covers: GTW-021
    let network = Network::start().await;
    let (alice, bob) = (Person::new(&network, 1).await, Person::new(&network, 2).await);
    let dm = alice.client.dm(&bob.recipient()).await.unwrap();
    bob.sync().await;
    network.refuse_calls(100);
    alice.client.send_text(dm, "late").await.unwrap();
    network.refuse_calls(0);
    network.lose_answers(100);
    alice.client.send_text(dm, "stored").await.unwrap();
    network.lose_answers(0);
    network.ledger().payer = PAYERS[1];
    let deliveries = |it: &Person| -> Vec<Delivery> {
        it.client.messages(dm, 0, 10).unwrap().into_iter().map(|it| it.delivery).collect()
    };
    let alice = alice.restart();
    assert_eq!(alice.client.sync().await.unwrap().waiting, 2);
    assert_eq!(deliveries(&alice), [Delivery::Sending, Delivery::Sending]);
    // Nobody takes the first envelopes any more.
    network.ledger().begin(Period(200));
    let alice = alice.restart();
    alice.sync().await;
    assert_eq!(deliveries(&alice), [Delivery::Sent, Delivery::Sent]);
    bob.sync().await;
    let mut texts = bob.texts(dm);
    texts.sort();
    assert_eq!(texts, ["late", "stored"]);
}

#[tokio::test]
async fn nobody_waits_for_a_message_that_was_encrypted_again() {
    // covers: MLS-024
    let network = Network::start().await;
    let (alice, bob) = (Person::new(&network, 1).await, Person::new(&network, 2).await);
    let dm = alice.client.dm(&bob.recipient()).await.unwrap();
    bob.sync().await;
    network.refuse_calls(100);
    alice.client.send_text(dm, "late").await.unwrap();
    network.refuse_calls(0);
    network.ledger().begin(Period(200));
    let alice = alice.restart();
    alice.sync().await;
    bob.sync().await;
    assert_eq!(bob.texts(dm), ["late"]);
}

#[tokio::test]
async fn lying_nodes_are_passed_over() {
    let network = Network::start().await;
    let (alice, bob) = (Person::new(&network, 1).await, Person::new(&network, 2).await);
    let members = [bob.recipient()];
    let id = alice.client.group_create("", "", GroupPolicy::OPEN, &members).await.unwrap();
    bob.sync().await;
    let lies = [Behaviour::LeavesOut, Behaviour::Tampers, Behaviour::Reorders, Behaviour::Down];
    for (node, lie) in (1..).zip(lies) {
        // The liar is the one that is asked first.
        bob.client.prefer_node(Some(NodeId(node))).unwrap();
        network.behave(node, lie);
        let text = format!("through node {node}");
        alice.say(id, &text).await;
        alice.client.group_describe(id, Some(text.clone()), None).await.unwrap();
        bob.sync().await;
        assert_eq!(bob.texts(id).last(), Some(&text), "{lie:?}");
        assert_eq!(bob.client.conversation(id).await.unwrap().conversation.name, text, "{lie:?}");
        network.behave(node, Behaviour::Honest);
    }
    agree(&[&alice, &bob], id).await;
    assert_eq!(bob.texts(id).len(), 4);
}

#[tokio::test]
async fn both_histories_of_a_log_are_read() {
    // covers: API-034
    let network = Network::start().await;
    let (alice, bob) = (Person::new(&network, 1).await, Person::new(&network, 2).await);
    let members = [bob.recipient()];
    let id = alice.client.group_create("", "", GroupPolicy::OPEN, &members).await.unwrap();
    bob.sync().await;
    // Node 4 was told another history of node 1's log, and is the one that is asked first.
    network.behave(4, Behaviour::Branches);
    bob.client.prefer_node(Some(NodeId(4))).unwrap();
    let mut said = Vec::new();
    for number in 0..12 {
        said.push(format!("message {number}"));
        alice.say(id, said.last().unwrap()).await;
        if number % 5 == 1 {
            bob.sync().await;
            assert_eq!(bob.texts(id), said);
        }
    }
    bob.sync().await;
    assert_eq!(bob.texts(id), said);
    // Where replicas agree again, nobody is asked more than for any other log.
    network.behave(4, Behaviour::Honest);
    for number in 12..20 {
        said.push(format!("message {number}"));
        alice.say(id, said.last().unwrap()).await;
        bob.sync().await;
    }
    assert_eq!(bob.texts(id), said);
}

#[tokio::test]
async fn a_node_that_knows_of_no_inbox_forks_nobody() {
    let network = Network::start().await;
    let mut people = Vec::new();
    for number in 1..=3 {
        people.push(Person::new(&network, number).await);
    }
    let [alice, bob, carol] = people.as_slice() else { panic!("three people") };
    let members = [bob.recipient()];
    let id = alice.client.group_create("", "", GroupPolicy::OPEN, &members).await.unwrap();
    bob.sync().await;
    bob.client.prefer_node(Some(NodeId(2))).unwrap();
    network.behave(2, Behaviour::ForgetsInboxes);
    alice.client.group_add(id, &[carol.recipient()]).await.unwrap();
    bob.sync().await;
    carol.sync().await;
    agree(&[alice, bob, carol], id).await;
    // With too few replicas to be sure, judging waits.
    alice.client.group_remove(id, &[carol.recipient()]).await.unwrap();
    let dave = Person::new(&network, 4).await;
    alice.client.group_add(id, &[dave.recipient()]).await.unwrap();
    network.behave(1, Behaviour::Down);
    network.behave(3, Behaviour::Down);
    network.behave(4, Behaviour::ForgetsInboxes);
    let report = bob.client.sync().await.unwrap();
    assert_eq!(report.behind.len(), 1);
    for node in 1..=4 {
        network.behave(node, Behaviour::Honest);
    }
    bob.sync().await;
    agree(&[alice, bob], id).await;
}

#[tokio::test]
async fn a_receipt_that_proves_nothing_is_not_believed() {
    let network = Network::start().await;
    let (alice, bob) = (Person::new(&network, 1).await, Person::new(&network, 2).await);
    let dm = alice.client.dm(&bob.recipient()).await.unwrap();
    for forgery in [Forgery::NoAcknowledgement, Forgery::OtherEnvelope, Forgery::Checkpoint] {
        network.forge(Some(forgery));
        let message = alice.client.send_text(dm, "sent?").await.unwrap();
        assert_eq!(message.delivery, Delivery::Sending, "{forgery:?}");
    }
    network.forge(None);
    alice.sync().await;
    for message in alice.client.messages(dm, 0, 10).unwrap() {
        assert_eq!(message.delivery, Delivery::Sent);
    }
    bob.sync().await;
    assert_eq!(bob.texts(dm).len(), 3);
}

/// Polls a future so often, then drops it: a crash at one of its awaits.
async fn cut_after<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(|context| match (left, future.as_mut().poll(context)) {
        (_, Poll::Ready(value)) => Poll::Ready(Some(value)),
        (0, Poll::Pending) => Poll::Ready(None),
        (_, Poll::Pending) => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn a_crash_at_any_await_loses_and_doubles_nothing() {
    let network = Network::start().await;
    let mut alice = Person::new(&network, 1).await;
    let mut bob = Person::new(&network, 2).await;
    let carol = Person::new(&network, 3).await;
    let members = [bob.recipient()];
    let id = alice.client.group_create("", "", GroupPolicy::OPEN, &members).await.unwrap();
    let mut expected = Vec::new();
    for polls in 0..24 {
        let text = format!("message {polls}");
        cut_after(polls, alice.client.send_text(id, &text)).await;
        expected.push(text);
        let with_carol = [carol.recipient()];
        match polls % 2 {
            0 => cut_after(polls, alice.client.group_add(id, &with_carol)).await,
            _ => cut_after(polls, alice.client.group_remove(id, &with_carol)).await,
        };
        cut_after(polls, bob.client.sync()).await;
        // Every other time the process goes on with what it has in memory.
        if polls % 4 < 2 {
            (alice, bob) = (alice.restart(), bob.restart());
        }
    }
    for person in [&alice, &bob, &carol, &alice, &bob] {
        person.sync().await;
    }
    assert_eq!(alice.texts(id), expected);
    let mut received = bob.texts(id);
    received.sort();
    expected.sort();
    assert_eq!(received, expected);
    agree(&[&alice, &bob], id).await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_again() {
    let network = Network::start().await;
    let mut people = Vec::new();
    for number in 1..=3 {
        people.push(Person::new(&network, number).await);
    }
    let carol = people.pop().unwrap();
    let bob = people.pop().unwrap();
    let alice = people.pop().unwrap();
    let id =
        alice.client.group_create("", "", GroupPolicy::OPEN, &[bob.recipient()]).await.unwrap();
    bob.sync().await;
    // The blob and the commit are stored, and none of it is answered.
    network.lose_answers(100);
    let unanswered = alice.client.group_add(id, &[carol.recipient()]).await;
    assert!(unanswered.is_err_and(|error| error.retryable()));
    network.lose_answers(0);
    let alice = alice.restart();
    alice.client.group_add(id, &[carol.recipient()]).await.unwrap();
    alice.sync().await;
    bob.sync().await;
    carol.sync().await;
    agree(&[&alice, &bob, &carol], id).await;
    carol.say(id, "here").await;
    bob.sync().await;
    assert_eq!(bob.texts(id), ["here"]);
}

#[tokio::test]
async fn catching_up_over_many_epochs_loses_no_message() {
    let network = Network::start().await;
    let (alice, bob) = (Person::new(&network, 1).await, Person::new(&network, 2).await);
    let members = [bob.recipient()];
    let id = alice.client.group_create("", "", GroupPolicy::OPEN, &members).await.unwrap();
    bob.sync().await;
    let mut expected = Vec::new();
    // More commits than past epochs are kept, and more than a topic generation lasts.
    for round in 0..70 {
        let text = format!("message {round}");
        alice.say(id, &text).await;
        alice.client.group_describe(id, Some(text.clone()), None).await.unwrap();
        expected.push(text);
    }
    let bob = bob.restart();
    bob.sync().await;
    assert_eq!(bob.texts(id), expected);
    agree(&[&alice, &bob], id).await;
    bob.say(id, "caught up").await;
    alice.sync().await;
    assert_eq!(alice.texts(id).last().map(String::as_str), Some("caught up"));
}

#[tokio::test]
async fn another_network_is_never_talked_to() {
    let network = Network::start().await;
    let home = tempfile::tempdir().unwrap();
    let unlock = Unlock::passphrase("x");
    let mut config = Config::new(&network.gateway, "key");
    config.network = Some(NetworkId([1; 32]));
    let other = Client::create(home.path(), &unlock, &config).await;
    assert!(matches!(other, Err(ClientError::Unverified(VerifyFailure::OtherNetwork))));
    let absent = Client::open(home.path(), &unlock);
    assert!(matches!(absent, Err(ClientError::Store(StoreError::Absent))));
}

#[tokio::test]
async fn one_process_uses_a_home() {
    let network = Network::start().await;
    let alice = Person::new(&network, 1).await;
    let unlock = Unlock::key_file(alice.home.path().join("key"));
    let second = Client::open(alice.home.path(), &unlock);
    assert!(matches!(second, Err(ClientError::Store(StoreError::InUse))));
}
