//! `cargo xtask devnet`: a whole network of real processes on this machine.

mod chain;
mod laying_out;
mod lock;
mod network;
pub mod readiness;
mod record;
mod table;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use signal_hook::consts::SIGTERM;

use crate::signals::{self, Event};
use crate::{postgres, process, repository};

pub use network::Network;
use network::Plan;
use record::{Record, Shape, Store};

/// The log of a detached network's supervisor, in the network's folder.
const LOG: &str = "devnet.log";
/// What a supervisor says when its network is ready.
const READY: &str = "ready";
const STOP_DEADLINE: Duration = Duration::from_secs(90);
const NODES_DEFAULT: usize = 4;

/// Options of `cargo xtask devnet`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(subcommand)]
    action: Option<Action>,
    /// The network's folder [default: target/devnet]
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
    /// Print devnet.json instead of a table
    #[arg(long, global = true)]
    json: bool,
    /// Return when the network is ready, and leave it running
    #[arg(long)]
    detach: bool,
    /// Number of nodes [default: 4]
    #[arg(long)]
    nodes: Option<usize>,
    /// Number of shards, a power of two [default: 1]
    #[arg(long)]
    shards: Option<usize>,
    /// Nodes per shard [default: as many as there are nodes, at most 4]
    #[arg(long)]
    replication: Option<usize>,
    /// Where nodes keep their data [default: sqlite]
    #[arg(long, value_enum)]
    store: Option<Store>,
    /// 32 bytes in hex, from which all keys are derived [default: random]
    #[arg(long)]
    seed: Option<String>,
    /// Start an XMTP edge beside each node; edges are in no contract, so this implies --no-chain
    #[arg(long)]
    xmtp: bool,
    /// Keep the registry in a file, and have no chain
    #[arg(long)]
    no_chain: bool,
    /// Use the release profile
    #[arg(long)]
    release: bool,
    /// Replace the network that the folder holds
    #[arg(long)]
    fresh: bool,
    /// Watch over a network whose starter waits for a word
    #[arg(long, hide = true)]
    supervised: bool,
}

/// What to do with a network that is there.
#[derive(Clone, Copy, Debug, Subcommand)]
enum Action {
    /// Say what runs
    Status,
    /// Stop every process in good order
    Stop,
}

/// Runs the command.
///
/// # Errors
/// When the network does not start, or what was asked for is not there.
pub fn run(root: &Path, options: &Options, events: &Receiver<Event>) -> Result<()> {
    let dir = folder(root, options.dir.as_deref())?;
    match options.action {
        Some(Action::Status) => return status(&dir, options.json),
        Some(Action::Stop) => return stop(&dir),
        None => {}
    }
    if options.supervised {
        let plan = plan(root, dir, options)?;
        let mut network = Network::start(&plan)?;
        println!("{READY}");
        return network.watch(events);
    }
    ensure!(
        !lock::is_held(&dir),
        "a network runs in {}; see `cargo xtask devnet status`, or choose another --dir",
        dir.display()
    );
    build(root, &["tidings"], options.release)?;
    if options.fresh {
        clear(&dir)?;
    }
    let plan = plan(root, dir, options)?;
    if options.detach {
        detach(&plan, options)?;
        let record = Record::load(&plan.dir)?.context("the network left no record")?;
        return show(root, &record, options.json, true);
    }
    let mut network = Network::start(&plan)?;
    show(root, &network.record, options.json, false)?;
    network.watch(events)
}

/// Starts a network of default shape in `dir`, in place of what was there.
///
/// # Errors
/// When it does not start.
pub fn start_fresh(root: &Path, dir: PathBuf, nodes: usize, seed: Option<&str>) -> Result<Network> {
    let shape = Shape { nodes, seed: seed_or_random(seed)?, ..default_shape()? };
    start_anew(root, dir, Shape { replication: nodes.min(NODES_DEFAULT), ..shape })
}

/// Starts a network of default shape on a chain of its own in `dir`, in place of what was there.
///
/// # Errors
/// When it does not start.
pub fn start_on_chain(root: &Path, dir: PathBuf, seed: Option<&str>) -> Result<Network> {
    start_anew(root, dir, Shape { chain: true, seed: seed_or_random(seed)?, ..default_shape()? })
}

/// Starts a network of default shape with XMTP edges in `dir`, in place of what was there.
///
/// # Errors
/// When it does not start.
pub fn start_xmtp(root: &Path, dir: PathBuf) -> Result<Network> {
    start_anew(root, dir, Shape { xmtp: true, ..default_shape()? })
}

