"""Writes to tables on S3, HDFS, metastores and databases while engines are killed, services stop, die or go silent, and disks are full:
old rows or new ones, whole, a right SQLSTATE in time, and a repetition that succeeds."""

import contextlib
import os
import random
import resource
import signal
import subprocess
import threading
import time
import urllib.parse
import uuid
from collections import Counter

import psycopg
import pymysql
import pytest
from deltalake import DeltaTable, QueryBuilder
from fault_proxy import FaultProxy
from hdfs_ha import DATANODE, SERVICE, HaCluster
from http_faults import HttpFaults
from own_databases import OwnMariadb, OwnPostgres
from seeding import storage
from seeding.metastore import Metastore

LONG = bool(os.environ.get("MARU_TEST_LONG"))
BUCKET = "maru-write-services"
FOLDER = "/data/maru-write-services"
N = 150_000
# A service does not answer, or ends the connection in the middle; or it is not known what became of a commit.
GONE = {"HV00N", "HV000", "08006", "08007"}
TIMED_OUT = {"57014"}


def state_of(call):
    with pytest.raises(psycopg.Error) as error:
        call()
    return error.value.sqlstate


def unknown(error):
    """Whether an error says that nobody knows what became of the commit."""
    return error.sqlstate == "08007" or "not known" in f"{error} {error.diag.message_detail}"


