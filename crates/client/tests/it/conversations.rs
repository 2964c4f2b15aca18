//! Conversations of several people, read and written as they come.

use tidings_client::{
    CallerError, Client, ClientError, Config, ConversationKind, ConversationState, Event,
    GroupPolicy, Recipient, Unlock,
};
use tidings_identity::EthereumSigner;

use crate::ledger::wallet;
use crate::network::Network;
use crate::people::{Person, agree, next_text, until};

#[tokio::test]
async fn two_people_talk_in_a_dm() {
    let network = Network::start().await;
    let (alice, bob) = (Person::new(&network, 1).await, Person::new(&network, 2).await);
    let dm = alice.client.dm(&Recipient::Address(wallet(2).address())).await.unwrap();
    alice.say(dm, "hello").await;
    bob.sync().await;
    assert_eq!(bob.only(), dm);
    let listed = bob.client.conversations().unwrap().remove(0);
    assert_eq!((listed.kind, listed.peer), (ConversationKind::Dm, Some(alice.inbox)));
    bob.say(dm, "hello yourself").await;
    alice.sync().await;
    assert_eq!(alice.texts(dm), ["hello", "hello yourself"]);
    assert_eq!(bob.texts(dm), ["hello", "hello yourself"]);
    agree(&[&alice, &bob], dm).await;
    // Either side finds the DM that is there.
    assert_eq!(bob.client.dm(&alice.recipient()).await.unwrap(), dm);
    alice.sync().await;
    assert_eq!(alice.texts(dm).len(), 2);
}

#[tokio::test]
async fn who_was_away_reads_all_that_one_person_said_over_several_nodes() {
    // covers: MLS-038
    const TEXTS: usize = 400;
    let network = Network::start().await;
    let (alice, bob) = (Person::new(&network, 1).await, Person::new(&network, 2).await);
    let dm = alice.client.dm(&bob.recipient()).await.unwrap();
    let said: Vec<String> = (0..TEXTS).map(|number| format!("text {number}")).collect();
    for text in &said {
        alice.say(dm, text).await;
    }
    bob.sync().await;
    assert_eq!(bob.texts(dm), said);
}

#[tokio::test]
async fn a_group_grows_shrinks_and_is_left() {
    let network = Network::start().await;
    let mut people = Vec::new();
    for number in 1..=4 {
        people.push(Person::new(&network, number).await);
    }
    let [alice, bob, carol, dave] = people.as_slice() else { panic!("four people") };
    let first = [bob.recipient(), carol.recipient()];
    let policy = GroupPolicy::OPEN;
    let id = alice.client.group_create("choir", "we sing", policy, &first).await.unwrap();
    alice.say(id, "one").await;
    bob.sync().await;
    carol.sync().await;
    bob.say(id, "two").await;
    bob.client.group_add(id, &[dave.recipient()]).await.unwrap();
    dave.sync().await;
    dave.say(id, "three").await;
    for person in &people {
        person.sync().await;
    }
    agree(&[alice, bob, carol, dave], id).await;
    assert_eq!(carol.texts(id), ["one", "two", "three"]);
    assert_eq!(dave.texts(id), ["three"]);

    alice.client.group_remove(id, &[bob.recipient()]).await.unwrap();
    alice.say(id, "without bob").await;
    bob.sync().await;
    assert_eq!(bob.client.conversations().unwrap()[0].state, ConversationState::Removed);
    assert!(!bob.texts(id).contains(&"without bob".to_owned()));
    let refused = bob.client.send_text(id, "still here?").await;
    assert!(matches!(refused, Err(ClientError::Caller(CallerError::NotActive { .. }))));

    carol.sync().await;
    carol.client.group_leave(id).await.unwrap();
    alice.sync().await;
    carol.sync().await;
    assert_eq!(carol.client.conversations().unwrap()[0].state, ConversationState::Left);
    dave.sync().await;
    alice.say(id, "two of us").await;
    dave.sync().await;
    agree(&[alice, dave], id).await;
    assert_eq!(dave.texts(id), ["three", "without bob", "two of us"]);
    let info = dave.client.conversation(id).await.unwrap();
    assert_eq!(info.members.len(), 2);
    assert_eq!(info.conversation.name, "choir");
}

