//! Verdicts: what each broken rule is called, and that company changes none of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tidings_envelope::registry::FeeSchedule;
use tidings_envelope::{CongestionHistory, LogEntry, PayerEnvelope, RegistryHistory};
use tidings_payer::{Missing, Verdict};
use tidings_types::ed25519::Signature;
use tidings_types::{ErrorCode, EthereumAddress, NodeId, Period, PicoDollars, RegistryEpoch, Wire};

use crate::network::{
    LOG, PERIOD, batch, entries, entry, message, registry, stamped, verdicts, verdicts_at,
    verdicts_by,
};

fn check(entry: LogEntry, expected: Verdict) {
    // The same verdict alone and between valid entries.
    assert_eq!(verdicts(std::slice::from_ref(&entry), &registry()), vec![expected]);
    let mut company = entries(4);
    company[2] = entry;
    let mut all = vec![Verdict::Valid; 4];
    all[2] = expected;
    assert_eq!(verdicts(&company, &registry()), all);
}

fn valid() -> PayerEnvelope {
    batch(&[message("one"), message("two")], PicoDollars(u64::MAX)).remove(1)
}

/// The entry of an envelope changed after its payer signed.
fn changed(change: impl FnOnce(&mut PayerEnvelope)) -> LogEntry {
    let mut envelope = valid();
    change(&mut envelope);
    entry(&envelope, 1)
}

#[test]
fn what_follows_every_rule_is_valid() {
    // covers: REP-003
    // covers: FEE-004
    check(entry(&valid(), 0), Verdict::Valid);
    let stamped = batch(&[stamped("hello")], PicoDollars(u64::MAX));
    check(entry(&stamped[0], 7), Verdict::Valid);
}

#[test]
fn pruned_entries_are_judged_by_their_header() {
    // covers: FEE-004
    let mut pruned = entry(&valid(), 0);
    pruned.payload = None;
    check(pruned.clone(), Verdict::Pruned);
    // The epoch went with the payload, and nobody is blamed for a registry that is not at hand.
    pruned.header.fee.0 += 1;
    check(pruned.clone(), Verdict::Unjudged(Missing::Schedule));
    for days in [0, 366] {
        pruned.header.retention_days = days;
        check(pruned.clone(), Verdict::Invalid(ErrorCode::RetentionOutOfRange));
    }
}

#[test]
fn a_batch_of_an_old_epoch_bills_nobody() {
    // covers: ENV-013
    // The batch names epoch 1; a session key of it may have been removed since.
    for (settled, expected) in [(1, None), (2, None), (3, Some(ErrorCode::RegistryEpochWrong))] {
        let epochs = [(PERIOD, RegistryEpoch(settled))].into();
        let history = CongestionHistory::restore(PERIOD, BTreeMap::new(), epochs);
        let verdicts = verdicts_at(
            &[entry(&valid(), 0)],
            &RegistryHistory::new(Arc::new(registry())),
            &history,
        );
        assert_eq!(verdicts, [expected.map_or(Verdict::Valid, Verdict::Invalid)], "{settled}");
    }
}

#[test]
fn who_has_no_seat_in_the_epoch_that_is_named_takes_nothing_in() {
    // covers: TOP-009
    let mut without = registry();
    let mut other = without.nodes[0].clone();
    (other.id, other.signing) = (NodeId(2), EthereumAddress([2; 20]));
    without.nodes[0].active = false;
    without.nodes.push(other);
    let registries = RegistryHistory::new(Arc::new(without));
    let verdicts = verdicts_by(&[entry(&valid(), 0)], &registries);
    assert_eq!(verdicts, [Verdict::Invalid(ErrorCode::WrongShard)]);
}

#[test]
fn entries_are_judged_by_the_registry_that_their_batch_names() {
    // covers: TOP-009
    // covers: REP-003
    let mut later = registry();
    later.epoch = RegistryEpoch(2);
    later.fees = FeeSchedule { base: PicoDollars(2_200_000), ..later.fees };
    later.payers.clear();
    let mut registries = RegistryHistory::new(Arc::new(later));
    let mut pruned = entry(&valid(), 1);
    pruned.payload = None;
    let both = [entry(&valid(), 0), pruned];
    let missing = [Missing::Registry(RegistryEpoch(1)), Missing::Schedule];
    let unknown = missing.map(Verdict::Unjudged);
    assert_eq!(verdicts_by(&both, &registries), unknown);
    // What needs no registry is judged all the same.
    let forged = changed(|envelope| envelope.batch.signature = Signature([1; 64]));
    let invalid = vec![Verdict::Invalid(ErrorCode::BatchSignatureInvalid)];
    assert_eq!(verdicts_by(&[forged], &registries), invalid);
    registries.insert(Arc::new(registry())).unwrap();
    assert_eq!(verdicts_by(&both, &registries), [Verdict::Valid, Verdict::Pruned]);
}