fn default_shape() -> Result<Shape> {
    Ok(Shape {
        nodes: NODES_DEFAULT,
        shards: 1,
        replication: NODES_DEFAULT,
        store: Store::Sqlite,
        seed: seed_or_random(None)?,
        xmtp: false,
        chain: false,
    })
}

fn start_anew(root: &Path, dir: PathBuf, shape: Shape) -> Result<Network> {
    clear(&dir)?;
    Network::start(&Plan {
        root: root.to_path_buf(),
        dir,
        binary: binary(root, "tidings", false),
        shape,
    })
}

/// The file that describes the network in `dir`.
pub fn record_path(dir: &Path) -> PathBuf {
    Record::path(dir)
}

/// Builds programs of the main workspace, showing cargo's progress.
///
/// # Errors
/// When the build fails.
pub fn build(root: &Path, names: &[&str], release: bool) -> Result<()> {
    let mut command = process::cargo(root);
    // The whole workspace is selected so that features are those of every build.
    command.args(["build", "--workspace"]).stdin(Stdio::null());
    for name in names {
        command.args(["--bin", name]);
    }
    if release {
        command.arg("--release");
    }
    process::run(&mut command, None)
}

/// Where cargo puts a program.
pub fn binary(root: &Path, name: &str, release: bool) -> PathBuf {
    let profile = if release { "release" } else { "debug" };
    repository::target_dir(root).join(profile).join(name)
}

fn folder(root: &Path, dir: Option<&Path>) -> Result<PathBuf> {
    match dir {
        None => Ok(repository::target_dir(root).join("devnet")),
        Some(dir) => {
            std::path::absolute(dir).with_context(|| format!("no folder {}", dir.display()))
        }
    }
}

fn clear(dir: &Path) -> Result<()> {
    let _lock = lock::DirLock::acquire(dir)?;
    network::remove_remains(dir)?;
    postgres::remove(&network::postgres_name(dir))
}

fn seed_or_random(seed: Option<&str>) -> Result<String> {
    seed.map_or_else(network::random_seed, network::check_seed)
}

/// What to start: as asked for, else as recorded, else the default.
fn plan(root: &Path, dir: PathBuf, options: &Options) -> Result<Plan> {
    let recorded = Record::load(&dir)?.map(|record| record.shape);
    let shape = shape(options, recorded)?;
    Ok(Plan {
        root: root.to_path_buf(),
        dir,
        binary: binary(root, "tidings", options.release),
        shape,
    })
}

fn shape(options: &Options, recorded: Option<Shape>) -> Result<Shape> {
    // Another number of nodes makes another network, which owes nothing to the first.
    let recorded =
        recorded.as_ref().filter(|shape| options.nodes.is_none_or(|nodes| nodes == shape.nodes));
    let nodes = options.nodes.or(recorded.map(|shape| shape.nodes)).unwrap_or(NODES_DEFAULT);
    let shards = options.shards.or(recorded.map(|shape| shape.shards)).unwrap_or(1);
    let replication = options
        .replication
        .or(recorded.map(|shape| shape.replication))
        .unwrap_or(nodes.min(NODES_DEFAULT));
    ensure!(nodes > 0, "a network has at least one node");
    ensure!(shards.is_power_of_two(), "the number of shards is a power of two");
    ensure!((1..=nodes).contains(&replication), "a shard has 1 to {nodes} nodes");
    let seed = options.seed.as_deref().or(recorded.map(|shape| shape.seed.as_str()));
    let xmtp = options.xmtp || recorded.is_some_and(|shape| shape.xmtp);
    Ok(Shape {
        nodes,
        shards,
        replication,
        store: options.store.or(recorded.map(|shape| shape.store)).unwrap_or(Store::Sqlite),
        seed: seed_or_random(seed)?,
        xmtp,
        chain: !options.no_chain && !xmtp && recorded.is_none_or(|shape| shape.chain),
    })
}

/// Leaves a supervisor behind and returns when it says that all is ready.
fn detach(plan: &Plan, options: &Options) -> Result<()> {
    drop(lock::DirLock::acquire(&plan.dir)?);
    let log_path = plan.dir.join(LOG);
    let log = File::create(&log_path)?;
    let shape = &plan.shape;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["devnet", "--supervised", "--dir"])
        .arg(&plan.dir)
        .args(["--nodes", &shape.nodes.to_string()])
        .args(["--shards", &shape.shards.to_string()])
        .args(["--replication", &shape.replication.to_string()])
        .args(["--store", shape.store.word()])
        .args(["--seed", &shape.seed])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    if options.release {
        command.arg("--release");
    }
    if shape.xmtp {
        command.arg("--xmtp");
    }
    if !shape.chain {
        command.arg("--no-chain");
    }
    let mut supervisor = process::outlives_us(&mut command).spawn()?;
    let _forwarded = signals::Forwarded::new(supervisor.id());
    eprintln!("starting {} nodes and a gateway", shape.nodes);
    let stdout = supervisor.stdout.take().context("stdout is piped")?;
    let mut word = String::new();
    BufReader::new(stdout).read_line(&mut word)?;
    if word.trim() != READY {
        let status = supervisor.wait()?;
        let log = std::fs::read_to_string(&log_path).unwrap_or_default();
        bail!("the network did not start ({status}):\n{log}");
    }
    Ok(())
}

