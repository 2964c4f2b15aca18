//! Members that commit at the same time, and one that commits all the time, on a lane that draws
//! the winners of each block as nodes do (ORD-002).

use std::collections::{BTreeMap, BTreeSet};

use tidings_envelope::{ClientEnvelope, Topic};
use tidings_mls::{Changes, CommitError, SealContext, Verdict, VoidReason, Wish};
use tidings_types::{BoundedVec, EthereumAddress, Hash, InboxId, labelled_hash};

use crate::world::{CONTEXT, World, inbox};

/// The ordered lane, block by block.
struct Blocks {
    parent: Hash,
    waiting: Vec<ClientEnvelope>,
    count: u32,
}

impl Blocks {
    fn new(seed: u8) -> Self {
        Self { parent: [seed; 32], waiting: Vec::new(), count: 0 }
    }

    /// Orders what waits: commits by lottery, one per topic and payer, then the rest; those that
    /// won.
    fn next(&mut self, world: &mut World) -> BTreeSet<usize> {
        let waiting = std::mem::take(&mut self.waiting);
        let is_commit = |it: &ClientEnvelope| it.body.expected_position.is_some();
        let (mut commits, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_commit);
        let ticket = |it: &ClientEnvelope| {
            labelled_hash("commit lottery", &[&self.parent, &it.body.payer.0])
        };
        commits.sort_by_cached_key(ticket);
        let mut claims: BTreeSet<(Topic, EthereumAddress)> = BTreeSet::new();
        let mut won = BTreeSet::new();
        for commit in commits {
            if !claims.insert((commit.body.topic, commit.body.payer)) {
                self.waiting.push(commit);
            } else if world.submit(&commit).is_ok() {
                won.insert(device_of(commit.body.payer));
            }
        }
        for envelope in rest {
            world.submit(&envelope).unwrap();
        }
        self.parent = labelled_hash("block", &[&self.parent]);
        self.count += 1;
        world.catch_up();
        won
    }
}

/// Each device has a payer of its own.
fn context_of(device: usize) -> SealContext {
    let mut payer = [0; 20];
    payer[0] = u8::try_from(device).unwrap();
    SealContext { payer: EthereumAddress(payer), ..CONTEXT }
}

fn device_of(payer: EthereumAddress) -> usize {
    usize::from(payer.0[0])
}

/// Commits `changes` on `device`, for the next block.
fn commit(world: &mut World, blocks: &mut Blocks, device: usize, changes: Changes) {
    let (group, installation) = world.devices[device].group_mut();
    let context = context_of(device);
    let pending = group.commit(installation, changes, &context, &mut world.rng).unwrap();
    blocks.waiting.push(pending.envelope);
}

#[test]
fn fifty_members_that_commit_at_once_all_land_within_fifty_blocks() {
    // covers: MLS-014
    const MEMBERS: usize = 50;
    let mut world = World::new(87, &[1; MEMBERS]).with_everybody();
    let mut blocks = Blocks::new(1);
    let mut missing: BTreeSet<usize> = (0..MEMBERS).collect();
    while !missing.is_empty() {
        for device in missing.clone() {
            let lost = world.devices[device].group().pending_commit().is_some();
            assert!(!lost, "whoever lost knows it at once");
            commit(&mut world, &mut blocks, device, Changes::default());
        }
        let won = blocks.next(&mut world);
        assert_eq!(won.len(), 1, "one winner per block");
        missing.retain(|device| !won.contains(device));
    }
    assert_eq!(blocks.count, 50);
    world.check_agreement(&(0..MEMBERS).collect::<Vec<_>>());
    let (envelope, message) = world.send(7, "that was that");
    world.check_read(&[0, 49], &envelope, &message);
}

