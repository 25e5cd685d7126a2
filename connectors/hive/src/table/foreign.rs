//! Tables that the metastore knows and that are more than files, or none: what they are, and where else they can be read.

use hive_metastore::Table;
use maru_core::{Error, Result};

use crate::location;

/// What a mark says: the table parameter, its value, what the table is, and what its reader can do.
const MARKS: &[(&str, &str, &str, Instead)] = &[
    ("table_type", "ICEBERG", "an Iceberg table", Instead::Engine),
    ("table_type", "DELTA", "a Delta Lake table", Instead::Path),
    ("table_type", "HUDI", "a Hudi table", Instead::Engine),
    ("table_type", "PAIMON", "a Paimon table", Instead::Engine),
    ("spark.sql.sources.provider", "delta", "a Delta Lake table", Instead::Path),
    ("spark.sql.sources.provider", "iceberg", "an Iceberg table", Instead::Engine),
    ("spark.sql.sources.provider", "hudi", "a Hudi table", Instead::Engine),
    ("spark.sql.sources.provider", "jdbc", "a table of another database", Instead::Database),
    ("transactional", "true", "a transactional (ACID) table", Instead::Copy),
];

/// Storage handlers by a part of their class names.
const HANDLERS: &[(&str, &str, Instead)] = &[
    ("Iceberg", "an Iceberg table", Instead::Engine),
    ("Delta", "a Delta Lake table", Instead::Path),
    ("Paimon", "a Paimon table", Instead::Engine),
    ("HBase", "a table of HBase", Instead::Copy),
    ("Phoenix", "a table of Phoenix", Instead::Copy),
    ("Jdbc", "a table of another database", Instead::Database),
    ("Kudu", "a table of Kudu", Instead::Copy),
    ("Kafka", "a topic of Kafka", Instead::Copy),
    ("Druid", "a table of Druid", Instead::Copy),
    ("EsStorageHandler", "an index of Elasticsearch", Instead::Copy),
    ("Accumulo", "a table of Accumulo", Instead::Copy),
];

#[derive(Clone, Copy)]
enum Instead {
    /// Maru reads the files by their path.
    Path,
    /// Maru reads the other database.
    Database,
    /// A plain table is to be made of it.
    Copy,
    /// The same, by an engine that keeps such tables.
    Engine,
}

/// Looks whether a table consists of plain files.
///
/// # Errors
/// 0A000 with what it is otherwise, and what can be done.
pub(super) fn refuse(table: &Table, database: &str, name: &str) -> Result<()> {
    let parameter = |key: &str| {
        let parameters = table.parameters.as_ref();
        parameters.and_then(|all| all.get(key)).map(|value| value.as_str())
    };
    let refused = |what: String, instead: Instead| {
        let hint = match (instead, path(table)) {
            (Instead::Path, Some(path)) => {
                format!("Maru reads it where it lies: SELECT … FROM '{path}'.")
            }
            (Instead::Path, None) => "Maru reads it by its path: SELECT … FROM 's3://…'.".to_owned(),
            (Instead::Database, _) => {
                "Attach the database itself: CREATE CATALOG … USING postgres, mysql or sqlite."
                    .to_owned()
            }
            (Instead::Copy, _) => {
                "Maru reads plain Hive tables: make one of it in Hive (CREATE EXTERNAL TABLE … STORED AS PARQUET, INSERT …)."
                    .to_owned()
            }
            (Instead::Engine, _) => {
                "Maru reads plain Hive tables: make one of it in Spark (CREATE TABLE … STORED AS PARQUET AS SELECT …)."
                    .to_owned()
            }
        };
        Error::unsupported(format!("\"{database}\".\"{name}\" is {what}")).with_hint(hint)
    };
    for (key, value, what, instead) in MARKS {
        if parameter(key).is_some_and(|found| found.eq_ignore_ascii_case(value)) {
            return Err(refused((*what).to_owned(), *instead));
        }
    }
    let Some(handler) = parameter("storage_handler").filter(|handler| !handler.is_empty()) else {
        return Ok(());
    };
    let class = handler.rsplit('.').next().unwrap_or_default();
    let known = HANDLERS.iter().find(|(part, ..)| class.contains(part));
    Err(match known {
        Some((_, what, instead)) => refused(format!("{what}, kept by {handler}"), *instead),
        None => refused(format!("kept by {handler}, not in files"), Instead::Copy),
    })
}

/// Returns where the files of a table lie. Spark keeps that among the SerDe's parameters.
fn path(table: &Table) -> Option<String> {
    let storage = table.sd.as_ref()?;
    let serde = storage.serde_info.as_ref().and_then(|serde| serde.parameters.as_ref());
    let of_spark = serde.and_then(|parameters| parameters.get("path"));
    let path = of_spark.or(storage.location.as_ref())?;
    location::url(path).ok().map(|url| url.to_string())
}
