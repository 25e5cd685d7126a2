"""Each source for itself, on the real service: names, types, NULLs, and what is honestly refused."""

import collections
import concurrent.futures
import contextlib
import os
import time
import urllib.parse
import urllib.request

import psycopg
import pytest
from seeding import data

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def connection(server):
    """One session on a server where every source is attached, under names of this file."""
    pg, mysql = (urllib.parse.urlsplit(os.environ[name]) for name in ("MARU_TEST_PG", "MARU_TEST_MYSQL"))
    with server.connect() as connection:
        for statement in [
            f"CREATE SECRET src_login WITH (user = '{pg.username}', password = '{pg.password}')",
            f"CREATE SECRET src_keys WITH (access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', "
            f"secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}')",
            f"CREATE CATALOG src_pg USING postgres WITH (url = 'postgres://{pg.hostname}:{pg.port}{pg.path}', secret = 'src_login')",
            f"CREATE CATALOG src_my USING mysql WITH (url = 'mysql://{mysql.hostname}:{mysql.port}{mysql.path}', secret = 'src_login')",
            f"CREATE CATALOG src_hdfs USING hdfs WITH (url = '{os.environ['MARU_TEST_HDFS']}/data')",
            f"CREATE CATALOG src_hive3 USING hive WITH (metastore = '{os.environ['MARU_TEST_HMS3']}')",
            f"CREATE CATALOG src_hive4 USING hive WITH (metastore = '{os.environ['MARU_TEST_HMS4']}')",
            f"CREATE CATALOG src_s3 USING s3 WITH (endpoint = '{os.environ['MARU_TEST_S3']}', bucket = 'weblogs', secret = 'src_keys')",
        ]:
            connection.execute(statement)
        yield connection
        for name in ["src_pg", "src_my", "src_hdfs", "src_hive3", "src_hive4", "src_s3"]:
            connection.execute(f"DROP CATALOG {name}")
        connection.execute("DROP SECRET src_login")
        connection.execute("DROP SECRET src_keys")


HIVE = pytest.mark.parametrize("catalog", ["src_hive3", "src_hive4"])


def test_customers_of_postgres(connection):
    rows = connection.execute("SELECT id, name, grade, city, joined, balance, memo, updated FROM src_pg.public.customers ORDER BY id").fetchall()
    assert rows == data.customers()


def test_customers_of_mariadb(connection):
    rows = connection.execute("SELECT id, name, grade, city, joined, balance, memo FROM src_my.shop.customers ORDER BY id").fetchall()
    assert rows == [row[:7] for row in data.customers()]


@pytest.mark.parametrize("sql", [
    "SELECT count(*) FROM {t} WHERE city = '서울' AND balance > 100",
    "SELECT count(*) FROM {t} WHERE city IS NULL",
    "SELECT count(*) FROM {t} WHERE memo = ''",
    "SELECT count(*) FROM {t} WHERE city <> 'busan port'",
    "SELECT grade, count(*), sum(balance) FROM {t} GROUP BY grade ORDER BY grade",
    "SELECT id FROM {t} WHERE joined BETWEEN DATE '2018-01-01' AND DATE '2018-06-30' ORDER BY id LIMIT 5",
    "SELECT id FROM {t} WHERE name LIKE 'customer 0%' AND id % 2 = 0 ORDER BY id",
])
def test_filters_mean_the_same_in_every_database(connection, sql):
    """MariaDB's default collation takes `Busan Port` and `busan port` for one; Maru does not."""
    postgres = connection.execute(sql.format(t="src_pg.public.customers")).fetchall()
    mariadb = connection.execute(sql.format(t="src_my.shop.customers")).fetchall()
    with psycopg.connect(os.environ["MARU_TEST_PG"]) as direct:
        assert postgres == direct.execute(sql.format(t="public.customers")).fetchall()
    assert mariadb == postgres


def explain(connection, sql):
    cursor = connection.execute(sql)
    assert [column.name for column in cursor.description] == ["QUERY PLAN"]
    return "\n".join(row[0] for row in cursor.fetchall())


