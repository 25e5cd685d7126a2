"""Clients: how long a small statement takes, how fast a table goes out to them and comes in from them, beside PostgreSQL.

Maru's table is a Delta Lake table in its own catalog, PostgreSQL's an unlogged table with a primary key (tests/services must be up). Every way
of a direction takes its turn, so that neighbours on the machine hit all of them.
"""

import json
import os
import re
import signal
import statistics
import subprocess
import time

import psycopg

from measure import export, ingest, wire

POINT_SECONDS = 5
P50_AIM, OUT_AIM, FLIGHT_AIM = 2.0, 1.0, 3.0
TABLE = "clients"

# What pgbench runs: no table, one row of a PostgreSQL of ten million by its key (through Maru: of the catalog `db`).
SCRIPTS = {"select": "SELECT 1;\n",
           "point": "\\set id random(1, {rows})\nSELECT name, price FROM {table} WHERE id = :id;\n"}

DELTA = "id bigint, n integer, k integer, price numeric(12,2), name text, note text, day date, at timestamp, ratio double precision, flag boolean"


def run(arguments):
    rows = max(int(export.ROWS * float(arguments.scale)), 1000)
    figures = {"rows": rows, "p50_aim": P50_AIM, "out_aim": OUT_AIM, "flight_aim": FLIGHT_AIM, "wrong": [], "small": {}, "out": {}, "in": {}}
    if "MARU_TEST_PG" not in os.environ:
        figures["wrong"].append("MARU_TEST_PG is not set: tests/services/ctl up, then eval \"$(tests/services/ctl env)\"")
        return figures
    parquet = ingest_file(arguments, rows)
    postgres = export.Postgres(arguments, rows)
    postgres.make()
    server = Server(arguments, postgres)
    try:
        server.fill(parquet)
        figures["small"] = small(arguments, server, postgres, rows, figures["wrong"])
        figures["in"] = coming(arguments, server, postgres, rows, parquet, figures["wrong"])
        figures["out"] = going(arguments, server, postgres, rows, figures["wrong"])
    finally:
        server.stop()
    return figures


def ingest_file(arguments, rows):
    parquet = arguments.cache / f"ingest-{rows}" / "files" / "rows.parquet"
    if not parquet.exists():
        import duckdb
        parquet.parent.mkdir(parents=True, exist_ok=True)
        duckdb.execute(ingest.PARQUET.format(rows=rows, file=f"{parquet}.new"))
        os.rename(f"{parquet}.new", parquet)
    return parquet


