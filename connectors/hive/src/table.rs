//! From the metastore's description of a table to a [`FileTable`], or to the reason why not.

mod foreign;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use hive_metastore::{FieldSchema, StorageDescriptor, Table};
use maru_connect::{FileFormatSpec, FileTable, OpenContext, TextLengths};
use maru_core::{Error, ErrorKind, Result};

use crate::lister::{HiveFiles, Learned};
use crate::metastore::Metastore;
use crate::{format, location, spark, types};

/// Opens a table.
///
/// # Errors
/// 0A000 for transactional tables, tables of other systems, and formats Maru does not read; HV004 for a column
/// of a type it does not have; what the store says if it cannot be opened.
pub(crate) async fn open(
    metastore: Arc<Metastore>,
    context: OpenContext,
    table: Table,
) -> Result<FileTable> {
    let database = table.db_name.as_deref().unwrap_or_default().to_owned();
    let name = table.table_name.as_deref().unwrap_or_default().to_owned();
    let named = |error: Error| error.with_context("table", format!("{database}.{name}"));
    foreign::refuse(&table, &database, &name).map_err(named)?;
    let table = spark::meant(table).map_err(named)?;
    let storage = readable(&table, &database, &name).map_err(named)?;
    let format = format::of(&table, storage).map_err(named)?;
    let columns = schema(storage.cols.as_deref().unwrap_or_default()).map_err(named)?;
    let file_schema = Arc::new(format::columns(&format, columns).map_err(named)?);
    let keys = schema(table.partition_keys.as_deref().unwrap_or_default()).map_err(named)?;
    let keys = keys.fields().iter().cloned().collect::<Vec<_>>();
    if let Some(key) = keys.iter().find(|key| !is_key_type(key.data_type())) {
        let text = format!("partition column \"{}\" has type {}", key.name(), key.data_type());
        return Err(named(Error::new(ErrorKind::RemoteTypeUnsupported, text)));
    }
    let root = storage.location.as_deref().unwrap_or_default().trim_end_matches('/').to_owned();
    let padded = padded(&table, storage, &format);
    let url = location::url(&root).map_err(named)?;
    let opened = context.stores.open_store(&context.instance, &url, &context.options).await;
    let opened = opened.map_err(named)?;
    Ok(FileTable {
        catalog: context.catalog.clone(),
        store: Arc::clone(&opened.store),
        store_url: opened.url.clone(),
        format: format.clone(),
        file_schema: Arc::clone(&file_schema),
        partition_columns: keys.clone(),
        files: Arc::new(HiveFiles {
            metastore,
            context,
            database,
            name,
            format,
            file_schema,
            keys,
            padded,
            root,
            opened,
            table,
            learned: Learned::default(),
        }),
    })
}

/// Returns how the table is stored, if it is one that consists of plain files.
pub(crate) fn readable<'a>(
    table: &'a Table,
    database: &str,
    name: &str,
) -> Result<&'a StorageDescriptor> {
    foreign::refuse(table, database, name)?;
    table
        .sd
        .as_ref()
        .ok_or_else(|| Error::unsupported(format!("\"{database}\".\"{name}\" has no files")))
}

pub(crate) fn schema(columns: &[FieldSchema]) -> Result<Schema> {
    let field = |column: &FieldSchema| {
        let name = column.name.as_deref().unwrap_or_default();
        let data_type = types::parse(column.r#type.as_deref().unwrap_or_default())
            .map_err(|error| error.with_context("column", name))?;
        Ok(Field::new(name, data_type, true))
    };
    Ok(Schema::new(columns.iter().map(field).collect::<Result<Vec<_>>>()?))
}

/// Returns the columns and keys of type `char(n)`: blanks at the ends of their texts do not count, for Hive and Spark fill them up as
/// they write, or as they read. The SerDe of CSV knows no type but text.
fn padded(
    table: &Table,
    storage: &StorageDescriptor,
    format: &FileFormatSpec,
) -> Option<Arc<TextLengths>> {
    let in_files = storage.cols.iter().flatten();
    let in_files = in_files.filter(|_| format::knows_types(format));
    let columns = in_files.chain(table.partition_keys.iter().flatten());
    let is_padded = |column: &&FieldSchema| {
        let declared = column.r#type.as_deref().unwrap_or_default().trim_start();
        let end = declared.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(declared.len());
        declared[..end].eq_ignore_ascii_case("char")
    };
    let names = columns.filter(is_padded).filter_map(|column| column.name.as_deref());
    TextLengths::padded(names.map(str::to_owned))
}

fn is_key_type(data_type: &DataType) -> bool {
    !data_type.is_nested() && data_type != &DataType::Binary
}

#[cfg(test)]
mod tests;
