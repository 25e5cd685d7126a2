"""Parameters of the type that the client declares, as psycopg declares them of itself: as in PostgreSQL, side by side."""

import datetime
import os
from decimal import Decimal

import psycopg
import pytest

pytestmark = pytest.mark.services

TABLE = "parameters_of_clients"
COLUMNS = "id int, s smallint, big bigint, v numeric(12,3), r real, f float8, d date, ts timestamp"
ROWS = [
    (1, 1, 10, Decimal("1.500"), 0.1, 0.1, datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 12)),
    (2, 2, 2**40, Decimal("2.500"), 2.5, 2.5, datetime.date(2024, 3, 1), datetime.datetime(2024, 3, 1)),
    (3, 3, -5, Decimal("-1.499"), -1.5, 1e300, datetime.date(1999, 12, 31), datetime.datetime(1999, 12, 31, 23, 59, 59)),
]

QUERIES = [
    ("SELECT id FROM {} WHERE id = %s ORDER BY id", [Decimal("1.5")]),
    ("SELECT id FROM {} WHERE id = %s ORDER BY id", [1.5]),
    ("SELECT id FROM {} WHERE id = %s ORDER BY id", [2]),
    ("SELECT round(v, %s) FROM {} ORDER BY id", [2]),
    ("SELECT id FROM {} WHERE id < %s ORDER BY id", [2.5]),
    ("SELECT id FROM {} WHERE id < %s ORDER BY id", [2**33]),
    ("SELECT id FROM {} WHERE id IN (%s, %s) ORDER BY id", [Decimal("1.4"), 2]),
    ("SELECT id FROM {} WHERE id BETWEEN %s AND %s ORDER BY id", [Decimal("1.5"), Decimal("2.5")]),
    ("SELECT id FROM {} WHERE s = %s ORDER BY id", [1.4]),
    ("SELECT id FROM {} WHERE big = %s ORDER BY id", [2**40]),
    ("SELECT id FROM {} WHERE v > %s ORDER BY id", [Decimal("1.4999")]),
    ("SELECT id FROM {} WHERE v = %s ORDER BY id", [Decimal("1.50000001")]),
    ("SELECT id FROM {} WHERE v = %s ORDER BY id", [Decimal("1.5")]),
    ("SELECT id FROM {} WHERE r = %s ORDER BY id", [0.1]),
    ("SELECT id FROM {} WHERE f = %s ORDER BY id", [0.1]),
    ("SELECT id FROM {} WHERE d = %s ORDER BY id", [datetime.datetime(2024, 2, 29, 12)]),
    ("SELECT id FROM {} WHERE d < %s ORDER BY id", [datetime.datetime(2024, 2, 29, 12)]),
    ("SELECT id FROM {} WHERE d = %s ORDER BY id", [datetime.date(2024, 3, 1)]),
    ("SELECT id FROM {} WHERE ts >= %s ORDER BY id", [datetime.date(2024, 3, 1)]),
    ("SELECT id * %s FROM {} ORDER BY id", [1.5]),
    ("SELECT id / %s FROM {} ORDER BY id", [4.0]),
    ("SELECT id + %s FROM {} ORDER BY id", [7]),
    ("SELECT 7 / %s FROM {} ORDER BY id", [2.0]),
    ("SELECT ts + %s FROM {} ORDER BY id", [datetime.timedelta(days=1, hours=2)]),
    ("SELECT CASE WHEN id = 1 THEN id ELSE %s END FROM {} ORDER BY id", [1.5]),
    ("SELECT %s + %s FROM {} ORDER BY id", [1, 2]),
    ("SELECT %s > %s FROM {} ORDER BY id", [1, 2.5]),
    ("SELECT id FROM {} ORDER BY id LIMIT %s OFFSET %s", [1, 1]),
    ("SELECT lower(%s), upper(%s) FROM {} ORDER BY id", ["ABC", "abc"]),
    ("SELECT id FROM {} WHERE id = ANY(%s) ORDER BY id", [[1, 3]]),
    ("SELECT n FROM generate_series(1, %s) AS g(n), {} WHERE id = 1 ORDER BY n", [3]),
]


