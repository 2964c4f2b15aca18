//! Peers that break the rules: the link closes with the right code, and the node goes on.

use quinn::Endpoint;
use tidings_node::link::{LinkEvent, LinkLimits};
use tidings_replica::wire::{ControlFrame, FeedFlush, FeedFrame, FeedRequest};
use tidings_types::constants::FEED_FRAME_BYTES_MAX;
use tidings_types::{BoundedVec, ErrorCode, Height, NetworkId, NodeId, ShardId, Wire};

use super::fixture::{Network, Node, block, flush, log_of, numbered, request, soon, transport_key};
use super::raw::{self, Raw, framed, framed_bytes};

/// Node 2 hears `first` from node 1 as its first words, and closes with `expected`.
async fn check_first_words(
    node: &mut Node,
    endpoint: &Endpoint,
    first: &[u8],
    expected: ErrorCode,
) {
    let mut peer = Raw::call(endpoint, &transport_key(1), node.links.local_address()).await;
    peer.write(first).await;
    peer.control.finish().unwrap();
    assert_eq!(peer.code().await, expected);
    assert_eq!(node.events.try_recv(), None);
}

#[tokio::test]
async fn the_first_frame_is_a_hello_of_this_version_and_network() {
    // covers: REP-002
    let mut network = Network::new(2, &LinkLimits::default());
    let endpoint = raw::endpoint();
    let node = network.node(2);
    let good = raw::hello();
    let ControlFrame::Hello { version, network: id } = good else { unreachable!() };
    let newer = ControlFrame::Hello { version: version + 1, network: id };
    check_first_words(node, &endpoint, &framed(&newer), ErrorCode::UnknownVersion).await;
    let newer = [&newer.to_wire(), b"and more".as_slice()].concat();
    check_first_words(node, &endpoint, &framed_bytes(&newer), ErrorCode::UnknownVersion).await;
    let other = ControlFrame::Hello { version, network: NetworkId([9; 32]) };
    check_first_words(node, &endpoint, &framed(&other), ErrorCode::WrongNetwork).await;
    let longer = [&good.to_wire(), [0].as_slice()].concat();
    check_first_words(node, &endpoint, &framed_bytes(&longer), ErrorCode::Malformed).await;
    check_first_words(node, &endpoint, &framed(&numbered(1, 1)), ErrorCode::Malformed).await;
    check_first_words(node, &endpoint, &framed_bytes(&[]), ErrorCode::Malformed).await;
    check_first_words(node, &endpoint, &framed(&good)[..20], ErrorCode::Malformed).await;
    check_first_words(node, &endpoint, &[0, 0], ErrorCode::Malformed).await;
    check_first_words(node, &endpoint, &[0xff; 8], ErrorCode::TooLarge).await;
    assert_eq!(node.links.counters().hello_refused(), 3);
    assert_eq!(node.links.counters().malformed(), 6);
}

#[tokio::test]
async fn a_peer_without_a_word_is_not_waited_for() {
    // covers: REP-002
    let limits = LinkLimits { handshake_timeout_ms: 200, ..LinkLimits::default() };
    let mut network = Network::new(2, &limits);
    let address = network.node(2).links.local_address();
    let peer = Raw::call(&raw::endpoint(), &transport_key(1), address).await;
    assert_eq!(peer.code().await, ErrorCode::NotReady);
    assert_eq!(network.node(2).links.counters().hello_refused(), 1);
}

/// Node 2 hears `words` from node 1 after its hello, and closes with `expected`.
async fn check_later_words(
    node: &mut Node,
    endpoint: &Endpoint,
    words: &[u8],
    expected: ErrorCode,
) {
    let mut peer = Raw::call(endpoint, &transport_key(1), node.links.local_address()).await;
    peer.greet().await;
    assert_eq!(node.event().await, LinkEvent::Up(NodeId(1)));
    peer.write(&framed(&numbered(1, 3))).await;
    peer.write(words).await;
    assert_eq!(node.event().await, LinkEvent::Control(NodeId(1), numbered(1, 3)));
    assert_eq!(node.event().await, LinkEvent::Down(NodeId(1)));
    assert_eq!(peer.code().await, expected);
}

