-- Tool: Tableau, whose PostgreSQL connector is PostgreSQL's ODBC driver (psqlodbc) or its JDBC driver; no version in particular.
-- Source: none that was read: Tableau's are not public. Written from what is commonly known of what the ODBC driver asks for SQLTables,
-- SQLColumns, SQLPrimaryKeys, SQLForeignKeys and SQLStatistics, to be compared with a real one's log; the last two are what a sheet asks.

-- settings: any
SET DateStyle = 'ISO'; SET extra_float_digits = 2; show transaction_isolation;

-- large objects: any
select oid, typbasetype from pg_type where typname = 'lo';

-- SQLTables: rows: relname, nspname, relkind
select relname, nspname, relkind from pg_catalog.pg_class c, pg_catalog.pg_namespace n
  where relkind in ('r', 'v', 'm', 'f', 'p') and nspname not in ('pg_catalog', 'information_schema', 'pg_toast', 'pg_temp_1') and n.oid = relnamespace
  order by nspname, relname;

-- SQLColumns: rows: nspname, relname, attname
select n.nspname, c.relname, a.attname, a.atttypid, t.typname, a.attnum, a.attlen, a.atttypmod, a.attnotnull, c.relhasrules, c.relkind, c.oid,
    pg_get_expr(d.adbin, d.adrelid), case t.typtype when 'd' then t.typbasetype else 0 end, t.typtypmod, 0, attidentity, c.relhassubclass
  from (((pg_catalog.pg_class c inner join pg_catalog.pg_namespace n on n.oid = c.relnamespace and c.relname = E'orders' and n.nspname = E'c_tools')
    inner join pg_catalog.pg_attribute a on (not a.attisdropped) and a.attnum > 0 and a.attrelid = c.oid)
    inner join pg_catalog.pg_type t on t.oid = a.atttypid) left outer join pg_attrdef d on a.atthasdef and d.adrelid = a.attrelid and d.adnum = a.attnum
  order by n.nspname, c.relname, attnum;

-- SQLColumns by pattern: rows: nspname, relname, attname
select n.nspname, c.relname, a.attname, a.atttypid, t.typname, a.attnum, a.attlen, a.atttypmod, a.attnotnull, c.relhasrules, c.relkind, c.oid
  from (((pg_catalog.pg_class c inner join pg_catalog.pg_namespace n on n.oid = c.relnamespace and c.relname like E'ord%' and n.nspname like E'c\\_tools')
    inner join pg_catalog.pg_attribute a on (not a.attisdropped) and a.attnum > 0 and a.attrelid = c.oid)
    inner join pg_catalog.pg_type t on t.oid = a.atttypid) left outer join pg_attrdef d on a.atthasdef and d.adrelid = a.attrelid and d.adnum = a.attnum
  order by n.nspname, c.relname, attnum;

-- SQLPrimaryKeys: any
select ta.attname, ia.attnum, ic.relname, n.nspname, tc.relname
  from pg_catalog.pg_attribute ta, pg_catalog.pg_attribute ia, pg_catalog.pg_class tc, pg_catalog.pg_index i, pg_catalog.pg_namespace n, pg_catalog.pg_class ic
  where tc.relname = 'orders' and n.nspname = 'c_tools' and tc.oid = i.indrelid and n.oid = tc.relnamespace and i.indisprimary = 't'
    and ia.attrelid = i.indexrelid and ta.attrelid = i.indrelid and ta.attnum = i.indkey[ia.attnum-1] and (not ta.attisdropped) and (not ia.attisdropped) and ic.oid = i.indexrelid
  order by ia.attnum;

-- SQLForeignKeys: any
select 'maru'::name as "PKTABLE_CAT", n2.nspname as "PKTABLE_SCHEM", c2.relname as "PKTABLE_NAME", a2.attname as "PKCOLUMN_NAME",
    'maru'::name as "FKTABLE_CAT", n1.nspname as "FKTABLE_SCHEM", c1.relname as "FKTABLE_NAME", a1.attname as "FKCOLUMN_NAME", i::int2 as "KEY_SEQ",
    case ref.confupdtype when 'c' then 0::int2 when 'n' then 2::int2 when 'd' then 4::int2 when 'r' then 1::int2 else 3::int2 end as "UPDATE_RULE",
    ref.conname as "FK_NAME", cn.conname as "PK_NAME"
  from ((((((((select cn.oid, conrelid, conkey, confrelid, confkey, generate_series(array_lower(conkey, 1), array_upper(conkey, 1)) as i,
          confupdtype, confdeltype, conname, condeferrable, condeferred
        from pg_catalog.pg_constraint cn, pg_catalog.pg_class c, pg_catalog.pg_namespace n
        where contype = 'f' and conrelid = c.oid and relname = 'orders' and n.oid = c.relnamespace and n.nspname = 'c_tools') ref
      inner join pg_catalog.pg_class c1 on c1.oid = ref.conrelid)
      inner join pg_catalog.pg_namespace n1 on n1.oid = c1.relnamespace)
      inner join pg_catalog.pg_attribute a1 on a1.attrelid = c1.oid and a1.attnum = conkey[i])
      inner join pg_catalog.pg_class c2 on c2.oid = ref.confrelid)
      inner join pg_catalog.pg_namespace n2 on n2.oid = c2.relnamespace)
      inner join pg_catalog.pg_attribute a2 on a2.attrelid = c2.oid and a2.attnum = confkey[i])
      left outer join pg_catalog.pg_constraint cn on cn.conrelid = ref.confrelid and cn.contype = 'p')
  order by ref.oid, ref.i;

-- SQLStatistics: any
select c.relname, i.indkey, i.indisunique, i.indisclustered, a.amname, c.relhasrules, n.nspname, c.oid, d.relhassubclass, i.indoption
  from pg_catalog.pg_index i, pg_catalog.pg_class c, pg_catalog.pg_class d, pg_catalog.pg_am a, pg_catalog.pg_namespace n
  where d.relname = 'orders' and n.nspname = 'c_tools' and n.oid = d.relnamespace and d.oid = i.indrelid and i.indexrelid = c.oid and c.relam = a.oid
  order by i.indisprimary desc, i.indisunique, n.nspname, c.relname;

-- what it may do: any
select * from (select 1 as "COL") as "CHECKTRANS" limit 1;

-- top: rows: status, sum_amount
select "orders"."status" as "status", sum("orders"."amount") as "sum_amount" from "c_tools"."orders" "orders" group by 1 having (count(1) > 0);

-- by day: rows: status, tdy
select "orders"."status" as "status", date_trunc('DAY', "orders"."placed") as "tdy", cast(extract(year from "orders"."placed") as integer) as "yr", cast(sum("orders"."amount") as double precision) as "s"
  from "c_tools"."orders" "orders" where (("orders"."placed" >= (timestamp '2020-01-01 00:00:00')) and ("orders"."status" >= 'a') and ("orders"."status" <= 'z')) group by 1, 2, 3;
