//! What a client asks of its gateway: the nodes to read from, and to publish.

use std::sync::Arc;

use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::edge::Edge;
use crate::limit::Gate;
use crate::proto::payer_api::payer_api_server::PayerApi;
use crate::proto::payer_api::{
    GetNodesRequest, GetNodesResponse, PublishClientEnvelopesRequest,
    PublishClientEnvelopesResponse,
};
use crate::publish::{self, PublishError};
use crate::wrap::wrap;

/// `xmtp.xmtpv4.payer_api.PayerApi`.
#[derive(Debug)]
pub struct PayerService {
    edge: Arc<Edge>,
    gate: Arc<Gate>,
}

impl PayerService {
    /// The service of an edge.
    #[must_use]
    pub fn new(edge: Arc<Edge>, gate: Arc<Gate>) -> Self {
        Self { edge, gate }
    }
}

#[tonic::async_trait]
impl PayerApi for PayerService {
    /// The edges that live: a client keeps the first that answers for as long as it runs.
    async fn get_nodes(
        &self,
        request: Request<GetNodesRequest>,
    ) -> Result<Response<GetNodesResponse>, Status> {
        let _place = self.gate.enter(&request)?;
        let registry =
            self.edge.registry().ok_or_else(|| Status::unavailable("no registry yet"))?;
        let me = self.edge.identity.id;
        let own = registry.edges.iter().find(|record| record.id == me);
        let own = own.map(|record| (record.id, record.url.clone()));
        let all = own.into_iter().chain(self.edge.peers.living());
        let nodes = all.map(|(id, url)| (id.0, url)).collect();
        Ok(Response::new(GetNodesResponse { nodes }))
    }

    async fn publish_client_envelopes(
        &self,
        request: Request<PublishClientEnvelopesRequest>,
    ) -> Result<Response<PublishClientEnvelopesResponse>, Status> {
        let place = self.gate.enter(&request)?;
        let (edge, started) = (Arc::clone(&self.edge), Instant::now());
        let envelopes = request.into_inner().envelopes;
        // A publish that has begun is brought to its end even if its caller hangs up.
        let task = tokio::spawn(async move {
            let published = publish::publish(&edge, envelopes).await;
            drop(place);
            edge.metrics.published(&published, started.elapsed());
            published
        });
        let published = task.await.map_err(|_| PublishError::Internal("publishing broke off"));
        let stored = published.and_then(|published| published).map_err(Status::from)?;
        let originator_envelopes = stored.iter().map(wrap).collect();
        Ok(Response::new(PublishClientEnvelopesResponse { originator_envelopes }))
    }
}
