//! Reading what another program answers, and no more of it than makes sense.

use anyhow::{Context, Result, ensure};
use reqwest::StatusCode;

/// Asks for `url`; the status and at most `bytes_max` bytes.
///
/// # Errors
/// When there is no answer, or a longer one.
pub(crate) async fn get(
    http: &reqwest::Client,
    url: &str,
    bytes_max: usize,
) -> Result<(StatusCode, Vec<u8>)> {
    let asked = http.get(url).send().await;
    let mut response = asked.with_context(|| format!("cannot reach {url}"))?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        ensure!(bytes.len() <= bytes_max, "{url} answers with too much");
    }
    Ok((response.status(), bytes))
}
