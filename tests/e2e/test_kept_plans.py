"""Plans of prepared statements that are used again: never once they may mean something else."""

import os
import urllib.parse

import psycopg
import pytest

pytestmark = pytest.mark.services

PLACE = "kept_plans"


@pytest.fixture(scope="module")
def postgres():
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as direct:
        direct.execute(f"DROP SCHEMA IF EXISTS {PLACE} CASCADE")
        direct.execute(f"CREATE SCHEMA {PLACE}")
        yield direct
        direct.execute(f"DROP SCHEMA {PLACE} CASCADE")


@pytest.fixture
def table(server, postgres):
    """A table of three rows, a catalog that has it, and a role that may read it."""
    postgres.execute(f"DROP TABLE IF EXISTS {PLACE}.t")
    postgres.execute(f"CREATE TABLE {PLACE}.t (id integer PRIMARY KEY, name text)")
    postgres.execute(f"INSERT INTO {PLACE}.t VALUES (1, 'one'), (2, 'two'), (3, 'three')")
    url = urllib.parse.urlparse(os.environ["MARU_TEST_PG"])
    with server.connect() as admin:
        admin.execute(f"CREATE CATALOG kept USING postgres WITH (url = 'postgres://{url.hostname}:{url.port}{url.path}', user = '{url.username}', "
                      f"password = '{url.password}')")
        admin.execute("CREATE USER kept_reader PASSWORD 'kept-secret'")
        admin.execute("GRANT USAGE ON CATALOG kept TO kept_reader")
        admin.execute(f"GRANT USAGE ON SCHEMA kept.{PLACE} TO kept_reader")
        admin.execute(f"GRANT SELECT ON kept.{PLACE}.t TO kept_reader")
        try:
            yield admin
        finally:
            admin.execute("DROP CATALOG IF EXISTS kept CASCADE")
            admin.execute("DROP OWNED BY kept_reader")
            admin.execute("DROP ROLE kept_reader")


ASK = f"SELECT name FROM kept.{PLACE}.t WHERE id = %s"


def ask(connection, number, sql=ASK):
    """Often enough that the driver prepares it and the plan is used again."""
    rows = [connection.execute(sql, [number], prepare=True).fetchall() for _ in range(3)]
    assert rows[0] == rows[1] == rows[2]
    return rows[0]


def test_each_run_reads_anew(server, postgres, table):
    with server.connect() as reader:
        assert ask(reader, 1) == [("one",)] and ask(reader, 2) == [("two",)] and ask(reader, 9) == []
        postgres.execute(f"UPDATE {PLACE}.t SET name = 'eins' WHERE id = 1")
        postgres.execute(f"INSERT INTO {PLACE}.t VALUES (9, 'nine')")
        assert ask(reader, 1) == [("eins",)] and ask(reader, 9) == [("nine",)]
        # Others do what changes nothing but their own sessions.
        table.execute("SET TimeZone = 'Asia/Seoul'")
        table.execute("BEGIN")
        table.execute("ROLLBACK")
        assert ask(reader, 2) == [("two",)]


def test_rights_and_policies_hold_at_once(server, table):
    with server.connect(user="kept_reader", password="kept-secret") as reader:
        assert ask(reader, 1) == [("one",)] and ask(reader, 3) == [("three",)]
        table.execute(f"ALTER TABLE kept.{PLACE}.t ENABLE ROW LEVEL SECURITY")
        assert ask(reader, 1) == []
        table.execute(f"CREATE POLICY low ON kept.{PLACE}.t USING (id < 3)")
        assert ask(reader, 1) == [("one",)] and ask(reader, 3) == []
        table.execute(f"DROP POLICY low ON kept.{PLACE}.t")
        table.execute(f"ALTER TABLE kept.{PLACE}.t DISABLE ROW LEVEL SECURITY")
        assert ask(reader, 3) == [("three",)]
        table.execute(f"REVOKE SELECT ON kept.{PLACE}.t FROM kept_reader")
        # What one has no right to at all is not there.
        with pytest.raises(psycopg.errors.UndefinedTable):
            ask(reader, 1)
        table.execute(f"GRANT SELECT (id) ON kept.{PLACE}.t TO kept_reader")
        with pytest.raises(psycopg.errors.UndefinedColumn):
            ask(reader, 1)


def test_the_role_of_the_moment_counts(server, table):
    table.execute("CREATE ROLE kept_nobody")
    try:
        with server.connect() as reader:
            assert ask(reader, 1) == [("one",)]
            reader.execute("SET ROLE kept_nobody")
            with pytest.raises(psycopg.Error) as error:
                ask(reader, 1)
            assert error.value.sqlstate in ("42501", "3D000")
            reader.execute("RESET ROLE")
            assert ask(reader, 1) == [("one",)]
    finally:
        table.execute("DROP ROLE kept_nobody")


def test_names_mean_what_they_mean_now(server, postgres, table):
    postgres.execute(f"CREATE SCHEMA IF NOT EXISTS {PLACE}_b")
    try:
        postgres.execute(f"CREATE TABLE {PLACE}_b.t AS SELECT 1 AS id, 'of b' AS name")
        bare = "SELECT name FROM t WHERE id = %s"
        with server.connect() as reader:
            reader.execute("SET catalog = 'kept'")
            reader.execute(f"SET search_path = {PLACE}")
            assert ask(reader, 1, bare) == [("one",)]
            reader.execute(f"SET search_path = {PLACE}_b")
            assert ask(reader, 1, bare) == [("of b",)]
            reader.execute("CREATE TEMPORARY TABLE t AS SELECT 1 AS id, 'temporary' AS name")
            reader.execute("DEALLOCATE ALL")
            assert ask(reader, 1, bare) == [("temporary",)]
            reader.execute("DROP TABLE pg_temp.t")
            reader.execute("DEALLOCATE ALL")
            assert ask(reader, 1, bare) == [("of b",)]
    finally:
        postgres.execute(f"DROP SCHEMA {PLACE}_b CASCADE")


def test_a_table_that_has_changed_is_an_error_or_is_right(server, postgres, table):
    """What was remembered of it is forgotten in time; until then the source says what is wrong."""
    everything = f"SELECT * FROM kept.{PLACE}.t WHERE id = %s"
    with server.connect() as reader:
        assert ask(reader, 1, everything) == [(1, "one")]
        postgres.execute(f"ALTER TABLE {PLACE}.t ADD COLUMN more integer DEFAULT 7")
        assert ask(reader, 1, everything) == [(1, "one")]
        postgres.execute(f"ALTER TABLE {PLACE}.t DROP COLUMN name")
        with pytest.raises(psycopg.Error):
            reader.execute(everything, [1], prepare=True).fetchall()
        reader.execute("DEALLOCATE ALL")
        table.execute("DROP CATALOG kept CASCADE")
        with pytest.raises(psycopg.errors.InvalidCatalogName):
            reader.execute(everything, [1], prepare=True).fetchall()


def test_pushdown_may_be_turned_off(server, table):
    with server.connect() as reader:
        assert ask(reader, 1) == [("one",)]
        for setting in ["SET pushdown = off", "SET verify_pushdown = 'all'", "RESET pushdown"]:
            reader.execute(setting)
            assert ask(reader, 1) == [("one",)] and ask(reader, 3) == [("three",)]
