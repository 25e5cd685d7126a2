"""COPY … FROM STDIN: what PostgreSQL reads of a text, CSV or binary copy is what Maru reads, or both refuse it alike; nothing is
written of a copy that fails, is cancelled or left by its client."""

import asyncio
import csv
import datetime as dt
import decimal
import io
import os
import socket
import struct
import threading
import time
import uuid

import adbc_driver_manager
import asyncpg
import psycopg
import psycopg2
import pytest

D = decimal.Decimal


@pytest.fixture
def table(connection):
    """Makes tables of a schema that goes away."""
    schema = "copy_" + uuid.uuid4().hex[:8]
    connection.execute(f"CREATE SCHEMA {schema}")
    made = []

    def make(columns, name="t"):
        connection.execute(f"CREATE TABLE {schema}.{name} ({columns})")
        made.append(name)
        return f"{schema}.{name}"

    yield make
    for name in made:
        connection.execute(f"DROP TABLE {schema}.{name}")
    connection.execute(f"DROP SCHEMA {schema}")


def copy(connection, sql, *pieces):
    cursor = connection.cursor()
    with cursor.copy(sql) as copy:
        for piece in pieces:
            copy.write(piece)
    return cursor


def tried(connection, table, options, data):
    """The rows that are there afterwards, or what the refusal says."""
    try:
        with connection.cursor().copy(f"COPY {table} FROM STDIN {options}") as copy:
            copy.write(data)
    except psycopg.Error as error:
        return error.sqlstate, error.diag.message_primary, error.diag.context
    return connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()


# Against PostgreSQL -------------------------------------------------------------------------------------------------

COLUMNS = "id int, t text, n numeric(10,2), b boolean, f double precision, d date, ts timestamp"

TEXTS = [
    ("", "1\tplain\t1.50\tt\t1.5\t2026-11-03\t2026-11-03 14:05:06.5\n2\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\n"),
    ("", "1\t\t-0.005\tfalse\t-Infinity\t0001-01-01\t1969-12-31 23:59:59\n"),
    ("", "1\ttab\\t line\\n cr\\r back\\\\ \\x41\\101\\q\t2\tyes\tNaN\t1999-12-31\t1999-12-31 00:00:00\n"),
    ("", "1\ta\t1\ttrue\t1\t2026-11-03\t2026-11-03 00:00:00\r\n2\tb\t2\tf\t2\t2026-11-03\t2026-11-03 00:00:00\r\n\\.\r\nrubbish"),
    ("", "1\ta\t1\ttrue\t1\t2026-11-03\t2026-11-03 00:00:00"),
    ("", "1\ta\\\nb\t1\ttrue\t1e3\t2026-11-03\t2026-11-03 00:00:00\n"),
    ("(NULL 'nil', DELIMITER '|')", "1|nil|nil|t|1|nil|nil\n2|a\\|b|1|t|1|nil|nil\n3|\\nil|1|t|1|nil|nil\n"),
    ("(HEADER)", "a\tb\n1\tx\t1\tt\t1\t\\N\t\\N\n"),
    ("(FORMAT csv)", "1,,,,,,\n2,\"\",1,t,1,,\n3,\"a,\"\"b\"\"\nc\",1,t,1,,\n4,x\"y,\"z,1,t,1,,\n"),
    ("(FORMAT csv, HEADER, NULL 'nil', FORCE_NULL (t))", "id,t,n,b,f,d,ts\n1,\"nil\",nil,nil,nil,nil,nil\n"),
    ("(FORMAT csv, FORCE_NOT_NULL (t))", "1,,,,,,\n"),
    ("(FORMAT csv, QUOTE '''', ESCAPE '\\', DELIMITER ';')", "1;'it\\'s; \\\\';1;t;1;;\n"),
    ("(FORMAT csv, HEADER match)", "id,t,n,b,f,d,ts\n1,x,1,t,1,,\n"),
    ("csv header", "whatever\n1,x,1,t,1,,\n"),
    ("(FORMAT csv)", "1,x,1,t,1,,\n\\.\n2,y,1,t,1,,\n"),
    ("(FORMAT csv)", "1,\\.,1,t,1,,\n2,\\N,1,t,1,,\n"),
    ("(FORMAT csv)", "1,한글 😀,99999999.99,t,1,,\n"),
    ("", ""),
    ("(FORMAT csv, HEADER)", "id,t\n"),
]

