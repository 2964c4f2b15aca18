//! A signature has one verdict, alone and beside a valid one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tidings_types::NetworkId;
use tidings_types::ed25519::{PublicKey, Signature, SigningKey, Statement, preimage, verify_batch};

fn honest() -> Statement {
    let (key, network) = (SigningKey::from_secret(&[1; 32]), NetworkId([3; 32]));
    Statement {
        key: key.public_key(),
        message: preimage("fuzz", network, b"honest"),
        signature: key.sign("fuzz", network, b"honest"),
    }
}

// ENC-006.
fuzz_target!(|input: ([u8; 32], [u8; 32], [u8; 32], Vec<u8>)| {
    let (key, nonce, response, message) = input;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&nonce);
    signature[32..].copy_from_slice(&response);
    let subject = Statement { key: PublicKey(key), message, signature: Signature(signature) };
    let alone = subject.verify().is_ok();
    let mut rng = ChaCha20Rng::seed_from_u64(0);
    assert_eq!(verify_batch(&[honest(), subject.clone()], &mut rng), [true, alone]);
    assert_eq!(verify_batch(&[subject, honest()], &mut rng), [alone, true]);
});
