//! What envelopes may cost before they are sent, and what they did cost.

use std::collections::BTreeMap;

use tidings_envelope::api::SendResult;
use tidings_envelope::{Operation, OrderedReceipt, Tariff};
use tidings_types::constants::BATCH_ENVELOPES_MAX;
use tidings_types::{ErrorCode, Period, PicoDollars, PicoDollarsTotal, ShardId};
use tls_codec::Size;

use super::Outgoing;
use crate::account::{OwedAmount, Spent, Take};
use crate::network::Snapshot;

/// What an envelope may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Where it stands in its request.
    pub place: usize,
    /// The shard that it is billed for.
    pub shard: ShardId,
    /// The most that it costs under the registry in force: in a full batch.
    pub fee_max: PicoDollars,
}

/// What a request cost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bill {
    /// Of everything that was stored or ordered.
    pub spent: Spent,
    /// Its fees by shard and period.
    pub owed: Vec<OwedAmount>,
}

/// What a stored or ordered envelope is billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Billed {
    period: Period,
    bytes: u64,
    fee: PicoDollars,
}

impl Cost {
    /// What an envelope may cost that stands at `place` in its request.
    ///
    /// # Errors
    /// [`ErrorCode::FeeInvalid`] when the fee fits no amount.
    pub fn of(place: usize, envelope: &Outgoing, snapshot: &Snapshot) -> Result<Self, ErrorCode> {
        let shard = snapshot.shard_of(&envelope.topic);
        let fee_max = envelope.fee(snapshot.tariff(shard), BATCH_ENVELOPES_MAX)?;
        Ok(Self { place, shard, fee_max })
    }

    /// What a request may take of its user's quotas.
    #[must_use]
    pub fn take(costs: &[Self]) -> Take {
        let envelopes = u64::try_from(costs.len()).unwrap_or(u64::MAX);
        let money = Self::by_shard(costs).values().fold(0, |sum, amount| sum + amount.0);
        Take { envelopes, money: PicoDollarsTotal(money) }
    }

    /// What a request may cost, by shard; a request's envelopes are too few to overflow 128 bits.
    #[must_use]
    pub fn by_shard(costs: &[Self]) -> BTreeMap<ShardId, PicoDollarsTotal> {
        let mut by_shard = BTreeMap::<_, PicoDollarsTotal>::new();
        for cost in costs {
            by_shard.entry(cost.shard).or_default().0 += u128::from(cost.fee_max.0);
        }
        by_shard
    }
}

impl Bill {
    /// What a request cost by its results; `snapshot` is what its costs were computed with.
    ///
    /// An envelope costs what the entry says that its node signed, but no more than what was set
    /// aside for it. What was refused costs nothing: should an envelope have been stored after all
    /// whose receipt was lost, the settlement will say so.
    #[must_use]
    pub fn of(costs: &[Cost], results: &[SendResult], snapshot: &Snapshot) -> Self {
        let mut spent = Spent::default();
        let mut owed = BTreeMap::<_, PicoDollarsTotal>::new();
        for cost in costs {
            let tariff = snapshot.tariff(cost.shard);
            let result = results.get(cost.place);
            let Some(billed) = result.and_then(|result| billed(result, tariff)) else { continue };
            let fee = PicoDollarsTotal::from(billed.fee.min(cost.fee_max));
            spent.add(&Spent { envelopes: 1, bytes: billed.bytes, fee });
            owed.entry((cost.shard, billed.period)).or_default().0 += fee.0;
        }
        let owed = owed.into_iter();
        let owed = owed.map(|((shard, period), amount)| OwedAmount { shard, period, amount });
        Self { spent, owed: owed.collect() }
    }

    /// What is left of what was taken.
    #[must_use]
    pub fn unused(&self, taken: Take) -> Take {
        Take {
            envelopes: taken.envelopes.saturating_sub(self.spent.envelopes),
            money: PicoDollarsTotal(taken.money.0.saturating_sub(self.spent.fee.0)),
        }
    }
}

fn billed(result: &SendResult, tariff: Tariff<'_>) -> Option<Billed> {
    match result {
        SendResult::Refused { .. } => None,
        SendResult::Stored(receipt) => Some(Billed {
            period: receipt.header.fee_period,
            bytes: receipt.header.payload_length.into(),
            fee: receipt.header.fee,
        }),
        SendResult::Ordered(receipt) => billed_operation(receipt, tariff),
    }
}

/// An ordered operation is billed by its length in the period of its block, whatever came of it;
/// no more than by the tariff under which it was sent.
fn billed_operation(receipt: &OrderedReceipt, tariff: Tariff<'_>) -> Option<Billed> {
    let Operation::Envelope(envelope) = &receipt.decided.operation else { return None };
    let length = envelope.tls_serialized_len() as u64;
    // A fee that fits no amount is no less than what was set aside.
    let fee = tariff.operation_fee(envelope).unwrap_or(PicoDollars(u64::MAX));
    Some(Billed { period: receipt.header.period, bytes: length, fee })
}
