"""Every type that a result can have, in text and in binary, out and in, by the drivers themselves."""

import asyncio
import datetime as dt
import decimal
import json
import os
import uuid

import asyncpg
import psycopg
import psycopg2
import pytest

D = decimal.Decimal
# Expression, its value in Python, and whether a parameter of its type comes back as the same value.
VALUES = [
    ("true", True, "boolean"),
    ("(-32768)::smallint", -32768, "smallint"),
    ("2147483647::integer", 2147483647, "integer"),
    ("(-9223372036854775808)::bigint", -9223372036854775808, "bigint"),
    ("1.5::real", 1.5, "real"),
    ("'NaN'::double precision", float("nan"), "double precision"),
    ("'-Infinity'::double precision", float("-inf"), "double precision"),
    ("'1e-300'::double precision", 1e-300, "double precision"),
    ("0.00::numeric(12,2)", D("0.00"), "numeric(12,2)"),
    ("'-12345678901234567890123456789.0123456789'::numeric(39,10)", D("-12345678901234567890123456789.0123456789"), None),
    ("arrow_cast(18446744073709551615, 'UInt64')", D("18446744073709551615"), None),
    ("arrow_cast(1.5, 'Float16')", 1.5, None),
    ("arrow_cast(7, 'Int8')", 7, None),
    ("'한글 😀'::text", "한글 😀", "text"),
    ("''", "", "text"),
    ("'\\x00ff10'::bytea", b"\x00\xff\x10", "bytea"),
    ("date '2026-11-03'", dt.date(2026, 11, 3), "date"),
    ("date '0001-01-01'", dt.date(1, 1, 1), "date"),
    # The day after is asyncpg's infinity.
    ("date '9999-12-30'", dt.date(9999, 12, 30), "date"),
    ("time '23:59:59.999999'", dt.time(23, 59, 59, 999999), "time"),
    ("timestamp '2026-11-03 14:05:06.789'", dt.datetime(2026, 11, 3, 14, 5, 6, 789000), "timestamp"),
    ("timestamp '1700-01-01 00:00:00'", dt.datetime(1700, 1, 1), "timestamp"),
    ("timestamptz '2026-11-03 14:05:06+09'", dt.datetime(2026, 11, 3, 5, 5, 6, tzinfo=dt.timezone.utc), "timestamptz"),
    ("interval '3 days 04:05:06.7'", dt.timedelta(days=3, hours=4, minutes=5, seconds=6.7), "interval"),
    ("array[1,2,null]::bigint[]", [1, 2, None], "bigint[]"),
    ("array['a','b \"c\"',null,'']", ["a", 'b "c"', None, ""], "text[]"),
    ("array[true,false]", [True, False], "boolean[]"),
    ("array[1.50,2.25]", [D("1.50"), D("2.25")], None),
    ("array[1.5::double precision]", [1.5], "double precision[]"),
    ("array[date '2026-11-03']", [dt.date(2026, 11, 3)], "date[]"),
    ("array[timestamp '2026-11-03 14:05:06']", [dt.datetime(2026, 11, 3, 14, 5, 6)], "timestamp[]"),
    ("array['\\x01'::bytea]", [b"\x01"], "bytea[]"),
    ("array[]::bigint[]", [], None),
    ("null::bigint", None, "bigint"),
    ("null::text", None, "text"),
    ("null::timestamp", None, "timestamp"),
    ("null", None, None),
]
IDS = [expression for expression, _, _ in VALUES]


def same(got, value):
    if isinstance(value, float) and value != value:
        return got != got
    if isinstance(value, D) and isinstance(got, D):
        return got == value and got.as_tuple().exponent == value.as_tuple().exponent
    return got == value and (type(got) is type(value) or isinstance(value, list))


@pytest.mark.parametrize("expression,value,cast", VALUES, ids=IDS)
@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_psycopg(connection, expression, value, cast, binary):
    connection.execute("SET timezone = 'UTC'")
    got = connection.execute(f"SELECT {expression}".encode(), binary=binary).fetchone()[0]
    assert same(got, value), got
    if cast:
        placeholder = "%b" if binary else "%t"
        got = connection.execute(f"SELECT {placeholder}::{cast}", [value], binary=binary).fetchone()[0]
        assert same(got, value), got