def test_explain_tells_what_a_source_is_sent_and_what_stays(connection):
    plan = explain(connection, "EXPLAIN SELECT name FROM src_pg.public.customers WHERE id = 7 AND upper(city) = 'BUSAN'")
    assert 'src_pg is sent: SELECT "name", "city" FROM "public"."customers" WHERE "id" = 7' in plan, plan
    assert "Stays in the engine:" in plan and "upper(" in plan and "sources cannot be asked this" in plan, plan
    connection.execute("SET maru.pushdown = off")
    try:
        plan = explain(connection, "EXPLAIN SELECT name FROM src_pg.public.customers WHERE id = 7")
        assert "WHERE" not in plan and "(pushdown is off)" in plan, plan
    finally:
        connection.execute("RESET maru.pushdown")
    plan = explain(connection, "EXPLAIN ANALYZE SELECT name FROM src_pg.public.customers WHERE id <= 7")
    assert "came back: 7 rows" in plan and "Execution Time:" in plan and "(7 rows" in plan, plan


@HIVE
def test_explain_tells_which_files_are_read(connection, catalog):
    plan = explain(connection, f"EXPLAIN ANALYZE SELECT count(*), sum(seconds) FROM {catalog}.demo.log WHERE dt = '2026-11-02'")
    assert f"{catalog} is read: 1 files" in plan and "came back:" in plan, plan


@HIVE
def test_partitioned_table_of_hive(connection, catalog):
    rows = connection.execute(f"SELECT dt, count(*), sum(seconds) FROM {catalog}.demo.log GROUP BY dt ORDER BY dt").fetchall()
    assert rows == [(day, t.num_rows, sum(s or 0 for s in t.column("seconds").to_pylist())) for day, t in data.call_log().items()]


@HIVE
def test_partition_values_with_special_characters(connection, catalog):
    got = collections.defaultdict(list)
    for tag, number, name in connection.execute(f"SELECT tag, id, name FROM {catalog}.demo.tagged ORDER BY id"):
        got[tag].append((number, name))
    assert got == {tag: [(r["id"], r["name"]) for r in t.to_pylist()] for tag, t in data.tagged().items()}
    for tag in ["a b", "x/y", "k=v", "100%", "한글"]:
        assert connection.execute(f"SELECT count(*) FROM {catalog}.demo.tagged WHERE tag = %s", [tag]).fetchone() == (3,)
    assert connection.execute(f"SELECT count(*) FROM {catalog}.demo.tagged WHERE tag IS NULL").fetchone() == (3,)


@HIVE
@pytest.mark.parametrize("table", ["log_text", "log_ctrl_a"])
def test_delimited_text_of_hive(connection, catalog, table):
    rows = connection.execute(
        f"SELECT id, name, grade, joined, balance, active, score FROM {catalog}.demo.{table} ORDER BY id").fetchall()
    assert [tuple(None if v is None else str(v) for v in row[:5]) for row in rows] == [
        tuple(None if v is None else str(v) for v in row[:5]) for row in data.text_rows()]
    assert [row[5] for row in rows] == [True, False, None, True, False]
    assert [row[6] for row in rows] == [1.5, -2.25, None, 1e10, 0.0]


@HIVE
def test_orc_of_hive(connection, catalog):
    rows = connection.execute(f"SELECT * FROM {catalog}.demo.log_orc ORDER BY 1, 2, 3").fetchall()
    wanted = data.call_log()[data.DAYS[0]].to_pylist()
    assert sorted(map(repr, rows)) == sorted(repr(tuple(row.values())) for row in wanted)


def test_files_on_hdfs(connection):
    connection.execute("CREATE SCHEMA src_files")
    base = os.environ["MARU_TEST_HDFS"] + "/data"
    connection.execute(f"CREATE EXTERNAL TABLE src_files.calls STORED AS PARQUET LOCATION '{base}/calls/'")
    connection.execute("CREATE EXTERNAL TABLE src_files.csv (id bigint, name text, amount numeric(10,2)) STORED AS CSV "
                       f"WITH (header = true) LOCATION '{base}/csv/'")
    try:
        assert connection.execute("SELECT count(*) FROM src_files.calls").fetchone() == (1500,)
        rows = connection.execute("SELECT id, name, CAST(amount AS text) FROM src_files.csv ORDER BY id").fetchall()
        assert [(r[0], r[2]) for r in rows] == [(1, "1.50"), (2, None), (3, "-3.25")] and rows[2][1] == "three, 3"
    finally:
        connection.execute("DROP TABLE src_files.calls")
        connection.execute("DROP TABLE src_files.csv")
        connection.execute("DROP SCHEMA src_files")


