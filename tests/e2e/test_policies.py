"""Policies and masks on tables of every kind of source: what a reader sees is what the same query gives over the rows and values
that are left, whatever is pushed down."""

import json
import os
import re
import sqlite3
import time
import urllib.parse
import uuid

import psycopg
import pytest
from seeding import storage
from seeding.metastore import Metastore

pytestmark = pytest.mark.services

BUCKET = "policies"
ROWS = [(1, "Kim", "north", 5000), (2, "Lee", "south", 6000), (3, "Park", "south", 7000), (4, "Choi", "south", 5000), (5, "Jung", None, 9000),
        (6, None, "south", None), (7, "Yoon", "east", 1000)]
COLUMNS = "(id bigint, name varchar(20), region varchar(20), salary bigint)"
TEXTS = "(id bigint, name text, region text, salary bigint)"
# The oracle: what policies and masks leave, in a table of its own.
LEFT = "CREATE TEMP TABLE left_rows AS SELECT id, left(name, 1) || '**' AS name, region, CAST(NULL AS bigint) AS salary FROM {t} WHERE region = 'south' AND id < 6"
QUERIES = [
    "SELECT * FROM {t} ORDER BY id",
    "SELECT count(*), count(name), count(salary), min(id), max(id) FROM {t}",
    "SELECT min(name), max(name), min(salary), max(salary), sum(salary) FROM {t}",
    "SELECT id FROM {t} WHERE name = 'Lee'",
    "SELECT id FROM {t} WHERE name = 'L**' ORDER BY id",
    "SELECT id FROM {t} WHERE name LIKE 'P%' OR region = 'north' ORDER BY id",
    "SELECT id FROM {t} WHERE salary > 0",
    "SELECT id FROM {t} WHERE salary IS NULL ORDER BY id",
    "SELECT id, name FROM {t} ORDER BY name DESC, id LIMIT 2",
    "SELECT id FROM {t} ORDER BY salary, id LIMIT 1",
    "SELECT DISTINCT region, salary FROM {t} ORDER BY 1, 2",
    "SELECT region, count(*), max(name) FROM {t} GROUP BY region ORDER BY 1",
    "SELECT name, count(*) FROM {t} GROUP BY name HAVING count(*) > 0 ORDER BY 1",
    "SELECT a.id, b.name FROM {t} a JOIN {t} b ON a.region = b.region AND a.id < b.id ORDER BY 1, 2",
    "SELECT a.id, b.id FROM {t} a LEFT JOIN {t} b ON a.id = b.id + 1 ORDER BY 1, 2",
    "SELECT id FROM {t} WHERE id NOT IN (SELECT id + 1 FROM {t}) ORDER BY id",
    "SELECT id, row_number() OVER (ORDER BY id), sum(id) OVER () FROM {t} ORDER BY id",
    "SELECT id FROM {t} UNION ALL SELECT count(*) FROM {t} ORDER BY 1",
    "SELECT id FROM {t} WHERE 12 / (id - 1) > 0 ORDER BY id",
    "SELECT id FROM {t} WHERE id = (SELECT max(id) FROM {t})",
    "SELECT id FROM {t} WHERE id BETWEEN 1 AND 3 AND region IN ('north', 'south') ORDER BY id OFFSET 1",
]


def direct_postgres():
    return psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True)


def direct_mysql(url):
    import pymysql
    return pymysql.connect(host=url.hostname, port=url.port, user=url.username, password=url.password, database=url.path.strip("/"), autocommit=True)


def filled(table, columns=COLUMNS):
    values = ", ".join("(" + ", ".join("NULL" if v is None else str(v) if isinstance(v, int) else f"'{v}'" for v in row) + ")" for row in ROWS)
    return [f"CREATE TABLE {table} {columns}", f"INSERT INTO {table} VALUES {values}"]


