"""A Hive table of 100,000 partitions (`--long`): what is asked for is found in bounded time and memory.

Its metastore is the tests' own, and the partitions are put into its database: through the metastore they would take an hour. They lie
in ten directories."""

import os
import pathlib
import shutil
import subprocess
import time

import pyarrow
import pytest
from seeding import storage
from seeding.metastore import PARQUET, Metastore

from own_databases import free_port

LONG = os.environ.get("MARU_TEST_LONG") == "1"
pytestmark = [pytest.mark.services, pytest.mark.timeout(3600), pytest.mark.skipif(not LONG, reason="takes minutes: tests/run --long")]

PARTITIONS = 100_000
LOCATIONS = 10
ROWS = 3
SERVICES = pathlib.Path(__file__).parents[1] / "services"
DATABASE = f"e2e_many_{PARTITIONS}"
FOLDER = f"/user/e2e/{DATABASE}"
COLUMNS = [("id", "bigint"), ("name", "string")]
# Of a program that is not optimised, on two cores that do other things as well.
SECONDS = {"one": 20, "range": 30, "names": 60, "count": 480, "sum": 480}
# Of the server's memory, at its peak, above what it has before.
MEGABYTES = 2500


@pytest.fixture(scope="module")
def metastore(tmp_path_factory):
    """The address of a metastore with the table."""
    hdfs, root = storage.Hdfs(), os.environ["MARU_TEST_HDFS"] + FOLDER
    hdfs.delete(FOLDER)
    for at in range(LOCATIONS):
        rows = pyarrow.table({"id": pyarrow.array([at * ROWS + n for n in range(ROWS)], "int64"), "name": [f"r{n}" for n in range(ROWS)]})
        hdfs.put(f"{FOLDER}/at{at}/data.parquet", storage.parquet_bytes(rows))
    state = tmp_path_factory.mktemp("metastore")
    port = free_port()
    environment = {**os.environ, "MARU_TEST_STATE": str(state), "MARU_TEST_HMS3_PORT": str(port)}

    def ctl(action):
        subprocess.run([SERVICES / "ctl", f"--{action}", "hms3"], check=True, timeout=280, env=environment)

    ctl("start")
    try:
        with Metastore(f"thrift://127.0.0.1:{port}") as metastore:
            metastore.create_database(DATABASE, root, "many", {})
            metastore.create_table(DATABASE, "many", f"{root}/many", COLUMNS, PARQUET, [("month", "string"), ("part", "int")])
            for at in range(LOCATIONS):
                metastore.add_partition(DATABASE, "many", [month(at), str(at)], f"{root}/at{at}", COLUMNS, PARQUET)
        ctl("stop")
        derby = subprocess.run(["bash", "-c", f"HERE={SERVICES}; source {SERVICES}/common.sh; ls $SOFTWARE/hms3/derby-1*.jar"],
                               check=True, capture_output=True, text=True).stdout.strip()
        began = time.monotonic()
        subprocess.run(["java", "-cp", derby, pathlib.Path(__file__).with_name("FillPartitions.java"), state / "hms3/derby", "many", str(PARTITIONS)],
                       check=True, timeout=1200, cwd=state)
        print(PARTITIONS, "partitions made in", round(time.monotonic() - began), "s")
        ctl("start")
        yield f"thrift://127.0.0.1:{port}"
    finally:
        ctl("stop")
        shutil.rmtree(state, ignore_errors=True)


def month(at):
    return f"m{at // 1000:03}"


def ids(ats):
    return [at % LOCATIONS * ROWS + n for at in ats for n in range(ROWS)]


def peak(server):
    text = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def test_many_partitions(start, metastore):
    server, table = start(), f"many.{DATABASE}.many"
    at, low, high = PARTITIONS // 2 + 7, PARTITIONS // 4, PARTITIONS // 4 + 99
    everything = ids(range(PARTITIONS))
    cases = {
        "one": (f"SELECT sum(id), count(*), min(month), min(part) FROM {table} WHERE month = '{month(at)}' AND part = {at}",
                (sum(ids([at])), ROWS, month(at), at)),
        "range": (f"SELECT sum(id), count(*), min(part), max(part) FROM {table} WHERE part BETWEEN {low} AND {high}",
                  (sum(ids(range(low, high + 1))), 100 * ROWS, low, high)),
        "names": (f"SELECT count(*) FROM {table} WHERE month LIKE 'm%0' AND part % 100 = 5 AND id >= 0",
                  (sum(ROWS for at in range(PARTITIONS) if at // 1000 % 10 == 0 and at % 100 == 5),)),
        "count": (f"SELECT count(*) FROM {table}", (PARTITIONS * ROWS,)),
        "sum": (f"SELECT sum(id), count(DISTINCT month), max(part) FROM {table}",
                (sum(everything), len({month(at) for at in range(PARTITIONS)}), PARTITIONS - 1)),
    }
    figures = {}
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG many USING hive WITH (metastore = '{metastore}', timeout = '300s')")
        connection.execute("SELECT 1")
        before = peak(server)
        for name, (sql, expected) in cases.items():
            for again in ["", " again"]:
                began = time.monotonic()
                assert connection.execute(sql).fetchone() == expected, name
                figures[name + again] = round(time.monotonic() - began, 2)
                assert figures[name + again] < SECONDS[name], figures
        figures["MB"] = round(peak(server) - before)
        print(PARTITIONS, "partitions:", figures)
        plan = "\n".join(row[0] for row in connection.execute("EXPLAIN " + cases["range"][0]).fetchall())
        assert f"partitions: 100 of {PARTITIONS}" in plan, plan
    assert figures["MB"] < MEGABYTES, figures
