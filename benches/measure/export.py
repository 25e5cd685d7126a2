"""Rows out of databases: how fast Maru reads a whole table, beside the fastest export of each database.

The services of tests/services must be up. The tables are made once and kept, since that takes minutes.
"""

import os
import statistics
import subprocess
import tempfile
import time
import urllib.parse

ROWS = 10_000_000
SPEED_AIM = 0.8
MEMORY_AIM_BYTES = 200 << 20
SCHEMA = "maru_benches"

# Ten columns of ordinary types, with NULLs; everything follows from `i`.
POSTGRES_TABLE = """CREATE SCHEMA IF NOT EXISTS {schema};
DROP TABLE IF EXISTS {schema}.{table};
CREATE UNLOGGED TABLE {schema}.{table} (
  id bigint PRIMARY KEY, n integer, k integer, price numeric(12,2), name text, note text,
  day date, at timestamp, ratio double precision, flag boolean);
INSERT INTO {schema}.{table}
SELECT i, i * 7919 % 1000003, CASE WHEN i % 10 <> 0 THEN i % 97 END, (i * 31 % 100000000)::numeric / 100,
  'customer ' || i * 104729 % 1000000, CASE WHEN i % 4 <> 0 THEN 'a note about order ' || i END,
  date '2020-01-01' + (i % 2000)::int, timestamp '2020-01-01' + i * 1234567 % 150000000000000 * interval '1 microsecond',
  i / 7e0::float8, i % 3 = 0
FROM generate_series(1, {rows}::bigint) i;
ANALYZE {schema}.{table};"""

MARIADB_TABLE = """CREATE DATABASE IF NOT EXISTS {schema};
USE {schema};
DROP TABLE IF EXISTS {schema}.{table};
CREATE TABLE {schema}.{table} (
  id bigint PRIMARY KEY, n integer, k integer, price decimal(12,2), name varchar(100), note varchar(100),
  day date, at datetime(6), ratio double, flag boolean);
INSERT INTO {schema}.{table}
SELECT i, i * 7919 % 1000003, CASE WHEN i % 10 <> 0 THEN i % 97 END, (i * 31 % 100000000) / 100,
  concat('customer ', i * 104729 % 1000000), CASE WHEN i % 4 <> 0 THEN concat('a note about order ', i) END,
  date '2020-01-01' + INTERVAL (i % 2000) DAY,
  timestamp '2020-01-01 00:00:00' + INTERVAL (i * 1234567 % 150000000000000) MICROSECOND, i / 7e0, i % 3 = 0
FROM (SELECT seq AS i FROM seq_1_to_{rows}) s;
ANALYZE TABLE {schema}.{table};"""

COLUMNS = ["id", "n", "k", "price", "name", "note", "day", "at", "ratio", "flag"]


def run(arguments):
    """Each source and its peer in turns, so that neighbours on the machine hit both."""
    rows = max(int(ROWS * float(arguments.scale)), 1000)
    figures = {"rows": rows, "speed_aim": SPEED_AIM, "memory_aim_bytes": MEMORY_AIM_BYTES, "wrong": [], "sources": {}}
    for source in (Postgres, MariaDb):
        if source.VARIABLE not in os.environ:
            figures["wrong"].append(f"{source.VARIABLE} is not set: tests/services/ctl up, then eval \"$(tests/services/ctl env)\"")
            continue
        figures["sources"][source.NAME] = compared(source(arguments, rows), arguments, figures["wrong"])
    return figures


def compared(source, arguments, wrong):
    source.make()
    record = {"peer": source.PEER, "peer_runs": [], "maru_runs": []}
    maru, expected = source.maru(), source.answer()
    for number in range(1 + arguments.repeats):
        for name, command in (("peer", source.export()), ("maru", maru)):
            run = measured(command, arguments.work / "export.out" if name == "maru" else os.devnull)
            if run.pop("exit_code") != 0:
                wrong.append(f"{source.NAME}, {name}: {run['errors'][-500:]}")
                return record
            del run["errors"]
            # The first run warms up.
            if number > 0:
                record[f"{name}_runs"].append(run)
        answer = (arguments.work / "export.out").read_text().strip().splitlines()[-1]
        if answer != expected:
            wrong.append(f"{source.NAME}: Maru says {answer}, the database {expected}")
            return record
    for name in ("peer", "maru"):
        record[f"{name}_s"] = statistics.median(run["elapsed_s"] for run in record[f"{name}_runs"])
        record[f"{name}_cpu_s"] = statistics.median(run["cpu_s"] for run in record[f"{name}_runs"])
    record["speed"] = record["peer_s"] / record["maru_s"]
    record["peak_memory_bytes"] = max(run["peak_memory_bytes"] for run in record["maru_runs"])
    return record


