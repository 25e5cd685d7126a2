"""Transaction blocks, prepared statements, cursors and COPY: as PostgreSQL answers, and as its clients use them."""

import os
import pathlib
import select
import socket
import threading
import time
import urllib.parse

import psycopg
import pytest

GROUPS = [
    [line for line in group.splitlines() if line and not line.startswith("#")]
    for group in (pathlib.Path(__file__).parent / "conversation.txt").read_text().split("\n\n")
]


def answers(connection, statements):
    """What each statement gives: tags with rows, or the SQLSTATE; and the state of the transaction after it."""
    found = []
    for sql in statements:
        cursor = psycopg.ClientCursor(connection)
        try:
            cursor.execute(sql.encode())
            results = [(cursor.statusmessage, cursor.fetchall() if cursor.description else None)]
            while cursor.nextset():
                results.append((cursor.statusmessage, cursor.fetchall() if cursor.description else None))
        except psycopg.Error as error:
            results = error.sqlstate
        found.append((sql, results, connection.info.transaction_status.name))
    return found


@pytest.mark.services
@pytest.mark.parametrize("group", [group for group in GROUPS if group], ids=lambda group: group[0][:40])
def test_conversation_goes_as_with_postgresql(server, group):
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as postgres, server.connect() as maru:
        assert answers(maru, group) == answers(postgres, group)


def test_what_a_block_makes_is_undone_with_it(connection):
    exists = "SELECT count(*) FROM system.tables WHERE schema = 'in_block'"
    connection.execute("BEGIN")
    connection.execute("CREATE SCHEMA in_block")
    connection.execute("CREATE VIEW in_block.a AS SELECT 1 AS n")
    connection.execute("SAVEPOINT s")
    connection.execute("CREATE OR REPLACE VIEW in_block.a AS SELECT 2 AS n")
    connection.execute("CREATE VIEW in_block.b AS SELECT 1 AS n")
    connection.execute("ROLLBACK TO s")
    assert connection.execute("SELECT n FROM in_block.a").fetchall() == [(1,)]
    assert connection.execute(exists).fetchone() == (1,)
    connection.execute("ROLLBACK")
    assert connection.execute(exists).fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM system.schemas WHERE name = 'in_block'").fetchone() == (0,)

    connection.execute("CREATE SCHEMA in_block")
    connection.execute("CREATE VIEW in_block.a AS SELECT 1 AS n")
    try:
        with pytest.raises(psycopg.errors.DivisionByZero):
            psycopg.ClientCursor(connection).execute("DROP VIEW in_block.a; CREATE VIEW in_block.c AS SELECT 1 AS n; SELECT 1/0")
        assert connection.execute("SELECT n FROM in_block.a").fetchall() == [(1,)]
        with connection.transaction():
            connection.execute("COMMENT ON VIEW in_block.a IS 'kept'")
            connection.execute("DROP SCHEMA in_block CASCADE")
            raise psycopg.Rollback
        assert connection.execute("SELECT n FROM in_block.a").fetchall() == [(1,)]
        with connection.transaction():
            connection.execute("CREATE VIEW in_block.d AS SELECT 4 AS n")
        assert connection.execute("SELECT n FROM in_block.d").fetchall() == [(4,)]
    finally:
        connection.execute("DROP SCHEMA in_block CASCADE")


def test_a_client_that_goes_leaves_nothing_of_its_block(server, connection):
    other = server.connect()
    other.execute("BEGIN")
    other.execute("CREATE SCHEMA gone_with_its_client")
    found = "SELECT count(*) FROM system.schemas WHERE name = 'gone_with_its_client'"
    assert connection.execute(found).fetchone() == (1,)
    other.close()
    deadline = time.monotonic() + 60
    while connection.execute(found).fetchone() != (0,):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_cannot_be_undone_is_refused_in_a_block(connection):
    with pytest.raises(psycopg.errors.ActiveSqlTransaction) as caught, connection.transaction():
        connection.execute("CREATE SECRET in_block WITH (user = 'u')")
    assert "COMMIT" in caught.value.diag.message_hint
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_nested_transactions_of_psycopg(connection):
    with connection.transaction():
        with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():
            connection.execute("SELECT 1/0")
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_server_side_cursor(server, binary):
    with server.connect(autocommit=False) as connection:
        with connection.cursor(name="big", binary=binary) as cursor:
            cursor.itersize = 1000
            cursor.execute("SELECT g, g::text FROM generate_series(1, 10000) t(g) WHERE g > %s ORDER BY g", [0])
            assert [column.name for column in cursor.description] == ["g", "g"]
            assert cursor.fetchone() == (1, "1")
            assert cursor.fetchmany(2) == [(2, "2"), (3, "3")]
            cursor.scroll(2)
            assert sum(n for n, _ in cursor) == sum(range(6, 10_001))
        with connection.cursor(name="one") as cursor:
            cursor.execute("SELECT 1")
            assert connection.execute("SELECT name, is_scrollable FROM pg_cursors").fetchall() == [("one", False)]
        assert connection.execute("SELECT name FROM pg_cursors").fetchall() == []
    with server.connect() as connection, connection.cursor(name="held", withhold=True) as cursor:
        cursor.execute("SELECT * FROM generate_series(1, 10) g")
        assert len(cursor.fetchall()) == 10


