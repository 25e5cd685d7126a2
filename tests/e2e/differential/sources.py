"""The databases' side: schemas of this run's own, filled, attached to a server, copied, and removed again."""

import os
import pathlib
import sqlite3
import urllib.parse

import psycopg
import pyarrow.parquet
import pymysql

from .tables import COLUMNS, rows, tables

SCHEMA = f"diff_{os.getpid()}"
CATALOGS = {"postgres": "diff_pg", "mysql": "diff_my", "sqlite": "diff_sq"}
COPIES = "diff_copies"


def url(source):
    return urllib.parse.urlsplit(os.environ[{"postgres": "MARU_TEST_PG", "mysql": "MARU_TEST_MYSQL"}[source]])


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def as_mysql(name):
    return "`" + name.replace("`", "``") + "`"


def name_in_maru(table):
    schema = "main" if table.source == "sqlite" else SCHEMA
    return f"{CATALOGS[table.source]}.{schema}.{quoted(table.name)}"


def name_of_copy(table):
    return f"{COPIES}.{table.copy}"


def fill_postgres(seed):
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as direct:
        direct.execute("SET client_min_messages = warning")
        direct.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        direct.execute(f"CREATE SCHEMA {SCHEMA}")
        direct.execute(f"CREATE COLLATION {SCHEMA}.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
        direct.execute(f"CREATE TYPE {SCHEMA}.mood AS ENUM ('sad', 'ok', 'happy', '매우 좋음')")
        for table in tables("postgres"):
            name = f"{SCHEMA}.{quoted(table.name)}"
            columns = ", ".join(f"{c.quoted} {c.type.format(schema=SCHEMA)}" for c in table.columns)
            direct.execute(f"CREATE TABLE {name} ({columns})")
            for row in rows(seed, table):
                direct.execute(f"INSERT INTO {name} VALUES ({', '.join(['%s'] * len(row))})", row)
            direct.execute(f"ANALYZE {name}")


def fill_mysql(seed):
    where = url("mysql")
    direct = pymysql.connect(host=where.hostname, port=where.port, user=where.username, password=where.password, charset="utf8mb4", autocommit=True)
    with direct, direct.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES'")
        cursor.execute(f"DROP DATABASE IF EXISTS {SCHEMA}")
        cursor.execute(f"CREATE DATABASE {SCHEMA} CHARACTER SET utf8mb4")
        for table in tables("mysql"):
            name = f"{SCHEMA}.{as_mysql(table.name)}"
            columns = ", ".join(f"{as_mysql(c.name)} {c.type}" for c in table.columns)
            cursor.execute(f"CREATE TABLE {name} ({columns})")
            for row in rows(seed, table):
                row = [value.removesuffix("+00") if c.kind == "tz" and value else value for c, value in zip(table.columns, row)]
                cursor.execute(f"INSERT INTO {name} VALUES ({', '.join(['%s'] * len(row))})", row)
            cursor.execute(f"ANALYZE TABLE {name}")


def fill_sqlite(seed, path):
    pathlib.Path(path).unlink(missing_ok=True)
    with sqlite3.connect(path) as direct:
        for table in tables("sqlite"):
            columns = ", ".join(f"{c.quoted} {c.type}" for c in table.columns)
            direct.execute(f"CREATE TABLE {quoted(table.name)} ({columns})")
            for row in rows(seed, table):
                row = [float(value) if c.kind == "float" and value is not None else value for c, value in zip(table.columns, row)]
                direct.execute(f"INSERT INTO {quoted(table.name)} VALUES ({', '.join(['?'] * len(row))})", row)
    direct.close()


def attach(connection, folder):
    pg, my = url("postgres"), url("mysql")
    for statement in [
        f"CREATE SECRET diff_login WITH (user = '{pg.username}', password = '{pg.password}')",
        f"CREATE CATALOG diff_pg USING postgres WITH (url = 'postgres://{pg.hostname}:{pg.port}{pg.path}', secret = 'diff_login')",
        f"CREATE CATALOG diff_my USING mysql WITH (url = 'mysql://{my.hostname}:{my.port}/{SCHEMA}', secret = 'diff_login', tinyint1 = 'boolean')",
        f"CREATE CATALOG diff_sq USING sqlite WITH (path = '{folder}/diff.db')",
        f"CREATE SCHEMA {COPIES}",
    ]:
        connection.execute(statement)


def copy(server, connection, folder):
    """Writes what the sources hold, as the engine reads it, into files of many small row groups."""
    with server.flight() as flight, flight.cursor() as cursor:
        cursor.execute("SET maru.pushdown = off")
        for source in COLUMNS:
            for table in tables(source):
                cursor.execute(f"SELECT * FROM {name_in_maru(table)}")
                rows = cursor.fetch_arrow_table()
                path = f"{folder}/{table.copy}.parquet"
                pyarrow.parquet.write_table(rows, path, row_group_size=16)
                connection.execute(f"CREATE EXTERNAL TABLE {name_of_copy(table)} STORED AS PARQUET LOCATION '{path}'")


def remove(connection):
    for source in COLUMNS:
        for table in tables(source):
            connection.execute(f"DROP TABLE IF EXISTS {name_of_copy(table)}")
    for statement in [f"DROP SCHEMA {COPIES}", *(f"DROP CATALOG {name}" for name in CATALOGS.values()), "DROP SECRET diff_login"]:
        connection.execute(statement)
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as direct:
        direct.execute("SET client_min_messages = warning")
        direct.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    where = url("mysql")
    direct = pymysql.connect(host=where.hostname, port=where.port, user=where.username, password=where.password)
    with direct, direct.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {SCHEMA}")
