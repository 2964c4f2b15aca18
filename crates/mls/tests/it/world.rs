//! People with devices, an identity log, and an ordered lane that is a list with
//! compare-and-swap.

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tidings_envelope::{ClientEnvelope, Topic};
use tidings_mls::{
    Changes, Content, GrantError, Group, GroupPolicy, InboxFacts, InboxHead, InboxSequence,
    Installation, Invitee, JoinError, NewGroup, Note, OpenedMessage, OrderedEntry, PendingCommit,
    ProcessError, ReceivedMessage, RejoinGrant, SealContext, StagedJoin, StagedRejoin, Verdict,
    WelcomePointer,
};
use tidings_types::ed25519::{PublicKey, SigningKey};
use tidings_types::{EthereumAddress, InboxId, NetworkId, Period, Position, TimestampSeconds};

pub const NETWORK: NetworkId = NetworkId([7; 32]);
pub const CONTEXT: SealContext =
    SealContext { payer: EthereumAddress([1; 20]), not_after: Period(9), retention_days: 30 };
pub const NOW: Period = Period(5);
pub const BUCKETS: u32 = 4;

/// A device with its state of one group.
pub struct Device {
    pub installation: Installation,
    pub group: Option<Group>,
}

impl Device {
    pub fn group(&self) -> &Group {
        self.group.as_ref().expect("the device is in the group")
    }

    pub fn group_mut(&mut self) -> (&mut Group, &Installation) {
        (self.group.as_mut().expect("the device is in the group"), &self.installation)
    }
}

/// Everything outside the devices.
pub struct World {
    pub rng: ChaCha20Rng,
    pub heads: BTreeMap<InboxId, InboxHead>,
    /// The current period.
    pub now: Period,
    pub lane: BTreeMap<Topic, Vec<Ordered>>,
    pub devices: Vec<Device>,
}

/// An entry of the ordered lane.
#[derive(Clone)]
pub struct Ordered {
    pub envelope: ClientEnvelope,
    pub period: Period,
}

pub fn inbox(number: u8) -> InboxId {
    InboxId([number; 32])
}

pub fn text(words: &str) -> Content {
    Content::text(words).unwrap()
}

pub fn open_group() -> NewGroup {
    NewGroup::Group {
        name: "walkers".to_owned(),
        description: String::new(),
        policy: GroupPolicy::OPEN,
    }
}

