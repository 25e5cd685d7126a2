"""TPC-H's tables in four places: S3, a Hive table on HDFS, PostgreSQL and MariaDB."""

import io
import os
import pathlib
import re
import subprocess
import time
import urllib.parse

import psycopg
import pymysql
from botocore.exceptions import ClientError
from seeding.metastore import PARQUET, Metastore
from seeding.storage import Hdfs, s3_client

BUCKET = "bench"
# How many files a table on S3 or HDFS has.
FILES = {"lineitem": 4, "partsupp": 2, "orders": 2}
ON_S3 = ("lineitem", "partsupp")
IN_POSTGRES = ("region", "nation", "supplier", "customer")

COLUMNS = {
    "region": "r_regionkey bigint primary key, r_name varchar(25), r_comment varchar(152)",
    "nation": "n_nationkey bigint primary key, n_name varchar(25), n_regionkey bigint, n_comment varchar(152)",
    "supplier": "s_suppkey bigint primary key, s_name varchar(25), s_address varchar(40), s_nationkey bigint, s_phone varchar(15), "
                "s_acctbal decimal(15,2), s_comment varchar(101)",
    "customer": "c_custkey bigint primary key, c_name varchar(25), c_address varchar(40), c_nationkey bigint, c_phone varchar(15), "
                "c_acctbal decimal(15,2), c_mktsegment varchar(10), c_comment varchar(117)",
    "part": "p_partkey bigint primary key, p_name varchar(55), p_mfgr varchar(25), p_brand varchar(10), p_type varchar(25), p_size int, "
            "p_container varchar(10), p_retailprice decimal(15,2), p_comment varchar(23)",
    "partsupp": "ps_partkey bigint, ps_suppkey bigint, ps_availqty int, ps_supplycost decimal(15,2), ps_comment string",
    "orders": "o_orderkey bigint, o_custkey bigint, o_orderstatus string, o_totalprice decimal(15,2), o_orderdate date, "
              "o_orderpriority string, o_clerk string, o_shippriority int, o_comment string",
    "lineitem": "l_orderkey bigint, l_partkey bigint, l_suppkey bigint, l_linenumber int, l_quantity decimal(15,2), "
                "l_extendedprice decimal(15,2), l_discount decimal(15,2), l_tax decimal(15,2), l_returnflag string, l_linestatus string, "
                "l_shipdate date, l_commitdate date, l_receiptdate date, l_shipinstruct string, l_shipmode string, l_comment string",
}


def schema(scale):
    """The name of everything that is made: a database, a schema, a folder. One for each scale."""
    return "bench_tpch_" + re.sub(r"\W", "_", scale)


def generate(program, folder, scale):
    """Parquet for the lakes, text for the databases."""
    if (folder / ".complete").exists():
        return
    for table, files in FILES.items():
        subprocess.run([program, "parquet", "-s", scale, "-o", folder, "-T", table, "-p", str(files), "--row-group-bytes", "32MB",
                        "--overwrite", "-q"], check=True)
    subprocess.run([program, "tbl", "-s", scale, "-o", folder, "-T", ",".join([*IN_POSTGRES, "part"]), "--overwrite", "-q"], check=True)
    (folder / ".complete").touch()


def load(folder, scale):
    """Fills the services, unless they were filled before. Which they were is told by a comment of the database in PostgreSQL,
    which is written last."""
    name = schema(scale)
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as postgres:
        if complete(postgres, name) and made(name, f"{name}/lineitem/"):
            return
        to_s3(folder, name)
        to_hive(folder, name)
        to_mariadb(folder, name)
        to_postgres(postgres, folder, name)
        postgres.execute(f"COMMENT ON SCHEMA {name} IS 'complete'")


def complete(postgres, name):
    done = postgres.execute("SELECT obj_description(to_regnamespace(%s)::oid, 'pg_namespace')", (name,)).fetchone()[0]
    return done == "complete"


def made(name, prefix):
    """Whether the other services still have what was made: each can be wiped alone."""
    try:
        listed = s3_client().list_objects_v2(Bucket=BUCKET, Prefix=prefix, MaxKeys=1)
    except ClientError:
        return False
    with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore, mariadb().cursor() as cursor:
        known = metastore.client.get_all_databases()
        there = cursor.execute("SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", (name,))
    return bool(listed.get("Contents")) and name in known and there > 0 and Hdfs().exists(f"/user/bench/{name}")


def mariadb():
    url = urllib.parse.urlsplit(os.environ["MARU_TEST_MYSQL"])
    return pymysql.connect(host=url.hostname, port=url.port, user=url.username, password=url.password, autocommit=True, charset="utf8mb4")


def files_of(folder, table):
    return sorted((folder / table).glob("*.parquet"))


def to_s3(folder, name):
    client = s3_client()
    if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=BUCKET)
    for table in ON_S3:
        for path in files_of(folder, table):
            client.upload_file(str(path), BUCKET, f"{name}/{table}/{path.name}")


def to_hive(folder, name):
    hdfs = Hdfs()
    base = f"/user/bench/{name}"
    hdfs.delete(base)
    for path in files_of(folder, "orders"):
        hdfs.put(f"{base}/orders/{path.name}", path.read_bytes())
    with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore:
        metastore.drop_database(name)
        metastore.create_database(name, os.environ["MARU_TEST_HDFS"] + base, "TPC-H", {})
        metastore.create_table(name, "orders", f"{os.environ['MARU_TEST_HDFS']}{base}/orders", hive_columns("orders"), PARQUET)


def hive_columns(table):
    return [tuple(column.strip().split(" ", 1)) for column in re.split(r",(?![^(]*\))", COLUMNS[table])]


def text_of(folder, table):
    """tpchgen-cli ends each line with a delimiter that no loader wants."""
    return io.BytesIO((folder / f"{table}.tbl").read_bytes().replace(b"|\n", b"\n"))


def to_postgres(postgres, folder, name):
    postgres.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
    postgres.execute(f"CREATE SCHEMA {name}")
    for table in IN_POSTGRES:
        postgres.execute(f"CREATE TABLE {name}.{table} ({COLUMNS[table]})")
        with postgres.cursor() as cursor, cursor.copy(f"COPY {name}.{table} FROM STDIN (DELIMITER '|')") as copy:
            copy.write(text_of(folder, table).read())
        postgres.execute(f"VACUUM ANALYZE {name}.{table}")


def to_mariadb(folder, name):
    with mariadb() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
        cursor.execute(f"CREATE TABLE {name}.part ({COLUMNS['part']})")
        rows = [line.split("|") for line in text_of(folder, "part").read().decode().splitlines()]
        for start in range(0, len(rows), 5000):
            cursor.executemany(f"INSERT INTO {name}.part VALUES ({','.join(['%s'] * 9)})", rows[start:start + 5000])
        cursor.execute(f"ANALYZE TABLE {name}.part PERSISTENT FOR ALL")


def shell(work, *arguments):
    """`hdfs dfs`, and the milliseconds it took."""
    conf = work / "hdfs-conf"
    conf.mkdir(exist_ok=True)
    (conf / "core-site.xml").write_text("<configuration/>")
    jars = pathlib.Path(os.environ.get("MARU_TEST_CACHE", pathlib.Path.home() / ".cache/maru")) / "services/hdfs/*"
    start = time.perf_counter()
    subprocess.run(["java", "-Xmx512m", "-cp", f"{conf}:{jars}", "org.apache.hadoop.fs.FsShell", *arguments], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000
