"""Many clients at once, some of which give up in the middle, on sources whose connections are cut: every answer is the right
one or an error of the right class, and afterwards nothing is left over.

Takes seconds in `tests/run`, minutes in `tests/run --long`."""

import collections
import contextlib
import os
import pathlib
import random
import socket
import threading
import time
import urllib.parse

import psycopg
import pytest

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]

LONG = os.environ.get("MARU_TEST_LONG") == "1"
SECONDS = 240 if LONG else 8
CLIENTS = 8
SEED = 20261123

QUERIES = [
    "SELECT grade, count(*), sum(balance) FROM soak_pg.public.customers GROUP BY grade ORDER BY grade",
    "SELECT city, count(*) FROM soak_my.shop.customers WHERE balance > 100 GROUP BY city ORDER BY city",
    "SELECT dt, count(*), sum(seconds) FROM soak_hive.demo.log GROUP BY dt ORDER BY dt",
    "SELECT count(*), max(a.bytes) FROM soak.logs a, soak_hive.demo.log b WHERE a.url = b.url",
    "SELECT c.grade, count(*) FROM soak.logs a JOIN soak_pg.public.customers c ON c.id = a.customer_id GROUP BY c.grade ORDER BY c.grade",
    "SELECT count(*) FROM soak_pg.public.customers p FULL JOIN soak_my.shop.customers m ON p.id = m.id AND p.name = m.name",
]
ENDLESS = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b"
# More than this is wanted of each: answers, cancels, sessions that were cut.
LEAST = {"answer": 20, "cancel": 2, "sessions cut": 2}
# What a source that was cut off, or a client that gave up, may be told.
ALLOWED = ("57014", "HV", "08", "57P")


@pytest.fixture
def server(start):
    server = start()
    pg, mysql = (urllib.parse.urlsplit(os.environ[name]) for name in ("MARU_TEST_PG", "MARU_TEST_MYSQL"))
    with server.connect() as connection:
        for statement in [
            f"CREATE CATALOG soak_pg USING postgres WITH (url = 'postgres://{pg.hostname}:{pg.port}{pg.path}', user = '{pg.username}', password = '{pg.password}')",
            f"CREATE CATALOG soak_my USING mysql WITH (url = 'mysql://{mysql.hostname}:{mysql.port}{mysql.path}', user = '{mysql.username}', password = '{mysql.password}')",
            f"CREATE CATALOG soak_hive USING hive WITH (metastore = '{os.environ['MARU_TEST_HMS3']}')",
            f"CREATE CATALOG soak_s3 USING s3 WITH (endpoint = '{os.environ['MARU_TEST_S3']}', bucket = 'weblogs', "
            f"access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}')",
            "CREATE SCHEMA soak",
            "CREATE EXTERNAL TABLE soak.logs STORED AS PARQUET LOCATION 's3://weblogs/2026/'",
        ]:
            connection.execute(statement)
    return server


