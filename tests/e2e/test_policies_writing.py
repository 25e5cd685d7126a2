"""Writing under policies, on tables of every kind of source: no row is changed that they hide, none is written that they forbid, and a
statement that fails leaves nothing."""

import os
import sqlite3
import urllib.parse

import psycopg
import pyarrow as pa
import pytest
from seeding import storage
from seeding.metastore import Metastore

pytestmark = pytest.mark.services

BUCKET = "policies-writing"
KEYED = "(id bigint PRIMARY KEY, name varchar(20), region varchar(20), salary bigint)"
TEXTS = "(id bigint, name text, region text, salary bigint)"
ROWS = [(1, "Kim", "north", 5000), (2, "Lee", "west", 6000), (3, "Park", "west", 7000), (4, "Choi", "open", 5000), (5, "Jung", None, 9000),
        (200, "Moon", "west", 1000)]
VALUES = ", ".join("(" + ", ".join("NULL" if v is None else str(v) if isinstance(v, int) else f"'{v}'" for v in row) + ")" for row in ROWS)
POLICIES = ["seen ON {t} FOR SELECT USING (region = current_user OR region = 'open')",
            "added ON {t} FOR INSERT WITH CHECK (region = current_user)",
            "changed ON {t} FOR UPDATE USING (region = current_user) WITH CHECK (region = current_user AND salary < 9000)",
            "gone ON {t} FOR DELETE USING (region = current_user AND salary < 7000)",
            "not_the_last ON {t} AS RESTRICTIVE USING (id < 100)"]
# Their rows are changed in their places; the other tables are written anew.
KEYED_KINDS = ["postgres", "mysql", "sqlite"]
VIOLATED = "new row violates row-level security policy for table staff"
Refused = psycopg.errors.InsufficientPrivilege


def direct(kind):
    if kind == "postgres":
        return psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True)
    import pymysql
    url = urllib.parse.urlsplit(os.environ["MARU_TEST_MYSQL"])
    return pymysql.connect(host=url.hostname, port=url.port, user=url.username, password=url.password, database=url.path.strip("/"), autocommit=True)


@pytest.fixture(scope="module", params=["maru", "delta on s3", "hive", "postgres", "mysql", "sqlite"])
def place(server, request, tmp_path_factory):
    """The schema of the table in a catalog of its own, and a superuser's session."""
    kind = request.param
    with server.connect() as connection:
        run = connection.execute
        schema, options, columns = "public", "", TEXTS
        if kind in ("postgres", "mysql"):
            url = urllib.parse.urlsplit(os.environ["MARU_TEST_PG" if kind == "postgres" else "MARU_TEST_MYSQL"])
            at = f"{kind}://{url.hostname}:{url.port}" + (url.path if kind == "postgres" else "")
            options = f"{kind} WITH (url = '{at}', user = '{url.username}', password = '{url.password}')"
            schema = "public" if kind == "postgres" else url.path.strip("/")
            columns = KEYED
            with direct(kind) as source, source.cursor() as cursor:
                cursor.execute("DROP TABLE IF EXISTS staff")
        elif kind == "sqlite":
            path = tmp_path_factory.mktemp("policed") / "staff.db"
            sqlite3.connect(path).close()
            schema, options, columns = "main", f"sqlite WITH (path = '{path}')", KEYED
        elif kind == "hive":
            schema, options = "writing", f"hive WITH (metastore = '{os.environ['MARU_TEST_HMS3']}')"
            with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore:
                metastore.drop_database("writing")
                metastore.create_database("writing", os.environ["MARU_TEST_HDFS"] + "/user/writing", "rows of few", {})
        elif kind == "delta on s3":
            storage.s3_fresh_bucket(storage.s3_client(), BUCKET)
            schema = "writing"
            options = (f"s3 WITH (endpoint = '{os.environ['MARU_TEST_S3']}', bucket = '{BUCKET}', access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', "
                       f"secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}')")
        if options:
            run(f"CREATE CATALOG writing USING {options}")
        schema = f"writing.{schema}" if options else "maru.writing"
        if kind in ("maru", "delta on s3"):
            run(f"CREATE SCHEMA {schema}")
        run("CREATE USER west PASSWORD 'wests-secret'")
        run(f"GRANT USAGE ON SCHEMA {schema} TO west")
        if options:
            run("GRANT USAGE ON CATALOG writing TO west")
        run("CREATE TABLE maru.public.of_whom AS SELECT 'west' AS who, 'west' AS what")
        run("GRANT SELECT ON maru.public.of_whom TO west")
        yield kind, schema, columns, connection
        run(f"DROP TABLE IF EXISTS {schema}.staff")
        run("DROP TABLE maru.public.of_whom")
        run("DROP OWNED BY west")
        run("DROP ROLE west")
        run("DROP CATALOG writing" if options else "DROP SCHEMA maru.writing CASCADE")


