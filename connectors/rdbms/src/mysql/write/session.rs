//! The transaction of one write, on a connection of its own that ends with it.

use std::sync::Arc;

use maru_connect::{Committed, WriteMode};
use maru_core::{Error, ErrorKind, Result};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, MySql, Row};

use super::bulk::Bulk;
use super::failure::Refused;
use super::target::Target;
use super::{Plan, change, failure, literal, outcome};
use crate::mysql::catalog::quoted;
use crate::pool::Lease;
use crate::write::{COMMITS, STAGE, changed_in_between, changed_twice, computed_by_the_table};

/// What the session must be, whatever the server's defaults: values that do not fit are errors, and a zero in a column that numbers
/// rows is a zero.
const SESSION: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION', \
     time_zone = '+00:00', sql_auto_is_null = 0, autocommit = 1, net_read_timeout = 3600, \
     sql_select_limit = 18446744073709551615";

/// A lease that is discarded unless it is taken out: what was begun on it is undone by the server.
struct Held(Option<Lease<MySql>>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(lease) = self.0.take() {
            lease.discard();
        }
    }
}

/// A transaction that was begun.
pub(super) struct Session {
    held: Held,
    /// The connection over which data is loaded, if the server lets us. Then all of the transaction is on it.
    pub bulk: Option<Bulk>,
    /// The server's thread, to be told to stop.
    thread: u64,
    /// Whether the transaction marks its commit, so that an answer that is lost can be asked for.
    pub is_marked: bool,
    pub n_rows: u64,
    /// This work was committed before: nothing is to be done.
    pub already: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("thread", &self.thread).finish_non_exhaustive()
    }
}

impl Session {
    /// Begins the transaction and does what comes before the rows.
    pub async fn begin(plan: &Arc<Plan>) -> Result<Self> {
        let lease = plan.connections.lease().await?;
        let held = Held(Some(lease));
        let already = plan.already;
        let mut session =
            Self { held, bulk: None, thread: 0, is_marked: false, n_rows: 0, already };
        if already {
            return Ok(session);
        }
        if let Some(loader) = &plan.loader {
            session.bulk = Bulk::connect(loader).await;
        }
        if let Err(error) = session.prepare(plan).await {
            session.abort(plan).await;
            return Err(error);
        }
        Ok(session)
    }

    fn connection(&mut self) -> Result<&mut MySqlConnection> {
        let lease = self.held.0.as_mut();
        lease.map(|lease| &mut *lease.connection).ok_or_else(|| Error::internal("no connection"))
    }

