"""Makes Hive tables with Spark, in every format that Maru reads, and writes down what Spark reads from them.

hive_tables.py METASTORE HDFS DATABASE OUTPUT. Not a test: `test_hive_spark.py` runs it with `tests/services/spark`.
"""

import datetime
import decimal
import glob
import json
import os
import sys
import tempfile

from pyspark.sql import Row, SparkSession

DAY, TIME, D = datetime.date, datetime.datetime, decimal.Decimal
PLAIN = "id INT, s STRING, t TINYINT, n BIGINT, f FLOAT, d DOUBLE, amount DECIMAL(20,5), ok BOOLEAN, day DATE, at TIMESTAMP"
NESTED = "tags ARRAY<STRING>, m MAP<STRING,INT>, st STRUCT<a:INT,b:STRING,c:ARRAY<INT>>, deep ARRAY<MAP<STRING,ARRAY<INT>>>"
SERDE2 = "org.apache.hadoop.hive.serde2."

# Without what a line of text cannot hold: that is for the formats that can.
TEXTS = ["plain", "", None, "a,b", "a|b;c:d", "back\\slash", "\\N", "ends with \\", 'quote"s and \'', " blanks ", "한글 문자", "tab\there",
         "\x02\x03\x04", "null", "NULL", "😀 \u200b"]
DAYS = [DAY(2026, 11, 22), DAY(1, 1, 1), DAY(1582, 10, 4), DAY(1582, 10, 15), DAY(1969, 12, 31), DAY(9999, 12, 31), DAY(1500, 2, 28), None]
TIMES = [TIME(2026, 11, 22, 1, 2, 3, 456789), TIME(1970, 1, 1), TIME(1969, 12, 31, 23, 59, 59, 999999), TIME(1900, 1, 1, 12), None,
         TIME(9999, 12, 31, 23, 59, 59), TIME(2000, 2, 29, 0, 0, 0, 1000), TIME(1600, 3, 1, 4, 5, 6)]


def plain_rows():
    for i, text in enumerate(TEXTS):
        none = i == 2
        yield (i, text, None if none else [-128, 127, 0][i % 3], None if none else [-2**63, 2**63 - 1, 0, 42][i % 4],
               None if none else [1.5, -0.1, 3.4e38, float(i)][i % 4], None if none else [1e-300, -2.5, 1.7e308, 0.1][i % 4],
               None if none else [D("0"), D("-1.5"), D("999999999999999.99999"), D("0.00001")][i % 4],
               None if none else i % 2 == 0, DAYS[i % len(DAYS)], TIMES[i % len(TIMES)])


def nested_rows():
    for i, text in enumerate(TEXTS):
        if i == 2:
            yield (i, None, None, None, None)
        else:
            yield (i, [[text, "x", None], [], ["", "y"]][i % 3], [{"k": 1, "l": None}, {}, {f"key {i}": i}][i % 3],
                   Row(a=i, b=text, c=[[1, 2], [], None][i % 3]), [[{"p": [1, 2], "q": []}, {}], [], [{"r": None}]][i % 3])


def plain(value):
    """The same text for the same value, whoever read it: the test has this function, too."""
    if isinstance(value, Row):
        return {name: plain(item) for name, item in value.asDict().items()}
    if isinstance(value, dict):
        # Spark gives the entries of a map in no order.
        return sorted([str(key), plain(item)] for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (datetime.date, decimal.Decimal)):
        return str(value)
    return value


