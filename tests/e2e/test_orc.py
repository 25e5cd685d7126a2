"""What ORC files tell about themselves is used while a scan is planned: for counts, to leave files out, and for the order of joins.
What their values become in columns of other types, as those of Parquet do."""

import datetime
import decimal

import psycopg
import pyarrow
import pyarrow.orc
import pyarrow.parquet
import pytest

FILES, ROWS = 4, 10_000


@pytest.fixture
def lake(connection, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(FILES):
        first = number * ROWS
        ids = range(first, first + ROWS)
        table = pyarrow.table({"id": pyarrow.array(ids, "int64"), "name": [f"name {n:06d}" for n in ids],
                               "half": pyarrow.array([n / 2 for n in ids], "float64"), "odd": [n if n % 2 else None for n in ids]})
        pyarrow.orc.write_table(table, folder / f"{number}.orc")
    pyarrow.orc.write_table(pyarrow.table({"id": pyarrow.array([5, 25_000], "int64")}), tmp_path / "few.orc")
    connection.execute(f"CREATE CATALOG orc_lake USING file WITH (path = '{tmp_path}', layout = 'tables')")
    yield folder
    connection.execute("DROP CATALOG orc_lake")


def explain(connection, sql):
    return "\n".join(row[0] for row in connection.execute("EXPLAIN " + sql).fetchall())


def test_whole_files_are_left_out(connection, lake):
    # A file that is not read may be anything behind its end.
    damaged = lake / "3.orc"
    damaged.write_bytes(b"x" * 2000 + damaged.read_bytes()[2000:])
    for condition, kept in [("id = 5", 1), ("id BETWEEN 9999 AND 10000", 2), ("name < 'name 015000' AND id > 12000", 1), ("id < 0", 0)]:
        sql = f"SELECT count(*), min(id) FROM orc_lake.public.parts WHERE {condition}"
        with_it = connection.execute(sql).fetchall()
        assert f"files_pruned={FILES - kept}" in explain(connection, sql) or kept == 0, explain(connection, sql)
        connection.execute("SET pushdown = off")
        # Without pushdown the damaged file is read, too.
        with pytest.raises(Exception, match="3.orc"):
            connection.execute(sql).fetchall()
        connection.execute("RESET pushdown")
        assert with_it[0][0] == {"id = 5": 1, "id < 0": 0, "id BETWEEN 9999 AND 10000": 2}.get(condition, 2999), with_it
    # Bounds of floats say nothing of NaN.
    assert "files_pruned" not in explain(connection, "SELECT count(*) FROM orc_lake.public.parts WHERE half > 1e9")


def test_counts_are_answered_from_the_ends_of_files(connection, lake):
    sql = "SELECT count(*) FROM orc_lake.public.parts"
    assert connection.execute(sql).fetchone()[0] == FILES * ROWS
    assert "orc" not in explain(connection, sql).lower().replace("orc_lake", ""), explain(connection, sql)
    # Bounds are no answers: those of text may be cut off.
    row = connection.execute("SELECT min(name), max(id), count(odd), count(*) FROM orc_lake.public.parts").fetchone()
    assert row == ("name 000000", FILES * ROWS - 1, FILES * ROWS // 2, FILES * ROWS)


def test_a_join_knows_the_smaller_side(connection, lake):
    sql = "SELECT p.name FROM orc_lake.public.parts p JOIN orc_lake.public.few f ON p.id = f.id ORDER BY 1"
    assert connection.execute(sql).fetchall() == [("name 000005",), ("name 025000",)]
    analyzed = "\n".join(row[0] for row in connection.execute("EXPLAIN ANALYZE " + sql).fetchall())
    # The smaller side is read first; what it holds leaves out two of the four stripes of the other.
    assert analyzed.index("few.orc") < analyzed.index("parts/0.orc") and f"came back: {2 * ROWS} rows" in analyzed, analyzed


def write(path, **columns):
    table = pyarrow.table(columns)
    (pyarrow.orc if path.suffix == ".orc" else pyarrow.parquet).write_table(table, path)


DAY, TIME = datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1, 5, 0, 0, 123000)
KINDS = pytest.mark.parametrize("kind", ["orc", "parquet"])
# The values of a file, their SQL type, and values as a cast to text gives them.
VALUES = {
    "timestamp": pyarrow.array([TIME, TIME.replace(microsecond=0), datetime.datetime(1969, 12, 31, 23, 59, 59), None], "timestamp[us]"),
    "date": pyarrow.array([DAY, datetime.date(1, 1, 1), None], "date32"),
    "boolean": pyarrow.array([True, False, None]),
    "double precision": pyarrow.array([1.0, 1.5, -0.0, 1e20, 1e-7, float("nan"), None]),
    "real": pyarrow.array([1.0, 0.1, 1e10, None], "float32"),
    "bigint": pyarrow.array([9, 10, -1, None], "int64"),
    "numeric": pyarrow.array([decimal.Decimal("1.50"), decimal.Decimal("-0.05"), None], pyarrow.decimal128(10, 2)),
}


@pytest.fixture
def external(connection):
    """Makes an external table `fits`, which the test is left with."""
    def make(path, columns):
        connection.execute(f"CREATE OR REPLACE EXTERNAL TABLE fits ({columns}) STORED AS {path.suffix[1:].upper()} LOCATION '{path}'")

    yield make
    connection.execute("DROP TABLE IF EXISTS fits")


@KINDS
@pytest.mark.parametrize("type_name", VALUES)
def test_text_of_values_is_what_a_cast_gives(connection, external, tmp_path, kind, type_name):
    path = tmp_path / f"a.{kind}"
    write(path, v=VALUES[type_name], s=pyarrow.StructArray.from_arrays([VALUES[type_name]], ["x"]))
    wanted = connection.execute(f"SELECT v::text FROM '{path}' ORDER BY 1").fetchall()
    external(path, "v text")
    assert connection.execute("SELECT v FROM fits ORDER BY v").fetchall() == wanted
    # Bounds in the file are of its own type: as text, 9 is greater than 10.
    assert connection.execute("SELECT min(v), max(v), count(v) FROM fits").fetchone() == (wanted[0][0], wanted[-2][0], len(wanted) - 1)
    for (value,) in wanted[:-1]:
        assert connection.execute("SELECT count(*) FROM fits WHERE v = %s", [value]).fetchone() == (1,), value
    # Beside a file with text the same, and in a struct.
    write(tmp_path / f"b.{kind}", v=["word"], s=pyarrow.array([{"x": "word"}]))
    mixed = f"'{tmp_path}/*.{kind}'"
    texts = sorted([text for text, in wanted if text is not None] + ["word"])
    assert [row[0] for row in connection.execute(f"SELECT v FROM {mixed} WHERE v IS NOT NULL ORDER BY v").fetchall()] == texts
    inside = connection.execute(f"SELECT (t.s).x FROM {mixed} AS t WHERE (t.s).x IS NOT NULL ORDER BY 1").fetchall()
    assert [row[0] for row in inside] == texts


@KINDS
@pytest.mark.parametrize("declared,values", [
    ("int", pyarrow.array([1.5, 1.7, -1.5])), ("bigint", pyarrow.array([1.0])), ("numeric(10,2)", pyarrow.array([1.0])), ("real", pyarrow.array([0.1])),
    ("int[]", pyarrow.array([1], "int32")), ("text", pyarrow.array([[1]])), ("int[]", pyarrow.array([[1.5]])),
    ("bigint", VALUES["timestamp"]), ("bigint", VALUES["date"]), ("numeric(38,9)", VALUES["timestamp"]), ("date", VALUES["timestamp"]),
    ("timestamp", pyarrow.array([1], "int64")), ("date", pyarrow.array([1], "int32")), ("int", pyarrow.array([True])), ("int", pyarrow.array(["1"])),
    ("timestamp", pyarrow.array([decimal.Decimal("1.000000000")], pyarrow.decimal128(38, 9))),
])
def test_types_that_lose_something_are_refused(connection, external, tmp_path, kind, declared, values):
    path = tmp_path / f"a.{kind}"
    write(path, b=values)
    with pytest.raises(psycopg.Error) as caught:
        external(path, f"b {declared}")
    told = caught.value.diag
    assert told.sqlstate == "42804" and path.name in told.message_primary and '"b' in told.message_primary, told.message_primary
    # A file that comes later is held against the table when it is read.
    folder = tmp_path / "later"
    folder.mkdir()
    write(folder / f"a.{kind}", other=pyarrow.array([1]))
    connection.execute(f"CREATE EXTERNAL TABLE fits (other bigint, b {declared}) STORED AS {kind.upper()} LOCATION '{folder}/'")
    write(folder / f"later.{kind}", b=values)
    with pytest.raises(psycopg.Error) as caught:
        connection.execute("SELECT b FROM fits").fetchall()
    told = caught.value.diag
    assert told.sqlstate == "42804" and f"later.{kind}" in told.message_detail, (told.sqlstate, told.message_primary, told.message_detail)


@KINDS
@pytest.mark.parametrize("declared,good,bad,sqlstate", [
    ("int", pyarrow.array([5, None], "int64"), pyarrow.array([5, 3_000_000_000], "int64"), "22003"),
    ("numeric(5,1)", pyarrow.array([decimal.Decimal("1.20")], pyarrow.decimal128(5, 2)), pyarrow.array([decimal.Decimal("1.25")], pyarrow.decimal128(5, 2)), "22P02"),
    ("bigint", pyarrow.array([decimal.Decimal("7.0")], pyarrow.decimal128(5, 1)), pyarrow.array([decimal.Decimal("7.5")], pyarrow.decimal128(5, 1)), "22P02"),
    ("numeric(3,0)", pyarrow.array([999], "int64"), pyarrow.array([1000], "int64"), "22003"),
])
def test_values_that_do_not_fit_are_errors_of_their_file(connection, external, tmp_path, kind, declared, good, bad, sqlstate):
    folder = tmp_path / "files"
    folder.mkdir()
    write(folder / f"a.{kind}", b=good)
    external(folder / f"a.{kind}", f"b {declared}")
    assert [row[0] for row in connection.execute("SELECT b FROM fits").fetchall()] == good.to_pylist()
    write(folder / f"wide.{kind}", b=bad)
    external(folder / f"wide.{kind}", f"b {declared}")
    with pytest.raises(psycopg.Error) as caught:
        connection.execute("SELECT b FROM fits").fetchall()
    told = caught.value.diag
    assert told.sqlstate == sqlstate and f"wide.{kind}" in told.message_detail, (told.sqlstate, told.message_primary, told.message_detail)


@KINDS
def test_wider_types_hold_what_files_have(connection, external, tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    write(path, i=pyarrow.array([7], "int32"), f=pyarrow.array([0.5], "float32"), d=VALUES["date"].slice(0, 1), p=VALUES["numeric"].slice(0, 1),
          s=pyarrow.array([{"x": 1}], pyarrow.struct([("x", pyarrow.int32())])), l=pyarrow.array([[1]], pyarrow.list_(pyarrow.int32())))
    external(path, "i bigint, f double precision, d timestamp, p numeric(20,4), l bigint[]")
    row = connection.execute("SELECT i, f, d, p, l FROM fits").fetchone()
    assert row == (7, 0.5, datetime.datetime(2020, 1, 1), decimal.Decimal("1.5000"), [1])
    external(path, "i numeric(12,2), p double precision")
    assert connection.execute("SELECT i, p FROM fits").fetchone() == (decimal.Decimal("7.00"), 1.5)


@pytest.mark.parametrize("compression", ["uncompressed", "zlib", "zstd"])
@pytest.mark.parametrize("version", ["0.11", "0.12"])
def test_fractions_before_1970_are_those_of_the_writer(connection, tmp_path, version, compression):
    """Apache Arrow writes fractions of a second below zero, which the library that wrote them reads back."""
    edges = [-1_500_000, -500_000, -999, -1, 0, 5, None, -1_999_999, -1_000_000, -999_001, -999_000, -86_400_000_001, 1_500_000]
    # Mostly after 1970, so that runs of other kinds are written; then some of many times.
    spread = [(n * 7_919_000_003) % 2_000_000_000_000_000 * (-1 if n % 97 == 5 else 1) for n in range(3000)]
    repeated = [-2_250_000] * 700 + [n * 250_000 for n in range(-600, 600)]
    for number, micros in enumerate([edges, spread, repeated, [-n * 1000 for n in range(1, 2000)]]):
        path = tmp_path / f"{number}.orc"
        times = pyarrow.array(micros, pyarrow.timestamp("us"))
        pyarrow.orc.write_table(pyarrow.table({"t": times, "l": [[time] for time in times.to_pylist()]}), path, file_version=version, compression=compression)
        back = pyarrow.orc.read_table(path).column("t").cast(pyarrow.timestamp("us")).cast("int64").to_pylist()
        assert back == micros
        found = connection.execute(f"SELECT (extract(epoch from t) * 1000000)::bigint, t = l[1] OR t IS NULL FROM '{path}'").fetchall()
        assert found == [(micro, True) for micro in micros]
    path = tmp_path / "2.orc"
    assert connection.execute(f"SELECT count(*) FROM '{path}' WHERE t < '1970-01-01' AND t >= '1969-12-31 23:59:59'").fetchone() == (4,)