#[tokio::test]
async fn who_was_removed_can_be_added_again() {
    let network = Network::start().await;
    let (alice, bob) = (Person::new(&network, 1).await, Person::new(&network, 2).await);
    let members = [bob.recipient()];
    let id = alice.client.group_create("", "", GroupPolicy::ADMINS, &members).await.unwrap();
    bob.sync().await;
    alice.client.group_remove(id, &members).await.unwrap();
    bob.sync().await;
    alice.client.group_add(id, &members).await.unwrap();
    bob.sync().await;
    assert_eq!(bob.client.conversations().unwrap()[0].state, ConversationState::Active);
    bob.say(id, "back").await;
    alice.sync().await;
    assert_eq!(alice.texts(id), ["back"]);
    agree(&[&alice, &bob], id).await;
}

#[tokio::test]
async fn who_was_removed_and_added_again_while_away_is_in() {
    // covers: MLS-017
    let network = Network::start().await;
    let (alice, bob) = (Person::new(&network, 1).await, Person::new(&network, 2).await);
    let members = [bob.recipient()];
    let id = alice.client.group_create("", "", GroupPolicy::ADMINS, &members).await.unwrap();
    bob.sync().await;
    alice.client.group_remove(id, &members).await.unwrap();
    alice.client.group_add(id, &members).await.unwrap();
    // The welcome is found before the removal is known of.
    bob.sync().await;
    assert_eq!(bob.client.conversations().unwrap()[0].state, ConversationState::Active);
    bob.say(id, "back").await;
    alice.sync().await;
    assert_eq!(alice.texts(id), ["back"]);
    agree(&[&alice, &bob], id).await;
}

#[tokio::test]
async fn listeners_hear_messages_and_welcomes_live() {
    let network = Network::start().await;
    let (alice, bob) = (Person::new(&network, 1).await, Person::new(&network, 2).await);
    let mut heard = bob.client.listen();
    until(&mut heard, |event| matches!(event, Event::Connected { .. })).await;
    let dm = alice.client.dm(&bob.recipient()).await.unwrap();
    until(&mut heard, |event| matches!(event, Event::Joined { .. })).await;
    let mut heard_by_alice = alice.client.listen();
    for text in ["one", "two", "three"] {
        alice.say(dm, text).await;
        assert_eq!(next_text(&mut heard).await, text);
    }
    network.hang_up();
    until(&mut heard, |event| matches!(event, Event::Disconnected { .. })).await;
    alice.say(dm, "four").await;
    assert_eq!(next_text(&mut heard).await, "four");
    bob.say(dm, "five").await;
    assert_eq!(next_text(&mut heard_by_alice).await, "five");
    assert_eq!(bob.texts(dm).len(), 5);
}

#[tokio::test]
async fn listeners_follow_a_group_into_its_next_generation() {
    let network = Network::start().await;
    let mut people = Vec::new();
    for number in 1..=3 {
        people.push(Person::new(&network, number).await);
    }
    let [alice, bob, carol] = people.as_slice() else { panic!("three people") };
    let members = [bob.recipient(), carol.recipient()];
    let id = alice.client.group_create("", "", GroupPolicy::OPEN, &members).await.unwrap();
    let mut heard = bob.client.listen();
    until(&mut heard, |event| matches!(event, Event::Joined { .. })).await;
    alice.say(id, "before").await;
    assert_eq!(next_text(&mut heard).await, "before");
    // A removal begins a new topic; the one who leaves is let go by whoever listens.
    carol.sync().await;
    carol.client.group_leave(id).await.unwrap();
    until(&mut heard, |event| matches!(event, Event::Changed { left, .. } if !left.is_empty()))
        .await;
    alice.sync().await;
    alice.say(id, "after").await;
    assert_eq!(next_text(&mut heard).await, "after");
    agree(&[alice, bob], id).await;
}

