//! Application messages: sealing and opening them on the broadcast lane.

use openmls::framing::{
    MlsMessageBodyIn, MlsMessageIn, ProcessedMessageContent, ProtocolMessage, Sender,
};
use openmls_traits::OpenMlsProvider;
use openmls_traits::random::OpenMlsRand;
use tidings_envelope::{ClientEnvelope, Dependency, EnvelopeBody, Lane, Payload, Topic};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::PublicKey;
use tidings_types::{InboxId, Period, TimestampSeconds, Wire};
use tls_codec::DeserializeBytes;

use crate::content::{Content, ContentFrame, Origin, Predecessor, ReceivedMessage};
use crate::error::{OpenError, SealError};
use crate::generation::Generation;
use crate::group::{Group, GroupId};
use crate::installation::Installation;
use crate::record::{GENERATION_GRACE_PERIODS, GroupStatus};
use crate::roster::inbox_of;
use crate::seal::{self, SealContext, TranscriptTag};

/// An application message that was made and is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// What to send, on the broadcast lane.
    pub envelope: ClientEnvelope,
    /// The message as others will receive it.
    pub message: ReceivedMessage,
}

/// What an envelope of the broadcast lane holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly every value is a message, used at once")]
pub enum OpenedMessage {
    /// A message from another installation.
    Message(ReceivedMessage),
    /// A message that this installation sent.
    Own,
}

impl Group {
    /// Seals an application message.
    ///
    /// `sent_at` is the sender's clock, for display.
    ///
    /// # Errors
    /// [`SealError`] when this installation may not send now, or the message is too large.
    pub fn send(
        &mut self,
        installation: &Installation,
        content: Content,
        sent_at: TimestampSeconds,
        context: &SealContext,
    ) -> Result<OutgoingMessage, SealError> {
        if self.record.status != GroupStatus::Active {
            return Err(SealError::Inactive);
        }
        let is_anybody_to_go =
            self.mls.pending_proposals().next().is_some() || !self.wished().remove.is_empty();
        if is_anybody_to_go {
            return Err(SealError::LeavePending);
        }
        let nonce = self.provider.rand().random_array().map_err(|_| SealError::Library)?;
        let previous = self.record.last_sent();
        let frame = ContentFrame { version: PROTOCOL_VERSION, nonce, previous, sent_at, content };
        let bytes = frame.to_wire();
        let message = self
            .mls
            .create_message(&self.provider, &installation.signer(), &bytes)
            .ok()
            .and_then(|message| message.to_bytes().ok())
            .ok_or(SealError::Library)?;
        let generation = self.record.generation();
        let position = self.record.position;
        let body = EnvelopeBody {
            retention_days: context.retention_days,
            depends_on: Some(Dependency { topic: generation.topic(), position }),
            ..EnvelopeBody::broadcast(
                generation.topic(),
                context.payer,
                context.not_after,
                Payload::default(),
            )
        };
        let envelope = self.seal(&generation, body, &message)?;
        let origin = self.origin(self.record.inbox, self.record.installation, self.epoch());
        let message = origin.received(frame, &bytes, self.record.joined_at());
        self.record.note_sent(Predecessor { id: message.id, epoch: message.epoch });
        Ok(OutgoingMessage { envelope, message })
    }

    /// Opens an envelope of the broadcast lane; `admitted` is the period in which it was
    /// admitted.
    ///
    /// The verdict does not depend on the order in which messages of an epoch arrive.
    ///
    /// # Errors
    /// [`OpenError`]; only [`OpenError::Ahead`] is worth trying again.
    pub fn open(
        &mut self,
        envelope: &ClientEnvelope,
        admitted: Period,
    ) -> Result<OpenedMessage, OpenError> {
        let body = &envelope.body;
        let generation = self.generation_of(body.topic, admitted)?;
        if body.lane != Lane::Broadcast {
            return Err(OpenError::NotAMessage);
        }
        let is_current = body.topic == self.topic();
        if is_current && body.depends_on.is_some_and(|it| it.position > self.record.position) {
            return Err(OpenError::Ahead);
        }
        let opened = seal::open(&generation, body).map_err(|_| OpenError::SealInvalid)?;
        let message = match parse_message(&opened.message) {
            Some(message @ ProtocolMessage::PrivateMessage(_)) => message,
            _ => return Err(OpenError::NotAMessage),
        };
        let epoch = message.epoch().as_u64();
        if GroupId::of(message.group_id()) != Some(self.record.group) {
            return Err(OpenError::NotAMessage);
        }
        if epoch > self.epoch() {
            return Err(OpenError::Ahead);
        }
        match self.record.tag_of(epoch) {
            _ if self.record.is_abandoned(opened.tag) => return Err(OpenError::Abandoned),
            None => return Err(OpenError::TooOld),
            Some(tag) if tag != opened.tag => return Err(OpenError::Forked),
            Some(_) => {}
        }
        self.read(message, epoch)
    }

