//! Publishing, reading and auditing by plain requests, with good input and with bad.

use tidings_envelope::Topic;
use tidings_envelope::api::{
    BlockPage, LogCursor, LogPage, MEDIA_TYPE, NewestQuery, PublishRequest, PublishResponse,
    PublishResult, StateAnswer, StateQuery, TopicCursor, TopicPage, TopicQuery,
};
use tidings_envelope::{AckLevel, ClientEnvelope, SignedCheckpoint, StateKey};
use tidings_node::http::{OPENAPI, PUBLISH_BYTES_MAX, QUERY_BYTES_MAX, operations, status_of};
use tidings_tlog::{MemoryTree, verify_consistency, verify_inclusion};
use tidings_types::constants::{PAGE_ENTRIES_MAX, PROTOCOL_VERSION};
use tidings_types::{
    EntryHash, EnvelopeId, ErrorCode, Hash, Height, InboxId, LogIndex, LogSize, NodeId, Period,
    ShardId, TopicIndex, Wire,
};

use super::node::{Running, binary, check_refused, elsewhere, start};
use super::store::{batch, client_envelope, log};

fn publish_request(envelopes: &[ClientEnvelope]) -> PublishRequest {
    let ids: Vec<_> = envelopes.iter().map(|envelope| envelope.body.id()).collect();
    let bytes: Vec<_> =
        envelopes.iter().map(|envelope| envelope.to_wire().try_into().unwrap()).collect();
    PublishRequest {
        version: PROTOCOL_VERSION,
        level: AckLevel::Local,
        batch: batch(envelopes),
        ids: ids.try_into().unwrap(),
        envelopes: bytes.try_into().unwrap(),
    }
}

fn query(topic: Topic, limit: u16) -> Vec<u8> {
    TopicQuery::new(topic, TopicCursor::default(), limit).to_wire()
}

fn newest(topic: Topic) -> Vec<u8> {
    NewestQuery { version: PROTOCOL_VERSION, topic }.to_wire()
}

fn entries(topic: Topic, count: usize) -> Vec<(Topic, Vec<u8>)> {
    (0..count).map(|number| (topic, number.to_be_bytes().to_vec())).collect()
}

#[tokio::test]
async fn a_batch_is_published_and_read_back() {
    let (running, topic) = (start(|_| ()).await, Topic::mailbox(1));
    let mut request =
        publish_request(&[client_envelope(topic, b"one"), client_envelope(topic, b"two")]);
    let mut envelopes = request.envelopes.into_vec();
    envelopes.insert(1, vec![1, 2, 3].try_into().unwrap());
    request.envelopes = envelopes.try_into().unwrap();
    let response: PublishResponse =
        binary(running.post("/v1/publish", request.to_wire()).await).await;
    assert_eq!(response.results.len(), 3);
    let refused = PublishResult::Refused { code: ErrorCode::Malformed };
    assert_eq!(response.results.get(1), Some(&refused));
    assert_eq!(response.receipt(2).unwrap().header.topic_index, TopicIndex(1));
    running.node.order(topic);

    let page: TopicPage = binary(running.post("/v1/query", query(topic, 10)).await).await;
    assert_eq!((page.ordered.len(), page.broadcast.len(), page.more), (1, 2, 0));
    let page: TopicPage = binary(running.post("/v1/query", query(topic, 2)).await).await;
    assert_eq!((page.ordered.len(), page.broadcast.len(), page.more), (1, 1, 1));
    let page: TopicPage = binary(running.post("/v1/newest", newest(topic)).await).await;
    let newest: Vec<_> = page.broadcast.iter().map(|e| e.entry.header.topic_index).collect();
    assert_eq!(newest, vec![TopicIndex(1)]);
}