class Maker:
    def __init__(self, metastore, hdfs, database):
        jars = ",".join(glob.glob(os.environ["SPARK_JARS"] + "/*.jar"))
        settings = {
            "spark.hadoop.hive.metastore.uris": metastore, "spark.hadoop.fs.defaultFS": hdfs, "spark.jars": jars,
            "spark.sql.warehouse.dir": hdfs + "/user/hive/warehouse", "spark.ui.enabled": "false",
            "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1", "spark.sql.shuffle.partitions": "1",
            # Hive's own SerDes write and read, not Spark's.
            "spark.sql.hive.convertMetastoreParquet": "false", "spark.sql.hive.convertMetastoreOrc": "false",
            "spark.sql.session.timeZone": "UTC", "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
            "spark.sql.parquet.int96RebaseModeInWrite": "CORRECTED",
            "spark.hadoop.hive.exec.dynamic.partition.mode": "nonstrict", "spark.driver.memory": "700m",
            "spark.driver.extraJavaOptions": "-Duser.timezone=UTC -Dderby.system.home=" + tempfile.mkdtemp(),
        }
        builder = SparkSession.builder.master("local[2]")
        for name, value in settings.items():
            builder = builder.config(name, value)
        self.spark = builder.enableHiveSupport().getOrCreate()
        self.spark.sparkContext.setLogLevel("ERROR")
        self.database, self.hdfs, self.tables = database, hdfs, []
        self.spark.sql(f"CREATE DATABASE {database} LOCATION '{hdfs}/user/{database}'")
        self.spark.sql(f"USE {database}")
        self.spark.createDataFrame(list(plain_rows()), PLAIN).coalesce(1).createOrReplaceTempView("plain")
        self.spark.createDataFrame(list(nested_rows()), "id INT, " + NESTED).coalesce(1).createOrReplaceTempView("nested")

    def make(self, name, columns, layout, source=None):
        self.spark.sql(f"CREATE TABLE {name} ({columns}) {layout}")
        if source:
            self.spark.sql(f"INSERT INTO {name} {source}")
        self.tables.append(name)

    def file(self, table, name, content):
        """Puts a file into the folder of a table."""
        context = self.spark.sparkContext
        path = context._jvm.org.apache.hadoop.fs.Path(f"{self.hdfs}/user/{self.database}/{table}/{name}")
        stream = path.getFileSystem(context._jsc.hadoopConfiguration()).create(path)
        stream.write(bytearray(content.encode() if isinstance(content, str) else content))
        stream.close()

    def write_down(self, output):
        tables = {name: [plain(row) for row in self.spark.table(name).collect()] for name in self.tables}
        with open(output, "w") as file:
            json.dump(tables, file)


