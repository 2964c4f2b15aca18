//! How a command fails: what went wrong, what to do next, and the exit code.

use std::io::ErrorKind;
use std::process::ExitCode;

use serde_json::json;

/// The caller asks for something that makes no sense; exit code 2, as for a misspelt option.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Says on standard error what went wrong and what to do next; the exit code to end with.
pub fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    if reader_went_away(error) {
        return ExitCode::SUCCESS;
    }
    if json {
        eprintln!("{}", json!({ "error": format!("{error:#}") }));
    } else {
        eprintln!("tidings: {error:#}");
    }
    match error.downcast_ref::<UsageError>() {
        Some(_) => ExitCode::from(2),
        None => ExitCode::FAILURE,
    }
}

/// Whether whoever read our output has seen enough, as `head` does.
fn reader_went_away(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
