"""Values as other programs write them to files: NaN with a sign, and instants with a zone of their own. The answers are PostgreSQL's."""

import os
import struct

import psycopg
import pyarrow
import pyarrow.orc
import pyarrow.parquet
import pytest

pytestmark = pytest.mark.services

# Infinity minus infinity, as processors compute it.
SIGNED = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000000))[0]
FLOATS = [(1, 1.0), (2, SIGNED), (3, float("nan")), (4, None), (5, float("-inf")), (6, -0.0), (7, 0.0), (8, 7.5)]
ASKED_OF_FLOATS = [
    "SELECT id FROM {} WHERE f = 'NaN' ORDER BY id",
    "SELECT id FROM {} WHERE f <> 'NaN' ORDER BY id",
    "SELECT id FROM {} WHERE f < 5 ORDER BY id",
    "SELECT id FROM {} WHERE f <= -1 ORDER BY id",
    "SELECT id FROM {} WHERE f > 7 ORDER BY id",
    "SELECT id FROM {} WHERE f IN (1, 2, 3, 4, 'NaN') ORDER BY id",
    "SELECT id FROM {} WHERE f IN (0, 1, 2, 3, 4) ORDER BY id",
    "SELECT id FROM {} WHERE f NOT IN (0, 1, 2, 3, 4) ORDER BY id",
    "SELECT id, f = 'NaN', f > 3, f + 1 > 3 FROM {} ORDER BY id",
    "SELECT f + 0.0, count(*) FROM {} GROUP BY f + 0.0 ORDER BY 1",
    "SELECT count(DISTINCT f) FROM {}",
    "SELECT count(*) FROM (SELECT DISTINCT f FROM {}) AS one",
    "SELECT count(*) FROM (SELECT f FROM {} UNION SELECT 'NaN'::float8) AS one",
    "SELECT a.id, b.id FROM {} a JOIN {} b ON a.f = b.f ORDER BY 1, 2",
    "SELECT id, rank() OVER (ORDER BY f) FROM {} ORDER BY id",
    "SELECT id, count(*) OVER (PARTITION BY f) FROM {} ORDER BY id",
    "SELECT id FROM {} ORDER BY f, id",
    "SELECT min(f), max(f) FROM {}",
    "SELECT id FROM {} WHERE nullif(f, 'NaN') IS NULL ORDER BY id",
    "SELECT id, CASE f WHEN 'NaN' THEN 'none' WHEN 0 THEN 'zero' END FROM {} ORDER BY id",
]


def answers(connection, asked, source):
    return [(sql, connection.execute(sql.replace("{}", source)).fetchall()) for sql in asked]


def shown(results):
    """NaN is not itself in Python."""
    return [(sql, [tuple(map(str, row)) for row in rows]) for sql, rows in results]


@pytest.mark.parametrize("kind", ["parquet", "orc"])
def test_nan_of_either_sign_is_one(server, tmp_path, kind):
    path = tmp_path / f"floats.{kind}"
    table = pyarrow.table({"id": pyarrow.array([row[0] for row in FLOATS], "int32"), "f": pyarrow.array([row[1] for row in FLOATS], "float64")})
    if kind == "orc":
        pyarrow.orc.write_table(table, path)
    else:
        pyarrow.parquet.write_table(table, path, row_group_size=2)
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as postgres, server.connect() as maru:
        postgres.execute("CREATE TEMPORARY TABLE floats (id int, f float8)")
        for row in FLOATS:
            postgres.execute("INSERT INTO floats VALUES (%s, %s)", row)
        assert shown(answers(maru, ASKED_OF_FLOATS, f"'{path}'")) == shown(answers(postgres, ASKED_OF_FLOATS, "floats"))
        maru.execute("SET pushdown = off")
        assert shown(answers(maru, ASKED_OF_FLOATS, f"'{path}'")) == shown(answers(postgres, ASKED_OF_FLOATS, "floats"))


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("kind", ["float8", "float4"])
def test_floats_of_clients_are_those_of_postgresql(server, kind, binary):
    p = "%b" if binary else "%t"
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as postgres, server.connect() as maru:
        for connection in (postgres, maru):
            connection.execute(f"CREATE TEMPORARY TABLE sent (id int, f {kind})")
        one, many = f"{p}::{kind}", f"{p}::{kind}[]"
        asked = f"SELECT f = 'NaN', f > 1, f = 0, f::text, (SELECT count(*) FROM sent WHERE f = {one}), ({one})::text, f = ANY({many}) FROM sent"
        for value in [1.5, SIGNED, float("nan"), float("inf"), float("-inf"), -0.0, 0.0, None]:
            results = []
            for connection in (postgres, maru):
                connection.execute("TRUNCATE sent")
                connection.execute(f"INSERT INTO sent VALUES (1, {one})", [value])
                results.append(connection.execute(asked, [value, value, [value]]).fetchall())
            assert results[0] == results[1], value
        copied = []
        for connection in (postgres, maru):
            connection.execute("TRUNCATE sent")
            with connection.cursor().copy("COPY sent FROM STDIN (FORMAT binary)") as copy:
                copy.set_types(["int4", kind])
                for row in FLOATS:
                    copy.write_row(row)
            copied.append(shown(answers(connection, ASKED_OF_FLOATS, "sent")))
        assert copied[0] == copied[1]


