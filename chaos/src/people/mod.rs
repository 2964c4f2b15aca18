//! People who talk and change their groups while everything fails around them.

mod act;
mod recorder;
mod watch;

pub use recorder::Recorder;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tidings_client::{
    Client, Config, ConversationId, ConversationState, Delivery, GroupPolicy, Recipient, Unlock,
};
use tidings_demo::Network;
use tidings_types::{InboxId, NodeId};
use tokio::sync::{Notify, RwLock, RwLockWriteGuard};
use tokio::task::JoinSet;

use crate::check::{Violation, check};
use crate::history::{GroupNumber, Line, Member, MessageKey, Standing, View};

/// How many people stay in every group that they are in; each reads from a node of their own
/// first.
const CORE: u16 = 4;

/// Who is added to groups and removed from them all the time.
const VISITORS: [Member; 2] = [Member(CORE), Member(CORE + 1)];

/// The groups, each with the core members that it has from the beginning to the end.
const GROUPS: [&[u16]; 3] = [&[0, 1, 2, 3], &[0, 1, 2], &[1, 2, 3]];

/// How long calls that are under way may take until all have returned.
const CALLS_TIMEOUT: Duration = Duration::from_secs(120);

/// How many messages of a group are compared at most.
const TRANSCRIPT_MAX: u32 = 1_000_000;

/// Somebody with a client.
#[derive(Debug)]
pub struct Person {
    /// Who.
    pub member: Member,
    /// Their client.
    pub client: Client,
    /// Their inbox.
    pub inbox: InboxId,
    /// How many messages they have sent.
    sent: AtomicU32,
    /// Told when a group of theirs has changed.
    changed: Notify,
}

impl Person {
    async fn enter(network: &Network, home: &Path, member: Member) -> Result<Self> {
        let key = std::fs::read_to_string(&network.gateway().api_key_file)?;
        let mut config = Config::new(network.gateway().http.clone(), key.trim());
        let node = &network.nodes()[usize::from(member.0) % network.nodes().len()];
        config.node = Some(NodeId(node.id));
        let home = home.join(member.0.to_string());
        std::fs::create_dir_all(&home)?;
        let client = Client::create(&home, &Unlock::key_file(home.join("key")), &config).await?;
        let inbox = client.create_inbox().await?.inbox();
        let sent = AtomicU32::new(0);
        Ok(Self { member, client, inbox, sent, changed: Notify::new() })
    }

    fn next_key(&self) -> MessageKey {
        let serial = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
        MessageKey { author: self.member, serial }
    }

    fn is_core(&self) -> bool {
        self.member.0 < CORE
    }
}

/// All people and their groups.
#[derive(Debug)]
pub struct World {
    /// Everybody, by number.
    pub people: Vec<Person>,
    /// Every group, by number.
    pub groups: Vec<ConversationId>,
    /// Writes everything down.
    pub recorder: Recorder,
    members: BTreeMap<InboxId, Member>,
    /// Held for reading by every call that sends or changes something.
    gate: RwLock<()>,
}

impl World {
    /// Has everybody enter the network and meet in the groups.
    ///
    /// # Errors
    /// When the network refuses, which it has no reason to yet.
    pub async fn gather(network: &Network, home: &Path) -> Result<Arc<Self>> {
        let mut people = Vec::new();
        for member in (0..CORE).map(Member).chain(VISITORS) {
            people.push(Person::enter(network, home, member).await?);
        }
        let mut groups = Vec::new();
        for core in GROUPS {
            let recipient = |number: &u16| Recipient::Inbox(people[usize::from(*number)].inbox);
            let others: Vec<Recipient> = core[1..].iter().map(recipient).collect();
            let founder = &people[usize::from(core[0])].client;
            groups.push(founder.group_create("", "", GroupPolicy::OPEN, &others).await?);
        }
        let members = people.iter().map(|person| (person.inbox, person.member)).collect();
        let (recorder, gate) = (Recorder::default(), RwLock::new(()));
        let world = Self { people, groups, recorder, members, gate };
        for person in world.people.iter().filter(|person| person.is_core()) {
            person.client.sync().await?;
        }
        Ok(Arc::new(world))
    }

