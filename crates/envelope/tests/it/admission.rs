//! What is admitted, and the code of everything that is not.

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tidings_envelope::api::{EnvelopeBytes, PublishRequest};
use tidings_envelope::registry::EdgeRecord;
use tidings_envelope::*;
use tidings_types::constants::{BATCH_ENVELOPES_MAX, PROTOCOL_VERSION};
use tidings_types::ed25519::Signature;
use tidings_types::*;

use crate::network::{Network, PERIOD, member, session, signing_key};

fn network() -> Network {
    Network::new(4, 1, 4)
}

fn verify(envelope: ClientEnvelope, network: NetworkId) -> Result<VerifiedEnvelope, ErrorCode> {
    let parsed = ParsedEnvelope::parse(&envelope.to_wire())?;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    verify_all(vec![parsed], network, &mut rng).remove(0)
}

/// The first code on the way to admission at node 1, the envelope being alone in its batch.
fn check_envelope(
    change: impl FnOnce(&mut EnvelopeBody),
    alter: impl FnOnce(&mut ClientEnvelope),
    expected: Result<(), ErrorCode>,
) {
    let network = network();
    let mut envelope = network.envelope(change);
    alter(&mut envelope);
    let before = envelope.clone();
    let ordered = envelope.body.lane == Lane::Ordered;
    let batch = network.batch(&[envelope.body.id()], |header| {
        if ordered {
            header.target = Target::Shard(ShardId(0));
        }
    });
    let context = network.context(NodeId(1));
    let admitted = verify(envelope.clone(), network.id)
        .and_then(|verified| verified.admit(&batch, 0, Vec::new(), &context));
    assert_eq!(admitted.as_ref().map(drop).map_err(|code| *code), expected);
    if let Ok(admitted) = admitted {
        assert_eq!(admitted.id(), envelope.body.id());
        assert_eq!(admitted.into_envelope().envelope, envelope);
    }
    assert_eq!(envelope, before);
}

fn check_body(change: impl FnOnce(&mut EnvelopeBody), expected: Result<(), ErrorCode>) {
    check_envelope(change, |_| {}, expected);
}

#[test]
fn a_message_is_admitted() {
    check_body(|_| {}, Ok(()));
    check_body(
        |body| {
            let (topic, position) = (body.topic, Position(3));
            body.depends_on = Some(Dependency { topic, position });
        },
        Ok(()),
    );
}

#[test]
fn unknown_versions_are_refused() {
    // covers: ENV-001
    check_body(|body| body.version = 2, Err(ErrorCode::UnknownVersion));
    let mut envelope = network().envelope(|_| {});
    envelope.body.version = 0;
    assert_eq!(ParsedEnvelope::check(envelope), Err(ErrorCode::UnknownVersion));
}

#[test]
fn topics_keep_their_lanes() {
    // covers: TOP-001
    let refused = Err(ErrorCode::LaneNotAllowed);
    check_body(
        |body| {
            body.topic = Topic::keys(&member().public_key());
            body.lane = Lane::Ordered;
        },
        refused,
    );
    check_body(
        |body| {
            body.topic = Topic::mailbox(0);
            body.lane = Lane::Ordered;
        },
        refused,
    );
    check_body(|body| body.topic = Topic::identity(InboxId([1; 32])), refused);
}

#[test]
fn retention_is_one_day_to_a_year() {
    // covers: ENV-005
    for (days, expected) in [
        (0, Err(ErrorCode::RetentionOutOfRange)),
        (1, Ok(())),
        (365, Ok(())),
        (366, Err(ErrorCode::RetentionOutOfRange)),
        (u16::MAX, Err(ErrorCode::RetentionOutOfRange)),
    ] {
        check_body(|body| body.retention_days = days, expected);
    }
}

