"""Hive tables whose rows lie on S3: they are read in every format, pruned by their partitions, written where the metastore then says they
are, and where the keys or the bucket are wrong it is told without a secret.

The metastores are the tests' own, 3.1 and 4.0, since those of all tests have no driver for S3; `S3AFileSystem.java` is one that suffices."""

import datetime
import decimal
import gzip
import os
import pathlib
import shutil
import subprocess
import uuid

import psycopg
import pyarrow
import pyarrow.fs
import pyarrow.parquet
import pytest
from seeding import storage
from seeding.metastore import HIVE, ORC, PARQUET, TEXT, Metastore

from own_databases import free_port

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]

HERE = pathlib.Path(__file__).parent
SERVICES = HERE.parent / "services"
COLUMNS = [("id", "bigint"), ("s", "string")]
CSV = (*TEXT[:2], HIVE + "serde2.OpenCSVSerde")
JSON_SERDES = {"hcatalog": "org.apache.hive.hcatalog.data.JsonSerDe", "hive": HIVE + "serde2.JsonSerDe", "openx": "org.openx.data.jsonserde.JsonSerDe"}
# No message, no log and no listing may show it.
WRONG = "a-secret-that-is-wrong-4711"


def secret_of(key, secret):
    return f"endpoint = '{os.environ['MARU_TEST_S3']}', access_key_id = '{key}', secret_access_key = '{secret}'"


def right_keys():
    return secret_of(os.environ["MARU_TEST_S3_ACCESS_KEY"], os.environ["MARU_TEST_S3_SECRET_KEY"])


