"""Hive tables that Spark made with Hive's own SerDes: value by value what Spark reads from them."""

import base64
import datetime
import decimal
import json
import os
import pathlib
import subprocess
import uuid

import psycopg
import pytest
from hive_metastore.ttypes import ColumnStatistics, ColumnStatisticsData, ColumnStatisticsDesc, ColumnStatisticsObj, LongColumnStatsData
from seeding.metastore import HIVE, PARQUET, TEXT, Metastore

pytestmark = pytest.mark.services
HERE = pathlib.Path(__file__).parent

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The name of the database, and what Spark reads from each table of it."""
    database = "spark_" + uuid.uuid4().hex[:8]
    output = tmp_path_factory.mktemp("spark") / "rows.json"
    command = [str(HERE.parent / "services/spark"), str(HERE / "hive_tables.py"), os.environ["MARU_TEST_HMS3"], os.environ["MARU_TEST_HDFS"],
               database, str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    yield database, json.loads(output.read_text())
    with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore:
        metastore.client.drop_database(database, True, True)


@pytest.fixture(scope="module")
def hive(server, made):
    """The catalog, by SQL, and the database in it."""
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG made_by_spark USING hive WITH (metastore = '{os.environ['MARU_TEST_HMS3']}')")
        yield connection, "made_by_spark." + made[0]
        connection.execute("DROP CATALOG made_by_spark")


def plain(value):
    """As `hive_tables.py` has it."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        items = [plain(item) for item in value]
        # The entries of a map.
        return sorted(items) if value and all(isinstance(item, tuple) for item in value) else items
    if isinstance(value, tuple):
        return [str(value[0]), plain(value[1])]
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (datetime.date, decimal.Decimal)):
        return str(value)
    return value


def rows(server, table, columns="*", condition="true"):
    with server.flight() as flight, flight.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {table} WHERE {condition}")
        return [plain(row) for row in cursor.fetch_arrow_table().to_pylist()]


def key(row):
    return json.dumps(row, sort_keys=True, ensure_ascii=False)


TABLES = ["parquet_plain", "parquet_nested", "parquet_of_spark", "orc_plain", "orc_nested", "orc_of_spark", "avro_plain", "avro_nested", "text_plain", "text_nested", "delimited_plain", "delimited_nested", "csv", "json_plain",
          "json_nested", "by_pattern", "packed_gz", "packed_bz2", "packed_deflate", "ragged", "parted"]
SOURCES = ["source_times", "source_elsewhere", "source_parted", "source_wide", "source_buckets_parquet", "source_buckets_orc"]
VIEWS = ["v_plain", "v_renamed", "v_star", "v_functions", "v_group", "v_unnamed", "v_top", "v_numbered", "v_on_view", "v_cte",
         "v_union", "v_parted", "v_texts", "v_nested"]


OLD_DATES = ["corrected_timestamp_micros_old", "corrected_timestamp_micros_new", "corrected_int96_old", "corrected_int96_new",
             "legacy_timestamp_micros_new", "parquet_hive_new", "orc_dates"]
LEGACY = ["legacy_timestamp_micros_old", "legacy_int96_old", "legacy_int96_new", "legacy_timestamp_micros_los_angeles", "legacy_int96_los_angeles",
          "legacy_timestamp_millis_seoul"]
