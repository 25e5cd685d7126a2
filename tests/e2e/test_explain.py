"""EXPLAIN: the partitions that a source is asked for. EXPLAIN ANALYZE: the rows and bytes that came from it, whatever its kind and
format, and the row groups, pages and stripes that were left out, with the right rows."""

import datetime
import decimal
import gzip
import json
import os
import pathlib
import re
import urllib.parse

import duckdb
import pyarrow
import pyarrow.csv
import pyarrow.orc
import pyarrow.parquet
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


def explained(connection, sql, how=""):
    return "\n".join(line for (line,) in connection.execute(f"EXPLAIN {how}{sql}").fetchall())


def figures(connection, sql, analyze=True):
    """What the first scan of files says in JSON."""
    how = "(ANALYZE, FORMAT JSON)" if analyze else "(FORMAT JSON)"
    plan = connection.execute(f"EXPLAIN {how} {sql}").fetchone()[0]
    nodes = [(json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]]
    while nodes:
        node = nodes.pop()
        if "Files" in node:
            return node
        nodes += node.get("Plans", [])
    raise AssertionError(plan)


@pytest.fixture
def lake(server, tmp_path):
    """A session, a directory, and a catalog `parts` over it."""
    (tmp_path / "s").mkdir()
    with server.connect(prepare_threshold=None) as connection:
        connection.execute(f"CREATE CATALOG parts USING file WITH (path = '{tmp_path}')")
        try:
            yield connection, tmp_path / "s"
        finally:
            connection.execute("DROP CATALOG parts")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_partitions_are_told(lake, kind):
    connection, folder = lake
    for year in (2024, 2025):
        for month in range(1, 7):
            place = folder / f"t/y={year}/m={month}"
            place.mkdir(parents=True)
            for name in "ab":
                table = pyarrow.table({"n": pyarrow.array([month, None], "int64"), "k": [1, 2]})
                (pyarrow.csv.write_csv if kind == "csv" else pyarrow.parquet.write_table)(table, place / f"{name}.{kind}")
    for condition, wanted, files in [("true", 12, 24), ("y = 2024", 6, 12), ("y = 2024 AND m = 3", 1, 2), ("m > 4", 4, 8), ("y = 1999", 0, 0), ("m IS NULL", 0, 0)]:
        sql = f"SELECT n, k FROM parts.s.t WHERE {condition}"
        for how in ("", "ANALYZE "):
            text = explained(connection, sql, how)
            assert f"parts is read: {files} files" in text and f"    partitions: {wanted} of 12" in text, text
        node = figures(connection, sql, analyze=False)
        assert (node["Files"], node["Partitions"], node["Partitions Total"]) == (files, wanted, 12), node
        assert len(connection.execute(sql).fetchall()) == files * 2
    # A table without partitions has no such line.
    pyarrow.csv.write_csv(pyarrow.table({"n": [1]}), folder / "one.csv")
    assert "    partitions: " not in explained(connection, "SELECT * FROM parts.s.one") and "Partitions" not in figures(connection, "SELECT * FROM parts.s.one")
    # Of very many directories above the partitions, only those are listed that are wanted.
    for number in range(70):
        (folder / f"deep/a={number}/b=1").mkdir(parents=True)
        pyarrow.csv.write_csv(pyarrow.table({"n": [number]}), folder / f"deep/a={number}/b=1/x.csv")
    assert "    partitions: 70 of 70" in explained(connection, "SELECT * FROM parts.s.deep")
    assert "    partitions: 1 (how many there are was not listed)" in explained(connection, "SELECT * FROM parts.s.deep WHERE a = 7")
    assert figures(connection, "SELECT * FROM parts.s.deep WHERE a = 7")["Partitions Total"] is None


def test_row_groups_are_told(lake):
    connection, folder = lake
    table = pyarrow.table({"n": pyarrow.array(range(1000), "int64"), "s": [f"text {n}" for n in range(1000)]})
    pyarrow.parquet.write_table(table, folder / "t.parquet", row_group_size=100)
    for condition, groups, rows in [("n = 555", 1, 1), ("n BETWEEN 150 AND 250", 2, 101), ("n >= 0", 10, 1000), ("s = 'text 7'", None, 1)]:
        sql = f"SELECT count(*), max(s) FROM parts.s.t WHERE {condition}"
        node = figures(connection, sql)
        assert node["Row Groups Total"] == 10 and groups in (None, node["Row Groups"]), node
        left_out = 10 - node["Row Groups"]
        wanted = f"    row groups: {node['Row Groups']} of 10" + (f" (left out: {left_out} by statistics)" if left_out else "")
        text = explained(connection, sql, "ANALYZE ")
        assert wanted in text, text
        assert node["Row Groups Left Out"] == ({"statistics": left_out} if left_out else {})
        assert connection.execute(sql).fetchone()[0] == rows
    assert "row groups:" not in explained(connection, "SELECT * FROM parts.s.t WHERE n = 555")


