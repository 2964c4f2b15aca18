//! Every frame between nodes has one encoding, and no bytes make a decoder panic.

use proptest::prelude::*;
use tidings_replica::wire::{ControlFrame, FeedFrame, FeedRequest};
use tidings_types::Wire;

fn check<T: Wire + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(value) = T::from_wire(bytes) {
        assert_eq!(value.to_wire(), bytes);
    }
}

proptest! {
    #[test]
    fn what_decodes_encodes_to_the_same_bytes(
        kind in 0u8..8,
        tail in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        // covers: ENC-001
        let bytes: Vec<u8> = std::iter::once(kind).chain(tail).collect();
        check::<ControlFrame>(&bytes);
        check::<FeedFrame>(&bytes);
        check::<FeedRequest>(&bytes);
    }
}
