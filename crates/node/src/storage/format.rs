//! The store's format version, its migrations, and the network it belongs to.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};
use tidings_types::{NetworkId, Wire};

use super::StorageError;
use super::backend::Session;
use super::value::Value;

/// Where sqlx notes which migrations have been applied.
const MIGRATIONS_TABLE: &str = "_sqlx_migrations";

/// One step from a format version to the next.
pub(super) struct FormatStep {
    /// The version that it leads to.
    pub version: i64,
    /// What it is about.
    pub description: &'static str,
    /// The statements, run in one transaction.
    pub sql: &'static str,
}

/// Refuses a store that is beyond the last of `steps`, and returns what brings it there.
///
/// A change of what stored bytes mean is a step too, if only to make older releases refuse.
pub(super) async fn migrator(
    connection: &mut impl Migrate,
    steps: &[FormatStep],
) -> Result<Migrator, StorageError> {
    connection.ensure_migrations_table(MIGRATIONS_TABLE).await?;
    let applied = connection.list_applied_migrations(MIGRATIONS_TABLE).await?;
    let found = applied.iter().map(|migration| migration.version).max().unwrap_or(0);
    let known = steps.iter().map(|step| step.version).max().unwrap_or(0);
    if found > known {
        return Err(StorageError::NewerFormat { found, known });
    }
    let migrations = steps.iter().map(|step| {
        let (kind, sql) = (MigrationType::Simple, step.sql.into_sql_str());
        Migration::new(step.version, step.description.into(), kind, sql, false)
    });
    Ok(Migrator::with_migrations(migrations.collect()))
}

/// Makes a new store `network`'s, and refuses one that is another's.
pub(super) async fn bind_to_network(
    session: &mut impl Session,
    network: NetworkId,
) -> Result<(), StorageError> {
    let sql = "INSERT INTO meta (name, value) VALUES ('network', $1) ON CONFLICT DO NOTHING";
    session.execute(sql, vec![Value::wire(&network)]).await?;
    let sql = "SELECT value FROM meta WHERE name = 'network'";
    let mut rows = session.fetch(sql, Vec::new()).await?;
    let bytes = rows.first_mut().map_or(Ok(Vec::new()), |row| row.bytes(0))?;
    match NetworkId::from_wire(&bytes) {
        Ok(found) if found == network => Ok(()),
        Ok(found) => Err(StorageError::OtherNetwork { found }),
        Err(_) => Err(StorageError::Damaged { what: "the network id" }),
    }
}