@pytest.fixture(scope="module", params=["maru", "delta on s3", "files", "hive", "postgres", "mysql", "sqlite"])
def table(server, request, tmp_path_factory):
    """The name of a table with the rows in a catalog of its own, and a superuser's session."""
    kind, name = request.param, "policed.{}.guarded_staff"
    with server.connect() as connection:
        run = connection.execute
        catalog = True
        if kind in ("postgres", "mysql"):
            url = urllib.parse.urlsplit(os.environ["MARU_TEST_PG" if kind == "postgres" else "MARU_TEST_MYSQL"])
            with direct_postgres() if kind == "postgres" else direct_mysql(url) as direct, direct.cursor() as cursor:
                for statement in ["DROP TABLE IF EXISTS guarded_staff", *filled("guarded_staff")]:
                    cursor.execute(statement)
            place = f"{kind}://{url.hostname}:{url.port}" + (url.path if kind == "postgres" else "")
            run(f"CREATE CATALOG policed USING {kind} WITH (url = '{place}', user = '{url.username}', password = '{url.password}')")
            name = name.format("public" if kind == "postgres" else url.path.strip("/"))
        elif kind == "sqlite":
            path = tmp_path_factory.mktemp("policed") / "staff.db"
            with sqlite3.connect(path) as direct:
                for statement in filled("guarded_staff"):
                    direct.execute(statement)
            direct.close()
            run(f"CREATE CATALOG policed USING sqlite WITH (path = '{path}')")
            name = name.format("main")
        elif kind == "hive":
            run(f"CREATE CATALOG policed USING hive WITH (metastore = '{os.environ['MARU_TEST_HMS3']}')")
            with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore:
                metastore.drop_database("policed")
                metastore.create_database("policed", os.environ["MARU_TEST_HDFS"] + "/user/policed", "rows and values of few", {})
            name = name.format("policed")
            for statement in filled(name, TEXTS):
                run(statement)
        else:
            catalog = kind == "delta on s3"
            if catalog:
                storage.s3_fresh_bucket(storage.s3_client(), BUCKET)
                run(f"CREATE CATALOG policed USING s3 WITH (endpoint = '{os.environ['MARU_TEST_S3']}', bucket = '{BUCKET}', "
                    f"access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}')")
            schema = ("policed." if catalog else "maru.") + "policed"
            run(f"CREATE SCHEMA {schema}")
            name = f"{schema}.guarded_staff"
            if kind == "files":
                folder = tmp_path_factory.mktemp("policed")
                values = filled("t")[1].split("VALUES")[1]
                run(f"COPY (SELECT * FROM (VALUES {values}) AS v (id, name, region, salary)) TO '{folder}/staff.parquet'")
                run(f"CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{folder}/'")
            else:
                for statement in filled(name, TEXTS):
                    run(statement)
        schema = name.rsplit(".", 1)[0]
        run("CREATE USER south PASSWORD 'souths-secret'")
        run(f"GRANT USAGE ON SCHEMA {schema} TO south")
        run(f"GRANT SELECT ON {name} TO south")
        if catalog:
            run("GRANT USAGE ON CATALOG policed TO south")
        for statement in [f"CREATE POLICY own_region ON {name} USING (region = current_user)",
                          f"CREATE POLICY not_the_last ON {name} AS RESTRICTIVE USING (id < 6)",
                          f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
                          f"ALTER TABLE {name} SET MASK FOR COLUMN name USING (left(name, 1) || '**')",
                          f"ALTER TABLE {name} SET MASK FOR COLUMN salary USING (CAST(NULL AS bigint))"]:
            run(statement)
        yield name, connection
        run("DROP OWNED BY south")
        run("DROP ROLE south")
        if kind == "hive":
            run(f"DROP TABLE {name}")
        run("DROP CATALOG policed" if catalog else "DROP SCHEMA maru.policed CASCADE")


def reader(server, **options):
    return server.connect(user="south", password="souths-secret", **options)


@pytest.mark.parametrize("pushdown", ["on", "off"])
def test_a_reader_sees_what_is_left(server, table, pushdown):
    name, superuser = table
    superuser.execute("DROP TABLE IF EXISTS left_rows")
    superuser.execute(LEFT.format(t=name))
    with reader(server) as connection:
        connection.execute(f"SET maru.pushdown = {pushdown}")
        for query in QUERIES:
            wanted = superuser.execute(query.format(t="left_rows")).fetchall()
            assert connection.execute(query.format(t=name)).fetchall() == wanted, query