REFUSED = [
    ("", "1\tx\n"),
    ("", "1\tx\t1\tt\t1\t\\N\t\\N\tmore\n"),
    ("", "1\tx\t1\tt\t1\t\\N\t\\N\nzwei\tx\t1\tt\t1\t\\N\t\\N\n"),
    ("", "99999999999\tx\t1\tt\t1\t\\N\t\\N\n"),
    ("", "\tx\t1\tt\t1\t\\N\t\\N\n"),
    ("", "1\tx\t999999999\tt\t1\t\\N\t\\N\n"),
    ("", "1\tx\t1\tmaybe\t1\t\\N\t\\N\n"),
    ("", "1\tx\t1\tt\t1e400\t\\N\t\\N\n"),
    ("", "1\tx\tabc\tt\t1\t\\N\t\\N\n"),
    ("", "1\tx\t1\tt\t1\t\\N\t\\N\n2\tx\t1\tt\t1\t\\N\t\\N\r\n"),
    ("", "1\tx\t1\tt\t1\t\\N\t\\N\r\n2\tx\t1\tt\t1\t\\N\t\\N\n"),
    ("", "1\tx\t1\tt\t1\t\\N\t\\N\n\\.x\n"),
    ("(FORMAT csv)", "1,\"x,1,t,1,,\n"),
    ("(FORMAT csv)", "1,x,1,t,1,,\n2,y,1,t,1,,\r\n"),
    ("(FORMAT csv)", "1,\"a\nb\",1,t,1,,\n2,\"c\nd\",oh,t,1,,\n"),
    ("(FORMAT csv, HEADER match)", "id,t,n,b,f,d\n1,x,1,t,1,,\n"),
    ("(FORMAT csv, HEADER match)", "id,t,n,b,f,ts,d\n1,x,1,t,1,,\n"),
    ("(FORMAT csv, HEADER match)", "id,t,n,b,f,,ts\n1,x,1,t,1,,\n"),
    ("", "1\t" + "long " * 40 + "\tx\tt\t1\t\\N\t\\N\n"),
]

OPTIONS = [
    "(FORMAT nonsense)", "(DELIMITER 'ab')", "(FORMAT binary, NULL 'x')", "(FORMAT csv, QUOTE 'ab')", "(QUOTE '\"')", "(HEADER match, HEADER)",
    "(FORMAT csv, FORCE_QUOTE (t))", "(FORCE_NULL (t))", "(FORMAT csv, FORCE_NULL (nosuch))", "(FORMAT csv, FORMAT csv)", "(NULL E'\\n')",
    "(DELIMITER 'a')", "(FORMAT csv, DELIMITER '\"')", "(nonsense)", "(FORMAT binary, HEADER)", "(HEADER perhaps)",
]


@pytest.fixture(scope="module")
def postgres():
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as connection:
        connection.execute(f"CREATE TEMP TABLE t ({COLUMNS})")
        yield connection


@pytest.mark.services
@pytest.mark.parametrize("options,data", TEXTS, ids=range(len(TEXTS)))
def test_as_postgresql_reads_it(connection, table, postgres, options, data):
    postgres.execute("TRUNCATE t")
    expected = tried(postgres, "t", options, data)
    assert isinstance(expected, list), expected
    assert repr(tried(connection, table(COLUMNS), options, data)) == repr(expected)


@pytest.mark.services
@pytest.mark.parametrize("options,data", REFUSED, ids=range(len(REFUSED)))
def test_as_postgresql_refuses_it(connection, table, postgres, options, data):
    postgres.execute("TRUNCATE t")
    expected = tried(postgres, "t", options, data)
    assert isinstance(expected, tuple), expected
    name = table(COLUMNS)
    assert tried(connection, name, options, data) == expected
    assert connection.execute(f"SELECT count(*) FROM {name}").fetchone() == (0,)


@pytest.mark.services
@pytest.mark.parametrize("options", OPTIONS)
def test_options_as_postgresql_refuses_them(connection, table, postgres, options):
    expected = tried(postgres, "t", options, "")
    assert tried(connection, table(COLUMNS), options, "")[:2] == expected[:2]