def test_a_cursor_reads_as_it_is_fetched(server):
    """The rows of a cursor are not made ahead: the first ones of a billion come at once, and memory stays flat."""
    with server.connect(autocommit=False) as connection, connection.cursor(name="long") as cursor:
        began = time.monotonic()
        cursor.execute("SELECT a.g FROM generate_series(1, 100000) a(g), generate_series(1, 10000) b(g)")
        assert len(cursor.fetchmany(10)) == 10
        assert time.monotonic() - began < 30
        with server.connect() as other:
            running = other.execute("SELECT count(*) FROM system.queries WHERE state = 'running' AND sql LIKE 'DECLARE%'")
            assert running.fetchone()[0] >= 0
    with server.connect() as other:
        deadline = time.monotonic() + 60
        sql = "SELECT count(*) FROM system.queries WHERE state = 'running' AND sql LIKE '%generate_series(1, 10000) b(g)%' AND sql NOT LIKE '%system%'"
        while other.execute(sql).fetchone() != (0,):
            assert time.monotonic() < deadline, "the cursor's query runs on"
            time.sleep(0.1)


def test_psql_fetch_count(server):
    done = server.psql("-At", "-v", "FETCH_COUNT=100", "-c", "SELECT g FROM generate_series(1, 1000) t(g)")
    assert done.returncode == 0 and done.stdout.split() == [str(n) for n in range(1, 1001)], done.stderr


def test_statements_of_the_driver_and_of_sql_are_one_list(connection):
    for n in range(6):
        assert connection.execute("SELECT %s::int * 2", [n]).fetchone() == (2 * n,)
    name, from_sql = connection.execute("SELECT name, from_sql FROM pg_prepared_statements", prepare=False).fetchone()
    assert not from_sql
    assert connection.execute(f"EXECUTE {name}(21)", prepare=False).fetchone() == (42,)
    connection.execute(f"DEALLOCATE {name}", prepare=False)
    with pytest.raises(psycopg.errors.InvalidSqlStatementName):
        connection.execute(f"EXECUTE {name}(21)", prepare=False)


# COPY ---------------------------------------------------------------------------------------------------------------

AWKWARD = """(VALUES (1, 'plain', 1.50, true, timestamp '2026-11-03 14:05:06'),
    (2, NULL, NULL, NULL, NULL), (3, '', 0.10, false, timestamp '1999-01-01'),
    (4, E'tab\\t line\\n cr\\r back\\\\ quote" comma, bar|', -2.25, true, NULL), (5, '\\.', 1.00, true, NULL),
    (6, '\\N', 1.00, true, NULL), (7, '한글 😀', 1.00, true, NULL)) AS v (id, t, n, b, at)"""


def copied(connection, sql):
    with connection.cursor().copy(sql) as copy:
        return [bytes(data) for data in copy]


@pytest.mark.services
@pytest.mark.parametrize("options", [
    "", "(FORMAT text)", "(DELIMITER '|')", "(NULL 'nil')", "(HEADER)", "(FORMAT csv)", "(FORMAT csv, HEADER)",
    "(FORMAT csv, HEADER false, DELIMITER ';', QUOTE '''', ESCAPE '\\')", "(FORMAT csv, NULL 'nil', FORCE_QUOTE (t, n))",
    "(FORMAT csv, FORCE_QUOTE *)", "csv header", "delimiter ',' null as ''", "csv force quote t",
])
def test_copy_as_postgresql_writes_it(connection, options):
    queries = [f"SELECT * FROM {AWKWARD}", f"SELECT t FROM {AWKWARD}", "SELECT 1 AS a WHERE false"]
    for query in queries[:1] if "t, n" in options or "quote t" in options else queries:
        sql = f"COPY ({query}) TO STDOUT {options}"
        with psycopg.connect(os.environ["MARU_TEST_PG"]) as postgres:
            assert copied(connection, sql) == copied(postgres, sql)


@pytest.mark.services
def test_binary_copy_as_postgresql_writes_it(connection):
    columns = "id::int, t::text, n::numeric(12,2), b, at, date '2026-11-03' AS d, 1.5::float8 AS f, '\\x01ff'::bytea AS y"
    for query in [f"SELECT {columns} FROM {AWKWARD}", "SELECT 1::int AS a WHERE false"]:
        sql = f"COPY ({query}) TO STDOUT (FORMAT binary)"
        with psycopg.connect(os.environ["MARU_TEST_PG"]) as postgres:
            assert copied(connection, sql) == copied(postgres, sql)


