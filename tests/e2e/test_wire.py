"""The PostgreSQL wire, as psycopg 3 speaks it."""

import datetime as dt
import decimal
import threading
import time

import psycopg
import pytest

SLOW = "SELECT count(*) FROM generate_series(1, 200000) a(x), generate_series(1, 200000) b(y) WHERE (a.x * b.y) % 7 = 3"


def test_simple_protocol_returns_text(connection):
    rows = psycopg.ClientCursor(connection).execute("SELECT 1 AS one, 'zwei' AS two, NULL AS three").fetchall()
    assert rows == [(1, "zwei", None)]


def test_several_statements_in_one_text(connection):
    cursor = psycopg.ClientCursor(connection)
    cursor.execute("SELECT 1; SELECT 2; SELECT 3")
    results = [cursor.fetchall()]
    while cursor.nextset():
        results.append(cursor.fetchall())
    assert results == [[(1,)], [(2,)], [(3,)]]


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("expression,value", [
    ("true", True),
    ("CAST(-32768 AS smallint)", -32768),
    ("CAST(2147483647 AS integer)", 2147483647),
    ("CAST(-9223372036854775808 AS bigint)", -9223372036854775808),
    ("CAST(1.5 AS real)", 1.5),
    ("CAST(0.1 AS double precision)", 0.1),
    ("CAST('12345678.90' AS numeric(12,2))", decimal.Decimal("12345678.90")),
    ("CAST('-0.01' AS numeric(12,2))", decimal.Decimal("-0.01")),
    ("CAST('한글 😀' AS text)", "한글 😀"),
    ("''", ""),
    ("CAST('2026-11-23' AS date)", dt.date(2026, 11, 23)),
    ("CAST('1969-12-31' AS date)", dt.date(1969, 12, 31)),
    ("CAST('2026-11-23 07:08:09.123456' AS timestamp)", dt.datetime(2026, 11, 23, 7, 8, 9, 123456)),
    ("CAST('1900-01-01 00:00:00' AS timestamp)", dt.datetime(1900, 1, 1)),
    ("CAST('07:08:09.5' AS time)", dt.time(7, 8, 9, 500000)),
    ("CAST(NULL AS bigint)", None),
])
def test_values_arrive_whole(connection, binary, expression, value):
    got = connection.execute(f"SELECT {expression}", binary=binary).fetchone()[0]
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("cast,value", [
    ("boolean", True), ("bigint", 42), ("bigint", None), ("double precision", 2.5), ("text", "it's; --"), ("text", None),
    ("numeric(12,2)", decimal.Decimal("-12.34")), ("date", dt.date(2026, 1, 31)),
    ("timestamp", dt.datetime(2026, 1, 31, 23, 59, 59, 1)),
])
def test_parameters(connection, binary, cast, value):
    placeholder = "%b" if binary else "%t"
    got = connection.execute(f"SELECT CAST({placeholder} AS {cast})", [value], binary=binary).fetchone()[0]
    assert got == value


def test_null_does_not_shift_later_parameters(connection):
    row = connection.execute("SELECT CAST(%s AS text), CAST(%s AS bigint), CAST(%s AS text)", [None, 7, "last"]).fetchone()
    assert row == (None, 7, "last")


def test_prepared_statement_is_used_again(connection):
    for n in range(8):
        assert connection.execute("SELECT CAST(%s AS bigint) * 2", [n], prepare=True).fetchone() == (2 * n,)


def test_prepared_statement_sees_what_its_tables_have_become(server, connection):
    """A plan is made again when the table may be another; with other columns than the client was told it is refused."""
    sql = "SELECT * FROM prepared_view"
    with server.connect() as other:
        other.execute("CREATE VIEW prepared_view AS SELECT 1 AS n")
        try:
            assert connection.execute(sql, prepare=True).fetchall() == [(1,)]
            other.execute("CREATE OR REPLACE VIEW prepared_view AS SELECT 2 AS n UNION ALL SELECT 3")
            assert sorted(connection.execute(sql, prepare=True).fetchall()) == [(2,), (3,)]
            other.execute("DROP VIEW prepared_view")
            with pytest.raises(psycopg.errors.UndefinedTable):
                connection.execute(sql, prepare=True)
            other.execute("CREATE VIEW prepared_view AS SELECT 4 AS n")
            assert connection.execute(sql, prepare=True).fetchall() == [(4,)]
            other.execute("CREATE OR REPLACE VIEW prepared_view AS SELECT 'four' AS n")
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="cached plan must not change result type"):
                connection.execute(sql, prepare=True)
            connection.execute("DEALLOCATE ALL")
            assert connection.execute(sql, prepare=True).fetchall() == [("four",)]
        finally:
            other.execute("DROP VIEW IF EXISTS prepared_view")


