"""Pipelines on a real server and real targets: what is there after kills, restarts and cancels; schedules; who is told; scripts."""

import datetime
import http.server
import json
import os
import random
import re
import signal
import subprocess
import threading
import time
import urllib.request
import uuid

import psycopg
import pyarrow as pa
import pytest
from conftest import PASSWORD, ROOT
from test_write_databases import MariaDb, Postgres

LONG = os.environ.get("MARU_TEST_LONG") == "1"
KILLS = int(os.environ.get("MARU_TEST_KILLS", "100" if LONG else "6"))
ROWS = 60_000


def until(connection, sql, wanted, seconds=60):
    """Waits until a query gives one of some values."""
    end = time.monotonic() + seconds
    while True:
        found = connection.execute(sql).fetchone()
        if found and found[0] in wanted:
            return found[0]
        assert time.monotonic() < end, (sql, found)
        time.sleep(0.05)


def is_over(connection, run, seconds=120):
    return until(connection, f"SELECT state FROM system.runs WHERE run_id = {run}", ("succeeded", "failed", "cancelled"), seconds)


def steps(connection, run):
    rows = connection.execute(f"SELECT step, state, attempt, n_rows, error, note FROM system.run_steps WHERE run_id = {run}").fetchall()
    return {row[0]: row[1:] for row in rows}


def begin(connection, name, arguments=""):
    connection.execute(f"RUN PIPELINE {name} {arguments} WITH (async = true)")
    return connection.execute("SELECT max(run_id) FROM system.runs").fetchone()[0]


def make(database):
    """A place of this file's own in a database."""
    kind = "SCHEMA" if database.name == "postgres" else "DATABASE"
    database.run(f"DROP {kind} IF EXISTS e2e_pipes" + (" CASCADE" if kind == "SCHEMA" else ""), f"CREATE {kind} e2e_pipes")


def refused(connection, sql):
    with pytest.raises(psycopg.Error) as error:
        connection.execute(sql)
    return error.value


def test_the_examples_of_the_guide(start):
    text = (ROOT / "docs/pipelines.md").read_text()
    blocks = re.findall(r"```sql\n(.*?)```", text, re.S)
    assert len(blocks) >= 4
    with start().connect() as connection:
        for block in blocks:
            # The server splits texts, and keeps the steps of a pipeline together.
            if "CREATE PIPELINE" in block:
                connection.execute(block)
                continue
            for statement in block.split(";\n"):
                if statement.strip():
                    connection.execute(statement)
        last = connection.execute("SELECT max(run_id) FROM system.runs").fetchone()[0]
        for run in range(1, last + 1):
            assert is_over(connection, run) == "succeeded", [step for step in steps(connection, run).items() if step[1][3]]
        days = connection.execute("SELECT day::text, n_calls FROM mart.daily ORDER BY 1").fetchall()
        assert [day for day, _ in days] == [f"2026-11-0{n}" for n in range(1, 7)], days
        assert all(450 < n <= 500 for _, n in days), days


def test_steps_run_side_by_side_under_a_limit(connection):
    for parallel in [4, 1]:
        sleeps = "".join(f"STEP s{i} AS SELECT pg_sleep(2);" for i in range(3))
        connection.execute(f"CREATE OR REPLACE PIPELINE side WITH (parallel = {parallel}) AS BEGIN {sleeps} END")
        connection.execute("RUN PIPELINE side")
        run = connection.execute("SELECT max(run_id) FROM system.runs WHERE pipeline = 'side'").fetchone()[0]
        times = connection.execute(f"SELECT started, ended FROM system.run_steps WHERE run_id = {run} ORDER BY started").fetchall()
        assert len(times) == 3 and all((ended - started).total_seconds() > 1.9 for started, ended in times), times
        # By their own times, since what lies around them is as fast as the machine: all at once, or one after the other.
        if parallel == 4:
            assert times[-1][0] < min(ended for _, ended in times), times
        else:
            assert all(ended <= started for (_, ended), (started, _) in zip(times, times[1:])), times
    connection.execute("DROP PIPELINE side")


