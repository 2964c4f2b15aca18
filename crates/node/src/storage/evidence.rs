//! Reading proofs of offences.

use tidings_envelope::Evidence;
use tidings_types::OffenceId;

use super::value::Value;
use super::{Storage, StorageError};

impl Storage {
    /// All evidence, by offence id.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn evidence(&self) -> Result<Vec<Evidence>, StorageError> {
        let sql = "SELECT evidence FROM evidence ORDER BY offence";
        let rows = self.fetch(sql, Vec::new()).await?;
        rows.into_iter().map(|mut row| row.wire(0, "evidence")).collect()
    }

    /// The evidence of at most `max` offences whose ids come after `after`, by offence id.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn evidence_after(
        &self,
        after: Option<OffenceId>,
        max: usize,
    ) -> Result<Vec<Evidence>, StorageError> {
        let sql = "SELECT evidence FROM evidence WHERE offence > $1 ORDER BY offence LIMIT $2";
        let after = after.map_or(Vec::new(), |offence| offence.0.to_vec());
        let max = Value::Int(i64::try_from(max).unwrap_or(i64::MAX));
        let rows = self.fetch(sql, vec![Value::Bytes(after), max]).await?;
        rows.into_iter().map(|mut row| row.wire(0, "evidence")).collect()
    }

    /// The evidence of an offence, if there is any here.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn evidence_of(&self, offence: OffenceId) -> Result<Option<Evidence>, StorageError> {
        let sql = "SELECT evidence FROM evidence WHERE offence = $1";
        let mut rows = self.fetch(sql, vec![Value::Bytes(offence.0.to_vec())]).await?;
        rows.first_mut().map(|row| row.wire(0, "evidence")).transpose()
    }
}
