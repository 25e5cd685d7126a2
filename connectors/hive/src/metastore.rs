//! The metastore's calls that Maru needs, with its exceptions as errors.
//!
//! Connections are made by `metastore/dial.rs` when a call needs one, kept for a while, and at most
//! `SOURCE_CONNECTIONS_MAX` at once. Dropping a call's future closes its connection.

mod change;
mod dial;
mod refusal;

use std::fmt;
use std::io;
use std::time::Duration;

use hive_metastore::{
    ClientCapabilities, ClientCapability, ColumnStatisticsData, ColumnStatisticsObj,
    GetTableRequest, Partition, PartitionsStatsRequest, Table, TableStatsRequest,
    ThriftHiveMetastoreClient, ThriftHiveMetastoreClientBuilder,
};
use maru_connect::TableKind;
use maru_core::limits::{CONNECT_TIMEOUT_S, SOURCE_CONNECTIONS_MAX};
use maru_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use pilota::FastStr;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use volo_thrift::codec::default::DefaultMakeCodec;
use volo_thrift::transport::pool;
use volo_thrift::{ApplicationExceptionKind, ClientError, MaybeException};

use dial::Dial;
pub(crate) use dial::Endpoint;
pub(crate) use refusal::Refusal;

/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(30);

/// All partitions, in the language of the protocol.
const ALL: i16 = -1;

/// Partitions that one filtered answer may hold; with more, names are asked for first.
const FILTERED_MAX: i16 = 2000;

/// A table in a listing.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) kind: TableKind,
    pub(crate) comment: Option<String>,
}

/// A client of one metastore (or of several that stand for one).
pub(crate) struct Metastore {
    dial: Dial,
    /// With a number that changes when its connections are given up.
    client: Mutex<Option<(u64, ThriftHiveMetastoreClient)>>,
    permits: Semaphore,
    timeout: Duration,
    closed: CancellationToken,
}

impl fmt::Debug for Metastore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metastore({})", self.dial)
    }
}

impl Metastore {
    /// Makes no connection yet. Must be called inside a tokio runtime.
    pub(crate) fn new(endpoints: Vec<Endpoint>, user: &str, timeout: Duration) -> Self {
        let connect = Duration::from_secs(CONNECT_TIMEOUT_S).min(timeout);
        let dial = Dial::new(endpoints, user, connect);
        let client = client(&dial);
        Self {
            dial,
            client: Mutex::new(Some((0, client))),
            permits: Semaphore::new(SOURCE_CONNECTIONS_MAX as usize),
            timeout,
            closed: CancellationToken::new(),
        }
    }

    /// Returns `host:port` of the metastore that answered last.
    pub(crate) fn peer(&self) -> String {
        self.dial.last_good().to_string()
    }

    /// Ends all calls and connections. Calls after it fail.
    pub(crate) fn close(&self) {
        self.closed.cancel();
        self.client.lock().take();
    }

    pub(crate) async fn databases(&self) -> Result<Vec<String>> {
        let names = self
            .call("get_all_databases", |client| async move { client.get_all_databases().await })
            .await??;
        Ok(strings(names))
    }

    /// Returns the tables of a database; none if there is no such database.
    pub(crate) async fn tables(&self, database: &str) -> Result<Vec<Listed>> {
        let mut tables = self.all_tables(database).await?;
        tables.retain(|table| !crate::write::is_temporary(&table.name));
        Ok(tables)
    }

