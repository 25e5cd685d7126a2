"""Tables of a metastore that are not plain files: each is refused by name, with what to do; those that only look so are read.
Likewise each property of text that would change what bytes mean is followed or refused, as docs/connectors/hive.md lists them.

Transactional tables need classes of Hive that no test metastore has: `table/tests.rs` and `test_hive_spark.py` have them."""

import datetime
import decimal
import os
import time
import uuid

import psycopg
import pyarrow
import pyarrow.orc
import pyarrow.parquet
import pytest
from seeding.metastore import HIVE, ORC, PARQUET, TEXT, Metastore

pytestmark = pytest.mark.services

HUDI = ("org.apache.hudi.hadoop.HoodieParquetInputFormat", PARQUET[1], PARQUET[2])
REALTIME = ("org.apache.hudi.hadoop.realtime.HoodieParquetRealtimeInputFormat", PARQUET[1], PARQUET[2])
ICEBERG = ("org.apache.iceberg.mr.hive.HiveIcebergInputFormat", "org.apache.iceberg.mr.hive.HiveIcebergOutputFormat",
           "org.apache.iceberg.mr.hive.HiveIcebergSerDe")
SYMLINKS = (HIVE + "ql.io.SymlinkTextInputFormat", TEXT[1], TEXT[2])

# Name, formats, parameters, what is said, and a part of the hint.
REFUSED = [
    ("hbase", TEXT, {"storage_handler": HIVE + "hbase.HBaseStorageHandler", "hbase.table.name": "t"}, "a table of HBase", "STORED AS PARQUET"),
    ("jdbc", TEXT, {"storage_handler": "org.apache.hive.storage.jdbc.JdbcStorageHandler", "hive.sql.dbcp.password": "hunter2"},
     "a table of another database", "USING postgres"),
    ("kudu", TEXT, {"storage_handler": "org.apache.hadoop.hive.kudu.KuduStorageHandler"}, "a table of Kudu", "STORED AS PARQUET"),
    ("kafka", TEXT, {"storage_handler": HIVE + "kafka.KafkaStorageHandler"}, "a topic of Kafka", "STORED AS PARQUET"),
    ("unheard_of", TEXT, {"storage_handler": "com.example.Keeper"}, "kept by com.example.Keeper, not in files", "STORED AS PARQUET"),
    ("iceberg_by_type", PARQUET, {"table_type": "ICEBERG", "metadata_location": "hdfs://x/y.json"}, "an Iceberg table", "Spark"),
    ("iceberg_by_handler", ICEBERG, {"storage_handler": "org.apache.iceberg.mr.hive.HiveIcebergStorageHandler"}, "an Iceberg table", "Spark"),
    ("iceberg_by_format", ICEBERG, {}, "Iceberg", ""),
    ("hudi_by_provider", HUDI, {"spark.sql.sources.provider": "hudi"}, "a Hudi table", "Spark"),
    ("hudi_by_format", HUDI, {}, "Hudi", ""),
    ("hudi_merged_when_read", REALTIME, {}, "Hudi", ""),
    ("delta_by_provider", PARQUET, {"spark.sql.sources.provider": "DELTA"}, "a Delta Lake table", "SELECT … FROM 'file://"),
    ("delta_by_handler", TEXT, {"storage_handler": "io.delta.hive.DeltaStorageHandler"}, "a Delta Lake table", "SELECT … FROM 'file://"),
    ("paimon", TEXT, {"storage_handler": "org.apache.paimon.hive.PaimonStorageHandler"}, "a Paimon table", "Spark"),
    ("symlinks", SYMLINKS, {}, "symlinks", ""),
]


