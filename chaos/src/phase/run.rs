//! A run: one phase after another on one network, with a check after each.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use tidings_demo::{Network, Options, binary};

use super::{Fault, Ordering, Stage};
use crate::check::Violation;
use crate::history::Change;
use crate::measure::Window;
use crate::people::World;
use crate::report::{self, Row};

/// How long it may take until all clients agree and hold everything, once nothing is wrong.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a lane may go on with what it had before a fault began.
const GRACE: Duration = Duration::from_millis(1_500);

/// How many violations are shown.
const VIOLATIONS_SHOWN: usize = 20;

/// What to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where chances are drawn from.
    pub seed: u64,
    /// How long each fault lasts.
    pub time: Duration,
    /// Which faults, in order.
    pub faults: Vec<Fault>,
    /// Where the network and the clients keep their files, which stay; a folder that ends with
    /// the run if there is none.
    pub folder: Option<PathBuf>,
}

/// Runs the phases and prints how each went.
///
/// # Errors
/// The first phase after which something is wrong, with what that is.
pub async fn run(settings: &Settings) -> Result<Vec<Row>> {
    let options = Options {
        gateway: true,
        relay: Some(settings.seed),
        faults: true,
        folder: settings.folder.clone(),
        ..Options::default()
    };
    let network = Network::start(options).await?;
    let homes = network.folder().join("people");
    let world = World::gather(&network, &homes).await?;
    let mut stage = Stage { network, world, rng: ChaCha20Rng::seed_from_u64(settings.seed) };
    let tasks = stage.world.begin(settings.seed);
    println!("seed {}\n\n{}", settings.seed, report::head());
    let mut rows = Vec::new();
    for fault in &settings.faults {
        let row = phase(&mut stage, *fault, settings.time)
            .await
            .with_context(|| format!("phase {}, seed {}", fault.name(), settings.seed))?;
        println!("{}", report::line(&row));
        rows.push(row);
    }
    drop(tasks);
    audit(&stage.network)?;
    stage.network.stop().await?;
    Ok(rows)
}

/// Strikes, mends, waits until all is well, and checks.
async fn phase(stage: &mut Stage, fault: Fault, time: Duration) -> Result<Row> {
    let world = stage.world.clone();
    let from = world.recorder.now();
    fault.strike(stage, time).await?;
    let window = Window { from, to: world.recorder.now() };
    let paused = world.pause().await?;
    let violations = world.settle(SETTLE_TIMEOUT).await;
    let settled_in = world.recorder.now() - window.to;
    drop(paused);
    ensure!(violations.is_empty(), told(&violations));
    let row = Row::new(fault.name(), &world.recorder.history(), window, settled_in);
    expect(fault, &row, &world.recorder.history().changes, window)?;
    Ok(row)
}

/// Whether the lanes went on as they must under the fault.
fn expect(fault: Fault, row: &Row, changes: &[Change], window: Window) -> Result<()> {
    ensure!(row.sends.served > 0, "no message was acknowledged");
    match fault.ordering() {
        Ordering::Goes => ensure!(row.changes.served > 0, "no change was ordered"),
        Ordering::Stops => {
            let done = |it: &&Change| {
                let ended = it.returned.filter(|ended| it.done && *ended <= window.to);
                it.began >= window.from + GRACE && ended.is_some()
            };
            let done = changes.iter().find(done);
            ensure!(done.is_none(), "ordered without two thirds of the committee: {done:?}");
        }
    }
    Ok(())
}

fn told(violations: &[Violation]) -> String {
    let shown = violations.iter().take(VIOLATIONS_SHOWN).map(ToString::to_string);
    let mut lines: Vec<String> = shown.collect();
    if violations.len() > VIOLATIONS_SHOWN {
        lines.push(format!("and {} more", violations.len() - VIOLATIONS_SHOWN));
    }
    lines.join("\n")
}

/// Has every node audited from outside.
fn audit(network: &Network) -> Result<()> {
    for node in network.nodes() {
        let output =
            Command::new(binary("tidings")?).args(["audit", &node.http, "--once"]).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            bail!("the audit of {} failed:\n{said}", node.name);
        }
    }
    Ok(())
}
