//! What a person reads about a development network.

use std::fmt::Write as _;
use std::path::Path;

use super::readiness;
use super::record::Record;

/// A row per process: name, pid, state, addresses, data, log.
pub fn table(record: &Record, here: &Path) -> String {
    let shown = |path: &Path| path.strip_prefix(here).unwrap_or(path).display().to_string();
    let mut rows = vec![row(["name", "pid", "state", "http", "quic", "data", "log"])];
    for node in &record.layout.nodes {
        rows.push([
            node.name.clone(),
            number(node.pid),
            state(node.pid, &node.http),
            node.http.clone(),
            node.quic.clone(),
            shown(&node.data_dir),
            shown(&node.log),
        ]);
    }
    let gateway = &record.layout.gateway;
    rows.push([
        "gateway".to_owned(),
        number(gateway.pid),
        state(gateway.pid, &gateway.http),
        gateway.http.clone(),
        "-".to_owned(),
        shown(&gateway.data_dir),
        shown(&gateway.log),
    ]);
    for edge in &record.layout.edges {
        rows.push([
            edge.name.clone(),
            number(edge.pid),
            state(edge.pid, &edge.http),
            edge.http.clone(),
            "-".to_owned(),
            shown(&edge.data_dir),
            shown(&edge.log),
        ]);
    }
    if let Some(postgres) = &record.postgres {
        rows.push([
            "postgres".to_owned(),
            number(postgres.pid),
            if postgres.pid.is_some() { "ready" } else { "-" }.to_owned(),
            postgres.url.clone(),
            "-".to_owned(),
            shown(&postgres.data_dir.join("data")),
            shown(&postgres.data_dir.join("log")),
        ]);
    }
    if let Some(chain) = &record.chain {
        rows.push([
            "chain".to_owned(),
            number(chain.pid),
            if chain.pid.is_some() { "ready" } else { "-" }.to_owned(),
            chain.url.clone(),
            "-".to_owned(),
            shown(&chain.data_dir),
            shown(&chain.log),
        ]);
    }
    aligned(&rows)
}

fn row<const N: usize>(cells: [&str; N]) -> [String; N] {
    cells.map(str::to_owned)
}

fn number(pid: Option<u32>) -> String {
    pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string())
}

fn state(pid: Option<u32>, http: &str) -> String {
    match pid {
        None => "stopped",
        Some(_) if readiness::is_ready(http) => "ready",
        Some(_) => "not ready",
    }
    .to_owned()
}

fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let mut out = String::new();
    for cells in rows {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let width = rows.iter().map(|other| other[column].chars().count()).max().unwrap_or(0);
            let _ = write!(line, "{cell:<width$}  ");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// Where XMTP clients connect, if there are edges.
pub fn how_to_connect(record: &Record) -> String {
    let mut out = String::new();
    for edge in &record.layout.edges {
        let _ = writeln!(out, "  {}  {}", edge.name, edge.url);
    }
    match out.is_empty() {
        true => out,
        false => format!(
            "\nXMTP clients connect to any of these, as `gatewayHost` with env `local`:\n{out}\
             examples/xmtp-node shows how.\n"
        ),
    }
}

/// How to act on the network's chain, if it is on one.
pub fn how_to_govern(record: &Record, here: &Path) -> String {
    let shown = |path: &Path| path.strip_prefix(here).unwrap_or(path).display().to_string();
    let (Some(chain), Some(deployment)) = (&record.chain, &record.layout.deployment) else {
        return String::new();
    };
    format!(
        "\nThe registry is on a chain at {}; docs/on-a-chain.md says what to do there:\n  \
           export TIDINGS_RPC={} TIDINGS_DEPLOYMENT={}\n  \
           export TIDINGS_ACCOUNT_KEY_FILE={}\n  \
           {} operator status\n",
        chain.url,
        chain.url,
        shown(deployment),
        shown(&chain.data_dir.join("deployer.key")),
        shown(&record.binary),
    )
}

/// What to type to talk over the network.
pub fn how_to_chat(record: &Record, here: &Path) -> String {
    let shown = |path: &Path| path.strip_prefix(here).unwrap_or(path).display().to_string();
    let program = shown(&record.binary);
    let network = shown(&Record::path(&record.dir));
    // Two people on two nodes, where there are two, show that it does not matter.
    let at = |node: Option<&super::record::Node>| {
        node.map_or_else(String::new, |node| format!(" --node {}", node.name))
    };
    let (first, last) = (at(record.layout.nodes.first()), at(record.layout.nodes.last()));
    format!(
        "\nTo talk, make an inbox for each of two people:\n  \
           {program} --home /tmp/alice inbox create --devnet {network}{first}\n  \
           {program} --home /tmp/bob inbox create --devnet {network}{last}\n\
         Open a conversation with the address that the other's command printed:\n  \
           {program} --home /tmp/alice dm BOBS-ADDRESS\n\
         Then chat, each in a terminal:\n  \
           {program} --home /tmp/alice chat\n  \
           {program} --home /tmp/bob chat\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [row(["name", "pid"]), row(["n", "12345"]), row(["gateway", "-"])];
        assert_eq!(aligned(&rows), "name     pid\nn        12345\ngateway  -\n");
    }
}
