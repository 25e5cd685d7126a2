"""EXPLAIN ANALYZE: the rows and bytes that came from each source, whatever its kind and format."""

import gzip
import json
import os
import pathlib
import re
import urllib.parse

import duckdb
import pytest

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"


def came_back(connection, sql):
    """Rows and the text of bytes by catalog, and the whole report."""
    lines = [line for (line,) in connection.execute("EXPLAIN ANALYZE " + sql).fetchall()]
    found, catalog = {}, None
    for line in lines:
        start = re.match(r"  (\S+) is (sent|read): ", line)
        catalog = start.group(1) if start else catalog
        figures = re.match(r"    came back: (\d+) rows, ([\d.]+) (\w+)", line)
        if figures:
            found[catalog] = (int(figures.group(1)), float(figures.group(2)))
    return found, "\n".join(lines)


@pytest.mark.parametrize("kind", ["parquet", "csv", "csv.gz", "json"])
def test_files_tell_rows_and_bytes(server, tmp_path, kind):
    directory = tmp_path / "d" / "t"
    directory.mkdir(parents=True)
    rows = [(n, f"name {n}") for n in range(5000)]
    if kind == "parquet":
        duckdb.execute(f"COPY (SELECT i AS n, 'name ' || i AS name FROM range(5000) t(i)) TO '{directory}/a.parquet' (FORMAT parquet)")
    elif kind == "json":
        (directory / "a.json").write_text("".join(json.dumps({"n": n, "name": name}) + "\n" for n, name in rows))
    else:
        text = "n,name\n" + "".join(f"{n},{name}\n" for n, name in rows)
        (directory / ("a." + kind)).write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG ex_files USING file WITH (path = '{tmp_path}')")
        try:
            found, text = came_back(connection, "SELECT max(name) FROM ex_files.d.t WHERE n >= 0")
            assert found["ex_files"][0] == 5000 and found["ex_files"][1] > 0, text
        finally:
            connection.execute("DROP CATALOG ex_files")


@pytest.mark.services
def test_services_tell_rows_and_bytes(server):
    pg, mysql = (urllib.parse.urlsplit(os.environ[name]) for name in ("MARU_TEST_PG", "MARU_TEST_MYSQL"))
    catalogs = [
        ("ex_pg", f"postgres WITH (url = 'postgres://{pg.hostname}:{pg.port}{pg.path}', secret = 'ex_login')"),
        ("ex_my", f"mysql WITH (url = 'mysql://{mysql.hostname}:{mysql.port}{mysql.path}', secret = 'ex_login')"),
        ("ex_hive", f"hive WITH (metastore = '{os.environ['MARU_TEST_HMS4']}')"),
    ]
    with server.connect() as connection:
        connection.execute(f"CREATE SECRET ex_login WITH (user = '{pg.username}', password = '{pg.password}')")
        for name, rest in catalogs:
            connection.execute(f"CREATE CATALOG {name} USING {rest}")
        try:
            for name, table, n_rows in [("ex_my", "shop.customers", 1000), ("ex_hive", "demo.log", 1500)]:
                found, text = came_back(connection, f"SELECT * FROM {name}.{table}")
                assert found[name][0] == n_rows and found[name][1] > 0, text
            found, text = came_back(connection, "SELECT * FROM ex_pg.query($$ SELECT n, 'x' || n AS x FROM generate_series(1, 700) n $$) q")
            assert found["ex_pg"][0] == 700 and found["ex_pg"][1] > 0, text
            # Two sources in one statement, each with its own.
            found, text = came_back(connection, "SELECT count(*) FROM ex_my.shop.customers c CROSS JOIN "
                                                "ex_pg.query($$ SELECT 1 AS one FROM generate_series(1, 3) $$) q WHERE c.id % 2 = q.one")
            assert found["ex_pg"][0] == 3 and found["ex_my"][0] == 1000, text
        finally:
            for name, _ in catalogs:
                connection.execute(f"DROP CATALOG {name}")
            connection.execute("DROP SECRET ex_login")


@pytest.mark.parametrize("asked,version", [("", 5), (" VERSION AS OF 1", 1)])
def test_the_version_of_a_delta_table_is_told(server, asked, version):
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG ex_delta USING file WITH (path = '{FIXTURES}/delta')")
        try:
            found, text = came_back(connection, f"SELECT max(customer) FROM ex_delta.public.orders{asked}")
            assert f"version={version}" in text and found["ex_delta"][0] > 0, text
        finally:
            connection.execute("DROP CATALOG ex_delta")
