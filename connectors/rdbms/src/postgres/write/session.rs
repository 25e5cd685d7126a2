//! The transaction of one write, on a connection that is closed unless it ends well.

use std::sync::Arc;

use maru_connect::{Committed, WriteMode};
use maru_core::{Error, ErrorKind, Result};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Postgres, Row};

use super::target::Target;
use super::{Plan, STAGED, failure, outcome};
use crate::pool::{Connections, Lease};
use crate::postgres::catalog::quoted;
use crate::postgres::read;
use crate::write::{COMMITS, changed_in_between, changed_twice, computed_by_the_table};

/// A lease that is discarded unless it is taken out: what was begun on it is undone by the server.
struct Held(Option<Lease<Postgres>>);

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
    /// The server process, to be told to stop.
    backend: i32,
    /// Rows that were sent, and rows that COPY counted.
    pub n_rows: u64,
    pub n_taken: u64,
    /// This work was committed before: nothing is to be done.
    pub already: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl Session {
    /// Begins the transaction and does what comes before the rows.
    pub async fn begin(plan: &Arc<Plan>) -> Result<Self> {
        let connections = &plan.connections;
        let mut lease = connections.lease().await?;
        let already = plan.already;
        if plan.request.attempt.once.is_some() && !already {
            make_commits(&mut lease.connection, connections, &plan.target.schema).await?;
        }
        let held = Held(Some(lease));
        let mut session = Self { held, backend: 0, n_rows: 0, n_taken: 0, already };
        if let Err(error) = session.prepare(plan).await {
            session.abort(connections).await;
            return Err(error);
        }
        Ok(session)
    }

    pub fn connection(&mut self) -> Result<&mut PgConnection> {
        let lease = self.held.0.as_mut();
        lease.map(|lease| &mut *lease.connection).ok_or_else(|| Error::internal("no connection"))
    }

    async fn run(&mut self, plan: &Plan, sql: String) -> Result<u64> {
        let before = self.n_rows;
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *self.connection()?).await;
        let done =
            done.map_err(|error| failure::write_error(&plan.connections.peer, error, before));
        Ok(done?.rows_affected())
    }

    async fn prepare(&mut self, plan: &Plan) -> Result<()> {
        let peer = &plan.connections.peer;
        let failed = |error| failure::write_error(peer, error, 0);
        let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_backend_pid()";
        let connection = self.connection()?;
        let row = sqlx::raw_sql(begin).fetch_one(&mut *connection).await.map_err(failed)?;
        self.backend = row.try_get(0).map_err(failed)?;
        if let Some((work, number)) = &plan.request.attempt.once {
            let commits = format!("{}.{}", quoted(&plan.target.schema), quoted(COMMITS));
            // Who tries the same work at the same time waits here for the other's end.
            let sql = format!(
                "INSERT INTO {commits} AS c (work, number) VALUES ($1, $2) ON CONFLICT (work) \
                 DO UPDATE SET number = excluded.number, at = now() WHERE c.number < excluded.number"
            );
            if self.already {
                return Ok(());
            }
            let marked = sqlx::query(AssertSqlSafe(sql)).bind(work).bind(number).persistent(false);
            let marked = marked.execute(self.connection()?).await.map_err(failed)?;
            if marked.rows_affected() == 0 {
                self.already = true;
                return Ok(());
            }
        }
        let table = plan.target.quoted();
        match &plan.request.mode {
            WriteMode::Create(new) => {
                let name = plan.filled_name();
                self.run(plan, plan.target.create(&name, new, &plan.request.columns)).await?;
            }
            mode => {
                // Two that replace all rows come one after the other; who adds rows does not wait for who adds others.
                let lock = match mode {
                    WriteMode::Overwrite(_) => "SHARE ROW EXCLUSIVE",
                    _ => "ROW EXCLUSIVE",
                };
                if plan.target.is_lockable {
                    self.run(plan, format!("LOCK TABLE {table} IN {lock} MODE")).await?;
                }
                self.same_as_planned(plan).await?;
            }
        }
        if let WriteMode::Overwrite(_) = plan.request.mode {
            self.run(plan, format!("DELETE FROM {table}")).await?;
        }
        if plan.is_staged() {
            let leading = Target::leading(&plan.request.mode);
            let leading = leading.into_iter().map(|(name, wire)| (name, wire.sql_type()));
            let leading = leading.collect::<Vec<_>>();
            self.run(plan, plan.target.stage(STAGED, &leading)).await?;
        }
        Ok(())
    }

    /// Looks at the table once more, now that its columns can no longer be altered.
    async fn same_as_planned(&mut self, plan: &Plan) -> Result<()> {
        let peer = &plan.connections.peer;
        let target = &plan.target;
        let names = target.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>();
        let connection = self.connection()?;
        let (schema, name) = (target.schema.as_str(), target.name.as_str());
        let found = Target::find(connection, schema, name, &names, plan.numeric_scale).await;
        let found = found.map_err(|error| failure::write_error(peer, error, 0))?;
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
        match self.publish(plan).await {
            Ok(committed) => {
                self.held.0.take();
                Ok(committed)
            }
            Err(error) => {
                self.abort(&plan.connections).await;
                Err(error)
            }
        }
    }

    async fn publish(&mut self, plan: &Plan) -> Result<Committed> {
        let peer = &plan.connections.peer;
        let failed = |error| failure::write_error(peer, error, 0);
        if self.already {
            self.connection()?.execute("ROLLBACK").await.map_err(failed)?;
            return Ok(Committed { already: true, ..Committed::default() });
        }
        let mut n_rows = self.n_taken;
        match &plan.request.mode {
            WriteMode::Change => n_rows = self.change(plan).await?,
            WriteMode::Create(new) => {
                if new.replace {
                    self.replace(plan).await?;
                }
                if let Some(comment) = &new.comment {
                    let comment = crate::postgres::conditions::text_literal(comment)
                        .ok_or_else(|| Error::internal("a comment with a zero byte"))?;
                    let table = plan.target.quoted();
                    self.run(plan, format!("COMMENT ON TABLE {table} IS {comment}")).await?;
                }
            }
            mode if plan.is_staged() => {
                let inserted = plan.target.insert_staged(STAGED, mode, &plan.request.columns);
                n_rows = self.run(plan, inserted).await?;
            }
            _ => {}
        }
        let sql = "SELECT txid_current()";
        let row = sqlx::raw_sql(sql).fetch_one(self.connection()?).await.map_err(failed)?;
        let transaction: i64 = row.try_get(0).map_err(failed)?;
        match self.connection()?.execute("COMMIT").await {
            Ok(_) => {}
            Err(error) if failure::is_lost(&error) => {
                // The answer did not come; the deed may have been done.
                outcome::find_out(&plan.connections, transaction, self.backend, error).await?;
                // Nothing more can be asked of this connection.
                if let Some(lease) = self.held.0.take() {
                    lease.discard();
                }
            }
            Err(error) => return Err(failed(error)),
        }
        Ok(Committed { n_rows, version: None, already: false })
    }

    /// Puts a new table where the old one was.
    async fn replace(&mut self, plan: &Plan) -> Result<()> {
        let (target, filled) = (&plan.target, plan.filled_name());
        let schema = quoted(&target.schema);
        let (from, to) = (quoted(&filled), quoted(&target.name));
        self.run(plan, format!("DROP TABLE IF EXISTS {}", target.quoted())).await?;
        self.run(plan, format!("ALTER TABLE {schema}.{from} RENAME TO {to}")).await?;
        if plan.new_table().is_some_and(|new| !new.primary_key.is_empty()) {
            let (from, to) = (quoted(&pkey(&filled)), quoted(&pkey(&target.name)));
            let sql = format!("ALTER INDEX IF EXISTS {schema}.{from} RENAME TO {to}");
            self.run(plan, sql).await?;
        }
        Ok(())
    }

    /// Deletes, updates and inserts what was staged. A row that is not what it was when it was read fails all of it.
    async fn change(&mut self, plan: &Plan) -> Result<u64> {
        self.run(plan, format!("ANALYZE {}", quoted(STAGED))).await?;
        let count = format!(
            "SELECT count(*) FILTER (WHERE op = 2), count(*) FILTER (WHERE op = 1), \
             count(place) - count(DISTINCT place) FROM {}",
            quoted(STAGED)
        );
        let peer = &plan.connections.peer;
        let failed = |error| failure::write_error(peer, error, 0);
        let count = sqlx::raw_sql(AssertSqlSafe(count)).fetch_one(self.connection()?).await;
        let count = count.map_err(failed)?;
        if count.try_get::<i64, _>(2).map_err(failed)? > 0 {
            return Err(changed_twice(&plan.target.shown()));
        }
        if let Some(sql) = plan.target.miscomputed(STAGED) {
            let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(self.connection()?).await;
            if row.map_err(failed)?.try_get::<i64, _>(0).map_err(failed)? > 0 {
                return Err(computed_by_the_table(&plan.target.shown()));
            }
        }
        let mut n_rows = 0;
        let updated = plan.target.update(STAGED, &plan.request.columns);
        let statements = [Some(plan.target.delete(STAGED)), updated];
        for (index, sql) in statements.into_iter().enumerate() {
            let wanted: i64 = count.try_get(index).map_err(failed)?;
            let done = match sql {
                Some(sql) if wanted > 0 => self.run(plan, sql).await?,
                _ => 0,
            };
            if i64::try_from(done) != Ok(wanted) {
                return Err(changed_in_between(&plan.target.shown()));
            }
            n_rows += done;
        }
        let inserted = plan.target.insert_changed(STAGED, &plan.request.columns);
        Ok(n_rows + self.run(plan, inserted).await?)
    }

    /// Stops what the server does, and closes the connection.
    pub async fn abort(mut self, connections: &Connections<Postgres>) {
        if self.backend != 0 {
            read::cancel(connections, self.backend).await;
        }
        if let Some(lease) = self.held.0.take() {
            lease.discard();
        }
    }
}

