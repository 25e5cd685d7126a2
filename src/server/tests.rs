//! The doors with a real engine behind them and real clients before them.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use maru_core::Secret;
use tokio::task::AbortHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::*;

const PASSWORD: &str = "correct horse";

/// More work than a test has time for.
const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 1000000) a(x), \
                       generate_series(1, 1000000) b(y) WHERE (a.x * b.y) % 7 = 3";

pub(super) struct Running {
    pub engine: Engine,
    pub servers: Servers,
    _dir: tempfile::TempDir,
}

pub(super) async fn start(change: impl FnOnce(&mut Config)) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let any = || "127.0.0.1:0".to_owned();
    let mut config = Config {
        data_dir: dir.path().to_owned(),
        pg_listen: any(),
        flight_listen: any(),
        http_listen: any(),
        initial_password: Some(Secret::new(PASSWORD)),
        ..Config::default()
    };
    change(&mut config);
    let engine = Engine::open(config.clone()).await.unwrap();
    let servers = Servers::start(engine.clone(), &config).await.unwrap();
    Running { engine, servers, _dir: dir }
}

impl Running {
    async fn connect_as(
        &self,
        user: &str,
        password: &str,
    ) -> Result<Client, tokio_postgres::Error> {
        Ok(self.connect_with_task(user, password).await?.0)
    }

    /// Returns the task that holds the socket, too: a client that is dropped reads to the end of what it asked for.
    async fn connect_with_task(
        &self,
        user: &str,
        password: &str,
    ) -> Result<(Client, AbortHandle), tokio_postgres::Error> {
        let (_, port) = self.servers.endpoints().pg.rsplit_once(':').unwrap();
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(port.parse().unwrap()).user(user).password(password);
        let (client, connection) = config.dbname("maru").connect(NoTls).await?;
        Ok((client, tokio::spawn(connection).abort_handle()))
    }

    async fn connect(&self) -> Client {
        self.connect_as("maru", PASSWORD).await.unwrap()
    }
}

