"""What one source has decides what the other is asked for: joins and scalar subqueries across PostgreSQL, MariaDB and S3."""

import os
import re
import urllib.parse

import psycopg
import pytest

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def connection(server):
    """One session with both databases and the weblogs, and two tables of its own in PostgreSQL, one large, one small."""
    pg, mysql = (urllib.parse.urlsplit(os.environ[name]) for name in ("MARU_TEST_PG", "MARU_TEST_MYSQL"))
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as database:
        for statement in [
            "DROP SCHEMA IF EXISTS rtf CASCADE",
            "CREATE SCHEMA rtf",
            "CREATE TABLE rtf.big (id int, name text, d date, price numeric(10,2), half float8)",
            "INSERT INTO rtf.big SELECT nullif(n, 77), CASE WHEN n % 3 = 0 THEN 'customer ' ELSE '고객 ' END || lpad(n::text, 4, '0'), "
            "date '2015-01-01' + n % 5000, n / 4.0, n / 2.0 FROM generate_series(1, 20000) n",
            "CREATE TABLE rtf.few (id bigint, name text, price numeric(10,2), half float8)",
            "INSERT INTO rtf.few VALUES (3, 'customer 0003', 0.75, 1.5), (77, 'CUSTOMER 0006', 1, 0), (NULL, NULL, NULL, 'NaN'), "
            "(999, '고객 0999 ', 249.75, '-0'), (5000000000, '고객 0001', 2, NULL)",
            "CREATE TABLE rtf.days (dt text)",
            "INSERT INTO rtf.days VALUES ('2026-11-02'), ('2031-01-01')",
            "ANALYZE rtf.days",
            "ANALYZE rtf.big",
            "ANALYZE rtf.few",
        ]:
            database.execute(statement)
        with server.connect() as connection:
            for statement in [
                f"CREATE SECRET rtf_login WITH (user = '{pg.username}', password = '{pg.password}')",
                f"CREATE SECRET rtf_keys WITH (access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', "
                f"secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}')",
                f"CREATE CATALOG rtf_pg USING postgres WITH (url = 'postgres://{pg.hostname}:{pg.port}{pg.path}', secret = 'rtf_login')",
                f"CREATE CATALOG rtf_my USING mysql WITH (url = 'mysql://{mysql.hostname}:{mysql.port}{mysql.path}', secret = 'rtf_login')",
                f"CREATE CATALOG rtf_s3 USING s3 WITH (endpoint = '{os.environ['MARU_TEST_S3']}', bucket = 'weblogs', secret = 'rtf_keys')",
                f"CREATE CATALOG rtf_hive USING hive WITH (metastore = '{os.environ['MARU_TEST_HMS4']}')",
                "CREATE SCHEMA rtf",
                "CREATE EXTERNAL TABLE rtf.weblogs STORED AS PARQUET LOCATION 's3://weblogs/2026/'",
            ]:
                connection.execute(statement)
            yield connection
            connection.execute("DROP TABLE rtf.weblogs")
            connection.execute("DROP SCHEMA rtf")
            for name in ["rtf_pg", "rtf_my", "rtf_s3", "rtf_hive"]:
                connection.execute(f"DROP CATALOG {name}")
            connection.execute("DROP SECRET rtf_login")
            connection.execute("DROP SECRET rtf_keys")
        database.execute("DROP SCHEMA rtf CASCADE")


def received(connection, catalog, sql):
    """What a catalog was sent, and how many rows came back from it, largest first if it was asked more than once."""
    lines = [line for (line,) in connection.execute("EXPLAIN ANALYZE " + sql).fetchall()]
    found = []
    for at, line in enumerate(lines):
        if line.startswith(f"  {catalog} is "):
            rows = next(re.match(r"    came back: (\d+) rows", later) for later in lines[at:] if later.startswith("    came back"))
            found.append((int(rows.group(1)), line))
    assert found, lines
    return max(found)