INSTANTS = ["2024-03-10 02:30:00+00", "2024-03-10 15:30:00+00", "2024-06-30 23:59:59+00", "1900-01-01 00:00:00+00", None]
ASKED_OF_INSTANTS = [
    "SELECT tz FROM {} ORDER BY 1",
    "SELECT count(*) FROM {} WHERE tz = '2024-03-10 02:30'",
    "SELECT count(*) FROM {} WHERE tz >= timestamptz '2024-03-10 02:30+00'",
    "SELECT count(*) FROM {} WHERE tz > timestamp '2024-03-10 12:00'",
    "SELECT count(*) FROM {} WHERE tz BETWEEN date '2024-03-10' AND date '2024-03-11'",
    "SELECT date_trunc('day', tz) AS a, extract(hour FROM tz)::int AS b, tz::date AS c, tz::time AS d, tz::timestamp AS e, tz::text AS f FROM {} ORDER BY tz",
    "SELECT coalesce(tz, timestamp '2024-01-01 10:00') FROM {} ORDER BY 1",
    "SELECT tz FROM {} UNION SELECT timestamptz '2024-03-10 02:30:00+00' ORDER BY 1",
    "SELECT count(*) FROM {} a JOIN (VALUES (timestamp '2024-03-10 02:30')) b (ts) ON b.ts = a.tz",
    "SELECT tz + interval '1 day', tz - date '2024-03-01' > interval '9 days' FROM {} ORDER BY tz",
]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
@pytest.mark.parametrize("of_file", ["Asia/Seoul", "UTC", "+09:00"])
def test_a_zone_that_a_file_names_changes_nothing(server, tmp_path, zone, of_file):
    path = tmp_path / "instants.parquet"
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as postgres, server.connect() as maru:
        postgres.execute("CREATE TEMPORARY TABLE instants (tz timestamptz)")
        for text in INSTANTS:
            postgres.execute("INSERT INTO instants VALUES (%s::timestamptz)", [text])
        values = [row[0] for row in postgres.execute("SELECT tz FROM instants").fetchall()]
        array = pyarrow.array(values, pyarrow.timestamp("us", "UTC")).cast(pyarrow.timestamp("us", of_file))
        pyarrow.parquet.write_table(pyarrow.table({"tz": array}), path, row_group_size=2)
        for connection in [maru, postgres]:
            connection.execute(f"SET timezone = '{zone}'")
        assert answers(maru, ASKED_OF_INSTANTS, f"'{path}'") == answers(postgres, ASKED_OF_INSTANTS, "instants")


def test_files_whose_zones_differ_are_one_table(server, tmp_path):
    for at, of_file in enumerate(["Asia/Seoul", "UTC"]):
        array = pyarrow.array([at * 3_600_000_000], pyarrow.timestamp("us", of_file))
        pyarrow.parquet.write_table(pyarrow.table({"tz": array}), tmp_path / f"{at}.parquet")
    with server.connect() as maru:
        maru.execute("SET timezone = 'UTC'")
        rows = maru.execute(f"SELECT tz::text FROM '{tmp_path}/*.parquet' WHERE tz >= '1970-01-01' ORDER BY tz").fetchall()
        assert rows == [("1970-01-01 00:00:00+00",), ("1970-01-01 01:00:00+00",)]