fn state(error: &tokio_postgres::Error) -> &str {
    error.code().map_or("none", SqlState::code)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_password_opens() {
    let running = start(|_| {}).await;
    for (user, password) in [("maru", "wrong"), ("nobody", PASSWORD)] {
        let error = running.connect_as(user, password).await.unwrap_err();
        assert_eq!(state(&error), "28P01");
        let message = format!("password authentication failed for user \"{user}\"");
        assert_eq!(error.as_db_error().unwrap().message(), message);
    }
    assert!(running.connect().await.simple_query("SELECT 1").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn simple_queries_stop_at_the_first_error() {
    let running = start(|_| {}).await;
    let client = running.connect().await;
    let messages = client.simple_query("SELECT 1 AS a; SELECT 'x' AS b, NULL AS c").await.unwrap();
    let rows: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(rows, ["1", "x"]);
    assert!(client.simple_query("").await.is_ok());
    let error = client.simple_query("SELECT 1; SELECT nope; SELECT 2").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "42703");
    assert_eq!(error.position(), Some(&tokio_postgres::error::ErrorPosition::Original(18)));
    let error = client.simple_query("COPY t FROM STDIN").await.unwrap_err();
    assert_eq!(state(&error), "42P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_and_portals() {
    let running = start(|_| {}).await;
    let mut client = running.connect().await;
    let row = client
        .query_one(
            "SELECT $1::bigint + 1, $2::text, $3::double precision",
            &[&41_i64, &None::<String>, &2.5_f64],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 42);
    assert_eq!(row.get::<_, Option<String>>(1), None);
    assert!((row.get::<_, f64>(2) - 2.5).abs() < f64::EPSILON);

    // A portal that is read in pieces.
    let transaction = client.transaction().await.unwrap();
    let sql = "SELECT CAST(value AS bigint) FROM generate_series(1, 10) AS g(value)";
    let portal = transaction.bind(sql, &[]).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let rows = transaction.query_portal(&portal, 3).await.unwrap();
        seen.extend(rows.iter().map(|row| row.get::<_, i64>(0)));
    }
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
    transaction.commit().await.unwrap();

    let error = client.query("SELECT 1; SELECT 2", &[]).await.unwrap_err();
    assert_eq!(state(&error), "42601");
    assert_eq!(client.query_one("SELECT 3::bigint", &[]).await.unwrap().get::<_, i64>(0), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_while_the_statement_runs() {
    let running = start(|_| {}).await;
    let (client, socket) = running.connect_with_task("maru", PASSWORD).await.unwrap();
    let sql = "SELECT CAST(value AS bigint) FROM generate_series(1, 1000000000) AS g(value)";
    let none: [&str; 0] = [];
    let rows = tokio::time::timeout(Duration::from_secs(20), async {
        let rows = client.query_raw(sql, none).await.unwrap();
        rows.take(20_000).try_collect::<Vec<_>>().await.unwrap()
    });
    assert_eq!(rows.await.unwrap().len(), 20_000);
    // The client goes without reading the rest; the statement ends with it.
    socket.abort();
    idle(&running).await;
}

/// Waits until no statement runs.
async fn idle(running: &Running) {
    until(running, false).await;
}

/// Waits until a statement runs: a request to cancel that comes before it is for nothing.
async fn at_work(running: &Running) {
    until(running, true).await;
}

async fn until(running: &Running, works: bool) {
    let watcher = running.connect().await;
    let sql = "SELECT count(*) FROM system.queries WHERE state = 'running' \
               AND sql NOT LIKE '%system.queries%'";
    for _ in 0..600 {
        let row = watcher.query_one(sql, &[]).await.unwrap();
        if (row.get::<_, i64>(0) > 0) == works {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("a statement still runs, or none has begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_ends_the_statement_and_not_the_session() {
    let running = start(|_| {}).await;
    let client = running.connect().await;
    let token = client.cancel_token();
    let cancel = async {
        at_work(&running).await;
        token.cancel_query(NoTls).await.unwrap();
    };
    let (result, ()) = tokio::join!(client.query(ENDLESS, &[]), cancel);
    assert_eq!(state(&result.unwrap_err()), "57014");
    assert!(client.query("SELECT 1", &[]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_takes_its_statement_along() {
    let running = start(|_| {}).await;
    let (client, socket) = running.connect_with_task("maru", PASSWORD).await.unwrap();
    let query = tokio::spawn(async move { client.query(ENDLESS, &[]).await.map(|_| ()) });
    at_work(&running).await;
    assert!(!query.is_finished());
    socket.abort();
    idle(&running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_too_many_is_told_so() {
    let running = start(|config| config.pg_connections_max = 1).await;
    let client = running.connect().await;
    let error = running.connect_as("maru", PASSWORD).await.unwrap_err();
    assert_eq!(state(&error), "53300");
    drop(client);
    for _ in 0..100 {
        if running.connect_as("maru", PASSWORD).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the place was not given free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_block_takes_no_statements() {
    let running = start(|_| {}).await;
    let client = running.connect().await;
    client.simple_query("BEGIN").await.unwrap();
    assert_eq!(state(&client.query("SELECT * FROM nope", &[]).await.unwrap_err()), "42P01");
    assert_eq!(state(&client.query("SELECT 1", &[]).await.unwrap_err()), "25P02");
    client.simple_query("ROLLBACK").await.unwrap();
    assert!(client.query("SELECT 1", &[]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_waits_then_cancels() {
    let running = start(|_| {}).await;
    let busy = running.connect().await;
    let idle = running.connect().await;
    let query = tokio::spawn(async move { busy.query(ENDLESS, &[]).await.map(|_| ()) });
    at_work(&running).await;
    let began = std::time::Instant::now();
    running.servers.shutdown(Duration::from_secs(1)).await;
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(state(&query.await.unwrap().unwrap_err()), "57P01");
    assert!(idle.is_closed());
    assert!(running.connect_as("maru", PASSWORD).await.is_err());
    running.engine.close(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_tells_health_and_metrics() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let running = start(|_| {}).await;
    for (page, expected) in [
        ("/healthz", "200 OK"),
        ("/readyz", "200 OK"),
        ("/metrics", "text/plain; version=0.0.4"),
        ("/", "PostgreSQL wire"),
        ("/nothing", "404 Not Found"),
    ] {
        let address = &running.servers.endpoints().http;
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {page} HTTP/1.1\r\nHost: maru\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(expected), "{page}: {answer}");
    }
}
