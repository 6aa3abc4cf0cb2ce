//! Servers in trouble, real ones: tables that somebody holds, connections that are killed or not to be had, and what
//! the exporter leaves behind.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use medassist_tests::database::Flavour;
use medassist_tests::testbed::mysql::{
    self, README, TIMEOUT, exporter, failed, health, reason, scrape, scrape_within, up,
};
use medassist_tests::testbed::scrape::documented;
use medassist_tests::testbed::{Database, Page, RunningProgram, eventually};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

const HEARTBEAT: &str = "collect.heartbeat";
const TABLES: &str = "collect.info_schema.tables";
const AUTO_INCREMENT: &str = "collect.auto_increment.columns";

/// A server with tables that the exporter may read.
async fn server(flavour: Flavour, args: &[&str]) -> Database {
    let db = mysql::server(flavour, args).await.unwrap();
    db.sql(
        "CREATE DATABASE app; CREATE TABLE app.held (id INT AUTO_INCREMENT PRIMARY KEY); CREATE TABLE app.other LIKE app.held;
         INSERT INTO app.held VALUES (1); INSERT INTO app.other VALUES (1);
         CREATE TABLE app.z_gate (id INT); CREATE DATABASE heartbeat;
         CREATE TABLE heartbeat.heartbeat (ts VARCHAR(26) NOT NULL, server_id INT UNSIGNED NOT NULL PRIMARY KEY);
         INSERT INTO heartbeat.heartbeat VALUES ('2026-11-22T19:00:00.500000', 7);
         GRANT SELECT ON app.* TO exporter@'127.0.0.1'; GRANT SELECT ON heartbeat.heartbeat TO exporter@'127.0.0.1'",
    )
    .unwrap();
    db
}

/// With all collectors that open tables.
async fn start(db: &Database, flags: &[&str]) -> RunningProgram {
    let collectors = [HEARTBEAT, TABLES, AUTO_INCREMENT].map(|collector| format!("--{collector}"));
    exporter(db.address()).args(collectors).args(flags).start().await.unwrap()
}

/// What the exporter has running on the server, or its connections: rows of the processlist with this condition.
fn threads(db: &Database, condition: &str) -> Vec<u64> {
    let threads = "SELECT id FROM information_schema.processlist WHERE user = 'exporter' AND";
    db.sql(&format!("{threads} {condition}")).unwrap().lines().map(|id| id.parse().unwrap()).collect()
}

async fn until_threads(db: &Database, condition: &str, wanted: usize) -> Vec<u64> {
    let what = format!("{wanted} threads of the exporter with {condition}");
    eventually(TIMEOUT, &what, async || match threads(db, condition) {
        threads if threads.len() == wanted => Ok(threads),
        threads => Err(threads.len()),
    })
    .await
    .unwrap()
}

/// A session that has a table for itself; nobody may read it meanwhile.
async fn lock(db: &Database, table: &str) -> Conn {
    let mut session = mysql::connection(db).await.unwrap();
    session.query_drop(format!("LOCK TABLES {table} WRITE")).await.unwrap();
    session
}

/// `app.held` under a lock against which even a look at its columns waits: it is being renamed, together with one that
/// is being read.
struct Renaming {
    reader: Conn,
    renaming: JoinHandle<mysql_async::Result<()>>,
}

impl Renaming {
    async fn start(db: &Database) -> Self {
        let mut reader = mysql::connection(db).await.unwrap();
        reader.query_drop("BEGIN").await.unwrap();
        reader.query_drop("SELECT * FROM app.z_gate").await.unwrap();
        let mut writer = mysql::connection(db).await.unwrap();
        let renaming = tokio::spawn(async move {
            writer.query_drop("RENAME TABLE app.held TO app.held_no_more, app.z_gate TO app.z_gate_no_more").await
        });
        let waits =
            "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata lock%'";
        eventually(TIMEOUT, "the renaming waits", async || match db.sql(waits).unwrap().trim() {
            "1" => Ok(()),
            waiting => Err(format!("{waiting} wait")),
        })
        .await
        .unwrap();
        Self { reader, renaming }
    }