def test_rows_of_a_copy(connection):
    with connection.cursor().copy("COPY (SELECT g::int, g::text FROM generate_series(1, 3) t(g)) TO STDOUT (FORMAT binary)") as copy:
        copy.set_types(["int4", "text"])
        assert list(copy.rows()) == [(1, "1"), (2, "2"), (3, "3")]
    connection.execute("CREATE VIEW copied AS SELECT 1 AS a, 2 AS b")
    try:
        assert copied(connection, "COPY copied TO STDOUT") == [b"1\t2\n"]
        assert copied(connection, "COPY copied (b) TO STDOUT (HEADER)") == [b"b\n", b"2\n"]
        with pytest.raises(psycopg.errors.UndefinedTable):
            copied(connection, "COPY nosuch TO STDOUT")
    finally:
        connection.execute("DROP VIEW copied")


def test_an_error_in_a_copy_leaves_the_connection(connection):
    with pytest.raises(psycopg.errors.DivisionByZero):
        copied(connection, "COPY (SELECT 1 / (g - 20000) FROM generate_series(1, 30000) t(g)) TO STDOUT")
    assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.errors.UndefinedTable):
        with connection.cursor().copy("COPY nosuch FROM STDIN") as copy:
            copy.write(b"1\n")
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_psql_copy(server, tmp_path):
    target = tmp_path / "out.csv"
    done = server.psql("-c", rf"\copy (SELECT g, 'x,' || g FROM generate_series(1, 3) t(g)) TO '{target}' csv header")
    assert done.returncode == 0 and done.stdout == "COPY 3\n", done.stderr
    assert target.read_text().splitlines()[1:] == ['1,"x,1"', '2,"x,2"', '3,"x,3"']
    done = server.psql("-c", rf"\copy nosuch FROM '{target}' csv", "-c", "SELECT 'still here'")
    assert "nosuch" in done.stderr and "still here" in done.stdout


def test_a_copy_streams(connection):
    total = 0
    with connection.cursor().copy("COPY (SELECT g FROM generate_series(1, 300000) t(g)) TO STDOUT") as copy:
        for data in copy:
            total += int(bytes(data))
    assert total == 300_000 * 300_001 // 2


# EXPLAIN ------------------------------------------------------------------------------------------------------------

def test_explain_as_json(connection):
    sql = "SELECT g % 2, count(*) FROM generate_series(1, 1000) t(g) GROUP BY 1 ORDER BY 1"
    for options in ["FORMAT JSON", "FORMAT JSON, VERBOSE, COSTS", "FORMAT json, COSTS false, BUFFERS 0, SUMMARY on"]:
        (plan,), = connection.execute(f"EXPLAIN ({options}) {sql}").fetchall()
        assert len(plan) == 1 and plan[0]["Plan"]["Node Type"] and plan[0]["Plan"]["Plans"]
    (plan,), = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) {sql}").fetchall()
    assert plan[0]["Plan"]["Actual Rows"] == 2 and plan[0]["Execution Time"] > 0
    lines = connection.execute(f"EXPLAIN (ANALYZE, COSTS OFF, FORMAT TEXT) {sql}").fetchall()
    assert any("Execution Time" in line for line, in lines)
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        connection.execute(f"EXPLAIN (FORMAT XML) {sql}")


def test_the_plan_of_a_prepared_statement(connection):
    connection.execute("PREPARE explained (int) AS SELECT g FROM generate_series(1, 1000) t(g) WHERE g = $1")
    try:
        for options, begins in [("", "Planning Time"), ("ANALYZE ", "Execution Time"), ("(COSTS OFF) ", "Planning Time"), ("(ANALYZE) ", "Execution Time")]:
            answer = connection.execute(f"EXPLAIN {options}EXECUTE explained(6 + 1)")
            assert [column.name for column in answer.description] == ["QUERY PLAN"]
            lines = [line for line, in answer.fetchall()]
            assert any(line.startswith(begins) for line in lines) and any("= 7" in line for line in lines), lines
        (plan,), = connection.execute("EXPLAIN (FORMAT JSON) EXECUTE explained(7)").fetchall()
        assert plan[0]["Plan"]["Node Type"]
        assert connection.execute("EXECUTE explained(7)").fetchall() == [(7,)]
    finally:
        connection.execute("DEALLOCATE explained")


# Backends -----------------------------------------------------------------------------------------------------------

def in_thread(work):
    caught = []

    def run():
        try:
            work()
        except psycopg.Error as error:
            caught.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, caught


