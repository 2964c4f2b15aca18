//! An identity update is taken or refused, and a state decodes to itself or not at all.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_identity::AssociationState;
use tidings_types::NetworkId;

const NETWORK: NetworkId = NetworkId([3; 32]);

// IDN-003, IDN-018, IDN-019.
fuzz_target!(|inputs: (Vec<u8>, Vec<u8>)| {
    let (update, state) = inputs;
    let state = AssociationState::from_wire(&state).ok().inspect(|decoded| {
        assert_eq!(decoded.to_wire(), state);
    });
    for before in [None, state.as_ref()] {
        if let Ok(after) = AssociationState::advance(before, NETWORK, &update) {
            assert_eq!(AssociationState::from_wire(&after.to_wire()), Ok(after));
        }
    }
});
