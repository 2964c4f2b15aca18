//! `grpc.health.v1.Health`: whether the edge serves.

use std::sync::Arc;

use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use super::Answers;
use crate::edge::Edge;
use crate::limit::Gate;
use crate::proto::health::health_check_response::ServingStatus;
use crate::proto::health::health_server::Health;
use crate::proto::health::{HealthCheckRequest, HealthCheckResponse};

/// The services that can be asked for by name.
const SERVICES: [&str; 3] =
    ["", "xmtp.xmtpv4.payer_api.PayerApi", "xmtp.xmtpv4.message_api.ReplicationApi"];

/// The service of an edge.
#[derive(Debug)]
pub struct HealthService {
    edge: Arc<Edge>,
    gate: Arc<Gate>,
}

impl HealthService {
    /// The service of an edge.
    #[must_use]
    pub fn new(edge: Arc<Edge>, gate: Arc<Gate>) -> Self {
        Self { edge, gate }
    }
}

fn check_name(request: &Request<HealthCheckRequest>) -> Result<(), Status> {
    match SERVICES.contains(&request.get_ref().service.as_str()) {
        true => Ok(()),
        false => Err(Status::not_found("there is no such service")),
    }
}

fn answer(serving: bool) -> HealthCheckResponse {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let _place = self.gate.enter(&request)?;
        check_name(&request)?;
        Ok(Response::new(answer(self.edge.is_serving())))
    }

    type WatchStream = Answers<HealthCheckResponse>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let place = self.gate.stream(&request)?;
        check_name(&request)?;
        let news = WatchStream::new(self.edge.serving());
        let news = news.map(move |serving| {
            let _held = &place;
            Ok(answer(serving))
        });
        Ok(Response::new(Box::pin(news)))
    }
}
