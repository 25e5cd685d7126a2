"""Advisory locks, which migration tools agree by: as in PostgreSQL, side by side."""

import os
import threading
import time

import psycopg
import pytest

# Numbers of this file alone: others may use the same database.
KEY = 7_216_354_001


@pytest.fixture(params=["maru", pytest.param("postgres", marks=pytest.mark.services)])
def connect(request, server):
    opened = []

    def open():
        if request.param == "maru":
            connection = server.connect()
        else:
            connection = psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True)
        opened.append(connection)
        return connection

    yield open
    for connection in opened:
        connection.close()


def one(connection, sql, *values):
    return connection.execute(sql, values).fetchone()[0]


def waiting(connection, number):
    """Waits until somebody waits for a lock."""
    sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND classid = %s AND objid = %s"
    deadline = time.monotonic() + 30
    while one(connection, sql, number >> 32, number & 0xFFFFFFFF) == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def in_thread(work):
    caught = []

    def run():
        try:
            work()
        except psycopg.Error as error:
            caught.append(error.sqlstate)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, caught


def test_a_block_that_has_failed_has_no_locks(connect):
    first, second = connect(), connect()
    first.execute("BEGIN")
    assert one(first, "SELECT pg_advisory_xact_lock(%s)", KEY + 1) == ""
    first.execute("SAVEPOINT a")
    assert one(first, "SELECT pg_advisory_xact_lock(%s)", KEY + 2) == ""
    assert one(first, "SELECT pg_advisory_lock(%s)", KEY + 3) == ""
    with pytest.raises(psycopg.errors.DivisionByZero):
        first.execute("SELECT 1 / 0")
    # Those from before the savepoint stay, and so do those of the session.
    tried = [one(second, "SELECT pg_try_advisory_xact_lock(%s)", KEY + n) for n in (1, 2, 3)]
    assert tried == [False, True, False]
    first.execute("ROLLBACK TO a")
    assert one(second, "SELECT pg_try_advisory_xact_lock(%s)", KEY + 1) is False
    first.execute("RELEASE a")
    with pytest.raises(psycopg.errors.DivisionByZero):
        first.execute("SELECT 1 / 0")
    assert one(second, "SELECT pg_try_advisory_xact_lock(%s)", KEY + 1) is True
    first.execute("ROLLBACK")
    assert one(first, "SELECT pg_advisory_unlock(%s)", KEY + 3) is True


def test_one_session_has_a_lock(connect):
    first, second = connect(), connect()
    assert one(first, "SELECT pg_advisory_lock(%s)", KEY) == ""
    assert one(first, "SELECT pg_try_advisory_lock(%s)", KEY) is True
    assert one(second, "SELECT pg_try_advisory_lock(%s)", KEY) is False
    assert one(second, "SELECT pg_try_advisory_lock_shared(%s)", KEY) is False
    assert one(second, "SELECT pg_try_advisory_lock(%s, %s)", 1, KEY % 1000) is True
    assert one(second, "SELECT pg_advisory_unlock(%s)", KEY) is False
    # As often as it was taken.
    assert one(first, "SELECT pg_advisory_unlock(%s)", KEY) is True
    assert one(second, "SELECT pg_try_advisory_lock(%s)", KEY) is False
    assert one(first, "SELECT pg_advisory_unlock(%s)", KEY) is True
    assert one(first, "SELECT pg_advisory_unlock(%s)", KEY) is False
    assert one(second, "SELECT pg_try_advisory_lock(%s)", KEY) is True
    held = second.execute(
        "SELECT classid::bigint, objid::bigint, objsubid, mode, granted FROM pg_locks WHERE locktype = 'advisory' AND pid = %s ORDER BY 3",
        [second.info.backend_pid],
    ).fetchall()
    assert held == [(KEY >> 32, KEY & 0xFFFFFFFF, 1, "ExclusiveLock", True), (1, KEY % 1000, 2, "ExclusiveLock", True)]
    assert one(second, "SELECT pg_advisory_unlock_all()") == ""
    assert one(first, "SELECT pg_try_advisory_lock(%s)", KEY) is True
    first.close()
    deadline = time.monotonic() + 30
    while not one(second, "SELECT pg_try_advisory_lock(%s)", KEY):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert one(second, "SELECT pg_try_advisory_lock(NULL::bigint)") is None


