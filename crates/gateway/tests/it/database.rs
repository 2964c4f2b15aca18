//! What both databases do alike.

use sqlx::{AssertSqlSafe, Connection, Executor};
use tidings_gateway::{
    ApiKey, Database, DatabaseError, OwedAmount, Quota, Spent, Terms, User, UserSpend,
};
use tidings_types::{EthereumAddress, Period, PicoDollars, PicoDollarsTotal, ShardId};

/// A server's URL, under which databases may be made.
const POSTGRES: &str = "TIDINGS_TEST_POSTGRES_URL";

async fn sqlite(folder: &tempfile::TempDir) -> String {
    format!("sqlite:{}", folder.path().join("gateway.db").display())
}

/// A fresh database on the test server.
async fn postgres() -> String {
    let server = std::env::var(POSTGRES)
        .unwrap_or_else(|_| panic!("{POSTGRES} is not set; run `cargo xtask test`"));
    let name = format!("gateway_{}", &ApiKey::generate().digest().handle());
    let mut connection = sqlx::PgConnection::connect(&server).await.unwrap();
    let create = format!("CREATE DATABASE {name}");
    connection.execute(sqlx::query(AssertSqlSafe(create))).await.unwrap();
    let (server, query) = match server.split_once('?') {
        Some((server, query)) => (server.to_owned(), format!("?{query}")),
        None => (server, String::new()),
    };
    let scheme = server.find("://").unwrap() + 3;
    let authority = server[scheme..].find('/').map_or(server.len(), |slash| scheme + slash);
    format!("{}/{name}{query}", &server[..authority])
}

/// Runs every check on a fresh database at `url`.
async fn conforms(url: &str) {
    let database = Database::open(url).await.unwrap();
    users_are_found_by_their_key(&database).await;
    users_have_payers(&database).await;
    names_are_plain_and_unique(&database).await;
    windows_hold_the_quota(&database).await;
    takers_at_once_share_the_quota(&database).await;
    money_is_taken_like_envelopes(&database).await;
    spending_adds_up(&database).await;
    debts_add_up_until_they_are_settled(&database).await;
    keys_of_log_ins_expire(&database).await;
    database.close().await;
    what_is_stored_stays(url).await;
}

async fn users_are_found_by_their_key(database: &Database) {
    let money = |money| Quota { envelopes: 20, money };
    let ada = database.add_user("ada", Quota::envelopes(10)).await.unwrap();
    let ben = database.add_user("ben", money(Some(PicoDollars(7)))).await.unwrap();
    let check = async |key: &ApiKey, expected: Option<(&str, Quota)>| {
        let expected = expected.map(|(name, quota)| User { name: name.into(), quota, payer: None });
        assert_eq!(database.user(&key.digest(), 0).await.unwrap(), expected);
    };
    check(&ada, Some(("ada", Quota::envelopes(10)))).await;
    check(&ben, Some(("ben", money(Some(PicoDollars(7)))))).await;
    for quota in [money(Some(PicoDollars(8))), money(None), money(Some(PicoDollars(9)))] {
        database.set_quota("ben", quota).await.unwrap();
        check(&ben, Some(("ben", quota))).await;
    }
    check(&ApiKey::generate(), None).await;
    database.remove_user("ben").await.unwrap();
    check(&ben, None).await;
    for refused in [database.remove_user("ben").await, database.set_quota("ben", money(None)).await]
    {
        assert!(matches!(refused, Err(DatabaseError::UserUnknown(name)) if name == "ben"));
    }
}

async fn users_have_payers(database: &Database) {
    // covers: GTW-021
    let payer = |byte| Some(EthereumAddress([byte; 20]));
    let quota = Quota::envelopes(1);
    let ben = database.add_user("ben", Terms { quota, payer: payer(1) }).await.unwrap();
    let check = async |expected| {
        let found = database.user(&ben.digest(), 0).await.unwrap().unwrap();
        assert_eq!((found.quota, found.payer), (quota, expected));
        assert_eq!(database.payers().await.unwrap().get("ben").copied(), expected);
    };
    check(payer(1)).await;
    for other in [2, 2, 3] {
        database.set_payer("ben", EthereumAddress([other; 20])).await.unwrap();
        check(payer(other)).await;
    }
    // Whoever gets the name next does not inherit who pays.
    database.remove_user("ben").await.unwrap();
    assert!(database.payers().await.unwrap().is_empty());
    let refused = database.set_payer("ben", EthereumAddress([1; 20])).await;
    assert!(matches!(refused, Err(DatabaseError::UserUnknown(name)) if name == "ben"));
    let again = database.add_user("ben", quota).await.unwrap();
    assert_eq!(database.user(&again.digest(), 0).await.unwrap().unwrap().payer, None);
    database.remove_user("ben").await.unwrap();
}

