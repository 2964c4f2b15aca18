//! Random schedules: whatever happens in whatever order, the members agree.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tidings_envelope::ClientEnvelope;
use tidings_mls::{
    Changes, CommitError, GroupPolicy, GroupStatus, MessageId, NewGroup, OpenError, OpenedMessage,
    PAST_EPOCHS_MAX, PendingCommit, SealError, Who,
};
use tidings_types::{InboxId, TimestampSeconds};

use crate::world::{CONTEXT, NOW, World, inbox, text};

/// One thing that happens on one device.
#[derive(Debug, Clone, Copy)]
enum Event {
    Update,
    Rename(u8),
    Rotate,
    Add(u8),
    Remove(u8),
    Leave,
    Send(u8),
    /// The pending commit reaches the ordered lane.
    Submit,
    /// The next ordered entry is processed.
    Step,
    /// All ordered entries are processed.
    CatchUp,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Update),
        2 => any::<u8>().prop_map(Event::Rename),
        1 => Just(Event::Rotate),
        3 => any::<u8>().prop_map(Event::Add),
        2 => any::<u8>().prop_map(Event::Remove),
        1 => Just(Event::Leave),
        6 => any::<u8>().prop_map(Event::Send),
        10 => Just(Event::Submit),
        5 => Just(Event::Step),
        8 => Just(Event::CatchUp),
    ]
}

struct Sent {
    envelope: ClientEnvelope,
    sender: usize,
    epoch: u64,
    id: MessageId,
}

/// A world with what is under way in it.
struct Schedule {
    world: World,
    pending: BTreeMap<usize, PendingCommit>,
    sent: Vec<Sent>,
    /// Which messages each device has read, or never can, in its present membership.
    seen: BTreeMap<usize, BTreeSet<usize>>,
    /// The epoch in which each device came in.
    entered: BTreeMap<usize, u64>,
}