#[tokio::test]
async fn racing_changes_all_take_effect() {
    let network = Network::start().await;
    let mut people = Vec::new();
    for number in 1..=6 {
        people.push(Person::new(&network, number).await);
    }
    let [alice, bob, carol, others @ ..] = people.as_slice() else { panic!("six people") };
    let first = [bob.recipient(), carol.recipient()];
    let id = alice.client.group_create("race", "", GroupPolicy::OPEN, &first).await.unwrap();
    bob.sync().await;
    carol.sync().await;
    let adders = [alice, bob, carol];
    let invited: Vec<_> = others.iter().map(Person::recipient).collect();
    let adds = adders.iter().zip(&invited);
    let [one, two, three]: [_; 3] = adds
        .map(|(adder, who)| adder.client.group_add(id, std::slice::from_ref(who)))
        .collect::<Vec<_>>()
        .try_into()
        .ok()
        .unwrap();
    let (one, two, three) = tokio::join!(one, two, three);
    one.and(two).and(three).unwrap();
    for person in &people {
        person.sync().await;
    }
    agree(&people.iter().collect::<Vec<_>>(), id).await;
    assert_eq!(others[2].client.conversation(id).await.unwrap().members.len(), 6);
}

#[tokio::test]
async fn an_external_wallet_signs_in_a_later_process() {
    let network = Network::start().await;
    let home = tempfile::tempdir().unwrap();
    let unlock = Unlock::passphrase("one two three");
    let config = Config::new(&network.gateway, "key");
    let client = Client::create(home.path(), &unlock, &config).await.unwrap();
    let draft = client.draft_inbox(wallet(8).address(), 0).unwrap();
    client.keep_draft(&draft).unwrap();
    drop(client);
    let client = Client::open(home.path(), &unlock).unwrap();
    let mut draft = client.kept_draft().await.unwrap();
    assert_eq!(draft.missing_accounts(), [wallet(8).address()]);
    draft.sign_with(&wallet(8)).unwrap();
    let state = client.submit(draft).await.unwrap();
    assert_eq!(client.inbox_id().unwrap(), Some(state.inbox()));

    let mut draft = client.draft_add_account(wallet(9).address()).await.unwrap();
    draft.sign_with(&wallet(9)).unwrap();
    client.submit(draft).await.unwrap();
    let by_new = client.resolve(&Recipient::Address(wallet(9).address())).await.unwrap();
    assert_eq!(by_new.inbox(), state.inbox());
    let new = tidings_client::Member::EthereumAccount(wallet(9).address());
    let mut draft = client.draft_revoke(new).await.unwrap();
    draft.sign_with(&wallet(8)).unwrap();
    let after = client.submit(draft).await.unwrap();
    assert!(!after.contains(&new));
    let gone = client.resolve(&Recipient::Address(wallet(9).address())).await;
    assert!(matches!(gone, Err(ClientError::Caller(CallerError::UnknownRecipient(_)))));
}

#[tokio::test]
async fn a_dm_with_nobody_is_refused() {
    let network = Network::start().await;
    let alice = Person::new(&network, 1).await;
    let nobody = alice.client.dm(&Recipient::Address(wallet(99).address())).await;
    assert!(matches!(nobody, Err(ClientError::Caller(CallerError::UnknownRecipient(_)))));
    let oneself = alice.client.dm(&alice.recipient()).await;
    assert!(matches!(oneself, Err(ClientError::Caller(CallerError::Alone))));
    let name = alice.client.dm(&"alice.eth".parse().unwrap()).await;
    assert!(matches!(name, Err(ClientError::Caller(CallerError::NameNotResolvable(_)))));
    assert!(alice.client.conversations().unwrap().is_empty());
}
