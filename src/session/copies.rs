//! Rows that a transaction block writes to tables of the built-in catalog that were there before it.
//!
//! They go into a copy of the table that only the session sees, and which takes the table's place when the block commits. A
//! table is a directory; its copy is another one, whose files are further names of the same bytes. `COMMIT` gives all tables of
//! the block their new directories in one change of the engine's metadata, unless somebody has written to one of them meanwhile:
//! who commits first wins, as in PostgreSQL's isolation level `REPEATABLE READ`. `ROLLBACK` removes the copies.
//!
//! A copy is a relation of a schema of its own that nobody sees (`pg_block_…`); what a process that was killed left of them is
//! removed when the next one starts, and the tables are as they were before the block.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use maru_core::Result;

use super::temporary::drop_schema;
use super::{Session, TransactionStatus};
use crate::catalog::BUILTIN;
use crate::catalog::definition::{Definition, TableDefinition};
use crate::catalog::warehouse::Exchange;
use crate::store::{RelationKind, StoredRelation};

/// What the names of schemas of copies begin with; the number of the session and the table's schema follow.
pub(super) const PREFIX: &str = "pg_block_";

/// A table of the block.
#[derive(Debug, Clone)]
pub(super) struct Copied {
    schema: String,
    name: String,
    /// The schema that holds the copy, under the table's name.
    place: String,
    original: TableDefinition,
    /// Of the original, when it was copied.
    version: u64,
    copy: TableDefinition,
}

/// Which version each copy had at a savepoint, by schema and name of the table.
pub(super) type Versions = BTreeMap<(String, String), u64>;

impl Session {
    /// Returns the schema of the block's copy of a table, if it has one.
    pub(crate) fn copy_of(&self, schema: &str, name: &str) -> Option<String> {
        let block = self.block.lock();
        let found = block.copies.iter().find(|one| one.schema == schema && one.name == name);
        found.map(|one| one.place.clone())
    }

    /// Returns the schema of the copy that a transaction of several statements writes to instead of a table, making it at the first
    /// write; `None` for a statement alone, and for tables that go with the transaction anyway.
    ///
    /// # Errors
    /// 53100 for a full disk; those of the engine's metadata.
    pub(crate) async fn own_copy(&self, schema: &str, name: &str) -> Result<Option<String>> {
        let undone_together =
            self.in_transaction() && self.transaction_status() != TransactionStatus::Failed;
        if !undone_together {
            return Ok(None);
        }
        if let Some(place) = self.copy_of(schema, name) {
            return Ok(Some(place));
        }
        if self.has_made(schema, name).await? {
            return Ok(None);
        }
        let inner = &self.engine.inner;
        let relations = inner.store.relations().await?;
        let found = relations.iter().find(|one| one.schema == schema && one.name == name);
        let Some(Definition::Table(original)) =
            found.map(|one| Definition::decode(&one.definition)).transpose()?
        else {
            return Ok(None);
        };
        let (copy, version) = inner.catalogs.warehouse().copy(&original, None).await?;
        let place = format!("{PREFIX}{}_{schema}", self.id);
        let (schema, name) = (schema.to_owned(), name.to_owned());
        let copied = Copied { schema, name, place, original, version, copy };
        inner.store.put_schema(&copied.place, None).await?;
        self.put(&copied).await?;
        let place = copied.place.clone();
        self.block.lock().copies.push(copied);
        // Plans from before read the table itself.
        inner.commands.fetch_add(1, Ordering::Relaxed);
        Ok(Some(place))
    }

    async fn put(&self, copied: &Copied) -> Result<()> {
        let relation = StoredRelation {
            schema: copied.place.clone(),
            name: copied.name.clone(),
            kind: RelationKind::Table,
            definition: Definition::Table(copied.copy.clone()).encode()?,
            comment: None,
        };
        self.engine.inner.store.put_relation(&relation).await?;
        self.forget_handle(&copied.place, &copied.name);
        Ok(())
    }

    fn forget_handle(&self, schema: &str, name: &str) {
        if let Ok(attached) = self.require_catalog(BUILTIN) {
            attached.forget(schema, name);
        }
    }