def test_a_run_published_at_once_survives_kills_and_others(start):
    """Two tables change together or not at all: under kill -9 at random moments, and while others write to one of them."""
    server = start()
    with server.connect() as connection:
        for table in ("ledger", "totals"):
            connection.execute(f"CREATE TABLE {table} (run int, n bigint)")
        connection.execute("""CREATE PIPELINE both (run int) WITH (publish = 'atomic', retries = 20, retry_wait = '50ms') AS BEGIN
            STEP more AS INSERT INTO ledger SELECT :run, i FROM generate_series(1, 5000) AS t (i);
            STEP again AFTER more AS INSERT INTO ledger SELECT :run, i FROM generate_series(5001, 9000) AS t (i);
            STEP sum AFTER again AS INSERT INTO totals SELECT run, count(*) FROM ledger WHERE run = :run GROUP BY run;
            STEP fits EXPECT 'the sums fit' (SELECT (SELECT count(*) FROM ledger) = (SELECT sum(n) FROM totals)) ON VIOLATION FAIL;
        END""")
    seen, chance = set(), random.Random(29)
    for run in range(1, KILLS + 1):
        with server.connect() as connection:
            connection.execute(f"RUN PIPELINE both (run => {run}) WITH (async = true)")
        time.sleep(chance.uniform(0.0, 0.8))
        server.process.kill()
        server.process.wait()
        server = start()
        with server.connect() as connection:
            # What the kill left shows no half, before the run has gone on and after.
            for _ in range(20):
                rows, total = connection.execute("SELECT (SELECT count(*) FROM ledger WHERE run > 0), coalesce((SELECT sum(n) FROM totals), 0)").fetchone()
                assert rows == total, (run, rows, total)
                seen.add(rows - 9000 * (run - 1))
            assert is_over(connection, run) == "succeeded", steps(connection, run)
            assert connection.execute("SELECT count(*), count(DISTINCT n) FROM ledger WHERE run = " + str(run)).fetchone() == (9000, 9000)
    print(KILLS, "kills of a run that is published at once; rows seen behind them:", sorted(seen))
    assert seen <= {0, 9000}, seen

    # Others write to the same table: the run begins again until it comes through.
    stop = threading.Event()
    written = []

    def others():
        with server.connect() as connection:
            while not stop.is_set():
                connection.execute("INSERT INTO totals VALUES (0, 0)")
                written.append(1)
                # Less and less often, so that at some time there is room for a run, however slow the machine is.
                stop.wait(min(0.4 * 1.25 ** len(written), 60))

    writer = threading.Thread(target=others)
    writer.start()
    try:
        with server.connect() as connection:
            connection.execute(f"RUN PIPELINE both (run => {KILLS + 1})")
    finally:
        stop.set()
        writer.join()
    with server.connect() as connection:
        assert connection.execute("SELECT count(*) FROM totals WHERE run = 0").fetchone() == (len(written),)
        assert connection.execute("SELECT count(*) FROM ledger").fetchone() == (9000 * (KILLS + 1),)


