//! From what a node sends to what the index enters: checked again, whoever wrote it.

use std::collections::BTreeMap;

use tidings_envelope::{
    ClientEnvelope, LogEntry, LogId, Operation, OrderedReceipt, PayerEnvelope, Registry, TopicKind,
    WriteProof,
};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{NetworkId, RegistryEpoch, Wire};

use crate::association::{AssociationError, AssociationState};
use crate::envelope::{Check, EnvelopeInvalid, ParsedEnvelope};
use crate::inbox::{self, InboxError};
use crate::index::{Entry, IndexError, Reader};
use crate::note::Note;
use crate::place::Place;
use crate::topic::XmtpTopic;

const SECONDS_PER_DAY: u64 = 86_400;
const NS_PER_SECOND: u64 = 1_000_000_000;

/// Why something on an `xmtp` topic is passed over (XMTP-006); an edge is at fault, or a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetAside {
    /// It is no envelope on an `xmtp` topic.
    #[error("no envelope on an xmtp topic")]
    Foreign,
    /// Its payload was pruned.
    #[error("the payload is gone")]
    Pruned,
    /// Its key is that of no edge.
    #[error("written by no edge of the registry")]
    Writer,
    /// Its write proof does not verify.
    #[error("the write proof does not verify")]
    Proof,
    /// Its payload is no note of a version known here.
    #[error("the payload is no note")]
    Note,
    /// What an edge should not have taken.
    #[error(transparent)]
    Envelope(#[from] EnvelopeInvalid),
    /// It is on another topic or lane than the envelope inside belongs on.
    #[error("on another topic or lane than the envelope belongs on")]
    Misplaced,
    /// An update that does not follow from the inbox as it is.
    #[error(transparent)]
    Association(#[from] AssociationError),
}

/// Something a node sent that is to be entered.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// Where it stands.
    pub place: Place,
    /// How many days after it came nodes may forget it.
    retention_days: u16,
    note: Note,
    parsed: ParsedEnvelope,
}

impl Taken {
    /// Opens a log's entry.
    ///
    /// # Errors
    /// [`SetAside`]
    pub fn entry(
        entry: &LogEntry,
        log: LogId,
        network: NetworkId,
        registry: &Registry,
    ) -> Result<Self, SetAside> {
        let payload = entry.payload.as_ref().ok_or(SetAside::Pruned)?;
        let envelope = PayerEnvelope::parse(payload).map_err(|_| SetAside::Foreign)?;
        let place = Place::Log { log, index: entry.header.index };
        Self::open(&envelope.envelope, place, network, registry)
    }

    /// Opens a decided operation.
    ///
    /// # Errors
    /// [`SetAside`]
    pub fn receipt(
        receipt: &OrderedReceipt,
        network: NetworkId,
        registry: &Registry,
    ) -> Result<Self, SetAside> {
        let Operation::Envelope(envelope) = &receipt.decided.operation else {
            return Err(SetAside::Foreign);
        };
        if receipt.position().is_none() {
            return Err(SetAside::Foreign);
        }
        Self::open(&envelope.envelope, place_of(receipt), network, registry)
    }

    fn open(
        envelope: &ClientEnvelope,
        place: Place,
        network: NetworkId,
        registry: &Registry,
    ) -> Result<Self, SetAside> {
        let body = &envelope.body;
        if body.topic.kind != TopicKind::Xmtp {
            return Err(SetAside::Foreign);
        }
        let WriteProof::Key { key, .. } = &envelope.proof else { return Err(SetAside::Writer) };
        if !registry.edge_key_is_known(key) {
            return Err(SetAside::Writer);
        }
        let statement = envelope.statement(network).ok_or(SetAside::Proof)?;
        statement.verify().map_err(|_| SetAside::Proof)?;
        let note = Note::from_wire(&body.payload).map_err(|_| SetAside::Note)?;
        if note.version != PROTOCOL_VERSION {
            return Err(SetAside::Note);
        }
        let parsed = ParsedEnvelope::parse(note.envelope.to_vec(), Check::Form)?;
        if parsed.topic().carrier() != body.topic || parsed.course().lane() != body.lane {
            return Err(SetAside::Misplaced);
        }
        Ok(Self { place, retention_days: body.retention_days, note, parsed })
    }

    fn into_entry(self) -> Option<Entry> {
        let Self { place, retention_days, note, parsed } = self;
        let kept_s = u64::from(retention_days) * SECONDS_PER_DAY;
        Some(Entry {
            topic: parsed.topic().clone(),
            mark: parsed.course().mark(&place)?,
            received_ns: note.received_ns,
            expires_s: (note.received_ns / NS_PER_SECOND).saturating_add(kept_s),
            digest: inbox::digest(parsed.bytes()),
            envelope: parsed.bytes().to_vec(),
            identifiers: Vec::new(),
        })
    }
}

/// The epoch by whose registry the nodes let an entry in; the same wherever it is asked for.
#[must_use]
pub fn epoch_of_entry(entry: &LogEntry) -> Option<RegistryEpoch> {
    let envelope = PayerEnvelope::parse(entry.payload.as_ref()?).ok()?;
    Some(envelope.batch.header.registry_epoch)
}