def measured(command, output):
    """The whole life of a process: what a user waits for."""
    arguments, environment = command
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        with open(output, "wb") as out:
            process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=os.environ | environment)
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        return {"elapsed_s": time.perf_counter() - start, "cpu_s": usage.ru_utime + usage.ru_stime,
                "peak_memory_bytes": usage.ru_maxrss * 1024, "exit_code": process.returncode,
                "errors": errors.read().decode(errors="replace")}


class Source:
    def __init__(self, arguments, rows):
        self.arguments = arguments
        self.url = urllib.parse.urlsplit(os.environ[self.VARIABLE])
        self.rows = rows
        self.table = f"export_{rows}"
        self.names = {"schema": SCHEMA, "table": self.table, "rows": rows}

    def make(self):
        there = f"SELECT count(*) FROM information_schema.tables WHERE table_schema = '{SCHEMA}' AND table_name = '{self.table}'"
        if self.ask(there) != "1" or self.ask(f"SELECT count(*) FROM {SCHEMA}.{self.table}") != str(self.rows):
            self.ask(self.TABLE.format(**self.names))

    def maru(self):
        """Every column of every row has to come, be decoded and be looked at once: the greatest value of each, found in Maru."""
        directory = self.arguments.work / f"export-{self.NAME}"
        scheme, address = self.NAME.lower(), f"{self.url.hostname}:{self.url.port}"
        connector = {"postgresql": "postgres", "mariadb": "mysql"}[scheme]
        database = self.url.path if connector == "postgres" else ""
        catalog = (f"CREATE CATALOG db USING {connector} WITH (url = '{connector}://{address}{database}', "
                   f"user = '{self.url.username}', password = '{self.url.password}')")
        maru = [self.arguments.bin / "maru", "sql", "--data-dir", directory, "-q", "-t", "--format", "csv"]
        subprocess.run([*maru, "-c", catalog], check=True, stdout=subprocess.DEVNULL)
        greatest = ", ".join(f"max({column})" for column in COLUMNS if column != "flag")
        sql = (f"SELECT count(*), {greatest}, count(CASE WHEN flag THEN 1 END) FROM db.{SCHEMA}.{self.table}")
        return [*maru, "-c", "SET pushdown = off", "-c", sql], {}

    def answer(self):
        """What Maru must say, as CSV."""
        greatest = ", ".join(f"max({column})" for column in COLUMNS[:8])
        found = self.ask(f"SELECT count(*), {greatest}, count(CASE WHEN flag THEN 1 END) FROM {SCHEMA}.{self.table}")
        *values, at, flags = found.split(self.SEPARATOR)
        # MariaDB writes all places of a second.
        at = at.rstrip("0").rstrip(".") if "." in at else at
        return ",".join([*values, at, repr(self.rows / 7), flags])


class Postgres(Source):
    NAME, VARIABLE = "PostgreSQL", "MARU_TEST_PG"
    PEER = "psql, COPY … (FORMAT binary)"
    TABLE, SEPARATOR = POSTGRES_TABLE, "|"

    def client(self):
        psql = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", self.url.hostname, "-p", str(self.url.port), "-U", self.url.username,
                "-d", self.url.path.strip("/")]
        return psql, {"PGPASSWORD": self.url.password}

    def ask(self, sql):
        command, environment = self.client()
        return subprocess.run([*command, "-c", sql], check=True, capture_output=True, text=True, env=os.environ | environment).stdout.strip()

    def export(self):
        command, environment = self.client()
        return [*command, "-c", f"COPY {SCHEMA}.{self.table} TO STDOUT (FORMAT binary)"], environment


class MariaDb(Source):
    NAME, VARIABLE = "MariaDB", "MARU_TEST_MYSQL"
    PEER = "mariadb --quick --raw"
    TABLE, SEPARATOR = MARIADB_TABLE, "\t"

    def client(self):
        client = ["mariadb", "--no-defaults", "-N", "-B", "-h", self.url.hostname, "-P", str(self.url.port), "-u", self.url.username]
        return client, {"MYSQL_PWD": self.url.password}

    def ask(self, sql):
        command, environment = self.client()
        return subprocess.run([*command, "-e", sql], check=True, capture_output=True, text=True, env=os.environ | environment).stdout.strip()

    def export(self):
        command, environment = self.client()
        return [*command, "--quick", "--raw", "-e", f"SELECT * FROM {SCHEMA}.{self.table}"], environment


def table(figures):
    lines = [f"| {figures['rows']:,} rows of ten columns | its export | Maru | speed (aim: {figures['speed_aim']}) | CPU of the client, of Maru "
             f"| peak memory (aim: {figures['memory_aim_bytes'] >> 20} MiB) |", "|---|--:|--:|--:|--:|--:|"]
    for name, record in figures["sources"].items():
        lines.append(f"| {name}; {record['peer']} | {record['peer_s']:.1f} s | {record['maru_s']:.1f} s | {record['speed']:.2f} "
                     f"| {record['peer_cpu_s']:.1f} s, {record['maru_cpu_s']:.1f} s | {record['peak_memory_bytes'] >> 20} MiB |")
    return "\n".join(lines)