    /// [`Metastore::tables`], with those that are being made.
    pub(crate) async fn all_tables(&self, database: &str) -> Result<Vec<Listed>> {
        let name = FastStr::new(database);
        let metas = self
            .call("get_table_meta", |client| {
                let database = name.clone();
                async move { client.get_table_meta(database, "*".into(), Vec::new()).await }
            })
            .await??;
        // The first argument is a pattern: keep what was meant.
        let mut tables = metas
            .into_iter()
            .filter(|meta| meta.db_name == database)
            .map(|meta| Listed {
                name: meta.table_name.to_string(),
                kind: if is_view(&meta.table_type) { TableKind::View } else { TableKind::Table },
                comment: meta.comments.filter(|text| !text.is_empty()).map(|text| text.to_string()),
            })
            .collect::<Vec<_>>();
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tables)
    }

    /// Returns a table; `None` if there is none of that name.
    pub(crate) async fn table(&self, database: &str, name: &str) -> Result<Option<Table>> {
        let request = GetTableRequest {
            db_name: FastStr::new(database),
            tbl_name: FastStr::new(name),
            // Without it the metastore refuses insert-only tables in its own words; with it we do, in ours.
            capabilities: Some(ClientCapabilities { values: vec![ClientCapability::from(2)] }),
        };
        let found = self
            .call("get_table_req", |client| {
                let request = request.clone();
                async move { client.get_table_req(request).await }
            })
            .await?;
        match found {
            // Hive knows no case: what it finds under another spelling is not what was asked for.
            Ok(found) => Ok(Some(found.table).filter(|table| {
                table.table_name.as_deref() == Some(name)
                    && table.db_name.as_deref() == Some(database)
            })),
            Err(refusal) if refusal.missing => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Returns the names of all partitions, `day=2026-01-02/region=a%2Fb`.
    pub(crate) async fn partition_names(&self, database: &str, table: &str) -> Result<Vec<String>> {
        self.some_partition_names(database, table, ALL).await
    }

    /// Returns the names of at most `most` partitions.
    pub(crate) async fn some_partition_names(
        &self,
        database: &str,
        table: &str,
        most: i16,
    ) -> Result<Vec<String>> {
        let (database, table) = (FastStr::new(database), FastStr::new(table));
        let names = self
            .call("get_partition_names", |client| {
                let (database, table) = (database.clone(), table.clone());
                async move { client.get_partition_names(database, table, most).await }
            })
            .await??;
        Ok(strings(names))
    }

    /// Returns how many partitions there are.
    pub(crate) async fn n_partitions(&self, database: &str, table: &str) -> Result<usize> {
        let (database, table) = (FastStr::new(database), FastStr::new(table));
        let n = self
            .call("get_num_partitions_by_filter", |client| {
                let (database, table) = (database.clone(), table.clone());
                async move {
                    client.get_num_partitions_by_filter(database, table, FastStr::empty()).await
                }
            })
            .await??;
        Ok(usize::try_from(n).unwrap_or_default())
    }

    /// Returns those of the named partitions that (still) exist.
    pub(crate) async fn partitions(
        &self,
        database: &str,
        table: &str,
        names: &[String],
    ) -> Result<Vec<Partition>> {
        let (database, table) = (FastStr::new(database), FastStr::new(table));
        let names = names.iter().map(FastStr::new).collect::<Vec<_>>();
        Ok(self
            .call("get_partitions_by_names", |client| {
                let (database, table, names) = (database.clone(), table.clone(), names.clone());
                async move { client.get_partitions_by_names(database, table, names).await }
            })
            .await??)
    }

    /// Returns the partitions that satisfy a filter in the metastore's language; `None` if it does not answer that, or
    /// there may be more.
    pub(crate) async fn filtered(
        &self,
        database: &str,
        table: &str,
        filter: &str,
    ) -> Result<Option<Vec<Partition>>> {
        let (database, table) = (FastStr::new(database), FastStr::new(table));
        let filter = FastStr::new(filter);
        let found = self
            .call("get_partitions_by_filter", |client| {
                let (database, table, filter) = (database.clone(), table.clone(), filter.clone());
                async move {
                    client.get_partitions_by_filter(database, table, filter, FILTERED_MAX).await
                }
            })
            .await?;
        Ok(found.ok().filter(|found| found.len() < FILTERED_MAX as usize))
    }

    /// Returns what was counted of columns of a table, by their names; of some or all of them it may be nothing.
    pub(crate) async fn column_statistics(
        &self,
        database: &str,
        table: &str,
        columns: &[String],
    ) -> Result<Vec<(String, ColumnStatisticsData)>> {
        let request = TableStatsRequest {
            db_name: FastStr::new(database),
            tbl_name: FastStr::new(table),
            col_names: columns.iter().map(FastStr::new).collect(),
        };
        let found = self
            .call("get_table_statistics_req", |client| {
                let request = request.clone();
                async move { client.get_table_statistics_req(request).await }
            })
            .await??;
        Ok(found.table_stats.into_iter().map(named).collect())
    }

    /// [`Metastore::column_statistics`] of the named partitions together.
    pub(crate) async fn partition_statistics(
        &self,
        database: &str,
        table: &str,
        columns: &[String],
        partitions: &[String],
    ) -> Result<Vec<(String, ColumnStatisticsData)>> {
        let request = PartitionsStatsRequest {
            db_name: FastStr::new(database),
            tbl_name: FastStr::new(table),
            col_names: columns.iter().map(FastStr::new).collect(),
            part_names: partitions.iter().map(FastStr::new).collect(),
            cat_name: None,
        };
        let found = self
            .call("get_aggr_stats_for", |client| {
                let request = request.clone();
                async move { client.get_aggr_stats_for(request).await }
            })
            .await??;
        Ok(found.col_stats.into_iter().map(named).collect())
    }

    /// Makes one call: the inner result is the metastore's own yes or no.
    ///
    /// # Errors
    /// HV00N if no metastore can be reached or the call takes too long, 0A000 if it wants Kerberos, HV000 if it
    /// cannot make sense of the call.
    pub(crate) async fn call<T, E, F, Fut>(
        &self,
        name: &'static str,
        call: F,
    ) -> Result<std::result::Result<T, Refusal>>
    where
        E: Into<Refusal>,
        F: Fn(ThriftHiveMetastoreClient) -> Fut,
        Fut: Future<Output = std::result::Result<MaybeException<T, E>, ClientError>>,
    {
        self.call_times(name, self.dial.n_endpoints(), call).await
    }

    /// [`Metastore::call`] for what must not be done twice.
    pub(crate) async fn call_once<T, E, F, Fut>(
        &self,
        name: &'static str,
        call: F,
    ) -> Result<std::result::Result<T, Refusal>>
    where
        E: Into<Refusal>,
        F: Fn(ThriftHiveMetastoreClient) -> Fut,
        Fut: Future<Output = std::result::Result<MaybeException<T, E>, ClientError>>,
    {
        self.call_times(name, 0, call).await
    }

    async fn call_times<T, E, F, Fut>(
        &self,
        name: &'static str,
        more: usize,
        call: F,
    ) -> Result<std::result::Result<T, Refusal>>
    where
        E: Into<Refusal>,
        F: Fn(ThriftHiveMetastoreClient) -> Fut,
        Fut: Future<Output = std::result::Result<MaybeException<T, E>, ClientError>>,
    {
        let closed = || Error::new(ErrorKind::RemoteUnavailable, "the Hive catalog is closed");
        let current = || self.client.lock().clone().ok_or_else(closed);
        let _permit = self.permits.acquire().await.map_err(|_| closed())?;
        let work = async {
            let mut tries = 0;
            loop {
                let (number, client) = current()?;
                let answer = call(client).await;
                // A kept connection may have died since, and a metastore may break off each time.
                if tries == more || !answer.as_ref().is_err_and(broke) {
                    return Ok::<_, Error>(answer);
                }
                if tries > 0 {
                    self.dial.pass_over();
                }
                self.reconnect(number);
                tries += 1;
            }
        };
        let answer = tokio::select! {
            () = self.closed.cancelled() => return Err(closed()),
            answer = tokio::time::timeout(self.timeout, work) => answer.map_err(|_| {
                let silent = self.peer();
                self.dial.pass_over();
                Error::new(
                    ErrorKind::RemoteUnavailable,
                    format!("Hive metastore at {silent} did not answer {name} in time"),
                )
                .with_detail(format!("It was given {:?}.", self.timeout))
                .with_hint("Option \"timeout\" of the catalog gives it more.")
            })??,
        };
        match answer {
            Ok(MaybeException::Ok(value)) => Ok(Ok(value)),
            Ok(MaybeException::Exception(refused)) => Ok(Err(refused.into())),
            Err(error) => Err(self.failed(name, &error)),
        }
    }

    /// Gives up all kept connections, unless somebody did since they were these.
    fn reconnect(&self, number: u64) {
        if let Some(current) = self.client.lock().as_mut().filter(|current| current.0 == number) {
            *current = (number + 1, client(&self.dial));
        }
    }

    fn failed(&self, name: &str, error: &ClientError) -> Error {
        let peer = self.peer();
        let broken = |detail: String| {
            let text = format!("connection to Hive metastore at {peer} broke during {name}");
            Error::new(ErrorKind::RemoteUnavailable, text).with_detail(detail).with_hint(
                "Check that the metastore runs, and run the statement again. Option \"metastore\" may name others that stand in for it.",
            )
        };
        match error {
            ClientError::Transport(error) => {
                ours(error).cloned().unwrap_or_else(|| match error.io_error().kind() {
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                        broken("It ended in the middle of the answer.".to_owned())
                    }
                    other => broken(format!("The connection says: {other}.")),
                })
            }
            other if broke(other) => broken("It ended in the middle of the answer.".to_owned()),
            ClientError::Application(error)
                if error.kind() == ApplicationExceptionKind::UNKNOWN_METHOD =>
            {
                Error::unsupported(format!("Hive metastore at {peer} has no call {name}"))
                    .with_hint("Maru works with metastores 2.3, 3.1 and 4.0.")
            }
            other => Error::new(
                ErrorKind::RemoteFailed,
                format!(
                    "Hive metastore at {peer} failed in {name}: {}",
                    first_line(&other.to_string())
                ),
            ),
        }
    }
}

