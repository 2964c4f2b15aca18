//! How often and how widely one address may call: a token bucket and a connection count each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Addresses remembered at most; 64 bytes each.
const ADDRESSES_MAX: usize = 65_536;

/// Token buckets by address (API-014).
///
/// A bucket is kept as the time at which it would be full again, so an address costs one instant.
#[derive(Debug)]
pub struct AddressRates {
    interval: Duration,
    depth: Duration,
    full_at: Mutex<BTreeMap<IpAddr, Instant>>,
}

impl AddressRates {
    /// Buckets that gain `per_minute` tokens and hold `burst`; both at least 1.
    #[must_use]
    pub fn new(per_minute: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(60) / per_minute.max(1);
        Self { interval, depth: interval * burst.max(1), full_at: Mutex::default() }
    }

    /// Takes a token for `address`, or says how long until there is one.
    ///
    /// # Errors
    /// The time to wait.
    pub fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let key = caller(address);
        if full_at.len() >= ADDRESSES_MAX && !full_at.contains_key(&key) {
            // A full bucket says no more than none at all.
            full_at.retain(|_, full| *full > now);
            if full_at.len() >= ADDRESSES_MAX {
                return Err(self.interval);
            }
        }
        let full = full_at.entry(key).or_insert(now);
        let after = (*full).max(now) + self.interval;
        match after.duration_since(now).checked_sub(self.depth) {
            Some(excess) if !excess.is_zero() => Err(excess),
            _ => {
                *full = after;
                Ok(())
            }
        }
    }
}

/// Open connections by address.
#[derive(Debug, Default)]
pub struct AddressConnections(Mutex<BTreeMap<IpAddr, usize>>);

impl AddressConnections {
    /// Counts a connection in, unless the address has `max` already.
    pub fn open(&self, address: IpAddr, max: usize) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(caller(address)).or_default();
        let has_room = *count < max;
        if has_room {
            *count += 1;
        }
        has_room
    }

    /// Counts a connection out.
    pub fn close(&self, address: IpAddr) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&caller(address)) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&caller(address));
            }
        }
    }
}

/// What counts as one caller: an IPv4 address, or the /64 that an IPv6 customer is given.
fn caller(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        // covers: API-014
        let (rates, start) = (AddressRates::new(60, 3), Instant::now());
        let one = IpAddr::from([10, 0, 0, 1]);
        let check = |address, at_ms, expected: Result<(), u64>| {
            let found = rates.take(address, start + Duration::from_millis(at_ms));
            assert_eq!(found, expected.map_err(Duration::from_millis), "{address} {at_ms}");
        };
        (0..3).for_each(|_| check(one, 0, Ok(())));
        check(one, 0, Err(1_000));
        check(one, 400, Err(600));
        // Another address has its own bucket, and a refusal costs nothing.
        check(IpAddr::from([10, 0, 0, 2]), 400, Ok(()));
        check(one, 1_000, Ok(()));
        check(one, 1_000, Err(1_000));
        (0..3).for_each(|_| check(one, 60_000, Ok(())));
        check(one, 60_000, Err(1_000));
    }

    #[test]
    fn ipv6_callers_are_networks() {
        let check = |one: &str, other: &str, same| {
            assert_eq!(caller(one.parse().unwrap()) == caller(other.parse().unwrap()), same);
        };
        check("2001:db8::1", "2001:db8::ffff", true);
        check("2001:db8::1", "2001:db8:0:1::1", false);
        check("::ffff:10.0.0.1", "10.0.0.1", true);
        check("10.0.0.1", "10.0.0.2", false);
    }

    #[test]
    fn the_table_of_addresses_is_bounded() {
        let (rates, start) = (AddressRates::new(60, 1), Instant::now());
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..ADDRESSES_MAX as u32 {
            assert!(rates.take(address(number), start).is_ok());
        }
        let newcomer = address(u32::MAX);
        assert!(rates.take(newcomer, start).is_err());
        assert!(rates.take(newcomer, start + Duration::from_secs(2)).is_ok());
    }

    #[test]
    fn connections_are_counted_in_and_out() {
        // covers: API-015
        let (connections, address) = (AddressConnections::default(), IpAddr::from([10, 0, 0, 1]));
        assert!(connections.open(address, 2));
        assert!(connections.open(address, 2));
        assert!(!connections.open(address, 2));
        connections.close(address);
        assert!(connections.open(address, 2));
    }
}