@pytest.fixture(scope="module", params=["MARU_TEST_HMS3", "MARU_TEST_HMS4"], ids=["metastore-3.1", "metastore-4.0"])
def tables(request, server, tmp_path_factory):
    database = "refused_" + uuid.uuid4().hex[:8]
    place = tmp_path_factory.mktemp(database)
    place.chmod(0o777)
    with Metastore(os.environ[request.param]) as metastore, server.connect(prepare_threshold=None) as connection:
        metastore.create_database(database, f"file://{place}/db", "", {})
        for name, formats, parameters, *_ in REFUSED:
            metastore.create_table(database, name, f"file://{place}/{name}", [("id", "bigint")], formats)
            table = metastore.table(database, name)
            table.parameters.update(parameters)
            metastore.client.alter_table(database, name, table)
        connection.execute(f"CREATE CATALOG {database} USING hive WITH (metastore = '{os.environ[request.param]}')")
        yield metastore, connection, database, place
        connection.execute(f"DROP CATALOG {database}")
        metastore.drop_database(database)


@pytest.mark.parametrize("name,said,hint", [(name, said, hint) for name, _, _, said, hint in REFUSED])
def test_what_is_not_plain_files_is_refused_by_name(tables, name, said, hint):
    _, connection, database, _ = tables
    assert name in [row[1] for row in connection.execute(f"SHOW TABLES FROM {database}.{database}").fetchall()]
    for sql in ["SELECT * FROM {}", "SELECT count(*) FROM {}", "DESCRIBE {}"]:
        with pytest.raises(psycopg.errors.FeatureNotSupported) as caught:
            connection.execute(sql.format(f"{database}.{database}.{name}"))
        diagnosis = caught.value.diag
        assert said in diagnosis.message_primary and hint in (diagnosis.message_hint or ""), str(caught.value)
        assert name in str(caught.value) and "hunter2" not in str(caught.value)


def test_an_odd_table_hides_no_other(tables):
    metastore, connection, database, place = tables
    metastore.create_table(database, "plain_one", f"file://{place}/plain_one", [("id", "bigint")], PARQUET)
    metastore.create_table(database, "odd_union", f"file://{place}/odd_union", [("u", "uniontype<int,string>")], PARQUET)
    metastore.create_table(database, "odd_key", f"file://{place}/odd_key", [("id", "int")], PARQUET, partition_keys=[("p", "binary")])
    stand_in = ("org.apache.hadoop.mapred.SequenceFileInputFormat", TEXT[1], TEXT[2])
    metastore.create_table(database, "odd_source", f"file://{place}/odd_source", [("col", "array<string>")], stand_in,
                           parameters={"spark.sql.sources.provider": "parquet", "spark.sql.sources.schema": "{"})
    metastore.create_view(database, "odd_view", [("id", "int")], "SELECT `id` FROM")
    names = {"plain_one", "odd_union", "odd_key", "odd_source", "odd_view"} | {name for name, *_ in REFUSED}
    # New names are noticed after a while.
    for _ in range(60):
        if "odd_view" in {row[1] for row in connection.execute(f"SHOW TABLES FROM {database}.{database}").fetchall()}:
            break
        time.sleep(0.2)
    listed = connection.execute(f"SELECT table_name FROM {database}.information_schema.tables WHERE table_schema = '{database}'").fetchall()
    assert names <= {row[0] for row in listed}
    columns = connection.execute(f"SELECT table_name, column_name FROM {database}.information_schema.columns WHERE table_schema = '{database}'").fetchall()
    assert ("plain_one", "id") in columns and not {"odd_union", "odd_key", "odd_source"} & {row[0] for row in columns}
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="columns that Spark keeps of it are not understood"):
        connection.execute(f"SELECT * FROM {database}.{database}.odd_source")