# Parameters that nobody declares: what the server takes them for, and what comes of it.
UNTYPED = [
    ("SELECT left($1, $2), right($1, $2)", ["abc", "2"]),
    ("SELECT lpad($1, $2, $3), repeat($1, $2), split_part($4, $3, $5)", ["a", "3", "x", "bxc", "2"]),
    ("SELECT substr($1, $2), chr($3)", ["abcdef", "2", "65"]),
    ("SELECT abs($1), sqrt($2), power($3, $4), ceil($5)", ["-3", "4", "2", "3", "1.5"]),
    ("SELECT make_date($1, $2, $3)", ["2024", "2", "29"]),
    ("SELECT $1 || $2, $1 = $2, $1 < $2", ["x", "y"]),
    ("SELECT $1 + $2", ["1", "2"]),
    ("SELECT $1 * $2", ["1", "2"]),
    ("SELECT $1::int + $2", ["1", "2"]),
    ("SELECT interval '1 day' * $1, $1 * interval '2 hours', interval '1 day' / $2", ["2.5", "2"]),
    ("SELECT ts + $1, $1 + ts FROM {} ORDER BY id", ["1 day"]),
    ("SELECT ts - $1 FROM {} ORDER BY id", ["2024-01-01"]),
    ("SELECT coalesce($1, id), coalesce(v, $2), nullif(id, $1), greatest(id, $1) FROM {} ORDER BY id", ["2", "7.125"]),
    ("SELECT coalesce($1, $2)", ["a", "b"]),
    ("SELECT ARRAY[$1, $2]", ["a", "b"]),
    ("SELECT CASE id WHEN $1 THEN 'one' ELSE $2 END FROM {} ORDER BY id", ["1", "x"]),
    ("SELECT CASE WHEN $1 THEN id ELSE s END FROM {} ORDER BY id", ["f"]),
    ("SELECT id FROM {} WHERE $1 ORDER BY id", ["t"]),
    ("SELECT id FROM {} WHERE NOT $1 AND $2 ORDER BY id", ["f", "on"]),
    ("SELECT id FROM {} WHERE s = $1 OR id = $1 ORDER BY id", ["1"]),
    ("SELECT id FROM {} WHERE d = $1 OR ts > $1 ORDER BY id", ["2024-02-29"]),
    ("SELECT id FROM {} WHERE id = $1 OR $1 IS NULL ORDER BY id", [None]),
    ("SELECT id FROM {} WHERE $1 IN (id, id + 1) ORDER BY id", ["2"]),
    ("SELECT id FROM {} WHERE $1 BETWEEN id AND id + 1 ORDER BY id", ["2"]),
    ("SELECT id FROM {} WHERE id = ANY($1) ORDER BY id", ["{1,3}"]),
    ("SELECT id FROM {} ORDER BY id LIMIT $1 OFFSET $2", ["1", "1"]),
    ("SELECT id FROM {} ORDER BY id FETCH FIRST $1 ROWS ONLY", ["2"]),
    ("SELECT lag(id, $1) OVER (ORDER BY id), nth_value(id, $2) OVER () FROM {} ORDER BY id", ["1", "1"]),
    ("SELECT percentile_cont($1) WITHIN GROUP (ORDER BY f) FROM {} WHERE id < 3", ["0.5"]),
    ("SELECT count(*) FILTER (WHERE $1) FROM {}", ["t"]),
    ("SELECT id FROM {} UNION SELECT $1 ORDER BY 1", ["5"]),
    ("SELECT $1 UNION ALL SELECT v FROM {} ORDER BY 1", ["5.125"]),
    ("SELECT (ARRAY[10, 20])[$1]", ["2"]),
]


def ready(connection, table):
    connection.execute(f"CREATE TABLE {table} ({COLUMNS})")
    for row in ROWS:
        connection.execute(f"INSERT INTO {table} VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", row)


def answers(connection, table, prepare):
    found = []
    for sql, values in QUERIES:
        try:
            cursor = connection.execute(sql.format(table), values, prepare=prepare)
            found.append((sql, values, [[float(v) if isinstance(v, Decimal) else v for v in row] for row in cursor.fetchall()]))
        except psycopg.Error as error:
            found.append((sql, values, error.sqlstate))
    return found


@pytest.mark.parametrize("prepare", [False, True], ids=["once", "prepared"])
def test_parameters_are_of_the_type_that_is_declared(server, prepare):
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as postgres, server.connect() as maru:
        maru.execute("CREATE SCHEMA IF NOT EXISTS parameters")
        try:
            ready(postgres, f"pg_temp.{TABLE}")
            ready(maru, f"parameters.{TABLE}")
            expected, got = answers(postgres, TABLE, prepare), answers(maru, f"parameters.{TABLE}", prepare)
            assert got == expected
        finally:
            maru.execute("DROP SCHEMA parameters CASCADE")


def described(connection, sql, values):
    """What PostgreSQL's library is told of a statement: the types of its parameters, and the rows as text."""
    raw = connection.pgconn
    prepared = raw.prepare(b"", sql.encode())
    if prepared.status != psycopg.pq.ExecStatus.COMMAND_OK:
        return prepared.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
    described = raw.describe_prepared(b"")
    types = [described.param_type(i) for i in range(described.nparams)]
    result = raw.exec_prepared(b"", [None if value is None else value.encode() for value in values])
    if result.status != psycopg.pq.ExecStatus.TUPLES_OK:
        return types, result.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
    return types, [[result.get_value(i, j) for j in range(result.nfields)] for i in range(result.ntuples)]


def test_parameters_without_a_type_have_that_of_their_place(server):
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as postgres, server.connect() as maru:
        maru.execute("CREATE SCHEMA IF NOT EXISTS parameters")
        try:
            ready(postgres, f"pg_temp.{TABLE}")
            ready(maru, f"parameters.{TABLE}")
            expected = [(sql, described(postgres, sql.format(TABLE) if "{}" in sql else sql, values)) for sql, values in UNTYPED]
            table = f"parameters.{TABLE}"
            got = [(sql, described(maru, sql.format(table) if "{}" in sql else sql, values)) for sql, values in UNTYPED]
            assert got == expected
        finally:
            maru.execute("DROP SCHEMA parameters CASCADE")


