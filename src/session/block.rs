//! The transaction block: whether one is open, its savepoints, and how what was made in it is undone.
//!
//! Every statement reads what is there when it starts. Rows of tables of the built-in catalog that were there before go into copies
//! (`copies.rs`). What a block changes in the engine's own metadata is there for all at
//! once, and put back when the block is rolled back. Which directory of the warehouse is which table is metadata: tables that a block
//! makes, renames and drops come and go with it, and the rows of those that it has made. Directories are removed when the block ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use maru_core::{Error, ErrorKind, Result};
use maru_sql::{CommentTarget, ObjectKind, Statement, Transaction};

use super::choices::{AtSavepoint, Given};
use super::copies::{self, Copied, Versions};
use super::{Session, TransactionStatus};
use crate::access::Fact;
use crate::catalog::definition::{Definition, TableDefinition};
use crate::engine::Engine;
use crate::engine::channels::Act;
use crate::store::{RelationKind, StoredRelation};

/// Where the block stands.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) status: TransactionStatus,
    /// Several statements of one text are one transaction, as long as none of them is `BEGIN`.
    several: bool,
    savepoints: Vec<Savepoint>,
    changes: Vec<Change>,
    /// Directories of tables that the block has made, and how many changes there were before each.
    made: Vec<(usize, String)>,
    /// Directories of tables that the block has dropped.
    dropped: Vec<String>,
    pub(super) copies: Vec<Copied>,
    /// Settings that end with it.
    pub(super) given: Given,
    /// Whether it writes nothing but temporary tables; `None` outside of a transaction.
    pub(super) read_only: Option<bool>,
    /// Whether it has run a query.
    pub(super) queried: bool,
    /// What is said of channels, and done when it ends well.
    pub(super) said: Vec<Act>,
}

#[derive(Debug)]
struct Savepoint {
    name: String,
    /// Changes before it.
    changes: usize,
    /// Of the copies that there were.
    versions: Versions,
    choices: AtSavepoint,
    read_only: Option<bool>,
    /// Where the claims to locks were.
    locks: u64,
    /// What was said of channels before it.
    said: usize,
}

/// One object before and after a statement; `None` where it is not there.
#[derive(Debug, Clone, PartialEq)]
enum Change {
    Schema {
        name: String,
        before: Option<Option<String>>,
        after: Option<Option<String>>,
    },
    Relation {
        key: (String, String),
        before: Box<Entry>,
        after: Box<Entry>,
    },
    Remark {
        key: [String; 4],
        before: Option<String>,
        after: Option<String>,
    },
    /// A role or a privilege.
    Right {
        key: (String, String),
        before: Option<Fact>,
        after: Option<Fact>,
    },
}

type Entry = Option<StoredRelation>;

/// What the engine's metadata holds of schemas, tables, views, remarks, roles and privileges.
#[derive(Debug)]
pub(crate) struct Image {
    schemas: BTreeMap<String, Option<String>>,
    relations: BTreeMap<(String, String), StoredRelation>,
    remarks: BTreeMap<[String; 4], String>,
    rights: BTreeMap<(String, String), Fact>,
}

impl Image {
    pub(crate) async fn take(engine: &Engine) -> Result<Self> {
        let store = &engine.inner.store;
        let relations = store.relations().await?.into_iter();
        let relations = relations.filter(|r| !r.schema.starts_with(copies::PREFIX));
        let remarks = store.comments().await?.into_iter();
        let schemas = store.schemas().await?.into_iter();
        Ok(Self {
            schemas: schemas.filter(|(name, _)| !name.starts_with(copies::PREFIX)).collect(),
            relations: relations.map(|r| ((r.schema.clone(), r.name.clone()), r)).collect(),
            remarks: remarks.map(|[a, b, c, d, text]| ([a, b, c, d], text)).collect(),
            rights: engine.inner.authority.rules().facts()?,
        })
    }

    /// Returns the directories of the tables there are.
    fn directories(&self) -> BTreeSet<String> {
        self.relations.values().filter_map(directory_of).collect()
    }

    fn changes(&self, after: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for name in keys(&self.schemas, &after.schemas) {
            let (before, after) = (self.schemas.get(&name), after.schemas.get(&name));
            if before != after {
                let (before, after) = (before.cloned(), after.cloned());
                changes.push(Change::Schema { name, before, after });
            }
        }
        for key in keys(&self.relations, &after.relations) {
            let (before, after) = (self.relations.get(&key), after.relations.get(&key));
            if before != after {
                let (before, after) = (Box::new(before.cloned()), Box::new(after.cloned()));
                changes.push(Change::Relation { key, before, after });
            }
        }
        for key in keys(&self.remarks, &after.remarks) {
            let (before, after) = (self.remarks.get(&key), after.remarks.get(&key));
            if before != after {
                let (before, after) = (before.cloned(), after.cloned());
                changes.push(Change::Remark { key, before, after });
            }
        }
        for key in keys(&self.rights, &after.rights) {
            let (before, after) = (self.rights.get(&key), after.rights.get(&key));
            if before != after {
                let (before, after) = (before.cloned(), after.cloned());
                changes.push(Change::Right { key, before, after });
            }
        }
        changes
    }
}

