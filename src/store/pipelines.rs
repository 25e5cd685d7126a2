//! Pipelines, their runs and the steps of those, as rows. Whatever a run is about to do is here before it is done.

use maru_core::{Error, ErrorKind, Result, Secret};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, failed};

/// Runs that are kept; the oldest that are over go first.
const RUNS_KEPT: i64 = 100_000;

/// The note of a step that a run was asked to leave out.
pub(crate) const LEFT_OUT: &str = "left out: the run is one of other steps";

#[derive(Debug, Clone)]
pub(crate) struct StoredPipeline {
    pub id: i64,
    pub schema: String,
    pub name: String,
    /// JSON of `pipelines/definition.rs`'s versioned form.
    pub definition: String,
    /// Where failures are told, sealed at rest.
    pub webhook: Option<Secret>,
    pub paused: bool,
    /// Until when its schedule has been looked at.
    pub cursor_us: i64,
    pub created_us: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredRun {
    pub run_id: i64,
    /// Unique among all engines: by it a target knows a second try again.
    pub key: String,
    pub pipeline_id: i64,
    pub schema: String,
    pub pipeline: String,
    /// Who began it.
    pub user_name: String,
    /// `manual`, `schedule` or `backfill`
    pub origin: String,
    /// What the pipeline was when the run was made.
    pub definition: String,
    /// JSON: the text of each parameter, or null.
    pub arguments: String,
    /// When the schedule said so.
    pub slot_us: Option<i64>,
    pub interval_start_us: Option<i64>,
    pub interval_end_us: Option<i64>,
    pub state: String,
    /// Somebody wants it to end.
    pub cancelled: bool,
    pub created_us: i64,
    pub started_us: Option<i64>,
    pub ended_us: Option<i64>,
    pub sqlstate: Option<String>,
    pub error: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct StoredStep {
    pub run_id: i64,
    pub step: String,
    pub position: i64,
    pub state: String,
    pub attempt: i64,
    pub query_id: Option<i64>,
    pub n_rows: Option<i64>,
    pub n_bytes: Option<i64>,
    pub source_bytes: Option<i64>,
    pub spilled_bytes: Option<i64>,
    pub memory_peak_bytes: Option<i64>,
    /// As it is run, with the values of parameters.
    pub sql: Option<String>,
    /// JSON: what the columns are made of that it writes.
    pub lineage: Option<String>,
    pub note: Option<String>,
    pub sqlstate: Option<String>,
    pub error: Option<String>,
    pub started_us: Option<i64>,
    pub ended_us: Option<i64>,
}

impl StoredStep {
    /// Whether the run was asked to leave it out.
    pub(crate) fn is_left_out(&self) -> bool {
        self.state == "skipped" && self.note.as_deref() == Some(LEFT_OUT)
    }
}

/// Where a pipeline's webhook is sealed.
fn place(schema: &str, name: &str) -> String {
    format!("pipeline/{schema}.{name}")
}

impl Store {
    pub(crate) async fn pipelines(&self) -> Result<Vec<StoredPipeline>> {
        let rows = sqlx::query("SELECT * FROM pipeline ORDER BY schema, name");
        let rows = rows.fetch_all(&self.pool).await.map_err(failed)?;
        let pipeline = |row: &SqliteRow| {
            let (schema, name) = (row.get::<String, _>("schema"), row.get::<String, _>("name"));
            let sealed = row.get::<Option<Vec<u8>>, _>("sealed");
            let webhook = sealed.map(|s| self.vault.open_sealed(&place(&schema, &name), &s));
            Ok(StoredPipeline {
                id: row.get("pipeline_id"),
                schema,
                name,
                definition: row.get("definition"),
                webhook: webhook.transpose()?,
                paused: row.get("paused"),
                cursor_us: row.get("cursor_us"),
                created_us: row.get("created_us"),
            })
        };
        rows.iter().map(pipeline).collect()
    }

    /// Inserts (`id` 0) or replaces a pipeline; returns its number, which is never given again.
    pub(crate) async fn put_pipeline(&self, pipeline: &StoredPipeline) -> Result<i64> {
        let place = place(&pipeline.schema, &pipeline.name);
        let sealed = pipeline.webhook.as_ref().map(|url| self.vault.seal(&place, url));
        let row = sqlx::query(
            "INSERT INTO pipeline (pipeline_id, schema, name, definition, sealed, paused, cursor_us, created_us) \
             VALUES (nullif(?, 0), ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (schema, name) DO UPDATE SET \
             definition = excluded.definition, sealed = excluded.sealed, paused = excluded.paused, \
             cursor_us = excluded.cursor_us RETURNING pipeline_id",
        )
        .bind(pipeline.id)
        .bind(&pipeline.schema)
        .bind(&pipeline.name)
        .bind(&pipeline.definition)
        .bind(sealed.transpose()?)
        .bind(pipeline.paused)
        .bind(pipeline.cursor_us)
        .bind(pipeline.created_us)
        .fetch_one(&self.pool)
        .await
        .map_err(failed)?;
        Ok(row.get(0))
    }

    /// Deletes a pipeline with its runs.
    pub(crate) async fn delete_pipeline(&self, id: i64) -> Result<()> {
        let mut transaction = self.begin().await?;
        for sql in [
            "DELETE FROM pipeline_step WHERE run_id IN (SELECT run_id FROM pipeline_run WHERE pipeline_id = ?)",
            "DELETE FROM pipeline_run WHERE pipeline_id = ?",
            "DELETE FROM pipeline WHERE pipeline_id = ?",
        ] {
            sqlx::query(sql).bind(id).execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    pub(crate) async fn set_pipeline_cursor(&self, id: i64, cursor_us: i64) -> Result<()> {
        let sql = "UPDATE pipeline SET cursor_us = ? WHERE pipeline_id = ?";
        let done = sqlx::query(sql).bind(cursor_us).bind(id).execute(&self.pool).await;
        done.map(|_| ()).map_err(failed)
    }

    /// Inserts a run with its steps, and moves the pipeline's cursor, in one transaction. Returns its number; `None` if the
    /// schedule has started a run for this time already.
    pub(crate) async fn insert_run(
        &self,
        run: &StoredRun,
        steps: &[StoredStep],
        cursor_us: Option<i64>,
    ) -> Result<Option<i64>> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query(
            "INSERT INTO pipeline_run (key, pipeline_id, schema, pipeline, user_name, origin, definition, arguments, slot_us, \
             interval_start_us, interval_end_us, state, cancelled, created_us, started_us, ended_us, sqlstate, error) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING run_id",
        )
        .bind(&run.key)
        .bind(run.pipeline_id)
        .bind(&run.schema)
        .bind(&run.pipeline)
        .bind(&run.user_name)
        .bind(&run.origin)
        .bind(&run.definition)
        .bind(&run.arguments)
        .bind(run.slot_us)
        .bind(run.interval_start_us)
        .bind(run.interval_end_us)
        .bind(&run.state)
        .bind(run.cancelled)
        .bind(run.created_us)
        .bind(run.started_us)
        .bind(run.ended_us)
        .bind(&run.sqlstate)
        .bind(&run.error)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed)?;
        let run_id = row.map(|row| row.get::<i64, _>(0));
        if let Some(run_id) = run_id {
            for step in steps {
                let step = StoredStep { run_id, ..step.clone() };
                write_step(&mut *transaction, &step).await?;
            }
        }
        if let Some(cursor_us) = cursor_us {
            sqlx::query("UPDATE pipeline SET cursor_us = ? WHERE pipeline_id = ?")
                .bind(cursor_us)
                .bind(run.pipeline_id)
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        if let Some(run_id) = run_id.filter(|run_id| run_id % 100 == 0) {
            self.forget_old_runs(run_id - RUNS_KEPT).await?;
        }
        Ok(run_id)
    }

    async fn forget_old_runs(&self, last: i64) -> Result<()> {
        for sql in [
            "DELETE FROM pipeline_step WHERE run_id IN (SELECT run_id FROM pipeline_run WHERE run_id <= ? AND ended_us IS NOT NULL)",
            "DELETE FROM pipeline_run WHERE run_id <= ? AND ended_us IS NOT NULL",
        ] {
            sqlx::query(sql).bind(last).execute(&self.pool).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Keeps whether somebody wants a run to end.
    pub(crate) async fn cancel_run(&self, run_id: i64, cancelled: bool) -> Result<()> {
        let sql = "UPDATE pipeline_run SET cancelled = ? WHERE run_id = ?";
        let done = sqlx::query(sql).bind(cancelled).bind(run_id).execute(&self.pool).await;
        done.map(|_| ()).map_err(failed)
    }

    /// Writes how a run stands; not whether it is cancelled.
    pub(crate) async fn update_run(&self, run: &StoredRun) -> Result<()> {
        sqlx::query(
            "UPDATE pipeline_run SET state = ?, started_us = ?, ended_us = ?, sqlstate = ?, error = ?, \
             arguments = ? WHERE run_id = ?",
        )
        .bind(&run.state)
        .bind(run.started_us)
        .bind(run.ended_us)
        .bind(&run.sqlstate)
        .bind(&run.error)
        .bind(&run.arguments)
        .bind(run.run_id)
        .execute(&self.pool)
        .await
        .map(|_| ())
        .map_err(failed)
    }

    pub(crate) async fn put_step(&self, step: &StoredStep) -> Result<()> {
        write_step(&self.pool, step).await
    }

    /// Reads all runs, or those that are not over.
    pub(crate) async fn runs(&self, open_only: bool) -> Result<Vec<StoredRun>> {
        let sql = match open_only {
            true => "SELECT * FROM pipeline_run WHERE ended_us IS NULL ORDER BY run_id",
            false => "SELECT * FROM pipeline_run ORDER BY run_id",
        };
        let rows = sqlx::query(sql).fetch_all(&self.pool).await.map_err(failed)?;
        Ok(rows.iter().map(run_of).collect())
    }

    /// # Errors
    /// 42704
    pub(crate) async fn run(&self, run_id: i64) -> Result<StoredRun> {
        let row = sqlx::query("SELECT * FROM pipeline_run WHERE run_id = ?").bind(run_id);
        let row = row.fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(run_of).ok_or_else(|| {
            Error::new(ErrorKind::UndefinedObject, format!("run {run_id} does not exist"))
                .with_hint("SHOW RUNS lists them.")
        })
    }

    /// Returns the begins of intervals that a pipeline has a run for, of all its steps, which succeeded or is not over.
    pub(crate) async fn intervals_done(&self, pipeline_id: i64) -> Result<Vec<i64>> {
        let rows = sqlx::query(
            "SELECT DISTINCT interval_start_us FROM pipeline_run WHERE pipeline_id = ? AND interval_start_us IS NOT NULL \
             AND (state = 'succeeded' OR ended_us IS NULL) \
             AND NOT EXISTS (SELECT 1 FROM pipeline_step WHERE pipeline_step.run_id = pipeline_run.run_id AND note = ?)",
        )
        .bind(pipeline_id)
        .bind(LEFT_OUT)
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Reads the steps of one run, or of all.
    pub(crate) async fn steps(&self, run_id: Option<i64>) -> Result<Vec<StoredStep>> {
        let rows = sqlx::query(
            "SELECT * FROM pipeline_step WHERE run_id = coalesce(?, run_id) ORDER BY run_id, position",
        )
        .bind(run_id)
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        Ok(rows.iter().map(step_of).collect())
    }
}

async fn write_step<'e>(
    executor: impl sqlx::Executor<'e, Database = sqlx::Sqlite>,
    step: &StoredStep,
) -> Result<()> {
    sqlx::query(
        "INSERT OR REPLACE INTO pipeline_step (run_id, step, position, state, attempt, query_id, n_rows, n_bytes, source_bytes, \
         spilled_bytes, memory_peak_bytes, sql, lineage, note, sqlstate, error, started_us, ended_us) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(step.run_id)
    .bind(&step.step)
    .bind(step.position)
    .bind(&step.state)
    .bind(step.attempt)
    .bind(step.query_id)
    .bind(step.n_rows)
    .bind(step.n_bytes)
    .bind(step.source_bytes)
    .bind(step.spilled_bytes)
    .bind(step.memory_peak_bytes)
    .bind(&step.sql)
    .bind(&step.lineage)
    .bind(&step.note)
    .bind(&step.sqlstate)
    .bind(&step.error)
    .bind(step.started_us)
    .bind(step.ended_us)
    .execute(executor)
    .await
    .map(|_| ())
    .map_err(failed)
}

fn run_of(row: &SqliteRow) -> StoredRun {
    StoredRun {
        run_id: row.get("run_id"),
        key: row.get("key"),
        pipeline_id: row.get("pipeline_id"),
        schema: row.get("schema"),
        pipeline: row.get("pipeline"),
        user_name: row.get("user_name"),
        origin: row.get("origin"),
        definition: row.get("definition"),
        arguments: row.get("arguments"),
        slot_us: row.get("slot_us"),
        interval_start_us: row.get("interval_start_us"),
        interval_end_us: row.get("interval_end_us"),
        state: row.get("state"),
        cancelled: row.get("cancelled"),
        created_us: row.get("created_us"),
        started_us: row.get("started_us"),
        ended_us: row.get("ended_us"),
        sqlstate: row.get("sqlstate"),
        error: row.get("error"),
    }
}

fn step_of(row: &SqliteRow) -> StoredStep {
    StoredStep {
        run_id: row.get("run_id"),
        step: row.get("step"),
        position: row.get("position"),
        state: row.get("state"),
        attempt: row.get("attempt"),
        query_id: row.get("query_id"),
        n_rows: row.get("n_rows"),
        n_bytes: row.get("n_bytes"),
        source_bytes: row.get("source_bytes"),
        spilled_bytes: row.get("spilled_bytes"),
        memory_peak_bytes: row.get("memory_peak_bytes"),
        sql: row.get("sql"),
        lineage: row.get("lineage"),
        note: row.get("note"),
        sqlstate: row.get("sqlstate"),
        error: row.get("error"),
        started_us: row.get("started_us"),
        ended_us: row.get("ended_us"),
    }
}