@pytest.mark.services
def test_what_is_copied_out_can_be_copied_in(connection, table, postgres):
    rows = """SELECT g::int AS id, CASE g % 3 WHEN 0 THEN NULL ELSE E'\\t\\n"\\\\' || g END AS t, (g * 0.37)::numeric(10,2) AS n,
        g % 2 = 0 AS b, g / 7.0::float8 AS f, date '1900-01-01' + g::int AS d, timestamp '1970-01-01' + g * interval '1 hour' AS ts
        FROM generate_series(1, 5000) x(g)"""
    for options in ["", "(FORMAT csv)", "(FORMAT csv, HEADER)", "(FORMAT binary)"]:
        name = table(COLUMNS, "t" + uuid.uuid4().hex[:6])
        with postgres.cursor().copy(f"COPY ({rows}) TO STDOUT {options}") as out:
            pieces = [bytes(piece) for piece in out]
        assert copy(connection, f"COPY {name} FROM STDIN {options}", *pieces).rowcount == 5000
        assert connection.execute(f"SELECT * FROM {name} ORDER BY id").fetchall() == postgres.execute(f"{rows} ORDER BY 1").fetchall()


# Types, columns, errors ---------------------------------------------------------------------------------------------

EVERY = """b boolean, i2 smallint, i4 integer, i8 bigint, f4 real, f8 double precision, n numeric(12,3), nn numeric(38,0), t text, y bytea,
    d date, ts timestamp, tz timestamptz, l integer[], w text[]"""
ROW = (True, -32768, 2147483647, -9223372036854775808, 1.5, 2.5e300, D("-12.345"), D(12345678901234567890123456789012345678), "é\t\\",
       b"\x00\xff", dt.date(2026, 11, 3), dt.datetime(2026, 11, 3, 4, 5, 6, 789), dt.datetime(1969, 12, 31, 23, 0, tzinfo=dt.timezone.utc),
       [1, None, -3], ["a", None, "b \"c\""])
PG_TYPES = ["bool", "int2", "int4", "int8", "float4", "float8", "numeric", "numeric", "text", "bytea", "date", "timestamp", "timestamptz",
            "int4[]", "text[]"]


@pytest.mark.parametrize("form", ["text", "csv", "binary"])
def test_every_type(connection, table, form):
    name = table(EVERY)
    connection.execute("SET timezone = 'Asia/Seoul'")
    cursor = connection.cursor()
    if form == "csv":
        out = io.StringIO()
        words = ["t", *ROW[1:8], ROW[8], "\\x00ff", *ROW[10:13], "{1,NULL,-3}", '{a,NULL,"b \\"c\\""}']
        csv.writer(out).writerows([words, [None] * 15])
        copy(connection, f"COPY {name} FROM STDIN (FORMAT csv)", out.getvalue())
    else:
        with cursor.copy(f"COPY {name} FROM STDIN (FORMAT {form})") as rows:
            if form == "binary":
                rows.set_types(PG_TYPES)
            rows.write_row(ROW)
            rows.write_row([None] * 15)
        assert cursor.rowcount == 2
    assert connection.execute(f"SELECT * FROM {name} ORDER BY b").fetchall() == [ROW, (None,) * 15]


def test_columns_and_what_is_missing(connection, table):
    name = table("a int NOT NULL, b text, c bigint")
    copy(connection, f"COPY {name} (c, a) FROM STDIN", "10\t1\n20\t2\n")
    assert connection.execute(f"SELECT * FROM {name} ORDER BY a").fetchall() == [(1, None, 10), (2, None, 20)]
    for columns, data, error, text in [
        ("(a, nosuch)", "", psycopg.errors.UndefinedColumn, "nosuch"), ("(a, a)", "", psycopg.errors.DuplicateColumn, "more than once"),
        ("", "\\N\tx\t1\n", psycopg.errors.NotNullViolation, 'column "a"'), ("", b"\xff\tx\t1\n", psycopg.errors.CharacterNotInRepertoire, "0xff"),
        ("", "1\tx\\x00y\t1\n", psycopg.errors.CharacterNotInRepertoire, "0x00"),
    ]:
        with pytest.raises(error) as caught:
            copy(connection, f"COPY {name} {columns} FROM STDIN", data)
        assert text in caught.value.diag.message_primary + (caught.value.diag.context or "")
    with pytest.raises(psycopg.errors.UndefinedTable):
        copy(connection, "COPY nosuch FROM STDIN", "")
    connection.execute("CREATE VIEW copied_view AS SELECT 1 AS a")
    with pytest.raises(psycopg.errors.WrongObjectType, match="cannot copy to view"):
        copy(connection, "COPY copied_view FROM STDIN", "1\n")
    connection.execute("DROP VIEW copied_view")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="WHERE"):
        copy(connection, f"COPY {name} FROM STDIN WHERE a > 1", "")
    assert connection.execute(f"SELECT count(*) FROM {name}").fetchone() == (2,)


HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)


@pytest.mark.parametrize("data,sqlstate,text", [
    (b"1\tx\n", "22P04", "signature"), (HEAD + b"\0\3", "22P04", "field count is 3, expected 2"),
    (HEAD + b"\0\2\0\0\0\3abc", "22P04", "unexpected EOF"), (HEAD + b"\0\2\0\0\0\3abc\xff\xff\xff\xff", "22P03", "incorrect binary data"),
    (HEAD + b"\0\2\0\0\0\4\0\0\0\1\0\0\0\1\xff", "22021", "invalid byte sequence"), (HEAD + b"\0\2\xff\xff\xff\xfe", "22P04", "invalid field size"),
    (HEAD + b"\xff\xff\0", "22P04", "after EOF marker"), (HEAD[:11] + b"\0\1\0\0" + bytes(4), "22P04", "OIDS"),
])
def test_bytes_that_are_no_copy(connection, table, data, sqlstate, text):
    name = table("a int, b text")
    for pieces in [[data], [data[i:i + 1] for i in range(len(data))]]:
        with pytest.raises(psycopg.Error, match=text) as caught:
            copy(connection, f"COPY {name} FROM STDIN (FORMAT binary)", *pieces)
        assert caught.value.sqlstate == sqlstate and "COPY t, line" in caught.value.diag.context
    assert connection.execute(f"SELECT count(*) FROM {name}").fetchone() == (0,)


def test_pieces_of_any_size(connection, table):
    name = table("a int, b text")
    data = "".join(f"{i}\tzeile \\n {i} é\n" for i in range(200)).encode()
    for size in [1, 7, 64]:
        copy(connection, f"COPY {name} FROM STDIN", *[data[i:i + size] for i in range(0, len(data), size)])
    expected = (600, 3 * sum(range(200)), "zeile \n 7 é")
    assert connection.execute(f"SELECT count(*), sum(a)::bigint, min(b) FILTER (WHERE a = 7) FROM {name}").fetchone() == expected


# One commit, or nothing ---------------------------------------------------------------------------------------------

def left(connection, name):
    return connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]


def test_a_copy_is_one_commit(connection, server, table):
    name = table("a int")
    with server.connect() as other:
        with other.cursor().copy(f"COPY {name} FROM STDIN") as rows:
            for i in range(50_000):
                rows.write_row((i,))
            assert left(connection, name) == 0
    assert left(connection, name) == 50_000
    assert connection.execute(f"SELECT count(*) FROM {name} VERSION AS OF 1").fetchone() == (50_000,)


def test_a_client_that_gives_up(connection, server, table):
    name = table("a int")

    class Stop(Exception):
        pass

    with pytest.raises(Stop):
        with connection.cursor().copy(f"COPY {name} FROM STDIN") as rows:
            rows.write("1\n2\n")
            raise Stop
    assert left(connection, name) == 0
    host, port = server.host_port("pg")
    other = psycopg2.connect(host=host, port=port, user="maru", password=server.password, dbname="maru")
    other.autocommit = True

    class Broken(io.StringIO):
        def read(self, size=-1):
            raise ValueError("why not")

    with other.cursor() as cursor, pytest.raises(psycopg2.errors.QueryCanceled, match="COPY from stdin failed: .*why not"):
        cursor.copy_expert(f"COPY {name} FROM STDIN", Broken())
    other.close()
    assert left(connection, name) == 0


def running(connection, text):
    sql = "SELECT query_id FROM system.queries WHERE state IN ('running', 'planning', 'queued') AND sql LIKE %s AND sql NOT LIKE 'SELECT%%'"
    return connection.execute(sql, (text,)).fetchall()


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def test_a_client_that_goes_away(connection, server, table):
    name = table("a int")
    other = server.connect()
    copying = other.cursor().copy(f"COPY {name} FROM STDIN")
    writer = copying.__enter__()
    writer.write("1\n" * 100_000)
    wait_until(lambda: running(connection, f"COPY {name}%"))
    socket.socket(fileno=os.dup(other.fileno())).shutdown(socket.SHUT_RDWR)
    wait_until(lambda: not running(connection, f"COPY {name}%"))
    assert left(connection, name) == 0
    state = connection.execute("SELECT state FROM system.queries WHERE sql LIKE %s ORDER BY query_id DESC LIMIT 1", (f"COPY {name}%",))
    assert state.fetchone() == ("cancelled",)


