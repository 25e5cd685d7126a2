"""COPY between tables and files on the local disk, S3 and HDFS: read by others as they were written, refused where they would do harm."""

import csv
import gzip
import json
import os
import threading
import time
import uuid

import psycopg
import pyarrow as pa
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest
from seeding import storage

KINDS = """SELECT * FROM (VALUES
  (1, true, 9223372036854775807, 1.5::float8, 12.30::numeric(10,2), 'plain', date '2026-01-02', timestamp '2026-01-02 03:04:05.678', '\\x00ff'::bytea),
  (2, false, -1, 'NaN'::float8, -0.01::numeric(10,2), 'a,"b"' || chr(10) || 'c', date '1900-01-01', timestamp '1969-12-31 23:59:59.999999', '\\x'::bytea),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (4, true, 0, '1e300'::float8, 0::numeric(10,2), '', date '2100-12-31', timestamp '2261-12-31 23:59:59', NULL))
  AS v (id, b, i, f, n, t, d, ts, y)"""


def state_of(call):
    with pytest.raises(psycopg.Error) as error:
        call()
    return error.value.sqlstate


def test_null_in_the_only_column_comes_back(connection, tmp_path):
    rows = "SELECT * FROM (VALUES (1, 'a'), (2, NULL), (3, ''), (4, 'b'), (5, NULL)) v (n, s)"
    for end, options in [("a.csv", ""), ("b.csv.gz", ""), ("c.csv", "(HEADER false)")]:
        connection.execute(f"COPY (SELECT s FROM ({rows}) r ORDER BY n) TO '{tmp_path}/{end}' {options}")
    for end in ["a.csv", "b.csv.gz"]:
        assert connection.execute(f"SELECT * FROM '{tmp_path}/{end}'").fetchall() == [("a",), (None,), ("",), ("b",), (None,)], end
    connection.execute("CREATE TABLE only_one (s text)")
    for end, options in [("a.csv", ""), ("c.csv", "(HEADER false)")]:
        connection.execute("TRUNCATE only_one")
        assert connection.execute(f"COPY only_one FROM '{tmp_path}/{end}' {options}").statusmessage == "COPY 5"
        assert connection.execute("SELECT count(*), count(s) FROM only_one").fetchone() == (5, 3), end
    connection.execute("DROP TABLE only_one")


def test_two_columns_of_one_name_are_told(connection, tmp_path):
    pq.write_table(pa.table([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "a", "b"]), tmp_path / "t.parquet")
    with pytest.raises(psycopg.Error, match='has more than one column "a"'):
        connection.execute(f"SELECT * FROM '{tmp_path}/t.parquet'")
    with pytest.raises(psycopg.Error, match='has more than one column "a"'):
        connection.execute(f"CREATE EXTERNAL TABLE twice (a bigint) STORED AS PARQUET LOCATION '{tmp_path}/t.parquet'")
    connection.execute(f"CREATE EXTERNAL TABLE twice (b bigint) STORED AS PARQUET LOCATION '{tmp_path}/t.parquet'")
    assert connection.execute("SELECT b FROM twice").fetchall() == [(3,)]
    connection.execute("DROP TABLE twice")


FLOATS = "SELECT * FROM (VALUES (1, 1.5::float8, ARRAY[1::float8, 'NaN']), (2, 'NaN', ARRAY['-Infinity'::float8]), (3, 'Infinity', NULL), (4, '-Infinity', '{}'::float8[]), (5, NULL, NULL)) v (id, f, l)"


@pytest.mark.parametrize("end", ["a.csv", "a.json", "a.parquet", "b.csv.gz", "b.json.zst"])
def test_numbers_without_digits_come_back(connection, tmp_path, end):
    wanted = repr(connection.execute(f"{FLOATS} ORDER BY id").fetchall())
    connection.execute(f"COPY ({FLOATS}) TO '{tmp_path}/{end}'")
    if end == "a.json":
        lines = [json.loads(line) for line in (tmp_path / end).read_text().splitlines()]
        assert [line["f"] for line in lines] == [1.5, "NaN", "Infinity", "-Infinity", None] and lines[0]["l"] == [1.0, "NaN"]
    # Beside numbers the words are numbers.
    found = connection.execute(f"SELECT id, f FROM '{tmp_path}/{end}' ORDER BY f, id").fetchall()
    assert repr(found) == "[(4, -inf), (1, 1.5), (3, inf), (2, nan), (5, None)]"
    connection.execute(f"CREATE EXTERNAL TABLE floated (id int, f float8, l float8[]) STORED AS {end.split('.')[1]} LOCATION '{tmp_path}/{end}'")
    connection.execute("CREATE TABLE float_copied (id int, f float8, l float8[])")
    connection.execute(f"COPY float_copied FROM '{tmp_path}/{end}'")
    for table in ["floated", "float_copied"]:
        assert repr(connection.execute(f"SELECT * FROM {table} ORDER BY id").fetchall()) == wanted, table
    answers = {connection.execute(f"SELECT sum(f)::text, avg(f)::text, max(f)::text, min(f)::text FROM {table}").fetchone() for table in ["floated", "float_copied", f"({FLOATS}) v"]}
    assert answers == {("NaN", "NaN", "NaN", "-Infinity")}
    for table in ["floated", "float_copied"]:
        connection.execute(f"DROP TABLE {table}")


