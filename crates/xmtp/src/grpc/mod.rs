//! The gRPC services: thin shells around the edge.

mod edges;
mod health;
mod payer;
mod refusal;
mod replication;

pub use edges::EdgesService;
pub use health::HealthService;
pub use payer::PayerService;
pub use replication::ReplicationService;

use std::pin::Pin;

use tokio_stream::Stream;
use tonic::Status;

/// An answer that goes on.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
