"""Metastores that are gone, go silent or lie about their files: the right rows, or the right SQLSTATE in time."""

import os
import time
import uuid

import psycopg
import pyarrow
import pyarrow.parquet
import pytest
from fault_proxy import FaultProxy
from seeding.metastore import PARQUET, TEXT, Metastore

pytestmark = pytest.mark.services
# What is waited for once, which leaves a statement on a slow machine as long again.
TIMEOUT_S = 10
LOG = "SELECT count(*) FROM {}.demo.log"


def attach(connection, name, addresses):
    connection.execute(f"CREATE CATALOG {name} USING hive WITH (metastore = '{addresses}', timeout = '{TIMEOUT_S}s')")


@pytest.fixture
def proxy():
    host, port = os.environ["MARU_TEST_HMS3"].removeprefix("thrift://").split(":")
    proxy = FaultProxy(host, int(port))
    yield proxy
    proxy.close()


@pytest.fixture
def connection(server):
    """Without prepared statements, so that each is planned anew."""
    name = "over_" + uuid.uuid4().hex[:8]
    with server.connect(prepare_threshold=None) as connection:
        yield connection, name
        connection.execute(f"DROP CATALOG IF EXISTS {name}")


def timed(connection, sql):
    began = time.monotonic()
    try:
        answer = connection.execute(sql).fetchall()
    except psycopg.Error as error:
        answer = error.sqlstate
    return answer, time.monotonic() - began


def misbehave(proxy, how):
    if how == "dead":
        proxy.refusing = True
        proxy.cut()
    elif how == "silent":
        proxy.stopped = True
        proxy.cut()
    elif how == "cut":
        # The first answer is greeted, the next ones end in the middle.
        proxy.cut_after = proxy.passed + 120
    else:
        # Every connection is greeted, and then ends in the middle of an answer.
        proxy.cut_each_after = 120
        proxy.cut()


@pytest.mark.parametrize("moment,how", [("before", "dead"), ("before", "silent"), ("between", "dead"), ("between", "silent"), ("between", "cut"),
                                        ("before", "cut each"), ("between", "cut each")])
def test_another_metastore_answers(connection, proxy, how, moment):
    connection, name = connection
    both = f"thrift://127.0.0.1:{proxy.port},{os.environ['MARU_TEST_HMS3']}"
    if moment == "before":
        misbehave(proxy, how)
    attach(connection, name, both)
    if moment == "between":
        assert timed(connection, LOG.format(name))[0] == [(1500,)]
        assert proxy.connections > 0
        misbehave(proxy, how)
    answer, seconds = timed(connection, LOG.format(name))
    assert answer == [(1500,)], answer
    assert seconds < 2 * TIMEOUT_S - 1
    # The one that answered is asked first from then on.
    answer, seconds = timed(connection, f"SELECT count(*) FROM {name}.demo.log WHERE dt > '0'")
    assert answer == [(1500,)] and seconds < TIMEOUT_S - 1, (answer, seconds)


def test_silent_in_the_middle_of_a_call_is_an_error_and_the_next_call_goes_elsewhere(connection, proxy):
    connection, name = connection
    attach(connection, name, f"thrift://127.0.0.1:{proxy.port},{os.environ['MARU_TEST_HMS3']}")
    assert timed(connection, LOG.format(name))[0] == [(1500,)]
    # Open connections stay, and nothing comes through them.
    proxy.stopped = True
    answer, seconds = timed(connection, LOG.format(name))
    assert answer in ("HV00N", [(1500,)]) and seconds < 2 * TIMEOUT_S, (answer, seconds)
    answer, seconds = timed(connection, LOG.format(name))
    assert answer == [(1500,)] and seconds < TIMEOUT_S, (answer, seconds)


def test_nobody_left(connection, proxy):
    connection, name = connection
    attach(connection, name, f"thrift://127.0.0.1:{proxy.port},thrift://127.0.0.1:1")
    proxy.refusing = True
    proxy.cut()
    answer, seconds = timed(connection, LOG.format(name))
    assert answer == "HV00N" and seconds < TIMEOUT_S + 2, (answer, seconds)