def test_prepared_statement_follows_the_settings(connection):
    zone = "SELECT current_setting('TimeZone')"
    assert connection.execute(zone, prepare=True).fetchone() != ("Asia/Seoul",)
    connection.execute("SET TimeZone = 'Asia/Seoul'")
    assert connection.execute(zone, prepare=True).fetchone() == ("Asia/Seoul",)


def test_plan_that_reads_no_table_is_kept_only_while_it_is_right(server, connection):
    """Such a plan serves every run until a command has run or a setting has changed; what a moment decides is decided by each run."""
    def ask(sql, *values):
        return connection.execute(sql, values, prepare=True).fetchone()[0]

    moments = [ask("SELECT now()") for _ in range(5)]
    assert moments == sorted(set(moments))
    assert len({ask("SELECT random()") for _ in range(20)}) == 20
    assert [ask("SELECT CAST(%s AS bigint) * 2", n) for n in range(5)] == [0, 2, 4, 6, 8]

    midnight = "SELECT CAST(extract(epoch FROM TIMESTAMPTZ '2026-01-01 00:00') AS bigint)"
    in_utc = [ask(midnight) for _ in range(3)]
    connection.execute("SET TimeZone = 'Asia/Seoul'")
    assert {moment - ask(midnight) for moment in in_utc} == {9 * 3600}
    assert ask("SELECT set_config('TimeZone', 'UTC', false)") == "UTC"
    assert [ask(midnight)] * 3 == in_utc

    user = "SELECT current_user"
    with server.connect() as other:
        other.execute("CREATE ROLE kept_plan_role")
        try:
            names = [ask(user) for _ in range(2)]
            connection.execute("SET ROLE kept_plan_role")
            assert ask(user) == "kept_plan_role" != names[0]
            assert ask("SELECT upper('a')") == ask("SELECT upper('a')") == "A"
            other.execute("REVOKE EXECUTE ON FUNCTION upper FROM PUBLIC")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                ask("SELECT upper('a')")
        finally:
            connection.execute("RESET ROLE")
            other.execute("GRANT EXECUTE ON FUNCTION upper TO PUBLIC")
            other.execute("DROP ROLE kept_plan_role")


def test_large_result_streams(connection):
    with connection.cursor() as cursor:
        total = 0
        for (n,) in cursor.stream("SELECT CAST(value AS bigint) FROM generate_series(1, 300000) AS g(value)"):
            total += n
    assert total == 300_000 * 300_001 // 2


@pytest.mark.parametrize("sql,sqlstate,position,message", [
    ("SELEKT 1", "42601", 1, "SELEKT"),
    ("SELECT (1", "42601", 10, "end of input"),
    ("SELECT * FROM no_such_table", "42P01", 15, "no_such_table"),
    ("SELECT no_such_column FROM (SELECT 1 AS a) t", "42703", 8, "no_such_column"),
    ("SELECT no_such_function(1)", "42883", 8, "no_such_function"),
    ("SELECT CAST('x' AS integer)", "22P02", None, "x"),
    ("SELECT 1 / (a - 1) FROM (SELECT 1 AS a) t", "22012", None, "division by zero"),
    ("SELECT a FROM (SELECT 1 AS a) t, (SELECT 2 AS a) u", "42702", 8, '"a"'),
])
def test_errors_have_sqlstate_and_position(connection, sql, sqlstate, position, message):
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(sql)
    diagnosis = caught.value.diag
    assert diagnosis.sqlstate == sqlstate, diagnosis.message_primary
    assert diagnosis.severity == "ERROR"
    assert message in diagnosis.message_primary and "\n" not in diagnosis.message_primary
    if position is not None:
        assert diagnosis.statement_position == str(position)
    assert connection.execute("SELECT 1").fetchone() == (1,), "the session goes on"