#[tokio::test]
async fn bad_bodies_are_refused() {
    // covers: API-002
    // covers: API-004
    // covers: API-005
    let (running, topic) = (start(|_| ()).await, Topic::mailbox(1));
    let check = async |path, body, status, code| {
        check_refused(running.post(path, body).await, status, code).await;
    };
    let mut trailing = query(topic, 10);
    trailing.push(0);
    let mut future = query(topic, 10);
    future[1] = 2;
    future.truncate(4);
    for path in ["/v1/publish", "/v1/query", "/v1/newest"] {
        check(path, Vec::new(), 400, ErrorCode::Malformed).await;
        check(path, trailing.clone(), 400, ErrorCode::Malformed).await;
        check(path, future.clone(), 422, ErrorCode::UnknownVersion).await;
    }
    check("/v1/query", query(topic, 0), 400, ErrorCode::Malformed).await;
    let over = PAGE_ENTRIES_MAX as u16 + 1;
    check("/v1/query", query(topic, over), 413, ErrorCode::TooLarge).await;
    check("/v1/query", query(elsewhere(), 1), 421, ErrorCode::WrongShard).await;
    check("/v1/newest", newest(elsewhere()), 421, ErrorCode::WrongShard).await;

    let cursor = LogCursor { log: log(1), next: TopicIndex(1), previous: EntryHash::default() };
    let twice = TopicCursor { logs: vec![cursor; 2].try_into().unwrap(), ..TopicCursor::default() };
    let twice = TopicQuery::new(topic, twice, 10).to_wire();
    check("/v1/query", twice, 400, ErrorCode::Malformed).await;
}

#[tokio::test]
async fn large_bodies_are_refused_before_they_are_read() {
    // covers: API-004
    let running = start(|_| ()).await;
    let check = async |path: &str, length: &str, body: &str| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-type: {MEDIA_TYPE}\r\n{length}\r\n\r\n{body}"
        );
        let answer = running.bare(&head).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(answer.contains(ErrorCode::TooLarge.as_str()), "{answer}");
    };
    check("/v1/query", &format!("content-length: {}", QUERY_BYTES_MAX + 1), "").await;
    check("/v1/publish", &format!("content-length: {}", PUBLISH_BYTES_MAX + 1), "").await;
    // Of unannounced length, and over the limit by one byte.
    let body = format!("{:x}\r\n{}", QUERY_BYTES_MAX + 1, "0".repeat(QUERY_BYTES_MAX + 1));
    check("/v1/query", "transfer-encoding: chunked", &body).await;
}

#[tokio::test]
async fn mislabelled_bodies_are_refused() {
    // covers: API-001
    let running = start(|_| ()).await;
    let body = query(Topic::mailbox(1), 10);
    for media_type in [None, Some("application/json")] {
        let mut request = running.client.post(running.url("/v1/query")).body(body.clone());
        if let Some(media_type) = media_type {
            request = request.header("content-type", media_type);
        }
        check_refused(request.send().await.unwrap(), 415, ErrorCode::Malformed).await;
    }
}

#[tokio::test]
async fn unknown_things_are_not_found() {
    let running = start(|_| ()).await;
    running.node.append(log(1), &entries(Topic::mailbox(1), 1));
    for (path, status, code) in [
        ("/v1/nothing", 404, ErrorCode::NotFound),
        ("/v1/publish", 405, ErrorCode::Malformed),
        ("/v1/subscribe", 400, ErrorCode::Malformed),
        ("/v1/state", 405, ErrorCode::Malformed),
        ("/v1/logs/9/0/1", 404, ErrorCode::NotFound),
        ("/v1/logs/x/0/1", 400, ErrorCode::Malformed),
        ("/v1/logs/1/0/1?from=x", 400, ErrorCode::Malformed),
        ("/v1/logs/1/0/1?form=1", 400, ErrorCode::Malformed),
        ("/v1/logs/9/0/1/checkpoint", 404, ErrorCode::NotFound),
        ("/v1/logs/1/0/1/inclusion?index=1&size=1", 400, ErrorCode::Malformed),
        ("/v1/logs/1/0/1/inclusion?index=1&size=2", 404, ErrorCode::NotFound),
        ("/v1/logs/1/0/1/inclusion", 400, ErrorCode::Malformed),
        ("/v1/logs/1/0/1/consistency?old=2&new=1", 400, ErrorCode::Malformed),
        ("/v1/logs/1/0/1/consistency?old=1&new=2", 404, ErrorCode::NotFound),
        ("/v1/blocks/1", 404, ErrorCode::NotFound),
        ("/v1/blocks/x", 400, ErrorCode::Malformed),
    ] {
        check_refused(running.get(path).await, status, code).await;
    }
}

