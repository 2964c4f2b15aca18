//! What large groups cost: making one, talking in one, following a commit in one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use tidings_mls::{
    Changes, Content, Group, GroupPolicy, InboxFacts, InboxHead, InboxSequence, Installation,
    Invitee, NewGroup, OpenedMessage, OrderedEntry, PendingCommit, SealContext, StagedJoin,
    Verdict,
};
use tidings_types::ed25519::SigningKey;
use tidings_types::{EthereumAddress, InboxId, NetworkId, Period, TimestampSeconds};

use crate::report::{Figure, Section};

const NETWORK: NetworkId = NetworkId([7; 32]);
const NOW: Period = Period(5);
const CONTEXT: SealContext =
    SealContext { payer: EthereumAddress([1; 20]), not_after: Period(6), retention_days: 30 };

/// How often the quick operations are repeated; the median counts.
const REPEATS: usize = 21;

/// The most inboxes that one commit adds here; two commits make the group of a thousand.
const ADDS_PER_COMMIT: usize = 500;

/// People with one installation each, of whom the first two take part.
struct People {
    rng: ChaCha20Rng,
    installations: Vec<Installation>,
    heads: BTreeMap<InboxId, InboxHead>,
}

impl People {
    fn new(count: usize) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (mut installations, mut heads) = (Vec::new(), BTreeMap::new());
        for number in 0..count {
            let mut inbox = [0; 32];
            inbox[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
            let inbox = InboxId(inbox);
            let key = SigningKey::generate(&mut rng);
            let only = BTreeSet::from([key.public_key()]);
            let head = InboxHead { inbox, sequence: InboxSequence(1), installations: only };
            heads.insert(inbox, head);
            installations.push(Installation::new(NETWORK, inbox, key, &mut rng));
        }
        Self { rng, installations, heads }
    }

    fn facts(&self) -> InboxFacts {
        self.heads.values().cloned().collect()
    }

    /// Changes that add the people in `range`, as somebody does who has read their manifests.
    fn adding(&mut self, range: std::ops::Range<usize>) -> Result<Changes> {
        let (mut heads, mut invitees) = (Vec::new(), Vec::new());
        for installation in &mut self.installations[range] {
            let manifest = installation.publish(NOW, NOW.plus(10), &mut self.rng)?;
            invitees.push(manifest.verify(&installation.public_key(), NETWORK, NOW)?);
            heads.push(self.heads[&installation.inbox()].clone());
        }
        Ok(Changes { heads, invitees, ..Changes::default() })
    }

    fn create(&mut self) -> Result<Group> {
        let new = NewGroup::Group {
            name: "many".into(),
            description: String::new(),
            policy: GroupPolicy::OPEN,
        };
        let first = &self.installations[0];
        Ok(Group::create(first, &self.heads[&first.inbox()], new, &mut self.rng)?)
    }

    fn commit(&mut self, group: &mut Group, changes: Changes) -> Result<PendingCommit> {
        Ok(group.commit(&self.installations[0], changes, &CONTEXT, &mut self.rng)?)
    }

    /// Lets the second person join by the welcome of a commit that adds them.
    fn join(&mut self, group: &Group, pending: &PendingCommit) -> Result<Group> {
        let welcome = pending.welcome.as_ref().context("the commit welcomes somebody")?;
        let joiner = &self.installations[1];
        let is_joiner = |invitee: &&Invitee| invitee.installation() == joiner.public_key();
        let invitee = welcome.invitees.iter().find(is_joiner).context("they are invited")?;
        let pointer = welcome.reference.point(group.id(), invitee, 1, &CONTEXT, NETWORK)?;
        let pointer = joiner.open_pointer(&pointer.body.payload).context("it is theirs")?;
        let known = BTreeSet::new();
        let staged = StagedJoin::open(joiner, &pointer, &welcome.blob, &known, &mut self.rng)?;
        Ok(staged.join(&self.facts())?)
    }
}

fn follow(group: &mut Group, pending: &PendingCommit, facts: &InboxFacts) -> Result<()> {
    let position = group.position().plus(1);
    let entry = OrderedEntry { position, period: NOW, envelope: &pending.envelope };
    match group.process_ordered(&entry, facts)? {
        Verdict::Applied(_) => Ok(()),
        verdict => bail!("an honest commit got {verdict:?}"),
    }
}

/// Measures groups of 250 and of 1,000.
///
/// # Errors
/// When an operation of an honest member fails.
pub fn run() -> Result<Section> {
    let create = create_250()?;
    let (send, open, process) = in_a_thousand()?;
    let figure = |name: &str, time: Duration, target| Figure {
        name: name.into(),
        value: format!("{}.{:02} ms", time.as_micros() / 1000, time.as_micros() % 1000 / 10),
        target,
    };
    Ok(Section {
        title: "Groups",
        method: format!(
            "In one process on one thread, with everything that a member checks: a group of 250 \
             inboxes made by one commit from read manifests, welcome included; 1 KiB messages \
             and a key-renewing commit in a group of 1,000; medians of {REPEATS}, but for the \
             first."
        ),
        figures: vec![
            figure("create a group of 250", create, "< 150 ms"),
            figure("encrypt and seal 1 KiB, of 1,000", send, "< 0.2 ms"),
            figure("open and decrypt 1 KiB, of 1,000", open, "< 0.2 ms"),
            figure("process a commit, of 1,000", process, "< 20 ms"),
        ],
    })
}

fn create_250() -> Result<Duration> {
    let mut people = People::new(250);
    let changes = people.adding(1..250)?;
    let begun = Instant::now();
    let mut group = people.create()?;
    people.commit(&mut group, changes)?;
    Ok(begun.elapsed())
}

fn in_a_thousand() -> Result<(Duration, Duration, Duration)> {
    let mut people = People::new(1_000);
    let mut group = people.create()?;
    let mut joined = None;
    for begin in (1..1_000).step_by(ADDS_PER_COMMIT) {
        let changes = people.adding(begin..(begin + ADDS_PER_COMMIT).min(1_000))?;
        let pending = people.commit(&mut group, changes)?;
        let facts = people.facts();
        follow(&mut group, &pending, &facts)?;
        joined = match joined {
            None => Some(people.join(&group, &pending)?),
            Some(mut member) => {
                follow(&mut member, &pending, &facts)?;
                Some(member)
            }
        };
    }
    let mut member = joined.context("somebody joined")?;
    let (mut sends, mut opens, mut commits) = (Vec::new(), Vec::new(), Vec::new());
    let facts = people.facts();
    for _ in 0..REPEATS {
        let content = Content::text(&"x".repeat(1024)).context("a KiB is no long text")?;
        let begun = Instant::now();
        let sent = group.send(&people.installations[0], content, TimestampSeconds(1), &CONTEXT)?;
        sends.push(begun.elapsed());
        let begun = Instant::now();
        let opened = member.open(&sent.envelope, NOW)?;
        opens.push(begun.elapsed());
        anyhow::ensure!(matches!(opened, OpenedMessage::Message(_)), "a message is read");
        let pending = people.commit(&mut group, Changes::default())?;
        let begun = Instant::now();
        follow(&mut member, &pending, &facts)?;
        commits.push(begun.elapsed());
        follow(&mut group, &pending, &facts)?;
    }
    Ok((median(sends), median(opens), median(commits)))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
