//! What both databases do alike.

use sqlx::{AssertSqlSafe, Connection, Executor};
use tidings_gateway::{ApiKey, Database, DatabaseError, User};

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
    names_are_plain_and_unique(&database).await;
    windows_hold_the_quota(&database).await;
    takers_at_once_share_the_quota(&database).await;
    database.close().await;
    what_is_stored_stays(url).await;
}

async fn users_are_found_by_their_key(database: &Database) {
    let (ada, ben) =
        (database.add_user("ada", 10).await.unwrap(), database.add_user("ben", 20).await.unwrap());
    let check = async |key: &ApiKey, expected: Option<(&str, u64)>| {
        let expected = expected.map(|(name, quota)| User { name: name.into(), quota });
        assert_eq!(database.user(&key.digest()).await.unwrap(), expected);
    };
    check(&ada, Some(("ada", 10))).await;
    check(&ben, Some(("ben", 20))).await;
    check(&ApiKey::generate(), None).await;
    database.remove_user("ben").await.unwrap();
    check(&ben, None).await;
    let error = database.remove_user("ben").await.unwrap_err();
    assert!(matches!(error, DatabaseError::UserUnknown(name) if name == "ben"));
}

async fn names_are_plain_and_unique(database: &Database) {
    let error = database.add_user("ada", 1).await.unwrap_err();
    assert!(matches!(error, DatabaseError::UserExists(name) if name == "ada"));
    for name in ["", "a b", "a\n", "é", &"a".repeat(65)] {
        let error = database.add_user(name, 1).await.unwrap_err();
        assert!(matches!(error, DatabaseError::NameInvalid), "{name}");
    }
    let error = database.add_user("eve", u64::MAX).await.unwrap_err();
    assert!(matches!(error, DatabaseError::QuotaTooLarge));
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
    database.add_user("cleo", 25).await.unwrap();
    let takers = (0..40).map(|_| database.take("cleo", 1, 1));
    let taken = futures_util::future::join_all(takers).await;
    assert_eq!(taken.into_iter().filter(|taken| *taken.as_ref().unwrap()).count(), 25);
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
    let folder = tempfile::tempdir().unwrap();
    conforms(&sqlite(&folder).await).await;
}

#[tokio::test]
async fn postgres_conforms() {
    // covers: GTW-001
    // covers: GTW-003
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
    connection.execute("INSERT INTO gateway_format (format) VALUES (2)").await.unwrap();
    connection.close().await.unwrap();
    let error = Database::open(&url).await.unwrap_err();
    assert!(matches!(error, DatabaseError::NewerFormat { found: 2 }), "{error}");
}
