"""python -m seeding [--again]: fills the services that the MARU_TEST_… variables name."""

import hashlib
import io
import json
import os
import pathlib
import sys

import pyarrow as pa
import pyarrow.orc

from . import data, databases
from .metastore import ORC, PARQUET, TEXT, Metastore
from .storage import Hdfs, parquet_bytes, s3_client, s3_fresh_bucket

# Kept in every service: a later run with the same text of this package finds its work done.
VERSION = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(pathlib.Path(__file__).parent.glob("*.py")))).hexdigest()[:16]
WAREHOUSE = "/user/hive/warehouse"
DEMO = WAREHOUSE + "/demo.db"

LOG_COLUMNS = [("url", "string"), ("customer_id", "bigint"), ("call_type", "string"), ("seconds", "int"), ("at", "timestamp")]
TEXT_COLUMNS = [("id", "bigint"), ("name", "string"), ("grade", "string"), ("joined", "date"), ("balance", "decimal(10,2)"),
                ("active", "boolean"), ("score", "double"), ("seen", "timestamp")]
TAGGED_COLUMNS = [("id", "bigint"), ("name", "string")]


def seed_s3(again):
    client = s3_client()
    bucket = "weblogs"
    try:
        done = client.get_object(Bucket=bucket, Key="seed/version")["Body"].read().decode() == VERSION
    except client.exceptions.ClientError:
        done = False
    if done and not again:
        return False
    s3_fresh_bucket(client, bucket)
    for name, table in data.weblogs():
        body = parquet_bytes(table, row_group_size=1000, compression="zstd")
        client.put_object(Bucket=bucket, Key=f"2026/{name}", Body=body)
    # What other writers leave behind and readers must pass over.
    client.put_object(Bucket=bucket, Key="2026/_SUCCESS", Body=b"")
    client.put_object(Bucket=bucket, Key="2026/.access-2026-11-07.parquet.tmp", Body=b"half a file")
    # The same rows as lines of text, and rows that are not right.
    lines = [dict(row, ts=row["ts"].isoformat()) for row in data.weblogs()[0][1].slice(0, 100).to_pylist()]
    client.put_object(Bucket=bucket, Key="json/part-0.jsonl", Body="".join(json.dumps(l, ensure_ascii=False) + "\n" for l in lines).encode())
    client.put_object(Bucket=bucket, Key="csv/part-0.csv", Body=b"id,name,amount\n1,one,1.50\n2,,\n3,\"three, 3\",-3.25\n")
    client.put_object(Bucket=bucket, Key="bad/long-line.csv", Body=b"id,name\n1,one\n2,two,too many\n")
    client.put_object(Bucket=bucket, Key="bad/corrupt.parquet", Body=b"PAR1 this is no Parquet file PAR1")
    client.put_object(Bucket=bucket, Key="seed/version", Body=VERSION.encode())
    return True


def hive_text(rows, delimiter):
    """Hive's own text: \\N for NULL; nothing is quoted."""
    return "".join(delimiter.join("\\N" if v is None else str(v) for v in row) + "\n" for row in rows).encode()


def orc_bytes(table):
    out = io.BytesIO()
    pa.orc.write_table(table, out)
    return out.getvalue()