def formats(maker):
    everything = "SELECT * FROM plain"
    maker.make("avro_plain", PLAIN, "STORED AS AVRO", everything)
    maker.make("avro_nested", "id INT, " + NESTED, "STORED AS AVRO", "SELECT * FROM nested")
    maker.make("orc_plain", PLAIN, "STORED AS ORC", everything)
    maker.make("orc_nested", "id INT, " + NESTED, "STORED AS ORC", "SELECT * FROM nested")
    maker.make("orc_of_spark", PLAIN + ", " + NESTED, "USING orc", "SELECT plain.*, tags, m, st, deep FROM plain JOIN nested USING (id)")
    # By Hive's own writer, with its layouts of lists and maps; its old dates are a case of their own (`old_dates`).
    new = ("CASE WHEN day > '1600-01-01' THEN day END AS day, CASE WHEN at > '1700-01-01' THEN at END AS at")
    maker.make("parquet_plain", PLAIN, "STORED AS PARQUET", f"SELECT id, s, t, n, f, d, amount, ok, {new} FROM plain")
    maker.make("parquet_nested", "id INT, " + NESTED, "STORED AS PARQUET", "SELECT * FROM nested")
    maker.make("parquet_of_spark", PLAIN + ", raw BINARY, " + NESTED, "USING parquet",
               "SELECT plain.*, cast(s AS BINARY) AS raw, tags, m, st, deep FROM plain JOIN nested USING (id)")
    maker.make("text_plain", PLAIN + ", raw BINARY", "STORED AS TEXTFILE", "SELECT *, cast(s AS BINARY) FROM plain")
    maker.make("text_nested", "id INT, " + NESTED, "STORED AS TEXTFILE", "SELECT * FROM nested")
    delimited = (r"ROW FORMAT DELIMITED FIELDS TERMINATED BY '|' ESCAPED BY '\\' COLLECTION ITEMS TERMINATED BY ';' "
                 r"MAP KEYS TERMINATED BY ':' NULL DEFINED AS 'nil' STORED AS TEXTFILE")
    maker.make("delimited_plain", PLAIN, delimited, everything)
    maker.make("delimited_nested", "id INT, " + NESTED, delimited, "SELECT * FROM nested")
    maker.make("csv", "id STRING, s STRING, n STRING", f"ROW FORMAT SERDE '{SERDE2}OpenCSVSerde' STORED AS TEXTFILE",
               "SELECT id, s, n FROM plain WHERE instr(s, '\\\\') = 0")
    json_serde = "ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe' STORED AS TEXTFILE"
    maker.make("json_plain", PLAIN, json_serde, everything)
    maker.make("json_nested", "id INT, tags ARRAY<STRING>, m MAP<STRING,INT>, st STRUCT<a:INT,b:STRING,c:ARRAY<INT>>", json_serde,
               "SELECT id, tags, m, st FROM nested")
    maker.make("by_pattern", "host STRING, n INT, ok BOOLEAN, day DATE, d DOUBLE",
               rf"ROW FORMAT SERDE '{SERDE2}RegexSerDe' WITH SERDEPROPERTIES ('input.regex' = '(\\S+) (\\d*\\.?\\d*) (\\w+)(?: ([0-9-]+))? \"([^\"]*)\"') STORED AS TEXTFILE")
    maker.file("by_pattern", "a.txt", '10.0.0.1 17 true 2026-11-22 "1.5"\n한글 1.5 yes "x"\nno match\n\nb 99999999999 TRUE 1500-01-01 "-2e3"\n')
    for codec, ending in [("GzipCodec", "gz"), ("BZip2Codec", "bz2"), ("DefaultCodec", "deflate")]:
        maker.spark.sql("SET hive.exec.compress.output=true")
        maker.spark.sql(f"SET mapreduce.output.fileoutputformat.compress.codec=org.apache.hadoop.io.compress.{codec}")
        maker.make(f"packed_{ending}", PLAIN, "STORED AS TEXTFILE", everything)
    maker.spark.sql("SET hive.exec.compress.output=false")
    maker.make("ragged", "a INT, b STRING, c ARRAY<INT>, e DECIMAL(5,2), g TIMESTAMP", "ROW FORMAT DELIMITED FIELDS TERMINATED BY ',' STORED AS TEXTFILE")
    maker.file("ragged", "x.csv", "1,a\n2,b,3\x024,1.005,2026-01-02 03:04:05.123456789,too,many\r\n12.7,c,,999.995,2026-01-02 03:04:05\rx,d,\\N,1e2,nonsense\n")
    # Lines at both ends are no rows for Hive; Spark reads them.
    maker.spark.sql("CREATE TABLE trimmed (a INT, b STRING) ROW FORMAT DELIMITED FIELDS TERMINATED BY ',' "
                    "TBLPROPERTIES ('skip.header.line.count'='2', 'skip.footer.line.count'='1')")
    maker.file("trimmed", "one.csv", "a,b\n=====\n1,one\n2,two\n--the end--\n")
    maker.file("trimmed", "two.csv", "a,b\r\n=====\r\n3,three\r\n--the end--")
    maker.file("trimmed", "three.csv", "a,b\n=====")
    for name in ["sequence_file", "rc_file"]:
        maker.spark.sql(f"CREATE TABLE {name} (a INT) STORED AS {name.upper().replace('_', '')}")
    maker.spark.sql("CREATE TABLE bucketed (id INT, s STRING) CLUSTERED BY (id) INTO 2 BUCKETS STORED AS PARQUET TBLPROPERTIES ('bucketing_version'='2')")
    maker.spark.sql("CREATE TABLE acid (id INT) STORED AS PARQUET TBLPROPERTIES ('transactional'='true', 'transactional_properties'='insert_only')")