/// Where an operation stands.
#[must_use]
pub fn place_of(receipt: &OrderedReceipt) -> Place {
    let (shard, height) = (receipt.header.shard, receipt.header.height);
    Place::Lane { shard, height, operation: receipt.index }
}

/// Makes entries of what was taken, in order; updates are judged by what comes before them.
///
/// # Errors
/// [`IndexError`] when an inbox cannot be read.
pub async fn entries(
    reader: &Reader,
    taken: Vec<Taken>,
) -> Result<(Vec<Entry>, Vec<SetAside>), IndexError> {
    let (mut entries, mut set_aside) = (Vec::new(), Vec::new());
    let mut inboxes = BTreeMap::<XmtpTopic, Option<AssociationState>>::new();
    for taken in taken {
        let update = taken.parsed.update().cloned();
        let topic = taken.parsed.topic().clone();
        let Some(mut entry) = taken.into_entry() else { continue };
        if let Some(update) = update {
            if !inboxes.contains_key(&topic) {
                inboxes.insert(topic.clone(), load(reader, &topic).await?);
            }
            let known = inboxes.get(&topic).and_then(Option::as_ref);
            match inbox::apply(known, update) {
                Err(error) => {
                    set_aside.push(error.into());
                    continue;
                }
                Ok((state, diff)) => {
                    entry.identifiers = inbox::identifier_changes(&diff);
                    inboxes.insert(topic, Some(state));
                }
            }
        }
        entries.push(entry);
    }
    Ok((entries, set_aside))
}

