"""How long a plan takes where there is much to choose from: partitions, tables, objects. Nothing is run: EXPLAIN is timed."""

import io
import os
import pathlib
import statistics
import subprocess

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from hive_metastore.ttypes import Partition
from seeding.metastore import PARQUET, Metastore
from seeding.storage import Hdfs

from measure import lake
from measure.engines import Maru, service
from measure.proxy import Proxy
from measure.report import HERE

AIM_MS = 200
NAME = "bench_many"
PARTITIONS, TABLES, OBJECTS_PER_PARTITION = 10_000, 1_000, 1_000
COLUMNS = [("id", "bigint"), ("name", "string")]


def run(arguments):
    few = arguments.scale != "1"
    partitions, tables, per_partition = (100, 20, 10) if few else (PARTITIONS, TABLES, OBJECTS_PER_PARTITION)
    name = NAME + ("_try" if few else "")
    make(arguments.work, name, partitions, tables, per_partition)
    s3, postgres, mysql = service("MARU_TEST_S3"), service("MARU_TEST_PG"), service("MARU_TEST_MYSQL")
    figures = {"aim_ms": AIM_MS, "partitions": partitions, "tables": tables, "objects": partitions // 10 * per_partition, "plans": {},
               "wrong": []}
    with Proxy(s3.hostname, s3.port) as proxy, Maru(arguments.bin / "maru", arguments.work, arguments.threads) as maru:
        for statement in [
            f"CREATE CATALOG many_hive USING hive WITH (metastore = '{os.environ['MARU_TEST_HMS3']}')",
            f"CREATE CATALOG many_s3 USING s3 WITH (bucket = '{lake.BUCKET}', prefix = '{name}', layout = 'tables', "
            f"endpoint = 'http://127.0.0.1:{proxy.port}', access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', "
            f"secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}')",
            f"CREATE CATALOG many_pg USING postgres WITH (url = 'postgres://{postgres.hostname}:{postgres.port}{postgres.path}', "
            f"user = '{postgres.username}', password = '{postgres.password}', tls = 'disable')",
            f"CREATE CATALOG many_mysql USING mysql WITH (url = 'mysql://{mysql.hostname}:{mysql.port}/{name}', user = '{mysql.username}', "
            f"password = '{mysql.password}', tls = 'disable')",
        ]:
            maru.run(statement)
        for told, sql in plans(name, partitions, tables).items():
            proxy.reset()
            try:
                _, first = maru.timed("EXPLAIN " + sql)
                requests = proxy.requests
                runs = [maru.timed("EXPLAIN " + sql)[1] for _ in range(max(3, arguments.repeats))]
            except psycopg.Error as error:
                figures["wrong"].append(f"{told}: {error}")
                continue
            figures["plans"][told] = {"sql": sql, "first_ms": first["total_ms"], "first_requests": requests,
                                      "requests": (proxy.requests - requests) / len(runs), "runs_ms": [run["total_ms"] for run in runs]}
    return figures


def plans(name, partitions, tables):
    """What is planned, by how it is called in the table."""
    hive, s3 = f"many_hive.{name}.parted", "many_s3.public.parted"
    half = f"{partitions // 2:05}"
    million = f"{partitions // 20:04}"
    result = {}
    for place, table in (("Hive", hive), ("S3", s3)):
        result[f"{place}, {partitions:,} partitions: one of them"] = f"SELECT count(*) FROM {table} WHERE part = 'p{half}'"
        result[f"{place}, {partitions:,} partitions: a hundredth"] = f"SELECT count(*) FROM {table} WHERE part LIKE 'p{half[:3]}%' AND id > 0"
        result[f"{place}, {partitions:,} partitions: all"] = f"SELECT sum(id) FROM {table}"
    result["S3, 1,000,000 objects in 1,000 partitions: one of them"] = f"SELECT sum(id) FROM many_s3.public.million WHERE part = 'p{million}'"
    for place, schema in (("PostgreSQL", f"many_pg.{name}"), ("MariaDB", f"many_mysql.{name}"), ("Hive", f"many_hive.{name}"),
                          ("S3", "many_s3.public")):
        a, b = f"{schema}.t0001", f"{schema}.t{tables // 2:04}"
        result[f"{place}, {tables:,} tables: a join of two"] = f"SELECT count(*) FROM {a} a JOIN {b} b ON a.id = b.id WHERE a.name = 'x'"
    return result


