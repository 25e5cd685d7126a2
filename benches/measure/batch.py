"""The mission's batch at size: web logs on S3, call records in Hive on HDFS, customers in PostgreSQL, cleaned, joined, summed up and loaded
into S3, Hive and MariaDB. Maru runs `sql/scripts/batch_pipeline.sql` as a pipeline; Spark the same steps in its own SQL.

At scale 1 there are 20,000,000 lines, 20,000,000 calls and 1,000,000 customers. The services of tests/services must be up; the data are made
once for each scale and kept there. `--only maru` leaves Spark out.
"""

import itertools
import math
import os
import pathlib
import re
import statistics
import sys
import time

import psycopg
import pymysql
from seeding import batch as data
from seeding.metastore import PARQUET, Metastore
from seeding.storage import Hdfs, parquet_bytes, s3_client, s3_fresh_bucket

from measure.engines import Maru, Spark, service
from measure.report import HERE

LINES, CALLS, CUSTOMERS = 20_000_000, 20_000_000, 1_000_000
PIECE = 250_000
SPEED_AIM, MEMORY_AIM = 4, 0.25
# Maru once more with that much memory for all it does, and what the whole process may take then.
LIMIT, WITHIN = "1GB", 1_500_000_000
SCRIPT = HERE.parent / "sql/scripts/batch_pipeline.sql"
CALL_COLUMNS = [("call_id", "bigint"), ("caller", "string"), ("started", "timestamp"), ("seconds", "string"), ("fee", "string"), ("loaded", "bigint")]


def run(arguments):
    scale = float(arguments.scale)
    sizes = {"lines": max(int(LINES * scale), 1000), "calls": max(int(CALLS * scale), 1000), "customers": max(int(CUSTOMERS * scale), 100)}
    name = "bench_batch_" + re.sub(r"\W", "_", arguments.scale)
    load(name, sizes, arguments.cache / f"{name}.complete")
    figures = {"scale": arguments.scale, "threads": arguments.threads, "sizes": sizes, "aims": {"speed": SPEED_AIM, "memory": MEMORY_AIM},
               "engines": {}, "wrong": []}
    answers = {}
    for engine in [OfMaru, OfMaruWithin, OfSpark]:
        if arguments.only and engine.name not in arguments.only.split(","):
            continue
        # One after the other, each alone on the machine.
        runs, answers[engine.name] = measured(engine, arguments, name)
        figures["engines"][engine.name] = {"runs": runs, "s": statistics.median(r["s"] for r in runs), "peak_bytes": max(r["peak_bytes"] for r in runs)}
        long = ", ".join(f"{step} {ms / 1000:.1f}" for step, ms in runs[-1]["steps"].items() if ms > 500)
        print(f"{engine.name}: {figures['engines'][engine.name]['s']:.1f} s ({long})", file=sys.stderr, flush=True)
    for one, other in itertools.pairwise(answers):
        figures["wrong"] += differences(one, answers[one], other, answers[other])
    return figures


def load(name, sizes, mark):
    """Fills the services, unless they were filled before."""
    if mark.exists():
        return
    s3, hdfs, bucket, base = s3_client(), Hdfs(), name.replace("_", "-"), f"/user/{name}"
    s3_fresh_bucket(s3, bucket)
    for piece in range(math.ceil(sizes["lines"] / PIECE)):
        body = "\n".join(data.lines(piece, min(PIECE, sizes["lines"]), sizes["customers"]))
        s3.put_object(Bucket=bucket, Key=f"logs/access-{piece:04}.log", Body=body.encode())
    hdfs.delete(base)
    for piece in range(math.ceil(sizes["calls"] / PIECE)):
        table = data.calls(piece, min(PIECE, sizes["calls"]), sizes["customers"])
        hdfs.put(f"{base}/calls/part-{piece:04}.parquet", parquet_bytes(table, use_deprecated_int96_timestamps=True))
    hdfs.make_folder(base)
    url = os.environ["MARU_TEST_HDFS"]
    with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore:
        metastore.drop_database(name)
        metastore.create_database(name, url + base, "the batch at size", {})
        metastore.create_table(name, "calls", f"{url}{base}/calls", CALL_COLUMNS, PARQUET)
    customers = data.customers(sizes["customers"])
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as direct, direct.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
        cursor.execute(f"CREATE SCHEMA {name}")
        cursor.execute(f"CREATE TABLE {name}.customers (id bigint PRIMARY KEY, name text, phone text, region text, grade text)")
        with cursor.copy(f"COPY {name}.customers FROM STDIN") as copy:
            for rows in customers.to_batches(max_chunksize=10_000):
                for row in zip(*(column.to_pylist() for column in rows.columns)):
                    copy.write_row(row)
        cursor.execute(f"ANALYZE {name}.customers")
    mart = service("MARU_TEST_MYSQL")
    with pymysql.connect(host=mart.hostname, port=mart.port, user=mart.username, password=mart.password, autocommit=True) as direct, direct.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    mark.touch()


