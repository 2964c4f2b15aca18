//! One WebSocket to a node: subscriptions out, entries in.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::Url;
use tidings_envelope::api::{NodeFrame, SubscriberFrame, Subscription};
use tidings_types::constants::{FEED_FRAME_BYTES_MAX, PROTOCOL_VERSION, SUBSCRIBE_TOPICS_MAX};
use tidings_types::{BoundedVec, NetworkId, Period, Wire};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::error::{ClientError, VerifyFailure};

/// A node that does not greet within this time is taken to be down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Nodes speak every five seconds; after three missed beats the connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// An open connection that has been greeted by a node of our network.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Connects to the node at a base URL; also the period that it greets with.
    pub(crate) async fn connect(
        base: &Url,
        network: NetworkId,
    ) -> Result<(Self, Period), ClientError> {
        let url = subscribe_url(base);
        let config = WebSocketConfig::default()
            .max_message_size(Some(FEED_FRAME_BYTES_MAX))
            .max_frame_size(Some(FEED_FRAME_BYTES_MAX));
        let connecting = connect_async_with_config(url.as_str(), Some(config), true);
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        let (stream, _) = connected.map_err(|_| lost("no answer"))?.map_err(lost)?;
        let mut socket = Self { stream };
        let greeting = timeout(CONNECT_TIMEOUT, socket.next()).await;
        match greeting.map_err(|_| lost("no greeting"))?? {
            NodeFrame::Hello { version, .. } if version != PROTOCOL_VERSION => {
                Err(VerifyFailure::Version.into())
            }
            NodeFrame::Hello { network: other, .. } if other != network => {
                Err(VerifyFailure::OtherNetwork.into())
            }
            NodeFrame::Hello { period, .. } => Ok((socket, period)),
            NodeFrame::Refused { code, .. } => Err(ClientError::Refused { code }),
            _ => Err(lost("the first frame is no greeting")),
        }
    }

    /// Adds topics.
    pub(crate) async fn subscribe(&mut self, topics: &[Subscription]) -> Result<(), ClientError> {
        for chunk in topics.chunks(SUBSCRIBE_TOPICS_MAX) {
            let topics = BoundedVec::new(chunk.to_vec()).expect("a chunk is no longer than asked");
            let frame = SubscriberFrame::Subscribe(topics).to_wire();
            self.stream.send(Message::Binary(frame.into())).await.map_err(lost)?;
        }
        Ok(())
    }

    /// The next frame; an error when the node is silent for too long or the connection ends.
    ///
    /// Dropping the future loses no frame.
    pub(crate) async fn next(&mut self) -> Result<NodeFrame, ClientError> {
        loop {
            let message = timeout(SILENCE_MAX, self.stream.next()).await;
            match message.map_err(|_| lost("the node is silent"))? {
                Some(Ok(Message::Binary(bytes))) => {
                    return NodeFrame::from_wire(&bytes).map_err(lost);
                }
                Some(Ok(Message::Close(_))) | None => return Err(lost("the node hung up")),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(lost(error)),
            }
        }
    }
}

fn subscribe_url(base: &Url) -> String {
    let text = base.as_str().trim_end_matches('/');
    let (scheme, rest) = match text.strip_prefix("https:") {
        Some(rest) => ("wss:", rest),
        None => ("ws:", text.strip_prefix("http:").unwrap_or(text)),
    };
    format!("{scheme}{rest}/v1/subscribe")
}

fn lost(reason: impl std::fmt::Display) -> ClientError {
    ClientError::Unreachable { reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_follow_the_scheme_of_the_node() {
        let check = |base: &str, expected: &str| {
            assert_eq!(subscribe_url(&base.parse().unwrap()), expected);
        };
        check("http://127.0.0.1:1", "ws://127.0.0.1:1/v1/subscribe");
        check("https://node.example/base/", "wss://node.example/base/v1/subscribe");
    }
}
