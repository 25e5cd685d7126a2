"""Delta Lake tables that Maru writes on the local disk, S3 and HDFS: read by the Python package deltalake and by Spark as they
were written, by two engines at once, and by an engine that was killed."""

import datetime
import decimal
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import threading
import time
import uuid

import psycopg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from seeding import storage

HERE = pathlib.Path(__file__).parent
FOLDER = "/data/maru-writes"

# A column of each type that such a table has; a row of the greatest and the least, one of NULL, one in between.
ROWS = """
SELECT * FROM (VALUES
  (1, true, 32767::smallint, 2147483647, 9223372036854775807, 1.5::real, '2.5e300'::float8, 12345678.90::numeric(10,2),
   12345678901234567890123456789012345678::numeric(38,0), 'text', '\\xdeadbeef'::bytea, date '9999-12-31',
   timestamp '2026-01-01 12:34:56.123456', timestamptz '2026-01-01 12:34:56.123456+09', ARRAY[1, NULL, 3]),
  (2, false, (-32768)::smallint, -2147483648, -9223372036854775807, -1.5::real, 'NaN'::float8, -0.01::numeric(10,2),
   -1::numeric(38,0), '한글 ''quoted'' \\ \u00e9', '\\x'::bytea, date '1900-01-01',
   timestamp '1969-12-31 23:59:59.999999', timestamptz '1700-10-15 00:00:00+00', ARRAY[]::int[]),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL))
  AS rows (id, b, i2, i4, i8, f4, f8, n, nn, t, y, d, ts, tz, l)
"""


def sorted_rows(rows):
    return sorted((tuple(sorted(row.items())) for row in rows), key=repr)


def of_maru(connection, query):
    cursor = connection.execute(query)
    names = [column.name for column in cursor.description]
    return sorted_rows(dict(zip(names, row)) for row in cursor.fetchall())


def plain(rows):
    """Rows to compare: NaN is like itself, times are of UTC."""
    def one(value):
        if isinstance(value, datetime.datetime) and value.tzinfo:
            return value.astimezone(datetime.timezone.utc).isoformat()
        return repr(value)
    return [[(name, one(value)) for name, value in row] for row in rows]


def told(f4, f8, ts, tz, numbers):
    """The last columns as read_delta.py tells them: floats as Python has them, times in microseconds since 1970."""
    def micros(time):
        epoch = datetime.datetime(1970, 1, 1, tzinfo=time.tzinfo and datetime.timezone.utc)
        return (time - epoch) // datetime.timedelta(microseconds=1)
    return [f4 and repr(f4), f8 and repr(f8), ts and micros(ts), tz and micros(tz), numbers]


def of_deltalake(path, **options):
    table = DeltaTable(str(path), **options)
    found = QueryBuilder().register("t", table).execute("SELECT * FROM t").read_all()
    return sorted_rows(pa.table(found).to_pylist())


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


def test_deltalake_reads_every_type_as_it_was_written(connection, lake, tmp_path):
    done = connection.execute(f"CREATE TABLE {lake}.public.kinds AS {ROWS}")
    assert done.statusmessage == "SELECT 3"
    again = connection.execute(f"INSERT INTO {lake}.public.kinds SELECT * FROM {lake}.public.kinds")
    assert again.statusmessage == "INSERT 0 3"
    read = of_maru(connection, f"SELECT * FROM {lake}.public.kinds")
    assert len(read) == 6
    assert plain(of_deltalake(tmp_path / "kinds")) == plain(read)
    # Rows that the other package adds are read here.
    table = DeltaTable(str(tmp_path / "kinds"))
    write_deltalake(table, pa.table({"id": pa.array([7], pa.int64())}), mode="append", schema_mode="merge")
    assert connection.execute(f"SELECT count(*), max(id) FROM {lake}.public.kinds").fetchone() == (7, 7)


def test_partitions_prune_and_statistics_hold(connection, lake, tmp_path):
    connection.execute(f"""CREATE TABLE {lake}.public.p WITH (partitioned_by = ARRAY['day']) AS
        SELECT i AS id, date '2026-01-01' + (i % 5)::int AS day, 'n' || i AS name FROM generate_series(1, 1000) g(i)""")
    table = DeltaTable(str(tmp_path / "p"))
    assert table.metadata().partition_columns == ["day"]
    assert len(table.file_uris(partition_filters=[("day", "=", "2026-01-02")])) == 1
    actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    assert sum(action["num_records"] for action in actions) == 1000
    assert min(action["min.id"] for action in actions) == 1 and max(action["max.id"] for action in actions) == 1000
    assert of_deltalake(tmp_path / "p") == of_maru(connection, f"SELECT * FROM {lake}.public.p")