const DEVICES_OF: [usize; 4] = [1, 2, 1, 1];

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed, &DEVICES_OF);
        let policy =
            GroupPolicy { add: Who::Everyone, remove: Who::Everyone, metadata: Who::Everyone };
        let new = NewGroup::Group { name: String::new(), description: String::new(), policy };
        world.create(0, new);
        let entered = BTreeMap::from([(0, 0)]);
        let mut schedule = Self {
            world,
            pending: BTreeMap::new(),
            sent: Vec::new(),
            seen: BTreeMap::new(),
            entered,
        };
        schedule.act(0, Event::Add(1));
        schedule.act(0, Event::Submit);
        schedule
    }

    fn act(&mut self, device: usize, event: Event) {
        if self.world.devices[device].group.is_none() {
            return;
        }
        let person = |number: u8| inbox(number % 4 + 1);
        match event {
            Event::Update => self.commit(device, Changes::default()),
            Event::Rename(number) => {
                self.commit(
                    device,
                    Changes { name: Some(number.to_string()), ..Changes::default() },
                );
            }
            Event::Rotate => self.commit(device, Changes { rotate: true, ..Changes::default() }),
            Event::Add(number) => {
                let all = self.world.devices_of(&[person(number)]);
                if all.iter().all(|device| !self.is_live(*device)) {
                    let changes = self.world.adding(&[person(number)]);
                    self.commit(device, changes);
                }
            }
            Event::Remove(number) => {
                let remove = BTreeSet::from([person(number)]);
                self.commit(device, Changes { remove, ..Changes::default() });
            }
            Event::Leave => self.leave(device),
            Event::Send(number) => self.send(device, number),
            Event::Submit => self.submit(device),
            Event::Step => {
                self.step(device);
            }
            Event::CatchUp => while self.step(device) {},
        }
    }

    fn is_live(&self, device: usize) -> bool {
        let group = self.world.devices[device].group.as_ref();
        group.is_some_and(|group| group.status() == GroupStatus::Active)
    }

    fn commit(&mut self, device: usize, changes: Changes) {
        let (group, installation) = self.world.devices[device].group_mut();
        match group.commit(installation, changes, &CONTEXT, &mut self.world.rng) {
            Ok(pending) => {
                self.pending.insert(device, pending);
            }
            Err(
                CommitError::Inactive
                | CommitError::CommitPending
                | CommitError::Leaving
                | CommitError::WouldBeVoid(_),
            ) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn leave(&mut self, device: usize) {
        let (group, installation) = self.world.devices[device].group_mut();
        if let Ok(request) = group.leave(installation, &CONTEXT) {
            self.world.submit(&request).unwrap();
        }
    }

    fn send(&mut self, device: usize, number: u8) {
        let (group, installation) = self.world.devices[device].group_mut();
        let content = text(&number.to_string());
        match group.send(installation, content, TimestampSeconds(1), &CONTEXT) {
            Ok(sent) => {
                let epoch = group.epoch();
                let (envelope, id) = (sent.envelope, sent.message.id);
                self.sent.push(Sent { envelope, sender: device, epoch, id });
            }
            Err(SealError::Inactive | SealError::LeavePending) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn submit(&mut self, device: usize) {
        let Some(pending) = self.pending.remove(&device) else { return };
        let is_current = self.world.devices[device].group().pending_commit();
        if is_current != Some(pending.envelope.body.id()) {
            return;
        }
        if self.world.submit(&pending.envelope).is_err() {
            self.world.devices[device].group_mut().0.commit_lost();
            return;
        }
        let before = self.live();
        self.world.welcome(device, &pending);
        for device in self.live().difference(&before) {
            self.entered.insert(*device, self.world.devices[*device].group().epoch());
            self.seen.remove(device);
        }
    }

    fn live(&self) -> BTreeSet<usize> {
        (0..self.world.devices.len()).filter(|device| self.is_live(*device)).collect()
    }

    /// Processes the next entry, if there is one, reading before and after.
    fn step(&mut self, device: usize) -> bool {
        self.read(device);
        let stepped = self.world.step(device).is_some();
        self.read(device);
        stepped
    }

    /// Reads all that can be read now.
    fn read(&mut self, device: usize) {
        let Some(entered) = self.entered.get(&device).copied() else { return };
        let seen = self.seen.entry(device).or_default();
        let (group, _) = self.world.devices[device].group_mut();
        for (number, sent) in self.sent.iter().enumerate() {
            if sent.sender == device || sent.epoch < entered || seen.contains(&number) {
                continue;
            }
            match group.open(&sent.envelope, NOW) {
                Ok(OpenedMessage::Message(message)) => {
                    assert_eq!(message.id, sent.id);
                    seen.insert(number);
                }
                Ok(OpenedMessage::Own) => panic!("not its own"),
                Err(OpenError::TooOld) => {
                    let behind = group.epoch() - sent.epoch;
                    assert!(behind > u64::try_from(PAST_EPOCHS_MAX).unwrap());
                    seen.insert(number);
                }
                Err(OpenError::Ahead | OpenError::OtherTopic) => {}
                Err(error) => panic!("device {device}, message {number}: {error}"),
            }
        }
    }

    fn finish(mut self) {
        for device in 0..self.world.devices.len() {
            if self.world.devices[device].group.is_some() {
                while self.step(device) {}
            }
        }
        let live: Vec<usize> = self.live().into_iter().collect();
        if let Some(first) = live.first() {
            self.world.check_agreement(&live);
            let settings = self.world.devices[*first].group().settings();
            let people: Vec<InboxId> = settings.members.iter().map(|it| it.inbox).collect();
            assert_eq!(self.world.devices_of(&people), live);
        }
        for (device, entered) in &self.entered {
            let epoch = self.world.devices[*device].group().epoch();
            for (number, sent) in self.sent.iter().enumerate() {
                if sent.sender != *device && (*entered..=epoch).contains(&sent.epoch) {
                    assert!(self.seen[device].contains(&number), "{device} misses {number}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn all_members_agree_after_any_schedule(
        seed in any::<u64>(),
        events in prop::collection::vec((0usize..5, event()), 60..240),
    ) {
        // covers: MLS-014
        let mut schedule = Schedule::new(seed);
        for (device, event) in events {
            schedule.act(device, event);
        }
        schedule.finish();
    }
}