def test_several_share_a_lock(connect):
    first, second, third = connect(), connect(), connect()
    assert one(first, "SELECT pg_advisory_lock_shared(%s)", KEY) == ""
    assert one(second, "SELECT pg_try_advisory_lock_shared(%s)", KEY) is True
    assert one(third, "SELECT pg_try_advisory_lock(%s)", KEY) is False
    assert one(second, "SELECT pg_advisory_unlock(%s)", KEY) is False
    assert one(second, "SELECT pg_advisory_unlock_shared(%s)", KEY) is True
    assert one(first, "SELECT pg_try_advisory_lock(%s)", KEY) is True
    assert one(second, "SELECT pg_try_advisory_lock_shared(%s)", KEY) is False


def test_others_wait_until_it_is_given_back(connect):
    first, second = connect(), connect()
    one(first, "SELECT pg_advisory_lock(%s)", KEY)
    thread, caught = in_thread(lambda: one(second, "SELECT pg_advisory_lock(%s)", KEY))
    waiting(first, KEY)
    one(first, "SELECT pg_advisory_unlock(%s)", KEY)
    thread.join(30)
    assert caught == [] and one(first, "SELECT pg_try_advisory_lock(%s)", KEY) is False


def test_waiting_ends_with_the_statement(connect):
    first, second = connect(), connect()
    one(first, "SELECT pg_advisory_lock(%s)", KEY)
    for setting, sqlstate in [("statement_timeout", "57014"), ("lock_timeout", "55P03")]:
        second.execute(f"SET {setting} = '200ms'")
        with pytest.raises(psycopg.Error) as caught:
            one(second, "SELECT pg_advisory_lock(%s)", KEY)
        assert caught.value.sqlstate == sqlstate
        second.execute(f"RESET {setting}")
    thread, caught = in_thread(lambda: one(second, "SELECT pg_advisory_lock(%s)", KEY))
    waiting(first, KEY)
    one(first, "SELECT pg_cancel_backend(%s)", second.info.backend_pid)
    thread.join(30)
    assert caught == ["57014"]
    # Nothing is left of it.
    one(first, "SELECT pg_advisory_unlock(%s)", KEY)
    assert one(first, "SELECT pg_try_advisory_lock(%s)", KEY) is True


def test_locks_of_a_transaction_end_with_it(connect):
    first, second = connect(), connect()
    free = lambda key: one(second, "SELECT pg_try_advisory_xact_lock(%s)", key)
    assert one(first, "SELECT pg_advisory_xact_lock(%s)", KEY) == "" and free(KEY)
    for end in ["COMMIT", "ROLLBACK"]:
        first.execute("BEGIN")
        one(first, "SELECT pg_advisory_xact_lock(%s)", KEY)
        assert not free(KEY)
        assert one(first, "SELECT pg_advisory_unlock(%s)", KEY) is False
        first.execute("SAVEPOINT s")
        assert one(first, "SELECT pg_try_advisory_xact_lock_shared(%s)", KEY + 1) is True
        assert not free(KEY + 1)
        first.execute("ROLLBACK TO s")
        assert free(KEY + 1) and not free(KEY)
        first.execute(end)
        assert free(KEY)
    first.execute("BEGIN")
    one(first, "SELECT pg_advisory_lock(%s)", KEY)
    first.execute("ROLLBACK")
    assert not free(KEY)
    assert one(first, "SELECT pg_advisory_unlock(%s)", KEY) is True


def test_two_that_wait_for_one_another(connect):
    first, second = connect(), connect()
    one(first, "SELECT pg_advisory_lock(%s)", KEY)
    one(second, "SELECT pg_advisory_lock(%s)", KEY + 1)
    of_first, caught_of_first = in_thread(lambda: one(first, "SELECT pg_advisory_lock(%s)", KEY + 1))
    of_second, caught_of_second = in_thread(lambda: one(second, "SELECT pg_advisory_lock(%s)", KEY))
    # One of the two is refused, and lets the other one have it.
    deadline = time.monotonic() + 30
    while not caught_of_first and not caught_of_second:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (first if caught_of_first else second).close()
    of_first.join(30)
    of_second.join(30)
    assert caught_of_first + caught_of_second == ["40P01"]
