//! One large table over several connections: ranges of its pages, read side by side in one snapshot.
//!
//! One connection leads. Its transaction exports the snapshot in which others, the helpers, read what it reads: so no row is
//! missed or comes twice, whoever writes meanwhile. The version of a row that a snapshot sees has one place (`ctid`) and
//! keeps it until the snapshot is gone; what rewrites a table waits for the lock that the leader takes before it has a
//! snapshot at all. Ranges lie in a queue from which the leader and the helpers take the next one, and together they cover
//! every page there is and will be.
//!
//! Helpers are a bonus. One that gets no connection, another server behind the same address, no lock at once or no snapshot
//! leaves before it has taken a range. One that has begun a range finishes it or fails the read. The leader waits for no
//! connection but its own, so reads cannot wait for each other here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::try_join_all;
use maru_connect::ScanRequest;
use maru_core::{Error, Result};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Postgres, Row};
use tokio::sync::watch;

use super::catalog::Relation;
use super::read::{begin, cancel, copy};
use crate::pool::{Connections, Spare};
use crate::stream::Sink;

/// Pages of one range: with the usual 8 KiB, 32 MiB. Less is not worth a connection.
const RANGE_PAGES: u64 = 4096;

/// Where a table that others may help to read lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pages {
    /// Of the table, or of the largest of its partitions, each of which begins with page 0.
    pub largest: u64,
    /// All together.
    pub total: u64,
}

impl Pages {
    /// Returns how many ranges a table is read in.
    pub fn n_ranges(self) -> usize {
        usize::try_from(self.total / RANGE_PAGES).unwrap_or(usize::MAX)
    }
}

/// Returns in how many ranges and over how many connections at most `request` is read; `None` for one connection.
pub(crate) fn plan(
    relation: &Relation,
    request: &ScanRequest,
    parallel_reads: usize,
) -> Option<(usize, usize)> {
    let n_ranges = relation.pages?.n_ranges();
    let worthwhile = request.limit.is_none() && !request.projection.is_empty();
    let connections = parallel_reads.min(n_ranges);
    (worthwhile && connections > 1).then_some((n_ranges, connections))
}

/// What leader and helpers share.
pub(crate) struct Team {
    pub connections: Arc<Connections<Postgres>>,
    pub relation: Arc<Relation>,
    pub request: ScanRequest,
    pub sink: Sink,
}

/// The ranges of a read, and the snapshot they are read in.
struct Work {
    team: Team,
    select: String,
    /// Pages at which ranges begin, after the first one, which begins with page 0.
    bounds: Vec<u64>,
    next: AtomicUsize,
    done: AtomicUsize,
    snapshot: String,
    /// When and where the server was started that has the snapshot.
    server: String,
    /// LOCK TABLE without its end.
    lock: String,
}

const SERVER: &str =
    "concat_ws(' ', pg_postmaster_start_time(), inet_server_addr(), inet_server_port())";