def test_cancel_and_timeout(connection, server, table):
    name = table("a int")
    with server.connect() as other:
        with pytest.raises(psycopg.errors.QueryCanceled, match="user request"):
            with other.cursor().copy(f"COPY {name} FROM STDIN") as rows:
                # The server has said that it takes rows.
                threading.Timer(0.5, other.cancel_safe).start()
                for _ in range(3000):
                    rows.write("1\n")
                    time.sleep(0.01)
        assert other.execute("SELECT 1").fetchone() == (1,)
        other.execute("SET statement_timeout = '300ms'")
        with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
            with other.cursor().copy(f"COPY {name} FROM STDIN") as rows:
                time.sleep(0.6)
                rows.write("1\n")
        other.execute("SET statement_timeout = 0")
        assert other.execute("SELECT 1").fetchone() == (1,)
    assert left(connection, name) == 0


def test_an_error_comes_while_rows_are_sent(connection, table):
    """The client hears of it before it has sent everything, and the connection is in step afterwards."""
    name = table("a int")
    for round in range(5):
        with pytest.raises(psycopg.errors.InvalidTextRepresentation) as caught:
            with connection.cursor().copy(f"COPY {name} FROM STDIN") as rows:
                for i in range(200_000):
                    rows.write(b"oh\n" if i == 5 else b"1\n")
        assert caught.value.diag.context == 'COPY t, line 6, column a: "oh"'
        assert connection.execute("SELECT %s::int", (round,)).fetchone() == (round,)
    assert left(connection, name) == 0


def test_rights(connection, server, table):
    name = table("a int, b int")
    schema = name.split(".")[0]
    connection.execute("CREATE ROLE copier LOGIN PASSWORD 'copier-secret'")
    try:
        connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO copier")
        connection.execute(f"GRANT INSERT (a) ON {name} TO copier")
        with server.connect(user="copier", password="copier-secret") as other:
            copy(other, f"COPY {name} (a) FROM STDIN", "1\n")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                copy(other, f"COPY {name} FROM STDIN", "1\t2\n")
    finally:
        connection.execute(f"REVOKE ALL ON {name} FROM copier")
        connection.execute(f"REVOKE ALL ON SCHEMA {schema} FROM copier")
        connection.execute("DROP ROLE copier")
    assert left(connection, name) == 1


def test_in_a_block(connection, server, table):
    name = table("a int")
    with server.connect(autocommit=False) as other:
        copy(other, f"COPY {name} FROM STDIN", "1\n")
        assert left(other, name) == 1 and left(connection, name) == 0
        other.rollback()
        assert left(other, name) == 0
        copy(other, f"COPY {name} FROM STDIN", "1\n2\n")
        other.commit()
        assert left(connection, name) == 2
    with server.flight() as flight, flight.cursor() as cursor:
        with pytest.raises(adbc_driver_manager.NotSupportedError, match="ExecuteIngest"):
            cursor.execute(f"COPY {name} FROM STDIN")


def test_history_and_audit(connection, table):
    name = table("a int")
    copy(connection, f"COPY {name} FROM STDIN", "1\n2\n3\n")
    row = connection.execute("SELECT state, n_rows FROM system.queries WHERE sql LIKE %s ORDER BY query_id DESC LIMIT 1", (f"COPY {name}%",))
    assert row.fetchone() == ("finished", 3)


