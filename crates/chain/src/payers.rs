//! Payers, as the vault's events tell of them: who signs for them, and what they may be billed.

use std::collections::BTreeMap;

use tidings_envelope::registry::{CapRecord, PayerRecord};
use tidings_types::ed25519::PublicKey;
use tidings_types::{EthereumAddress, Period, ShardId};

use crate::convert::picodollars;

/// What happened to a payer's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PayerEvent {
    /// A key may sign until `expires`, in seconds since 1970.
    KeySet { key: [u8; 32], expires: u64 },
    /// A key may sign no more.
    KeyRemoved { key: [u8; 32] },
    /// The cap for a shard is `units` of the token from a period on.
    Cap { shard: ShardId, from: Period, units: u128 },
    /// Enough is left for its caps to count, or is not (SET-026).
    Cover { is_covered: bool },
}

/// Every payer as of one block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Payers(BTreeMap<EthereumAddress, Account>);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Account {
    /// When each key expires, in seconds since 1970.
    keys: BTreeMap<[u8; 32], u64>,
    caps: BTreeMap<ShardId, CapRecord>,
    is_short: bool,
}

impl Payers {
    /// Takes an event into account; events are to come in the order of the chain.
    pub(crate) fn apply(&mut self, payer: EthereumAddress, event: PayerEvent) {
        let account = self.0.entry(payer).or_default();
        match event {
            PayerEvent::KeySet { key, expires } => {
                account.keys.insert(key, expires);
            }
            PayerEvent::KeyRemoved { key } => {
                account.keys.remove(&key);
            }
            PayerEvent::Cap { shard, from, units } => account.set_cap(shard, from, units),
            PayerEvent::Cover { is_covered } => account.is_short = !is_covered,
        }
    }

    /// The payers as a snapshot lists them that was taken at `now`, in seconds since 1970: all who
    /// may sign then, and all who may still be billed.
    pub(crate) fn records(&self, now: u64, shard_count: u16) -> Vec<PayerRecord> {
        let record = |(address, account): (&EthereumAddress, &Account)| {
            let record = account.record(*address, now, shard_count);
            let is_capped = record.caps.as_ref().is_some_and(|caps| !caps.is_empty());
            (is_capped || !record.session_keys.is_empty()).then_some(record)
        };
        self.0.iter().filter_map(record).collect()
    }
}

impl Account {
    /// The contract lets nobody set the next cap before the last is in force (SET-009), so that of
    /// the one before it is known all that matters.
    fn set_cap(&mut self, shard: ShardId, from: Period, units: u128) {
        let before = self.caps.get(&shard).map(|cap| cap.at(from)).unwrap_or_default();
        self.caps.insert(shard, CapRecord { shard, before, from, amount: picodollars(units) });
    }

    fn record(&self, address: EthereumAddress, now: u64, shard_count: u16) -> PayerRecord {
        let live = self.keys.iter().filter(|(_, expires)| **expires > now);
        let is_something = |cap: &&CapRecord| cap.before.0 > 0 || cap.amount.0 > 0;
        let caps = self.caps.range(..ShardId(shard_count)).map(|(_, cap)| cap);
        PayerRecord {
            caps: Some(caps.filter(is_something).copied().collect()),
            is_short: self.is_short,
            ..PayerRecord::unlimited(address, live.map(|(key, _)| PublicKey(*key)).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_types::PicoDollars;

    use super::*;

    const PAYER: EthereumAddress = EthereumAddress([7; 20]);
    const SHARD: ShardId = ShardId(1);

    fn payers(events: &[PayerEvent]) -> Payers {
        let mut payers = Payers::default();
        events.iter().for_each(|event| payers.apply(PAYER, *event));
        payers
    }

    fn cap(from: u64, units: u128) -> PayerEvent {
        PayerEvent::Cap { shard: SHARD, from: Period(from), units }
    }

    #[test]
    fn keys_sign_until_they_expire_or_are_removed() {
        let [one, other] = [1, 2].map(|byte| [byte; 32]);
        let key_set = |key, expires| PayerEvent::KeySet { key, expires };
        let events = [key_set(one, 100), key_set(other, 50), key_set(other, 200)];
        let both = payers(&events).records(99, 4);
        assert_eq!(both[0].session_keys, [one, other].map(PublicKey));
        assert_eq!(payers(&events).records(100, 4)[0].session_keys, [PublicKey(other)]);
        assert_eq!(payers(&events).records(200, 4), []);
        let removed = [&events[..], &[PayerEvent::KeyRemoved { key: other }]].concat();
        assert_eq!(payers(&removed).records(100, 4), []);
    }

    #[test]
    fn caps_are_of_their_periods_and_of_shards_that_there_are() {
        // covers: SET-026
        let found = payers(&[cap(4, 100), cap(9, 50)]).records(0, 4);
        let [record] = found.as_slice() else { panic!("{found:?}") };
        for (period, expected) in [(3, 100), (8, 100), (9, 50), (100, 50)] {
            let expected = PicoDollars(expected * 1_000_000);
            assert_eq!(record.cap(SHARD, Period(period)), Some(expected), "in period {period}");
        }
        assert_eq!(record.cap(ShardId(0), Period(9)), Some(PicoDollars(0)), "another shard");
        assert_eq!(payers(&[cap(4, 100)]).records(0, 1), [], "there is one shard");
        let large = payers(&[cap(1, u128::MAX)]).records(0, 4);
        assert_eq!(large[0].cap(SHARD, Period(1)), Some(PicoDollars(u64::MAX)));
    }

    #[test]
    fn who_may_still_be_billed_is_listed_without_a_key() {
        // covers: SET-026
        let lowered = payers(&[cap(4, 100), cap(9, 0)]).records(0, 4);
        assert_eq!(lowered[0].cap(SHARD, Period(8)), Some(PicoDollars(100_000_000)));
        assert_eq!(payers(&[cap(4, 0)]).records(0, 4), []);
    }

    #[test]
    fn who_is_short_says_so_until_there_is_enough() {
        // covers: SET-026
        let cover = |is_covered| PayerEvent::Cover { is_covered };
        assert!(payers(&[cap(1, 1), cover(false)]).records(0, 4)[0].is_short);
        assert!(!payers(&[cap(1, 1), cover(false), cover(true)]).records(0, 4)[0].is_short);
    }
}