    async fn end(mut self) {
        self.reader.query_drop("ROLLBACK").await.unwrap();
        self.renaming.await.unwrap().unwrap();
    }
}

fn expect_failed(page: &Page, collectors: &[&str]) {
    let failed: BTreeSet<_> = failed(page).into_iter().collect();
    assert_eq!(failed, collectors.iter().copied().collect());
}

/// What the default collectors write.
fn expect_the_rest(page: &Page) {
    page.expect("mysql_up", &[], 1.0).unwrap();
    for family in [
        "mysql_global_status_uptime",
        "mysql_global_variables_max_connections",
        "mysql_info_schema_innodb_cmp_compress_ops_total",
        "mysql_health_check_status",
    ] {
        assert!(page.has(family), "{family}");
    }
}

const ROWS: &str = "mysql_info_schema_table_rows";
const NEXT: &str = "mysql_info_schema_auto_increment_column";

fn of_app(table: &str) -> [(&str, &str); 2] {
    [("schema", "app"), ("table", table)]
}

async fn a_table_that_is_held(flavour: Flavour) {
    let db = server(flavour, &[]).await;
    // Nothing but the scrape's own time ends the wait.
    let exporter = start(&db, &["--exporter.lock_wait_timeout=3600"]).await;
    let renaming = Renaming::start(&db).await;
    for _ in 0..3 {
        let page = scrape_within(&exporter, 1.0).await.unwrap();
        expect_the_rest(&page);
        // The one hangs, and the other would; they never take both connections.
        expect_failed(&page, &[TABLES, AUTO_INCREMENT]);
        assert!(page.has("mysql_heartbeat_stored_timestamp_seconds"));
        assert!(threads(&db, "command = 'Query'").len() <= 2);
    }
    // They are given up there as well, and not only here.
    until_threads(&db, "command = 'Query'", 0).await;
    assert!(!renaming.renaming.is_finished());

    renaming.end().await;
    let page = scrape(&exporter).await.unwrap();
    expect_failed(&page, &[]);
    assert!(page.value(ROWS, &of_app("held_no_more")).is_ok());

    let mut holder = lock(&db, "heartbeat.heartbeat").await;
    for _ in 0..3 {
        let page = scrape_within(&exporter, 1.0).await.unwrap();
        expect_the_rest(&page);
        expect_failed(&page, &[HEARTBEAT]);
        assert!(page.value(ROWS, &of_app("held_no_more")).is_ok());
    }
    until_threads(&db, "command = 'Query'", 0).await;
    holder.query_drop("UNLOCK TABLES").await.unwrap();
    expect_failed(&scrape(&exporter).await.unwrap(), &[]);
}

/// The server's own limit for the wait comes first: what could be read is there, and of the other no zero, nor MySQL's
/// 4294967295.
async fn a_table_that_is_skipped(flavour: Flavour) {
    let db = server(flavour, &[]).await;
    let exporter = start(&db, &["--exporter.lock_wait_timeout=1"]).await;
    let renaming = Renaming::start(&db).await;
    let page = scrape_within(&exporter, 15.0).await.unwrap();
    expect_the_rest(&page);
    expect_failed(&page, &[TABLES, AUTO_INCREMENT]);
    exporter.logged("tables locked by another statement", 2).await.unwrap();
    for family in [ROWS, "mysql_info_schema_table_size", "mysql_info_schema_table_version", NEXT] {
        assert!(page.matching(family, &of_app("held")).is_empty(), "{family}");
        assert!(!page.matching(family, &of_app("other")).is_empty(), "{family}");
    }
    renaming.end().await;
    let page = scrape(&exporter).await.unwrap();
    expect_failed(&page, &[]);
    assert!(page.value(ROWS, &of_app("held_no_more")).is_ok());
}

#[tokio::test]
async fn a_table_that_is_skipped_on_mariadb() {
    a_table_that_is_skipped(Flavour::MariaDb).await;
}

#[tokio::test]
async fn a_table_that_is_skipped_on_mysql() {
    a_table_that_is_skipped(Flavour::MySql).await;
}

#[tokio::test]
async fn a_table_that_is_held_on_mariadb() {
    a_table_that_is_held(Flavour::MariaDb).await;
}

