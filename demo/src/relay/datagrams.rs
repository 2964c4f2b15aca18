//! The sockets and the clock around the packet queues of all links between nodes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Conditions, Counts, PacketQueue, Place};

/// The largest UDP payload.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// All links between nodes.
#[derive(Debug)]
pub struct Datagrams {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    begun: Instant,
    /// Where each node listens and sends from.
    homes: Vec<SocketAddr>,
    /// By where the node's packets go to and, as a peer sees it, come from.
    sockets: Vec<UdpSocket>,
    /// The link from one node to another is at `from * nodes + to`.
    links: Mutex<Vec<PacketQueue>>,
    /// Told when a packet came that may be due before all others.
    moved: Notify,
}

impl Datagrams {
    /// Binds the nodes' public ports and passes packets between them.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub async fn start(seed: u64, places: &[Place], tasks: &mut JoinSet<()>) -> Result<Self> {
        let mut sockets = Vec::new();
        for place in places {
            let bound = UdpSocket::bind(place.public_quic).await;
            sockets.push(bound.with_context(|| format!("relay at {}", place.public_quic))?);
        }
        let links = places.len() * places.len();
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            homes: places.iter().map(|place| place.quic).collect(),
            sockets,
            links: Mutex::new((0..links as u64).map(|at| PacketQueue::new(seed, at)).collect()),
            moved: Notify::new(),
        });
        for to in 0..places.len() {
            tasks.spawn(take(shared.clone(), to));
        }
        tasks.spawn(deliver(shared.clone()));
        Ok(Self { shared })
    }

    /// Changes one direction of a link.
    pub fn set(&self, from: usize, to: usize, conditions: Conditions) {
        self.shared.links()[from * self.shared.homes.len() + to].set(conditions);
        self.shared.moved.notify_one();
    }

    /// What has passed one direction of a link.
    pub fn counts(&self, from: usize, to: usize) -> Counts {
        self.shared.links()[from * self.shared.homes.len() + to].counts()
    }
}

impl Shared {
    fn links(&self) -> MutexGuard<'_, Vec<PacketQueue>> {
        // No holder leaves a queue half changed.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The packets that are due, with the link each is on, and when the next one is.
    fn due(&self, now: Duration) -> (Vec<(usize, Vec<u8>)>, Option<Duration>) {
        let mut links = self.links();
        let mut due = Vec::new();
        for (at, link) in links.iter_mut().enumerate() {
            due.extend(std::iter::from_fn(|| link.poll(now)).map(|packet| (at, packet)));
        }
        (due, links.iter().filter_map(PacketQueue::next_due).min())
    }
}

/// Takes what is sent to one node's public port.
async fn take(shared: Arc<Shared>, to: usize) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // A datagram that a peer's closed port sent back is no reason to end.
        let Ok((length, source)) = shared.sockets[to].recv_from(&mut buffer).await else {
            continue;
        };
        let Some(from) = shared.homes.iter().position(|home| *home == source) else {
            continue;
        };
        let now = shared.begun.elapsed();
        let packet = buffer[..length].to_vec();
        shared.links()[from * shared.homes.len() + to].offer(now, packet);
        shared.moved.notify_one();
    }
}

/// Passes on what is due, for ever.
async fn deliver(shared: Arc<Shared>) {
    loop {
        let (due, next) = shared.due(shared.begun.elapsed());
        for (at, packet) in due {
            let (from, to) = (at / shared.homes.len(), at % shared.homes.len());
            // A node that is down takes nothing, as on any network.
            let _ = shared.sockets[from].send_to(&packet, shared.homes[to]).await;
        }
        match next {
            None => shared.moved.notified().await,
            Some(next) => {
                let at = shared.begun + next;
                // Whether it moved or is due, the queues are looked at again.
                let _ = tokio::time::timeout_at(at, shared.moved.notified()).await;
            }
        }
    }
}
