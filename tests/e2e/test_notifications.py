"""LISTEN and NOTIFY: as PostgreSQL tells it, side by side, and what Maru bounds."""

import asyncio
import os
import time
import uuid

import psycopg
import pytest

# Each line is run by one session; what is told after it is compared.
CONVERSATION = [
    "NOTIFY {a}, 'nobody listens'",
    "LISTEN {a}",
    "NOTIFY {a}, 'x'",
    "NOTIFY {a}",
    "SELECT pg_notify('{a}', 'y')",
    "SELECT pg_notify('', 'y')",
    "SELECT pg_notify(NULL, 'y')",
    "SELECT pg_notify('{a}', NULL)",
    "SELECT pg_notify('{a}', repeat('x', 7999))",
    "SELECT pg_notify('{a}', repeat('x', 8000))",
    "SELECT pg_notify(repeat('x', 64), '')",
    "SELECT pg_notify(repeat('x', 63), '')",
    "SELECT pg_notify('{a}', n::text) FROM generate_series(1, 3) AS g(n) ORDER BY n",
    "SELECT count(pg_notify('{a}', (n % 2)::text)) FROM generate_series(1, 3000) AS g(n)",
    "BEGIN", "NOTIFY {a}, '1'", "NOTIFY {a}, '1'", "SAVEPOINT s", "NOTIFY {a}, '2'", "ROLLBACK TO s", "NOTIFY {a}, '3'", "COMMIT",
    "BEGIN", "NOTIFY {a}, 'no'", "ROLLBACK",
    "BEGIN", "NOTIFY {a}, 'no'", "SELECT 1/0", "COMMIT",
    "SELECT pg_notify('{a}', 'no'), 1 / (n - 1) FROM generate_series(1, 1) AS g(n)",
    "NOTIFY {a}, 'one'; NOTIFY {a}, 'two'",
    "NOTIFY {a}, 'no'; SELECT 1/0",
    "BEGIN", "LISTEN {b}", "NOTIFY {b}, 'own'", "COMMIT",
    "BEGIN", "UNLISTEN *", "ROLLBACK",
    "NOTIFY {b}, 'still'",
    "UNLISTEN {b}",
    "NOTIFY {b}, 'gone'",
    "LISTEN \"{a} B\"",
    "NOTIFY \"{a} B\", 'quoted'",
    "UNLISTEN nosuch",
    "DISCARD ALL",
    "NOTIFY {a}, 'gone'",
    "NOTIFY {a} 'x'", "NOTIFY {a}, 1", "LISTEN 1",
]


def channel():
    return "c" + uuid.uuid4().hex[:12]


def told(connection, sql):
    """Returns the error of a statement, and what the session is told by its own answer."""
    heard = []
    connection.add_notify_handler(handler := lambda notify: heard.append((notify.channel, notify.payload, notify.pid == connection.info.backend_pid)))
    try:
        connection.execute(sql)
        error = None
    except psycopg.Error as failed:
        error = failed.sqlstate
    finally:
        connection.remove_notify_handler(handler)
    return error, heard


@pytest.mark.services
def test_a_session_is_told_as_postgresql_tells_it(server):
    names = {"a": channel(), "b": channel()}
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as postgres, server.connect() as maru:
        for line in CONVERSATION:
            sql = line.format(**names)
            assert told(maru, sql) == told(postgres, sql), line


def test_others_are_told_while_they_say_nothing(server):
    a = channel()
    with server.connect() as listener, server.connect() as sender, server.connect(autocommit=False) as block:
        listener.execute(f"LISTEN {a}")
        sender.execute(f"NOTIFY {a}, 'early'")
        assert [n.payload for n in listener.notifies(timeout=20, stop_after=1)] == ["early"]
        block.execute(f"NOTIFY {a}, 'later'")
        sender.execute(f"SELECT pg_notify('{a}', 'first')")
        got = list(listener.notifies(timeout=20, stop_after=1))
        assert [(n.payload, n.pid) for n in got] == [("first", sender.info.backend_pid)]
        block.commit()
        assert [n.payload for n in listener.notifies(timeout=20, stop_after=1)] == ["later"]
        # In a block nothing is told until its end.
        listener.execute("BEGIN")
        sender.execute(f"NOTIFY {a}, 'waits'")
        assert list(listener.notifies(timeout=0.5)) == []
        assert told(listener, "SELECT 1") == (None, [])
        assert told(listener, "COMMIT") == (None, [(a, "waits", False)])
        # Who has ceased to listen is not told of what came before.
        for end, expected in [("ROLLBACK", [(a, "waits", False)]), ("COMMIT", [])]:
            listener.execute("BEGIN")
            sender.execute(f"NOTIFY {a}, 'waits'")
            listener.execute(f"UNLISTEN {a}")
            assert told(listener, end) == (None, expected)
            assert told(listener, "SELECT 1") == (None, [])