class Server:
    """`maru serve` with a catalog of the same PostgreSQL."""

    def __init__(self, arguments, postgres):
        self.arguments, self.directory = arguments, arguments.work / "clients"
        log = arguments.work / "clients.log"
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                [arguments.bin / "maru", "serve", "--data-dir", self.directory, "--pg-listen", "127.0.0.1:0", "--flight-listen", "127.0.0.1:0",
                 "--http-listen", "127.0.0.1:0"], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        endpoints = self.directory / "endpoints.json"
        self.host, self.port = wire.address(self.process, endpoints, log).rsplit(":", 1)
        self.flight_address = json.loads(endpoints.read_text())["flight"]
        self.password = (self.directory / "initial-password").read_text().strip()
        url = postgres.url
        with self.connect() as connection:
            connection.execute(f"CREATE CATALOG db USING postgres WITH (url = 'postgres://{url.hostname}:{url.port}{url.path}', "
                               f"user = '{url.username}', password = '{url.password}')")

    def connect(self):
        return psycopg.connect(host=self.host, port=self.port, user="maru", password=self.password, dbname="maru", autocommit=True)

    def flight(self):
        import adbc_driver_flightsql.dbapi as flight
        return flight.connect(f"grpc://{self.flight_address}", db_kwargs={"username": "maru", "password": self.password}, autocommit=True)

    def client(self):
        return (["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", self.host, "-p", self.port, "-U", "maru", "-d", "maru"],
                {"PGPASSWORD": self.password})

    def fill(self, parquet):
        with self.connect() as connection:
            connection.execute(f"CREATE CATALOG files USING file WITH (path = '{parquet.parent}', layout = 'tables')")
            connection.execute(f"CREATE TABLE {TABLE} ({DELTA})")
            connection.execute(f"INSERT INTO {TABLE} SELECT {', '.join(export.COLUMNS)} FROM files.public.rows")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def small(arguments, server, postgres, rows, wrong):
    """Latency and rate by pgbench with prepared statements, one client and as many as there are cores times four."""
    found = {}
    for script, text in SCRIPTS.items():
        for name, (command, environment), table in (
                ("postgresql", postgres.client(), f"{export.SCHEMA}.{postgres.table}"), ("maru", server.client(), f"db.{export.SCHEMA}.{postgres.table}")):
            file = arguments.work / f"{script}-{name}.pgbench"
            file.write_text(text.format(rows=rows, table=table))
            place = command[command.index("-h"):]
            options = [place[place.index(option) + 1] for option in ("-h", "-p", "-U", "-d")]
            for clients in (1, 4 * (os.cpu_count() or 1)):
                log = arguments.work / "pgbench.log"
                for old in arguments.work.glob("pgbench.log.*"):
                    old.unlink()
                done = subprocess.run(
                    ["pgbench", "-n", "-M", "prepared", "-h", options[0], "-p", options[1], "-U", options[2], "-f", file, "-c", str(clients), "-j", "2",
                     "-T", str(POINT_SECONDS), "-l", "--log-prefix", log, options[3]],
                    check=False, capture_output=True, text=True, env=os.environ | environment)
                if done.returncode != 0:
                    wrong.append(f"pgbench, {script}, {name}, {clients} clients: {done.stderr[-500:]}")
                    continue
                times = sorted(int(line.split()[2]) / 1000 for part in arguments.work.glob("pgbench.log.*") for line in part.read_text().splitlines())
                found.setdefault(script, {}).setdefault(name, {})[str(clients)] = {
                    "p50_ms": times[len(times) // 2], "p99_ms": times[len(times) * 99 // 100],
                    "per_second": float(re.search(r"tps = ([0-9.]+)", done.stdout)[1])}
    return found


def turns(arguments, ways, wrong, prepare=None):
    """Each way once to warm up, then in turns; the median of what they took."""
    taken = {name: [] for name in ways}
    for number in range(1 + arguments.repeats):
        for name, way in ways.items():
            if prepare:
                prepare(name)
            start = time.perf_counter()
            try:
                way()
            except Exception as error:
                wrong.append(f"{name}: {error}")
                return {}
            if number > 0:
                taken[name].append(time.perf_counter() - start)
    return {name: {"median_s": statistics.median(runs), "runs_s": runs} for name, runs in taken.items()}


def psql(client, sql, **options):
    command, environment = client
    subprocess.run([*command, "-c", sql], check=True, stdout=subprocess.DEVNULL, env=os.environ | environment, **options)


def going(arguments, server, postgres, rows, wrong):
    there, here = f"{export.SCHEMA}.{postgres.table}", TABLE

    def streamed(connect, table):
        with connect() as connection:
            seen = sum(1 for _ in connection.cursor(binary=True).stream(f"SELECT * FROM {table}", size=1000))
            assert seen == rows, seen

    def fetched():
        with server.flight() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {here}")
            seen = sum(batch.num_rows for batch in cursor.fetch_record_batch())
            assert seen == rows, seen

    direct = lambda: psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True)
    return turns(arguments, {
        "postgresql: COPY, text": lambda: psql(postgres.client(), f"COPY {there} TO STDOUT"),
        "maru: COPY, text": lambda: psql(server.client(), f"COPY {here} TO STDOUT"),
        "postgresql: COPY, binary": lambda: psql(postgres.client(), f"COPY {there} TO STDOUT (FORMAT binary)"),
        "maru: COPY, binary": lambda: psql(server.client(), f"COPY {here} TO STDOUT (FORMAT binary)"),
        "postgresql: psycopg, binary rows": lambda: streamed(direct, there),
        "maru: psycopg, binary rows": lambda: streamed(server.connect, here),
        "maru: ADBC Flight SQL": fetched,
    }, wrong)