def test_a_parameter_without_a_type_is_never_rounded(connection):
    """The client is told a numeric of two places before it sends the third."""
    values = "FROM (VALUES (1, 1.20::numeric(12,2)), (2, NULL)) AS t(id, n) ORDER BY id"
    for value, expected in ("1.5", Decimal("1.5")), ("1.50", Decimal("1.5")), ("7", Decimal(7)):
        assert connection.execute(f"SELECT coalesce(n, %s) {values}", [value]).fetchall() == [(Decimal("1.2"),), (expected,)]
    with pytest.raises(psycopg.errors.FeatureNotSupported) as caught:
        connection.execute(f"SELECT coalesce(n, %s) {values}", ["1.499"])
    assert "$1::numeric" in caught.value.diag.message_hint
    assert connection.execute(f"SELECT coalesce(n, %s::numeric) {values}", ["1.499"]).fetchall() == [(Decimal("1.2"),), (Decimal("1.499"),)]
    found = connection.execute(f"SELECT CASE WHEN id = 1 THEN n ELSE %s END {values}", ["1.499"]).fetchall()
    assert found == [(Decimal("1.2"),), (Decimal("1.499"),)]


def test_changes_by_parameters(server):
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as postgres, server.connect() as maru:
        maru.execute("CREATE SCHEMA IF NOT EXISTS parameters")
        try:
            found = {}
            for connection, table in (postgres, f"pg_temp.{TABLE}"), (maru, f"parameters.{TABLE}"):
                ready(connection, table)
                changed = [
                    connection.execute(f"DELETE FROM {table} WHERE id = %s", [1.5]).rowcount,
                    connection.execute(f"UPDATE {table} SET v = v * %s WHERE id < %s", [Decimal("1.001"), 2.5]).rowcount,
                    connection.execute(f"UPDATE {table} SET v = %s, big = %s WHERE id = %s", [Decimal("12345678.125"), 2**50, 3]).rowcount,
                    connection.execute(
                        f"MERGE INTO {table} AS t USING (SELECT %s AS id) AS s ON t.id = s.id AND t.id < %s WHEN MATCHED AND t.id < %s"
                        " THEN UPDATE SET v = t.v * %s WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.id, %s)",
                        [1, Decimal("1.5"), 1.2, Decimal("2.25"), Decimal("0.125")],
                    ).rowcount,
                ]
                rows = connection.execute(f"SELECT id, s, big, v, r, f, d, ts FROM {table} ORDER BY id").fetchall()
                found[table] = changed, rows
            postgres_found, maru_found = found.values()
            assert maru_found == postgres_found
        finally:
            maru.execute("DROP SCHEMA parameters CASCADE")


@pytest.mark.parametrize("value", ["16777217", "-16777219", "2147483647", "20261127"])
def test_whole_numbers_are_written_as_they_are(connection, value):
    """Whatever type the value has on its way into a narrower column."""
    connection.execute("CREATE SCHEMA IF NOT EXISTS whole")
    try:
        connection.execute("CREATE TABLE whole.t (i int)")
        connection.execute(f"INSERT INTO whole.t VALUES ({value})")
        connection.execute(f"INSERT INTO whole.t SELECT i FROM generate_series({value}, {value}) g(i)")
        connection.execute(f"UPDATE whole.t SET i = {value}::bigint")
        assert connection.execute("SELECT DISTINCT i FROM whole.t").fetchall() == [(int(value),)]
        with pytest.raises(psycopg.errors.NumericValueOutOfRange):
            connection.execute("INSERT INTO whole.t VALUES (2147483648)")
    finally:
        connection.execute("DROP SCHEMA whole CASCADE")


def test_what_would_bring_down_the_process_is_refused(connection):
    for sql in [
        "SELECT 1 WHERE " + " AND ".join(["1=1"] * 10_000),
        "SELECT " + "||".join(["'a'"] * 20_000),
        "SELECT " + "ARRAY[" * 3000 + "1" + "]" * 3000,
        "SELECT " + "coalesce(" * 101 + "1" + ", 2)" * 101,
        "SELECT " + "floor(" * 13 + "1" + ")" * 13,
    ]:
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            connection.execute(sql)
    assert connection.execute("SELECT " + "coalesce(" * 40 + "1" + ", 2)" * 40).fetchone() == (1,)


def test_a_mistake_deep_inside_is_told_at_once(connection):
    """A parser that tries another way at each level takes twice as long with each."""
    for sql in [
        "SELECT " + "CASE WHEN a THEN " * 40 + "b c d" + " ELSE 1 END" * 40,
        "SELECT " + "NOT (" * 40 + "b c d" + ")" * 40,
        "SELECT " + "CAST(" * 40 + "b c d" + " AS text)" * 40,
        "SELECT " + "replace(" * 40 + "b c d" + ", 'x', 'y')" * 40,
    ]:
        with pytest.raises(psycopg.errors.SyntaxError):
            connection.execute(sql)