def test_words_alone_are_texts(connection, tmp_path):
    (tmp_path / "w.csv").write_text("a,b,c\nNaN,NaN,1\nInfinity,x,inf\n")
    (tmp_path / "w.json").write_text('{"a": "NaN", "b": 1, "c": true}\n{"a": "Infinity", "b": "nan", "c": "NaN"}\n')
    for end in ["csv", "json"]:
        assert {row[1] for row in connection.execute(f"DESCRIBE '{tmp_path}/w.{end}'").fetchall()} == {"text"}
    # Beside whole numbers they are numbers, unless one of these would lose digits.
    (tmp_path / "w.csv").write_text("a,b\n9007199254740993,1\nNaN,NaN\n")
    (tmp_path / "w.json").write_text('{"a": 9007199254740993, "b": 1}\n{"a": "NaN", "b": "NaN"}\n')
    for end in ["csv", "json"]:
        assert repr(connection.execute(f"SELECT * FROM '{tmp_path}/w.{end}'").fetchall()) == "[('9007199254740993', 1.0), ('NaN', nan)]"


NESTED = """SELECT 1 AS i, ARRAY[1, 2, NULL] AS l, ARRAY['a', 'b"c', NULL, '', '[x]', '{y}'] AS t, ROW(1, 'x', timestamp '2026-01-01 10:00:00', 1.50::numeric(10,2), true) AS r,
  ARRAY[timestamp '2026-01-01 10:00:00.5'] AS lt, ARRAY[ROW(1, 'a'), NULL] AS ls, ARRAY[ARRAY[1, 2], ARRAY[3]] AS ll, ARRAY['\\x00ff'::bytea] AS lb, ARRAY[date '2026-01-01'] AS ld,
  ARRAY['12.50'::numeric(10,2)] AS ln, ARRAY['NaN'::float8, 1e300] AS lf, ARRAY[true, NULL] AS lo, ARRAY['2026-01-01 10:00+09'::timestamptz] AS lz"""


@pytest.mark.parametrize("end", ["n.csv", "n.json", "n.parquet", "n.csv.gz", "n/"])
def test_nested_values_come_back(connection, tmp_path, end):
    connection.execute(f"CREATE TABLE nested AS {NESTED}")
    connection.execute("INSERT INTO nested (i) VALUES (2)")
    connection.execute("CREATE TABLE nested_copied AS SELECT * FROM nested WHERE false")
    connection.execute(f"COPY nested TO '{tmp_path}/{end}'")
    connection.execute("SET timezone = 'Asia/Seoul'")
    connection.execute(f"COPY nested_copied FROM '{tmp_path}/{end}'" + ("" if "." in end else " (FORMAT parquet)"))
    connection.execute("RESET timezone")
    rows = [connection.execute(f"SELECT * FROM {table} ORDER BY i").fetchall() for table in ["nested", "nested_copied"]]
    assert rows[0] == rows[1] or repr(rows[0]) == repr(rows[1])
    for table in ["nested", "nested_copied"]:
        connection.execute(f"DROP TABLE {table}")


def test_arrays_of_either_form_are_copied(connection, tmp_path):
    connection.execute("CREATE TABLE either (i int, l int[], t text[])")
    (tmp_path / "e.csv").write_text('i,l,t\n1,"{1,NULL}","{a,""[b]""}"\n2,"[1, null]","[""a"", ""{b}""]"\n3,"",[]\n')
    connection.execute(f"COPY either FROM '{tmp_path}/e.csv'")
    assert connection.execute("SELECT * FROM either ORDER BY i").fetchall() == [(1, [1, None], ["a", "[b]"]), (2, [1, None], ["a", "{b}"]), (3, None, [])]
    for text, state in [("[1.5]", "22P02"), ("[3000000000]", "22003"), ("[1,]", "22P04"), ("{1.5}", "22P02"), ("[1", "22P02")]:
        (tmp_path / "e.csv").write_text(f'i,l,t\n1,"{text}",\n')
        assert state_of(lambda: connection.execute(f"COPY either FROM '{tmp_path}/e.csv'")) == state, text
    # What is nested in JSON is a text as it is written, and an array where one is wanted.
    (tmp_path / "e.json").write_text('{"i": 1, "l": [1, 2], "t": ["x"]}\n{"i": 2, "l": "{3}", "t": null}\n')
    connection.execute("TRUNCATE either")
    connection.execute(f"COPY either FROM '{tmp_path}/e.json'")
    assert connection.execute("SELECT * FROM either ORDER BY i").fetchall() == [(1, [1, 2], ["x"]), (2, [3], None)]
    connection.execute("DROP TABLE either")
    connection.execute("CREATE TABLE written (i int, l text)")
    connection.execute(f"COPY (SELECT 1 AS i, ARRAY[1, 2] AS l) TO '{tmp_path}/f.json'")
    connection.execute(f"COPY written FROM '{tmp_path}/f.json'")
    assert connection.execute("SELECT l FROM written").fetchone() == ("[1,2]",)
    connection.execute("DROP TABLE written")


