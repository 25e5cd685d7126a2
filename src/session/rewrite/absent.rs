//! What PostgreSQL's catalogs tell of features that the engine does not have: text search, foreign data wrappers, partition trees,
//! extended statistics, families of operators, sequences, extensions. psql and other tools ask for them (`\dF`, `\des+`, `\dP+`, `\dX`,
//! `\dAp`), and find none.

mod measured;

use datafusion::sql::sqlparser::parser::Parser;
use maru_sql::MaruDialect;
use maru_sql::ast::{ObjectNamePart, TableAlias, TableFactor};

/// Tables and functions in the place of tables, and their columns.
const EMPTY: &[(&str, &str)] = &[
    (
        "pg_amproc",
        "oid oid, amprocfamily oid, amproclefttype oid, amprocrighttype oid, amprocnum int, amproc oid",
    ),
    (
        "pg_available_extension_versions",
        "name text, version text, installed bool, superuser bool, trusted bool, relocatable bool, schema text, requires text[], comment text",
    ),
    (
        "pg_available_extensions",
        "name text, default_version text, installed_version text, comment text",
    ),
    ("pg_options_to_table", "option_name text, option_value text"),
    ("pg_partition_tree", "relid oid, parentrelid oid, isleaf bool, level int"),
    (
        "pg_sequences",
        "schemaname text, sequencename text, sequenceowner text, data_type text, start_value bigint, min_value bigint, max_value bigint, increment_by bigint, cycle bool, cache_size bigint, last_value bigint",
    ),
    (
        "pg_statistic_ext",
        "oid oid, stxrelid oid, stxname text, stxnamespace oid, stxowner oid, stxstattarget int, stxkeys text[], stxkind text[], stxexprs text",
    ),
    ("pg_ts_config", "oid oid, cfgname text, cfgnamespace oid, cfgowner oid, cfgparser oid"),
    ("pg_ts_config_map", "mapcfg oid, maptokentype int, mapseqno int, mapdict oid"),
    (
        "pg_ts_dict",
        "oid oid, dictname text, dictnamespace oid, dictowner oid, dicttemplate oid, dictinitoption text",
    ),
    (
        "pg_ts_parser",
        "oid oid, prsname text, prsnamespace oid, prsstart text, prstoken text, prsend text, prsheadline text, prslextype text",
    ),
    ("pg_ts_template", "oid oid, tmplname text, tmplnamespace oid, tmplinit text, tmpllexize text"),
    (
        "pg_user_mappings",
        "umid oid, srvid oid, srvname text, umuser oid, usename text, umoptions text[]",
    ),
    ("ts_token_type", "tokid int, alias text, description text"),
];

/// Puts a query in the place of one of them; most have no rows.
pub(super) fn table(table: &mut TableFactor) {
    let (name, alias) = match table {
        TableFactor::Table { name, alias, .. } | TableFactor::Function { name, alias, .. } => {
            (name, alias)
        }
        _ => return,
    };
    let parts = name.0.iter().map(ObjectNamePart::as_ident);
    let parts = parts.map(|part| part.map(|part| part.value.to_lowercase()));
    let Some(parts) = parts.collect::<Option<Vec<_>>>() else { return };
    let name = match parts.as_slice() {
        [name] => name,
        [schema, name] if schema == "pg_catalog" => name,
        _ => return,
    };
    let Some(sql) = instead(name) else { return };
    let parsed = Parser::new(&MaruDialect).try_with_sql(&sql);
    let Ok(mut empty) = parsed.and_then(|mut parser| parser.parse_table_factor()) else { return };
    if let (TableFactor::Derived { alias: own, .. }, Some(TableAlias { name, .. })) =
        (&mut empty, alias.as_ref())
        && let Some(own) = own
    {
        own.name = name.clone();
    }
    *table = empty;
}

/// Returns what stands for a table, in parentheses and with its name.
fn instead(name: &str) -> Option<String> {
    if name == "pg_stat_database" {
        return Some(measured::DATABASES.to_owned());
    }
    let own = EMPTY.iter().find(|(known, _)| *known == name).map(|(_, columns)| *columns);
    let columns = own.or_else(|| {
        let view = measured::VIEWS.iter().find(|(names, _)| names.contains(&name));
        view.map(|(_, columns)| *columns)
    })?;
    let columns = columns.split(", ").filter_map(|column| column.split_once(' '));
    let columns = columns.map(|(name, of)| format!("CAST(NULL AS {of}) AS {name}"));
    let columns = columns.collect::<Vec<_>>().join(", ");
    Some(format!("(SELECT {columns} WHERE false) AS {name}"))
}