/// Reads with the help of `spare` connections. The leader's transaction is left to be ended.
///
/// `backend` becomes the pid of the backend behind `connection`. Dropping the future ends the helpers, each of which cancels
/// its own query.
pub(crate) async fn lead(
    team: Team,
    connection: &mut PgConnection,
    backend: &mut Option<i32>,
    spare: Vec<Spare>,
) -> Result<()> {
    let peer = team.connections.peer.clone();
    let failed = |error| peer.query_error(error);
    let lock = format!("LOCK TABLE {} IN ACCESS SHARE MODE", team.relation.from);
    let mode = format!("ISOLATION LEVEL REPEATABLE READ READ ONLY; {lock}");
    *backend =
        Some(begin(connection, &mode, &team.relation, &team.request).await.map_err(failed)??);
    let select = team.relation.select(&team.request)?;
    if !team.request.filters.is_empty()
        && !reads_all_pages(connection, &select).await.map_err(failed)?
    {
        // An index finds the rows, or the server's own workers do.
        drop(spare);
        let Team { connections, relation, request, sink } = &team;
        return copy(connection, connections, relation, request, &select, sink).await;
    }
    let sql = format!(
        "SELECT pg_export_snapshot(), {SERVER},
                pg_relation_size({}::oid) / current_setting('block_size')::int8",
        team.relation.oid.unwrap_or_default()
    );
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut *connection).await;
    let (snapshot, server, pages): (String, String, i64) = row
        .and_then(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)))
        .map_err(failed)?;
    let known = team.relation.pages.unwrap_or(Pages { largest: 0, total: 0 });
    // A table that has grown since it was described; of one with partitions this is nothing.
    let pages = u64::try_from(pages).unwrap_or_default();
    let known = Pages { largest: known.largest.max(pages), total: known.total.max(pages) };
    let work = Arc::new(Work {
        bounds: bounds(known),
        next: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        team,
        select,
        snapshot,
        server,
        lock,
    });
    let (all_taken, hears) = watch::channel(false);
    let helpers = spare.into_iter().map(|spare| {
        let helper = tokio::spawn(help(Arc::clone(&work), spare, hears.clone()));
        async { helper.await.map_err(|_| Error::internal("the reader of a range died"))? }
    });
    let own = async {
        work.take_ranges(connection, false).await?;
        // Helpers that have not begun need not; the others have the snapshot and a lock of their own.
        all_taken.send_replace(true);
        Ok(())
    };
    futures::try_join!(own, try_join_all(helpers))?;
    if work.done.load(Ordering::Acquire) != work.bounds.len() + 1 {
        return Err(Error::internal("a range of a table was not read"));
    }
    Ok(())
}

/// Takes ranges over another connection while there are some. Ends when `over` says that all are taken, if it has not begun,
/// and when the leader is gone.
async fn help(work: Arc<Work>, spare: Spare, mut over: watch::Receiver<bool>) -> Result<()> {
    let connections = &work.team.connections;
    let leased = tokio::select! {
        _ = over.wait_for(|all_taken| *all_taken) => return Ok(()),
        leased = connections.lease_spare(spare) => leased,
    };
    let mut lease = match leased {
        Ok(lease) => lease,
        Err(error) => {
            tracing::debug!(%error, "a table is read over fewer connections");
            return Ok(());
        }
    };
    let begun = tokio::select! {
        _ = over.wait_for(|all_taken| *all_taken) => None,
        begun = work.begin_beside(&mut lease.connection) => Some(begun),
    };
    let backend = match begun {
        Some(Ok(Some(backend))) => backend,
        not_begun => {
            if let Some(Err(error)) = not_begun {
                tracing::debug!(%error, "a table is read over fewer connections");
            }
            lease.discard();
            return Ok(());
        }
    };
    let reads = async {
        work.take_ranges(&mut lease.connection, true).await?;
        let committed = lease.connection.execute("COMMIT").await;
        committed.map(|_| ()).map_err(|error| connections.peer.query_error(error))
    };
    let result = tokio::select! {
        biased;
        () = leader_is_gone(over) => Ok(None),
        result = connections.unless_over(&work.team.sink, reads) => result,
    };
    if matches!(result, Ok(Some(()))) {
        return Ok(());
    }
    cancel(connections, backend).await;
    lease.discard();
    // Nobody asks any more when it was called off.
    result.and(Err(Error::internal("a range of a table was given up")))
}

async fn leader_is_gone(mut over: watch::Receiver<bool>) {
    while over.changed().await.is_ok() {}
}

