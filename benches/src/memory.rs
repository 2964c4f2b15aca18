//! What a node weighs with much stored and many idle subscribers.

use anyhow::{Context, Result};
use futures_util::SinkExt;
use tidings_demo::{Network, Options};
use tidings_envelope::api::{SubscriberFrame, Subscription, TopicCursor};
use tidings_envelope::{AckLevel, Topic};
use tidings_types::Wire;
use tidings_types::ed25519::PublicKey;
use tokio_tungstenite::tungstenite::Message;

use crate::load::{Amount, Load};
use crate::machine::resident_mib;
use crate::report::{Figure, Section};

const SUBSCRIBERS: u16 = 1_000;

/// Stores envelopes in one node, connects idle subscribers, and reads the node's memory.
///
/// # Errors
/// When the node does not start or its memory cannot be read.
pub async fn run(stored: u64) -> Result<Section> {
    let options = Options { nodes: 1, replication: 1, ..Options::default() };
    let network = Network::start(options).await?;
    let load = Load::new(&network, 0, 256)?;
    let (stored, _) = load.run(Amount::Envelopes(stored), 4, 256, AckLevel::Local).await?;
    let pid = network.pid(0).context("the node runs")?;
    let after_load = resident_mib(pid)?;
    let url = network.nodes()[0].http.replacen("http", "ws", 1) + "/v1/subscribe";
    let mut sockets = Vec::new();
    for number in 0..SUBSCRIBERS {
        let (mut socket, _) = tokio_tungstenite::connect_async(&url).await?;
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        let topic = Topic::group(&PublicKey(key));
        let subscription = Subscription { topic, cursor: TopicCursor::default() };
        let frame = SubscriberFrame::Subscribe(vec![subscription].try_into()?);
        socket.send(Message::Binary(frame.to_wire().into())).await?;
        sockets.push(socket);
    }
    let with_subscribers = resident_mib(pid)?;
    drop(sockets);
    network.stop().await?;
    let figure = |name: &str, value: u64, target| Figure {
        name: name.into(),
        value: format!("{value} MiB"),
        target,
    };
    Ok(Section {
        title: "Memory of one node",
        method: format!(
            "One node on SQLite after {stored} envelopes of 256 bytes as fast as it takes them, \
             then with {SUBSCRIBERS} idle subscribers; resident memory of the process."
        ),
        figures: vec![
            figure("right after the load", after_load, ""),
            figure("with subscribers", with_subscribers, "< 300 MiB"),
        ],
    })
}