OLD_DATES += LEGACY + ["legacy_nested", "legacy_ages"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("table", TABLES + SOURCES + VIEWS + OLD_DATES)
def test_values_are_those_that_spark_reads(server, hive, made, table):
    # Spark shows the name of the partition of NULL where the column is text.
    null = {"p": None}
    wanted = [row | null if row.get("p") == "__HIVE_DEFAULT_PARTITION__" else row for row in made[1][table]]
    # Names in a metastore are in lower case.
    wanted = sorted([{name.lower(): value for name, value in row.items()} for row in wanted], key=key)
    found = sorted(rows(server, f"{hive[1]}.{table}"), key=key)
    assert len(found) == len(wanted) > 0
    for mine, theirs in zip(found, wanted):
        assert mine == theirs


@pytest.mark.parametrize("condition", ["p = 'a b'", "p = 'x/y'", "p = '한글'", "p IS NULL", "n = 1", "p = 'it''s \"q\"'", "p > 'a' AND n <= 0",
                                       "p = 'elsewhere' AND n = 7", "p = '100%' OR n = 7", "n IN (0, 7)", "p <> 'plain'", "p LIKE 'k%'"])
def test_partitions_are_found_by_their_values(server, hive, made, condition):
    connection, base = hive
    found = rows(server, f"{base}.parted", condition=condition)
    connection.execute("SET maru.pushdown = off")
    wanted = connection.execute(f"SELECT id, s, p, n FROM {base}.parted WHERE {condition}").fetchall()
    connection.execute("RESET maru.pushdown")
    assert sorted(map(key, found)) == sorted(key(dict(zip(["id", "s", "p", "n"], row))) for row in wanted) != []


@pytest.mark.parametrize("table,text", [("sequence_file", "SequenceFile"), ("rc_file", "RCFile"), ("acid", "transactional"),
                                        ("source_orc", "TIMESTAMP_NTZ in ORC"), ("source_csv", 'source "csv"'), ("source_json", 'source "json"'),
                                        ("source_text", 'source "text"'), ("source_default", 'column "d" has a default'),
                                        ("v_text_and_number", "> with a text and an integer"), ("v_explode", "LATERAL VIEW"),
                                        ("v_round", "function round"), ("v_cut", "the cast of a double to an integer"),
                                        ("v_of_refused", 'view "v_round" cannot be read: function round'),
                                        ("v_of_two_types", "UNION with an integer and a text")])
def test_what_cannot_be_read_is_refused_by_name(hive, table, text):
    connection, base = hive
    with pytest.raises(psycopg.errors.FeatureNotSupported) as caught:
        connection.execute(f"SELECT * FROM {base}.{table}")
    diagnosis = caught.value.diag
    assert text in f"{diagnosis.message_primary} {diagnosis.message_detail}"


def test_tables_of_sparks_sources_say_what_they_are(hive):
    """A stand-in is no table: its columns are those that Spark has; it is only read, and those that are not do not hide the rest."""
    connection, base = hive
    columns = connection.execute(f"DESCRIBE {base}.source_parted").fetchall()
    assert [row[:2] for row in columns] == [("id", "integer"), ("n", "timestamp"), ("p", "text"), ("d", "date")]
    assert connection.execute(f"SELECT id FROM {base}.source_parted WHERE p = 'x y'").fetchall() == [(1,)]
    with pytest.raises(psycopg.errors.FeatureNotSupported) as caught:
        connection.execute(f"INSERT INTO {base}.source_times (id) VALUES (3)")
    assert "Spark alone describes" in str(caught.value)
    with pytest.raises(psycopg.errors.FeatureNotSupported) as caught:
        connection.execute(f"SELECT * FROM {base}.source_csv")
    assert "/source_csv/*.csv'" in caught.value.diag.message_hint
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(f"SELECT * FROM {base}.source_interval")
    assert caught.value.sqlstate == "HV004"
    catalog, schema = base.split(".")
    listed = connection.execute(f"SELECT DISTINCT table_name FROM {catalog}.information_schema.columns WHERE table_schema = '{schema}'").fetchall()
    listed = {row[0] for row in listed}
    assert {"source_times", "source_parted", "text_plain"} <= listed and not {"source_csv", "source_interval", "sequence_file"} & listed
    named = connection.execute(f"SELECT table_name FROM {catalog}.information_schema.tables WHERE table_schema = '{schema}'").fetchall()
    assert {"source_csv", "source_interval", "sequence_file"} <= {row[0] for row in named}


def test_a_view_is_like_a_table(server, hive):
    """It is listed with its columns, filters reach the partitions of its table, and its refusal shows its text."""
    connection, base = hive
    columns = connection.execute(f"DESCRIBE {base}.v_renamed").fetchall()
    assert [row[:2] for row in columns] == [("a", "integer"), ("b", "text")]
    assert (base.split(".")[1], "v_parted", "view") in [row[:3] for row in connection.execute(f"SHOW TABLES FROM {base}").fetchall()]
    plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN SELECT * FROM {base}.v_parted WHERE id > 3").fetchall())
    assert "1 file" in plan, plan
    with pytest.raises(psycopg.errors.FeatureNotSupported) as caught:
        connection.execute(f"SELECT * FROM {base}.v_round")
    diagnosis = caught.value.diag
    assert "SELECT round(d, 2) AS r FROM avro_plain" in diagnosis.message_detail and "CREATE VIEW" in diagnosis.message_hint


PRESTO_VIEW = base64.b64encode(json.dumps({"originalSql": "SELECT 1 AS one", "catalog": "hive"}).encode()).decode()
HIVE_VIEWS = {
    "h_plain": ([("id", "int"), ("x", "string")], "SELECT `t`.`id`, `t`.`s` AS `X` FROM `{0}`.`text_plain` `T` WHERE `t`.`s` = 'plain'"),
    "h_cast": ([("n", "smallint"), ("d", "double")], "SELECT `text_plain`.`id`, 7 FROM `{0}`.`text_plain` WHERE `text_plain`.`id` = 3"),
    "h_upwards": ([("id", "int"), ("x", "string")], "SELECT `h_plain`.`id`, `h_plain`.`x` FROM `{0}`.`h_plain`"),
    "h_presto": ([("one", "int")], f"/* Presto View: {PRESTO_VIEW} */"),
    "h_round_a": ([("id", "int")], "SELECT `h_round_b`.`id` FROM `{0}`.`h_round_b`"),
    "h_round_b": ([("id", "int")], "SELECT `h_round_a`.`id` FROM `{0}`.`h_round_a`"),
    "h_width": ([("id", "int"), ("more", "int")], "SELECT `text_plain`.`id` FROM `{0}`.`text_plain`"),
    "h_declared": ([("id", "boolean")], "SELECT `text_plain`.`day` FROM `{0}`.`text_plain`"),
    "h_gone": ([("id", "int")], "SELECT `gone`.`id` FROM `{0}`.`gone`"),
    "h_top": ([("id", "int")], "SELECT `text_plain`.`id` FROM `{0}`.`text_plain` ORDER BY `text_plain`.`id` LIMIT 1"),
    "h_broken": ([("id", "int")], "SELECT `id` FROM"),
}


def test_views_of_hive(hive, made):
    connection, base = hive
    with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore:
        for name, (columns, text) in HIVE_VIEWS.items():
            metastore.create_view(made[0], name, columns, text.replace("{0}", made[0]))
        stored = metastore.client.get_table(made[0], "as_parquet")
        stored.tableName, stored.tableType = "stored_view", "MATERIALIZED_VIEW"
        stored.viewOriginalText = stored.viewExpandedText = "SELECT 1"
        metastore.client.create_table(stored)

    def ask(name, columns="*"):
        return connection.execute(f"SELECT {columns} FROM {base}.{name}").fetchall()

    assert ask("h_plain") == ask("h_upwards") == [(0, "plain")]
    assert ask("h_plain", "x, id") == [("plain", 0)]
    assert ask("h_cast") == [(3, 7.0)]
    described = connection.execute(f"SELECT * FROM {base}.h_cast").description
    assert [(column.name, column.type_code) for column in described] == [("n", 21), ("d", 701)]
    # A materialized view is the table that it was made into.
    assert ask("stored_view", "count(*)") == ask("as_parquet", "count(*)") == [(16,)]
    for name, state, said in [("h_presto", "0A000", "is a view of Presto or Trino"), ("h_round_a", "54000", "nested too deeply"),
                              ("h_width", "0A000", "1 columns which are not the 2"), ("h_declared", "0A000", "column \"id\": the cast of a date"),
                              ("h_gone", "42P01", "gone"), ("h_top", "0A000", "NULLS FIRST"), ("h_broken", "0A000", "not understood")]:
        with pytest.raises(psycopg.Error) as caught:
            ask(name)
        assert (caught.value.sqlstate, said in str(caught.value)) == (state, True), (name, caught.value)
        assert name in str(caught.value) or state == "54000" and "h_round" in str(caught.value), caught.value
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="SELECT 1 AS one"):
        ask("h_presto")