#[test]
fn positions_stand_where_their_lane_has_them() {
    // covers: ENV-004
    let refused = Err(ErrorCode::PositionMisplaced);
    check_body(|body| body.expected_position = Some(Position(0)), refused);
    check_body(
        |body| {
            body.lane = Lane::Ordered;
            body.expected_position = Some(Position(0));
        },
        Ok(()),
    );
    check_body(|body| body.lane = Lane::Ordered, Ok(()));
    check_body(
        |body| {
            let (topic, position) = (body.topic, Position(0));
            body.lane = Lane::Ordered;
            body.depends_on = Some(Dependency { topic, position });
        },
        refused,
    );
    check_envelope(
        |body| {
            body.topic = Topic::identity(InboxId([1; 32]));
            body.lane = Lane::Ordered;
            body.expected_position = Some(Position(0));
        },
        |envelope| envelope.proof = WriteProof::SelfAuthenticating,
        refused,
    );
}

#[test]
fn only_the_key_that_a_topic_names_writes_to_it() {
    // covers: ENV-002
    // covers: TOP-002
    let mismatch = Err(ErrorCode::TopicKeyMismatch);
    let (member, other) = (member().public_key(), signing_key(8).public_key());
    check_body(|body| body.topic = Topic::group(&other), mismatch);
    check_body(|body| body.topic = Topic::keys(&other), mismatch);
    check_body(|body| body.topic = Topic::keys(&member), Ok(()));
    check_body(|body| body.topic.id.0[31] ^= 1, mismatch);
}

#[test]
fn a_write_proof_covers_every_field() {
    // covers: ENV-002
    let invalid = Err(ErrorCode::WriteProofInvalid);
    let changes: [fn(&mut ClientEnvelope); 7] = [
        |envelope| envelope.body.payer = EthereumAddress([8; 20]),
        |envelope| envelope.body.not_after = PERIOD,
        |envelope| envelope.body.retention_days = 31,
        |envelope| envelope.body.payload = Payload::default(),
        |envelope| envelope.body.lane = Lane::Ordered,
        |envelope| {
            let (topic, position) = (envelope.body.topic, Position(1));
            envelope.body.depends_on = Some(Dependency { topic, position });
        },
        |envelope| {
            let WriteProof::Key { key, .. } = envelope.proof else { unreachable!() };
            envelope.proof = WriteProof::Key { key, signature: Signature([0; 64]) };
        },
    ];
    for change in changes {
        check_envelope(|_| {}, change, invalid);
    }
}

#[test]
fn a_write_proof_binds_the_network() {
    // covers: ENV-002
    // covers: ENC-003
    let network = network();
    let envelope = network.envelope(|_| {});
    let elsewhere = NetworkId([9; 32]);
    assert_eq!(verify(envelope, elsewhere).err(), Some(ErrorCode::WriteProofInvalid));
}

#[test]
fn each_kind_of_topic_has_its_kind_of_proof() {
    // covers: ENV-002
    // covers: TOP-006
    let inbox = Topic::identity(InboxId([1; 32]));
    let group = Topic::group(&member().public_key());
    let xmtp = Topic { kind: TopicKind::Xmtp, id: group.id };
    let beyond = Topic { kind: TopicKind::Mailbox, id: TopicId([1; 32]) };
    let key = || None;
    let stamp = || Some(WriteProof::FeeStamp);
    let own = || Some(WriteProof::SelfAuthenticating);
    let invalid = Err(ErrorCode::WriteProofInvalid);
    for (topic, lane, proof, expected) in [
        (group, Lane::Broadcast, stamp(), invalid),
        (group, Lane::Ordered, own(), invalid),
        (Topic::keys(&member().public_key()), Lane::Broadcast, stamp(), invalid),
        (Topic::mailbox(7), Lane::Broadcast, stamp(), Ok(())),
        (Topic::mailbox(7), Lane::Broadcast, key(), Err(ErrorCode::StampInvalid)),
        (Topic::mailbox(7), Lane::Broadcast, own(), Err(ErrorCode::StampInvalid)),
        (beyond, Lane::Broadcast, stamp(), Err(ErrorCode::TopicInvalid)),
        (inbox, Lane::Ordered, own(), Ok(())),
        (inbox, Lane::Ordered, key(), invalid),
        (inbox, Lane::Ordered, stamp(), invalid),
        (xmtp, Lane::Broadcast, key(), Err(ErrorCode::EdgeUnknown)),
        (xmtp, Lane::Ordered, key(), Err(ErrorCode::EdgeUnknown)),
        (xmtp, Lane::Broadcast, stamp(), invalid),
        (xmtp, Lane::Ordered, own(), invalid),
    ] {
        let place = |body: &mut EnvelopeBody| {
            body.topic = topic;
            body.lane = lane;
        };
        let prove = |envelope: &mut ClientEnvelope| {
            if let Some(proof) = proof {
                envelope.proof = proof;
            }
        };
        check_envelope(place, prove, expected);
    }
}