def test_a_broken_constraint_is_named(connection):
    connection.execute("CREATE TEMP TABLE never_null (a int NOT NULL, b text)")
    with pytest.raises(psycopg.errors.NotNullViolation) as caught:
        connection.execute("INSERT INTO never_null VALUES (NULL, 'x')")
    assert (caught.value.diag.table_name, caught.value.diag.column_name) == ("never_null", "a")
    connection.execute("DROP TABLE never_null")


def test_typing_mistake_gets_a_hint(connection):
    with pytest.raises(psycopg.Error) as caught:
        connection.execute("SELECT custmer_id FROM (SELECT 1 AS customer_id) t")
    assert "customer_id" in (caught.value.diag.message_hint or "")


def test_wrong_password_is_refused(server):
    for user, password in [("maru", "wrong"), ("nobody", server.password), ("maru", "")]:
        with pytest.raises(psycopg.OperationalError, match="password|authentication"):
            server.connect(user=user, password=password)


def test_cancel_stops_the_statement_and_not_the_session(server, connection):
    caught = []

    def run():
        try:
            connection.execute(SLOW)
        except psycopg.Error as error:
            caught.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    server.until_it_runs(SLOW)
    time.sleep(0.5)
    assert thread.is_alive(), "the statement ended before it could be cancelled"
    began = time.monotonic()
    # With a limit: a server whose threads are all busy with the statement would never answer.
    connection.cancel_safe(timeout=30)
    thread.join(30)
    assert not thread.is_alive() and time.monotonic() - began < 30
    assert [e.diag.sqlstate for e in caught] == ["57014"]
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_statement_timeout(connection):
    connection.execute("SET statement_timeout = '300ms'")
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(SLOW)
    assert caught.value.diag.sqlstate == "57014"
    connection.execute("SET statement_timeout = 0")
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_transactions_keep_drivers_content(server):
    with server.connect(autocommit=False) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT * FROM no_such_table")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("SELECT 1")
        connection.rollback()
        assert connection.execute("SELECT 2").fetchone() == (2,)
        connection.commit()


def test_views_live_in_the_engine(connection):
    connection.execute("CREATE SCHEMA e2e_views")
    try:
        connection.execute("CREATE VIEW e2e_views.v AS SELECT 1 AS a, 'x' AS b")
        assert connection.execute("SELECT * FROM e2e_views.v").fetchall() == [(1, "x")]
        with pytest.raises(psycopg.errors.DuplicateTable):
            connection.execute("CREATE VIEW e2e_views.v AS SELECT 2 AS a")
        connection.execute("DROP VIEW e2e_views.v")
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM e2e_views.v")
    finally:
        connection.execute("DROP SCHEMA e2e_views")


def test_many_connections_at_once(server):
    connections = [server.connect() for _ in range(30)]
    try:
        assert [c.execute("SELECT CAST(%s AS bigint)", [n]).fetchone()[0] for n, c in enumerate(connections)] == list(range(30))
    finally:
        for connection in connections:
            connection.close()


def test_the_engine_knows_its_queries(connection):
    assert connection.execute("SELECT 'find me' AS marker").fetchone() == ("find me",)
    rows = connection.execute("SELECT * FROM system.queries WHERE sql LIKE '%find me%'")
    columns = [c.name for c in rows.description]
    assert rows.fetchall()
    assert {"user_name", "sql", "state", "n_rows", "memory_peak_bytes", "error"} <= set(columns)


def test_a_client_that_does_not_read_its_rows_can_be_terminated(server):
    slow = server.connect()
    pid = slow.info.backend_pid
    slow.pgconn.send_query(b"SELECT repeat('x', 1000) FROM generate_series(1, 1000000)")
    slow.pgconn.flush()
    with server.connect() as other:
        state = lambda: other.execute("SELECT state FROM system.sessions WHERE session_id = %s", [pid]).fetchall()
        deadline = time.monotonic() + 30
        while state() != [("running",)]:
            assert time.monotonic() < deadline, state()
            time.sleep(0.05)
        time.sleep(1)
        assert other.execute("SELECT pg_terminate_backend(%s)", [pid]).fetchone() == (True,)
        while state():
            assert time.monotonic() < deadline, state()
            time.sleep(0.1)
    slow.pgconn.finish()
