"""Hive tables that Spark made with Hive's own SerDes: value by value what Spark reads from them."""

import datetime
import decimal
import json
import os
import pathlib
import subprocess
import uuid

import psycopg
import pytest
from seeding.metastore import HIVE, PARQUET, TEXT, Metastore

pytestmark = pytest.mark.services
HERE = pathlib.Path(__file__).parent

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The name of the database, and what Spark reads from each table of it."""
    database = "spark_" + uuid.uuid4().hex[:8]
    output = tmp_path_factory.mktemp("spark") / "rows.json"
    command = [str(HERE.parent / "services/spark"), str(HERE / "hive_tables.py"), os.environ["MARU_TEST_HMS3"], os.environ["MARU_TEST_HDFS"],
               database, str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    yield database, json.loads(output.read_text())
    with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore:
        metastore.client.drop_database(database, True, True)


@pytest.fixture(scope="module")
def hive(server, made):
    """The catalog, by SQL, and the database in it."""
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG made_by_spark USING hive WITH (metastore = '{os.environ['MARU_TEST_HMS3']}')")
        yield connection, "made_by_spark." + made[0]
        connection.execute("DROP CATALOG made_by_spark")


def plain(value):
    """As `hive_tables.py` has it."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        items = [plain(item) for item in value]
        # The entries of a map.
        return sorted(items) if value and all(isinstance(item, tuple) for item in value) else items
    if isinstance(value, tuple):
        return [str(value[0]), plain(value[1])]
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (datetime.date, decimal.Decimal)):
        return str(value)
    return value


def rows(server, table, columns="*", condition="true"):
    with server.flight() as flight, flight.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {table} WHERE {condition}")
        return [plain(row) for row in cursor.fetch_arrow_table().to_pylist()]


def key(row):
    return json.dumps(row, sort_keys=True, ensure_ascii=False)


TABLES = ["orc_plain", "orc_nested", "orc_of_spark", "avro_plain", "avro_nested", "text_plain", "text_nested", "delimited_plain", "delimited_nested", "csv", "json_plain",
          "json_nested", "by_pattern", "packed_gz", "packed_bz2", "packed_deflate", "ragged", "parted"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("table", TABLES)
def test_values_are_those_that_spark_reads(server, hive, made, table):
    # Spark shows the name of the partition of NULL where the column is text.
    null = {"p": None}
    wanted = [row | null if row.get("p") == "__HIVE_DEFAULT_PARTITION__" else row for row in made[1][table]]
    wanted = sorted(wanted, key=key)
    found = sorted(rows(server, f"{hive[1]}.{table}"), key=key)
    assert len(found) == len(wanted) > 0
    for mine, theirs in zip(found, wanted):
        assert mine == theirs


@pytest.mark.parametrize("condition", ["p = 'a b'", "p = 'x/y'", "p = '한글'", "p IS NULL", "n = 1", "p = 'it''s \"q\"'", "p > 'a' AND n <= 0",
                                       "p = 'elsewhere' AND n = 7", "p = '100%' OR n = 7", "n IN (0, 7)", "p <> 'plain'", "p LIKE 'k%'"])
def test_partitions_are_found_by_their_values(server, hive, made, condition):
    connection, base = hive
    found = rows(server, f"{base}.parted", condition=condition)
    connection.execute("SET maru.pushdown = off")
    wanted = connection.execute(f"SELECT id, s, p, n FROM {base}.parted WHERE {condition}").fetchall()
    connection.execute("RESET maru.pushdown")
    assert sorted(map(key, found)) == sorted(key(dict(zip(["id", "s", "p", "n"], row))) for row in wanted) != []


@pytest.mark.parametrize("table,text", [("sequence_file", "SequenceFile"), ("rc_file", "RCFile"), ("acid", "transactional"),
                                        ("a_view", "text_plain")])
def test_what_cannot_be_read_is_refused_by_name(hive, table, text):
    connection, base = hive
    with pytest.raises(psycopg.errors.FeatureNotSupported) as caught:
        connection.execute(f"SELECT * FROM {base}.{table}")
    diagnosis = caught.value.diag
    assert text in f"{diagnosis.message_primary} {diagnosis.message_detail}"


def test_lines_at_both_ends_are_left_out(server, hive):
    found = rows(server, f"{hive[1]}.trimmed")
    assert sorted((row["a"], row["b"]) for row in found) == [(1, "one"), (2, "two"), (3, "three")]


def test_columns_that_came_later_are_null_in_older_partitions(server, hive, made):
    """As in Hive, which reads each partition by the columns it was made with; Spark reads 3 from the file."""
    found = rows(server, f"{hive[1]}.grown")
    assert sorted((row["p"], row["id"], row["s"], row["n"]) for row in found) == [(1, 1, "a", None), (1, 2, "b", None), (2, 4, "d", 5)]
    assert sorted(row["n"] or 0 for row in made[1]["grown"]) == [0, 3, 5]


AVRO = (HIVE + "ql.io.avro.AvroContainerInputFormat", HIVE + "ql.io.avro.AvroContainerOutputFormat", HIVE + "serde2.avro.AvroSerDe")


def test_partitions_in_other_formats_and_stores(server, hive, made, tmp_path):
    connection, base = hive
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "x.csv").write_text("7;local\n\\N;가\n")
    columns = [("id", "int"), ("s", "string")]
    with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore:
        def add(value, location, formats, parameters=None):
            metastore.add_partition(made[0], "mixed", [value], location, columns, formats, parameters)
        add("parquet", metastore.client.get_table(made[0], "as_parquet").sd.location, PARQUET)
        add("avro", metastore.client.get_table(made[0], "as_avro").sd.location, AVRO)
        add("local", f"file://{tmp_path}/place", TEXT, {"field.delim": ";"})
    wanted = [{**row, "p": name} for name in ["parquet", "avro"] for row in made[1]["as_" + name]]
    wanted += made[1]["mixed"] + [{"id": 7, "s": "local", "p": "local"}, {"id": None, "s": "가", "p": "local"}]
    assert sorted(map(key, rows(server, f"{base}.mixed"))) == sorted(map(key, wanted))
    found = rows(server, f"{base}.mixed", condition="p IN ('avro', 'local') AND id = 7")
    assert sorted((row["p"], row["id"]) for row in found) == [("avro", 7), ("local", 7)]
    count = "SELECT p, count(*), count(s) FROM {} GROUP BY p ORDER BY p"
    assert connection.execute(count.format(f"{base}.mixed")).fetchall() == [("avro", 16, 15), ("local", 2, 2), ("parquet", 16, 15), ("text", 14, 14)]
    assert connection.execute(f"SELECT count(*) FROM {base}.mixed WHERE p = 'none'").fetchone() == (0,)


def test_another_metastore_stands_in_for_one_that_is_gone(server, made):
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG fails_over USING hive WITH (metastore = 'thrift://127.0.0.1:1,{os.environ['MARU_TEST_HMS3']}')")
        try:
            assert connection.execute(f"SELECT count(*) FROM fails_over.{made[0]}.bucketed").fetchone() == (0,)
        finally:
            connection.execute("DROP CATALOG fails_over")

