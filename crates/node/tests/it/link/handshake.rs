//! Who gets a link, and who no longer has one.

use std::sync::Arc;

use quinn::ConnectionError;
use tidings_envelope::Registry;
use tidings_node::link::{LinkEvent, LinkLimits};
use tidings_types::{ErrorCode, NodeId};
use tokio::sync::watch;

use super::fixture::{
    Network, Node, log_of, numbered, registry, request, soon, transport_key, until,
};
use super::raw::{self, Raw};

/// Calls node 1 in a way that must end in the handshake.
async fn check_refused(node: &Node, config: quinn::ClientConfig) {
    let endpoint = raw::endpoint();
    let address = node.links.local_address();
    let connecting = endpoint.connect_with(config, address, "anything").unwrap();
    // A caller may believe in the connection until the answer to its certificate comes.
    let error = match soon(connecting).await {
        Err(error) => error,
        Ok(connection) => {
            if let Ok((mut sending, mut receiving)) = connection.open_bi().await {
                let _ = sending.write_all(&raw::framed(&request(log_of(1), 0))).await;
                assert!(soon(receiving.read_to_end(1)).await.is_err());
            }
            soon(connection.closed()).await
        }
    };
    let ConnectionError::ConnectionClosed(closed) = error else { panic!("{error:?}") };
    // TLS alerts are QUIC errors from 0x100 on (RFC 9001 §4.8).
    assert!((0x100..0x200).contains(&u64::from(closed.error_code)), "{closed:?}");
}

#[tokio::test]
async fn only_registered_keys_get_a_stream() {
    // covers: REP-001
    let mut network = Network::new(2, &LinkLimits::default());
    let node = network.node(1);
    let unregistered = raw::ed25519_pair(&transport_key(99));
    check_refused(node, raw::caller(Some(&unregistered), raw::ALPN)).await;
    check_refused(node, raw::caller(None, raw::ALPN)).await;
    let other_kind = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    check_refused(node, raw::caller(Some(&other_kind), raw::ALPN)).await;
    let registered = raw::ed25519_pair(&transport_key(2));
    check_refused(node, raw::caller(Some(&registered), b"tidings/0")).await;
    until(|| node.links.counters().handshakes_refused() == 4).await;
    assert_eq!(node.events.try_recv(), None);
    assert_eq!(node.links.peers(), []);
}

#[tokio::test]
async fn an_answer_with_another_key_is_refused() {
    // covers: REP-001
    let mut network = Network::new(3, &LinkLimits::default());
    let third = network.node(3).links.local_address().to_string();
    // Both records lead to node 3, which is registered, but is not node 2.
    network.change(|registry| registry.nodes[1].quic.clone_from(&third));
    network.change(|registry| registry.nodes[2].quic = third);
    let node = network.node(1);
    assert_eq!(node.event().await, LinkEvent::Up(NodeId(3)));
    until(|| node.links.counters().handshakes_refused() > 0).await;
    assert_eq!(node.links.peers(), [NodeId(3)]);
}

#[tokio::test]
async fn a_removed_node_is_dropped_and_a_listed_one_returns() {
    // covers: REP-008
    let mut network = Network::linked(3).await;
    let before = network.registry.borrow().clone();
    network.change(|registry| registry.nodes.retain(|node| node.id != NodeId(2)));
    for id in [1, 3] {
        let node = network.node(id);
        assert_eq!(node.event().await, LinkEvent::Down(NodeId(2)));
        assert!(node.links.send(NodeId(2), &numbered(1, 1)).is_err());
    }
    // The others keep their link.
    network.node(1).links.send(NodeId(3), &numbered(1, 7)).unwrap();
    let told = network.node(3).event().await;
    assert_eq!(told, LinkEvent::Control(NodeId(1), numbered(1, 7)));
    let removed = raw::ed25519_pair(&transport_key(2));
    check_refused(network.node(1), raw::caller(Some(&removed), raw::ALPN)).await;
    network.change(|registry| *registry = Registry::clone(&before));
    assert_eq!(network.node(1).event().await, LinkEvent::Up(NodeId(2)));
    assert_eq!(network.node(3).event().await, LinkEvent::Up(NodeId(2)));
}