async fn names_are_plain_and_unique(database: &Database) {
    let error = database.add_user("ada", Quota::envelopes(1)).await.unwrap_err();
    assert!(matches!(error, DatabaseError::UserExists(name) if name == "ada"));
    for name in ["", "a b", "a\n", "é", &"a".repeat(65)] {
        let error = database.add_user(name, Quota::envelopes(1)).await.unwrap_err();
        assert!(matches!(error, DatabaseError::NameInvalid), "{name}");
    }
    let money = Some(PicoDollars(u64::MAX));
    for quota in [Quota::envelopes(u64::MAX), Quota { envelopes: 1, money }] {
        let error = database.add_user("eve", quota).await.unwrap_err();
        assert!(matches!(error, DatabaseError::QuotaTooLarge));
    }
}

async fn windows_hold_the_quota(database: &Database) {
    let take = async |window, count| database.take("ada", window, count).await.unwrap();
    assert!(take(1, 7).await);
    assert!(!take(1, 4).await);
    assert!(take(1, 3).await);
    assert!(!take(0, 1).await, "a clock put back opens no window");
    database.give_back("ada", 1, 2).await.unwrap();
    assert!(take(1, 2).await);
    assert!(take(2, 10).await);
    database.give_back("ada", 1, 5).await.unwrap();
    assert!(!take(2, 1).await, "what an old window gives back is gone");
    assert!(!take(3, u64::MAX).await);
    assert!(!database.take("nobody", 1, 1).await.unwrap());
    let usage = database.usage("ada").await.unwrap();
    assert_eq!((usage.quota, usage.window, usage.used), (10, 2, 10));
}

async fn takers_at_once_share_the_quota(database: &Database) {
    database.add_user("cleo", Quota::envelopes(25)).await.unwrap();
    let takers = (0..40).map(|_| database.take("cleo", 1, 1));
    let taken = futures_util::future::join_all(takers).await;
    assert_eq!(taken.into_iter().filter(|taken| *taken.as_ref().unwrap()).count(), 25);
}

async fn money_is_taken_like_envelopes(database: &Database) {
    let quota = Quota { envelopes: 1, money: Some(PicoDollars(1 << 62)) };
    database.add_user("dora", quota).await.unwrap();
    let take = async |window, money: u64| {
        database.take_money("dora", window, PicoDollars(money)).await.unwrap()
    };
    assert!(take(1, 1 << 61).await);
    assert!(!take(1, i64::MAX as u64).await, "no sum overflows");
    assert!(!take(1, u64::MAX).await);
    assert!(take(1, 1 << 61).await);
    assert!(!take(1, 1).await);
    database.give_back_money("dora", 1, PicoDollars(5)).await.unwrap();
    database.give_back_money("dora", 0, PicoDollars(5)).await.unwrap();
    let usage = database.money_usage("dora").await.unwrap().unwrap();
    assert_eq!((usage.window, usage.used.0), (1, (1 << 62) - 5));
    assert!(take(2, 1 << 62).await);
    let takers = (0..40).map(|_| database.take_money("dora", 3, PicoDollars(1 << 58)));
    let taken = futures_util::future::join_all(takers).await;
    assert_eq!(taken.into_iter().filter(|taken| *taken.as_ref().unwrap()).count(), 16);
    // Who has no quota of money has nothing to take from.
    assert!(!database.take_money("cleo", 1, PicoDollars(0)).await.unwrap());
    assert_eq!(database.money_usage("cleo").await.unwrap(), None);
}

fn spent(envelopes: u64) -> Spent {
    Spent { envelopes, bytes: 10, fee: PicoDollarsTotal(100) }
}

