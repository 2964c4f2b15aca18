//! Admission panics on nothing, and an envelope has one verdict, alone and among others.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tidings_envelope::{ParsedEnvelope, verify_all};
use tidings_types::{NetworkId, Wire};

const NETWORK: NetworkId = NetworkId([3; 32]);

// ENV-001, ENV-002, ENV-011.
fuzz_target!(|inputs: (Vec<u8>, Vec<u8>, Vec<u8>)| {
    let inputs = [inputs.0, inputs.1, inputs.2];
    let mut parsed = Vec::new();
    for input in &inputs {
        if let Ok(envelope) = ParsedEnvelope::parse(input) {
            assert_eq!(envelope.envelope().to_wire(), *input);
            parsed.push(envelope);
        }
    }
    let mut rng = ChaCha20Rng::seed_from_u64(0);
    let alone: Vec<_> =
        parsed.iter().flat_map(|one| verify_all(vec![one.clone()], NETWORK, &mut rng)).collect();
    assert_eq!(verify_all(parsed, NETWORK, &mut rng), alone);
});