def old_dates(maker):
    """Spark writes Parquet itself where a table is of its own kind, by the calendar that it is told."""
    for mode in ["CORRECTED", "LEGACY"]:
        for setting in ["datetimeRebaseModeInWrite", "int96RebaseModeInWrite"]:
            maker.spark.sql(f"SET spark.sql.parquet.{setting}={mode}")
        for kind in ["TIMESTAMP_MICROS", "INT96"]:
            maker.spark.sql(f"SET spark.sql.parquet.outputTimestampType={kind}")
            for age, condition in [("old", "true"), ("new", "coalesce(day, date'2000-01-01') > '1600-01-01' AND coalesce(at, timestamp'2000-01-01') > '1950-01-01'")]:
                name = f"{mode}_{kind}_{age}".lower()
                maker.spark.sql(f"CREATE TABLE {name} USING parquet AS SELECT id, day, at FROM plain WHERE {condition}")
                maker.tables.append(name)
    # The clocks of two zones, and dates inside of others.
    for kind, zone in [("TIMESTAMP_MICROS", "America/Los_Angeles"), ("INT96", "America/Los_Angeles"), ("TIMESTAMP_MILLIS", "Asia/Seoul")]:
        maker.spark.sql(f"SET spark.sql.parquet.outputTimestampType={kind}")
        maker.spark.sql(f"SET spark.sql.session.timeZone={zone}")
        name = f"legacy_{kind}_{zone.split('/')[1]}".lower()
        maker.spark.sql(f"CREATE TABLE {name} USING parquet AS SELECT id, day, CASE WHEN id % 2 = 0 THEN date_trunc('second', at) "
                        "ELSE timestamp'1500-02-28 23:30:00' + make_interval(id * 30, 0, 0, id) END AS at FROM plain")
        maker.spark.sql("SET spark.sql.session.timeZone=UTC")
        maker.tables.append(name)
    maker.spark.sql("SET spark.sql.parquet.outputTimestampType=TIMESTAMP_MICROS")
    maker.spark.sql("CREATE TABLE legacy_nested USING parquet AS SELECT id, named_struct('d', day, 'l', array(day, date'1000-02-28')) AS st, "
                    "map(id, coalesce(at, timestamp'1234-05-06 07:08:09')) AS m FROM plain")
    maker.tables.append("legacy_nested")
    # Four files, of which two have no old dates; each in its order.
    maker.spark.sql("CREATE TABLE legacy_ages USING parquet AS SELECT /*+ REPARTITION_BY_RANGE(4, day) */ day, cast(day AS TIMESTAMP) AS at "
                    "FROM (SELECT explode(sequence(date'0003-01-01', date'2020-01-01', interval 97 days)) AS day)")
    maker.tables.append("legacy_ages")
    maker.make("parquet_hive_old", "id INT, day DATE", "STORED AS PARQUET", "SELECT id, day FROM plain")
    maker.spark.sql("CREATE TABLE parquet_hive_times_old (id INT, at TIMESTAMP) STORED AS PARQUET")
    maker.spark.sql("INSERT INTO parquet_hive_times_old SELECT id, timestamp'1500-01-01 00:00:00' FROM plain")
    maker.make("parquet_hive_new", "id INT, day DATE, at TIMESTAMP", "STORED AS PARQUET", "SELECT id, day, at FROM plain WHERE day > '1600-01-01'")
    maker.make("orc_dates", "id INT, day DATE", "STORED AS ORC", "SELECT id, day FROM plain")


def counted(maker):
    """Joins whose written order is the better one by the rows of the tables, and the worse one by the values in them."""
    for name, columns, query in [("facts", "k1 INT, k2 INT", "SELECT id % 10, id FROM range(10000)"), ("few_values", "k INT", "SELECT id % 10 FROM range(1000)"),
                                 ("many_values", "k INT", "SELECT id FROM range(2000)")]:
        for state in ["counted", "uncounted"]:
            maker.spark.sql(f"CREATE TABLE {name}_{state} ({columns}) STORED AS TEXTFILE")
            maker.spark.sql(f"INSERT INTO {name}_{state} {query}")
        maker.spark.sql(f"ANALYZE TABLE {name}_counted COMPUTE STATISTICS FOR ALL COLUMNS")


