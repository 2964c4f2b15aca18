//! Topic generations: the keys that members write and seal with between two rotations.

use hkdf::Hkdf;
use sha2::Sha256;
use tidings_envelope::Topic;
use tidings_types::Position;
use tidings_types::ed25519::SigningKey;
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use zeroize::Zeroizing;

use crate::seal::TranscriptTag;
use crate::secret::Secret;

/// The label of the MLS exporter that gives a generation's seed (MLS-008).
pub(crate) const EXPORTER_LABEL: &str = "tidings topic";

/// How many bytes a seed has.
pub(crate) const SEED_BYTES: usize = 32;

/// A topic and the keys of those who may write and read it.
#[derive(Clone)]
pub(crate) struct Generation {
    seed: Secret,
    key: SigningKey,
    topic: Topic,
}

impl Generation {
    /// The generation with this seed (MLS-008).
    pub(crate) fn new(seed: Secret) -> Self {
        let key = SigningKey::from_secret(&derive(&seed, b"tidings topic key"));
        let topic = Topic::group(&key.public_key());
        Self { seed, key, topic }
    }

    /// What the generation comes from.
    pub(crate) fn seed(&self) -> &Secret {
        &self.seed
    }

    /// The key that signs writes.
    pub(crate) fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Where the group writes.
    pub(crate) fn topic(&self) -> Topic {
        self.topic
    }

    /// The key that seals payloads.
    pub(crate) fn seal_key(&self) -> Zeroizing<[u8; 32]> {
        derive(&self.seed, b"tidings seal key")
    }
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Generation({:?})", self.topic)
    }
}

fn derive(seed: &Secret, label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, &seed.0)
        .expand(label, key.as_mut_slice())
        .expect("32 bytes are one block of HKDF-SHA256");
    key
}

/// What a joiner is told about the generation, in a GroupInfo extension (MLS-019).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub(crate) struct GenerationInfo {
    /// The version of this structure.
    pub(crate) version: u16,
    /// The generation's seed; none when it begins with the joiner's first epoch, whose exporter
    /// gives it.
    pub(crate) seed: Option<Secret>,
    /// How many ordered entries the topic has had when that epoch begins.
    pub(crate) position: Position,
    /// The transcript tag of the epoch before the joiner's; for rejoins alone (MLS-022).
    pub(crate) tag: Option<TranscriptTag>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_topic() {
        // covers: MLS-008
        let (one, two) = (Generation::new(Secret([1; 32])), Generation::new(Secret([2; 32])));
        assert_eq!(one.topic(), Generation::new(Secret([1; 32])).topic());
        assert_ne!(one.topic(), two.topic());
        assert_ne!(*one.seal_key(), *two.seal_key());
        assert_ne!(*one.seal_key(), *one.key().to_secret());
        assert!(one.topic().keyed_by(&one.key().public_key()));
    }
}
