"""The first thing a user does with Maru: one SELECT over S3, Hive on HDFS, and PostgreSQL, by every client.

What the rows must be is computed here by DuckDB from the rows that were put into the services."""

import collections
import json
import os
import subprocess
import urllib.parse

import duckdb
import pyarrow as pa
import pytest
from seeding import data

pytestmark = pytest.mark.services

SEED = "FROM demo.parquet_sample a, user_dhp_hive.demo.log b WHERE a.url = b.url"
SEED_ROWS = f"SELECT a.url, a.status, a.client_ip, b.call_type, b.seconds, b.dt {SEED}"
COUNT = f"SELECT count(*), count(DISTINCT a.url), sum(b.seconds), max(a.bytes) {SEED}"
BY_GRADE = """
SELECT c.grade, b.dt, count(*) AS hits, count(DISTINCT c.id) AS people, sum(a.bytes) AS bytes, min(c.joined) AS oldest
FROM demo.parquet_sample a, user_dhp_hive.demo.log b, crm.public.customers c
WHERE a.url = b.url AND a.customer_id = c.id AND a.status = 200 AND b.dt >= '2026-11-02' AND c.balance > 1000
GROUP BY c.grade, b.dt ORDER BY c.grade, b.dt
"""


@pytest.fixture(scope="module")
def expected():
    """sql → rows, from the rows themselves."""
    db = duckdb.connect()
    tables = {
        "parquet_sample": pa.concat_tables([table for _, table in data.weblogs()]),
        "log": pa.concat_tables([t.append_column("dt", pa.array([day] * t.num_rows)) for day, t in data.call_log().items()]),
        "customers": pa.Table.from_pylist([dict(zip(("id", "name", "grade", "city", "joined", "balance", "memo", "updated"), row))
                                           for row in data.customers()]),
    }
    for name, table in tables.items():
        db.register(name, table)

    def expected(sql):
        local = sql.replace("demo.parquet_sample", "parquet_sample").replace("user_dhp_hive.demo.log", "log")
        return db.execute(local.replace("crm.public.customers", "customers")).fetchall()

    return expected


@pytest.fixture(scope="module", params=["MARU_TEST_HMS3", "MARU_TEST_HMS4"], ids=["metastore-3.1", "metastore-4.0"])
def sources(server, request):
    """The three catalogs and the table, made by SQL as a user makes them."""
    pg = urllib.parse.urlsplit(os.environ["MARU_TEST_PG"])
    statements = [
        f"""CREATE SECRET cos WITH (access_key_id = '{os.environ["MARU_TEST_S3_ACCESS_KEY"]}',
            secret_access_key = '{os.environ["MARU_TEST_S3_SECRET_KEY"]}')""",
        f"CREATE SECRET crm_login WITH (user = '{pg.username}', password = '{pg.password}')",
        f"CREATE CATALOG icos USING s3 WITH (endpoint = '{os.environ['MARU_TEST_S3']}', bucket = 'weblogs', secret = 'cos')",
        f"CREATE CATALOG user_dhp_hive USING hive WITH (metastore = '{os.environ[request.param]}')",
        f"CREATE CATALOG crm USING postgres WITH (url = 'postgres://{pg.hostname}:{pg.port}{pg.path}', secret = 'crm_login')",
        "CREATE SCHEMA demo",
        "CREATE EXTERNAL TABLE demo.parquet_sample STORED AS PARQUET LOCATION 's3://weblogs/2026/'",
    ]
    with server.connect() as connection:
        for statement in statements:
            connection.execute(statement)
    yield
    with server.connect() as connection:
        for what in ["TABLE demo.parquet_sample", "SCHEMA demo", "CATALOG crm", "CATALOG user_dhp_hive", "CATALOG icos",
                     "SECRET cos", "SECRET crm_login"]:
            connection.execute(f"DROP {what}")


def psql(server, sql):
    done = server.psql("-AtF", "\x1f", "-P", "null=\\N", "-c", sql)
    assert done.returncode == 0, done.stderr
    return [tuple(None if v == "\\N" else v for v in line.split("\x1f")) for line in done.stdout.splitlines()]


def psycopg_rows(server, sql):
    with server.connect() as connection:
        return connection.execute(sql).fetchall()


def adbc(server, sql):
    with server.flight() as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def shell(server, sql):
    """maru sql --connect"""
    done = subprocess.run(
        [os.environ["MARU_BIN"], "sql", "--connect", f"postgres://maru:{server.password}@{server.endpoints['pg']}/maru",
         "--format", "json", "-c", sql], capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    text = done.stdout.strip()
    rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    return [tuple(row.values()) for row in rows]


CLIENTS = pytest.mark.parametrize("client", [psql, psycopg_rows, adbc, shell], ids=["psql", "psycopg", "adbc", "maru-sql"])


def as_text(rows):
    return [tuple(None if value is None else str(value) for value in row) for row in rows]


@CLIENTS
def test_the_seed_query(server, sources, expected, client):
    rows = client(server, f"{SEED_ROWS} LIMIT 10")
    assert len(rows) == 10
    # Without an ORDER BY any ten rows of the join are right, none more often than it is there.
    whole = collections.Counter(as_text(expected(SEED_ROWS)))
    for row, times in collections.Counter(as_text(rows)).items():
        assert whole[row] >= times, row


@CLIENTS
def test_all_of_the_join(server, sources, expected, client):
    assert as_text(client(server, COUNT)) == as_text(expected(COUNT))


@CLIENTS
def test_the_third_join_with_customers(server, sources, expected, client):
    rows = expected(BY_GRADE)
    assert len(rows) == 6 and all(row[2] > 0 for row in rows), "the expectation itself holds something"
    assert as_text(client(server, BY_GRADE)) == as_text(rows)


def test_every_row_of_the_join(server, sources, expected):
    got = collections.Counter(psycopg_rows(server, SEED_ROWS))
    assert got == collections.Counter(expected(SEED_ROWS))


def test_explain_shows_what_each_source_is_sent(server, sources):
    plan = "\n".join(str(row) for row in psycopg_rows(server, "EXPLAIN ANALYZE " + BY_GRADE))
    for part in ["customers", "2026-11-0", "crm"]:
        assert part in plan, plan


def test_psql_shows_the_catalogs(server, sources):
    done = server.psql("-Atc", "SHOW CATALOGS")
    assert {"icos", "user_dhp_hive", "crm", "maru"} <= {line.split("|")[0] for line in done.stdout.splitlines()}, done.stderr
