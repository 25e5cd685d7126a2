//! Keys as the pragmas of a database tell them.

use maru_connect::{KeyKind, KeyRule, Reference, TableKey};
use maru_core::Result;
use sqlx::Row;

use super::SCHEMA;
use super::file::File;
use crate::write::is_ours;

/// Columns of a table in their order, each with its place in the primary key, from 1 on; 0 is none.
struct Columns {
    table: String,
    columns: Vec<(String, i64)>,
}

impl Columns {
    fn primary_key(&self) -> Vec<String> {
        let mut key = self.columns.iter().filter(|(_, at)| *at > 0).collect::<Vec<_>>();
        key.sort_by_key(|(_, at)| *at);
        key.into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// Returns a column under its own name: references to it may be written in other letters.
    fn named(&self, name: &str) -> Option<String> {
        let found = self.columns.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(known, _)| known.clone())
    }
}

/// Reads the keys of all tables. Virtual ones, which have no page, have none, and their module may not be there.
pub(super) async fn keys(file: &File) -> Result<Vec<TableKey>> {
    let tables = tables(file).await?;
    let mut keys = Vec::new();
    for table in &tables {
        let columns = table.primary_key();
        if !columns.is_empty() {
            let name = format!("{}_pkey", table.table);
            keys.push(TableKey {
                table: table.table.clone(),
                name,
                kind: KeyKind::Primary,
                columns,
            });
        }
    }
    keys.extend(unique(file).await?);
    let foreign = foreign(file, &tables, &keys).await?;
    keys.extend(foreign);
    keys.retain(|key| !is_ours(&key.table));
    keys.sort_by(|one, other| one.table.cmp(&other.table));
    Ok(keys)
}

async fn tables(file: &File) -> Result<Vec<Columns>> {
    let sql = "SELECT m.name, t.name, t.pk FROM sqlite_master AS m, pragma_table_info(m.name) AS t \
               WHERE m.type = 'table' AND m.rootpage > 0 AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY m.name, t.cid";
    let mut tables = Vec::<Columns>::new();
    for row in file.rows(sql.to_owned()).await? {
        let table = row.get::<String, _>(0);
        let column = (row.get::<String, _>(1), row.get::<i64, _>(2));
        match tables.last_mut().filter(|last| last.table == table) {
            Some(last) => last.columns.push(column),
            None => tables.push(Columns { table, columns: vec![column] }),
        }
    }
    Ok(tables)
}

/// Reads what `UNIQUE` of a table says; an index that was made by itself is no key.
async fn unique(file: &File) -> Result<Vec<TableKey>> {
    let sql = "SELECT m.name, i.name, c.name \
               FROM sqlite_master AS m, pragma_index_list(m.name) AS i, pragma_index_info(i.name) AS c \
               WHERE m.type = 'table' AND m.rootpage > 0 AND i.origin = 'u' AND c.name IS NOT NULL ORDER BY m.name, i.seq, c.seqno";
    let mut keys = Vec::<(String, TableKey)>::new();
    for row in file.rows(sql.to_owned()).await? {
        let (table, index) = (row.get::<String, _>(0), row.get::<String, _>(1));
        let column = row.get::<String, _>(2);
        match keys.last_mut().filter(|(last, _)| *last == index) {
            Some((_, key)) => key.columns.push(column),
            None => {
                let key = TableKey {
                    table,
                    name: String::new(),
                    kind: KeyKind::Unique,
                    columns: vec![column],
                };
                keys.push((index, key));
            }
        }
    }
    let keys = keys.into_iter().map(|(_, key)| {
        let name = format!("{}_{}_key", key.table, key.columns.join("_"));
        TableKey { name, ..key }
    });
    Ok(keys.collect())
}

/// Reads foreign keys. One that refers to no table, or to no column of it, is left out.
async fn foreign(file: &File, tables: &[Columns], known: &[TableKey]) -> Result<Vec<TableKey>> {
    let sql = "SELECT m.name, f.id, f.\"table\", f.\"from\", f.\"to\", f.on_update, f.on_delete \
               FROM sqlite_master AS m, pragma_foreign_key_list(m.name) AS f \
               WHERE m.type = 'table' AND m.rootpage > 0 ORDER BY m.name, f.id, f.seq";
    let mut found = Vec::<(i64, TableKey, bool)>::new();
    for row in file.rows(sql.to_owned()).await? {
        let (table, id) = (row.get::<String, _>(0), row.get::<i64, _>(1));
        let (there, column) = (row.get::<String, _>(2), row.get::<String, _>(3));
        let Some(there) = tables.iter().find(|one| one.table.eq_ignore_ascii_case(&there)) else {
            continue;
        };
        let last = found.last_mut().filter(|(last, key, _)| *last == id && key.table == table);
        let at = last.as_ref().map_or(0, |(_, key, _)| key.columns.len());
        // Without columns it refers to the primary key.
        let other = match row.get::<Option<String>, _>(4) {
            Some(name) => there.named(&name),
            None => there.primary_key().get(at).cloned(),
        };
        match last {
            Some((_, key, is_whole)) => {
                key.columns.push(column);
                *is_whole &= other.is_some();
                if let KeyKind::Foreign(reference) = &mut key.kind {
                    reference.columns.extend(other);
                }
            }
            None => {
                let is_whole = other.is_some();
                let reference = Reference {
                    schema: SCHEMA.to_owned(),
                    table: there.table.clone(),
                    columns: other.into_iter().collect(),
                    key: None,
                    on_update: KeyRule::of_words(row.get::<&str, _>(5)),
                    on_delete: KeyRule::of_words(row.get::<&str, _>(6)),
                };
                let kind = KeyKind::Foreign(Box::new(reference));
                let key = TableKey { table, name: String::new(), kind, columns: vec![column] };
                found.push((id, key, is_whole));
            }
        }
    }
    let whole = found.into_iter().filter(|(.., is_whole)| *is_whole);
    let mut keys = Vec::<TableKey>::new();
    for (_, mut key, _) in whole {
        if let KeyKind::Foreign(reference) = &mut key.kind {
            reference.key = key_of(known, reference);
        }
        let name = format!("{}_{}_fkey", key.table, key.columns.join("_"));
        let n_alike = keys.iter().filter(|one| one.name.starts_with(&name)).count();
        key.name = if n_alike == 0 { name } else { format!("{name}{n_alike}") };
        keys.push(key);
    }
    Ok(keys)
}

/// Returns the name of the key of the columns that a reference is to.
fn key_of(known: &[TableKey], reference: &Reference) -> Option<String> {
    let is_it = |key: &&TableKey| {
        key.table == reference.table
            && key.columns.len() == reference.columns.len()
            && reference.columns.iter().all(|column| key.columns.contains(column))
    };
    known.iter().find(is_it).map(|key| key.name.clone())
}
