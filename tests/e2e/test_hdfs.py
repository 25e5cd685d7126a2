"""HDFS as companies run it: users with rights of their own, two NameNodes of which one is active, DataNodes that die or stop."""

import os
import threading
import time

import psycopg
import pyarrow
import pyarrow.parquet
import pytest
from hdfs_ha import SERVICE, HaCluster
from seeding import storage

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]

ROWS = 40_000
FOLDER = "/tmp/e2e_users"


def parquet(rows=ROWS, width=1000):
    """Uncompressed, in row groups of about 2 MB."""
    ids = list(range(rows))
    table = pyarrow.table({"id": pyarrow.array(ids, "int64"), "pad": [f"{i * 7919:{width}d}" for i in ids]})
    return storage.parquet_bytes(table, compression="none", row_group_size=2000, use_dictionary=False)


def csv(rows=ROWS, width=1000):
    return ("id,pad\n" + "".join(f"{i},{i * 7919:0{width}d}\n" for i in range(rows))).encode()


def ask(server, sql, timeout_s=120):
    """Returns the rows or the SQLSTATE, what was said, and the seconds it took."""
    began = time.monotonic()
    with server.connect(prepare_threshold=None) as connection:
        connection.execute(f"SET statement_timeout = '{timeout_s}s'")
        try:
            return connection.execute(sql).fetchall(), "", time.monotonic() - began
        except psycopg.Error as error:
            return error.sqlstate, f"{error} {error.diag.message_hint}", time.monotonic() - began


@pytest.fixture(scope="module")
def homes(server):
    """A directory of each user's own, and catalogs over both of them as both users."""
    hdfs = storage.Hdfs()
    hdfs.call("DELETE", FOLDER, "DELETE", recursive="true")
    for number, user in enumerate(["ann", "ben"]):
        hdfs.make_folder(f"{FOLDER}/{user}")
        hdfs.put(f"{FOLDER}/{user}/t.csv", f"id\n{number}\n".encode())
        hdfs.put(f"{FOLDER}/{user}/p.parquet", parquet(10 * (number + 1), 10))
        hdfs.call("PUT", f"{FOLDER}/{user}", "SETOWNER", owner=user, group=user)
        hdfs.call("PUT", f"{FOLDER}/{user}", "SETPERMISSION", permission="700")
    with server.connect() as connection:
        for user in ["ann", "ben"]:
            connection.execute(f"CREATE CATALOG h_{user} USING hdfs WITH (url = '{os.environ['MARU_TEST_HDFS']}{FOLDER}', user = '{user}')")
        yield
        for user in ["ann", "ben"]:
            connection.execute(f"DROP CATALOG h_{user}")
    hdfs.call("DELETE", FOLDER, "DELETE", recursive="true")


def test_each_catalog_asks_as_its_own_user(server, homes):
    for _ in range(3):
        for number, user in enumerate(["ann", "ben"]):
            assert ask(server, f"SELECT id FROM h_{user}.{user}.t")[0] == [(number,)]
            assert ask(server, f"SELECT count(*), max(id) FROM h_{user}.{user}.p")[0] == [(10 * (number + 1), 10 * (number + 1) - 1)]
            other = {"ann": "ben", "ben": "ann"}[user]
            for table in ["t", "p"]:
                state, said, _ = ask(server, f"SELECT * FROM h_{user}.{other}.{table}")
                assert state == "42501", (state, said)
                assert f"user={user}" in said and "Option user" in said and "org.apache" not in said, said


def test_a_right_that_is_taken_away_counts_at_once(server, homes):
    hdfs = storage.Hdfs()
    assert ask(server, "SELECT count(*) FROM h_ann.ann.p WHERE pad <> ''")[0] == [(10,)]
    hdfs.call("PUT", f"{FOLDER}/ann", "SETPERMISSION", permission="000")
    try:
        state, said, _ = ask(server, "SELECT count(*) FROM h_ann.ann.p WHERE pad <> '' AND id >= 0")
        assert state == "42501", (state, said)
    finally:
        hdfs.call("PUT", f"{FOLDER}/ann", "SETPERMISSION", permission="700")
    assert ask(server, "SELECT count(*) FROM h_ann.ann.p WHERE pad <> ''")[0] == [(10,)]


def test_a_catalog_of_a_user_without_rights_is_refused(server, homes):
    state, said, _ = ask(server, f"CREATE CATALOG h_cid USING hdfs WITH (url = '{os.environ['MARU_TEST_HDFS']}{FOLDER}/ann/below', user = 'cid')")
    assert state == "42501" and "user=cid" in said, (state, said)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = HaCluster(tmp_path_factory.mktemp("ha"))
    cluster.put("nn1", "/lake/big.parquet", parquet(), replication=2)
    cluster.put("nn1", "/lake/text.csv", csv(), replication=2)
    for number in range(3):
        cluster.put("nn1", f"/lake/parts/{number}.parquet", parquet(100, 10), replication=2)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def lakes(server, cluster):
    """One catalog that is told the NameNodes, one that finds them in Hadoop's configuration, one that has little patience."""
    url = f"url = 'hdfs://{SERVICE}/lake', layout = 'tables'"
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG ha_named USING hdfs WITH ({url}, namenodes = '{cluster.namenodes}')")
        connection.execute(f"CREATE CATALOG ha_conf USING hdfs WITH ({url}, config_dir = '{cluster.conf}')")
        connection.execute(f"CREATE CATALOG ha_quick USING hdfs WITH ({url}, namenodes = '{cluster.namenodes}', timeout = '1s')")
        yield ["ha_named", "ha_conf"]
        for name in ["ha_named", "ha_conf", "ha_quick"]:
            connection.execute(f"DROP CATALOG {name}")


