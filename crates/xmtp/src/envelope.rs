//! From a client's bytes to an envelope that an edge may write: parsed, and consistent with its
//! topic.

use openmls::framing::{ContentType, MlsMessageBodyIn, MlsMessageIn, ProtocolMessage};
use openmls::key_packages::KeyPackageIn;
use openmls::versions::ProtocolVersion;
use openmls_rust_crypto::RustCrypto;
use prost::Message;
use tidings_envelope::Lane;
use tidings_types::constants::ENVELOPE_PAYLOAD_BYTES_MAX;
use tls_codec::DeserializeBytes;

use crate::place::{COMMITS, IDENTITY_UPDATES, Mark, Place};
use crate::proto::associations::IdentityUpdate;
use crate::proto::envelopes::client_envelope::Payload;
use crate::proto::envelopes::{AuthenticatedData, ClientEnvelope};
use crate::proto::mls::{
    GroupMessageInput, UploadKeyPackageRequest, WelcomeMessageInput, group_message_input,
    welcome_message_input,
};
use crate::topic::{Kind, TopicInvalid, XmtpTopic};

/// The longest envelope taken, in bytes: what fits a Tidings envelope beside its note.
pub const ENVELOPE_BYTES_MAX: usize = ENVELOPE_PAYLOAD_BYTES_MAX - 64;

/// The longest sealed field of a welcome that is no Welcome itself, in bytes.
const WELCOME_FIELD_BYTES_MAX: usize = 16 << 10;

/// How many originators an envelope may depend on.
const DEPENDENCIES_MAX: usize = 4_096;

/// Why an envelope is not taken; the sender is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeInvalid {
    /// It exceeds [`ENVELOPE_BYTES_MAX`].
    #[error("an envelope has at most {ENVELOPE_BYTES_MAX} bytes")]
    TooLong,
    /// The bytes are no `ClientEnvelope`.
    #[error("not a client envelope")]
    Malformed,
    /// The target topic is none.
    #[error(transparent)]
    Topic(#[from] TopicInvalid),
    /// The payload belongs on another topic than the target.
    #[error("the target topic is not the payload's")]
    WrongTopic,
    /// There is no payload, or one of a kind that clients do not send.
    #[error("the payload is missing or of no kind that clients send")]
    PayloadUnknown,
    /// The group message is no MLS message to a group.
    #[error("not an MLS message to a group (RFC 9420 section 6)")]
    GroupMessage,
    /// The key package does not verify.
    #[error("the key package does not verify (RFC 9420 section 10.1)")]
    KeyPackage,
    /// A field of the welcome is missing or too long.
    #[error("a field of the welcome is missing or too long")]
    Welcome,
}

/// How an envelope is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// In the broadcast lane.
    Broadcast,
    /// In the ordered lane; clients look for it under this originator.
    Ordered {
        /// [`COMMITS`] or [`IDENTITY_UPDATES`].
        originator: u32,
    },
}

impl Course {
    /// The lane.
    #[must_use]
    pub fn lane(self) -> Lane {
        match self {
            Self::Broadcast => Lane::Broadcast,
            Self::Ordered { .. } => Lane::Ordered,
        }
    }

    /// How clients know an envelope of this course at the place (XMTP-004).
    #[must_use]
    pub fn mark(self, place: &Place) -> Option<Mark> {
        match self {
            Self::Ordered { originator } => place.mark(originator),
            // A log's place names its originator itself.
            Self::Broadcast => place.mark(COMMITS),
        }
    }
}

/// How much of an envelope is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Everything that an edge must check before it writes.
    Full,
    /// What does not depend on the time: a key package that has expired since was still written.
    Form,
}

/// An envelope that parses and belongs on its topic (XMTP-003).
///
/// Identity updates are checked against their inbox's history later.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedEnvelope {
    topic: XmtpTopic,
    course: Course,
    update: Option<IdentityUpdate>,
    bytes: Vec<u8>,
}

impl ParsedEnvelope {
    /// Parses a client's envelope.
    ///
    /// # Errors
    /// [`EnvelopeInvalid`] names the first rule broken.
    pub fn parse(bytes: Vec<u8>, check: Check) -> Result<Self, EnvelopeInvalid> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(EnvelopeInvalid::TooLong);
        }
        let decoded = ClientEnvelope::decode(&bytes[..]).map_err(|_| EnvelopeInvalid::Malformed)?;
        let target = target(decoded.aad.as_ref().ok_or(EnvelopeInvalid::Malformed)?)?;
        let payload = decoded.payload.ok_or(EnvelopeInvalid::PayloadUnknown)?;
        let (topic, course) = read(&payload, check)?;
        if topic != target {
            return Err(EnvelopeInvalid::WrongTopic);
        }
        let update = match payload {
            Payload::IdentityUpdate(update) => Some(update),
            _ => None,
        };
        Ok(Self { topic, course, update, bytes })
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &XmtpTopic {
        &self.topic
    }

    /// How it is ordered.
    #[must_use]
    pub fn course(&self) -> Course {
        self.course
    }

    /// The identity update, if it is one.
    #[must_use]
    pub fn update(&self) -> Option<&IdentityUpdate> {
        self.update.as_ref()
    }

    /// The bytes, as they came.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn target(aad: &AuthenticatedData) -> Result<XmtpTopic, EnvelopeInvalid> {
    let dependencies = aad.depends_on.as_ref().map_or(0, |seen| seen.node_id_to_sequence_id.len());
    if dependencies > DEPENDENCIES_MAX {
        return Err(EnvelopeInvalid::Malformed);
    }
    Ok(XmtpTopic::parse(&aad.target_topic)?)
}