def test_cancel_retry_and_time(connection):
    connection.execute("CREATE TABLE ended (n int)")
    connection.execute("CREATE PIPELINE slow AS BEGIN STEP a AS SELECT pg_sleep(60); STEP b AFTER a AS INSERT INTO ended VALUES (1); END")
    run = begin(connection, "slow")
    until(connection, f"SELECT state FROM system.run_steps WHERE run_id = {run} AND step = 'a'", ("running",))
    assert "runs" in refused(connection, "DROP PIPELINE slow").diag.message_primary
    # One run at a time: the next one waits.
    second = begin(connection, "slow")
    time.sleep(0.3)
    assert connection.execute(f"SELECT state FROM system.runs WHERE run_id = {second}").fetchone() == ("queued",)
    begun = time.monotonic()
    connection.execute(f"CANCEL RUN {run}")
    assert is_over(connection, run) == "cancelled" and time.monotonic() - begun < 30
    assert {name: state[0] for name, state in steps(connection, run).items()} == {"a": "cancelled", "b": "cancelled"}
    until(connection, f"SELECT state FROM system.runs WHERE run_id = {second}", ("running",))
    connection.execute(f"CANCEL RUN {second}")
    assert is_over(connection, second) == "cancelled"
    until(connection, "SELECT count(*) FROM system.queries WHERE state = 'running' AND sql LIKE '%pg_sleep(60)%' AND sql NOT LIKE '%system%'", (0,), 30)
    # Cancelling RUN PIPELINE cancels the run.
    connection.execute("SET statement_timeout = '3s'")
    assert refused(connection, "RUN PIPELINE slow").sqlstate == "57014"
    connection.execute("RESET statement_timeout")
    assert is_over(connection, second + 1) == "cancelled"
    connection.execute("""CREATE OR REPLACE PIPELINE slow WITH (retries = 2, retry_wait = '100ms', step_timeout = '3s') AS
        BEGIN STEP a AS SELECT pg_sleep(60); STEP b AS INSERT INTO ended VALUES (2); END""")
    error = refused(connection, "RUN PIPELINE slow")
    assert error.sqlstate == "57014", error
    found = steps(connection, second + 2)
    assert found["a"][:2] == ("failed", 3) and found["b"][:2] == ("succeeded", 1), found
    connection.execute("CREATE OR REPLACE PIPELINE slow WITH (timeout = '500ms') AS BEGIN STEP a AS SELECT pg_sleep(60); END")
    error = refused(connection, "RUN PIPELINE slow")
    assert "took too long" in error.diag.message_primary, error
    assert connection.execute("SELECT n FROM ended").fetchall() == [(2,)]
    connection.execute("DROP PIPELINE slow")
    connection.execute("DROP TABLE ended")


def test_what_is_not_known_is_asked(start):
    server = start()
    with server.connect() as connection:
        connection.execute("CREATE PIPELINE once AS BEGIN STEP a AS CREATE TABLE made AS SELECT pg_sleep(6) AS s, 1 AS n; "
                           "STEP b AS SELECT 1; STEP c AFTER a AS SELECT 2; END")
        assert connection.execute("SELECT again FROM system.pipeline_steps WHERE step = 'a'").fetchone()[0].startswith("asks")
        run = begin(connection, "once")
        until(connection, f"SELECT state FROM system.run_steps WHERE run_id = {run} AND step = 'a'", ("running",))
        time.sleep(0.3)
    server.process.kill()
    server.process.wait()
    with start().connect() as connection:
        assert is_over(connection, run) == "failed"
        found = steps(connection, run)
        assert (found["a"][0], found["b"][0], found["c"][0]) == ("unknown", "succeeded", "blocked"), found
        error = refused(connection, f"RESUME RUN {run}")
        assert error.sqlstate == "55000" and "unknown = 'done'" in error.diag.message_hint
        connection.execute(f"RESUME RUN {run} WITH (unknown = 'repeat')")
        assert connection.execute("SELECT n FROM made").fetchall() == [(1,)]
        assert steps(connection, run)["c"][0] == "succeeded"


def test_a_stop_in_good_order_is_gone_on_from(start):
    server = start()
    with server.connect() as connection:
        connection.execute("CREATE TABLE t (n int)")
        connection.execute("CREATE PIPELINE p AS BEGIN STEP a AS INSERT INTO t VALUES (1); STEP b AFTER a AS SELECT pg_sleep(4); "
                           "STEP c AFTER b AS INSERT INTO t VALUES (2); END")
        run = begin(connection, "p")
        until(connection, f"SELECT state FROM system.run_steps WHERE run_id = {run} AND step = 'b'", ("running",))
    assert server.stop() == 0
    with start().connect() as connection:
        assert is_over(connection, run) == "succeeded"
        assert connection.execute("SELECT n FROM t ORDER BY n").fetchall() == [(1,), (2,)]
        assert steps(connection, run)["a"][1] == 1


