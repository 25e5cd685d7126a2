//! `PREVIEW 's3://…'`: a look at files before a table is made of them.
//!
//! The rows are a query's; what was found out about the files on the way is told as notices.

use std::sync::Arc;

use maru_connect::{FileFormatSpec, FileTable, SourceTable};
use maru_core::Result;
use maru_sql::{Preview, Statement};

use super::Session;
use crate::catalog::builtin::open_path;
use crate::system::types::sql_name;

/// Rows that are shown where the statement does not say.
const ROWS: u64 = 10;

impl Session {
    /// Returns the query for the rows, and what is known of the files.
    ///
    /// # Errors
    /// Those of a query that reads the path or table.
    pub(super) async fn preview(
        self: &Arc<Self>,
        preview: &Preview,
    ) -> Result<(Statement, Vec<String>)> {
        let (from, notices) = match preview.name.0.as_slice() {
            [path] if path.contains('/') => {
                let notices = match open_path(self.catalogs(), path, None, &self.rights()).await? {
                    SourceTable::Files(table) => facts(&table).await?,
                    _ => Vec::new(),
                };
                (maru_core::quote_literal(path), notices)
            }
            _ => (preview.name.to_string(), Vec::new()),
        };
        let limit = preview.limit.unwrap_or(ROWS);
        Ok((maru_sql::parse(&format!("SELECT * FROM {from} LIMIT {limit}"))?, notices))
    }
}

/// Tells format, files, bytes, and columns with their types.
async fn facts(table: &FileTable) -> Result<Vec<String>> {
    let files = table.files.list(&[]).await?;
    let n_bytes = files.iter().map(|file| file.meta.size).sum::<u64>();
    let newest = files.iter().map(|file| file.meta.last_modified).max();
    let mut notices = vec![format!(
        "{}: {} {}, {n_bytes} bytes{}",
        format_of(&table.format),
        files.len(),
        if files.len() == 1 { "file" } else { "files" },
        newest.map_or_else(String::new, |time| {
            format!(", the newest of {}", time.format("%Y-%m-%d %H:%M:%S UTC"))
        })
    )];
    let schema = table.user_schema();
    let columns = schema.fields().iter().map(|field| {
        let partition = table.partition_columns.iter().any(|column| column.name() == field.name());
        let name = maru_core::quote_ident(field.name());
        let note = if partition { " (from the directories)" } else { "" };
        format!("{name} {}{note}", sql_name(field.data_type()))
    });
    notices.push(format!("columns: {}", columns.collect::<Vec<_>>().join(", ")));
    Ok(notices)
}

fn format_of(format: &FileFormatSpec) -> String {
    match format {
        FileFormatSpec::Parquet => "Parquet".to_owned(),
        FileFormatSpec::Json => "JSON lines".to_owned(),
        FileFormatSpec::Orc => "ORC".to_owned(),
        FileFormatSpec::Avro => "Avro".to_owned(),
        FileFormatSpec::Csv { has_header, delimiter, .. } => format!(
            "CSV with delimiter {:?}{}",
            char::from(*delimiter),
            if *has_header { " and a header" } else { "" }
        ),
        _ => "files".to_owned(),
    }
}
