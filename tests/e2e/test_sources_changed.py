"""Databases whose tables are altered while their definitions are remembered, and what is said to who attaches one wrongly."""

import os
import sqlite3
import time
import urllib.parse

import psycopg
import pymysql
import pytest

pytestmark = pytest.mark.services

PG, MY = (urllib.parse.urlsplit(os.environ.get(name, "")) for name in ("MARU_TEST_PG", "MARU_TEST_MYSQL"))
KINDS = ["postgres", "mysql", "sqlite"]


class Database:
    """A database and how its tables are called from Maru."""

    def __init__(self, kind, folder):
        self.kind, self.path = kind, folder / "changed.db"
        self.place = {"postgres": "chg.changed", "mysql": "chg.changed", "sqlite": "chg.main"}[kind]

    def run(self, *statements):
        if self.kind == "postgres":
            with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as direct:
                for sql in statements:
                    direct.execute(sql)
        elif self.kind == "mysql":
            with pymysql.connect(host=MY.hostname, port=MY.port, user=MY.username, password=MY.password, autocommit=True) as direct, direct.cursor() as cursor:
                for sql in statements:
                    cursor.execute(sql)
        else:
            with sqlite3.connect(self.path) as direct:
                for sql in statements:
                    direct.execute(sql.replace("changed.", ""))
            direct.close()

    def options(self):
        if self.kind == "sqlite":
            return f"path = '{self.path}'"
        url = PG if self.kind == "postgres" else MY
        path = PG.path if self.kind == "postgres" else ""
        return f"url = '{self.kind}://{url.hostname}:{url.port}{path}', user = '{url.username}', password = '{url.password}'"


@pytest.fixture(params=KINDS)
def database(request, server, tmp_path):
    database = Database(request.param, tmp_path)
    drop = {"postgres": "DROP SCHEMA IF EXISTS changed CASCADE", "mysql": "DROP DATABASE IF EXISTS changed"}.get(request.param)
    if drop:
        database.run(drop, "CREATE SCHEMA changed")
    database.run("CREATE TABLE changed.t (id int PRIMARY KEY, a varchar(20), n int)", "INSERT INTO changed.t VALUES (1, 'x', 1), (2, 'y', 2), (3, 'y', 10)")
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG chg USING {request.param} WITH ({database.options()})")
        database.connection = connection
        try:
            yield database
        finally:
            connection.execute("DROP CATALOG chg")
            if drop:
                database.run(drop)


def rows(database, sql):
    return database.connection.execute(sql.replace("{t}", database.place + ".t")).fetchall()


def refusal(database, sql):
    with pytest.raises(psycopg.Error) as caught:
        rows(database, sql)
    return caught.value.diag


def test_a_column_that_is_called_otherwise_by_now(database):
    """SQLite would take its name for a text."""
    assert rows(database, "SELECT a, n FROM {t} ORDER BY id") == [("x", 1), ("y", 2), ("y", 10)]
    database.run("ALTER TABLE changed.t RENAME COLUMN a TO z")
    for sql in ["SELECT * FROM {t}"]:
        told = refusal(database, sql)
        assert told.sqlstate == "HV000", told.message_primary
    # The first refusal was the last: what was remembered is forgotten.
    assert rows(database, "SELECT * FROM {t} ORDER BY id") == [(1, "x", 1), (2, "y", 2), (3, "y", 10)]
    assert rows(database, "SELECT z, count(*) FROM {t} GROUP BY z ORDER BY z") == [("x", 1), ("y", 2)]
    told = refusal(database, "SELECT a FROM {t}")
    assert told.sqlstate == "42703" and "z" in told.message_hint, told.message_primary


@pytest.mark.parametrize("asked", ["SELECT a, count(*) FROM {t} GROUP BY a", "SELECT count(*) FROM {t} WHERE a > 'a'", "SELECT a FROM {t} ORDER BY a LIMIT 1"])
def test_a_column_that_is_gone(database, asked):
    assert rows(database, asked)
    database.run("ALTER TABLE changed.t DROP COLUMN a")
    assert refusal(database, asked).sqlstate == "HV000"
    assert refusal(database, asked).sqlstate == "42703"


def test_a_column_that_has_another_type_by_now(database):
    asked = "SELECT count(*) FROM {t} WHERE n > 5"
    assert rows(database, asked) == [(1,)]
    if database.kind == "sqlite":
        database.run("CREATE TABLE changed.u (id int PRIMARY KEY, a varchar(20), n text)", "INSERT INTO changed.u SELECT * FROM changed.t", "DROP TABLE changed.t",
                     "ALTER TABLE u RENAME TO t")
    else:
        database.run({"postgres": "ALTER TABLE changed.t ALTER n TYPE text", "mysql": "ALTER TABLE changed.t MODIFY n text"}[database.kind])
    told = refusal(database, asked)
    assert told.sqlstate == "HV000" and "changed in the database just now" in told.message_primary, told.message_primary
    assert rows(database, "SELECT n FROM {t} ORDER BY id") == [("1",), ("2",), ("10",)]


