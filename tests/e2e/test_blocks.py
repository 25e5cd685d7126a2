"""Tables of the catalog maru in a transaction block: made, filled, renamed and dropped, and all of it undone."""

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


def rows(connection, table):
    return [n for n, in connection.execute(f"SELECT n FROM {table} ORDER BY n").fetchall()]


def test_commit_keeps_what_was_made(server, block):
    before = directories(server)
    block.execute("BEGIN")
    block.execute("CREATE TABLE fresh AS SELECT 2 AS n")
    block.execute("INSERT INTO fresh VALUES (3)")
    block.execute("UPDATE fresh SET n = 4 WHERE n = 3")
    block.execute("ALTER TABLE old RENAME TO older")
    block.execute("ALTER TABLE fresh RENAME TO old")
    block.execute("INSERT INTO old VALUES (5)")
    block.execute("DROP TABLE older CASCADE")
    assert before <= directories(server)
    block.execute("COMMIT")
    assert tables(block) == ["old"] and rows(block, "old") == [2, 4, 5]
    assert len(directories(server) & before) == len(before) - 1


def test_rollback_takes_all_of_it_back(server, block):
    before = directories(server)
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
    assert directories(server) == before


def test_an_error_or_a_lost_connection_takes_it_back(server, block):
    before = directories(server)
    with server.connect() as other:
        other.execute("BEGIN; CREATE TABLE c_blocks.lost AS SELECT 1 AS n")
        other.execute("DROP TABLE c_blocks.old")
        with pytest.raises(psycopg.errors.DivisionByZero):
            other.execute("SELECT 1 / 0")
    for _ in range(100):
        if tables(block) == ["old"]:
            break
    assert rows(block, "old") == [1] and directories(server) == before
    # Several statements in one text are one transaction.
    with pytest.raises(psycopg.errors.DivisionByZero):
        block.execute("CREATE TABLE t AS SELECT 1 AS n; DROP TABLE old; SELECT 1 / 0")
    assert tables(block) == ["old"] and directories(server) == before


def test_savepoints(block):
    block.execute("BEGIN")
    block.execute("CREATE TABLE a AS SELECT 1 AS n")
    block.execute("SAVEPOINT s")
    # What was made before the savepoint could not lose these rows again.
    with pytest.raises(psycopg.errors.ActiveSqlTransaction):
        block.execute("INSERT INTO a VALUES (2)")
    block.execute("ROLLBACK TO s")
    block.execute("CREATE TABLE b AS SELECT 1 AS n")
    block.execute("INSERT INTO b VALUES (2)")
    block.execute("ROLLBACK TO s")
    assert tables(block) == ["a", "old"]
    block.execute("RELEASE s")
    block.execute("INSERT INTO a VALUES (3)")
    block.execute("COMMIT")
    assert rows(block, "a") == [1, 3]


@pytest.mark.parametrize("statement", ["INSERT INTO old VALUES (2)", "DELETE FROM old", "TRUNCATE old", "ALTER TABLE old ADD COLUMN m int",
                                       "CREATE OR REPLACE TABLE old AS SELECT 2 AS n", "COPY old FROM STDIN"])
def test_rows_that_were_there_before_are_not_changed(block, statement):
    block.execute("BEGIN")
    with pytest.raises(psycopg.errors.ActiveSqlTransaction):
        block.execute(statement)
    block.execute("ROLLBACK")
    assert rows(block, "old") == [1]


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
