//! One attached metastore.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, ready};
use maru_connect::{
    Leftover, OpenContext, Source, SourceTable, TableChange, TableEntry, WriteJob, WriteMode,
    WriteRequest,
};
use maru_core::{Error, ErrorKind, Result};

use crate::metastore::{Endpoint, Metastore, is_view};
use crate::{table, view, write};

/// A catalog over one metastore.
#[derive(Debug)]
pub(crate) struct HiveSource {
    context: OpenContext,
    metastore: Arc<Metastore>,
}

impl HiveSource {
    /// # Errors
    /// HV024 if `metastore` is no list of addresses.
    pub(crate) fn open(context: OpenContext) -> Result<Self> {
        let endpoints = Endpoint::parse_list(context.options.require_text("metastore")?)?;
        let user = context.options.text("user").map_or_else(process_user, str::to_owned);
        let timeout = context.options.duration("timeout").unwrap_or(Duration::from_secs(60));
        let metastore = Arc::new(Metastore::new(endpoints, &user, timeout));
        Ok(Self { context, metastore })
    }
}

/// Returns whom Hadoop's clients take for the user of this process.
fn process_user() -> String {
    let variables = ["HADOOP_USER_NAME", "USER", "LOGNAME"].into_iter();
    let named = variables.filter_map(|name| std::env::var(name).ok());
    named.into_iter().find(|user| !user.is_empty()).unwrap_or_else(|| "maru".to_owned())
}

impl Source for HiveSource {
    fn check(&self) -> BoxFuture<'_, Result<String>> {
        async move {
            let databases = self.metastore.databases().await?.len();
            Ok(format!("Hive metastore at {}, {databases} databases", self.metastore.peer()))
        }
        .boxed()
    }

    fn schemas(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        self.metastore.databases().boxed()
    }

    fn tables<'a>(&'a self, schema: &'a str) -> BoxFuture<'a, Result<Vec<TableEntry>>> {
        async move {
            let listed = self.metastore.tables(schema).await?.into_iter();
            let entry = |table: crate::metastore::Listed| TableEntry {
                name: table.name,
                kind: table.kind,
                comment: table.comment,
            };
            Ok(listed.map(entry).collect())
        }
        .boxed()
    }

    fn table<'a>(
        &'a self,
        schema: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<SourceTable>>> {
        async move {
            let Some(found) = self.metastore.table(schema, name).await? else { return Ok(None) };
            if is_view(found.table_type.as_deref().unwrap_or_default()) {
                let view = view::open(&found)?;
                return Ok(Some(SourceTable::ForeignView(Arc::new(view))));
            }
            let metastore = Arc::clone(&self.metastore);
            let table = table::open(metastore, self.context.clone(), found).await?;
            Ok(Some(SourceTable::Files(Arc::new(table))))
        }
        .boxed()
    }

    fn begin_write(&self, request: WriteRequest) -> BoxFuture<'_, Result<Arc<dyn WriteJob>>> {
        let (metastore, context) = (Arc::clone(&self.metastore), self.context.clone());
        async move {
            match request.mode.clone() {
                WriteMode::Create(new) => {
                    write::begin_create(metastore, context, request, &new).await
                }
                _ => write::begin(metastore, context, request).await,
            }
        }
        .boxed()
    }

    fn change_table<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
        change: TableChange,
    ) -> BoxFuture<'a, Result<()>> {
        let (metastore, context) = (Arc::clone(&self.metastore), self.context.clone());
        write::change(metastore, context, schema, table, change).boxed()
    }

    fn create_schema<'a>(&'a self, schema: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            if self.metastore.database(schema).await?.is_some() {
                let message = format!("schema \"{schema}\" already exists");
                return Err(Error::new(ErrorKind::DuplicateSchema, message));
            }
            self.metastore.create_database(schema).await
        }
        .boxed()
    }

    fn leftovers<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Leftover>>> {
        write::orphans(&self.metastore, &self.context, schema, table).boxed()
    }

    fn vacuum<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
        retain: Duration,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<Vec<Leftover>>> {
        write::vacuum(&self.metastore, &self.context, schema, table, retain, dry_run).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.metastore.close();
        ready(()).boxed()
    }
}