@pytest.fixture
def table(place):
    """The table with its rows and policies."""
    kind, schema, columns, superuser = place
    name = f"{schema}.staff"
    superuser.execute(f"DROP TABLE IF EXISTS {name}")
    superuser.execute(f"CREATE TABLE {name} {columns}")
    superuser.execute(f"INSERT INTO {name} VALUES {VALUES}")
    superuser.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {name} TO west")
    for policy in POLICIES:
        superuser.execute("CREATE POLICY " + policy.format(t=name))
    superuser.execute(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")
    return kind, name, superuser


@pytest.fixture
def changed(table):
    """The table, if rows of its kind of source can be changed."""
    if table[0] == "hive":
        pytest.skip("rows of Hive's tables are not changed")
    return table


@pytest.fixture
def writer(server, table):
    with server.connect(user="west", password="wests-secret") as connection:
        yield connection


def rows(superuser, name):
    return superuser.execute(f"SELECT * FROM {name} ORDER BY id").fetchall()


def refused(connection, statement, *parameters, match=VIOLATED, error=Refused):
    with pytest.raises(error, match=match):
        connection.execute(statement, *parameters)


def test_rows_are_checked_before_they_are_written(server, table, writer):
    kind, name, superuser = table
    wanted = list(ROWS)
    writer.execute(f"INSERT INTO {name} VALUES (10, 'Han', 'west', 1)")
    writer.execute(f"INSERT INTO {name} (region, id) VALUES ('west', 11)")
    writer.execute(f"INSERT INTO {name} SELECT id + 20, name, region, salary FROM {name} WHERE region = 'west' AND id < 10")
    for number in range(12, 19):
        writer.execute(f"INSERT INTO {name} VALUES (%s, %s, %s, %s)", (number, "Yoo", "west", None))
    wanted += [(number, "Yoo", "west", None) for number in range(12, 19)]
    wanted += [(10, "Han", "west", 1), (11, None, "west", None), (22, "Lee", "west", 6000), (23, "Park", "west", 7000)]
    assert rows(superuser, name) == sorted(wanted)

    many = ", ".join(f"({n}, 'x', '{'north' if n == 90 else 'west'}', 1)" for n in range(30, 95))
    refused(writer, f"INSERT INTO {name} VALUES {many}")
    refused(writer, f"INSERT INTO {name} VALUES (30, 'x', NULL, 1)")
    refused(writer, f"INSERT INTO {name} VALUES (100, 'x', 'west', 1)")
    refused(writer, f"INSERT INTO {name} SELECT n, 'x', CASE WHEN n < 20000 THEN 'west' ELSE 'north' END, 1 FROM generate_series(30, 20000) AS g(n)")
    refused(writer, f"INSERT INTO {name} SELECT n, 'x', CASE WHEN random() < 2 THEN 'north' ELSE 'west' END, 1 FROM generate_series(30, 40) AS g(n)")
    refused(writer, f"INSERT INTO {name} VALUES (%s, %s, %s, %s)", (30, "x", "north", 1))
    refused(writer, f"INSERT INTO {name} (id, name) VALUES (30, 'x')", match="look at column \"region\", which has no value")
    with pytest.raises(Refused), writer.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {name} VALUES (%s, %s, %s, %s)", [(n, "x", "north", 1) for n in range(30, 35)])
    assert rows(superuser, name) == sorted(wanted)

    with writer.cursor() as cursor:
        with cursor.copy(f"COPY {name} FROM STDIN (FORMAT csv)") as copy:
            copy.write("40,Ko,west,4\n41,Ko,west,\n")
        with pytest.raises(Refused, match=VIOLATED), cursor.copy(f"COPY {name} FROM STDIN (FORMAT csv)") as copy:
            copy.write("42,Ko,west,4\n43,Ko,east,4\n")
    with server.flight(username="west", password="wests-secret") as flight, flight.cursor() as cursor:
        catalog, schema, table = name.split(".")
        def ingest(ids, regions):
            data = pa.table({"id": ids, "name": ["Na"] * len(ids), "region": regions, "salary": [None] * len(ids)},
                            pa.schema([("id", pa.int64()), ("name", pa.string()), ("region", pa.string()), ("salary", pa.int64())]))
            cursor.adbc_ingest(table, data, mode="append", catalog_name=catalog, db_schema_name=schema)
        ingest([50], ["west"])
        with pytest.raises(Exception, match=VIOLATED):
            ingest([51, 52], ["west", "east"])
        cursor.executemany(f"INSERT INTO {name} VALUES (?, 'Mo', ?, 5)", [(60, "west"), (61, "west")])
        with pytest.raises(Exception, match=VIOLATED):
            cursor.executemany(f"INSERT INTO {name} VALUES (?, 'Mo', ?, 5)", [(62, "west"), (63, "east")])
    wanted += [(40, "Ko", "west", 4), (41, "Ko", "west", None), (50, "Na", "west", None), (60, "Mo", "west", 5), (61, "Mo", "west", 5)]
    assert rows(superuser, name) == sorted(wanted)


def test_only_rows_that_show_are_changed(changed, writer):
    kind, name, superuser = changed
    done = writer.execute(f"UPDATE {name} SET salary = salary + 1")
    assert done.rowcount == 2
    now = [(1, "Kim", "north", 5000), (2, "Lee", "west", 6001), (3, "Park", "west", 7001), (4, "Choi", "open", 5000), (5, "Jung", None, 9000),
           (200, "Moon", "west", 1000)]
    assert rows(superuser, name) == now
    # Neither an error nor a count tells of what is hidden: Kim has 5000, Moon 1000.
    assert writer.execute(f"UPDATE {name} SET name = 'x' WHERE 1 / (salary - 1000) > 5").rowcount == 0
    assert writer.execute(f"UPDATE {name} SET name = 'x' WHERE region = 'north' OR id >= 100 OR region IS NULL OR id = 4").rowcount == 0
    assert writer.execute(f"UPDATE {name} SET name = 'x' WHERE id IN (SELECT id FROM {name} WHERE region = 'north')").rowcount == 0
    # Nor does a subquery that is joined to all rows.
    fails = f"UPDATE {name} AS s SET name = (SELECT max(who) FROM maru.public.of_whom AS o WHERE length(o.who) = 1 / (s.salary - 1000))"
    if kind in KEYED_KINDS:
        assert writer.execute(fails).rowcount == 2
        writer.execute(f"UPDATE {name} SET name = CASE id WHEN 2 THEN 'Lee' ELSE 'Park' END")
    else:
        refused(writer, fails, match="cannot come from subqueries", error=psycopg.errors.FeatureNotSupported)
    assert writer.execute(f"UPDATE {name} AS s SET name = 'Li' WHERE s.id IN (SELECT min(id) FROM {name} WHERE region = 'west')").rowcount == 1
    now[1] = (2, "Li", "west", 6001)
    assert rows(superuser, name) == now
    refused(writer, f"UPDATE {name} SET region = 'north'")
    refused(writer, f"UPDATE {name} SET region = NULL WHERE id = 2")
    refused(writer, f"UPDATE {name} SET salary = CASE id WHEN 3 THEN 9500 ELSE 1 END")
    # WITH CHECK would let it through, but nobody writes what does not show.
    superuser.execute(f"ALTER POLICY changed ON {name} WITH CHECK (true)")
    refused(writer, f"UPDATE {name} SET region = 'east' WHERE id = 2")
    assert writer.execute(f"UPDATE {name} SET region = 'open' WHERE id = 2").rowcount == 1
    now[1] = (2, "Li", "open", 6001)
    assert rows(superuser, name) == now


def test_only_rows_that_show_are_deleted(changed, writer):
    _, name, superuser = changed
    assert writer.execute(f"DELETE FROM {name} WHERE 1 / (salary - 1000) > 5").rowcount == 0
    assert writer.execute(f"DELETE FROM {name} WHERE id = 1 OR id > 2").rowcount == 0
    assert writer.execute(f"DELETE FROM {name}").rowcount == 1
    assert rows(superuser, name) == [row for row in ROWS if row[0] != 2]
    superuser.execute(f"DROP POLICY seen ON {name}")
    superuser.execute(f"ALTER POLICY gone ON {name} USING (true)")
    assert writer.execute(f"DELETE FROM {name}").rowcount == 0
    assert rows(superuser, name) == [row for row in ROWS if row[0] != 2]


def test_what_asks_no_policies_is_refused(table, writer):
    kind, name, superuser = table
    asked = "are not asked by this statement"
    refused(writer, f"TRUNCATE {name}", match=asked)
    refused(writer, f"MERGE INTO {name} AS t USING (SELECT 2 AS id) AS s ON t.id = s.id WHEN MATCHED THEN DELETE", match=asked)
    refused(writer, f"INSERT INTO {name} VALUES (2, 'x', 'west', 1) ON CONFLICT (id) DO UPDATE SET name = excluded.name", match=asked)
    refused(writer, f"INSERT INTO {name} VALUES (2, 'x', 'west', 1) ON CONFLICT (id) DO NOTHING", match=asked)
    refused(writer, f"INSERT OVERWRITE {name} SELECT 2, 'x', 'west', 1", match=asked)
    # Whoever sees other values than there are cannot write them again, but may add rows.
    superuser.execute(f"ALTER TABLE {name} SET MASK FOR COLUMN salary USING (CAST(0 AS bigint))")
    for statement in [f"UPDATE {name} SET name = 'x'", f"DELETE FROM {name} WHERE salary > 6500"]:
        refused(writer, statement, match="are masked")
    assert rows(superuser, name) == ROWS
    writer.execute(f"INSERT INTO {name} VALUES (10, 'Han', 'west', 1)")
    assert rows(superuser, name) == sorted([*ROWS, (10, "Han", "west", 1)])
    superuser.execute(f"ALTER TABLE {name} DROP MASK FOR COLUMN salary")


def test_masked_values_are_not_computed_with(table, writer):
    kind, name, superuser = table
    if kind not in KEYED_KINDS:
        pytest.skip("its tables have no keys")
    superuser.execute(f"ALTER TABLE {name} DISABLE ROW LEVEL SECURITY")
    superuser.execute(f"ALTER TABLE {name} SET MASK FOR COLUMN salary USING (CAST(0 AS bigint))")
    insert = f"INSERT INTO {name} AS s (id, name, salary) VALUES (2, 'x', 1) ON CONFLICT (id) DO UPDATE SET"
    refused(writer, f"{insert} salary = s.salary + 1", match="are masked")
    refused(writer, f"{insert} name = s.name || '!'", match="are masked")
    assert rows(superuser, name) == ROWS
    superuser.execute(f"ALTER TABLE {name} DROP MASK FOR COLUMN salary")


def test_policies_that_read_another_table(table, writer):
    kind, name, superuser = table
    mine = "region IN (SELECT what FROM maru.public.of_whom WHERE who = current_user)"
    for policy in ["added", "changed"]:
        superuser.execute(f"ALTER POLICY {policy} ON {name} WITH CHECK ({mine})")
    superuser.execute(f"ALTER POLICY changed ON {name} USING ({mine})")
    writer.execute(f"INSERT INTO {name} VALUES (10, 'Han', 'west', 1)")
    refused(writer, f"INSERT INTO {name} VALUES (11, 'Han', 'west', 1), (12, 'Han', 'north', 1)")
    wanted = sorted([*ROWS, (10, "Han", "west", 1)])
    if kind == "hive":
        pass
    elif kind in KEYED_KINDS:
        refused(writer, f"UPDATE {name} SET region = 'open' WHERE id = 2")
        assert writer.execute(f"UPDATE {name} SET salary = 1").rowcount == 3
        wanted = [(*row[:3], 1) if row[2] == "west" and row[0] < 100 else row for row in wanted]
    else:
        # The table is written anew from two queries, which have to agree.
        refused(writer, f"UPDATE {name} SET salary = 1", match="read other tables", error=psycopg.errors.FeatureNotSupported)
    assert rows(superuser, name) == wanted


def test_kept_plans_follow_and_owners_are_bound_by_force(server, table, writer):
    kind, name, superuser = table
    def insert(number, region="west"):
        writer.execute(f"INSERT INTO {name} VALUES (%s, 'x', %s, 1)", (number, region), prepare=True)
    for number in range(10, 13):
        insert(number)
    superuser.execute(f"ALTER POLICY added ON {name} WITH CHECK (region = 'east')")
    with pytest.raises(Refused, match=VIOLATED):
        insert(13)
    insert(13, "east")
    superuser.execute(f"ALTER POLICY added ON {name} RENAME TO added_rows")
    superuser.execute(f"ALTER POLICY added_rows ON {name} TO maru")
    with pytest.raises(Refused, match=VIOLATED):
        insert(14, "east")
    superuser.execute(f"ALTER TABLE {name} OWNER TO west")
    insert(14, "anywhere")
    superuser.execute(f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY")
    with pytest.raises(Refused, match=VIOLATED):
        insert(15, "east")
    superuser.execute(f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY")
    insert(15, "anywhere")
    assert [row[0] for row in rows(superuser, name)] == [1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 200]
    superuser.execute(f"ALTER TABLE {name} OWNER TO maru")


def test_a_block_is_left_as_it_was(place, table, writer):
    kind, name, superuser = table
    if kind != "maru":
        pytest.skip("rows of other catalogs are not written within a block")
    with pytest.raises(Refused), writer.transaction():
        writer.execute(f"INSERT INTO {name} VALUES (10, 'Han', 'west', 1)")
        assert writer.execute(f"UPDATE {name} SET salary = 2 WHERE salary < 6500 OR region = 'north'").rowcount == 2
        assert writer.execute(f"DELETE FROM {name} WHERE salary <= 2").rowcount == 2
        writer.execute(f"INSERT INTO {name} VALUES (11, 'Han', 'north', 1)")
    assert rows(superuser, name) == ROWS
    with writer.transaction():
        writer.execute(f"INSERT INTO {name} VALUES (10, 'Han', 'west', 1)")
        assert writer.execute(f"UPDATE {name} SET salary = 2 WHERE id = 10").rowcount == 1
    assert rows(superuser, name) == sorted([*ROWS, (10, "Han", "west", 2)])


def test_columns_that_a_database_fills_in(place, writer):
    kind, schema, _, superuser = place
    if kind != "postgres":
        pytest.skip("one database will do")
    name = f"{schema}.computed_staff"
    with direct(kind) as source:
        source.execute("DROP TABLE IF EXISTS computed_staff")
        source.execute("CREATE TABLE computed_staff (id bigint PRIMARY KEY, region text DEFAULT 'north', place text GENERATED ALWAYS AS (upper(region)) STORED)")
        source.execute("INSERT INTO computed_staff VALUES (1, 'west'), (2, 'north')")
        try:
            superuser.execute(f"GRANT SELECT, INSERT, UPDATE ON {name} TO west")
            superuser.execute(f"CREATE POLICY p ON {name} USING (place = 'WEST')")
            superuser.execute(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")
            # What it will be is not known here.
            refused(writer, f"UPDATE {name} SET region = 'north'", match="computes itself", error=psycopg.errors.FeatureNotSupported)
            refused(writer, f"INSERT INTO {name} (id, region) VALUES (3, 'west')", match="look at column \"place\"")
            superuser.execute(f"ALTER POLICY p ON {name} USING (region = 'west')")
            refused(writer, f"INSERT INTO {name} (id) VALUES (3)", match="look at column \"region\"")
            writer.execute(f"INSERT INTO {name} (id, region) VALUES (3, 'west')")
            refused(writer, f"UPDATE {name} SET region = 'north'", match="new row violates")
            assert writer.execute(f"UPDATE {name} SET id = id + 10").rowcount == 2
            assert rows(superuser, name) == [(2, "north", "NORTH"), (11, "west", "WEST"), (13, "west", "WEST")]
        finally:
            superuser.execute(f"DROP POLICY IF EXISTS p ON {name}")
            superuser.execute(f"ALTER TABLE {name} DISABLE ROW LEVEL SECURITY")
            source.execute("DROP TABLE computed_staff")


def test_psql_shows_policies(server, place, table):
    kind, name, _ = table
    catalog, schema, table = name.split(".")
    def shown(*arguments):
        done = server.psql("-d", catalog, *arguments)
        assert done.stderr == "", done.stderr
        return " ".join(done.stdout.split())
    described = shown("-c", f"\\d {schema}.{table}")
    for part in ['Policies: POLICY "added" FOR INSERT WITH CHECK (', 'POLICY "changed" FOR UPDATE USING (', 'POLICY "not_the_last" AS RESTRICTIVE USING (']:
        assert part in described, (part, described)
    listed = shown("-Atc", f"\\dp {schema}.{table}")
    for part in ["gone (d): (u): region = current_user AND salary < 7000", "added (a): (c): region = current_user", "not_the_last (RESTRICTIVE): (u): id < 100"]:
        assert part in listed, (part, listed)
    with server.connect(dbname=catalog) as connection:
        listed = connection.execute("SELECT policyname, permissive, roles, cmd, qual, with_check FROM pg_policies WHERE tablename = 'staff' ORDER BY 1").fetchall()
        assert listed[0] == ("added", "PERMISSIVE", ["public"], "INSERT", None, "region = current_user")
        assert [row[3] for row in listed] == ["INSERT", "UPDATE", "DELETE", "ALL", "SELECT"]
        assert connection.execute("SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE relname = 'staff'").fetchall() == [(True, False)]
        assert connection.execute("SELECT rowsecurity FROM pg_tables WHERE tablename = 'staff'").fetchall() == [(True,)]