@pytest.mark.services
@pytest.mark.timeout(3600 if KILLS > 6 else 1800)
def test_killed_at_random_moments(start, tmp_path):
    """Each run that a kill -9 hits is gone on with by the next server; every target has each row once."""
    databases = [Postgres(tmp_path), MariaDb(tmp_path)]
    (tmp_path / "lake").mkdir()
    server = start()
    targets = ["own", "lake.public.t", "w_pg.e2e_pipes.t", "w_my.e2e_pipes.t"]
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG lake USING file WITH (path = '{tmp_path / 'lake'}')")
        for database in databases:
            make(database)
            connection.execute(database.catalog())
        for target in targets:
            connection.execute(f"CREATE TABLE {target} (round int, id bigint)")
        loads = "".join(f"STEP load_{i} AS INSERT INTO {target} SELECT :round, id FROM staged;" for i, target in enumerate(targets))
        connection.execute(f"""CREATE PIPELINE loads (round int) WITH (parallel = 3) AS BEGIN
            STEP stage AS CREATE OR REPLACE TABLE staged AS SELECT i AS id FROM generate_series(1, {ROWS}) AS g (i);
            STEP staged EXPECT 'all rows' (SELECT count(*) = {ROWS} FROM staged);
            {loads}
            STEP sums AS INSERT OVERWRITE sums SELECT round, count(*) FROM own GROUP BY round;
            END""".replace("INSERT OVERWRITE sums", "CREATE OR REPLACE TABLE sums AS"))
        again = dict(connection.execute("SELECT step, again FROM system.pipeline_steps").fetchall())
        assert {again[f"load_{i}"] for i in range(4)} == {"the target remembers the commit"}, again
    chance = random.Random(23)
    n_running = n_repeated = n_known = 0
    for kill in range(KILLS):
        with server.connect() as connection:
            run = begin(connection, "loads", f"(round => {kill})")
            time.sleep(chance.uniform(0.0, 2.0))
            n_running += connection.execute(f"SELECT state FROM system.runs WHERE run_id = {run}").fetchone()[0] == "running"
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        server = start()
        if chance.random() < 0.3:
            # Hit again while it goes on.
            time.sleep(chance.uniform(0.0, 1.0))
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            server = start()
        with server.connect() as connection:
            assert is_over(connection, run) == "succeeded", [step for step in steps(connection, run).items() if step[1][3]]
            found = steps(connection, run)
            n_repeated += sum(step[1] > 1 for step in found.values())
            n_known += sum("had committed" in (step[4] or "") for step in found.values())
            for target in targets:
                rows = connection.execute(f"SELECT count(*), count(DISTINCT id) FROM {target} WHERE round = {kill}").fetchone()
                assert rows == (ROWS, ROWS), (kill, target, rows, found)
            assert connection.execute("SELECT count(*) FROM sums").fetchone() == (kill + 1,)
    for database in databases:
        assert database.run(f"SELECT count(*) FROM e2e_pipes.t")[0][0] == KILLS * ROWS
    print(f"{KILLS} kills, {n_running} while it ran: {n_repeated} steps were tried again, {n_known} of them had committed; no row twice")


