"""Tables of the catalog maru in a transaction block: made, filled, changed, renamed and dropped, and all of it undone."""

import signal
import threading
import time

import psycopg
import pytest


@pytest.fixture
def block(server):
    with server.connect() as connection:
        connection.execute("DROP SCHEMA IF EXISTS c_blocks CASCADE")
        connection.execute("CREATE SCHEMA c_blocks")
        connection.execute("SET search_path = c_blocks")
        connection.execute("CREATE TABLE old AS SELECT 1 AS n")
        connection.execute("COMMENT ON TABLE old IS 'the first'")
        yield connection
        if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            connection.execute("ROLLBACK")
        connection.execute("DROP SCHEMA c_blocks CASCADE")


def tables(connection):
    names = "SELECT name FROM system.tables WHERE catalog = 'maru' AND schema = 'c_blocks' ORDER BY name"
    return [name for name, in connection.execute(names).fetchall()]


def directories(server):
    return {entry.name for entry in (server.data_dir / "warehouse").iterdir()}


def settled(server):
    """Directories that nobody reads any more go when their last reader is done."""
    seen, since = directories(server), time.monotonic()
    while time.monotonic() - since < 1:
        time.sleep(0.05)
        now = directories(server)
        if now != seen:
            seen, since = now, time.monotonic()
    return seen


def come_to(server, wanted):
    """Waits until the directories are as wanted."""
    deadline = time.monotonic() + 60
    while not wanted(now := directories(server)):
        assert time.monotonic() < deadline, now
        time.sleep(0.05)


def rows(connection, table):
    return [n for n, in connection.execute(f"SELECT n FROM {table} ORDER BY n").fetchall()]


def test_commit_keeps_what_was_made(server, block):
    before = settled(server)
    block.execute("BEGIN")
    block.execute("CREATE TABLE fresh AS SELECT 2 AS n")
    block.execute("INSERT INTO fresh VALUES (3)")
    block.execute("UPDATE fresh SET n = 4 WHERE n = 3")
    block.execute("ALTER TABLE old RENAME TO older")
    block.execute("ALTER TABLE fresh RENAME TO old")
    block.execute("INSERT INTO old VALUES (5)")
    block.execute("DROP TABLE older CASCADE")
    assert before <= settled(server)
    block.execute("COMMIT")
    assert tables(block) == ["old"] and rows(block, "old") == [2, 4, 5]
    come_to(server, lambda now: len(now & before) == len(before) - 1)


def test_rollback_takes_all_of_it_back(server, block):
    before = settled(server)
    block.execute("BEGIN")
    block.execute("CREATE TABLE fresh (n bigint)")
    block.execute("INSERT INTO fresh VALUES (3)")
    with block.cursor().copy("COPY fresh FROM STDIN") as copy:
        copy.write("7\n")
    block.execute("ALTER TABLE old RENAME TO older")
    block.execute("ALTER TABLE fresh RENAME TO old")
    block.execute("DROP TABLE older")
    assert tables(block) == ["old"] and rows(block, "old") == [3, 7]
    block.execute("ROLLBACK")
    assert tables(block) == ["old"] and rows(block, "old") == [1]
    assert block.execute("SELECT comment FROM system.tables WHERE catalog = 'maru' AND schema = 'c_blocks'").fetchall() == [("the first",)]
    come_to(server, lambda now: now == before)


def test_an_error_or_a_lost_connection_takes_it_back(server, block):
    before = settled(server)
    with server.connect() as other:
        other.execute("BEGIN; CREATE TABLE c_blocks.lost AS SELECT 1 AS n")
        other.execute("DROP TABLE c_blocks.old")
        with pytest.raises(psycopg.errors.DivisionByZero):
            other.execute("SELECT 1 / 0")
    come_to(server, lambda now: now == before and tables(block) == ["old"])
    assert rows(block, "old") == [1]
    # Several statements in one text are one transaction.
    with pytest.raises(psycopg.errors.DivisionByZero):
        block.execute("CREATE TABLE t AS SELECT 1 AS n; DROP TABLE old; SELECT 1 / 0")
    assert tables(block) == ["old"]
    come_to(server, lambda now: now == before)


