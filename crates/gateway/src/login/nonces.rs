//! Nonces: each good for one log-in, and not for long.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rand::RngCore;

/// How long a nonce is good for.
///
/// Unit: seconds.
pub const NONCE_SECONDS: u64 = 300;

/// Nonces at once; more callers than that are told to come back.
const NONCES_MAX: usize = 65_536;

/// The nonces that were handed out and not used, and until when they are good.
#[derive(Debug, Default)]
pub struct Nonces(Mutex<BTreeMap<String, u64>>);

impl Nonces {
    /// A fresh nonce of 32 hex digits; none when too many are out.
    pub fn hand_out(&self, now_seconds: u64) -> Option<String> {
        let mut bytes = [0; 16];
        rand::rngs::OsRng.fill_bytes(&mut bytes);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= NONCES_MAX {
            known.retain(|_, until| *until > now_seconds);
        }
        if known.len() >= NONCES_MAX {
            return None;
        }
        let nonce = hex::encode(bytes);
        known.insert(nonce.clone(), now_seconds.saturating_add(NONCE_SECONDS));
        Some(nonce)
    }

    /// Takes a nonce out of use; whether it was good.
    pub fn take(&self, nonce: &str, now_seconds: u64) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(nonce).is_some_and(|until| until > now_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once_and_not_for_long() {
        // covers: GTW-019
        let nonces = Nonces::default();
        let (first, second) = (nonces.hand_out(0).unwrap(), nonces.hand_out(0).unwrap());
        assert_ne!(first, second);
        assert!(nonces.take(&first, NONCE_SECONDS - 1));
        assert!(!nonces.take(&first, 0));
        assert!(!nonces.take(&second, NONCE_SECONDS));
        assert!(!nonces.take("unheard of", 0));
    }

    #[test]
    fn no_more_are_out_than_there_is_room_for() {
        // covers: GTW-019
        let nonces = Nonces::default();
        let last = (0..NONCES_MAX).map(|_| nonces.hand_out(0).unwrap()).last().unwrap();
        assert_eq!(nonces.hand_out(NONCE_SECONDS - 1), None);
        assert!(nonces.take(&last, 0));
        assert!(nonces.hand_out(0).is_some());
        assert!(nonces.hand_out(NONCE_SECONDS).is_some());
    }
}