def measured(engine, arguments, name):
    runs = []
    with engine(arguments, name) as one:
        for _ in range(max(arguments.repeats, 1)):
            begun = time.perf_counter()
            one.batch()
            runs.append({"s": time.perf_counter() - begun, "peak_bytes": peak(one.engine.pid), "steps": one.steps})
        answer = one.answer()
    return runs, answer


def peak(pid):
    """The most memory that a process has held."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


class Batch:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.engine.close()


class OfMaru(Batch):
    name = "maru"
    flags = ()

    def __init__(self, arguments, name):
        self.engine = Maru(arguments.bin / "maru", arguments.work, arguments.threads, flags=self.flags)
        postgres, mysql = service("MARU_TEST_PG"), service("MARU_TEST_MYSQL")
        bucket = name.replace("_", "-")
        for statement in [
            f"CREATE CATALOG icos USING s3 WITH (bucket = '{bucket}', endpoint = '{os.environ['MARU_TEST_S3']}', "
            f"access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}')",
            f"CREATE CATALOG hive USING hive WITH (metastore = '{os.environ['MARU_TEST_HMS3']}')",
            f"CREATE CATALOG crm USING postgres WITH (url = 'postgres://{postgres.hostname}:{postgres.port}{postgres.path}', "
            f"user = '{postgres.username}', password = '{postgres.password}', tls = 'disable')",
            f"CREATE CATALOG market USING mysql WITH (url = 'mysql://{mysql.hostname}:{mysql.port}', user = '{mysql.username}', "
            f"password = '{mysql.password}', tls = 'disable')",
            "CREATE SCHEMA IF NOT EXISTS icos.mart",
        ]:
            self.engine.run(statement)
        script = SCRIPT.read_text()
        for variable, value in {"weblogs": f"s3://{bucket}/logs/", "calls": f"hive.{name}.calls", "customers": f"crm.{name}.customers",
                                "lake": "icos.mart", "warehouse": f"hive.{name}", "mart": f"market.{name}"}.items():
            script = script.replace("${" + variable + "}", value)
        before, self.rest = script.split("RUN PIPELINE", 1)
        # The server cuts texts at their semicolons, and keeps the steps of a pipeline together.
        self.engine.run(before)
        self.steps = {}

    def batch(self):
        self.engine.run("RUN PIPELINE " + self.rest.split(";")[0])
        self.steps = {step: ms for step, ms in self.engine.run(
            "SELECT step, elapsed_ms FROM system.run_steps WHERE run_id = (SELECT max(run_id) FROM system.runs)")}

    def answer(self):
        return self.engine.run("SELECT day, region, grade, customers, views, sessions, bytes, calls, seconds, fee, outliers FROM icos.mart.usage_by_region")


class OfMaruWithin(OfMaru):
    name = "maru within " + LIMIT
    flags = ("--memory-limit", LIMIT)


class OfSpark(Batch):
    name = "spark"

    def __init__(self, arguments, name):
        self.engine = Spark(arguments.work, arguments.threads, name, views=False)
        self.place, self.bucket, self.steps = name, name.replace("_", "-"), {}

    def batch(self):
        self.steps = {}
        for table in ("daily", "result"):
            self.engine.run(f"UNCACHE TABLE IF EXISTS {table}")
        for step, sql in steps(self.place, self.bucket):
            begun = time.perf_counter()
            rows = self.engine.run(sql)
            self.steps[step] = (time.perf_counter() - begun) * 1000
            if step in ("lines_are_whole", "shares_add_up") and rows != [(True,)]:
                raise RuntimeError(f"{step}: {rows}")

    def answer(self):
        return self.engine.run("SELECT day, region, grade, customers, views, sessions, bytes, calls, seconds, fee, outliers FROM result")


def steps(name, bucket):
    """The pipeline's steps as one would write them for Spark. Views cost nothing; what is read more than once is cached."""
    line = r'^(\\S+) (\\S+) (\\S+) \\[([^\\]]+)\\] "(\\S+) (\\S+) (\\S+)" (\\d{3}) (\\d+|-) "([^"]*)" "([^"]*)"$'

    def part(n):
        return f"regexp_extract(value, '{line}', {n})"

    phone = "regexp_replace(regexp_replace({}, '[^0-9]', ''), '^82', '0')"
    figure = "CAST(regexp_replace(regexp_extract({0}, '([0-9,]+(?:\\\\.[0-9]+)?)', 1), ',', '') AS {1})"
    seconds = f"CASE WHEN seconds RLIKE '^[0-9,.]+( sec)?$' THEN {figure.format('seconds', 'double')} END"
    fee = f"CAST({figure.format('fee', 'decimal(20,6)')} * CASE WHEN fee LIKE '%만%' THEN 10000 ELSE 1 END AS decimal(12,2))"
    yield "lines", f"CREATE OR REPLACE TEMPORARY VIEW lines USING text OPTIONS (path 's3a://{bucket}/logs/')"
    yield "web", f"""CREATE OR REPLACE TEMPORARY VIEW web AS
        WITH parsed AS (SELECT to_timestamp({part(4)}, 'dd/MMM/yyyy:HH:mm:ss Z') AS at, {part(6)} AS url, {part(8)} AS status,
                               CAST({part(9)} AS bigint) AS bytes, {part(11)} AS agent FROM lines WHERE value RLIKE '{line}'),
             visits AS (SELECT try_cast(parse_url('http://host' || url, 'QUERY', 'customer') AS bigint) AS customer_id, at, bytes FROM parsed
                        WHERE CAST(status AS int) < 400 AND NOT lower(agent) RLIKE 'bot|crawler|spider|^curl')
        SELECT customer_id, CAST(at AS date) AS day, bytes, sum(begins) OVER (PARTITION BY customer_id ORDER BY at) AS session
        FROM (SELECT *, CASE WHEN at > lag(at) OVER (PARTITION BY customer_id ORDER BY at) + INTERVAL 30 MINUTES THEN 1 ELSE 0 END AS begins
              FROM visits WHERE customer_id IS NOT NULL)"""
    yield "calls", f"""CREATE OR REPLACE TEMPORARY VIEW calls AS SELECT call_id, {phone.format('caller')} AS phone, CAST(started AS date) AS day,
        {seconds} AS seconds, {fee} AS fee
        FROM (SELECT *, row_number() OVER (PARTITION BY call_id ORDER BY loaded DESC) AS place FROM {name}.calls) WHERE place = 1"""
    yield "customers", f"""CREATE OR REPLACE TEMPORARY VIEW customers AS SELECT id, {phone.format('phone')} AS phone, region,
        coalesce(grade, (SELECT mode(grade) FROM crm.{name}.customers)) AS grade FROM crm.{name}.customers"""
    yield "lines_are_whole", f"SELECT count_if(NOT value RLIKE '{line}') * 50 <= count(*) FROM lines"
    yield "daily", """CACHE TABLE daily AS
        WITH seen AS (SELECT customer_id, day, count(*) AS views, count(DISTINCT session) AS sessions, sum(bytes) AS bytes FROM web GROUP BY customer_id, day),
             heard AS (SELECT c.id AS customer_id, k.day, count(*) AS calls, sum(k.seconds) AS seconds, sum(k.fee) AS fee
                       FROM calls k JOIN customers c ON c.phone = k.phone GROUP BY c.id, k.day)
        SELECT c.id AS customer_id, c.region, c.grade, coalesce(s.day, h.day) AS day, coalesce(s.views, 0) AS views, coalesce(s.sessions, 0) AS sessions,
               CAST(coalesce(s.bytes, 0) AS double) AS bytes, coalesce(h.calls, 0) AS calls, h.seconds, coalesce(h.fee, 0) AS fee
        FROM seen s FULL JOIN heard h ON h.customer_id = s.customer_id AND h.day = s.day
             JOIN customers c ON c.id = coalesce(s.customer_id, h.customer_id)"""
    yield "features", """CREATE OR REPLACE TEMPORARY VIEW features AS
        WITH medians AS (SELECT grade, percentile(seconds, 0.5) AS median FROM daily GROUP BY grade),
             spreads AS (SELECT grade, first(median) AS median, percentile(abs(seconds - median), 0.5) * 1.482602218505602 AS spread
                         FROM daily JOIN medians USING (grade) GROUP BY grade),
             filled AS (SELECT d.*, abs(d.seconds - median) / spread AS off, coalesce(d.seconds, median) AS filled FROM daily d JOIN spreads USING (grade)),
             placed AS (SELECT *, row_number() OVER (PARTITION BY grade ORDER BY filled) AS place, count(*) OVER (PARTITION BY grade) AS n FROM filled)
        SELECT customer_id, region, grade, day, views, sessions, bytes, calls, fee, off,
               least(filled, max(CASE WHEN place <= n - CAST(0.01 * n AS int) THEN filled END) OVER (PARTITION BY grade)) AS seconds FROM placed"""
    yield "result", """CACHE TABLE result AS
        WITH sums AS (SELECT day, region, grade, count(DISTINCT customer_id) AS customers, sum(views) AS views, sum(sessions) AS sessions, sum(bytes) AS bytes,
                             sum(calls) AS calls, sum(seconds) AS seconds, sum(fee) AS fee, count_if(off > 3.5) AS outliers
                      FROM features GROUP BY day, region, grade),
             regions AS (SELECT day, region, sum(fee) AS fee FROM features GROUP BY day, region)
        SELECT s.*, CAST(s.fee AS double) / CAST(r.fee AS double) AS share_of_fee FROM sums s JOIN regions r ON r.day = s.day AND r.region = s.region"""
    yield "shares_add_up", "SELECT max(abs(total - 1)) < 1e-9 FROM (SELECT sum(share_of_fee) AS total FROM result GROUP BY day, region)"
    yield "to_lake", f"INSERT OVERWRITE DIRECTORY 's3a://{bucket}/spark/usage_by_region' USING parquet SELECT * FROM result"
    yield "to_hive_drop", f"DROP TABLE IF EXISTS {name}.usage_of_spark"
    yield "to_hive", f"CREATE TABLE {name}.usage_of_spark USING parquet PARTITIONED BY (day) AS SELECT * FROM result"
    yield "to_mart_drop", f"DROP TABLE IF EXISTS market.{name}.usage_of_spark"
    yield "to_mart", f"CREATE TABLE market.{name}.usage_of_spark AS SELECT * FROM result"