/// What becomes of an envelope that a key wrote to an `xmtp` topic, by the batch's epoch.
fn check_edge(current: Option<bool>, before: Option<bool>, expected: [Result<(), ErrorCode>; 2]) {
    let listed = |active: Option<bool>| {
        let edge = |active| EdgeRecord {
            id: EdgeId(1),
            key: member().public_key(),
            url: String::new(),
            active,
        };
        active.map(edge).into_iter().collect::<Vec<_>>()
    };
    let network = network().with_edges(listed(current), listed(before));
    let topic = Topic::xmtp(b"some topic");
    let envelope = network.envelope(|body| body.topic = topic);
    let epoch = network.registry.epoch;
    for (epoch, expected) in [epoch, epoch.minus(1)].into_iter().zip(expected) {
        let batch = network.batch(&[envelope.body.id()], |header| header.registry_epoch = epoch);
        let verified = verify(envelope.clone(), network.id).unwrap();
        let admitted = verified.admit(&batch, 0, Vec::new(), &network.context(NodeId(1)));
        assert_eq!(admitted.map(drop), expected, "{current:?} {before:?} {epoch}");
    }
}

#[test]
fn only_edges_of_the_registry_write_to_xmtp_topics() {
    // covers: TOP-010
    let refused = Err(ErrorCode::EdgeUnknown);
    check_edge(Some(true), Some(true), [Ok(()), Ok(())]);
    check_edge(Some(true), None, [Ok(()), refused]);
    check_edge(None, Some(true), [refused, refused]);
    check_edge(Some(false), Some(true), [refused, refused]);
    check_edge(Some(true), Some(false), [Ok(()), refused]);
    check_edge(None, None, [refused, refused]);
    let network = network().with_edges(Vec::new(), Vec::new());
    let message = network.envelope(|_| {});
    assert_eq!(message.check_edge(&network.registry), Ok(()));
}

#[test]
fn an_envelope_is_admitted_in_time() {
    // covers: ENV-006
    for (not_after, expected) in [
        (PERIOD.minus(1), Err(ErrorCode::EnvelopeExpired)),
        (PERIOD, Ok(())),
        (PERIOD.plus(2), Ok(())),
        (PERIOD.plus(3), Err(ErrorCode::NotAfterTooFar)),
        (Period(u64::MAX), Err(ErrorCode::NotAfterTooFar)),
    ] {
        check_body(|body| body.not_after = not_after, expected);
    }
}

#[test]
fn an_id_depends_on_the_body_alone() {
    // covers: ENV-003
    let network = network();
    let envelope = network.envelope(|_| {});
    let mut other = envelope.clone();
    other.proof = WriteProof::FeeStamp;
    assert_eq!(other.body.id(), envelope.body.id());
    let mut later = envelope.clone();
    later.body.not_after = PERIOD;
    assert_ne!(later.body.id(), envelope.body.id());
}

#[test]
fn bytes_are_canonical() {
    // covers: ENC-001
    let mut bytes = network().envelope(|_| {}).to_wire();
    assert!(ParsedEnvelope::parse(&bytes).is_ok());
    bytes.push(0);
    assert_eq!(ParsedEnvelope::parse(&bytes), Err(ErrorCode::Malformed));
    bytes.truncate(bytes.len() - 2);
    assert_eq!(ParsedEnvelope::parse(&bytes), Err(ErrorCode::Malformed));
}