@pytest.mark.services
def test_from_s3_hive_and_postgres_to_mariadb_and_s3(connection, tmp_path):
    """Logs of S3, calls of Hive on HDFS, customers of PostgreSQL, in one pipeline to MariaDB and S3; the sums are those of plain Python."""
    from seeding import storage
    from seeding.metastore import PARQUET, Metastore
    from seeding.storage import parquet_bytes

    name = "pipes_" + uuid.uuid4().hex[:8]
    chance = random.Random(3)
    logs = [(chance.randrange(40), chance.choice([200, 200, 404, None])) for _ in range(4000)]
    calls = [(chance.randrange(40), chance.randrange(900)) for _ in range(3000)]
    customers = [(i, chance.choice(["Seoul", "Busan"])) for i in range(35)]
    s3, bucket = storage.s3_client(), "maru-pipelines"
    if bucket not in [found["Name"] for found in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=bucket)
    table = pa.table({"customer": pa.array([c for c, _ in logs], pa.int32()), "status": pa.array([s for _, s in logs], pa.int32())})
    s3.put_object(Bucket=bucket, Key=f"{name}/raw/logs/part-0.parquet", Body=parquet_bytes(table))
    base = f"/user/pipes/{name}"
    hdfs = storage.Hdfs()
    hdfs.put(f"{base}/calls/part-0.parquet", parquet_bytes(pa.table({
        "customer": pa.array([c for c, _ in calls], pa.int32()), "seconds": pa.array([s for _, s in calls], pa.int32())})))
    root = os.environ["MARU_TEST_HDFS"]
    with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore:
        metastore.create_database(name, root + base, "calls", {})
        metastore.create_table(name, "calls", f"{root}{base}/calls", [("customer", "int"), ("seconds", "int")], PARQUET)
    postgres, maria = Postgres(tmp_path), MariaDb(tmp_path)
    make(postgres)
    make(maria)
    postgres.run("CREATE TABLE e2e_pipes.customers (id int PRIMARY KEY, city text)",
                 "INSERT INTO e2e_pipes.customers VALUES " + ", ".join(f"({i}, '{c}')" for i, c in customers))
    try:
        connection.execute(f"""CREATE CATALOG p_s3 USING s3 WITH (bucket = '{bucket}', prefix = '{name}', endpoint = '{os.environ["MARU_TEST_S3"]}',
            access_key_id = '{os.environ["MARU_TEST_S3_ACCESS_KEY"]}', secret_access_key = '{os.environ["MARU_TEST_S3_SECRET_KEY"]}')""")
        connection.execute(f"CREATE CATALOG p_hive USING hive WITH (metastore = '{os.environ['MARU_TEST_HMS3']}')")
        connection.execute(postgres.catalog())
        connection.execute(maria.catalog())
        connection.execute("CREATE SCHEMA pipes")
        connection.execute("CREATE TABLE w_my.e2e_pipes.by_city (city varchar(20), hits bigint, seconds bigint)")
        connection.execute(f"""CREATE PIPELINE pipes.flow (least int DEFAULT 0) AS BEGIN
            STEP cleanse AS CREATE OR REPLACE TABLE pipes.logs AS SELECT customer, coalesce(status, 0) AS status FROM p_s3.raw.logs;
            STEP calls AS CREATE OR REPLACE TABLE pipes.calls AS
                SELECT customer, sum(seconds) AS seconds FROM p_hive.{name}.calls WHERE seconds >= :least GROUP BY customer;
            STEP arrived EXPECT 'rows arrived' (SELECT count(*) > 0 FROM pipes.logs);
            STEP hits AS CREATE OR REPLACE TABLE pipes.hits AS SELECT customer, count(*) AS hits FROM pipes.logs WHERE status = 200 GROUP BY customer;
            STEP join_all AS CREATE OR REPLACE TABLE p_s3.raw.joined AS
                SELECT c.city, h.hits, k.seconds FROM w_pg.e2e_pipes.customers AS c
                LEFT JOIN pipes.hits AS h ON h.customer = c.id LEFT JOIN pipes.calls AS k ON k.customer = c.id;
            STEP publish AS INSERT OVERWRITE w_my.e2e_pipes.by_city
                SELECT city, sum(hits)::bigint, sum(seconds)::bigint FROM p_s3.raw.joined GROUP BY city;
            END""")
        connection.execute("RUN PIPELINE pipes.flow")
        # Twice is as good as once.
        connection.execute("RUN PIPELINE pipes.flow")
        expected = {}
        for customer, city in customers:
            one = expected.setdefault(city, [0, 0])
            one[0] += sum(c == customer and s == 200 for c, s in logs)
            one[1] += sum(s for c, s in calls if c == customer)
        found = {city: [int(h), int(s)] for city, h, s in maria.run("SELECT city, hits, seconds FROM e2e_pipes.by_city")}
        assert found == expected
        edges = set(connection.execute("SELECT source, target FROM system.lineage WHERE pipeline = 'flow'").fetchall())
        assert ("p_s3.raw.joined", "w_my.e2e_pipes.by_city") in edges and (f"p_hive.{name}.calls", "maru.pipes.calls") in edges, edges
        connection.execute("DROP SCHEMA pipes CASCADE")
    finally:
        for catalog in ["p_s3", "p_hive", "w_pg", "w_my"]:
            connection.execute(f"DROP CATALOG IF EXISTS {catalog}")
        with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore:
            metastore.client.drop_database(name, False, True)
        hdfs.delete(base)


def slots(connection, name):
    rows = connection.execute(f"SELECT extract(epoch FROM interval_end)::bigint FROM system.runs WHERE pipeline = '{name}' AND trigger = 'schedule'")
    return sorted(row[0] for row in rows.fetchall())