def differences(one, ours, other, theirs):
    ours, theirs = sorted(ours, key=lambda row: row[:3]), sorted(theirs, key=lambda row: row[:3])
    if [row[:3] for row in ours] != [row[:3] for row in theirs]:
        return [f"{len(ours)} rows of {one} are for other days, regions or grades than {len(theirs)} of {other}"]
    return [f"{one} and {other} differ: {mine} {theirs}" for mine, theirs in zip(ours, theirs)
            if not all(math.isclose(float(a), float(b), rel_tol=1e-9) for a, b in zip(mine[3:], theirs[3:]))][:5]


def table(figures):
    sizes = figures["sizes"]
    lines = [f"{sizes['lines']:,} lines, {sizes['calls']:,} calls, {sizes['customers']:,} customers", "",
             "| engine | s | peak memory, MiB |", "|---|--:|--:|"]
    lines += [f"| {name} | {record['s']:.1f} | {record['peak_bytes'] / (1 << 20):,.0f} |" for name, record in figures["engines"].items()]
    engines = figures["engines"]
    if "maru" in engines and "spark" in engines:
        maru, spark = engines["maru"], engines["spark"]
        lines += ["", f"Maru is {spark['s'] / maru['s']:.1f} times as fast (aim: {SPEED_AIM}) in {maru['peak_bytes'] / spark['peak_bytes']:.2f} of the memory "
                      f"(aim: {MEMORY_AIM})."]
    if OfMaruWithin.name in engines:
        peak_bytes = engines[OfMaruWithin.name]["peak_bytes"]
        lines += ["", f"With `--memory-limit {LIMIT}` the whole process takes {peak_bytes / 1e9:.2f} GB at most (aim: {WITHIN / 1e9:.1f})."]
    return "\n".join(lines)
