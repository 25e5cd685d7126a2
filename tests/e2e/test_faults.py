"""Sources that die, stop, crawl or answer errors during a scan: the statement ends in time with the right SQLSTATE or the right
rows, the next one works, and nothing of it stays behind in the source."""

import os
import threading
import time
import urllib.parse

import boto3
import psycopg
import pyarrow
import pyarrow.parquet
import pymysql
import pytest

from fault_proxy import FaultProxy
from own_databases import OwnMariadb, OwnPostgres

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]

LONG = os.environ.get("MARU_TEST_LONG") == "1"
ROWS = 400_000 if LONG else 60_000
TIMEOUT_S = 4 if LONG else 2
# Bytes from the source before the connection is cut.
CUTS = [0, 1000, 100_000, 1_000_000, 3_000_000] if LONG else [1000, 2_000_000]
# A source that is cut off, gone or broken; a statement that took too long.
GONE = {"HV00N", "HV000", "57P01"}
TIMED_OUT = {"57014"}


def address(name, default_port=None):
    url = urllib.parse.urlsplit(os.environ[name])
    return url, url.hostname, url.port or default_port


def s3_client():
    return boto3.client("s3", endpoint_url=os.environ["MARU_TEST_S3"], aws_access_key_id=os.environ["MARU_TEST_S3_ACCESS_KEY"],
                        aws_secret_access_key=os.environ["MARU_TEST_S3_SECRET_KEY"], region_name="us-east-1")


@pytest.fixture(scope="module")
def proxies():
    proxies = {}
    for kind, name in [("pg", "MARU_TEST_PG"), ("my", "MARU_TEST_MYSQL"), ("s3", "MARU_TEST_S3"), ("hdfs", "MARU_TEST_HDFS"), ("hive", "MARU_TEST_HMS4")]:
        _, host, port = address(name)
        proxies[kind] = FaultProxy(host, port)
    yield proxies
    for proxy in proxies.values():
        proxy.close()


