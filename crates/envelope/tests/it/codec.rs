//! Every wire type has one encoding, and no input breaks its decoder.

use std::fmt::Debug;

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use tidings_envelope::api::*;
use tidings_envelope::*;
use tidings_types::{BoundedBytes, BoundedVec, DecodeError, Wire};

use crate::draw::Draw;

/// Calls `$check::<T>` with the arguments for every wire type of the crate.
macro_rules! for_every_type {
    ($check:ident($($argument:expr),*)) => {
        crate::codec::for_every_type!(@ $check, ($($argument),*),
            Topic Lane TopicKind Dependency EnvelopeBody WriteProof ClientEnvelope Target
            BatchHeader PayerBatch PayerEnvelope EntryHeader LogEntry LogId Checkpoint
            SignedCheckpoint SignedAcknowledgement ChainReference BlockHeader IncarnationRequest
            PeriodMarker Operation Outcome DecidedOperation Block CommitSignature Certificate
            Vote SignedVote Proposal SignedProposal InvalidEntry
            StateKey TopicHead StateLeaf StatePath StateBranch StateProof
            CertifiedBlock AckLevel Receipt OrderedReceipt InclusionProof Evidence
            PublishRequest AcknowledgedCheckpoint PublishResult PublishResponse SendRequest
            SendResult SendResponse LogCursor TopicCursor TopicQuery TopicEntry TopicPage
            NewestQuery StateQuery StateAnswer LogPage BlockPage Subscription SubscriberFrame NodeFrame)
    };
    (@ $check:ident, $arguments:tt, $($name:ident)*) => {
        $(crate::codec::for_every_type!(# $check::<$name> $arguments);)*
    };
    (# $check:ident::<$name:ident> ($($argument:expr),*)) => {
        $check::<$name>($($argument),*)
    };
}
pub(crate) use for_every_type;

/// What decodes is the one encoding of its value.
pub fn check_input<T: Wire>(input: &[u8]) {
    if let Ok(value) = T::from_wire(input) {
        assert!(value.to_wire() == input, "{}", std::any::type_name::<T>());
    }
}

fn check_value<T: Draw + Wire + PartialEq + Debug>(seed: u64) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let value = T::draw(&mut rng);
    let encoded = value.to_wire();
    assert_eq!(T::from_wire(&encoded).as_ref(), Ok(&value));
    let cuts = [0, encoded.len() / 2, encoded.len() - 1];
    for cut in cuts.into_iter().chain((0..8).map(|_| place(&mut rng, &encoded))) {
        assert!(T::from_wire(&encoded[..cut]).is_err(), "cut at {cut}");
    }
    let longer = [encoded.as_slice(), &[0]].concat();
    let trailing = Err(DecodeError::Trailing { trailing: 1 });
    assert_eq!(T::from_wire(&longer), trailing);
    for _ in 0..16 {
        let mut flipped = encoded.clone();
        let place = place(&mut rng, &flipped);
        flipped[place] ^= 1 << (rng.next_u32() % 8);
        assert!(T::from_wire(&flipped).as_ref() != Ok(&value));
        check_input::<T>(&flipped);
    }
}

fn place(rng: &mut ChaCha20Rng, bytes: &[u8]) -> usize {
    usize::try_from(rng.next_u64()).unwrap() % bytes.len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_value_has_one_encoding(seed: u64) {
        // covers: ENC-001
        for_every_type!(check_value(seed));
    }

    #[test]
    fn random_bytes_are_their_own_encoding_or_none(
        input in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        // covers: ENC-001
        for_every_type!(check_input(&input));
    }
}

fn check_bound<const BELOW: usize, const MAX: usize, T: Wire>(prefix: &[u8], suffix: &[u8]) {
    let filled = |length| {
        let bytes = BoundedBytes::<MAX>::new(vec![7; length]).unwrap().to_wire();
        [prefix, &bytes, suffix].concat()
    };
    assert!(T::from_wire(&filled(BELOW)).is_ok());
    assert!(T::from_wire(&filled(BELOW + 1)).is_err());
}

#[test]
fn payloads_are_bounded() {
    // covers: ENC-002
    const LIMIT: usize = 1_048_576;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let body = EnvelopeBody { payload: Payload::default(), ..EnvelopeBody::draw(&mut rng) };
    let encoded = body.to_wire();
    let prefix = &encoded[..encoded.len() - 1];
    check_bound::<LIMIT, { LIMIT + 1 }, EnvelopeBody>(prefix, &[]);
}

#[test]
fn lists_are_bounded() {
    // covers: ENC-002
    let votes = |count| BoundedVec::<CommitSignature, 32>::new(vec![vote(); count]).unwrap();
    let certificate = |count| [&[0; 4], votes(count).to_wire().as_slice()].concat();
    assert!(Certificate::from_wire(&certificate(31)).is_ok());
    assert!(Certificate::from_wire(&certificate(32)).is_err());
    let paths = |count| BoundedVec::<[u8; 32], 65>::new(vec![[0; 32]; count]).unwrap();
    assert!(MerklePath::from_wire(&paths(64).to_wire()).is_ok());
    assert!(MerklePath::from_wire(&paths(65).to_wire()).is_err());
}

fn vote() -> CommitSignature {
    CommitSignature::draw(&mut ChaCha20Rng::seed_from_u64(2))
}

#[test]
fn an_envelope_of_another_version_is_told_apart_from_a_broken_one() {
    // covers: ENV-001
    use tidings_types::ErrorCode::{Malformed, UnknownVersion};
    for (input, expected) in [
        (&[][..], Malformed),
        (&[0], Malformed),
        (&[0, 1], Malformed),
        (&[0, 2], UnknownVersion),
        (&[0, 2, 1, 2, 3], UnknownVersion),
        (&[0xff, 0xff], UnknownVersion),
    ] {
        assert_eq!(ParsedEnvelope::parse(input), Err(expected), "{input:?}");
    }
}
