//! What a group keeps beside the MLS state.

use std::collections::BTreeSet;

use openmls::group::MlsGroup;
use openmls_traits::OpenMlsProvider;
use tidings_envelope::Topic;
use tidings_types::constants::{PROTOCOL_VERSION, WISHES_PER_EPOCH_MAX};
use tidings_types::ed25519::PublicKey;
use tidings_types::{
    BoundedVec, EnvelopeId, InboxId, NetworkId, Period, Position, Wire, labelled_hash,
};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::content::{MessageId, Predecessor};
use crate::generation::{EXPORTER_LABEL, Generation, SEED_BYTES};
use crate::group::GroupId;
use crate::past_epochs::PAST_EPOCHS_MAX;
use crate::provider::Provider;
use crate::roster::Roster;
use crate::seal::TranscriptTag;
use crate::secret::Secret;
use crate::wish::NotedWish;

/// Where the record is stored.
const RECORD_KEY: &[u8] = b"tidings group";

/// How many past topic generations can still be read. Unit: generations.
pub const PAST_GENERATIONS_MAX: usize = 16;

/// How many periods after its end a generation's broadcast entries are read (MLS-020).
/// Unit: periods.
pub const GENERATION_GRACE_PERIODS: u64 = 2;

const TAGS_MAX: usize = PAST_EPOCHS_MAX + 1;
const DEPARTED_MAX: usize = 65_536;

/// Whether this installation takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum GroupStatus {
    /// It reads and writes.
    Active = 1,
    /// Its rejoin is not ordered yet; it waits.
    Rejoining = 2,
    /// It was removed; it still reads what was sent before.
    Removed = 3,
    /// It could not follow a commit; it still reads what was sent before, and rejoins.
    Ejected = 4,
}

#[derive(Debug, Clone, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub(crate) struct PastGeneration {
    seed: Secret,
    pub(crate) retired_at: Period,
    /// How many ordered entries of it were processed.
    pub(crate) position: Position,
}

#[derive(Debug, Clone, Copy, TlsSize, TlsSerialize, TlsDeserializeBytes)]
struct EpochTag {
    epoch: u64,
    tag: TranscriptTag,
}

/// A leaf that a commit blanked: who had it, and the last epoch in which they did.
#[derive(Debug, Clone, Copy, TlsSize, TlsSerialize, TlsDeserializeBytes)]
struct Departed {
    epoch: u64,
    leaf: u32,
    installation: PublicKey,
}

/// A commit of ours that is not ordered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub(crate) struct PendingRecord {
    pub(crate) envelope: EnvelopeId,
    /// The position that it needs; none if it is good at any.
    pub(crate) expected: Option<Position>,
}

/// How many sent messages are remembered: as many as may be withdrawn at once, so that what is said
/// next follows one that was not.
const SENT_MAX: usize = 16;

#[derive(Debug, Clone, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub(crate) struct Record {
    version: u16,
    pub(crate) network: NetworkId,
    pub(crate) group: GroupId,
    pub(crate) inbox: InboxId,
    pub(crate) installation: PublicKey,
    pub(crate) status: GroupStatus,
    seed: Secret,
    pub(crate) position: Position,
    past: BoundedVec<PastGeneration, PAST_GENERATIONS_MAX>,
    tags: BoundedVec<EpochTag, TAGS_MAX>,
    departed: BoundedVec<Departed, DEPARTED_MAX>,
    pub(crate) pending: Option<PendingRecord>,
    /// The epoch in which this installation came in.
    joined: Option<u64>,
    /// The last messages that this installation sent, oldest first.
    pub(crate) sent: BoundedVec<Predecessor, SENT_MAX>,
    /// What members want changed in this epoch, oldest first (MLS-031).
    pub(crate) wishes: BoundedVec<NotedWish, WISHES_PER_EPOCH_MAX>,
    /// The tags of epochs that restarts abandoned.
    abandoned: BoundedVec<TranscriptTag, TAGS_MAX>,
    /// Whose word alone this installation has that this is the group: who let it in, until
    /// somebody else is heard of (MLS-036).
    pub(crate) voucher: Option<InboxId>,
}

/// Who a record belongs to.
pub(crate) struct Owner {
    pub(crate) network: NetworkId,
    pub(crate) group: GroupId,
    pub(crate) inbox: InboxId,
    pub(crate) installation: PublicKey,
}

