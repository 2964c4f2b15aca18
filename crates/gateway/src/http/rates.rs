//! How often one address may call.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses remembered at most.
const ADDRESSES_MAX: usize = 65_536;

/// Token buckets by address (GTW-012).
///
/// A bucket is kept as the time at which it will be full again; one that is full is forgotten.
#[derive(Debug)]
pub struct AddressRates {
    /// The time in which one token comes back.
    interval: Duration,
    /// The time in which an empty bucket fills.
    depth: Duration,
    full_at: Mutex<BTreeMap<IpAddr, Instant>>,
}

impl AddressRates {
    /// Buckets of `burst` tokens that gain `per_second`; both at least 1.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, depth: interval * burst.max(1), full_at: Mutex::default() }
    }

    /// Takes a token, if there is one.
    pub fn take(&self, address: IpAddr, now: Instant) -> bool {
        let caller = caller(address);
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() >= ADDRESSES_MAX && !full_at.contains_key(&caller) {
            full_at.retain(|_, full| *full > now);
        }
        let before = full_at.get(&caller).copied().unwrap_or(now).max(now);
        let after = before + self.interval;
        let has_room = full_at.len() < ADDRESSES_MAX || full_at.contains_key(&caller);
        let granted = has_room && after <= now + self.depth;
        if granted {
            full_at.insert(caller, after);
        }
        granted
    }
}

/// Who is one caller: an IPv4 address, or an IPv6 /64, which is what one customer is given.
fn caller(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & (u128::MAX << 64)).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        // covers: GTW-012
        let (rates, start) = (AddressRates::new(10, 2), Instant::now());
        let check = |address: &str, at_ms: u64, expected: bool| {
            let taken = rates.take(address.parse().unwrap(), start + Duration::from_millis(at_ms));
            assert_eq!(taken, expected, "{address} at {at_ms}");
        };
        check("10.0.0.1", 0, true);
        check("10.0.0.1", 0, true);
        check("10.0.0.1", 0, false);
        check("::ffff:10.0.0.1", 0, false);
        check("10.0.0.2", 0, true);
        check("10.0.0.1", 99, false);
        check("10.0.0.1", 100, true);
        check("10.0.0.1", 100, false);
        check("2001:db8::1", 0, true);
        check("2001:db8::2", 0, true);
        check("2001:db8::3", 0, false);
        check("2001:db8:0:1::1", 0, true);
    }

    #[test]
    fn addresses_are_bounded() {
        let (rates, start) = (AddressRates::new(1, 1), Instant::now());
        for number in 0..u32::try_from(ADDRESSES_MAX).unwrap() {
            assert!(rates.take(IpAddr::from(number.to_be_bytes()), start));
        }
        let newcomer = IpAddr::from([255, 0, 0, 1]);
        assert!(!rates.take(newcomer, start));
        assert!(rates.take(newcomer, start + Duration::from_secs(1)));
    }
}
