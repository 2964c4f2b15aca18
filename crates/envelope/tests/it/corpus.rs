//! Inputs that are kept: the shared vectors and the corpus, replayed against every decoder.

use std::path::Path;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use tidings_envelope::api::*;
use tidings_envelope::*;
use tidings_types::Wire;

use crate::codec::{check_input, for_every_type};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Everything that is reached from bytes of a stranger without a key.
fn feed(input: &[u8]) {
    for_every_type!(check_input(input));
    if let Ok(parsed) = ParsedEnvelope::parse(input) {
        assert_eq!(parsed.envelope().to_wire(), input);
    }
    if let Ok(entry) = LogEntry::from_wire(input) {
        let _ = (entry.open(), entry.header.hash());
    }
    if let Ok(envelope) = PayerEnvelope::from_wire(input) {
        let _ = envelope.is_covered();
    }
    if let Ok(request) = PublishRequest::from_wire(input) {
        let paths = request.ids_are_signed().then(|| request.paths().len());
        assert!(paths.is_none_or(|count| count == request.ids.len()));
    }
    if let Ok(block) = Block::from_wire(input) {
        let _ = block.is_consistent();
    }
    let _ = padding::unpad(input.to_vec());
}

/// The input, and the input with pieces cut out, doubled and changed.
fn feed_with_mutations(input: &[u8], rng: &mut ChaCha20Rng) {
    feed(input);
    for _ in 0..12 {
        let mut changed = input.to_vec();
        for _ in 0..=rng.next_u32() % 3 {
            mutate(&mut changed, rng);
        }
        feed(&changed);
    }
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut ChaCha20Rng) {
    let place = match bytes.len() {
        0 => 0,
        length => usize::try_from(rng.next_u64()).unwrap() % length,
    };
    match rng.next_u32() % 4 {
        0 => bytes.truncate(place),
        1 => bytes.extend_from_within(place..),
        2 => bytes.insert(place, 0xff),
        _ => {
            if let Some(byte) = bytes.get_mut(place) {
                *byte = rng.next_u32().to_be_bytes()[0];
            }
        }
    }
}

/// Every hex string of a JSON value.
fn hex_strings(value: &serde_json::Value, found: &mut Vec<Vec<u8>>) {
    match value {
        serde_json::Value::String(text) => found.extend(hex::decode(text)),
        serde_json::Value::Array(values) => values.iter().for_each(|it| hex_strings(it, found)),
        serde_json::Value::Object(fields) => fields.values().for_each(|it| hex_strings(it, found)),
        _ => {}
    }
}

fn texts_in(folder: &Path) -> Vec<String> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path| std::fs::read_to_string(path).unwrap();
    paths.into_iter().map(read).collect()
}

#[test]
fn the_vectors_and_their_mutations_break_no_decoder() {
    // covers: ENC-001
    let mut inputs = Vec::new();
    for suite in ["envelopes", "ordered", "topics"] {
        for text in texts_in(&Path::new(ROOT).join("../../spec/vectors").join(suite)) {
            hex_strings(&serde_json::from_str(&text).unwrap(), &mut inputs);
        }
    }
    inputs.retain(|input| input.len() < 4_096);
    inputs.sort();
    inputs.dedup();
    assert!(inputs.len() > 300, "{} inputs", inputs.len());
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    for input in &inputs {
        feed_with_mutations(input, &mut rng);
    }
}

/// One input per line, in hex; a word before a colon says what it is.
#[test]
fn the_corpus_and_its_mutations_break_no_decoder() {
    // covers: ENC-001
    // covers: ENC-002
    let mut rng = ChaCha20Rng::seed_from_u64(8);
    let mut count = 0;
    for text in texts_in(&Path::new(ROOT).join("tests/corpus")) {
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (_, input) = line.split_once(": ").unwrap();
            feed_with_mutations(&hex::decode(input).unwrap(), &mut rng);
            count += 1;
        }
    }
    assert!(count >= 50, "{count} inputs");
}
