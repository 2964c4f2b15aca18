//! Who may send and how much, and what it cost: users, their keys, their quotas and their bills.

mod api_key;
mod books;
mod budget;
mod database;
mod owed;
mod quota;
mod users;

pub use api_key::{ApiKey, ApiKeyInvalid, KeyDigest};
pub use books::{Books, day_of};
#[cfg(test)]
pub use budget::ShardReport;
pub use budget::{Budget, FundsReport, FundsWatch};
pub use database::{
    DAYS_MAX, Database, DatabaseError, DaySpend, MoneyUsage, OwedAmount, Quota, Spent, User,
    UserSpend, UserUsage, add_user,
};
pub use quota::{Quotas, Take};
pub use users::Users;