#[tokio::test]
async fn garbage_on_the_control_stream_closes_the_link() {
    // covers: REP-012
    let mut network = Network::new(2, &LinkLimits::default());
    let endpoint = raw::endpoint();
    let node = network.node(2);
    check_later_words(node, &endpoint, &framed(&raw::hello()), ErrorCode::Malformed).await;
    check_later_words(node, &endpoint, &framed_bytes(&[0xee; 40]), ErrorCode::Malformed).await;
    let longer = [numbered(1, 1).to_wire(), vec![0]].concat();
    check_later_words(node, &endpoint, &framed_bytes(&longer), ErrorCode::Malformed).await;
    check_later_words(node, &endpoint, &[0x7f, 0, 0, 0], ErrorCode::TooLarge).await;
    // Any bytes whatever, from a fixed generator: nothing but a closed link comes of them.
    let mut state = 1u64;
    for length in 1..60 {
        let body: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            state.to_be_bytes()[0] | 0x08
        })
        .take(length)
        .collect();
        check_later_words(node, &endpoint, &framed_bytes(&body), ErrorCode::Malformed).await;
    }
}

#[tokio::test]
async fn a_bad_request_closes_the_link() {
    // covers: REP-012
    let mut network = Network::new(2, &LinkLimits::default());
    let endpoint = raw::endpoint();
    let node = network.node(2);
    let address = node.links.local_address();
    let longer = [request(log_of(2), 0).to_wire(), vec![0]].concat();
    let cases = [
        (framed_bytes(&[9; 18]), ErrorCode::Malformed),
        (framed_bytes(&longer), ErrorCode::Malformed),
        (framed_bytes(&[1; 65]), ErrorCode::TooLarge),
    ];
    for (words, expected) in cases {
        let mut peer = Raw::call(&endpoint, &transport_key(1), address).await;
        peer.greet().await;
        let (mut sending, _receiving) = soon(peer.connection.open_bi()).await.unwrap();
        soon(sending.write_all(&words)).await.unwrap();
        assert_eq!(peer.code().await, expected);
        assert_eq!(node.event().await, LinkEvent::Up(NodeId(1)));
        assert_eq!(node.event().await, LinkEvent::Down(NodeId(1)));
    }
}

/// Node 1 asks a hand-made node 2 for `asked`, is answered with `words`, and closes with
/// `expected`.
async fn check_answer(asked: FeedRequest, words: &[u8], expected: ErrorCode) {
    let mut network = Network::new(2, &LinkLimits::default());
    let server = raw::server(&transport_key(2));
    let address = server.local_addr().unwrap().to_string();
    network.change(|registry| registry.nodes[1].quic = address);
    let mut peer = Raw::answer(&server).await;
    peer.greet().await;
    let node = network.node(1);
    assert_eq!(node.event().await, LinkEvent::Up(NodeId(2)));
    node.links.subscribe(NodeId(2), asked).unwrap();
    let (mut sending, mut receiving) = soon(peer.connection.accept_bi()).await.unwrap();
    let heard = soon(receiving.read_to_end(64)).await.unwrap();
    assert_eq!(heard, framed(&asked));
    soon(sending.write_all(words)).await.unwrap();
    assert_eq!(node.event().await, LinkEvent::Down(NodeId(2)));
    assert_eq!(peer.code().await, expected);
    assert_eq!(node.links.counters().malformed(), 1);
    assert_eq!(node.links.counters().feed_frames_received(), 0);
}

#[tokio::test]
async fn a_feed_of_anything_else_closes_the_link() {
    // covers: REP-012, REP-007
    let asked = request(log_of(2), 0);
    let good = flush(log_of(2), 0, &[10]);
    let frame = |entries: Vec<_>, log| {
        let entries = BoundedVec::new(entries).unwrap();
        FeedFrame::Flush(FeedFlush { entries, checkpoint: flush(log, 0, &[10]).checkpoint })
    };
    let entry = good.entries[0].to_entry();
    let other_log = frame(vec![entry], log_of(1));
    check_answer(asked, &framed(&other_log), ErrorCode::Malformed).await;
    let empty = frame(Vec::new(), log_of(2));
    check_answer(asked, &framed(&empty), ErrorCode::Malformed).await;
    let other_kind = FeedFrame::Block(block(1));
    check_answer(asked, &framed(&other_kind), ErrorCode::Malformed).await;
    let blocks = FeedRequest::Blocks { shard: ShardId(1), from: Height(1) };
    check_answer(blocks, &framed(&other_kind), ErrorCode::Malformed).await;
    check_answer(asked, &framed_bytes(&[7; 30]), ErrorCode::Malformed).await;
    let length = u32::try_from(FEED_FRAME_BYTES_MAX).unwrap() + 1;
    check_answer(asked, &length.to_be_bytes(), ErrorCode::TooLarge).await;
}