def test_savepoints(block):
    block.execute("BEGIN")
    block.execute("CREATE TABLE a AS SELECT 1 AS n")
    block.execute("SAVEPOINT s")
    # What was made before the savepoint loses these rows again.
    block.execute("INSERT INTO a VALUES (2)")
    assert rows(block, "a") == [1, 2]
    block.execute("ROLLBACK TO s")
    assert rows(block, "a") == [1]
    block.execute("CREATE TABLE b AS SELECT 1 AS n")
    block.execute("INSERT INTO b VALUES (2)")
    block.execute("ROLLBACK TO s")
    assert tables(block) == ["a", "old"]
    block.execute("RELEASE s")
    block.execute("INSERT INTO a VALUES (3)")
    block.execute("COMMIT")
    assert rows(block, "a") == [1, 3]


CHANGES = {
    "INSERT INTO old VALUES (2)": [1, 2],
    "INSERT INTO old SELECT n + 1 FROM old": [1, 2],
    "DELETE FROM old": [],
    "UPDATE old SET n = n + 10": [11],
    "MERGE INTO old USING (VALUES (1), (5)) AS s (n) ON old.n = s.n WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (s.n)": [5],
    "TRUNCATE old": [],
    "ALTER TABLE old ADD COLUMN m int": [1],
    "CREATE OR REPLACE TABLE old AS SELECT 2 AS n": [2],
    "INSERT OVERWRITE old VALUES (7)": [7],
}


@pytest.mark.parametrize("statement", CHANGES)
@pytest.mark.parametrize("commits", [True, False])
def test_rows_that_were_there_before_change_with_the_block(server, block, statement, commits):
    with server.connect(options="-c search_path=c_blocks") as other:
        before = settled(server)
        block.execute("BEGIN")
        block.execute(statement)
        # The block sees it, nobody else does.
        assert rows(block, "old") == CHANGES[statement] and rows(other, "old") == [1]
        assert [name for name, in other.execute("SELECT name FROM system.schemas WHERE name LIKE 'pg%'").fetchall()] == []
        block.execute("COMMIT" if commits else "ROLLBACK")
        expected = CHANGES[statement] if commits else [1]
        assert rows(block, "old") == expected and rows(other, "old") == expected
        # Each table has one directory again.
        come_to(server, lambda now: len(now) == len(before))
        # And goes on as ever.
        other.execute("INSERT INTO old (n) VALUES (100)")
        assert rows(block, "old") == sorted([*expected, 100])
        history = other.execute("DESCRIBE HISTORY old").fetchall()
        assert len(history) == (3 if commits else 2), history


def test_several_tables_change_at_once(server, block):
    block.execute("CREATE TABLE second AS SELECT 10 AS n")
    with server.connect(options="-c search_path=c_blocks") as other:
        block.execute("BEGIN")
        block.execute("INSERT INTO old VALUES (2)")
        block.execute("UPDATE second SET n = n + (SELECT max(n) FROM old)")
        block.execute("CREATE TABLE third AS SELECT count(*) AS n FROM old")
        assert rows(other, "old") == [1] and rows(other, "second") == [10]
        block.execute("COMMIT")
        assert rows(other, "old") == [1, 2] and rows(other, "second") == [12] and rows(other, "third") == [2]
        # What fails takes all of it back.
        block.execute("BEGIN")
        block.execute("DELETE FROM old")
        block.execute("DELETE FROM second")
        with pytest.raises(psycopg.errors.DivisionByZero):
            block.execute("INSERT INTO old SELECT 1 / (n - n) FROM third")
        block.execute("COMMIT")
        assert rows(other, "old") == [1, 2] and rows(other, "second") == [12]