#[test]
fn signatures_are_told_apart() {
    // covers: REP-003
    let written = changed(|envelope| {
        envelope.envelope = message("two");
        if let tidings_envelope::WriteProof::Key { signature, .. } = &mut envelope.envelope.proof {
            signature.0[3] ^= 1;
        }
    });
    check(written, Verdict::Invalid(ErrorCode::WriteProofInvalid));
    // A fee that another registry might ask for hides no forgery.
    let mut dear = changed(|envelope| envelope.batch.signature = Signature([1; 64]));
    dear.header.fee.0 += 1;
    check(dear, Verdict::Invalid(ErrorCode::BatchSignatureInvalid));
    let paid = changed(|envelope| envelope.batch.signature = Signature([1; 64]));
    check(paid, Verdict::Invalid(ErrorCode::BatchSignatureInvalid));
    let raised = changed(|envelope| envelope.batch.header.max_fee.0 -= 1);
    check(raised, Verdict::Invalid(ErrorCode::BatchSignatureInvalid));
}

#[test]
fn payloads_belong_to_their_header() {
    // covers: LOG-004
    let mut other = entry(&valid(), 0);
    other.payload = entries(1).remove(0).payload;
    check(other, Verdict::Invalid(ErrorCode::Malformed));
    let mut renamed = entry(&valid(), 0);
    renamed.header.envelope_id.0[0] ^= 1;
    check(renamed, Verdict::Invalid(ErrorCode::EnvelopeIdMismatch));
    let mut unknown = entry(&valid(), 0);
    unknown.header.version = 9;
    check(unknown, Verdict::Invalid(ErrorCode::UnknownVersion));
    let uncovered = changed(|envelope| envelope.index = 0);
    check(uncovered, Verdict::Invalid(ErrorCode::BatchRootMismatch));
    let elsewhere = changed(|envelope| {
        envelope.batch.header.target = tidings_envelope::Target::Node(NodeId(2));
    });
    check(elsewhere, Verdict::Invalid(ErrorCode::BatchTargetWrong));
}

#[test]
fn fees_are_the_formulas() {
    // covers: FEE-004
    // covers: FEE-005
    for difference in [-1i64, 1] {
        let mut wrong = entry(&valid(), 0);
        wrong.header.fee.0 = wrong.header.fee.0.wrapping_add_signed(difference);
        check(wrong, Verdict::Invalid(ErrorCode::FeeInvalid));
    }
    // The maximum is inside the batch, so its digits do not change the fee.
    let exact = entry(&valid(), 0).header.fee;
    let at_most = |max_fee| entry(&batch(&[message("one"), message("two")], max_fee)[1], 0);
    check(at_most(exact), Verdict::Valid);
    let below = PicoDollars(exact.0 - 1);
    check(at_most(below), Verdict::Invalid(ErrorCode::FeeAboveMaximum));
    let mut dearer = registry();
    dearer.fees = FeeSchedule { base: PicoDollars(2_200_000), ..dearer.fees };
    let verdict = verdicts(&[entry(&valid(), 0)], &dearer);
    assert_eq!(verdict, vec![Verdict::Invalid(ErrorCode::FeeInvalid)]);
}