#[tokio::test]
async fn a_table_that_is_held_on_mysql() {
    a_table_that_is_held(Flavour::MySql).await;
}

/// One that computes takes no notice of a client that left: nothing but the limit that its session was given ends it.
async fn a_statement_without_end(flavour: Flavour) {
    let db = server(flavour, &[]).await;
    let topics = ["a", "b", "c", "d"].map(|name| format!("mysql.help_topic {name}")).join(", ");
    db.sql(&format!(
        "DROP TABLE heartbeat.heartbeat; CREATE VIEW heartbeat.heartbeat AS
         SELECT COUNT(a.name > b.name) AS server_id, MAX(CONCAT(c.name, d.name)) AS ts FROM {topics};
         GRANT SELECT ON heartbeat.heartbeat TO exporter@'127.0.0.1'"
    ))
    .unwrap();
    let exporter = start(&db, &[]).await;
    for _ in 0..2 {
        let page = scrape_within(&exporter, 1.0).await.unwrap();
        expect_the_rest(&page);
        expect_failed(&page, &[HEARTBEAT]);
    }
    until_threads(&db, "command = 'Query'", 0).await;
}

#[tokio::test]
async fn a_statement_without_end_on_mariadb() {
    a_statement_without_end(Flavour::MariaDb).await;
}

#[tokio::test]
async fn a_statement_without_end_on_mysql() {
    a_statement_without_end(Flavour::MySql).await;
}

/// A scrape that hangs in the collector `heartbeat`, and the thread that does so on the server.
async fn hanging_scrape(db: &Database, exporter: &RunningProgram) -> (JoinHandle<Page>, u64) {
    let url = exporter.url("/metrics");
    let scrape = tokio::spawn(async move {
        let header = ("x-prometheus-scrape-timeout-seconds", "15");
        let reply = medassist_tests::testbed::http::get_within(&url, &[header], TIMEOUT).await.unwrap();
        Page::parse(&reply.text()).unwrap()
    });
    let waits = "state LIKE 'Waiting for table metadata lock%'";
    let thread = until_threads(db, waits, 1).await[0];
    // The others are done, or wait for the connection that hangs.
    until_threads(db, "command = 'Query'", 1).await;
    (scrape, thread)
}

async fn killed_in_the_middle(flavour: Flavour) {
    let mut db = server(flavour, &[]).await;
    let exporter = start(&db, &["--exporter.lock_wait_timeout=3600"]).await;
    let holder = lock(&db, "heartbeat.heartbeat").await;
    let (page, _) = hanging_scrape(&db, &exporter).await;
    db.kill().unwrap();
    let page = page.await.unwrap();
    expect_the_rest(&page);
    expect_failed(&page, &[HEARTBEAT]);
    drop(holder);
    for _ in 0..2 {
        let page = scrape(&exporter).await.unwrap();
        page.expect("mysql_up", &[], 0.0).unwrap();
        assert!(!page.has("mysql_global_status_uptime"));
    }
    db.restart().await.unwrap();
    let page = scrape(&exporter).await.unwrap();
    expect_the_rest(&page);
    expect_failed(&page, &[]);
}

#[tokio::test]
async fn mariadb_killed_in_the_middle_of_a_scrape() {
    killed_in_the_middle(Flavour::MariaDb).await;
}

#[tokio::test]
async fn mysql_killed_in_the_middle_of_a_scrape() {
    killed_in_the_middle(Flavour::MySql).await;
}

