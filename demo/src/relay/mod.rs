//! A relay on loopback that stands on every link of a network, and makes links bad.
//!
//! The registry names the relay's ports as the nodes' addresses.
//! Between nodes it passes QUIC packets: whoever calls a node sends to the node's port here, and
//! is told apart by the port it sends from; the packet leaves from the caller's own port here, so
//! that the answer comes back the same way.
//! Between clients or gateways and nodes it passes HTTP connections.
//! What happens to a packet or a stretch of a stream is decided in [`PacketQueue`] and
//! [`ByteQueue`], without sockets or clocks.

mod bytes;
mod conditions;
mod connections;
mod datagrams;
mod packets;

pub use bytes::{ByteQueue, STREAM_BYTES_MAX, Stretch};
pub use conditions::{BACKLOG_MAX, Conditions, HELD_BACK};
pub use packets::{Counts, PacketQueue};

use std::net::SocketAddr;

use anyhow::Result;
use tokio::task::JoinSet;

use connections::Connections;
use datagrams::Datagrams;

/// Where a node listens, and where the relay does for it.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The node's own QUIC address.
    pub quic: SocketAddr,
    /// The node's own HTTP address.
    pub http: SocketAddr,
    /// Where its peers find it.
    pub public_quic: SocketAddr,
    /// Where clients and gateways find it.
    pub public_http: SocketAddr,
}

/// A running relay; dropping it ends all that passes through it.
#[derive(Debug)]
pub struct Relay {
    nodes: usize,
    datagrams: Datagrams,
    connections: Connections,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Starts a relay for nodes at `places`; chance is drawn from `seed`.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub async fn start(seed: u64, places: &[Place]) -> Result<Self> {
        let mut tasks = JoinSet::new();
        let datagrams = Datagrams::start(seed, places, &mut tasks).await?;
        let connections = Connections::start(seed, places, &mut tasks).await?;
        Ok(Self { nodes: places.len(), datagrams, connections, _tasks: tasks })
    }

    /// Changes one direction of the link between two nodes.
    pub fn set_link(&self, from: usize, to: usize, conditions: Conditions) {
        self.datagrams.set(from, to, conditions);
    }

    /// Changes every link between nodes, both ways.
    pub fn set_links(&self, conditions: Conditions) {
        for from in 0..self.nodes {
            for to in (0..self.nodes).filter(|to| *to != from) {
                self.set_link(from, to, conditions);
            }
        }
    }

    /// Cuts every link between a node in `one` and a node outside, both ways.
    pub fn partition(&self, one: &[usize]) {
        for from in 0..self.nodes {
            for to in 0..self.nodes {
                if one.contains(&from) != one.contains(&to) {
                    self.set_link(from, to, Conditions::CUT);
                }
            }
        }
    }

    /// Changes both directions between a node and those who use its HTTP API.
    pub fn set_http(&self, node: usize, conditions: Conditions) {
        self.connections.set(node, conditions);
    }

    /// Makes every link good again.
    pub fn heal(&self) {
        self.set_links(Conditions::default());
        (0..self.nodes).for_each(|node| self.set_http(node, Conditions::default()));
    }

    /// What has passed from one node to another.
    #[must_use]
    pub fn counts(&self, from: usize, to: usize) -> Counts {
        self.datagrams.counts(from, to)
    }
}