@pytest.fixture(scope="module", params=["hms3", *(["hms4"] if os.environ.get("MARU_TEST_LONG") else [])])
def metastore_url(request, tmp_path_factory):
    """The address of a metastore that takes locations on S3."""
    which, port = request.param, free_port()
    state = tmp_path_factory.mktemp("metastore")
    # The folder of its settings is the first place where it looks for classes.
    conf = state / which / "conf"
    (conf / "META-INF/services").mkdir(parents=True)
    driver = "org.apache.hadoop.fs.s3a.S3AFileSystem"
    (conf / "META-INF/services/org.apache.hadoop.fs.FileSystem").write_text(f"{driver}\n{driver}$Plain\n{driver}$Native\n")
    common = f"set -e; HERE={SERVICES}; source {SERVICES}/common.sh; need_packages javac=openjdk-17-jdk-headless >&2; echo $SOFTWARE/{which}"
    jars = subprocess.run(["bash", "-c", common], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    subprocess.run(["javac", "-d", conf, "-cp", f"{jars}/*", HERE / "S3AFileSystem.java"], check=True, timeout=120)
    environment = {**os.environ, "MARU_TEST_STATE": str(state), f"MARU_TEST_{which.upper()}_PORT": str(port)}

    def ctl(action):
        subprocess.run([SERVICES / "ctl", f"--{action}", which], check=True, timeout=280, env=environment)

    try:
        ctl("start")
        yield f"thrift://127.0.0.1:{port}"
    finally:
        ctl("stop")
        shutil.rmtree(state, ignore_errors=True)


class Lake:
    """A database of a metastore at `s3a://<bucket>/wh/<database>`, and the catalog `ice` of it."""

    def __init__(self, connection, url):
        self.connection, self.url = connection, url
        self.database = "s3_" + uuid.uuid4().hex[:8]
        self.bucket = "hive-" + self.database.replace("_", "-")
        self.folder = f"wh/{self.database}"
        self.home = f"s3a://{self.bucket}/{self.folder}"
        self.name = f"ice.{self.database}"
        self.s3 = storage.s3_client()
        storage.s3_fresh_bucket(self.s3, self.bucket)
        self.hdfs, self.hdfs_folder = storage.Hdfs(), f"/user/hive/warehouse/external/{self.database}"
        with self.metastore() as metastore:
            metastore.create_database(self.database, self.home, "made by a test", {})
        connection.execute(f"CREATE CATALOG ice USING hive WITH (metastore = '{url}', {right_keys()})")

    def metastore(self):
        return Metastore(self.url)

    def close(self):
        self.connection.execute("DROP CATALOG ice")
        self.hdfs.delete(self.hdfs_folder)
        storage.s3_fresh_bucket(self.s3, self.bucket)
        self.s3.delete_bucket(Bucket=self.bucket)

    def put(self, key, body):
        self.s3.put_object(Bucket=self.bucket, Key=f"{self.folder}/{key}", Body=body.encode() if isinstance(body, str) else body)

    def keys(self, below=""):
        """The objects below a folder of the database, by their names in it."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{self.folder}/{below}")
        return sorted(entry["Key"].removeprefix(self.folder + "/") for page in pages for entry in page.get("Contents", []))

    def table(self, name, columns, formats, keys=(), serde=None, location=None, parameters=None):
        with self.metastore() as metastore:
            metastore.create_table(self.database, name, location or f"{self.home}/{name}", columns, formats, keys, serde, parameters)

    def partition(self, table, values, location, columns=COLUMNS, formats=PARQUET, serde=None):
        with self.metastore() as metastore:
            metastore.add_partition(self.database, table, values, location, columns, formats, serde)

    def location(self, table):
        with self.metastore() as metastore:
            return metastore.table(self.database, table).sd.location

    def locations(self, table):
        """Of its partitions, by their values."""
        with self.metastore() as metastore:
            return {tuple(part.values): part.sd.location for part in metastore.client.get_partitions(self.database, table, -1)}

    def rows(self, sql):
        return self.connection.execute(sql.replace("{db}", self.name)).fetchall()

    def all(self, table, order="id"):
        return self.rows(f"SELECT * FROM {{db}}.{table} ORDER BY {order}")

    def explained(self, sql):
        return "\n".join(row[0] for row in self.rows("EXPLAIN " + sql))

    def fails(self, sql):
        """What is said of a statement that does not succeed."""
        with pytest.raises(psycopg.Error) as caught:
            self.connection.execute(sql.replace("{db}", self.name))
        return told_of(caught.value)


class Told:
    def __init__(self, diagnosis):
        self.state, self.message = diagnosis.sqlstate, diagnosis.message_primary
        self.whole = "\n".join(part for part in (diagnosis.message_primary, diagnosis.message_detail, diagnosis.message_hint, diagnosis.context) if part)

    def __repr__(self):
        return f"{self.state}: {self.whole}"


def told_of(error):
    return Told(error.diag)


def by_arrow(location):
    """The rows of the Parquet files at a location, as Arrow's own client for S3 reads them; names with an underscore are none of them."""
    scheme, path = location.split("://")
    assert scheme in ("s3a", "s3"), location
    store = pyarrow.fs.S3FileSystem(access_key=os.environ["MARU_TEST_S3_ACCESS_KEY"], secret_key=os.environ["MARU_TEST_S3_SECRET_KEY"],
                                    endpoint_override=os.environ["MARU_TEST_S3"], region="us-east-1")
    found = store.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True, recursive=True))
    files = [info.path for info in found if info.type == pyarrow.fs.FileType.File and not info.base_name.startswith(("_", ".")) and info.size]
    tables = [pyarrow.parquet.ParquetFile(store.open_input_file(file)).read() for file in files]
    return sorted((tuple(row.values()) for table in tables for row in table.to_pylist()), key=repr)


def parquet(ids, text="x"):
    return storage.parquet_bytes(pyarrow.table({"id": pyarrow.array(ids, "int64"), "s": [f"{text}{i}" for i in ids]}))


@pytest.fixture(scope="module")
def lake(server, metastore_url):
    with server.connect(prepare_threshold=None) as connection:
        lake = Lake(connection, metastore_url)
        yield lake
        lake.close()


@pytest.mark.parametrize("scheme", ["s3a", "s3", "s3n"])
def test_parquet(lake, scheme):
    """What Hadoop's driver and Hive leave beside the files is no row: marks of directories, empty files, hidden ones."""
    name = "parquet_" + scheme
    folder = f"{name} of 서울/a%2Fb=c"
    lake.table(name, [("ID", "bigint"), ("s", "string"), ("later", "date")], PARQUET, location=f"{scheme}://{lake.bucket}/{lake.folder}/{folder}")
    assert lake.all(name) == []
    lake.put(f"{folder}/", b"")
    lake.put(f"{folder}/000000_0", parquet([1, 2]))
    lake.put(f"{folder}/000001_0", b"")
    lake.put(f"{folder}/HIVE_UNION_SUBDIR_1/000000_0", parquet([3]))
    lake.put(f"{folder}/_SUCCESS", b"")
    lake.put(f"{folder}/_temporary/0/000000_0", parquet([97]))
    lake.put(f"{folder}/.hive-staging_1/000000_0", parquet([98]))
    # Its name begins as the folder's does.
    lake.put(f"{folder}2/000000_0", parquet([99]))
    assert lake.all(name) == [(1, "x1", None), (2, "x2", None), (3, "x3", None)]
    assert lake.rows(f"SELECT count(*), sum(id) FROM {{db}}.{name} WHERE s > 'x1'") == [(2, 5)]
    # A file that comes or goes is seen at once.
    lake.put(f"{folder}/000002_0", parquet([4]))
    lake.s3.delete_object(Bucket=lake.bucket, Key=f"{lake.folder}/{folder}/000000_0")
    assert [row[0] for row in lake.all(name)] == [3, 4]