def test_who_commits_first_wins(server, block):
    with server.connect(options="-c search_path=c_blocks") as other:
        block.execute("CREATE TABLE second AS SELECT 10 AS n")
        block.execute("BEGIN")
        block.execute("INSERT INTO second VALUES (11)")
        block.execute("INSERT INTO old VALUES (2)")
        other.execute("INSERT INTO old VALUES (3)")
        # The block goes on with what it has.
        assert rows(block, "old") == [1, 2]
        with pytest.raises(psycopg.errors.SerializationFailure) as caught:
            block.execute("COMMIT")
        assert "again" in caught.value.diag.message_hint
        assert rows(block, "old") == [1, 3] and rows(block, "second") == [10]
        # One that only looked, or changed nothing, is in nobody's way.
        block.execute("BEGIN")
        assert rows(block, "old") == [1, 3]
        block.execute("DELETE FROM old WHERE n = 77")
        other.execute("INSERT INTO old VALUES (4)")
        block.execute("COMMIT")
        assert rows(block, "old") == [1, 3, 4]
        # A table that is gone, or another one by now.
        for change in ["DROP TABLE second", "CREATE OR REPLACE TABLE second AS SELECT 5 AS n"]:
            block.execute("BEGIN")
            block.execute("INSERT INTO second VALUES (12)")
            other.execute(change)
            with pytest.raises(psycopg.errors.SerializationFailure):
                block.execute("COMMIT")
            other.execute("CREATE OR REPLACE TABLE second AS SELECT 10 AS n")
        assert rows(block, "second") == [10]


def test_two_blocks_at_once_never_mix(server, block):
    """Each adds one to a number that it reads: as many as have committed."""
    block.execute("CREATE TABLE counter AS SELECT 0 AS n")
    done, failed = [], []

    def add(number):
        with server.connect(options="-c search_path=c_blocks", autocommit=False) as own:
            for _ in range(8):
                try:
                    own.execute("UPDATE counter SET n = n + 1")
                    own.execute("INSERT INTO old VALUES (%s)", (number,))
                    own.commit()
                    done.append(number)
                except psycopg.errors.SerializationFailure:
                    own.rollback()
                    failed.append(number)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(100, 104)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(done) + len(failed) == 32 and done
    assert rows(block, "counter") == [len(done)]
    assert sorted(n for n in rows(block, "old") if n >= 100) == sorted(done)


def test_savepoints_of_rows(server, block):
    before = settled(server)
    block.execute("CREATE TABLE second AS SELECT 10 AS n")
    block.execute("BEGIN")
    block.execute("INSERT INTO old VALUES (2)")
    block.execute("SAVEPOINT a")
    block.execute("INSERT INTO old VALUES (3)")
    block.execute("INSERT INTO second VALUES (11)")
    block.execute("SAVEPOINT b")
    block.execute("DELETE FROM old")
    assert rows(block, "old") == []
    block.execute("ROLLBACK TO b")
    assert rows(block, "old") == [1, 2, 3] and rows(block, "second") == [10, 11]
    block.execute("ROLLBACK TO a")
    assert rows(block, "old") == [1, 2] and rows(block, "second") == [10]
    block.execute("INSERT INTO old VALUES (4)")
    block.execute("ROLLBACK TO a")
    block.execute("INSERT INTO old VALUES (5)")
    block.execute("COMMIT")
    assert rows(block, "old") == [1, 2, 5] and rows(block, "second") == [10]
    block.execute("DROP TABLE second")
    come_to(server, lambda now: len(now) == len(before))


def test_a_reader_is_not_disturbed(server, block):
    """A cursor that was open when the table got another directory reads on to the end of what it began with."""
    block.execute("CREATE TABLE wide AS SELECT g AS n FROM generate_series(1, 300000) AS t(g)")
    with server.connect(options="-c search_path=c_blocks", autocommit=False) as reader, reader.cursor(name="slow") as cursor:
        cursor.itersize = 1000
        cursor.execute("SELECT n FROM wide")
        seen = cursor.fetchmany(10)
        block.execute("BEGIN")
        block.execute("DELETE FROM wide WHERE n % 2 = 0")
        block.execute("COMMIT")
        assert block.execute("SELECT count(*) FROM wide").fetchone() == (150_000,)
        seen += cursor.fetchall()
        assert sorted(n for n, in seen) == list(range(1, 300_001))