def test_an_answer_that_ends_in_the_middle_is_told_plainly(connection, proxy):
    connection, name = connection
    attach(connection, name, f"thrift://127.0.0.1:{proxy.port}")
    assert timed(connection, LOG.format(name))[0] == [(1500,)]
    misbehave(proxy, "cut each")
    with pytest.raises(psycopg.Error) as caught:
        # Of this one nothing is known yet.
        connection.execute(f"SELECT count(*) FROM {name}.demo.log_orc")
    diagnosis = caught.value.diag
    assert diagnosis.sqlstate == "HV00N"
    assert diagnosis.message_primary == f"connection to Hive metastore at 127.0.0.1:{proxy.port} broke during get_table_req"
    assert diagnosis.message_detail.startswith("It ended in the middle of the answer.") and "metastore" in diagnosis.message_hint
    proxy.calm()
    assert timed(connection, LOG.format(name))[0] == [(1500,)]


@pytest.fixture
def lies(server, tmp_path):
    """A database on a local disk, and the catalog that has it."""
    database = "lies_" + uuid.uuid4().hex[:8]
    tmp_path.chmod(0o777)
    with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore, server.connect(prepare_threshold=None) as connection:
        metastore.create_database(database, f"file://{tmp_path}/db", "", {})
        attach(connection, database, os.environ["MARU_TEST_HMS3"])

        def make(name, formats=PARQUET, keys=(), parameters=None, location=None):
            place = tmp_path / name
            metastore.create_table(database, name, location or f"file://{place}", [("id", "bigint"), ("s", "string")], formats, keys,
                                   parameters=parameters)
            place.mkdir(exist_ok=True)
            return place

        def ask(name, columns="count(*)"):
            return timed(connection, f"SELECT {columns} FROM {database}.{database}.{name}")[0]

        def add(name, values, place):
            metastore.add_partition(database, name, values, f"file://{place}", [("id", "bigint"), ("s", "string")], PARQUET)

        yield make, ask, add
        connection.execute(f"DROP CATALOG {database}")
        metastore.drop_database(database)


def write(path, ids):
    pyarrow.parquet.write_table(pyarrow.table({"id": pyarrow.array(ids, "int64"), "s": ["x"] * len(ids)}), path)


def test_counts_of_the_metastore_are_never_an_answer(lies):
    make, ask, _ = lies
    for number, count in enumerate(["1", "1000000000000", "-1", "many", "99999999999999999999"]):
        write(make(f"t{number}", parameters={"numRows": count, "totalSize": count}) / "a.parquet", [1, 2, 3])
        assert ask(f"t{number}") == [(3,)] and ask(f"t{number}", "min(id), max(id)") == [(1, 3)]


def test_partitions_that_are_not_what_the_metastore_says(lies):
    make, ask, add = lies
    place = make("p", keys=[("n", "int")])
    for value in ["1", "2"]:
        add("p", [value], place / f"n={value}")
        (place / f"n={value}").mkdir(exist_ok=True)
        write(place / f"n={value}" / "a.parquet", [int(value)])
    assert ask("p", "sum(id), sum(n)") == [(3, 3)]
    # Two partitions in one place: its rows are there twice, as in Hive.
    add("p", ["3"], place / "n=1")
    assert ask("p", "sum(id), sum(n)") == [(4, 6)]
    (place / "n=2/a.parquet").unlink()
    assert ask("p", "count(*)") == [(2,)]
    (place / "n=2").rmdir()
    assert ask("p") == "58P01" and ask("p WHERE n <> 2") == [(2,)]
    (place / "n=2").mkdir()
    assert ask("p") == [(2,)]
    write(place / "n=2" / "a.parquet", [2])
    assert ask("p", "sum(id), sum(n)") == [(4, 6)]
    # A value that is no number is an error, never left out; where the metastore finds the partition itself, it is not looked at.
    add("p", ["x7"], place / "n=2")
    assert ask("p") == ask("p", "sum(id)") == "22P02"
    assert ask("p WHERE n > 1") == "22P02"
    assert ask("p WHERE n = 1") == "22P02"


def test_places_that_hold_other_things(lies):
    make, ask, _ = lies
    (make("text_for_parquet") / "a.parquet").write_text("id,s\n1,x\n")
    assert ask("text_for_parquet", "id") == "XX001"
    write(make("parquet_for_text", TEXT) / "000000_0", [1, 2])
    # Hive takes them for lines of rubbish, rows of NULL.
    assert ask("parquet_for_text", "id") == "22P04"
    place = make("a_file")
    place.rmdir()
    write(place, [5])
    assert ask("a_file", "id") == "58P01"
    empty = make("empty")
    (empty / "_SUCCESS").write_text("")
    (empty / "a.parquet").write_bytes(b"")
    assert ask("empty") == [(0,)]