@pytest.mark.parametrize("table", LEGACY + ["legacy_ages"])
def test_filters_see_the_dates_that_were_shown(server, hive, made, table):
    """The bounds in the files are those of another count."""
    connection, base = hive
    of_spark = made[1][table]
    days = {row["day"] for row in of_spark if row["day"]}
    times = {row["at"] for row in of_spark if row["at"]}
    compared = 0
    # A plain literal of a time has no room for those of old.
    for column, values, literal in [("day", days, "'{}'"), ("at", times, "cast('{}' AS timestamp(6))")]:
        shown = sorted(values)
        for value in dict.fromkeys([shown[0], shown[1], *shown[::max(1, len(shown) // 9)], shown[-1]]):
            for operator, holds in [("=", lambda a, b: a == b), ("<", lambda a, b: a < b), (">=", lambda a, b: a >= b)]:
                wanted = sum(row[column] is not None and holds(row[column], value) for row in of_spark)
                found = connection.execute(f"SELECT count(*) FROM {base}.{table} WHERE {column} {operator} {literal.format(value)}").fetchone()[0]
                assert (found, compared := compared + 1) == (wanted, compared), (column, operator, value)
        found = connection.execute(f"SELECT min({column})::text, max({column})::text, count({column}) FROM {base}.{table}").fetchone()
        wanted = (shown[0], shown[-1], sum(row[column] is not None for row in of_spark))
        assert (found[0][:10], found[1][:10], found[2]) == (wanted[0][:10], wanted[1][:10], wanted[2])
        found = [row[0][:10] for row in connection.execute(f"SELECT {column}::text FROM {base}.{table} WHERE {column} IS NOT NULL ORDER BY {column} LIMIT 3").fetchall()]
        assert found == [value[:10] for value in sorted(row[column] for row in of_spark if row[column])[:3]]
    assert compared >= 15


@pytest.mark.parametrize("table,column", [("parquet_hive_old", "day"), ("parquet_hive_times_old", "at")])
def test_dates_of_which_nobody_knows_the_calendar_are_refused(hive, made, table, column):
    """Spark refuses them, too, unless a setting says how to read them; Maru does not guess. What has no such dates is read."""
    connection, base = hive
    for columns, condition in [("*", "true"), (f"min({column})", "true"), ("id", f"{column} = '1970-01-01'"), ("count(*)", f"{column} > '1970-01-01'")]:
        with pytest.raises(psycopg.errors.FeatureNotSupported) as caught:
            connection.execute(f"SELECT {columns} FROM {base}.{table} WHERE {condition}")
        said = str(caught.value)
        assert f"{table}/part-" in said and "calendar" in said and f'"{column}"' in said, said
    assert connection.execute(f"SELECT count(*), max(id) FROM {base}.{table}").fetchone() == (16, 15)


ORDER = "EXPLAIN SELECT count(*) FROM {0}.facts_{1} f JOIN {0}.few_values_{1} a ON f.k1 = a.k JOIN {0}.many_values_{1} b ON f.k2 = b.k"


def joined_last(connection, base, state):
    """The table that the outermost join of two takes."""
    plan = [row[0] for row in connection.execute(ORDER.format(base, state)).fetchall()]
    tables = {"few_values": None, "many_values": None}
    for line in plan:
        for name in tables:
            if f"/{name}_" in line and tables[name] is None:
                tables[name] = len(line) - len(line.lstrip(" │├└─"))
    assert None not in tables.values() and len(set(tables.values())) == 2, "\n".join(plan)
    return min(tables, key=tables.get)


def test_figures_of_spark_put_joins_in_order(hive, made):
    connection, base = hive
    assert joined_last(connection, base, "uncounted") == "many_values"
    assert joined_last(connection, base, "counted") == "few_values"
    count = ORDER.removeprefix("EXPLAIN ")
    assert connection.execute(count.format(base, "counted")).fetchone() == connection.execute(count.format(base, "uncounted")).fetchone() == (200_000,)


def test_figures_of_hive_put_joins_in_order(server, hive, made):
    """As `ANALYZE TABLE … FOR COLUMNS` of Hive leaves them; here of tables over the same files."""
    connection, base = hive
    values = {"facts": [("k1", 10), ("k2", 10_000)], "few_values": [("k", 10)], "many_values": [("k", 2000)]}
    with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore:
        for name, columns in values.items():
            table = metastore.client.get_table(made[0], name + "_uncounted")
            table.tableName, table.tableType = name + "_analyzed", "EXTERNAL_TABLE"
            table.parameters = {"EXTERNAL": "TRUE"}
            metastore.client.create_table(table)
            figures = [ColumnStatisticsObj(colName=column, colType="int", statsData=ColumnStatisticsData(
                longStats=LongColumnStatsData(lowValue=0, highValue=9999, numNulls=0, numDVs=count))) for column, count in columns]
            assert metastore.client.update_table_column_statistics(ColumnStatistics(
                statsDesc=ColumnStatisticsDesc(isTblLevel=True, dbName=made[0], tableName=name + "_analyzed"), statsObj=figures))
    assert joined_last(connection, base, "analyzed") == "few_values"


def test_lines_at_both_ends_are_left_out(server, hive):
    found = rows(server, f"{hive[1]}.trimmed")
    assert sorted((row["a"], row["b"]) for row in found) == [(1, "one"), (2, "two"), (3, "three")]


def test_columns_that_came_later_are_null_in_older_partitions(server, hive, made):
    """As in Hive, which reads each partition by the columns it was made with; Spark reads 3 from the file."""
    found = rows(server, f"{hive[1]}.grown")
    assert sorted((row["p"], row["id"], row["s"], row["n"]) for row in found) == [(1, 1, "a", None), (1, 2, "b", None), (2, 4, "d", 5)]
    assert sorted(row["n"] or 0 for row in made[1]["grown"]) == [0, 3, 5]


AVRO = (HIVE + "ql.io.avro.AvroContainerInputFormat", HIVE + "ql.io.avro.AvroContainerOutputFormat", HIVE + "serde2.avro.AvroSerDe")


def test_partitions_in_other_formats_and_stores(server, hive, made, tmp_path):
    connection, base = hive
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "x.csv").write_text("7;local\n\\N;가\n")
    columns = [("id", "int"), ("s", "string")]
    with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore:
        def add(value, location, formats, parameters=None):
            metastore.add_partition(made[0], "mixed", [value], location, columns, formats, parameters)
        add("parquet", metastore.client.get_table(made[0], "as_parquet").sd.location, PARQUET)
        add("avro", metastore.client.get_table(made[0], "as_avro").sd.location, AVRO)
        add("local", f"file://{tmp_path}/place", TEXT, {"field.delim": ";"})
    wanted = [{**row, "p": name} for name in ["parquet", "avro"] for row in made[1]["as_" + name]]
    wanted += made[1]["mixed"] + [{"id": 7, "s": "local", "p": "local"}, {"id": None, "s": "가", "p": "local"}]
    assert sorted(map(key, rows(server, f"{base}.mixed"))) == sorted(map(key, wanted))
    found = rows(server, f"{base}.mixed", condition="p IN ('avro', 'local') AND id = 7")
    assert sorted((row["p"], row["id"]) for row in found) == [("avro", 7), ("local", 7)]
    count = "SELECT p, count(*), count(s) FROM {} GROUP BY p ORDER BY p"
    assert connection.execute(count.format(f"{base}.mixed")).fetchall() == [("avro", 16, 15), ("local", 2, 2), ("parquet", 16, 15), ("text", 14, 14)]
    assert connection.execute(f"SELECT count(*) FROM {base}.mixed WHERE p = 'none'").fetchone() == (0,)


def test_another_metastore_stands_in_for_one_that_is_gone(server, made):
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG fails_over USING hive WITH (metastore = 'thrift://127.0.0.1:1,{os.environ['MARU_TEST_HMS3']}')")
        try:
            assert connection.execute(f"SELECT count(*) FROM fails_over.{made[0]}.bucketed").fetchone() == (0,)
        finally:
            connection.execute("DROP CATALOG fails_over")