class S3Lake:
    name = "s3"

    def __init__(self):
        self.prefix = uuid.uuid4().hex[:8]
        self.client = storage.s3_client()
        if BUCKET not in [found["Name"] for found in self.client.list_buckets()["Buckets"]]:
            self.client.create_bucket(Bucket=BUCKET)
        self.client.put_object(Bucket=BUCKET, Key=f"{self.prefix}/.keep", Body=b"x")

    def catalog(self, name, url=None, more=""):
        return (f"CREATE CATALOG {name} USING s3 WITH (bucket = '{BUCKET}', prefix = '{self.prefix}', endpoint = '{url or os.environ['MARU_TEST_S3']}', "
                f"access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}'{more})")

    def files(self, table):
        """The files below a table's folder."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{self.prefix}/{table}/")
        return {entry["Key"].removeprefix(f"{self.prefix}/{table}/") for page in pages for entry in page.get("Contents", [])}

    def delta(self, table):
        options = {"AWS_ENDPOINT_URL": os.environ["MARU_TEST_S3"], "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
                   "AWS_ACCESS_KEY_ID": os.environ["MARU_TEST_S3_ACCESS_KEY"], "AWS_SECRET_ACCESS_KEY": os.environ["MARU_TEST_S3_SECRET_KEY"]}
        return DeltaTable(f"s3://{BUCKET}/{self.prefix}/{table}", storage_options=options)

    def drop(self):
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{self.prefix}/"):
            for entry in page.get("Contents", []):
                self.client.delete_object(Bucket=BUCKET, Key=entry["Key"])


class HdfsLake:
    name = "hdfs"

    def __init__(self, copies):
        self.hdfs = storage.Hdfs()
        self.folder = f"{FOLDER}/{uuid.uuid4().hex[:8]}"
        self.hdfs.make_folder(self.folder)
        self.copies = copies

    def catalog(self, name, url=None, more=""):
        return f"CREATE CATALOG {name} USING hdfs WITH (url = '{url or os.environ['MARU_TEST_HDFS']}{self.folder}'{more})"

    def files(self, table):
        return {path.removeprefix(f"{self.folder}/{table}/") for path in self.hdfs.tree(f"{self.folder}/{table}")}

    def delta(self, table):
        """The other package cannot read HDFS: it gets a copy. Names are never used twice, but for the hint at the last checkpoint."""
        copy = self.copies / table
        for file in self.files(table):
            place = copy / file
            if not place.exists() or file.endswith("_last_checkpoint"):
                place.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(OSError):
                    place.write_bytes(self.hdfs.get(f"{self.folder}/{table}/{file}"))
        return DeltaTable(str(copy))

    def drop(self):
        self.hdfs.delete(self.folder)


@pytest.fixture(params=["s3", "hdfs"])
def lake(request, tmp_path):
    lake = S3Lake() if request.param == "s3" else HdfsLake(tmp_path / "copies")
    yield lake
    lake.drop()


# What is in the table is known as copies of classes: rows of one round whose ids leave the same rest. Each statement moves whole classes.
CLASSES = range(4)
SUMMARY = "SELECT round, id % 4 AS class, count(*) AS n, sum(id) AS total, count(DISTINCT id) AS ids FROM {} GROUP BY 1, 2 ORDER BY 1, 2"


def rows(number):
    return f"SELECT {number}::int AS round, i::bigint AS id, (i % 3)::int AS p FROM generate_series(1, {N}) g(i)"


def summary(state):
    found = []
    for (number, which), copies in sorted(state.items()):
        ids = range(which or 4, N + 1, 4)
        found.append((number, which, copies * len(ids), copies * sum(ids), len(ids)))
    return found


def whole(number):
    return Counter({(number, which): 1 for which in CLASSES})


def moved(state, number, classes, missing=0):
    """The state when the rows of some classes have got a new round; `missing`: copies of what was not there."""
    after = Counter({key: copies for key, copies in state.items() if key[1] not in classes})
    for which in classes:
        copies = sum(copies for key, copies in state.items() if key[1] == which) or missing
        if copies:
            after[number, which] = copies
    return after


STATEMENTS = {
    "insert": (lambda t, n: f"INSERT INTO {t} {rows(n)}", lambda state, n: state + whole(n)),
    "update": (lambda t, n: f"UPDATE {t} SET round = {n} WHERE id % 4 = 1", lambda state, n: moved(state, n, [1])),
    "merge": (lambda t, n: f"MERGE INTO {t} AS t USING (SELECT i::bigint AS id FROM generate_series(1, {N}) g(i) WHERE i % 4 < 2) AS s ON t.id = s.id "
              f"WHEN MATCHED THEN UPDATE SET round = {n} WHEN NOT MATCHED THEN INSERT (round, id, p) VALUES ({n}, s.id, (s.id % 3)::int)",
              lambda state, n: moved(state, n, [0, 1], missing=1)),
    "delete": (lambda t, n: f"DELETE FROM {t} WHERE id % 4 = {n % 4}", lambda state, n: moved(Counter({k: c for k, c in state.items() if k[1] != n % 4}), n, [])),
    "overwrite": (lambda t, n: f"INSERT OVERWRITE {t} {rows(n)}", lambda state, n: whole(n)),
    "replace": (lambda t, n: f"CREATE OR REPLACE TABLE {t} WITH (partitioned_by = ARRAY['p']) AS {rows(n)}", lambda state, n: whole(n)),
}


def of_delta(table):
    found = QueryBuilder().register("t", table).execute(SUMMARY.format("t")).read_all()
    columns = [[value.as_py() for value in found[name]] for name in ("round", "class", "n", "total", "ids")]
    return list(zip(*columns))


def of_maru(connection, table):
    return [tuple(int(value) for value in row) for row in connection.execute(SUMMARY.format(table)).fetchall()]


def needed_by(delta):
    """The files of rows that count, as the other package has it."""
    return {urllib.parse.unquote(uri).rsplit("/t/", 1)[1] for uri in delta.file_uris()}


def not_of_the_log(files):
    """Files of rows, and those of the log to which a kill left no name: HDFS has them hidden until they are whole."""
    return {file for file in files if not file.startswith("_delta_log/") or file.startswith("_delta_log/.")}


@pytest.mark.services
@pytest.mark.timeout(3600)
def test_kill_9_at_random_moments(start, server, connection, lake):
    """After each kill the table is what it was or what it should become, for an engine that starts anew and for the other package. What the
    dead have left is listed, and goes."""
    chance = random.Random(31)
    kills = int(os.environ.get("MARU_TEST_KILLS", "120" if LONG else "6" if lake.name == "s3" else "3"))
    ended, took, table = Counter(), {}, "k.public.t"
    victim = start()
    with victim.connect() as writer:
        writer.execute(lake.catalog("k"))
        writer.execute(f"CREATE TABLE {table} WITH (partitioned_by = ARRAY['p']) AS {rows(0)}")
        state, number = whole(0), 0
        # Each once without harm, to know how long it takes.
        for kind, (sql, then) in STATEMENTS.items():
            number += 1
            began = time.monotonic()
            writer.execute(sql(table, number))
            took[kind] = time.monotonic() - began
            state = then(state, number)
            assert of_maru(writer, table) == summary(state), kind
    for kill in range(kills):
        number += 1
        kind = list(STATEMENTS)[kill % len(STATEMENTS)]
        sql, then = STATEMENTS[kind]

        writer = victim.connect()

        def write(writer=writer, sql=sql(table, number)):
            with contextlib.suppress(psycopg.Error):
                writer.execute(sql)

        thread = threading.Thread(target=write)
        thread.start()
        time.sleep(chance.uniform(0.4, 1.5) * took[kind])
        victim.process.send_signal(signal.SIGKILL)
        victim.process.wait()
        thread.join()
        writer.close()
        victim = start()
        with victim.connect() as reader:
            found = of_maru(reader, table)
        possible = {"old": state, "new": then(state, number)}
        which = [word for word, wanted in possible.items() if found == summary(wanted)]
        assert which, (kill, kind, found, possible)
        # Where a statement changes nothing, both are the same.
        state = possible[which[0]]
        ended[which[0]] += 1
        assert of_delta(lake.delta("t")) == found, (kill, kind)
    print(f"{lake.name}: {kills} kills of {', '.join(STATEMENTS)}: {dict(ended)}; without a kill {({k: round(t, 2) for k, t in took.items()})} s")
    # An engine that has never seen the table.
    connection.execute(lake.catalog("k"))
    try:
        assert of_maru(connection, table) == summary(state)
        needed = needed_by(lake.delta("t"))
        assert needed <= lake.files("t")
        rubbish = not_of_the_log(lake.files("t")) - needed
        assert rubbish, "nothing was left by anybody"
        orphans = "SELECT path FROM system.orphans WHERE catalog = 'k' AND schema = 'public' AND \"table\" = 't'"
        listed = {path.split("/t/", 1)[1] for path, in connection.execute(orphans).fetchall()}
        assert listed == rubbish
        connection.execute("SET maru.vacuum_retention_check = off")
        connection.execute(f"VACUUM {table} RETAIN 0 HOURS")
        assert connection.execute(orphans).fetchall() == []
        assert not_of_the_log(lake.files("t")) == needed
        assert of_maru(connection, table) == summary(state) == of_delta(lake.delta("t"))
        connection.execute(f"INSERT OVERWRITE {table} {rows(9999)}")
        assert of_maru(connection, table) == summary(whole(9999))
    finally:
        connection.execute("DROP CATALOG k")


def together(*works):
    """Runs lists of statements at once, each on its connection; returns what became of them, list by list."""
    outcomes = [[] for _ in works]

    def run(server, statements, outcome):
        with server.connect() as own:
            for sql in statements:
                try:
                    own.execute(sql)
                    outcome.append("done")
                except psycopg.Error as error:
                    outcome.append(error.sqlstate)

    threads = [threading.Thread(target=run, args=(*work, outcome)) for work, outcome in zip(works, outcomes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


@pytest.mark.services
@pytest.mark.timeout(600)
@pytest.mark.parametrize("lake", ["s3", *(["hdfs"] if LONG else [])], indirect=True)
def test_two_engines_write_one_table(start, lake):
    """Both, one after the other, or one of them is told 40001; nothing is lost and nothing counts twice."""
    one, two = start("one"), start("two")
    for server in (one, two):
        with server.connect() as connection:
            connection.execute(lake.catalog("w"))
    times = 12 if LONG else 4 if lake.name == "s3" else 2
    with one.connect() as c, two.connect() as d:
        c.execute("CREATE TABLE w.public.t (who int, id bigint)")
        appends = [[f"INSERT INTO w.public.t SELECT {who}, {turn * 100} + i FROM generate_series(1, 100) g(i)" for turn in range(times)] for who in range(2)]
        ended = together((one, appends[0]), (two, appends[1]))
        assert ended == [["done"] * times] * 2
        for reader in (c, d):
            assert reader.execute("SELECT count(*), count(DISTINCT who * 1000000 + id) FROM w.public.t").fetchone() == (200 * times, 200 * times)
        # No addition is lost.
        c.execute("CREATE TABLE w.public.counter AS SELECT 0::bigint AS n")
        add = ["UPDATE w.public.counter SET n = n + 1"] * times * 2
        ended = [word for list_ in together((one, add), (two, add)) for word in list_]
        assert set(ended) <= {"done", "40001"}, ended
        assert ended.count("done") >= times
        for reader in (c, d):
            assert reader.execute("SELECT n, (SELECT count(*) FROM w.public.counter) FROM w.public.counter").fetchone() == (ended.count("done"), 1)
        conflicts = ended.count("40001")
        # Rows are added while others are taken away and changed.
        change = [f"DELETE FROM w.public.t WHERE who = 0 AND id <= {100 * turn + 50}" for turn in range(times)]
        more = [f"INSERT INTO w.public.t SELECT 2, {turn * 100} + i FROM generate_series(1, 100) g(i)" for turn in range(times)]
        ended = together((one, change), (two, more))
        assert set(ended[0]) <= {"done", "40001"} and ended[1] == ["done"] * times, ended
        last = max([turn for turn, word in enumerate(ended[0]) if word == "done"], default=None)
        gone = 0 if last is None else 100 * last + 50
        counts = [(0, 100 * times - gone), (1, 100 * times), (2, 100 * times)]
        assert d.execute("SELECT who, count(*) FROM w.public.t GROUP BY 1 ORDER BY 1").fetchall() == counts
        # Replaced by both: the rows of one.
        replace = [[f"INSERT OVERWRITE w.public.t SELECT {who}, i FROM generate_series(1, 1000) g(i)",
                    f"CREATE OR REPLACE TABLE w.public.t AS SELECT {who}::int AS who, i::bigint AS id FROM generate_series(1, 1000) g(i)"] for who in (7, 8)]
        ended = together((one, replace[0]), (two, replace[1]))
        assert set(ended[0] + ended[1]) <= {"done", "40001"} and "done" in ended[0] + ended[1], ended
        assert d.execute("SELECT count(*), count(DISTINCT who), count(DISTINCT id) FROM w.public.t").fetchone() == (1000, 1, 1000)
        # Upserts of the same key.
        c.execute("CREATE TABLE w.public.u (k int, n bigint)")
        merge = ["MERGE INTO w.public.u AS u USING (VALUES (1)) AS s (k) ON u.k = s.k WHEN MATCHED THEN UPDATE SET n = u.n + 1 "
                 "WHEN NOT MATCHED THEN INSERT (k, n) VALUES (1, 1)"] * times
        ended = [word for list_ in together((one, merge), (two, merge)) for word in list_]
        assert set(ended) <= {"done", "40001"}, ended
        assert c.execute("SELECT k, n FROM w.public.u").fetchall() == [(1, ended.count("done"))]
        # One of them makes a table.
        for turn in range(times):
            make = [f"CREATE TABLE w.public.made{turn} AS SELECT {who} AS who FROM generate_series(1, 100) g(i)" for who in range(2)]
            ended = together((one, [make[0]]), (two, [make[1]]))
            assert sorted(ended) == [["42P07"], ["done"]], ended
            for reader in (c, d):
                assert reader.execute(f"SELECT count(*), min(who), max(who) FROM w.public.made{turn}").fetchone() == (100, *[ended.index(["done"])] * 2)
        print(f"{lake.name}: {conflicts} of {4 * times} additions at once were told 40001")
    if lake.name == "s3":
        assert QueryBuilder().register("t", lake.delta("t")).execute("SELECT count(*) AS n FROM t").read_all()["n"][0].as_py() == 1000


@pytest.fixture
def held():
    """S3 behind a server that takes chosen requests and keeps them. On release they are passed on or dropped."""
    faults = HttpFaults(os.environ["MARU_TEST_S3"])
    faults.caught, open_again = 0, threading.Event()

    def hold(method, part, drop=True):
        faults.caught = 0
        open_again.clear()

        def mode(asked, path):
            if asked != method or part not in urllib.parse.unquote(path):
                return None
            faults.caught += 1
            open_again.wait(60)
            return 503 if drop else None

        faults.mode = mode

    def release():
        faults.mode = lambda method, path: None
        open_again.set()

    faults.hold, faults.release = hold, release
    yield faults
    release()
    faults.close()


@pytest.fixture
def store(connection, held):
    """A lake on S3 with a sound catalog, a faulty one of little patience, and a faulty one of much."""
    lake = S3Lake()
    connection.execute(lake.catalog("sound"))
    # Not so little that a machine which is slow does not answer in it.
    connection.execute(lake.catalog("hasty", held.url, ", timeout = '2s', max_retries = 1, retry_timeout = '3s'"))
    connection.execute(lake.catalog("patient", held.url))
    connection.execute("CREATE TABLE sound.public.t (round int, id bigint)")
    connection.execute("INSERT INTO sound.public.t SELECT -1, i FROM generate_series(1, 1000) g(i)")
    # The first write of a catalog asks what the store can do.
    for catalog in ("hasty", "patient"):
        connection.execute(f"INSERT INTO {catalog}.public.t SELECT -1, i FROM generate_series(1, 1000) g(i)")
    connection.execute(f"INSERT OVERWRITE sound.public.t SELECT -1, i FROM generate_series(1, 1000) g(i)")
    yield lake
    for catalog in ("sound", "hasty", "patient"):
        connection.execute(f"DROP CATALOG {catalog}")
    lake.drop()


STATE = "SELECT round, count(*), count(DISTINCT id) FROM sound.public.t GROUP BY 1 ORDER BY 1"
# The log is read, a file of rows goes out, the commit goes out.
MOMENTS = pytest.mark.parametrize("method,part", [("GET", "_delta_log"), ("PUT", "part-"), ("PUT", "_delta_log/0")], ids=["log", "rows", "commit"])


@pytest.mark.services
@MOMENTS
def test_s3_goes_silent_at_a_moment_of_a_write(connection, store, held, method, part):
    """An error in time, the old rows, and a repetition that succeeds."""
    before = connection.execute(STATE).fetchall()
    write = "INSERT OVERWRITE {}.public.t SELECT 5, i FROM generate_series(1, 1000) g(i)"
    held.hold(method, part)
    began = time.monotonic()
    state = state_of(lambda: connection.execute(write.format("hasty")))
    # Requests are kept for a minute.
    assert state in GONE and time.monotonic() - began < 50, (state, time.monotonic() - began)
    assert held.caught > 0
    assert connection.execute(STATE).fetchall() == before
    held.release()
    time.sleep(0.3)
    assert connection.execute(STATE).fetchall() == before
    assert connection.execute(write.format("hasty")).statusmessage == "INSERT 0 1000"
    assert connection.execute(STATE).fetchall() == [(5, 1000, 1000)]
    if part == "_delta_log/0":
        # A commit that is under way hears no timeout.
        return
    held.hold(method, part)
    connection.execute("SET statement_timeout = '2s'")
    began = time.monotonic()
    state = state_of(lambda: connection.execute(write.replace("5", "6").format("patient")))
    seconds = time.monotonic() - began
    connection.execute("RESET statement_timeout")
    assert state in TIMED_OUT and seconds < 30, (state, seconds)
    held.release()
    time.sleep(0.3)
    assert connection.execute(STATE).fetchall() == [(5, 1000, 1000)]
    connection.execute(write.replace("5", "6").format("patient"))
    assert connection.execute(STATE).fetchall() == [(6, 1000, 1000)]


@pytest.mark.services
def test_a_commit_that_arrives_late(connection, store, held):
    """A request that was given up may be heard by the store nevertheless. Who is told of a failure has the old rows, or is told that it is not known."""
    before = connection.execute(STATE).fetchall()
    held.hold("PUT", "_delta_log/0", drop=False)
    with pytest.raises(psycopg.Error) as caught:
        connection.execute("INSERT INTO hasty.public.t SELECT 5, i FROM generate_series(1, 1000) g(i)")
    assert caught.value.sqlstate in GONE and held.caught > 0
    held.release()
    time.sleep(1)
    after = connection.execute(STATE).fetchall()
    assert after in (before, [*before, (5, 1000, 1000)]), after
    assert after == before or unknown(caught.value), f"the rows came after a failure was told: {caught.value} {caught.value.diag.message_detail}"


class Target:
    """Something that is written through a proxy, and looked at past it. `overwrite` gives the table `N` rows of one round."""

    def __init__(self, service, catalogs, overwrite, look):
        self.proxy = FaultProxy(*service)
        self.catalogs, self.overwrite, self.look = catalogs(self.proxy.port), overwrite, look


def host_port(url, default=None):
    url = urllib.parse.urlsplit(url)
    return url.hostname, url.port or default


@contextlib.contextmanager
def lake_target(lake, connection, service, url, more):
    connection.execute(lake.catalog("sound"))
    connection.execute(f"CREATE TABLE sound.public.t WITH (partitioned_by = ARRAY['p']) AS {rows(0)}")
    look = lambda: connection.execute("SELECT count(*), min(round), max(round), count(DISTINCT id) FROM sound.public.t").fetchone()
    target = Target(service, lambda port: [lake.catalog("proxied", url.format(port), more)], lambda n: f"INSERT OVERWRITE proxied.public.t {rows(n)}", look)
    yield target
    connection.execute("DROP CATALOG sound")
    lake.drop()


@contextlib.contextmanager
def hive_target(connection):
    database = f"maru_ws_{uuid.uuid4().hex[:8]}"
    url, folder = os.environ["MARU_TEST_HMS3"], f"/user/hive/warehouse/external/{database}"
    storage.Hdfs().make_folder(folder)
    with Metastore(url) as metastore:
        metastore.create_database(database, os.environ["MARU_TEST_HDFS"] + folder, "made by a test", {})
    connection.execute(f"CREATE CATALOG sound USING hive WITH (metastore = '{url}')")
    connection.execute(f"CREATE TABLE sound.{database}.t WITH (partitioned_by = ARRAY['p']) AS {rows(0)}")

    def look():
        # Where partitions lie is believed for half a minute; a new catalog knows nothing.
        name = f"fresh_{uuid.uuid4().hex[:8]}"
        connection.execute(f"CREATE CATALOG {name} USING hive WITH (metastore = '{url}')")
        found = connection.execute(f"SELECT count(*), min(round), max(round), count(DISTINCT id) FROM {name}.{database}.t").fetchone()
        connection.execute(f"DROP CATALOG {name}")
        return found

    yield Target(host_port(url), lambda port: [f"CREATE CATALOG proxied USING hive WITH (metastore = 'thrift://127.0.0.1:{port}', timeout = '2s')"],
                 lambda n: f"INSERT OVERWRITE proxied.{database}.t PARTITION (p) {rows(n)}", look)
    connection.execute("DROP CATALOG sound")
    with Metastore(url) as metastore:
        metastore.drop_database(database)
    storage.Hdfs().delete(folder)


@contextlib.contextmanager
def database_target(connection, kind):
    schema = f"maru_ws_{uuid.uuid4().hex[:8]}"
    url = urllib.parse.urlsplit(os.environ["MARU_TEST_PG" if kind == "postgres" else "MARU_TEST_MYSQL"])

    def run(*statements):
        direct = psycopg.connect(url.geturl(), autocommit=True) if kind == "postgres" else pymysql.connect(
            host=url.hostname, port=url.port, user=url.username, password=url.password, autocommit=True)
        with contextlib.closing(direct), direct.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return tuple(cursor.fetchone()) if cursor.description else None

    run(f"CREATE SCHEMA {schema}", f"CREATE TABLE {schema}.t (round int, id bigint, p int)", f"INSERT INTO {schema}.t VALUES (0, 1, 1)")
    place = f"postgres://127.0.0.1:{{}}{url.path}" if kind == "postgres" else "mysql://127.0.0.1:{}"
    yield Target((url.hostname, url.port), lambda port: [f"CREATE CATALOG proxied USING {'postgres' if kind == 'postgres' else 'mysql'} WITH (url = "
                 f"'{place.format(port)}', user = '{url.username}', password = '{url.password}', connect_timeout = '2s')"],
                 lambda n: f"INSERT OVERWRITE proxied.{schema}.t {rows(n)}",
                 lambda: run(f"SELECT count(*), min(round), max(round), count(DISTINCT id) FROM {schema}.t"))
    run(f"DROP SCHEMA {schema}{' CASCADE' if kind == 'postgres' else ''}")


# Databases are cut off and stopped by other tests, too.
@pytest.fixture(params=["s3", "namenode", "metastore", *(["postgres", "mariadb"] if LONG else [])])
def target(request, connection, tmp_path):
    kind = request.param
    made = {
        "s3": lambda: lake_target(S3Lake(), connection, host_port(os.environ["MARU_TEST_S3"]), "http://127.0.0.1:{}",
                                  ", timeout = '2s', max_retries = 1, retry_timeout = '2s'"),
        "namenode": lambda: lake_target(HdfsLake(tmp_path), connection, host_port(os.environ["MARU_TEST_HDFS"], 8020), "hdfs://127.0.0.1:{}", ", timeout = '2s'"),
        "metastore": lambda: hive_target(connection),
    }.get(kind, lambda: database_target(connection, kind))
    with made() as target:
        for statement in target.catalogs:
            connection.execute(statement)
        yield target
        target.proxy.calm()
        connection.execute("DROP CATALOG proxied")
        target.proxy.close()


@pytest.mark.services
@pytest.mark.timeout(1200)
def test_a_service_dies_or_goes_silent_during_a_write(server, connection, target, request):
    """At random moments: an error of the right kind in time, old rows unless it is said that nobody knows, and a repetition that succeeds."""
    dice, proxy, told = random.Random(41), target.proxy, []
    began = time.monotonic()
    connection.execute(target.overwrite(1))
    took = time.monotonic() - began
    assert target.look() == (N, 1, 1, N)
    # A statement may be done before its moment: it is tried again until both have been met.
    for number in range(2, 42 if LONG else 22):
        met = {how for how, state, _ in told if state}
        if not LONG and len(met) == 2:
            break
        before = target.look()
        how = ("dead", "silent")[number % 2]

        def misbehave(how=how):
            if how == "dead":
                proxy.refusing = True
                proxy.cut()
            else:
                proxy.stopped = True

        # Connections of an earlier turn may still be kept by the engine: each turn begins with those that a calm statement has made.
        error = None
        # Time for a whole statement, however slow the machine is: who is cut off is told so before the time is up.
        patience = 4 + 3 * took
        timer = threading.Timer(dice.uniform(0.05, 0.9 if LONG else 0.5) * took, misbehave)
        began = time.monotonic()
        with server.connect() as own:
            own.execute(f"SET statement_timeout = '{int(patience * 1000)}ms'")
            timer.start()
            try:
                own.execute(target.overwrite(number))
            except psycopg.Error as caught:
                error = caught
            seconds = time.monotonic() - began
        timer.join()
        # What is still under way to the service dies with the connections.
        proxy.cut()
        time.sleep(0.2)
        new, found = (N, number, number, N), target.look()
        if error is None:
            assert found == new, (number, how, found)
        else:
            assert error.sqlstate in GONE | (TIMED_OUT if how == "silent" else set()), (number, how, error.sqlstate, error)
            assert found == before or (found == new and unknown(error)), (number, how, before, found, error, error.diag.message_detail)
        # The timeout, and what a commit that is under way may take.
        assert seconds < patience + 26, (number, how, seconds, error)
        told.append((how, error and error.sqlstate, round(seconds, 1)))
        proxy.calm()
        with server.connect() as own:
            own.execute("SET statement_timeout = '120s'")
            assert own.execute(target.overwrite(number)).statusmessage == f"INSERT 0 {N}"
        assert target.look() == new, (number, how)
    print(f"{request.node.callspec.params['target']}: {told}")
    assert {how for how, state, _ in told if state} == {"dead", "silent"}, told


class Process:
    """A database of one's own, of which all processes can be stopped, killed and started again."""

    def __init__(self, kind):
        self.kind, self.own = kind, OwnPostgres() if kind == "postgres" else OwnMariadb()

    def first(self):
        name = self.own.data / "postmaster.pid" if self.kind == "postgres" else next((self.own.folder / "data").glob("*.pid"))
        return int(name.read_text().split()[0])

    def signal(self, what):
        first = self.first()
        with open(f"/proc/{first}/task/{first}/children") as file:
            everyone = [first, *map(int, file.read().split())]
        if self.kind == "mariadb" and what == signal.SIGCONT:
            # What has started it stops when it does.
            everyone.append(self.own.process.pid)
        for pid in everyone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, what)

    def start(self):
        if self.kind == "postgres":
            self.own.start(patience=30)
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.own.process.wait(10)
        self.own.process = subprocess.Popen(self.own.process.args, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.own.connect().close()
                return
            except pymysql.Error:
                assert time.monotonic() < deadline, "MariaDB does not come back"
                time.sleep(0.2)

    def busy(self):
        """How many sessions of others have work under way."""
        if self.kind == "postgres":
            return self.run("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND state <> 'idle'")[0][0]
        return self.run("SELECT count(*) FROM information_schema.processlist WHERE id <> connection_id() AND command = 'Query'")[0][0]

    def run(self, *statements):
        direct = self.own.connect() if self.kind == "mariadb" else psycopg.connect(
            host="127.0.0.1", port=self.own.port, user="tester", dbname="postgres", autocommit=True)
        with contextlib.closing(direct), direct.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else None

    def catalog(self):
        if self.kind == "postgres":
            return f"CREATE CATALOG own USING postgres WITH (url = 'postgres://127.0.0.1:{self.own.port}/postgres', user = 'tester', connect_timeout = '3s')"
        return f"CREATE CATALOG own USING mysql WITH (url = 'mysql://127.0.0.1:{self.own.port}', user = 'tester', password = 'secret', connect_timeout = '3s')"


@pytest.mark.services
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_a_database_is_killed_or_stopped_during_a_write(connection, kind):
    """kill -9 of its processes, and a stop of all of them; after it is back, the old rows, and then the new ones."""
    process = Process(kind)
    with process.own:
        process.run("CREATE SCHEMA w", "CREATE TABLE w.t (round int, id bigint)", "INSERT INTO w.t VALUES (0, 1)")
        connection.execute(process.catalog())
        try:
            big = 300_000
            statements = [f"INSERT OVERWRITE own.w.t SELECT {{n}}, i FROM generate_series(1, {big}) g(i)",
                          f"INSERT INTO own.w.t SELECT {{n}}, i FROM generate_series(1, {big}) g(i)",
                          f"CREATE OR REPLACE TABLE own.w.made AS SELECT {{n}}::int AS round, i::bigint AS id FROM generate_series(1, {big}) g(i)"]
            took = {}
            for statement in statements:
                began = time.monotonic()
                connection.execute(statement.format(n=0))
                took[statement] = time.monotonic() - began
            look = "SELECT round, count(*) FROM w.{} GROUP BY round ORDER BY round"
            number = 0
            for how in (signal.SIGKILL, signal.SIGSTOP) if LONG or kind == "postgres" else (signal.SIGKILL,):
                for statement in statements * 4 if LONG else statements[::2][how == signal.SIGSTOP:][:1]:
                    table = "made" if "made" in statement else "t"
                    # A statement may be quicker than the one before it, and than its signal: then the next one gets its signal sooner.
                    for _ in range(5):
                        number += 1
                        before = process.run(look.format(table))
                        new = [*before, (number, big)] if "INTO" in statement else [(number, big)]
                        # Who is cut off is told so before the time is up.
                        patience = 3 + 2 * took[statement]
                        connection.execute(f"SET statement_timeout = '{int(patience * 1000)}ms'")
                        timer = threading.Timer(took[statement] * 0.4, process.signal, args=(how,))
                        timer.start()
                        began = time.monotonic()
                        error = None
                        try:
                            connection.execute(statement.format(n=number))
                        except psycopg.Error as caught:
                            error = caught
                        seconds = time.monotonic() - began
                        timer.join()
                        connection.execute("RESET statement_timeout")
                        process.start() if how == signal.SIGKILL else process.signal(signal.SIGCONT)
                        if error is not None:
                            break
                        assert process.run(look.format(table)) == new, (how, statement)
                        took[statement] = seconds
                    assert error is not None, (how, statement, "it was quicker than the signal")
                    assert error.sqlstate in (GONE if how == signal.SIGKILL else GONE | TIMED_OUT), (how, statement, error.sqlstate, error)
                    assert seconds < patience + 20, (how, statement, seconds)
                    # What ran in a database that was stopped may take a moment to see that nobody is there.
                    deadline = time.monotonic() + 60
                    while process.busy():
                        assert time.monotonic() < deadline, (how, statement, "the database works on")
                        time.sleep(0.1)
                    found = process.run(look.format(table))
                    assert found == before or (found == new and unknown(error)), (how, statement, before, found, error)
                    if found == before:
                        connection.execute(statement.format(n=number))
                    assert process.run(look.format(table)) == new, (how, statement)
        finally:
            connection.execute("DROP CATALOG own")


@pytest.mark.services
@pytest.mark.timeout(600)
@pytest.mark.skipif(not LONG, reason="four daemons of Java: tests/run --long")
def test_nodes_of_hdfs_stop_and_die_during_a_write(connection, tmp_path):
    """One DataNode, both of them, the active NameNode: old rows or new ones, an error in time, and a repetition that succeeds."""
    cluster = HaCluster(tmp_path / "ha")
    try:
        cluster.web_call("nn1", "PUT", "/lake", "MKDIRS", permission="777")
        connection.execute(f"CREATE CATALOG ha USING hdfs WITH (url = 'hdfs://{SERVICE}/lake', namenodes = '{cluster.namenodes}', timeout = '3s')")
        # Of random texts, so that the files are of many packets.
        write = "INSERT OVERWRITE ha.public.t SELECT {}::int AS round, i::bigint AS id, md5((i * 7 + {})::text) AS t FROM generate_series(1, 400000) g(i)"
        state = "SELECT count(*), min(round), max(round), count(DISTINCT t) FROM ha.public.t"
        connection.execute("CREATE TABLE ha.public.t (round int, id bigint, t text)")
        for _ in range(2):
            # The daemons are slow at first.
            began = time.monotonic()
            connection.execute(write.format(0, 0))
            took = time.monotonic() - began
        told, number = [], 0
        last = (400000, 0, 0, 400000)
        assert connection.execute(state).fetchone() == last

        def turn(what, harm, heal, may_succeed):
            nonlocal number, last
            number += 1
            connection.execute("SET statement_timeout = '8s'")
            timer = threading.Timer(took * 0.3, harm)
            began, error = time.monotonic(), None
            timer.start()
            try:
                connection.execute(write.format(number, number))
            except psycopg.Error as caught:
                error = caught
            seconds = time.monotonic() - began
            timer.join()
            connection.execute("RESET statement_timeout")
            heal()
            told.append((what, error and error.sqlstate, round(seconds, 1)))
            print(told[-1], str(error)[:300])
            new = (400000, number, number, 400000)
            found = connection.execute(state).fetchone()
            assert seconds < 30, (what, seconds, error)
            assert error is not None or may_succeed, what
            if error is None:
                assert found == new, (what, found)
            else:
                assert error.sqlstate in GONE | TIMED_OUT, (what, error.sqlstate, error)
                assert found == last or (found == new and unknown(error)), (what, found, error)
            connection.execute(write.format(number, number))
            assert connection.execute(state).fetchone() == new, what
            last = new

        def back():
            cluster.daemon("dn2", DATANODE)
            cluster.wait(lambda: '"NumLiveDataNodes" : 2' in cluster.bean("nn2", "FSNamesystemState"), "one DataNode is missing")
            time.sleep(3)

        turn("one DataNode stops", lambda: cluster.pause("dn1"), lambda: cluster.go_on("dn1"), True)
        turn("both DataNodes stop", lambda: cluster.pause("dn1", "dn2"), lambda: cluster.go_on("dn1", "dn2"), False)
        turn("the active NameNode stops", lambda: cluster.pause("nn1"), lambda: cluster.go_on("nn1"), False)

        def to_the_other():
            cluster.admin("-failover", "nn1", "nn2")

        turn("the active NameNode dies", lambda: cluster.kill("nn1"), to_the_other, False)
        turn("one DataNode dies", lambda: cluster.kill("dn2"), back, True)
        print(f"HDFS: {told}; without harm {took:.1f} s")
        connection.execute("SET maru.vacuum_retention_check = off")
        connection.execute("VACUUM ha.public.t RETAIN 0 HOURS")
        connection.execute("RESET maru.vacuum_retention_check")
        assert connection.execute(state).fetchone() == last
        assert connection.execute("SELECT count(*) FROM system.orphans WHERE catalog = 'ha' AND schema = 'public' AND \"table\" = 't'").fetchone() == (0,)
        connection.execute("DROP CATALOG ha")
    finally:
        cluster.stop()


@pytest.mark.services
def test_what_a_commit_on_hdfs_leaves_is_collected(start, connection, tmp_path):
    """The engine dies while the file of the commit has its hidden name."""
    lake = HdfsLake(tmp_path / "copies")
    proxy = FaultProxy(*host_port(os.environ["MARU_TEST_HDFS"], 8020))
    victim = start()
    try:
        with victim.connect() as writer:
            writer.execute(lake.catalog("h", f"hdfs://127.0.0.1:{proxy.port}"))
            writer.execute("CREATE TABLE h.public.t AS SELECT 1::bigint AS id")
        hidden = lambda: {file for file in lake.files("t") if file.startswith("_delta_log/.")}
        # The NameNode does not hear that the file of the commit is to get its name.
        proxy.stop_at = (b"rename2", b"/_delta_log/.")

        def write():
            with contextlib.suppress(psycopg.Error), victim.connect() as writer:
                writer.execute("INSERT INTO h.public.t VALUES (2)")

        thread = threading.Thread(target=write)
        thread.start()
        deadline = time.monotonic() + 60
        while not proxy.stopped:
            assert time.monotonic() < deadline and thread.is_alive(), "the commit was not seen on its way"
            time.sleep(0.02)
        assert hidden(), "the file of the commit is not there"
        victim.process.send_signal(signal.SIGKILL)
        victim.process.wait()
        thread.join()
        left = hidden()
        connection.execute(lake.catalog("h"))
        assert connection.execute("SELECT count(*) FROM h.public.t").fetchone() == (1,)
        listed = {path.split("/t/", 1)[1] for path, in connection.execute(
            "SELECT path FROM system.orphans WHERE catalog = 'h' AND schema = 'public' AND \"table\" = 't'").fetchall()}
        connection.execute("SET maru.vacuum_retention_check = off")
        connection.execute("VACUUM h.public.t RETAIN 0 HOURS")
        after = lake.files("t")
        assert left <= listed, (left, listed)
        assert not left & after, after
        assert connection.execute("SELECT count(*) FROM h.public.t").fetchone() == (1,)
    finally:
        connection.execute("DROP CATALOG IF EXISTS h")
        proxy.close()
        lake.drop()


@pytest.fixture
def fenced(server, connection, tmp_path):
    """Catalogs on a local disk and on HDFS beside which there is something else, and a user who has all rights on them and no others."""
    hdfs = storage.Hdfs()
    folder = f"{FOLDER}/{uuid.uuid4().hex[:8]}"
    for name in ("in", "out"):
        hdfs.make_folder(f"{folder}/{name}")
        (tmp_path / name).mkdir()
        hdfs.put(f"{folder}/{name}/secret.csv", b"a\n7\n")
        (tmp_path / name / "secret.csv").write_text("a\n7\n")
    connection.execute(f"CREATE CATALOG f_hdfs USING hdfs WITH (url = '{os.environ['MARU_TEST_HDFS']}{folder}/in')")
    connection.execute(f"CREATE CATALOG f_disk USING file WITH (path = '{tmp_path}/in')")
    connection.execute("CREATE SCHEMA fenced")
    connection.execute("CREATE MODEL fenced.line OPTIONS (model_type = 'linear_reg', input_label_cols = ['y']) AS "
                       "SELECT i::float8 AS x, (i * 2)::float8 AS y FROM generate_series(1, 50) g(i)")
    connection.execute("CREATE USER fenced_lee PASSWORD 'lee-password-1'")
    connection.execute("GRANT SELECT, INSERT, CREATE ON CATALOG f_hdfs, f_disk TO fenced_lee")
    connection.execute("GRANT CREATE ON SCHEMA fenced TO fenced_lee")
    connection.execute("GRANT USAGE ON SCHEMA fenced TO fenced_lee")

    def around():
        """What lies beside the catalogs."""
        return sorted(hdfs.tree(f"{folder}/out")) + sorted(map(str, (tmp_path / "out").rglob("*"))) + sorted(map(str, tmp_path.iterdir()))

    yield f"{os.environ['MARU_TEST_HDFS']}{folder}", str(tmp_path), around
    for statement in ["DROP OWNED BY fenced_lee", "DROP USER fenced_lee", "DROP CATALOG f_hdfs", "DROP CATALOG f_disk", "DROP SCHEMA fenced CASCADE"]:
        connection.execute(statement)
    hdfs.delete(folder)


@pytest.mark.services
def test_no_path_leads_out_of_a_catalog(server, connection, fenced):
    """`..`, also in the ways in which URLs write it, in every statement that names a place."""
    remote, local, around = fenced
    before = around()
    ways = ["in/../out", "in/x/../../out", "in/./../out"]
    # What a URL would take for the same are names here, which nobody has given.
    names = ["in/%2e%2e/out", "in/.%2E/out", "in/..%2Fout", "in/..%2f..%2Fout"]
    statements = ["COPY (SELECT 1 AS a) TO '{}/new'", "COPY (SELECT 1 AS a) TO '{}/new.csv'", "COPY (SELECT 1 AS a) TO '{}/secret.csv' (OVERWRITE)",
                  "CREATE EXTERNAL TABLE fenced.e (a int) STORED AS CSV LOCATION '{}/secret.csv'", "SELECT * FROM '{}/secret.csv'",
                  "CREATE MODEL fenced.no OPTIONS (model_type = 'onnx', path = '{}/secret.csv')"]
    with server.connect(user="fenced_lee", password="lee-password-1") as lee:
        # The places of the catalogs themselves are hers.
        lee.execute(f"COPY (SELECT 1 AS a) TO '{remote}/in/mine'")
        assert lee.execute(f"SELECT * FROM '{remote}/in/secret.csv'").fetchall() == [(7,)]
        for name in names:
            for base in (remote, local, "file://" + local):
                assert state_of(lambda: lee.execute(f"SELECT * FROM '{base}/{name}/secret.csv'")) is not None, (base, name)
        for way in ways:
            for sql in statements:
                # Whether it is there is nobody's business who has no rights there.
                with pytest.raises(psycopg.Error) as caught:
                    lee.execute(sql.format(f"{remote}/{way}"))
                assert caught.value.sqlstate in ("42704", "HV024"), (way, sql, caught.value.sqlstate, caught.value)
                assert "no attached catalog serves" in str(caught.value) or "is not a path" in str(caught.value), caught.value
            for base in (local, "file://" + local):
                for sql in statements:
                    state = state_of(lambda: lee.execute(sql.format(f"{base}/{way}")))
                    assert state in ("42501", "HV024"), (way, base, sql, state)
        # A superuser may write everywhere, but says so plainly.
        for sql in statements:
            for way in ways[:3]:
                assert state_of(lambda: connection.execute(sql.format(f"{local}/{way}"))) == "HV024", (way, sql)
        for way in ways:
            for base, states in ((local, ("HV024",)), (remote, ("42704", "HV024"))):
                state = state_of(lambda: connection.execute(f"EXPORT MODEL fenced.line TO '{base}/{way}/m.onnx'"))
                assert state in states, (base, way, state)
        for relative in ("../out/x", "./x", "in/x", ""):
            assert state_of(lambda: connection.execute(f"COPY (SELECT 1 AS a) TO '{relative}'")) == "22023", relative
        # Names of schemas and tables are directories.
        for catalog in ("f_disk", "f_hdfs"):
            for name in ("..", ".", "../out", "a/../../out", "/", "%2e%2e", "..%2Fout", "..\\out"):
                for sql in (f'CREATE SCHEMA {catalog}."{name}"', f'CREATE TABLE {catalog}.public."{name}" (a int)', f'CREATE TABLE {catalog}."{name}".new (a int)'):
                    state = state_of(lambda: lee.execute(sql))
                    assert state in ("22023", "3F000", "42501"), (sql, state)
                    assert state_of(lambda: connection.execute(sql)) == "22023", sql
            # Values of partitions, too.
            connection.execute(f"CREATE TABLE {catalog}.public.parts WITH (partitioned_by = ARRAY['k']) AS SELECT 1 AS a, '../../../out/x' AS k UNION ALL SELECT 2, '..'")
            assert connection.execute(f"SELECT k FROM {catalog}.public.parts ORDER BY a").fetchall() == [("../../../out/x",), ("..",)]
    assert around() == before


@pytest.mark.services
@pytest.mark.parametrize("statement", ["COPY (SELECT 1 AS a) TO '{}'"])
def test_nothing_is_put_into_the_folder_of_a_table(connection, fenced, statement):
    remote, local, _ = fenced
    for catalog, place in (("f_disk", f"{local}/in"), ("f_hdfs", f"{remote}/in")):
        connection.execute(f"CREATE TABLE {catalog}.public.t AS SELECT 1 AS a")
        for end in ("t/y", "t/_delta_log/y", "./t/y"):
            assert state_of(lambda: connection.execute(statement.format(f"{place}/{end}"))) == "0A000", (place, end)


LARGE = "SELECT i AS id, md5(i::text) || md5((i * 7)::text) AS t FROM generate_series(1, 300000) g(i)"


def writes_that_do_not_fit(place):
    return [f"INSERT INTO lake.public.t {LARGE}", f"INSERT OVERWRITE lake.public.t {LARGE}", f"CREATE TABLE lake.public.u AS {LARGE}",
            f"CREATE OR REPLACE TABLE lake.public.t AS {LARGE}", f"INSERT INTO own {LARGE}", f"CREATE TABLE more AS {LARGE}",
            f"COPY ({LARGE}) TO '{place}/copied' (FORMAT csv)", f"COPY ({LARGE}) TO '{place}/copied.csv'"]


def nothing_fits(server, place, states, full, room):
    """Each write ends with an error and leaves nothing; when there is room again, it succeeds."""
    small = "SELECT i AS id, md5(i::text) AS t FROM generate_series(1, 1000) g(i)"
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG lake USING file WITH (path = '{place}')")
        connection.execute(f"CREATE TABLE lake.public.t AS {small}")
        connection.execute(f"CREATE TABLE own AS {small}")
        there = lambda: sorted(str(path) for path in place.rglob("*") if path.is_file())
        before, told = there(), Counter()
        for statement in writes_that_do_not_fit(place):
            full()
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(statement)
            assert caught.value.sqlstate in states, (statement, caught.value.sqlstate, caught.value)
            told[caught.value.sqlstate] += 1
            for table in ("lake.public.t", "own"):
                assert connection.execute(f"SELECT count(*), sum(id) FROM {table}").fetchone() == (1000, 500500), statement
            room()
            deadline = time.monotonic() + 60
            while there() != before and time.monotonic() < deadline:
                time.sleep(0.1)
            assert there() == before, statement
        for statement in writes_that_do_not_fit(place):
            connection.execute(statement)
        for table, count in (("lake.public.t", 300000), ("lake.public.u", 300000), ("own", 301000), ("more", 300000), (f"'{place}/copied/'", 300000),
                             (f"'{place}/copied.csv'", 300000)):
            assert connection.execute(f"SELECT count(*), count(DISTINCT t) FROM {table}").fetchone()[0] == count, table
    assert "panicked at" not in server.text_of_log()
    return told


@pytest.mark.skipif(not LONG, reason="takes a minute: tests/run --long")
@pytest.mark.timeout(900)
def test_files_that_may_not_grow(start, tmp_path, monkeypatch):
    """A limit of the size of files is what comes nearest to a full disk without a disk of one's own."""
    place = tmp_path / "lake"
    place.mkdir()
    # A process that passes the limit gets a signal; ignored, the write fails instead.
    wrapper = tmp_path / "maru"
    wrapper.write_text(f"#!/bin/sh\ntrap '' XFSZ\nexec {os.environ['MARU_BIN']} \"$@\"\n")
    wrapper.chmod(0o755)
    monkeypatch.setenv("MARU_BIN", str(wrapper))
    server = start()
    limit = lambda size: resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    told = nothing_fits(server, place, {"53100", "58030"}, lambda: limit(1 << 20), lambda: limit(resource.RLIM_INFINITY))
    print(f"files that may not grow: {dict(told)}")


FULL = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* Writes to files below FULL_FOLDER fail while the file FULL_FLAG is there, once they would pass FULL_BYTES. */
static int full(int fd, off_t end) {
    char link[64], path[4096];
    const char *folder = getenv("FULL_FOLDER"), *flag = getenv("FULL_FLAG");
    if (access(flag, F_OK) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return strncmp(path, folder, strlen(folder)) == 0 && end > atol(getenv("FULL_BYTES"));
}
ssize_t write(int fd, const void *data, size_t n) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    if (full(fd, lseek(fd, 0, SEEK_CUR) + n)) { errno = ENOSPC; return -1; }
    return real(fd, data, n);
}
ssize_t writev(int fd, const struct iovec *parts, int n) {
    static ssize_t (*real)(int, const struct iovec *, int);
    if (!real) real = dlsym(RTLD_NEXT, "writev");
    off_t more = 0;
    for (int i = 0; i < n; i++) more += parts[i].iov_len;
    if (full(fd, lseek(fd, 0, SEEK_CUR) + more)) { errno = ENOSPC; return -1; }
    return real(fd, parts, n);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off_t at) {
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    if (full(fd, at + n)) { errno = ENOSPC; return -1; }
    return real(fd, data, n, at);
}
"""


@pytest.mark.timeout(900)
def test_a_disk_that_says_it_is_full(start, tmp_path):
    """The answer of a full disk is put between the engine and the system: 53100, as the guide says."""
    place = tmp_path / "lake"
    place.mkdir()
    (tmp_path / "full.c").write_text(FULL)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", tmp_path / "full.so", tmp_path / "full.c", "-ldl"], check=True)
    flag = tmp_path / "flag"
    server = start(environment={"LD_PRELOAD": str(tmp_path / "full.so"), "FULL_FOLDER": str(tmp_path), "FULL_FLAG": str(flag), "FULL_BYTES": str(1 << 20)})
    told = nothing_fits(server, place, {"53100"}, flag.touch, flag.unlink)
    print(f"full disk: {dict(told)}")