class Client(threading.Thread):
    """Asks until the time is over and keeps what went wrong."""

    def __init__(self, server, number, expected, goes_on):
        super().__init__(daemon=True)
        self.server, self.expected, self.goes_on = server, expected, goes_on
        self.random = random.Random(SEED + number)
        self.counts, self.wrong = collections.Counter(), []

    def run(self):
        connection = None
        while self.goes_on() and len(self.wrong) < 5:
            try:
                if connection is None or connection.closed:
                    connection = self.server.connect()
                if not self.step(connection):
                    connection = None
            except psycopg.Error as error:
                self.judge(error)
            except Exception as error:  # A thread must not end in silence.
                self.wrong.append(repr(error))
        if connection is not None:
            connection.close()

    def step(self, connection):
        """One thing that clients do; False if the connection is gone afterwards."""
        kind = self.random.choices(["answer", "cancel", "leave", "mistake"], [12, 3, 2, 1])[0]
        self.counts[kind] += 1
        if kind == "answer":
            sql = self.random.choice(QUERIES)
            rows = connection.execute(sql).fetchall()
            if rows != self.expected[sql]:
                self.wrong.append(f"{sql}: {rows}")
        elif kind == "cancel":
            ended = threading.Event()
            canceller = threading.Thread(target=self.cancel, args=(connection, self.random.random() * 0.2, ended))
            canceller.start()
            try:
                connection.execute(ENDLESS)
                self.wrong.append("an endless statement ended")
            finally:
                ended.set()
                canceller.join()
        elif kind == "leave":
            other = self.server.connect()
            other.pgconn.send_query(b"SELECT a.* FROM soak.logs a, generate_series(1, 1000) b")
            time.sleep(self.random.random() * 0.05)
            # Without a word, as when a process dies.
            socket.socket(fileno=os.dup(other.pgconn.socket)).shutdown(socket.SHUT_RDWR)
            other.close()
        else:
            try:
                connection.execute("SELECT no_such_column FROM soak.logs")
            except psycopg.errors.UndefinedColumn:
                pass
        return True

    def cancel(self, connection, after, ended):
        """Asks until the statement has ended: a request that comes before its statement is for nothing, as in PostgreSQL."""
        while not ended.wait(after):
            with contextlib.suppress(psycopg.errors.CancellationTimeout):
                connection.cancel_safe(timeout=10)
            after = 0.5

    def judge(self, error):
        state = error.sqlstate
        if state is None and isinstance(error, psycopg.OperationalError):
            self.wrong.append(f"the server hung up: {error}")
        elif state is None or not state.startswith(ALLOWED):
            self.wrong.append(f"{state}: {error}")
        else:
            self.counts[f"error {state}"] += 1


def ports(server):
    """The ports that the server's own connections come from."""
    process = pathlib.Path(f"/proc/{server.process.pid}")
    inodes = set()
    for entry in (process / "fd").iterdir():
        try:
            inodes.add(os.readlink(entry).removeprefix("socket:[").removesuffix("]"))
        except FileNotFoundError:
            pass
    lines = [line.split() for line in (process / "net/tcp").read_text().splitlines()[1:]]
    return [int(line[1].rsplit(":", 1)[1], 16) for line in lines if line[9] in inodes]


def cut_connections(server, goes_on, counts):
    """Ends this server's sessions in PostgreSQL every second or so, and nobody else's."""
    end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'maru' AND client_port = ANY(%s)"
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as direct:
        while goes_on():
            time.sleep(1)
            counts["sessions cut"] += direct.execute(end, [ports(server)]).fetchone()[0]


def resident_bytes(server):
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024


def test_clients_that_come_and_go(server):
    with server.connect() as connection:
        expected = {sql: connection.execute(sql).fetchall() for sql in QUERIES}
    assert all(expected.values())
    counts, clients, began = collections.Counter(), [], time.monotonic()

    def goes_on():
        """Until the time is over; on a slow machine, until enough of everything has been seen."""
        enough = all(counts[kind] + sum(client.counts[kind] for client in clients) > least for kind, least in LEAST.items())
        return time.monotonic() < began + (SECONDS if enough else SECONDS + 120)

    clients += [Client(server, number, expected, goes_on) for number in range(CLIENTS)]
    chaos = threading.Thread(target=cut_connections, args=(server, goes_on, counts), daemon=True)
    for thread in [*clients, chaos]:
        thread.start()
    for thread in [*clients, chaos]:
        thread.join(SECONDS + 240)
        assert not thread.is_alive(), "a client waits for ever"
    for client in clients:
        counts += client.counts
    print(f"{SECONDS} s, {CLIENTS} clients: {dict(counts)}, {resident_bytes(server) >> 20} MiB resident")
    assert [wrong for client in clients for wrong in client.wrong] == []
    assert all(counts[kind] > least for kind, least in LEAST.items()), counts
    with server.connect() as connection:
        # Everything still works, with the same answers, and nothing goes on running for clients that have left.
        assert {sql: connection.execute(sql).fetchall() for sql in QUERIES} == expected
        running = "SELECT count(*) FROM system.queries WHERE state IN ('running', 'queued', 'planning') AND session_id <> pg_backend_pid()"
        patience = time.monotonic() + 60
        while connection.execute(running).fetchone() != (0,) and time.monotonic() < patience:
            time.sleep(0.2)
        assert connection.execute(running).fetchone() == (0,)
    assert resident_bytes(server) < 3 << 30
    assert "panicked at" not in server.text_of_log()