def one_row():
    out = io.BytesIO()
    pq.write_table(pa.table({"id": pa.array([1], pa.int64()), "name": ["x"]}), out)
    return out.getvalue()


def make(work, name, partitions, tables, per_partition):
    """Makes everything once; that it is complete is told by a comment in PostgreSQL, which comes last."""
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as postgres:
        if lake.complete(postgres, name) and lake.made(name, f"{name}/million/"):
            return
        make_s3(name, partitions, tables, per_partition)
        make_hive(work, name, partitions, tables)
        with lake.mariadb() as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name}")
            cursor.execute(f"CREATE DATABASE {name}")
            for at in range(tables):
                cursor.execute(f"CREATE TABLE {name}.t{at:04} (id bigint primary key, name varchar(20))")
        postgres.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
        postgres.execute(f"CREATE SCHEMA {name}")
        for at in range(tables):
            postgres.execute(f"CREATE TABLE {name}.t{at:04} (id bigint primary key, name text)")
        postgres.execute(f"COMMENT ON SCHEMA {name} IS 'complete'")


def make_s3(name, partitions, tables, per_partition):
    """The server keeps an object as a file: links to some thousand files are a million objects, and cost next to nothing."""
    state = subprocess.run(["bash", "-c", "source tests/services/common.sh; echo $STATE"], cwd=HERE.parent, capture_output=True, text=True, check=True)
    root = pathlib.Path(state.stdout.strip()) / "s3/data" / lake.BUCKET
    root.mkdir(exist_ok=True)
    base = root / name
    base.mkdir(exist_ok=True)
    for at in range(partitions):
        linked(base / f"parted/part=p{at:05}/data.parquet", base / f".row-{at // 1000}")
    for part in range(partitions // 10):
        for at in range(per_partition):
            # A file may have no more than 65,000 links.
            linked(base / f"million/part=p{part:04}/{at:06}.parquet", base / f".lot-{part // 50}", exist_ok=at > 0)
    for at in range(tables):
        linked(base / f"t{at:04}/data.parquet", base / f".tables-{at // 1000}")


def linked(path, original, exist_ok=False):
    if not original.exists():
        original.write_bytes(one_row())
    if not exist_ok:
        path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        os.link(original, path)


def make_hive(work, name, partitions, tables):
    hdfs, base = Hdfs(), f"/user/bench/{name}"
    body, root = one_row(), os.environ["MARU_TEST_HDFS"] + base
    hdfs.delete(base)
    hdfs.put(f"{base}/tables/data.parquet", body)
    for at in range(partitions):
        linked(work / f"parted/part=p{at:05}/data.parquet", work / f"row-{at // 1000}")
    # One by one over HTTP they would take a quarter of an hour.
    lake.shell(work, "-put", "-t", "8", str(work / "parted"), root)
    with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore:
        metastore.drop_database(name)
        metastore.create_database(name, root, "many", {})
        for at in range(tables):
            metastore.create_table(name, f"t{at:04}", f"{root}/tables", COLUMNS, PARQUET)
        metastore.create_table(name, "parted", f"{root}/parted", COLUMNS, PARQUET, [("part", "string")])
        for start in range(0, partitions, 500):
            metastore.client.add_partitions([
                Partition(values=[f"p{at:05}"], dbName=name, tableName="parted", createTime=0, lastAccessTime=0, parameters={},
                          sd=Metastore.storage(f"{root}/parted/part=p{at:05}", COLUMNS, PARQUET))
                for at in range(start, min(start + 500, partitions))])


def table(figures):
    lines = [f"| planned | the first time | warm (aim: {figures['aim_ms']} ms) | requests to S3 the first time | warm |", "|---|--:|--:|--:|--:|"]
    for told, plan in figures["plans"].items():
        asked = [f"{plan['first_requests']:,}", f"{plan['requests']:,.0f}"] if "S3" in told else ["", ""]
        lines.append(f"| {told} | {plan['first_ms']:.0f} ms | {statistics.median(plan['runs_ms']):.0f} ms | {asked[0]} | {asked[1]} |")
    return "\n".join(lines)
