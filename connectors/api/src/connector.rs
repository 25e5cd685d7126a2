//! The connector, its declaration, and an attached source.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use maru_core::{Error, OptionSpec, Options, Result};
use url::Url;

use crate::{
    Leftover, OpenedStore, SourceTable, StoreOpener, TableChange, TableCommit, TableKey,
    TableVersion, WriteJob, WriteRequest,
};

/// A kind of source, compiled in through `src/registry.rs`.
pub trait Connector: Send + Sync + Debug {
    /// Returns the declaration from which option checks, `SHOW CONNECTORS` and the reference are made.
    fn spec(&self) -> &'static ConnectorSpec;

    /// Opens a source for one catalog. Cheap: connections are made by [`Source::check`] or on first use.
    ///
    /// # Errors
    /// HV024 if options do not go together.
    fn open(&self, context: OpenContext) -> BoxFuture<'static, Result<Arc<dyn Source>>>;

    /// Returns whether its options or what its source says can lead it to files of the machine that Maru runs on.
    /// Attaching it then takes the right to read those.
    fn reads_server_files(&self) -> bool {
        false
    }
}

/// What a connector says of itself.
#[derive(Debug)]
pub struct ConnectorSpec {
    /// The word after `USING`.
    pub name: &'static str,
    /// One sentence.
    pub doc: &'static str,
    pub options: &'static [OptionSpec],
    /// Those of `CREATE TABLE … WITH (…)`; none if it makes no tables.
    pub table_options: &'static [OptionSpec],
    /// What its types become, in the order of the reference.
    pub types: &'static [TypeSpec],
    pub capabilities: Capabilities,
    /// A `CREATE CATALOG` that works after filling in names.
    pub example: &'static str,
}

/// What becomes of some types of a source.
#[derive(Debug, Clone, Copy)]
pub struct TypeSpec {
    /// As the source names them.
    pub source: &'static str,
    /// As Maru names them.
    pub maru: &'static str,
    /// What the source computes on columns of these types: filters, groups, orders, sums, joins.
    pub pushed: &'static str,
}

impl TypeSpec {
    pub const fn new(source: &'static str, maru: &'static str, pushed: &'static str) -> Self {
        Self { source, maru, pushed }
    }
}

/// What a connector can do. The conformance suite holds every flag to its word, both ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Only the asked columns travel.
    pub projection: bool,
    /// Some filters are evaluated by the source.
    pub filter: bool,
    /// A `LIMIT` without unsupported filters ends the read at the source.
    pub limit: bool,
    /// Some `GROUP BY`, `DISTINCT` and aggregates are computed by the source.
    pub aggregate: bool,
    /// Some `ORDER BY … LIMIT` end the read at the source.
    pub top_n: bool,
    /// Some joins of two tables of one catalog are computed by the source.
    pub join: bool,
    /// Tables consist of files that the engine reads itself.
    pub files: bool,
    /// Tables can be made and rows inserted.
    pub write: bool,
}

impl Capabilities {
    /// Returns the names of what can be done.
    pub fn words(&self) -> Vec<&'static str> {
        let all = [
            ("projection", self.projection),
            ("filter", self.filter),
            ("limit", self.limit),
            ("aggregate", self.aggregate),
            ("top_n", self.top_n),
            ("join", self.join),
            ("files", self.files),
            ("write", self.write),
        ];
        all.into_iter().filter(|(_, can)| *can).map(|(word, _)| word).collect()
    }
}

/// What a connector gets to open a source.
#[derive(Debug, Clone)]
pub struct OpenContext {
    /// The catalog's name, for messages.
    pub catalog: String,
    /// Unique to this attachment in this process; part of the private store URLs, so that two catalogs with
    /// different credentials for one bucket never meet. Lower-case letters and digits.
    pub instance: String,
    /// Checked against [`ConnectorSpec::options`], the secret's values merged in.
    pub options: Options,
    /// Opens object stores by URL, for a connector that knows tables but not files (Hive).
    pub stores: Arc<dyn StoreOpener>,
}

/// Whether an entry holds rows or is defined by a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    Table,
    View,
}

/// One table in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableEntry {
    pub name: String,
    pub kind: TableKind,
    pub comment: Option<String>,
}

impl TableEntry {
    pub fn table(name: impl Into<String>) -> Self {
        Self { name: name.into(), kind: TableKind::Table, comment: None }
    }
}

/// One attached catalog: a live view of the outside. The engine caches listings and table handles for a short time,
/// so a source answers from the system itself and keeps no cache of its own.
///
/// Every future is cancel-safe: dropping it stops the request. Names are matched exactly as the source spells them.
pub trait Source: Send + Sync + Debug {
    /// Contacts the system and returns what it is, e.g. `PostgreSQL 15.18 at db:5432`.
    ///
    /// # Errors
    /// Exactly what is wrong: HV00N unreachable host or wrong protocol, HV00L wrong credentials, HV024 no such
    /// bucket, database or directory.
    fn check(&self) -> BoxFuture<'_, Result<String>>;

