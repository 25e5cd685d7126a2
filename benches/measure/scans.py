"""How fast whole files are read from S3 and HDFS, beside what the servers give to a program that throws the bytes away."""

import os
import statistics
import subprocess
import time
import urllib.parse

import boto3
from botocore.config import Config
from seeding.storage import Hdfs, s3_client

from measure import lake
from measure.engines import Maru
from measure.proxy import Proxy

AIM = 0.9
# A network of 1 Gbit/s, about what a machine gets of an object store in another rack.
LINK_BYTES_PER_S = 125_000_000
KINDS = {"parquet": "lineitem", "csv": "lineitem_csv"}
# Every value of every column is read and counts.
SUMS = ("sum(l_orderkey), sum(l_partkey), sum(l_suppkey), sum(l_linenumber), sum(l_quantity), sum(l_extendedprice), sum(l_discount), "
        "sum(l_tax), max(l_returnflag), max(l_linestatus), max(l_shipdate), max(l_commitdate), max(l_receiptdate), "
        "max(l_shipinstruct), max(l_shipmode), max(l_comment)")


def run(arguments):
    folder, schema = arguments.cache / f"federated-{arguments.scale}", lake.schema(arguments.scale)
    folder.mkdir(parents=True, exist_ok=True)
    lake.generate(arguments.tpchgen, folder, arguments.scale)
    lake.load(folder, arguments.scale)
    files = fill(arguments, folder, schema)
    figures = {"scale": arguments.scale, "threads": arguments.threads, "repeats": arguments.repeats, "aim": AIM,
               "link_bytes_per_s": LINK_BYTES_PER_S, "scans": {}, "wrong": []}
    s3 = urllib.parse.urlsplit(os.environ["MARU_TEST_S3"])
    with Proxy(s3.hostname, s3.port, LINK_BYTES_PER_S) as proxy, Maru(arguments.bin / "maru", arguments.work, arguments.threads, schema) as maru:
        keys = (f"access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}'")
        maru.run(f"CREATE CATALOG far USING s3 WITH (bucket = '{lake.BUCKET}', prefix = '{schema}', layout = 'tables', "
                 f"endpoint = 'http://127.0.0.1:{proxy.port}', {keys})")
        maru.run(f"CREATE CATALOG depot USING hdfs WITH (url = '{os.environ['MARU_TEST_HDFS']}/user/bench/{schema}', layout = 'tables')")
        for kind, table in KINDS.items():
            n_bytes = sum(path.stat().st_size for path in files[kind])
            names = [f"{table}/{path.name}" for path in files[kind]]
            for place, catalog, raw in [
                ("s3", "lake", lambda: gets(os.environ["MARU_TEST_S3"], schema, names, arguments.threads)),
                ("s3 behind 1 Gbit/s", "far", lambda: gets(f"http://127.0.0.1:{proxy.port}", schema, names, arguments.threads)),
                ("hdfs", "depot", lambda: cat(arguments.work, schema, names)),
            ]:
                scan = {"sums": f"SELECT {SUMS} FROM {catalog}.public.{table}", "count": f"SELECT count(*) FROM {catalog}.public.{table}"}
                if kind == "parquet":
                    # Footers know the number of rows.
                    del scan["count"]
                record = one(maru, raw, scan, arguments.repeats)
                figures["scans"][f"{kind}, {place}"] = {"bytes": n_bytes} | record
    return figures


def fill(arguments, folder, schema):
    """A quarter of `lineitem` as CSV, too, and both on HDFS."""
    if not (folder / ".complete-csv").exists():
        for part in range(1, 5):
            subprocess.run([arguments.tpchgen, "csv", "-s", arguments.scale, "-o", folder / "csv", "-T", "lineitem", "-p", "16", "--part", str(part),
                            "--overwrite", "-q"], check=True)
        (folder / ".complete-csv").touch()
    files = {"parquet": lake.files_of(folder, "lineitem"), "csv": sorted((folder / "csv/lineitem").glob("*.csv"))}
    client, hdfs = s3_client(), Hdfs()
    there = {entry["Key"] for entry in client.list_objects_v2(Bucket=lake.BUCKET, Prefix=f"{schema}/").get("Contents", [])}
    for kind, table in KINDS.items():
        for path in files[kind]:
            if f"{schema}/{table}/{path.name}" not in there:
                client.upload_file(str(path), lake.BUCKET, f"{schema}/{table}/{path.name}")
            if not hdfs.exists(f"/user/bench/{schema}/{table}/{path.name}"):
                hdfs.put(f"/user/bench/{schema}/{table}/{path.name}", path.read_bytes())
    return files


def one(maru, raw, scans, repeats):
    """Turns of reading the bytes alone and of Maru's scans; the first turn warms up."""
    record = {"raw_ms": [], **{name: [] for name in scans}}
    for turn in range(repeats + 1):
        times = {"raw_ms": raw()} | {name: maru.timed(sql)[1]["total_ms"] for name, sql in scans.items()}
        if turn:
            for name, ms in times.items():
                record[name].append(ms)
    return record


def gets(endpoint, schema, names, processes):
    """GETs of whole objects by as many curls as Maru has threads, each with several connections."""
    signed = [presigned(endpoint, f"{schema}/{name}") for name in names]
    start = time.perf_counter()
    curl = ["curl", "-s", "--no-progress-meter", "--fail", "--parallel"]
    running = [subprocess.Popen(curl + sum((["-o", "/dev/null", url] for url in signed[at::processes]), []))
               for at in range(min(processes, len(signed)))]
    codes = [process.wait() for process in running]
    if any(codes):
        raise SystemExit(f"curl ended with {codes}")
    return (time.perf_counter() - start) * 1000


def presigned(endpoint, key):
    """A signature holds for the host it was made for."""
    client = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=os.environ["MARU_TEST_S3_ACCESS_KEY"],
                          aws_secret_access_key=os.environ["MARU_TEST_S3_SECRET_KEY"], region_name="us-east-1",
                          config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"))
    return client.generate_presigned_url("get_object", {"Bucket": lake.BUCKET, "Key": key})


def cat(work, schema, names):
    """`hdfs dfs -cat` without the start of its JVM, which looking for a folder takes as well."""
    base = f"{os.environ['MARU_TEST_HDFS']}/user/bench/{schema}"
    whole = lake.shell(work, "-cat", *(f"{base}/{name}" for name in names))
    # Of a try with a little data nothing would be left.
    return max(whole - lake.shell(work, "-test", "-e", base), whole / 10)


def table(figures):
    lines = ["| read | MiB | raw MiB/s | Maru MiB/s | Maru / raw (aim: 0.9) |", "|---|--:|--:|--:|--:|"]
    texts = {"sums": "all columns summed", "count": "rows counted"}
    for name, scan in figures["scans"].items():
        mib = scan["bytes"] / (1 << 20)
        raw = mib / statistics.median(scan["raw_ms"]) * 1000
        for key, text in texts.items():
            if key in scan:
                speed = mib / statistics.median(scan[key]) * 1000
                lines.append(f"| {name}, {text} | {mib:.0f} | {raw:.0f} | {speed:.0f} | {speed / raw:.2f} |")
    return "\n".join(lines)