async fn connections_that_an_administrator_kills(flavour: Flavour) {
    let db = server(flavour, &[]).await;
    // On the one connection the collectors behind the killed one need another.
    for connections in [2, 1] {
        let flag = format!("--exporter.max_open_connections={connections}");
        // The tablespaces come after the heartbeats.
        let further = "--collect.info_schema.innodb_tablespaces";
        let exporter = start(&db, &["--exporter.lock_wait_timeout=3600", &flag, further]).await;
        up(&exporter, 1.0).await.unwrap();
        // While idle it costs nothing.
        for _ in 0..3 {
            for thread in until_threads(&db, "command = 'Sleep'", connections - 1).await {
                db.sql(&format!("KILL {thread}")).unwrap();
            }
            let page = scrape(&exporter).await.unwrap();
            expect_the_rest(&page);
            expect_failed(&page, &[]);
        }

        // While a statement runs it costs that statement.
        for kill in ["KILL", "KILL QUERY"] {
            let mut holder = lock(&db, "heartbeat.heartbeat").await;
            let (page, thread) = hanging_scrape(&db, &exporter).await;
            db.sql(&format!("{kill} {thread}")).unwrap();
            let page = page.await.unwrap();
            expect_the_rest(&page);
            expect_failed(&page, &[HEARTBEAT]);
            holder.query_drop("UNLOCK TABLES").await.unwrap();
            expect_failed(&scrape(&exporter).await.unwrap(), &[]);
        }
        drop(exporter);
        until_threads(&db, "TRUE", 0).await;
    }
}

#[tokio::test]
async fn connections_that_an_administrator_of_mariadb_kills() {
    connections_that_an_administrator_kills(Flavour::MariaDb).await;
}

#[tokio::test]
async fn connections_that_an_administrator_of_mysql_kills() {
    connections_that_an_administrator_kills(Flavour::MySql).await;
}

/// Sessions until there is room for no more; root has one of its own.
async fn fill(db: &Database) -> Vec<Conn> {
    let options = mysql_async::OptsBuilder::default()
        .socket(Some(db.socket().to_str().unwrap()))
        .user(Some("filler"))
        .max_allowed_packet(Some(1 << 20))
        .wait_timeout(Some(28_800));
    let mut all = Vec::new();
    loop {
        match Conn::new(options.clone()).await {
            Ok(connection) => all.push(connection),
            Err(error) => {
                let full = matches!(&error, mysql_async::Error::Server(error) if error.code == 1040);
                assert!(full, "{error}");
                return all;
            }
        }
        assert!(all.len() < 100);
    }
}

/// As `admin` sees it, who has a session already: one that ends is counted for a moment more, and nobody else could
/// come in.
async fn until_connected(admin: &mut Conn, wanted: u32) {
    let what = format!("{wanted} connections");
    eventually(TIMEOUT, &what, async || {
        let connected = admin.query_first("SHOW GLOBAL STATUS LIKE 'Threads_connected'").await.unwrap();
        let (_, connected): (String, u32) = connected.unwrap();
        if connected == wanted { Ok(()) } else { Err(format!("{connected} are there")) }
    })
    .await
    .unwrap();
}

async fn a_server_without_free_connections(flavour: Flavour) {
    const MOST: u32 = 12;
    let db = server(flavour, &[&format!("--max-connections={MOST}")]).await;
    let mut admin = mysql::connection(&db).await.unwrap();
    admin.query_drop("CREATE USER filler@localhost").await.unwrap();
    until_connected(&mut admin, 1).await;
    let fillers = fill(&db).await;
    until_connected(&mut admin, MOST).await;
    let exporter = start(&db, &[]).await;
    let page = scrape(&exporter).await.unwrap();
    page.expect("mysql_up", &[], 0.0).unwrap();
    let report = health(&exporter).await.unwrap();
    documented(README, &report, "connect");
    let told = reason(&report, "connect");
    assert!(told.contains("has no connection left") && told.contains("error 1040"), "{told}");
    exporter.logged("has no connection left", 1).await.unwrap();
    drop(fillers);
    up(&exporter, 1.0).await.unwrap();

    // From now on it keeps a connection.
    expect_failed(&scrape(&exporter).await.unwrap(), &[]);
    until_connected(&mut admin, 2).await;
    let fillers = fill(&db).await;
    until_connected(&mut admin, MOST).await;
    for _ in 0..3 {
        let page = scrape(&exporter).await.unwrap();
        expect_the_rest(&page);
        expect_failed(&page, &[]);
        assert_eq!(mysql::check_status(&page, "connections").as_deref(), Some("fail"));
    }

    assert_eq!(mysql::check_status(&scrape(&exporter).await.unwrap(), "new_login").as_deref(), Some("fail"));
    let report = health(&exporter).await.unwrap();
    documented(README, &report, "new_login");
    let told = reason(&report, "new_login");
    assert!(told.starts_with("the newest login failed: ") && told.contains("error 1040"), "{told}");
    drop(fillers);
}

