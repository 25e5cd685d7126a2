//! One attached metastore.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, ready};
use maru_connect::{OpenContext, Source, SourceTable, TableEntry};
use maru_core::Result;

use crate::metastore::{Endpoint, Metastore, is_view};
use crate::{table, view};

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

    fn close(&self) -> BoxFuture<'_, ()> {
        self.metastore.close();
        ready(()).boxed()
    }
}
