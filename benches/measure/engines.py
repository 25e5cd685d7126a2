"""Maru, Trino and Spark on the same four sources, each as its own users run it: a server or a session that stays warm."""

import contextlib
import datetime
import decimal
import json
import os
import pathlib
import pickle
import re
import signal
import socket
import struct
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import psycopg

from measure import lake
from measure.report import HERE

PEERS = HERE / "peers"
HEAP_MB = 3072
# Where a table of TPC-H is named: after FROM, a comma or JOIN. `nation` is also a column of two queries.
TABLE = re.compile(r"(\bFROM\s+|,\s*|\bJOIN\s+)(region|nation|supplier|customer|part|partsupp|orders|lineitem)\b(?!\.)", re.IGNORECASE)


def service(variable):
    return urllib.parse.urlsplit(os.environ[variable])


def placed(sql, places):
    """The query with the full names of its tables. A match may overlap with the next one's comma: the text is gone through again
    until nothing changes."""
    before = None
    while sql != before:
        before, sql = sql, TABLE.sub(lambda match: match[1] + places[match[2].lower()], sql)
    return sql


def places(of_lake, of_hive, of_postgres, of_mysql):
    names = {table: f"{of_lake}.{table}" for table in lake.ON_S3}
    names |= {table: f"{of_postgres}.{table}" for table in lake.IN_POSTGRES}
    return names | {"orders": f"{of_hive}.orders", "part": f"{of_mysql}.part"}