#[tokio::test]
async fn a_log_is_read_page_by_page() {
    // covers: API-006
    let (running, topic) = (start(|_| ()).await, Topic::mailbox(1));
    let flushes = [700, 200, 2_500, 3].map(|count| entries(topic, count));
    for flush in &flushes {
        running.node.append(log(2), flush);
    }
    let mut tree = MemoryTree::new();
    let mut ends = Vec::new();
    loop {
        let first = tree.size().0;
        let page: LogPage =
            binary(running.get(&format!("/v1/logs/2/0/1?from={first}")).await).await;
        assert_eq!(page.first, LogIndex(first));
        page.entries.iter().for_each(|entry| tree.append(entry.header.hash().0));
        if page.entries.is_empty() {
            assert_eq!(page.checkpoint, None);
            break;
        }
        if let Some(checkpoint) = page.checkpoint {
            assert_eq!(checkpoint.checkpoint.size, tree.size());
            assert_eq!(Some(checkpoint.checkpoint.root), tree.root_at(tree.size()));
        }
        ends.push((tree.size().0, page.checkpoint.is_some()));
    }
    assert_eq!(ends, [(900, true), (1_900, false), (2_900, false), (3_403, true)]);
    let newest: SignedCheckpoint = binary(running.get("/v1/logs/2/0/1/checkpoint").await).await;
    assert_eq!(newest.checkpoint.size, LogSize(3_403));
    let logs = running.json("/v1/logs").await;
    assert_eq!(logs[0]["size"], 3_403);
    assert_eq!(logs[0]["root"], hex::encode(newest.checkpoint.root));
}

async fn hashes(running: &Running, path: &str) -> Vec<Hash> {
    let answer = running.json(path).await;
    let hashes = answer["hashes"].as_array().unwrap().iter();
    hashes
        .map(|hash| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(hash.as_str().unwrap(), &mut bytes).unwrap();
            bytes
        })
        .collect()
}

#[tokio::test]
async fn proofs_verify_against_the_checkpoint() {
    // covers: API-007
    let running = start(|_| ()).await;
    let flush = running.node.append(log(1), &entries(Topic::mailbox(1), 5_000));
    let root = flush.checkpoint.checkpoint.root;
    let tree: MemoryTree = flush.entries.iter().map(|entry| entry.hash.0).collect();
    for index in [0, 1, 2_048, 4_999] {
        let path = format!("/v1/logs/1/0/1/inclusion?index={index}&size=5000");
        let leaf = flush.entries[index as usize].hash.0;
        let proof = hashes(&running, &path).await;
        verify_inclusion(leaf, LogIndex(index), LogSize(5_000), &root, &proof).unwrap();
    }
    for old in [1u64, 1_024, 3_333, 5_000] {
        let path = format!("/v1/logs/1/0/1/consistency?old={old}&new=5000");
        let proof = hashes(&running, &path).await;
        let old_root = tree.root_at(LogSize(old)).unwrap();
        verify_consistency((LogSize(old), &old_root), (LogSize(5_000), &root), &proof).unwrap();
    }
}

#[tokio::test]
async fn blocks_are_read_page_by_page() {
    let running = start(|_| ()).await;
    (0..1_100).for_each(|_| running.node.order(Topic::mailbox(1)));
    for (path, first, count) in [
        ("/v1/blocks/0", 1, 1_000),
        ("/v1/blocks/0?from=1001", 1_001, 100),
        ("/v1/blocks/0?from=1101", 0, 0),
    ] {
        let page: BlockPage = binary(running.get(path).await).await;
        let found = page.blocks.first().map_or(Height(0), |block| block.block.header.height);
        assert_eq!((found, page.blocks.len()), (Height(first), count), "{path}");
    }
}

