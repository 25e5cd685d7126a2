//! The engine's own metadata: what was created by SQL and must be there after a restart.
//!
//! `maru.db` in the data directory, SQLite through sqlx, with versioned migrations. Every row type here is a stored
//! form of its own; the rest of the engine never sees a database row. Secrets are sealed by `vault` before they come
//! here.

mod access;
mod journal;
mod migrations;
pub(crate) mod models;
pub(crate) mod pipelines;
pub(crate) mod vault;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use maru_core::{Error, ErrorKind, Result, ResultExt, Secret};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use sqlx::{Row, Sqlite, Transaction};

pub(crate) use journal::Journal;
pub use vault::Vault;
pub(crate) use vault::{random, write_private};

/// The metadata database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
    vault: Vault,
}

/// A catalog as created.
#[derive(Debug, Clone)]
pub struct StoredCatalog {
    pub name: String,
    pub connector: String,
    /// Options as written, secret ones included (sealed at rest).
    pub options: BTreeMap<String, Secret>,
    pub comment: Option<String>,
}

/// A secret as created.
#[derive(Debug, Clone)]
pub struct StoredSecret {
    pub name: String,
    pub options: BTreeMap<String, Secret>,
    pub comment: Option<String>,
}

/// A table or view of the built-in catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRelation {
    pub schema: String,
    pub name: String,
    pub kind: RelationKind,
    /// JSON of `catalog/maru.rs`'s versioned definition.
    pub definition: String,
    pub comment: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    ExternalTable,
    /// With rows of its own.
    Table,
    View,
}

impl RelationKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::ExternalTable => "external table",
            Self::Table => "table",
            Self::View => "view",
        }
    }
}

