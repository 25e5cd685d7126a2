"""What is no plain table in a database: materialised views, foreign tables, partitioned tables. They are listed and read like any, and
filters, groups and orders are left to the database."""

import os
import urllib.parse

import psycopg
import pymysql
import pytest

pytestmark = pytest.mark.services

ROWS = [(n, f"n{n % 7}", n * 3) for n in range(1, 301)]


@pytest.fixture(scope="module")
def connection(server):
    pg, my = (urllib.parse.urlsplit(os.environ[name]) for name in ("MARU_TEST_PG", "MARU_TEST_MYSQL"))
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as direct:
        for sql in [
            "DROP SCHEMA IF EXISTS kinds CASCADE",
            "DROP SERVER IF EXISTS kinds_loop CASCADE",
            "CREATE SCHEMA kinds",
            "CREATE TABLE kinds.plain (id bigint PRIMARY KEY, name text, n integer)",
            "INSERT INTO kinds.plain SELECT g, 'n' || g % 7, g * 3 FROM generate_series(1, 300) g",
            "CREATE MATERIALIZED VIEW kinds.matview AS SELECT * FROM kinds.plain",
            "CREATE MATERIALIZED VIEW kinds.unfilled AS SELECT * FROM kinds.plain WITH NO DATA",
            "CREATE TABLE kinds.parted (id bigint, name text, n integer) PARTITION BY RANGE (id)",
            "CREATE TABLE kinds.parted_low PARTITION OF kinds.parted FOR VALUES FROM (0) TO (100)",
            "CREATE TABLE kinds.parted_mid PARTITION OF kinds.parted FOR VALUES FROM (100) TO (200) PARTITION BY LIST (name)",
            "CREATE TABLE kinds.parted_mid_a PARTITION OF kinds.parted_mid FOR VALUES IN ('n1', 'n2', 'n3')",
            "CREATE TABLE kinds.parted_mid_b PARTITION OF kinds.parted_mid DEFAULT",
            "CREATE TABLE kinds.parted_rest PARTITION OF kinds.parted DEFAULT",
            "INSERT INTO kinds.parted SELECT * FROM kinds.plain",
            "CREATE EXTENSION IF NOT EXISTS postgres_fdw",
            f"CREATE SERVER kinds_loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{pg.hostname}', port '{pg.port}', dbname '{pg.path.strip('/')}')",
            f"CREATE USER MAPPING FOR CURRENT_USER SERVER kinds_loop OPTIONS (user '{pg.username}', password '{pg.password}')",
            "CREATE FOREIGN TABLE kinds.afar (id bigint, name text, n integer) SERVER kinds_loop OPTIONS (schema_name 'kinds', table_name 'plain')",
            # A partition may lie elsewhere.
            "CREATE TABLE kinds.spread (id bigint, name text, n integer) PARTITION BY RANGE (id)",
            "CREATE TABLE kinds.spread_here PARTITION OF kinds.spread FOR VALUES FROM (0) TO (150)",
            "CREATE TABLE kinds.spread_stored AS SELECT * FROM kinds.plain WHERE id >= 150",
            "CREATE FOREIGN TABLE kinds.spread_there PARTITION OF kinds.spread FOR VALUES FROM (150) TO (1000) SERVER kinds_loop "
            "OPTIONS (schema_name 'kinds', table_name 'spread_stored')",
            "INSERT INTO kinds.spread SELECT * FROM kinds.plain WHERE id < 150",
            "ANALYZE kinds.parted",
        ]:
            direct.execute(sql)
    with pymysql.connect(host=my.hostname, port=my.port, user=my.username, password=my.password, autocommit=True) as direct, direct.cursor() as cursor:
        for sql in [
            "DROP DATABASE IF EXISTS kinds",
            "CREATE DATABASE kinds",
            "CREATE TABLE kinds.parted (id bigint PRIMARY KEY, name varchar(20), n int) PARTITION BY RANGE (id) "
            "(PARTITION low VALUES LESS THAN (100), PARTITION mid VALUES LESS THAN (200), PARTITION rest VALUES LESS THAN MAXVALUE)",
            "CREATE TABLE kinds.hashed (id bigint PRIMARY KEY, name varchar(20), n int) PARTITION BY HASH (id) PARTITIONS 8",
        ]:
            cursor.execute(sql)
        for table in ["parted", "hashed"]:
            cursor.executemany(f"INSERT INTO kinds.{table} VALUES (%s, %s, %s)", ROWS)
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG kinds_pg USING postgres WITH (url = 'postgres://{pg.hostname}:{pg.port}{pg.path}', "
                           f"user = '{pg.username}', password = '{pg.password}')")
        connection.execute(f"CREATE CATALOG kinds_my USING mysql WITH (url = 'mysql://{my.hostname}:{my.port}', user = '{my.username}', password = '{my.password}')")
        yield connection
        for name in ["kinds_pg", "kinds_my"]:
            connection.execute(f"DROP CATALOG {name}")
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as direct:
        direct.execute("DROP SCHEMA kinds CASCADE")
        direct.execute("DROP SERVER kinds_loop CASCADE")
    with pymysql.connect(host=my.hostname, port=my.port, user=my.username, password=my.password, autocommit=True) as direct, direct.cursor() as cursor:
        cursor.execute("DROP DATABASE kinds")