@pytest.mark.parametrize("version", ["1", "2"])
def test_buckets_are_plain_files(tables, version):
    metastore, connection, database, place = tables
    name = "buckets_" + version
    metastore.create_table(database, name, f"file://{place}/{name}", [("id", "bigint"), ("s", "string")], PARQUET, parameters={"bucketing_version": version})
    table = metastore.table(database, name)
    table.sd.numBuckets, table.sd.bucketCols = 2, ["id"]
    metastore.client.alter_table(database, name, table)
    (place / name).mkdir(exist_ok=True)
    # Which rows are in which bucket differs by the version; here they are in no order at all.
    pyarrow.parquet.write_table(pyarrow.table({"id": [3, 1], "s": ["c", "a"]}), place / name / "000000_0")
    pyarrow.parquet.write_table(pyarrow.table({"id": [2, 4], "s": ["b", "d"]}), place / name / "000001_0")
    found = connection.execute(f"SELECT id, s FROM {database}.{database}.{name} ORDER BY id").fetchall()
    assert found == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    for value in range(1, 5):
        assert connection.execute(f"SELECT count(*) FROM {database}.{database}.{name} WHERE id = {value}").fetchone() == (1,)


@pytest.mark.parametrize("declared,values,outcome", [
    ("string", pyarrow.array([datetime.datetime(2020, 1, 1, 5)], "timestamp[us]"), "2020-01-01 05:00:00"),
    ("string", pyarrow.array([7], "int32"), "7"), ("bigint", pyarrow.array([7], "int32"), 7), ("int", pyarrow.array([7], "int64"), 7),
    ("int", pyarrow.array([1 << 40], "int64"), "22003"), ("int", pyarrow.array([1.5]), "42804"), ("bigint", pyarrow.array([1], "timestamp[us]"), "42804"),
    ("decimal(5,1)", pyarrow.array([decimal.Decimal("1.25")], pyarrow.decimal128(5, 2)), "22P02"), ("date", pyarrow.array([1], "timestamp[us]"), "42804"),
])
@pytest.mark.parametrize("kind", ["parquet", "orc"])
def test_files_of_other_types_lose_nothing(tables, kind, declared, values, outcome):
    metastore, connection, database, place = tables
    name = "types_" + uuid.uuid4().hex[:8]
    metastore.create_table(database, name, f"file://{place}/{name}", [("v", declared)], PARQUET if kind == "parquet" else ORC)
    (place / name).mkdir(exist_ok=True)
    table = pyarrow.table({"v": values})
    (pyarrow.parquet if kind == "parquet" else pyarrow.orc).write_table(table, place / name / "000000_0")
    sql = f"SELECT v FROM {database}.{database}.{name}"
    if not isinstance(outcome, str) or len(outcome) != 5:
        assert connection.execute(sql).fetchall() == [(outcome,)]
        return
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(sql).fetchall()
    told = caught.value.diag
    assert told.sqlstate == outcome and "000000_0" in told.message_detail and "v" in told.message_primary + told.message_detail, str(caught.value)


# Queries of views over columns of a declared length, and what they give; None: refused, with the column and its type.
LENGTHS = [
    ("SELECT id, c, v FROM {0}", [(1, "a", "abcd"), (2, "a", None), (3, None, "abc")]),
    ("SELECT v AS x, t.* FROM {0} t WHERE id = 3", [("abc", 3, None, "abc", "p1")]),
    ("SELECT id FROM {0} WHERE c IS NULL AND v IS NOT NULL", [(3,)]),
    ("SELECT count(c), count(v), count(*) FROM {0}", [(2, 2, 3)]),
    ("SELECT a.id, b.c FROM {0} a JOIN {0} b ON a.id = b.id WHERE a.id < 2", [(1, "a")]),
    ("SELECT c FROM {0} WHERE id = 1 UNION ALL SELECT v FROM {0} WHERE id = 3", [("a",), ("abc",)]),
    ("SELECT id, c FROM {0} WHERE id IN (SELECT id FROM {0} WHERE v IS NULL) ORDER BY c", [(2, "a")]),
    ("SELECT id FROM {0} WHERE c = 'a'", None), ("SELECT id FROM {0} WHERE v = 'abc'", None), ("SELECT id FROM {0} WHERE p = 'p1'", None),
    ("SELECT id FROM {0} WHERE c IN ('a')", None), ("SELECT id FROM {0} WHERE c LIKE 'a%'", None), ("SELECT length(c) AS n FROM {0}", None),
    ("SELECT concat(c, '|') AS n FROM {0}", None), ("SELECT c, count(*) AS n FROM {0} GROUP BY c", None), ("SELECT DISTINCT c FROM {0}", None),
    ("SELECT count(DISTINCT c) AS n FROM {0}", None), ("SELECT max(v) AS n FROM {0}", None), ("SELECT id, c FROM {0} ORDER BY c NULLS FIRST LIMIT 1", None),
    ("SELECT a.id FROM {0} a JOIN {0} b ON a.c = b.c", None), ("SELECT a.id FROM {0} a JOIN {0} b ON a.id = b.id AND a.v < b.v", None),
    ("SELECT id FROM {0} WHERE id IN (SELECT length(c) FROM {0})", None), ("SELECT id FROM {0} WHERE 'a' IN (SELECT c FROM {0})", None),
    ("SELECT id FROM {0} a WHERE EXISTS (SELECT 1 FROM {0} b WHERE b.id = a.id AND a.c = 'a')", None),
    ("SELECT row_number() OVER (ORDER BY c NULLS FIRST) AS n FROM {0}", None), ("SELECT CASE WHEN id = 1 THEN c ELSE 'x' END AS n FROM {0}", None),
    ("SELECT x FROM (SELECT id, v AS x FROM {0}) s WHERE x > 'a'", None), ("WITH s AS (SELECT c AS x FROM {0}) SELECT x FROM s WHERE x = 'a'", None),
    ("SELECT id FROM {0}_shown WHERE y = 'a'", None),
]