def seed_hdfs(again):
    hdfs = Hdfs()
    marker = "/user/hive/.maru-seed"
    if not again and hdfs.exists(marker) and hdfs.get(marker).decode() == VERSION:
        return False
    hdfs.make_folder("/tmp", "1777")
    hdfs.make_folder(WAREHOUSE)
    hdfs.make_folder("/user/hive/external")
    hdfs.make_folder("/user/hive/managed")
    hdfs.delete(DEMO)
    hdfs.make_folder(DEMO)
    for day, table in data.call_log().items():
        hdfs.put(f"{DEMO}/log/dt={day}/000000_0", parquet_bytes(table))
    # An empty partition directory, and one that the metastore does not know.
    hdfs.make_folder(f"{DEMO}/log/dt=2026-11-04")
    hdfs.put(f"{DEMO}/log/dt=1999-01-01/000000_0", parquet_bytes(next(iter(data.call_log().values()))))
    for tag, table in data.tagged().items():
        hdfs.put(f"{DEMO}/tagged/{data.TAGS[tag]}/part-0.parquet", parquet_bytes(table))
    hdfs.put(f"{DEMO}/log_text/000000_0", hive_text(data.text_rows()[:3], ","))
    hdfs.put(f"{DEMO}/log_text/000001_0", hive_text(data.text_rows()[3:], ","))
    hdfs.put(f"{DEMO}/log_text/_SUCCESS", b"")
    hdfs.put(f"{DEMO}/log_ctrl_a/000000_0", hive_text(data.text_rows(), "\x01"))
    hdfs.put(f"{DEMO}/log_orc/000000_0", orc_bytes(data.call_log()[data.DAYS[0]]))
    # Plain files for `USING hdfs`.
    hdfs.delete("/data")
    hdfs.make_folder("/data")
    hdfs.put("/data/calls/calls.parquet", parquet_bytes(pa.concat_tables(data.call_log().values())))
    hdfs.put("/data/csv/part-0.csv", b"id,name,amount\n1,one,1.50\n2,,\n3,\"three, 3\",-3.25\n")
    hdfs.put("/data/days/dt=2026-11-01/a.parquet", parquet_bytes(data.call_log()["2026-11-01"]))
    hdfs.put("/data/days/dt=2026-11-02/a.parquet", parquet_bytes(data.call_log()["2026-11-02"]))
    hdfs.put(marker, VERSION.encode())
    return True


def seed_hive(url, again):
    base = os.environ["MARU_TEST_HDFS"] + DEMO
    with Metastore(url) as m:
        if not again and m.database_parameters("demo").get("maru.seed") == VERSION:
            return False
        m.drop_database("demo")
        m.create_database("demo", base, "customer calls", {})
        m.create_table("demo", "log", f"{base}/log", LOG_COLUMNS, PARQUET, [("dt", "string")], parameters={"comment": "calls by day"})
        for day in [*data.DAYS, "2026-11-04"]:
            m.add_partition("demo", "log", [day], f"{base}/log/dt={day}", LOG_COLUMNS, PARQUET)
        m.create_table("demo", "tagged", f"{base}/tagged", TAGGED_COLUMNS, PARQUET, [("tag", "string")])
        for tag, folder in data.TAGS.items():
            value = "__HIVE_DEFAULT_PARTITION__" if tag is None else tag
            m.add_partition("demo", "tagged", [value], f"{base}/tagged/{folder}", TAGGED_COLUMNS, PARQUET)
        m.create_table("demo", "log_text", f"{base}/log_text", TEXT_COLUMNS, TEXT,
                       serde_parameters={"field.delim": ",", "serialization.format": ",", "serialization.null.format": "\\N"})
        # Hive's defaults: fields end with \x01, NULL is \N, and the table says neither.
        m.create_table("demo", "log_ctrl_a", f"{base}/log_ctrl_a", TEXT_COLUMNS, TEXT, serde_parameters={"serialization.format": "1"})
        m.create_table("demo", "log_orc", f"{base}/log_orc", LOG_COLUMNS, ORC)
        m.create_view("demo", "log_by_url", [("url", "string"), ("calls", "bigint")],
                      "SELECT `log`.`url`, count(*) AS `calls` FROM `demo`.`log` GROUP BY `log`.`url`")
        # The mark comes last: a run that was cut off before is done again.
        database = m.client.get_database("demo")
        database.parameters = {**(database.parameters or {}), "maru.seed": VERSION}
        m.client.alter_database("demo", database)
    return True


def main():
    again = "--again" in sys.argv[1:]
    for name, run in [
        ("s3", seed_s3),
        ("hdfs", seed_hdfs),
        ("hms3", lambda again: seed_hive(os.environ["MARU_TEST_HMS3"], again)),
        ("hms4", lambda again: seed_hive(os.environ["MARU_TEST_HMS4"], again)),
        ("postgres", lambda again: databases.seed_postgres(VERSION, again)),
        ("mariadb", lambda again: databases.seed_mariadb(VERSION, again)),
    ]:
        if run(again):
            print(f"services: {name} seeded", file=sys.stderr)


main()
