//! How soon a subscriber at another node has what was published.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use tidings_demo::{Network, Options, Published, Publisher};
use tidings_envelope::api::{NodeFrame, SubscriberFrame, Subscription, TopicCursor};
use tidings_envelope::{AckLevel, Lane, Topic};
use tidings_types::ed25519::SigningKey;
use tidings_types::{EnvelopeId, NodeId, Wire};
use tokio_tungstenite::tungstenite::Message;

use crate::report::{Section, percentiles};

const RATE_PER_SECOND: u64 = 500;

/// When each envelope was handed to its node.
type Handed = Arc<Mutex<BTreeMap<EnvelopeId, Instant>>>;

/// Publishes at one node at a steady rate and subscribes at another.
///
/// # Errors
/// When a node refuses an envelope or a delivery is missing.
pub async fn run(seconds: u64) -> Result<Section> {
    let network = Network::start(Options::default()).await?;
    let publisher = Publisher::new(&network)?;
    let key = SigningKey::from_secret(&[9; 32]);
    let topic = Topic::group(&key.public_key());
    let handed = Handed::default();
    let count = RATE_PER_SECOND * seconds;
    let url = network.nodes()[2].http.replacen("http", "ws", 1) + "/v1/subscribe";
    let delivered = subscribe(&url, topic, handed.clone(), count).await?;
    let layout = &network.nodes()[1];
    let node = (layout.http.clone(), NodeId(layout.id));
    let receipts = publish(publisher, node, key, handed, count).await?;
    let delivered = tokio::time::timeout(Duration::from_secs(60), delivered).await???;
    network.stop().await?;
    let mut figures = percentiles("published → delivered", delivered, ["", "", "< 50 ms; goal 20"]);
    figures.extend(percentiles("published → replicated receipt", receipts, ["", "", ""]));
    Ok(Section {
        title: "Delivery through four nodes",
        method: format!(
            "Four nodes on one machine; single envelopes of 256 bytes published at one node, \
             {RATE_PER_SECOND} per second for {seconds} s with `replicated` receipts; a \
             subscriber's WebSocket is at another node."
        ),
        figures,
    })
}

/// Subscribes, waits until caught up, and then takes the time of each delivery.
async fn subscribe(
    url: &str,
    topic: Topic,
    handed: Handed,
    count: u64,
) -> Result<tokio::task::JoinHandle<Result<Vec<u64>>>> {
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await?;
    let subscription = Subscription { topic, cursor: TopicCursor::default() };
    let frame = SubscriberFrame::Subscribe(vec![subscription].try_into()?);
    socket.send(Message::Binary(frame.to_wire().into())).await?;
    loop {
        match next_frame(&mut socket).await? {
            NodeFrame::CaughtUp(_) => break,
            NodeFrame::Refused { code, .. } => bail!("refused: {code}"),
            _ => {}
        }
    }
    Ok(tokio::spawn(async move {
        let mut micros = Vec::new();
        while (micros.len() as u64) < count {
            let NodeFrame::Broadcast(entry) = next_frame(&mut socket).await? else { continue };
            let now = Instant::now();
            let id = entry.entry.header.envelope_id;
            let sent = handed.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            if let Some(sent) = sent {
                micros.push(u64::try_from((now - sent).as_micros())?);
            }
        }
        Ok(micros)
    }))
}

async fn next_frame<S>(socket: &mut S) -> Result<NodeFrame>
where
    S: StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    loop {
        match socket.next().await {
            Some(Ok(Message::Binary(bytes))) => return Ok(NodeFrame::from_wire(&bytes)?),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => bail!("the node closed the connection"),
        }
    }
}

/// Publishes at the rate, each envelope in a request of its own; answers how long receipts took.
async fn publish(
    publisher: Publisher,
    node: (String, NodeId),
    key: SigningKey,
    handed: Handed,
    count: u64,
) -> Result<Vec<u64>> {
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / RATE_PER_SECOND));
    let mut period = publisher.period(&node.0).await?;
    let mut running = Vec::new();
    for serial in 0..count {
        ticks.tick().await;
        if serial % RATE_PER_SECOND == 0 {
            period = publisher.period(&node.0).await?;
        }
        let payload = serial.to_be_bytes().repeat(32);
        let envelope = publisher.envelope(&key, Lane::Broadcast, None, period, payload)?;
        let begun = Instant::now();
        let id = envelope.body.id();
        handed.lock().unwrap_or_else(PoisonError::into_inner).insert(id, begun);
        let (publisher, node) = (publisher.clone(), node.clone());
        running.push(tokio::spawn(async move {
            let fates =
                publisher.publish((&node.0, node.1), AckLevel::Replicated, &[envelope]).await?;
            ensure!(matches!(fates[0], Published::Stored(_)), "refused: {fates:?}");
            Ok(u64::try_from(begun.elapsed().as_micros())?)
        }));
    }
    let mut micros = Vec::with_capacity(running.len());
    for request in running {
        micros.push(request.await??);
    }
    Ok(micros)
}