def test_text(lake):
    columns = [("id", "int"), ("s", "string"), ("tags", "array<string>"), ("d", "decimal(5,2)"), ("day", "date")]
    lake.table("plain_text", columns, TEXT)
    lake.put("plain_text/000000_0", "1\x01one\x01a\x02b\x011.25\x012026-11-01\n2\x01\\N\x01\\N\x011000\x012026-02-30\n")
    lake.put("plain_text/000001_0.gz", gzip.compress("3\x01가\x01\x01-0.5\x01\n".encode()))
    assert lake.all("plain_text") == [(1, "one", ["a", "b"], decimal.Decimal("1.25"), datetime.date(2026, 11, 1)), (2, None, None, None, None),
                                      (3, "가", [], decimal.Decimal("-0.50"), None)]
    marks = {"field.delim": ";", "serialization.format": ";", "colelction.delim": ",", "escape.delim": "\\", "serialization.null.format": "nil"}
    lake.table("other_text", columns, TEXT, serde=marks, parameters={"skip.header.line.count": "1"})
    lake.put("other_text/a.csv", "id;s;tags;d;day\n1;a\\;b;x,y;2.005;2026-1-2\n")
    lake.put("other_text/b.csv", "id;s;tags;d;day\n2;nil;nil;nil;nil\nnone;;z;12.7;x\n")
    assert lake.all("other_text") == [(1, "a;b", ["x", "y"], decimal.Decimal("2.01"), datetime.date(2026, 1, 2)), (2, None, None, None, None),
                                      (None, "", ["z"], decimal.Decimal("12.70"), None)]


@pytest.mark.parametrize("serde", JSON_SERDES)
def test_json(lake, serde):
    name = "json_" + serde
    formats = (*TEXT[:2], JSON_SERDES[serde])
    lake.table(name, [("id", "bigint"), ("name", "string"), ("ok", "boolean"), ("tags", "array<int>"), ("at", "struct<x:double,y:string>")], formats)
    lake.put(f"{name}/a.json", '{"id": 1, "NAME": "하나", "ok": true, "tags": [1, null, 3], "at": {"X": 1.5, "y": "u"}, "more": {"a": [1]}}\n{"id": 2}\n')
    lake.put(f"{name}/b.json.gz", gzip.compress(b'{"tags": [], "id": 3, "name": null, "ok": false, "at": null}\n'))
    found = [(i, n, ok, tags) for i, n, ok, tags, _ in lake.all(name)]
    assert found == [(1, "하나", True, [1, None, 3]), (2, None, None, None), (3, None, False, [])]
    assert lake.rows(f"SELECT id, at['x'], at['y'] FROM {{db}}.{name} ORDER BY id") == [(1, 1.5, "u"), (2, None, None), (3, None, None)]
    # A fraction in a text: HCatalog gives it as it is written, the others write it anew, which is refused.
    lake.put(f"{name}/c.json", '{"id": 4, "name": 1.50}\n')
    if serde == "hcatalog":
        assert lake.rows(f"SELECT name FROM {{db}}.{name} WHERE id = 4") == [("1.50",)]
    else:
        told = lake.fails(f"SELECT name FROM {{db}}.{name} WHERE id = 4")
        assert told.state == "22P04" and "c.json" in told.whole and "line 1" in told.whole and "1.50" in told.whole, told
    # What is no value of its type is told with file and line.
    lake.put(f"{name}/c.json", '{"id": 5}\n{"id": "five"}\n')
    told = lake.fails(f"SELECT sum(id) FROM {{db}}.{name}")
    assert told.state == "22P04" and "c.json" in told.whole and "line 2" in told.whole, told
    lake.table(f"{name}_mapped", COLUMNS, formats, serde={"mapping.id": "number"})
    told = lake.fails(f"SELECT * FROM {{db}}.{name}_mapped")
    assert told.state == "0A000" and "mapping.id" in told.whole, told


