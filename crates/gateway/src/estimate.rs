//! What envelopes would cost: a pure function of the registry in force and of how busy shards are.

use serde::{Deserialize, Serialize};
use tidings_envelope::{FeeClass, Lane, Tariff, Topic, TopicKind};
use tidings_types::constants::{
    BATCH_ENVELOPES_MAX, ENTRY_PAYLOAD_BYTES_MAX, RETENTION_DAYS_MAX, RETENTION_DAYS_MIN,
};
use tidings_types::{ErrorCode, PicoDollars, PicoDollarsTotal, RegistryEpoch, TopicId};

use crate::network::Snapshot;
use crate::publish::stored_bytes;

/// Envelopes that one request can ask about; each can stand for many.
pub const ITEMS_MAX: usize = 1_024;

/// Envelopes that somebody thinks of sending.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EstimateRequest {
    /// At most [`ITEMS_MAX`].
    pub envelopes: Vec<EstimateItem>,
}

/// One envelope, or several of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EstimateItem {
    /// The kind of its topic.
    kind: KindName,
    /// How it is ordered.
    lane: LaneName,
    /// Its length in bytes, as it is sent to the gateway.
    bytes: usize,
    /// How many days it is kept.
    retention_days: u16,
    /// How many of it.
    #[serde(default = "one")]
    count: u32,
}

/// A kind of topic as JSON names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindName {
    Group,
    Keys,
    Mailbox,
    Identity,
    Xmtp,
}

/// A lane as JSON names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LaneName {
    Broadcast,
    Ordered,
}

/// What envelopes would cost at most as things are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// The registry's epoch.
    pub registry_epoch: RegistryEpoch,
    /// The factor of the busiest shard, in thousandths; an envelope in another costs less.
    pub congestion_permille: u32,
    /// Of one envelope of each item, in the order of the request.
    pub fees: Vec<Money>,
    /// Of all envelopes together.
    pub total: Money,
}

/// An amount, in decimal: a JSON number would lose precision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Money {
    /// In 10⁻¹² dollars, exactly.
    pub picodollars: String,
    /// In units of the token with six decimals that payers deposit, rounded up.
    pub units: String,
}

/// The item at `index` cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemRefused {
    /// Its place in the request.
    pub index: usize,
    /// What an envelope like it would be refused for.
    pub code: ErrorCode,
}

/// What the envelopes would cost at most: each in a full batch, which makes it longest (GTW-018).
///
/// # Errors
/// [`ItemRefused`] names the first item that no node admits.
pub fn estimate(snapshot: &Snapshot, items: &[EstimateItem]) -> Result<Estimate, ItemRefused> {
    let tariff = snapshot.dearest_tariff();
    let mut fees = Vec::with_capacity(items.len());
    let mut total = PicoDollarsTotal(0);
    for (index, item) in items.iter().enumerate() {
        let refused = |code| ItemRefused { index, code };
        let fee = item.fee(tariff).map_err(refused)?;
        let all = PicoDollarsTotal::from(fee).times(item.count.into());
        let sum = all.and_then(|all| total.plus(all));
        total = sum.map_err(|_| refused(ErrorCode::FeeInvalid))?;
        fees.push(Money::from(PicoDollarsTotal::from(fee)));
    }
    let registry_epoch = snapshot.registry.epoch;
    let congestion_permille = tariff.congestion_permille;
    Ok(Estimate { registry_epoch, congestion_permille, fees, total: total.into() })
}

impl EstimateItem {
    fn fee(&self, tariff: Tariff<'_>) -> Result<PicoDollars, ErrorCode> {
        let topic = Topic { kind: self.kind.into(), id: TopicId::default() };
        let lane = Lane::from(self.lane);
        if !topic.allows(lane) {
            return Err(ErrorCode::LaneNotAllowed);
        }
        if !(RETENTION_DAYS_MIN..=RETENTION_DAYS_MAX).contains(&self.retention_days) {
            return Err(ErrorCode::RetentionOutOfRange);
        }
        if self.bytes > ENTRY_PAYLOAD_BYTES_MAX {
            return Err(ErrorCode::TooLarge);
        }
        let stored = stored_bytes(self.bytes, lane, BATCH_ENVELOPES_MAX)?;
        let class = FeeClass::of(&topic, lane);
        tariff.fee(stored, self.retention_days, class).map_err(|_| ErrorCode::FeeInvalid)
    }
}

impl From<PicoDollarsTotal> for Money {
    fn from(amount: PicoDollarsTotal) -> Self {
        Self { picodollars: amount.0.to_string(), units: amount.units_rounded_up().to_string() }
    }
}

impl From<KindName> for TopicKind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::Group => Self::Group,
            KindName::Keys => Self::Keys,
            KindName::Mailbox => Self::Mailbox,
            KindName::Identity => Self::Identity,
            KindName::Xmtp => Self::Xmtp,
        }
    }
}

impl From<LaneName> for Lane {
    fn from(name: LaneName) -> Self {
        match name {
            LaneName::Broadcast => Self::Broadcast,
            LaneName::Ordered => Self::Ordered,
        }
    }
}

fn one() -> u32 {
    1
}
