"""Hive tables that Maru makes and writes, through metastores 3.1 and 4.0: read by Spark as they were written, by two writers at once,
by an engine that was killed, and by one that died at each step of its commit."""

import datetime
import decimal
import json
import os
import pathlib
import random
import signal
import subprocess
import threading
import time
import uuid

import psycopg
import pytest
from seeding import storage
from seeding.metastore import ORC, PARQUET, TEXT, Metastore

pytestmark = pytest.mark.services
HERE = pathlib.Path(__file__).parent
METASTORES = {"hms3": "MARU_TEST_HMS3", "hms4": "MARU_TEST_HMS4"}

# A row of the greatest and the least of each type, one of NULL, one in between.
KINDS = """
SELECT * FROM (VALUES
  (1, true, 127::smallint, 32767::smallint, 2147483647, 9223372036854775807, 1.5::real, '1.7976931348623157e308'::float8, 12345678.90::numeric(10,2),
   12345678901234567890123456789012345678::numeric(38,0), 'text', '\\xdeadbeef'::bytea, date '9999-12-31', timestamp '2261-12-31 23:59:59.999999'),
  (2, false, (-128)::smallint, (-32768)::smallint, -2147483648, -9223372036854775808, (-3.4028235e38)::real, 'NaN'::float8, -0.01::numeric(10,2),
   -1::numeric(38,0), E'한글 ''quoted'' \\\\ \\t tab \\n line \\\\n', '\\x'::bytea, date '0001-01-01', timestamp '1969-12-31 23:59:59.999999'),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (4, false, 0::smallint, 0::smallint, 0, 0, 0.1::real, '5e-324'::float8, 0::numeric(10,2), 0::numeric(38,0), '', '\\x00ff'::bytea, date '1582-10-15',
   timestamp '1700-03-01 04:05:06'))
  AS rows (id, b, i1, i2, i4, i8, f4, f8, n, nn, t, y, d, ts)
"""


def plain(value):
    """As read_hive.py has it."""
    if isinstance(value, dict):
        return sorted([str(key), plain(item)] for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (datetime.date, decimal.Decimal)):
        return str(value)
    return value


def state_of(call):
    with pytest.raises(psycopg.Error) as error:
        call()
    return error.value.sqlstate


