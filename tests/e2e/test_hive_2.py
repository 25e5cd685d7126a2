"""A metastore of version 2.3, as clusters of old have: its own service, started for these tests alone."""

import os
import pathlib
import subprocess
import uuid

import psycopg
import pyarrow
import pyarrow.parquet
import pytest
from hive_metastore.ttypes import ColumnStatistics, ColumnStatisticsData, ColumnStatisticsDesc, ColumnStatisticsObj, LongColumnStatsData
from seeding.metastore import PARQUET, TEXT, Metastore

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
CTL = str(pathlib.Path(__file__).parents[1] / "services/ctl")
COLUMNS = [("id", "bigint"), ("s", "string")]


@pytest.fixture(scope="module")
def hms2():
    """Its address."""
    running = subprocess.run([CTL, "status", "hms2"], capture_output=True, check=False).returncode == 0
    subprocess.run([CTL, "start", "hms2"], check=True, timeout=280)
    told = subprocess.run([CTL, "env", "hms2"], capture_output=True, text=True, check=True).stdout
    yield told.split("=", 1)[1].strip()
    if not running:
        subprocess.run([CTL, "stop", "hms2"], check=True)


@pytest.fixture(scope="module")
def made(server, hms2, tmp_path_factory):
    """A database with tables on a local disk, and its catalog."""
    database = "old_" + uuid.uuid4().hex[:8]
    place = tmp_path_factory.mktemp(database)
    with Metastore(hms2) as metastore, server.connect(prepare_threshold=None) as connection:
        metastore.create_database(database, f"file://{place}/db", "", {})
        metastore.create_table(database, "plain", f"file://{place}/plain", COLUMNS, PARQUET)
        metastore.create_table(database, "lines", f"file://{place}/lines", COLUMNS, TEXT, serde_parameters={"field.delim": ","})
        metastore.create_table(database, "parted", f"file://{place}/parted", COLUMNS, PARQUET, [("day", "date"), ("p", "string"), ("n", "int")])
        metastore.create_table(database, "by_text", f"file://{place}/by_text", COLUMNS, PARQUET, [("p", "string")])
        metastore.create_view(database, "v", COLUMNS, f"SELECT `plain`.`id`, upper(`plain`.`s`) AS `s` FROM `{database}`.`plain` WHERE `plain`.`id` > 1")
        (place / "plain").mkdir(exist_ok=True)
        write(place / "plain/a.parquet", [1, 2, 3])
        (place / "lines").mkdir(exist_ok=True)
        (place / "lines/a.csv").write_text("1,one\n2,\\N\n")
        for at in range(60):
            values = [f"2026-01-{at % 30 + 1:02}", f"k{at % 7}", str(at)]
            folder = place / f"parted/{at}"
            folder.mkdir(parents=True, exist_ok=True)
            write(folder / "a.parquet", [at])
            metastore.add_partition(database, "parted", values, f"file://{folder}", COLUMNS, PARQUET)
            metastore.add_partition(database, "by_text", [f"x{at}"], f"file://{folder}", COLUMNS, PARQUET)
        connection.execute(f"CREATE CATALOG {database} USING hive WITH (metastore = '{hms2}')")
        yield connection, f"{database}.{database}", metastore, database, place
        connection.execute(f"DROP CATALOG {database}")
        metastore.drop_database(database)


def write(path, ids):
    pyarrow.parquet.write_table(pyarrow.table({"id": pyarrow.array(ids, "int64"), "s": ["x"] * len(ids)}), path)


def test_tables_and_views(made):
    connection, base, _, database, _ = made
    assert database in [row[0] for row in connection.execute(f"SHOW SCHEMAS FROM {database}").fetchall()]
    listed = {row[1]: row[2] for row in connection.execute(f"SHOW TABLES FROM {base}").fetchall()}
    assert listed == {"plain": "table", "lines": "table", "parted": "table", "by_text": "table", "v": "view"}
    assert connection.execute(f"SELECT * FROM {base}.plain ORDER BY id").fetchall() == [(1, "x"), (2, "x"), (3, "x")]
    assert connection.execute(f"SELECT * FROM {base}.lines ORDER BY id").fetchall() == [(1, "one"), (2, None)]
    assert connection.execute(f"SELECT * FROM {base}.v ORDER BY id").fetchall() == [(2, "X"), (3, "X")]
    with pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute(f"SELECT * FROM {base}.gone")


@pytest.mark.parametrize("table,condition,wanted", [
    ("parted", "n = 7", {7}), ("parted", "p = 'k3' AND n < 20", {3, 10, 17}), ("parted", "day = '2026-01-05'", {4, 34}),
    ("parted", "day >= '2026-01-29' AND p IN ('k0', 'k1')", {28, 29}), ("parted", "p LIKE 'k%' AND n BETWEEN 58 AND 70", {58, 59}),
    ("by_text", "p = 'x9'", {9}), ("by_text", "p IN ('x9', 'x10', 'none')", {9, 10}), ("by_text", "p > 'x58'", {59, 6, 7, 8, 9}),
    ("by_text", "p = 'none'", set())])
def test_partitions_by_filter(made, table, condition, wanted):
    connection, base, *_ = made
    assert {row[0] for row in connection.execute(f"SELECT id FROM {base}.{table} WHERE {condition}").fetchall()} == wanted
    plan = [row[0] for row in connection.execute(f"EXPLAIN SELECT id FROM {base}.{table} WHERE {condition}").fetchall()]
    told = f"{len(wanted)} file{'s' if len(wanted) != 1 else ''}"
    assert not wanted or any(told in line for line in plan), plan


def test_statistics_and_what_is_refused(made):
    connection, base, metastore, database, place = made
    for table, key in [("plain", None), ("parted", "day=2026-01-01/p=k0/n=0")]:
        figures = ColumnStatistics(
            statsDesc=ColumnStatisticsDesc(isTblLevel=key is None, dbName=database, tableName=table, partName=key),
            statsObj=[ColumnStatisticsObj(colName="id", colType="bigint", statsData=ColumnStatisticsData(
                longStats=LongColumnStatsData(lowValue=100, highValue=200, numNulls=0, numDVs=3)))])
        update = metastore.client.update_table_column_statistics if key is None else metastore.client.update_partition_column_statistics
        assert update(figures)
    # They are wrong, and no answer follows from them.
    assert connection.execute(f"SELECT count(*), min(a.id) FROM {base}.plain a JOIN {base}.parted b ON a.id = b.id WHERE b.id < 50").fetchone() == (3, 1)
    metastore.create_table(database, "acid", f"file://{place}/acid", COLUMNS, PARQUET)
    table = metastore.client.get_table(database, "acid")
    table.parameters["storage_handler"] = "org.apache.hadoop.hive.hbase.HBaseStorageHandler"
    metastore.client.alter_table(database, "acid", table)
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="a table of HBase"):
        connection.execute(f"SELECT * FROM {base}.acid")
