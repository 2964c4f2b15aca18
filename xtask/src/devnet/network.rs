//! The processes of a development network: start, watch, stop.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use signal_hook::consts::SIGTERM;

use super::laying_out::{lay_out, resume};
use super::lock::DirLock;
use super::record::{Record, Shape, State};
use super::{chain, readiness};
use crate::anvil::Anvil;
use crate::ports::Lease;
use crate::postgres::Postgres;
use crate::process;
use crate::signals::{self, Event};

/// On a chain the payer's cap is in force only some periods after it was set.
const READY_DEADLINE: Duration = Duration::from_secs(120);
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const LOG_TAIL_LINES: usize = 20;

/// One of the network's processes.
struct Member {
    name: String,
    child: Child,
    /// Whether its end was already told.
    ended: bool,
}

/// A network under way; dropped, it stops.
pub struct Network {
    /// What it is made of.
    pub record: Record,
    /// The gateway and the edges last, so that they stop first.
    members: Vec<Member>,
    chain: Option<Anvil>,
    chain_ended: bool,
    postgres: Option<Postgres>,
    _ports: Vec<Lease>,
    _lock: DirLock,
}

/// What to start, and from where.
pub struct Plan {
    /// The repository.
    pub root: PathBuf,
    /// The network's folder.
    pub dir: PathBuf,
    /// The `tidings` program.
    pub binary: PathBuf,
    /// What the network is to be.
    pub shape: Shape,
}

impl Network {
    /// Lays the network out if its folder holds none, starts every process, and
    /// waits until all are ready.
    ///
    /// # Errors
    /// When the folder is in use, or a process does not come up; those that did
    /// are stopped.
    pub fn start(plan: &Plan) -> Result<Self> {
        let lock = DirLock::acquire(&plan.dir)?;
        let laid = match Record::load(&plan.dir)? {
            Some(record) => resume(plan, record)?,
            None => lay_out(plan)?,
        };
        let mut network = Self {
            record: laid.record,
            members: Vec::new(),
            chain: laid.chain,
            chain_ended: false,
            postgres: laid.postgres,
            _ports: laid.ports,
            _lock: lock,
        };
        network.record.binary.clone_from(&plan.binary);
        network.record.supervisor_pid = Some(std::process::id());
        network.launch()?;
        network.record.state = State::Ready;
        network.record.store()?;
        Ok(network)
    }

    fn launch(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_DEADLINE;
        let layout = self.record.layout.clone();
        for (index, node) in layout.nodes.iter().enumerate() {
            let member = self.member(&node.name, "node", &node.config, &node.log)?;
            self.record.layout.nodes[index].pid = Some(member.child.id());
            self.members.push(member);
        }
        self.record.store()?;
        for (index, node) in layout.nodes.iter().enumerate() {
            self.await_ready(index, &node.http, &node.log, deadline)?;
        }
        // The gateway measures its nodes when it starts, so they come first.
        let gateway = &layout.gateway;
        let member = self.member("gateway", "gateway", &gateway.config, &gateway.log)?;
        self.record.layout.gateway.pid = Some(member.child.id());
        self.members.push(member);
        for (index, edge) in layout.edges.iter().enumerate() {
            let member = self.member(&edge.name, "xmtp-edge", &edge.config, &edge.log)?;
            self.record.layout.edges[index].pid = Some(member.child.id());
            self.members.push(member);
        }
        self.record.store()?;
        let first = layout.nodes.len();
        self.await_ready(first, &gateway.http, &gateway.log, deadline)?;
        for (index, edge) in layout.edges.iter().enumerate() {
            self.await_ready(first + 1 + index, &edge.http, &edge.log, deadline)?;
        }
        Ok(())
    }

    fn await_ready(
        &mut self,
        index: usize,
        http: &str,
        log: &Path,
        deadline: Instant,
    ) -> Result<()> {
        let member = &mut self.members[index];
        eprintln!("waiting for {} at {http}", member.name);
        readiness::wait(&mut member.child, http, deadline)
            .map_err(|error| anyhow!("{} did not start: {error}\n{}", member.name, tail(log)))
    }