# PostgreSQL's: COPY of the same texts into a table of such columns.
LENGTHS = [("a", "a"), ("a  ", "abc   "), ("a     ", "ab "), (None, None), ("한글 ", "한글은 "), ("", "")]
ASKED_OF_LENGTHS = [
    "SELECT id, rtrim(c), length(c), v, length(v), v || '|' FROM {} ORDER BY id",
    "SELECT id FROM {} WHERE c = 'a' ORDER BY id", "SELECT id FROM {} WHERE v = 'abc'", "SELECT id FROM {} WHERE v = 'ab '",
    "SELECT id FROM {} WHERE c IN ('a', '한글') AND v > 'ab' ORDER BY id", "SELECT count(DISTINCT c), count(c), max(v) FROM {}",
    "SELECT rtrim(c), count(*) FROM {} GROUP BY 1 ORDER BY 1 NULLS FIRST", "SELECT a.id, b.id FROM {0} a JOIN {0} b ON a.c = b.c ORDER BY 1, 2",
]


@pytest.mark.services
@pytest.mark.parametrize("kind", ["parquet", "orc", "csv", "json"])
def test_texts_of_a_declared_length_are_those_of_postgresql(connection, tmp_path, kind):
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as postgres:
        postgres.execute("CREATE TEMPORARY TABLE lengths (id int, c char(3), v varchar(3))")
        with postgres.cursor().copy("COPY lengths FROM STDIN") as copy:
            for number, (c, v) in enumerate(LENGTHS):
                copy.write_row((number, c, v))

        def write(path, rows):
            if kind == "csv":
                field = lambda text: "" if text is None else f'"{text}"'
                path.write_text("id,c,v\n" + "".join(f"{n},{field(c)},{field(v)}\n" for n, (c, v) in enumerate(rows)))
            elif kind == "json":
                path.write_text("".join(json.dumps({"id": n, "c": c, "v": v}) + "\n" for n, (c, v) in enumerate(rows)))
            else:
                columns = {"id": pa.array(range(len(rows)), "int32"), "c": [c for c, _ in rows], "v": [v for _, v in rows]}
                (pq if kind == "parquet" else orc).write_table(pa.table(columns), path)

        write(tmp_path / f"a.{kind}", LENGTHS)
        declared = f"(id int, c char(3), v varchar(3)) STORED AS {kind} LOCATION '{tmp_path}/a.{kind}'"
        connection.execute(f"CREATE EXTERNAL TABLE lengths {declared}")
        for pushdown in ["on", "off"]:
            connection.execute(f"SET pushdown = {pushdown}")
            for sql in ASKED_OF_LENGTHS:
                wanted = postgres.execute(sql.format("lengths")).fetchall()
                assert connection.execute(sql.format("lengths")).fetchall() == wanted, (pushdown, sql)
        connection.execute("RESET pushdown")
        # What is made of it has no length of its own.
        connection.execute("CREATE TABLE lengths_kept AS SELECT * FROM lengths")
        assert connection.execute("SELECT v FROM lengths_kept WHERE id = 1").fetchone() == ("abc",)
        connection.execute("DROP TABLE lengths_kept")
        for row, column, of_type in [(("abcd", "a"), "c", "character(3)"), (("a", "한글은요"), "v", "character varying(3)")]:
            write(tmp_path / f"a.{kind}", [("a", "a"), row])
            with pytest.raises(psycopg.errors.StringDataRightTruncation) as caught:
                connection.execute("SELECT * FROM lengths").fetchall()
            told = caught.value.diag
            assert told.message_primary == f"value too long for type {of_type}" and told.message_hint
            assert f"a.{kind}" in told.message_detail and f"column={column}" in told.message_detail
            # A column that is not read is not looked at.
            assert connection.execute("SELECT count(id) FROM lengths").fetchone() == (2,)
        connection.execute("DROP TABLE lengths")


def test_directories_of_a_declared_length(connection, tmp_path):
    for value in ["a", "b  ", "c%20%20"]:
        (tmp_path / f"p={value}").mkdir()
        (tmp_path / f"p={value}" / "1.csv").write_text("n\n1\n")
    made = f"CREATE EXTERNAL TABLE parted (n int, p {{}}) STORED AS CSV PARTITIONED BY (p) LOCATION '{tmp_path}/'"
    connection.execute(made.format("char(2)"))
    assert connection.execute("SELECT p FROM parted WHERE p IN ('a', 'b', 'c') ORDER BY p").fetchall() == [("a",), ("b",), ("c",)]
    connection.execute("DROP TABLE parted")
    (tmp_path / "p=abc").mkdir()
    (tmp_path / "p=abc" / "1.csv").write_text("n\n1\n")
    connection.execute(made.format("varchar(2)"))
    assert state_of(lambda: connection.execute("SELECT n, p FROM parted").fetchall()) == "22001"
    connection.execute("DROP TABLE parted")


