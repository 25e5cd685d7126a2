"""Rows into databases: how fast Maru writes a Parquet file into a table, beside the database's own load of a prepared file.

The services of tests/services must be up. The prepared files are made once and kept.
"""

import os
import statistics
import subprocess

import duckdb

from measure import export

ROWS = 10_000_000
SPEED_AIM = 0.8

# The rows of `export`, as a file that Maru reads.
PARQUET = """COPY (SELECT i AS id, (i * 7919 % 1000003)::INTEGER AS n, CASE WHEN i % 10 <> 0 THEN (i % 97)::INTEGER END AS k,
  ((i * 31 % 100000000)::DECIMAL(14,2) / 100)::DECIMAL(12,2) AS price, 'customer ' || (i * 104729 % 1000000) AS name,
  CASE WHEN i % 4 <> 0 THEN 'a note about order ' || i END AS note, (DATE '2020-01-01' + (i % 2000)::INTEGER)::DATE AS day,
  make_timestamp(1577836800000000 + i * 1234567 % 150000000000000) AS at, i / 7e0 AS ratio, i % 3 = 0 AS flag
FROM (SELECT range AS i FROM range(1, {rows} + 1))) TO '{file}' (FORMAT parquet)"""


def run(arguments):
    """Each database and its own load in turns, so that neighbours on the machine hit both."""
    rows = max(int(ROWS * float(arguments.scale)), 1000)
    figures = {"rows": rows, "speed_aim": SPEED_AIM, "wrong": [], "targets": {}}
    parquet = arguments.cache / f"ingest-{rows}" / "files" / "rows.parquet"
    if not parquet.exists():
        parquet.parent.mkdir(parents=True, exist_ok=True)
        duckdb.execute(PARQUET.format(rows=rows, file=f"{parquet}.new"))
        os.rename(f"{parquet}.new", parquet)
    for target in (Postgres, MariaDb):
        if target.VARIABLE not in os.environ:
            figures["wrong"].append(f"{target.VARIABLE} is not set: tests/services/ctl up, then eval \"$(tests/services/ctl env)\"")
            continue
        figures["targets"][target.NAME] = compared(target(arguments, rows, parquet), arguments, figures["wrong"])
    return figures


def compared(target, arguments, wrong):
    target.make()
    target.prepare()
    record = {"peer": target.PEER, "peer_runs": [], "maru_runs": []}
    maru, expected = target.maru(), target.checksum(target.table)
    for number in range(1 + arguments.repeats):
        for name, command in (("peer", target.load()), ("maru", maru)):
            target.ask(f"TRUNCATE TABLE {export.SCHEMA}.{target.into}")
            run = export.measured(command, os.devnull)
            if run.pop("exit_code") != 0:
                wrong.append(f"{target.NAME}, {name}: {run['errors'][-500:]}")
                return record
            del run["errors"]
            # The first run warms up, and is looked at.
            if number > 0:
                record[f"{name}_runs"].append(run)
            elif (found := target.checksum(target.into)) != expected:
                wrong.append(f"{target.NAME}, {name}: the rows are {found}, not {expected}")
                return record
    for name in ("peer", "maru"):
        record[f"{name}_s"] = statistics.median(run["elapsed_s"] for run in record[f"{name}_runs"])
        record[f"{name}_cpu_s"] = statistics.median(run["cpu_s"] for run in record[f"{name}_runs"])
    record["speed"] = record["peer_s"] / record["maru_s"]
    record["peak_memory_bytes"] = max(run["peak_memory_bytes"] for run in record["maru_runs"])
    return record


class Target:
    """What both databases share; `export` knows how to talk to them and makes the rows."""

    def __init__(self, arguments, rows, parquet):
        super().__init__(arguments, rows)
        self.parquet = parquet
        self.into = f"ingest_{rows}"
        self.file = parquet.parents[1] / f"{self.NAME.lower()}.data"

    def maru(self):
        command, environment = super().maru()
        maru = command[:command.index("-c")]
        files = f"CREATE CATALOG files USING file WITH (path = '{self.parquet.parent}', layout = 'tables')"
        subprocess.run([*maru, "-c", files], check=True, stdout=subprocess.DEVNULL)
        columns = ", ".join(export.COLUMNS)
        sql = f"INSERT INTO db.{export.SCHEMA}.{self.into} ({columns}) SELECT {columns} FROM files.public.rows"
        return [*maru, "-c", sql], environment


class Postgres(Target, export.Postgres):
    PEER = "psql, \\copy … FROM (FORMAT binary)"

    def prepare(self):
        schema = export.SCHEMA
        self.ask(f"DROP TABLE IF EXISTS {schema}.{self.into}")
        self.ask(f"CREATE TABLE {schema}.{self.into} (LIKE {schema}.{self.table} INCLUDING ALL)")
        if not self.file.exists():
            command, environment = self.client()
            with open(f"{self.file}.new", "wb") as out:
                copy = f"COPY {schema}.{self.table} TO STDOUT (FORMAT binary)"
                subprocess.run([*command, "-c", copy], check=True, stdout=out, env=os.environ | environment)
            os.rename(f"{self.file}.new", self.file)

    def load(self):
        command, environment = self.client()
        return [*command, "-c", f"\\copy {export.SCHEMA}.{self.into} FROM '{self.file}' (FORMAT binary)"], environment

    def checksum(self, table):
        return self.ask(f"SELECT count(*), sum(hashtextextended(t::text, 0)::numeric) FROM {export.SCHEMA}.{table} t")


class MariaDb(Target, export.MariaDb):
    PEER = "mariadb, LOAD DATA LOCAL INFILE"

    def prepare(self):
        schema = export.SCHEMA
        self.ask(f"DROP TABLE IF EXISTS {schema}.{self.into}")
        self.ask(f"CREATE TABLE {schema}.{self.into} LIKE {schema}.{self.table}")
        if not self.file.exists():
            command, environment = self.client()
            columns = ", ".join(f"IFNULL({column}, '\\\\N')" if column in ("k", "note") else column for column in export.COLUMNS)
            with open(f"{self.file}.new", "wb") as out:
                select = f"SELECT {columns} FROM {schema}.{self.table}"
                subprocess.run([*command, "--quick", "--raw", "-e", select], check=True, stdout=out, env=os.environ | environment)
            os.rename(f"{self.file}.new", self.file)

    def load(self):
        command, environment = self.client()
        load = f"LOAD DATA LOCAL INFILE '{self.file}' INTO TABLE {export.SCHEMA}.{self.into} CHARACTER SET utf8mb4"
        return [*command, "--local-infile=1", "-e", load], environment

    def checksum(self, table):
        columns = ", ".join(export.COLUMNS)
        return self.ask(f"SELECT count(*), sum(crc32(concat_ws('|', {columns}, k IS NULL, note IS NULL))) FROM {export.SCHEMA}.{table}")


def table(figures):
    lines = [f"| {figures['rows']:,} rows of ten columns | its own load | Maru | speed (aim: {figures['speed_aim']}) "
             "| CPU of the client, of Maru | peak memory |", "|---|--:|--:|--:|--:|--:|"]
    for name, record in figures["targets"].items():
        lines.append(f"| {name}; {record['peer']} | {record['peer_s']:.1f} s | {record['maru_s']:.1f} s | {record['speed']:.2f} "
                     f"| {record['peer_cpu_s']:.1f} s, {record['maru_cpu_s']:.1f} s | {record['peak_memory_bytes'] >> 20} MiB |")
    return "\n".join(lines)