def test_memory_stays_flat(server, table):
    """Rows go to the target as they come: 100 MB do not stay."""
    name = table("a bigint, b text")

    def resident():
        for line in open(f"/proc/{server.process.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) // 1024
    with server.connect() as other:
        piece = "".join(f"{i}\t{'x' * 90}\n" for i in range(10_000))
        before, peak = resident(), 0
        with other.cursor().copy(f"COPY {name} FROM STDIN") as rows:
            for _ in range(100):
                rows.write(piece)
                peak = max(peak, resident())
        assert other.execute(f"SELECT count(*) FROM {name}").fetchone() == (1_000_000,)
    assert peak - before < 300, f"{before} MB before, {peak} MB while rows came"


# Clients ------------------------------------------------------------------------------------------------------------

def test_psql(server, connection, table, tmp_path):
    name = table("a int, b text")
    source = tmp_path / "in.csv"
    source.write_text("a,b\n1,x\n2,\"y, z\"\n")
    done = server.psql("-c", rf"\copy {name} FROM '{source}' csv header")
    assert (done.returncode, done.stdout) == (0, "COPY 2\n"), done.stderr
    done = server.psql("-c", f"COPY {name} FROM STDIN; SELECT 'after'", stdin="3\tz\n\\.\n")
    assert "COPY 1" in done.stdout and "after" in done.stdout, done.stdout + done.stderr
    done = server.psql(stdin=f"COPY {name} (a) FROM STDIN;\n4\n5\n\\.\nSELECT sum(a) FROM {name};\n")
    assert "COPY 2" in done.stdout and "15" in done.stdout, done.stdout + done.stderr
    source.write_text("a,b\n1,x\nzwei,y\n")
    done = server.psql("-c", rf"\copy {name} FROM '{source}' csv header", "-c", "SELECT 'still here'")
    assert 'COPY t, line 3, column a: "zwei"' in done.stderr and "still here" in done.stdout, done.stderr
    assert connection.execute(f"SELECT count(*) FROM {name}").fetchone() == (5,)


def test_psycopg_async_and_rows(server, table):
    name = table("a int, b text")

    async def work():
        host, port = server.host_port("pg")
        connection = await psycopg.AsyncConnection.connect(
            host=host, port=port, user="maru", password=server.password, dbname="maru", autocommit=True)
        async with connection, connection.cursor() as cursor:
            async with cursor.copy(f"COPY {name} FROM STDIN") as rows:
                for i in range(1000):
                    await rows.write_row((i, f"row {i}"))
            await cursor.execute(f"SELECT count(*), max(b) FROM {name}")
            assert await cursor.fetchone() == (1000, "row 999")
    asyncio.run(work())


def test_psycopg2(server, table):
    name = table("a int, b text")
    host, port = server.host_port("pg")
    connection = psycopg2.connect(host=host, port=port, user="maru", password=server.password, dbname="maru")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.copy_expert(f"COPY {name} FROM STDIN WITH CSV HEADER", io.StringIO("a,b\n1,x\n2,\n"))
        assert cursor.rowcount == 2
        cursor.execute(f"SET search_path = {name.split('.')[0]}")
        cursor.copy_from(io.StringIO("3\tz\n"), "t", columns=("a", "b"))
        with pytest.raises(psycopg2.errors.InvalidTextRepresentation):
            cursor.copy_expert("COPY t FROM STDIN", io.StringIO("x\ty\n"))
        cursor.execute("SELECT * FROM t ORDER BY a")
        assert cursor.fetchall() == [(1, "x"), (2, None), (3, "z")]
    connection.close()


def test_asyncpg(server, table):
    """Without columns of arrays, whose codec asyncpg asks for in a query that is not planned."""
    name = table(EVERY.split(", l ")[0])
    schema = name.split(".")[0]

    async def work():
        host, port = server.host_port("pg")
        connection = await asyncpg.connect(host=host, port=port, user="maru", password=server.password, database="maru")
        try:
            tag = await connection.copy_records_to_table("t", schema_name=schema, records=[ROW[:13], (None,) * 13])
            assert tag == "COPY 2"
            assert tuple((await connection.fetch(f"SELECT * FROM {name} WHERE b"))[0]) == ROW[:13]
            tag = await connection.copy_to_table("t", schema_name=schema, source=io.BytesIO(b"7\n8\n"), columns=["i4"])
            assert tag == "COPY 2"
            with pytest.raises(asyncpg.InvalidTextRepresentationError):
                await connection.copy_to_table("t", schema_name=schema, source=io.BytesIO(b"x\n"), columns=["i4"])
            assert await connection.fetchval(f"SELECT count(*) FROM {name}") == 4
        finally:
            await connection.close()
    asyncio.run(work())


def message(kind, body=b""):
    return kind + struct.pack("!i", len(body) + 4) + body


def test_a_message_that_does_not_belong(server, table):
    """A query in the middle of a copy ends the connection, and only that one."""
    name = table("a int")
    with server.connect() as other:
        wire = socket.socket(fileno=os.dup(other.fileno()))
        wire.setblocking(True)
        wire.sendall(message(b"Q", f"COPY {name} FROM STDIN\0".encode()))
        assert wire.recv(1) == b"G"
        wire.sendall(message(b"d", b"1\n") + message(b"Q", b"SELECT 1\0"))
        wire.settimeout(20)
        got = b""
        while True:
            piece = wire.recv(4096)
            if not piece:
                break
            got += piece
        assert b"08P01" in got
    with server.connect() as other:
        assert left(other, name) == 0