class Hive:
    def __init__(self, server, connection, which):
        self.server, self.connection, self.which = server, connection, which
        self.url = os.environ[METASTORES[which]]
        self.database = f"maru_w_{uuid.uuid4().hex[:8]}"
        self.catalog = "hive_" + which
        self.folder = f"/user/hive/warehouse/external/{self.database}"
        self.name = f"{self.catalog}.{self.database}"
        storage.Hdfs().make_folder(self.folder)
        with Metastore(self.url) as metastore:
            metastore.create_database(self.database, os.environ["MARU_TEST_HDFS"] + self.folder, "made by a test", {})

    def metastore(self):
        return Metastore(self.url)

    def drop(self):
        with self.metastore() as metastore:
            metastore.drop_database(self.database)
        storage.Hdfs().delete(self.folder)

    def spark(self, tmp_path, *tables):
        output = tmp_path / f"rows-{uuid.uuid4().hex}.json"
        command = [str(HERE.parent / "services/spark"), str(HERE / "read_hive.py"), self.url, os.environ["MARU_TEST_HDFS"], str(output),
                   *[table if table.startswith("insert:") else f"{self.database}.{table}" for table in tables]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return {table.split(".", 1)[1]: rows for table, rows in json.loads(output.read_text()).items()}

    def one(self, sql):
        return self.connection.execute(sql).fetchone()


@pytest.fixture(params=list(METASTORES))
def hive(request, server, connection):
    found = Hive(server, connection, request.param)
    connection.execute(f"CREATE CATALOG {found.catalog} USING hive WITH (metastore = '{found.url}')")
    yield found
    connection.execute(f"DROP CATALOG {found.catalog}")
    found.drop()


def test_partitions_of_a_char_are_the_same_with_blanks_and_without(hive):
    """Spark names the partitions of a CHAR with the blanks that it fills up; they are replaced and added to, not put beside."""
    c, name = hive.connection, hive.name
    at = os.environ["MARU_TEST_HDFS"] + hive.folder + "/padded"
    columns = [("id", "int")]
    with hive.metastore() as metastore:
        metastore.create_table(hive.database, "padded", at, columns, PARQUET, partition_keys=[("p", "char(4)")])
        for key in ["k   ", "j"]:
            storage.Hdfs().make_folder(f"{hive.folder}/padded/p={key}")
            metastore.add_partition(hive.database, "padded", [key], f"{at}/p={key}", columns, PARQUET)
    both = f"SELECT p, id FROM {name}.padded ORDER BY p, id"
    c.execute(f"INSERT INTO {name}.padded VALUES (1, 'k'), (2, 'k  '), (3, 'j ')")
    assert c.execute(both).fetchall() == [("j", 3), ("k", 1), ("k", 2)]
    c.execute(f"INSERT OVERWRITE {name}.padded PARTITION (p) SELECT id + 10, p FROM {name}.padded WHERE p = 'k'")
    assert c.execute(both).fetchall() == [("j", 3), ("k", 11), ("k", 12)]
    c.execute(f"INSERT OVERWRITE {name}.padded PARTITION (p = 'k ') SELECT 20")
    assert c.execute(both).fetchall() == [("j", 3), ("k", 20)]
    with hive.metastore() as metastore:
        assert sorted(metastore.client.get_partition_names(hive.database, "padded", -1)) == ["p=j", "p=k   "]


def rows_of(connection, table):
    return sorted((plain(row) for row in connection.execute(f"SELECT * FROM {table}").fetchall()), key=repr)


# The client inside of Spark does not speak with a metastore 4.0.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("hive", ["hms3"], indirect=True)
def test_spark_reads_what_was_written(hive, tmp_path):
    """Every type, in Parquet and in text, with and without partitions, made, added to and replaced."""
    c, name = hive.connection, hive.name
    wanted = sorted((plain(row) for row in c.execute(KINDS).fetchall()), key=repr)
    assert c.execute(f"CREATE TABLE {name}.kinds AS {KINDS}").statusmessage == "SELECT 4"
    assert c.execute(f"CREATE TABLE {name}.lines WITH (format = 'text') AS {KINDS}").statusmessage == "SELECT 4"
    c.execute(f"""CREATE TABLE {name}.parts WITH (partitioned_by = ARRAY['day', 'kind'], compression = 'zstd') AS
        SELECT i AS id, 'n' || i AS name, date '2026-01-01' + (i % 3)::int AS day, 'a/b %=' || i % 2 AS kind FROM generate_series(1, 600) g(i)""")
    c.execute(f"CREATE TABLE {name}.none (id bigint, v varchar(5), l integer[])")
    c.execute(f"CREATE TABLE {name}.days (id bigint, day date) PARTITIONED BY (day)")
    assert rows_of(c, f"{name}.kinds") == wanted
    assert rows_of(c, f"{name}.lines") == wanted
    assert hive.one(f"SELECT count(*), count(DISTINCT day), count(DISTINCT kind) FROM {name}.parts") == (600, 3, 2)
    assert hive.one(f"SELECT count(*) FROM {name}.none") == (0,)
    # Added to, itself read; to a partition that is there, one that is not, and the one of NULL.
    assert c.execute(f"INSERT INTO {name}.kinds SELECT * FROM {name}.kinds").statusmessage == "INSERT 0 4"
    assert c.execute(f"INSERT INTO {name}.lines SELECT * FROM {name}.kinds").statusmessage == "INSERT 0 8"
    assert c.execute(f"INSERT INTO {name}.none VALUES (1, 'abcde', ARRAY[1, NULL]), (2, NULL, NULL)").statusmessage == "INSERT 0 2"
    c.execute(f"INSERT INTO {name}.parts VALUES (601, 'there', '2026-01-01', 'a/b %=1'), (602, 'new', '2027-01-01', 'x'), (603, 'null', NULL, NULL)")
    # Replaced: one partition by nothing, one that rows come for, the others not touched.
    c.execute(f"INSERT OVERWRITE {name}.parts PARTITION (day = '2026-01-02', kind = 'a/b %=0') SELECT 0, 'never' WHERE false")
    c.execute(f"INSERT OVERWRITE {name}.parts PARTITION (day, kind) SELECT 700, 'over', date '2026-01-03', 'a/b %=0'")
    c.execute(f"INSERT INTO {name}.days (id) VALUES (1)")
    assert hive.one(f"SELECT count(*), sum(id) FROM {name}.parts") == (404, 122806)
    assert hive.one(f"SELECT count(*) FROM {name}.kinds") == (8,)
    seen = hive.spark(tmp_path, "kinds", "lines", "parts", "none", "days", f"insert:INSERT INTO {hive.database}.none VALUES (9, 'spark', array(1))")
    for table in ("kinds", "lines"):
        rows = sorted(([row[k] for k in ("id", "b", "i1", "i2", "i4", "i8", "f4", "f8", "n", "nn", "t", "y", "d", "ts")] for row in seen[table]["rows"]), key=repr)
        mine = rows_of(c, f"{name}.{table}")
        # Floats of four bytes are shown with more digits by the one, fewer by the other.
        assert [[v for i, v in enumerate(row) if i != 6] for row in rows] == [[v for i, v in enumerate(row) if i != 6] for row in mine], table
        assert len(rows) == seen[table]["count"]
    mine = sorted(plain(row) for row in c.execute(f"SELECT id, name, day, kind FROM {name}.parts WHERE day IS NOT NULL").fetchall())
    assert sorted([row[k] for k in ("id", "name", "day", "kind")] for row in seen["parts"]["rows"] if row["day"]) == mine
    assert seen["parts"]["count"] == 404
    assert sorted(row["v"] or "" for row in seen["none"]["rows"]) == ["", "abcde"]
    assert seen["days"]["rows"] == [{"id": 1, "day": None}]
    # What Spark added is there, beside what Maru has.
    time.sleep(1.2)
    assert hive.one(f"SELECT count(*), max(id) FROM {name}.none") == (3, 9)
    # Figures that Hive answers from are those of the rows.
    with hive.metastore() as metastore:
        assert metastore.table(hive.database, "kinds").parameters["numRows"] == "8"
        assert "COLUMN_STATS_ACCURATE" not in metastore.table(hive.database, "kinds").parameters


def test_tables_are_emptied_dropped_and_widened(hive):
    c, name = hive.connection, hive.name
    c.execute(f"CREATE TABLE {name}.t AS SELECT i AS id FROM generate_series(1, 10) g(i)")
    c.execute(f"CREATE TABLE {name}.p WITH (partitioned_by = ARRAY['k']) AS SELECT i AS id, i % 2 AS k FROM generate_series(1, 10) g(i)")
    c.execute(f"ALTER TABLE {name}.t ADD COLUMN more text")
    c.execute(f"INSERT INTO {name}.t VALUES (11, 'x')")
    assert hive.one(f"SELECT count(*), count(more) FROM {name}.t") == (11, 1)
    c.execute(f"INSERT OVERWRITE {name}.t SELECT 1, 'only'")
    assert c.execute(f"SELECT * FROM {name}.t").fetchall() == [(1, "only")]
    c.execute(f"INSERT OVERWRITE {name}.p SELECT 5, 7")
    assert c.execute(f"SELECT * FROM {name}.p").fetchall() == [(5, 7)]
    c.execute(f"TRUNCATE {name}.t, {name}.p")
    assert hive.one(f"SELECT (SELECT count(*) FROM {name}.t), (SELECT count(*) FROM {name}.p)") == (0, 0)
    assert state_of(lambda: c.execute(f"CREATE TABLE {name}.t (a int)")) == "42P07"
    for table in ("t", "p"):
        c.execute(f"DROP TABLE {name}.{table}")
        assert not storage.Hdfs().exists(f"{hive.folder}/{table}")
    assert state_of(lambda: c.execute(f"SELECT * FROM {name}.t")) == "42P01"
    c.execute(f"CREATE TABLE {name}.t (a int)")
    c.execute(f"INSERT INTO {name}.t VALUES (1)")
    assert hive.one(f"SELECT count(*) FROM {name}.t") == (1,)


def test_partitions_are_replaced_by_the_values_that_are_named(hive):
    c, p = hive.connection, f"{hive.name}.p"
    c.execute(f"CREATE TABLE {p} (id bigint, y int, m int) PARTITIONED BY (y, m)")

    def overwrite(what):
        c.execute(f"INSERT OVERWRITE {p} VALUES (1, 2025, 1), (2, 2025, 2), (3, 2026, 1), (4, NULL, 1)")
        c.execute(f"INSERT OVERWRITE {p} {what}")
        return sorted(c.execute(f"SELECT id, y, m FROM {p}").fetchall())

    others = [(3, 2026, 1), (4, None, 1)]
    assert overwrite("PARTITION (y = 2025) SELECT 9, 1") == [*others, (9, 2025, 1)]
    assert overwrite("PARTITION (y = 2025) SELECT 9, 3") == [*others, (9, 2025, 3)]
    assert overwrite("PARTITION (y = 2025) SELECT 9, 1 WHERE false") == others
    assert overwrite("PARTITION (y = 2030) SELECT 9, 1 WHERE false") == [(1, 2025, 1), (2, 2025, 2), *others]
    assert overwrite("PARTITION (m = 1) SELECT 9, 2025 WHERE false") == [(2, 2025, 2)]
    assert overwrite("PARTITION (y = NULL) SELECT 9, 2") == [(1, 2025, 1), (2, 2025, 2), (3, 2026, 1), (9, None, 2)]
    assert overwrite("PARTITION (y = 2025, m = 2) SELECT 9 WHERE false") == [(1, 2025, 1), *others]
    # Of a column without a value only what rows come for.
    assert overwrite("PARTITION (y = 2025, m) SELECT 9, 1") == [(2, 2025, 2), *others, (9, 2025, 1)]
    assert overwrite("PARTITION (y = 2025, m) SELECT 9, 1 WHERE false") == [(1, 2025, 1), (2, 2025, 2), *others]


def test_what_is_not_written_is_refused_before_the_first_byte(hive):
    c, name = hive.connection, hive.name
    place = os.environ["MARU_TEST_HDFS"] + hive.folder
    with hive.metastore() as metastore:
        columns = [("id", "int"), ("s", "string")]
        metastore.create_table(hive.database, "orc", f"{place}/orc", columns, ORC)
        metastore.create_table(hive.database, "headed", f"{place}/headed", columns, TEXT, parameters={"skip.header.line.count": "1"})
        metastore.create_table(hive.database, "bare", f"{place}/bare", columns, TEXT)
        metastore.create_table(hive.database, "spark_buckets", f"{place}/sb", columns, PARQUET, parameters={"spark.sql.sources.schema.numBuckets": "4"})
    c.execute(f"CREATE TABLE {name}.t (id int, s varchar(3))")
    for table, word in [("orc", "ORC"), ("headed", "lines that do not count"), ("spark_buckets", "bucketed")]:
        with pytest.raises(psycopg.errors.FeatureNotSupported, match=word):
            c.execute(f"INSERT INTO {name}.{table} VALUES (1, 'a')")
    refused = {
        f"UPDATE {name}.t SET id = 1": "0A000",
        f"DELETE FROM {name}.t WHERE id = 1": "0A000",
        f"MERGE INTO {name}.t USING (SELECT 1 AS a) s ON t.id = s.a WHEN MATCHED THEN DELETE": "0A000",
        f"INSERT INTO {name}.t VALUES (1, 'abcd')": "22001",
        f"INSERT INTO {name}.t VALUES (3000000000, 'a')": "22003",
        f"INSERT INTO {name}.t VALUES (1, 'a', 2)": "42601",
        f"INSERT INTO {name}.bare VALUES (1, E'two\\nlines')": "22023",
        f"INSERT INTO {name}.bare VALUES (1, '\\N')": "22023",
        f"INSERT OVERWRITE {name}.t PARTITION (id = 1) SELECT 'x'": "22023",
        f"CREATE TABLE {name}.zoned (a timestamptz)": "0A000",
        f"CREATE TABLE {name}.keyed (a int PRIMARY KEY)": "0A000",
        f"CREATE TABLE {name}.\"Upper\" (a int)": "22023",
        f"CREATE TABLE {name}.fractions WITH (partitioned_by = ARRAY['f']) AS SELECT 1 AS a, 1.5::float8 AS f": "0A000",
        f"CREATE TABLE {name}.empty_key WITH (partitioned_by = ARRAY['k']) AS SELECT 1 AS a, '' AS k": "22023",
        f"CREATE TABLE {hive.catalog}.no_such_database.t (a int)": "3F000",
        f"CREATE OR REPLACE TABLE {name}.t AS SELECT 1 AS a": "0A000",
    }
    for sql, state in refused.items():
        assert state_of(lambda: c.execute(sql)) == state, sql
    assert hive.one(f"SELECT count(*) FROM {name}.t") == (0,)
    listed = [row[1] for row in c.execute(f"SHOW TABLES FROM {name}").fetchall()]
    assert sorted(listed) == ["bare", "headed", "orc", "spark_buckets", "t"], listed


def together(server, works):
    outcomes = []

    def run(sql):
        try:
            with server.connect() as own:
                outcomes.append(own.execute(sql).statusmessage)
        except psycopg.Error as error:
            outcomes.append(error.sqlstate)

    threads = [threading.Thread(target=run, args=(sql,)) for sql in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_writers_at_once_follow_one_another(hive, start):
    """Two engines: what is added is there once, what is replaced is never mixed, other partitions do not disturb."""
    c, name = hive.connection, hive.name
    other = start()
    with other.connect() as second:
        second.execute(f"CREATE CATALOG {hive.catalog} USING hive WITH (metastore = '{hive.url}')")
    c.execute(f"CREATE TABLE {name}.t (who int, n int)")
    c.execute(f"CREATE TABLE {name}.p (who int, n int, k int) PARTITIONED BY (k)")
    insert = "INSERT INTO {}.t SELECT {}, i FROM generate_series(1, 100) g(i)"
    done = []
    threads = [threading.Thread(target=lambda s=s, n=n: done.extend(together(s, [insert.format(name, n * 10 + i) for i in range(3)])))
               for n, s in enumerate((hive.server, other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == ["INSERT 0 100"] * 6
    assert hive.one(f"SELECT count(*), count(DISTINCT who) FROM {name}.t") == (600, 6)
    done.clear()
    overwrite = "INSERT OVERWRITE {}.t SELECT {}, i FROM generate_series(1, 100) g(i)"
    threads = [threading.Thread(target=lambda s=s, n=n: done.extend(together(s, [overwrite.format(name, n * 10 + i) for i in range(2)])))
               for n, s in enumerate((hive.server, other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(done) <= {"INSERT 0 100", "40001"} and "INSERT 0 100" in done, done
    time.sleep(1.2)
    assert hive.one(f"SELECT count(*), count(DISTINCT who) FROM {name}.t") == (100, 1)
    # Different partitions, each replaced by its own writer.
    works = [f"INSERT OVERWRITE {name}.p PARTITION (k = {k}) SELECT {k}, i FROM generate_series(1, 50) g(i)" for k in range(4)]
    assert together(hive.server, works) == ["INSERT 0 50"] * 4
    assert hive.one(f"SELECT count(*), count(DISTINCT who) FROM {name}.p WHERE who = k") == (200, 4)


@pytest.mark.parametrize("hive", ["hms3"], indirect=True)
def test_partitions_that_are_as_spark_makes_them_are_added_to(hive, tmp_path):
    """A table that Spark made, in folders of its own; its partitions get rows from both."""
    c, name, database = hive.connection, hive.name, hive.database
    # Hive's own dynamic partitions, and a table of Spark's kind, whose place stands in its SerDe's parameters too.
    hive.spark(tmp_path, f"insert:CREATE TABLE {database}.s (id INT, name STRING, k STRING) USING parquet PARTITIONED BY (k)",
               f"insert:INSERT INTO {database}.s VALUES (1, 'one', 'a'), (2, 'two', 'b/c')",
               f"insert:CREATE TABLE {database}.u (id INT, name STRING) USING parquet", f"insert:INSERT INTO {database}.u VALUES (1, 'one')")
    c.execute(f"INSERT INTO {name}.s VALUES (3, 'three', 'b/c'), (4, 'four', 'new')")
    c.execute(f"INSERT INTO {name}.u VALUES (2, 'two')")
    seen = hive.spark(tmp_path, "s", "u")
    assert sorted((row["id"], row["name"], row["k"]) for row in seen["s"]["rows"]) == [(1, "one", "a"), (2, "two", "b/c"), (3, "three", "b/c"), (4, "four", "new")]
    assert sorted(row["id"] for row in seen["u"]["rows"]) == [1, 2]
    c.execute(f"INSERT OVERWRITE {name}.u VALUES (7, 'seven')")
    c.execute(f"INSERT OVERWRITE {name}.s PARTITION (k = 'a') SELECT 9, 'nine'")
    seen = hive.spark(tmp_path, "s", "u", f"insert:INSERT INTO {database}.u VALUES (8, 'eight')", "u")
    assert sorted(row["id"] for row in seen["s"]["rows"]) == [2, 3, 4, 9]
    assert sorted(row["id"] for row in seen["u"]["rows"]) == [7, 8]


def killed(start, hive, kills, statement, before, after, fault=None):
    """Lets an engine die during a statement, time after time; each time the rows are those before or those after."""
    chance = random.Random(23)
    counts = {"before": 0, "after": 0}
    for kill in range(kills):
        server = start(environment={"MARU_FAULT_POINT": fault} if fault else {})
        with server.connect() as own:
            own.execute(f"CREATE CATALOG IF NOT EXISTS {hive.catalog} USING hive WITH (metastore = '{hive.url}')")
            wanted = before(own, kill)

            def write():
                try:
                    with server.connect() as writer:
                        writer.execute(statement(kill))
                except psycopg.Error:
                    pass

            thread = threading.Thread(target=write)
            thread.start()
            if fault is None:
                time.sleep(chance.uniform(0.0, 0.9))
                server.process.send_signal(signal.SIGKILL)
            server.process.wait(60)
            thread.join()
        # An engine that knows nothing of what was there before.
        server = start()
        with server.connect() as reader:
            found = after(reader, kill)
            assert found in wanted, (kill, fault, found, wanted)
            counts["before" if found == wanted[0] else "after"] += 1
        server.stop()
    return counts


@pytest.mark.timeout(3600)
def test_killed_at_random_moments(hive, start):
    c, name = hive.connection, hive.name
    long = os.environ.get("MARU_TEST_LONG")
    kills = 50 if long else 3
    c.execute(f"CREATE TABLE {name}.t (round int, id bigint)")
    c.execute(f"CREATE TABLE {name}.p (id bigint, round int, k int) PARTITIONED BY (k)")
    count = f"SELECT count(*), count(DISTINCT round::bigint * 1000000 + id) FROM {name}.t"

    def sizes(own, _):
        n = own.execute(count).fetchone()[0]
        return [(n, n), (n + 100000, n + 100000)]

    found = killed(start, hive, kills, lambda kill: f"INSERT INTO {name}.t SELECT {kill}, i FROM generate_series(1, 100000) g(i)", sizes,
                   lambda own, _: own.execute(count).fetchone())
    print(f"{hive.which}: {kills} kills of appends: {found}")
    c.execute(f"INSERT INTO {name}.p SELECT i, -1, i % 4 FROM generate_series(1, 40000) g(i)")
    state = f"SELECT count(*), min(round), max(round) FROM {name}.p"
    found = killed(start, hive, kills, lambda kill: f"INSERT OVERWRITE {name}.p PARTITION (k) SELECT i, {kill}, i % 4 FROM generate_series(1, 40000) g(i)",
                   lambda own, kill: [own.execute(state).fetchone(), (40000, kill, kill)], lambda own, _: own.execute(state).fetchone())
    print(f"{hive.which}: {kills} kills of overwrites: {found}")


@pytest.mark.timeout(900)
def test_killed_at_each_step(hive, start):
    c, name = hive.connection, hive.name
    c.execute(f"CREATE TABLE {name}.t (round int, id bigint)")
    c.execute(f"CREATE TABLE {name}.p AS SELECT 1 AS id, 0 AS round")
    c.execute(f"DROP TABLE {name}.p")
    c.execute(f"CREATE TABLE {name}.p (id bigint, round int, k int) PARTITIONED BY (k)")
    c.execute(f"INSERT INTO {name}.p SELECT i, -1, i % 4 FROM generate_series(1, 400) g(i)")
    count, state = f"SELECT count(*) FROM {name}.t", f"SELECT count(*), min(round), max(round) FROM {name}.p WHERE k < 4"
    steps = {"hive.locked": "before", "hive.before_change": "before", "hive.hollow": "before", "hive.after_change": "after"}
    for step, wanted in steps.items():
        number = list(steps).index(step)
        # New partitions beside old ones, so that it takes two calls.
        found = killed(start, hive, 1, lambda _: f"INSERT OVERWRITE {name}.p PARTITION (k) SELECT i, {number}, i % 4 FROM generate_series(1, 400) g(i) "
                       f"UNION ALL SELECT 0, {number}, {10 + number}", lambda own, _: [own.execute(state).fetchone(), (400, number, number)],
                       lambda own, _: own.execute(state).fetchone(), fault=step)
        assert found[wanted] == 1, (step, found)
    for step, wanted in {"hive.before_change": "before", "hive.after_change": "after"}.items():
        found = killed(start, hive, 1, lambda _: f"INSERT INTO {name}.t SELECT 1, i FROM generate_series(1, 100) g(i)",
                       lambda own, _: [own.execute(count).fetchone(), (own.execute(count).fetchone()[0] + 100,)],
                       lambda own, _: own.execute(count).fetchone(), fault=step)
        assert found[wanted] == 1, (step, found)
    for step, there in {"hive.made": False, "hive.before_change": False, "hive.after_change": True}.items():
        killed(start, hive, 1, lambda _: f"CREATE TABLE {name}.made WITH (partitioned_by = ARRAY['k']) AS SELECT i AS id, i % 2 AS k FROM generate_series(1, 100) g(i)",
               lambda own, _: [None], lambda own, _: None, fault=step)
        with hive.metastore() as metastore:
            listed = [table for table in metastore.client.get_all_tables(hive.database) if not table.startswith("maru_new_")]
        assert ("made" in listed) == there and set(listed) <= {"t", "p", "made"}, (step, listed)
    # What the dead have left is listed, and goes.
    server = start()
    with server.connect() as own:
        assert sorted(row[1] for row in own.execute(f"SHOW TABLES FROM {name}").fetchall()) == ["made", "p", "t"]
        assert own.execute(f"SELECT count(*) FROM {name}.made").fetchone() == (100,)
        orphans = f"SELECT count(*) FROM system.orphans WHERE catalog = '{hive.catalog}' AND schema = '{hive.database}'"
        assert own.execute(orphans).fetchone()[0] > 0
        own.execute("SET maru.vacuum_retention_check = off")
        for table in ("t", "p", "made"):
            own.execute(f"VACUUM {name}.{table} RETAIN 0 HOURS")
        assert own.execute(orphans).fetchone() == (0,)
        assert own.execute(f"SELECT count(*) FROM {name}.p WHERE k < 4").fetchone() == (400,)
        assert own.execute(f"SELECT count(*) FROM {name}.t").fetchone() == (100,)


def test_a_cancelled_write_leaves_nothing(hive):
    c, name = hive.connection, hive.name
    c.execute(f"CREATE TABLE {name}.t AS SELECT 1::bigint AS id")
    before = sorted(storage.Hdfs().tree(f"{hive.folder}/t"))
    c.execute("SET statement_timeout = '900ms'")
    slow = f"INSERT OVERWRITE {name}.t SELECT a.i * b.i FROM generate_series(1, 100000) a(i), generate_series(1, 100000) b(i)"
    assert state_of(lambda: c.execute(slow)) == "57014"
    assert state_of(lambda: c.execute(slow.replace("OVERWRITE", "INTO"))) == "57014"
    c.execute("RESET statement_timeout")
    assert hive.one(f"SELECT count(*) FROM {name}.t") == (1,)
    deadline = time.monotonic() + 60
    while sorted(storage.Hdfs().tree(f"{hive.folder}/t")) != before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert sorted(storage.Hdfs().tree(f"{hive.folder}/t")) == before


def test_local_tables_and_explain(connection, tmp_path):
    """A table whose files lie on a local disk; what EXPLAIN says of writes."""
    url = os.environ["MARU_TEST_HMS3"]
    database = f"maru_l_{uuid.uuid4().hex[:8]}"
    with Metastore(url) as metastore:
        metastore.create_database(database, f"file:{tmp_path}/db", "made by a test", {})
    connection.execute(f"CREATE CATALOG hive_local USING hive WITH (metastore = '{url}')")
    try:
        name = f"hive_local.{database}"
        connection.execute(f"CREATE TABLE {name}.t AS SELECT i AS id, 'x' AS s FROM generate_series(1, 10) g(i)")
        connection.execute(f"INSERT INTO {name}.t VALUES (11, 'y')")
        connection.execute(f"CREATE TABLE {name}.p WITH (partitioned_by = ARRAY['k']) AS SELECT i AS id, i % 2 AS k FROM generate_series(1, 10) g(i)")
        connection.execute(f"INSERT INTO {name}.p VALUES (11, 1), (12, 5)")
        assert connection.execute(f"SELECT count(*) FROM {name}.t").fetchone() == (11,)
        assert connection.execute(f"SELECT count(*), count(DISTINCT k) FROM {name}.p").fetchone() == (12, 3)
        told = "\n".join(row[0] for row in connection.execute(f"EXPLAIN INSERT OVERWRITE {name}.p PARTITION (k = 1) SELECT 1").fetchall())
        assert "one change of the metastore, partitioned by k" in told, told
        connection.execute(f"DROP TABLE {name}.t")
        assert not (tmp_path / "db/t").exists()
    finally:
        connection.execute("DROP CATALOG hive_local")
        with Metastore(url) as metastore:
            metastore.drop_database(database)
