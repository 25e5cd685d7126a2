"""The mission's batch on S3, Hive on HDFS, PostgreSQL and MariaDB, beside pandas; the examples of the guide to cleaning."""

import datetime
import json
import math
import os
import re
import subprocess
import uuid

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT

SIZE = {"lines": 20_000, "calls": 12_000, "customers": 400}
PIECES = 2
def in_pandas(folder, lines, calls, customers):
    """What the batch makes, computed another way by a program of its own: a row for each day, region and grade."""
    pq.write_table(pa.table({"line": lines}), folder / "lines.parquet")
    pq.write_table(calls, folder / "calls.parquet")
    pq.write_table(customers, folder / "customers.parquet")
    done = subprocess.run([ROOT / "tests/services/clients", "python", ROOT / "tests/e2e/clients/batch_in_pandas.py", folder],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    return result["columns"], [[datetime.date.fromisoformat(row[0]), *row[1:]] for row in result["rows"]]


def split(script):
    """The statements of a script; what stands between dollars is one."""
    text = "\n".join(line for line in script.splitlines() if not line.startswith("--"))
    pieces, statements = text.split("$$"), [""]
    for index, piece in enumerate(pieces):
        if index % 2:
            statements[-1] += f"$${piece}$$"
            continue
        first, *more = piece.split(";")
        statements[-1] += first
        statements += more
    return [statement.strip() for statement in statements if statement.strip()]


@pytest.mark.services
@pytest.mark.timeout(600)
def test_the_mission(start, tmp_path):
    from seeding import batch
    from seeding.metastore import PARQUET, Metastore
    from seeding.storage import Hdfs, parquet_bytes, s3_client, s3_fresh_bucket
    from test_write_databases import MariaDb, Postgres

    name = "d_batch_" + uuid.uuid4().hex[:8]
    s3, hdfs, database, mart = s3_client(), Hdfs(), Postgres(None), MariaDb(None)
    bucket, base = name.replace("_", "-"), f"/user/batch/{name}"
    customers = batch.customers(SIZE["customers"])
    calls = [batch.calls(piece, SIZE["calls"] // PIECES, SIZE["customers"]) for piece in range(PIECES)]
    lines = [batch.lines(piece, SIZE["lines"] // PIECES, SIZE["customers"]) for piece in range(PIECES)]
    columns, expected = in_pandas(tmp_path, [line for piece in lines for line in piece], pa.concat_tables(calls), customers)
    assert len(expected) == batch.DAYS * len(batch.REGIONS) * len(batch.GRADES)
    assert sum(row[columns.index("outliers")] for row in expected) > 0
    s3_fresh_bucket(s3, bucket)
    for piece in range(PIECES):
        s3.put_object(Bucket=bucket, Key=f"logs/access-{piece}.log", Body="\n".join(lines[piece]).encode())
        hdfs.put(f"{base}/calls/part-{piece}.parquet", parquet_bytes(calls[piece]))
    hdfs.make_folder(base)
    of_calls = [("call_id", "bigint"), ("caller", "string"), ("started", "timestamp"), ("seconds", "string"), ("fee", "string"), ("loaded", "bigint")]
    metastore_url, hdfs_url = os.environ["MARU_TEST_HMS3"], os.environ["MARU_TEST_HDFS"]
    with Metastore(metastore_url) as metastore:
        metastore.create_database(name, hdfs_url + base, "the batch", {})
        metastore.create_table(name, "calls", f"{hdfs_url}{base}/calls", of_calls, PARQUET)
    database.run(f"CREATE SCHEMA {name}", f"CREATE TABLE {name}.customers (id bigint PRIMARY KEY, name text, phone text, region text, grade text)")
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as direct, direct.cursor() as cursor:
        with cursor.copy(f"COPY {name}.customers FROM STDIN") as copy:
            for row in customers.select(["id", "name", "phone", "region", "grade"]).to_pylist():
                copy.write_row(tuple(row.values()))
    mart.run(f"CREATE DATABASE {name}")
    try:
        with start().connect() as connection:
            keys = f"access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}'"
            connection.execute(f"CREATE CATALOG icos USING s3 WITH (bucket = '{bucket}', endpoint = '{os.environ['MARU_TEST_S3']}', {keys})")
            connection.execute(f"CREATE CATALOG hive USING hive WITH (metastore = '{metastore_url}')")
            for catalog in (database, mart):
                connection.execute(catalog.catalog())
            script = (ROOT / "sql/scripts/batch_pipeline.sql").read_text()
            for variable, value in {"weblogs": f"s3://{bucket}/logs/", "calls": f"hive.{name}.calls", "customers": f"w_pg.{name}.customers",
                                    "lake": "icos.mart", "warehouse": f"hive.{name}", "mart": f"w_my.{name}"}.items():
                script = script.replace("${" + variable + "}", value)
            connection.execute("CREATE SCHEMA icos.mart")
            for again in range(2):
                for statement in split(script):
                    steps = connection.execute(statement)
                steps = {step: (state, rows, error) for step, state, rows, error in steps.fetchall()}
                assert len(steps) == 12 and all(state == "succeeded" for state, _, _ in steps.values()), steps
                for target in ("icos.mart", f"hive.{name}", f"w_my.{name}"):
                    found = connection.execute(f"SELECT {', '.join(columns)} FROM {target}.usage_by_region").fetchall()
                    found = sorted(found, key=lambda row: row[:3])
                    assert [list(row[:3]) for row in found] == [row[:3] for row in expected], target
                    for mine, other in zip(found, expected):
                        assert all(math.isclose(float(a), float(b), rel_tol=1e-9) for a, b in zip(mine[3:], other[3:])), (target, mine, other)
            # What MariaDB has is there for MariaDB's own clients.
            assert mart.run(f"SELECT count(*), sum(views) FROM {name}.usage_by_region")[0] == (len(expected), sum(row[columns.index("views")] for row in expected))
            targets = connection.execute("SELECT DISTINCT target FROM system.lineage WHERE pipeline = 'usage'").fetchall()
            assert {f"w_my.{name}.usage_by_region", f"hive.{name}.usage_by_region", "icos.mart.usage_by_region"} <= {target for target, in targets}
    finally:
        mart.run(f"DROP DATABASE {name}")
        database.run(f"DROP SCHEMA {name} CASCADE")
        with Metastore(metastore_url) as metastore:
            metastore.drop_database(name)
        hdfs.delete(base)
        s3_fresh_bucket(s3, bucket)
        s3.delete_bucket(Bucket=bucket)


def test_the_examples_of_the_guide(start):
    text = (ROOT / "docs/cleaning.md").read_text()
    blocks = re.findall(r"```sql\n(.*?)```(?:\n+```text\n(.*?)```)?", text, re.S)
    assert len(blocks) >= 8
    shown = 0
    with start().connect() as connection:
        for block, expected in blocks:
            cursor = None
            for statement in block.split(";\n"):
                if statement.strip():
                    cursor = connection.execute(statement)
            if expected:
                rows = [" | ".join("NULL" if value is None else plain(value) for value in row) for row in cursor.fetchall()]
                assert rows == expected.splitlines(), block
                shown += 1
    assert shown >= 6


def plain(value):
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