# What travels as JSON: rows, maps, and arrays of them or of arrays.
NESTED = [
    ("named_struct('a', 1, 'b', 'x \"y\"', 'c', NULL::text)", {"a": 1, "b": 'x "y"', "c": None}),
    ("named_struct('inner', named_struct('at', timestamp '2026-11-03 14:05:06', 'n', 1.50::numeric(5,2)))", {"inner": {"at": "2026-11-03T14:05:06", "n": 1.5}}),
    ("row(1, 'x')", {"f1": 1, "f2": "x"}),
    ("array[array[1, 2], array[3]]", [[1, 2], [3]]),
    ("array[named_struct('a', arrow_cast(7, 'Int8')), NULL]", [{"a": 7}, None]),
    ("map(array['k', 'l'], array[1, NULL])", {"k": 1, "l": None}),
    ("map(array[1, 2], array[array['x'], array['한글']])", {"1": ["x"], "2": ["한글"]}),
    ("arrow_cast(array[array[1]], 'LargeList(List(Int64))')", [[1]]),
    ("json_build_object('a', 1)", {"a": 1}),
]
# What is jsonb, and travels as such.
JSONB = [
    ("'[1, {\"b\": null}]'::jsonb", [1, {"b": None}]),
    ("jsonb_build_object('b', 1, 'a', array[1, 2]) - 'b'", {"a": [1, 2]}),
    ("'{\"a\": {\"k\": \"한글\"}}'::jsonb -> 'a'", {"k": "한글"}),
]


TRAVELS = [("json", *case) for case in NESTED] + [("jsonb", *case) for case in JSONB]


@pytest.mark.parametrize("name,expression,value", TRAVELS, ids=[expression for _, expression, _ in TRAVELS])
def test_nested_values_are_json(server, connection, name, expression, value):
    for binary in [False, True]:
        cursor = connection.execute(f"SELECT {expression} AS v FROM generate_series(1, 3)".encode(), binary=binary)
        assert cursor.description[0].type_code == psycopg.adapters.types[name].oid
        assert cursor.fetchall() == [(value,)] * 3

    async def work(other):
        return json.loads(await other.fetchval(f"SELECT {expression}"))
    assert in_asyncpg(server, work) == value


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_parameters_that_are_text_to_the_engine(connection, binary):
    placeholder = "%b" if binary else "%t"
    from psycopg.types.json import Json, Jsonb
    one = uuid.UUID("7c9e6679-7425-40de-944b-e07fc1f90ae7")
    assert connection.execute(f"SELECT {placeholder}::text", [one], binary=binary).fetchone() == (str(one),)
    for kind in (Json, Jsonb):
        (text,) = connection.execute(f"SELECT {placeholder}::text", [kind({"a": [1]})], binary=binary).fetchone()
        assert json.loads(text) == {"a": [1]}
        (contains,) = connection.execute(f"SELECT {placeholder}::jsonb @> '[2]'", [kind([1, 2])], binary=binary).fetchone()
        assert contains


def test_jsonb_is_copied_in_binary(connection):
    with connection.cursor() as cursor, cursor.copy("COPY (SELECT '{\"a\": 1}'::jsonb, '[1]'::json) TO STDOUT (FORMAT binary)") as copy:
        copy.set_types(["jsonb", "json"])
        assert list(copy.rows()) == [({"a": 1}, [1])]


def test_null_of_unknown_type(connection):
    row = connection.execute("SELECT %s, %s::bigint + 1, coalesce(%s, 'x')", [None, None, None]).fetchone()
    assert row == (None, None, "x")


def test_what_there_is_no_value_for_is_refused(connection):
    for value, cast in [(D("NaN"), "numeric"), (D("Infinity"), "numeric")]:
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(f"SELECT %b::{cast}", [value])
        assert caught.value.sqlstate in ("0A000", "22P03"), caught.value
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_pipeline(connection):
    with connection.pipeline() as pipeline:
        first = connection.execute("SELECT 1")
        failing = connection.execute("SELECT 1/0")
        skipped = connection.execute("SELECT 2")
        pipeline_error = None
        try:
            pipeline.sync()
        except psycopg.Error as error:
            pipeline_error = error
        assert first.fetchone() == (1,)
        assert pipeline_error is not None and pipeline_error.sqlstate == "22012"
        for cursor in (failing, skipped):
            with pytest.raises(psycopg.Error):
                cursor.fetchone()
        assert connection.execute("SELECT 3").fetchone() == (3,)


def in_asyncpg(server, work):
    async def run():
        host, port = server.host_port("pg")
        connection = await asyncpg.connect(host=host, port=port, user="maru", password=server.password, database="maru")
        try:
            return await work(connection)
        finally:
            await connection.close()
    return asyncio.run(run())


@pytest.mark.parametrize("expression,value,cast", VALUES, ids=IDS)
def test_asyncpg(server, expression, value, cast):
    async def work(connection):
        await connection.execute("SET timezone = 'UTC'")
        got = await connection.fetchval(f"SELECT {expression}")
        assert same(got, value), got
        if cast:
            got = await connection.fetchval(f"SELECT $1::{cast}", value)
            assert same(got, value), got
    in_asyncpg(server, work)