@pytest.mark.parametrize("name,serde,lines,wanted", [
    ("csv_own", {"separatorChar": "|", "quoteChar": "'", "escapeChar": "\\"}, "1|'a|b'|'it\\'s'\n2||\n3|'two\nlines'|\"q\"\n",
     [("1", "a|b", "it's"), ("2", "", ""), ("3", "two\nlines", '"q"')]),
    ("csv_tab", {"separatorChar": "\t"}, '1\t"a\tb"\t0.50\n2\ta,b\t\\N\n', [("1", "a\tb", "0.50"), ("2", "a,b", "\\N")]),
    ("csv_default", {}, '1,"a,b","say ""x"""\n', [("1", "a,b", 'say "x"')])])
def test_csv(lake, name, serde, lines, wanted):
    """Every column is text and never NULL, whatever the metastore calls it."""
    lake.table(name, [("id", "int"), ("s", "string"), ("d", "decimal(5,2)")], CSV, serde=serde)
    lake.put(f"{name}/part-0", lines)
    assert lake.all(name) == wanted
    lake.put(f"{name}/part-1.gz", gzip.compress(lines.encode()))
    assert lake.rows(f"SELECT count(*), count(s) FROM {{db}}.{name} WHERE d IS NOT NULL") == [(2 * len(wanted), 2 * len(wanted))]


@pytest.fixture
def two_stores(lake):
    """A table with a partition on S3, one on HDFS in another format, and one on S3 in a folder of another name."""
    name = "mixed_" + uuid.uuid4().hex[:6]
    hdfs = os.environ["MARU_TEST_HDFS"] + f"{lake.hdfs_folder}/{name}"
    lake.table(name, COLUMNS, PARQUET, [("p", "string")])
    lake.put(f"{name}/p=cloud/a.parquet", parquet([1, 2]))
    lake.put(f"elsewhere/{name}/a.parquet", parquet([5]))
    lake.hdfs.make_folder(f"{lake.hdfs_folder}/{name}/p=rack")
    lake.hdfs.put(f"{lake.hdfs_folder}/{name}/p=rack/a.csv", "3;가\n4;\\N\n".encode())
    lake.partition(name, ["cloud"], f"{lake.home}/{name}/p=cloud")
    lake.partition(name, ["rack"], f"{hdfs}/p=rack", formats=TEXT, serde={"field.delim": ";"})
    lake.partition(name, ["other"], f"s3://{lake.bucket}/{lake.folder}/elsewhere/{name}")
    return name


def test_partitions_on_s3_and_on_hdfs(lake, two_stores):
    name = two_stores
    assert lake.all(name) == [(1, "x1", "cloud"), (2, "x2", "cloud"), (3, "가", "rack"), (4, None, "rack"), (5, "x5", "other")]
    assert lake.rows(f"SELECT p, count(*), sum(id) FROM {{db}}.{name} GROUP BY p ORDER BY p") == [("cloud", 2, 3), ("other", 1, 5), ("rack", 2, 7)]
    assert lake.rows(f"SELECT a.id, b.id FROM {{db}}.{name} a JOIN {{db}}.{name} b ON a.id = b.id - 2 WHERE a.p = 'cloud' ORDER BY 1") == [(1, 3), (2, 4)]
    # Of the one that is not asked for, the store is not asked either.
    lake.hdfs.delete(f"{lake.hdfs_folder}/{name}")
    assert lake.rows(f"SELECT count(*) FROM {{db}}.{name} WHERE p <> 'rack'") == [(3,)]
    told = lake.fails(f"SELECT count(*) FROM {{db}}.{name}")
    assert told.state == "58P01" and f"{name}/p=rack" in told.whole, told


@pytest.fixture(scope="module")
def days(lake):
    lake.table("days", COLUMNS, PARQUET, [("dt", "string"), ("hour", "int")])
    for at in range(6):
        place = f"days/dt=2026-11-0{at // 2 + 1}/hour={at % 2}"
        lake.put(f"{place}/a.parquet", parquet([at]))
        lake.partition("days", [f"2026-11-0{at // 2 + 1}", str(at % 2)], f"{lake.home}/{place}")
    # Whoever reads it fails.
    lake.put("days/dt=broken/hour=0/a.parquet", b"no Parquet at all " * 9)
    lake.partition("days", ["broken", "0"], f"{lake.home}/days/dt=broken/hour=0")