def test_other_databases_hear_nothing(server):
    a = channel()
    name = "hears" + uuid.uuid4().hex[:8]
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG {name} USING memory WITH (rows = 7)")
        try:
            with server.connect(dbname=name) as other:
                other.execute(f"LISTEN {a}")
                connection.execute(f"NOTIFY {a}, 'x'")
                assert list(other.notifies(timeout=0.5)) == []
        finally:
            connection.execute(f"DROP CATALOG {name}")


def test_the_database_that_tools_know_is_the_built_in_one(server):
    a = channel()
    with server.connect() as sender, server.connect(dbname="postgres") as listener:
        for reset in ["RESET ALL", "DISCARD ALL"]:
            listener.execute(reset)
            assert listener.execute("SELECT current_database(), 1").fetchone() == ("maru", 1)
        listener.execute(f"LISTEN {a}")
        sender.execute(f"NOTIFY {a}, 'x'")
        assert [n.payload for n in listener.notifies(timeout=20, stop_after=1)] == ["x"]


def test_notifications_do_not_keep_an_idle_session(server):
    a = channel()
    with server.connect() as sender, server.connect() as listener:
        listener.execute(f"LISTEN {a}")
        listener.execute("SET idle_session_timeout = '1s'")
        with pytest.raises(psycopg.OperationalError):
            for _ in range(100):
                sender.execute(f"NOTIFY {a}, 'x'")
                list(listener.notifies(timeout=0.2))


def test_who_does_not_read_can_be_terminated(server):
    a = channel()
    with server.connect() as sender:
        slow = server.connect()
        slow.execute(f"LISTEN {a}")
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="too many notifications"):
            for times in range(60):
                sender.execute(f"SELECT count(pg_notify('{a}', n::text || '-{times}-' || repeat('x', 7900))) FROM generate_series(1, 250) AS g(n)")
        sender.execute("SELECT pg_terminate_backend(%s)", [slow.info.backend_pid])
        for _ in range(200):
            try:
                sender.execute(f"NOTIFY {a}, 'again'")
                break
            except psycopg.errors.ProgramLimitExceeded:
                time.sleep(0.1)
        else:
            raise AssertionError("what waits for the slow one is still there")
        with pytest.raises(psycopg.OperationalError):
            slow.execute("SELECT 1")
        slow.close()


def test_asyncpg_listens(server):
    import asyncpg
    host, port = server.host_port("pg")
    a = channel()

    async def listens():
        heard = asyncio.Queue()
        connection = await asyncpg.connect(host=host, port=port, user="maru", password=server.password, database="maru")
        try:
            await connection.add_listener(a, lambda _, pid, name, payload: heard.put_nowait((name, payload)))
            with server.connect() as sender:
                sender.execute(f"NOTIFY {a}, 'x'")
            assert await asyncio.wait_for(heard.get(), 20) == (a, "x")
            await connection.reset()
        finally:
            await connection.close()

    asyncio.run(listens())


def test_flight_sql_notifies_and_does_not_listen(server):
    import adbc_driver_manager
    a = channel()
    with server.connect() as listener, server.flight() as flight, flight.cursor() as cursor:
        listener.execute(f"LISTEN {a}")
        cursor.execute(f"NOTIFY {a}, 'x'")
        cursor.execute(f"SELECT pg_notify('{a}', 'y')")
        cursor.fetchall()
        assert [n.payload for n in listener.notifies(timeout=20, stop_after=2)] == ["x", "y"]
        with pytest.raises(adbc_driver_manager.Error, match="0A000"):
            cursor.execute(f"LISTEN {a}")


def test_there_are_bounds(server):
    a = channel()
    with server.connect() as connection, server.connect() as slow:
        # In a block its notifications wait.
        slow.execute(f"LISTEN {a}")
        slow.execute("BEGIN")
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="too many notifications"):
            connection.execute(f"SELECT count(pg_notify('{a}', n::text)) FROM generate_series(1, 1001) AS g(n)")
        for _ in range(2):
            connection.execute(f"SELECT count(pg_notify('{a}', n::text || repeat('x', 7900))) FROM generate_series(1, 1000) AS g(n)")
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="too many notifications"):
            connection.execute(f"NOTIFY {a}, 'no room'")
        slow.execute("ROLLBACK")
        connection.execute(f"NOTIFY {a}, 'again'")
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="listens to too many channels"):
            connection.execute("; ".join(f"LISTEN {a}_{n}" for n in range(1001)))