def test_schedules_start_each_run_once_and_make_up_for_missed_ones(start):
    server = start()
    policies = ["none", "last", "all"]
    created = time.time()
    with server.connect() as connection:
        for policy in policies:
            connection.execute(f"CREATE PIPELINE every_{policy} SCHEDULE '* * * * * *' TIME ZONE 'UTC' WITH (catch_up = '{policy}', max_active_runs = 5) "
                               "AS BEGIN STEP a AS SELECT :interval_start, :interval_end; END")
        of_all = lambda: {policy: slots(connection, f"every_{policy}") for policy in policies}
        deadline = time.monotonic() + 60
        # One that is late leaves times out, but for the policy that makes up for all.
        while min(map(len, (before := of_all()).values())) < 3:
            assert time.monotonic() < deadline, before
            time.sleep(0.2)
        for policy, times in before.items():
            assert len(times) <= time.time() - created + 1 and len(times) == len(set(times)), (policy, times)
    server.process.kill()
    server.process.wait()
    killed = time.time()
    time.sleep(4)
    # Times at which there was no server.
    missed = set(range(int(killed) + 1, int(time.time()) + 1))
    assert len(missed) >= 2
    with start().connect() as connection:
        of_all = lambda: {policy: slots(connection, f"every_{policy}") for policy in policies}
        time.sleep(4)
        deadline = time.monotonic() + 60
        while not missed <= set(slots(connection, "every_all")) and time.monotonic() < deadline:
            time.sleep(0.2)
        for policy in policies:
            connection.execute(f"ALTER PIPELINE every_{policy} PAUSE")
        # What was due before may still be begun.
        deadline, after = time.monotonic() + 60, None
        while after != (now := of_all()):
            assert time.monotonic() < deadline, "they are not paused"
            after = now
            time.sleep(2)
        for policy, times in after.items():
            assert len(times) == len(set(times)), (policy, times)
        assert missed <= set(after["all"]), (missed, after["all"])
        assert set(after["all"]) == set(range(min(after["all"]), max(after["all"]) + 1))
        assert len(missed & set(after["last"])) <= 1
        assert not missed & set(after["none"]), (missed, after["none"])
        failed = connection.execute("SELECT count(*) FROM system.runs WHERE state NOT IN ('succeeded', 'running', 'queued')").fetchone()
        assert failed == (0,), failed


def test_somebody_is_told_of_failures(start):
    news = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            news.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    hook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    server = start()
    with server.connect() as connection:
        connection.execute(f"""CREATE PIPELINE told WITH (on_failure = webhook('http://127.0.0.1:{hook.server_port}/hunter2')) AS BEGIN
            STEP fine AS SELECT 1; STEP broken AS SELECT 1 / (count(*) - count(*)) FROM system.settings; END""")
        assert refused(connection, "RUN PIPELINE told").sqlstate == "22012"
        end = time.monotonic() + 60
        while not news and time.monotonic() < end:
            time.sleep(0.05)
        path, told = news[0]
        assert path == "/hunter2" and (told["pipeline"], told["step"], told["state"], told["sqlstate"]) \
            == ("public.told", "broken", "failed", "22012"), told
        assert told["text"].startswith("Pipeline public.told: run 1 has failed: step \"broken\": division by zero"), told
        # It is a secret, wherever one looks.
        for table in ["pipelines", "runs", "run_steps", "queries", "audit", "pipeline_steps"]:
            rows = connection.execute(f"SELECT * FROM system.{table}").fetchall()
            assert "hunter2" not in repr([row for row in rows if "hunter2\" not in" not in repr(row)]), table
        text = urllib.request.urlopen(server.url() + "/metrics").read().decode()
        assert 'maru_pipeline_runs_total{state="failed"} 1' in text, text
    server.stop()
    assert "hunter2" not in server.log_path.read_text()
    for file in server.data_dir.iterdir():
        if file.is_file():
            assert b"hunter2" not in file.read_bytes(), file
    hook.shutdown()