@pytest.mark.parametrize("formats", [PARQUET, ORC], ids=["parquet", "orc"])
def test_views_only_show_texts_of_a_declared_length(tables, formats):
    metastore, connection, database, place = tables
    name = "lengths_" + uuid.uuid4().hex[:8]
    columns = [("id", "int"), ("c", "char(4)"), ("v", "varchar(3)")]
    metastore.create_table(database, name, f"file://{place}/{name}", columns, formats, partition_keys=[("p", "char(4)")])
    (place / name / "p=p1").mkdir(parents=True)
    metastore.add_partition(database, name, ["p1"], f"file://{place}/{name}/p=p1", columns, formats)
    rows = pyarrow.table({"id": pyarrow.array([1, 2, 3], "int32"), "c": ["a", "a   ", None], "v": ["abcd", None, "abc"]})
    (pyarrow.parquet if formats is PARQUET else pyarrow.orc).write_table(rows, place / name / "p=p1" / "000000_0")
    metastore.create_view(database, name + "_shown", [("id", "int"), ("y", "char(4)")], f"SELECT id, c AS y FROM {name}")
    for number, (text, wanted) in enumerate(LENGTHS):
        view = f"{name}_{number}"
        width = len(wanted[0]) if wanted else text[:text.index(" FROM ")].count(",") + 1
        types = ["int" if wanted and isinstance(wanted[0][at], int) else "string" for at in range(width)]
        metastore.create_view(database, view, [(f"c{at}", of) for at, of in enumerate(types)], text.format(name))
        sql = f"SELECT * FROM {database}.{database}.{view}"
        if wanted is not None:
            assert sorted(connection.execute(sql).fetchall(), key=repr) == sorted(wanted, key=repr), text
            continue
        with pytest.raises(psycopg.errors.FeatureNotSupported) as caught:
            connection.execute(sql)
        told = caught.value.diag
        assert "char(" in told.message_primary and "used for more than to be shown" in told.message_primary, (text, str(caught.value))
        assert "spaces at its end" in told.message_detail and "CREATE VIEW" in told.message_hint, (text, str(caught.value))


