-- Tool: DBeaver Community, which connects by PostgreSQL's JDBC driver; no version in particular.
-- Source: none that was read; written from what is commonly known of what its PostgreSQL plug-in asks, to be compared with a real one's log.
-- Before each statement: its name, whether it has rows where there are tables (rows) or may have none (any), and what its columns begin with.

-- session: rows: current_schema, session_user
SELECT current_schema(), session_user;

-- version: rows: version
SELECT version();

-- search path: rows: search_path
SHOW search_path;

-- database: rows: oid, oid, datname
SELECT db.oid, db.* FROM pg_catalog.pg_database db WHERE datname = 'maru';

-- databases: rows: oid, oid, datname
SELECT db.oid, db.* FROM pg_catalog.pg_database db WHERE datallowconn AND NOT datistemplate OR db.datname = 'maru' ORDER BY db.datname;

-- string literals: rows: name, setting
SELECT * FROM pg_catalog.pg_settings WHERE name = 'standard_conforming_strings';

-- schemas: rows: oid, oid, nspname
SELECT n.oid, n.*, d.description FROM pg_catalog.pg_namespace n
  LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = n.oid AND d.objsubid = 0 AND d.classoid = 'pg_namespace'::regclass
  ORDER BY nspname;

-- types: rows: oid, oid, typname
SELECT t.oid, t.*, c.relkind, format_type(nullif(t.typbasetype, 0), t.typtypmod) AS base_type_name, d.description
  FROM pg_catalog.pg_type t
  LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid = t.typelem
  LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
  LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid = d.objoid
  WHERE t.typname IS NOT NULL AND (c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> 'C');

-- enumerations: any
SELECT e.enumlabel FROM pg_catalog.pg_enum e WHERE e.enumtypid = 16 ORDER BY e.enumsortorder;

-- tables: rows: oid, oid, relname
SELECT c.oid, c.*, d.description, pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS partition_expr,
    pg_catalog.pg_get_partkeydef(c.oid) AS partition_key
  FROM pg_catalog.pg_class c
  LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass
  WHERE c.relnamespace = {schema} AND c.relkind NOT IN ('i', 'I', 'c');

-- columns: rows: relname
SELECT c.relname, a.*, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) AS def_value, dsc.description, dep.objid
  FROM pg_catalog.pg_attribute a
  INNER JOIN pg_catalog.pg_class c ON (a.attrelid = c.oid)
  LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON (a.attrelid = ad.adrelid AND a.attnum = ad.adnum)
  LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid = dsc.objoid AND a.attnum = dsc.objsubid)
  LEFT OUTER JOIN pg_depend dep ON dep.refobjid = a.attrelid AND dep.deptype = 'i' AND dep.refobjsubid = a.attnum AND dep.classid = dep.refclassid
  WHERE NOT a.attisdropped AND c.oid = {table} ORDER BY a.attnum;

-- columns of a schema: rows: relname
SELECT c.relname, a.*, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) AS def_value, dsc.description, dep.objid
  FROM pg_catalog.pg_attribute a
  INNER JOIN pg_catalog.pg_class c ON (a.attrelid = c.oid)
  LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON (a.attrelid = ad.adrelid AND a.attnum = ad.adnum)
  LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid = dsc.objoid AND a.attnum = dsc.objsubid)
  LEFT OUTER JOIN pg_depend dep ON dep.refobjid = a.attrelid AND dep.deptype = 'i' AND dep.refobjsubid = a.attnum AND dep.classid = dep.refclassid
  WHERE NOT a.attisdropped AND c.relkind NOT IN ('i', 'I', 'c') AND c.relnamespace = {schema} ORDER BY a.attnum;

