//! A node's own business on the chain: bringing reports and evidence, charging, claiming, and
//! opening epochs, with nobody in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tidings_chain::{
    Call, Endpoints, MemoryJournal, SettledReport, Settlement, Settler, SubmitError, Submitter,
    SubmitterConfig, Wallet, proved_earnings, proved_usage,
};
use tidings_node::config::{ChainConfig, NodeConfig};
use tidings_node::settlement::{AttestedReport, SettlementBook};
use tidings_payer::{Ledger, PROTOCOL};
use tidings_types::{EthereumAddress, NodeId, OffenceId, ShardId};

use super::{checked, deployment};
use crate::secret_file;

/// The least time by which members follow each other in trying the same thing.
const STAGGER_MIN: Duration = Duration::from_secs(2);

/// The shortest pause between two looks.
const LOOK_MIN: Duration = Duration::from_millis(500);

/// Payers charged by one transaction, so that it fits into a block.
const CHARGED_AT_ONCE: usize = 100;

/// How long something refused is left alone before it is tried again.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// Does a node's business on the chain for as long as the process runs, if its configuration
/// names the operator's key.
///
/// # Errors
/// When the deployment's file or the key cannot be used.
pub fn keep_house(config: &NodeConfig, book: Arc<SettlementBook>) -> Result<()> {
    let Some(chain) = &config.chain else { return Ok(()) };
    let Some(key_file) = &chain.operator_key_file else { return Ok(()) };
    let deployment = deployment(&chain.deployment_file)?;
    let endpoints = Endpoints::connect(&chain.rpc)?;
    let wallet = Wallet::from_secret(&*secret_file::read(key_file)?)?;
    let settler = Settler::new(endpoints.clone(), deployment);
    let submitter = Submitter::new(
        endpoints.clone(),
        deployment.chain_id,
        wallet,
        Box::new(MemoryJournal::default()),
        submitting(chain),
    )?;
    let look = Duration::from_millis(chain.poll_ms).max(LOOK_MIN);
    let steward = Steward {
        node: NodeId(config.node),
        settler,
        submitter,
        book,
        look,
        stagger: (look * 3).max(STAGGER_MIN),
        due: BTreeMap::new(),
        refused: BTreeMap::new(),
        judged: BTreeSet::new(),
        searched: deployment.first_block,
        changed: false,
        calls: 0,
    };
    tokio::spawn(async move {
        match checked(&deployment, &endpoints).await {
            Ok(()) => steward.run().await,
            Err(error) => tracing::error!(%error, "the node settles nothing"),
        }
    });
    Ok(())
}

fn submitting(chain: &ChainConfig) -> SubmitterConfig {
    SubmitterConfig {
        confirmations: chain.finality_depth,
        poll: Duration::from_millis(chain.poll_ms).max(LOOK_MIN),
        ..SubmitterConfig::default()
    }
}

struct Steward {
    node: NodeId,
    settler: Settler,
    submitter: Submitter,
    book: Arc<SettlementBook>,
    look: Duration,
    stagger: Duration,
    /// Since when each thing is to be done.
    due: BTreeMap<String, Instant>,
    /// When each thing was refused.
    refused: BTreeMap<String, Instant>,
    judged: BTreeSet<OffenceId>,
    /// Events up to here are known, and say whether there is anything for the next epoch.
    searched: u64,
    changed: bool,
    calls: u64,
}