@pytest.mark.parametrize("options,sqlstate,text", [
    ("postgres WITH (url = 'postgres://127.0.0.1:1/shop', user = 'u', password = 'p')", "HV00N", "127.0.0.1:1"),
    ("postgres WITH (url = 'postgres://127.0.0.1:{pg}/shop', user = 'tester', password = 'not-this-one')", "HV00L", "tester"),
    ("hive WITH (metastore = 'thrift://127.0.0.1:1')", "HV00N", "127.0.0.1:1"),
    ("s3 WITH (endpoint = '{s3}', bucket = 'no-such-bucket', secret = 'src_keys')", "HV", "no-such-bucket"),
    ("hdfs WITH (url = 'hdfs://127.0.0.1:1/')", "HV00N", "127.0.0.1:1"),
    ("hive WITH (metastor = 'thrift://127.0.0.1:1')", "HV00D", "metastor"),
])
def test_create_catalog_says_what_is_wrong(connection, options, sqlstate, text):
    options = options.replace("{pg}", str(urllib.parse.urlsplit(os.environ["MARU_TEST_PG"]).port)).replace("{s3}", os.environ["MARU_TEST_S3"])
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(f"CREATE CATALOG src_bad USING {options}")
    diagnosis = caught.value.diag
    assert diagnosis.sqlstate.startswith(sqlstate), (diagnosis.sqlstate, diagnosis.message_primary)
    everything = " ".join(filter(None, [diagnosis.message_primary, diagnosis.message_detail, diagnosis.message_hint]))
    assert text in everything and "not-this-one" not in everything, everything
    assert connection.execute("SELECT count(*) FROM system.catalogs WHERE name = 'src_bad'").fetchone() == (0,)


def test_secrets_are_never_shown(connection):
    statements = ["SELECT * FROM system.catalogs", "SELECT * FROM system.secrets", "SHOW SECRETS", "SHOW CATALOGS", "SELECT * FROM system.queries"]
    text = str([connection.execute(statement).fetchall() for statement in statements])
    assert "src_pg" in text
    for secret in [urllib.parse.urlsplit(os.environ["MARU_TEST_PG"]).password, os.environ["MARU_TEST_S3_SECRET_KEY"]]:
        assert secret not in text


@pytest.mark.parametrize("connector,variable,schema", [("postgres", "MARU_TEST_PG", "public"), ("mysql", "MARU_TEST_MYSQL", "shop")])
def test_queries_wait_for_their_turn(server, connection, connector, variable, schema):
    """With two queries per second, eight statements side by side take three seconds at least; none fails."""
    url = urllib.parse.urlsplit(os.environ[variable])
    connection.execute(f"CREATE CATALOG paced_{connector} USING {connector} WITH (url = '{connector}://{url.hostname}:{url.port}{url.path}', "
                       f"secret = 'src_login', max_queries_per_second = 2)")
    sql = f"SELECT count(*) FROM paced_{connector}.{schema}.customers WHERE id > 0"

    def ask(session):
        return session.execute(sql).fetchone()[0]

    try:
        expected = ask(connection)
        with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(8) as threads:
            # Logins are done before, so that the statements come at once.
            sessions = [stack.enter_context(server.connect()) for _ in range(8)]
            start = time.monotonic()
            assert list(threads.map(ask, sessions)) == [expected] * 8
        assert time.monotonic() - start >= 3
        with urllib.request.urlopen(server.url() + "/metrics", timeout=20) as answer:
            waits = [line for line in answer.read().decode().splitlines() if line.startswith(f'maru_source_wait_seconds{{catalog="paced_{connector}"}}')]
        assert len(waits) == 1 and float(waits[0].rsplit(" ", 1)[1]) > 3
        shown = dict(connection.execute(f"SELECT name, options::text FROM system.catalogs WHERE name = 'paced_{connector}'").fetchall())
        assert "max_queries_per_second" in shown[f"paced_{connector}"]
    finally:
        connection.execute(f"DROP CATALOG paced_{connector}")