#[test]
fn losers_leave_their_wishes_to_the_next_winner() {
    // covers: MLS-031
    const MEMBERS: u8 = 12;
    let count = usize::from(MEMBERS);
    let mut world = World::new(88, &[1; 24]);
    world.create(0, crate::world::open_group());
    let people: Vec<InboxId> = (1..=MEMBERS).map(inbox).collect();
    let changes = world.adding(&people);
    world.change(0, changes);
    // Everybody brings in somebody else.
    let wanted: BTreeMap<usize, InboxId> =
        (0..MEMBERS).map(|it| (usize::from(it), inbox(MEMBERS + 1 + it))).collect();
    let mut blocks = Blocks::new(2);
    let mut wished = false;
    loop {
        let settings = world.devices[0].group().settings();
        let missing: Vec<usize> = wanted
            .iter()
            .filter(|(_, who)| !settings.is_member(**who))
            .map(|(device, _)| *device)
            .collect();
        if missing.is_empty() {
            break;
        }
        for device in &missing {
            let wishes = world.devices[*device].group().wishes();
            let mut all: BTreeSet<InboxId> =
                wishes.iter().flat_map(|(_, wish)| wish.add.to_vec()).collect();
            all.insert(wanted[device]);
            let changes = world.adding(&all.into_iter().collect::<Vec<_>>());
            commit(&mut world, &mut blocks, *device, changes);
        }
        let won = blocks.next(&mut world);
        for device in missing.iter().filter(|device| !won.contains(device) && !wished) {
            let add = BoundedVec::new(vec![wanted[device]]).unwrap();
            let (group, installation) = world.devices[*device].group_mut();
            let wish = Wish { add, ..Wish::default() };
            let envelope = group.wish(installation, wish, &context_of(*device)).unwrap();
            blocks.waiting.push(envelope);
        }
        if !wished {
            blocks.next(&mut world);
        }
        wished = true;
    }
    assert_eq!(blocks.count, 3, "one wins, the others wish, the next sees to all of it");
    world.check_agreement(&(0..count).collect::<Vec<_>>());
}

fn check_wish(world: &mut World, device: usize, wish: Wish, expected: Result<(), VoidReason>) {
    let (group, installation) = world.devices[device].group_mut();
    let made = group.wish(installation, wish, &CONTEXT);
    match expected {
        Ok(()) => {
            world.submit(&made.unwrap()).unwrap();
            let person = world.owner(device).0;
            for verdicts in world.catch_up().values() {
                assert_eq!(verdicts[..], [Verdict::Wished { inbox: person }]);
            }
        }
        Err(reason) => assert_eq!(made, Err(CommitError::WouldBeVoid(reason))),
    }
}

fn removing(people: &[u8]) -> Wish {
    let remove = people.iter().map(|it| inbox(*it)).collect::<Vec<_>>();
    Wish { remove: BoundedVec::new(remove).unwrap(), ..Wish::default() }
}

#[test]
fn wishes_are_granted_to_those_who_may_have_them() {
    // covers: MLS-031
    let denied = Err(VoidReason::NotPermitted);
    let mut world = World::new(90, &[1, 1, 1, 1]).with_everybody();
    check_wish(&mut world, 0, Wish::default(), denied);
    check_wish(&mut world, 1, removing(&[3]), denied);
    check_wish(&mut world, 0, removing(&[1]), denied);
    check_wish(&mut world, 0, removing(&[9]), denied);
    check_wish(&mut world, 0, removing(&[3, 2]), denied);
    let adding = Wish { add: BoundedVec::new(vec![inbox(3)]).unwrap(), ..Wish::default() };
    check_wish(&mut world, 1, adding, denied);
    let unreadable = Some(vec![0xff].try_into().unwrap());
    check_wish(&mut world, 1, Wish { name: unreadable, ..Wish::default() }, denied);
    let name = Some(b"ours".to_vec().try_into().unwrap());
    check_wish(&mut world, 1, Wish { name, ..Wish::default() }, Ok(()));
    check_wish(&mut world, 0, removing(&[3]), Ok(()));
    // Who is to go wishes for nothing more and commits nothing more; nobody talks meanwhile.
    let name = Some(b"mine".to_vec().try_into().unwrap());
    check_wish(&mut world, 2, Wish { name, ..Wish::default() }, denied);
    let (group, installation) = world.devices[2].group_mut();
    let refused = group.commit(installation, Changes::default(), &CONTEXT, &mut world.rng);
    assert_eq!(refused, Err(CommitError::Unwanted));
    assert!(!world.devices[2].group().owes_commit());
    assert!(world.devices[3].group().owes_commit());
    // Whoever comes next sees to it, though it may not remove anybody itself.
    world.change(3, Changes::default());
    world.check_agreement(&[0, 1, 3]);
    assert!(!world.devices[3].group().settings().is_member(inbox(3)));
    assert!(world.devices[3].group().wishes().is_empty());
}