def test_other_ways_to_the_rows_are_closed(server, table):
    name, _ = table
    hidden = ["Kim", "Lee", "Park", "Choi", "Yoon", "5000", "6000", "7000", "9000"]
    with reader(server) as connection:
        texts = [str(connection.execute(f"{how} SELECT max(salary), max(name) FROM {name} WHERE salary > 1").fetchall())
                 for how in ["EXPLAIN", "EXPLAIN VERBOSE", "EXPLAIN (FORMAT JSON)", "EXPLAIN ANALYZE VERBOSE"]]
        with connection.cursor().copy(f"COPY (SELECT * FROM {name}) TO STDOUT") as rows:
            texts.append(b"".join(rows).decode())
        assert texts[-1].count("\n") == 3
        texts.append(str(connection.execute(f"PREVIEW {name}").fetchall()))
        texts.append(str(connection.execute(f"SELECT * FROM profile(TABLE {name})").fetchall()))
        # An error about a value shows the value that the reader may see.
        with pytest.raises(psycopg.Error) as error:
            connection.execute(f"SELECT CAST(name AS bigint) FROM {name}").fetchall()
        texts.append(str(error.value))
        for text in texts:
            # The names of files are random, and the digits of times.
            text = re.sub("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "", text)
            assert not re.search(rf"(?<![\w.])({'|'.join(hidden)})(?![\w.])", text), text
        catalog = name.split(".")[0]
        closed = [f"INSERT INTO {name} VALUES (8, 'Han', 'south', 1)", f"DELETE FROM {name}", f"UPDATE {name} SET salary = 1",
                  f"ALTER TABLE {name} DISABLE ROW LEVEL SECURITY", f"DROP POLICY own_region ON {name}",
                  f"ALTER TABLE {name} DROP MASK FOR COLUMN salary", f"SELECT * FROM {catalog}.query($$SELECT 1$$)"]
        for statement in closed:
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedTable,
                                psycopg.errors.UndefinedFunction)):
                connection.execute(statement)


EXPLAINED = ["EXPLAIN", "EXPLAIN VERBOSE", "EXPLAIN (FORMAT JSON)", "EXPLAIN ANALYZE", "EXPLAIN ANALYZE VERBOSE", "EXPLAIN (ANALYZE, FORMAT JSON)"]


@pytest.mark.parametrize("how", EXPLAINED)
def test_plans_are_the_same_whether_hidden_rows_are_there(server, table, how):
    """How many files, partitions and rows a condition leaves would tell of them."""
    name, superuser = table
    with reader(server) as connection:
        def told(column, value):
            rows = connection.execute(f"{how} SELECT id FROM {name} WHERE {column} = {value}").fetchall()
            text = "\n".join(row[0] if isinstance(row[0], str) else json.dumps(row[0]) for row in rows)
            text = re.sub(r'((?:Planning|Execution) Time"?: )[\d.e-]+', r"\1…", text)
            return re.sub(rf"""(= '?|Int64\(|\(\\?"){value.strip("'")}(?!\w)""", r"\1…", text)
        assert "is not told" in told("region", "'north'")
        # Rows that are hidden, and rows that are not there, between the least and the greatest value and beyond.
        assert told("region", "'north'") == told("region", "'nurth'") == told("region", "'zzzzz'")
        assert told("id", "1") == told("id", "-31")
        for text in ["came back", "Plan Rows", "File Bytes", "file_groups", "output_rows"]:
            assert text not in told("region", "'north'")
    if how == "EXPLAIN ANALYZE":
        assert "came back" in str(superuser.execute(f"{how} SELECT id FROM {name} WHERE region = 'north'").fetchall())


def test_what_is_read_under_policies_is_not_counted(server, table):
    name, superuser = table
    query = f"SELECT id AS counted_{uuid.uuid4().hex} FROM {name}"
    with reader(server) as connection:
        assert len(connection.execute(query).fetchall()) == 3 and len(superuser.execute(query).fetchall()) == len(ROWS)
        history = ("SELECT user_name, source_rows > 0, source_bytes > 0 FROM system.queries "
                   f"WHERE sql = '{query}' AND state = 'finished'")
        deadline = time.monotonic() + 20
        while len(rows := superuser.execute(history).fetchall()) < 2:
            assert time.monotonic() < deadline, rows
            time.sleep(0.05)
        assert sorted(rows) == [("maru", True, True), ("south", False, False)]


def test_a_kept_plan_follows_the_policies(server, table):
    name, superuser = table
    with reader(server) as connection:
        def ids():
            query = f"SELECT id FROM {name} WHERE id > %s ORDER BY id"
            return [row[0] for row in connection.execute(query, (0,), prepare=True).fetchall()]
        assert [ids() for _ in range(3)] == [[2, 3, 4]] * 3
        superuser.execute(f"CREATE POLICY fewer ON {name} AS RESTRICTIVE USING (id <> 3)")
        try:
            assert ids() == [2, 4]
        finally:
            superuser.execute(f"DROP POLICY fewer ON {name}")
        assert ids() == [2, 3, 4]
        superuser.execute(f"REVOKE SELECT ON {name} FROM south")
        try:
            with pytest.raises(psycopg.Error):
                ids()
        finally:
            superuser.execute(f"GRANT SELECT ON {name} TO south")