@pytest.mark.parametrize("formats", [PARQUET, ORC, TEXT], ids=["parquet", "orc", "text"])
def test_blanks_at_the_end_of_a_char_do_not_count(tables, formats):
    """Hive and Spark fill a CHAR up, as they write it or as they read it, and pass over the blanks when they compare."""
    metastore, connection, database, place = tables
    name = "padded_" + uuid.uuid4().hex[:8]
    columns = [("id", "int"), ("c", "char(4)"), ("v", "varchar(4)")]
    metastore.create_table(database, name, f"file://{place}/{name}", columns, formats, partition_keys=[("p", "char(4)")])
    for number, key in enumerate(["k   ", "j"]):
        folder = place / name / f"p={key}"
        folder.mkdir(parents=True)
        metastore.add_partition(database, name, [key], f"file://{place}/{name}/p={key}", columns, formats)
        rows = [(10 * number + 1, "a", "x"), (10 * number + 2, "a   ", "x  "), (10 * number + 3, "b", None)]
        if formats is TEXT:
            lines = [f"{i}\x01{c}\x01{chr(92) + 'N' if v is None else v}\n" for i, c, v in rows]
            (folder / "000000_0").write_text("".join(lines))
        else:
            table = pyarrow.table({"id": pyarrow.array([i for i, _, _ in rows], "int32"), "c": [c for _, c, _ in rows], "v": [v for _, _, v in rows]})
            (pyarrow.parquet if formats is PARQUET else pyarrow.orc).write_table(table, folder / "000000_0")
    table = f"{database}.{database}.{name}"
    for pushdown in ["on", "off"]:
        connection.execute(f"SET pushdown = {pushdown}")
        answers = {
            "SELECT id FROM {} WHERE c = 'a' ORDER BY id": [(1,), (2,), (11,), (12,)],
            "SELECT id FROM {} WHERE c > 'a' ORDER BY id": [(3,), (13,)],
            "SELECT id FROM {} WHERE p = 'k' AND c = 'b' ORDER BY id": [(3,)],
            "SELECT id FROM {} WHERE p IN ('j', 'k') AND c = 'b' ORDER BY id": [(3,), (13,)],
            "SELECT c, count(*) FROM {} GROUP BY c ORDER BY c": [("a", 4), ("b", 2)],
            "SELECT p, min(c), max(c) FROM {} GROUP BY p ORDER BY p": [("j", "a", "b"), ("k", "a", "b")],
            # A VARCHAR is what it is.
            "SELECT id FROM {} WHERE v = 'x' ORDER BY id": [(1,), (11,)],
        }
        for sql, wanted in answers.items():
            assert connection.execute(sql.format(table)).fetchall() == wanted, (pushdown, sql)
    connection.execute("RESET pushdown")


