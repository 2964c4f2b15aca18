//! The wish to stop: SIGTERM from a supervisor, SIGINT from a person.

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

/// A future that ends at the first SIGTERM or SIGINT.
///
/// The handlers are in place when this returns, before anything else starts.
///
/// # Errors
/// When handlers cannot be installed.
pub fn signalled() -> Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM; stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT; stopping"),
        }
    })
}