/// What admission under a batch changed after its envelope was made says.
fn check_cover(
    change: impl FnOnce(&mut BatchHeader),
    index: u32,
    path: Vec<Hash>,
    expected: ErrorCode,
) {
    let network = network();
    let envelope = network.envelope(|_| {});
    let batch = network.batch(&[envelope.body.id()], change);
    let context = network.context(NodeId(1));
    let verified = verify(envelope, network.id).unwrap();
    assert_eq!(verified.admit(&batch, index, path, &context), Err(expected));
}

#[test]
fn a_batch_covers_its_envelopes_and_no_other() {
    // covers: ENV-007
    let mismatch = ErrorCode::BatchRootMismatch;
    check_cover(|header| header.root = [0; 32], 0, Vec::new(), mismatch);
    check_cover(|header| header.count = 2, 0, Vec::new(), mismatch);
    check_cover(|_| {}, 1, Vec::new(), mismatch);
    check_cover(|_| {}, 0, vec![[0; 32]], mismatch);
    check_cover(|_| {}, 0, vec![[0; 32]; 65], mismatch);
}

#[test]
fn a_batch_pays_for_its_payers_envelopes_on_its_lane() {
    // covers: ENV-008
    // covers: ENV-012
    check_cover(
        |header| header.payer = EthereumAddress([8; 20]),
        0,
        Vec::new(),
        ErrorCode::PayerMismatch,
    );
    let wrong = ErrorCode::BatchTargetWrong;
    check_cover(|header| header.target = Target::Shard(ShardId(0)), 0, Vec::new(), wrong);
    let network = network();
    let envelope = network.envelope(|body| body.lane = Lane::Ordered);
    for target in [Target::Node(NodeId(1)), Target::Shard(ShardId(1))] {
        let batch = network.batch(&[envelope.body.id()], |header| header.target = target);
        let verified = verify(envelope.clone(), network.id).unwrap();
        let context = network.context(NodeId(1));
        assert_eq!(verified.admit(&batch, 0, Vec::new(), &context), Err(wrong));
    }
}

#[test]
fn a_node_admits_for_the_shards_it_keeps() {
    // covers: TOP-004
    let network = Network::new(8, 4, 4);
    let envelope = network.envelope(|_| {});
    let shard = envelope.body.topic.shard(4);
    let committee = network.registry.committee(shard);
    for node in (1..=8).map(NodeId) {
        let batch = network.batch(&[envelope.body.id()], |header| {
            header.target = Target::Node(node);
        });
        let context = network.context(node);
        let verified = verify(envelope.clone(), network.id).unwrap();
        let admitted = verified.admit(&batch, 0, Vec::new(), &context);
        match committee.contains(&node) {
            true => assert!(admitted.is_ok()),
            false => assert_eq!(admitted, Err(ErrorCode::WrongShard)),
        }
    }
}

fn check_batch(change: impl FnOnce(&mut BatchHeader), expected: Result<(), ErrorCode>) {
    let network = network();
    let batch = network.batch(&[EnvelopeId([1; 32])], change);
    assert_eq!(batch.admit(&network.context(NodeId(1))), expected);
}

#[test]
fn a_batch_is_accepted_here_and_now_or_refused_for_a_reason() {
    // covers: ENV-008
    let wrong_target = Err(ErrorCode::BatchTargetWrong);
    let limit = u32::try_from(BATCH_ENVELOPES_MAX).unwrap();
    check_batch(|_| {}, Ok(()));
    check_batch(|header| header.version = 2, Err(ErrorCode::UnknownVersion));
    check_batch(|header| header.count = 0, Err(ErrorCode::Malformed));
    check_batch(|header| header.count = limit, Ok(()));
    check_batch(|header| header.count = limit + 1, Err(ErrorCode::Malformed));
    check_batch(|header| header.payer = EthereumAddress([8; 20]), Err(ErrorCode::PayerUnknown));
    check_batch(
        |header| header.session_key = member().public_key(),
        Err(ErrorCode::SessionKeyUnknown),
    );
    check_batch(|header| header.target = Target::Node(NodeId(2)), wrong_target);
    check_batch(|header| header.target = Target::Shard(ShardId(0)), Ok(()));
    let epoch = Err(ErrorCode::RegistryEpochWrong);
    for (number, expected) in [(1, epoch), (2, Ok(())), (3, Ok(())), (4, epoch)] {
        check_batch(|header| header.registry_epoch = RegistryEpoch(number), expected);
    }
    for (not_after, expected) in [
        (PERIOD.minus(1), Err(ErrorCode::BatchExpired)),
        (PERIOD, Ok(())),
        (PERIOD.plus(2), Ok(())),
        (PERIOD.plus(3), Err(ErrorCode::NotAfterTooFar)),
    ] {
        check_batch(|header| header.not_after = not_after, expected);
    }
}