    fn member(&self, name: &str, role: &str, config: &Path, log: &Path) -> Result<Member> {
        let log_file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let mut command = Command::new(&self.record.binary);
        command
            .args([role, "run", "--config"])
            .arg(config)
            .current_dir(&self.record.dir)
            .stdin(Stdio::null())
            .stdout(log_file.try_clone()?)
            .stderr(log_file)
            // Ctrl-C is for us; we stop the others in order.
            .process_group(0);
        let child = process::dies_with_us(&mut command, SIGTERM)
            .spawn()
            .with_context(|| format!("cannot start {}", self.record.binary.display()))?;
        Ok(Member { name: name.to_owned(), child, ended: false })
    }

    /// Watches over the network until the user asks it to stop; says on stderr
    /// which process ended by itself.
    ///
    /// # Errors
    /// When every process ended by itself.
    pub fn watch(&mut self, events: &Receiver<Event>) -> Result<()> {
        while !signals::stopped() {
            match events.recv() {
                Ok(Event::Child) => self.note_ends()?,
                Ok(Event::Stop) | Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    fn note_ends(&mut self) -> Result<()> {
        for member in &mut self.members {
            if member.ended {
                continue;
            }
            if let Some(status) = member.child.try_wait()? {
                member.ended = true;
                eprintln!("{} ended: {status}", member.name);
            }
        }
        if let Some(chain) = self.chain.as_mut().filter(|_| !self.chain_ended)
            && let Some(status) = chain.ended()?
        {
            self.chain_ended = true;
            eprintln!("the chain ended: {status}; nodes go on with the registry that they have");
        }
        ensure!(
            self.members.iter().any(|member| !member.ended),
            "every process of the network ended"
        );
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        // Users of the nodes go first, so that nothing under way is cut off.
        let gateway_at = self.record.layout.nodes.len().min(self.members.len());
        let gateway = self.members.split_off(gateway_at);
        stop_all(gateway)?;
        if let Some(chain) = self.chain.as_ref().filter(|_| !self.chain_ended) {
            chain::hold(chain);
        }
        stop_all(std::mem::take(&mut self.members))?;
        self.chain = None;
        self.postgres = None;
        self.record.forget_processes();
        self.record.store()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("stopping the network: {error:#}");
        }
    }
}

fn stop_all(mut members: Vec<Member>) -> Result<()> {
    let deadline = Instant::now() + STOP_DEADLINE;
    for member in &mut members {
        if member.child.try_wait()?.is_none() {
            signals::send(member.child.id(), SIGTERM);
        }
    }
    for member in &mut members {
        if process::wait_until(&mut member.child, deadline)?.is_none() {
            eprintln!("{} did not stop in time and was killed", member.name);
            member.child.kill()?;
            member.child.wait()?;
        }
    }
    Ok(())
}

/// A name for the data folder that is the same at each start in one `dir`.
pub fn postgres_name(dir: &Path) -> String {
    // FNV-1a: two networks of one machine must differ, nothing more.
    let hash = dir.to_string_lossy().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("devnet-{hash:016x}")
}

/// Empties the network's folder; the caller holds its lock.
///
/// # Errors
/// When something in it cannot be removed.
pub fn remove_remains(dir: &Path) -> Result<()> {
    for item in fs::read_dir(dir)? {
        let path = item?.path();
        let kept =
            path.file_name().is_some_and(|name| name == super::lock::FILE || name == super::LOG);
        if kept {
            continue;
        }
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LOG_TAIL_LINES);
    let mut out = format!("the end of {}:\n", log.display()).into_bytes();
    for line in &lines[first..] {
        let _ = writeln!(out, "  {line}");
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads 32 random bytes as hex.
///
/// # Errors
/// When the operating system gives none.
pub fn random_seed() -> Result<String> {
    use std::io::Read;
    let mut seed = [0; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Refuses a seed that is not 32 bytes in hex.
///
/// # Errors
/// When it is not.
pub fn check_seed(seed: &str) -> Result<String> {
    if seed.len() == 64 && seed.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(seed.to_ascii_lowercase());
    }
    bail!("a seed is 32 bytes in hex, 64 digits");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_32_bytes_in_hex() {
        let seed = random_seed().unwrap();
        assert_eq!(check_seed(&seed).unwrap(), seed);
        assert_ne!(random_seed().unwrap(), seed);
        assert!(check_seed("00").is_err());
        assert!(check_seed(&"g0".repeat(32)).is_err());
    }

    #[test]
    fn folders_have_their_own_databases() {
        let (one, two) = (Path::new("target/devnet"), Path::new("target/demo"));
        assert_eq!(postgres_name(one), postgres_name(one));
        assert_ne!(postgres_name(one), postgres_name(two));
    }
}