/// Returns a client without any connection yet.
fn client(dial: &Dial) -> ThriftHiveMetastoreClient {
    ThriftHiveMetastoreClientBuilder::new("metastore")
        .make_transport(dial.clone())
        // The default of the library (TTHeader) is spoken by no metastore.
        .make_codec(DefaultMakeCodec::buffered())
        .pool_config(pool::Config::new(SOURCE_CONNECTIONS_MAX as usize, IDLE))
        .rpc_timeout(None)
        // `dial` knows where to go; this only keeps the library from looking for an address itself.
        .address(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))
        .build()
}

/// Returns whether the connection was lost, so that the call may be made on another one.
fn broke(error: &ClientError) -> bool {
    match error {
        ClientError::Transport(error) => ours(error).is_none(),
        _ => false,
    }
}

/// Returns the error that `dial` made, on its way out through the library.
fn ours(error: &pilota::thrift::TransportException) -> Option<&Error> {
    error.io_error().get_ref().and_then(|inner| inner.downcast_ref::<Error>())
}

fn named(statistics: ColumnStatisticsObj) -> (String, ColumnStatisticsData) {
    (statistics.col_name.to_string(), statistics.stats_data)
}

pub(crate) fn is_view(table_type: &str) -> bool {
    table_type.eq_ignore_ascii_case("VIRTUAL_VIEW")
}

/// Java's messages carry a stack trace after the first line.
pub(crate) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_end()
}

fn strings(names: Vec<FastStr>) -> Vec<String> {
    let mut names = names.iter().map(ToString::to_string).collect::<Vec<_>>();
    names.sort();
    names
}