async fn keys_of_log_ins_expire(database: &Database) {
    let account = EthereumAddress([0xab; 20]);
    let quota = Quota { envelopes: 3, money: Some(PicoDollars(4)) };
    let payer = Some(EthereumAddress([0xcd; 20]));
    let user = User { name: account.to_string(), quota, payer };
    let log_in = async |now, expires| {
        let larger = Quota { envelopes: 4, ..quota };
        let (quota, payer) = if now == 0 { (quota, payer) } else { (larger, None) };
        let terms = Terms { quota, payer };
        database.log_in(account, terms, now, expires).await.unwrap()
    };
    let check = async |key: &ApiKey, now, expected: bool| {
        let found = database.user(&key.digest(), now).await.unwrap();
        assert_eq!(found, expected.then(|| user.clone()), "the terms are those of the first time");
    };
    let (first, second) = (log_in(0, 10).await, log_in(1, 20).await);
    check(&first, 9, true).await;
    check(&first, 10, false).await;
    check(&second, 10, true).await;
    // Sixteen at once, of which the one that expires first gives way.
    let mut keys = Vec::new();
    for expires in 21..36 {
        keys.push(log_in(2, expires).await);
    }
    check(&first, 3, false).await;
    check(&second, 3, true).await;
    keys.push(log_in(2, 36).await);
    check(&second, 3, false).await;
    check(&keys[0], 3, true).await;
    log_in(21, 40).await;
    check(&keys[0], 3, false).await;
    database.remove_user(&account.to_string()).await.unwrap();
    check(&keys[9], 3, false).await;
}

async fn spending_adds_up(database: &Database) {
    let entries = [("ada", 3, 1), ("cleo", 3, 2), ("ada", 4, 4)];
    let entries = entries.map(|(name, day, count)| (name.to_owned(), day, spent(count)));
    database.add_spend(&entries).await.unwrap();
    database.add_spend(&entries[..1]).await.unwrap();
    let days = database.spend_of("ada", 0).await.unwrap();
    let days: Vec<_> = days.iter().map(|day| (day.day, day.spent.envelopes)).collect();
    assert_eq!(days, [(4, 4), (3, 2)]);
    assert_eq!(database.spend_of("ada", 4).await.unwrap().len(), 1);
    let all = database.spend_of_all(3).await.unwrap();
    let ada = Spent { envelopes: 6, bytes: 30, fee: PicoDollarsTotal(300) };
    let expected = [("ada", ada), ("cleo", spent(2))];
    assert_eq!(all, expected.map(|(name, spent)| UserSpend { name: name.into(), spent }));
    // Sums that fit no column stop at the largest.
    let most = Spent { envelopes: u64::MAX, bytes: 1, fee: PicoDollarsTotal(u128::MAX) };
    for _ in 0..2 {
        database.add_spend(&[("cleo".into(), 9, most)]).await.unwrap();
    }
    let most = database.spend_of("cleo", 9).await.unwrap()[0].spent;
    assert_eq!((most.envelopes, most.bytes), (i64::MAX as u64, 2));
    database.forget_spend(403).await.unwrap();
    assert_eq!(database.spend_of("ada", 0).await.unwrap().len(), 1);
    database.remove_user("dora").await.unwrap();
}

async fn debts_add_up_until_they_are_settled(database: &Database) {
    let (payer, other) = (EthereumAddress([1; 20]), EthereumAddress([2; 20]));
    let owed = |shard, period, amount| OwedAmount {
        shard: ShardId(shard),
        period: Period(period),
        amount: PicoDollarsTotal(amount),
    };
    let none = Default::default();
    let add = async |more: &[OwedAmount], settled| {
        let mut all = database.add_owed(payer, more, settled).await.unwrap();
        all.sort_by_key(|owed| (owed.shard, owed.period));
        all
    };
    assert!(add(&[], &none).await.is_empty());
    add(&[owed(0, 7, 1), owed(0, 8, 2), owed(1, 7, 4)], &none).await;
    let all = add(&[owed(0, 8, 10)], &none).await;
    assert_eq!(all, [owed(0, 7, 1), owed(0, 8, 12), owed(1, 7, 4)]);
    assert!(database.add_owed(other, &[], &none).await.unwrap().is_empty());
    let settled = [(ShardId(0), Period(7)), (ShardId(1), Period(6))].into();
    assert_eq!(add(&[], &settled).await, [owed(0, 8, 12), owed(1, 7, 4)]);
    // Old periods become one, and nothing of them is lost.
    add(&[owed(0, 9, 1), owed(0, 2_000, 3), owed(1, 700, 1)], &none).await;
    assert_eq!(
        add(&[], &none).await,
        [owed(0, 976, 13), owed(0, 2_000, 3), owed(1, 7, 4), owed(1, 700, 1)]
    );
}

