-- Tool: DataGrip, which connects by PostgreSQL's JDBC driver; no version in particular.
-- Source: none that was read: its own are not public. Written from what is commonly known of what it asks, to be compared with a real one's log.

-- start: rows: version
SELECT version();

-- formats: rows
SHOW DateStyle;

-- server facts: rows
SELECT pg_catalog.current_database() AS a, pg_catalog.current_schema() AS b, pg_catalog.current_setting('server_version_num') AS c;

-- databases: rows: id, name
SELECT N.oid::bigint AS id, datname AS name, D.description, datistemplate AS is_template, datallowconn AS allow_connections,
    pg_catalog.pg_get_userbyid(N.datdba) AS "owner"
  FROM pg_catalog.pg_database N
  LEFT JOIN pg_catalog.pg_shdescription D ON N.oid = D.objoid
  ORDER BY CASE WHEN datname = pg_catalog.current_database() THEN -1::bigint ELSE N.oid::bigint END;

-- schemas: rows: id, state_number, name
SELECT N.oid::bigint AS id, N.xmin AS state_number, nspname AS name, D.description, pg_catalog.pg_get_userbyid(N.nspowner) AS "owner"
  FROM pg_catalog.pg_namespace N
  LEFT JOIN pg_catalog.pg_description D ON N.oid = D.objoid
  ORDER BY CASE WHEN nspname = pg_catalog.current_schema() THEN -1::bigint ELSE N.oid::bigint END;

-- oldest transaction: any
SELECT L.transactionid::varchar::bigint AS transaction_id FROM pg_catalog.pg_locks L
  WHERE L.transactionid IS NOT NULL ORDER BY pg_catalog.age(L.transactionid) DESC LIMIT 1;

-- transaction: rows: current_txid
SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE (pg_catalog.txid_current() % 4294967296)::varchar::bigint END AS current_txid;

-- time zone names: rows
SELECT name, is_dst FROM pg_catalog.pg_timezone_names UNION DISTINCT SELECT abbrev AS name, is_dst FROM pg_catalog.pg_timezone_abbrevs;

-- roles: rows: role_id, role_name
SELECT R.oid::bigint AS role_id, rolname AS role_name, rolsuper AS is_super, rolinherit AS is_inherit, rolcreaterole AS can_createrole,
    rolcreatedb AS can_createdb, rolcanlogin AS can_login, rolconnlimit AS conn_limit, rolvaliduntil AS valid_until, rolconfig AS config
  FROM pg_catalog.pg_roles R;

-- members: any
SELECT member AS id, roleid AS role_id, admin_option FROM pg_catalog.pg_auth_members ORDER BY id, roleid::text;

-- tables: rows: table_kind, table_name, table_id
SELECT T.relkind AS table_kind, T.relname AS table_name, T.oid AS table_id, T.xmin AS table_state_number, T.reltablespace AS tablespace_id,
    T.reloptions AS options, T.relpersistence AS persistence,
    (SELECT pg_catalog.array_agg(inhparent::bigint ORDER BY inhseqno)::varchar FROM pg_catalog.pg_inherits WHERE T.oid = inhrelid) AS ancestors,
    (SELECT pg_catalog.array_agg(inhrelid::bigint ORDER BY inhrelid)::varchar FROM pg_catalog.pg_inherits WHERE T.oid = inhparent) AS successors,
    T.relispartition AS is_partition, pg_catalog.pg_get_partkeydef(T.oid) AS partition_key,
    pg_catalog.pg_get_expr(T.relpartbound, T.oid) AS partition_expression, T.relam AS am_id, pg_catalog.pg_get_userbyid(T.relowner) AS "owner"
  FROM pg_catalog.pg_class T
  WHERE relnamespace = {schema}::oid AND relkind IN ('r', 'm', 'v', 'f', 'p')
  ORDER BY table_kind, table_id;