    /// Runs a statement in the transaction, and returns the rows that it changed.
    pub async fn execute(&mut self, plan: &Plan, sql: String) -> Result<Result<u64, Refused>> {
        let peer = &plan.connections.peer;
        if let Some(bulk) = &mut self.bulk {
            return Ok(bulk.execute(&sql).await.map_err(|error| Refused::of_wire(peer, error)));
        }
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.connection()?).await;
        Ok(done.map(|done| done.rows_affected()).map_err(|error| Refused::of(peer, error)))
    }

    async fn run(&mut self, plan: &Plan, sql: String) -> Result<u64> {
        self.execute(plan, sql).await?.map_err(|refused| refused.error(0))
    }

    /// Returns the number that a query in the transaction gives; `None` without a row.
    async fn number(&mut self, plan: &Plan, sql: String) -> Result<Option<i64>> {
        let peer = &plan.connections.peer;
        if let Some(bulk) = &mut self.bulk {
            let number = bulk.number(&sql).await;
            return number.map_err(|error| Refused::of_wire(peer, error).error(0));
        }
        let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_optional(self.connection()?).await;
        let number = row.and_then(|row| row.map(|row| row.try_get_unchecked(0)).transpose());
        number.map_err(|error| Refused::of(peer, error).error(0))
    }

    async fn prepare(&mut self, plan: &Plan) -> Result<()> {
        self.run(plan, SESSION.to_owned()).await?;
        // Gaps between rows are locked, too: of two that replace all rows one waits, or is told to try again.
        let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";
        self.run(plan, isolation.to_owned()).await?;
        // A DELETE of joined tables looks for their aliases in the session's own database.
        self.run(plan, format!("USE {}", quoted(&plan.target.schema))).await?;
        let thread = self.number(plan, "SELECT CONNECTION_ID()".to_owned()).await?;
        self.thread = thread.and_then(|thread| u64::try_from(thread).ok()).unwrap_or_default();
        if let Some(new) = plan.new_table() {
            self.collect(plan).await?;
            let stage = plan.stage();
            self.number(plan, format!("SELECT GET_LOCK('{stage}', 10)")).await?;
            self.run(plan, plan.target.create(&stage, new, &plan.request.columns)).await?;
        }
        self.is_marked = self.make_commits(plan).await?;
        if plan.is_staged() {
            let sql = match plan.request.mode {
                WriteMode::Change => plan.target.stage_changes(&plan.stage()),
                _ => plan.target.stage(&plan.stage()),
            };
            self.run(plan, sql).await?;
        }
        self.run(plan, "START TRANSACTION READ WRITE".to_owned()).await?;
        if self.is_marked && plan.new_table().is_none() {
            self.mark(plan).await?;
            if self.already {
                return Ok(());
            }
        }
        if plan.new_table().is_none() {
            // Locks the columns, too, until the end of the transaction.
            self.run(plan, format!("SELECT 1 FROM {} LIMIT 0", plan.target.quoted())).await?;
            self.same_as_planned(plan).await?;
        }
        if let WriteMode::Overwrite(_) = plan.request.mode {
            self.run(plan, format!("DELETE FROM {}", plan.target.quoted())).await?;
        }
        Ok(())
    }

    /// Marks what will have been committed. A row that is locked makes who tries the same work at the same time wait.
    async fn mark(&mut self, plan: &Plan) -> Result<()> {
        let commits = plan.target.beside(COMMITS);
        if let Some((work, number)) = &plan.request.attempt.once {
            let work = text(work);
            let sql = format!(
                "INSERT INTO {commits} (work, number) VALUES ({work}, {}) ON DUPLICATE KEY UPDATE number = number",
                i64::MIN
            );
            self.run(plan, sql).await?;
            let sql = format!(
                "UPDATE {commits} SET number = {number} WHERE work = {work} AND number < {number}"
            );
            self.already = self.run(plan, sql).await? == 0;
            if self.already {
                return Ok(());
            }
        }
        let sql = format!("INSERT INTO {commits} (work, number) VALUES ('{}', 0)", plan.mark());
        self.run(plan, sql).await?;
        Ok(())
    }

    /// Makes the table of commits. Who may not make one writes without.
    async fn make_commits(&mut self, plan: &Plan) -> Result<bool> {
        let commits = plan.target.beside(COMMITS);
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {commits} (work VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin \
             PRIMARY KEY, number BIGINT NOT NULL, at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP) ENGINE = InnoDB"
        );
        match self.execute(plan, sql).await? {
            Ok(_) => Ok(true),
            Err(refused) if refused.is_forbidden() && plan.request.attempt.once.is_none() => {
                Ok(false)
            }
            Err(refused) => Err(refused
                .error(0)
                .or_hint(|| Some(format!("Writes that are tried again keep a table {commits}.")))),
        }
    }

    /// Drops what writes that were killed have left in the schema: tables whose lock nobody holds.
    async fn collect(&mut self, plan: &Plan) -> Result<()> {
        let peer = &plan.connections.peer;
        let sql = format!(
            "SELECT table_name FROM information_schema.tables WHERE BINARY table_schema = BINARY ? \
             AND table_name LIKE '{}%'",
            STAGE.replace('_', "\\_")
        );
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(&plan.target.schema);
        let rows = rows.fetch_all(self.connection()?).await;
        let rows = rows.map_err(|error| failure::write_error(peer, error))?;
        for row in rows {
            let name = row.try_get_unchecked::<String, _>(0);
            let name = name.map_err(|error| failure::write_error(peer, error))?;
            let lock = name.replace("_old_", "_");
            if lock.contains(['\'', '\\']) {
                continue;
            }
            if self.number(plan, format!("SELECT GET_LOCK('{lock}', 0)")).await? == Some(1) {
                let dropped = format!("DROP TABLE IF EXISTS {}", plan.target.beside(&name));
                if let Err(error) = self.run(plan, dropped).await {
                    tracing::warn!(%error, table = name, "could not drop what a write has left");
                }
                self.number(plan, format!("SELECT RELEASE_LOCK('{lock}')")).await?;
            }
        }
        Ok(())
    }

    /// Looks at the table once more, now that its columns can no longer be altered.
    async fn same_as_planned(&mut self, plan: &Plan) -> Result<()> {
        let peer = &plan.connections.peer;
        let target = &plan.target;
        let names = target.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>();
        let (schema, name) = (target.schema.as_str(), target.name.as_str());
        let found = Target::find(self.connection()?, schema, name, &names, plan.choices).await;
        let found = found.map_err(|error| failure::write_error(peer, error))?;
        if !matches!(found, Ok(Some(found)) if found == *target) {
            return Err(Error::new(
                ErrorKind::Serialization,
                format!("columns of {} were changed in the database just now", target.shown()),
            )
            .with_hint("Run the statement again."));
        }
        Ok(())
    }

    /// Does what comes after the rows, and commits.
    pub async fn commit(mut self, plan: &Plan) -> Result<Committed> {
        let result = self.publish(plan).await;
        match &result {
            // The connection has locks and tables of its own: it ends with them.
            Ok(_) => self.end().await,
            Err(_) => self.abort(plan).await,
        }
        result
    }

    async fn publish(&mut self, plan: &Plan) -> Result<Committed> {
        if self.already {
            self.run(plan, "ROLLBACK".to_owned()).await?;
            return Ok(Committed { already: true, ..Committed::default() });
        }
        let mut n_rows = self.n_rows;
        if let Some(upsert) = plan.target.upsert(&plan.stage(), &plan.request.mode) {
            if self.number(plan, upsert.twice).await?.is_some() {
                return Err(Error::new(
                    ErrorKind::Cardinality,
                    format!("two rows for {} have the same key", plan.target.shown()),
                )
                .with_hint("Leave one of them, such as by DISTINCT ON (key)."));
            }
            let mut changed = 0;
            if let Some(update) = upsert.update {
                // A row that has its values already is not counted as affected.
                changed = self.number(plan, upsert.count).await?.unwrap_or_default();
                self.run(plan, update).await?;
            }
            n_rows =
                u64::try_from(changed).unwrap_or_default() + self.run(plan, upsert.insert).await?;
        }
        if plan.request.mode == WriteMode::Change {
            self.change(plan).await?;
        }
        if let Some(comment) = plan.new_table().and_then(|new| new.comment.as_ref()) {
            self.run(plan, "COMMIT".to_owned()).await?;
            let sql = format!("ALTER TABLE {} COMMENT = {}", plan.filled(), text(comment));
            self.run(plan, sql).await?;
        }
        let done = match plan.new_table() {
            None => self.execute(plan, "COMMIT".to_owned()).await?,
            Some(_) => {
                self.run(plan, "COMMIT".to_owned()).await?;
                let rename = self.rename(plan).await?;
                self.execute(plan, rename).await?
            }
        };
        if let Err(refused) = done {
            if !refused.is_lost() {
                return Err(refused.error(0));
            }
            // The answer did not come; the deed may have been done.
            outcome::find_out(plan, self.thread, self.is_marked, refused.error(0)).await?;
            self.end().await;
            return Ok(Committed { n_rows, version: None, already: false });
        }
        if let (Some(_), Some((work, number))) = (plan.new_table(), &plan.request.attempt.once) {
            // Not in one step with the rename: a try that comes in between replaces the table by the same rows.
            let commits = plan.target.beside(COMMITS);
            let sql = format!(
                "INSERT INTO {commits} (work, number) VALUES ({}, {number}) \
                 ON DUPLICATE KEY UPDATE number = GREATEST(number, VALUES(number))",
                text(work)
            );
            if let Err(error) = self.run(plan, sql).await {
                tracing::warn!(%error, work, "could not mark work as committed");
            }
        }
        let after = match plan.new_table() {
            Some(_) => format!("DROP TABLE IF EXISTS {}", plan.target.beside(&plan.old())),
            None if self.is_marked => format!(
                "DELETE FROM {} WHERE work = '{}' OR (work LIKE 'attempt %' AND at < NOW() - INTERVAL 1 DAY)",
                plan.target.beside(COMMITS),
                plan.mark()
            ),
            None => return Ok(Committed { n_rows, version: None, already: false }),
        };
        // What is committed is committed.
        if let Err(error) = self.run(plan, after).await {
            tracing::warn!(%error, "could not tidy up after a write");
        }
        Ok(Committed { n_rows, version: None, already: false })
    }

    /// Deletes, updates and inserts what was staged. A row that is not what it was when it was read fails all of it.
    async fn change(&mut self, plan: &Plan) -> Result<()> {
        let changes = plan.target.changes(&plan.stage(), &plan.request.columns);
        let shown = plan.target.shown();
        if self.number(plan, changes.twice).await?.is_some() {
            return Err(changed_twice(&shown));
        }
        let wanted = self.number(plan, changes.wanted).await?;
        if self.number(plan, changes.found).await? != wanted {
            return Err(changed_in_between(&shown));
        }
        if let Some(sql) = changes.miscomputed
            && self.number(plan, sql).await? != Some(0)
        {
            return Err(computed_by_the_table(&shown));
        }
        for sql in changes.statements {
            self.run(plan, sql).await?;
        }
        Ok(())
    }

    /// Returns the statement that puts the new table where it belongs.
    async fn rename(&mut self, plan: &Plan) -> Result<String> {
        let target = &plan.target;
        let (stage, table) = (target.beside(&plan.stage()), target.quoted());
        let (schema, name) = (target.schema.as_str(), target.name.as_str());
        let found = Target::find(self.connection()?, schema, name, &[], plan.choices).await;
        let found = found.map_err(|error| failure::write_error(&plan.connections.peer, error))?;
        let replaced =
            matches!(found, Ok(Some(_))) && plan.new_table().is_some_and(|new| new.replace);
        Ok(match replaced {
            false => format!("RENAME TABLE {stage} TO {table}"),
            true => {
                let old = target.beside(&plan.old());
                format!("RENAME TABLE {table} TO {old}, {stage} TO {table}")
            }
        })
    }

    async fn end(&mut self) {
        if let Some(bulk) = self.bulk.take() {
            bulk.close().await;
        }
        if let Some(lease) = self.held.0.take() {
            lease.discard();
        }
    }

    /// Stops what the server does, closes the connection, and drops the table that was filled.
    pub async fn abort(mut self, plan: &Plan) {
        if self.thread != 0 {
            change::end_session(&plan.connections, self.thread).await;
        }
        self.end().await;
        if plan.new_table().is_some() {
            let sql = format!("DROP TABLE IF EXISTS {}", plan.filled());
            if let Err(error) = change::run(&plan.connections, sql).await {
                tracing::warn!(%error, "could not drop the table of a write that failed");
            }
        }
    }
}

