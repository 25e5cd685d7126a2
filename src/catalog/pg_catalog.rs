//! `pg_catalog` of one catalog, answered from cached listings.
//!
//! The library underneath makes the tables; `typed.rs` puts right the types of those that never change, `told.rs` adds what it does
//! not know of the others.

mod packed;
mod told;
mod typed;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion_pg_catalog::pg_catalog::catalog_info::CatalogInfo;
use datafusion_pg_catalog::pg_catalog::context::{PgCatalogContextProvider, Role as PgRole};
use datafusion_pg_catalog::pg_catalog::{
    PgCatalogSchemaProvider, PgCatalogStaticTables, PgCatalogTable,
};
use futures::StreamExt;
use maru_connect::TableKind;
use maru_core::{Error, limits};
use parking_lot::Mutex;

use self::told::{Table, Told};
pub(crate) use self::typed::function_oid;
use super::{Attached, BUILTIN};
use crate::access::{Object, Privilege, Rights, SUPERUSER};
use crate::engine::{Engine, Inner};
use crate::system::INFORMATION_SCHEMA;

/// Tables opened at the same time while they are listed.
const OPENED_AT_ONCE: usize = 8;

/// The tables that never change, decoded once per process.
static STATIC_TABLES: LazyLock<Result<Arc<PgCatalogStaticTables>, String>> = LazyLock::new(|| {
    PgCatalogStaticTables::try_new().map(Arc::new).map_err(|error| error.to_string())
});

/// Returns schema `pg_catalog` of a catalog for a role; the same object each time, so that OIDs hold still.
pub(super) fn schema(
    attached: &Arc<Attached>,
    engine: &Engine,
    rights: &Rights,
) -> Result<Arc<dyn SchemaProvider>, Error> {
    // All superusers see the same.
    let role = (!rights.is_superuser()).then(|| rights.role().to_owned());
    let user = role.as_deref().unwrap_or(SUPERUSER) != rights.user();
    let user = user.then(|| rights.user().to_owned());
    let key = (role.clone(), user.clone());
    if let Some(schema) = attached.pg_catalog.lock().get(&key) {
        return Ok(Arc::clone(schema));
    }
    let tables = STATIC_TABLES.as_ref().map_err(|error| Error::internal(error.clone()))?;
    let provider = |only: Option<String>| {
        let engine = Arc::downgrade(&engine.inner);
        let facts = Facts {
            engine: Weak::clone(&engine),
            role: role.clone(),
            user: user.clone(),
            only,
            kinds: Arc::default(),
            known: Arc::default(),
        };
        let made =
            PgCatalogSchemaProvider::try_new(facts.clone(), Arc::clone(tables), Roles { engine });
        made.map(|made| (made, facts))
    };
    let (own, facts) = provider(Some(attached.name.clone()))?;
    let (all, _) = provider(None)?;
    let schema: Arc<dyn SchemaProvider> = Arc::new(PgCatalog { own, all, facts });
    let mut known = attached.pg_catalog.lock();
    Ok(Arc::clone(known.entry(key).or_insert(schema)))
}

/// A PostgreSQL client sees one database at a time and the names of the others.
#[derive(Debug)]
struct PgCatalog {
    own: PgCatalogSchemaProvider<Facts, Roles>,
    all: PgCatalogSchemaProvider<Facts, Roles>,
    facts: Facts,
}

#[async_trait]
impl SchemaProvider for PgCatalog {
    fn table_names(&self) -> Vec<String> {
        self.own.table_names()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        let maker = if name == "pg_database" { &self.all } else { &self.own };
        let Some(made) = maker.build_table_by_name(name)? else { return Ok(None) };
        let schemas = self.own.build_table_by_name("pg_namespace")?;
        let table: Arc<dyn TableProvider> = match (&made, Table::of(name), schemas) {
            (
                PgCatalogTable::Dynamic(made),
                Some(table),
                Some(PgCatalogTable::Dynamic(schemas)),
            ) => {
                let told = Told::new(table, Arc::clone(made), schemas, self.facts.clone());
                let schema = Arc::clone(told.schema());
                Arc::new(StreamingTable::try_new(schema, vec![Arc::new(told)])?)
            }
            (PgCatalogTable::Static(table), ..) => match typed::table(name, table)? {
                Some(typed) => typed,
                None => made.try_into_table_provider()?,
            },
            _ => made.try_into_table_provider()?,
        };
        Ok(Some(table))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.own.table_exist(name)
    }
}

/// Tells `pg_roles` and `pg_authid` of the roles.
#[derive(Debug, Clone)]
struct Roles {
    engine: Weak<Inner>,
}

#[async_trait]
impl PgCatalogContextProvider for Roles {
    async fn roles(&self) -> Vec<String> {
        let engine = self.engine.upgrade();
        engine.map_or_else(Vec::new, |engine| {
            engine.authority.rules().roles.keys().cloned().collect()
        })
    }