def test_a_column_that_is_new(database):
    assert len(rows(database, "SELECT * FROM {t}")) == 3
    database.run("ALTER TABLE changed.t ADD b int")
    assert len(rows(database, "SELECT a FROM {t}")) == 3
    # What was remembered just now is believed.
    time.sleep(1.2)
    assert rows(database, "SELECT b FROM {t} WHERE id = 1") == [(None,)]
    assert rows(database, "SELECT * FROM {t} WHERE id = 1") == [(1, "x", 1, None)]
    told = refusal(database, "SELECT c FROM {t}")
    assert told.sqlstate == "42703"


def test_a_prepared_statement_goes_on(database):
    with database.connection.cursor() as cursor:
        asked = f"SELECT a FROM {database.place}.t WHERE id = %s"
        assert cursor.execute(asked, [1], prepare=True).fetchall() == [("x",)]
        database.run("ALTER TABLE changed.t ADD b int")
        assert cursor.execute(asked, [2], prepare=True).fetchall() == [("y",)]
        database.run({"postgres": "ALTER TABLE changed.t ALTER a TYPE varchar(30)", "mysql": "ALTER TABLE changed.t MODIFY a varchar(30)",
                      "sqlite": "ALTER TABLE changed.t DROP COLUMN n"}[database.kind])
        with pytest.raises(psycopg.Error, match="changed in the database just now"):
            cursor.execute(asked, [3], prepare=True)
        assert cursor.execute(asked, [3], prepare=True).fetchall() == [("y",)]


def told(connection, sql):
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(sql)
    diag = caught.value.diag
    return diag.sqlstate, " ".join(part or "" for part in (diag.message_primary, diag.message_detail, diag.message_hint))


@pytest.mark.parametrize("using,options,sqlstate,words", [
    ("postgres", "url = 'postgres://{pg}/{db}', user = '{pu}', password = 'wrong'", "HV00L", ['"password"']),
    ("postgres", "url = 'postgres://{pg}/{db}', user = '{pu}'", "HV00L", ["no password", "CREATE SECRET"]),
    ("mysql", "url = 'mysql://{my}', user = '{mu}'", "HV00L", ["no password"]),
    ("postgres", "url = 'postgres://{pg}/nowhere', user = '{pu}', password = '{pp}'", "HV024", ['"nowhere"', "end of option \"url\""]),
    ("mysql", "url = 'mysql://{my}/nowhere', user = '{mu}', password = '{mp}'", "HV024", ["nowhere", "end of option \"url\""]),
    ("postgres", "url = 'postgres://127.0.0.1:1/x', user = 'u', password = 'p'", "HV00N", ["host and port in option \"url\""]),
    ("mysql", "url = 'mysql://127.0.0.1:1', user = 'u', password = 'p'", "HV00N", ["host and port in option \"url\""]),
    ("postgres", "host = 'h', port = '5432'", "HV00D", ['"url"', "postgres://"]),
    ("postgresql", "url = 'postgres://h/d'", "42704", ["USING postgres."]),
    ("mariadb", "url = 'mysql://h/d'", "42704", ["USING mysql."]),
    ("minio", "bucket = 'b'", "42704", ["USING s3", '"endpoint"']),
    ("delta", "path = '/x'", "42704", ["USING file or s3"]),
])
def test_what_is_wrong_with_the_options(server, using, options, sqlstate, words):
    options = options.format(pg=f"{PG.hostname}:{PG.port}", db=PG.path.strip("/"), pu=PG.username, pp=PG.password,
                             my=f"{MY.hostname}:{MY.port}", mu=MY.username, mp=MY.password)
    with server.connect() as connection:
        state, text = told(connection, f"CREATE CATALOG chg_wrong USING {using} WITH ({options})")
        assert state == sqlstate and all(word in text for word in words), (state, text)
        assert "sqlx" not in text


@pytest.mark.parametrize("query", ["DELETE FROM changed.t", "SELECT 1; SELECT 2", "SHOW TABLES", "SELECT FROM WHERE"])
def test_a_native_query_is_one_select(database, query):
    state, text = told(database.connection, f"SELECT * FROM chg.query($$ {query} $$) q")
    assert "one SELECT" in text or "more than one statement" in text, (state, text)


def test_sums_of_text(database):
    state, text = told(database.connection, f"SELECT sum(a) FROM {database.place}.t")
    assert state == "42883" and text.startswith("function sum(text) does not exist") and "CAST" in text, text