/// The topic that a payload belongs on, and its course.
fn read(payload: &Payload, check: Check) -> Result<(XmtpTopic, Course), EnvelopeInvalid> {
    match payload {
        Payload::GroupMessage(message) => read_group_message(message),
        Payload::WelcomeMessage(welcome) => read_welcome(welcome),
        Payload::UploadKeyPackage(upload) => read_key_package(upload, check),
        Payload::IdentityUpdate(update) => {
            let inbox = hex::decode(&update.inbox_id).map_err(|_| EnvelopeInvalid::WrongTopic)?;
            let topic = XmtpTopic::new(Kind::Identity, &inbox)?;
            Ok((topic, Course::Ordered { originator: IDENTITY_UPDATES }))
        }
    }
}

fn read_group_message(message: &GroupMessageInput) -> Result<(XmtpTopic, Course), EnvelopeInvalid> {
    let Some(group_message_input::Version::V1(message)) = &message.version else {
        return Err(EnvelopeInvalid::PayloadUnknown);
    };
    let decoded = MlsMessageIn::tls_deserialize_exact_bytes(&message.data);
    let message: ProtocolMessage = match decoded.map(MlsMessageIn::extract) {
        Ok(MlsMessageBodyIn::PrivateMessage(message)) => message.into(),
        Ok(MlsMessageBodyIn::PublicMessage(message)) => message.into(),
        _ => return Err(EnvelopeInvalid::GroupMessage),
    };
    let topic = XmtpTopic::new(Kind::Group, message.group_id().as_slice())?;
    let course = match message.content_type() {
        ContentType::Application => Course::Broadcast,
        ContentType::Proposal | ContentType::Commit => Course::Ordered { originator: COMMITS },
    };
    Ok((topic, course))
}

fn read_welcome(welcome: &WelcomeMessageInput) -> Result<(XmtpTopic, Course), EnvelopeInvalid> {
    let (installation, sealed, short) = match &welcome.version {
        Some(welcome_message_input::Version::V1(v1)) => {
            (&v1.installation_key, &v1.data, [&v1.hpke_public_key, &v1.welcome_metadata])
        }
        Some(welcome_message_input::Version::WelcomePointer(pointer)) => {
            let sealed = &pointer.welcome_pointer;
            (&pointer.installation_key, sealed, [&pointer.hpke_public_key, sealed])
        }
        None => return Err(EnvelopeInvalid::PayloadUnknown),
    };
    if sealed.is_empty() || short.iter().any(|field| field.len() > WELCOME_FIELD_BYTES_MAX) {
        return Err(EnvelopeInvalid::Welcome);
    }
    Ok((XmtpTopic::new(Kind::Welcome, installation)?, Course::Broadcast))
}