def test_a_reader_outlasts_a_drop(server, block):
    """The table is gone for all at once, and its files when the last who reads them has ended."""
    before = settled(server)
    block.execute("CREATE TABLE wide AS SELECT g AS n FROM generate_series(1, 300000) AS t(g)")
    with server.connect(options="-c search_path=c_blocks", autocommit=False) as reader, reader.cursor(name="slow") as cursor:
        cursor.itersize = 1000
        cursor.execute("SELECT n FROM wide")
        seen = cursor.fetchmany(10)
        block.execute("DROP TABLE wide")
        with pytest.raises(psycopg.errors.UndefinedTable):
            block.execute("SELECT 1 FROM wide")
        assert len(settled(server)) == len(before) + 1
        seen += cursor.fetchall()
        assert sorted(n for n, in seen) == list(range(1, 300_001))
    come_to(server, lambda now: now == before)


def test_a_client_that_goes_away_leaves_nothing(server, block):
    before = settled(server)
    other = server.connect(options="-c search_path=c_blocks", autocommit=False)
    other.execute("INSERT INTO old VALUES (2)")
    assert len(settled(server)) == len(before) + 1
    other.pgconn.finish()
    come_to(server, lambda now: now == before)
    assert rows(block, "old") == [1]


def test_a_killed_server_leaves_nothing(start):
    server = start()
    connection = server.connect()
    connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    connection.execute("BEGIN")
    connection.execute("INSERT INTO kept VALUES (2)")
    connection.execute("CREATE TEMP TABLE own AS SELECT 1 AS n")
    server.stop(signal.SIGKILL)
    server = start()
    with server.connect() as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(1,)]
        assert connection.execute("SELECT count(*) FROM system.schemas WHERE name LIKE 'pg%'").fetchone() == (0,)
        connection.execute("INSERT INTO kept VALUES (3)")
        assert connection.execute("SELECT sum(n) FROM kept").fetchone() == (4,)
    come_to(server, lambda now: len(now) == 1)


def test_rights_in_a_block(server, block):
    """Who may only read does not write to a copy either, and what is chosen by policies stays chosen."""
    block.execute("CREATE ROLE c_reader LOGIN PASSWORD 'long enough for it'")
    try:
        block.execute("GRANT USAGE ON SCHEMA c_blocks TO c_reader")
        block.execute("GRANT SELECT, INSERT ON old TO c_reader")
        with server.connect(user="c_reader", password="long enough for it", options="-c search_path=c_blocks", autocommit=False) as reader:
            reader.execute("INSERT INTO old VALUES (2)")
            assert rows(reader, "old") == [1, 2]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute("DELETE FROM old")
            reader.rollback()
            reader.execute("INSERT INTO old VALUES (3)")
            reader.commit()
        assert rows(block, "old") == [1, 3]
    finally:
        block.execute("DROP OWNED BY c_reader")
        block.execute("DROP ROLE c_reader")


def test_renaming(server, block):
    block.execute("CREATE VIEW seen AS SELECT n FROM old")
    block.execute("ALTER VIEW seen RENAME TO shown")
    assert tables(block) == ["old", "shown"]
    for statement, error in [("ALTER TABLE old RENAME TO shown", psycopg.errors.DuplicateTable), ("ALTER TABLE none RENAME TO x", psycopg.errors.UndefinedTable),
                             ("ALTER TABLE old RENAME TO c_blocks.x", psycopg.errors.SyntaxError)]:
        with pytest.raises(error):
            block.execute(statement)
    block.execute("ALTER TABLE IF EXISTS none RENAME TO x")
    block.execute("CREATE ROLE c_reader LOGIN PASSWORD 'long enough for it'")
    try:
        block.execute("GRANT USAGE ON SCHEMA c_blocks TO c_reader")
        block.execute("GRANT SELECT ON old TO c_reader")
        block.execute("ALTER TABLE old RENAME TO moved")
        with server.connect(user="c_reader", password="long enough for it") as reader:
            assert reader.execute("SELECT n FROM c_blocks.moved").fetchall() == [(1,)]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute("ALTER TABLE c_blocks.moved RENAME TO mine")
        # A table that takes the old name begins without what was granted.
        block.execute("CREATE TABLE old AS SELECT 9 AS n")
        with server.connect(user="c_reader", password="long enough for it") as reader, pytest.raises(psycopg.errors.UndefinedTable):
            reader.execute("SELECT n FROM c_blocks.old")
    finally:
        block.execute("DROP OWNED BY c_reader")
        block.execute("DROP ROLE c_reader")