@pytest.mark.parametrize("condition,wanted", [("dt = '2026-11-02'", [2, 3]), ("dt = '2026-11-03' AND hour = 1", [5]), ("dt LIKE '2026%' AND hour > 0", [1, 3, 5]),
                                              ("dt IN ('2026-11-01', '2026-11-03') AND hour = 0", [0, 4]), ("dt = '1999-01-01'", []),
                                              ("dt < '2026-11-02' AND s <> 'x0'", [1])])
def test_partitions_are_pruned(lake, days, condition, wanted):
    sql = f"SELECT id FROM {{db}}.days WHERE {condition}"
    assert sorted(row[0] for row in lake.rows(sql)) == wanted
    n_read = 2 if "s <>" in condition else len(wanted)
    told = lake.explained(sql)
    assert f"is read: {n_read} file{'' if n_read == 1 else 's'}" in told and f"    partitions: {n_read} of 7" in told, told


def test_a_broken_file_is_told_by_its_name(lake, days):
    told = lake.fails("SELECT sum(id) FROM {db}.days")
    assert told.state == "XX001" and "dt=broken/hour=0/a.parquet" in told.whole, told


def test_tables_are_made_and_written(lake):
    c, name = lake.connection, lake.name
    made = c.execute(f"CREATE TABLE {name}.made AS SELECT i AS id, 'n' || i AS s, i * 1.5::numeric(8,2) AS d FROM generate_series(1, 3) g(i)")
    assert made.statusmessage == "SELECT 3"
    first = lake.location("made")
    assert first.startswith(f"{lake.home}/made/_maru/"), first
    rows = [(i, f"n{i}", i * decimal.Decimal("1.50")) for i in (1, 2, 3)]
    assert lake.all("made") == rows == by_arrow(first)
    assert c.execute(f"INSERT INTO {name}.made VALUES (4, NULL, NULL)").statusmessage == "INSERT 0 1"
    assert lake.location("made") == first
    assert lake.all("made") == [*rows, (4, None, None)] == by_arrow(first)
    c.execute(f"INSERT OVERWRITE {name}.made SELECT id * 10, s, d FROM {name}.made WHERE id > 2")
    second = lake.location("made")
    assert second.startswith(f"{lake.home}/made/_maru/") and second != first
    assert lake.all("made") == [(30, "n3", decimal.Decimal("4.50")), (40, None, None)] == by_arrow(second)
    # Readers that had begun can end.
    assert len(by_arrow(first)) == 4
    c.execute(f"ALTER TABLE {name}.made ADD COLUMN more text")
    c.execute(f"INSERT INTO {name}.made (id, more) VALUES (50, 'm')")
    assert lake.rows("SELECT id, more FROM {db}.made ORDER BY id") == [(30, None), (40, None), (50, "m")]
    with lake.metastore() as metastore:
        parameters = metastore.table(lake.database, "made").parameters
        assert (parameters["numRows"], parameters["EXTERNAL"], parameters["external.table.purge"]) == ("3", "TRUE", "true")
    orphans = f"SELECT count(*) FROM system.orphans WHERE catalog = 'ice' AND schema = '{lake.database}' AND \"table\" = 'made'"
    assert c.execute(orphans).fetchone() == (2,)
    c.execute("SET maru.vacuum_retention_check = off")
    c.execute(f"VACUUM {name}.made RETAIN 0 HOURS")
    assert c.execute(orphans).fetchone() == (0,)
    assert len(by_arrow(first)) == 0 and len(by_arrow(second)) == 3 and len(lake.all("made")) == 3
    c.execute(f"TRUNCATE {name}.made")
    assert lake.all("made") == [] == by_arrow(lake.location("made"))
    c.execute(f"DROP TABLE {name}.made")
    assert lake.keys("made/") == []
    assert lake.fails("SELECT * FROM {db}.made").state == "42P01"