fn read_key_package(
    upload: &UploadKeyPackageRequest,
    check: Check,
) -> Result<(XmtpTopic, Course), EnvelopeInvalid> {
    let bytes = &upload.key_package.as_ref().ok_or(EnvelopeInvalid::PayloadUnknown)?;
    let parsed = KeyPackageIn::tls_deserialize_exact_bytes(&bytes.key_package_tls_serialized);
    let parsed = parsed.map_err(|_| EnvelopeInvalid::KeyPackage)?;
    let installation = parsed.unverified_credential().signature_key;
    if check == Check::Full {
        let verified = parsed.validate(&RustCrypto::default(), ProtocolVersion::Mls10);
        verified.map_err(|_| EnvelopeInvalid::KeyPackage)?;
    }
    Ok((XmtpTopic::new(Kind::KeyPackage, installation.as_slice())?, Course::Broadcast))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The encoded envelope.
    fn encode(topic: &[u8], payload: Option<Payload>) -> Vec<u8> {
        let aad = AuthenticatedData { target_topic: topic.to_vec(), depends_on: None };
        ClientEnvelope { aad: Some(aad), payload }.encode_to_vec()
    }

    /// An MLS private message to the group whose id is 16 times 7, of this content type.
    fn private_message(content_type: u8) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, 2, 16];
        bytes.extend([7; 16]);
        bytes.extend(3u64.to_be_bytes());
        bytes.extend([content_type, 0, 2, 1, 1, 2, 9, 9]);
        bytes
    }

    fn group_message(data: Vec<u8>) -> Payload {
        let v1 = group_message_input::V1 { data, sender_hmac: vec![], should_push: false };
        let version = Some(group_message_input::Version::V1(v1));
        Payload::GroupMessage(GroupMessageInput { version })
    }

    fn welcome(key: Vec<u8>, data: Vec<u8>, metadata: Vec<u8>) -> Payload {
        let v1 = welcome_message_input::V1 {
            installation_key: key,
            data,
            hpke_public_key: vec![1; 32],
            wrapper_algorithm: 1,
            welcome_metadata: metadata,
        };
        let version = Some(welcome_message_input::Version::V1(v1));
        Payload::WelcomeMessage(WelcomeMessageInput { version })
    }

    fn group_topic() -> Vec<u8> {
        [vec![0], vec![7; 16]].concat()
    }

    fn check(topic: &[u8], payload: Payload, expected: Result<Course, EnvelopeInvalid>) {
        let parsed = ParsedEnvelope::parse(encode(topic, Some(payload)), Check::Full);
        assert_eq!(parsed.map(|parsed| parsed.course()), expected);
    }

    #[test]
    fn commits_and_proposals_are_ordered_and_messages_are_not() {
        // covers: XMTP-003
        let ordered = Course::Ordered { originator: COMMITS };
        check(&group_topic(), group_message(private_message(1)), Ok(Course::Broadcast));
        check(&group_topic(), group_message(private_message(2)), Ok(ordered));
        check(&group_topic(), group_message(private_message(3)), Ok(ordered));
        let refused = || Err(EnvelopeInvalid::GroupMessage);
        check(&group_topic(), group_message(private_message(4)), refused());
        check(&group_topic(), group_message(vec![]), refused());
        let trailing = [private_message(1), vec![0]].concat();
        check(&group_topic(), group_message(trailing), refused());
    }

    #[test]
    fn a_payload_is_on_its_own_topic() {
        // covers: XMTP-003
        let elsewhere = [vec![0], vec![8; 16]].concat();
        let wrong = || Err(EnvelopeInvalid::WrongTopic);
        check(&elsewhere, group_message(private_message(1)), wrong());
        let installation = [vec![1], vec![5; 32]].concat();
        check(&installation, welcome(vec![5; 32], vec![1], vec![]), Ok(Course::Broadcast));
        check(&installation, welcome(vec![6; 32], vec![1], vec![]), wrong());
        check(&group_topic(), welcome(vec![5; 32], vec![1], vec![]), wrong());
        let short = welcome(vec![5; 31], vec![1], vec![]);
        check(&installation, short, Err(EnvelopeInvalid::Topic(TopicInvalid)));
        let update = |inbox: &str| {
            Payload::IdentityUpdate(IdentityUpdate {
                actions: vec![],
                client_timestamp_ns: 0,
                inbox_id: inbox.into(),
            })
        };
        let inbox = [vec![2], vec![9; 32]].concat();
        let ordered = Course::Ordered { originator: IDENTITY_UPDATES };
        check(&inbox, update(&"09".repeat(32)), Ok(ordered));
        check(&inbox, update(&"08".repeat(32)), wrong());
        check(&inbox, update("no hex"), wrong());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        // covers: XMTP-003
        let installation = [vec![1], vec![5; 32]].concat();
        let refused = || Err(EnvelopeInvalid::Welcome);
        check(&installation, welcome(vec![5; 32], vec![], vec![]), refused());
        let long = vec![0; WELCOME_FIELD_BYTES_MAX + 1];
        check(&installation, welcome(vec![5; 32], vec![1], long), refused());
        let package = Payload::UploadKeyPackage(UploadKeyPackageRequest {
            key_package: Some(crate::proto::mls::KeyPackageUpload {
                key_package_tls_serialized: vec![1, 2, 3],
            }),
            is_inbox_id_credential: true,
        });
        check(&[vec![3], vec![5; 32]].concat(), package, Err(EnvelopeInvalid::KeyPackage));
        let parse = |bytes| ParsedEnvelope::parse(bytes, Check::Full).unwrap_err();
        assert_eq!(parse(encode(&group_topic(), None)), EnvelopeInvalid::PayloadUnknown);
        assert_eq!(parse(vec![]), EnvelopeInvalid::Malformed);
        assert_eq!(parse(vec![255; 9]), EnvelopeInvalid::Malformed);
        assert_eq!(parse(vec![0; ENVELOPE_BYTES_MAX + 1]), EnvelopeInvalid::TooLong);
        assert_eq!(parse(encode(&[], None)), EnvelopeInvalid::Topic(TopicInvalid));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = ParsedEnvelope::parse(bytes, Check::Full);
        }

        #[test]
        fn no_change_is_too_strange(
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            content_type in 0u8..5,
        ) {
            let payload = group_message(private_message(content_type));
            let mut bytes = encode(&group_topic(), Some(payload));
            *at.get_mut(&mut bytes) = byte;
            if let Ok(parsed) = ParsedEnvelope::parse(bytes.clone(), Check::Form) {
                prop_assert_eq!(parsed.bytes(), &bytes[..]);
            }
        }
    }
}