-- constraints: any
SELECT c.oid, c.*, t.relname AS tabrelname, rt.relnamespace AS refnamespace, d.description,
    CASE WHEN c.contype = 'c' THEN "substring"(pg_get_constraintdef(c.oid), 7) ELSE NULL END consrc_copy
  FROM pg_catalog.pg_constraint c
  INNER JOIN pg_catalog.pg_class t ON t.oid = c.conrelid
  LEFT OUTER JOIN pg_catalog.pg_class rt ON rt.oid = c.confrelid
  LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_constraint'::regclass
  WHERE t.relnamespace = {schema} ORDER BY c.oid;

-- indexes: any
SELECT i.*, i.indkey AS keys, c.relname, c.relnamespace, c.relam, c.reltablespace, tc.relname AS tabrelname, dsc.description,
    pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS pred_expr, pg_catalog.pg_get_expr(i.indexprs, i.indrelid, true) AS expr,
    pg_catalog.pg_relation_size(i.indexrelid) AS index_rel_size, pg_catalog.pg_stat_get_numscans(i.indexrelid) AS index_num_scans
  FROM pg_catalog.pg_index i
  INNER JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  INNER JOIN pg_catalog.pg_class tc ON tc.oid = i.indrelid
  LEFT OUTER JOIN pg_catalog.pg_description dsc ON i.indexrelid = dsc.objoid
  WHERE tc.relnamespace = {schema} ORDER BY tc.relname, c.relname;

-- text of a view: rows: definition
SELECT pg_catalog.pg_get_viewdef({view}, true) AS definition;

-- sizes: rows: oid, total_rel_size, rel_size
SELECT c.oid, pg_catalog.pg_total_relation_size(c.oid) AS total_rel_size, pg_catalog.pg_relation_size(c.oid) AS rel_size
  FROM pg_class c WHERE c.relnamespace = {schema};

-- functions: any
SELECT p.oid AS poid, p.*, pg_catalog.pg_get_expr(p.proargdefaults, 0) AS arg_defaults, d.description
  FROM pg_catalog.pg_proc p
  LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = p.oid AND d.objsubid = 0
  WHERE p.pronamespace = {schema} ORDER BY p.proname;

-- triggers: any
SELECT x.oid, x.*, p.pronamespace AS func_schema_id, d.description
  FROM pg_catalog.pg_trigger x
  LEFT OUTER JOIN pg_catalog.pg_proc p ON p.oid = x.tgfoid
  LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = x.oid AND d.objsubid = 0
  WHERE x.tgrelid = {table};

-- rules: any
SELECT r.*, c.relname FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class WHERE r.ev_class = {table};

-- parents: any
SELECT i.*, c.relnamespace FROM pg_catalog.pg_inherits i, pg_catalog.pg_class c WHERE i.inhrelid = {table} AND c.oid = i.inhparent ORDER BY i.inhseqno;

-- sequences: any
SELECT c.oid, c.*, d.description FROM pg_catalog.pg_class c
  LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass
  WHERE c.relnamespace = {schema} AND c.relkind = 'S';

-- roles: rows: oid, rolname
SELECT a.oid, a.*, pd.description FROM pg_catalog.pg_roles a
  LEFT JOIN pg_catalog.pg_shdescription pd ON a.oid = pd.objoid ORDER BY a.rolname;

-- extensions: any
SELECT e.oid, e.*, n.nspname AS schema_name FROM pg_catalog.pg_extension e
  JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace ORDER BY e.oid;

-- tablespaces: any
SELECT t.oid, t.*, pg_tablespace_location(t.oid) AS loc FROM pg_catalog.pg_tablespace t ORDER BY t.oid;

-- languages: rows
SELECT l.oid, l.* FROM pg_catalog.pg_language l ORDER BY l.oid;

-- encodings: rows
SELECT c.contoencoding AS encid, pg_catalog.pg_encoding_to_char(c.contoencoding) AS encname FROM pg_catalog.pg_conversion c
  GROUP BY c.contoencoding ORDER BY 2;

-- access methods: rows
SELECT am.oid, am.* FROM pg_catalog.pg_am am ORDER BY am.oid;

-- sessions: rows
SELECT sa.* FROM pg_catalog.pg_stat_activity sa;
