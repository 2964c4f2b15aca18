//! What people see: messages as they come, and their groups as they change.

use std::sync::Arc;
use std::time::Duration;

use tidings_client::{ConversationId, Delivery, Event, Message};

use super::{Person, World};
use crate::history::{Line, Standing};

/// How often everybody is looked at, changed or not.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Writes down what somebody's client tells, for as long as it tells.
pub(super) async fn listen(world: Arc<World>, me: usize) {
    let person = &world.people[me];
    let mut events = person.client.listen();
    while let Some(event) = events.next().await {
        match event {
            Event::Message(message) => hear(&world, person, &message),
            Event::Delivery { conversation, number, delivery } => {
                delivered(&world, person, conversation, number, &delivery);
            }
            Event::Joined { .. } | Event::Changed { .. } | Event::Returned { .. } => {
                person.changed.notify_one();
            }
            Event::Gone { conversation, .. } | Event::Ejected { conversation } => {
                if let Some(group) = world.group_of(conversation) {
                    world.recorder.looked(person.member, group, world.recorder.now(), None);
                }
            }
            Event::Forked { .. }
            | Event::SetAside { .. }
            | Event::Connected { .. }
            | Event::Disconnected { .. } => {}
        }
    }
}

fn hear(world: &World, person: &Person, message: &Message) {
    let text = message.text().unwrap_or_default().to_owned();
    let line = Line { text, sender: None, standing: Standing::Received };
    // What names no message is found in the transcript.
    if let (Some(group), Ok(key)) = (world.group_of(message.conversation), line.key()) {
        world.recorder.told(person.member, group, key);
    }
}

/// One of somebody's own messages has come further, perhaps long after the call.
fn delivered(
    world: &World,
    person: &Person,
    conversation: ConversationId,
    number: u64,
    delivery: &Delivery,
) {
    if !matches!(delivery, Delivery::Sent | Delivery::Failed { .. }) {
        return;
    }
    let found = person.client.messages(conversation, number.saturating_sub(1), 1);
    let Some(message) = found.ok().and_then(|mut found| found.pop()) else { return };
    let text = message.text().unwrap_or_default().to_owned();
    let line = Line { text, sender: None, standing: Standing::Sent };
    match (line.key(), delivery) {
        (Ok(key), Delivery::Sent) => world.recorder.acknowledged(key),
        (Ok(key), Delivery::Failed { reason }) => world.recorder.failed(key, reason),
        _ => {}
    }
}

/// Looks at somebody's groups when they change, and now and then.
pub(super) async fn look_on(world: Arc<World>, me: usize) {
    let person = &world.people[me];
    loop {
        for group in 0..world.groups.len() {
            // A client that cannot answer now is looked at again soon.
            let _ = world.look(person, group).await;
        }
        let _ = tokio::time::timeout(LOOK_INTERVAL, person.changed.notified()).await;
    }
}
