//! The fee formula: integers throughout, rounded once and up.

use tidings_types::constants::RETENTION_DAYS_MIN;
use tidings_types::{ErrorCode, MoneyOverflow, PicoDollars};
use tls_codec::Size;

use crate::registry::FeeSchedule;
use crate::{EntryHeader, Lane, Outcome, PayerEnvelope, Topic, TopicKind, UNCONGESTED_PERMILLE};

/// What a factor of one is written as.
const PERMILLE: u128 = 1_000;

/// Which of a schedule's factors applies to an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FeeClass {
    /// An ordinary broadcast envelope: no factor.
    Broadcast,
    /// An envelope to a mailbox, whose fee is its stamp: `stamp_permille`.
    Stamped,
    /// An operation of the ordered lane: `ordered_permille`.
    Ordered,
}

impl FeeClass {
    /// The class of an envelope to `topic` on `lane` (FEE-002).
    #[must_use]
    pub fn of(topic: &Topic, lane: Lane) -> Self {
        match (lane, topic.kind) {
            (Lane::Ordered, _) => Self::Ordered,
            (Lane::Broadcast, TopicKind::Mailbox) => Self::Stamped,
            (Lane::Broadcast, _) => Self::Broadcast,
        }
    }

    fn permille(self, schedule: &FeeSchedule) -> u32 {
        match self {
            Self::Broadcast => 1_000,
            Self::Stamped => schedule.stamp_permille,
            Self::Ordered => schedule.ordered_permille,
        }
    }
}

/// What envelopes cost in one period of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tariff<'a> {
    /// The governed numbers.
    pub schedule: &'a FeeSchedule,
    /// The shard's factor in the period (FEE-010), in thousandths.
    pub congestion_permille: u32,
}

impl<'a> Tariff<'a> {
    /// The tariff of a shard that is not busy.
    #[must_use]
    pub fn uncongested(schedule: &'a FeeSchedule) -> Self {
        Self { schedule, congestion_permille: UNCONGESTED_PERMILLE }
    }

    /// What an envelope costs, `bytes` being the length of the payer envelope as it is stored.
    ///
    /// `(base + byte_day × bytes × days) × class × congestion`, the two factors being thousandths;
    /// the exact product is rounded up once to whole picodollars (FEE-001).
    ///
    /// # Errors
    /// [`MoneyOverflow`] when the result, or the exact product, does not fit (FEE-003).
    pub fn fee(
        &self,
        bytes: u32,
        retention_days: u16,
        class: FeeClass,
    ) -> Result<PicoDollars, MoneyOverflow> {
        let schedule = self.schedule;
        let byte_days = u128::from(bytes) * u128::from(retention_days);
        // At most 2⁶⁴ × 2⁴⁸ and a 2⁶⁴ more: far inside 128 bits.
        let plain = u128::from(schedule.base.0) + u128::from(schedule.byte_day.0) * byte_days;
        let exact = plain
            .checked_mul(u128::from(class.permille(schedule)))
            .and_then(|product| product.checked_mul(u128::from(self.congestion_permille)))
            .ok_or(MoneyOverflow)?;
        let rounded = exact.div_ceil(PERMILLE * PERMILLE);
        u64::try_from(rounded).map(PicoDollars).map_err(|_| MoneyOverflow)
    }

    /// What a log entry costs, by its header alone, so that bills verify after payloads are pruned
    /// (FEE-004).
    ///
    /// # Errors
    /// [`MoneyOverflow`] when the fee does not fit (FEE-003).
    pub fn entry_fee(&self, header: &EntryHeader) -> Result<PicoDollars, MoneyOverflow> {
        let class = FeeClass::of(&header.topic, Lane::Broadcast);
        self.fee(header.payload_length, header.retention_days, class)
    }

    /// What an operation of the ordered lane costs that takes effect; none when it fits no amount.
    #[must_use]
    pub fn operation_fee(&self, envelope: &PayerEnvelope) -> Option<PicoDollars> {
        self.operation_fee_for(envelope, envelope.envelope.body.retention_days)
    }

    /// What one costs that comes second or is refused: nobody keeps it for anybody, and it was
    /// ordered with all its bytes (SET-004).
    fn lost_operation_fee(&self, envelope: &PayerEnvelope) -> Option<PicoDollars> {
        self.operation_fee_for(envelope, RETENTION_DAYS_MIN)
    }

