//! `tidings audit`: follows a node's logs and blocks and verifies everything that it signed.

mod disk;
mod lane;
mod log;
mod peer;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::Args;
use serde::Serialize;
use tidings_envelope::{Evidence, LogId, RegistryHistory};
use tidings_node::storage::Storage;
use tidings_types::{NetworkId, NodeId, OffenceId, ShardId, Wire};

use crate::output::Output;
use crate::{secret_file, shutdown};
use disk::Disk;
use lane::LaneAudit;
use log::LogAudit;
use peer::Peer;
use source::Source;

/// What to audit.
#[derive(Debug, Args)]
pub struct Audit {
    /// The node's base URL
    pub node: String,
    /// Verify what is there, print the verdicts, and end; without, follow until Ctrl-C
    #[arg(long)]
    pub once: bool,
    /// The registry to believe: a file, or another node's URL [default: the node's own]
    #[arg(long, value_name = "FILE|URL")]
    pub registry: Option<String>,
    /// Another node, whose logs are compared with this one's
    #[arg(long, value_name = "URL")]
    pub compare: Vec<String>,
    /// How long to wait between two looks, in milliseconds
    #[arg(long, default_value_t = 1_000, value_name = "MS")]
    pub interval_ms: u64,
    /// Write evidence against a node to this folder
    #[arg(long, value_name = "DIR")]
    pub evidence: Option<PathBuf>,
}

/// What was found in one log or lane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// How many entries or blocks were verified.
    pub verified: u64,
    /// How many of them had their payload pruned.
    pub pruned: u64,
    /// What is wrong, for people; nothing else is looked at after the first fault.
    pub fault: Option<String>,
    /// Whether the ordered lane has evidence against whoever wrote the log, so that the node that
    /// serves it is not to blame.
    pub convicted: bool,
}

impl Verdict {
    fn is_clean(&self) -> bool {
        self.fault.is_none() || self.convicted
    }
}

/// The state of an audit.
struct Auditor {
    /// What the report calls it.
    name: String,
    source: Source,
    registries: RegistryHistory,
    network: NetworkId,
    logs: BTreeMap<LogId, LogAudit>,
    lanes: BTreeMap<ShardId, LaneAudit>,
    evidence: BTreeMap<OffenceId, Evidence>,
    others: Vec<Other>,
}

/// A node whose logs are compared.
struct Other {
    source: Source,
    logs: BTreeMap<LogId, LogAudit>,
}

#[derive(Serialize)]
struct Report {
    node: String,
    network: NetworkId,
    clean: bool,
    logs: BTreeMap<String, Verdict>,
    lanes: BTreeMap<String, Verdict>,
    evidence: usize,
}

/// Audits and prints a verdict for each log and each shard's blocks.
///
/// # Errors
/// When the node cannot be reached, or anything that it signed does not verify.
pub async fn run(options: &Audit, output: Output) -> Result<()> {
    let stop = shutdown::signalled()?;
    tokio::pin!(stop);
    let mut auditor = Auditor::new(options).await?;
    let mut told = None;
    loop {
        tokio::select! {
            () = &mut stop => break,
            looked = auditor.look() => looked?,
        }
        let report = auditor.report();
        if options.once || !report.clean {
            break;
        }
        let state = (report.entries(), report.blocks());
        if told != Some(state) {
            told = Some(state);
            output.item(&report, Report::line)?;
        }
        tokio::select! {
            () = &mut stop => break,
            () = tokio::time::sleep(Duration::from_millis(options.interval_ms)) => {}
        }
    }
    auditor.write_evidence(options.evidence.as_deref())?;
    let report = auditor.report();
    output.answer(&report, Report::words)?;
    match report.clean {
        true => Ok(()),
        false => bail!("not everything that the node serves verifies"),
    }
}

/// Verifies all that a node that does not run has in its database, `name`, and prints the verdicts.
///
/// # Errors
/// When the database cannot be read, or anything in it does not verify.
pub async fn verify_disk(
    name: String,
    storage: Storage,
    registries: RegistryHistory,
    output: Output,
) -> Result<()> {
    // What a start reads: it fails where a table is damaged.
    storage.load().await?;
    let mut auditor = Auditor::of(name, Source::Disk(Box::new(Disk(storage))), registries);
    auditor.look().await?;
    let report = auditor.report();
    output.answer(&report, Report::words)?;
    ensure!(report.clean, "not everything in the database verifies");
    Ok(())
}

impl Auditor {
    async fn new(options: &Audit) -> Result<Self> {
        let peer = Peer::new(&options.node)?;
        let source = options.registry.as_deref().unwrap_or(&options.node);
        let registries = crate::inspect::registries(source).await?;
        let network = registries.network();
        let theirs = peer.network().await?;
        ensure!(theirs == network, "the node is of network {theirs}, the registry of {network}");
        let mut auditor = Self::of(peer.url().to_owned(), Source::Node(peer), registries);
        for url in &options.compare {
            let source = Source::Node(Peer::new(url)?);
            auditor.others.push(Other { source, logs: BTreeMap::new() });
        }
        Ok(auditor)
    }

    fn of(name: String, source: Source, registries: RegistryHistory) -> Self {
        let (logs, lanes, evidence) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let network = registries.network();
        Self { name, source, registries, network, logs, lanes, evidence, others: Vec::new() }
    }

