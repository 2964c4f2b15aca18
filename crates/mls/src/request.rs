//! What comes in a mailbox: pointers to welcomes and grants, and requests of members that were
//! ejected (MLS-016, MLS-033).

use hpke_rs::HpkePublicKey;
use tidings_envelope::{ClientEnvelope, EnvelopeBody, Payload, Topic, WriteProof};
use tidings_types::constants::{PROTOCOL_VERSION, WELCOME_POINTER_BYTES_MAX};
use tidings_types::ed25519::{PublicKey, Signature, SigningKey};
use tidings_types::{InboxId, NetworkId, Period, Wire};
use tls_codec::{DeserializeBytes, TlsDeserializeBytes, TlsSerialize, TlsSize};
use zeroize::Zeroizing;

use crate::group::{Group, GroupId};
use crate::installation::{Installation, welcome_hpke};
use crate::manifest::Invitee;
use crate::seal::SealContext;
use crate::welcome::{PointerError, WelcomePointer, WelcomeReference};

/// The label under which installations sign requests (ENC-003).
const REQUEST_LABEL: &str = "rejoin request";

/// An X-Wing encapsulation. Unit: bytes.
const ENCAPSULATION_BYTES: usize = 1_120;

/// An AEAD tag. Unit: bytes.
const AEAD_TAG_BYTES: usize = 16;

/// The fixed length of a note before it is sealed. Unit: bytes.
const NOTE_BYTES: usize = WELCOME_POINTER_BYTES_MAX - ENCAPSULATION_BYTES - AEAD_TAG_BYTES;

const NOTE_INFO: &[u8] = b"tidings welcome pointer";

/// How long a request is good. Unit: periods.
const REQUEST_PERIODS: u64 = 4;

/// What a note says.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
enum Content {
    #[tls_codec(discriminant = 1)]
    Pointer(WelcomeReference),
    #[tls_codec(discriminant = 2)]
    Request(Request),
}

/// A note before it is sealed.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
struct NoteBody {
    version: u16,
    network: NetworkId,
    group: GroupId,
    content: Content,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
struct Request {
    inbox: InboxId,
    installation: PublicKey,
    /// The epoch that the asker is in.
    epoch: u64,
    /// The last period in which it is good.
    not_after: Period,
    signature: Signature,
}

/// An ejected installation asks to be let back in (MLS-033).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejoinRequest {
    /// Into which group.
    pub group: GroupId,
    /// Whose installation.
    pub inbox: InboxId,
    /// Which installation.
    pub installation: PublicKey,
    /// The epoch that it could not follow further.
    pub epoch: u64,
    not_after: Period,
    signature: Signature,
}

/// What an entry of a mailbox holds for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Where a welcome or a grant is.
    Pointer(WelcomePointer),
    /// A member wants back in.
    Rejoin(RejoinRequest),
}

impl Request {
    fn body(&self, group: GroupId) -> Vec<u8> {
        let Self { inbox, installation, epoch, not_after, .. } = self;
        [&group.0[..], inbox.as_bytes(), &installation.0, &epoch.to_wire(), &not_after.to_wire()]
            .concat()
    }

    fn sign(mut self, group: GroupId, key: &SigningKey, network: NetworkId) -> Self {
        self.signature = key.sign(REQUEST_LABEL, network, &self.body(group));
        self
    }
}

impl RejoinRequest {
    /// Whether the installation made it, and not too long ago; `now` is the current period.
    #[must_use]
    pub fn is_good(&self, network: NetworkId, now: Period) -> bool {
        let Self { group, inbox, installation, epoch, not_after, signature } = *self;
        let request = Request { inbox, installation, epoch, not_after, signature };
        let is_timely = now <= not_after && not_after <= now.plus(2 * REQUEST_PERIODS);
        let body = request.body(group);
        is_timely && installation.verify(REQUEST_LABEL, network, &body, &signature).is_ok()
    }
}

impl Group {
    /// The mailbox envelope in which this installation, which was ejected, asks `member` to be let
    /// back in (MLS-033).
    ///
    /// # Errors
    /// [`PointerError`] when the member's key cannot be encapsulated to.
    pub fn ask(
        &self,
        installation: &Installation,
        member: &Invitee,
        buckets: u32,
        now: Period,
        context: &SealContext,
    ) -> Result<ClientEnvelope, PointerError> {
        let group = self.id();
        let request = Request {
            inbox: installation.inbox(),
            installation: installation.public_key(),
            epoch: self.epoch(),
            not_after: now.plus(REQUEST_PERIODS),
            signature: Signature([0; 64]),
        };
        let network = installation.network();
        let request = request.sign(group, installation.key(), network);
        note(group, Content::Request(request), member, buckets, context, network)
    }
}

