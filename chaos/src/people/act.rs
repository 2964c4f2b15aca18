//! What people do: talk, and change their groups, several at once.

use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore;
use tidings_client::{ConversationState, Delivery, Recipient};

use super::{VISITORS, World, between, number};
use crate::history::{Member, Wish};

/// The longest text besides the message's name, in bytes.
const FILLER_BYTES_MAX: usize = 600;

/// The pause between two messages of one author, in milliseconds.
const TALK_PAUSE_MS: (u32, u32) = (60, 240);

/// The pause between two changes by one member, in milliseconds.
const CHANGE_PAUSE_MS: (u32, u32) = (800, 2_400);

/// Sends one message after another, to whichever groups one is in.
pub(super) async fn talk(world: Arc<World>, me: usize, mut rng: ChaCha20Rng) {
    loop {
        tokio::time::sleep(between(&mut rng, TALK_PAUSE_MS.0, TALK_PAUSE_MS.1)).await;
        let _open = world.gate.read().await;
        let groups = active_groups(&world, me);
        if let Some(group) = choose(&mut rng, &groups) {
            say(&world, me, *group, &mut rng).await;
        }
    }
}

async fn say(world: &World, me: usize, group: usize, rng: &mut ChaCha20Rng) {
    let (person, recorder) = (&world.people[me], &world.recorder);
    let key = person.next_key();
    let filler = "and so on ".repeat(FILLER_BYTES_MAX / 10);
    let text = format!("{key} {}", &filler[..rng.next_u32() as usize % FILLER_BYTES_MAX]);
    recorder.send_began(key, number(group));
    let sent = person.client.send_text(world.groups[group], &text).await;
    match sent.map(|message| message.delivery) {
        Ok(Delivery::Sent) => recorder.acknowledged(key),
        Ok(Delivery::Failed { reason }) => recorder.failed(key, &reason),
        // The client sends it later.
        Ok(_) => {}
        // Nothing was queued.
        Err(error) => recorder.failed(key, &error.to_string()),
    }
    recorder.send_returned(key);
}

/// Renames groups, and adds and removes visitors, whoever else does so at the same time.
pub(super) async fn change(world: Arc<World>, me: usize, mut rng: ChaCha20Rng) {
    for serial in 1.. {
        tokio::time::sleep(between(&mut rng, CHANGE_PAUSE_MS.0, CHANGE_PAUSE_MS.1)).await;
        let _open = world.gate.read().await;
        let groups = active_groups(&world, me);
        let Some(group) = choose(&mut rng, &groups).copied() else { continue };
        let wish = match rng.next_u32() % 3 {
            0 => Wish::Rename(format!("name {serial} by {me}")),
            _ => {
                let visitor = *choose(&mut rng, &VISITORS).unwrap_or(&VISITORS[0]);
                match is_in(&world, me, group, visitor).await {
                    true => Wish::Remove(visitor),
                    false => Wish::Add(visitor),
                }
            }
        };
        bring_about(&world, me, group, wish).await;
    }
}

async fn bring_about(world: &World, me: usize, group: usize, wish: Wish) {
    let (client, id) = (&world.people[me].client, world.groups[group]);
    let recipient = |who: Member| [Recipient::Inbox(world.people[usize::from(who.0)].inbox)];
    let change = world.recorder.change_began(world.people[me].member, number(group), wish.clone());
    let result = match wish {
        Wish::Add(who) => client.group_add(id, &recipient(who)).await,
        Wish::Remove(who) => client.group_remove(id, &recipient(who)).await,
        Wish::Rename(name) => client.group_describe(id, Some(name), None).await,
    };
    world.recorder.change_returned(change, result.is_ok());
    world.people[me].changed.notify_one();
}

/// The groups that somebody is in by their own word.
fn active_groups(world: &World, me: usize) -> Vec<usize> {
    let Ok(listed) = world.people[me].client.conversations() else { return Vec::new() };
    let is_active = |group: &usize| {
        let id = world.groups[*group];
        listed.iter().any(|it| it.id == id && it.state == ConversationState::Active)
    };
    (0..world.groups.len()).filter(is_active).collect()
}

async fn is_in(world: &World, me: usize, group: usize, who: Member) -> bool {
    let inbox = world.people[usize::from(who.0)].inbox;
    let info = world.people[me].client.conversation(world.groups[group]).await;
    info.is_ok_and(|info| info.members.contains_key(&inbox))
}

fn choose<'a, T>(rng: &mut ChaCha20Rng, from: &'a [T]) -> Option<&'a T> {
    let place = (rng.next_u32() as usize).checked_rem(from.len())?;
    from.get(place)
}