    /// Lists the schemas a user may want to see.
    fn schemas(&self) -> BoxFuture<'_, Result<Vec<String>>>;

    /// Lists the tables and views of one schema; empty if there is no such schema.
    fn tables<'a>(&'a self, schema: &'a str) -> BoxFuture<'a, Result<Vec<TableEntry>>>;

    /// Lists the keys of the tables of one schema; none where the source has none.
    fn keys<'a>(&'a self, schema: &'a str) -> BoxFuture<'a, Result<Vec<TableKey>>> {
        let _ = schema;
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Opens a table; `None` if there is none of that name.
    fn table<'a>(
        &'a self,
        schema: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<SourceTable>>>;

    /// Opens a table as it was; `None` if there is none of that name.
    ///
    /// # Errors
    /// 0A000 for a table without versions, 22023 for a version that it does not have.
    fn table_at<'a>(
        &'a self,
        schema: &'a str,
        name: &'a str,
        version: TableVersion,
    ) -> BoxFuture<'a, Result<Option<SourceTable>>> {
        let _ = version;
        Box::pin(async move {
            match self.table(schema, name).await? {
                None => Ok(None),
                Some(_) => Err(Error::unsupported(format!("table \"{name}\" has no versions"))
                    .with_hint("Only Delta Lake tables can be read as they were.")),
            }
        })
    }

    /// Returns the store that serves `url` if it lies inside this catalog, so that
    /// `CREATE EXTERNAL TABLE … LOCATION` needs no credentials of its own.
    fn store_for(&self, url: &Url) -> Option<OpenedStore> {
        let _ = url;
        None
    }

    /// Runs a query in the source's own language and returns its rows as a table.
    fn native_query<'a>(&'a self, query: &'a str) -> BoxFuture<'a, Result<SourceTable>> {
        let _ = query;
        Box::pin(async {
            Err(Error::unsupported("this kind of catalog has no query language of its own"))
        })
    }

    /// Starts a write, having refused all that can be refused before the first row: 0A000 what this source cannot write, 42P07 and
    /// 42P01 names, 22023 types and values that the target cannot hold, 42501 if the source does not let this user write.
    /// Changes nothing yet.
    fn begin_write(&self, request: WriteRequest) -> BoxFuture<'_, Result<Arc<dyn WriteJob>>> {
        Box::pin(async move {
            Err(Error::unsupported(format!("table \"{}\" cannot be written", request.table))
                .with_hint("This kind of catalog is only read."))
        })
    }

    /// Returns whether its commits hold [`Attempt::once`](crate::Attempt::once), so that work that is tried again writes nothing
    /// a second time.
    fn keeps_work(&self) -> bool {
        false
    }

    /// Changes a table as a whole, in one commit.
    fn change_table<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
        change: TableChange,
    ) -> BoxFuture<'a, Result<()>> {
        let _ = (schema, change);
        Box::pin(async move {
            Err(Error::unsupported(format!("table \"{table}\" cannot be changed"))
                .with_hint("This kind of catalog is only read."))
        })
    }

    /// Returns the files that lie in a table's place and that it does not need; none where a source has no files of its own.
    fn leftovers<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Leftover>>> {
        let _ = (schema, table);
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Removes those [`Source::leftovers`] that have been such for longer than `retain`, and returns them; in a dry run it only
    /// returns them.
    fn vacuum<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
        retain: Duration,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<Vec<Leftover>>> {
        let _ = (schema, retain, dry_run);
        Box::pin(async move {
            Err(Error::unsupported(format!("table \"{table}\" has no files to clean up")))
        })
    }

    /// Returns the rows of a table that had better be in fewer files, as a table of their own; `WriteMode::Compact` takes them.
    fn scattered<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<SourceTable>> {
        let _ = schema;
        Box::pin(async move {
            Err(Error::unsupported(format!("table \"{table}\" has no files to put together"))
                .with_hint("OPTIMIZE is for Delta Lake tables."))
        })
    }

    /// Returns the versions of a table, the newest first.
    fn history<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Vec<TableCommit>>> {
        let _ = schema;
        Box::pin(async move {
            Err(Error::unsupported(format!("table \"{table}\" has no versions"))
                .with_hint("Only Delta Lake tables keep what they were."))
        })
    }

    /// Makes a schema (a database, a directory).
    ///
    /// # Errors
    /// 42P06 for one that is there already.
    fn create_schema<'a>(&'a self, schema: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            Err(Error::unsupported(format!("schema \"{schema}\" cannot be created here")))
        })
    }

    /// Returns how long queries have waited so far, all together, because the catalog's options allow only so many per second.
    fn waited(&self) -> Duration {
        Duration::ZERO
    }

    /// Closes connections and ends background work; awaited by `DROP CATALOG` and at shutdown. Streams that are
    /// still being read end with an error.
    fn close(&self) -> BoxFuture<'_, ()>;
}