def test_arguments_may_come_beside_the_statement(connection):
    connection.execute("CREATE TABLE bound_arguments (day date, n int, t text)")
    connection.execute("CREATE PIPELINE bound_run (day date, n int, t text) AS BEGIN STEP s AS INSERT INTO bound_arguments VALUES (:day, :n, :t); END")
    day = datetime.date(2026, 11, 12)
    for values in [(day, 7, "it's :n $1"), (None, None, None)]:
        connection.execute("RUN PIPELINE bound_run (day => %s, n => %s, t => %s)", values)
    rows = connection.execute("SELECT * FROM bound_arguments ORDER BY n NULLS LAST").fetchall()
    assert rows == [(day, 7, "it's :n $1"), (None, None, None)], rows
    with pytest.raises(psycopg.Error) as error:
        connection.execute("RUN PIPELINE bound_run (day => %s, n => %s, t => 'x')", ("soon", 1))
    assert error.value.sqlstate == "22007", error.value


def test_the_range_of_a_backfill_may_come_beside_it(connection):
    connection.execute("CREATE TABLE bound_days (day date)")
    connection.execute(
        "CREATE PIPELINE bound_fill (day date) SCHEDULE '0 0 * * *' TIME ZONE 'UTC' WITH (parallel = 1) "
        "AS BEGIN STEP s AS INSERT INTO bound_days VALUES (:day); END"
    )
    connection.execute("ALTER PIPELINE bound_fill PAUSE")
    begin, ends = datetime.date(2024, 3, 1), [datetime.date(2024, 3, 2), "2024-03-03", datetime.datetime(2024, 3, 4, 1, tzinfo=datetime.timezone.utc)]
    for end in ends:
        assert connection.execute("BACKFILL PIPELINE bound_fill FROM %s TO %s", (begin, end)).statusmessage.startswith("BACKFILL PIPELINE")
    until(connection, "SELECT count(*) FROM system.runs WHERE pipeline = 'bound_fill' AND ended IS NULL", (0,))
    days = connection.execute("SELECT day FROM bound_days ORDER BY 1").fetchall()
    assert days == [(datetime.date(2024, 3, n),) for n in range(1, 5)], days
    for value, state in [(None, "22004"), ("soon", "22007")]:
        with pytest.raises(psycopg.Error) as error:
            connection.execute("BACKFILL PIPELINE bound_fill FROM %s TO '2024-03-05'", (value,))
        assert error.value.sqlstate == state, error.value


def test_runs_keep_the_definition_they_began_with(connection):
    connection.execute("CREATE TABLE altered_runs (n int)")
    connection.execute(
        "CREATE PIPELINE altered_run WITH (step_timeout = '1min') AS BEGIN "
        "STEP a AS SELECT pg_sleep(2); STEP b AFTER a AS INSERT INTO altered_runs VALUES (1); END"
    )
    run = begin(connection, "altered_run")
    waits = begin(connection, "altered_run")
    connection.execute("ALTER PIPELINE altered_run SET (step_timeout = '100ms', max_active_runs = 2)")
    # The second has a place at once, and both go on by what was said when they were made.
    until(connection, f"SELECT state FROM system.runs WHERE run_id = {waits}", ("running", "succeeded"), 10)
    assert [is_over(connection, one) for one in (run, waits)] == ["succeeded"] * 2
    assert is_over(connection, begin(connection, "altered_run")) == "failed"
    assert connection.execute("SELECT count(*) FROM altered_runs").fetchone() == (2,)
    what = connection.execute("SELECT count(*) FROM system.audit WHERE sql LIKE 'ALTER PIPELINE altered_run%'").fetchone()
    assert what == (1,), what


def test_what_is_made_always_has_the_owner_who_made_it(server):
    made = "CREATE OR REPLACE PIPELINE racing.p AS BEGIN " + " ".join(f"STEP s{n} AS SELECT {n};" for n in range(20)) + " END"
    view = "CREATE OR REPLACE VIEW racing.v AS SELECT 1 AS n"
    states = set()

    def repeat(*statements):
        with server.connect() as connection:
            connection.execute("SET ROLE racing")
            for statement in statements * 5:
                try:
                    connection.execute(statement)
                except psycopg.Error as error:
                    states.add(error.sqlstate)

    with server.connect() as root:
        for sql in ("CREATE ROLE racing", "CREATE SCHEMA racing", "GRANT USAGE ON CATALOG maru TO racing", "GRANT ALL ON SCHEMA racing TO racing"):
            root.execute(sql)
        for _ in range(8):
            works = [[made, view], [made, "DROP PIPELINE IF EXISTS racing.p", view, "DROP VIEW IF EXISTS racing.v"]]
            threads = [threading.Thread(target=repeat, args=work) for work in works]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            # What is nobody's is the superuser's, and would run and read with all rights.
            owners = root.execute("SELECT owner FROM system.pipelines WHERE schema = 'racing'").fetchall()
            owners += root.execute("SELECT owner FROM system.tables WHERE schema = 'racing'").fetchall()
            assert set(owners) <= {("racing",)}, owners
        assert states <= {"40001", "42501"}, states
        root.execute("DROP SCHEMA racing CASCADE")
        root.execute("DROP OWNED BY racing")
        root.execute("DROP ROLE racing")


