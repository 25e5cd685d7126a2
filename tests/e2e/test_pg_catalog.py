"""What tools read of PostgreSQL's catalog: owners, access control lists, types of columns, what there is nothing of."""

import datetime

import psycopg
import pytest


@pytest.fixture(scope="module")
def catalog(server):
    with server.connect() as connection:
        for statement in [
            "DROP SCHEMA IF EXISTS c_catalog CASCADE",
            "CREATE ROLE catalog_reader",
            "CREATE SCHEMA c_catalog",
            "CREATE TABLE c_catalog.orders (id int, amount numeric(12,2), tags text[], prices numeric(5,1)[], placed timestamp)",
            "GRANT SELECT (amount), UPDATE ON c_catalog.orders TO catalog_reader WITH GRANT OPTION",
        ]:
            connection.execute(statement)
        yield connection
        connection.execute("DROP SCHEMA c_catalog CASCADE")
        connection.execute("DROP ROLE catalog_reader")


def test_owners_are_roles_by_their_numbers(catalog):
    rows = lambda sql: catalog.execute(sql).fetchall()
    assert rows("SELECT r.rolname, pg_get_userbyid(c.relowner), pg_get_userbyid(n.nspowner) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                "JOIN pg_roles r ON r.oid = c.relowner WHERE n.nspname = 'c_catalog'") == [("maru", "maru", "maru")]
    assert rows("SELECT count(*) FROM pg_roles a JOIN pg_roles b ON a.oid = b.oid AND a.rolname <> b.rolname") == [(0,)]
    assert rows("SELECT usesysid, usesuper FROM pg_user WHERE usename = current_user") == [(10, True)]
    assert rows("SELECT rolname FROM pg_authid WHERE oid = (SELECT usesysid FROM pg_shadow WHERE usename = 'maru')") == [("maru",)]
    assert rows("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'maru'") == [("maru",)]
    assert rows("SELECT usename FROM pg_stat_activity WHERE usesysid = 10 AND pid = pg_backend_pid()") == [("maru",)]


def test_access_control_lists_are_arrays_and_come_apart(catalog):
    rows = lambda sql: catalog.execute(sql).fetchall()
    of_table = "FROM pg_class WHERE relname = 'orders' AND relnamespace = 'c_catalog'::regnamespace"
    (acl, options), = rows(f"SELECT relacl, reloptions {of_table}")
    assert acl[1:] == ["catalog_reader=w*/maru"] and acl[0].startswith("maru=") and options is None
    taken_apart = rows("SELECT pg_get_userbyid(grantee), pg_get_userbyid(grantor), privilege_type, is_grantable FROM "
                       f"(SELECT (aclexplode(relacl)).grantee, (aclexplode(relacl)).grantor, (aclexplode(relacl)).privilege_type, (aclexplode(relacl)).is_grantable {of_table}) AS a")
    assert ("catalog_reader", "maru", "UPDATE", True) in taken_apart and ("maru", "maru", "SELECT", False) in taken_apart
    assert rows("SELECT a.privilege_type, a.is_grantable FROM pg_class c, aclexplode(c.relacl) AS a WHERE c.relname = 'orders' "
                "AND c.relnamespace = 'c_catalog'::regnamespace AND pg_get_userbyid(a.grantee) = 'catalog_reader'") == [("UPDATE", True)]
    assert rows("SELECT attname, attacl FROM pg_attribute WHERE attrelid = 'c_catalog.orders'::regclass AND attacl IS NOT NULL") == [("amount", ["catalog_reader=r*/maru"])]
    assert rows(f"SELECT relacl {of_table} AND false UNION ALL SELECT proacl FROM pg_proc WHERE proname = 'abs' UNION ALL SELECT datacl FROM pg_database WHERE false LIMIT 1") == [(None,)]


def test_columns_have_types_with_what_they_hold(catalog):
    assert catalog.execute("SELECT attname, format_type(atttypid, atttypmod), atttypmod, attndims FROM pg_attribute "
                           "WHERE attrelid = 'c_catalog.orders'::regclass AND attnum > 0 ORDER BY attnum").fetchall() == [
        ("id", "integer", -1, 0), ("amount", "numeric(12,2)", 786438, 0), ("tags", "text[]", -1, 1), ("prices", "numeric[]", 327685, 1),
        ("placed", "timestamp without time zone", -1, 0)]


def test_columns_tell_whether_they_may_be_null(catalog):
    told = lambda: catalog.execute("SELECT a.attnotnull, c.is_nullable, s.nullable FROM pg_attribute a, information_schema.columns c, system.columns s "
                                   "WHERE a.attrelid = 'c_catalog.kept'::regclass AND a.attnum > 0 AND c.table_schema = 'c_catalog' AND c.table_name = 'kept' "
                                   "AND c.column_name = a.attname AND s.schema = 'c_catalog' AND s.table = 'kept' AND s.name = a.attname ORDER BY a.attnum").fetchall()
    catalog.execute("CREATE TABLE c_catalog.kept (id int NOT NULL, name text)")
    assert told() == [(True, "NO", False), (False, "YES", True)]
    catalog.execute("INSERT INTO c_catalog.kept VALUES (1, 'a')")
    catalog.execute("ALTER TABLE c_catalog.kept ALTER COLUMN name SET NOT NULL")
    assert told() == [(True, "NO", False), (True, "NO", False)]
    catalog.execute("ALTER TABLE c_catalog.kept ALTER COLUMN id DROP NOT NULL")
    assert told() == [(False, "YES", True), (True, "NO", False)]
    # A view may give NULL for all that is known of it.
    catalog.execute("CREATE VIEW c_catalog.kept_view AS SELECT name FROM c_catalog.kept")
    assert catalog.execute("SELECT attnotnull FROM pg_attribute WHERE attrelid = 'c_catalog.kept_view'::regclass").fetchall() == [(False,)]


def test_an_index_is_taken_with_a_warning(catalog):
    told = []
    keep = lambda notice: told.append((notice.severity, notice.sqlstate, notice.message_primary))
    catalog.add_notice_handler(keep)
    catalog.execute("CREATE INDEX by_id ON c_catalog.orders (id)")
    catalog.execute("DROP INDEX IF EXISTS c_catalog.by_id")
    catalog.remove_notice_handler(keep)
    assert told == [("WARNING", "01000", "Maru keeps no indexes; the statement has no effect"),
                    ("NOTICE", "00000", 'index "c_catalog.by_id" does not exist, skipping')]


def test_lists_of_types_are_arrays_and_functions_have_numbers(catalog):
    rows = lambda sql: catalog.execute(sql).fetchall()
    assert rows("SELECT proargtypes, proallargtypes, array_length(proargtypes, 1), proargmodes FROM pg_proc WHERE proname = 'aclexplode'") == [
        ("1034", [1034, 26, 26, 25, 16], 1, ["i", "o", "o", "o", "o"])]
    assert rows("SELECT unnest(proargtypes) FROM pg_proc WHERE oid = 750") == [(2275,), (26,), (23,)]
    assert rows("SELECT p.proname FROM pg_am a JOIN pg_proc p ON a.amhandler::oid = p.oid WHERE amname = 'btree'") == [("bthandler",)]
    assert rows("SELECT p.proname, a.aggtransfn::regproc::text FROM pg_aggregate a JOIN pg_proc p ON a.aggfnoid = p.oid WHERE p.oid = 2101") == [("avg", "int4_avg_accum")]
    assert rows("SELECT count(*) FROM pg_aggregate a LEFT JOIN pg_proc p ON p.oid = a.aggfnoid AND p.prokind = 'a' WHERE p.oid IS NULL") == [(0,)]


def test_what_there_is_not_is_nothing(catalog):
    rows = lambda sql: catalog.execute(sql).fetchall()
    assert rows("SELECT pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid), pg_relation_size(c.oid) FROM pg_class c WHERE relname = 'orders'")[0] == (None, None, None)
    for table in ["pg_sequences", "pg_available_extensions", "pg_available_extension_versions()", "information_schema.routine_privileges"]:
        assert rows(f"SELECT * FROM {table}") == []
    started = rows("SELECT pg_postmaster_start_time()")[0][0]
    assert started < datetime.datetime.now(datetime.UTC)


@pytest.mark.parametrize("view", [
    "pg_indexes", "pg_matviews", "pg_rules", "pg_stats", "pg_stats_ext", "pg_stat_all_tables", "pg_stat_user_tables", "pg_stat_sys_tables",
    "pg_stat_user_indexes", "pg_stat_user_functions", "pg_statio_user_tables", "pg_statio_all_indexes", "pg_stat_bgwriter", "pg_stat_io",
    "pg_stat_archiver", "pg_stat_replication", "pg_stat_ssl", "pg_stat_progress_vacuum", "pg_prepared_xacts", "pg_publication_tables",
    "pg_available_extensions", "pg_seclabels",
])
def test_what_is_not_counted_has_no_rows(catalog, view):
    assert catalog.execute(f"SELECT count(*) FROM {view}").fetchone() == (0,)
    assert catalog.execute(f"SELECT * FROM pg_catalog.{view} AS v WHERE 1 = 1").fetchall() == []


def test_indexes_and_statistics_are_asked_for_as_tools_do(catalog):
    rows = lambda sql: catalog.execute(sql).fetchall()
    assert rows("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'c_catalog' AND tablename = 'orders' ORDER BY indexname") == []
    assert rows("SELECT s.relname, s.n_live_tup, s.last_autovacuum FROM pg_stat_user_tables s JOIN pg_statio_user_tables i USING (relid)") == []
    assert rows("SELECT attname, null_frac, n_distinct, most_common_vals FROM pg_stats WHERE tablename = 'orders'") == []
    (sessions, commits), = rows("SELECT numbackends, xact_commit FROM pg_stat_database WHERE datname = current_database()")
    assert sessions >= 1 and commits is None
    assert rows("SELECT sum(s.numbackends) > 0 FROM pg_stat_database s JOIN pg_database d ON d.oid = s.datid") == [(True,)]


def test_rows_are_of_the_current_transaction(catalog):
    rows = lambda sql: catalog.execute(sql).fetchall()
    assert rows("SELECT age('2'::xid), age(txid_current()::text::xid), age((txid_current() + 9)::text::xid)") == [(2147483647, 0, 0)]
    for known in ["1", "3", "2000000000"]:
        assert rows(f"SELECT count(*) FROM pg_catalog.pg_class WHERE relname = 'orders' AND pg_catalog.age(xmin) <= pg_catalog.age('{known}'::varchar::xid)") == [(1,)]


def test_a_select_into_a_table_makes_it(catalog):
    catalog.execute('SELECT id, 1 AS one INTO TEMPORARY TABLE "#into" FROM c_catalog.orders LIMIT 1')
    assert catalog.execute('SELECT count(*) FROM "#into"').fetchall() == [(0,)]
    catalog.execute('DROP TABLE "#into"')


def test_settings_are_shown_under_their_names(catalog):
    for setting, name, value in [('"lc_collate"', "lc_collate", "C"), ("DateStyle", "DateStyle", "ISO, MDY"), ("timezone", "TimeZone", None)]:
        cursor = catalog.execute(f"SHOW {setting}")
        assert cursor.description[0].name == name
        assert value is None or cursor.fetchall() == [(value,)]
    # As \\dconfig asks.
    asked = "SELECT s.name, pg_catalog.current_setting(s.name) FROM pg_catalog.pg_settings s WHERE s.name OPERATOR(pg_catalog.~) '^(work_mem)$' ORDER BY 1"
    assert catalog.execute(asked).fetchall() == [("work_mem", "4MB")]
    assert catalog.execute("SELECT current_setting(n, true) FROM (VALUES ('work_mem'), ('no.such'), (NULL)) AS v (n)").fetchall() == [("4MB",), (None,), (None,)]
    assert catalog.execute("SELECT current_setting('nosuch', NULL), current_setting('work_mem', NULL)").fetchall() == [(None, None)]
    with pytest.raises(psycopg.errors.UndefinedObject):
        catalog.execute("SELECT current_setting(n) FROM (VALUES ('work_mem'), ('nosuch')) AS v (n)")