def partitions(maker):
    maker.make("parted", "id INT, s STRING", "PARTITIONED BY (p STRING, n INT) STORED AS TEXTFILE",
               "PARTITION (p, n) SELECT id, s, CASE id WHEN 0 THEN 'a b' WHEN 1 THEN 'x/y' WHEN 2 THEN 'k=v' WHEN 3 THEN '한글' WHEN 4 THEN NULL "
               "WHEN 5 THEN '100%' WHEN 6 THEN 'it\\'s \"q\"' ELSE 'plain' END, id % 2 FROM plain")
    maker.spark.sql(f"ALTER TABLE parted ADD PARTITION (p='elsewhere', n=7) LOCATION '{maker.hdfs}/user/{maker.database}_other/place'")
    maker.spark.sql("INSERT INTO parted PARTITION (p='elsewhere', n=7) SELECT id + 100, s FROM plain")
    # A column that the table got later is NULL in partitions that were there before, whatever their files hold: so it is in
    # Hive. Spark takes all partitions to have the columns of the table.
    maker.make("grown", "id INT, s STRING", "PARTITIONED BY (p INT) ROW FORMAT DELIMITED FIELDS TERMINATED BY ','", "PARTITION (p=1) SELECT 1, 'a'")
    maker.file("grown/p=1", "more.csv", "2,b,3\n")
    maker.spark.sql("ALTER TABLE grown ADD COLUMNS (n INT)")
    maker.spark.sql("INSERT INTO grown PARTITION (p=2) SELECT 4, 'd', 5")
    # Partitions of other formats and stores are added to this one by the test.
    maker.make("mixed", "id INT, s STRING", "PARTITIONED BY (p STRING) STORED AS TEXTFILE", "PARTITION (p='text') SELECT id, s FROM plain WHERE s <> '\\\\N'")
    for name in ["parquet", "avro"]:
        maker.make("as_" + name, "id INT, s STRING", f"STORED AS {name.upper()}", "SELECT id, s FROM plain")


def sources(maker):
    """Tables that Spark describes in its own words alone: the metastore has a stand-in of each."""
    columns = "id INT, N TIMESTAMP_NTZ, c VARCHAR(5), tags ARRAY<STRUCT<a: INT, b: TIMESTAMP_NTZ>>"
    rows = ("SELECT 1, TIMESTAMP_NTZ'2026-01-02 03:04:05.678901', 'a', array(struct(1, TIMESTAMP_NTZ'1969-12-31 23:59:58.5')) "
            "UNION ALL SELECT 2, TIMESTAMP_NTZ'1500-01-01 00:00:00', NULL, NULL")
    maker.make("source_times", columns, "USING parquet", rows)
    maker.make("source_elsewhere", columns, f"USING PARQUET LOCATION '{maker.hdfs}/user/{maker.database}_other/times'", rows)
    maker.make("source_parted", "id INT, n TIMESTAMP_NTZ, p STRING, d DATE", "USING parquet PARTITIONED BY (p, d)",
               "SELECT 1, TIMESTAMP_NTZ'2026-01-02 03:04:05', 'x y', DATE'2026-01-02' UNION ALL SELECT 2, NULL, 'z', NULL")
    wide = ", ".join(f"a_column_with_a_long_name_{number} INT" for number in range(90))
    maker.make("source_wide", f"n TIMESTAMP_NTZ, {wide}", "USING parquet", "SELECT NULL, " + ", ".join(map(str, range(90))))
    for kind in ["parquet", "orc"]:
        maker.make("source_buckets_" + kind, "id INT, s STRING", f"USING {kind} CLUSTERED BY (id) INTO 3 BUCKETS", "SELECT id, s FROM plain")
    maker.spark.sql("CREATE TABLE source_orc (id INT, n TIMESTAMP_NTZ) USING orc")
    maker.spark.sql("CREATE TABLE source_csv (id INT, s STRING) USING csv OPTIONS (header 'true')")
    maker.spark.sql("CREATE TABLE source_json (id INT, s STRING) USING json")
    maker.spark.sql("CREATE TABLE source_text (value STRING) USING text")
    maker.spark.sql("CREATE TABLE source_default (id INT, n TIMESTAMP_NTZ, d INT DEFAULT 7) USING parquet")
    maker.spark.sql("CREATE TABLE source_interval (id INT, i INTERVAL DAY TO SECOND) USING parquet")


