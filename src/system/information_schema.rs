//! `information_schema` of one catalog, as views over schema `system`.
//!
//! Columns and their names are those of ISO/IEC 9075-11 that PostgreSQL 16 fills; what Maru does not have is NULL, and views of
//! what Maru does not have (domains, routines) are empty.

use maru_core::{quote_ident, quote_literal};

/// The views: name and query. `$catalog` is the catalog as a literal.
const VIEWS: &[(&str, &str)] = &[
    (
        "applicable_roles",
        "SELECT member AS grantee, role AS role_name, CASE WHEN admin THEN 'YES' ELSE 'NO' END AS is_grantable \
         FROM system.role_members WHERE pg_has_role(member, 'USAGE')",
    ),
    (
        "character_sets",
        "SELECT CAST(NULL AS TEXT) AS character_set_catalog, CAST(NULL AS TEXT) AS character_set_schema, \
         'UTF8' AS character_set_name, 'UCS' AS character_repertoire, 'UTF8' AS form_of_use, $catalog AS default_collate_catalog, \
         CAST(NULL AS TEXT) AS default_collate_schema, CAST(NULL AS TEXT) AS default_collate_name",
    ),
    (
        "check_constraints",
        "SELECT catalog AS constraint_catalog, schema AS constraint_schema, name AS constraint_name, condition AS check_clause \
         FROM system.checks WHERE catalog = $catalog",
    ),
    (
        "columns",
        "SELECT catalog AS table_catalog, schema AS table_schema, \"table\" AS table_name, name AS column_name, \
         CAST(position AS INT) AS ordinal_position, \"default\" AS column_default, \
         CASE WHEN nullable THEN 'YES' ELSE 'NO' END AS is_nullable, \
         CASE WHEN type LIKE '%[]' THEN 'ARRAY' WHEN type LIKE 'numeric(%' THEN 'numeric' \
         WHEN type LIKE 'timestamp%with time zone' THEN 'timestamp with time zone' \
         WHEN type LIKE 'timestamp%' THEN 'timestamp without time zone' WHEN type = 'time' THEN 'time without time zone' \
         ELSE type END AS data_type, \
         CAST(NULL AS INT) AS character_maximum_length, CAST(NULL AS INT) AS character_octet_length, \
         CAST(CASE type WHEN 'smallint' THEN 16 WHEN 'integer' THEN 32 WHEN 'bigint' THEN 64 WHEN 'real' THEN 24 \
         WHEN 'double precision' THEN 53 \
         ELSE CASE WHEN type LIKE 'numeric(%)' THEN CAST(split_part(substr(type, 9), ',', 1) AS INT) END END AS INT) AS numeric_precision, \
         CAST(CASE WHEN type IN ('smallint', 'integer', 'bigint', 'real', 'double precision') THEN 2 \
         WHEN type LIKE 'numeric(%)' THEN 10 END AS INT) AS numeric_precision_radix, \
         CAST(CASE WHEN type IN ('smallint', 'integer', 'bigint') THEN 0 \
         WHEN type LIKE 'numeric(%)' THEN CAST(rtrim(split_part(type, ',', 2), ')') AS INT) END AS INT) AS numeric_scale, \
         CAST(CASE WHEN type = 'date' THEN 0 WHEN type LIKE 'time%' AND NOT type LIKE '%[]' THEN 6 WHEN type = 'interval' THEN 6 END AS INT) \
         AS datetime_precision, CAST(NULL AS TEXT) AS interval_type, CAST(NULL AS TEXT) AS character_set_name, \
         CAST(NULL AS TEXT) AS collation_name, CAST(NULL AS TEXT) AS domain_catalog, CAST(NULL AS TEXT) AS domain_schema, \
         CAST(NULL AS TEXT) AS domain_name, catalog AS udt_catalog, 'pg_catalog' AS udt_schema, \
         (CASE WHEN type LIKE '%[]' THEN '_' ELSE '' END) || (CASE WHEN type LIKE 'row(%' OR type LIKE 'map%' THEN 'json' WHEN type = 'union' THEN 'text' \
         WHEN type LIKE 'numeric%' THEN 'numeric' WHEN type LIKE 'timestamp%with time zone%' THEN 'timestamptz' \
         WHEN type LIKE 'timestamp%' THEN 'timestamp' WHEN type LIKE 'bigint%' THEN 'int8' WHEN type LIKE 'integer%' THEN 'int4' \
         WHEN type LIKE 'smallint%' THEN 'int2' WHEN type LIKE 'boolean%' THEN 'bool' WHEN type LIKE 'double precision%' THEN 'float8' \
         WHEN type LIKE 'real%' THEN 'float4' ELSE rtrim(type, '[]') END) AS udt_name, \
         CAST(position AS TEXT) AS dtd_identifier, 'NO' AS is_self_referencing, 'NO' AS is_identity, \
         CAST(NULL AS TEXT) AS identity_generation, 'NEVER' AS is_generated, CAST(NULL AS TEXT) AS generation_expression, \
         'NO' AS is_updatable \
         FROM system.columns WHERE catalog = $catalog",
    ),
    (
        "constraint_column_usage",
        "SELECT catalog AS table_catalog, coalesce(referenced_schema, schema) AS table_schema, \
         coalesce(referenced_table, \"table\") AS table_name, coalesce(referenced_column, \"column\") AS column_name, \
         catalog AS constraint_catalog, schema AS constraint_schema, name AS constraint_name \
         FROM system.keys WHERE catalog = $catalog",
    ),
    (
        "constraint_table_usage",
        "SELECT catalog AS table_catalog, coalesce(referenced_schema, schema) AS table_schema, \
         coalesce(referenced_table, \"table\") AS table_name, catalog AS constraint_catalog, schema AS constraint_schema, \
         name AS constraint_name FROM system.keys WHERE catalog = $catalog AND position = 1",
    ),
    (
        "enabled_roles",
        "SELECT name AS role_name FROM system.roles WHERE pg_has_role(name, 'USAGE')",
    ),
    ("information_schema_catalog_name", "SELECT $catalog AS catalog_name"),
    (
        "key_column_usage",
        "SELECT catalog AS constraint_catalog, schema AS constraint_schema, name AS constraint_name, catalog AS table_catalog, \
         schema AS table_schema, \"table\" AS table_name, \"column\" AS column_name, CAST(position AS INT) AS ordinal_position, \
         CAST(referenced_position AS INT) AS position_in_unique_constraint FROM system.keys WHERE catalog = $catalog",
    ),
    (
        "referential_constraints",
        "SELECT catalog AS constraint_catalog, schema AS constraint_schema, name AS constraint_name, \
         catalog AS unique_constraint_catalog, referenced_schema AS unique_constraint_schema, referenced_key AS unique_constraint_name, \
         'NONE' AS match_option, on_update AS update_rule, on_delete AS delete_rule \
         FROM system.keys WHERE catalog = $catalog AND kind = 'foreign key' AND position = 1",
    ),
    (
        "role_table_grants",
        "SELECT * FROM $catalog_name.information_schema.table_privileges WHERE grantee <> 'PUBLIC'",
    ),
    (
        "schemata",
        "SELECT catalog AS catalog_name, name AS schema_name, owner AS schema_owner, CAST(NULL AS TEXT) AS default_character_set_catalog, \
         CAST(NULL AS TEXT) AS default_character_set_schema, CAST(NULL AS TEXT) AS default_character_set_name, CAST(NULL AS TEXT) AS sql_path \
         FROM system.schemas WHERE catalog = $catalog",
    ),
    (
        "table_constraints",
        "SELECT catalog AS constraint_catalog, schema AS constraint_schema, name AS constraint_name, catalog AS table_catalog, \
         schema AS table_schema, \"table\" AS table_name, upper(kind) AS constraint_type, 'NO' AS is_deferrable, \
         'NO' AS initially_deferred, 'YES' AS enforced FROM system.keys WHERE catalog = $catalog AND position = 1 \
         UNION ALL SELECT catalog, schema, name, catalog, schema, \"table\", 'CHECK', 'NO', 'NO', 'YES' \
         FROM system.checks WHERE catalog = $catalog",
    ),
    (
        "table_privileges",
        "SELECT grantor, coalesce(grantee, 'PUBLIC') AS grantee, catalog AS table_catalog, schema AS table_schema, name AS table_name, \
         privilege AS privilege_type, CASE WHEN grantable THEN 'YES' ELSE 'NO' END AS is_grantable, \
         CASE WHEN privilege = 'SELECT' THEN 'YES' ELSE 'NO' END AS with_hierarchy \
         FROM system.privileges WHERE catalog = $catalog AND kind = 'table' AND \"column\" IS NULL \
         UNION ALL SELECT owner, owner, catalog, schema, name, word, 'YES', CASE WHEN word = 'SELECT' THEN 'YES' ELSE 'NO' END \
         FROM system.tables CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE'), ('TRUNCATE')) AS own (word) \
         WHERE catalog = $catalog AND (writable OR word = 'SELECT') AND schema NOT IN ('information_schema', 'pg_catalog', 'system')",
    ),
    (
        "tables",
        "SELECT catalog AS table_catalog, schema AS table_schema, name AS table_name, \
         CASE WHEN kind = 'view' THEN 'VIEW' WHEN schema LIKE 'pg\\_temp\\_%' THEN 'LOCAL TEMPORARY' ELSE 'BASE TABLE' END AS table_type, CAST(NULL AS TEXT) AS self_referencing_column_name, \
         CAST(NULL AS TEXT) AS reference_generation, CAST(NULL AS TEXT) AS user_defined_type_catalog, \
         CAST(NULL AS TEXT) AS user_defined_type_schema, CAST(NULL AS TEXT) AS user_defined_type_name, \
         CASE WHEN writable THEN 'YES' ELSE 'NO' END AS is_insertable_into, 'NO' AS is_typed, CAST(NULL AS TEXT) AS commit_action \
         FROM system.tables WHERE catalog = $catalog",
    ),
    (
        "views",
        "SELECT catalog AS table_catalog, schema AS table_schema, name AS table_name, \
         definition AS view_definition, 'NONE' AS check_option, 'NO' AS is_updatable, 'NO' AS is_insertable_into, \
         'NO' AS is_trigger_updatable, 'NO' AS is_trigger_deletable, 'NO' AS is_trigger_insertable_into \
         FROM system.tables WHERE catalog = $catalog AND kind = 'view'",
    ),
];