def cpu_ms(pid):
    """Of all threads of a process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def end(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Engine:
    """`run` gives the rows; `timed` also the milliseconds by the clock and of the engine's own processor time."""

    def timed(self, sql):
        cpu, start = cpu_ms(self.pid), time.perf_counter()
        rows = self.run(sql)
        elapsed = (time.perf_counter() - start) * 1000
        return rows, {"total_ms": elapsed, "cpu_ms": cpu_ms(self.pid) - cpu}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Maru(Engine):
    """`maru serve` and one connection of psycopg."""

    name = "maru"

    def __init__(self, program, work, threads, schema=None, flags=()):
        directory = pathlib.Path(tempfile.mkdtemp(prefix="maru-", dir=work))
        log = open(work / "maru.log", "wb")
        self.process = subprocess.Popen(
            [program, "serve", "--data-dir", directory, "--pg-listen", "127.0.0.1:0", "--flight-listen", "127.0.0.1:0",
             "--http-listen", "127.0.0.1:0", "--target-partitions", str(threads), *flags],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        self.pid = self.process.pid
        deadline = time.monotonic() + 60
        endpoints = directory / "endpoints.json"
        while not endpoints.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start:\n{(work / 'maru.log').read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        time.sleep(0.1)
        host, port = json.loads(endpoints.read_text())["pg"].rsplit(":", 1)
        password = (directory / "initial-password").read_text().strip()
        self.connection = psycopg.connect(host=host, port=port, user="maru", password=password, dbname="maru", autocommit=True)
        if schema:
            self.catalogs(schema)
            self.places = places("lake.public", f"warehouse.{schema}", f"crm.{schema}", f"market.{schema}")

    def catalogs(self, schema):
        postgres, mysql = service("MARU_TEST_PG"), service("MARU_TEST_MYSQL")
        s3 = (f"endpoint = '{os.environ['MARU_TEST_S3']}', access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', "
              f"secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}'")
        for statement in [
            f"CREATE CATALOG lake USING s3 WITH (bucket = '{lake.BUCKET}', prefix = '{schema}', layout = 'tables', {s3})",
            f"CREATE CATALOG warehouse USING hive WITH (metastore = '{os.environ['MARU_TEST_HMS3']}', {s3})",
            f"CREATE CATALOG crm USING postgres WITH (url = 'postgres://{postgres.hostname}:{postgres.port}{postgres.path}', "
            f"user = '{postgres.username}', password = '{postgres.password}', tls = 'disable')",
            f"CREATE CATALOG market USING mysql WITH (url = 'mysql://{mysql.hostname}:{mysql.port}', user = '{mysql.username}', "
            f"password = '{mysql.password}', tls = 'disable')",
        ]:
            self.run(statement)

    def run(self, sql):
        with self.connection.cursor() as cursor:
            cursor.execute(sql, prepare=False)
            return cursor.fetchall() if cursor.description else []

    def close(self):
        with contextlib.suppress(psycopg.Error):
            self.connection.close()
        end(self.process)


class Trino(Engine):
    """One node that is coordinator and worker, asked over HTTP as its clients do."""

    name = "trino"

    def __init__(self, work, threads, schema):
        home = work / "trino"
        (home / "etc/catalog").mkdir(parents=True, exist_ok=True)
        self.url = f"http://127.0.0.1:{free_port()}"
        self.settings(home, threads)
        self.log = work / "trino.log"
        self.process = subprocess.Popen([PEERS, "trino", str(threads), str(HEAP_MB)], env=os.environ | {"TRINO_HOME": str(home)},
                                        stdin=subprocess.DEVNULL, stdout=open(self.log, "wb"), stderr=subprocess.STDOUT)
        self.pid = self.process.pid
        self.places = places("lake.tpch", f"hive.{schema}", f"postgres.{schema}", f"mariadb.{schema}")
        self.wait()
        self.run("CREATE SCHEMA lake.tpch")
        for table in lake.ON_S3:
            columns = ", ".join(f"{name} {kind.replace('string', 'varchar')}" for name, kind in lake.hive_columns(table))
            self.run(f"CREATE TABLE {self.places[table]} ({columns}) "
                     f"WITH (format = 'PARQUET', external_location = 's3://{lake.BUCKET}/{schema}/{table}')")

    def settings(self, home, threads):
        postgres, mysql, etc = service("MARU_TEST_PG"), service("MARU_TEST_MYSQL"), home / "etc"
        (home / "lake").mkdir()
        catalog = {
            "hive": {"connector.name": "hive", "hive.metastore.uri": os.environ["MARU_TEST_HMS3"], "fs.hadoop.enabled": "true"},
            # Trino knows files only through a metastore: its own one in a folder costs it no call.
            "lake": {"connector.name": "hive", "hive.metastore": "file", "hive.metastore.catalog.dir": "local:///",
                     "fs.native-local.enabled": "true", "local.location": str(home / "lake"), "hive.non-managed-table-writes-enabled": "true",
                     "fs.native-s3.enabled": "true", "s3.endpoint": os.environ["MARU_TEST_S3"], "s3.region": "us-east-1",
                     "s3.path-style-access": "true", "s3.aws-access-key": os.environ["MARU_TEST_S3_ACCESS_KEY"],
                     "s3.aws-secret-key": os.environ["MARU_TEST_S3_SECRET_KEY"]},
            "postgres": {"connector.name": "postgresql", "connection-url": f"jdbc:postgresql://{postgres.hostname}:{postgres.port}{postgres.path}",
                         "connection-user": postgres.username, "connection-password": postgres.password},
            "mariadb": {"connector.name": "mariadb", "connection-url": f"jdbc:mariadb://{mysql.hostname}:{mysql.port}",
                        "connection-user": mysql.username, "connection-password": mysql.password},
        }
        for name, lines in catalog.items():
            write_properties(etc / "catalog" / f"{name}.properties", lines)
        write_properties(etc / "log.properties", {"io.trino": "WARN"})
        write_properties(etc / "config.properties", {
            "coordinator": "true", "node-scheduler.include-coordinator": "true", "http-server.http.port": self.url.rsplit(":", 1)[1],
            "node.internal-address": "127.0.0.1", "discovery.uri": self.url, "query.max-memory": "2GB",
            "query.max-memory-per-node": "1800MB", "memory.heap-headroom-per-node": "700MB", "catalog.management": "static",
            "task.concurrency": str(threads), "task.max-worker-threads": str(threads)})

    def wait(self):
        """The port answers before the node has announced itself: a query tells."""
        deadline = time.monotonic() + 180
        while True:
            try:
                self.run("SELECT 1")
                return
            except (OSError, RuntimeError, KeyError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"Trino did not start:\n{self.log.read_text(errors='replace')[-3000:]}") from None
                time.sleep(0.5)

    def call(self, url, body=None):
        request = urllib.request.Request(url, body, {"X-Trino-User": "bench", "X-Trino-Time-Zone": "UTC"})
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read())

    def run(self, sql):
        answer = self.call(self.url + "/v1/statement", sql.encode())
        rows, columns = [], []
        while True:
            columns = answer.get("columns", columns)
            rows += answer.get("data", [])
            self.stats = answer["stats"]
            if "error" in answer:
                raise RuntimeError(answer["error"]["message"])
            if "nextUri" not in answer:
                break
            answer = self.call(answer["nextUri"])
        makers = [maker(column["type"]) for column in columns]
        return [tuple(None if value is None else make(value) for make, value in zip(makers, row)) for row in rows]

    def close(self):
        end(self.process)


def write_properties(path, lines):
    path.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))