fn show(root: &Path, record: &Record, json: bool, detached: bool) -> Result<()> {
    if json {
        print!("{}", record.json()?);
    } else {
        let here = std::env::current_dir().unwrap_or_else(|_| root.to_path_buf());
        print!("{}", table::table(record, &here));
        print!("{}", table::how_to_chat(record, &here));
        print!("{}", table::how_to_connect(record));
        print!("{}", table::how_to_govern(record, &here));
        if detached {
            let dir = record.dir.strip_prefix(root.join("target/devnet"));
            let option = match dir {
                Ok(_) => String::new(),
                Err(_) => format!(" --dir {}", record.dir.display()),
            };
            println!("\nIt goes on in the background; `cargo xtask devnet stop{option}` ends it.");
        } else {
            println!("\nCtrl-C stops the network; its data stays for the next start.");
        }
    }
    Ok(())
}

fn status(dir: &Path, json: bool) -> Result<()> {
    let mut record =
        Record::load(dir)?.with_context(|| format!("there is no network in {}", dir.display()))?;
    let running = lock::is_held(dir);
    if !running {
        // Its supervisor was killed, and its processes with it.
        record.forget_processes();
    }
    if json {
        print!("{}", record.json()?);
    } else {
        let here = std::env::current_dir().unwrap_or_else(|_| dir.to_path_buf());
        print!("{}", table::table(&record, &here));
    }
    if !running {
        bail!("the network in {} does not run", dir.display());
    }
    Ok(())
}

fn stop(dir: &Path) -> Result<()> {
    if !lock::is_held(dir) {
        println!("no network runs in {}", dir.display());
        return Ok(());
    }
    let supervisor = Record::load(dir)?
        .and_then(|record| record.supervisor_pid)
        .with_context(|| format!("the network in {} is still being laid out", dir.display()))?;
    signals::send(supervisor, SIGTERM);
    ensure!(
        lock::wait_until_free(dir, STOP_DEADLINE),
        "the network in {} did not stop in {} s",
        dir.display(),
        STOP_DEADLINE.as_secs()
    );
    println!("the network in {} stopped", dir.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            action: None,
            dir: None,
            json: false,
            detach: false,
            nodes: None,
            shards: None,
            replication: None,
            store: None,
            seed: None,
            xmtp: false,
            no_chain: false,
            release: false,
            fresh: false,
            supervised: false,
        }
    }

    #[test]
    fn a_shape_is_asked_for_recorded_or_default() {
        let first = shape(&options(), None).unwrap();
        assert_eq!((first.nodes, first.shards, first.replication), (4, 1, 4));
        let again = shape(&options(), Some(first.clone())).unwrap();
        assert_eq!(again, first);
        let mut asked = options();
        asked.nodes = Some(8);
        asked.shards = Some(4);
        let other = shape(&asked, None).unwrap();
        assert_eq!((other.nodes, other.shards, other.replication), (8, 4, 4));
        assert!(first.chain && again.chain && other.chain);
    }

    #[test]
    fn a_network_with_edges_is_on_no_chain() {
        let mut asked = options();
        asked.xmtp = true;
        let edged = shape(&asked, None).unwrap();
        assert!(edged.xmtp && !edged.chain);
        assert!(!shape(&options(), Some(edged)).unwrap().chain);
        asked.xmtp = false;
        asked.no_chain = true;
        let filed = shape(&asked, None).unwrap();
        assert!(!filed.chain);
        assert_eq!(shape(&options(), Some(filed.clone())).unwrap(), filed);
    }

    #[test]
    fn an_impossible_shape_is_refused() {
        let mut none = options();
        none.nodes = Some(0);
        assert!(shape(&none, None).is_err());
        let mut three = options();
        three.shards = Some(3);
        assert!(shape(&three, None).is_err());
        let mut five = options();
        five.replication = Some(5);
        assert!(shape(&five, None).is_err());
    }
}