    async fn role(&self, name: &str) -> Option<PgRole> {
        let rules = self.engine.upgrade()?.authority.rules();
        let role = rules.roles.get(name)?;
        Some(PgRole {
            name: name.to_owned(),
            is_superuser: role.superuser,
            can_login: role.login,
            can_create_db: role.create_catalog,
            can_create_role: role.create_role,
            can_create_user: role.create_role,
            can_replication: false,
            grants: Vec::new(),
            inherited_roles: Vec::new(),
        })
    }
}

/// A schema and the kinds of its tables.
type Kinds = (String, HashMap<String, TableKind>);

#[derive(Debug, Clone)]
struct Facts {
    engine: Weak<Inner>,
    /// The role that asks; `None` for superusers.
    role: Option<String>,
    /// The user, if that is another one.
    user: Option<String>,
    /// The one catalog to tell about; `None` for all names.
    only: Option<String>,
    /// The schema that was listed last, with the kinds of its tables: each is asked for next.
    kinds: Arc<Mutex<Option<Kinds>>>,
    known: Arc<Mutex<Option<Rights>>>,
}

impl Facts {
    fn rights(&self) -> Option<Rights> {
        let rules = self.engine.upgrade()?.authority.rules();
        let mut known = self.known.lock();
        if let Some(rights) = known.as_ref().filter(|rights| Arc::ptr_eq(rights.rules(), &rules)) {
            return Some(rights.clone());
        }
        let rights = Rights::new(rules, self.role.as_deref().unwrap_or(SUPERUSER));
        let rights = match &self.user {
            Some(user) => rights.of_user(user),
            None => rights,
        };
        *known = Some(rights.clone());
        Some(rights)
    }

    /// Returns a catalog that shows.
    fn attached(&self, name: &str) -> Option<Arc<Attached>> {
        self.engine.upgrade()?.catalogs.require(name, &self.rights()?).ok()
    }

    fn sees(&self, object: &Object) -> bool {
        self.rights().is_some_and(|rights| rights.sees(object))
    }
}

/// A source that fails leaves its part empty: `\d` must work while one of ten sources is down.
#[async_trait]
impl CatalogInfo for Facts {
    async fn catalog_names(&self) -> DfResult<Vec<String>, DataFusionError> {
        if let Some(only) = &self.only {
            return Ok(vec![only.clone()]);
        }
        let engine = self.engine.upgrade();
        let Some((engine, rights)) = engine.zip(self.rights()) else { return Ok(Vec::new()) };
        let all = engine.catalogs.shown_to(&rights);
        Ok(all.into_iter().map(|attached| attached.name.clone()).collect())
    }

    async fn schema_names(&self, catalog: &str) -> DfResult<Option<Vec<String>>, DataFusionError> {
        if self.only.is_none() {
            return Ok(Some(Vec::new()));
        }
        let Some(attached) = self.attached(catalog) else { return Ok(None) };
        let mut names = attached.schemas().await.unwrap_or_default();
        names.retain(|name| self.sees(&Object::schema(catalog, name)));
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
        let Some(rights) = self.rights() else { return Ok(None) };
        let kinds = tables.iter().map(|entry| (entry.name.clone(), entry.kind)).collect();
        *self.kinds.lock() = Some((schema.to_owned(), kinds));
        let names = tables.into_iter().map(|entry| entry.name);
        let shown = names.filter(|name| rights.sees(&Object::table(catalog, schema, name)));
        let names = shown.take(limits::METADATA_TABLES_MAX).collect::<Vec<_>>();
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
        let Some(rights) = self.rights() else { return Ok(None) };
        let object = Object::table(catalog, schema, table);
        let columns = rights.columns(Privilege::Select, &object).filter(|_| rights.sees(&object));
        let table = attached.table(schema, table).await.ok().flatten();
        // The library asks for the columns to tell of them, and so they come with all that there is to tell.
        Ok(columns.zip(table).map(|(columns, table)| {
            Arc::new(packed::pack(&table.declared_schema(), &columns, &rights, &object))
        }))
    }

    async fn table_type(
        &self,
        catalog: &str,
        schema: &str,
        table: &str,
    ) -> DfResult<Option<TableType>, DataFusionError> {
        let known = self
            .kinds
            .lock()
            .as_ref()
            .and_then(|(of, kinds)| (of == schema).then(|| kinds.get(table).copied()));
        let kind = match known {
            Some(kind) => kind,
            None => {
                let Some(attached) = self.attached(catalog) else { return Ok(None) };
                let tables = attached.tables(schema).await.unwrap_or_default();
                tables.iter().find(|entry| entry.name == table).map(|entry| entry.kind)
            }
        };
        Ok(kind.map(|kind| match kind {
            TableKind::Table => TableType::Base,
            TableKind::View => TableType::View,
        }))
    }
}