#[test]
fn a_batch_is_signed_for_its_network_by_its_session_key() {
    // covers: ENV-008
    let network = network();
    let invalid = Err(ErrorCode::BatchSignatureInvalid);
    let mut batch = network.batch(&[EnvelopeId([1; 32])], |_| {});
    batch.header.max_fee = PicoDollars(0);
    assert_eq!(batch.admit(&network.context(NodeId(1))), invalid);
    let elsewhere = batch.header.sign(&session(), NetworkId([9; 32]));
    assert_eq!(elsewhere.admit(&network.context(NodeId(1))), invalid);
    let other = batch.header.sign(&member(), network.id);
    assert_eq!(other.admit(&network.context(NodeId(1))), invalid);
}

#[test]
fn a_shard_batch_goes_to_its_committee() {
    // covers: ENV-008
    let network = Network::new(8, 4, 4);
    let shard = ShardId(2);
    let committee = network.registry.committee(shard);
    let batch = network.batch(&[EnvelopeId([1; 32])], |header| {
        header.target = Target::Shard(shard);
    });
    for node in (1..=8).map(NodeId) {
        let expected = match committee.contains(&node) {
            true => Ok(()),
            false => Err(ErrorCode::BatchTargetWrong),
        };
        assert_eq!(batch.admit(&network.context(node)), expected);
    }
}

/// Whether an entry in node 1's log is valid but for signatures and fee.
fn check_entry(
    change: impl FnOnce(&mut PayerEnvelope, &mut EntryHeader),
    expected: Result<(), ErrorCode>,
) {
    let network = network();
    let mut envelope = network.paid(network.envelope(|_| {}));
    let mut header = network.entry(0, &envelope).header;
    change(&mut envelope, &mut header);
    let log = LogId { node: NodeId(1), shard: ShardId(0), incarnation: Incarnation(1) };
    let checked = envelope.check_face(&header, log);
    let checked = checked.and_then(|()| envelope.check_registered(log, &network.registry));
    assert_eq!(checked, expected);
}

#[test]
fn an_entry_holds_what_its_header_says() {
    use ErrorCode::*;
    check_entry(|_, _| {}, Ok(()));
    check_entry(|_, header| header.version = 2, Err(UnknownVersion));
    check_entry(|_, header| header.envelope_id.0[0] ^= 1, Err(EnvelopeIdMismatch));
    check_entry(|_, header| header.topic = Topic::mailbox(1), Err(Malformed));
    check_entry(|_, header| header.retention_days += 1, Err(Malformed));
    check_entry(|_, header| header.payer = EthereumAddress([8; 20]), Err(PayerMismatch));
    check_entry(|_, header| header.fee_period = PERIOD.plus(2), Err(EnvelopeExpired));
    let early = |envelope: &mut PayerEnvelope, header: &mut EntryHeader| {
        header.fee_period = Period(0);
        envelope.batch.header.not_after = Period(7);
    };
    check_entry(early, Err(NotAfterTooFar));
    check_entry(|envelope, _| envelope.index = 1, Err(BatchRootMismatch));
    let target = Target::Node(NodeId(2));
    check_entry(|envelope, _| envelope.batch.header.target = target, Err(BatchTargetWrong));
    let stranger = member().public_key();
    check_entry(|envelope, _| envelope.batch.header.session_key = stranger, Err(SessionKeyUnknown));
    check_entry(|envelope, _| envelope.batch.header.not_after = Period(0), Err(EnvelopeExpired));
    check_entry(|envelope, _| envelope.envelope.body.retention_days = 0, Err(RetentionOutOfRange));
}