/// Returns whether work was committed with this number or a greater one.
pub(super) async fn was_committed(
    connection: &mut PgConnection,
    schema: &str,
    work: &str,
    number: i64,
) -> sqlx::Result<bool> {
    let commits = format!("{}.{}", quoted(schema), quoted(COMMITS));
    let known = "SELECT to_regclass($1) IS NOT NULL";
    let known = sqlx::query(known).bind(&commits).persistent(false).fetch_one(&mut *connection);
    if !known.await?.try_get::<bool, _>(0)? {
        return Ok(false);
    }
    let sql = format!("SELECT EXISTS (SELECT FROM {commits} WHERE work = $1 AND number >= $2)");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(work).bind(number).persistent(false);
    row.fetch_one(connection).await?.try_get(0)
}

/// The name that PostgreSQL gives a primary key, for names that need no cutting.
fn pkey(table: &str) -> String {
    format!("{table}_pkey")
}

/// Makes the table of commits, in a transaction of its own.
async fn make_commits(
    connection: &mut PgConnection,
    connections: &Connections<Postgres>,
    schema: &str,
) -> Result<()> {
    let schema = quoted(schema);
    let commits = quoted(COMMITS);
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS {schema}.{commits} (work text PRIMARY KEY, number bigint NOT NULL, \
         at timestamptz NOT NULL DEFAULT now())"
    );
    let mut tries = 0;
    loop {
        match sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut *connection).await {
            Ok(_) => return Ok(()),
            // Another makes it at this moment.
            Err(sqlx::Error::Database(error))
                if tries < 3 && matches!(error.code().as_deref(), Some("23505" | "42P07")) =>
            {
                tries += 1;
            }
            Err(error) => {
                let error = failure::write_error(&connections.peer, error, 0);
                return Err(error.or_hint(|| {
                    Some(format!("Writes that are tried again keep a table {schema}.{commits}."))
                }));
            }
        }
    }
}
