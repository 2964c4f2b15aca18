//! Who may send and how much: users, their keys and their quotas.

mod api_key;
mod database;
mod quota;

pub use api_key::{ApiKey, ApiKeyInvalid, KeyDigest};
pub use database::{Database, DatabaseError, User, UserUsage, add_user};
pub use quota::{Charge, Quotas, UsageReport};
