//! The codec: one encoding per value, and no input that it chokes on.

use proptest::prelude::*;
use tidings_types::{BoundedBytes, BoundedVec, DecodeError, ErrorCode, Genesis, GenesisSalt, Wire};

type Bytes = BoundedBytes<20_000>;
type Numbers = BoundedVec<u32, 64>;
type Nested = BoundedVec<BoundedBytes<8>, 8>;

/// What decodes is the encoding, and nothing else decodes to the same.
fn check<T: Wire>(input: &[u8]) {
    if let Ok(value) = T::from_wire(input) {
        assert_eq!(value.to_wire(), input);
    }
}

fn check_every_cut<T: Wire>(encoded: &[u8]) {
    for length in 0..encoded.len() {
        assert!(T::from_wire(&encoded[..length]).is_err(), "cut at {length}");
    }
    let mut longer = encoded.to_vec();
    longer.push(0);
    assert!(matches!(T::from_wire(&longer), Err(DecodeError::Trailing { trailing: 1 })));
}

#[test]
fn lengths_are_in_their_shortest_form() {
    // covers: ENC-001
    for (length, prefix) in
        [(0, "00"), (63, "3f"), (64, "4040"), (16_383, "7fff"), (16_384, "80004000")]
    {
        let encoded = Bytes::new(vec![9; length]).unwrap().to_wire();
        let prefix = hex::decode(prefix).unwrap();
        assert_eq!(encoded[..prefix.len()], prefix);
        check_every_cut::<Bytes>(&encoded);
    }
    for longer in ["400109", "8000000109", "c00000000000000109"] {
        assert!(Bytes::from_wire(&hex::decode(longer).unwrap()).is_err());
    }
}

#[test]
fn elements_end_where_their_vector_ends() {
    // covers: ENC-001
    let overrun = [5, 0, 0, 0, 1, 0, 0, 0, 2];
    assert!(Numbers::from_wire(&overrun).is_err());
    assert!(Nested::from_wire(&[2, 2, 7, 7]).is_err());
    check_every_cut::<Numbers>(&Numbers::new(vec![1, 2, 3]).unwrap().to_wire());
}

#[test]
fn bounds_hold_for_values_and_for_bytes() {
    // covers: ENC-002
    assert!(Numbers::new(vec![0; 65]).is_err());
    let wider = BoundedVec::<u32, 65>::new(vec![0; 65]).unwrap().to_wire();
    assert!(Numbers::from_wire(&wider).is_err());
    assert!(BoundedBytes::<8>::from_wire(&[9; 10]).is_err());
    // A length is refused before anything is allocated for it.
    assert!(Bytes::from_wire(&[0xbf, 0xff, 0xff, 0xff]).is_err());
}

#[test]
fn options_have_two_forms() {
    // covers: ENC-001
    assert_eq!(Option::<u16>::from_wire(&[0]), Ok(None));
    assert_eq!(Option::<u16>::from_wire(&[1, 0, 7]), Ok(Some(7)));
    for other in [&[2, 0, 7][..], &[0, 0], &[1, 0], &[]] {
        assert!(Option::<u16>::from_wire(other).is_err(), "{other:?}");
    }
}

#[test]
fn only_listed_error_codes_decode() {
    // covers: ENC-001
    let known = (0..=u16::MAX)
        .filter_map(|number| ErrorCode::from_wire(&number.to_be_bytes()).ok())
        .collect::<Vec<_>>();
    assert_eq!(known, ErrorCode::ALL);
}

proptest! {
    #[test]
    fn values_round_trip(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        numbers in prop::collection::vec(any::<u32>(), 0..=64),
        chain_id: u64,
        salt: [u8; 32],
    ) {
        // covers: ENC-001
        let bytes = Bytes::new(bytes).unwrap();
        prop_assert_eq!(Bytes::from_wire(&bytes.to_wire()), Ok(bytes));
        let numbers = Numbers::new(numbers).unwrap();
        check_every_cut::<Numbers>(&numbers.to_wire());
        prop_assert_eq!(Numbers::from_wire(&numbers.to_wire()), Ok(numbers));
        let genesis = Genesis { chain_id, ..Genesis::without_chain(GenesisSalt(salt)) };
        prop_assert_eq!(Genesis::from_wire(&genesis.to_wire()), Ok(genesis));
    }

    #[test]
    fn random_bytes_decode_to_their_own_encoding_or_not_at_all(
        input in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        // covers: ENC-001
        check::<Bytes>(&input);
        check::<Numbers>(&input);
        check::<Nested>(&input);
        check::<Option<u64>>(&input);
        check::<ErrorCode>(&input);
    }
}