/// Views without rows: name and columns. `#` before a name makes it one of whole numbers.
const EMPTY: &[(&str, &[&str])] = &[
    ("collations", &["collation_catalog", "collation_schema", "collation_name", "pad_attribute"]),
    (
        "domains",
        &[
            "domain_catalog",
            "domain_schema",
            "domain_name",
            "data_type",
            "udt_catalog",
            "udt_schema",
            "udt_name",
        ],
    ),
    (
        "element_types",
        &[
            "object_catalog",
            "object_schema",
            "object_name",
            "object_type",
            "collection_type_identifier",
            "data_type",
            "udt_catalog",
            "udt_schema",
            "udt_name",
            "dtd_identifier",
        ],
    ),
    (
        "parameters",
        &[
            "specific_catalog",
            "specific_schema",
            "specific_name",
            "#ordinal_position",
            "parameter_mode",
            "parameter_name",
            "data_type",
            "udt_schema",
            "udt_name",
        ],
    ),
    (
        "routine_privileges",
        &[
            "grantor",
            "grantee",
            "specific_catalog",
            "specific_schema",
            "specific_name",
            "routine_catalog",
            "routine_schema",
            "routine_name",
            "privilege_type",
            "is_grantable",
        ],
    ),
    (
        "routines",
        &[
            "specific_catalog",
            "specific_schema",
            "specific_name",
            "routine_catalog",
            "routine_schema",
            "routine_name",
            "routine_type",
            "data_type",
            "routine_body",
            "routine_definition",
            "external_language",
        ],
    ),
    (
        "sequences",
        &[
            "sequence_catalog",
            "sequence_schema",
            "sequence_name",
            "data_type",
            "start_value",
            "minimum_value",
            "maximum_value",
            "increment",
        ],
    ),
    (
        "triggers",
        &[
            "trigger_catalog",
            "trigger_schema",
            "trigger_name",
            "event_manipulation",
            "event_object_catalog",
            "event_object_schema",
            "event_object_table",
            "action_statement",
            "action_orientation",
            "action_timing",
        ],
    ),
];

