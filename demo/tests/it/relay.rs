//! The relay's sockets: who seems to have sent what, and what a link does to it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidings_demo::PortLease;
use tidings_demo::relay::{Conditions, Place, Relay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Two nodes that are no more than their sockets, behind a relay.
struct Pair {
    relay: Relay,
    places: Vec<Place>,
    quic: Vec<UdpSocket>,
    http: Vec<TcpListener>,
    _ports: Vec<PortLease>,
}

impl Pair {
    async fn start() -> Result<Self> {
        let ports: Vec<PortLease> = (0..8).map(|_| PortLease::take()).collect::<Result<_>>()?;
        let address = |at: usize| SocketAddr::from(([127, 0, 0, 1], ports[at].port()));
        let place = |at: usize| Place {
            quic: address(at),
            http: address(at + 1),
            public_quic: address(at + 2),
            public_http: address(at + 3),
        };
        let places = vec![place(0), place(4)];
        let (mut quic, mut http) = (Vec::new(), Vec::new());
        for place in &places {
            quic.push(UdpSocket::bind(place.quic).await?);
            http.push(TcpListener::bind(place.http).await?);
        }
        Ok(Self { relay: Relay::start(1, &places).await?, places, quic, http, _ports: ports })
    }

    /// Sends a packet from one node to the other.
    async fn send(&self, from: usize, text: &str) -> Result<()> {
        let to = self.places[1 - from].public_quic;
        self.quic[from].send_to(text.as_bytes(), to).await?;
        Ok(())
    }

    /// Expects a packet at a node that seems to come from the other's public port.
    async fn expect(&self, at: usize, text: &str) -> Result<()> {
        let mut buffer = [0; 2_000];
        let receiving = self.quic[at].recv_from(&mut buffer);
        let (length, source) = tokio::time::timeout(Duration::from_secs(60), receiving).await??;
        ensure!(
            buffer[..length] == *text.as_bytes(),
            "another packet came: {:?}",
            &buffer[..length]
        );
        ensure!(source == self.places[1 - at].public_quic, "it comes from {source}");
        Ok(())
    }

    /// Waits until the relay has dropped so many packets of a link.
    async fn dropped(&self, from: usize, count: u64) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.relay.counts(from, 1 - from).dropped < count {
            ensure!(Instant::now() < deadline, "the relay drops nothing");
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn packets_pass_both_ways_and_seem_to_come_from_public_ports() -> Result<()> {
    let pair = Pair::start().await?;
    for number in 0..100 {
        let (call, answer) = (format!("call {number}"), format!("answer {number}"));
        pair.send(0, &call).await?;
        pair.expect(1, &call).await?;
        pair.send(1, &answer).await?;
        pair.expect(0, &answer).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_cut_has_a_direction() -> Result<()> {
    let pair = Pair::start().await?;
    pair.relay.set_link(0, 1, Conditions::CUT);
    pair.send(0, "lost").await?;
    pair.dropped(0, 1).await?;
    pair.send(1, "heard").await?;
    pair.expect(0, "heard").await?;
    pair.relay.heal();
    pair.send(0, "again").await?;
    pair.expect(1, "again").await?;
    pair.relay.partition(&[0]);
    pair.send(0, "lost").await?;
    pair.send(1, "lost").await?;
    pair.dropped(0, 2).await?;
    pair.dropped(1, 1).await
}

#[tokio::test]
async fn packets_take_as_long_as_they_should() -> Result<()> {
    let pair = Pair::start().await?;
    pair.relay.set_links(Conditions::slow(Duration::from_millis(40)));
    let begun = Instant::now();
    pair.send(0, "call").await?;
    pair.expect(1, "call").await?;
    pair.send(1, "answer").await?;
    pair.expect(0, "answer").await?;
    ensure!(begun.elapsed() >= Duration::from_millis(80), "{:?}", begun.elapsed());
    Ok(())
}

#[tokio::test]
async fn connections_survive_a_cut_and_end_with_their_node() -> Result<()> {
    let pair = Pair::start().await?;
    let mut client = TcpStream::connect(pair.places[0].public_http).await?;
    client.write_all(b"before").await?;
    let (mut node, _) = pair.http[0].accept().await?;
    let mut buffer = [0; 6];
    node.read_exact(&mut buffer).await?;
    pair.relay.set_http(0, Conditions::CUT);
    client.write_all(b"behind").await?;
    let silence = tokio::time::timeout(Duration::from_millis(50), node.read_exact(&mut buffer));
    ensure!(silence.await.is_err(), "something passes a cut");
    pair.relay.set_http(0, Conditions::default());
    node.write_all(b"answer").await?;
    client.read_exact(&mut buffer).await?;
    ensure!(buffer == *b"answer", "{buffer:?}");
    drop(node);
    let ended = tokio::time::timeout(Duration::from_secs(60), client.read(&mut buffer));
    ensure!(ended.await.context("the end does not come")?? == 0, "more comes");
    Ok(())
}