/// Returns text as a literal.
fn text(text: &str) -> String {
    let mut out = String::new();
    literal::quoted(&mut out, text);
    out
}

/// Returns whether work was committed with this number or a greater one.
pub(super) async fn was_committed(
    connection: &mut MySqlConnection,
    schema: &str,
    work: &str,
    number: i64,
) -> sqlx::Result<bool> {
    let sql = "SELECT COUNT(*) FROM information_schema.tables \
               WHERE BINARY table_schema = BINARY ? AND BINARY table_name = BINARY ?";
    let row = sqlx::query(sql).bind(schema).bind(COMMITS).fetch_one(&mut *connection).await?;
    if row.try_get_unchecked::<i64, _>(0)? == 0 {
        return Ok(false);
    }
    let commits = format!("{}.{}", quoted(schema), quoted(COMMITS));
    let sql = format!("SELECT COUNT(*) FROM {commits} WHERE work = ? AND number >= ?");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(work).bind(number).fetch_one(connection).await?;
    Ok(row.try_get_unchecked::<i64, _>(0)? > 0)
}

impl Plan {
    /// The mark of this try among the commits.
    pub fn mark(&self) -> String {
        format!("attempt {}", self.request.attempt.id)
    }

    /// The name that the replaced table has until it is dropped.
    pub fn old(&self) -> String {
        self.stage().replacen(STAGE, &format!("{STAGE}old_"), 1)
    }
}