DELIMITED, CSV = TEXT, (TEXT[0], TEXT[1], HIVE + "serde2.OpenCSVSerde")
# Layout, properties of the SerDe, those of the table, the file, and its rows; no rows: refused, with the name of the property.
PROPERTIES = [
    (DELIMITED, {}, {}, b"1\x01a\n2\x01\\N\n", [(1, "a"), (2, None)]),
    (DELIMITED, {"serialization.format": "9"}, {}, b"1\ta\n", [(1, "a")]),
    (DELIMITED, {"field.delim": "|", "serialization.format": "9"}, {}, b"1|a\tb\n", [(1, "a\tb")]),
    # A number is a byte; of any other text the first character counts, as in Hive.
    (DELIMITED, {"field.delim": "124"}, {}, b"1|a\n", [(1, "a")]),
    (DELIMITED, {"field.delim": ";;"}, {}, b"1;a;b\n", [(1, "a")]),
    (DELIMITED, {"field.delim": "é"}, {}, b"", None),
    (DELIMITED, {"field.delim": "-61"}, {}, b"", None),
    (DELIMITED, {"collection.delim": "-61"}, {}, b"", None),
    (DELIMITED, {"mapkey.delim": "è"}, {}, b"", None),
    (DELIMITED, {"field.delim": ",", "escape.delim": "#"}, {}, b"1,a#,b#nc\n", [(1, "a,b\nc")]),
    (DELIMITED, {"field.delim": ",", "escape.delim": ""}, {}, b"1,a\\,b\n", [(1, "a,b")]),
    (DELIMITED, {"escape.delim": "ü"}, {}, b"", None),
    (DELIMITED, {"field.delim": ",", "serialization.null.format": ""}, {}, b"1,\n,\\N\n", [(1, None), (None, "\\N")]),
    (DELIMITED, {"field.delim": ","}, {"serialization.null.format": "nil"}, b"1,nil\n", [(1, None)]),
    # The SerDe's own property counts before that of the table.
    (DELIMITED, {"field.delim": ",", "serialization.null.format": "none"}, {"serialization.null.format": "nil"}, b"1,nil\n2,none\n",
     [(1, "nil"), (2, None)]),
    (DELIMITED, {"field.delim": ","}, {"skip.header.line.count": "1", "skip.footer.line.count": " 1 "}, b"id,s\n1,a\nend\n", [(1, "a")]),
    (DELIMITED, {}, {"skip.header.line.count": "-1"}, b"", None),
    (DELIMITED, {}, {"skip.footer.line.count": "one"}, b"", None),
    (DELIMITED, {"field.delim": ",", "line.delim": "\n"}, {}, b"1,a\n", [(1, "a")]),
    (DELIMITED, {"line.delim": ";"}, {}, b"", None),
    (DELIMITED, {}, {"textinputformat.record.delimiter": "||"}, b"", None),
    (DELIMITED, {"field.delim": ",", "serialization.encoding": "utf8"}, {}, "1,한\n".encode(), [(1, "한")]),
    (DELIMITED, {"serialization.encoding": "EUC-KR"}, {}, b"", None),
    (DELIMITED, {"field.delim": ",", "serialization.last.column.takes.rest": "false"}, {}, b"1,a,b\n", [(1, "a")]),
    (DELIMITED, {"serialization.last.column.takes.rest": "true"}, {}, b"", None),
    (DELIMITED, {"hive.lazysimple.extended_boolean_literal": "true"}, {}, b"", None),
    (DELIMITED, {"timestamp.formats": "yyyy.MM.dd"}, {}, b"", None),
    (DELIMITED, {"hive.serialization.extend.additional.nesting.levels": "true"}, {}, b"", None),
    # These change nothing that is read.
    (DELIMITED, {"field.delim": ",", "hive.serialization.extend.nesting.levels": "true"}, {}, b"1,a\n", [(1, "a")]),
    (DELIMITED, {"field.delim": ",", "serialization.escape.crlf": "true"}, {}, b"1,a\\nb\n", [(1, "a\\nb")]),
    (DELIMITED, {"field.delim": ",", "quote.delim": "'", "separatorChar": "|", "quoteChar": '"'}, {}, b"1,'a'\n2,\"b|\"\n",
     [(1, "'a'"), (2, '"b|"')]),
    (CSV, {"separatorChar": "|", "quoteChar": "'", "escapeChar": "#"}, {}, b"1|'a|#'b'\n", [("1", "a|'b")]),
    (CSV, {"field.delim": "|"}, {}, b"1,a|b\n", [("1", "a|b")]),
    (CSV, {"separatorChar": "||"}, {}, b"", None),
    (CSV, {"quoteChar": "»"}, {}, b"", None),
]


@pytest.mark.parametrize("number", range(len(PROPERTIES)))
def test_properties_of_text_are_followed_or_refused(tables, number):
    metastore, connection, database, place = tables
    layout, of_serde, of_table, content, rows = PROPERTIES[number]
    name = f"text_{number}"
    columns = [("id", "bigint"), ("s", "string")]
    metastore.create_table(database, name, f"file://{place}/{name}", columns, layout, serde_parameters=of_serde, parameters=of_table)
    (place / name).mkdir(exist_ok=True)
    (place / name / "000000_0").write_bytes(content)
    sql = f"SELECT id, s FROM {database}.{database}.{name}"
    if rows is not None:
        assert connection.execute(sql).fetchall() == rows
        return
    with pytest.raises(psycopg.errors.FeatureNotSupported) as caught:
        connection.execute(sql)
    assert [*of_serde, *of_table][0] in str(caught.value), str(caught.value)
