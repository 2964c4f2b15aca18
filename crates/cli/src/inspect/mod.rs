//! `tidings inspect`: decodes any wire structure, and checks it if a registry is named.

mod check;
mod describe;
mod kind;
mod source;
mod tree;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use serde::Serialize;

use crate::output::Output;
pub(crate) use source::registries;

use check::Finding;
use kind::{Decoded, Kind};
use tree::Tree;

/// What to decode.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(
    override_usage = "tidings inspect [OPTIONS] [KIND] <SOURCE>",
    after_help = "KIND is auto, envelope, payer-envelope, entry, header, checkpoint, receipt, \
                  ordered-receipt, block, evidence, batch, identity-update, or another wire \
                  structure; a wrong word lists them all."
)]
pub struct Inspect {
    /// What it is, unless you leave that to the program; then a file, a URL, or -
    #[arg(required = true, num_args = 1..=2, value_names = ["KIND", "SOURCE"])]
    pub what: Vec<String>,
    /// Check signatures by this registry: a file, or the URL of a node or gateway
    #[arg(long, value_name = "FILE|URL")]
    pub registry: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    kind: String,
    value: Tree,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    may_also_be: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<Vec<Finding>>,
}

/// Decodes and prints.
///
/// # Errors
/// When the bytes are no such structure, or a check does not hold.
pub async fn run(options: &Inspect, output: Output) -> Result<()> {
    let (kind, source) = options.kind_and_source()?;
    let bytes = source::read(source).await?;
    let mut read = kind
        .read(&bytes)
        .map_err(|error| anyhow!("{source} is no {}: {error}", kind.word()))?
        .into_iter();
    let Some((kind, decoded)) = read.next() else {
        bail!("{source} ({} bytes) is no structure that this program knows", bytes.len());
    };
    let findings = match &options.registry {
        Some(registry) => Some(decoded.findings(&source::registries(registry).await?)),
        None => None,
    };
    let answer = Answer {
        kind: kind.word(),
        value: decoded.tree,
        may_also_be: read.map(|(kind, _): (Kind, Decoded)| kind.word()).collect(),
        findings,
    };
    output.answer(&answer, words)?;
    match answer.findings.iter().flatten().any(|finding| !finding.holds) {
        true => bail!("not everything holds"),
        false => Ok(()),
    }
}

impl Inspect {
    fn kind_and_source(&self) -> Result<(Kind, &str)> {
        use clap::ValueEnum;
        match self.what.as_slice() {
            [source] => Ok((Kind::Auto, source)),
            [kind, source] => match Kind::from_str(kind, true) {
                Ok(kind) => Ok((kind, source)),
                Err(_) => {
                    let known = Kind::value_variants().iter().map(|kind| kind.word());
                    let known: Vec<_> = known.collect();
                    let text = format!("{kind} is no kind; there is {}", known.join(", "));
                    Err(crate::failure::UsageError(text).into())
                }
            },
            _ => bail!("a source is needed"),
        }
    }
}

fn words(answer: &Answer) -> String {
    let mut text = format!("{}\n{}", answer.kind, answer.value.words());
    if !answer.may_also_be.is_empty() {
        text += &format!("\nthe same bytes may also be: {}", answer.may_also_be.join(", "));
    }
    for finding in answer.findings.iter().flatten() {
        text += &format!("\n{}", finding.words());
    }
    text
}