def test_a_field_means_the_same_in_a_table_of_files_and_in_a_copy(connection, tmp_path):
    lines = ["b,ts,f", "\\x00ff,2024-03-10 02:30:00+09,1.5", "a\\001b,2024-03-10T02:30:00Z,Infinity"]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "big.csv").write_text("f\n1e400\n")
    columns = "(b bytea, ts timestamp, f float8)"
    connection.execute(f"CREATE EXTERNAL TABLE fielded {columns} STORED AS CSV LOCATION '{tmp_path}/t.csv'")
    connection.execute(f"CREATE TABLE field_copied {columns}")
    connection.execute(f"COPY field_copied FROM '{tmp_path}/t.csv'")
    found = [connection.execute(f"SELECT * FROM {table} ORDER BY f").fetchall() for table in ("fielded", "field_copied")]
    assert found[0] == found[1] and [row[0] for row in found[0]] == [b"\x00\xff", b"a\x01b"]
    connection.execute(f"COPY (SELECT ARRAY['a', NULL, 'b,\"c'] AS a) TO '{tmp_path}/a.csv'")
    (tmp_path / "l.csv").write_text('a\n"{a,NULL,""b,\\""c""}"\n')
    for end in ["a.csv", "l.csv"]:
        connection.execute(f"CREATE EXTERNAL TABLE listed (a text[]) STORED AS CSV LOCATION '{tmp_path}/{end}'")
        assert connection.execute("SELECT a FROM listed").fetchone() == (["a", None, 'b,"c'],), end
        connection.execute("DROP TABLE listed")
    assert state_of(lambda: connection.execute(f"SELECT * FROM '{tmp_path}/big.csv'").fetchall()) == "22003"
    for table in ("fielded", "field_copied"):
        connection.execute(f"DROP TABLE {table}")


