"""SQLite: statements that end when they are given up, and queries in its own words."""

import sqlite3
import threading
import time

import psycopg
import pytest

# Before its first row SQLite would work for years.
ENDLESS = "SELECT count(*) FROM lite.main.endless"
NATIVE = "SELECT * FROM lite.query($$ SELECT count(*) AS n FROM t a, t b, t c, t d, t e, t f $$)"
GROUPED = "SELECT name, count(*) FROM lite.main.pairs GROUP BY name ORDER BY name LIMIT 3"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("sqlite") / "lite.db"
    with sqlite3.connect(path) as database:
        database.executescript("""
            CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, price DECIMAL(10,2), born DATE, "odd $name" TEXT);
            CREATE VIEW endless AS WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT i FROM c;
            CREATE VIEW pairs AS SELECT a.name || b.name || c.name || d.name AS name FROM t a, t b, t c, t d;
        """)
        database.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)",
                             [(n, f"n{n % 7}", n / 4, f"2026-11-{n % 28 + 1:02}", f"o{n}") for n in range(1, 501)])
    database.close()
    return path


@pytest.fixture
def connection(server, path):
    with server.connect(prepare_threshold=None) as connection:
        connection.execute(f"CREATE CATALOG lite USING sqlite WITH (path = '{path}')")
        yield connection
        connection.execute("DROP CATALOG IF EXISTS lite")