def test_asyncpg_cursors_transactions_and_copy(server, tmp_path):
    async def work(connection):
        async with connection.transaction():
            total = 0
            async for row in connection.cursor("SELECT g FROM generate_series(1, 1000) t(g) WHERE g > $1::bigint", 0, prefetch=50):
                total += row["g"]
            assert total == 500500
            cursor = await connection.cursor("SELECT g FROM generate_series(1, 10) t(g)")
            assert [r["g"] for r in await cursor.fetch(3)] == [1, 2, 3]
            assert (await cursor.fetchrow())["g"] == 4
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with connection.transaction():
                await connection.execute("SELECT 1/0")
        async with connection.transaction():
            with pytest.raises(asyncpg.DivisionByZeroError):
                async with connection.transaction():
                    await connection.execute("SELECT 1/0")
            assert await connection.fetchval("SELECT 1") == 1
        target = tmp_path / "out"
        assert await connection.copy_from_query("SELECT g FROM generate_series(1, 3) t(g)", output=str(target), format="csv") == "COPY 3"
        assert target.read_text() == "1\n2\n3\n"
        statement = await connection.prepare("SELECT $1::int + 1")
        assert [await statement.fetchval(n) for n in range(10)] == list(range(1, 11))
        async with connection.transaction(isolation="serializable", readonly=True):
            assert await connection.fetchval("SELECT 2") == 2
    in_asyncpg(server, work)


def test_psycopg2(server):
    host, port = server.host_port("pg")
    connection = psycopg2.connect(host=host, port=port, user="maru", password=server.password, dbname="maru")
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT %s, %s, %s, %s::numeric", (1, "it's", None, D("1.50")))
        assert cursor.fetchone() == (1, "it's", None, D("1.50"))
        cursor.execute("SELECT ARRAY['a', NULL, 'b c'], DATE '2026-11-03', INTERVAL '1 day 02:00:00', '\\x0102'::bytea")
        array, date, interval, data = cursor.fetchone()
        assert (array, date, interval, bytes(data)) == (["a", None, "b c"], dt.date(2026, 11, 3), dt.timedelta(days=1, hours=2), b"\x01\x02")
    with connection, connection.cursor("named") as cursor:
        cursor.itersize = 100
        cursor.execute("SELECT g FROM generate_series(1, 1000) t(g)")
        assert sum(g for g, in cursor) == 500500
    with connection, connection.cursor() as cursor, open(os.devnull, "w") as nothing:
        cursor.copy_expert("COPY (SELECT 1) TO STDOUT (FORMAT csv)", nothing)
    connection.set_session(isolation_level="SERIALIZABLE", readonly=True, deferrable=True)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.close()


@pytest.mark.services
@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul"])
def test_a_timestamp_passes_over_the_zone_of_a_text(server, zone):
    """As PostgreSQL has it: JDBC sends a java.sql.Timestamp with the zone of its own machine, whatever the column is."""
    asked = [
        ("SELECT $1::timestamp", "2025-01-01 00:00:00+09"), ("SELECT $1::timestamp", "2025-01-01 00:00"), ("SELECT $1::timestamptz", "2025-01-01 00:00:00+09"),
        ("SELECT $1::timestamptz", "2025-01-01 9:05"), ("SELECT $1::date", "2025-01-01 10:20:30+09"), ("SELECT $1::timestamp", "2025-01-01 00:00:00.5 Asia/Tokyo"),
        ("SELECT x FROM (VALUES (timestamp '2025-01-01 00:00:00')) v (x) WHERE x = $1", "2025-01-01 00:00:00+09"),
        ("SELECT x FROM (VALUES (timestamptz '2025-01-01 00:00:00+09')) v (x) WHERE x = $1", "2025-01-01 00:00:00+09"),
        ("SELECT x::timestamp FROM (VALUES ($1::text)) v (x)", "2025-01-01 00:00:00+09"), ("SELECT x::timestamptz FROM (VALUES ($1::text)) v (x)", "2025-01-01 00:00+09"),
    ]

    def answers(connection):
        connection.execute(f"SET timezone = '{zone}'")
        results = [connection.pgconn.exec_params(sql.encode(), [text.encode()]) for sql, text in asked]
        return [(sql, text, result.error_message, [result.get_value(row, 0) for row in range(result.ntuples)]) for (sql, text), result in zip(asked, results)]

    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as postgres, server.connect() as maru:
        assert answers(maru) == answers(postgres)
