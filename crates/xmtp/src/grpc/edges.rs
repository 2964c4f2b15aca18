//! What this edge tells the others: how far it has come.

use std::sync::Arc;

use futures_util::stream;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::Answers;
use crate::edge::Edge;
use crate::limit::{Gate, Place};
use crate::peers::{HEARTBEAT, to_message};
use crate::progress::Progress;
use crate::proto::edges as proto;
use crate::proto::edges::edges_server::Edges;

/// `tidings.xmtp.edges.Edges`.
#[derive(Debug)]
pub struct EdgesService {
    edge: Arc<Edge>,
    gate: Arc<Gate>,
}

impl EdgesService {
    /// The service of an edge.
    #[must_use]
    pub fn new(edge: Arc<Edge>, gate: Arc<Gate>) -> Self {
        Self { edge, gate }
    }
}

/// One other edge that listens.
struct Listener {
    progress: watch::Receiver<Progress>,
    serving: watch::Receiver<bool>,
    told: Option<(Progress, bool)>,
    _place: Place,
}

impl Listener {
    /// The next message: at once when there is news, else when it is time to say that one lives.
    async fn next(&mut self) -> proto::Progress {
        if self.told.is_some() {
            let news = async {
                tokio::select! {
                    _ = self.progress.changed() => {}
                    _ = self.serving.changed() => {}
                }
            };
            // Without news, the message is a sign of life.
            let _ = timeout(HEARTBEAT, news).await;
        }
        let (progress, serving) =
            (self.progress.borrow_and_update().clone(), *self.serving.borrow_and_update());
        let before = self.told.as_ref().map(|(progress, _)| progress);
        let message = to_message(&progress.since(before), serving);
        self.told = Some((progress, serving));
        message
    }
}

#[tonic::async_trait]
impl Edges for EdgesService {
    type FollowStream = Answers<proto::Progress>;

    async fn follow(
        &self,
        request: Request<proto::FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let place = self.gate.stream(&request)?;
        let (progress, serving) = (self.edge.progress(), self.edge.serving());
        let listener = Listener { progress, serving, told: None, _place: place };
        let news = stream::unfold(listener, |mut listener| async move {
            let message = listener.next().await;
            Some((Ok(message), listener))
        });
        Ok(Response::new(Box::pin(news)))
    }
}