#[test]
fn fees_are_those_of_a_busy_shard() {
    // covers: FEE-004
    // covers: FEE-010
    let registries = RegistryHistory::new(Arc::new(registry()));
    let busy = |factors: &[(Period, u32)]| {
        CongestionHistory::restore(PERIOD, factors.iter().copied().collect(), BTreeMap::new())
    };
    let judged = |entry: &LogEntry, congestion: &CongestionHistory| {
        verdicts_at(std::slice::from_ref(entry), &registries, congestion)[0]
    };
    let plain = entry(&valid(), 0);
    let mut dear = plain.clone();
    dear.header.fee.0 = (plain.header.fee.0 * 1_125).div_ceil(1_000);
    let invalid = Verdict::Invalid(ErrorCode::FeeInvalid);
    let before = busy(&[(PERIOD.minus(2), 1_125)]);
    assert_eq!((judged(&dear, &before), judged(&plain, &before)), (Verdict::Valid, invalid));
    // What comes after the entry's period has no part in it.
    let after = busy(&[(PERIOD.plus(1), 1_125)]);
    assert_eq!((judged(&dear, &after), judged(&plain, &after)), (invalid, Verdict::Valid));
    let mut pruned = dear.clone();
    pruned.payload = None;
    assert_eq!(judged(&pruned, &before), Verdict::Pruned);
    // Whoever is not there yet cannot tell, of a fee that is right as little as of one that is not.
    let behind = CongestionHistory::restore(PERIOD.minus(2), BTreeMap::new(), BTreeMap::new());
    for entry in [&plain, &dear, &pruned] {
        assert_eq!(judged(entry, &behind), Verdict::Unjudged(Missing::Factor(PERIOD)));
    }
    let next = CongestionHistory::restore(PERIOD.minus(1), BTreeMap::new(), BTreeMap::new());
    assert_eq!(judged(&plain, &next), Verdict::Valid);
}

#[test]
fn fee_periods_are_those_in_which_the_envelope_was_admissible() {
    // covers: FEE-006
    let in_period = |period: Period| {
        let mut entry = entry(&valid(), 0);
        entry.header.fee_period = period;
        entry
    };
    for period in [PERIOD.minus(5), PERIOD, PERIOD.plus(1)] {
        check(in_period(period), Verdict::Valid);
    }
    check(in_period(PERIOD.plus(2)), Verdict::Invalid(ErrorCode::EnvelopeExpired));
    check(in_period(PERIOD.minus(6)), Verdict::Invalid(ErrorCode::NotAfterTooFar));
}

#[test]
fn strangers_do_not_pay() {
    // covers: REP-003
    let mut unpaid = registry();
    unpaid.payers[0].session_keys.clear();
    let judged = verdicts(&[entry(&valid(), 0)], &unpaid);
    assert_eq!(judged, vec![Verdict::Invalid(ErrorCode::SessionKeyUnknown)]);
    unpaid.payers.clear();
    let judged = verdicts(&[entry(&valid(), 0)], &unpaid);
    assert_eq!(judged, vec![Verdict::Invalid(ErrorCode::PayerUnknown)]);
    assert_eq!(LOG.node, NodeId(1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_changed_bit_is_valid(bit in any::<prop::sample::Index>()) {
        // covers: REP-003
        let original = entry(&valid(), 1);
        let mut bytes = original.to_wire();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(changed) = LogEntry::from_wire(&bytes) {
            // Only what the originator alone decides may differ: its checkpoint covers that.
            let originators = LogEntry {
                header: tidings_envelope::EntryHeader {
                    index: changed.header.index,
                    timestamp: changed.header.timestamp,
                    topic_index: changed.header.topic_index,
                    previous: changed.header.previous,
                    fee_period: changed.header.fee_period,
                    ..original.header
                },
                payload: original.payload.clone(),
            };
            let pruned = LogEntry { payload: None, ..original };
            let verdict = verdicts(std::slice::from_ref(&changed), &registry())[0];
            prop_assert!(
                matches!(verdict, Verdict::Invalid(_)) || changed == originators
                    || changed == pruned
            );
        }
    }

    #[test]
    fn grouping_changes_no_verdict(bad in proptest::collection::vec(0u8..4, 1..12)) {
        // covers: REP-003
        let mut mixed = entries(bad.len());
        for (entry, kind) in mixed.iter_mut().zip(&bad) {
            match kind {
                1 => entry.payload = None,
                2 => entry.header.fee.0 += 1,
                3 => *entry = changed(|envelope| envelope.batch.signature.0[40] ^= 1),
                _ => {}
            }
        }
        let together = verdicts(&mixed, &registry());
        let alone: Vec<_> = mixed
            .iter()
            .flat_map(|entry| verdicts(std::slice::from_ref(entry), &registry()))
            .collect();
        prop_assert_eq!(together, alone);
    }
}