@pytest.mark.parametrize("catalog,sql,before,after", [
    ("rtf_my", "SELECT c.name FROM rtf_pg.rtf.few f JOIN rtf_my.shop.customers c ON c.id = f.id", 1000, 3),
    ("rtf_my", "SELECT c.id FROM rtf_pg.rtf.few f JOIN rtf_my.shop.customers c ON c.name = f.name", 1000, 2),
    ("rtf_pg", "SELECT b.price FROM rtf_my.shop.customers c JOIN rtf_pg.rtf.big b ON b.id = c.id WHERE c.id % 100 = 7", 20000, 10),
    ("rtf_pg", "SELECT b.price FROM rtf_my.shop.customers c JOIN rtf_pg.rtf.big b ON b.name = c.name WHERE c.id % 100 = 7", 20000, 10),
    ("rtf_pg", "SELECT count(*) FROM rtf_pg.rtf.big WHERE id > (SELECT max(id) + 18995 FROM rtf_my.shop.customers)", 20000, 5),
    ("rtf_my", "SELECT count(*) FROM rtf_my.shop.customers WHERE id < (SELECT min(id) + 2 FROM rtf_pg.rtf.few)", 1000, 4),
    ("rtf_hive", "SELECT count(*) FROM rtf_pg.rtf.days d JOIN rtf_hive.demo.log l ON l.dt = d.dt", 1500, 500),
])
def test_fewer_rows_cross(connection, catalog, sql, before, after):
    connection.execute("SET runtime_filters = off")
    rows_before, _ = received(connection, catalog, sql)
    without = sorted(connection.execute(sql).fetchall())
    connection.execute("SET runtime_filters = on")
    rows_after, sent = received(connection, catalog, sql)
    assert (rows_before, rows_after) == (before, after), sent
    assert sorted(connection.execute(sql).fetchall()) == without


@pytest.mark.parametrize("on", ["f.id = o.id", "f.name = o.name", "f.id = o.id AND f.name = o.name", "f.price = o.balance", "f.half = o.id"])
@pytest.mark.parametrize("kind", ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
def test_rows_are_the_same_on_and_off(connection, on, kind):
    sql = f"SELECT f.id, f.name, o.id, o.name FROM rtf_pg.rtf.few f {kind} (SELECT id, name, balance FROM rtf_my.shop.customers) o ON {on}"
    answers = []
    for state in ["on", "off"]:
        connection.execute(f"SET runtime_filters = {state}")
        answers.append(sorted(connection.execute(sql).fetchall(), key=str))
    connection.execute("SET runtime_filters = on")
    assert answers[0] == answers[1]


@pytest.mark.parametrize("sql", [
    "SELECT id FROM rtf_my.shop.customers WHERE id IN (SELECT id FROM rtf_pg.rtf.few)",
    "SELECT id FROM rtf_my.shop.customers WHERE id NOT IN (SELECT id FROM rtf_pg.rtf.few WHERE id IS NOT NULL) AND id < 80",
    "SELECT id FROM rtf_my.shop.customers WHERE id NOT IN (SELECT id FROM rtf_pg.rtf.few)",
    "SELECT id FROM rtf_pg.rtf.few f WHERE NOT EXISTS (SELECT 1 FROM rtf_my.shop.customers c WHERE c.id = f.id)",
    "SELECT count(*), sum(w.bytes) FROM rtf_pg.rtf.few f JOIN rtf.weblogs w ON w.customer_id = f.id",
    "SELECT count(*) FROM rtf_pg.rtf.big WHERE d > (SELECT max(joined) FROM rtf_my.shop.customers)",
    "SELECT count(*) FROM rtf_pg.rtf.big WHERE half = (SELECT max(half) FROM rtf_pg.rtf.few)",
    "SELECT count(*) FROM rtf_pg.rtf.big WHERE d > (SELECT max(joined) FROM rtf_my.shop.customers WHERE id < 0)",
])
def test_subqueries_are_the_same_on_and_off(connection, sql):
    answers = []
    for state in ["on", "off"]:
        connection.execute(f"SET runtime_filters = {state}")
        answers.append(sorted(connection.execute(sql).fetchall(), key=str))
    connection.execute("SET runtime_filters = on")
    assert answers[0] == answers[1]