impl World {
    /// People numbered from 1, each with as many devices as listed.
    pub fn new(seed: u64, devices_of: &[usize]) -> Self {
        let mut world = Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            heads: BTreeMap::new(),
            now: NOW,
            lane: BTreeMap::new(),
            devices: Vec::new(),
        };
        for (index, count) in devices_of.iter().enumerate() {
            let person = inbox(u8::try_from(index + 1).unwrap());
            for _ in 0..*count {
                world.add_device(person);
            }
        }
        world
    }

    /// Adds a device; the inbox's log moves on.
    pub fn add_device(&mut self, person: InboxId) -> usize {
        let key = SigningKey::generate(&mut self.rng);
        let head = self.heads.entry(person).or_insert(InboxHead {
            inbox: person,
            sequence: InboxSequence(0),
            installations: BTreeSet::new(),
        });
        head.installations.insert(key.public_key());
        head.sequence = InboxSequence(head.sequence.0 + 1);
        let installation = Installation::new(NETWORK, person, key, &mut self.rng);
        self.devices.push(Device { installation, group: None });
        self.devices.len() - 1
    }

    /// Revokes a device; the inbox's log moves on.
    pub fn revoke(&mut self, device: usize) {
        let (person, key) = self.owner(device);
        let head = self.heads.get_mut(&person).unwrap();
        head.installations.remove(&key);
        head.sequence = InboxSequence(head.sequence.0 + 1);
    }

    pub fn owner(&self, device: usize) -> (InboxId, PublicKey) {
        let installation = &self.devices[device].installation;
        (installation.inbox(), installation.public_key())
    }

    pub fn head(&self, person: InboxId) -> InboxHead {
        self.heads[&person].clone()
    }

    pub fn facts(&self) -> InboxFacts {
        self.heads.values().cloned().collect()
    }

    /// A fresh manifest of a device, as an adder reads it.
    pub fn invite(&mut self, device: usize) -> Invitee {
        let installation = &mut self.devices[device].installation;
        let manifest = installation.publish(NOW, NOW.plus(10), &mut self.rng).unwrap();
        manifest.verify(&installation.public_key(), NETWORK, NOW).unwrap()
    }

    pub fn devices_of(&self, people: &[InboxId]) -> Vec<usize> {
        (0..self.devices.len())
            .filter(|device| people.contains(&self.devices[*device].installation.inbox()))
            .collect()
    }

    /// Changes that add people with all their devices.
    pub fn adding(&mut self, people: &[InboxId]) -> Changes {
        let heads = people.iter().map(|person| self.head(*person)).collect();
        let devices = self.devices_of(people);
        let invitees = devices.into_iter().map(|device| self.invite(device)).collect();
        Changes { heads, invitees, ..Changes::default() }
    }

    pub fn create(&mut self, device: usize, new: NewGroup) {
        let person = self.devices[device].installation.inbox();
        let head = self.heads[&person].clone();
        let installation = &self.devices[device].installation;
        let group = Group::create(installation, &head, new, &mut self.rng).unwrap();
        self.devices[device].group = Some(group);
    }

    /// A group of all people and devices, made by device 0.
    pub fn with_everybody(mut self) -> Self {
        self.create(0, open_group());
        let people: Vec<InboxId> = self.heads.keys().copied().collect();
        let changes = self.adding(&people);
        self.change(0, changes);
        self
    }

    pub fn commit(&mut self, device: usize, changes: Changes) -> PendingCommit {
        let (group, installation) = self.devices[device].group_mut();
        group.commit(installation, changes, &CONTEXT, &mut self.rng).unwrap()
    }

    /// The ordered lane: appends if the position is the expected one.
    pub fn submit(&mut self, envelope: &ClientEnvelope) -> Result<Position, Position> {
        let entries = self.lane.entry(envelope.body.topic).or_default();
        let position = Position(u64::try_from(entries.len()).unwrap());
        match envelope.body.expected_position {
            Some(expected) if expected != position => Err(position),
            _ => {
                entries.push(Ordered { envelope: envelope.clone(), period: self.now });
                Ok(position.plus(1))
            }
        }
    }

    /// Commits, orders, and lets everybody follow and join.
    pub fn change(&mut self, device: usize, changes: Changes) -> Verdict {
        let pending = self.commit(device, changes);
        self.submit(&pending.envelope).unwrap();
        let verdicts = self.catch_up();
        self.welcome(device, &pending);
        verdicts.get(&device).and_then(|verdicts| verdicts.last()).cloned().unwrap()
    }

    /// Processes the next entry of a topic on a device, if there is one.
    pub fn step_on(&mut self, device: usize, topic: Topic) -> Option<Verdict> {
        let facts = self.facts();
        let group = self.devices[device].group.as_mut()?;
        let known = group.position_of(topic)?;
        let index = usize::try_from(known.0).unwrap();
        let Ordered { envelope, period } = self.lane.get(&topic)?.get(index)?.clone();
        let entry = OrderedEntry { position: known.plus(1), period, envelope: &envelope };
        match group.process_ordered(&entry, &facts) {
            Ok(verdict) => Some(verdict),
            Err(ProcessError::RejoinLost) => None,
            Err(error) => panic!("device {device}: {error}"),
        }
    }

    /// Processes the next entry of the topic that the group writes to.
    pub fn step(&mut self, device: usize) -> Option<Verdict> {
        let topic = self.devices[device].group.as_ref()?.topic();
        self.step_on(device, topic)
    }

    /// Lets every device process all that is ordered on the topic that it writes to, and then
    /// what is said on those before.
    pub fn catch_up(&mut self) -> BTreeMap<usize, Vec<Verdict>> {
        let mut verdicts: BTreeMap<usize, Vec<Verdict>> = BTreeMap::new();
        for device in 0..self.devices.len() {
            let heard = self.catch_up_on(device);
            if !heard.is_empty() {
                verdicts.insert(device, heard);
            }
        }
        verdicts
    }

    /// Lets one device process all that is ordered.
    pub fn catch_up_on(&mut self, device: usize) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        loop {
            let Some(group) = &self.devices[device].group else { return verdicts };
            let past = group.past_topics().into_iter().map(|(topic, _)| topic);
            let topics: Vec<Topic> = [group.topic()].into_iter().chain(past).collect();
            match topics.into_iter().find_map(|topic| self.step_on(device, topic)) {
                Some(Verdict::Noted | Verdict::Stale) => {}
                Some(verdict) => verdicts.push(verdict),
                None => return verdicts,
            }
        }
    }

    /// Sends the pointers of a commit and lets those who can open them join.
    pub fn welcome(&mut self, sender: usize, pending: &PendingCommit) {
        let Some(welcome) = &pending.welcome else { return };
        let group = self.devices[sender].group().id();
        for invitee in &welcome.invitees {
            let envelope =
                welcome.reference.point(group, invitee, BUCKETS, &CONTEXT, NETWORK).unwrap();
            for device in 0..self.devices.len() {
                let installation = &self.devices[device].installation;
                if let Some(pointer) = installation.open_pointer(&envelope.body.payload) {
                    self.join(device, &pointer, &welcome.blob);
                }
            }
        }
    }

    pub fn join(&mut self, device: usize, pointer: &WelcomePointer, blob: &ClientEnvelope) {
        let facts = self.facts();
        let installation = &self.devices[device].installation;
        let known = BTreeSet::new();
        let staged = StagedJoin::open(installation, pointer, blob, &known, &mut self.rng).unwrap();
        let mut group = staged.join(&facts).unwrap();
        if let Some(earlier) = &self.devices[device].group {
            group.continue_after(earlier);
        }
        self.devices[device].group = Some(group);
    }

    /// What `granter` answers to the request of `asker`.
    pub fn grant(
        &mut self,
        asker: usize,
        granter: usize,
    ) -> Result<(WelcomePointer, RejoinGrant), GrantError> {
        let (member, invitee) = (self.invite(granter), self.invite(asker));
        let (group, installation) = self.devices[asker].group_mut();
        let request = group.ask(installation, &member, BUCKETS, self.now, &CONTEXT).unwrap();
        let note = self.devices[granter].installation.open_note(&request.body.payload);
        let Some(Note::Rejoin(request)) = note else { panic!("not a request") };
        let (group, installation) = self.devices[granter].group_mut();
        let id = group.id();
        let grant =
            group.grant_rejoin(installation, &request, self.now, &CONTEXT, &mut self.rng)?;
        let pointer = grant.reference.point(id, &invitee, BUCKETS, &CONTEXT, NETWORK).unwrap();
        let installation = &self.devices[asker].installation;
        Ok((installation.open_pointer(&pointer.body.payload).unwrap(), grant))
    }

    /// Lets `asker`, which was ejected, make the commit that gets it back in by the grant of
    /// `granter`.
    pub fn rejoin(
        &mut self,
        asker: usize,
        granter: usize,
    ) -> Result<(Group, PendingCommit), JoinError> {
        let (pointer, grant) = self.grant(asker, granter).unwrap();
        let facts = self.facts();
        let device = &self.devices[asker];
        let ejected = device.group();
        let staged = StagedRejoin::open(&device.installation, ejected, &pointer, &grant.blob)?;
        let entries = self.lane.get(&staged.topic()).cloned().unwrap_or_default();
        let entries: Vec<ClientEnvelope> = entries.into_iter().map(|it| it.envelope).collect();
        staged.check_lane(ejected, &entries)?;
        let installation = &device.installation;
        staged.rejoin(installation, ejected, &facts, self.now, &CONTEXT, &mut self.rng)
    }

    /// Lets `asker` get back in by the grant of `granter`, and everybody follow.
    pub fn get_back(&mut self, asker: usize, granter: usize) {
        let (group, pending) = self.rejoin(asker, granter).unwrap();
        self.devices[asker].group = Some(group);
        self.submit(&pending.envelope).unwrap();
        self.catch_up();
    }

    /// Lets everybody state and restart what is due in this period, until all is said.
    pub fn talk(&mut self) {
        loop {
            self.catch_up();
            let mut said = Vec::new();
            for device in self.devices.iter_mut() {
                let Some(group) = device.group.as_mut() else { continue };
                let installation = &device.installation;
                said.extend(group.testify(installation, self.now, &CONTEXT).unwrap());
                said.extend(group.restart(installation, self.now, &CONTEXT).unwrap());
            }
            if said.is_empty() {
                return;
            }
            for envelope in said {
                self.submit(&envelope).unwrap();
            }
        }
    }

    pub fn send(&mut self, device: usize, words: &str) -> (ClientEnvelope, ReceivedMessage) {
        let (group, installation) = self.devices[device].group_mut();
        let sent = group.send(installation, text(words), TimestampSeconds(1), &CONTEXT).unwrap();
        (sent.envelope, sent.message)
    }

    /// Checks that everybody in `readers` reads the same message.
    pub fn check_read(
        &mut self,
        readers: &[usize],
        envelope: &ClientEnvelope,
        message: &ReceivedMessage,
    ) {
        for reader in readers {
            let (group, _) = self.devices[*reader].group_mut();
            let opened = group.open(envelope, NOW).unwrap();
            assert_eq!(opened, OpenedMessage::Message(message.clone()), "reader {reader}");
        }
    }

    /// Checks that the devices agree on everything.
    pub fn check_agreement(&self, devices: &[usize]) {
        let first = self.devices[devices[0]].group();
        for device in devices {
            let group = self.devices[*device].group();
            assert_eq!(group.epoch(), first.epoch(), "device {device}");
            assert_eq!(group.authenticator(), first.authenticator(), "device {device}");
            assert_eq!(group.topic(), first.topic(), "device {device}");
            assert_eq!(group.position(), first.position(), "device {device}");
            assert_eq!(group.settings(), first.settings(), "device {device}");
        }
    }
}