def processor_time(server):
    with open(f"/proc/{server.process.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def comes_to_rest(server):
    """Whether the server's threads stop computing."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        before = processor_time(server)
        time.sleep(1)
        if processor_time(server) - before < 0.3:
            return True
    return False


@pytest.mark.parametrize("sql", [ENDLESS, NATIVE, GROUPED])
def test_a_timeout_ends_it_there(server, connection, sql):
    connection.execute("SET statement_timeout = '1s'")
    began = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute(sql)
    assert time.monotonic() - began < 30
    assert comes_to_rest(server), "SQLite computes on"


def test_another_session_cancels_it(server, connection):
    def cancel():
        server.until_it_runs(ENDLESS)
        time.sleep(0.5)
        with server.connect() as other:
            assert other.execute("SELECT pg_cancel_backend(%s)", [connection.info.backend_pid]).fetchone() == (True,)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    began = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute(ENDLESS)
    canceller.join()
    assert time.monotonic() - began < 60
    assert comes_to_rest(server), "SQLite computes on"


def test_a_catalog_is_dropped_under_it(server, connection):
    ended = []

    def ask():
        with server.connect(prepare_threshold=None) as other:
            try:
                other.execute(ENDLESS)
            except psycopg.Error as error:
                ended.append(error.sqlstate)

    asker = threading.Thread(target=ask)
    asker.start()
    server.until_it_runs(ENDLESS)
    time.sleep(0.5)
    began = time.monotonic()
    connection.execute("DROP CATALOG lite")
    assert time.monotonic() - began < 30
    asker.join(30)
    assert ended == ["HV00N"], ended
    assert comes_to_rest(server), "SQLite computes on"


def test_native_queries(connection):
    rows = connection.execute("SELECT * FROM lite.query($$ SELECT id, price, born FROM t WHERE name = 'n3' ORDER BY id; $$) q "
                              "WHERE id BETWEEN 10 AND 30 ORDER BY id").fetchall()
    assert [(row[0], str(row[1]), str(row[2])) for row in rows] == [(10, "2.50", "2026-11-11"), (17, "4.25", "2026-11-18"), (24, "6.00", "2026-11-25")]
    plan = "\n".join(row[0] for row in connection.execute("EXPLAIN SELECT id FROM lite.query($$ SELECT id, name FROM t $$) q WHERE id > 7 LIMIT 2"))
    assert "lite is sent:" in plan and '(`id` > 7 AND ' in plan and "LIMIT 2" in plan, plan
    # What is computed has no type there.
    sql = "SELECT n::bigint + 1, m FROM lite.query($$ WITH s AS (SELECT count(*) AS n, max(name) AS m FROM t) SELECT * FROM s $$)"
    assert connection.execute(sql).fetchone() == (501, "n6")
    assert connection.execute('SELECT "count(*)" FROM lite.query($$ SELECT count(*) FROM t $$)').fetchone() == ("500",)
    assert connection.execute('SELECT x FROM lite.query($$ SELECT "odd $name" AS x FROM t WHERE id = 7 -- ; ) \n$$)').fetchone() == ("o7",)
    assert connection.execute("SELECT count(*) FROM lite.query($$ SELECT 1 AS one UNION ALL VALUES (2) $$)").fetchone() == (2,)
    joined = "SELECT t.id FROM lite.main.t JOIN lite.query($$ SELECT id FROM t WHERE id % 100 = 0 $$) q ON t.id = q.id ORDER BY 1"
    assert [row[0] for row in connection.execute(joined)] == [100, 200, 300, 400, 500]


@pytest.mark.parametrize("query,sqlstate,words", [
    ("SELECT 1; SELECT 2", "42000", "more than one statement"),
    ("SELECT 1) x; VACUUM INTO '/tmp/maru-stolen.db'; SELECT * FROM (SELECT 1", "42000", "a parenthesis too many"),
    ("SELECT $a(')) x;VACUUM/**/INTO\"/tmp/maru-stolen.db\"--')", "42000", "a parameter"),
    ("SELECT ?1", "42000", "a parameter"),
    ("DELETE FROM t", "HV000", "syntax error"),
    ("INSERT INTO t (id) VALUES (9) RETURNING id", "HV000", "syntax error"),
    ("ATTACH DATABASE '/tmp/x.db' AS x", "HV000", "syntax error"),
    ("SELECT * FROM nowhere", "HV00R", "no such table: nowhere"),
    ("SELECT nope FROM t", "HV000", "no such column: nope"),
    ("SELECT load_extension('x')", "HV000", "not authorized"),
    ("", "HV000", "syntax error"),
])
def test_what_a_native_query_may_not(connection, query, sqlstate, words):
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(f"SELECT * FROM lite.query($q${query}$q$)")
    told = caught.value.diag
    assert told.sqlstate == sqlstate and words in told.message_primary, (told.sqlstate, told.message_primary)
    assert connection.execute("SELECT count(*) FROM lite.main.t").fetchone() == (500,)


def test_who_may_ask_natively(server, connection):
    sql = "SELECT * FROM lite.query($$ SELECT 1 AS one $$)"
    connection.execute("CREATE USER lite_reader PASSWORD 'lite-secret'")
    try:
        connection.execute("GRANT SELECT ON CATALOG lite TO lite_reader")
        with server.connect(user="lite_reader", password="lite-secret") as reader:
            assert reader.execute("SELECT count(*) FROM lite.main.t").fetchone() == (500,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(sql)
            connection.execute("GRANT EXECUTE ON CATALOG lite TO lite_reader")
            assert reader.execute(sql).fetchall() == [("1",)]
    finally:
        connection.execute("DROP OWNED BY lite_reader")
        connection.execute("DROP ROLE lite_reader")


def test_a_value_of_another_type_is_met_by_what_sqlite_computes(connection, path):
    with sqlite3.connect(path) as database:
        database.executescript("""
            CREATE TABLE odd (id INTEGER PRIMARY KEY, i INT, t TEXT, d DATE);
            INSERT INTO odd VALUES (1, 'abc', x'61', 'soon'), (2, 1.5, 'a', NULL), (3, 1, 'b', NULL);
        """)
    database.close()
    for sql in ["SELECT id FROM {o} WHERE i > 0", "SELECT id FROM {o} WHERE i BETWEEN 1 AND 2",
                "SELECT id FROM {o} WHERE t > 'a'", "SELECT count(DISTINCT i) FROM {o}",
                "SELECT id FROM {o} ORDER BY i DESC LIMIT 1", "SELECT a.id FROM {o} a LEFT JOIN {o} b ON a.i = b.id",
                "SELECT id FROM {o} a WHERE EXISTS (SELECT 1 FROM {o} b WHERE b.id = a.i)"]:
        for pushdown in ["on", "off"]:
            connection.execute(f"SET pushdown = {pushdown}")
            with pytest.raises(psycopg.errors.InvalidTextRepresentation, match="declared"):
                connection.execute(sql.format(o="lite.main.odd"))
    connection.execute("SET pushdown = on")
    # What a condition rejects is not looked at, and numbers of rows are always whole.
    assert connection.execute("SELECT id FROM lite.main.odd WHERE i = 1").fetchall() == [(3,)]
    assert connection.execute("SELECT count(*) FROM lite.main.odd WHERE id > 1").fetchall() == [(2,)]
    plan = "\n".join(row[0] for row in connection.execute("EXPLAIN SELECT count(d) FROM lite.main.odd"))
    assert "the source is not known to compute count(" in plan, plan