@pytest.fixture(scope="module")
def sources():
    """Tables of this file's own, large enough to be in the middle of."""
    pg, mysql = address("MARU_TEST_PG")[0], address("MARU_TEST_MYSQL")[0]
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as direct:
        direct.execute("DROP SCHEMA IF EXISTS faults CASCADE")
        direct.execute("CREATE SCHEMA faults")
        direct.execute(f"CREATE TABLE faults.big AS SELECT g::bigint AS id, repeat('x', 100) AS pad FROM generate_series(1, {ROWS}) g")
    my = pymysql.connect(host=mysql.hostname, port=mysql.port, user=mysql.username, password=mysql.password, autocommit=True)
    with my.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS faults")
        cursor.execute("CREATE DATABASE faults")
        cursor.execute("USE faults")
        cursor.execute(f"CREATE TABLE faults.big AS SELECT seq AS id, repeat('x', 100) AS pad FROM seq_1_to_{ROWS}")
    my.close()
    client = s3_client()
    if "faults" not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket="faults")
    for number in range(4):
        out = pyarrow.BufferOutputStream()
        start = number * ROWS // 4
        ids = list(range(start + 1, start + ROWS // 4 + 1))
        table = pyarrow.table({"id": pyarrow.array(ids, "int64"), "pad": [f"{i * 7919:100d}" for i in ids]})
        pyarrow.parquet.write_table(table, out, compression="none", row_group_size=10_000, use_dictionary=False)
        client.put_object(Bucket="faults", Key=f"big/{number}.parquet", Body=out.getvalue().to_pybytes())
    yield
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as direct:
        direct.execute("DROP SCHEMA faults CASCADE")


@pytest.fixture(scope="module")
def faulty(sources, proxies, tmp_path_factory):
    """A server whose sources all stand behind proxies."""
    from conftest import Server
    server = Server(tmp_path_factory.mktemp("faults") / "data")
    pg, mysql = address("MARU_TEST_PG")[0], address("MARU_TEST_MYSQL")[0]
    with server.connect() as connection:
        for statement in [
            f"CREATE CATALOG f_pg USING postgres WITH (url = 'postgres://127.0.0.1:{proxies['pg'].port}{pg.path}', user = '{pg.username}', password = '{pg.password}', connect_timeout = '3s')",
            f"CREATE CATALOG f_my USING mysql WITH (url = 'mysql://127.0.0.1:{proxies['my'].port}', user = '{mysql.username}', password = '{mysql.password}', connect_timeout = '3s')",
            f"CREATE CATALOG f_s3 USING s3 WITH (endpoint = 'http://127.0.0.1:{proxies['s3'].port}', bucket = 'faults', timeout = '3s', layout = 'tables', "
            f"access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}')",
            f"CREATE CATALOG f_hdfs USING hdfs WITH (url = 'hdfs://127.0.0.1:{proxies['hdfs'].port}/data', layout = 'tables')",
            f"CREATE CATALOG f_hive USING hive WITH (metastore = 'thrift://127.0.0.1:{proxies['hive'].port}', timeout = '3s')",
        ]:
            connection.execute(statement)
    yield server
    alive = server.process.poll() is None
    log = server.log_path.read_text(errors="replace")
    server.stop()
    assert alive, log[-5000:]
    assert "panicked at" not in log, log[-5000:]


@pytest.fixture(autouse=True)
def calm(proxies):
    yield
    for proxy in proxies.values():
        proxy.calm()


SCANS = {
    "pg": ("SELECT id, pad FROM f_pg.faults.big", ROWS),
    "my": ("SELECT id, pad FROM f_my.faults.big", ROWS),
    "s3": ("SELECT id, pad FROM f_s3.public.big", ROWS),
    "hdfs": ("SELECT \"at\", * FROM f_hdfs.public.calls", 1500),
    "hive": ("SELECT \"at\", * FROM f_hive.demo.log", 1500),
}
# A metastore and a name node say where things are; the rows come past the proxy.
CARRIES_ROWS = ["pg", "my", "s3"]


def ask(server, sql, timeout_s=TIMEOUT_S, distinct=True):
    """Returns the number of rows or the SQLSTATE, what was said, and the seconds it took. `distinct`: the first column
    tells rows apart."""
    began = time.monotonic()
    # Without prepared statements, so that each is a statement of its own.
    with server.connect(prepare_threshold=None) as connection:
        connection.execute(f"SET statement_timeout = '{timeout_s}s'")
        try:
            rows = connection.execute(sql).fetchall()
            assert not distinct or len({row[0] for row in rows}) == len(rows), "rows came twice"
            return len(rows), "", time.monotonic() - began
        except psycopg.Error as error:
            return error.sqlstate, str(error), time.monotonic() - began


def must_work(server, kind):
    sql, expected = SCANS[kind]
    # A pool may still hold connections that the fault has broken; what they say then is an error, never short rows.
    for _ in range(4):
        answer = ask(server, sql, 30)
        if answer[0] not in GONE:
            break
    assert answer[0] == expected, answer


def verdict(answer, expected, allowed):
    assert answer[0] == expected or answer[0] in allowed, answer
    # A source that is silent stays so; stores are asked again for half a minute.
    assert answer[2] < TIMEOUT_S + 20, answer


@pytest.mark.parametrize("kind", CARRIES_ROWS)
def test_cut_in_the_middle(faulty, proxies, kind):
    sql, expected = SCANS[kind]
    must_work(faulty, kind)
    for cut_after in CUTS:
        proxies[kind].calm()
        proxies[kind].cut_after = cut_after
        answer = ask(faulty, sql, 8)
        assert answer[0] in GONE | TIMED_OUT, (cut_after, answer)
        proxies[kind].calm()
        must_work(faulty, kind)


@pytest.mark.parametrize("kind", SCANS)
def test_refused(faulty, proxies, kind):
    sql, expected = SCANS[kind]
    must_work(faulty, kind)
    proxies[kind].refusing = True
    proxies[kind].cut()
    # A timeout is right too: a store is asked again for longer than that.
    verdict(ask(faulty, sql), expected, GONE | TIMED_OUT)
    proxies[kind].calm()
    must_work(faulty, kind)


@pytest.mark.parametrize("kind", SCANS)
def test_silent(faulty, proxies, kind):
    sql, expected = SCANS[kind]
    must_work(faulty, kind)
    proxies[kind].stopped = True
    verdict(ask(faulty, sql), expected, GONE | TIMED_OUT)
    proxies[kind].calm()
    must_work(faulty, kind)


@pytest.mark.parametrize("kind", CARRIES_ROWS)
def test_silent_in_the_middle(faulty, proxies, kind):
    sql, _ = SCANS[kind]
    must_work(faulty, kind)
    proxies[kind].bytes_per_second = 1 << 20
    stop = threading.Timer(0.7, lambda: setattr(proxies[kind], "stopped", True))
    stop.start()
    answer = ask(faulty, sql)
    stop.join()
    verdict(answer, None, GONE | TIMED_OUT)
    proxies[kind].calm()
    must_work(faulty, kind)


@pytest.mark.parametrize("kind", SCANS)
def test_slow_but_whole(faulty, proxies, kind):
    sql, expected = SCANS[kind]
    proxies[kind].delay = 0.02
    assert ask(faulty, sql, 60)[0] == expected
    proxies[kind].calm()


def test_errors_of_s3_are_asked_again_and_bounded(faulty, proxies):
    sql, expected = SCANS["s3"]
    proxy = proxies["s3"]
    for status in [503, 500]:
        proxy.calm()
        proxy.errors = [status] * 3
        began = time.monotonic()
        assert ask(faulty, sql, 30)[0] == expected
        assert proxy.answered == [status] * 3 and time.monotonic() - began > 0.05
    proxy.calm()
    proxy.errors = [503] * 1000
    answer = ask(faulty, sql, 60)
    assert answer[0] in GONE and answer[2] < 55, answer
    assert len(proxy.answered) < 100, "asked without end"
    proxy.calm()
    proxy.errors = [403] * 1000
    answer = ask(faulty, sql, 60)
    assert answer[0] in {"HV00L", "42501"} and answer[2] < 30, answer
    assert len(proxy.answered) < 10, "a refusal is not asked again"
    proxy.calm()
    must_work(faulty, "s3")


def running_in_source(kind):
    """How many queries on this file's table run in the database."""
    if kind == "pg":
        with psycopg.connect(os.environ["MARU_TEST_PG"]) as direct:
            return direct.execute("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%faults%big%' "
                                  "AND pid <> pg_backend_pid()").fetchone()[0]
    mysql = address("MARU_TEST_MYSQL")[0]
    direct = pymysql.connect(host=mysql.hostname, port=mysql.port, user=mysql.username, password=mysql.password)
    with direct, direct.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM information_schema.processlist WHERE command <> 'Sleep' AND info LIKE '%faults%big%' AND id <> connection_id()")
        return cursor.fetchone()[0]


def kill_sessions(kind):
    """Ends the sessions that read this file's table, from another one. Returns how many there were."""
    if kind == "pg":
        with psycopg.connect(os.environ["MARU_TEST_PG"]) as direct:
            return direct.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'COPY%faults%big%' "
                                  "AND state = 'active' AND pid <> pg_backend_pid()").fetchone()[0]
    mysql = address("MARU_TEST_MYSQL")[0]
    direct = pymysql.connect(host=mysql.hostname, port=mysql.port, user=mysql.username, password=mysql.password)
    with direct, direct.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE command <> 'Sleep' AND info LIKE '%faults%big%' AND id <> connection_id()")
        ids = [row[0] for row in cursor.fetchall()]
        for id in ids:
            cursor.execute(f"KILL CONNECTION {id}")
        return len(ids)


# More rows than the buffers between the source and its reader hold, so that the session is still there.
ENDLESS = {
    "pg": "SELECT * FROM f_pg.query($$ SELECT b.id * 1000 + g AS id, pad FROM faults.big b, generate_series(1, 100) g $$)",
    "my": "SELECT * FROM f_my.query($$ SELECT b.id * 1000 + g.seq AS id, pad FROM faults.big b, faults.seq_1_to_100 g $$)",
}


@pytest.mark.parametrize("how", ["killed", "cut off"])
@pytest.mark.parametrize("kind", ["pg", "my"])
def test_sessions_that_end_in_the_middle_again_and_again(faulty, proxies, kind, how):
    must_work(faulty, kind)
    for times in [1, 2, 3]:
        # Without a statement in between that works.
        for _ in range(times):
            proxies[kind].bytes_per_second = 1 << 20
            ended, before = [], proxies[kind].passed

            def end():
                # In the middle: the session is there, and rows have come.
                deadline = time.monotonic() + 30
                while (running_in_source(kind) == 0 or proxies[kind].passed < before + 300_000) and time.monotonic() < deadline:
                    time.sleep(0.05)
                ended.append(kill_sessions(kind) if how == "killed" else proxies[kind].cut())
                # What the session has sent arrives.
                proxies[kind].calm()

            ender = threading.Thread(target=end)
            ender.start()
            answer = ask(faulty, ENDLESS[kind], 60)
            ender.join()
            assert how != "killed" or ended[0] == 1, "the session was not there while it read"
            assert answer[0] == "HV00N" and answer[2] < 50, answer
            assert f"source=f_{kind}" in answer[1] and f"127.0.0.1:{proxies[kind].port}" in answer[1], answer
        must_work(faulty, kind)


# A minute's work of the source.
SLEEPS = {
    "pg": "SELECT * FROM f_pg.query($$ SELECT id, pg_sleep(0.001)::text AS slept FROM faults.big $$)",
    "my": "SELECT * FROM f_my.query($$ SELECT id, sleep(0.001) AS slept FROM faults.big $$)",
}


@pytest.mark.parametrize("how", ["timeout", "cancel"])
@pytest.mark.parametrize("kind", ["pg", "my"])
def test_given_up_means_ended_in_the_source(faulty, proxies, kind, how):
    must_work(faulty, kind)
    seen = []
    with faulty.connect(prepare_threshold=None) as connection:
        if how == "timeout":
            connection.execute("SET statement_timeout = '8s'")

        def watch():
            deadline = time.monotonic() + (7 if how == "timeout" else 30)
            while (running := running_in_source(kind)) == 0 and time.monotonic() < deadline:
                time.sleep(0.05)
            seen.append(running)
            if how == "cancel":
                connection.cancel_safe(timeout=10)

        watcher = threading.Thread(target=watch)
        watcher.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute(SLEEPS[kind]).fetchall()
        watcher.join()
    assert seen[0] >= 1, "the query was not there while it ran"
    # It would have most of its minute before it.
    deadline = time.monotonic() + 30
    while running_in_source(kind) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert running_in_source(kind) == 0
    proxies[kind].calm()
    must_work(faulty, kind)


@pytest.fixture(scope="module")
def own_postgres():
    """A PostgreSQL that may be stopped and killed, and speaks TLS."""
    with OwnPostgres() as own:
        with psycopg.connect(host="127.0.0.1", port=own.port, user="tester", dbname="postgres", autocommit=True) as direct:
            direct.execute(f"CREATE TABLE big AS SELECT g::bigint AS id, repeat('x', 100) AS pad FROM generate_series(1, {ROWS * 4}) g")
        yield own.port, own.data, own.start


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_processes_of_a_database(start, own_postgres, how):
    """SIGSTOP to all its processes, then SIGCONT; SIGKILL to its first one, then a new start."""
    import signal
    port, data, start_again = own_postgres
    server = start()
    sql = "SELECT id, pad FROM own.public.big"
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG own USING postgres WITH (url = 'postgres://127.0.0.1:{port}/postgres', user = 'tester', connect_timeout = '3s')")
    assert ask(server, sql, 60)[0] == ROWS * 4
    first = int((data / "postmaster.pid").read_text().split()[0])

    def everyone():
        with open(f"/proc/{first}/task/{first}/children") as file:
            return [first, *map(int, file.read().split())]

    got, stopped = 0, []
    with server.connect(prepare_threshold=None) as connection:
        # Enough for the first rows on any machine.
        connection.execute("SET statement_timeout = '8s'")
        try:
            for _ in connection.cursor().stream(sql):
                got += 1
                if got == 10:
                    stopped = everyone()
                    for pid in stopped:
                        os.kill(pid, signal.SIGSTOP if how == "stop" else signal.SIGKILL)
            assert got == ROWS * 4
        except psycopg.Error as error:
            assert error.sqlstate in GONE | TIMED_OUT, error
        finally:
            if how == "stop":
                for pid in stopped:
                    os.kill(pid, signal.SIGCONT)
    assert stopped, "it ended before its first rows"
    if how == "kill":
        answer = ask(server, sql, 30)
        assert answer[0] in GONE, answer
        start_again(patience=20)
    assert ask(server, sql, 60)[0] == ROWS * 4
    assert "panicked at" not in server.text_of_log()


def test_what_goes_wrong_is_told_through_tls(start, own_postgres):
    """A TLS stream that is given up in the middle of an answer ends at once, too."""
    port, _, _ = own_postgres
    server = start()
    with psycopg.connect(host="127.0.0.1", port=port, user="tester", dbname="postgres", autocommit=True) as direct:
        direct.execute(f"CREATE TABLE odd AS SELECT CASE WHEN g = 1000 THEN 'infinity' ELSE date '2026-01-01' END AS d, repeat('x', 100) AS pad "
                       f"FROM generate_series(1, {ROWS * 4}) g")
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG own USING postgres WITH (url = 'postgres://127.0.0.1:{port}/postgres', user = 'tester', tls = 'require', "
                           "max_connections = 2)")
    # More often than there are connections.
    for _ in range(4):
        answer = ask(server, "SELECT d, pad FROM own.public.odd", 60)
        assert answer[0] == "22007" and answer[2] < 40, answer
        with server.connect(prepare_threshold=None) as connection:
            stream = connection.cursor().stream("SELECT id, pad FROM own.public.big")
            next(stream)
            stream.close()
    assert ask(server, "SELECT id, pad FROM own.public.big", 60)[0] == ROWS * 4


@pytest.fixture
def mariadb_with_tls():
    """A MariaDB of its own that speaks TLS, as MySQL does unless told otherwise; returns its port."""
    with OwnMariadb() as own:
        with own.connect() as direct, direct.cursor() as cursor:
            cursor.execute("CREATE DATABASE own")
            cursor.execute("CREATE TABLE own.odd (flag tinyint(1), pad char(100))")
            cursor.execute(f"INSERT INTO own.odd SELECT IF(seq = 1000, 7, 1), repeat('x', 100) FROM own.seq_1_to_{ROWS * 4}")
        yield own.port


def test_what_goes_wrong_with_mysql_is_told_through_tls(start, mariadb_with_tls):
    server = start()
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG own USING mysql WITH (url = 'mysql://127.0.0.1:{mariadb_with_tls}', user = 'tester', password = 'secret', "
                           "tls = 'require', max_connections = 2)")
    for _ in range(4):
        answer = ask(server, "SELECT flag, pad FROM own.own.odd", 60)
        assert answer[0] == "22003" and answer[2] < 40, answer
        with server.connect(prepare_threshold=None) as connection:
            stream = connection.cursor().stream("SELECT pad FROM own.own.odd")
            next(stream)
            stream.close()
    assert ask(server, "SELECT pad FROM own.own.odd WHERE flag", 60, distinct=False)[0] == ROWS * 4 - 1


def test_object_replaced_during_a_scan(faulty, proxies):
    """Rows of the old object, of the new one, or an error; never some of each. Between statements, the new one at once."""
    client = s3_client()

    def put(start):
        out = pyarrow.BufferOutputStream()
        table = pyarrow.table({"id": pyarrow.array(range(start, start + ROWS), "int64"), "pad": [f"{i * 7919:100d}" for i in range(ROWS)]})
        pyarrow.parquet.write_table(table, out, compression="none", row_group_size=5_000, use_dictionary=False)
        client.put_object(Bucket="faults", Key="moving/a.parquet", Body=out.getvalue().to_pybytes())

    with faulty.connect(prepare_threshold=None) as connection:
        for start in [1_000_000, 2_000_000]:
            put(start)
            assert connection.execute("SELECT min(id), count(*) FROM f_s3.public.moving").fetchone() == (start, ROWS)
        proxies["s3"].bytes_per_second = 2 << 20
        ids = []
        try:
            for row in connection.cursor().stream("SELECT id, pad FROM f_s3.public.moving"):
                ids.append(row[0])
                if len(ids) == 1:
                    put(3_000_000)
            assert sorted(ids) in [list(range(start, start + ROWS)) for start in (2_000_000, 3_000_000)]
        except psycopg.Error as error:
            assert error.sqlstate == "XX001" and "a.parquet" in str(error), (error.sqlstate, str(error))
        proxies["s3"].calm()
        assert connection.execute("SELECT min(id), count(*) FROM f_s3.public.moving").fetchone() == (3_000_000, ROWS)