/// Returns the query behind a view of `information_schema` in `catalog`.
pub fn query(catalog: &str, view: &str) -> Option<String> {
    if let Some((_, query)) = VIEWS.iter().find(|(name, _)| *name == view) {
        let query = query.replace("$catalog_name", &quote_ident(catalog));
        return Some(query.replace("$catalog", &quote_literal(catalog)));
    }
    let (_, columns) = EMPTY.iter().find(|(name, _)| *name == view)?;
    let columns = columns.iter().map(|column| match column.strip_prefix('#') {
        Some(number) => format!("CAST(NULL AS INT) AS {}", quote_ident(number)),
        None => format!("CAST(NULL AS TEXT) AS {}", quote_ident(column)),
    });
    Some(format!("SELECT {} WHERE false", columns.collect::<Vec<_>>().join(", ")))
}

/// Views of `pg_catalog`, made likewise.
const OF_POSTGRES: &[(&str, &str)] = &[
    (
        "pg_authid",
        "SELECT oid, rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, \
         rolconnlimit, rolpassword, rolvaliduntil FROM pg_catalog.pg_roles",
    ),
    (
        "pg_group",
        "SELECT r.rolname AS groname, r.oid AS grosysid, m.members AS grolist FROM pg_catalog.pg_roles AS r LEFT JOIN \
         (SELECT roleid, array_agg(member) AS members FROM pg_catalog.pg_auth_members GROUP BY roleid) AS m ON m.roleid = r.oid \
         WHERE NOT r.rolcanlogin",
    ),
    (
        "pg_policies",
        "SELECT schema AS schemaname, \"table\" AS tablename, name AS policyname, upper(kind) AS permissive, \
         string_to_array(CASE WHEN roles = 'PUBLIC' THEN 'public' ELSE roles END, ', ') AS roles, command AS cmd, \
         expression AS qual, check_expression AS with_check \
         FROM system.policies WHERE catalog = $catalog AND kind <> 'mask'",
    ),
    (
        "pg_shadow",
        "SELECT rolname AS usename, oid AS usesysid, rolcreatedb AS usecreatedb, rolsuper AS usesuper, rolreplication AS userepl, \
         rolbypassrls AS usebypassrls, rolpassword AS passwd, rolvaliduntil AS valuntil, rolconfig AS useconfig \
         FROM pg_catalog.pg_roles WHERE rolcanlogin",
    ),
    (
        "pg_tables",
        "SELECT schema AS schemaname, name AS tablename, owner AS tableowner, CAST(NULL AS TEXT) AS tablespace, \
     false AS hasindexes, false AS hasrules, false AS hastriggers, row_security AS rowsecurity \
     FROM system.tables WHERE catalog = $catalog AND kind <> 'view'",
    ),
    (
        "pg_user",
        "SELECT rolname AS usename, oid AS usesysid, rolcreatedb AS usecreatedb, rolsuper AS usesuper, rolreplication AS userepl, \
         rolbypassrls AS usebypassrls, rolpassword AS passwd, rolvaliduntil AS valuntil, rolconfig AS useconfig \
         FROM pg_catalog.pg_roles WHERE rolcanlogin",
    ),
    (
        "pg_views",
        "SELECT schema AS schemaname, name AS viewname, owner AS viewowner, definition \
         FROM system.tables WHERE catalog = $catalog AND kind = 'view'",
    ),
];

/// Returns the query behind a view of `pg_catalog` in `catalog`.
pub fn postgres_query(catalog: &str, view: &str) -> Option<String> {
    let (_, query) = OF_POSTGRES.iter().find(|(name, _)| *name == view)?;
    Some(query.replace("$catalog", &quote_literal(catalog)))
}

/// Returns the names of the views.
pub fn names() -> impl Iterator<Item = &'static str> {
    VIEWS.iter().map(|(name, _)| *name).chain(EMPTY.iter().map(|(name, _)| *name))
}
