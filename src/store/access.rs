//! Roles and privileges as rows: one for each fact, so that a change writes what has changed and no more.

use std::collections::BTreeMap;

use maru_core::Result;
use sqlx::Row;

use super::{Store, failed};
use crate::access::Fact;

/// Facts by kind and key.
type Facts = BTreeMap<(String, String), Fact>;

impl Store {
    pub(crate) async fn access_facts(&self) -> Result<Facts> {
        let rows = sqlx::query("SELECT kind, key, body, sealed FROM access")
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                let key = (row.get::<String, _>("kind"), row.get::<String, _>("key"));
                let sealed = row.get::<Option<Vec<u8>>, _>("sealed");
                let sealed = sealed
                    .map(|sealed| self.vault.open_sealed(&seal_name(&key), &sealed))
                    .transpose()?;
                Ok((key, Fact { body: row.get("body"), sealed }))
            })
            .collect()
    }

    /// Makes the rows of `new` from those of `old`, in one transaction.
    pub(crate) async fn write_access_facts(&self, old: &Facts, new: &Facts) -> Result<()> {
        let mut transaction = self.begin().await?;
        for (kind, key) in old.keys().filter(|key| !new.contains_key(*key)) {
            sqlx::query("DELETE FROM access WHERE kind = ? AND key = ?")
                .bind(kind)
                .bind(key)
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
        for (key, fact) in new.iter().filter(|(key, fact)| old.get(*key) != Some(*fact)) {
            let sealed = fact.sealed.as_ref();
            let sealed = sealed.map(|text| self.vault.seal(&seal_name(key), text)).transpose()?;
            sqlx::query(
                "INSERT INTO access (kind, key, body, sealed) VALUES (?, ?, ?, ?) \
                 ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body, sealed = excluded.sealed",
            )
            .bind(&key.0)
            .bind(&key.1)
            .bind(&fact.body)
            .bind(sealed)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }
}

/// What a sealed value is bound to, so that one cannot be put in the place of another.
fn seal_name((kind, key): &(String, String)) -> String {
    format!("access/{kind}/{key}")
}
