//! `tidings gateway spend`: what every user sent and what it cost.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::Serialize;
use tidings_gateway::{Database, Date, GatewayConfig, PayerConfig, Spent};
use tidings_types::{EthereumAddress, PicoDollarsTotal};

use crate::output::{Output, aligned};

/// What was sent in some days; amounts are picodollars in decimal.
#[derive(Debug, Serialize)]
struct Dashboard {
    first_day: String,
    last_day: String,
    users: Vec<Row>,
    total: Row,
    payers: Vec<Debt>,
}

/// What a payer owes, where its funds are watched: what was billed and not charged yet.
#[derive(Debug, Serialize)]
struct Debt {
    payer: EthereumAddress,
    owed_picodollars: String,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// Who pays for the user now; none for all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    payer: Option<EthereumAddress>,
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
    let payers = database.payers().await?;
    let mut debts = Vec::new();
    for PayerConfig { address: payer, .. } in config.payers() {
        let owed = database.add_owed(payer, &[], &Default::default()).await?;
        let owed = owed.iter().fold(0u128, |sum, owed| sum.saturating_add(owed.amount.0));
        debts.push((payer, PicoDollarsTotal(owed)));
    }
    database.close().await;
    let payer_of = |name: &str| payers.get(name).copied().unwrap_or(config.payer);
    let mut total = Spent::default();
    users.iter().for_each(|user| total.add(&user.spent));
    let dashboard = Dashboard {
        first_day: Date::from_days(first).to_string(),
        last_day: Date::from_days(last).to_string(),
        users: users
            .iter()
            .map(|user| row(&user.name, Some(payer_of(&user.name)), &user.spent))
            .collect(),
        total: row("all", None, &total),
        payers: debts
            .iter()
            .map(|(payer, owed)| Debt { payer: *payer, owed_picodollars: owed.0.to_string() })
            .collect(),
    };
    output.answer(&dashboard, |_| {
        let lines = users.iter().map(|user| {
            let payer = payer_of(&user.name).to_string();
            words(&user.name, payer, &user.spent)
        });
        let lines = lines.chain([words("all", String::new(), &total)]);
        let head = ["user", "payer now", "envelopes", "bytes", "fees"].map(str::to_owned).to_vec();
        let mut text = aligned(&[head].into_iter().chain(lines).collect::<Vec<_>>());
        for (payer, owed) in &debts {
            text += &format!("\n{payer} owes {owed} that is not charged yet");
        }
        text
    })
}

fn row(name: &str, payer: Option<EthereumAddress>, spent: &Spent) -> Row {
    let (envelopes, bytes) = (spent.envelopes, spent.bytes);
    let fee_picodollars = spent.fee.0.to_string();
    Row { name: name.to_owned(), payer, envelopes, bytes, fee_picodollars }
}

fn words(name: &str, payer: String, spent: &Spent) -> Vec<String> {
    vec![
        name.to_owned(),
        payer,
        spent.envelopes.to_string(),
        spent.bytes.to_string(),
        spent.fee.to_string(),
    ]
}