def coming(arguments, server, postgres, rows, parquet, wrong):
    import pyarrow.parquet
    files = {kind: parquet.parents[1] / f"clients.{kind}" for kind in ("csv", "binary")}
    for kind, file in files.items():
        if not file.exists():
            command, environment = postgres.client()
            with open(f"{file}.new", "wb") as out:
                subprocess.run([*command, "-c", f"COPY {export.SCHEMA}.{postgres.table} TO STDOUT (FORMAT {kind})"], check=True, stdout=out,
                               env=os.environ | environment)
            os.rename(f"{file}.new", file)
    there, here = f"{export.SCHEMA}.clients_{rows}", f"{TABLE}_in"
    postgres.ask(f"DROP TABLE IF EXISTS {there}")
    postgres.ask(f"CREATE UNLOGGED TABLE {there} (LIKE {export.SCHEMA}.{postgres.table})")
    with server.connect() as connection:
        connection.execute(f"CREATE TABLE {here} ({DELTA})")

    def emptied(name):
        if name.startswith("maru"):
            with server.connect() as connection:
                connection.execute(f"TRUNCATE {here}")
        else:
            postgres.ask(f"TRUNCATE {there}")

    def ingested():
        source = pyarrow.parquet.ParquetFile(parquet)
        reader = pyarrow.RecordBatchReader.from_batches(source.schema_arrow, source.iter_batches(65_536))
        with server.flight() as connection, connection.cursor() as cursor:
            assert cursor.adbc_ingest(here, reader, mode="append") == rows

    return turns(arguments, {
        "postgresql: COPY, CSV": lambda: psql(postgres.client(), f"\\copy {there} FROM '{files['csv']}' csv"),
        "maru: COPY, CSV": lambda: psql(server.client(), f"\\copy {here} FROM '{files['csv']}' csv"),
        "postgresql: COPY, binary": lambda: psql(postgres.client(), f"\\copy {there} FROM '{files['binary']}' (FORMAT binary)"),
        "maru: COPY, binary": lambda: psql(server.client(), f"\\copy {here} FROM '{files['binary']}' (FORMAT binary)"),
        "maru: ExecuteIngest": ingested,
    }, wrong, emptied)


def table(figures):
    lines = [f"| prepared, by pgbench (aim: p50 at most {figures['p50_aim']:.0f} times PostgreSQL's) | clients | PostgreSQL p50, p99 | Maru p50, p99 "
             "| p50, Maru / PostgreSQL | a second, PostgreSQL | a second, Maru |", "|---|--:|--:|--:|--:|--:|--:|"]
    words = {"select": "`SELECT 1`", "point": "one row of PostgreSQL by its key"}
    for script, of in figures["small"].items():
        for clients, peer in of["postgresql"].items():
            maru = of["maru"][clients]
            lines.append(f"| {words[script]} | {clients} | {peer['p50_ms']:.2f}, {peer['p99_ms']:.2f} ms | {maru['p50_ms']:.2f}, {maru['p99_ms']:.2f} ms "
                         f"| {maru['p50_ms'] / peer['p50_ms']:.1f} | {peer['per_second']:.0f} | {maru['per_second']:.0f} |")
    for part, title in (("out", "out"), ("in", "in")):
        lines += ["", f"| {figures['rows']:,} rows of ten columns {title} | s | rows a second |", "|---|--:|--:|"]
        for name, record in figures[part].items():
            lines.append(f"| {name} | {record['median_s']:.1f} | {figures['rows'] / record['median_s']:,.0f} |")
    return "\n".join(lines)