impl Work {
    /// Begins a transaction with the leader's snapshot and a lock of its own; returns the backend's pid, or `None` if this is
    /// another server than the leader's.
    ///
    /// # Errors
    /// If the snapshot is not to be had, or the lock not at once: somebody may wait for the leader's to alter the table, and
    /// would be waited for.
    async fn begin_beside(&self, connection: &mut PgConnection) -> sqlx::Result<Option<i32>> {
        let sql = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{}';
             {} NOWAIT; SELECT pg_backend_pid(), {SERVER}",
            self.snapshot, self.lock
        );
        let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut *connection).await?;
        let server: String = row.try_get(1)?;
        Ok(if server == self.server { Some(row.try_get(0)?) } else { None })
    }

    /// Reads ranges until none is left. A helper stops early if a query waits for its place.
    async fn take_ranges(&self, connection: &mut PgConnection, helps: bool) -> Result<()> {
        let Team { connections, relation, request, sink } = &self.team;
        while !(helps && connections.is_awaited()) {
            let range = self.next.fetch_add(1, Ordering::Relaxed);
            if range > self.bounds.len() {
                break;
            }
            let and = if request.filters.is_empty() { "WHERE" } else { "AND" };
            let select = format!("{} {and} {}", self.select, condition(&self.bounds, range));
            copy(connection, connections, relation, request, &select, sink).await?;
            self.done.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }
}

/// Returns the pages at which ranges begin, after the first.
fn bounds(pages: Pages) -> Vec<u64> {
    let n_ranges = u64::try_from(pages.n_ranges()).unwrap_or(u64::MAX).max(1);
    let each = pages.largest.div_ceil(n_ranges).max(1);
    (1..n_ranges).map(|n| n * each).filter(|bound| *bound < u64::from(u32::MAX)).collect()
}

/// Returns the condition of a range: from its bound to the next one. The last has no end.
fn condition(bounds: &[u64], range: usize) -> String {
    let from = range.checked_sub(1).and_then(|before| bounds.get(before)).copied().unwrap_or(0);
    match bounds.get(range) {
        Some(to) => format!("ctid >= '({from},0)'::tid AND ctid < '({to},0)'::tid"),
        None => format!("ctid >= '({from},0)'::tid"),
    }
}

/// Returns whether the server means to go through all pages by itself, so that it may as well go through ranges of them.
async fn reads_all_pages(connection: &mut PgConnection, select: &str) -> sqlx::Result<bool> {
    let sql = format!("EXPLAIN (FORMAT JSON, COSTS OFF) {select}");
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut *connection).await?;
    let plan: String = row.try_get_unchecked(0)?;
    Ok(is_of_scans(&plan))
}

/// Returns whether a plan, as JSON, has no nodes but scans of whole tables and of their partitions.
fn is_of_scans(plan: &str) -> bool {
    let mut kinds = plan.split("\"Node Type\": \"").skip(1).peekable();
    let scans = |kind: &str| kind.starts_with("Seq Scan\"") || kind.starts_with("Append\"");
    kinds.peek().is_some() && kinds.all(scans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_every_page() {
        for (largest, total) in [(8192, 8192), (100_000, 100_000), (9_000, 70_000), (3, 20_000)] {
            let bounds = bounds(Pages { largest, total });
            assert!(bounds.is_sorted_by(|one, other| one < other));
            let conditions = (0..=bounds.len()).map(|n| condition(&bounds, n)).collect::<Vec<_>>();
            assert!(conditions[0].starts_with("ctid >= '(0,0)'::tid AND ctid < '("));
            for (one, next) in conditions.iter().zip(&conditions[1..]) {
                let end = one.rsplit("< ").next().unwrap();
                assert!(next.starts_with(&format!("ctid >= {end}")), "{one}; {next}");
            }
            assert!(!conditions[bounds.len()].contains('<'));
        }
        assert_eq!(bounds(Pages { largest: 8192, total: 8192 }), [4096]);
        assert_eq!(condition(&[], 0), "ctid >= '(0,0)'::tid");
    }

    #[test]
    fn only_scans_of_all_pages_are_shared() {
        let plan = |kind: &str| format!("[ {{ \"Plan\": {{ \"Node Type\": \"{kind}\" }} }} ]");
        assert!(is_of_scans(&plan("Seq Scan")));
        assert!(is_of_scans(&(plan("Append") + &plan("Seq Scan"))));
        for other in ["Index Scan", "Gather", "Bitmap Heap Scan", "Result"] {
            assert!(!is_of_scans(&plan(other)), "{other}");
            assert!(!is_of_scans(&(plan("Append") + &plan("Seq Scan") + &plan(other))), "{other}");
        }
        assert!(!is_of_scans("[]"));
    }
}