impl Record {
    /// The record of a group that is entered at `position` of the generation with `seed`.
    pub(crate) fn new(owner: Owner, seed: Secret, position: Position) -> Self {
        Self {
            version: PROTOCOL_VERSION,
            network: owner.network,
            group: owner.group,
            inbox: owner.inbox,
            installation: owner.installation,
            status: GroupStatus::Active,
            seed,
            position,
            past: BoundedVec::default(),
            tags: BoundedVec::default(),
            departed: BoundedVec::default(),
            pending: None,
            joined: None,
            sent: BoundedVec::default(),
            wishes: BoundedVec::default(),
            abandoned: BoundedVec::default(),
            voucher: None,
        }
    }

    /// The last message that was sent and not withdrawn.
    pub(crate) fn last_sent(&self) -> Option<Predecessor> {
        self.sent.last().copied()
    }

    /// Notes a message that is sent.
    pub(crate) fn note_sent(&mut self, message: Predecessor) {
        self.sent = newest(self.sent.to_vec(), message);
    }

    /// Forgets a message that nobody will ever see.
    pub(crate) fn withdraw(&mut self, id: MessageId) {
        let kept = self.sent.iter().filter(|message| message.id != id).copied().collect();
        self.sent = BoundedVec::new(kept).unwrap_or_default();
    }

    /// The epoch in which this installation came in.
    pub(crate) fn joined_at(&self) -> u64 {
        self.joined.unwrap_or_default()
    }

    /// How many epochs before the current one are noted.
    pub(crate) fn past_epochs_count(&self) -> usize {
        self.tags.len().saturating_sub(1)
    }

    /// The stored record.
    pub(crate) fn read(provider: &Provider) -> Option<Self> {
        let record = Self::from_wire(&provider.store().read(RECORD_KEY)?).ok()?;
        (record.version == PROTOCOL_VERSION).then_some(record)
    }

    /// Stores the record beside the MLS state.
    pub(crate) fn write(&self, provider: &Provider) {
        provider.store().write(RECORD_KEY, self.to_wire());
    }

    /// The generation in use.
    pub(crate) fn generation(&self) -> Generation {
        Generation::new(self.seed.clone())
    }