#[tokio::test]
async fn a_changed_key_ends_the_old_ones_link() {
    // covers: REP-008
    let mut network = Network::new(2, &LinkLimits::default());
    let address = network.node(2).links.local_address();
    let endpoint = raw::endpoint();
    let mut peer = Raw::call(&endpoint, &transport_key(1), address).await;
    peer.hello().await;
    assert_eq!(network.node(2).event().await, LinkEvent::Up(NodeId(1)));
    network.change(|registry| registry.nodes[0].transport = transport_key(9).public_key());
    assert_eq!(network.node(2).event().await, LinkEvent::Down(NodeId(1)));
    assert_eq!(peer.code().await, ErrorCode::Unauthorized);
    assert_eq!(network.node(2).links.counters().unregistered(), 1);
    let mut peer = Raw::call(&endpoint, &transport_key(9), address).await;
    peer.hello().await;
    assert_eq!(network.node(2).event().await, LinkEvent::Up(NodeId(1)));
}

#[tokio::test]
async fn a_pair_has_one_link_the_newest() {
    // covers: REP-011
    let mut network = Network::new(2, &LinkLimits::default());
    let node = network.node(2);
    let address = node.links.local_address();
    let endpoint = raw::endpoint();
    let mut first = Raw::call(&endpoint, &transport_key(1), address).await;
    first.hello().await;
    assert_eq!(node.event().await, LinkEvent::Up(NodeId(1)));
    let mut second = Raw::call(&endpoint, &transport_key(1), address).await;
    second.hello().await;
    assert_eq!(node.event().await, LinkEvent::Down(NodeId(1)));
    assert_eq!(node.event().await, LinkEvent::Up(NodeId(1)));
    assert_eq!(first.code().await, ErrorCode::Repeated);
    second.write(&raw::framed(&numbered(1, 5))).await;
    assert_eq!(node.event().await, LinkEvent::Control(NodeId(1), numbered(1, 5)));
    assert_eq!(node.links.counters().links_up(), 1);
}

#[tokio::test]
async fn the_higher_id_does_not_call() {
    // covers: REP-011
    let mut network = Network::new(3, &LinkLimits::default());
    let address = network.node(2).links.local_address();
    let endpoint = raw::endpoint();
    for id in [2, 3] {
        let peer = Raw::call(&endpoint, &transport_key(id), address).await;
        assert_eq!(peer.code().await, ErrorCode::Unauthorized);
    }
    assert_eq!(network.node(2).events.try_recv(), None);
}

#[tokio::test]
async fn a_dead_peer_is_noticed_and_comes_back() {
    let limits = LinkLimits { keep_alive_ms: 100, idle_timeout_ms: 500, ..LinkLimits::default() };
    let (registry, _) = watch::channel(Arc::new(registry(2)));
    let mut node = Node::start(1, &registry, limits.clone());
    // The peer has a runtime of its own, which dies without a farewell.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let guard = runtime.enter();
    let peer = Node::start(2, &registry, limits.clone());
    drop(guard);
    let address = peer.links.local_address().to_string();
    registry.send_modify(|all| Arc::make_mut(all).nodes[1].quic.clone_from(&address));
    assert_eq!(node.event().await, LinkEvent::Up(NodeId(2)));
    runtime.shutdown_background();
    assert_eq!(node.event().await, LinkEvent::Down(NodeId(2)));
    drop(peer);
    let mut returned = Node::start(2, &registry, limits);
    let address = returned.links.local_address().to_string();
    registry.send_modify(|all| Arc::make_mut(all).nodes[1].quic.clone_from(&address));
    assert_eq!(node.event().await, LinkEvent::Up(NodeId(2)));
    assert_eq!(returned.event().await, LinkEvent::Up(NodeId(1)));
}

#[tokio::test]
async fn a_stopping_node_says_so() {
    let mut network = Network::new(2, &LinkLimits::default());
    let mut peer =
        Raw::call(&raw::endpoint(), &transport_key(1), network.node(2).links.local_address()).await;
    peer.hello().await;
    assert_eq!(network.node(2).event().await, LinkEvent::Up(NodeId(1)));
    let Node { links, mut events, .. } = network.nodes.pop().unwrap();
    links.shutdown().await;
    assert_eq!(peer.code().await, ErrorCode::ShuttingDown);
    assert_eq!(soon(events.recv()).await, Some(LinkEvent::Down(NodeId(1))));
    drop(network);
    assert_eq!(soon(events.recv()).await, None);
}
