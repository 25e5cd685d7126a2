-- Tool: Grafana, its PostgreSQL data source, at commit 12f912ab8d01.
-- Source: github.com/grafana/grafana, public/app/plugins/datasource/grafana-postgresql-datasource/postgresMetaQuery.ts.
-- Asked here: the same tables, columns and functions in a text of our own; the last two are what a panel asks.

-- version: rows: version
SELECT current_setting('server_version_num')::int / 100 AS version;

-- timescale: any
SELECT extversion FROM pg_extension WHERE extname = 'timescaledb';

-- schemas: rows: name
SELECT schema_name AS "name" FROM information_schema.schemata
  WHERE schema_name NOT IN ('information_schema', 'pg_catalog', 'pg_toast', '_timescaledb_internal') ORDER BY schema_name;

-- tables of a schema: rows: table
SELECT quote_ident(table_name) AS "table" FROM information_schema.tables WHERE quote_ident(table_schema) = 'c_tools' ORDER BY 1;

-- tables: rows: table
SELECT CASE WHEN quote_ident(table_schema) IN (
        SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM generate_series(array_lower(string_to_array(current_setting('search_path'), ','), 1),
              array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i,
            string_to_array(current_setting('search_path'), ',') s)
      THEN quote_ident(table_name) ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS "table"
  FROM information_schema.tables
  WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog', '_timescaledb_internal')
  ORDER BY CASE WHEN quote_ident(table_schema) IN (
        SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM generate_series(array_lower(string_to_array(current_setting('search_path'), ','), 1),
              array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i,
            string_to_array(current_setting('search_path'), ',') s)
      THEN 0 ELSE 1 END, 1;

-- columns: rows: column, type
SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns
  WHERE CASE WHEN array_length(parse_ident('c_tools.orders'), 1) = 2
      THEN quote_ident(table_schema) = (parse_ident('c_tools.orders'))[1] AND quote_ident(table_name) = (parse_ident('c_tools.orders'))[2]
      ELSE quote_ident(table_name) = 'c_tools.orders' AND quote_ident(table_schema) IN (
        SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM generate_series(array_lower(string_to_array(current_setting('search_path'), ','), 1),
              array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i,
            string_to_array(current_setting('search_path'), ',') s)
      END;

-- health: rows
SELECT 1;

-- series: rows: time, metric, value
SELECT floor(extract(epoch FROM placed) / 3600) * 3600 AS "time", status AS metric, sum(amount) AS value
  FROM c_tools.orders WHERE placed BETWEEN '2020-01-01T00:00:00Z' AND '2030-01-01T00:00:00Z' GROUP BY 1, 2 ORDER BY 1, 2;
