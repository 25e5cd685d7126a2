"""Ordinary queries of several tables against PostgreSQL itself: the same rows under the same names, pushed down to it and computed by Maru."""

import os
import pathlib
import re
import urllib.parse

import psycopg
import pytest

pytestmark = pytest.mark.services

LINES = (pathlib.Path(__file__).parent / "queries.txt").read_text().splitlines()
QUERIES = [line for line in LINES if line and not line.startswith("#")]
SCHEMA = "ordinary_queries"
TABLES = {
    "dept": ("id int PRIMARY KEY, name text NOT NULL, budget bigint, region text",
             "SELECT i, 'dept ' || i, i * 1000000::bigint, CASE i % 3 WHEN 0 THEN 'seoul' WHEN 1 THEN 'busan' END FROM generate_series(1, 8) i"),
    "emp": ("id int PRIMARY KEY, name varchar(40), dept int, salary int, bonus numeric(10,2), hired date, score float8, boss int, active bool, ts timestamp, "
            "tz timestamptz, qty smallint",
            "SELECT i, 'emp ' || i, CASE WHEN i % 11 > 0 THEN i % 9 + 1 END, 1000 + i * 37 % 500, CASE WHEN i % 7 > 0 THEN i * 13 % 100 / 4.0 END, "
            "date '2020-01-01' + i * 17 % 900, CASE WHEN i % 13 > 0 THEN i * 7 % 50 / 8.0 END, CASE WHEN i > 1 THEN i / 3 END, "
            "CASE WHEN i % 5 > 0 THEN i % 2 = 0 END, timestamp '2024-01-01' + i * i % 100000 * interval '1 minute', "
            "timestamptz '2024-03-09 12:00:00+00' + i * interval '37 minutes', (i % 20)::smallint FROM generate_series(1, 200) i"),
    "sale": ("id bigint PRIMARY KEY, emp int, amount numeric(12,2), qty smallint, day date, region text",
             "SELECT i, i % 210, i * 97 % 10000 / 100.0, (i % 7)::smallint, date '2024-01-01' + i % 400, "
             "(ARRAY['seoul', 'busan', 'daegu', NULL])[i % 4 + 1] FROM generate_series(1, 2000) i"),
}


@pytest.fixture(scope="module")
def postgres():
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as connection:
        connection.execute("SET timezone = 'UTC'")
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        connection.execute(f"CREATE SCHEMA {SCHEMA}")
        for name, (columns, rows) in TABLES.items():
            connection.execute(f"CREATE TABLE {SCHEMA}.{name} ({columns})")
            connection.execute(f"INSERT INTO {SCHEMA}.{name} {rows}")
        connection.execute("ANALYZE")
        yield connection
        connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


@pytest.fixture(scope="module")
def maru(server, postgres):
    url = urllib.parse.urlsplit(os.environ["MARU_TEST_PG"])
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG ordinary USING postgres WITH (url = 'postgres://{url.hostname}:{url.port}{url.path}', user = '{url.username}', "
                           f"password = '{url.password}', tls = 'disable')")
        connection.execute(f"CREATE SCHEMA {SCHEMA}")
        for name in TABLES:
            connection.execute(f"CREATE TABLE {SCHEMA}.{name} AS SELECT * FROM ordinary.{SCHEMA}.{name}")
        yield connection
        connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
        connection.execute("DROP CATALOG ordinary")


def answer(connection, sql, place):
    """Names and rows as text; or the SQLSTATE."""
    try:
        cursor = connection.cursor()
        result = cursor.execute(re.sub(r"\{(\w+)\}", rf"{place}.\1", sql).encode(), prepare=False).pgresult
    except psycopg.Error as error:
        return error.sqlstate
    rows = [tuple(result.get_value(row, column) for column in range(result.nfields)) for row in range(result.ntuples)]
    return [column.name for column in cursor.description], rows


@pytest.mark.parametrize("place", [f"ordinary.{SCHEMA}", SCHEMA], ids=["in PostgreSQL", "copied"])
def test_ordinary_queries(maru, postgres, place):
    assert len(QUERIES) > 100
    differences = []
    for sql in QUERIES:
        expected, got = answer(postgres, sql, SCHEMA), answer(maru, sql, place)
        if expected != got:
            differences.append(f"{sql}\n  PostgreSQL {expected}\n  Maru       {got}")
    assert not differences, "\n" + "\n".join(differences)