def test_text_is_written(lake):
    lake.connection.execute(f"CREATE TABLE {lake.name}.lines WITH (format = 'text') AS SELECT 1 AS id, E'a\\x01b\\nc' AS s")
    lake.connection.execute(f"INSERT INTO {lake.name}.lines VALUES (2, NULL)")
    assert lake.all("lines") == [(1, "a\x01b\nc"), (2, None)]
    below = lake.location("lines").removeprefix(lake.home + "/")
    files = [key for key in lake.keys(below) if not key.rsplit("/", 1)[1].startswith("_")]
    bodies = [lake.s3.get_object(Bucket=lake.bucket, Key=f"{lake.folder}/{key}")["Body"].read() for key in files]
    assert sorted(bodies) == [b"1\x01a\\\x01b\\nc\n", b"2\x01\\N\n"]


def test_partitions_are_written(lake):
    c, name = lake.connection, lake.name
    c.execute(f"""CREATE TABLE {name}.parts WITH (partitioned_by = ARRAY['day', 'kind'], compression = 'zstd') AS
        SELECT i AS id, date '2026-11-01' + (i % 2)::int AS day, 'a/b %' AS kind FROM generate_series(1, 6) g(i)""")
    one, two = ("2026-11-01", "a/b %"), ("2026-11-02", "a/b %")
    before = lake.locations("parts")
    assert set(before) == {one, two} and lake.location("parts") == f"{lake.home}/parts"
    for values, location in before.items():
        assert location.startswith(f"{lake.home}/parts/_maru/") and location.endswith(f"/day={values[0]}/kind=a%2Fb %25"), location
    assert by_arrow(before[one]) == [(2,), (4,), (6,)] and by_arrow(before[two]) == [(1,), (3,), (5,)]
    # Replaced is the partition that is named, also by nothing; another one is not touched.
    c.execute(f"INSERT OVERWRITE {name}.parts PARTITION (day = '2026-11-02', kind = 'a/b %') SELECT 70")
    after = lake.locations("parts")
    assert after[one] == before[one] and after[two] != before[two]
    assert by_arrow(after[two]) == [(70,)]
    c.execute(f"INSERT OVERWRITE {name}.parts PARTITION (day = '2026-11-01', kind = 'a/b %') SELECT 0 WHERE false")
    assert lake.rows("SELECT id, day::text FROM {db}.parts") == [(70, "2026-11-02")]
    # Added to: one that is there, a new one, and that of NULL, in one statement.
    c.execute(f"INSERT INTO {name}.parts VALUES (71, '2026-11-02', 'a/b %'), (72, '2026-11-03', 'new'), (73, NULL, NULL)")
    assert lake.rows("SELECT id, day::text, kind FROM {db}.parts ORDER BY id") == [
        (70, "2026-11-02", "a/b %"), (71, "2026-11-02", "a/b %"), (72, "2026-11-03", "new"), (73, None, None)]
    now = lake.locations("parts")
    assert by_arrow(now[two]) == [(70,), (71,)] and by_arrow(now[("2026-11-03", "new")]) == [(72,)]
    assert by_arrow(now[("__HIVE_DEFAULT_PARTITION__",) * 2]) == [(73,)]
    assert all(location.startswith(f"{lake.home}/parts/_maru/") for location in now.values()), now
    told = lake.explained("SELECT id FROM {db}.parts WHERE day = '2026-11-02'")
    assert "is read: 2 files" in told and f"    partitions: 1 of {len(now)}" in told, told
    # Those that rows come for, and then all.
    c.execute(f"INSERT OVERWRITE {name}.parts PARTITION (day, kind) SELECT 80, date '2026-11-03', 'new'")
    assert [row[0] for row in lake.all("parts")] == [70, 71, 73, 80]
    c.execute(f"INSERT OVERWRITE {name}.parts SELECT 90, date '2026-12-01', 'last'")
    assert lake.all("parts") == [(90, datetime.date(2026, 12, 1), "last")]
    assert set(lake.locations("parts")) == {("2026-12-01", "last")}
    c.execute(f"DROP TABLE {name}.parts")
    assert lake.keys("parts/") == []