impl WelcomeReference {
    /// The mailbox envelope that points `invitee` to the blob (MLS-016).
    ///
    /// To be sent once the commit is ordered; `buckets` is the network's number of buckets.
    /// Every note has the same length.
    ///
    /// # Errors
    /// [`PointerError`] when the invitee's key cannot be encapsulated to.
    pub fn point(
        &self,
        group: GroupId,
        invitee: &Invitee,
        buckets: u32,
        context: &SealContext,
        network: NetworkId,
    ) -> Result<ClientEnvelope, PointerError> {
        note(group, Content::Pointer(self.clone()), invitee, buckets, context, network)
    }
}

fn note(
    group: GroupId,
    content: Content,
    recipient: &Invitee,
    buckets: u32,
    context: &SealContext,
    network: NetworkId,
) -> Result<ClientEnvelope, PointerError> {
    let body = NoteBody { version: PROTOCOL_VERSION, network, group, content };
    let mut plaintext = Zeroizing::new(body.to_wire());
    plaintext.resize(NOTE_BYTES, 0);
    let key = HpkePublicKey::new(recipient.welcome_key().to_vec());
    let (encapsulation, ciphertext) = welcome_hpke()
        .seal(&key, NOTE_INFO, network.as_bytes(), &plaintext, None, None, None)
        .map_err(|_| PointerError)?;
    let payload = Payload::new([encapsulation, ciphertext].concat()).map_err(|_| PointerError)?;
    let topic = Topic::mailbox_of(&recipient.installation(), buckets);
    let body = EnvelopeBody {
        retention_days: context.retention_days,
        ..EnvelopeBody::broadcast(topic, context.payer, context.not_after, payload)
    };
    Ok(ClientEnvelope { body, proof: WriteProof::FeeStamp })
}

impl Installation {
    /// The note in a mailbox entry, or `None` when it is not for this installation (MLS-016).
    #[must_use]
    pub fn open_note(&self, payload: &[u8]) -> Option<Note> {
        if payload.len() != WELCOME_POINTER_BYTES_MAX {
            return None;
        }
        let (encapsulation, ciphertext) = payload.split_at_checked(ENCAPSULATION_BYTES)?;
        let network = self.network();
        let (aad, hpke) = (network.as_bytes(), welcome_hpke());
        let plaintext = self.welcome_secrets().find_map(|secret| {
            hpke.open(encapsulation, &secret, NOTE_INFO, aad, ciphertext, None, None, None).ok()
        })?;
        let NoteBody { group, content, .. } = parse(&Zeroizing::new(plaintext), network)?;
        Some(match content {
            Content::Pointer(reference) => Note::Pointer(WelcomePointer { group, reference }),
            Content::Request(request) => {
                let Request { inbox, installation, epoch, not_after, signature } = request;
                Note::Rejoin(RejoinRequest {
                    group,
                    inbox,
                    installation,
                    epoch,
                    not_after,
                    signature,
                })
            }
        })
    }

    /// The pointer in a mailbox entry, or `None` when there is none for this installation.
    #[must_use]
    pub fn open_pointer(&self, payload: &[u8]) -> Option<WelcomePointer> {
        match self.open_note(payload)? {
            Note::Pointer(pointer) => Some(pointer),
            Note::Rejoin(_) => None,
        }
    }
}

/// The note of this network at the start of `plaintext`, followed by zeros alone.
fn parse(plaintext: &[u8], network: NetworkId) -> Option<NoteBody> {
    let (body, rest) = NoteBody::tls_deserialize_bytes(plaintext).ok()?;
    let is_ours = body.version == PROTOCOL_VERSION && body.network == network;
    (is_ours && rest.iter().all(|byte| *byte == 0)).then_some(body)
}

// The longest note and its padding fill the fixed size.
const _: () = assert!(NOTE_BYTES >= 2 + 32 + 32 + 1 + 32 + 32 + 8 + 8 + 64);