def names(connection, catalog):
    return dict(connection.execute(f"SELECT table_name, table_type FROM {catalog}.information_schema.tables WHERE table_schema = 'kinds'").fetchall())


def test_all_are_listed(connection):
    found = names(connection, "kinds_pg")
    # Partitions are read through their table, but can be named.
    assert found == {"plain": "BASE TABLE", "matview": "VIEW", "unfilled": "VIEW", "afar": "BASE TABLE", "parted": "BASE TABLE",
                     "spread": "BASE TABLE", "spread_stored": "BASE TABLE"}, found
    for table, n_rows in [("parted_low", 99), ("parted_mid", 100), ("parted_mid_b", 56), ("spread_there", 151)]:
        assert connection.execute(f"SELECT count(*) FROM kinds_pg.kinds.{table}").fetchone() == (n_rows,), table
    assert names(connection, "kinds_my") == {"parted": "BASE TABLE", "hashed": "BASE TABLE"}
    columns = connection.execute("SELECT column_name, data_type FROM kinds_pg.information_schema.columns WHERE table_schema = 'kinds' "
                                 "AND table_name = 'matview' ORDER BY ordinal_position").fetchall()
    assert columns == [("id", "bigint"), ("name", "text"), ("n", "integer")], columns


TABLES = pytest.mark.parametrize("table", ["kinds_pg.kinds.matview", "kinds_pg.kinds.afar", "kinds_pg.kinds.parted", "kinds_pg.kinds.spread",
                                           "kinds_my.kinds.parted", "kinds_my.kinds.hashed"])


@TABLES
def test_rows(connection, table):
    assert connection.execute(f"SELECT id, name, n FROM {table} ORDER BY id").fetchall() == ROWS
    assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (300,)


@TABLES
@pytest.mark.parametrize("sql,sent", [
    ("SELECT id, n FROM {t} WHERE id BETWEEN 95 AND 105 ORDER BY id", "WHERE"),
    ("SELECT id FROM {t} WHERE name = 'n3' AND n > 600 ORDER BY id", "WHERE"),
    ("SELECT name, count(*), sum(n) FROM {t} WHERE id > 150 GROUP BY name ORDER BY name", "GROUP BY"),
    ("SELECT id, name FROM {t} ORDER BY id DESC LIMIT 5", "LIMIT 5"),
])
def test_what_is_sent(connection, table, sql, sent):
    sql = sql.format(t=table)
    plan = "\n".join(row[0] for row in connection.execute("EXPLAIN " + sql).fetchall())
    line = next(line for line in plan.splitlines() if " is sent: " in line)
    assert sent in line, plan
    on = connection.execute(sql).fetchall()
    connection.execute("SET pushdown = off")
    try:
        assert connection.execute(sql).fetchall() == on and on
    finally:
        connection.execute("RESET pushdown")
    assert on == connection.execute(sql.replace(table, "kinds_pg.kinds.plain")).fetchall()


def test_a_materialised_view_that_was_never_filled(connection):
    with pytest.raises(psycopg.Error) as caught:
        connection.execute("SELECT count(*) FROM kinds_pg.kinds.unfilled")
    assert caught.value.diag.sqlstate == "HV000" and "has not been populated" in caught.value.diag.message_primary, caught.value.diag.message_primary


def test_a_foreign_server_that_is_gone(connection):
    """The message and the code of the database next to it."""
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as direct:
        direct.execute("CREATE SERVER IF NOT EXISTS kinds_gone FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1', dbname 'x')")
        direct.execute("CREATE USER MAPPING IF NOT EXISTS FOR CURRENT_USER SERVER kinds_gone OPTIONS (user 'x', password 'x')")
        direct.execute("CREATE FOREIGN TABLE kinds.gone (id bigint) SERVER kinds_gone OPTIONS (table_name 'x')")
        try:
            with pytest.raises(psycopg.Error) as caught:
                connection.execute("SELECT count(*) FROM kinds_pg.kinds.gone WHERE id > 1")
            told = caught.value.diag
            assert told.sqlstate in ("HV00N", "HV000") and "kinds_gone" in told.message_primary, (told.sqlstate, told.message_primary)
        finally:
            direct.execute("DROP SERVER kinds_gone CASCADE")
