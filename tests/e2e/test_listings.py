"""A thousand tables in ten catalogs: what clients ask to show them is answered from what is known of them."""

import pathlib
import sqlite3
import subprocess
import time

import pytest

HERE = pathlib.Path(__file__).parent
NAMES = [f"listed_{n}" for n in range(10)]
N_TABLES = 100
# Seconds a warm question may take. A release build stays under half a second; this bound is for a build for development on two slow cores
# that other builds use as well. On others the slowest of them (GetTables with columns, getColumns) took 0.5 s, and 2 s beside a build.
SECONDS_MAX = 10


@pytest.fixture(scope="module")
def listed(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("listed")
    with server.connect() as connection:
        for name in NAMES:
            with sqlite3.connect(folder / f"{name}.db") as database:
                for n in range(N_TABLES):
                    database.execute(f"CREATE TABLE t{n} (id INTEGER PRIMARY KEY, a TEXT NOT NULL, b REAL)")
            connection.execute(f"CREATE CATALOG {name} USING sqlite WITH (path = '{folder}/{name}.db')")
        yield connection
        for name in NAMES:
            connection.execute(f"DROP CATALOG {name}")


def warm(name, ask):
    """What a question gives the second and third time, and that it takes little."""
    ask()
    taken = []
    for _ in range(2):
        before = time.monotonic()
        found = ask()
        taken.append(time.monotonic() - before)
    print(f"{name}: {min(taken) * 1000:.0f} ms")
    assert min(taken) < SECONDS_MAX, name
    return found


def test_psql_lists_them(server, listed):
    for command, n_lines in [(r"\dt *.*", N_TABLES), (r"\dt+ *.t*", N_TABLES), (r"\d *.t7", None), (r"\dp *.t*", N_TABLES), (r"\l", None)]:
        done = warm(command, lambda: server.psql("-d", "listed_3", "-Atc", command))
        assert done.returncode == 0 and done.stderr == "", done.stderr
        lines = [line for line in done.stdout.splitlines() if "|t" in line and "|table|" in line]
        assert n_lines is None or len(lines) == n_lines, done.stdout


def test_tables_of_the_engine_and_of_the_standard_list_them(server, listed):
    ask = lambda sql: listed.execute(sql).fetchall()
    rows = warm("system.tables", lambda: ask("SELECT catalog, count(*) FROM system.tables WHERE catalog LIKE 'listed%' AND schema = 'main' GROUP BY 1 ORDER BY 1"))
    assert rows == [(name, N_TABLES) for name in NAMES]
    rows = warm("system.columns", lambda: ask("SELECT count(*) FROM system.columns WHERE catalog = 'listed_4' AND schema = 'main'"))
    assert rows == [(3 * N_TABLES,)]
    with server.connect(dbname="listed_5") as other:
        ask = lambda sql: other.execute(sql).fetchall()
        tables = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema = 'main' ORDER BY 2"
        assert len(warm("information_schema.tables", lambda: ask(tables))) == N_TABLES
        columns = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'main'"
        assert len(warm("information_schema.columns", lambda: ask(columns))) == 3 * N_TABLES
    every = " UNION ALL ".join(f"SELECT table_catalog, table_name FROM {name}.information_schema.tables WHERE table_schema = 'main'" for name in NAMES)
    assert len(warm("information_schema.tables of all ten", lambda: listed.execute(every).fetchall())) == 10 * N_TABLES


def test_jdbc_lists_them(server, listed):
    done = subprocess.run([HERE / "../services/pgjdbc", HERE / "JdbcListing.java", f"jdbc:postgresql://{server.endpoints['pg']}/listed_6", "maru", server.password],
                          capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    told = {line.rsplit(" ", 2)[0]: [int(n) for n in line.rsplit(" ", 2)[1:]] for line in done.stdout.splitlines()}
    rows = {name: rows for name, (rows, _) in told.items()}
    assert rows.pop("getSchemas") >= 1
    assert rows == {"getTables": N_TABLES, "getTables of all kinds": N_TABLES, "getColumns": 3 * N_TABLES, "getColumns of one table": 3}
    assert all(ms < SECONDS_MAX * 1000 for _, ms in told.values()), told


def test_flight_sql_lists_them(server, listed):
    with server.flight() as connection:
        def tables(**options):
            found = connection.adbc_get_objects(**options).read_all().to_pylist()
            return {(c["catalog_name"], t["table_name"]): t for c in found for s in c["catalog_db_schemas"] or []
                    if s["db_schema_name"] == "main" for t in s["db_schema_tables"] or []}
        found = warm("GetTables of all catalogs", lambda: tables(depth="tables", table_name_filter="t%"))
        assert len([key for key in found if key[0] in NAMES]) == 10 * N_TABLES
        found = warm("GetTables of one catalog", lambda: tables(depth="tables", catalog_filter="listed_7"))
        assert len(found) == N_TABLES
        found = warm("GetTables of one catalog with columns", lambda: tables(depth="columns", catalog_filter="listed_8"))
        assert len(found) == N_TABLES and all(len(table["table_columns"]) == 3 for table in found.values())
