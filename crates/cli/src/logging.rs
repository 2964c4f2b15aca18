//! Where a service's log goes: standard error, as text or JSON, filtered by `TIDINGS_LOG`.

use std::io::IsTerminal;

use anyhow::{Result, bail};
use tracing_subscriber::EnvFilter;

/// The variable that filters the log, as `tracing_subscriber` reads it.
const VARIABLE: &str = "TIDINGS_LOG";

/// What is logged when nobody says otherwise: Malachite's core tells every vote.
const FILTER: &str = "info,arc_malachitebft_core_consensus=warn";

/// Starts logging in `format`: `text` or `json`.
///
/// # Errors
/// When the format is unknown or the filter does not parse.
pub fn start(format: &str) -> Result<()> {
    let filter = match std::env::var(VARIABLE) {
        Ok(text) => EnvFilter::try_new(text)?,
        Err(_) => EnvFilter::new(FILTER),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        "text" => builder.init(),
        "json" => builder.json().init(),
        other => bail!("log_format is text or json, not {other}"),
    }
    Ok(())
}
