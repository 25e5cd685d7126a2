"""Delta Lake tables on the local disk, S3 and HDFS beside what the Python package deltalake reads of them, version by version."""

import importlib.util
import os
import pathlib
import shutil
import time

import psycopg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from seeding import storage

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"
BUCKET = "delta-tables"
FOLDER = "/data/delta-tables"


def fixture_writer():
    spec = importlib.util.spec_from_file_location("make_delta", FIXTURES / "make_delta.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(table, version=None):
    """What deltalake reads, by name of column."""
    opened = DeltaTable(str(table), version=version)
    found = QueryBuilder().register("t", opened).execute("SELECT * FROM t").read_all()
    return by_name(pa.table(found).to_pylist())


def by_name(rows):
    return sorted((tuple(sorted(row.items())) for row in rows), key=repr)


def rows_of_maru(connection, table):
    cursor = connection.execute(f"SELECT * FROM {table}")
    names = [column.name for column in cursor.description]
    return by_name(dict(zip(names, row)) for row in cursor.fetchall())


def upload_to_s3(local, key):
    client = storage.s3_client()
    for file in sorted(path for path in local.rglob("*") if path.is_file()):
        client.put_object(Bucket=BUCKET, Key=f"{key}/{file.relative_to(local)}", Body=file.read_bytes())


def upload_to_hdfs(local, folder):
    hdfs = storage.Hdfs()
    for file in sorted(path for path in local.rglob("*") if path.is_file()):
        hdfs.put(f"{folder}/{file.relative_to(local)}", file.read_bytes())


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table in a folder named as if nothing could go wrong with names."""
    place = tmp_path_factory.mktemp("delta") / "shop" / "orders"
    place.mkdir(parents=True)
    fixture_writer().write(str(place))
    return place


@pytest.fixture(scope="module")
def connection(server, table):
    with server.connect() as connection:
        # Catalogs of one name come and go here, under the plans of prepared statements.
        connection.prepare_threshold = None
        connection.execute(f"CREATE CATALOG dl USING file WITH (path = '{table.parents[1]}')")
        yield connection
        connection.execute("DROP CATALOG dl")


@pytest.fixture(scope="module")
def places(connection, table):
    """The same table at every kind of place, as names for SQL."""
    client = storage.s3_client()
    storage.s3_fresh_bucket(client, BUCKET)
    upload_to_s3(table, "shop/orders")
    hdfs = storage.Hdfs()
    hdfs.make_folder(FOLDER)
    upload_to_hdfs(table, f"{FOLDER}/shop/orders")
    connection.execute(
        f"CREATE CATALOG dl_s3 USING s3 WITH (endpoint = '{os.environ['MARU_TEST_S3']}', bucket = '{BUCKET}', "
        f"access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}')")
    connection.execute(f"CREATE CATALOG dl_hdfs USING hdfs WITH (url = '{os.environ['MARU_TEST_HDFS']}{FOLDER}')")
    yield ["dl.shop.orders", "dl_s3.shop.orders", "dl_hdfs.shop.orders", f"'s3://{BUCKET}/shop/orders/'",
           f"'{os.environ['MARU_TEST_HDFS']}{FOLDER}/shop/orders'"]
    connection.execute("DROP CATALOG dl_s3")
    connection.execute("DROP CATALOG dl_hdfs")
    hdfs.call("DELETE", FOLDER, "DELETE", recursive="true")


@pytest.mark.services
def test_every_version_at_every_place(connection, table, places):
    newest = DeltaTable(str(table)).version()
    assert newest == 5
    for version in range(newest + 1):
        expected = rows_of(table, version)
        for place in places:
            assert rows_of_maru(connection, f"{place} VERSION AS OF {version}") == expected, (place, version)
    for place in places:
        assert rows_of_maru(connection, place) == rows_of(table), place


@pytest.mark.services
def test_a_new_commit_is_seen_by_the_next_statement_at_every_place(connection, table, places):
    before = connection.execute(f"SELECT count(*) FROM {places[1]}").fetchone()[0]
    write_deltalake(str(table), fixture_writer().rows(range(500, 510), note=pa.nulls(10, pa.string())), mode="append")
    upload_to_s3(table, "shop/orders")
    upload_to_hdfs(table, f"{FOLDER}/shop/orders")
    for place in places:
        assert connection.execute(f"SELECT count(*) FROM {place}").fetchone()[0] == before + 10, place
    DeltaTable(str(table)).restore(5)
    upload_to_s3(table, "shop/orders")
    upload_to_hdfs(table, f"{FOLDER}/shop/orders")
    for place in places:
        assert rows_of_maru(connection, place) == rows_of(table), place


@pytest.fixture
def scratch(connection, tmp_path):
    """A catalog over an empty folder."""
    name = "dl_scratch"
    (tmp_path / "s").mkdir()
    connection.execute(f"CREATE CATALOG {name} USING file WITH (path = '{tmp_path}', layout = 'tables')")
    yield tmp_path
    connection.execute(f"DROP CATALOG {name}")


def numbers(*ids, **more):
    return pa.table({"id": pa.array(ids, pa.int64()), **more})


def test_files_are_left_out_by_partitions_and_bounds_in_the_log(connection, table):
    uris = DeltaTable(str(table), version=5).file_uris()
    files = len(uris)

    def pruned(condition):
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN SELECT note FROM dl.shop.orders VERSION AS OF 5 WHERE {condition}"))
        return int(plan.split("files_pruned=")[1].split(",")[0])

    assert pruned("id > 105") == files - 1
    assert pruned("at < '2026-11-01 00:30:00+00'") == files - 1
    assert pruned("region = '서울' AND id < 100000") == sum("region=%EC%84%9C%EC%9A%B8/" not in uri for uri in uris) > 0
    # What is counted is known without a file.
    plan = "\n".join(row[0] for row in connection.execute("EXPLAIN SELECT count(*) FROM dl.shop.orders"))
    assert "DataSourceExec" not in plan, plan


def test_columns_that_change_are_seen_at_once(connection, scratch):
    place = str(scratch / "t")
    write_deltalake(place, numbers(1))
    prepared = "SELECT * FROM dl_scratch.public.t ORDER BY id"
    assert connection.execute(prepared).fetchall() == [(1,)]
    write_deltalake(place, numbers(2, more=["x"]), mode="append", schema_mode="merge")
    assert connection.execute(prepared).fetchall() == [(1, None), (2, "x")]
    write_deltalake(place, pa.table({"other": ["y"]}), mode="overwrite", schema_mode="overwrite")
    assert connection.execute("SELECT * FROM dl_scratch.public.t").fetchall() == [("y",)]
    assert connection.execute("SELECT * FROM dl_scratch.public.t VERSION AS OF 1 ORDER BY id").fetchall() == [(1, None), (2, "x")]


def test_a_prepared_statement_reads_the_newest_version(server, scratch):
    place = str(scratch / "t")
    write_deltalake(place, numbers(1))
    with server.connect() as session:
        sql = "SELECT id FROM dl_scratch.public.t WHERE id >= %s ORDER BY id"
        for n in range(1, 8):
            rows = session.execute(sql, [1], prepare=True).fetchall()
            assert [row[0] for row in rows] == list(range(1, n + 1))
            write_deltalake(place, numbers(n + 1), mode="append")
            every = session.execute("SELECT * FROM dl_scratch.public.t", prepare=True).fetchall()
            assert len(every) == n + 1
        # It goes on if it gives the columns it was prepared with, and else says so.
        write_deltalake(place, numbers(9, more=["x"]), mode="append", schema_mode="merge")
        assert [row[0] for row in session.execute(sql, [1], prepare=True).fetchall()] == list(range(1, 10))
        with pytest.raises(psycopg.Error) as caught:
            session.execute("SELECT * FROM dl_scratch.public.t", prepare=True)
        assert caught.value.sqlstate == "0A000"


def test_a_table_made_again_at_the_same_place(connection, scratch):
    place = scratch / "t"
    for n in [1, 2, 3]:
        write_deltalake(str(place), numbers(n, n))
        assert connection.execute("SELECT id FROM dl_scratch.public.t").fetchall() == [(n,), (n,)]
        shutil.rmtree(place)


def test_all_of_a_statement_reads_one_version(connection, server, scratch):
    """A writer replaces the only row all the time: a statement that reads the table three times sees one row."""
    import threading
    import time

    place = str(scratch / "t")
    write_deltalake(place, numbers(0))
    enough = threading.Event()

    def write():
        n = 0
        while n < 24 or not enough.is_set():
            n += 1
            write_deltalake(place, numbers(n), mode="overwrite")

    writer = threading.Thread(target=write)
    writer.start()
    seen, deadline = set(), time.monotonic() + 60
    try:
        with server.connect() as session:
            # As long as it takes the slower of the two.
            while (writer.is_alive() or len(seen) < 2) and time.monotonic() < deadline:
                row = session.execute(
                    "SELECT a.id, b.id, (SELECT max(id) FROM dl_scratch.public.t) FROM dl_scratch.public.t a FULL JOIN dl_scratch.public.t b ON a.id = b.id"
                ).fetchall()
                assert len(row) == 1 and len(set(row[0])) == 1, row
                seen.add(row[0][0])
                if len(seen) > 3:
                    enough.set()
    finally:
        enough.set()
        writer.join()
    assert len(seen) > 1


def test_times_of_commits(connection, scratch):
    place = scratch / "t"
    for n in range(3):
        write_deltalake(str(place), numbers(n), mode="append")
        os.utime(place / f"_delta_log/{n:020}.json", (1_700_000_000 + 100 * n,) * 2)
    count = "SELECT count(*) FROM dl_scratch.public.t TIMESTAMP AS OF '{}'"
    for time, n in [("2023-11-14 22:13:20+00", 1), ("2023-11-14 22:14:59.999+00", 1), ("2023-11-14 22:15:00+00", 2), ("2023-11-15 07:16:40+09", 3)]:
        assert connection.execute(count.format(time)).fetchone()[0] == n, time
    with pytest.raises(psycopg.Error, match="oldest version is of 2023-11-14T22:13:20") as caught:
        connection.execute(count.format("2023-11-14 22:13:19+00"))
    assert caught.value.sqlstate == "22023"


def test_moments_are_reckoned_from_now(connection, scratch):
    place, now = scratch / "t", time.time()
    for n, seconds in enumerate([10_000, 5_000, 10]):
        write_deltalake(str(place), numbers(n), mode="append")
        os.utime(place / f"_delta_log/{n:020}.json", (now - seconds,) * 2)
    count = "SELECT count(*) FROM dl_scratch.public.t TIMESTAMP AS OF {} old WHERE old.id >= 0"
    for moment, n in [("now()", 3), ("now() - interval '1 hour'", 2), ("(current_timestamp - INTERVAL '1 day' + interval '22 hours')", 1),
                      ("now() - interval 'PT2H'", 1), ("now() - interval '02:00'", 1)]:
        assert connection.execute(count.format(moment)).fetchone()[0] == n, moment
    both = "SELECT count(*) FROM dl_scratch.public.t TIMESTAMP AS OF now() a FULL JOIN dl_scratch.public.t TIMESTAMP AS OF now() - interval '1 hour' b ON a.id = b.id WHERE b.id IS NULL"
    assert connection.execute(both).fetchone() == (1,)
    connection.execute("CREATE VIEW maru.public.an_hour_ago AS SELECT id FROM dl_scratch.public.t TIMESTAMP AS OF now() - interval '1 hour'")
    try:
        assert connection.execute("SELECT count(*) FROM maru.public.an_hour_ago").fetchone() == (2,)
    finally:
        connection.execute("DROP VIEW maru.public.an_hour_ago")
    fails(connection, count.format("now() - interval 'some time'"), "22007", "type interval")
    fails(connection, count.format("now() - interval '1 day'"), "22023", "oldest version")


def fails(connection, sql, sqlstate, text):
    with pytest.raises(psycopg.Error, match=text) as caught:
        connection.execute(sql)
    assert caught.value.sqlstate == sqlstate, caught.value


def test_a_version_is_a_literal(connection, table):
    with pytest.raises(psycopg.Error, match="must be a literal") as caught:
        connection.execute("SELECT * FROM dl.shop.orders VERSION AS OF %s", [1])
    assert caught.value.sqlstate == "0A000"


def test_a_vacuumed_file(connection, scratch):
    place = scratch / "t"
    write_deltalake(str(place), numbers(1))
    write_deltalake(str(place), numbers(2), mode="overwrite")
    DeltaTable(str(place)).vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    fails(connection, "SELECT * FROM dl_scratch.public.t VERSION AS OF 0", "58P01", "parquet\" does not exist")
    assert connection.execute("SELECT * FROM dl_scratch.public.t").fetchall() == [(2,)]


def test_logs_that_are_not_valid(connection, scratch):
    place = scratch / "t"
    for n in range(4):
        write_deltalake(str(place), numbers(n), mode="append")
    log = place / "_delta_log"
    read = "SELECT * FROM dl_scratch.public.t"
    second = log / f"{1:020}.json"
    whole = second.read_bytes()
    second.write_bytes(whole[: len(whole) // 2])
    fails(connection, read, "XX001", "00001.json\" is not a valid Delta Lake log: line")
    second.write_bytes(b"")
    fails(connection, read, "XX001", "it is empty")
    second.unlink()
    fails(connection, read, "XX001", "missing")
    assert connection.execute(read + " VERSION AS OF 0").fetchall() == [(0,)]
    second.write_bytes(whole)
    assert len(connection.execute(read).fetchall()) == 4
    # A checkpoint spares the commits before it; one that is cut off is an error, and the hint to it only a hint.
    DeltaTable(str(place)).create_checkpoint()
    second.unlink()
    assert len(connection.execute(read + " VERSION AS OF 3").fetchall()) == 4
    checkpoint = log / f"{3:020}.checkpoint.parquet"
    kept = checkpoint.read_bytes()
    checkpoint.write_bytes(kept[: len(kept) // 2])
    fails(connection, read + " VERSION AS OF 3", "XX001", "checkpoint.parquet")
    checkpoint.write_bytes(kept)
    (log / "_last_checkpoint").write_text("{\"version\": 2}")
    assert len(connection.execute(read + " VERSION AS OF 3").fetchall()) == 4
    (log / "_last_checkpoint").write_text("not JSON")
    assert len(connection.execute(read + " VERSION AS OF 3").fetchall()) == 4


def test_leftovers_of_writers_do_not_count(connection, scratch):
    place = scratch / "t"
    write_deltalake(str(place), numbers(1))
    log = place / "_delta_log"
    for name in [".00000000000000000001.json.tmp.1", "00000000000000000001.json.tmp", "_staged_commits/00000000000000000001.x.json", "00000000000000000001.checkpoint.0000000001.0000000002.parquet"]:
        (log / name).parent.mkdir(exist_ok=True)
        (log / name).write_bytes(b"rubbish")
    (place / "stray.parquet").write_bytes(b"rubbish")
    assert connection.execute("SELECT * FROM dl_scratch.public.t").fetchall() == [(1,)]


def test_two_writers_of_one_table(connection, scratch):
    """Spark escapes paths in another way than deltalake, which then does not find its own deletion; rows that Spark deleted by
    position stay deleted."""
    for name, condition in [("partitioned", "id = 1"), ("vectors", "id % 5 = 1")]:
        place = scratch / name
        shutil.copytree(FIXTURES / "delta/spark" / name, place)
        opened = DeltaTable(str(place))
        before = opened.version()
        deleted = opened.delete(condition)["num_deleted_rows"]
        count = f"SELECT count(*), sum(id) FROM dl_scratch.public.{name}"
        assert connection.execute(f"{count} VERSION AS OF {before} WHERE {condition}").fetchone()[0] == deleted > 0
        kept = connection.execute(f"{count} VERSION AS OF {before} WHERE NOT ({condition})").fetchone()
        assert connection.execute(count).fetchone() == kept


def test_a_reader_feature_from_the_future(connection, scratch):
    place = scratch / "t"
    write_deltalake(str(place), numbers(1))
    commit = place / f"_delta_log/{1:020}.json"
    commit.write_text('{"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["timeMachine"], "writerFeatures": ["timeMachine"]}}\n')
    fails(connection, "SELECT * FROM dl_scratch.public.t", "0A000", "timeMachine")


def test_many_commits_and_checkpoints(connection, scratch):
    """Every version of a table with appends, deletions, updates, merges of files, checkpoints."""
    place = str(scratch / "t")
    write_deltalake(place, numbers(*range(100), part=[n % 3 for n in range(100)]), partition_by=["part"], configuration={"delta.checkpointInterval": "5"})
    for n in range(1, 16):
        opened = DeltaTable(place)
        match n % 4:
            case 0:
                opened.delete(f"id % 13 = {n}")
            case 1:
                write_deltalake(place, numbers(*range(100 * n, 100 * n + 20), part=[n % 3] * 20), mode="append")
            case 2:
                opened.update(predicate=f"id % 7 = {n % 7}", updates={"id": "id + 10000"})
            case 3:
                opened.optimize.compact()
    for version in range(DeltaTable(place).version() + 1):
        assert rows_of_maru(connection, f"dl_scratch.public.t VERSION AS OF {version}") == rows_of(place, version), version
    # Pruning changes no rows.
    for condition in ["id > 10500", "id BETWEEN 20 AND 110 AND part = 1", "part <> 2 OR id < 5", "id IS NULL", "part IN (0, 7) AND id % 2 = 0"]:
        counts = []
        for pushdown in ["on", "off"]:
            connection.execute(f"SET pushdown = {pushdown}")
            counts.append(connection.execute(f"SELECT count(*), sum(id) FROM dl_scratch.public.t WHERE {condition}").fetchone())
        connection.execute("RESET pushdown")
        assert counts[0] == counts[1], condition
