//! A payer as the registry's snapshots have it: who signs for it, and how much it may be billed.

use serde::{Deserialize, Serialize};
use tidings_types::ed25519::PublicKey;
use tidings_types::{EthereumAddress, Period, PicoDollars, ShardId};

/// A payer, the keys that sign batches for it, and its caps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayerRecord {
    /// Whose balance pays.
    pub address: EthereumAddress,
    /// The Ed25519 keys that may sign.
    pub session_keys: Vec<PublicKey>,
    /// The most that it may be billed, by rising shard; nothing for a shard that is not listed.
    /// None where no chain holds money, and then there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caps: Option<Vec<CapRecord>>,
    /// Whether too little is left of its balance for its caps to count (SET-026).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_short: bool,
}

/// A payer's cap for one shard, and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapRecord {
    /// For which shard.
    pub shard: ShardId,
    /// What may be billed for a period before `from`, in picodollars.
    pub before: PicoDollars,
    /// The period from which on `amount` holds.
    pub from: Period,
    /// What may be billed for each period from then on, in picodollars.
    pub amount: PicoDollars,
}

impl PayerRecord {
    /// A payer without any limit.
    #[must_use]
    pub fn unlimited(address: EthereumAddress, session_keys: Vec<PublicKey>) -> Self {
        Self { address, session_keys, caps: None, is_short: false }
    }

    /// The cap for a shard in `period`; none where there is no limit (SET-026).
    #[must_use]
    pub fn cap(&self, shard: ShardId, period: Period) -> Option<PicoDollars> {
        self.caps_for(shard).map(|cap| cap.at(period))
    }

    /// The caps for a shard in all periods, of nothing for one that is not listed; none where there
    /// is no limit (SET-026).
    #[must_use]
    pub fn caps_for(&self, shard: ShardId) -> Option<CapRecord> {
        let listed = self.caps.as_ref()?.iter().find(|cap| cap.shard == shard).copied();
        Some(listed.unwrap_or(CapRecord::nothing(shard)))
    }

    /// Whether it may be billed anything in `period` for any shard.
    #[must_use]
    pub fn can_pay(&self, period: Period) -> bool {
        let is_open = |caps: &Vec<CapRecord>| caps.iter().any(|cap| cap.at(period).0 > 0);
        !self.is_short && self.caps.as_ref().is_none_or(is_open)
    }
}

/// One of the equal parts that a cap is divided into, rounded down: for each of so many members of
/// the shard's committee one, for the entries that it takes in, and one for the operations that
/// they order together (FEE-009, ORD-034).
#[must_use]
pub fn cap_part(cap: PicoDollars, members: u64) -> PicoDollars {
    PicoDollars(cap.0 / members.saturating_add(1))
}

impl CapRecord {
    fn nothing(shard: ShardId) -> Self {
        let none = PicoDollars(0);
        Self { shard, before: none, from: Period(0), amount: none }
    }

    /// The cap in `period`, which is no earlier than any that the cap before was preceded by.
    #[must_use]
    pub fn at(&self, period: Period) -> PicoDollars {
        match period >= self.from {
            true => self.amount,
            false => self.before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(2);

    fn record(caps: Option<Vec<CapRecord>>) -> PayerRecord {
        let address = EthereumAddress([7; 20]);
        PayerRecord { caps, ..PayerRecord::unlimited(address, Vec::new()) }
    }

    #[test]
    fn a_cap_holds_from_its_period_on_and_for_its_shard() {
        // covers: SET-026
        let [before, amount] = [3, 5].map(PicoDollars);
        let cap = CapRecord { shard: SHARD, before, from: Period(7), amount };
        let limited = record(Some(vec![cap]));
        for (shard, period, expected) in [(2, 6, 3), (2, 7, 5), (2, u64::MAX, 5), (1, 7, 0)] {
            let found = limited.cap(ShardId(shard), Period(period));
            assert_eq!(found, Some(PicoDollars(expected)), "{shard} {period}");
        }
        assert!(limited.can_pay(Period(6)));
        assert!(!PayerRecord { is_short: true, ..limited }.can_pay(Period(6)));
        assert!(
            !record(Some(vec![CapRecord { before: PicoDollars(0), ..cap }])).can_pay(Period(6))
        );
        assert_eq!(record(None).cap(SHARD, Period(7)), None);
        assert!(record(None).can_pay(Period(7)));
        assert_eq!(record(Some(Vec::new())).cap(SHARD, Period(7)), Some(PicoDollars(0)));
    }

    #[test]
    fn files_without_caps_limit_nobody() {
        let address = EthereumAddress([7; 20]);
        let text = format!("{{\"address\":\"{address}\",\"session_keys\":[]}}");
        let read: PayerRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(read, record(None));
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        let cap = CapRecord {
            shard: SHARD,
            before: PicoDollars(1),
            from: Period(2),
            amount: PicoDollars(3),
        };
        let limited = PayerRecord { is_short: true, ..record(Some(vec![cap])) };
        let text = serde_json::to_string(&limited).unwrap();
        assert_eq!(serde_json::from_str::<PayerRecord>(&text).unwrap(), limited);
    }
}