    /// What one is billed, by what became of it; none for one whose id was decided before
    /// (SET-004). Never more than its payer signed for.
    #[must_use]
    pub fn decided_fee(&self, envelope: &PayerEnvelope, outcome: Outcome) -> Option<PicoDollars> {
        let fee = match outcome {
            Outcome::Applied { .. } => self.operation_fee(envelope)?,
            Outcome::Refused { code: ErrorCode::Repeated } => return None,
            Outcome::Conflict { .. } | Outcome::Refused { .. } => {
                self.lost_operation_fee(envelope)?
            }
        };
        Some(fee.min(envelope.batch.header.max_fee))
    }

    fn operation_fee_for(&self, envelope: &PayerEnvelope, days: u16) -> Option<PicoDollars> {
        let length = u32::try_from(envelope.tls_serialized_len()).ok()?;
        let class = FeeClass::of(&envelope.envelope.body.topic, Lane::Ordered);
        self.fee(length, days, class).ok()
    }
}

/// What somebody who paid `fee` would have paid on a shard that is not busy, rounded down
/// (SET-006).
#[must_use]
pub fn uncongested_part(fee: PicoDollars, congestion_permille: u32) -> PicoDollars {
    let factor = u128::from(congestion_permille.max(UNCONGESTED_PERMILLE));
    let exact = u128::from(fee.0) * u128::from(UNCONGESTED_PERMILLE) / factor;
    // No more than the fee, since no factor is below one.
    PicoDollars(u64::try_from(exact).unwrap_or(fee.0))
}

#[cfg(test)]
mod tests {
    use tidings_types::InboxId;
    use tidings_types::ed25519::PublicKey;

    use super::*;

    /// What so many bytes cost on the ordered lane for so many days.
    fn check(
        (base, byte_day, ordered_permille, congestion_permille): (u64, u64, u32, u32),
        bytes: u32,
        days: u16,
        expected: Option<u64>,
    ) {
        let (base, byte_day) = (PicoDollars(base), PicoDollars(byte_day));
        let schedule = FeeSchedule { base, byte_day, ordered_permille, ..FeeSchedule::default() };
        let tariff = Tariff { schedule: &schedule, congestion_permille };
        let result = tariff.fee(bytes, days, FeeClass::Ordered);
        assert_eq!(result.ok(), expected.map(PicoDollars));
    }

    #[test]
    fn the_exact_product_is_rounded_up_once() {
        // covers: FEE-001
        check((10, 3, 1_000, 1_000), 7, 2, Some(52));
        check((10, 3, 1_500, 1_000), 7, 2, Some(78));
        check((1, 0, 1_001, 1_000), 7, 2, Some(2));
        // 1.5 × 1.5 is 2.25: rounding after each factor would make it 4.
        check((1, 0, 1_500, 1_500), 0, 0, Some(3));
        check((10, 0, 0, 1_000), 7, 2, Some(0));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        // covers: FEE-003
        check((u64::MAX, 0, 1_000, 1_000), 0, 0, Some(u64::MAX));
        check((u64::MAX, 1, 1_000, 1_000), 1, 1, None);
        check((u64::MAX, 0, 1_001, 1_000), 0, 0, None);
        check((u64::MAX, u64::MAX, u32::MAX, u32::MAX), u32::MAX, u16::MAX, None);
    }

    #[test]
    fn what_congestion_added_can_be_told() {
        // covers: SET-006
        let part = |fee, permille| uncongested_part(PicoDollars(fee), permille).0;
        assert_eq!((part(1_001, 1_000), part(1_001, 2_000), part(999, 1_125)), (1_001, 500, 888));
        assert_eq!((part(u64::MAX, 1_000), part(7, 0)), (u64::MAX, 7));
    }

    #[test]
    fn classes_follow_lane_and_topic() {
        // covers: FEE-002
        let group = Topic::group(&PublicKey([1; 32]));
        assert_eq!(FeeClass::of(&group, Lane::Broadcast), FeeClass::Broadcast);
        assert_eq!(FeeClass::of(&group, Lane::Ordered), FeeClass::Ordered);
        assert_eq!(FeeClass::of(&Topic::mailbox(3), Lane::Broadcast), FeeClass::Stamped);
        let identity = Topic::identity(InboxId([1; 32]));
        assert_eq!(FeeClass::of(&identity, Lane::Ordered), FeeClass::Ordered);
    }

    #[test]
    fn a_hundred_thousand_messages_cost_less_than_five_dollars() {
        // 1 KiB of ciphertext and 700 bytes of proofs around it, kept for 90 days.
        let schedule = FeeSchedule::default();
        let one = Tariff::uncongested(&schedule).fee(1_724, 90, FeeClass::Broadcast).unwrap();
        let five_dollars = PicoDollars(5_000_000_000_000);
        assert!(one.times(100_000).unwrap() < five_dollars);
    }
}