# Each is read by Spark and by Maru, and has the same rows.
VIEWS = {
    "v_plain": "SELECT id, s FROM text_plain",
    "v_renamed (a COMMENT 'x', b)": "SELECT `ID`, upper(s) AS up FROM Text_Plain WHERE id < 10",
    "v_star": "SELECT * FROM avro_plain",
    "v_functions": "SELECT id, nvl(s, \"none\") AS s, concat(s, '-', id) AS c, if(ok, 'y', 'n') AS yn, id / 4 AS q, year(day) AS y, month(day) AS m, "
                   "date_add(day, 7) AS later, datediff(day, date'2000-01-01') AS days, substr(s, 1, 3) AS three, length(s) AS len, "
                   "cast(id AS string) AS id_text, trim(s) AS bare, amount * 2 AS twice, day <=> NULL AS no_day FROM avro_plain "
                   "WHERE day < '9999-01-01' OR day IS NULL",
    "v_group": "SELECT ok, count(*) AS n, sum(id) AS total, min(day) AS first, avg(id) AS mean, max(s) AS last, sum(id) / count(*) AS again "
               "FROM avro_plain GROUP BY ok HAVING count(*) > 0",
    "v_unnamed (ok, n)": "SELECT ok, count(*) AS `count(1)` FROM avro_plain GROUP BY 1",
    "v_top": "SELECT id, day FROM avro_plain ORDER BY day, id DESC LIMIT 3",
    "v_numbered": "SELECT id, row_number() OVER (PARTITION BY ok ORDER BY day DESC, id) AS rn FROM avro_plain",
    "v_on_view": "SELECT v.id, p.s, p.id AS other FROM v_plain v LEFT JOIN avro_plain AS p ON v.id = p.id + 1",
    "v_cte": "WITH big AS (SELECT id FROM avro_plain WHERE id > 3) SELECT count(*) AS c FROM big WHERE id IN (SELECT id FROM text_plain)",
    "v_union": "SELECT id FROM text_plain WHERE id < 2 UNION ALL SELECT id FROM spark_catalog.{database}.avro_plain WHERE id > 13",
    "v_parted": "SELECT id, p FROM parted WHERE n = 0 AND p = 'plain'",
    "v_texts": r"""SELECT id, 'it\'s' AS t FROM text_plain WHERE s LIKE '%\\\\%' OR s = "a,b" OR s = 'quote"s and \''""",
    "v_nested": "SELECT id, tags, m, st FROM text_nested WHERE st IS NOT NULL",
}
REFUSED_VIEWS = {
    "v_text_and_number": "SELECT id FROM text_plain WHERE s > id",
    "v_explode": "SELECT id, x FROM text_nested LATERAL VIEW explode(tags) e AS x",
    "v_round": "SELECT round(d, 2) AS r FROM avro_plain",
    "v_cut": "SELECT cast(d AS INT) AS i FROM avro_plain",
    "v_of_refused": "SELECT * FROM v_round",
    "v_of_two_types": "SELECT id AS x FROM text_plain UNION ALL SELECT s FROM text_plain",
}


def views(maker):
    for name, query in VIEWS.items():
        maker.spark.sql(f"CREATE VIEW {name} AS " + query.format(database=maker.database))
        maker.tables.append(name.split(" ")[0])
    for name, query in REFUSED_VIEWS.items():
        maker.spark.sql(f"CREATE VIEW {name} AS {query}")


def main():
    metastore, hdfs, database, output = sys.argv[1:]
    maker = Maker(metastore, hdfs, database)
    formats(maker)
    old_dates(maker)
    counted(maker)
    partitions(maker)
    sources(maker)
    views(maker)
    maker.write_down(output)


main()
