//! `tidings gateway spend`: what every user sent and what it cost.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::Serialize;
use tidings_gateway::{Database, Date, GatewayConfig, Spent};

use crate::output::{Output, aligned};

/// What was sent in some days; amounts are picodollars in decimal.
#[derive(Debug, Serialize)]
struct Dashboard {
    first_day: String,
    last_day: String,
    users: Vec<Row>,
    total: Row,
    /// Of the payer, where its funds are watched: what was billed and not charged yet.
    owed_picodollars: String,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    envelopes: u64,
    bytes: u64,
    fee_picodollars: String,
}

/// Shows it, also while the gateway runs, whose last second may be missing.
///
/// # Errors
/// When the database does not serve.
pub async fn run(config: &GatewayConfig, days: u16, output: Output) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let last = i64::try_from(now / 86_400)?;
    let first = last - i64::from(days) + 1;
    let database = Database::open(&config.database).await?;
    let users = database.spend_of_all(first).await?;
    let owed = database.add_owed(config.payer, &[], &Default::default()).await?;
    database.close().await;
    let mut total = Spent::default();
    users.iter().for_each(|user| total.add(&user.spent));
    let owed = owed.iter().fold(0u128, |sum, owed| sum.saturating_add(owed.amount.0));
    let dashboard = Dashboard {
        first_day: Date::from_days(first).to_string(),
        last_day: Date::from_days(last).to_string(),
        users: users.iter().map(|user| row(&user.name, &user.spent)).collect(),
        total: row("all", &total),
        owed_picodollars: owed.to_string(),
    };
    output.answer(&dashboard, |_| {
        let lines = users.iter().map(|user| (user.name.as_str(), &user.spent));
        let lines = lines.chain([("all", &total)]).map(|(name, spent)| words(name, spent));
        let head = ["user", "envelopes", "bytes", "fees"].map(str::to_owned).to_vec();
        aligned(&[head].into_iter().chain(lines).collect::<Vec<_>>())
    })
}

fn row(name: &str, spent: &Spent) -> Row {
    let (envelopes, bytes) = (spent.envelopes, spent.bytes);
    Row { name: name.to_owned(), envelopes, bytes, fee_picodollars: spent.fee.0.to_string() }
}

fn words(name: &str, spent: &Spent) -> Vec<String> {
    vec![
        name.to_owned(),
        spent.envelopes.to_string(),
        spent.bytes.to_string(),
        spent.fee.to_string(),
    ]
}