def test_tables_of_others_are_written(lake, two_stores):
    """Tables that Hive made: files of theirs stay where they are, rows that are added to a partition lie in the table's own store."""
    c, name = lake.connection, lake.name
    lake.table("theirs", COLUMNS, PARQUET, location=f"s3://{lake.bucket}/{lake.folder}/theirs")
    lake.put("theirs/000000_0", parquet([1]))
    c.execute(f"INSERT INTO {name}.theirs VALUES (2, 'two')")
    assert lake.location("theirs") == f"s3://{lake.bucket}/{lake.folder}/theirs"
    assert lake.all("theirs") == [(1, "x1"), (2, "two")] == by_arrow(lake.location("theirs"))
    c.execute(f"INSERT OVERWRITE {name}.theirs VALUES (3, 'three')")
    # The scheme is still that of the table.
    assert lake.location("theirs").startswith(f"s3://{lake.bucket}/{lake.folder}/theirs/_maru/")
    assert lake.all("theirs") == [(3, "three")] == by_arrow(lake.location("theirs"))
    c.execute(f"DROP TABLE {name}.theirs")
    assert "theirs/000000_0" in lake.keys("theirs/")
    # A partition on HDFS of another format is not added to; replaced, it comes to S3. One elsewhere on S3 is copied.
    before = lake.locations(two_stores)
    assert lake.fails(f"INSERT INTO {{db}}.{two_stores} VALUES (6, 'six', 'rack')").state == "0A000"
    c.execute(f"INSERT INTO {name}.{two_stores} VALUES (6, 'six', 'other')")
    c.execute(f"INSERT OVERWRITE {name}.{two_stores} PARTITION (p = 'rack') SELECT id + 10, s FROM {name}.{two_stores} WHERE p = 'rack'")
    after = lake.locations(two_stores)
    assert after[("cloud",)] == before[("cloud",)]
    for values in ("rack", "other"):
        assert after[(values,)].startswith(f"{lake.home}/{two_stores}/_maru/") and after[(values,)].endswith(f"/p={values}"), after
    assert by_arrow(after[("rack",)]) == [(13, "가"), (14, None)] and by_arrow(after[("other",)]) == [(5, "x5"), (6, "six")]
    assert lake.all(two_stores) == [(1, "x1", "cloud"), (2, "x2", "cloud"), (5, "x5", "other"), (6, "six", "other"), (13, "가", "rack"), (14, None, "rack")]
    assert lake.hdfs.exists(f"{lake.hdfs_folder}/{two_stores}/p=rack/a.csv") and f"elsewhere/{two_stores}/a.parquet" in lake.keys("elsewhere/")


def test_rows_on_hdfs_are_added_to_on_s3(lake):
    """A partition that still lies on HDFS, of a table on S3, gets rows: the old ones are copied beside them."""
    folder = f"{lake.hdfs_folder}/moved/p=a"
    lake.table("moved", COLUMNS, PARQUET, [("p", "string")])
    lake.hdfs.make_folder(folder)
    lake.hdfs.put(f"{folder}/000000_0", parquet([1]))
    lake.partition("moved", ["a"], os.environ["MARU_TEST_HDFS"] + folder)
    lake.connection.execute(f"INSERT INTO {lake.name}.moved VALUES (2, 'x2', 'a')")
    assert lake.all("moved") == [(1, "x1", "a"), (2, "x2", "a")]
    location = lake.locations("moved")[("a",)]
    assert location.startswith(f"{lake.home}/moved/_maru/") and by_arrow(location) == [(1, "x1"), (2, "x2")]
    assert lake.hdfs.exists(f"{folder}/000000_0")


@pytest.mark.parametrize("name,formats,parameters,word", [
    ("orc", ORC, {}, "ORC"), ("json", (*TEXT[:2], JSON_SERDES["hive"]), {}, "JSON"), ("csv", CSV, {}, "CSV"),
    ("headed", TEXT, {"skip.header.line.count": "1"}, "lines that do not count")])
def test_what_is_not_written_is_refused_before_the_first_object(lake, name, formats, parameters, word):
    lake.table("no_" + name, COLUMNS, formats, parameters=parameters)
    for verb in ("INTO", "OVERWRITE"):
        told = lake.fails(f"INSERT {verb} {{db}}.no_{name} SELECT '1', 'a'" if name == "csv" else f"INSERT {verb} {{db}}.no_{name} VALUES (1, 'a')")
        assert told.state == "0A000" and word in told.whole, told
    assert lake.keys(f"no_{name}/") == []


@pytest.fixture
def guarded(lake):
    """A table with one row, for catalogs with other keys."""
    name = "guarded_" + uuid.uuid4().hex[:6]
    lake.table(name, COLUMNS, PARQUET)
    lake.put(f"{name}/a.parquet", parquet([1]))
    return name


