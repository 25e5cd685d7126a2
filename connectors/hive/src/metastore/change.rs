//! The calls that change what a metastore holds. None of them is made twice: an answer that is lost is asked for by reading.

use hive_metastore::{Database, EnvironmentContext, Partition, Table};
use maru_core::{Error, Result};
use pilota::{AHashMap, FastStr};

use super::Metastore;

/// Tells the metastore that figures come with what is changed, so that it counts no files itself.
fn context() -> EnvironmentContext {
    let mut properties = AHashMap::default();
    properties.insert(FastStr::new("DO_NOT_UPDATE_STATS"), FastStr::new("true"));
    EnvironmentContext { properties: Some(properties) }
}

impl Metastore {
    /// Returns a database; `None` if there is none of that name.
    pub(crate) async fn database(&self, name: &str) -> Result<Option<Database>> {
        let wanted = FastStr::new(name);
        let found = self.call("get_database", |client| {
            let wanted = wanted.clone();
            async move { client.get_database(wanted).await }
        });
        match found.await? {
            Ok(found) => Ok(Some(found).filter(|found| found.name.as_deref() == Some(name))),
            Err(refusal) if refusal.missing => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }

    pub(crate) async fn create_database(&self, name: &str) -> Result<()> {
        let database = Database {
            name: Some(FastStr::new(name)),
            parameters: Some(AHashMap::default()),
            ..Database::default()
        };
        let made = self.call_once("create_database", |client| {
            let database = database.clone();
            async move { client.create_database(database).await }
        });
        Ok(made.await??)
    }

    pub(crate) async fn create_table(&self, table: &Table) -> Result<()> {
        let made = self.call_once("create_table", |client| {
            let table = table.clone();
            async move { client.create_table(table).await }
        });
        Ok(made.await??)
    }

    /// Puts `table` in the place of the table of this name, which may be another name than its own.
    pub(crate) async fn alter_table(
        &self,
        database: &str,
        name: &str,
        table: &Table,
    ) -> Result<()> {
        let (database, name) = (FastStr::new(database), FastStr::new(name));
        let changed = self.call_once("alter_table_with_environment_context", |client| {
            let (database, name, table) = (database.clone(), name.clone(), table.clone());
            async move {
                client.alter_table_with_environment_context(database, name, table, context()).await
            }
        });
        Ok(changed.await??)
    }

    /// Changes partitions, all of them or none.
    pub(crate) async fn alter_partitions(
        &self,
        database: &str,
        table: &str,
        partitions: &[Partition],
    ) -> Result<()> {
        let (database, table) = (FastStr::new(database), FastStr::new(table));
        let changed = self.call_once("alter_partitions_with_environment_context", |client| {
            let (database, table, partitions) =
                (database.clone(), table.clone(), partitions.to_vec());
            async move {
                client
                    .alter_partitions_with_environment_context(
                        database,
                        table,
                        partitions,
                        context(),
                    )
                    .await
            }
        });
        Ok(changed.await??)
    }

    /// Adds partitions, all of them or none.
    pub(crate) async fn add_partitions(&self, partitions: &[Partition]) -> Result<()> {
        let added = self.call_once("add_partitions", |client| {
            let partitions = partitions.to_vec();
            async move { client.add_partitions(partitions).await }
        });
        added.await??;
        Ok(())
    }

    /// Forgets a partition; its files stay.
    pub(crate) async fn drop_partition(
        &self,
        database: &str,
        table: &str,
        values: &[FastStr],
    ) -> Result<()> {
        let (database, table) = (FastStr::new(database), FastStr::new(table));
        let dropped = self.call_once("drop_partition", |client| {
            let (database, table, values) = (database.clone(), table.clone(), values.to_vec());
            async move { client.drop_partition(database, table, values, false).await }
        });
        match dropped.await? {
            Err(refusal) if !refusal.missing => Err(refusal.into()),
            _ => Ok(()),
        }
    }

    /// Forgets a table; its files stay.
    ///
    /// # Errors
    /// 42P01 if there is no such table.
    pub(crate) async fn drop_table(&self, database: &str, name: &str) -> Result<()> {
        let (database, table) = (FastStr::new(database), FastStr::new(name));
        let dropped = self.call_once("drop_table_with_environment_context", |client| {
            let (database, table) = (database.clone(), table.clone());
            async move {
                client.drop_table_with_environment_context(database, table, false, context()).await
            }
        });
        dropped.await?.map_err(|refusal| match refusal.missing {
            true => Error::new(
                maru_core::ErrorKind::UndefinedTable,
                format!("table \"{name}\" does not exist"),
            ),
            false => refusal.into(),
        })
    }
}
