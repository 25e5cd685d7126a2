"""Temporary tables: of one session alone, gone with it, whichever door it came by."""

import time

import psycopg
import pyarrow
import pytest

def test_each_session_has_its_own(server):
    with server.connect() as one, server.connect() as other:
        one.execute("CREATE TEMP TABLE c_mine AS SELECT 1 AS n")
        other.execute("CREATE TEMP TABLE c_mine AS SELECT 2 AS n")
        assert one.execute("SELECT n FROM c_mine").fetchall() == [(1,)]
        assert other.execute("SELECT n FROM c_mine").fetchall() == [(2,)]
        own = one.execute("SELECT schema FROM system.tables WHERE name = 'c_mine'").fetchall()
        assert len(own) == 1
        # Not by its full name either, but for the superuser, who is asked for it by nobody.
        assert other.execute("SELECT count(*) FROM system.tables WHERE schema = %s", own[0]).fetchone() == (0,)
    with server.connect() as third:
        with pytest.raises(psycopg.errors.UndefinedTable):
            third.execute("SELECT * FROM c_mine")


def test_they_go_with_the_session(server):
    warehouse = server.data_dir / "warehouse"
    with server.connect() as connection:
        connection.execute("CREATE TEMP TABLE c_gone AS SELECT g AS n FROM generate_series(1, 1000) AS t(g)")
        place = connection.execute("SELECT schema FROM system.tables WHERE name = 'c_gone'").fetchone()[0]
        assert [entry for entry in warehouse.iterdir() if entry.name.startswith("cgone")]
    with server.connect() as connection:
        deadline = time.monotonic() + 60
        while [entry for entry in warehouse.iterdir() if entry.name.startswith("cgone")]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname = %s", (place,)).fetchone() == (0,)


def test_in_a_block(server):
    with server.connect(autocommit=False) as connection:
        connection.execute("CREATE TEMP TABLE c_block (n int)")
        connection.execute("INSERT INTO c_block VALUES (1)")
        connection.commit()
        connection.execute("INSERT INTO c_block VALUES (2)")
        connection.rollback()
        assert connection.execute("SELECT n FROM c_block").fetchall() == [(1,)]
        connection.execute("CREATE TEMP TABLE c_undone AS SELECT 1 AS n")
        connection.rollback()
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM c_undone")
        connection.rollback()
        with connection.cursor().copy("COPY c_block FROM STDIN") as copy:
            copy.write("7\n")
        connection.commit()
        assert connection.execute("SELECT sum(n) FROM c_block").fetchone() == (8,)


def test_by_prepared_statements(server):
    with server.connect() as connection:
        connection.execute("CREATE TEMP TABLE c_many (n int, t text)")
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO c_many VALUES (%s, %s)", [(at, str(at)) for at in range(50)])
        for _ in range(8):
            assert connection.execute("SELECT count(*) FROM c_many WHERE n < %s", (10,), prepare=True).fetchone() == (10,)


def test_by_ingest(server):
    table = pyarrow.table({"a": [1, 2, 3]})
    with server.flight() as flight, flight.cursor() as cursor:
        assert cursor.adbc_ingest("c_ingested", table, mode="create", temporary=True) == 3
        cursor.execute("SELECT sum(a) AS s FROM c_ingested")
        assert cursor.fetchone() == (6,)
        with server.connect() as other, pytest.raises(psycopg.errors.UndefinedTable):
            other.execute("SELECT * FROM c_ingested")
