//! A node's own business on the chain: bringing reports and evidence, charging, claiming, and
//! opening epochs, with nobody in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tidings_chain::{
    Call, Endpoints, MemoryJournal, SettledReport, Settlement, Settler, SubmitError, Submitter,
    SubmitterConfig, Wallet, WithBefore, prove_measurement, proved_earnings, proved_usage,
};
use tidings_node::config::{ChainConfig, NodeConfig};
use tidings_node::settlement::{AttestedReport, SettlementBook};
use tidings_payer::{Ledger, PROTOCOL};
use tidings_types::{
    EthereumAddress, NetworkId, NodeId, OffenceId, Period, RegistryEpoch, ShardId,
};

use super::turns::{Task, Turns, rank};
use super::{checked, deployment};
use crate::secret_file;

/// The least time by which members follow each other in trying the same thing.
const STAGGER_MIN: Duration = Duration::from_secs(2);

/// The shortest pause between two looks.
const LOOK_MIN: Duration = Duration::from_millis(500);

/// Payers charged by one transaction, so that it fits into a block.
const CHARGED_AT_ONCE: usize = 100;

/// Committees that are remembered, so that they are not asked for again and again.
const COMMITTEES_KEPT: usize = 1_024;

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
    let stagger = (look * 3).max(STAGGER_MIN);
    let steward = Steward {
        node: NodeId(config.node),
        network: deployment.genesis().network_id(),
        settler,
        submitter,
        book,
        look,
        stagger,
        turns: Turns::new(stagger),
        judged: BTreeSet::new(),
        committees: BTreeMap::new(),
        charged: BTreeMap::new(),
        charged_under: BTreeMap::new(),
        measured: BTreeMap::new(),
        claimed: BTreeMap::new(),
        differing: BTreeMap::new(),
        searched: deployment.first_block,
        changed: false,
        calls: 0,
        unfinished: None,
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
    network: NetworkId,
    settler: Settler,
    submitter: Submitter,
    book: Arc<SettlementBook>,
    look: Duration,
    stagger: Duration,
    turns: Turns,
    judged: BTreeSet<OffenceId>,
    committees: BTreeMap<(ShardId, RegistryEpoch), Vec<NodeId>>,
    /// What was charged at least, in units; it never becomes less.
    charged: BTreeMap<(ShardId, EthereumAddress), u128>,
    /// The report under which all was taken of payers that could be.
    charged_under: BTreeMap<ShardId, Period>,
    /// The place of the last report by which all were jailed whose service it calls bad.
    measured: BTreeMap<ShardId, u64>,
    /// The report and what was collected when all was claimed that could be.
    claimed: BTreeMap<(ShardId, NodeId), (Period, u128)>,
    /// The report of which the operator was told last that the contract has another one.
    differing: BTreeMap<ShardId, Period>,
    /// Events up to here are known, and say whether there is anything for the next epoch.
    searched: u64,
    changed: bool,
    calls: u64,
    /// What was signed and is not certain: nothing that is signed later can overtake it.
    unfinished: Option<Call>,
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

    /// Does everything that is due; what cannot be done keeps nothing else from being done.
    async fn look(&mut self) -> Result<()> {
        let mut looked = self.accuse().await;
        looked = looked.and(self.renew().await);
        for shard in self.book.shards() {
            looked = looked.and(self.keep(shard).await);
        }
        looked
    }

    async fn keep(&mut self, shard: ShardId) -> Result<()> {
        let settlement = self.settler.settlement(shard).await?;
        let (last, matured) = (settlement.last(), settlement.matured.map(|it| it.last));
        let claimable = settlement.claimable.map(|(it, _)| it.last);
        self.turns.retain(|task| match task {
            Task::Report(of, period) => *of != shard || *period > last,
            Task::Charge(of, period) => *of != shard || Some(*period) == matured,
            Task::Claim(of, _, period) => *of != shard || Some(*period) == claimable,
            _ => true,
        });
        self.report(shard, &settlement).await?;
        if let Some(matured) = settlement.matured {
            self.charge(shard, &matured).await?;
            self.jail(shard, matured).await?;
        }
        match settlement.claimable {
            Some(claimable) => self.claim(shard, claimable, settlement.collected).await,
            None => Ok(()),
        }
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
                self.turns.done(Task::Evidence(offence));
                continue;
            }
            let call = self.settler.judge(&evidence);
            if self.act(Task::Evidence(offence), 0, call).await? {
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
            self.act(Task::Graduation, 0, call).await?;
        }
        if !self.changed {
            self.turns.done(Task::Epoch);
            return Ok(());
        }
        let place = usize::try_from(self.node.0).unwrap_or(usize::MAX);
        let call = self.settler.advance_epoch();
        self.act(Task::Epoch, place, call).await?;
        Ok(())
    }

    /// Brings the next report, once it is attested; later ones cannot come before it.
    async fn report(&mut self, shard: ShardId, settlement: &Settlement) -> Result<()> {
        let first = settlement.last().plus(1);
        let next = self.book.reports(shard, first, 1).pop();
        let Some(AttestedReport { report, attestations, is_attested: true, .. }) = next else {
            return Ok(());
        };
        let follows = settlement.newest.is_none_or(|newest| newest.digest == report.previous);
        if report.first != first || !follows {
            self.tell_differing(shard, report.last);
            return Ok(());
        }
        let committee = self.committee(shard, report.epoch).await?;
        let place = rank(&committee, self.node, report.last.0);
        let call = self.settler.submit(&report, &committee, &attestations);
        if self.act(Task::Report(shard, report.last), place, call).await? {
            tracing::info!(shard = %shard.0, period = %report.last, "a report was submitted");
        }
        Ok(())
    }

    /// Charges payers by the newest report that can be; one that can pay no more is asked again
    /// under the next report.
    async fn charge(&mut self, shard: ShardId, matured: &SettledReport) -> Result<()> {
        if self.charged_under.get(&shard) == Some(&matured.last) {
            return Ok(());
        }
        let Some(ledger) = self.ledger(shard, matured) else { return Ok(()) };
        let Some(report) = ledger.last().copied() else { return Ok(()) };
        let committee = self.committee(shard, report.epoch).await?;
        let place = rank(&committee, self.node, report.last.0.wrapping_add(1));
        let task = Task::Charge(shard, matured.last);
        for some in self.owing(shard, &ledger).await?.chunks(CHARGED_AT_ONCE) {
            let proved = some.iter();
            let proved = proved.filter_map(|it| Some((*it, proved_usage(&ledger, *it)?)));
            let call = self.settler.charge(&report, matured.index, proved.collect());
            // A call that takes nothing succeeds, and costs gas.
            let is_worth = self.settler.foretell(&call).await?.is_some_and(|taken| taken > 0);
            if is_worth && !self.act(task, place, call).await? {
                return Ok(());
            }
        }
        self.charged_under.insert(shard, matured.last);
        self.turns.done(task);
        Ok(())
    }

    /// Has those jailed whose service was bad by a report that has matured since the last look.
    async fn jail(&mut self, shard: ShardId, matured: SettledReport) -> Result<()> {
        let next = self.measured.get(&shard).map_or(matured.index, |last| last + 1);
        for index in next..=matured.index {
            let report = match index == matured.index {
                true => matured,
                false => self.settler.report_at(shard, index).await?.0,
            };
            if !self.jail_by(shard, &report).await? {
                return Ok(());
            }
            self.measured.insert(shard, index);
        }
        Ok(())
    }

    /// Does so by one report, whether all is done; what is bad, the contract knows.
    async fn jail_by(&mut self, shard: ShardId, matured: &SettledReport) -> Result<bool> {
        let Some(ledger) = self.ledger(shard, matured) else { return Ok(true) };
        let Some(report) = ledger.last().copied() else { return Ok(true) };
        let committee = self.committee(shard, report.epoch).await?;
        let place = rank(&committee, self.node, report.last.0.wrapping_add(3));
        let mut is_done = true;
        for of in ledger.measurements() {
            let Some(proof) = prove_measurement(&ledger, of) else { continue };
            let call = self.settler.report_measurement(&report, matured.index, of, proof);
            let task = Task::Service(shard, of.node, matured.last);
            if self.settler.foretell(&call).await?.is_none() {
                self.turns.done(task);
            } else if self.act(task, place, call).await? {
                tracing::warn!(node = %of.node, period = %matured.last, "jailed for bad service");
            } else {
                is_done = false;
            }
        }
        Ok(is_done)
    }

    /// The payers that owe something under a ledger.
    async fn owing(&mut self, shard: ShardId, ledger: &Ledger) -> Result<Vec<EthereumAddress>> {
        let is_owing = |charged: &BTreeMap<_, u128>| {
            let owing = ledger.usage().filter(|(payer, billed)| {
                let known = charged.get(&(shard, *payer)).copied().unwrap_or_default();
                billed.units_rounded_down() > known
            });
            owing.map(|(payer, _)| payer).collect::<Vec<_>>()
        };
        for some in is_owing(&self.charged).chunks(CHARGED_AT_ONCE) {
            let charged = self.settler.charged(shard, some).await?;
            let by_payer = some.iter().map(|payer| (shard, *payer)).zip(charged);
            self.charged.extend(by_payer);
        }
        Ok(is_owing(&self.charged))
    }

    /// Claims what this node earned, and in turn the protocol's share.
    async fn claim(
        &mut self,
        shard: ShardId,
        (claimable, before): WithBefore,
        collected: u128,
    ) -> Result<()> {
        let now = (claimable.last, collected);
        let waiting = [self.node, PROTOCOL].into_iter();
        let waiting = waiting.filter(|node| self.claimed.get(&(shard, *node)) != Some(&now));
        let waiting: Vec<NodeId> = waiting.collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let Some(ledger) = self.ledger(shard, &claimable) else { return Ok(()) };
        let Some(report) = ledger.last().copied() else { return Ok(()) };
        let earlier = before.and_then(|before| self.book.ledger(shard, before.last));
        let committee = self.committee(shard, report.epoch).await?;
        for node in waiting {
            let Some(later) = proved_earnings(&ledger, node) else { continue };
            let part = earlier
                .as_ref()
                .and_then(|earlier| Some((*earlier.last()?, proved_earnings(earlier, node)?)));
            let part = part.as_ref().map(|(report, proved)| (report, proved.clone()));
            let call = self.settler.claim(node, (&report, claimable.index, later), part);
            let place = match node == PROTOCOL {
                true => rank(&committee, self.node, report.last.0.wrapping_add(2)),
                false => 0,
            };
            let task = Task::Claim(shard, node, claimable.last);
            let is_worth = self.settler.foretell(&call).await?.is_some_and(|paid| paid > 0);
            if !is_worth || self.act(task, place, call).await? {
                self.claimed.insert((shard, node), now);
                self.turns.done(task);
            }
        }
        Ok(())
    }

    /// The sums under an accepted report, if this node has come to the same.
    fn ledger(&mut self, shard: ShardId, accepted: &SettledReport) -> Option<Arc<Ledger>> {
        let ledger = self.book.ledger(shard, accepted.last)?;
        let digest = ledger.last().map(|report| report.digest(self.network));
        if digest == Some(accepted.digest) {
            return Some(ledger);
        }
        self.tell_differing(shard, accepted.last);
        None
    }

    fn tell_differing(&mut self, shard: ShardId, last: Period) {
        if self.differing.insert(shard, last) != Some(last) {
            tracing::error!(shard = %shard.0, period = %last,
                "the contract has accepted another report than this node has come to");
        }
    }

    async fn committee(&mut self, shard: ShardId, epoch: RegistryEpoch) -> Result<Vec<NodeId>> {
        if let Some(known) = self.committees.get(&(shard, epoch)) {
            return Ok(known.clone());
        }
        let committee = self.settler.committee(shard, epoch).await?;
        if self.committees.len() >= COMMITTEES_KEPT {
            self.committees.clear();
        }
        self.committees.insert((shard, epoch), committee.clone());
        Ok(committee)
    }

    /// Gets a call onto the chain when it is this node's turn, unless the contract refuses it as
    /// things are; whether it did.
    async fn act(
        &mut self,
        task: Task,
        rank: usize,
        (to, data): (EthereumAddress, Vec<u8>),
    ) -> Result<bool> {
        if !self.turns.is_turn(task, rank, Instant::now()) {
            return Ok(false);
        }
        self.finish().await?;
        self.calls += 1;
        self.unfinished = Some(Call::new(format!("{task} {}", self.calls), to, data));
        match self.finish().await? {
            None => {
                self.turns.done(task);
                Ok(true)
            }
            Some(reason) => {
                tracing::debug!(%task, reason, "refused");
                self.turns.refuse(task, Instant::now());
                Ok(false)
            }
        }
    }

    /// Goes on with the last call until it is certain what became of it; why the contract refused
    /// it, if it did.
    async fn finish(&mut self) -> Result<Option<String>> {
        let Some(call) = self.unfinished.take() else { return Ok(None) };
        match self.submitter.submit(&call).await {
            Ok(_) => Ok(None),
            // Somebody else was faster, or things have changed.
            Err(error @ (SubmitError::Refused(_) | SubmitError::Reverted { .. })) => {
                Ok(Some(error.to_string()))
            }
            Err(error) => {
                let is_signed = self.submitter.pending().contains(&call.key);
                self.unfinished = Some(call).filter(|_| is_signed);
                Err(error.into())
            }
        }
    }
}