def pruned(connection, sql, what, why):
    """The rows with and without pushdown, and how many parts were left out for the reason."""
    node = figures(connection, sql)
    rows = connection.execute(sql).fetchall()
    connection.execute("SET maru.pushdown = off")
    every = figures(connection, sql)
    assert connection.execute(sql).fetchall() == rows
    connection.execute("RESET maru.pushdown")
    assert not every.get(f"{what} Left Out"), every
    return rows, node.get(f"{what} Left Out", {}).get(why, 0)


@pytest.mark.parametrize("values", ["int64", "string", "decimal128(12, 2)"])
def test_bloom_filters_leave_out_row_groups(lake, values):
    """The values of each row group go from end to end, so that the bounds say nothing. Filters of dates are not looked at (DataFusion 55.2)."""
    connection, folder = lake
    kinds = {"int64": pyarrow.int64(), "string": pyarrow.string(), "decimal128(12, 2)": pyarrow.decimal128(12, 2)}

    def value(n):
        return {"int64": n, "string": f"key {n:05}", "decimal128(12, 2)": decimal.Decimal(n) / 4}[values]

    # Even numbers alone, dealt out to eight row groups.
    ids = [n for first in range(0, 16, 2) for n in range(first, 8000, 16)]
    table = pyarrow.table({"n": pyarrow.array(ids, "int64"), "v": pyarrow.array([value(n) for n in ids], kinds[values])})
    pyarrow.parquet.write_table(table, folder / "t.parquet", row_group_size=len(ids) // 8, bloom_filter_options={"v": {"ndv": 1000, "fpp": 0.001}})
    assert pyarrow.parquet.ParquetFile(folder / "t.parquet").num_row_groups == 8
    total = 0
    for n in [4001, 4002, 3999, 5555, 6000]:
        rows, by_bloom = pruned(connection, f"SELECT n FROM parts.s.t WHERE v = '{value(n)}'", "Row Groups", "bloom filters")
        assert rows == ([(n,)] if n % 2 == 0 else [])
        # All of them, but for a false alarm; where the value is, not the one that has it.
        assert by_bloom <= 8 - len(rows)
        total += 8 - len(rows) - by_bloom
    assert total <= 2
    rows, by_bloom = pruned(connection, f"SELECT n FROM parts.s.t WHERE v IN ('{value(4001)}', '{value(16)}', '{value(4003)}')", "Row Groups", "bloom filters")
    assert rows == [(16,)] and by_bloom >= 6
    assert "by bloom filters" in explained(connection, f"SELECT n FROM parts.s.t WHERE v = '{value(4001)}'", "ANALYZE ")
    # Of what is not asked for one value they say nothing.
    rows, by_bloom = pruned(connection, f"SELECT count(*) FROM parts.s.t WHERE v > '{value(4001)}'", "Row Groups", "bloom filters")
    assert rows == [(sum(n > 4001 for n in ids),)] and by_bloom == 0


@pytest.mark.parametrize("nulls", [False, True])
def test_the_page_index_leaves_out_pages(lake, nulls):
    connection, folder = lake
    ids = list(range(20_000))
    values = [None if nulls and n % 5 == 0 else n * 3 for n in ids]
    table = pyarrow.table({"n": pyarrow.array(ids, "int64"), "v": pyarrow.array(values, "int64"), "s": [f"text {n}" for n in ids]})
    pyarrow.parquet.write_table(table, folder / "t.parquet", row_group_size=len(ids), write_page_index=True, max_rows_per_page=500, use_dictionary=False)
    for condition, wanted in [("v = 3003", [(1001,)]), ("v = 3004", []), ("v BETWEEN 30000 AND 30010", None), ("v >= 59990", None), ("v = 3003 AND s = 'text 1001'", [(1001,)])]:
        rows, left_out = pruned(connection, f"SELECT n FROM parts.s.t WHERE {condition} ORDER BY n", "Pages", "the page index")
        assert wanted in (None, rows) and left_out >= 35, (condition, rows, left_out)
    node = figures(connection, "SELECT n FROM parts.s.t WHERE v = 3003")
    assert node["Pages Total"] == 40 and node["Pages"] == 1 and node["Row Groups"] == 1, node
    assert "    row groups: 1 of 1, pages: 1 of 40 (left out: 39 by the page index)" in explained(connection, "SELECT n FROM parts.s.t WHERE v = 3003", "ANALYZE ")
    # Without an index nothing is known of pages.
    pyarrow.parquet.write_table(table, folder / "u.parquet", row_group_size=len(ids), write_page_index=False, max_rows_per_page=500, use_dictionary=False)
    node = figures(connection, "SELECT n FROM parts.s.u WHERE v = 3003")
    assert "Pages" not in node and node["Row Groups"] == 1, node


def test_stripes_are_told(lake):
    connection, folder = lake
    with pyarrow.orc.ORCWriter(folder / "t.orc", stripe_size=1000, batch_size=100) as writer:
        for start in range(0, 1000, 100):
            writer.write(pyarrow.table({"n": pyarrow.array(range(start, start + 100), "int64")}))
    sql = "SELECT count(*), max(n) FROM parts.s.t WHERE n = 555"
    node = figures(connection, sql)
    assert node["Stripes Total"] > 1 and node["Stripes"] == 1 and node["Stripes Left Out"] == {"statistics": node["Stripes Total"] - 1}, node
    assert f"    stripes: 1 of {node['Stripes Total']} (left out: " in explained(connection, sql, "ANALYZE ")
    assert connection.execute(sql).fetchone() == (1, 555)


def test_partitions_of_a_delta_table_are_told(server):
    with server.connect(prepare_threshold=None) as connection:
        connection.execute(f"CREATE CATALOG ex_delta USING file WITH (path = '{FIXTURES}/delta')")
        try:
            everything = figures(connection, "SELECT * FROM ex_delta.public.orders")
            assert everything["Partitions"] == everything["Partitions Total"] > 1, everything
            some = figures(connection, "SELECT * FROM ex_delta.public.orders WHERE region IS NULL")
            assert some["Partitions"] < some["Partitions Total"] == everything["Partitions Total"], some
        finally:
            connection.execute("DROP CATALOG ex_delta")


@pytest.mark.services
def test_partitions_of_a_hive_table_are_told(server):
    with server.connect(prepare_threshold=None) as connection:
        connection.execute(f"CREATE CATALOG ex_parts USING hive WITH (metastore = '{os.environ['MARU_TEST_HMS4']}')")
        try:
            everything = figures(connection, "SELECT * FROM ex_parts.demo.log")
            # One of them has no file.
            assert 1 < everything["Partitions"] <= everything["Partitions Total"], everything
            some = figures(connection, "SELECT * FROM ex_parts.demo.log WHERE dt = (SELECT min(dt) FROM ex_parts.demo.log)")
            day = connection.execute("SELECT min(dt) FROM ex_parts.demo.log").fetchone()[0]
            text = explained(connection, f"SELECT * FROM ex_parts.demo.log WHERE dt = '{day}'")
            assert f"    partitions: 1 of {everything['Partitions Total']}" in text, text
            assert some["Partitions Total"] == everything["Partitions Total"]
        finally:
            connection.execute("DROP CATALOG ex_parts")


@pytest.mark.services
def test_what_stays_is_told_as_it_is_written(server):
    """A subquery whose value is sent later says so, JSON tells what stays too, and nothing that the planner calls something is shown by that name."""
    pg = urllib.parse.urlsplit(os.environ["MARU_TEST_PG"])
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG ex_stays USING postgres WITH (url = 'postgres://{pg.hostname}:{pg.port}{pg.path}', user = '{pg.username}', password = '{pg.password}')")
        try:
            here = "SELECT max(n) FROM (VALUES (3), (2)) AS t (n)"
            native = "SELECT count(*), count(*) FROM ex_stays.query($$ SELECT oid::int8 AS id, relname::text AS name FROM pg_class $$) AS c WHERE length(name) > 3 AND id = (" + here + ")"
            text = "\n".join(line for (line,) in connection.execute("EXPLAIN " + native).fetchall())
            stays = text.split("Stays in the engine:\n")[1]
            assert "ex_stays.query($$ SELECT oid::int8 AS id" in stays and "<query>" not in stays, text
            assert "checked for each row; what the subquery gives is sent once it is known" in stays and "added at run time: id" in text, text
            assert "\x01" not in text
            ((plan,),) = connection.execute("EXPLAIN (FORMAT JSON) " + native).fetchall()
            plan = plan if isinstance(plan, list) else json.loads(plan)
            assert any("length" in line for line in plan[0]["Stays In Engine"]), plan
            assert "Added At Run Time" in json.dumps(plan) and "\\u0001" not in json.dumps(plan), plan
        finally:
            connection.execute("DROP CATALOG ex_stays")