def test_every_format_comes_back(connection, tmp_path):
    wanted = connection.execute(f"{KINDS} ORDER BY id").fetchall()
    for end, options in [("a.parquet", ""), ("b/", "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 2)"), ("c.parquet", "(COMPRESSION none)")]:
        assert connection.execute(f"COPY ({KINDS}) TO '{tmp_path}/{end}' {options}").statusmessage == "COPY 4"
        found = connection.execute(f"SELECT * FROM '{tmp_path}/{end}' ORDER BY id").fetchall()
        assert repr(found) == repr(wanted), end
    assert pq.ParquetFile(tmp_path / "a.parquet").metadata.num_rows == 4
    assert sum(pq.ParquetFile(path).metadata.num_row_groups for path in (tmp_path / "b").glob("*.parquet")) == 2
    assert (tmp_path / "b/_SUCCESS").exists()
    columns = "id, b, i, n, t, d, ts"
    for end, options in [("d.csv", ""), ("e.csv.gz", ""), ("f/", "(FORMAT csv, COMPRESSION gzip, DELIMITER ';', NULL 'nil')"), ("g.tsv", "(HEADER false)")]:
        connection.execute(f"COPY (SELECT {columns} FROM ({KINDS}) k) TO '{tmp_path}/{end}' {options}")
    with open(tmp_path / "d.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == columns.split(", ") and rows[2][4] == 'a,"b"\nc' and rows[3] == ["3", "", "", "", "", "", ""]
    assert rows[1][6] == "2026-01-02 03:04:05.678" and rows[4][5] == "2100-12-31"
    assert gzip.open(tmp_path / "e.csv.gz").read() == (tmp_path / "d.csv").read_bytes()
    connection.execute(f"COPY (SELECT {columns} FROM ({KINDS}) k WHERE id <> 2) TO '{tmp_path}/h.json'")
    lines = [json.loads(line) for line in (tmp_path / "h.json").read_text().splitlines()]
    assert lines[0] == {"id": 1, "b": True, "i": 9223372036854775807, "n": 12.3, "t": "plain", "d": "2026-01-02", "ts": "2026-01-02T03:04:05.678"}
    assert lines[1]["t"] is None and lines[2]["t"] == ""
    # And back into a table, by their order, with the words for how they are read.
    connection.execute("CREATE TABLE copied (id int, b boolean, i bigint, n numeric(10,2), t text, d date, ts timestamp)")
    for place, options in [("d.csv", ""), ("f/", "(FORMAT csv, DELIMITER ';', NULL 'nil')"), ("a.parquet", "")]:
        source = f"COPY copied FROM '{tmp_path}/{place}' {options}" if place != "a.parquet" else \
            f"INSERT INTO copied SELECT {columns} FROM '{tmp_path}/a.parquet'"
        connection.execute("TRUNCATE copied")
        assert connection.execute(source).statusmessage.endswith(" 4")
        assert connection.execute("SELECT * FROM copied ORDER BY id").fetchall() == connection.execute(f"SELECT {columns} FROM ({KINDS}) k ORDER BY id").fetchall(), place
    connection.execute("TRUNCATE copied")
    assert state_of(lambda: connection.execute(f"COPY copied (id, t) FROM '{tmp_path}/d.csv'")) == "22P04"
    connection.execute("DROP TABLE copied")


def test_texts_are_read_by_the_types_of_the_table(connection, tmp_path):
    columns = "id int, n numeric(38,9), m numeric(10,2), t text, d date, y bytea, b boolean, f float8, ts timestamp, a int[]"
    connection.execute(f"CREATE TABLE read_texts ({columns})")
    wanted = """VALUES
      (1, '12345678901234567890.123456789'::numeric(38,9), 1.01::numeric(10,2), '1.10', date '0001-01-01', '\\x00ff'::bytea, true, 0.1::float8, timestamp '2026-01-02 03:04:05.678', '{1,2}'::int[]),
      (2, NULL, NULL, '', NULL, NULL, NULL, NULL, NULL, NULL),
      (3, NULL, NULL, NULL, date '9999-12-31', NULL, false, 'NaN'::float8, NULL, NULL)"""
    wanted = connection.execute(f"SELECT id, n::text, m::text, t, d::text, y, b, f::text, ts, a FROM ({wanted}) AS w (id, n, m, t, d, y, b, f, ts, a) ORDER BY id").fetchall()

    def found():
        return connection.execute("SELECT id, n::text, m::text, t, d::text, y, b, f::text, ts, a FROM read_texts ORDER BY id").fetchall()

    (tmp_path / "a.csv").write_text(
        "id,n,m,t,d,y,b,f,ts,a\n"
        '1,12345678901234567890.123456789,1.005,1.10,0001-01-01,\\x00ff,t,0.1,2026-01-02 03:04:05.678,"{1,2}"\n'
        '"2","","","","","","","","",""\n'
        "3,,,,9999-12-31,,no,NaN,,\n"
    )
    assert connection.execute(f"COPY read_texts FROM '{tmp_path}/a.csv'").statusmessage == "COPY 3"
    # In quotes an empty field is no NULL where it can be a value.
    wanted_csv = [row[:5] + (b"",) + row[6:] if row[0] == 2 else row for row in wanted]
    assert found() == wanted_csv
    # A column that is empty in every row.
    connection.execute("TRUNCATE read_texts")
    (tmp_path / "b.csv").write_text("id,d\n1,\n2,\n")
    assert connection.execute(f"COPY read_texts (id, d) FROM '{tmp_path}/b.csv'").statusmessage == "COPY 2"
    assert connection.execute("SELECT id, d FROM read_texts ORDER BY id").fetchall() == [(1, None), (2, None)]
    # Numbers of JSON keep their digits; whole ones may be written with a point. Arrays are arrays.
    connection.execute("TRUNCATE read_texts")
    (tmp_path / "c.json").write_text(
        '{"id": 1.0, "n": 12345678901234567890.123456789, "m": 1.005, "t": 1.10, "d": "0001-01-01", "y": "\\\\x00ff", "b": true, "f": 0.1, "ts": "2026-01-02 03:04:05.678", "a": [1, 2]}\n'
        '{"id": 2, "t": ""}\n'
        '{"id": 3e0, "d": "9999-12-31", "b": "no", "f": "NaN"}\n'
    )
    assert connection.execute(f"COPY read_texts FROM '{tmp_path}/c.json'").statusmessage == "COPY 3"
    assert found() == wanted
    connection.execute("TRUNCATE read_texts")
    # Directories are texts as well.
    connection.execute(f"COPY (SELECT 7 AS id, '1.10' AS t) TO '{tmp_path}/parts' (FORMAT csv, PARTITION_BY (t))")
    connection.execute(f"COPY read_texts (id, t) FROM '{tmp_path}/parts'")
    assert connection.execute("SELECT id, t FROM read_texts").fetchall() == [(7, "1.10")]
    # Parquet has types of its own.
    connection.execute(f"COPY (SELECT '7' AS id) TO '{tmp_path}/d.parquet'")
    assert state_of(lambda: connection.execute(f"COPY read_texts (id) FROM '{tmp_path}/d.parquet'")) == "42804"
    for name, text, given, state, told in [
        ("few", "id,n\n1,2\n", "(id, n, m)", "22P04", 'missing data for column "m"'),
        ("many", "id,n\n1,2\n", "(id)", "22P04", "extra data after last expected column"),
        ("all", "id,n\n1,2\n", "", "22P04", 'missing data for column "m"'),
        ("word", "id\n1\nx\n", "(id)", "22P02", 'invalid input syntax for type integer: "x"'),
        ("point", "id\n1.5\n", "(id)", "22P02", 'invalid input syntax for type integer: "1.5"'),
        ("day", "d\n2026-02-30\n", "(d)", "22008", "2026-02-30"),
        ("bytes", "y\n\\xzz\n", "(y)", "22P02", "invalid input syntax for type bytea"),
    ]:
        (tmp_path / f"{name}.csv").write_text(text)
        with pytest.raises(psycopg.Error) as error:
            connection.execute(f"COPY read_texts {given} FROM '{tmp_path}/{name}.csv'")
        assert error.value.sqlstate == state and told in str(error.value), (name, str(error.value))
    assert connection.execute("SELECT count(*) FROM read_texts").fetchone() == (1,)
    connection.execute("DROP TABLE read_texts")


def test_partitions_sizes_and_what_is_there(connection, tmp_path):
    rows = "SELECT i AS id, 'a/b %' || i % 3 AS k, repeat('x', 100) AS pad FROM generate_series(1, 30000) g(i)"
    connection.execute(f"COPY ({rows}) TO '{tmp_path}/parts' (FORMAT parquet, PARTITION_BY (k))")
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["_SUCCESS", "k=a%2Fb %250", "k=a%2Fb %251", "k=a%2Fb %252"]
    assert connection.execute(f"SELECT count(*), count(DISTINCT k), max(k) FROM '{tmp_path}/parts'").fetchone() == (30000, 3, "a/b %2")
    connection.execute(f"COPY ({rows}) TO '{tmp_path}/small' (FORMAT csv, MAX_FILE_SIZE '500kB')")
    assert len(list((tmp_path / "small").glob("*.csv"))) >= 3
    assert connection.execute(f"SELECT count(*) FROM '{tmp_path}/small'").fetchone() == (30000,)
    # A place that is not empty stays as it is.
    names = sorted((tmp_path / "small").iterdir())
    assert state_of(lambda: connection.execute(f"COPY (SELECT 1 AS a) TO '{tmp_path}/small' (FORMAT csv)")) == "42710"
    assert sorted((tmp_path / "small").iterdir()) == names
    connection.execute(f"COPY (SELECT 1 AS a) TO '{tmp_path}/small' (FORMAT csv, OVERWRITE)")
    assert connection.execute(f"SELECT * FROM '{tmp_path}/small'").fetchall() == [(1,)]
    connection.execute(f"COPY (SELECT 1 AS a) TO '{tmp_path}/one.csv'")
    assert state_of(lambda: connection.execute(f"COPY (SELECT 2 AS a) TO '{tmp_path}/one.csv'")) == "42710"
    connection.execute(f"COPY (SELECT 2 AS a) TO '{tmp_path}/one.csv' (OVERWRITE)")
    assert (tmp_path / "one.csv").read_text() == "a\n2\n"
    # No rows are a file, too.
    connection.execute(f"COPY (SELECT 1 AS a WHERE false) TO '{tmp_path}/none.parquet'")
    assert connection.execute(f"SELECT count(*) FROM '{tmp_path}/none.parquet'").fetchone() == (0,)
    for sql, state in {
        f"COPY (SELECT 1 AS a) TO '{tmp_path}/x' (FORMAT orc)": "HV024",
        f"COPY (SELECT 1 AS a) TO '{tmp_path}/x' (SIZE 3)": "HV00D",
        f"COPY (SELECT 1 AS a) TO '{tmp_path}/x' (FORMAT csv, FORMAT csv)": "42601",
        f"COPY (SELECT 1 AS a) TO '{tmp_path}/x' (PARTITION_BY (b))": "42703",
        f"COPY (SELECT 1 AS a) TO '{tmp_path}/x' (PARTITION_BY (a))": "0A000",
        f"COPY (SELECT interval '1 day' AS a) TO '{tmp_path}/x'": "0A000",
        f"COPY (SELECT ARRAY[interval '1 day'] AS a) TO '{tmp_path}/x'": "0A000",
        f"COPY (SELECT interval '1 day' AS a) TO '{tmp_path}/x.csv'": "0A000",
        f"COPY (SELECT 1 AS a) TO '{tmp_path}/y/../x.csv'": "HV024",
        f"COPY (SELECT 1 AS a, 2 AS a) TO '{tmp_path}/x'": "42701",
        f"COPY (SELECT '' AS k, 1 AS a) TO '{tmp_path}/x' (PARTITION_BY (k))": "22023",
        f"COPY (SELECT i AS k, 1 AS a FROM generate_series(1, 100000) g(i)) TO '{tmp_path}/x' (PARTITION_BY (k))": "54000",
        "COPY (SELECT 1 AS a) TO 's3://no-such-catalog/x'": "42704",
        "COPY (SELECT 1 AS a) TO 'relative/x'": "22023",
        f"COPY (SELECT 1 / (100 - i) AS a FROM generate_series(1, 200) g(i)) TO '{tmp_path}/y'": "22012",
    }.items():
        assert state_of(lambda: connection.execute(sql)) == state, sql
    deadline = time.monotonic() + 60
    while any(path.is_file() for path in (tmp_path / "x").rglob("*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(path.is_file() for path in (tmp_path / "x").rglob("*"))
    connection.execute(f"CREATE CATALOG copy_lake USING file WITH (path = '{tmp_path}')")
    connection.execute("CREATE TABLE copy_lake.public.delta AS SELECT 1 AS a")
    for place in ("delta", "delta/below"):
        assert state_of(lambda: connection.execute(f"COPY (SELECT 1 AS a) TO '{tmp_path}/{place}' (OVERWRITE)")) == "0A000"
    connection.execute("DROP CATALOG copy_lake")


def test_rights_explain_and_cancel(server, connection, tmp_path):
    connection.execute("CREATE USER copy_kim PASSWORD 'kim-password-1'")
    with server.connect(user="copy_kim", password="kim-password-1") as kim:
        assert state_of(lambda: kim.execute(f"COPY (SELECT 1 AS a) TO '{tmp_path}/kim'")) == "42501"
        connection.execute("GRANT pg_write_server_files TO copy_kim")
        assert kim.execute(f"COPY (SELECT 1 AS a) TO '{tmp_path}/kim'").statusmessage == "COPY 1"
        assert state_of(lambda: kim.execute(f"SELECT * FROM '{tmp_path}/kim'")) == "42501"
    connection.execute("DROP OWNED BY copy_kim")
    connection.execute("REVOKE pg_write_server_files FROM copy_kim")
    connection.execute("DROP USER copy_kim")
    told = "\n".join(row[0] for row in connection.execute(f"EXPLAIN COPY (SELECT 1 AS a) TO '{tmp_path}/told' (FORMAT csv)").fetchall())
    assert "CSV files, _SUCCESS last" in told and not (tmp_path / "told").exists()
    told = "\n".join(row[0] for row in connection.execute(f"EXPLAIN ANALYZE COPY (SELECT 1 AS a) TO '{tmp_path}/told'").fetchall())
    assert "Parquet files, _SUCCESS last" in told and (tmp_path / "told/_SUCCESS").exists()
    connection.execute("SET statement_timeout = '700ms'")
    slow = "SELECT a.i * b.i AS n FROM generate_series(1, 100000) a(i), generate_series(1, 100000) b(i)"
    for place in ("slow/", "slow.csv"):
        assert state_of(lambda: connection.execute(f"COPY ({slow}) TO '{tmp_path}/{place}'")) == "57014"
    connection.execute("RESET statement_timeout")
    deadline = time.monotonic() + 60
    rest = lambda: [path for path in tmp_path.rglob("*") if path.is_file() and "slow" in str(path) or path.name.endswith(".tmp")]  # noqa: E731
    while rest() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not rest()


@pytest.mark.services
def test_s3_and_hdfs(server, connection, tmp_path):
    name = uuid.uuid4().hex[:8]
    client = storage.s3_client()
    bucket = "maru-copies"
    if bucket not in [found["Name"] for found in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key=f"{name}/.keep", Body=b"x")
    folder = f"/data/maru-copies/{name}"
    storage.Hdfs().put(f"{folder}/.keep", b"x")
    connection.execute(f"""CREATE CATALOG copy_s3 USING s3 WITH (bucket = '{bucket}', prefix = '{name}', endpoint = '{os.environ["MARU_TEST_S3"]}',
        access_key_id = '{os.environ["MARU_TEST_S3_ACCESS_KEY"]}', secret_access_key = '{os.environ["MARU_TEST_S3_SECRET_KEY"]}')""")
    connection.execute(f"CREATE CATALOG copy_hdfs USING hdfs WITH (url = '{os.environ['MARU_TEST_HDFS']}{folder}')")
    connection.execute("CREATE USER copy_lee PASSWORD 'lee-password-1'")
    try:
        rows = "SELECT i AS id, i % 5 AS k, md5(i::text) AS t FROM generate_series(1, 200000) g(i)"
        wanted = connection.execute(f"SELECT count(*), sum(id), count(DISTINCT t) FROM ({rows}) r").fetchone()
        for base in (f"s3://{bucket}/{name}", os.environ["MARU_TEST_HDFS"] + folder):
            for place, options in [("folder/", "(FORMAT parquet)"), ("parts/", "(FORMAT csv, PARTITION_BY (k))"), ("one.parquet", ""), ("one.csv.gz", "")]:
                connection.execute(f"COPY ({rows}) TO '{base}/{place}' {options}")
                found = connection.execute(f"SELECT count(*), sum(id), count(DISTINCT t) FROM '{base}/{place}'").fetchone()
                assert found == wanted, (base, place)
                assert state_of(lambda: connection.execute(f"COPY ({rows}) TO '{base}/{place}' {options}")) == "42710"
                again = options.replace(")", ", OVERWRITE)") if options.endswith(")") and "BY" not in options else "(OVERWRITE)" if not options else "(FORMAT csv, PARTITION_BY (k), OVERWRITE)"
                connection.execute(f"COPY (SELECT 7 AS id, 1 AS k, 'x' AS t) TO '{base}/{place}' {again}")
                assert connection.execute(f"SELECT id, k, t FROM '{base}/{place}'").fetchall() == [(7, 1, "x")]
        with server.connect(user="copy_lee", password="lee-password-1") as lee:
            assert state_of(lambda: lee.execute(f"COPY (SELECT 1 AS a) TO 's3://{bucket}/{name}/lee'")) == "42704"
            connection.execute("GRANT SELECT ON CATALOG copy_s3 TO copy_lee")
            assert state_of(lambda: lee.execute(f"COPY (SELECT 1 AS a) TO 's3://{bucket}/{name}/lee'")) == "42704"
            connection.execute("GRANT INSERT ON CATALOG copy_s3 TO copy_lee")
            lee.execute(f"COPY (SELECT 1 AS a) TO 's3://{bucket}/{name}/lee'")
            assert lee.execute(f"SELECT * FROM 's3://{bucket}/{name}/lee'").fetchall() == [(1,)]
            # Outside of what the catalog serves.
            assert state_of(lambda: lee.execute(f"COPY (SELECT 1 AS a) TO 's3://{bucket}/elsewhere/x'")) == "42704"
            # A key has no parts that lead out of it.
            assert state_of(lambda: lee.execute(f"COPY (SELECT 1 AS a) TO 's3://{bucket}/{name}/../elsewhere/x'")) == "22023"
    finally:
        connection.execute("DROP OWNED BY copy_lee")
        connection.execute("DROP USER copy_lee")
        connection.execute("DROP CATALOG copy_s3")
        connection.execute("DROP CATALOG copy_hdfs")


def test_killed_at_each_step(start, tmp_path):
    """Without _SUCCESS a folder is not complete; one file is the old one or the new one."""
    for step in ("copy.before_commit", "copy.before_mark"):
        server = start(environment={"MARU_FAULT_POINT": step})
        with pytest.raises(psycopg.OperationalError), server.connect() as connection:
            connection.execute(f"COPY (SELECT i AS id FROM generate_series(1, 1000) g(i)) TO '{tmp_path}/out-{step}'")
        server.process.wait(60)
        assert not (tmp_path / f"out-{step}/_SUCCESS").exists()
        server = start()
        with server.connect() as connection:
            assert state_of(lambda: connection.execute(f"COPY (SELECT 1 AS id) TO '{tmp_path}/out-{step}'")) == "42710"
            connection.execute(f"COPY (SELECT 1 AS id) TO '{tmp_path}/out-{step}' (OVERWRITE)")
            assert connection.execute(f"SELECT * FROM '{tmp_path}/out-{step}'").fetchall() == [(1,)]
        server.stop()
    (tmp_path / "one.csv").write_text("id\n1\n")
    server = start(environment={"MARU_FAULT_POINT": "copy.before_commit"})
    with pytest.raises(psycopg.OperationalError), server.connect() as connection:
        connection.execute(f"COPY (SELECT 2 AS id) TO '{tmp_path}/one.csv' (OVERWRITE)")
    server.process.wait(60)
    assert (tmp_path / "one.csv").read_text() == "id\n1\n"


def test_two_copies_to_one_place(server, connection, tmp_path):
    outcomes = []

    def copy(word):
        with server.connect() as own:
            try:
                outcomes.append(own.execute(f"COPY (SELECT '{word}' AS w FROM generate_series(1, 1000) g(i)) TO '{tmp_path}/one.csv' (OVERWRITE)").statusmessage)
            except psycopg.Error as error:
                outcomes.append(error.sqlstate)

    threads = [threading.Thread(target=copy, args=(word,)) for word in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(outcomes) == {"COPY 1000"}, outcomes
    assert connection.execute(f"SELECT count(*), count(DISTINCT w) FROM '{tmp_path}/one.csv'").fetchone() == (1000, 1)


def test_far_too_many_partitions_are_told_before_a_file_is_made(connection, tmp_path):
    rows = "SELECT i, 1 AS v FROM generate_series(1, 100000) AS t (i)"
    connection.execute(f"CREATE CATALOG many_lake USING file WITH (path = '{tmp_path}')")
    begun = time.monotonic()
    assert state_of(lambda: connection.execute(f"COPY ({rows}) TO '{tmp_path}/out/' (PARTITION_BY (i))")) == "54000"
    assert state_of(lambda: connection.execute(f"CREATE TABLE many_lake.public.many WITH (partitioned_by = ARRAY['i']) AS {rows}")) == "54000"
    # A file each would take minutes.
    assert time.monotonic() - begun < 60
    # What was put down to begin with is cleared away while the error is told.
    deadline = time.monotonic() + 60
    while [path for path in tmp_path.rglob("*") if path.is_file()]:
        assert time.monotonic() < deadline, list(tmp_path.rglob("*"))
        time.sleep(0.05)
    connection.execute("DROP CATALOG many_lake")
