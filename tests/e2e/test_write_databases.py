"""Writes to PostgreSQL, MariaDB and SQLite by SQL: what is there afterwards, whatever fails or dies meanwhile."""

import concurrent.futures
import contextlib
import os
import random
import signal
import sqlite3
import threading
import time
import urllib.parse

import psycopg
import pymysql
import pytest

from fault_proxy import FaultProxy

pytestmark = [pytest.mark.services, pytest.mark.timeout(1800)]

LONG = os.environ.get("MARU_TEST_LONG") == "1"
KILLS = 100 if LONG else 20
ROWS = 200_000
SCHEMA = "e2e_write"


class Postgres:
    name, place = "postgres", f"w_pg.{SCHEMA}"

    def __init__(self, _):
        self.url = urllib.parse.urlsplit(os.environ["MARU_TEST_PG"])

    def catalog(self, port=None):
        return (f"CREATE CATALOG w_pg USING postgres WITH (url = 'postgres://{self.url.hostname}:{port or self.url.port}{self.url.path}', "
                f"user = '{self.url.username}', password = '{self.url.password}')")

    def run(self, *statements):
        with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as direct:
            for statement in statements:
                cursor = direct.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def make(self):
        self.run(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE", f"CREATE SCHEMA {SCHEMA}")

    def tables(self):
        return {name for name, in self.run(f"SELECT relname FROM pg_class WHERE relnamespace = '{SCHEMA}'::regnamespace AND relkind = 'r'")}

    def busy(self):
        return self.run("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'maru' AND state <> 'idle'")[0][0]

    def end_sessions(self):
        self.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'maru' AND state <> 'idle'")


class MariaDb:
    name, place = "mariadb", f"w_my.{SCHEMA}"

    def __init__(self, _):
        self.url = urllib.parse.urlsplit(os.environ["MARU_TEST_MYSQL"])

    def catalog(self, port=None):
        return (f"CREATE CATALOG w_my USING mysql WITH (url = 'mysql://{self.url.hostname}:{port or self.url.port}', "
                f"user = '{self.url.username}', password = '{self.url.password}')")

    def run(self, *statements):
        with contextlib.closing(pymysql.connect(host=self.url.hostname, port=self.url.port, user=self.url.username,
                                                password=self.url.password, autocommit=True)) as direct:
            with direct.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return list(cursor.fetchall())

    def make(self):
        self.run(f"DROP DATABASE IF EXISTS {SCHEMA}", f"CREATE DATABASE {SCHEMA} CHARACTER SET utf8mb4")

    def tables(self):
        return {name for name, in self.run(f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{SCHEMA}'")}

    def busy(self):
        return self.run("SELECT count(*) FROM information_schema.processlist WHERE command <> 'Sleep' "
                        f"AND id <> connection_id() AND info LIKE '%{SCHEMA}%'")[0][0]

    def end_sessions(self):
        for number, in self.run("SELECT id FROM information_schema.processlist WHERE id <> connection_id() "
                                f"AND (info LIKE '%`{SCHEMA}`%')"):
            with contextlib.suppress(pymysql.err.OperationalError):
                self.run(f"KILL CONNECTION {number}")


class Sqlite:
    name, place = "sqlite", "w_lite.main"

    def __init__(self, directory):
        self.path = directory / "write.db"

    def catalog(self, port=None):
        return f"CREATE CATALOG w_lite USING sqlite WITH (path = '{self.path}')"

    def run(self, *statements):
        with contextlib.closing(sqlite3.connect(self.path, timeout=20)) as direct:
            for statement in statements:
                rows = direct.execute(statement.replace(f"{SCHEMA}.", "main.")).fetchall()
            direct.commit()
            return rows

    def make(self):
        self.path.unlink(missing_ok=True)
        self.run("CREATE TABLE first (id INTEGER)")

    def tables(self):
        return {name for name, in self.run("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def busy(self):
        return 0

    def end_sessions(self):
        pass


KINDS = {"postgres": Postgres, "mariadb": MariaDb, "sqlite": Sqlite}
OURS = {"maru_commits"}
# A file has neither connections to cut nor sessions to end.
served = pytest.mark.parametrize("target", [name for name in KINDS if name != "sqlite"], indirect=True)
ITEM = "CREATE TABLE {s}.item (id bigint PRIMARY KEY, name varchar(40) NOT NULL, price numeric(12,2))"


@pytest.fixture(params=KINDS)
def target(request, tmp_path):
    target = KINDS[request.param](tmp_path)
    target.make()
    target.run(ITEM.format(s=SCHEMA))
    yield target
    if target.name == "postgres":
        target.run(f"DROP SCHEMA {SCHEMA} CASCADE")
    elif target.name == "mariadb":
        target.run(f"DROP DATABASE {SCHEMA}")


@pytest.fixture
def session(target, server):
    with server.connect() as connection:
        connection.execute(target.catalog())
        yield connection
        connection.execute(f"DROP CATALOG {target.place.split('.')[0]}")


def all_rows(target, table="item"):
    return target.run(f"SELECT id, name FROM {SCHEMA}.{table} ORDER BY id")


def failed(connection, sql):
    with pytest.raises(psycopg.Error) as error:
        connection.execute(sql)
    return error.value


def test_rows_go_in_and_come_back(target, session):
    t = target.place
    assert session.execute(f"INSERT INTO {t}.item VALUES (1, 'one', 1.5), (2, '둘', NULL)").statusmessage == "INSERT 0 2"
    assert session.execute(f"INSERT INTO {t}.item (name, id) SELECT 'n' || value, value FROM generate_series(3, 5) AS g(value)").statusmessage == "INSERT 0 3"
    assert all_rows(target) == [(1, "one"), (2, "둘"), (3, "n3"), (4, "n4"), (5, "n5")]
    session.execute(f"INSERT INTO {t}.item (id, name) VALUES (5, 'fünf'), (6, 'sechs') ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name")
    session.execute(f"INSERT INTO {t}.item (id, name) VALUES (6, 'x'), (7, 'sieben') ON CONFLICT (id) DO NOTHING")
    assert all_rows(target)[4:] == [(5, "fünf"), (6, "sechs"), (7, "sieben")]
    if target.name in ("postgres", "sqlite"):
        done = session.execute(f"INSERT INTO {t}.item (id, name) VALUES (7, 'x'), (8, 'acht'), (8, 'y') ON CONFLICT DO NOTHING")
        assert done.statusmessage == "INSERT 0 1"
        session.execute(f"DELETE FROM {t}.item WHERE id = 8")
    else:
        assert failed(session, f"INSERT INTO {t}.item (id, name) VALUES (7, 'x') ON CONFLICT DO NOTHING").sqlstate == "0A000"
    # What a database computes of the row that is there and the new one.
    grows = (f"INSERT INTO {t}.item AS i (id, name, price) VALUES (7, '''!', 1.5) ON CONFLICT (id) DO UPDATE "
             "SET name = i.name || excluded.name || '\\', price = coalesce(i.price, 0) * 2 - (-1) + excluded.price")
    if target.name == "postgres":
        assert [session.execute(grows).statusmessage for _ in range(2)] == ["INSERT 0 1"] * 2
        assert session.execute(f"SELECT name, price::text FROM {t}.item WHERE id = 7").fetchone() == ("sieben'!\\'!\\", "7.50")
        for sql, state in {"name": "42702", "other.name": "42P01", "i.nosuch": "42703", "upper(i.name)": "0A000", "DEFAULT": "0A000"}.items():
            assert failed(session, grows.split(" SET ")[0] + f" SET name = {sql}").sqlstate == state, sql
    else:
        assert failed(session, grows).sqlstate == "0A000"
    # A statement may read what it writes.
    assert session.execute(f"INSERT INTO {t}.item SELECT id + 100, name, price FROM {t}.item").statusmessage == "INSERT 0 7"
    session.execute(f"INSERT OVERWRITE {t}.item SELECT * FROM {t}.item WHERE id < 3")
    assert all_rows(target) == [(1, "one"), (2, "둘")]
    assert session.execute(f"SELECT id, name, price FROM {t}.item ORDER BY id").fetchall()[0][:2] == (1, "one")
    assert OURS >= target.tables() - {"item", "first"}


def test_tables_are_made_from_queries_and_changed(target, session):
    t = target.place
    assert session.execute(f"CREATE TABLE {t}.made AS SELECT id, name, price FROM (VALUES (1, 'a', 1.25), (2, 'b', NULL)) AS v(id, name, price)").statusmessage == "SELECT 2"
    assert failed(session, f"CREATE TABLE {t}.made AS SELECT 1 AS id").sqlstate == "42P07"
    session.execute(f"CREATE OR REPLACE TABLE {t}.made AS SELECT id + 1 AS id, upper(name) AS name FROM {t}.made")
    assert all_rows(target, "made") == [(2, "A"), (3, "B")]
    session.execute(f"ALTER TABLE {t}.made ADD COLUMN note text")
    session.execute(f"ALTER TABLE {t}.made RENAME COLUMN name TO label")
    assert session.execute(f"SELECT id, label, note FROM {t}.made ORDER BY id").fetchall() == [(2, "A", None), (3, "B", None)]
    session.execute(f"ALTER TABLE {t}.made DROP COLUMN note")
    session.execute(f"TRUNCATE {t}.made")
    assert session.execute(f"SELECT count(*) FROM {t}.made").fetchone() == (0,)
    session.execute(f"CREATE TABLE {t}.empty (id bigint PRIMARY KEY, name varchar(20))")
    session.execute(f"INSERT INTO {t}.empty VALUES (1, 'x')")
    assert failed(session, f"INSERT INTO {t}.empty VALUES (1, 'y')").sqlstate == "23505"
    session.execute(f"DROP TABLE {t}.made")
    session.execute(f"DROP TABLE {t}.empty")
    assert OURS >= target.tables() - {"item", "first"}


def test_rows_are_updated_deleted_and_merged(target, session):
    t = target.place
    session.execute(f"INSERT INTO {t}.item SELECT value, 'n' || value, value FROM generate_series(1, 6) AS g(value)")
    assert session.execute(f"UPDATE {t}.item SET name = name || '!', price = price * 2 WHERE id <= 2").statusmessage == "UPDATE 2"
    assert session.execute(f"DELETE FROM {t}.item WHERE id IN (SELECT id FROM {t}.item WHERE id >= 5)").statusmessage == "DELETE 2"
    session.execute(f"CREATE TABLE {t}.news AS SELECT id, name FROM (VALUES (2, 'two'), (3, NULL), (9, 'nine')) AS v(id, name)")
    session.execute(f"MERGE INTO {t}.item AS i USING {t}.news AS n ON i.id = n.id WHEN MATCHED AND n.name IS NULL THEN DELETE "
                    "WHEN MATCHED THEN UPDATE SET name = n.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (n.id, n.name)")
    assert all_rows(target) == [(1, "n1!"), (2, "two"), (4, "n4"), (9, "nine")]
    assert session.execute(f"UPDATE {t}.item SET name = 'x' WHERE id = 99").statusmessage == "UPDATE 0"
    # Rows that go are told of as they were; what becomes of others is the database's affair.
    session.execute(f"INSERT INTO {t}.item (id, name) VALUES (20, 'zwanzig')")
    gone = session.execute(f"DELETE FROM {t}.item WHERE id > 9 RETURNING id, upper(name) AS name")
    assert (gone.fetchall(), gone.statusmessage) == ([(20, "ZWANZIG")], "DELETE 1")
    for told in [f"INSERT INTO {t}.item (id, name) VALUES (20, 'x') RETURNING id", f"UPDATE {t}.item SET name = 'x' RETURNING id"]:
        assert failed(session, told).sqlstate == "0A000", told
    nothing = f"INSERT INTO {t}.item DEFAULT VALUES"
    assert failed(session, nothing).sqlstate == ("23502" if target.name == "postgres" else "0A000")
    if target.name == "postgres":
        target.run(f"CREATE TABLE {SCHEMA}.counted (id integer GENERATED ALWAYS AS IDENTITY, name text DEFAULT 'none')")
        c = f"{t}.counted"
        for sql in [f"INSERT INTO {c} DEFAULT VALUES", f"INSERT INTO {c} VALUES (DEFAULT, DEFAULT)", f"INSERT INTO {c} (name) VALUES (DEFAULT) ON CONFLICT DO NOTHING"]:
            assert session.execute(sql).statusmessage == "INSERT 0 1", sql
        assert session.execute(f"SELECT * FROM {c} ORDER BY id").fetchall() == [(1, "none"), (2, "none"), (3, "none")]
        for sql, state in {"(name) VALUES (DEFAULT), (DEFAULT)": "0A000", "(nope) VALUES (DEFAULT)": "42703", "(name) VALUES (DEFAULT, DEFAULT)": "0A000"}.items():
            assert failed(session, f"INSERT INTO {c} {sql}").sqlstate == state, sql
    # What the table refuses leaves it as it was.
    assert failed(session, f"UPDATE {t}.item SET name = NULL WHERE id = 1").sqlstate == "23502"
    assert failed(session, f"UPDATE {t}.item SET id = 2 WHERE id = 1").sqlstate == "23505"
    assert failed(session, f"MERGE INTO {t}.item AS i USING (VALUES (1, 'a'), (1, 'b')) AS n(id, name) ON i.id = n.id "
                           "WHEN MATCHED THEN UPDATE SET name = n.name").sqlstate == "21000"
    assert all_rows(target) == [(1, "n1!"), (2, "two"), (4, "n4"), (9, "nine")]


def test_rows_get_the_defaults_of_their_database(target, session):
    t = target.place
    target.run(f"CREATE TABLE {SCHEMA}.ruled (id integer PRIMARY KEY, a integer DEFAULT 7, b varchar(20) NOT NULL DEFAULT 'none', "
               "g integer GENERATED ALWAYS AS (a * 2) STORED)")
    session.execute(f"INSERT INTO {t}.ruled (id, a, b) VALUES (1, 1, 'x'), (2, NULL, 'y'), (3, 3, 'z')")
    change = f"UPDATE {t}.ruled SET a = DEFAULT, b = DEFAULT, g = DEFAULT WHERE id < 3"
    if target.name == "sqlite":
        assert failed(session, change).sqlstate == "0A000"
        return
    assert session.execute(change).statusmessage == "UPDATE 2"
    rows = f"SELECT id, a, b, g FROM {t}.ruled ORDER BY id"
    assert session.execute(rows).fetchall() == [(1, 7, "none", 14), (2, 7, "none", 14), (3, 3, "z", 6)]
    assert session.execute(f"UPDATE {t}.ruled SET (a, b) = (DEFAULT, b || '!') WHERE a = 3").statusmessage == "UPDATE 1"
    assert session.execute(rows).fetchall()[2] == (3, 7, "z!", 14)
    assert session.execute(f"UPDATE {t}.ruled SET b = DEFAULT WHERE id > 9").statusmessage == "UPDATE 0"
    for sql, state in {"a = DEFAULT, a = 1": "42701", "nope = DEFAULT": "42703", "id = 4, a = DEFAULT RETURNING a": "0A000"}.items():
        assert failed(session, f"UPDATE {t}.ruled SET {sql}").sqlstate == state, sql


def test_rows_for_which_a_condition_is_null_stay(target, session):
    """`NOT IN` of values with a NULL among them is NULL: the rows are not those that are meant."""
    t = target.place
    filled = f"INSERT INTO {t}.item SELECT value, 'n' || value, value FROM generate_series(1, 3) AS g(value)"
    session.execute(filled)
    session.execute(f"CREATE TABLE {t}.numbers AS SELECT n::bigint AS n FROM (VALUES (1), (NULL)) AS v(n)")
    rows = [(1, "n1"), (2, "n2"), (3, "n3")]
    unclear = f"id NOT IN (SELECT n FROM {t}.numbers) OR name = 'n2'"
    query = f"SELECT id, name FROM {t}.item WHERE {unclear}"
    assert session.execute(query).fetchall() == [(2, "n2")]
    for sql, tag, left in (
        (f"DELETE FROM {t}.item WHERE {unclear}", "DELETE 1", [(1, "n1"), (3, "n3")]),
        (f"DELETE FROM {t}.item WHERE NOT (id IN (SELECT n FROM {t}.numbers) AND name <> 'n2')", "DELETE 1", [(1, "n1"), (3, "n3")]),
        (f"UPDATE {t}.item SET name = 'x' WHERE {unclear}", "UPDATE 1", [(1, "n1"), (2, "x"), (3, "n3")]),
        (f"UPDATE {t}.item SET name = (SELECT max(name) FROM {t}.item AS i WHERE {unclear})", "UPDATE 3", [(1, "n2"), (2, "n2"), (3, "n2")]),
        (f"MERGE INTO {t}.item AS i USING ({query}) AS n ON i.id = n.id WHEN MATCHED THEN DELETE", "MERGE 1", [(1, "n1"), (3, "n3")]),
        (f"INSERT INTO {t}.item (id, name) SELECT id + 10, name FROM ({query}) AS q", "INSERT 0 1", rows + [(12, "n2")]),
        (f"INSERT OVERWRITE {t}.item {query}", "INSERT 0 1", [(2, "n2")]),
        (f"CREATE TABLE {t}.made AS {query}", "SELECT 1", rows),
        (f"EXPLAIN DELETE FROM {t}.item WHERE {unclear}", "EXPLAIN", rows),
    ):
        assert session.execute(sql).statusmessage == tag, sql
        assert all_rows(target) == left, sql
        session.execute(f"DELETE FROM {t}.item")
        session.execute(filled)
    assert session.execute(f"SELECT id, name FROM {t}.made").fetchall() == [(2, "n2")]
    # As a whole, or where NULL comes to the same as false, it is planned as it is meant.
    assert session.execute(f"DELETE FROM {t}.item WHERE id NOT IN (SELECT n FROM {t}.numbers)").statusmessage == "DELETE 0"
    assert session.execute(f"DELETE FROM {t}.item WHERE id IN (SELECT n FROM {t}.numbers) OR name = 'n2'").statusmessage == "DELETE 2"
    assert all_rows(target) == [(3, "n3")]


def test_clauses_of_merge_that_do_nothing(target, session):
    t = target.place
    session.execute(f"INSERT INTO {t}.item SELECT value, 'n' || value, value FROM generate_series(1, 3) AS g(value)")
    news = "(VALUES (1, NULL), (2, 'two'), (9, 'nine')) AS n(id, name)"
    done = session.execute(f"MERGE INTO {t}.item AS i USING {news} ON i.id = n.id WHEN MATCHED AND n.name IS NULL THEN DO NOTHING "
                           "WHEN MATCHED THEN UPDATE SET name = n.name WHEN NOT MATCHED THEN DO NOTHING")
    assert done.statusmessage == "MERGE 1"
    assert all_rows(target) == [(1, "n1"), (2, "two"), (3, "n3")]
    assert session.execute(f"MERGE INTO {t}.item AS i USING {news} ON i.id = n.id WHEN MATCHED THEN DO NOTHING").statusmessage == "MERGE 0"
    error = failed(session, f"MERGE INTO {t}.item AS i USING {news} ON i.id = n.id WHEN MATCHED THEN DELETE WHEN MATCHED THEN DO NOTHING")
    assert error.sqlstate == "42601" and "unreachable WHEN clause" in str(error)


def test_a_merge_leaves_what_it_does_not_name_to_the_database(target, session):
    t = f"{target.place}.filled"
    target.run(f"CREATE TABLE {SCHEMA}.filled (id bigint PRIMARY KEY, name varchar(40) DEFAULT 'none', price integer NOT NULL DEFAULT 7)")
    session.execute(f"INSERT INTO {t} VALUES (1, 'a', 1)")
    merge = f"MERGE INTO {t} AS f USING (VALUES (1), (2)) AS n(id) ON f.id = n.id "
    different = merge + "WHEN NOT MATCHED AND n.id = 1 THEN INSERT (id) VALUES (n.id) WHEN NOT MATCHED THEN INSERT (id, name) VALUES (n.id, 'b')"
    assert failed(session, different).sqlstate == "0A000"
    done = session.execute(merge + "WHEN MATCHED THEN UPDATE SET price = 5 WHEN NOT MATCHED THEN INSERT (id) VALUES (n.id)")
    assert done.statusmessage == "MERGE 2"
    done = session.execute(f"MERGE INTO {t} AS f USING (VALUES (3)) AS n(id) ON f.id = n.id WHEN NOT MATCHED THEN INSERT VALUES (n.id, DEFAULT, DEFAULT)")
    assert done.statusmessage == "MERGE 1"
    assert session.execute(f"SELECT id, name, price FROM {t} ORDER BY id").fetchall() == [(1, "a", 5), (2, "none", 7), (3, "none", 7)]


def test_explain_says_how_rows_travel_and_writes_nothing(target, session):
    lines = session.execute(f"EXPLAIN INSERT INTO {target.place}.item SELECT 1, 'x', 2.5").fetchall()
    text = "\n".join(" ".join(map(str, line)) for line in lines)
    assert {"postgres": "COPY", "mariadb": "LOAD DATA", "sqlite": "in one transaction"}[target.name] in text
    assert all_rows(target) == []
    assert target.tables() - {"first"} == {"item"}


def test_what_the_table_refuses(target, session):
    t = target.place
    session.execute(f"INSERT INTO {t}.item VALUES (1, 'one', 1)")
    for rows, sqlstate in [("(2, 'two', 2), (1, 'again', 3)", "23505"), ("(2, NULL, 1)", "23502")]:
        error = failed(session, f"INSERT INTO {t}.item VALUES {rows}")
        assert error.sqlstate == sqlstate, error
    if target.name != "sqlite":
        error = failed(session, f"INSERT INTO {t}.item SELECT value, repeat('x', value), 1 FROM generate_series(2, 60) AS g(value)")
        assert error.sqlstate == "22001"
        assert "row=40" in str(error), error
    assert failed(session, f"INSERT INTO {t}.item (id, nmae) VALUES (2, 'x')").sqlstate == "42703"
    assert failed(session, f"INSERT INTO {t}.nothing VALUES (1)").sqlstate == "42P01"
    twice = f"INSERT INTO {t}.item (id, name) VALUES (8, 'a'), (8, 'b') ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name"
    assert failed(session, twice).sqlstate == "21000"
    assert all_rows(target) == [(1, "one")]


def test_a_read_only_catalog_stays_as_it_is(target, session):
    frozen = target.catalog().replace("CREATE CATALOG w_", "CREATE CATALOG w_ro_").replace("WITH (", "WITH (read_only = true, ")
    session.execute(frozen)
    place = target.place.replace("w_", "w_ro_", 1)
    for sql in [f"INSERT INTO {place}.item VALUES (1, 'x', 1)", f"CREATE TABLE {place}.n AS SELECT 1 AS id",
                f"TRUNCATE {place}.item", f"DROP TABLE {place}.item", f"ALTER TABLE {place}.item ADD COLUMN n int"]:
        assert failed(session, sql).sqlstate == "25006", sql
    session.execute(f"DROP CATALOG {place.split('.')[0]}")


def test_cancelling_ends_the_work_in_the_database(target, session, server):
    t = target.place
    for sql in [f"INSERT INTO {t}.item SELECT value, 'n', 1 FROM generate_series(1, 100000000) AS g(value)",
                f"CREATE TABLE {t}.made AS SELECT value FROM generate_series(1, 100000000) AS g(value)"]:
        with server.connect() as other:
            def cancel(other=other, sql=sql):
                server.until_it_runs(sql)
                time.sleep(2)
                other.cancel()

            canceller = threading.Thread(target=cancel)
            canceller.start()
            error = failed(other, sql)
            canceller.join()
        assert error.sqlstate == "57014", error
        deadline = time.monotonic() + 60
        while target.busy():
            assert time.monotonic() < deadline, "the database still works"
            time.sleep(0.1)
    deadline = time.monotonic() + 60
    while target.tables() - {"item", "first"} - OURS:
        assert time.monotonic() < deadline, target.tables()
        time.sleep(0.1)
    assert all_rows(target) == []


def test_two_writers(target, server, session):
    """Each of them whole, one after the other, or one of them is told to try again."""
    t = target.place

    def overwrite(word):
        with server.connect() as connection:
            try:
                connection.execute(f"INSERT OVERWRITE {t}.item SELECT value, '{word}', 1 FROM generate_series(1, 5000) AS g(value)")
            except psycopg.Error as error:
                return error.sqlstate
        return None

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for _ in range(4):
            ended = list(pool.map(overwrite, ["one", "other"]))
            assert None in ended and set(ended) <= {None, "40001", "55P03"}, ended
            found = target.run(f"SELECT count(*), count(DISTINCT name) FROM {SCHEMA}.item")[0]
            assert tuple(found) == (5000, 1)


def state(target, table):
    """What the table holds, as one of the states that it may be in."""
    if table not in target.tables():
        return None
    count, words, word = target.run(f"SELECT count(*), count(DISTINCT name), min(name) FROM {SCHEMA}.{table}")[0]
    assert words <= 1, "a mixture of two writes"
    return (count, word)


def test_kill_9_at_random_moments(target, tmp_path, start):
    """After each kill: the old rows or the new ones, whole; and nothing is in the way of the next write."""
    dice = random.Random(7)
    ended = {"old": 0, "new": 0}
    took = 0.5
    for number in range(KILLS):
        server = start("data")
        connection = server.connect()
        if number == 0:
            connection.execute(target.catalog())
        word = f"w{number}"
        as_table = number % 4 == 3
        table = "made" if as_table else "item"
        before = state(target, table)
        what = f"CREATE OR REPLACE TABLE {target.place}.made AS" if as_table else f"INSERT OVERWRITE {target.place}.item"
        sql = f"{what} SELECT value AS id, '{word}' AS name, 1.5 AS price FROM generate_series(1, {ROWS}) AS g(value)"
        # Sometimes it is let through, to know how long it takes.
        wait = None if number % 10 == 0 else dice.uniform(0, took * 1.1)

        def write(connection=connection, sql=sql):
            with contextlib.suppress(psycopg.Error):
                connection.execute(sql)

        writer = threading.Thread(target=write)
        began = time.monotonic()
        writer.start()
        writer.join(wait)
        if wait is None:
            took = time.monotonic() - began
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        writer.join()
        connection.close()
        deadline = time.monotonic() + 60
        while target.busy():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        after = state(target, table)
        assert after in (before, (ROWS, word)), (number, before, after)
        ended["new" if after == (ROWS, word) else "old"] += 1
    print(f"{target.name}: killed {KILLS} times, {ended}")
    server = start("data")
    with server.connect() as connection:
        connection.execute(f"CREATE OR REPLACE TABLE {target.place}.made AS SELECT 1 AS id")
    assert target.tables() - {"item", "first", "made"} <= OURS
    server.stop()


@pytest.fixture
def proxied(target, server):
    proxy = FaultProxy(target.url.hostname, target.url.port)
    with server.connect() as connection:
        connection.execute(target.catalog(proxy.port))
        yield connection, proxy
        proxy.calm()
        connection.execute(f"DROP CATALOG {target.place.split('.')[0]}")
    proxy.close()


@served
def test_lines_that_are_cut(target, proxied):
    """Cut at random moments, then at those at which the answer to the commit is on its way: old or new, and the answer is right."""
    connection, proxy = proxied
    dice = random.Random(11)
    told = []
    took = 1.0
    for number in range(40 if LONG else 16):
        word = f"c{number}"
        before = state(target, "item")
        proxy.calm()
        timer = None
        if number % 8:
            timer = threading.Timer(dice.uniform(0.02, took * 1.05), proxy.cut)
            timer.start()
        began = time.monotonic()
        try:
            connection.execute(f"INSERT OVERWRITE {target.place}.item SELECT value, '{word}', 1.5 FROM generate_series(1, {ROWS}) AS g(value)")
            answer = None
        except psycopg.Error as error:
            answer = error.sqlstate
        if timer is None:
            took = time.monotonic() - began
        else:
            timer.join()
        deadline = time.monotonic() + 60
        while target.busy():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        after = state(target, "item")
        # Whoever is told of a success has one; whoever is told of a failure has the old rows.
        assert after == ((ROWS, word) if answer is None else before), (number, answer, before, after)
        assert answer in (None, "HV00N", "08007", "HV000"), answer
        told.append(answer)
    print(f"{target.name}: {told}")


@served
def test_the_answer_to_a_commit_is_lost(target, proxied):
    """The line is cut before the commit arrives, or after it and before its answer: what a client is told is what is there."""
    connection, proxy = proxied
    t = target.place
    for number in range(20 if LONG else 3):
        for arrives in (True, False):
            writes = [(f"INSERT INTO {t}.item (id, name) VALUES ({number}, 'x')", "item"),
                      (f"INSERT OVERWRITE {t}.item (id, name) VALUES ({number}, 'y{number}')", "item"),
                      (f"CREATE OR REPLACE TABLE {t}.made AS SELECT {number} AS id, 'z{number}{arrives}' AS name", "made")]
            for sql, table in writes:
                target.run(f"DELETE FROM {SCHEMA}.item WHERE id = {number}")
                before = all_rows(target, table) if table in target.tables() else None
                by_rename = target.name == "mariadb" and table == "made"
                # As a whole: a transaction begins with READ COMMITTED.
                commit = {"postgres": b"COMMIT\0", "mariadb": b"\x03COMMIT"}[target.name]
                proxy.cut_at = (b"RENAME TABLE" if by_rename else commit, arrives)
                answer = said = None
                try:
                    connection.execute(sql)
                except psycopg.Error as error:
                    answer, said = error.sqlstate, str(error)
                assert proxy.cut_at is None, f"no commit came along: {sql}: {answer} {said}"
                after = all_rows(target, table) if table in target.tables() else None
                assert answer == (None if arrives else "HV00N"), (sql, arrives, answer)
                assert (after == before) != arrives, (sql, arrives, before, after)


@served
def test_sessions_that_the_database_ends(target, session):
    for number in range(10 if LONG else 3):
        before = state(target, "item")
        timer = threading.Timer(0.2 + number * 0.1, target.end_sessions)
        timer.start()
        try:
            session.execute(f"INSERT OVERWRITE {target.place}.item SELECT value, 's{number}', 1.5 FROM generate_series(1, {3 * ROWS}) AS g(value)")
            answer = None
        except psycopg.Error as error:
            answer = error.sqlstate
        timer.join()
        after = state(target, "item")
        assert after == ((3 * ROWS, f"s{number}") if answer is None else before), answer