    fn read(&mut self, message: ProtocolMessage, epoch: u64) -> Result<OpenedMessage, OpenError> {
        let processed = self
            .mls
            .process_message(&self.provider, message)
            .map_err(|error| OpenError::Undecryptable(error.to_string()))?;
        let inbox = inbox_of(processed.credential()).ok_or(OpenError::NotAMessage)?;
        let Sender::Member(leaf) = *processed.sender() else {
            return Err(OpenError::NotAMessage);
        };
        let bytes = match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(message) => message.into_bytes(),
            ProcessedMessageContent::OwnPrivateMessage => return Ok(OpenedMessage::Own),
            _ => return Err(OpenError::NotAMessage),
        };
        let installation = self
            .record
            .installation_at(epoch, leaf.u32(), &self.roster())
            .ok_or(OpenError::NotAMessage)?;
        self.record.hear_of(inbox);
        let frame = ContentFrame::parse(&bytes).ok_or(OpenError::ContentUnknown)?;
        let origin = self.origin(inbox, installation, epoch);
        let joined_at = self.record.joined_at();
        Ok(OpenedMessage::Message(origin.received(frame, &bytes, joined_at)))
    }

    /// The generation whose topic this is, if entries admitted then are read (MLS-020).
    fn generation_of(&self, topic: Topic, admitted: Period) -> Result<Generation, OpenError> {
        let current = self.record.generation();
        if current.topic() == topic {
            return Ok(current);
        }
        let (past, retired_at) = self
            .record
            .past_generations()
            .find(|(past, _)| past.topic() == topic)
            .ok_or(OpenError::OtherTopic)?;
        match admitted <= retired_at.plus(GENERATION_GRACE_PERIODS) {
            true => Ok(past),
            false => Err(OpenError::GenerationEnded),
        }
    }

    /// Seals an MLS message with this group's tag and signs the envelope.
    pub(crate) fn seal(
        &self,
        generation: &Generation,
        body: EnvelopeBody,
        message: &[u8],
    ) -> Result<ClientEnvelope, SealError> {
        let tag = self.record.tag_of(self.epoch()).ok_or(SealError::Library)?;
        self.seal_with_tag(generation, body, message, tag)
    }

    /// Seals an MLS message with `tag` and signs the envelope.
    pub(crate) fn seal_with_tag(
        &self,
        generation: &Generation,
        body: EnvelopeBody,
        message: &[u8],
        tag: TranscriptTag,
    ) -> Result<ClientEnvelope, SealError> {
        let salt = self.provider.rand().random_array().map_err(|_| SealError::Library)?;
        seal::seal(generation, body, tag, message, salt, self.record.network)
            .map_err(|_| SealError::TooLarge)
    }

    fn origin(&self, inbox: InboxId, installation: PublicKey, epoch: u64) -> Origin {
        Origin { group: self.record.group, inbox, installation, epoch }
    }
}

impl Origin {
    /// The message with this frame, whose bytes are `bytes`, for one who joined in `joined_at`.
    fn received(&self, frame: ContentFrame, bytes: &[u8], joined_at: u64) -> ReceivedMessage {
        let previous = frame.previous.filter(|previous| previous.epoch >= joined_at);
        ReceivedMessage {
            id: self.message_id(bytes),
            sender: self.inbox,
            installation: self.installation,
            epoch: self.epoch,
            after: previous.map(|previous| previous.id),
            sent_at: frame.sent_at,
            content: frame.content,
        }
    }
}

/// The public or private MLS message in `bytes`.
pub(crate) fn parse_message(bytes: &[u8]) -> Option<ProtocolMessage> {
    match MlsMessageIn::tls_deserialize_exact_bytes(bytes).ok()?.extract() {
        MlsMessageBodyIn::PublicMessage(message) => Some(message.into()),
        MlsMessageBodyIn::PrivateMessage(message) => Some(message.into()),
        _ => None,
    }
}
