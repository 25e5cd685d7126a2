//! Models, their versions and the jobs that trained them, as rows. What a version has learnt is a file beside the database.

use maru_core::Result;
use sqlx::Row;

use super::{Store, failed};

/// A model: where it is, and its versioned form as JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredModel {
    pub schema: String,
    pub name: String,
    pub body: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredVersion {
    pub schema: String,
    pub model: String,
    pub version: i64,
    pub manifest: String,
    /// Its name in the folder of models.
    pub file: String,
    pub n_bytes: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredJob {
    pub job_id: i64,
    pub schema: String,
    pub model: String,
    pub user_name: String,
    pub state: String,
    pub started_us: i64,
    pub ended_us: Option<i64>,
    pub trials: i64,
    pub trials_done: i64,
    pub version: Option<i64>,
    pub sqlstate: Option<String>,
    pub error: Option<String>,
}

impl Store {
    pub(crate) async fn models(&self) -> Result<(Vec<StoredModel>, Vec<StoredVersion>)> {
        let models = sqlx::query("SELECT schema, name, body FROM model ORDER BY schema, name")
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        let model = |row: &sqlx::sqlite::SqliteRow| StoredModel {
            schema: row.get("schema"),
            name: row.get("name"),
            body: row.get("body"),
        };
        let versions = sqlx::query(
            "SELECT schema, model, version, manifest, file, n_bytes FROM model_version",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        let version = |row: &sqlx::sqlite::SqliteRow| StoredVersion {
            schema: row.get("schema"),
            model: row.get("model"),
            version: row.get("version"),
            manifest: row.get("manifest"),
            file: row.get("file"),
            n_bytes: row.get("n_bytes"),
        };
        Ok((models.iter().map(model).collect(), versions.iter().map(version).collect()))
    }

    /// Writes a model and, where there is one, a new version of it, in one transaction.
    pub(crate) async fn put_model(
        &self,
        model: &StoredModel,
        version: Option<&StoredVersion>,
    ) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO model (schema, name, body) VALUES (?, ?, ?) \
             ON CONFLICT (schema, name) DO UPDATE SET body = excluded.body",
        )
        .bind(&model.schema)
        .bind(&model.name)
        .bind(&model.body)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        if let Some(version) = version {
            sqlx::query(
                "INSERT INTO model_version (schema, model, version, manifest, file, n_bytes) VALUES (?, ?, ?, ?, ?, ?)",
            )
            .bind(&version.schema)
            .bind(&version.model)
            .bind(version.version)
            .bind(&version.manifest)
            .bind(&version.file)
            .bind(version.n_bytes)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Deletes a model with all its versions.
    pub(crate) async fn delete_model(&self, schema: &str, name: &str) -> Result<()> {
        let mut transaction = self.begin().await?;
        for sql in [
            "DELETE FROM model_version WHERE schema = ? AND model = ?",
            "DELETE FROM model WHERE schema = ? AND name = ?",
        ] {
            sqlx::query(sql)
                .bind(schema)
                .bind(name)
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Deletes one version and writes what the model is without it, in one transaction.
    pub(crate) async fn delete_model_version(
        &self,
        model: &StoredModel,
        version: i64,
    ) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query("DELETE FROM model_version WHERE schema = ? AND model = ? AND version = ?")
            .bind(&model.schema)
            .bind(&model.name)
            .bind(version)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        sqlx::query("UPDATE model SET body = ? WHERE schema = ? AND name = ?")
            .bind(&model.body)
            .bind(&model.schema)
            .bind(&model.name)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    pub(crate) async fn rename_model(&self, schema: &str, name: &str, new: &str) -> Result<()> {
        let mut transaction = self.begin().await?;
        for sql in [
            "UPDATE model SET name = ? WHERE schema = ? AND name = ?",
            "UPDATE model_version SET model = ? WHERE schema = ? AND model = ?",
        ] {
            sqlx::query(sql)
                .bind(new)
                .bind(schema)
                .bind(name)
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    pub(crate) async fn training_jobs(&self) -> Result<Vec<StoredJob>> {
        let rows = sqlx::query(
            "SELECT job_id, schema, model, user_name, state, started_us, ended_us, trials, trials_done, version, \
             sqlstate, error FROM training_job ORDER BY job_id",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        let job = |row: &sqlx::sqlite::SqliteRow| StoredJob {
            job_id: row.get("job_id"),
            schema: row.get("schema"),
            model: row.get("model"),
            user_name: row.get("user_name"),
            state: row.get("state"),
            started_us: row.get("started_us"),
            ended_us: row.get("ended_us"),
            trials: row.get("trials"),
            trials_done: row.get("trials_done"),
            version: row.get("version"),
            sqlstate: row.get("sqlstate"),
            error: row.get("error"),
        };
        Ok(rows.iter().map(job).collect())
    }

    pub(crate) async fn put_training_job(&self, job: &StoredJob) -> Result<()> {
        sqlx::query(
            "INSERT OR REPLACE INTO training_job (job_id, schema, model, user_name, state, started_us, ended_us, trials, \
             trials_done, version, sqlstate, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(job.job_id)
        .bind(&job.schema)
        .bind(&job.model)
        .bind(&job.user_name)
        .bind(&job.state)
        .bind(job.started_us)
        .bind(job.ended_us)
        .bind(job.trials)
        .bind(job.trials_done)
        .bind(job.version)
        .bind(&job.sqlstate)
        .bind(&job.error)
        .execute(&self.pool)
        .await
        .map(|_| ())
        .map_err(failed)
    }
}