SCANS = ["SELECT count(*), sum(id), sum(length(pad)) FROM {}.public.big WHERE pad <> ''",
         "SELECT count(*), sum(id), sum(length(pad)) FROM {}.public.text WHERE pad <> ''"]
WHOLE = [(ROWS, ROWS * (ROWS - 1) // 2, ROWS * 1000)]


def all_right(server, lakes):
    for lake in lakes:
        for scan in SCANS:
            assert ask(server, scan.format(lake))[0] == WHOLE, (lake, scan)
        assert ask(server, f"SELECT count(*), sum(id) FROM {lake}.public.parts")[0] == [(300, 3 * 4950)]


def test_a_nameservice_is_read_and_fails_over(server, cluster, lakes):
    all_right(server, lakes)
    assert ask(server, f"SELECT count(*) FROM 'hdfs://{SERVICE}/lake/parts/'")[0] == [(300,)]
    answers, ended = [], threading.Event()

    def work():
        while not ended.is_set():
            for lake in lakes:
                answers.append(ask(server, SCANS[len(answers) % 2].format(lake)))

    def two_more():
        """The second one has begun after this was called."""
        wanted, deadline = len(answers) + 2, time.monotonic() + 240
        while len(answers) < wanted:
            assert time.monotonic() < deadline, "statements do not end"
            time.sleep(0.05)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        cluster.fail_over("nn1", "nn2")
        two_more()
        n_before = len(answers)
        cluster.kill("nn2")
        time.sleep(1)
        cluster.fail_over("nn2", "nn1")
        two_more()
    finally:
        ended.set()
        worker.join()
    for rows, said, seconds in answers:
        assert rows == WHOLE or (rows == "HV00N" and "NameNode" in said), (rows, said)
        assert seconds < 100, (rows, said, seconds)
    assert all(rows == WHOLE for rows, _, _ in answers[:n_before]), "a switch by hand lost a statement"
    assert answers[-1][0] == WHOLE
    all_right(server, lakes)


def test_no_namenode_is_active(server, cluster, lakes):
    cluster.admin("-transitionToStandby", "nn1")
    listing = "SELECT count(*) FROM {}.public.parts WHERE id >= 0"
    try:
        answer = ask(server, listing.format("ha_quick"))
        # One with more patience waits for about 13 seconds.
        assert answer[0] == "HV00N" and answer[2] < 12, answer
        answer = ask(server, listing.format("ha_named"), timeout_s=2)
        assert answer[0] == "57014" and answer[2] < 10, answer
    finally:
        cluster.admin("-transitionToActive", "--forceactive", "nn1")
    all_right(server, lakes)


def given_up_after(connection, sql):
    """Cancels a statement again and again, for it may not have begun; returns the seconds from the first time to its end."""
    asked, ended = [], threading.Event()

    def cancel():
        while not ended.wait(0.3):
            asked.append(time.monotonic())
            connection.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    try:
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute(sql)
        return time.monotonic() - asked[0]
    finally:
        ended.set()
        canceller.join()


def test_datanodes_that_are_silent(server, cluster, lakes):
    """If one of two copies is silent, the other one is read. If both are, the statement ends in time."""
    cluster.pause("dn1")
    for scan in SCANS:
        answer = ask(server, scan.format("ha_quick"))
        assert answer[0] == WHOLE and answer[2] < 90, answer
    cluster.pause("dn2")
    try:
        for scan in SCANS:
            answer = ask(server, scan.format("ha_quick"))
            assert answer[0] == "HV00N" and "DataNode" in answer[1] and answer[2] < 90, answer
        with server.connect() as connection:
            # A new catalog has no footer yet: what plans the statement waits for the DataNodes.
            connection.execute(f"CREATE CATALOG ha_new USING hdfs WITH (url = 'hdfs://{SERVICE}/lake', layout = 'tables', namenodes = '{cluster.namenodes}')")
            for lake in ["ha_named", "ha_new"]:
                assert given_up_after(connection, SCANS[0].format(lake)) < 20, "a DataNode may be silent for half a minute"
            connection.execute("DROP CATALOG ha_new")
    finally:
        cluster.go_on("dn1", "dn2")
    all_right(server, lakes)


def test_a_datanode_dies_in_the_middle(server, cluster, lakes):
    """Last: it stays dead. Rows come as the client takes them, so the scan is in its middle."""
    for number, table in enumerate(["big", "text"]):
        with server.connect() as connection:
            seen = []
            for row in connection.cursor().stream(f"SELECT id, pad FROM ha_quick.public.{table}"):
                seen.append(row[0])
                if number == 0 and len(seen) == 200:
                    cluster.kill("dn1")
            assert sorted(seen) == list(range(ROWS))
    all_right(server, lakes)