    /// Verifies all that came since the last look.
    async fn look(&mut self) -> Result<()> {
        let (source, registries, network) = (&self.source, &self.registries, self.network);
        for id in self.source.logs().await? {
            let log = self.logs.entry(id).or_insert_with(|| LogAudit::new(id));
            let lane = self.lanes.entry(id.shard).or_insert_with(|| LaneAudit::new(id.shard));
            let found = log.advance(source, (lane, source), registries, network).await?;
            self.evidence.extend(found.map(|found| (found.offence(), found)));
        }
        for shard in (0..self.registries.latest().shard_count).map(ShardId) {
            let lane = self.lanes.entry(shard).or_insert_with(|| LaneAudit::new(shard));
            lane.advance(source, registries, network).await?;
        }
        self.compare_all().await
    }

    /// Looks for logs of which other nodes hold another history.
    async fn compare_all(&mut self) -> Result<()> {
        for other in &mut self.others {
            for id in other.source.logs().await? {
                let Some(mine) = self.logs.get(&id) else { continue };
                let Some(lane) = self.lanes.get_mut(&id.shard) else { continue };
                let Some(signer) = lane.signer(id, &self.registries) else { continue };
                let theirs = other.logs.entry(id).or_insert_with(|| LogAudit::new(id));
                let (lane, registries) = ((lane, &self.source), &self.registries);
                let found = theirs.advance(&other.source, lane, registries, self.network).await?;
                let two =
                    mine.compare(&self.source, theirs, &other.source, self.network, signer).await?;
                let found = found.into_iter().chain(two);
                self.evidence.extend(found.map(|found| (found.offence(), found)));
            }
        }
        Ok(())
    }

    fn report(&self) -> Report {
        let convicted = self.convicted();
        let verdict = |(id, log): (&LogId, &LogAudit)| {
            let convicted = convicted.contains(&id.node);
            (id.to_string(), Verdict { convicted, ..log.verdict.clone() })
        };
        let logs: BTreeMap<_, _> = self.logs.iter().map(verdict).collect();
        let lanes: BTreeMap<_, _> = self
            .lanes
            .iter()
            .map(|(shard, lane)| (shard.to_string(), lane.verdict.clone()))
            .collect();
        let is_recorded = |evidence: &Evidence| convicted.contains(&evidence.accused());
        let clean = logs.values().chain(lanes.values()).all(Verdict::is_clean)
            && self.evidence.values().all(is_recorded);
        Report {
            node: self.name.clone(),
            network: self.network,
            clean,
            logs,
            lanes,
            evidence: self.all_evidence().len(),
        }
    }

    /// What was found here and what the ordered lanes have on record, one piece for each offence.
    fn all_evidence(&self) -> BTreeMap<OffenceId, &Evidence> {
        let recorded = self.lanes.values().flat_map(|lane| &lane.evidence);
        let all = self.evidence.values().chain(recorded);
        all.map(|evidence| (evidence.offence(), evidence)).collect()
    }

    /// The nodes that the ordered lanes have evidence against.
    fn convicted(&self) -> BTreeSet<NodeId> {
        self.lanes.values().flat_map(|lane| &lane.evidence).map(Evidence::accused).collect()
    }

    fn write_evidence(&self, folder: Option<&std::path::Path>) -> Result<()> {
        let Some(folder) = folder else { return Ok(()) };
        for evidence in self.all_evidence().values() {
            std::fs::create_dir_all(folder)?;
            let bytes = evidence.to_wire();
            let name = format!("{}.evidence", hex::encode(&tidings_types::sha256(&bytes)[..8]));
            let path = folder.join(name);
            if !path.exists() {
                secret_file::create(&path, &bytes)?;
            }
        }
        Ok(())
    }
}

impl Report {
    fn entries(&self) -> u64 {
        self.logs.values().map(|verdict| verdict.verified).sum()
    }

    fn blocks(&self) -> u64 {
        self.lanes.values().map(|verdict| verdict.verified).sum()
    }

    /// One line of progress.
    fn line(&self) -> String {
        let (entries, logs, blocks) = (self.entries(), self.logs.len(), self.blocks());
        format!("verified: {entries} entries in {logs} logs, {blocks} blocks")
    }

    fn words(&self) -> String {
        let mut lines = vec![format!("{} of network {}", self.node, self.network)];
        let describe = |kind: &str, name: &str, unit: &str, verdict: &Verdict| match &verdict.fault
        {
            Some(fault) if verdict.convicted => format!(
                "{kind} {name}: fault after {} {unit}: {fault}; whoever wrote it is convicted",
                verdict.verified
            ),
            Some(fault) => {
                format!("{kind} {name}: FAULT after {} {unit}: {fault}", verdict.verified)
            }
            None if verdict.pruned > 0 => format!(
                "{kind} {name}: clean, {} {unit}, {} of them without payload",
                verdict.verified, verdict.pruned
            ),
            None => format!("{kind} {name}: clean, {} {unit}", verdict.verified),
        };
        let logs = self.logs.iter().map(|(id, it)| describe("log", id, "entries", it));
        let lanes = self.lanes.iter().map(|(shard, it)| describe("shard", shard, "blocks", it));
        lines.extend(logs.chain(lanes));
        if self.evidence > 0 {
            lines.push(format!(
                "{} pieces of evidence against a node; --evidence DIR writes them",
                self.evidence
            ));
        }
        lines.join("\n")
    }
}