#[tokio::test]
async fn mariadb_without_free_connections() {
    a_server_without_free_connections(Flavour::MariaDb).await;
}

#[tokio::test]
async fn mysql_without_free_connections() {
    a_server_without_free_connections(Flavour::MySql).await;
}

/// Logged in as `crowd`, each from an address of its own, as a fleet that scales has them.
async fn crowd(db: &Database, number: u16) -> Vec<TcpStream> {
    // It has no password, which each flavour's own plugin takes at once.
    let plugin = if db.flavour().is_mariadb() { "mysql_native_password" } else { "caching_sha2_password" };
    db.sql(&format!("CREATE USER crowd@'127.1.%' IDENTIFIED WITH {plugin}")).unwrap();
    // Protocol 4.1, a short answer to the nonce, a plugin's name; packets of any size in utf8mb4.
    let mut login = [0x0008_8200_u32.to_le_bytes(), u32::MAX.to_le_bytes()].concat();
    login.push(45);
    login.extend([0; 23]);
    login.extend(b"crowd\0\0");
    login.extend(plugin.as_bytes());
    login.push(0);
    let login = mysql::packet(1, &login);
    let mut all = Vec::new();
    for n in 0..number {
        let [high, low] = n.to_be_bytes();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 1, high, low), 0))).unwrap();
        let mut stream = socket.connect(db.address()).await.unwrap();
        let mut answer = [0; 256];
        // The greeting, whose nonce no password is mixed with, and then OK.
        assert!(stream.read(&mut answer).await.unwrap() > 4);
        stream.write_all(&login).await.unwrap();
        let read = stream.read(&mut answer).await.unwrap();
        assert!(read > 4 && answer[4] == 0, "{}", String::from_utf8_lossy(&answer[..read]));
        all.push(stream);
    }
    all
}

async fn many_client_hosts(flavour: Flavour) {
    const CLIENTS: u16 = 10_000;
    // A socket each here, and one at the server, which inherits the limit: a login shell has 1,024 of the million that
    // it may have.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
    let db = server(flavour, &["--max-connections=10100"]).await;
    let exporter = start(&db, &["--collect.info_schema.processlist"]).await;
    let clients = crowd(&db, CLIENTS).await;
    let page = scrape(&exporter).await.unwrap();
    expect_the_rest(&page);
    expect_failed(&page, &[]);
    let by_host = page.matching("mysql_info_schema_processlist_processes_by_host", &[]);
    assert_eq!(by_host.len(), 1000);
    let others = by_host.iter().find(|sample| sample.labels["client_host"] == "other").unwrap();
    assert!(others.value > f64::from(CLIENTS) - 1000.0);
    let all: f64 = by_host.iter().map(|sample| sample.value).sum();
    assert!(all >= f64::from(CLIENTS), "{all}");
    page.expect("mysql_info_schema_processlist_processes_by_user", &[("mysql_user", "crowd")], f64::from(CLIENTS))
        .unwrap();
    for family in ["threads", "seconds", "processes_by_user"] {
        let series = page.matching(&format!("mysql_info_schema_processlist_{family}"), &[]).len();
        assert!(series < 20, "{family}: {series}");
    }
    drop(clients);
}

#[tokio::test]
async fn many_client_hosts_of_mariadb() {
    many_client_hosts(Flavour::MariaDb).await;
}

#[tokio::test]
async fn many_client_hosts_of_mysql() {
    many_client_hosts(Flavour::MySql).await;
}

