//! What became of a commit whose answer was lost: the session is ended, so that it commits no more, and its mark looked for.

use std::time::Duration;

use maru_core::{Error, ErrorKind, Result};
use sqlx::{AssertSqlSafe, Connection, Row};
use tokio::time::{Instant, sleep};

use super::Plan;
use crate::write::COMMITS;

/// How long the server is asked.
const ASK_FOR: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Returns well if the write was committed.
///
/// # Errors
/// HV00N if it was not, and nothing is visible; 08007 if that cannot be found out.
pub(super) async fn find_out(plan: &Plan, thread: u64, is_marked: bool, lost: Error) -> Result<()> {
    let peer = &plan.connections.peer;
    let mut last = lost;
    let until = Instant::now() + ASK_FOR;
    while is_marked && Instant::now() < until {
        match ask(plan, thread).await {
            Ok(Some(true)) => return Ok(()),
            Ok(Some(false)) => {
                return Err(Error::new(ErrorKind::RemoteUnavailable, last.primary())
                    .with_detail("The write was not committed: nothing was written.")
                    .with_hint("Run the statement again."));
            }
            Ok(None) => {}
            Err(error) => last = error,
        }
        sleep(ASK_EVERY).await;
    }
    Err(Error::new(
        ErrorKind::CommitUnknown,
        format!("it is not known whether {} has committed", peer.name()),
    )
    .with_detail(format!("{}.", last.message()))
    .with_hint("Look at the table before you run the statement again."))
}

/// Returns whether it was committed; `None` while the session is still there.
async fn ask(plan: &Plan, thread: u64) -> Result<Option<bool>> {
    let peer = &plan.connections.peer;
    let mut connection = plan.connections.connect().await?;
    let asked = async {
        let sql = format!("SELECT 1 FROM information_schema.processlist WHERE id = {thread}");
        let there = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_optional(&mut connection).await?;
        if there.is_some() {
            // It may have ended by itself meanwhile.
            let kill = format!("KILL CONNECTION {thread}");
            let _ = sqlx::raw_sql(AssertSqlSafe(kill)).execute(&mut connection).await;
            return Ok(None);
        }
        if plan.new_table().is_some() {
            // The rename takes the table away under whose name it was filled.
            let sql = "SELECT COUNT(*) = 0 FROM information_schema.tables WHERE BINARY table_schema = BINARY ? \
                       AND BINARY table_name = BINARY ?";
            let row = sqlx::query(sql).bind(&plan.target.schema).bind(plan.stage());
            let row = row.fetch_one(&mut connection).await?;
            return Ok(Some(row.try_get_unchecked::<i64, _>(0)? == 1));
        }
        let commits = plan.target.beside(COMMITS);
        let sql = format!("SELECT 1 FROM {commits} WHERE work = '{}'", plan.mark());
        let marked = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_optional(&mut connection).await?;
        Ok(Some(marked.is_some()))
    };
    let asked: sqlx::Result<_> = asked.await;
    let _ = connection.close().await;
    asked.map_err(|error| peer.query_error(error))
}