def run_script(server, script, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MARU_") or k == "MARU_BIN"}
    return subprocess.run([os.environ["MARU_BIN"], "run", "--data-dir", str(server.data_dir), *arguments, "-"], input=script,
                          capture_output=True, text=True, env=environment, timeout=120, check=False)


def test_scripts(start):
    server = start()
    script = """CREATE TABLE IF NOT EXISTS scripted (day date, n int);
INSERT INTO scripted VALUES (:day, :n), (:day, :n + 1);
SELECT day::text AS day, n FROM scripted ORDER BY n;
SELECT :n + nope FROM scripted;
DELETE FROM scripted WHERE n = :n;
"""
    done = run_script(server, script, "--var", "day=2026-11-22")
    assert done.returncode == 1 and ":n" in done.stderr and "LINE 2" in done.stderr, done
    done = run_script(server, script, "--var", "day=2026-11-22", "--var", "n=7", "--format", "csv")
    assert done.returncode == 3 and "42703" in done.stderr and "LINE 4: SELECT :n + nope" in done.stderr and "1 of 5 statements were not run" in done.stderr, done
    assert done.stdout.split() == ["day,n", "2026-11-22,7", "2026-11-22,8"], done
    assert "[2/5] INSERT INTO scripted" in done.stderr and "INSERT 0 2" in done.stderr, done
    done = run_script(server, script, "--var", "day=2026-11-22", "--var", "n=7", "--on-error", "continue", "-q")
    assert done.returncode == 3 and "1 of 5 statements failed" in done.stderr, done
    done = run_script(server, "SELECT count(*) FROM scripted", "-q", "--format", "csv")
    assert done.returncode == 0 and done.stdout.split() == ["count", "2"] and not done.stderr, done
    # Variables stand in what is said of pipelines, too, but not in their steps; as text and as names.
    script = """CREATE PIPELINE scripted_run (day date, n int) AS BEGIN STEP s AS INSERT INTO scripted VALUES (:day, :n); END;
-- the one of the day
RUN PIPELINE scripted_run (day => DATE :day, n => :n);
SELECT count(*) AS n, :'n' || 'x' AS t FROM :"table" WHERE n = :n;
BEGIN; DELETE FROM :"table"; SELECT 1 / 0; COMMIT;
SELECT count(*) FROM scripted;
"""
    done = run_script(server, script, "--var", "day=2026-11-22", "--var", "n=77", "--var", "table=scripted", "--format", "csv", "--on-error", "continue")
    assert done.returncode == 3 and done.stdout.split() == ["n,t", "1,77x", "count", "3"], done
    assert "ROLLBACK" in done.stderr and "        COMMIT" not in done.stderr and "[2/8] RUN PIPELINE" in done.stderr, done
    done = run_script(server, "SELECT :'nope'")
    assert done.returncode == 1 and "42P02" in done.stderr, done
    done = run_script(server, "SELECT 1;\nCOPY scripted FROM STDIN;", "-q")
    assert done.returncode == 1 and "0A000" in done.stderr and "LINE 2" in done.stderr and not done.stdout, done
    done = run_script(server, "SELECT 1", "--var", "day")
    assert done.returncode == 1 and "names no variable" in done.stderr, done
    server.stop()
    # Without a server the engine is in the process itself.
    done = run_script(server, "SELECT count(*) FROM scripted; CREATE PIPELINE p (a int) AS BEGIN STEP s AS SELECT :a; END; RUN PIPELINE p (a => 1);")
    assert done.returncode == 0, done
    assert PASSWORD not in done.stderr