    /// Starts what everybody does from now on; it ends with the set.
    #[must_use]
    pub fn begin(self: &Arc<Self>, seed: u64) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for number in 0..self.people.len() {
            let rng = |purpose: u64| {
                let mut rng = ChaCha20Rng::seed_from_u64(seed);
                rng.set_stream((purpose << 32) + number as u64);
                rng
            };
            tasks.spawn(watch::listen(self.clone(), number));
            tasks.spawn(watch::look_on(self.clone(), number));
            tasks.spawn(act::talk(self.clone(), number, rng(1)));
            if self.people[number].is_core() {
                tasks.spawn(act::change(self.clone(), number, rng(2)));
            }
        }
        tasks
    }

    /// Keeps everybody from sending or changing anything as long as the guard lives; waits for
    /// what is under way.
    ///
    /// # Errors
    /// When a call does not return.
    pub async fn pause(&self) -> Result<RwLockWriteGuard<'_, ()>> {
        let paused = tokio::time::timeout(CALLS_TIMEOUT, self.gate.write()).await;
        paused.context("a client's call does not return")
    }

    /// Has everybody read and send all that there is, looks at everybody, and checks the history;
    /// again until nothing is wrong, or what is wrong will not pass, or `patience` is over.
    pub async fn settle(&self, patience: Duration) -> Vec<Violation> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let waiting = self.catch_up().await;
            let violations = check(&self.recorder.history());
            let is_settled = violations.is_empty() && waiting == 0;
            let is_final = violations.iter().any(|violation| !violation.may_pass());
            if is_settled || is_final || tokio::time::Instant::now() > deadline {
                return violations;
            }
        }
    }

    /// Syncs and looks at everybody; how many messages wait or conversations are behind.
    async fn catch_up(&self) -> usize {
        let mut waiting = 0;
        for person in &self.people {
            waiting += match person.client.sync().await {
                Ok(report) => report.waiting + report.behind.len(),
                Err(_) => 1,
            };
        }
        for person in &self.people {
            for group in 0..self.groups.len() {
                waiting += usize::from(self.look(person, group).await.is_err());
                waiting += usize::from(self.read(person, group).is_err());
            }
        }
        waiting
    }

    /// Writes down how somebody has a group now; nothing if they never were in it.
    async fn look(&self, person: &Person, group: usize) -> Result<()> {
        let (asked, id) = (self.recorder.now(), self.groups[group]);
        let listed = person.client.conversations()?.into_iter().find(|it| it.id == id);
        let Some(listed) = listed else { return Ok(()) };
        let view = match listed.state {
            ConversationState::Active | ConversationState::Leaving => {
                let info = person.client.conversation(id).await?;
                let member =
                    |inbox: &InboxId| self.members.get(inbox).copied().unwrap_or(Member(u16::MAX));
                Some(View {
                    epoch: info.epoch,
                    authenticator: info.authenticator,
                    name: info.conversation.name,
                    members: info.members.keys().map(member).collect(),
                })
            }
            _ => None,
        };
        self.recorder.looked(person.member, number(group), asked, view);
        Ok(())
    }

    /// Writes down what somebody holds of a group now.
    fn read(&self, person: &Person, group: usize) -> Result<()> {
        let id = self.groups[group];
        if !person.client.conversations()?.iter().any(|it| it.id == id) {
            return Ok(());
        }
        let line = |message: &tidings_client::Message| Line {
            text: message.text().unwrap_or_default().to_owned(),
            sender: self.members.get(&message.sender).copied(),
            standing: match message.delivery {
                Delivery::Received => Standing::Received,
                Delivery::Sent => Standing::Sent,
                Delivery::Failed { .. } => Standing::Failed,
                Delivery::Queued | Delivery::Sending => Standing::Waiting,
            },
        };
        let transcript = person.client.messages(id, 0, TRANSCRIPT_MAX)?.iter().map(line).collect();
        self.recorder.holds(person.member, number(group), transcript);
        Ok(())
    }

    fn group_of(&self, id: ConversationId) -> Option<GroupNumber> {
        self.groups.iter().position(|known| *known == id).map(number)
    }
}

/// A group's number, of which there are few.
fn number(group: usize) -> GroupNumber {
    GroupNumber(u16::try_from(group).unwrap_or(u16::MAX))
}

/// A time between two bounds, in milliseconds.
fn between(rng: &mut ChaCha20Rng, least_ms: u32, most_ms: u32) -> Duration {
    Duration::from_millis(u64::from(least_ms + rng.next_u32() % (most_ms - least_ms)))
}