    /// Past generations with the period of their end, newest first.
    pub(crate) fn past_generations(&self) -> impl Iterator<Item = (Generation, Period)> + '_ {
        self.past.iter().rev().map(|past| (Generation::new(past.seed.clone()), past.retired_at))
    }

    /// Begins the generation with `seed`, at position 0 (MLS-009).
    pub(crate) fn rotate(&mut self, seed: Secret, now: Period) {
        let ended = PastGeneration {
            seed: std::mem::replace(&mut self.seed, seed),
            retired_at: now,
            position: self.position,
        };
        self.past = newest(self.past.to_vec(), ended);
        self.position = Position(0);
    }

    /// How far the ordered lane of a topic has been processed.
    pub(crate) fn position_of(&self, topic: Topic) -> Option<Position> {
        match self.generation().topic() == topic {
            true => Some(self.position),
            false => self.past_of(topic).map(|past| past.position),
        }
    }

    /// Moves on to `position` of a topic.
    pub(crate) fn advance(&mut self, topic: Topic, position: Position) {
        if self.generation().topic() == topic {
            self.position = position;
            return;
        }
        let is_it = |past: &PastGeneration| Generation::new(past.seed.clone()).topic() == topic;
        let mut past = self.past.to_vec();
        if let Some(past) = past.iter_mut().find(|past| is_it(past)) {
            past.position = position;
        }
        self.past = BoundedVec::new(past).unwrap_or_default();
    }

    /// The keys of a topic that is or was the group's.
    pub(crate) fn generation_of(&self, topic: Topic) -> Option<Generation> {
        let current = self.generation();
        match current.topic() == topic {
            true => Some(current),
            false => self.past_of(topic).map(|past| Generation::new(past.seed.clone())),
        }
    }

    fn past_of(&self, topic: Topic) -> Option<&PastGeneration> {
        self.past.iter().find(|past| Generation::new(past.seed.clone()).topic() == topic)
    }

    /// Takes over the topics of an earlier membership, so that what is still open there is heard.
    pub(crate) fn inherit_topics(&mut self, earlier: &Self, now: Period) {
        let mut past = earlier.past.to_vec();
        if earlier.seed != self.seed {
            let (seed, position) = (earlier.seed.clone(), earlier.position);
            past.push(PastGeneration { seed, retired_at: now, position });
        }
        self.past = BoundedVec::new(past).unwrap_or_default();
    }

    /// Notes that the epochs of `other` were abandoned, and whatever it had noted so.
    pub(crate) fn abandon(&mut self, other: &Self) {
        let known: Vec<TranscriptTag> = self.tags.iter().map(|tag| tag.tag).collect();
        let tags = other.tags.iter().map(|tag| tag.tag).filter(|tag| !known.contains(tag));
        for tag in other.abandoned.iter().copied().chain(tags) {
            self.abandoned = newest(self.abandoned.to_vec(), tag);
        }
    }

    /// Whether a restart abandoned the epoch with this tag.
    pub(crate) fn is_abandoned(&self, tag: TranscriptTag) -> bool {
        self.abandoned.contains(&tag)
    }

    /// Whether this is the tag of an epoch of the group as known here.
    pub(crate) fn knows_tag(&self, tag: TranscriptTag) -> bool {
        self.tags.iter().any(|known| known.tag == tag)
    }

    /// Notes that somebody is part of the group as known here.
    pub(crate) fn hear_of(&mut self, inbox: InboxId) {
        if self.voucher.is_some_and(|voucher| voucher != inbox && inbox != self.inbox) {
            self.voucher = None;
        }
    }

    /// Drops the keys of generations that ended before `period`.
    pub(crate) fn forget_generations_before(&mut self, period: Period, open: &BTreeSet<Topic>) {
        let is_open = |past: &PastGeneration| {
            !open.is_empty() && open.contains(&Generation::new(past.seed.clone()).topic())
        };
        let stays = |past: &&PastGeneration| past.retired_at >= period || is_open(past);
        let kept = self.past.iter().filter(stays).cloned().collect();
        self.past = BoundedVec::new(kept).unwrap_or_default();
    }

    /// Notes the tag of an epoch that begins (MLS-011).
    pub(crate) fn note_epoch(&mut self, epoch: u64, tag: TranscriptTag) {
        self.joined.get_or_insert(epoch);
        self.wishes = BoundedVec::default();
        self.tags = newest(self.tags.to_vec(), EpochTag { epoch, tag });
        let oldest = self.tags.first().map_or(0, |tag| tag.epoch);
        let kept = self.departed.iter().filter(|it| it.epoch >= oldest).copied().collect();
        self.departed = BoundedVec::new(kept).unwrap_or_default();
    }

    /// The tag of an epoch that can still be read.
    pub(crate) fn tag_of(&self, epoch: u64) -> Option<TranscriptTag> {
        self.tags.iter().find(|tag| tag.epoch == epoch).map(|tag| tag.tag)
    }

    /// Notes who had the leaves that a commit blanks at the end of `epoch`.
    pub(crate) fn note_departures(&mut self, epoch: u64, leaves: &BTreeSet<u32>, roster: &Roster) {
        for (leaf, owner) in leaves.iter().filter_map(|it| roster.0.get_key_value(it)) {
            let departed = Departed { epoch, leaf: *leaf, installation: owner.installation };
            self.departed = newest(self.departed.to_vec(), departed);
        }
    }

    /// Whose `leaf` was in `epoch`; `roster` is the current one.
    pub(crate) fn installation_at(
        &self,
        epoch: u64,
        leaf: u32,
        roster: &Roster,
    ) -> Option<PublicKey> {
        let departed = self
            .departed
            .iter()
            .filter(|it| it.leaf == leaf && it.epoch >= epoch)
            .min_by_key(|it| it.epoch)
            .map(|it| it.installation);
        departed.or_else(|| roster.0.get(&leaf).map(|owner| owner.installation))
    }
}

/// `items` and `item`, without the first ones if there are too many.
fn newest<T, const MAX: usize>(mut items: Vec<T>, item: T) -> BoundedVec<T, MAX> {
    items.push(item);
    let surplus = items.len().saturating_sub(MAX);
    items.drain(..surplus);
    BoundedVec::new(items).unwrap_or_default()
}

/// The tag of the epoch that `mls` is in (MLS-011).
pub(crate) fn transcript_tag(mls: &MlsGroup) -> TranscriptTag {
    let hash = labelled_hash("transcript tag", &[mls.epoch_authenticator().as_slice()]);
    let (tag, _) = hash.split_first_chunk().expect("a hash is longer than a tag");
    *tag
}

/// The seed of the generation that the epoch of `mls` begins (MLS-008).
pub(crate) fn exported_seed(mls: &MlsGroup, provider: &Provider) -> Option<Secret> {
    let seed = mls.export_secret(provider.crypto(), EXPORTER_LABEL, &[], SEED_BYTES).ok()?;
    let seed = zeroize::Zeroizing::new(seed);
    Some(Secret(seed.as_slice().try_into().ok()?))
}