#[tokio::test]
async fn a_look_up_is_answered_with_a_proof_whatever_is_there() {
    // covers: API-030
    let running = start(|_| ()).await;
    running.node.order(Topic::mailbox(1));
    let inbox = StateKey::Inbox(InboxId([6; 32]));
    for key in [inbox, StateKey::Topic(Topic::mailbox(1)), StateKey::Incarnation(NodeId(3))] {
        let query = StateQuery::new(ShardId(0), key);
        let answer: StateAnswer = binary(running.post("/v1/state", query.to_wire()).await).await;
        assert_eq!((answer.proof.key, answer.value), (key, None));
    }
    let decided = StateKey::Decided(Period(1), EnvelopeId([1; 32]));
    let unproved = StateQuery::new(ShardId(0), decided).to_wire();
    check_refused(running.post("/v1/state", unproved).await, 400, ErrorCode::Malformed).await;
    let elsewhere = StateQuery::new(ShardId(1), inbox).to_wire();
    check_refused(running.post("/v1/state", elsewhere).await, 421, ErrorCode::WrongShard).await;
    let newer = StateQuery { version: 2, ..StateQuery::new(ShardId(0), inbox) }.to_wire();
    check_refused(running.post("/v1/state", newer).await, 422, ErrorCode::UnknownVersion).await;
}

#[tokio::test]
async fn people_can_look_around() {
    let running = start(|_| ()).await;
    running.node.append(log(1), &entries(Topic::mailbox(1), 2));
    let status = running.json("/v1/status").await;
    let expected = serde_json::json!({"node": 1, "shard": 0, "incarnation": 1, "size": 2});
    assert_eq!((&status["name"], &status["logs"][0]), (&"node-1".into(), &expected));
    assert_eq!(running.json("/v1/registry").await["shard_count"], 1);
    assert_eq!(running.json("/healthz").await["status"], "up");
}

#[tokio::test]
async fn the_registry_of_an_epoch_is_served_if_it_is_known() {
    // covers: API-023
    let running = start(|_| ()).await;
    assert_eq!(running.json("/v1/registry").await["epoch"], 2);
    for epoch in [1, 2] {
        assert_eq!(running.json(&format!("/v1/registry?epoch={epoch}")).await["epoch"], epoch);
    }
    for (query, status) in [("epoch=3", 404), ("epoch=x", 400), ("era=1", 400)] {
        let answer = running.get(&format!("/v1/registry?{query}")).await;
        assert_eq!(answer.status(), status, "{query}");
    }
}

#[tokio::test]
async fn the_openapi_document_lists_the_routes() {
    // covers: API-020
    let document = start(|_| ()).await.json("/openapi.json").await;
    assert_eq!(document, serde_json::from_str::<serde_json::Value>(OPENAPI).unwrap());
    let paths = document["paths"].as_object().unwrap().iter();
    let mut listed: Vec<_> = paths
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let mut served: Vec<_> =
        operations().map(|(method, path)| (method.to_owned(), path.to_owned())).collect();
    listed.sort();
    served.sort();
    assert_eq!(listed, served);
    check_references(&document, &document);
}

#[test]
fn the_table_of_codes_is_the_one_in_use() {
    // covers: ERR-001
    // covers: ERR-002
    // covers: ERR-003
    let document = include_str!("../../../../../spec/10-errors.md");
    let rows = document.lines().filter(|line| line.contains("| `"));
    let listed: Vec<Vec<&str>> =
        rows.map(|row| row.split('|').map(str::trim).skip(1).take(5).collect()).collect();
    let yes_or_no = |is| if is { "yes" } else { "no" }.to_owned();
    let used: Vec<Vec<String>> = ErrorCode::ALL
        .iter()
        .map(|code| {
            vec![
                (*code as u16).to_string(),
                format!("`{code}`"),
                status_of(*code).as_u16().to_string(),
                yes_or_no(code.retryable()),
                yes_or_no(code.peer_at_fault()),
            ]
        })
        .collect();
    assert_eq!(listed, used);
}

/// Every `$ref` of the document leads somewhere.
fn check_references(document: &serde_json::Value, part: &serde_json::Value) {
    match part {
        serde_json::Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(|value| value.as_str()) {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
            fields.values().for_each(|field| check_references(document, field));
        }
        serde_json::Value::Array(items) => {
            items.iter().for_each(|item| check_references(document, item));
        }
        _ => {}
    }
}
