//! The shared vectors: hashes, signatures and verdicts of independent implementations.

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tidings_types::ed25519::{PublicKey, Signature, SigningKey, Statement, preimage, verify_batch};
use tidings_types::node_key::{NodeSignature, domain};
use tidings_types::{EthereumAddress, Genesis, Hash, NetworkId, labelled_hash};

#[derive(Deserialize)]
struct Suite<Case> {
    cases: Vec<Case>,
}

fn cases<Case: DeserializeOwned>(file: &str) -> Vec<Case> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors/encoding/");
    let text = std::fs::read_to_string(format!("{folder}{file}")).unwrap();
    serde_json::from_str::<Suite<Case>>(&text).unwrap().cases
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

fn array<const LENGTH: usize>(text: &str) -> [u8; LENGTH] {
    bytes(text).try_into().unwrap()
}

#[derive(Deserialize)]
struct Label {
    comment: String,
    label: String,
    network: NetworkId,
    body: String,
    hash: String,
    preimage: String,
    secret: String,
    public_key: PublicKey,
    signature: String,
}

#[test]
fn labels_give_the_hashes_and_signatures_of_another_implementation() {
    // covers: ENC-003
    // covers: ENC-004
    for case in cases::<Label>("labels.json") {
        let body = bytes(&case.body);
        let hash: Hash = labelled_hash(&case.label, &[&body]);
        assert_eq!(hex::encode(hash), case.hash, "{}", case.comment);
        let signed = preimage(&case.label, case.network, &body);
        assert_eq!(hex::encode(signed), case.preimage, "{}", case.comment);
        let key = SigningKey::from_secret(&array(&case.secret));
        assert_eq!(key.public_key(), case.public_key);
        let signature = key.sign(&case.label, case.network, &body);
        assert_eq!(hex::encode(signature.0), case.signature, "{}", case.comment);
        case.public_key.verify(&case.label, case.network, &body, &signature).unwrap();
    }
}

#[derive(Deserialize)]
struct Network {
    comment: String,
    #[serde(flatten)]
    genesis: Genesis,
    network: NetworkId,
    domain_separator: String,
}

#[test]
fn networks_have_the_ids_and_domains_of_another_implementation() {
    // covers: ENC-005
    for case in cases::<Network>("networks.json") {
        let network = case.genesis.network_id();
        assert_eq!(network, case.network, "{}", case.comment);
        let separator = domain(network).hash_struct();
        assert_eq!(hex::encode(separator), case.domain_separator, "{}", case.comment);
    }
}

#[derive(Deserialize)]
struct Verdict {
    comment: String,
    public_key: PublicKey,
    message: String,
    signature: String,
    valid: bool,
}

impl Verdict {
    fn statement(&self) -> Statement {
        Statement {
            key: self.public_key,
            message: bytes(&self.message),
            signature: Signature(array(&self.signature)),
        }
    }
}

fn honest(number: u8) -> Statement {
    let (key, network) = (SigningKey::from_secret(&[number; 32]), NetworkId([3; 32]));
    Statement {
        key: key.public_key(),
        message: preimage("test", network, &[number]),
        signature: key.sign("test", network, &[number]),
    }
}

#[test]
fn every_signature_gets_one_verdict_alone_and_at_every_place_of_a_batch() {
    // covers: ENC-006
    for case in cases::<Verdict>("ed25519.json") {
        let subject = case.statement();
        assert_eq!(subject.verify().is_ok(), case.valid, "{}", case.comment);
        for place in 0..4 {
            let mut batch: Vec<Statement> = (0..3).map(honest).collect();
            batch.insert(place, subject.clone());
            let mut expected = vec![true; 4];
            expected[place] = case.valid;
            let verdicts = verify_batch(&batch, &mut ChaCha20Rng::seed_from_u64(1));
            assert_eq!(verdicts, expected, "{} at {place}", case.comment);
        }
    }
}

#[test]
fn all_verdicts_at_once_are_the_verdicts_one_by_one() {
    // covers: ENC-006
    let cases = cases::<Verdict>("ed25519.json");
    let statements: Vec<Statement> = cases.iter().map(Verdict::statement).collect();
    let expected: Vec<bool> = cases.iter().map(|case| case.valid).collect();
    for seed in 0..4 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        assert_eq!(verify_batch(&statements, &mut rng), expected);
    }
}

#[derive(Deserialize)]
struct Recovery {
    comment: String,
    digest: String,
    signature: String,
    signer: Option<EthereumAddress>,
}

#[test]
fn node_signatures_recover_to_the_signer_or_to_nobody() {
    // covers: ENC-007
    for case in cases::<Recovery>("secp256k1.json") {
        let signature = NodeSignature(array(&case.signature));
        let recovered = signature.recover(&array(&case.digest)).ok();
        assert_eq!(recovered, case.signer, "{}", case.comment);
    }
}
