"""CHECK and DEFAULT of Delta Lake tables: on every way by which rows come, for two sessions at once, under policies, and beside another engine."""

import contextlib
import json
import sqlite3
import uuid

import adbc_driver_manager
import psycopg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

CHECKED = "(id bigint CONSTRAINT positive CHECK (id > 0), note text DEFAULT 'none')"


def state_of(call):
    with pytest.raises(psycopg.Error) as error:
        call()
    return error.value.sqlstate


@pytest.fixture
def lake(connection, tmp_path):
    """A catalog in a directory of its own."""
    name = "lake_" + uuid.uuid4().hex[:8]
    connection.execute(f"CREATE CATALOG {name} USING file WITH (path = '{tmp_path}')")
    yield name
    connection.execute(f"DROP CATALOG {name}")


def test_rows_of_every_door_are_checked_and_completed(server, connection, lake, tmp_path):
    t = f"{lake}.public.t"
    connection.execute(f"CREATE TABLE {t} {CHECKED}")

    def copy(rows):
        with connection.cursor().copy(f"COPY {t} (id) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    assert state_of(lambda: copy([(1,), (-1,)])) == "23514"
    copy([(2,), (None,)])
    insert = f"INSERT INTO {t} (id) VALUES (%s)"
    assert state_of(lambda: connection.execute(insert, [-3])) == "23514"
    connection.execute(insert, [3])
    connection.execute(f"INSERT INTO {t} VALUES (%s, DEFAULT)", [4])
    with server.flight() as flight, flight.cursor() as cursor:
        where = {"catalog_name": lake, "db_schema_name": "public"}
        with pytest.raises(adbc_driver_manager.Error, match="23514"):
            cursor.adbc_ingest("t", pa.table({"id": pa.array([5, -5], pa.int64())}), mode="append", **where)
        cursor.adbc_ingest("t", pa.table({"id": pa.array([5], pa.int64())}), mode="append", **where)
        with pytest.raises(adbc_driver_manager.Error, match="23514"):
            cursor.executemany(f"INSERT INTO {t} (id) VALUES ($1)", pa.table({"id": pa.array([6, -6], pa.int64())}))
        cursor.executemany(f"INSERT INTO {t} (id) VALUES ($1)", pa.table({"id": pa.array([6, 7], pa.int64())}))
    file = tmp_path / "rows.csv"
    file.write_text("id\n8\n-8\n")
    assert state_of(lambda: connection.execute(f"COPY {t} (id) FROM '{file}'")) == "23514"
    file.write_text("id\n8\n")
    connection.execute(f"COPY {t} (id) FROM '{file}'")
    found = connection.execute(f"SELECT id, note FROM {t} ORDER BY id").fetchall()
    assert found == [(id, "none") for id in [2, 3, 4, 5, 6, 7, 8, None]]


def test_a_constraint_holds_for_statements_that_were_planned_before(server, connection):
    connection.execute("CREATE TABLE public.planned (id bigint)")
    with server.connect() as other:
        other.prepare_threshold = 0
        insert = "INSERT INTO public.planned VALUES (%s)"
        other.execute(insert, [1])
        connection.execute("ALTER TABLE public.planned ADD CONSTRAINT few CHECK (id < 10)")
        assert state_of(lambda: other.execute(insert, [10])) == "23514"
        other.execute(insert, [9])
        # Who changes a table that another one has changed meanwhile is told so.
        connection.execute("BEGIN")
        connection.execute("INSERT INTO public.planned VALUES (2)")
        other.execute("ALTER TABLE public.planned ADD CONSTRAINT many CHECK (id > 0)")
        assert state_of(lambda: connection.execute("COMMIT")) == "40001"
    assert connection.execute("SELECT sum(id) FROM public.planned").fetchone() == (10,)
    connection.execute("DROP TABLE public.planned")


def test_a_refused_row_is_told_to_those_alone_who_may_read_it(server, connection, lake):
    t = f"{lake}.public.t"
    connection.execute(f"CREATE TABLE {t} (id bigint CHECK (id > 0), secret text DEFAULT 'hidden')")
    connection.execute("CREATE USER checked_kim PASSWORD 'kim-password-1'")
    connection.execute(f"GRANT USAGE ON CATALOG {lake} TO checked_kim")
    connection.execute(f"GRANT USAGE ON SCHEMA {lake}.public TO checked_kim")
    connection.execute(f"GRANT INSERT (id), SELECT (id) ON {t} TO checked_kim")

    def detail(who):
        with pytest.raises(psycopg.errors.CheckViolation) as error:
            who.execute(f"INSERT INTO {t} (id) VALUES (-1)")
        return error.value.diag.message_detail

    with server.connect(user="checked_kim", password="kim-password-1") as kim:
        assert detail(connection) == "Failing row contains (-1, hidden)."
        assert "hidden" not in (detail(kim) or "")
        # What the engine puts in needs no right on its column.
        kim.execute(f"INSERT INTO {t} (id) VALUES (1)")
        for refused in ["ADD CHECK (id < 5)", "DROP CONSTRAINT t_id_check", "ALTER id SET DEFAULT 1"]:
            assert state_of(lambda: kim.execute(f"ALTER TABLE {t} {refused}")) == "42501", refused
        # Policies look at what a default puts in.
        connection.execute(f"GRANT SELECT ON {t} TO checked_kim")
        connection.execute(f"ALTER TABLE {t} ENABLE ROW LEVEL SECURITY")
        connection.execute(f"CREATE POLICY p ON {t} TO checked_kim USING (secret = 'open')")
        assert state_of(lambda: kim.execute(f"INSERT INTO {t} (id) VALUES (2)")) == "42501"
        connection.execute(f"ALTER TABLE {t} ALTER secret SET DEFAULT 'open'")
        kim.execute(f"INSERT INTO {t} (id) VALUES (3)")
        assert detail(kim) is None
    assert connection.execute(f"SELECT * FROM {t} ORDER BY id").fetchall() == [(1, "hidden"), (3, "open")]
    connection.execute("DROP OWNED BY checked_kim")
    connection.execute("DROP USER checked_kim")


def test_another_engine_keeps_to_it_and_conditions_of_its_own_are_not_written_past(connection, lake, tmp_path):
    t = f"{lake}.public.t"
    connection.execute(f"CREATE TABLE {t} {CHECKED}")
    connection.execute(f"INSERT INTO {t} VALUES (1, 'x')")
    place = str(tmp_path / "t")
    assert DeltaTable(place).metadata().configuration["delta.constraints.positive"] == "id > 0"
    rows = pa.table({"id": pa.array([-1], pa.int64()), "note": pa.array(["y"])})
    with pytest.raises(Exception, match="(?i)constraint|invariant|violat|failed validation"):
        write_deltalake(place, rows, mode="append")
    # A condition that another engine has put there.
    log = tmp_path / "t" / "_delta_log"
    versions = sorted(path for path in log.iterdir() if path.suffix == ".json")
    lines = [json.loads(line) for line in versions[0].read_text().splitlines()]
    metadata = next(line for line in lines if "metaData" in line)
    metadata["metaData"]["configuration"]["delta.constraints.theirs"] = "`id` RLIKE '^[0-9]'"
    (log / f"{len(versions):020}.json").write_text(json.dumps(metadata) + "\n")
    assert connection.execute(f"SELECT * FROM {t}").fetchall() == [(1, "x")]
    for refused in [f"INSERT INTO {t} VALUES (2, 'y')", f"UPDATE {t} SET id = 3", f"ALTER TABLE {t} DROP CONSTRAINT theirs"]:
        assert state_of(lambda: connection.execute(refused)) == "0A000", refused


def test_rules_of_a_database_are_its_own(connection, tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "rules.db")) as source:
        source.execute("CREATE TABLE t (id integer PRIMARY KEY CHECK (id > 0), note text DEFAULT 'none')")
        source.commit()
    connection.execute(f"CREATE CATALOG rules_db USING sqlite WITH (path = '{tmp_path}/rules.db')")
    t = "rules_db.main.t"
    connection.execute(f"INSERT INTO {t} (id) VALUES (1)")
    assert state_of(lambda: connection.execute(f"INSERT INTO {t} (id) VALUES (-1)")) == "23514"
    for refused in [f"ALTER TABLE {t} ADD CHECK (id < 5)", f"ALTER TABLE {t} DROP CONSTRAINT x", f"ALTER TABLE {t} ALTER note SET DEFAULT 'x'",
                    "CREATE TABLE rules_db.main.u (id int DEFAULT 1)", "CREATE TABLE rules_db.main.u (id int CHECK (id > 0))"]:
        assert state_of(lambda: connection.execute(refused)) == "0A000", refused
    assert connection.execute(f"SELECT * FROM {t}").fetchall() == [(1, "none")]
    connection.execute("DROP CATALOG rules_db")