#[test]
fn ids_are_listed_as_the_payer_signed_them() {
    // covers: ENV-007
    let network = network();
    let ids: Vec<EnvelopeId> = (0..5).map(|id| EnvelopeId([id; 32])).collect();
    let request = PublishRequest {
        version: PROTOCOL_VERSION,
        level: AckLevel::Local,
        batch: network.batch(&ids, |_| {}),
        ids: ids.clone().try_into().unwrap(),
        envelopes: vec![EnvelopeBytes::default(); 5].try_into().unwrap(),
    };
    assert!(request.ids_are_signed());
    let with = |ids: Vec<EnvelopeId>, envelopes: usize| PublishRequest {
        ids: ids.try_into().unwrap(),
        envelopes: vec![EnvelopeBytes::default(); envelopes].try_into().unwrap(),
        ..request.clone()
    };
    let mut swapped = ids.clone();
    swapped.swap(0, 1);
    assert!(!with(swapped, 5).ids_are_signed());
    assert!(!with(ids[..4].to_vec(), 4).ids_are_signed());
    assert!(!with(ids.clone(), 4).ids_are_signed());
    let mut longer = ids.clone();
    longer.push(EnvelopeId([9; 32]));
    assert!(!with(longer, 6).ids_are_signed());
}

/// An envelope that is good, or bad in one of the ways that only a signature shows.
fn some_envelope(network: &Network, kind: u8, serial: u64) -> ClientEnvelope {
    let payload = Payload::new(serial.to_be_bytes().to_vec()).unwrap();
    let mut envelope = network.envelope(|body| body.payload = payload);
    match kind {
        0 => envelope.body.payer = EthereumAddress([8; 20]),
        1 => {
            let key = member().public_key();
            envelope.proof = WriteProof::Key { key, signature: Signature([0; 64]) };
        }
        2 => {
            envelope.body.topic = Topic::mailbox(1);
            envelope.proof = WriteProof::FeeStamp;
        }
        _ => {}
    }
    envelope
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn envelopes_are_judged_together_as_they_are_alone(
        kinds in prop::collection::vec(0u8..6, 0..20),
        seed: u64,
    ) {
        // covers: ENV-002
        // covers: ENV-011
        let network = network();
        let parsed: Vec<ParsedEnvelope> = (0u64..)
            .zip(&kinds)
            .map(|(serial, kind)| some_envelope(&network, *kind, serial))
            .map(|envelope| ParsedEnvelope::check(envelope).unwrap())
            .collect();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let alone: Vec<_> = parsed
            .iter()
            .flat_map(|one| verify_all(vec![one.clone()], network.id, &mut rng))
            .collect();
        let together = verify_all(parsed, network.id, &mut rng);
        prop_assert_eq!(&together, &alone);
        for (kind, verdict) in kinds.iter().zip(together) {
            prop_assert_eq!(verdict.is_ok(), *kind >= 2);
        }
    }

    #[test]
    fn padding_comes_off_as_it_went_on(plaintext in prop::collection::vec(any::<u8>(), 0..3000)) {
        // covers: ENV-009
        let padded = padding::pad(plaintext.clone());
        prop_assert_eq!(padded.len(), padding::padded_length(plaintext.len()));
        prop_assert_eq!(padding::unpad(padded.clone()), Some(plaintext));
        let mut longer = padded;
        longer.push(0);
        prop_assert_eq!(padding::unpad(longer), None);
    }

    #[test]
    fn what_unpads_is_padded_canonically(input in prop::collection::vec(0u8..2, 256..400)) {
        // covers: ENV-009
        let input: Vec<u8> = input.into_iter().map(|bit| bit << 7).collect();
        if let Some(plaintext) = padding::unpad(input.clone()) {
            prop_assert_eq!(padding::pad(plaintext), input);
        }
    }
}
