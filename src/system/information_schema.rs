//! `information_schema` of one catalog, as views over schema `system`.
//!
//! Columns and their names are those of ISO/IEC 9075-11 that PostgreSQL 16 fills; what Maru does not have is NULL.

use maru_core::quote_literal;

/// The views: name and query. `$catalog` is the catalog as a literal.
const VIEWS: &[(&str, &str)] = &[
    (
        "columns",
        "SELECT catalog AS table_catalog, schema AS table_schema, \"table\" AS table_name, name AS column_name, \
         CAST(position AS INT) AS ordinal_position, CAST(NULL AS TEXT) AS column_default, \
         CASE WHEN nullable THEN 'YES' ELSE 'NO' END AS is_nullable, \
         CASE WHEN type LIKE 'numeric(%' THEN 'numeric' WHEN type = 'timestamp' THEN 'timestamp without time zone' \
         WHEN type = 'time' THEN 'time without time zone' WHEN type LIKE '%[]' THEN 'ARRAY' ELSE type END AS data_type, \
         CAST(NULL AS INT) AS character_maximum_length, type AS udt_name, 'NO' AS is_updatable \
         FROM system.columns WHERE catalog = $catalog",
    ),
    (
        "schemata",
        "SELECT catalog AS catalog_name, name AS schema_name, 'maru' AS schema_owner \
         FROM system.schemas WHERE catalog = $catalog",
    ),
    (
        "tables",
        "SELECT catalog AS table_catalog, schema AS table_schema, name AS table_name, \
         CASE WHEN kind = 'view' THEN 'VIEW' ELSE 'BASE TABLE' END AS table_type, 'NO' AS is_insertable_into \
         FROM system.tables WHERE catalog = $catalog",
    ),
    (
        "views",
        "SELECT catalog AS table_catalog, schema AS table_schema, name AS table_name, \
         CAST(NULL AS TEXT) AS view_definition, 'NO' AS is_updatable \
         FROM system.tables WHERE catalog = $catalog AND kind = 'view'",
    ),
];

/// Returns the query behind a view of `information_schema` in `catalog`.
pub fn query(catalog: &str, view: &str) -> Option<String> {
    let (_, query) = VIEWS.iter().find(|(name, _)| *name == view)?;
    Some(query.replace("$catalog", &quote_literal(catalog)))
}

/// Returns the names of the views.
pub fn names() -> impl Iterator<Item = &'static str> {
    VIEWS.iter().map(|(name, _)| *name)
}
