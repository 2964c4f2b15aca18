//! Who may send and how much, and what it cost: users, their keys, their quotas, their
//! payers and their bills.

mod api_key;
mod books;
mod budget;
mod database;
mod owed;
mod payers;
mod quota;
mod users;

pub use api_key::{ApiKey, ApiKeyInvalid, KeyDigest};
pub use books::{Books, day_of};
pub use budget::{Budget, FundsReport, FundsWatch, ShardReport};
pub use database::{
    DAYS_MAX, Database, DatabaseError, DaySpend, MoneyUsage, OwedAmount, Quota, Spent, Terms, User,
    UserSpend, UserUsage, add_user,
};
pub use payers::{FundsWatches, PayerReport, Payers, Purse};
pub use quota::{Quotas, Take};
pub use users::Users;
