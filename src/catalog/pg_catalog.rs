//! `pg_catalog` of one catalog, answered from cached listings.

use std::sync::{Arc, LazyLock, Weak};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion_pg_catalog::pg_catalog::catalog_info::CatalogInfo;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::{PgCatalogSchemaProvider, PgCatalogStaticTables};
use futures::StreamExt;
use maru_connect::TableKind;
use maru_core::{Error, limits};

use super::{Attached, BUILTIN, Catalogs};
use crate::system::INFORMATION_SCHEMA;

/// Tables opened at the same time while they are listed.
const OPENED_AT_ONCE: usize = 8;

/// The tables that never change, decoded once per process.
static STATIC_TABLES: LazyLock<Result<Arc<PgCatalogStaticTables>, String>> = LazyLock::new(|| {
    PgCatalogStaticTables::try_new().map(Arc::new).map_err(|error| error.to_string())
});

/// Returns schema `pg_catalog` of a catalog; the same object each time, so that OIDs hold still.
pub(super) fn schema(
    attached: &Arc<Attached>,
    catalogs: &Arc<Catalogs>,
) -> Result<Arc<dyn SchemaProvider>, Error> {
    if let Some(schema) = attached.pg_catalog.get() {
        return Ok(Arc::clone(schema));
    }
    let tables = STATIC_TABLES.as_ref().map_err(|error| Error::internal(error.clone()))?;
    let provider = |facts: Facts| {
        PgCatalogSchemaProvider::try_new(facts, Arc::clone(tables), EmptyContextProvider)
    };
    let own =
        provider(Facts { catalogs: Arc::downgrade(catalogs), only: Some(attached.name.clone()) })?;
    let all = provider(Facts { catalogs: Arc::downgrade(catalogs), only: None })?;
    let schema: Arc<dyn SchemaProvider> = Arc::new(PgCatalog { own, all });
    Ok(Arc::clone(attached.pg_catalog.get_or_init(|| schema)))
}

/// A PostgreSQL client sees one database at a time and the names of the others.
#[derive(Debug)]
struct PgCatalog {
    own: PgCatalogSchemaProvider<Facts, EmptyContextProvider>,
    all: PgCatalogSchemaProvider<Facts, EmptyContextProvider>,
}

#[async_trait]
impl SchemaProvider for PgCatalog {
    fn table_names(&self) -> Vec<String> {
        self.own.table_names()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        if name == "pg_database" { self.all.table(name).await } else { self.own.table(name).await }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.own.table_exist(name)
    }
}

#[derive(Debug, Clone)]
struct Facts {
    catalogs: Weak<Catalogs>,
    /// The one catalog to tell about; `None` for all names.
    only: Option<String>,
}

impl Facts {
    fn attached(&self, name: &str) -> Option<Arc<Attached>> {
        self.catalogs.upgrade()?.get(name)
    }
}

/// A source that fails leaves its part empty: `\d` must work while one of ten sources is down.
#[async_trait]
impl CatalogInfo for Facts {
    async fn catalog_names(&self) -> DfResult<Vec<String>, DataFusionError> {
        if let Some(only) = &self.only {
            return Ok(vec![only.clone()]);
        }
        let catalogs = self.catalogs.upgrade();
        Ok(catalogs.map_or_else(Vec::new, |catalogs| {
            catalogs.all().iter().map(|attached| attached.name.clone()).collect()
        }))
    }

    async fn schema_names(&self, catalog: &str) -> DfResult<Option<Vec<String>>, DataFusionError> {
        if self.only.is_none() {
            return Ok(Some(Vec::new()));
        }
        let Some(attached) = self.attached(catalog) else { return Ok(None) };
        let mut names = attached.schemas().await.unwrap_or_default();
        names.push(INFORMATION_SCHEMA.to_owned());
        names.push("pg_catalog".to_owned());
        Ok(Some(names))
    }

    async fn table_names(
        &self,
        catalog: &str,
        schema: &str,
    ) -> DfResult<Option<Vec<String>>, DataFusionError> {
        if schema == "pg_catalog" || schema == INFORMATION_SCHEMA {
            return Ok(Some(Vec::new()));
        }
        let Some(attached) = self.attached(catalog) else { return Ok(None) };
        let tables = attached.tables(schema).await.unwrap_or_default();
        let names = tables.into_iter().take(limits::METADATA_TABLES_MAX).map(|entry| entry.name);
        let names = names.collect::<Vec<_>>();
        // Each table is asked for one after the other next; what the source says is remembered then.
        if catalog != BUILTIN {
            futures::stream::iter(&names)
                .for_each_concurrent(OPENED_AT_ONCE, |name| {
                    let attached = &attached;
                    async move {
                        if let Err(error) = attached.table(schema, name).await {
                            tracing::debug!(%error, "left out of a listing");
                        }
                    }
                })
                .await;
        }
        Ok(Some(names))
    }

    async fn table_schema(
        &self,
        catalog: &str,
        schema: &str,
        table: &str,
    ) -> DfResult<Option<SchemaRef>, DataFusionError> {
        let Some(attached) = self.attached(catalog) else { return Ok(None) };
        let table = attached.table(schema, table).await.ok().flatten();
        Ok(table.map(|table| table.schema()))
    }

    async fn table_type(
        &self,
        catalog: &str,
        schema: &str,
        table: &str,
    ) -> DfResult<Option<TableType>, DataFusionError> {
        let Some(attached) = self.attached(catalog) else { return Ok(None) };
        let tables = attached.tables(schema).await.unwrap_or_default();
        Ok(tables.iter().find(|entry| entry.name == table).map(|entry| match entry.kind {
            TableKind::Table => TableType::Base,
            TableKind::View => TableType::View,
        }))
    }
}