impl Steward {
    async fn run(mut self) {
        let mut news = self.book.subscribe();
        loop {
            if let Err(error) = self.look().await {
                tracing::warn!(error = %format!("{error:#}"), "the chain cannot be used now");
                tokio::time::sleep(self.stagger).await;
            }
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(self.look) => {}
            }
            // Several changes at once are one piece of news.
            tokio::time::sleep(LOOK_MIN).await;
        }
    }

    /// Does everything that is due.
    async fn look(&mut self) -> Result<()> {
        self.accuse().await?;
        self.renew().await?;
        for shard in self.book.shards() {
            let settlement = self.settler.settlement(shard).await?;
            self.report(shard, &settlement).await?;
            self.settle(shard, &settlement).await?;
        }
        Ok(())
    }

    /// Brings evidence to the court; whoever is first has the reporter's share.
    async fn accuse(&mut self) -> Result<()> {
        for evidence in self.book.evidence() {
            let offence = evidence.offence();
            if self.judged.contains(&offence) {
                continue;
            }
            if self.settler.is_judged(offence).await? {
                self.judged.insert(offence);
                continue;
            }
            let what = format!("evidence {offence}");
            let call = self.settler.judge(&evidence);
            if self.act(&what, call).await? {
                let accused = evidence.accused();
                tracing::warn!(node = %accused, %offence, "the court has convicted a node");
            }
        }
        Ok(())
    }

    /// Has this node graduate, and opens the next epoch when something waits for it.
    async fn renew(&mut self) -> Result<()> {
        (self.changed, self.searched) = self.settler.changes(self.searched, self.changed).await?;
        if self.settler.is_in_probation(self.node).await? {
            let call = self.settler.graduate(self.node);
            self.act("graduation", call).await?;
        }
        if !self.changed {
            self.due.remove("epoch");
        } else if self.is_turn("epoch", self.node.0 % 4) {
            let call = self.settler.advance_epoch();
            if self.act("epoch", call).await? {
                self.due.remove("epoch");
            }
        }
        Ok(())
    }

    /// Brings the next attested report.
    async fn report(&mut self, shard: ShardId, settlement: &Settlement) -> Result<()> {
        let next = self.book.reports(shard, settlement.last.plus(1), 1).pop();
        let Some(AttestedReport { report, attestations, is_attested: true }) = next else {
            return Ok(());
        };
        let committee = self.settler.committee(shard, report.epoch).await?;
        let what = format!("report {} {}", shard.0, report.last);
        let place = committee.iter().position(|member| *member == self.node);
        let turn = place.map(|place| place as u64 + report.last.0);
        let rank = turn.and_then(|turn| turn.checked_rem(committee.len() as u64));
        if self.is_turn(&what, rank.and_then(|rank| u32::try_from(rank).ok()).unwrap_or(32)) {
            let call = self.settler.submit(&report, &committee, &attestations);
            if self.act(&what, call).await? {
                tracing::info!(shard = %shard.0, period = %report.last, "a report was submitted");
            }
            self.due.retain(|known, _| known != &what);
        }
        Ok(())
    }

    /// Charges payers and claims this node's part, by the newest report that can be.
    async fn settle(&mut self, shard: ShardId, settlement: &Settlement) -> Result<()> {
        let Some(newest) = settlement.matured.first().copied() else { return Ok(()) };
        let Some(ledger) = self.book.ledger(shard, newest.last) else { return Ok(()) };
        let Some(report) = ledger.last().copied() else { return Ok(()) };
        let what = format!("charge {} {}", shard.0, newest.last);
        let rank = (u64::from(self.node.0) + newest.last.0 + 1) % 4;
        let owed = owing(&self.settler, shard, &ledger).await?;
        if owed.is_empty() {
            self.due.remove(&what);
        } else if self.is_turn(&what, u32::try_from(rank).unwrap_or_default()) {
            for some in owed.chunks(CHARGED_AT_ONCE) {
                let proved = some.iter();
                let proved = proved.filter_map(|it| Some((*it, proved_usage(&ledger, *it)?)));
                let call = self.settler.charge(&report, newest.index, proved.collect());
                self.act(&what, call).await?;
            }
        }
        match settlement.filling() {
            Some((filling, before)) => self.claim(shard, filling, before).await,
            None => Ok(()),
        }
    }

    /// Claims what this node earned, and in turn the protocol's share.
    async fn claim(
        &mut self,
        shard: ShardId,
        newest: SettledReport,
        before: Option<SettledReport>,
    ) -> Result<()> {
        let Some(ledger) = self.book.ledger(shard, newest.last) else { return Ok(()) };
        let ledger = &*ledger;
        let Some(report) = ledger.last().copied() else { return Ok(()) };
        let earlier = before.and_then(|before| self.book.ledger(shard, before.last));
        for node in [self.node, PROTOCOL] {
            let what = format!("claim {} {} {}", shard.0, node, newest.last);
            let Some(later) = proved_earnings(ledger, node) else { continue };
            let rank = (u64::from(self.node.0) + newest.last.0) % 4;
            let rank = if node == PROTOCOL { rank } else { 0 };
            if !self.is_turn(&what, u32::try_from(rank).unwrap_or_default()) {
                continue;
            }
            let part = earlier
                .as_ref()
                .and_then(|earlier| Some((*earlier.last()?, proved_earnings(earlier, node)?)));
            let part = part.as_ref().map(|(report, proved)| (report, proved.clone()));
            let call = self.settler.claim(node, (&report, newest.index, later), part);
            self.act(&what, call).await?;
        }
        // What is over is not waited for any more.
        let of_shard = format!(" {} ", newest.last);
        self.due.retain(|what, _| !what.starts_with("claim") || what.ends_with(of_shard.trim()));
        Ok(())
    }

    /// Whether it is this node's turn: members try the same thing one after the other.
    fn is_turn(&mut self, what: &str, rank: u32) -> bool {
        let since = *self.due.entry(what.to_owned()).or_insert_with(Instant::now);
        since.elapsed() >= self.stagger * rank
    }

    /// Gets a call onto the chain, unless the contract refuses it as things are; whether it did.
    async fn act(&mut self, what: &str, (to, data): (EthereumAddress, Vec<u8>)) -> Result<bool> {
        if self.refused.get(what).is_some_and(|at| at.elapsed() < REFUSED_PAUSE.min(self.stagger)) {
            return Ok(false);
        }
        self.calls += 1;
        let call = Call::new(format!("{what} {}", self.calls), to, data);
        let done = match self.submitter.estimate(&call).await {
            Ok(_) => self.submitter.submit(&call).await.map(|_| ()),
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => {
                self.refused.remove(what);
                Ok(true)
            }
            Err(SubmitError::Refused(reason)) => {
                tracing::debug!(what, reason, "refused");
                self.refused.insert(what.to_owned(), Instant::now());
                self.refused.retain(|_, at| at.elapsed() < REFUSED_PAUSE);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The payers that owe something under a ledger.
async fn owing(settler: &Settler, shard: ShardId, ledger: &Ledger) -> Result<Vec<EthereumAddress>> {
    let mut owing = Vec::new();
    for (payer, billed) in ledger.usage() {
        if billed.units_rounded_down() > settler.charged(shard, payer).await? {
            owing.push(payer);
        }
    }
    Ok(owing)
}