def test_other_writers_may_come_between(connection, lake, tmp_path):
    """Many appends at once, from here and from elsewhere: every one is there, once."""
    connection.execute(f"CREATE TABLE {lake}.public.t (id bigint)")
    failures = []

    def append_there(number):
        try:
            write_deltalake(str(tmp_path / "t"), pa.table({"id": pa.array([number], pa.int64())}), mode="append")
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    def append_here(numbers):
        with psycopg.connect(connection.info.dsn, password=connection.info.password, autocommit=True) as own:
            for number in numbers:
                own.execute(f"INSERT INTO {lake}.public.t VALUES ({number})")

    threads = [threading.Thread(target=append_here, args=(range(n * 10, n * 10 + 10),)) for n in range(4)]
    threads += [threading.Thread(target=append_there, args=(100 + n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    found = connection.execute(f"SELECT count(*), count(DISTINCT id) FROM {lake}.public.t").fetchone()
    assert found == (45, 45)


def test_two_overwrites_are_never_mixed(connection, lake):
    connection.execute(f"CREATE TABLE {lake}.public.t (who int, n int)")
    outcomes = []

    def overwrite(who):
        with psycopg.connect(connection.info.dsn, password=connection.info.password, autocommit=True) as own:
            try:
                own.execute(f"INSERT OVERWRITE {lake}.public.t SELECT {who}, i FROM generate_series(1, 1000) g(i)")
                outcomes.append("done")
            except psycopg.Error as error:
                outcomes.append(error.sqlstate)

    for _ in range(5):
        threads = [threading.Thread(target=overwrite, args=(who,)) for who in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert connection.execute(f"SELECT count(DISTINCT who), count(*) FROM {lake}.public.t").fetchone() == (1, 1000)
    assert set(outcomes) <= {"done", "40001"} and "done" in outcomes, outcomes


def test_a_cancelled_write_leaves_nothing(connection, lake, tmp_path):
    connection.execute(f"CREATE TABLE {lake}.public.t AS SELECT 1::bigint AS id")
    before = sorted(path.name for path in (tmp_path / "t").rglob("*"))
    connection.execute("SET statement_timeout = '700ms'")
    slow = f"INSERT INTO {lake}.public.t SELECT a.i * b.i FROM generate_series(1, 100000) a(i), generate_series(1, 100000) b(i)"
    assert state_of(lambda: connection.execute(slow)) == "57014"
    connection.execute("RESET statement_timeout")
    assert connection.execute(f"SELECT count(*) FROM {lake}.public.t").fetchone() == (1,)
    deadline = time.monotonic() + 60
    while sorted(path.name for path in (tmp_path / "t").rglob("*")) != before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sorted(path.name for path in (tmp_path / "t").rglob("*")) == before


def test_a_table_that_was_not_made_leaves_nothing(connection, lake, tmp_path):
    bad = f"""CREATE TABLE {lake}.public.bad WITH (partitioned_by = ARRAY['k']) AS
        SELECT 1 / (100000 - i) AS id, i % 3 AS k FROM generate_series(1, 200000) g(i)"""
    assert state_of(lambda: connection.execute(bad)) == "22012"
    deadline = time.monotonic() + 60
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list(tmp_path.iterdir())
    connection.execute(f"CREATE TABLE {lake}.public.bad WITH (partitioned_by = ARRAY['k']) AS SELECT 1 AS id, 2 AS k")
    assert connection.execute(f"SELECT * FROM {lake}.public.bad").fetchall() == [(1, 2)]


def test_rights_to_write(server, connection, lake):
    connection.execute(f"CREATE TABLE {lake}.public.t AS SELECT 1 AS id, 'x' AS secret")
    connection.execute("CREATE USER writer_kim PASSWORD 'kim-password-1'")
    connection.execute(f"GRANT USAGE ON CATALOG {lake} TO writer_kim")
    connection.execute(f"GRANT USAGE ON SCHEMA {lake}.public TO writer_kim")
    with server.connect(user="writer_kim", password="kim-password-1") as kim:
        insert = f"INSERT INTO {lake}.public.t VALUES (2, 'y')"
        assert state_of(lambda: kim.execute(insert)) in ("42501", "42P01")
        connection.execute(f"GRANT SELECT ON {lake}.public.t TO writer_kim")
        assert state_of(lambda: kim.execute(insert)) == "42501"
        connection.execute(f"GRANT INSERT (id) ON {lake}.public.t TO writer_kim")
        assert state_of(lambda: kim.execute(insert)) == "42501"
        assert kim.execute(f"INSERT INTO {lake}.public.t (id) VALUES (3)").statusmessage == "INSERT 0 1"
        for refused in ["DELETE FROM {}", "UPDATE {} SET id = 1", "TRUNCATE {}", "INSERT OVERWRITE {} SELECT 1, 'x'", "DROP TABLE {}",
                        "ALTER TABLE {} ADD COLUMN z int", "CREATE OR REPLACE TABLE {} AS SELECT 1 AS a"]:
            assert state_of(lambda: kim.execute(refused.format(f"{lake}.public.t"))) == "42501", refused
        assert state_of(lambda: kim.execute(f"CREATE TABLE {lake}.public.own AS SELECT 1 AS a")) == "42501"
        connection.execute(f"GRANT CREATE ON SCHEMA {lake}.public TO writer_kim")
        kim.execute(f"CREATE TABLE {lake}.public.own AS SELECT 1 AS a")
        kim.execute(f"INSERT INTO {lake}.public.own VALUES (2)")
        kim.execute(f"DROP TABLE {lake}.public.own")
        # Rows that policies choose are not written past them.
        connection.execute(f"GRANT DELETE, UPDATE, INSERT ON {lake}.public.t TO writer_kim")
        connection.execute(f"ALTER TABLE {lake}.public.t ENABLE ROW LEVEL SECURITY")
        connection.execute(f"CREATE POLICY p ON {lake}.public.t TO writer_kim USING (id = 1)")
        for refused in [insert, f"UPDATE {lake}.public.t SET id = 5", f"INSERT OVERWRITE {lake}.public.t SELECT 1, 'x'"]:
            assert state_of(lambda: kim.execute(refused)) == "42501", refused
        assert kim.execute(f"DELETE FROM {lake}.public.t").statusmessage == "DELETE 1"
        assert connection.execute(f"SELECT * FROM {lake}.public.t").fetchall() == [(3, None)]
    audited = connection.execute("SELECT count(*) FROM system.audit WHERE event = 'write' AND user_name = 'writer_kim'").fetchone()
    assert audited[0] >= 2
    connection.execute("DROP OWNED BY writer_kim")
    connection.execute("DROP USER writer_kim")


def test_drivers_are_told_of_the_rows_that_they_write(server, connection, lake):
    t = f"{lake}.public.t"
    connection.execute(f"CREATE TABLE {t} (id bigint NOT NULL, name text, price numeric(10,2))")
    # Parameters have their types from the table, and the columns are known before anything is written.
    cursor = connection.execute(f"INSERT INTO {t} VALUES (%s, %s, %s) RETURNING id, name, price * 2 AS twice", (1, "one", "1.005"))
    assert [column.name for column in cursor.description] == ["id", "name", "twice"]
    assert cursor.statusmessage == "INSERT 0 1"
    assert cursor.fetchall() == [(1, "one", decimal.Decimal("2.02"))]
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {t} (id) VALUES (%s) RETURNING id", [(2,), (3,)], returning=True)
        told = [cursor.fetchall()]
        while cursor.nextset():
            told.append(cursor.fetchall())
        assert told == [[(2,)], [(3,)]]
    cursor = connection.execute(f"UPDATE {t} SET name = %s WHERE id > %s RETURNING *", ("more", 1), prepare=True)
    assert (sorted(cursor.fetchall()), cursor.statusmessage) == ([(2, "more", None), (3, "more", None)], "UPDATE 2")
    many = connection.execute(f"INSERT INTO {t} (id) SELECT value FROM generate_series(10, 30009) AS g(value) RETURNING id").fetchall()
    assert sorted(many) == [(value,) for value in range(10, 30010)]
    assert len(connection.execute(f"DELETE FROM {t} WHERE id >= 10 RETURNING id, name").fetchall()) == 30000
    operations = [row[2] for row in connection.execute(f"DESCRIBE HISTORY {t}").fetchall()]
    assert {"UPDATE", "DELETE", "WRITE"} <= set(operations) and "MERGE" not in operations
    with server.flight() as flight, flight.cursor() as cursor:
        cursor.execute(f"INSERT INTO {t} (id) VALUES (4) RETURNING id")
        assert cursor.fetchall() == [(4,)]
        cursor.execute(f"SELECT count(*) FROM {t}")
        assert cursor.fetchone() == (4,)


def test_what_rows_tell_of_takes_the_right_to_read(server, connection, lake):
    t = f"{lake}.public.t"
    connection.execute(f"CREATE TABLE {t} AS SELECT 1 AS id, 'x' AS secret")
    connection.execute("CREATE USER teller_kim PASSWORD 'kim-password-1'")
    connection.execute(f"GRANT USAGE ON CATALOG {lake} TO teller_kim")
    connection.execute(f"GRANT USAGE ON SCHEMA {lake}.public TO teller_kim")
    connection.execute(f"GRANT INSERT ON {t} TO teller_kim")
    with server.connect(user="teller_kim", password="kim-password-1") as kim:
        insert = f"INSERT INTO {t} VALUES (2, 'y')"
        assert state_of(lambda: kim.execute(insert + " RETURNING id")) == "42501"
        assert kim.execute(insert).statusmessage == "INSERT 0 1"
        connection.execute(f"GRANT SELECT (id) ON {t} TO teller_kim")
        assert kim.execute(insert + " RETURNING id").fetchall() == [(2,)]
        assert kim.execute(insert + " RETURNING *").fetchall() == [(2,)]
        assert state_of(lambda: kim.execute(insert + " RETURNING secret")) == "42501"
        assert state_of(lambda: kim.execute(insert + " RETURNING upper(secret)")) == "42501"
        connection.execute(f"GRANT SELECT ON {t} TO teller_kim")
        connection.execute(f"ALTER TABLE {t} ENABLE ROW LEVEL SECURITY")
        connection.execute(f"CREATE POLICY p ON {t} TO teller_kim USING (id = 2)")
        assert state_of(lambda: kim.execute(insert + " RETURNING id")) == "0A000"
    assert connection.execute(f"SELECT count(*) FROM {t}").fetchone() == (4,)
    connection.execute("DROP OWNED BY teller_kim")
    connection.execute("DROP USER teller_kim")


def test_flight_updates_tell_how_many(server, lake):
    with server.flight() as flight, flight.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {lake}.public.f AS SELECT 1 AS id")
        cursor.adbc_statement.set_sql_query(f"INSERT INTO {lake}.public.f SELECT * FROM generate_series(1, 5)")
        assert cursor.adbc_statement.execute_update() == 5
        cursor.execute(f"SELECT count(*) FROM {lake}.public.f")
        assert cursor.fetchone() == (6,)


def test_a_write_over_flight_runs_once_whether_its_rows_are_read_or_not(server, lake):
    t = f"{lake}.public.f"
    with server.flight() as flight:
        with flight.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {t} (id bigint, name text)")
            # Nobody fetches these.
            cursor.execute(f"INSERT INTO {t} (id) VALUES (1) RETURNING id")
        with flight.cursor() as cursor:
            cursor.execute(f"INSERT INTO {t} (id) VALUES ($1) RETURNING id, id * 2 AS twice", (2,))
            assert cursor.fetchall() == [(2, 4)]
            cursor.execute(f"DELETE FROM {t} WHERE id = 77 RETURNING id, name")
            assert cursor.fetch_arrow_table().column_names == ["id", "name"]
            # Run as an update, it says how many.
            cursor.adbc_statement.set_sql_query(f"UPDATE {t} SET name = 'x' RETURNING id")
            assert cursor.adbc_statement.execute_update() == 2
            cursor.execute(f"SELECT id, name FROM {t} ORDER BY id")
            assert cursor.fetchall() == [(1, "x"), (2, "x")]


def test_a_ticket_of_a_write_is_good_once(server, lake):
    import pyarrow as pa
    import pyarrow.flight as pf
    from test_flight_limits import command, field

    t = f"{lake}.public.f"
    with pf.connect("grpc://" + server.endpoints["flight"]) as client:
        options = pf.FlightCallOptions(headers=[client.authenticate_basic_token("maru", server.password)], timeout=60)

        def info(sql):
            return client.get_flight_info(pf.FlightDescriptor.for_command(command("CommandStatementQuery", field(1, sql.encode()))), options)

        info(f"CREATE TABLE {t} (id bigint)")
        ticket, = [endpoint.ticket for endpoint in info(f"INSERT INTO {t} VALUES (1), (2) RETURNING id").endpoints]
        assert client.do_get(ticket, options).read_all().to_pydict() == {"id": [1, 2]}
        with pytest.raises(pa.ArrowException, match="handed out"):
            client.do_get(ticket, options).read_all()
        count, = info(f"SELECT count(*) AS n FROM {t}").endpoints
        assert client.do_get(count.ticket, options).read_all().to_pydict() == {"n": [2]}


def test_the_plan_of_a_write_that_tells_hides_nothing(connection, lake):
    t = f"{lake}.public.t"
    connection.execute(f"CREATE TABLE {t} (id bigint, name text)")
    for sql in [f"INSERT INTO {t} VALUES (1, 'x') RETURNING id", f"UPDATE {t} SET name = 'y' RETURNING id", f"DELETE FROM {t} RETURNING *"]:
        plan = "\n".join(line for line, in connection.execute(f"EXPLAIN ANALYZE {sql}").fetchall())
        assert "RETURNING" in plan and "memory at most" in plan and "olicies" not in plan and "$rows" not in plan, plan


def test_the_guide_says_what_works(connection, lake, tmp_path_factory):
    text = (HERE.parents[1] / "docs/writes.md").read_text()
    blocks = re.findall(r"```sql\n(.*?)```", text, re.S)
    assert len(blocks) >= 4
    out = tmp_path_factory.mktemp("out")
    for statement in "\n".join(blocks).split(";\n"):
        if statement.strip():
            connection.execute(statement.replace("lake.", f"{lake}.").replace("/data/out", str(out)))
    rows = connection.execute(f"SELECT id, name, region FROM {lake}.mart.customers ORDER BY id").fetchall()
    assert rows == [(1, "Han Ji-yeon", "Seoul"), (2, "Kim", "Busan"), (3, "Lee", "new"), (11, "Han", "Busan"), (100, None, None)]
    assert connection.execute(f"SELECT day::text, count(*) FROM {lake}.mart.calls GROUP BY 1 ORDER BY 1").fetchall() \
        == [("2026-11-01", 333), ("2026-11-02", 1), ("2026-11-03", 1)]


def test_partitions_are_replaced_by_the_values_that_are_named(connection, lake):
    p = f"{lake}.public.p"
    connection.execute(f"CREATE TABLE {p} (id bigint, y int, m int) PARTITIONED BY (y, m)")

    def overwrite(what):
        connection.execute(f"INSERT OVERWRITE {p} VALUES (1, 2025, 1), (2, 2025, 2), (3, 2026, 1), (4, NULL, 1)")
        connection.execute(f"INSERT OVERWRITE {p} {what}")
        return sorted(connection.execute(f"SELECT id, y, m FROM {p}").fetchall())

    others = [(3, 2026, 1), (4, None, 1)]
    assert overwrite("PARTITION (y = 2025) SELECT 9, 1") == [*others, (9, 2025, 1)]
    assert overwrite("PARTITION (y = 2025) SELECT 9, 1 WHERE false") == others
    assert overwrite("PARTITION (m = 1) SELECT 9, 2025 WHERE false") == [(2, 2025, 2)]
    assert overwrite("PARTITION (y = NULL) SELECT 9, 2") == [(1, 2025, 1), (2, 2025, 2), (3, 2026, 1), (9, None, 2)]
    assert overwrite("PARTITION (y = 2025, m = 2) SELECT 9 WHERE false") == [(1, 2025, 1), *others]
    # Of a column without a value only what rows come for.
    assert overwrite("PARTITION (y = 2025, m) SELECT 9, 1") == [(2, 2025, 2), *others, (9, 2025, 1)]
    assert overwrite("PARTITION (y = 2025, m) SELECT 9, 1 WHERE false") == [(1, 2025, 1), (2, 2025, 2), *others]
    assert overwrite("PARTITION (y, m) SELECT 9, 2026, 1") == [(1, 2025, 1), (2, 2025, 2), (4, None, 1), (9, 2026, 1)]


def test_dates_that_become_timestamps_are_known_elsewhere(connection, lake, tmp_path):
    connection.execute(f"CREATE TABLE {lake}.public.t AS SELECT date '2026-01-02' AS d")
    connection.execute(f"ALTER TABLE {lake}.public.t ALTER COLUMN d TYPE timestamp")
    connection.execute(f"INSERT INTO {lake}.public.t VALUES (timestamp '2026-01-02 03:04:05')")
    # The package opens the table; rows of columns that were widened it does not read.
    table = DeltaTable(str(tmp_path / "t"))
    assert table.schema().fields[0].type.type == "timestamp_ntz"
    protocol = table.protocol()
    for features in (protocol.reader_features, protocol.writer_features):
        assert {"timestampNtz", "typeWidening"} <= set(features)
    assert connection.execute(f"SELECT d::text FROM {lake}.public.t ORDER BY d").fetchall() == [("2026-01-02 00:00:00",), ("2026-01-02 03:04:05",)]


def test_rows_that_are_copied_are_those_that_are_meant(connection, lake, tmp_path):
    connection.execute(f"CREATE TABLE {lake}.public.t AS SELECT i AS id FROM generate_series(1, 3) g(i)")
    connection.execute(f"CREATE TABLE {lake}.public.n AS SELECT n::bigint AS n FROM (VALUES (1), (NULL)) AS v(n)")
    query = f"SELECT id FROM {lake}.public.t WHERE id NOT IN (SELECT n FROM {lake}.public.n) OR id = 2"
    assert connection.execute(f"COPY ({query}) TO '{tmp_path}/out.csv'").statusmessage == "COPY 1"
    assert (tmp_path / "out.csv").read_text() == "id\n2\n"
    assert connection.execute(f"CREATE TABLE {lake}.public.made AS {query}").statusmessage == "SELECT 1"
    assert connection.execute(f"INSERT INTO {lake}.public.made {query}").statusmessage == "INSERT 0 1"
    assert connection.execute(f"SELECT id FROM {lake}.public.made").fetchall() == [(2,), (2,)]
    # What is changed in a table of files is asked for twice, and knows NULL.
    assert connection.execute(query.replace("SELECT id FROM", "DELETE FROM", 1)).statusmessage == "DELETE 1"
    assert connection.execute(f"SELECT id FROM {lake}.public.t ORDER BY id").fetchall() == [(1,), (3,)]


def test_small_files_become_few_and_old_ones_go(connection, lake, tmp_path):
    connection.execute(f"CREATE TABLE {lake}.public.t (id bigint, k int) PARTITIONED BY (k)")
    for i in range(12):
        connection.execute(f"INSERT INTO {lake}.public.t VALUES ({i}, {i % 2})")
    before = of_maru(connection, f"SELECT * FROM {lake}.public.t")
    assert connection.execute(f"OPTIMIZE {lake}.public.t").statusmessage == "OPTIMIZE 12"
    assert connection.execute(f"OPTIMIZE {lake}.public.t").statusmessage == "OPTIMIZE 0"
    table = DeltaTable(str(tmp_path / "t"))
    assert len(table.file_uris()) == 2 and of_deltalake(tmp_path / "t") == before
    assert of_maru(connection, f"SELECT * FROM {lake}.public.t") == before
    history = connection.execute(f"DESCRIBE HISTORY {lake}.public.t").fetchall()
    assert [row[0] for row in history] == list(range(13, -1, -1)) and history[0][2] == "OPTIMIZE" and history[-1][2].startswith("CREATE TABLE")
    # What is old is listed, kept as long as it should be, and goes.
    orphans = f"SELECT count(*) FROM system.orphans WHERE catalog = '{lake}' AND schema = 'public' AND \"table\" = 't'"
    assert connection.execute(orphans).fetchone() == (12,)
    assert state_of(lambda: connection.execute(f"VACUUM {lake}.public.t RETAIN 0 HOURS")) == "22023"
    connection.execute(f"VACUUM {lake}.public.t")
    assert connection.execute(f"SELECT count(*) FROM {lake}.public.t VERSION AS OF 5").fetchone() == (5,)
    connection.execute("SET maru.vacuum_retention_check = off")
    connection.execute(f"VACUUM {lake}.public.t RETAIN 0 HOURS DRY RUN")
    assert connection.execute(orphans).fetchone() == (12,)
    connection.execute(f"VACUUM {lake}.public.t RETAIN 0 HOURS")
    connection.execute("RESET maru.vacuum_retention_check")
    assert connection.execute(orphans).fetchone() == (0,)
    assert of_maru(connection, f"SELECT * FROM {lake}.public.t") == before == of_deltalake(tmp_path / "t")
    # The same in the engine's own catalog.
    connection.execute("CREATE TABLE scattered (id bigint)")
    for i in range(3):
        connection.execute(f"INSERT INTO scattered VALUES ({i})")
    assert connection.execute("OPTIMIZE scattered").statusmessage == "OPTIMIZE 3"
    assert connection.execute("SELECT count(*), sum(id) FROM scattered").fetchone() == (3, 3)
    connection.execute("VACUUM scattered")
    assert len(connection.execute("DESCRIBE HISTORY scattered").fetchall()) == 5
    connection.execute("DROP TABLE scattered")


def test_appends_come_between_while_files_are_put_together(connection, lake):
    connection.execute(f"CREATE TABLE {lake}.public.t (id bigint)")
    outcomes = []

    def run(sql, times):
        with psycopg.connect(connection.info.dsn, password=connection.info.password, autocommit=True) as own:
            for i in range(times):
                try:
                    outcomes.append(own.execute(sql.format(i)).statusmessage.split()[0])
                except psycopg.Error as error:
                    outcomes.append(error.sqlstate)

    threads = [threading.Thread(target=run, args=(f"INSERT INTO {lake}.public.t VALUES ({n} * 100 + {{}})", 15)) for n in range(2)]
    threads.append(threading.Thread(target=run, args=(f"OPTIMIZE {lake}.public.t", 5)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("INSERT") == 30 and set(outcomes) <= {"INSERT", "OPTIMIZE", "40001"}, outcomes
    assert connection.execute(f"SELECT count(*), count(DISTINCT id) FROM {lake}.public.t").fetchone() == (30, 30)


@pytest.mark.parametrize("step,wanted", [("delta.before_commit", 0), ("delta.after_commit", 50)])
def test_killed_at_the_commit(start, tmp_path, step, wanted):
    """Also while a table is made: it is there with all rows, or it is not there, and nothing passes for it."""
    place = tmp_path / "lake"
    place.mkdir()
    first = start("other")
    with first.connect() as connection:
        connection.execute(f"CREATE CATALOG lake USING file WITH (path = '{place}')")
        connection.execute("CREATE TABLE lake.public.t (id bigint)")
    for statement in ("INSERT INTO lake.public.t SELECT i FROM generate_series(1, 50) g(i)",
                      "CREATE TABLE lake.public.made AS SELECT i AS id FROM generate_series(1, 50) g(i)"):
        first.stop()
        first = start("other", environment={"MARU_FAULT_POINT": step})
        with pytest.raises(psycopg.OperationalError), first.connect() as connection:
            connection.execute(statement)
        first.process.wait(60)
        first = start("other")
        with first.connect() as connection:
            table = statement.split()[2]
            if "CREATE" in statement and wanted == 0:
                assert state_of(lambda: connection.execute(f"SELECT * FROM {table}")) == "42P01"
                assert state_of(lambda: connection.execute(f"INSERT INTO {table} VALUES (1)")) == "42P01"
                left = connection.execute("SELECT count(*) FROM system.orphans WHERE catalog = 'lake' AND \"table\" = 'made'").fetchone()
                assert left[0] > 0
                connection.execute(f"CREATE TABLE {table} AS SELECT 1 AS id")
                assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)
            else:
                assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (wanted,)


def test_killed_at_random_moments(start, tmp_path):
    """After each kill -9 the table is what it was, or that and the whole of the rows."""
    place = tmp_path / "lake"
    place.mkdir()
    kills = int(os.environ.get("MARU_TEST_KILLS", "100" if os.environ.get("MARU_TEST_LONG") else "12"))
    n_before = n_after = 0
    chance = random.Random(17)
    server = start()
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG lake USING file WITH (path = '{place}')")
        connection.execute("CREATE TABLE lake.public.t (round int, id bigint)")
        connection.execute("CREATE TABLE own (round int, id bigint)")
    for kill in range(kills):
        with server.connect() as connection:
            before = [connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("lake.public.t", "own")]

            def write():
                try:
                    with server.connect() as own:
                        for table in ("lake.public.t", "own"):
                            own.execute(f"INSERT INTO {table} SELECT {kill}, i FROM generate_series(1, 200000) g(i)")
                except psycopg.Error:
                    pass

            thread = threading.Thread(target=write)
            thread.start()
            time.sleep(chance.uniform(0.0, 1.5))
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            thread.join()
        server = start()
        with server.connect() as connection:
            for table, count in zip(("lake.public.t", "own"), before):
                rows = connection.execute(f"SELECT count(*), count(DISTINCT round::bigint * 1000000 + id) FROM {table}").fetchone()
                assert rows[0] - count in (0, 200000) and rows[0] == rows[1], (kill, table, count, rows)
                n_before += rows[0] == count
                n_after += rows[0] > count
            assert connection.execute("SELECT count(*) FROM lake.public.t").fetchone()[0] == DeltaTable(str(place / "t")).count()
    print(f"{kills} kills: {n_before} tables as before, {n_after} with all rows")


@pytest.mark.services
def test_s3_and_hdfs_are_read_by_deltalake_and_spark(connection, tmp_path):
    name = uuid.uuid4().hex[:8]
    client = storage.s3_client()
    bucket = "maru-writes"
    if bucket not in [found["Name"] for found in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key=f"{name}/.keep", Body=b"x")
    hdfs = storage.Hdfs()
    hdfs.put(f"{FOLDER}/{name}/.keep", b"x")
    keys = {"access_key_id": os.environ["MARU_TEST_S3_ACCESS_KEY"], "secret_access_key": os.environ["MARU_TEST_S3_SECRET_KEY"]}
    connection.execute(f"""CREATE CATALOG w_s3 USING s3 WITH (bucket = '{bucket}', prefix = '{name}', endpoint = '{os.environ["MARU_TEST_S3"]}',
        access_key_id = '{keys["access_key_id"]}', secret_access_key = '{keys["secret_access_key"]}')""")
    connection.execute(f"CREATE CATALOG w_hdfs USING hdfs WITH (url = '{os.environ['MARU_TEST_HDFS']}{FOLDER}/{name}')")
    try:
        expected = of_maru(connection, ROWS)
        for catalog in ("w_s3", "w_hdfs"):
            connection.execute(f"CREATE SCHEMA {catalog}.mart")
            connection.execute(f"CREATE TABLE {catalog}.mart.kinds AS {ROWS}")
            assert plain(of_maru(connection, f"SELECT * FROM {catalog}.mart.kinds")) == plain(expected)
            connection.execute(f"""CREATE TABLE {catalog}.mart.p WITH (partitioned_by = ARRAY['k']) AS
                SELECT i AS id, 'k ' || i % 3 AS k FROM generate_series(1, 3000) g(i)""")

            def append(number):
                with psycopg.connect(connection.info.dsn, password=connection.info.password, autocommit=True) as own:
                    for i in range(5):
                        own.execute(f"INSERT INTO {catalog}.mart.p VALUES ({10000 + number * 100 + i}, 'new')")

            threads = [threading.Thread(target=append, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            counted = connection.execute(f"SELECT count(*), count(DISTINCT id) FROM {catalog}.mart.p").fetchone()
            assert counted == (3020, 3020), (catalog, counted)
            assert connection.execute(f"DELETE FROM {catalog}.mart.p WHERE id <= 10").statusmessage == "DELETE 10"
            assert connection.execute(f"UPDATE {catalog}.mart.p SET id = id + 1000000 WHERE k = 'new'").statusmessage == "UPDATE 20"
        options = {"AWS_ENDPOINT_URL": os.environ["MARU_TEST_S3"], "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
                   "AWS_ACCESS_KEY_ID": keys["access_key_id"], "AWS_SECRET_ACCESS_KEY": keys["secret_access_key"]}
        read = of_deltalake(f"s3://{bucket}/{name}/mart/p", storage_options=options)
        assert read == of_maru(connection, "SELECT * FROM w_s3.mart.p")
        read = of_deltalake(f"s3://{bucket}/{name}/mart/kinds", storage_options=options)
        assert plain(read) == plain(expected)
        output = tmp_path / "rows.json"
        command = [str(HERE.parent / "services/spark"), str(HERE / "read_delta.py"), os.environ["MARU_TEST_HDFS"] + f"{FOLDER}/{name}/mart", str(output)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        spark = json.loads(output.read_text())
        count = connection.execute("SELECT count(*), sum(id), count(DISTINCT k) FROM w_hdfs.mart.p").fetchone()
        assert spark["p"] == [int(value) for value in count]
        rows = connection.execute("""SELECT id::text, b::text, i2::text, i4::text, i8::text, n::text, nn::text, t, encode(y, 'hex'), d::text,
            f4, f8, ts, tz, l FROM w_hdfs.mart.kinds ORDER BY id""").fetchall()
        assert spark["kinds"] == [[*row[:10], *told(*row[10:])] for row in rows]
        for catalog in ("w_s3", "w_hdfs"):
            connection.execute(f"DROP TABLE {catalog}.mart.p")
            assert connection.execute(f"SELECT count(*) FROM system.tables WHERE catalog = '{catalog}' AND schema = 'mart'").fetchone() == (1,)
    finally:
        connection.execute("DROP CATALOG w_s3")
        connection.execute("DROP CATALOG w_hdfs")
