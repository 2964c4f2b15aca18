//! Padding to few sizes (Padmé, from 256 bytes), so that a length says little (ENV-009).

use tidings_types::constants::PADDING_BYTES_MIN;

/// Ends the plaintext; zeros follow.
const END: u8 = 0x80;

/// The size that `length` bytes are padded to, the end mark included.
///
/// Padmé keeps as many leading bits of the length as its exponent has digits, so that the
/// overhead stays below an eighth and sizes leak O(log log n) bits.
#[must_use]
pub fn padded_length(length: usize) -> usize {
    let needed = length.saturating_add(1).max(PADDING_BYTES_MIN);
    let exponent = needed.ilog2();
    let mantissa_bits = exponent.ilog2() + 1;
    let mask = (1usize << (exponent - mantissa_bits)) - 1;
    needed.saturating_add(mask) & !mask
}

/// `plaintext`, the end mark, and zeros up to [`padded_length`].
#[must_use]
pub fn pad(mut plaintext: Vec<u8>) -> Vec<u8> {
    let length = padded_length(plaintext.len());
    plaintext.push(END);
    plaintext.resize(length, 0);
    plaintext
}

/// The plaintext in `padded`, or `None` when that is not what [`pad`] makes.
#[must_use]
pub fn unpad(mut padded: Vec<u8>) -> Option<Vec<u8>> {
    let end = padded.iter().rposition(|byte| *byte != 0)?;
    if padded.get(end) != Some(&END) || padded.len() != padded_length(end) {
        return None;
    }
    padded.truncate(end);
    Some(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_few_and_close() {
        // covers: ENV-009
        assert_eq!(padded_length(0), 256);
        assert_eq!(padded_length(255), 256);
        assert_eq!(padded_length(256), 272);
        let mut sizes = std::collections::BTreeSet::new();
        for length in 0..100_000 {
            let padded = padded_length(length);
            assert!(padded > length && (padded - length <= 256 || padded < length + length / 8));
            sizes.insert(padded);
        }
        assert!(sizes.len() < 160, "{} sizes", sizes.len());
    }

    #[test]
    fn only_canonical_padding_is_removed() {
        // covers: ENV-009
        for plaintext in [vec![], vec![0x80], vec![0; 300], vec![1; 255]] {
            assert_eq!(unpad(pad(plaintext.clone())), Some(plaintext));
        }
        let mut longer = pad(vec![1]);
        longer.push(0);
        assert_eq!(unpad(longer), None);
        assert_eq!(unpad(vec![0; 256]), None);
        assert_eq!(unpad(vec![]), None);
    }
}
