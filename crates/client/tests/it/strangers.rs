//! Strangers who send welcomes to groups that they made up.

use std::collections::BTreeSet;

use rand::rngs::OsRng;
use tidings_mls::{
    Changes, Group, GroupPolicy, InboxHead, InboxSequence, Installation, Invitee,
    KeyPackageManifest, NewGroup, SealContext,
};
use tidings_types::ed25519::SigningKey;
use tidings_types::{EthereumAddress, InboxId, NodeId, Wire};

use tidings_envelope::{LogEntry, Topic};

use crate::network::Network;
use crate::people::Person;

/// How many members the made-up group has besides its victim.
const INVENTED: u8 = 60;

/// The newest manifest of a person, as anybody can read it.
fn invitee_of(network: &Network, person: &Person) -> Invitee {
    let ledger = network.ledger();
    let installation = person.client.installation();
    let page = ledger.newest(Topic::keys(&installation));
    let payload = |entry: &LogEntry| entry.open().unwrap().envelope.body.payload;
    let manifests = page.broadcast.iter().map(|entry| payload(&entry.entry));
    let parsed = manifests.map(|bytes| KeyPackageManifest::from_wire(&bytes).unwrap());
    let newest = KeyPackageManifest::newest(parsed).unwrap();
    newest.verify(&installation, ledger.network, ledger.period()).unwrap()
}

/// Publishes a welcome for `victim` to a group of invented inboxes.
async fn welcome_to_nowhere(network: &Network, victim: &Person) {
    let (id, now) = {
        let ledger = network.ledger();
        (ledger.network, ledger.period())
    };
    let payer = EthereumAddress([9; 20]);
    let context = SealContext { payer, not_after: now.plus(1), retention_days: 30 };
    let state = victim.client.resolve(&victim.recipient()).await.unwrap();
    let mut changes = Changes {
        heads: vec![InboxHead {
            inbox: state.inbox(),
            sequence: InboxSequence(state.sequence().0),
            installations: state.installations().collect(),
        }],
        invitees: vec![invitee_of(network, victim)],
        ..Changes::default()
    };
    let mut invented = Vec::new();
    for number in 1..=INVENTED {
        let key = SigningKey::generate(&mut OsRng);
        let inbox = InboxId([number; 32]);
        let installations = BTreeSet::from([key.public_key()]);
        let mut installation = Installation::new(id, inbox, key, &mut OsRng);
        let manifest = installation.publish(now, now.plus(9), &mut OsRng).unwrap();
        let head = InboxHead { inbox, sequence: InboxSequence(0), installations };
        if number > 1 {
            let invitee = manifest.verify(&installation.public_key(), id, now).unwrap();
            changes.invitees.push(invitee);
            changes.heads.push(head.clone());
        }
        invented.push((installation, head));
    }
    let (maker, head) = &invented[0];
    let (name, description) = (String::new(), String::new());
    let new = NewGroup::Group { name, description, policy: GroupPolicy::OPEN };
    let mut group = Group::create(maker, head, new, &mut OsRng).unwrap();
    let pending = group.commit(maker, changes, &context, &mut OsRng).unwrap();
    let welcome = pending.welcome.unwrap();
    let pointer =
        welcome.reference.point(group.id(), &welcome.invitees[0], 1, &context, id).unwrap();
    for envelope in [&welcome.blob, &pointer] {
        network.ledger().publish(NodeId(1), envelope);
    }
}

#[tokio::test]
async fn invented_members_are_not_looked_up_one_after_another() {
    // covers: MLS-025
    let network = Network::start().await;
    let (alice, bob) = (Person::new(&network, 1).await, Person::new(&network, 2).await);
    welcome_to_nowhere(&network, &bob).await;
    network.take_inbox_questions();
    bob.sync().await;
    assert!(bob.client.conversations().unwrap().is_empty());
    let for_nothing = network.take_inbox_questions();
    // Who made the group is asked for at every replica until it is sure not to be there; nobody
    // else is.
    welcome_to_nowhere(&network, &bob).await;
    network.take_inbox_questions();
    bob.sync().await;
    let again = network.take_inbox_questions();
    assert!(again <= for_nothing && for_nothing < 4 * u32::from(INVENTED), "{for_nothing}");
    // An honest welcome behind it is found.
    let dm = alice.client.dm(&bob.recipient()).await.unwrap();
    bob.sync().await;
    assert_eq!(bob.only(), dm);
}