/// Returns the directory of a table with rows of its own.
fn directory_of(relation: &StoredRelation) -> Option<String> {
    match Definition::decode(&relation.definition) {
        Ok(Definition::Table(table)) if relation.kind == RelationKind::Table => {
            Some(table.directory)
        }
        _ => None,
    }
}

/// Removes directories that belong to no table any more.
async fn remove_unused(engine: &Engine, directories: Vec<String>) -> Result<()> {
    if directories.is_empty() {
        return Ok(());
    }
    let used = Image::take(engine).await?.directories();
    let warehouse = engine.inner.catalogs.warehouse();
    let unused = directories.into_iter().filter(|directory| !used.contains(directory));
    warehouse.remove_unread(unused.map(|directory| TableDefinition { directory }).collect());
    Ok(())
}

fn keys<K: Clone + Ord, V>(a: &BTreeMap<K, V>, b: &BTreeMap<K, V>) -> Vec<K> {
    let mut keys = a.keys().chain(b.keys()).cloned().collect::<Vec<_>>();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Puts back what changes have done, the last one first. Schemas come before what is in them either way. Returns how many
/// objects somebody else has changed since: those stay.
async fn undo(engine: &Engine, mut changes: Vec<Change>) -> Result<usize> {
    if changes.is_empty() {
        return Ok(0);
    }
    let store = &engine.inner.store;
    let mut kept = 0;
    // Dropped schemas come back first, made ones go last.
    changes.reverse();
    changes.sort_by_key(|change| match change {
        Change::Schema { after: None, .. } => 0,
        Change::Schema { .. } => 2,
        _ => 1,
    });
    for change in changes {
        let now = Image::take(engine).await?;
        match change {
            Change::Schema { name, before, after } if now.schemas.get(&name) == after.as_ref() => {
                match before {
                    Some(comment) => store.put_schema(&name, comment.as_deref()).await?,
                    None => store.delete_schema(&name).await?,
                }
            }
            Change::Relation { key, before, after }
                if now.relations.get(&key) == after.as_ref().as_ref() =>
            {
                match *before {
                    Some(relation) => store.put_relation(&relation).await?,
                    None => store.delete_relation(&key.0, &key.1).await?,
                }
            }
            Change::Remark { key, before, after } if now.remarks.get(&key) == after.as_ref() => {
                let place = [0, 1, 2, 3].map(|level| key[level].as_str());
                store.set_comment(place, before.as_deref()).await?;
            }
            Change::Right { key, before, after } if now.rights.get(&key) == after.as_ref() => {
                engine.inner.authority.put_back(key, before).await?;
            }
            _ => kept += 1,
        }
    }
    engine.inner.commands.fetch_add(1, Ordering::Relaxed);
    Ok(kept)
}

/// What a block makes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InBlock {
    /// It is undone with the block.
    Undoable,
    /// It cannot be undone.
    Refused,
    /// It changes nothing that outlives the session.
    Free,
}

pub(crate) fn in_block(statement: &Statement) -> InBlock {
    match statement {
        Statement::CreateCatalog(_)
        | Statement::AlterCatalog(_)
        | Statement::CreateSecret(_)
        | Statement::Model(_)
        | Statement::Pipeline(_) => InBlock::Refused,
        Statement::AlterTable(_) => InBlock::Undoable,
        // The write itself remembers that a table was made.
        Statement::CreateTable(_) | Statement::Truncate(_) => InBlock::Free,
        Statement::Drop(drop) => match drop.kind {
            ObjectKind::Catalog | ObjectKind::Secret => InBlock::Refused,
            ObjectKind::Schema
            | ObjectKind::Table
            | ObjectKind::View
            | ObjectKind::CatalogTemplate
            | ObjectKind::ResourceGroup => InBlock::Undoable,
        },
        Statement::CommentOn(comment) => match &comment.target {
            CommentTarget::Object(ObjectKind::Catalog | ObjectKind::Secret, _)
            | CommentTarget::Model(_) => InBlock::Refused,
            _ => InBlock::Undoable,
        },
        Statement::CreateSchema(_)
        | Statement::CreateExternalTable(_)
        | Statement::CreateView(_)
        | Statement::CreateCatalogTemplate(_)
        | Statement::CreateResourceGroup(_)
        | Statement::AlterResourceGroup(_)
        | Statement::CreateRole(_)
        | Statement::AlterRole(_)
        | Statement::DropRole(_)
        | Statement::GrantRole(_)
        | Statement::GrantPrivileges(_)
        | Statement::AlterDefaultPrivileges(_)
        | Statement::AlterOwner(_)
        | Statement::CreatePolicy(_)
        | Statement::AlterPolicy(_)
        | Statement::DropPolicy(_)
        | Statement::AlterTableSecurity(_)
        | Statement::Owned(_) => InBlock::Undoable,
        Statement::Discard { resets: true, .. } => InBlock::Refused,
        _ => InBlock::Free,
    }
}