#[tokio::test]
async fn a_database_of_the_second_format_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(&folder).await;
    let database = Database::open(&url).await.unwrap();
    let key = database.add_user("ada", Quota::envelopes(9)).await.unwrap();
    database.close().await;
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    connection.execute("DROP TABLE gateway_user_payers").await.unwrap();
    connection.execute("UPDATE gateway_format SET format = 2").await.unwrap();
    connection.close().await.unwrap();
    let database = Database::open(&url).await.unwrap();
    let ada = database.user(&key.digest(), 0).await.unwrap().unwrap();
    assert_eq!((ada.quota, ada.payer), (Quota::envelopes(9), None));
    database.set_payer("ada", EthereumAddress([1; 20])).await.unwrap();
    database.close().await;
}

#[tokio::test]
async fn a_database_of_the_first_format_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("{}?mode=rwc", sqlite(&folder).await);
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let key = ApiKey::generate();
    for statement in [
        "CREATE TABLE gateway_format (format BIGINT NOT NULL PRIMARY KEY)".to_owned(),
        "INSERT INTO gateway_format (format) VALUES (1)".to_owned(),
        "CREATE TABLE gateway_users (name TEXT NOT NULL PRIMARY KEY,
            key_handle TEXT NOT NULL UNIQUE, key_digest TEXT NOT NULL, quota BIGINT NOT NULL,
            window_number BIGINT NOT NULL, used BIGINT NOT NULL)"
            .to_owned(),
        format!(
            "INSERT INTO gateway_users VALUES ('ada', '{}', '{}', 10, 3, 4)",
            key.digest().handle(),
            key.digest().to_hex()
        ),
    ] {
        connection.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    connection.close().await.unwrap();
    let database = Database::open(&url).await.unwrap();
    let ada = User { name: "ada".into(), quota: Quota::envelopes(10), payer: None };
    assert_eq!(database.user(&key.digest(), 0).await.unwrap(), Some(ada));
    assert_eq!(database.usage("ada").await.unwrap().used, 4);
    assert!(database.spend_of("ada", 0).await.unwrap().is_empty());
    database.close().await;
}

async fn what_is_stored_stays(url: &str) {
    let database = Database::open(url).await.unwrap();
    assert_eq!(database.usage("cleo").await.unwrap().used, 25);
    database.close().await;
}

#[tokio::test]
async fn sqlite_conforms() {
    // covers: GTW-001
    // covers: GTW-003
    // covers: GTW-015
    // covers: GTW-016
    // covers: GTW-017
    // covers: GTW-020
    let folder = tempfile::tempdir().unwrap();
    conforms(&sqlite(&folder).await).await;
}

#[tokio::test]
async fn postgres_conforms() {
    // covers: GTW-001
    // covers: GTW-003
    // covers: GTW-015
    // covers: GTW-016
    // covers: GTW-017
    // covers: GTW-020
    conforms(&postgres().await).await;
}

#[tokio::test]
async fn other_urls_and_later_formats_are_refused() {
    let error = Database::open("mysql://nowhere").await.unwrap_err();
    assert!(matches!(error, DatabaseError::UnknownKind));
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(&folder).await;
    Database::open(&url).await.unwrap().close().await;
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    connection.execute("INSERT INTO gateway_format (format) VALUES (4)").await.unwrap();
    connection.close().await.unwrap();
    let error = Database::open(&url).await.unwrap_err();
    assert!(matches!(error, DatabaseError::NewerFormat { found: 4 }), "{error}");
}
