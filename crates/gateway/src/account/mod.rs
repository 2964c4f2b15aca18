//! Who may send and how much: users, their keys and their quotas.

mod api_key;
mod database;
mod quota;
mod users;

pub use api_key::{ApiKey, ApiKeyInvalid, KeyDigest};
pub use database::{Database, DatabaseError, User, UserUsage, add_user};
pub use quota::Quotas;
pub use users::Users;