    /// Forgets what the block has written to a table, which it is about to drop.
    pub(crate) async fn forget_copy(&self, schema: &str, name: &str) -> Result<()> {
        let found = {
            let mut block = self.block.lock();
            let at = block.copies.iter().position(|one| one.schema == schema && one.name == name);
            at.map(|at| block.copies.remove(at))
        };
        match found {
            Some(copied) => self.remove_copy(&copied).await,
            None => Ok(()),
        }
    }

    async fn remove_copy(&self, copied: &Copied) -> Result<()> {
        let inner = &self.engine.inner;
        inner.store.delete_relation(&copied.place, &copied.name).await?;
        self.forget_handle(&copied.place, &copied.name);
        inner.commands.fetch_add(1, Ordering::Relaxed);
        inner.catalogs.warehouse().remove(&copied.copy).await;
        Ok(())
    }

    /// Returns which version each copy has.
    pub(super) async fn copy_versions(&self) -> Result<Versions> {
        let copies = self.block.lock().copies.clone();
        let mut versions = Versions::new();
        for copied in copies {
            let version = self.engine.inner.catalogs.warehouse().version(&copied.copy).await?;
            versions.insert((copied.schema, copied.name), version);
        }
        Ok(versions)
    }

    /// Puts copies back to what they were at a savepoint. Each gets a directory of its own once more: nothing that was kept in
    /// memory of the later versions can be taken for those that follow.
    pub(super) async fn put_copies_back(&self, versions: &Versions) -> Result<()> {
        let copies = self.block.lock().copies.clone();
        let inner = &self.engine.inner;
        for mut copied in copies {
            let key = (copied.schema.clone(), copied.name.clone());
            let Some(version) = versions.get(&key) else {
                self.forget_copy(&key.0, &key.1).await?;
                continue;
            };
            let warehouse = inner.catalogs.warehouse();
            if warehouse.version(&copied.copy).await? == *version {
                continue;
            }
            let (copy, _) = warehouse.copy(&copied.copy, Some(*version)).await?;
            let late = std::mem::replace(&mut copied.copy, copy);
            self.put(&copied).await?;
            let same = |one: &&mut Copied| one.schema == key.0 && one.name == key.1;
            if let Some(one) = self.block.lock().copies.iter_mut().find(same) {
                *one = copied;
            }
            inner.commands.fetch_add(1, Ordering::Relaxed);
            warehouse.remove(&late).await;
        }
        Ok(())
    }

    /// Ends the copies of a block: with `commit` they take the places of their tables, all at once.
    ///
    /// # Errors
    /// 40001 if somebody else has written to, replaced or dropped one of the tables since; then nothing has changed.
    pub(super) async fn end_copies(&self, copies: Vec<Copied>, commit: bool) -> Result<()> {
        if copies.is_empty() {
            return Ok(());
        }
        let inner = &self.engine.inner;
        let warehouse = inner.catalogs.warehouse();
        let mut changed = Vec::new();
        for copied in &copies {
            if commit && warehouse.version(&copied.copy).await? != copied.version {
                changed.push(copied.clone());
            }
        }
        let exchanges = changed.iter().map(|one| Exchange {
            name: format!("{}.{}", one.schema, one.name),
            original: one.original.clone(),
            version: one.version,
            copy: one.copy.clone(),
        });
        let places = copies.iter().map(|one| one.place.clone()).collect::<BTreeSet<_>>();
        let outcome = warehouse.exchange(exchanges.collect(), &places).await;
        let kept = outcome.is_ok();
        let mut unused = Vec::new();
        for copied in copies {
            self.forget_handle(&copied.schema, &copied.name);
            self.forget_handle(&copied.place, &copied.name);
            let published = kept && changed.iter().any(|one| one.copy == copied.copy);
            unused.push(if published { copied.original } else { copied.copy });
        }
        inner.commands.fetch_add(1, Ordering::Relaxed);
        if !kept {
            for place in &places {
                inner.store.delete_schema(place).await?;
            }
        }
        warehouse.remove_unread(unused);
        outcome
    }

    /// Has the copies of a block removed whose session is gone.
    pub(super) fn leave_copies(&self) {
        let copies = std::mem::take(&mut self.block.lock().copies);
        let places = copies.into_iter().map(|one| one.place).collect::<BTreeSet<_>>();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        for place in places {
            let engine = self.engine.clone();
            runtime.spawn(async move {
                if let Err(error) = drop_schema(&engine, &place).await {
                    tracing::warn!(schema = %place, %error, "could not remove what a block had written");
                }
            });
        }
    }
}