-- columns: rows: table_id, column_position
WITH T AS (SELECT DISTINCT T.oid AS table_id, T.relname AS table_name FROM pg_catalog.pg_class T
    WHERE T.relnamespace = {schema}::oid AND T.relkind IN ('r', 'm', 'v', 'f', 'p'))
  SELECT T.table_id, C.attnum AS column_position, C.attname AS column_name, C.xmin AS column_state_number, C.atttypmod AS type_mod,
      C.attndims AS dimensions_number, pg_catalog.format_type(C.atttypid, C.atttypmod) AS type_spec, C.atttypid AS type_id,
      C.attnotnull AS mandatory, pg_catalog.pg_get_expr(D.adbin, T.table_id) AS column_default_expression, NOT C.attislocal AS column_is_inherited,
      C.attfdwoptions AS options, C.attisdropped AS column_is_dropped, C.attidentity AS identity_kind, C.attgenerated AS generated
  FROM T JOIN pg_catalog.pg_attribute C ON T.table_id = C.attrelid
  LEFT JOIN pg_catalog.pg_attrdef D ON (C.attrelid, C.attnum) = (D.adrelid, D.adnum)
  WHERE attnum > 0 ORDER BY table_id, attnum;

-- descriptions: any
SELECT D.objoid id, C.relkind::char AS kind, D.objsubid sub_id, D.description
  FROM pg_catalog.pg_description D JOIN pg_catalog.pg_class C ON D.objoid = C.oid
  WHERE C.relnamespace = {schema}::oid AND C.relkind != 'c' AND D.classoid = 'pg_catalog.pg_class'::regclass;

-- views: rows: view_kind, view_id, source_text
SELECT T.relkind AS view_kind, T.oid AS view_id, pg_catalog.pg_get_viewdef(T.oid, true) AS source_text
  FROM pg_catalog.pg_class T JOIN pg_catalog.pg_namespace N ON T.relnamespace = N.oid
  WHERE N.oid = {schema}::oid AND T.relkind IN ('m', 'v');

-- indexes: any
SELECT tab.oid table_id, tab.relkind table_kind, ind_stor.relname index_name, ind_head.indexrelid index_id, ind_head.indisunique is_unique,
    ind_head.indisprimary is_primary, pg_catalog.pg_get_expr(ind_head.indpred, ind_head.indrelid) AS condition, am.amname AS access_method_name
  FROM pg_catalog.pg_class tab
  JOIN pg_catalog.pg_index ind_head ON ind_head.indrelid = tab.oid
  JOIN pg_catalog.pg_class ind_stor ON tab.relnamespace = ind_stor.relnamespace AND ind_stor.oid = ind_head.indexrelid
  LEFT JOIN pg_catalog.pg_am am ON ind_stor.relam = am.oid
  WHERE tab.relnamespace = {schema}::oid AND tab.relkind IN ('r', 'm', 'v', 'p') AND ind_stor.relkind IN ('i', 'I');

-- constraints: any
SELECT T.oid table_id, relkind table_kind, C.oid::bigint con_id, conname con_name, contype con_kind, conkey con_columns, conindid index_id,
    confrelid ref_table_id, condeferrable is_deferrable, confupdtype on_update, pg_catalog.pg_get_constraintdef(C.oid) AS con_expression
  FROM pg_catalog.pg_constraint C JOIN pg_catalog.pg_class T ON C.conrelid = T.oid
  WHERE relkind IN ('r', 'v', 'f', 'p') AND relnamespace = {schema}::oid AND contype IN ('p', 'u', 'f', 'c', 'x') AND connamespace = {schema}::oid;

-- types: any
SELECT T.oid AS type_id, T.typname AS type_name, T.typtype AS type_sub_kind, T.typcategory AS type_category, T.typrelid AS class_id,
    T.typbasetype AS base_type_id, T.typdefault AS default_expression, T.typnotnull AS mandatory, pg_catalog.pg_get_userbyid(T.typowner) AS "owner"
  FROM pg_catalog.pg_type T LEFT OUTER JOIN pg_catalog.pg_class C ON T.typrelid = C.oid
  WHERE T.typnamespace = {schema}::oid AND (T.typtype IN ('d', 'e') OR C.relkind = 'c'::"char" OR (T.typtype = 'b' AND (T.typelem = 0 OR T.typcategory <> 'A')) OR T.typtype = 'p' AND NOT T.typisdefined)
  ORDER BY 1;

-- keep alive: rows
SELECT 'keep alive';