/// Returns whether a statement is taken in a block that has failed.
pub(super) fn ends_failure(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Transaction(
            Transaction::Commit { .. } | Transaction::Rollback { .. } | Transaction::RollbackTo(_)
        )
    )
}

impl Session {
    pub fn transaction_status(&self) -> TransactionStatus {
        self.block.lock().status
    }

    /// Returns whether what is made now belongs to a transaction of several statements.
    pub(crate) fn in_transaction(&self) -> bool {
        let block = self.block.lock();
        block.several || block.status != TransactionStatus::Idle
    }

    /// Marks an open transaction block as failed after an error, as PostgreSQL does.
    pub fn fail_transaction(&self) {
        let since = {
            let mut block = self.block.lock();
            if block.status != TransactionStatus::Open {
                return;
            }
            block.status = TransactionStatus::Failed;
            block.savepoints.last().map_or(0, |savepoint| savepoint.locks)
        };
        // As in PostgreSQL, what failed has given its locks back; those from before its savepoint stay.
        self.engine.inner.locks.end_since(self.id, since);
    }

    /// Refuses a statement that a failed block does not take.
    pub(super) fn refuse_in_failed_block(&self, ends: bool) -> Result<()> {
        if ends || self.transaction_status() != TransactionStatus::Failed {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::TransactionAborted,
            "current transaction is aborted, commands ignored until end of transaction block",
        ))
    }

    /// Opens a block; returns `false` if there is one.
    pub(crate) fn open_block(&self) -> bool {
        let read_only = self.settings.read().is_read_only();
        let mut block = self.block.lock();
        let idle = block.status == TransactionStatus::Idle;
        if idle {
            block.status = TransactionStatus::Open;
            block.read_only.get_or_insert(read_only);
        }
        idle
    }

    /// Ends the block; returns how many changes were not undone.
    ///
    /// # Errors
    /// 40001 for a commit that cannot be: then all of the block is undone.
    pub(crate) async fn close_block(&self, commit: bool, chain: bool) -> Result<usize> {
        let copies = std::mem::take(&mut self.block.lock().copies);
        let published = self.end_copies(copies, commit).await;
        let commit = commit && published.is_ok();
        let (changes, made, dropped) = {
            let mut block = self.block.lock();
            block.status = if chain { TransactionStatus::Open } else { TransactionStatus::Idle };
            block.savepoints.clear();
            block.queried = false;
            if !chain {
                block.read_only = None;
            }
            let made = std::mem::take(&mut block.made);
            let dropped = std::mem::take(&mut block.dropped);
            (std::mem::take(&mut block.changes), made, dropped)
        };
        self.end_cursors(commit);
        self.give_back(commit);
        match commit {
            true => self.publish(),
            false => self.block.lock().said.clear(),
        }
        self.engine.inner.locks.end_transaction(self.id);
        let kept = if commit { 0 } else { undo(&self.engine, changes).await? };
        let made = made.into_iter().map(|(_, directory)| directory);
        remove_unused(&self.engine, made.chain(dropped).collect()).await?;
        published.map(|()| kept)
    }

    /// Begins the transaction that several statements of one text, or of one batch of a driver, are.
    pub fn begin_several(&self) {
        let read_only = self.settings.read().is_read_only();
        let mut block = self.block.lock();
        block.several = true;
        block.read_only.get_or_insert(read_only);
    }

    /// Ends it, unless a block is open now. After an error what it has made is undone.
    ///
    /// # Errors
    /// Those of the engine's metadata.
    pub async fn end_several(&self, succeeded: bool) -> Result<()> {
        let open = {
            let mut block = self.block.lock();
            block.several = false;
            block.status != TransactionStatus::Idle
        };
        if !open {
            self.close_block(succeeded, false).await?;
        }
        Ok(())
    }

    /// Keeps what a statement has changed, to be undone with the block.
    pub(crate) async fn remember(&self, before: &Image) -> Result<()> {
        let after = Image::take(&self.engine).await?;
        self.block.lock().changes.extend(before.changes(&after));
        Ok(())
    }

    /// Keeps that a statement of the block has made a table, which is undone with it.
    pub(crate) async fn remember_made(
        &self,
        before: &Image,
        schema: &str,
        table: &str,
    ) -> Result<()> {
        let after = Image::take(&self.engine).await?;
        let key = (schema.to_owned(), table.to_owned());
        let directory = after.relations.get(&key).and_then(directory_of);
        let mut changes = before.changes(&after);
        changes.retain(|change| match change {
            Change::Relation { key: other, .. } => *other == key,
            Change::Right { .. } => true,
            Change::Schema { .. } | Change::Remark { .. } => false,
        });
        let mut block = self.block.lock();
        let at = block.changes.len();
        block.made.extend(directory.map(|directory| (at, directory)));
        block.changes.extend(changes);
        Ok(())
    }

    /// Returns whether the block has made this table of the built-in catalog, since its last savepoint: whatever is done to it is
    /// undone with it.
    pub(crate) async fn has_made(&self, schema: &str, table: &str) -> Result<bool> {
        let relations = self.engine.inner.store.relations().await?;
        let found = relations.iter().find(|r| r.schema == schema && r.name == table);
        let Some(directory) = found.and_then(directory_of) else { return Ok(false) };
        let block = self.block.lock();
        let from = block.savepoints.last().map_or(0, |savepoint| savepoint.changes);
        Ok(block.made.iter().any(|(at, made)| *at >= from && *made == directory))
    }

    /// Takes a table's name away, and its directory when the transaction has ended well.
    pub(crate) async fn drop_at_end(&self, schema: &str, table: &str) -> Result<()> {
        let store = &self.engine.inner.store;
        let relations = store.relations().await?;
        let found = relations.iter().find(|r| r.schema == schema && r.name == table);
        let directory = found.and_then(directory_of);
        store.delete_relation(schema, table).await?;
        self.block.lock().dropped.extend(directory);
        Ok(())
    }

    pub(crate) async fn set_savepoint(&self, name: &str) -> Result<()> {
        let versions = self.copy_versions().await?;
        let choices = self.choices_at_savepoint();
        let locks = self.engine.inner.locks.mark();
        let mut block = self.block.lock();
        let (changes, said, read_only) = (block.changes.len(), block.said.len(), block.read_only);
        let name = name.to_owned();
        let savepoint = Savepoint { name, changes, versions, choices, read_only, locks, said };
        block.savepoints.push(savepoint);
        Ok(())
    }

    /// # Errors
    /// 3B001.
    pub(crate) fn release_savepoint(&self, name: &str) -> Result<()> {
        let mut block = self.block.lock();
        let at = block.find(name)?;
        block.put_mode_back(at);
        block.savepoints.truncate(at);
        Ok(())
    }

    /// Goes back to a savepoint, which stays. Returns how many changes were not undone.
    ///
    /// # Errors
    /// 3B001.
    pub(crate) async fn rollback_to(&self, name: &str) -> Result<usize> {
        let (changes, made, depth, versions, choices, locks) = {
            let mut block = self.block.lock();
            let at = block.find(name)?;
            block.put_mode_back(at);
            block.savepoints.truncate(at + 1);
            block.status = TransactionStatus::Open;
            let said = block.savepoints.last().map_or(0, |one| one.said);
            block.said.truncate(said);
            let last = block.savepoints.last();
            let choices = last.map(|one| one.choices.clone());
            let locks = last.map_or(u64::MAX, |one| one.locks);
            let (from, versions) =
                last.map_or_else(Default::default, |one| (one.changes, one.versions.clone()));
            let kept = block.made.partition_point(|(at, _)| *at < from);
            let made = block.made.split_off(kept);
            (block.changes.split_off(from), made, at + 1, versions, choices, locks)
        };
        self.engine.inner.locks.end_since(self.id, locks);
        if let Some(choices) = choices {
            self.put_choices_back(choices);
        }
        self.put_copies_back(&versions).await?;
        self.end_cursors_since(depth);
        let kept = undo(&self.engine, changes).await?;
        remove_unused(&self.engine, made.into_iter().map(|(_, made)| made).collect()).await?;
        Ok(kept)
    }

    /// Returns how many savepoints there are.
    pub(super) fn savepoints(&self) -> usize {
        self.block.lock().savepoints.len()
    }
}

impl Block {
    /// Several statements of one text are the transaction, or a part of it.
    pub(super) fn is_several(&self) -> bool {
        self.several
    }

    pub(super) fn has_savepoints(&self) -> bool {
        !self.savepoints.is_empty()
    }

    /// The mode that was set since a savepoint ends with it, however it ends.
    fn put_mode_back(&mut self, savepoint: usize) {
        if let Some(savepoint) = self.savepoints.get(savepoint) {
            self.read_only = savepoint.read_only;
        }
    }

    fn find(&self, name: &str) -> Result<usize> {
        self.savepoints.iter().rposition(|savepoint| savepoint.name == name).ok_or_else(|| {
            let message = format!("savepoint \"{name}\" does not exist");
            Error::new(ErrorKind::UndefinedSavepoint, message)
        })
    }
}