async fn a_password_that_is_corrected_on_the_server(flavour: Flavour) {
    let db = server(flavour, &[]).await;
    db.sql("ALTER USER exporter@'127.0.0.1' IDENTIFIED BY 'another'").unwrap();
    let exporter = start(&db, &[]).await;
    for _ in 0..5 {
        scrape(&exporter).await.unwrap().expect("mysql_up", &[], 0.0).unwrap();
    }
    exporter.logged("refuses user", 1).await.unwrap();
    db.sql("ALTER USER exporter@'127.0.0.1' IDENTIFIED BY 'secret'").unwrap();
    for _ in 0..5 {
        let page = scrape(&exporter).await.unwrap();
        expect_the_rest(&page);
        expect_failed(&page, &[]);
    }
    exporter.logged("health check recovered", 1).await.unwrap();
    exporter.logged("refuses user", 1).await.unwrap();
}

#[tokio::test]
async fn a_password_that_is_corrected_on_mariadb() {
    a_password_that_is_corrected_on_the_server(Flavour::MariaDb).await;
}

#[tokio::test]
async fn a_password_that_is_corrected_on_mysql() {
    a_password_that_is_corrected_on_the_server(Flavour::MySql).await;
}

async fn a_slow_log_of_everything(flavour: Flavour) {
    let db = server(flavour, &["--slow-query-log=ON", "--slow-query-log-file=slow.log", "--long-query-time=0"]).await;
    let exporter = start(&db, &[]).await;
    for _ in 0..5 {
        expect_failed(&scrape(&exporter).await.unwrap(), &[]);
    }
    drop(exporter);
    until_threads(&db, "TRUE", 0).await;
    db.sql("SELECT 'the last of it'; FLUSH SLOW LOGS").unwrap();
    let log = std::fs::read_to_string(db.directory().join("data/slow.log")).unwrap();
    assert!(log.contains("the last of it"));
    let entries: Vec<_> = log.split("# User@Host: ").filter(|entry| entry.starts_with("exporter[")).collect();
    assert!(entries.is_empty(), "{entries:#?}");
}

#[tokio::test]
async fn a_slow_log_of_everything_on_mariadb() {
    a_slow_log_of_everything(Flavour::MariaDb).await;
}

#[tokio::test]
async fn a_slow_log_of_everything_on_mysql() {
    a_slow_log_of_everything(Flavour::MySql).await;
}

/// What the reason says of `connect` after these statements, and after two logins with a wrong password if wanted.
async fn after(flavour: Flavour, statements: &str, wrong_logins: bool) -> String {
    let db = mysql::server(flavour, &[]).await.unwrap();
    db.sql(statements).unwrap();
    if wrong_logins {
        let wrong = exporter(db.address()).env("MYSQLD_EXPORTER_PASSWORD", "wrong").start().await.unwrap();
        for _ in 0..2 {
            scrape(&wrong).await.unwrap().expect("mysql_up", &[], 0.0).unwrap();
        }
    }
    let exporter = exporter(db.address()).start().await.unwrap();
    scrape(&exporter).await.unwrap().expect("mysql_up", &[], 0.0).unwrap();
    reason(&health(&exporter).await.unwrap(), "connect")
}

#[tokio::test]
async fn an_account_that_the_server_locks_is_not_a_server_that_is_gone() {
    let account = "exporter@'127.0.0.1'";
    for (flavour, statements, wrong_logins, code) in [
        (Flavour::MariaDb, format!("ALTER USER {account} PASSWORD EXPIRE"), false, "error 1820"),
        (Flavour::MariaDb, "SET GLOBAL max_password_errors = 1".to_owned(), true, "error 4150"),
        (Flavour::MariaDb, format!("ALTER USER {account} ACCOUNT LOCK"), false, "error 4151"),
        (
            Flavour::MySql,
            format!("ALTER USER {account} FAILED_LOGIN_ATTEMPTS 1 PASSWORD_LOCK_TIME 1"),
            true,
            "error 3955",
        ),
        (Flavour::MySql, format!("ALTER USER {account} PASSWORD EXPIRE"), false, "error 1862"),
        (Flavour::MySql, format!("ALTER USER {account} ACCOUNT LOCK"), false, "error 3118"),
        (Flavour::MySql, "SET GLOBAL offline_mode = ON".to_owned(), false, "error 3032"),
    ] {
        let told = after(flavour, &statements, wrong_logins).await;
        assert!(told.contains(code) && !told.contains("check that the server runs"), "{statements}: {told}");
    }
}