impl Store {
    /// Opens the database in `data_dir`, creating and migrating it as needed.
    ///
    /// # Errors
    /// 58030 if the file cannot be read; F0000 if a newer Maru has written it.
    pub async fn open(data_dir: &Path) -> Result<Self> {
        let vault = Vault::open(data_dir)?;
        let path = data_dir.join("maru.db");
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(std::time::Duration::from_secs(10));
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options)
            .await
            .or_error(ErrorKind::Io, || format!("could not open {}", path.display()))?;
        let store = Self { pool, vault };
        migrations::run(&store.pool).await?;
        Ok(store)
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Returns whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map(|_| ()).map_err(failed)
    }

    // Values ------------------------------------------------------------------------------------------------------

    /// Reads one sealed value of the engine (the superuser's verifier, …).
    pub async fn value(&self, key: &str) -> Result<Option<Secret>> {
        let row = sqlx::query("SELECT sealed FROM engine_value WHERE key = ?")
            .bind(key)
            .fetch_optional(&self.pool)
            .await
            .map_err(failed)?;
        row.map(|row| self.vault.open_sealed(key, &row.get::<Vec<u8>, _>("sealed"))).transpose()
    }

    pub async fn set_value(&self, key: &str, value: &Secret) -> Result<()> {
        let sealed = self.vault.seal(key, value)?;
        sqlx::query("INSERT INTO engine_value (key, sealed) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET sealed = excluded.sealed")
            .bind(key)
            .bind(sealed)
            .execute(&self.pool)
            .await
            .map(|_| ())
            .map_err(failed)
    }

    // Catalogs ----------------------------------------------------------------------------------------------------

    pub async fn catalogs(&self) -> Result<Vec<StoredCatalog>> {
        let rows =
            sqlx::query("SELECT name, connector, sealed, comment FROM catalog ORDER BY name")
                .fetch_all(&self.pool)
                .await
                .map_err(failed)?;
        rows.iter()
            .map(|row| {
                let name = row.get::<String, _>("name");
                let options = self.unseal("catalog", &name, &row.get::<Vec<u8>, _>("sealed"))?;
                Ok(StoredCatalog {
                    name,
                    connector: row.get("connector"),
                    options,
                    comment: row.get("comment"),
                })
            })
            .collect()
    }

    /// Inserts or replaces.
    pub async fn put_catalog(&self, catalog: &StoredCatalog) -> Result<()> {
        let sealed = self.seal("catalog", &catalog.name, &catalog.options)?;
        sqlx::query(
            "INSERT INTO catalog (name, connector, sealed, comment) VALUES (?, ?, ?, ?) \
             ON CONFLICT (name) DO UPDATE SET connector = excluded.connector, \
             sealed = excluded.sealed, comment = excluded.comment",
        )
        .bind(&catalog.name)
        .bind(&catalog.connector)
        .bind(sealed)
        .bind(&catalog.comment)
        .execute(&self.pool)
        .await
        .map(|_| ())
        .map_err(failed)
    }

    /// Puts `catalog` in the place of the one named `old`, in one transaction.
    pub async fn rename_catalog(&self, old: &str, catalog: &StoredCatalog) -> Result<()> {
        let sealed = self.seal("catalog", &catalog.name, &catalog.options)?;
        sqlx::query("UPDATE catalog SET name = ?, sealed = ? WHERE name = ?")
            .bind(&catalog.name)
            .bind(sealed)
            .bind(old)
            .execute(&self.pool)
            .await
            .map(|_| ())
            .map_err(failed)
    }

    pub async fn delete_catalog(&self, name: &str) -> Result<()> {
        self.delete("DELETE FROM catalog WHERE name = ?", &[name]).await
    }

    // Secrets -----------------------------------------------------------------------------------------------------

    pub async fn secrets(&self) -> Result<Vec<StoredSecret>> {
        let rows = sqlx::query("SELECT name, sealed, comment FROM secret ORDER BY name")
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                let name = row.get::<String, _>("name");
                let options = self.unseal("secret", &name, &row.get::<Vec<u8>, _>("sealed"))?;
                Ok(StoredSecret { name, options, comment: row.get("comment") })
            })
            .collect()
    }

    pub async fn secret(&self, name: &str) -> Result<Option<StoredSecret>> {
        Ok(self.secrets().await?.into_iter().find(|secret| secret.name == name))
    }

    pub async fn put_secret(&self, secret: &StoredSecret) -> Result<()> {
        let sealed = self.seal("secret", &secret.name, &secret.options)?;
        sqlx::query(
            "INSERT INTO secret (name, sealed, comment) VALUES (?, ?, ?) \
             ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed, comment = excluded.comment",
        )
        .bind(&secret.name)
        .bind(sealed)
        .bind(&secret.comment)
        .execute(&self.pool)
        .await
        .map(|_| ())
        .map_err(failed)
    }

    pub async fn delete_secret(&self, name: &str) -> Result<()> {
        self.delete("DELETE FROM secret WHERE name = ?", &[name]).await
    }

    // The built-in catalog ----------------------------------------------------------------------------------------

    /// Lists schemas of the built-in catalog with their comments.
    pub async fn schemas(&self) -> Result<Vec<(String, Option<String>)>> {
        let rows = sqlx::query("SELECT name, comment FROM schema ORDER BY name")
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        Ok(rows.iter().map(|row| (row.get("name"), row.get("comment"))).collect())
    }

    pub async fn put_schema(&self, name: &str, comment: Option<&str>) -> Result<()> {
        sqlx::query("INSERT INTO schema (name, comment) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET comment = excluded.comment")
            .bind(name)
            .bind(comment)
            .execute(&self.pool)
            .await
            .map(|_| ())
            .map_err(failed)
    }

    /// Deletes a schema and what it holds, in one transaction.
    pub async fn delete_schema(&self, name: &str) -> Result<()> {
        let mut transaction = self.begin().await?;
        for sql in ["DELETE FROM relation WHERE schema = ?", "DELETE FROM schema WHERE name = ?"] {
            sqlx::query(sql).bind(name).execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Changes what relations are made of, and deletes schemas and what they hold, in one transaction.
    pub async fn exchange(
        &self,
        relations: &[StoredRelation],
        schemas: &BTreeSet<String>,
    ) -> Result<()> {
        let mut transaction = self.begin().await?;
        for relation in relations {
            sqlx::query("UPDATE relation SET definition = ? WHERE schema = ? AND name = ?")
                .bind(&relation.definition)
                .bind(&relation.schema)
                .bind(&relation.name)
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
        for schema in schemas {
            for sql in
                ["DELETE FROM relation WHERE schema = ?", "DELETE FROM schema WHERE name = ?"]
            {
                sqlx::query(sql).bind(schema).execute(&mut *transaction).await.map_err(failed)?;
            }
        }
        transaction.commit().await.map_err(failed)
    }

    pub async fn relations(&self) -> Result<Vec<StoredRelation>> {
        let rows = sqlx::query(
            "SELECT schema, name, kind, definition, comment FROM relation ORDER BY schema, name",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        Ok(rows
            .iter()
            .map(|row| StoredRelation {
                schema: row.get("schema"),
                name: row.get("name"),
                kind: match row.get::<String, _>("kind").as_str() {
                    "view" => RelationKind::View,
                    "table" => RelationKind::Table,
                    _ => RelationKind::ExternalTable,
                },
                definition: row.get("definition"),
                comment: row.get("comment"),
            })
            .collect())
    }

    pub async fn put_relation(&self, relation: &StoredRelation) -> Result<()> {
        sqlx::query(
            "INSERT INTO relation (schema, name, kind, definition, comment) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (schema, name) DO UPDATE SET kind = excluded.kind, \
             definition = excluded.definition, comment = excluded.comment",
        )
        .bind(&relation.schema)
        .bind(&relation.name)
        .bind(relation.kind.name())
        .bind(&relation.definition)
        .bind(&relation.comment)
        .execute(&self.pool)
        .await
        .map(|_| ())
        .map_err(failed)
    }

    /// Inserts; returns whether the name was free.
    pub async fn insert_relation(&self, relation: &StoredRelation) -> Result<bool> {
        let done = sqlx::query(
            "INSERT INTO relation (schema, name, kind, definition, comment) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (schema, name) DO NOTHING",
        )
        .bind(&relation.schema)
        .bind(&relation.name)
        .bind(relation.kind.name())
        .bind(&relation.definition)
        .bind(&relation.comment)
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(done.rows_affected() > 0)
    }

    /// Gives a relation another name, and its remarks; returns whether it was there and the name was free.
    pub async fn rename_relation(
        &self,
        catalog: &str,
        schema: &str,
        name: &str,
        to: &str,
    ) -> Result<bool> {
        let mut transaction = self.begin().await?;
        let done = sqlx::query(
            "UPDATE relation SET name = ?1 WHERE schema = ?2 AND name = ?3 \
             AND NOT EXISTS (SELECT 1 FROM relation WHERE schema = ?2 AND name = ?1)",
        )
        .bind(to)
        .bind(schema)
        .bind(name)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        for sql in [
            "DELETE FROM remark WHERE object = ?1 AND schema = ?2 AND catalog = ?4 AND ?3 = ?3",
            "UPDATE remark SET object = ?1 WHERE schema = ?2 AND object = ?3 AND catalog = ?4",
        ] {
            let query = sqlx::query(sql).bind(to).bind(schema).bind(name).bind(catalog);
            query.execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        Ok(true)
    }

    pub async fn delete_relation(&self, schema: &str, name: &str) -> Result<()> {
        self.delete("DELETE FROM relation WHERE schema = ? AND name = ?", &[schema, name]).await
    }

    // Comments on columns and on objects of other catalogs --------------------------------------------------------

    /// Lists remarks kept for objects that are not the store's own: `(catalog, schema, object, column, text)`.
    pub async fn comments(&self) -> Result<Vec<[String; 5]>> {
        let rows = sqlx::query("SELECT catalog, schema, object, col, text FROM remark")
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        Ok(rows
            .iter()
            .map(|row| {
                [
                    row.get("catalog"),
                    row.get("schema"),
                    row.get("object"),
                    row.get("col"),
                    row.get("text"),
                ]
            })
            .collect())
    }

    /// Sets or, with `None`, removes a remark. Absent levels are empty text.
    pub async fn set_comment(&self, place: [&str; 4], text: Option<&str>) -> Result<()> {
        let Some(text) = text else {
            return self
                .delete(
                    "DELETE FROM remark WHERE catalog = ? AND schema = ? AND object = ? AND col = ?",
                    &place,
                )
                .await;
        };
        let mut query = sqlx::query(
            "INSERT INTO remark (catalog, schema, object, col, text) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (catalog, schema, object, col) DO UPDATE SET text = excluded.text",
        );
        for level in place {
            query = query.bind(level);
        }
        query.bind(text).execute(&self.pool).await.map(|_| ()).map_err(failed)
    }

    /// The pool, for the query history next door.
    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    // Helpers -----------------------------------------------------------------------------------------------------

    async fn begin(&self) -> Result<Transaction<'_, Sqlite>> {
        self.pool.begin().await.map_err(failed)
    }

    async fn delete(&self, sql: &'static str, key: &[&str]) -> Result<()> {
        let mut query = sqlx::query(sql);
        for part in key {
            query = query.bind(*part);
        }
        query.execute(&self.pool).await.map(|_| ()).map_err(failed)
    }

    fn seal(&self, kind: &str, name: &str, options: &BTreeMap<String, Secret>) -> Result<Vec<u8>> {
        let plain =
            options.iter().map(|(k, v)| (k.as_str(), v.reveal())).collect::<BTreeMap<_, _>>();
        let text = serde_json::to_string(&plain)
            .or_error(ErrorKind::Internal, || "could not encode options".to_owned())?;
        self.vault.seal(&format!("{kind}/{name}"), &Secret::new(text))
    }

    fn unseal(&self, kind: &str, name: &str, sealed: &[u8]) -> Result<BTreeMap<String, Secret>> {
        let text = self.vault.open_sealed(&format!("{kind}/{name}"), sealed)?;
        let plain: BTreeMap<String, String> = serde_json::from_str(text.reveal())
            .or_error(ErrorKind::DataCorrupted, || {
                format!("stored {kind} \"{name}\" is damaged")
            })?;
        Ok(plain.into_iter().map(|(k, v)| (k, Secret::new(v))).collect())
    }
}

/// Reports a failure of the metadata database.
pub(crate) fn failed(error: sqlx::Error) -> Error {
    let kind = match &error {
        sqlx::Error::Database(inner) if inner.message().contains("disk is full") => {
            ErrorKind::DiskFull
        }
        _ => ErrorKind::Io,
    };
    Error::new(kind, "could not use the engine's metadata").with_cause(error)
}

#[cfg(test)]
mod tests;
