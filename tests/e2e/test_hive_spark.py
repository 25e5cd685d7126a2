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
from seeding.metastore import Metastore

pytestmark = pytest.mark.services
HERE = pathlib.Path(__file__).parent

# What Spark 3.5 reads otherwise than Hive 3.1 and 4.0 do, and what those read: (table, row, column) → value.
AS_HIVE_DOES = {}


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
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
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


TABLES = ["avro_plain", "avro_nested", "text_plain", "text_nested", "delimited_plain", "delimited_nested", "csv", "json_plain",
          "json_nested", "by_pattern", "packed_gz", "packed_bz2", "packed_deflate", "ragged", "parted"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("table", TABLES)
def test_values_are_those_that_spark_reads(server, hive, made, table):
    wanted = sorted(made[1][table], key=key)
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


def test_lines_at_both_ends_are_left_out(server, hive, made):
    """Spark reads them as rows; Hive does not."""
    connection, base = hive
    with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore:
        table = metastore.client.get_table(made[0], "ragged")
        table.parameters |= {"skip.header.line.count": "2", "skip.footer.line.count": "1"}
        metastore.client.alter_table(made[0], "ragged", table)
    try:
        assert [row["b"] for row in rows(server, f"{base}.ragged")] == ["c"]
    finally:
        with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore:
            for name in ["skip.header.line.count", "skip.footer.line.count"]:
                del table.parameters[name]
            metastore.client.alter_table(made[0], "ragged", table)