@pytest.mark.parametrize("key", ["right", "unknown"])
def test_a_wrong_key_is_told_without_the_secret(server, lake, guarded, key):
    key = os.environ["MARU_TEST_S3_ACCESS_KEY"] if key == "right" else "nobody-has-this-key"
    c, table = lake.connection, f"locked.{lake.database}.{guarded}"
    c.execute(f"CREATE CATALOG locked USING hive WITH (metastore = '{lake.url}', {secret_of(key, WRONG)})")
    try:
        before, location = lake.keys(), lake.location(guarded)
        for sql in [f"SELECT * FROM {table}", f"INSERT INTO {table} VALUES (2, 'b')", f"INSERT OVERWRITE {table} VALUES (2, 'b')",
                    f"CREATE TABLE locked.{lake.database}.none AS SELECT 1 AS id"]:
            told = lake.fails(sql)
            assert told.state == "HV00L", (sql, told)
            assert WRONG not in told.whole and os.environ["MARU_TEST_S3_SECRET_KEY"] not in told.whole, (sql, told)
            # Who reads it knows what to look at.
            assert "refuses" in told.message and "keys" in told.whole, (sql, told)
        assert (lake.keys(), lake.location(guarded)) == (before, location)
        assert lake.fails("SELECT * FROM {db}.none").state == "42P01"
        shown = c.execute("SHOW CATALOGS").fetchall() + c.execute("SELECT * FROM system.catalogs").fetchall()
        assert "locked" in str(shown) and WRONG not in str(shown), shown
    finally:
        c.execute("DROP CATALOG locked")
    assert WRONG not in server.log_path.read_text(errors="replace")
    assert lake.all(guarded) == [(1, "x1")]


def test_no_keys_at_all(lake, guarded):
    c = lake.connection
    c.execute(f"CREATE CATALOG keyless USING hive WITH (metastore = '{lake.url}', endpoint = '{os.environ['MARU_TEST_S3']}')")
    try:
        told = lake.fails(f"SELECT * FROM keyless.{lake.database}.{guarded}")
        assert told.state == "HV00L" and "refuses" in told.message, told
    finally:
        c.execute("DROP CATALOG keyless")
    assert lake.all(guarded) == [(1, "x1")]


@pytest.fixture(scope="module")
def lost(lake):
    """A bucket that is not there: of a table, of one of two partitions, of a database."""
    bucket = "nowhere-" + uuid.uuid4().hex[:8]
    lake.table("lost", COLUMNS, PARQUET, location=f"s3a://{bucket}/t")
    lake.table("half_lost", COLUMNS, PARQUET, [("p", "string")])
    lake.partition("half_lost", ["a"], f"s3a://{bucket}/t/p=a")
    lake.put("half_lost/p=b/a.parquet", parquet([1]))
    lake.partition("half_lost", ["b"], f"{lake.home}/half_lost/p=b")
    with lake.metastore() as metastore:
        metastore.create_database(lake.database + "_lost", f"s3a://{bucket}/wh", "made by a test", {})
    return bucket


@pytest.mark.parametrize("sql", ["SELECT * FROM {db}.lost", "SELECT count(*) FROM {db}.half_lost", "INSERT INTO {db}.lost VALUES (1, 'a')",
                                 "INSERT OVERWRITE {db}.lost VALUES (1, 'a')", "CREATE TABLE {db}_lost.t AS SELECT 1 AS id", "CREATE TABLE {db}_lost.t (id int)"])
def test_a_bucket_that_is_not_there(lake, lost, sql):
    """It is not taken for an empty table, as a folder that is not there is, and who is told knows that it is the bucket."""
    told = lake.fails(sql)
    assert told.state in ("HV024", "58P01"), told
    assert f'bucket "{lost}"' in told.whole or f'bucket: "{lost}"' in told.whole, told
    # It would not help.
    assert "Run the statement again" not in told.whole, told


def test_beside_a_bucket_that_is_not_there(lake, lost):
    assert lake.rows("SELECT id FROM {db}.half_lost WHERE p = 'b'") == [(1,)]
    assert lake.rows("SHOW TABLES FROM {db}_lost") == []
    assert lake.location("lost") == f"s3a://{lost}/t"


def test_a_folder_that_is_not_there_is_an_empty_table(lake):
    lake.table("nothing", COLUMNS, PARQUET)
    assert lake.all("nothing") == []
    lake.connection.execute(f"INSERT INTO {lake.name}.nothing VALUES (1, 'a')")
    assert lake.all("nothing") == [(1, "a")] == by_arrow(f"{lake.home}/nothing")