def wait_for(connection, pid, state):
    """Waits until a backend is in a state, or is gone if it is None."""
    deadline = time.monotonic() + 60
    sql = "SELECT state FROM pg_stat_activity WHERE pid = %s"
    while connection.execute(sql, [pid]).fetchone() != (state and (state,)):
        assert time.monotonic() < deadline, connection.execute("SELECT * FROM pg_stat_activity").fetchall()
        time.sleep(0.05)


def test_pg_sleep_can_be_cancelled(server, connection):
    began = time.monotonic()
    connection.execute("SELECT pg_sleep(0.3)")
    assert 0.3 <= time.monotonic() - began < 30
    with server.connect() as sleeper:
        pid = sleeper.info.backend_pid
        thread, caught = in_thread(lambda: sleeper.execute("SELECT pg_sleep(60)"))
        wait_for(connection, pid, "active")
        assert connection.execute("SELECT pg_cancel_backend(%s)", [pid]).fetchone() == (True,)
        thread.join(30)
        assert [error.sqlstate for error in caught] == ["57014"]
        assert sleeper.execute("SELECT 1").fetchone() == (1,)
        sleeper.execute("SET statement_timeout = '200ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            sleeper.execute("SELECT pg_sleep(60)")


def test_a_backend_can_be_ended(server, connection):
    for idle in [True, False]:
        other = server.connect()
        pid = other.info.backend_pid
        thread, caught = in_thread(lambda: idle or other.execute("SELECT pg_sleep(60)"))
        wait_for(connection, pid, "idle" if idle else "active")
        ended = connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s", [pid])
        assert ended.fetchall() == [(True,)]
        thread.join(30)
        if idle:
            with pytest.raises(psycopg.errors.AdminShutdown):
                other.execute("SELECT 1")
        else:
            assert [error.sqlstate for error in caught] == ["57P01"]
        assert other.closed
        # The client hears of it first.
        wait_for(connection, pid, None)


@pytest.mark.parametrize("setting,sqlstate,block", [
    ("idle_session_timeout", "57P05", False), ("idle_in_transaction_session_timeout", "25P03", True)])
def test_idle_connections_are_closed(server, setting, sqlstate, block):
    other = server.connect()
    # Longer than a busy machine needs from one statement to the next.
    other.execute(f"SET {setting} = '2s'")
    other.execute("SELECT pg_sleep(2.5)")
    if block:
        time.sleep(2.5)
        other.execute("BEGIN")
    # The server says it as soon as it is so.
    assert select.select([other.fileno()], [], [], 60)[0], "it is not closed"
    time.sleep(0.2)
    with pytest.raises(psycopg.Error) as caught:
        other.execute("SELECT 1")
    assert caught.value.sqlstate == sqlstate and other.closed


@pytest.mark.services
@pytest.mark.parametrize("how", ["cancel", "terminate", "timeout", "gone"])
def test_the_source_stops_too(server, connection, how):
    """What a client does not wait for any more does not run on in the database behind."""
    marker = f"stops_{how}"
    sql = f"SELECT * FROM wire_pg.query($$SELECT 1 AS {marker}, pg_sleep(120)::text AS s$$) q"
    url = os.environ["MARU_TEST_PG"]
    pg = urllib.parse.urlsplit(url)
    connection.execute(f"CREATE OR REPLACE SECRET wire_login WITH (user = '{pg.username}', password = '{pg.password}')")
    connection.execute(
        f"CREATE OR REPLACE CATALOG wire_pg USING postgres WITH (url = 'postgres://{pg.hostname}:{pg.port}{pg.path}', secret = 'wire_login')")
    runs = f"SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%{marker}%' AND pid <> pg_backend_pid()"
    try:
        with psycopg.connect(url, autocommit=True) as postgres:
            other = server.connect()
            if how == "timeout":
                other.execute("SET statement_timeout = '10s'")
            thread, caught = in_thread(lambda: other.execute(sql))
            deadline = time.monotonic() + 60
            while postgres.execute(runs).fetchone() == (0,):
                assert time.monotonic() < deadline and thread.is_alive(), caught
                time.sleep(0.05)
            pid = other.info.backend_pid
            if how == "cancel":
                connection.execute("SELECT pg_cancel_backend(%s)", [pid])
            elif how == "terminate":
                connection.execute("SELECT pg_terminate_backend(%s)", [pid])
            elif how == "gone":
                socket.socket(fileno=os.dup(other.fileno())).shutdown(socket.SHUT_RDWR)
            deadline = time.monotonic() + 50
            while postgres.execute(runs).fetchone() != (0,):
                assert time.monotonic() < deadline, "the source works on"
                time.sleep(0.1)
            thread.join(30)
            assert caught
    finally:
        connection.execute("DROP CATALOG wire_pg")
        connection.execute("DROP SECRET wire_login")
