//! `tidings inspect` on real structures, and on bytes that are none.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tidings_envelope::{
    Checkpoint, ClientEnvelope, EnvelopeBody, Evidence, LogId, Payload, SignedCheckpoint, Topic,
};
use tidings_types::ed25519::SigningKey;
use tidings_types::node_key::NodeKey;
use tidings_types::{
    EthereumAddress, Incarnation, LogSize, NetworkId, NodeId, Period, ShardId, Wire,
};

use crate::program::{command, json, refused, run, word};

const NETWORK: NetworkId = NetworkId([7; 32]);

fn envelope() -> ClientEnvelope {
    let key = SigningKey::from_secret(&[1; 32]);
    let payload = Payload::new(vec![5; 256]).unwrap();
    let topic = Topic::group(&key.public_key());
    EnvelopeBody::broadcast(topic, EthereumAddress([2; 20]), Period(4), payload).sign(&key, NETWORK)
}

fn checkpoint(key: &NodeKey, network: NetworkId, root: u8) -> SignedCheckpoint {
    let log = LogId { node: NodeId(1), shard: ShardId(0), incarnation: Incarnation(3) };
    Checkpoint::new(log, LogSize(9), [root; 32], Period(2)).sign(key, network)
}

/// Inspects bytes in a file.
fn inspect(bytes: &[u8], kind: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bytes");
    std::fs::write(&path, bytes).unwrap();
    json(&[&["inspect"], kind, &[word(&path)]].concat())
}

#[test]
fn an_envelope_is_recognised_and_shown() {
    let envelope = envelope();
    for kind in [&[][..], &["auto"], &["envelope"]] {
        let answer = inspect(&envelope.to_wire(), kind);
        assert_eq!(answer["kind"], "envelope");
        assert_eq!(answer["value"]["id"], envelope.body.id().to_string());
        assert_eq!(answer["value"]["lane"], "broadcast");
        assert_eq!(answer["value"]["payload"]["length_bytes"], 256);
        assert_eq!(answer["value"]["proof"]["kind"], "key");
    }
}

#[test]
fn hex_and_standard_input_are_read() {
    let digits = format!("0x{}\n", hex::encode(envelope().to_wire()));
    assert_eq!(inspect(digits.as_bytes(), &[])["kind"], "envelope");
    let mut child =
        command(&["inspect", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&envelope().to_wire()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.starts_with("envelope\n"), "{text}");
    assert!(text.contains("not_after: 4"), "{text}");
}

#[test]
fn signatures_are_checked_by_a_registry() {
    let folder = tempfile::tempdir().unwrap();
    let dir = word(folder.path());
    run(&["devnet-init", "--dir", dir, "--nodes", "1", "--replication", "1", "--ports", "1,2,3"]);
    let registry = folder.path().join("registry.json");
    let network =
        serde_json::from_slice::<tidings_envelope::Registry>(&std::fs::read(&registry).unwrap())
            .unwrap()
            .network_id();
    let secret = std::fs::read(folder.path().join("nodes/0/signing.key")).unwrap();
    let secret: [u8; 32] = hex::decode(secret).unwrap().try_into().unwrap();
    let key = NodeKey::from_secret(&secret).unwrap();
    let file = folder.path().join("structure");
    let words = ["inspect", word(&file), "--registry", word(&registry)];

    std::fs::write(&file, checkpoint(&key, network, 1).to_wire()).unwrap();
    let answer = json(&words);
    assert_eq!(answer["kind"], "checkpoint");
    assert_eq!(answer["findings"][0]["holds"], true);

    std::fs::write(&file, checkpoint(&key, NETWORK, 1).to_wire()).unwrap();
    assert!(refused(&words, 1).contains("not everything holds"));

    let pair = (checkpoint(&key, network, 1), checkpoint(&key, network, 2));
    std::fs::write(&file, Evidence::Checkpoints(pair.0, pair.1).to_wire()).unwrap();
    let answer = json(&words);
    assert_eq!(answer["findings"][0]["what"], "evidence against node 1");
    assert_eq!(answer["findings"][0]["holds"], true);
}

#[test]
fn bytes_that_are_nothing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bytes");
    let mut trailing = envelope().to_wire();
    trailing.push(0);
    for bytes in [&b""[..], b"\xff\xff\xff", b"{\"json\":1}", &trailing] {
        std::fs::write(&path, bytes).unwrap();
        let error = refused(&["inspect", word(&path)], 1);
        assert!(error.contains("no structure"), "{error}");
        refused(&["inspect", "envelope", word(&path)], 1);
    }
    refused(&["inspect", word(&folder.path().join("absent"))], 1);
}

#[test]
fn the_vectors_of_identity_are_shown_as_they_say() {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/identity/encoding.json");
    let vectors: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let mut accepted = 0;
    for case in vectors["cases"].as_array().unwrap() {
        let update = case["update"].as_str().unwrap();
        if case["outcome"] != "accepted" {
            continue;
        }
        accepted += 1;
        let answer = inspect(update.as_bytes(), &["identity-update"]);
        assert_eq!(answer["value"]["hash"], case["hash"], "{}", case["comment"]);
    }
    assert!(accepted > 0);
}