async fn load(reader: &Reader, topic: &XmtpTopic) -> Result<Option<AssociationState>, IndexError> {
    match inbox::load(reader, topic).await {
        Ok(state) => Ok(state),
        Err(InboxError::Index(error)) => Err(error),
        Err(error) => {
            tracing::error!(%error, topic = %hex::encode(topic.as_bytes()), "an inbox is damaged");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tidings_envelope::registry::{EdgeRecord, FeeSchedule};
    use tidings_envelope::{EnvelopeBody, Lane, Topic};
    use tidings_types::ed25519::SigningKey;
    use tidings_types::{
        BoundedBytes, EdgeId, EthereumAddress, Genesis, Height, Period, RegistryEpoch, ShardId,
    };

    use super::*;
    use crate::index::{self, Reached};
    use crate::proto::envelopes::client_envelope::Payload;
    use crate::proto::envelopes::{AuthenticatedData, ClientEnvelope as XmtpEnvelope};
    use crate::proto::mls::{WelcomeMessageInput, welcome_message_input};
    use crate::topic::Kind;

    fn edge() -> SigningKey {
        SigningKey::from_secret(&[1; 32])
    }

    fn registry() -> Registry {
        let record = |id, key: SigningKey, active| EdgeRecord {
            id: EdgeId(id),
            key: key.public_key(),
            url: String::new(),
            active,
        };
        Registry {
            genesis: Genesis::without_chain([1; 32].into()),
            epoch: RegistryEpoch(1),
            shard_count: 1,
            replication_factor: 4,
            period_ms: 10_000,
            mailbox_buckets: 1,
            nodes: Vec::new(),
            payers: Vec::new(),
            edges: vec![
                record(1, edge(), true),
                record(2, SigningKey::from_secret(&[2; 32]), false),
            ],
            fees: FeeSchedule::default(),
        }
    }

    fn installation() -> XmtpTopic {
        XmtpTopic::new(Kind::Welcome, &[5; 32]).unwrap()
    }

    fn xmtp_envelope(topic: &XmtpTopic, payload: Payload) -> Vec<u8> {
        let target_topic = topic.as_bytes().to_vec();
        let aad = Some(AuthenticatedData { target_topic, depends_on: None });
        XmtpEnvelope { aad, payload: Some(payload) }.encode_to_vec()
    }

    fn welcome() -> Vec<u8> {
        let v1 = welcome_message_input::V1 {
            installation_key: vec![5; 32],
            data: vec![1],
            hpke_public_key: vec![1; 32],
            wrapper_algorithm: 1,
            welcome_metadata: vec![],
        };
        let version = Some(welcome_message_input::Version::V1(v1));
        xmtp_envelope(&installation(), Payload::WelcomeMessage(WelcomeMessageInput { version }))
    }

    fn envelope(
        key: &SigningKey,
        envelope: Vec<u8>,
        change: impl FnOnce(&mut EnvelopeBody),
    ) -> ClientEnvelope {
        let note = Note::new(7_000_000_000, envelope).unwrap();
        let payload = BoundedBytes::new(note.to_wire()).unwrap();
        let topic = installation().carrier();
        let payer = EthereumAddress([7; 20]);
        let mut body = EnvelopeBody::broadcast(topic, payer, Period(1), payload);
        change(&mut body);
        body.sign(key, registry().network_id())
    }

    fn place() -> Place {
        Place::Lane { shard: ShardId(0), height: Height(3), operation: 4 }
    }

    fn check(envelope: &ClientEnvelope, expected: Result<(), SetAside>) {
        let network = registry().network_id();
        let taken = Taken::open(envelope, place(), network, &registry());
        assert_eq!(taken.map(drop), expected);
    }

    #[test]
    fn only_what_an_edge_may_write_is_taken() {
        // covers: XMTP-006
        check(&envelope(&edge(), welcome(), |_| ()), Ok(()));
        let struck_off = SigningKey::from_secret(&[2; 32]);
        check(&envelope(&struck_off, welcome(), |_| ()), Err(SetAside::Writer));
        let stranger = SigningKey::from_secret(&[3; 32]);
        check(&envelope(&stranger, welcome(), |_| ()), Err(SetAside::Writer));
        let mut forged = envelope(&edge(), welcome(), |_| ());
        forged.body.retention_days += 1;
        check(&forged, Err(SetAside::Proof));
        let foreign = |body: &mut EnvelopeBody| body.topic = Topic::mailbox(1);
        check(&envelope(&edge(), welcome(), foreign), Err(SetAside::Foreign));
        let elsewhere = |body: &mut EnvelopeBody| body.topic = Topic::xmtp(&[1; 33]);
        check(&envelope(&edge(), welcome(), elsewhere), Err(SetAside::Misplaced));
        let ordered = |body: &mut EnvelopeBody| body.lane = Lane::Ordered;
        check(&envelope(&edge(), welcome(), ordered), Err(SetAside::Misplaced));
        let bare = |body: &mut EnvelopeBody| body.payload = BoundedBytes::default();
        check(&envelope(&edge(), welcome(), bare), Err(SetAside::Note));
        let garbage = Err(SetAside::Envelope(EnvelopeInvalid::Malformed));
        check(&envelope(&edge(), vec![255; 9], |_| ()), garbage);
        let later = |body: &mut EnvelopeBody| {
            let mut bytes = body.payload.to_vec();
            bytes[1] = 2;
            body.payload = BoundedBytes::new(bytes).unwrap();
        };
        check(&envelope(&edge(), welcome(), later), Err(SetAside::Note));
    }

    /// The updates that an official client made, in order.
    fn updates() -> Vec<Vec<u8>> {
        let fixture = include_str!("../tests/fixtures/official-client.json");
        let fixture: serde_json::Value = serde_json::from_str(fixture).unwrap();
        let log = &fixture["logs"][0]["updates"];
        let bytes = |update: &serde_json::Value| hex::decode(update["update"].as_str().unwrap());
        log.as_array().unwrap().iter().map(|update| bytes(update).unwrap()).collect()
    }

    fn taken(update: &[u8], operation: u32) -> Taken {
        let update = prost::Message::decode(update).unwrap();
        let payload = Payload::IdentityUpdate(update);
        let Payload::IdentityUpdate(update) = &payload else { unreachable!() };
        let inbox = hex::decode(&update.inbox_id).unwrap();
        let topic = XmtpTopic::new(Kind::Identity, &inbox).unwrap();
        let change = |body: &mut EnvelopeBody| {
            (body.topic, body.lane) = (topic.carrier(), Lane::Ordered);
        };
        let envelope = envelope(&edge(), xmtp_envelope(&topic, payload), change);
        let place = Place::Lane { shard: ShardId(0), height: Height(3), operation };
        Taken::open(&envelope, place, registry().network_id(), &registry()).unwrap()
    }

    #[tokio::test]
    async fn updates_are_shown_as_far_as_they_follow() {
        // covers: XMTP-005
        let folder = tempfile::tempdir().unwrap();
        let index = index::open(&folder.path().join("index.db")).await.unwrap();
        let (mut writer, reader) = (index.writer, index.reader);
        let updates = updates();
        // The second beginning, the repeat and the update without a beginning are passed over.
        let first = vec![taken(&updates[1], 0), taken(&updates[0], 1), taken(&updates[0], 2)];
        let (entries, refused) = super::entries(&reader, first).await.unwrap();
        assert_eq!((entries.len(), refused.len()), (1, 2));
        assert_eq!(refused[0], SetAside::Association(AssociationError::CreateMissing));
        assert!(entries[0].identifiers.iter().all(|change| change.belongs));
        let found = &entries[0].identifiers[0];
        let (kind, identifier) = (found.kind, found.identifier.clone());
        let topic = entries[0].topic.clone();
        writer.enter(entries, Reached::Lane(ShardId(0), Height(4))).await.unwrap();
        assert_eq!(reader.inbox_of(kind, &identifier).await.unwrap().as_deref(), Some(topic.id()));
        // What comes later is judged by what is in the index.
        let rest = updates[1..].iter().map(|update| taken(update, 9)).collect();
        let (entries, refused) = super::entries(&reader, rest).await.unwrap();
        assert_eq!((entries.len(), refused.len()), (updates.len() - 1, 0));
    }
}
