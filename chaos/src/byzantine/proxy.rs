//! The proxy between a node and its peers: each stream of the one side is one on the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tidings_envelope::registry::NodeRecord;
use tidings_types::ed25519::{PublicKey, SigningKey};
use tidings_types::{NodeId, Wire};
use tokio::task::JoinSet;

use super::frames;
use super::liar::Liar;
use super::peers::{Side, key_of};

/// A peer as the node behind the proxy meets it.
#[derive(Debug)]
struct Peer {
    /// The socket that plays the peer.
    played: Side,
    /// Where the peer itself is.
    address: String,
    key: PublicKey,
}

/// The node that is played to its peers, and the peers that are played to it.
#[derive(Debug)]
pub(super) struct Proxy {
    id: NodeId,
    outer: SocketAddr,
    inner: SocketAddr,
    own: Option<Side>,
    peers: BTreeMap<NodeId, Peer>,
    liar: Arc<Mutex<Liar>>,
}

/// Which side of the proxy somebody is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    /// The node behind the proxy.
    Node,
    /// The peer.
    Peer,
}

impl Proxy {
    /// A proxy for the node that listens at `inner`, to be met at `outer`.
    pub(super) fn new(id: NodeId, outer: SocketAddr, inner: SocketAddr, liar: Liar) -> Self {
        let (own, peers, liar) = (None, BTreeMap::new(), Arc::new(Mutex::new(liar)));
        Self { id, outer, inner, own, peers, liar }
    }

    /// Plays the node with this record from now on; for a peer, where the node finds it.
    ///
    /// # Errors
    /// When an address is taken.
    pub(super) fn add(
        &mut self,
        record: &NodeRecord,
        key: SigningKey,
    ) -> Result<Option<SocketAddr>> {
        if record.id == self.id {
            self.own = Some(Side::listen(self.outer, &key)?);
            return Ok(None);
        }
        let played = Side::listen(SocketAddr::from(([127, 0, 0, 1], 0)), &key)?;
        let address = played.address()?;
        let peer = Peer { played, address: record.quic.clone(), key: key.public_key() };
        self.peers.insert(record.id, peer);
        Ok(Some(address))
    }

    /// Passes everything on, for ever: the lower id calls the higher (REP-011).
    pub(super) async fn run(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        for peer in self.peers.keys().filter(|peer| **peer > self.id) {
            tasks.spawn(self.clone().node_calls(*peer));
        }
        tasks.spawn(self.clone().peers_call());
        while tasks.join_next().await.is_some() {}
    }

    /// The node calls a peer with a higher id.
    async fn node_calls(self: Arc<Self>, peer: NodeId) {
        let Some(Peer { played, address, .. }) = self.peers.get(&peer) else { return };
        while let Some(node) = played.accept().await {
            let called = async {
                let address = address.parse().context("a devnet's addresses are numbers")?;
                self.own.as_ref().context("the node is played")?.call(address).await
            };
            match called.await {
                Ok(connection) => drop(tokio::spawn(self.clone().pass(peer, node, connection))),
                Err(_) => node.close(VarInt::from_u32(0), b"the peer does not answer"),
            }
        }
    }

    /// Peers with a lower id call the node.
    async fn peers_call(self: Arc<Self>) {
        let Some(own) = &self.own else { return };
        while let Some(connection) = own.accept().await {
            let key = key_of(&connection);
            let known = self.peers.iter().find(|(_, peer)| Some(peer.key) == key);
            let Some((id, peer)) = known else { continue };
            match peer.played.call(self.inner).await {
                Ok(node) => drop(tokio::spawn(self.clone().pass(*id, node, connection))),
                Err(_) => connection.close(VarInt::from_u32(0), b"the node does not answer"),
            }
        }
    }

    /// Passes one link on until either side ends it.
    async fn pass(self: Arc<Self>, id: NodeId, node: Connection, peer: Connection) {
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().control(id, Speaker::Node, node.clone(), peer.clone()));
        tasks.spawn(self.clone().control(id, Speaker::Peer, peer.clone(), node.clone()));
        tasks.spawn(self.clone().feeds(id, Speaker::Node, peer.clone(), node.clone()));
        tasks.spawn(self.clone().feeds(id, Speaker::Peer, node.clone(), peer.clone()));
        tokio::select! {
            _ = node.closed() => {}
            _ = peer.closed() => {}
        }
        node.close(VarInt::from_u32(0), b"the other side is gone");
        peer.close(VarInt::from_u32(0), b"the other side is gone");
    }

    /// Passes what `speaker` says on its control stream.
    async fn control(
        self: Arc<Self>,
        id: NodeId,
        speaker: Speaker,
        from: Connection,
        to: Connection,
    ) {
        let Ok(reading) = from.accept_uni().await else { return };
        let Ok(writing) = to.open_uni().await else { return };
        self.pump(id, speaker, Kind::Control, reading, writing).await;
    }

    /// Passes what `speaker` answers on the streams that the other side opens.
    async fn feeds(
        self: Arc<Self>,
        id: NodeId,
        speaker: Speaker,
        asker: Connection,
        answerer: Connection,
    ) {
        while let Ok((answers_out, requests_in)) = asker.accept_bi().await {
            let Ok((requests_out, answers_in)) = answerer.open_bi().await else { return };
            let asking = match speaker {
                Speaker::Node => Speaker::Peer,
                Speaker::Peer => Speaker::Node,
            };
            let proxy = self.clone();
            tokio::spawn(async move {
                tokio::join!(
                    proxy.pump(id, asking, Kind::Request, requests_in, requests_out),
                    proxy.pump(id, speaker, Kind::Feed, answers_in, answers_out),
                );
            });
        }
    }

    /// Passes one stream on, frame by frame, until it ends or its reader has enough.
    async fn pump(
        &self,
        id: NodeId,
        speaker: Speaker,
        kind: Kind,
        mut from: RecvStream,
        mut to: SendStream,
    ) {
        let mut stopped = pin!(to.stopped());
        loop {
            let frame = tokio::select! {
                frame = frames::read(&mut from) => frame,
                _ = &mut stopped => return,
            };
            let Ok(Some(frame)) = frame else { break };
            for said in self.said(id, speaker, kind, frame) {
                if frames::write(&mut to, &said).await.is_err() {
                    return;
                }
            }
        }
        // It may be over already.
        let _ = to.finish();
    }

    /// What is said instead of a frame.
    fn said(&self, id: NodeId, speaker: Speaker, kind: Kind, frame: Vec<u8>) -> Vec<Vec<u8>> {
        if speaker == Speaker::Peer || kind == Kind::Request {
            return vec![frame];
        }
        let mut liar = self.liar.lock().unwrap_or_else(PoisonError::into_inner);
        // What does not decode is passed as it is: the liar knows less than the node.
        match kind {
            Kind::Feed => match Wire::from_wire(&frame) {
                Ok(said) => liar.feed(id, said).iter().map(Wire::to_wire).collect(),
                Err(_) => vec![frame],
            },
            Kind::Control | Kind::Request => match Wire::from_wire(&frame) {
                Ok(said) => liar.control(id, said).iter().map(Wire::to_wire).collect(),
                Err(_) => vec![frame],
            },
        }
    }
}

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Control,
    Request,
    Feed,
}
