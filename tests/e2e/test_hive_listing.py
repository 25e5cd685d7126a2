"""What others do to a metastore while Maru is attached: new, changed and dropped tables, views and partitions are noticed."""

import os
import time
import uuid

import psycopg
import pyarrow
import pyarrow.parquet
import pytest
from seeding.metastore import PARQUET, Metastore

pytestmark = pytest.mark.services
COLUMNS = [("id", "bigint"), ("s", "string")]
# As docs/connectors/hive.md has it.
TABLE_S, NAMES_S, PARTITIONS_S = 1, 3, 5


@pytest.fixture
def made(server, tmp_path):
    database = "seen_" + uuid.uuid4().hex[:8]
    tmp_path.chmod(0o777)
    with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore, server.connect(prepare_threshold=None) as connection:
        metastore.create_database(database, f"file://{tmp_path}/db", "", {})
        connection.execute(f"CREATE CATALOG {database} USING hive WITH (metastore = '{os.environ['MARU_TEST_HMS3']}')")
        yield metastore, connection, database, tmp_path
        connection.execute(f"DROP CATALOG {database}")
        metastore.drop_database(database)


def write(path, ids):
    path.parent.mkdir(exist_ok=True, parents=True)
    pyarrow.parquet.write_table(pyarrow.table({"id": pyarrow.array(ids, "int64"), "s": ["x"] * len(ids)}), path)


def shown(connection, database):
    return sorted(row[1] for row in connection.execute(f"SHOW TABLES FROM {database}.{database}").fetchall())


def test_tables_and_views_that_come_change_and_go(made):
    metastore, connection, database, place = made
    base = f"{database}.{database}"

    def table(name, columns=COLUMNS):
        write(place / name / "a.parquet", [1, 2, 3])
        metastore.create_table(database, name, f"file://{place}/{name}", columns, PARQUET)

    def ids(name):
        return sorted(row[0] for row in connection.execute(f"SELECT id FROM {base}.{name}").fetchall())

    assert shown(connection, database) == []
    with pytest.raises(psycopg.errors.UndefinedTable):
        ids("t")
    # What a statement names is found at once, and the list follows it.
    table("t")
    assert ids("t") == [1, 2, 3] and shown(connection, database) == ["t"]
    metastore.create_view(database, "v", [("id", "bigint")], f"SELECT `t`.`id` FROM `{database}`.`t` WHERE `t`.`id` > 1")
    assert ids("v") == [2, 3] and shown(connection, database) == ["t", "v"]
    # What none names is in the list soon.
    table("later")
    time.sleep(NAMES_S)
    assert shown(connection, database) == ["later", "t", "v"]

    altered = metastore.table(database, "t")
    altered.sd.cols = altered.sd.cols[:1]
    metastore.client.alter_table(database, "t", altered)
    view = metastore.table(database, "v")
    view.viewExpandedText = view.viewOriginalText = f"SELECT `t`.`id` FROM `{database}`.`t` WHERE `t`.`id` > 2"
    metastore.client.alter_table(database, "v", view)
    time.sleep(TABLE_S)
    assert [column.name for column in connection.execute(f"SELECT * FROM {base}.t").description] == ["id"]
    time.sleep(NAMES_S - TABLE_S)
    assert ids("v") == [3]

    for name in ["v", "t"]:
        metastore.client.drop_table(database, name, False)
    time.sleep(NAMES_S)
    for name in ["v", "t"]:
        with pytest.raises(psycopg.errors.UndefinedTable):
            ids(name)
    assert shown(connection, database) == ["later"]
    # Another one of the same name.
    metastore.create_table(database, "t", f"file://{place}/later", COLUMNS, PARQUET)
    assert ids("t") == [1, 2, 3]


def test_partitions_that_come_and_go(made):
    metastore, connection, database, place = made
    metastore.create_table(database, "p", f"file://{place}/p", COLUMNS, PARQUET, [("day", "string")])

    def add(day, folder):
        metastore.add_partition(database, "p", [day], f"file://{place}/p/{folder}", COLUMNS, PARQUET)

    def ids(condition="true"):
        return sorted(row[0] for row in connection.execute(f"SELECT id FROM {database}.{database}.p WHERE {condition}").fetchall())

    for at in range(3):
        write(place / f"p/{at}/a.parquet", [at])
    add("d0", "0")
    assert ids() == ids("day = 'd0'") == ids("day > 'd'") == [0]
    add("d1", "1")
    assert ids() == [0, 1] and ids("day = 'd1'") == ids("day > 'd0'") == [1]
    write(place / "p/1/b.parquet", [11])
    assert ids() == [0, 1, 11]
    metastore.client.drop_partition(database, "p", ["d0"], False)
    assert ids() == [1, 11] and ids("day = 'd0'") == []
    # As many as before, but others: where all values are named it is seen at once, else soon.
    metastore.client.drop_partition(database, "p", ["d1"], False)
    add("d2", "2")
    assert ids("day IN ('d1', 'd2')") == [2]
    time.sleep(PARTITIONS_S)
    assert ids() == ids("day > 'd0'") == [2]
    # In another place.
    moved = metastore.client.get_partition(database, "p", ["d2"])
    moved.sd.location = f"file://{place}/p/1"
    metastore.client.alter_partition(database, "p", moved)
    assert ids("day = 'd2'") == [1, 11]
