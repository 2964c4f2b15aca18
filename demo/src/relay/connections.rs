//! The sockets and the clock around the byte queues of HTTP connections to nodes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{ByteQueue, Conditions, Place, Stretch};

const READ_BYTES_MAX: usize = 16 * 1024;

/// The chances of connections are drawn apart from those of packets.
const STREAMS_BEGIN: u64 = 1 << 32;

/// The conditions of each node's HTTP API.
#[derive(Debug)]
pub struct Connections {
    conditions: Vec<watch::Sender<Conditions>>,
}

impl Connections {
    /// Binds the nodes' public ports and passes connections on.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub async fn start(seed: u64, places: &[Place], tasks: &mut JoinSet<()>) -> Result<Self> {
        let mut senders = Vec::new();
        for (node, place) in (0..).zip(places) {
            let bound = TcpListener::bind(place.public_http).await;
            let listener = bound.with_context(|| format!("relay at {}", place.public_http))?;
            let (sender, conditions) = watch::channel(Conditions::default());
            senders.push(sender);
            let chance = Chance { seed, stream: STREAMS_BEGIN * (node + 1) };
            tasks.spawn(accept(listener, place.http, conditions, chance));
        }
        Ok(Self { conditions: senders })
    }

    /// Changes the conditions of a node's API, both ways.
    pub fn set(&self, node: usize, conditions: Conditions) {
        self.conditions[node].send_replace(conditions);
    }
}

/// What a connection draws its chances from.
#[derive(Debug, Clone, Copy)]
struct Chance {
    seed: u64,
    stream: u64,
}

async fn accept(
    listener: TcpListener,
    node: SocketAddr,
    conditions: watch::Receiver<Conditions>,
    mut chance: Chance,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                chance.stream += 2;
                connections.spawn(pass(client, node, conditions.clone(), chance));
            },
            // Connections that have ended are cleared away.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Passes one connection, both ways, until both have ended.
async fn pass(
    client: TcpStream,
    node: SocketAddr,
    conditions: watch::Receiver<Conditions>,
    chance: Chance,
) {
    // A node that is down refuses, and so the client's connection closes.
    let Ok(node) = TcpStream::connect(node).await else { return };
    if client.set_nodelay(true).and_then(|()| node.set_nodelay(true)).is_err() {
        return;
    }
    let (client_reads, client_writes) = client.into_split();
    let (node_reads, node_writes) = node.into_split();
    let back = Chance { stream: chance.stream + 1, ..chance };
    tokio::join!(
        pump(client_reads, node_writes, conditions.clone(), chance),
        pump(node_reads, client_writes, conditions, back),
    );
}

/// Passes one direction until it ends or breaks.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut conditions: watch::Receiver<Conditions>,
    chance: Chance,
) {
    let begun = Instant::now();
    let mut queue = ByteQueue::new(chance.seed, chance.stream);
    let mut buffer = vec![0; READ_BYTES_MAX];
    let mut has_ended = false;
    loop {
        let now = *conditions.borrow_and_update();
        while let Some(stretch) = queue.poll(begun.elapsed(), &now) {
            match stretch {
                Stretch::Bytes(bytes) if to.write_all(&bytes).await.is_ok() => {}
                // An end, or a reader that is gone.
                _ => return,
            }
        }
        let due = queue.next_due(&now);
        tokio::select! {
            read = from.read(&mut buffer), if !has_ended && queue.has_room() => {
                let stretch = match read {
                    Ok(length @ 1..) => Stretch::Bytes(buffer[..length].to_vec()),
                    _ => Stretch::End,
                };
                has_ended = stretch == Stretch::End;
                queue.offer(begun.elapsed(), &now, stretch);
            }
            () = until(begun, due) => {}
            // The sender lives as long as the relay, and ends this task with itself.
            _ = conditions.changed() => {}
        }
    }
}

/// Waits until something is due; for ever if nothing is.
async fn until(begun: Instant, due: Option<Duration>) {
    match due {
        Some(due) => tokio::time::sleep_until(begun + due).await,
        None => std::future::pending().await,
    }
}