def maker(kind):
    """What makes a value of what JSON has of it."""
    if kind.startswith("decimal"):
        return decimal.Decimal
    return {"date": datetime.date.fromisoformat, "double": float}.get(kind, lambda value: value)


class Spark(Engine):
    """A session in a process of its own, `spark_session.py`, that gets queries and sends rows."""

    name = "spark"

    def __init__(self, work, threads, schema, views=True):
        settings = work / "spark.json"
        postgres, mysql = service("MARU_TEST_PG"), service("MARU_TEST_MYSQL")
        settings.write_text(json.dumps(self.settings(postgres, mysql, threads, work)))
        self.process = subprocess.Popen([PEERS, "spark", HERE / "measure/spark_session.py", settings], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=open(work / "spark.log", "wb"))
        self.log = work / "spark.log"
        self.places = places("lake", schema, f"crm.{schema}", f"market.{schema}") | {table: table for table in lake.ON_S3}
        self.pid = self.answer()
        for table in lake.ON_S3 if views else ():
            self.run(f"CREATE TEMPORARY VIEW {table} USING parquet OPTIONS (path 's3a://{lake.BUCKET}/{schema}/{table}')")

    def settings(self, postgres, mysql, threads, work):
        jdbc = "org.apache.spark.sql.execution.datasources.v2.jdbc.JDBCTableCatalog"
        return {
            "spark.master": f"local[{threads}]", "spark.driver.memory": f"{HEAP_MB}m", "spark.ui.enabled": "false",
            "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1", "spark.local.dir": str(work / "spark"),
            # 200 tasks for each exchange, its default, would be a burden at this size.
            "spark.sql.shuffle.partitions": str(2 * threads), "spark.sql.session.timeZone": "UTC",
            "spark.hadoop.hive.metastore.uris": os.environ["MARU_TEST_HMS3"], "spark.hadoop.fs.defaultFS": os.environ["MARU_TEST_HDFS"],
            "spark.sql.warehouse.dir": str(work / "spark-warehouse"),
            "spark.hadoop.fs.s3a.endpoint": os.environ["MARU_TEST_S3"], "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.hadoop.fs.s3a.access.key": os.environ["MARU_TEST_S3_ACCESS_KEY"],
            "spark.hadoop.fs.s3a.secret.key": os.environ["MARU_TEST_S3_SECRET_KEY"], "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
            # A table by JDBC is never the same twice where views are kept as texts, so that what is cached above it is not found again.
            "spark.sql.legacy.storeAnalyzedPlanForView": "true",
            # The store refuses to delete the markers of folders many at once, which is then tried for minutes.
            "spark.hadoop.fs.s3a.multiobjectdelete.enable": "false", "spark.hadoop.fs.s3a.directory.marker.retention": "keep",
            "spark.sql.catalog.crm": jdbc, "spark.sql.catalog.crm.driver": "org.postgresql.Driver",
            "spark.sql.catalog.crm.url": f"jdbc:postgresql://{postgres.hostname}:{postgres.port}{postgres.path}",
            "spark.sql.catalog.crm.user": postgres.username, "spark.sql.catalog.crm.password": postgres.password,
            # By this name Spark knows how MariaDB quotes names.
            "spark.sql.catalog.market": jdbc, "spark.sql.catalog.market.driver": "org.mariadb.jdbc.Driver",
            "spark.sql.catalog.market.url": f"jdbc:mysql://{mysql.hostname}:{mysql.port}?permitMysqlScheme",
            "spark.sql.catalog.market.user": mysql.username, "spark.sql.catalog.market.password": mysql.password,
            "spark.driver.extraJavaOptions": f"-Duser.timezone=UTC -Dderby.system.home={work} -XX:ActiveProcessorCount={threads}",
        }

    def run(self, sql):
        data = sql.encode()
        self.process.stdin.write(struct.pack(">I", len(data)) + data)
        self.process.stdin.flush()
        return self.answer()

    def answer(self):
        head = self.process.stdout.read(4)
        if len(head) < 4:
            raise SystemExit(f"Spark ended:\n{self.log.read_text(errors='replace')[-3000:]}")
        # From our own child: tuples of plain values.
        done, value = pickle.loads(self.process.stdout.read(struct.unpack(">I", head)[0]))
        if not done:
            raise RuntimeError(value)
        return value

    def close(self):
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        if self.process.poll() is None:
            end(self.process)
