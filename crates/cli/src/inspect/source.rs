//! Where bytes come from: a file, a URL, standard input; binary or hex.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tidings_envelope::{Registry, RegistryDocument, RegistryHistory};
use tidings_types::RegistryEpoch;

/// The most that is read: more than any structure holds.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How many snapshots of the registry are asked for at a URL; a file can hold more.
const EPOCHS_MAX: u64 = 64;

/// The bytes at a file, a URL, or standard input for `-`.
///
/// Text of hex digits, with blanks and `0x` if need be, stands for the bytes it spells.
///
/// # Errors
/// When nothing is there, or too much.
pub async fn read(source: &str) -> Result<Vec<u8>> {
    let bytes = match source {
        "-" => tokio::task::spawn_blocking(|| bounded(std::io::stdin().lock())).await??,
        url if is_url(url) => fetch(url).await?,
        path => {
            let file = std::fs::File::open(path).with_context(|| format!("cannot read {path}"))?;
            bounded(file).with_context(|| format!("cannot read {path}"))?
        }
    };
    Ok(spelled(&bytes).unwrap_or(bytes))
}

/// The snapshots of the registry in a file, or those that a node knows at its URL, the latest
/// [`EPOCHS_MAX`] of them.
///
/// # Errors
/// When there is none, or nobody could compute with it.
pub async fn registries(source: &str) -> Result<RegistryHistory> {
    if !is_url(source) {
        let bytes =
            std::fs::read(Path::new(source)).with_context(|| format!("cannot read {source}"))?;
        let document: RegistryDocument = serde_json::from_slice(&bytes)
            .with_context(|| format!("{source} holds no registry"))?;
        return document.history().with_context(|| format!("{source} is of no use"));
    }
    let base = source.trim_end_matches('/').trim_end_matches("/v1/registry");
    let latest = snapshot(&format!("{base}/v1/registry")).await?;
    let mut epoch = latest.epoch;
    latest.validate()?;
    let mut registries = RegistryHistory::new(Arc::new(latest));
    for _ in 1..EPOCHS_MAX {
        epoch = epoch.minus(1);
        if epoch < RegistryEpoch::FIRST {
            break;
        }
        // Who began late does not know the earlier ones, and a gateway knows the latest alone.
        match snapshot(&format!("{base}/v1/registry?epoch={epoch}")).await {
            Ok(registry) if registry.epoch == epoch => registries.insert(Arc::new(registry))?,
            _ => break,
        };
    }
    Ok(registries)
}

async fn snapshot(url: &str) -> Result<Registry> {
    let bytes = fetch(url).await?;
    serde_json::from_slice(&bytes).with_context(|| format!("{url} holds no registry"))
}

fn is_url(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

async fn fetch(url: &str) -> Result<Vec<u8>> {
    let mut response = reqwest::get(url).await.with_context(|| format!("cannot reach {url}"))?;
    let status = response.status();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        ensure!(u64::try_from(bytes.len())? <= BYTES_MAX, "{url} answers with too much");
    }
    let text = String::from_utf8_lossy(bytes.get(..512).unwrap_or(&bytes));
    ensure!(status.is_success(), "{url} answers {status}: {text}");
    Ok(bytes)
}

fn bounded(source: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    ensure!(u64::try_from(bytes.len())? <= BYTES_MAX, "more than {BYTES_MAX} bytes");
    Ok(bytes)
}

/// The bytes that a text of hex digits spells.
fn spelled(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let digits: String = text.split_whitespace().collect();
    let digits = digits.strip_prefix("0x").unwrap_or(&digits);
    if digits.is_empty() {
        return None;
    }
    hex::decode(digits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_spells_bytes() {
        let check = |text: &str, expected: Option<&[u8]>| {
            assert_eq!(spelled(text.as_bytes()).as_deref(), expected);
        };
        check("0x00 0f\n10", Some(&[0, 15, 16]));
        check("00f", None);
        check("", None);
        check("{}", None);
    }
}
