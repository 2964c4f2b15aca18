//! The two kinds of values that tables hold: numbers and bytes.

use std::sync::Arc;

use tidings_types::Wire;

use super::StorageError;

/// What a column of one row holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing.
    #[default]
    Null,
    /// A number.
    Int(i64),
    /// Canonical bytes.
    Bytes(Vec<u8>),
}

impl Value {
    /// A number that is a count or an index in memory or on the wire.
    pub fn int(value: u64) -> Result<Self, StorageError> {
        int(value).map(Self::Int)
    }

    /// A structure's canonical bytes.
    pub fn wire(value: &impl Wire) -> Self {
        Self::Bytes(value.to_wire())
    }
}

/// `value` as the databases hold numbers.
pub(super) fn int(value: u64) -> Result<i64, StorageError> {
    i64::try_from(value).map_err(|_| StorageError::OutOfRange { value })
}

/// One row of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row(pub Vec<Value>);

impl Row {
    /// The number in column `index`.
    pub fn number(&self, index: usize) -> Result<u64, StorageError> {
        match self.0.get(index) {
            Some(Value::Int(value)) => u64::try_from(*value).map_err(|_| damaged("a number")),
            _ => Err(damaged("a number")),
        }
    }

    /// The number in column `index` in a narrower type.
    pub fn narrow<T: TryFrom<u64>>(&self, index: usize) -> Result<T, StorageError> {
        T::try_from(self.number(index)?).map_err(|_| damaged("a number"))
    }

    /// The bytes in column `index`, moved out.
    pub fn bytes(&mut self, index: usize) -> Result<Vec<u8>, StorageError> {
        self.optional_bytes(index)?.ok_or(damaged("bytes"))
    }

    /// The bytes in column `index` if there are any, moved out.
    pub fn optional_bytes(&mut self, index: usize) -> Result<Option<Vec<u8>>, StorageError> {
        match self.0.get_mut(index).map(std::mem::take) {
            Some(Value::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Value::Null) => Ok(None),
            _ => Err(damaged("bytes")),
        }
    }

    /// The structure in column `index`.
    pub fn wire<T: Wire>(&mut self, index: usize, what: &'static str) -> Result<T, StorageError> {
        T::from_wire(&self.bytes(index)?).map_err(|_| damaged(what))
    }
}

/// What was read is not what was written.
pub(super) fn damaged(what: &'static str) -> StorageError {
    StorageError::Damaged { what }
}

/// One column of many new rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Column {
    /// Numbers.
    Ints(Vec<i64>),
    /// Bytes that exist for this write only.
    Bytes(Vec<Vec<u8>>),
    /// Bytes that others hold too, or nothing.
    Shared(Vec<Option<Arc<[u8]>>>),
}

impl Column {
    /// How many rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Ints(values) => values.len(),
            Self::Bytes(values) => values.len(),
            Self::Shared(values) => values.len(),
        }
    }

    /// How many bytes the value of row `index` has.
    pub fn bytes_at(&self, index: usize) -> usize {
        match self {
            Self::Ints(_) => size_of::<i64>(),
            Self::Bytes(values) => values.get(index).map_or(0, Vec::len),
            Self::Shared(values) => {
                values.get(index).and_then(Option::as_deref).map_or(0, <[u8]>::len)
            }
        }
    }
}

/// Where new rows go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    /// The table's name.
    pub name: &'static str,
    /// The columns that are given, in order.
    pub columns: &'static [&'static str],
    /// What to do about rows that exist; without it they are an error.
    pub on_conflict: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_give_only_what_they_hold() {
        let mut row =
            Row(vec![Value::Int(-1), Value::Int(70_000), Value::Bytes(vec![1]), Value::Null]);
        assert!(row.number(0).is_err());
        assert_eq!(row.number(1).unwrap(), 70_000);
        assert!(row.narrow::<u16>(1).is_err());
        assert_eq!(row.narrow::<u32>(1).unwrap(), 70_000);
        assert!(row.bytes(1).is_err());
        assert_eq!(row.bytes(2).unwrap(), vec![1]);
        assert!(row.bytes(3).is_err());
        assert_eq!(row.optional_bytes(3).unwrap(), None);
        assert!(row.number(4).is_err());
    }

    #[test]
    fn numbers_beyond_the_database_are_refused() {
        assert_eq!(int(u64::MAX >> 1).unwrap(), i64::MAX);
        assert!(matches!(int(1 << 63), Err(StorageError::OutOfRange { .. })));
    }
}
