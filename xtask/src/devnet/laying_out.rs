//! What must be there before a development network's processes start: keys, configuration, a
//! database, a chain.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::chain;
use super::network::{Plan, postgres_name, remove_remains};
use super::record::{Database, Layout, Record, Store};
use crate::anvil::Anvil;
use crate::ports::{self, Lease};
use crate::postgres::{self, Postgres};
use crate::process;

/// A network whose processes can be started; what they need runs.
pub struct Laid {
    /// What it is made of.
    pub record: Record,
    /// Its ports.
    pub ports: Vec<Lease>,
    /// Its PostgreSQL, if it has one.
    pub postgres: Option<Postgres>,
    /// Its chain, if it is on one.
    pub chain: Option<Anvil>,
}

/// Starts from what an earlier run left.
///
/// # Errors
/// When it is another network, or something it needs does not come back.
pub fn resume(plan: &Plan, mut record: Record) -> Result<Laid> {
    ensure!(
        record.shape == plan.shape,
        "{} holds another network; start with --fresh to replace it, or choose another --dir",
        plan.dir.display()
    );
    let ports =
        ports::lease_again(&record.ports).context("start with --fresh to have other ports")?;
    let postgres = match &record.postgres {
        Some(database) => Some(start_postgres(plan, Some(database.port))?),
        None => None,
    };
    record.postgres = postgres.as_ref().map(database);
    let chain = match record.chain.take() {
        Some(chain) => {
            let anvil = chain::start_again(&plan.root, &record, &chain, &plan.binary)?;
            record.chain = Some(chain::described(&plan.dir, chain.port, &anvil));
            Some(anvil)
        }
        None => None,
    };
    Ok(Laid { record, ports, postgres, chain })
}

/// Makes keys, registry and configuration, by the program itself.
///
/// # Errors
/// When something it needs does not start, or the program refuses.
pub fn lay_out(plan: &Plan) -> Result<Laid> {
    remove_remains(&plan.dir)?;
    let edges = if plan.shape.xmtp { plan.shape.nodes } else { 0 };
    let own = (plan.shape.nodes + edges) * 2 + 1;
    let leases = ports::lease(own + usize::from(plan.shape.chain))?;
    let ports: Vec<u16> = leases.iter().map(Lease::port).collect();
    let chain_port = ports.get(own).copied();
    let chain = chain_port.map(|port| chain::start(&plan.root, &plan.dir, port)).transpose()?;
    let postgres = match plan.shape.store {
        Store::Sqlite => None,
        Store::Postgres => {
            postgres::remove(&postgres_name(&plan.dir))?;
            Some(start_postgres(plan, None)?)
        }
    };
    let layout = initialise(plan, &ports[..own], postgres.as_ref(), chain.as_ref())?;
    let mut record =
        Record::new(plan.dir.clone(), plan.binary.clone(), plan.shape.clone(), ports, layout);
    record.postgres = postgres.as_ref().map(database);
    record.chain = chain_port
        .zip(chain.as_ref())
        .map(|(port, anvil)| chain::described(&plan.dir, port, anvil));
    record.store()?;
    Ok(Laid { record, ports: leases, postgres, chain })
}

fn initialise(
    plan: &Plan,
    ports: &[u16],
    postgres: Option<&Postgres>,
    chain: Option<&Anvil>,
) -> Result<Layout> {
    let shape = &plan.shape;
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let mut command = Command::new(&plan.binary);
    command
        .arg("devnet-init")
        .arg("--dir")
        .arg(&plan.dir)
        .args(["--nodes", &shape.nodes.to_string()])
        .args(["--shards", &shape.shards.to_string()])
        .args(["--replication", &shape.replication.to_string()])
        .args(["--seed", &shape.seed])
        .args(["--store", shape.store.word()])
        .args(["--ports", &ports.join(",")])
        .arg("--json")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    if let Some(postgres) = postgres {
        command.args(["--postgres-url", &postgres.url()]);
    }
    if let Some(chain) = chain {
        eprintln!("deploying the contracts, and having the nodes join");
        command.args(["--chain", chain.url()]);
    }
    if shape.xmtp {
        command.arg("--xmtp");
    }
    let name = process::shown(&command);
    let output = command.output().with_context(|| format!("cannot start `{name}`"))?;
    ensure!(output.status.success(), "`{name}` failed: {}", output.status);
    let layout: Layout = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("`{name}` printed something else than a layout"))?;
    ensure!(layout.nodes.len() == shape.nodes, "`{name}` laid out {} nodes", layout.nodes.len());
    Ok(layout)
}

/// The name of a node's database; its number is its place in the layout.
fn database_name(index: usize) -> String {
    format!("tidings_node_{index}")
}

fn start_postgres(plan: &Plan, port: Option<u16>) -> Result<Postgres> {
    eprintln!("starting PostgreSQL");
    let databases: Vec<String> = (0..plan.shape.nodes).map(database_name).collect();
    let config = postgres::Config {
        origin: postgres::Origin::Auto,
        keep_as: Some(&postgres_name(&plan.dir)),
        port,
        databases: &databases,
    };
    Postgres::start(&plan.root, &config)
}

fn database(postgres: &Postgres) -> Database {
    Database {
        url: postgres.url(),
        port: postgres.port(),
        data_dir: postgres.dir().to_path_buf(),
        pid: Some(postgres.pid()),
    }
}
