"""A look at files where they lie, on S3 and HDFS, and who may have it."""

import os
import urllib.parse

import psycopg
import pytest
from seeding import data, storage

pytestmark = pytest.mark.services

LOGS = sum(table.num_rows for _, table in data.weblogs())
CALLS = sum(table.num_rows for table in data.call_log().values())


@pytest.fixture(scope="module")
def connection(server):
    with server.connect() as connection:
        for statement in [
            f"CREATE CATALOG look_s3 USING s3 WITH (endpoint = '{os.environ['MARU_TEST_S3']}', bucket = 'weblogs', "
            f"access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}')",
            f"CREATE CATALOG look_hdfs USING hdfs WITH (url = '{os.environ['MARU_TEST_HDFS']}/data')",
            "CREATE USER look_reader PASSWORD 'look-secret'",
            "CREATE USER look_nobody PASSWORD 'look-secret'",
            "GRANT SELECT ON CATALOG look_s3, look_hdfs TO look_reader",
        ]:
            connection.execute(statement)
        yield connection
        for statement in ["DROP OWNED BY look_reader, look_nobody", "DROP ROLE look_reader, look_nobody", "DROP CATALOG look_s3",
                          "DROP CATALOG look_hdfs"]:
            connection.execute(statement)


HDFS = os.environ.get("MARU_TEST_HDFS", "") + "/data"
# A place, a part of it by a pattern, its columns, its rows, and what its format is called.
PLACES = pytest.mark.parametrize("place,pattern,columns,n_rows,kind", [
    ("s3://weblogs/2026/", "s3://weblogs/2026/*.parquet", data.weblogs()[0][1].schema.names, LOGS, "PARQUET"),
    ("s3://weblogs/json/", "s3://weblogs/json/part-[0-9].jsonl", data.weblogs()[0][1].schema.names, 100, "JSON"),
    ("s3://weblogs/csv/part-0.csv", "s3://weblogs/**/part-?.csv", ["id", "name", "amount"], 3, "CSV"),
    (HDFS + "/calls/", HDFS + "/calls/*.parquet", data.LOG_SCHEMA.names, CALLS, "PARQUET"),
    (HDFS + "/csv/part-0.csv", HDFS + "/*/part-*.csv", ["id", "name", "amount"], 3, "CSV"),
    (HDFS + "/days/", HDFS + "/days/*/*.parquet", [*data.LOG_SCHEMA.names, "dt"], 1000, "PARQUET"),
])


@PLACES
def test_describe(connection, place, pattern, columns, n_rows, kind):
    for one in [place, pattern]:
        cursor = connection.execute(f"DESCRIBE '{one}'")
        assert cursor.description[0].name in ("column", "column_name", "name"), [column.name for column in cursor.description]
        assert sorted(row[0] for row in cursor.fetchall()) == sorted(columns)


@PLACES
def test_preview(connection, place, pattern, columns, n_rows, kind):
    notices = []
    keep = lambda notice: notices.append(notice.message_primary)
    connection.add_notice_handler(keep)
    try:
        cursor = connection.execute(f"PREVIEW '{place}' LIMIT 2")
        assert sorted(column.name for column in cursor.description) == sorted(columns)
        assert len(cursor.fetchall()) == 2
        assert len(connection.execute(f"PREVIEW '{pattern}'").fetchall()) == min(10, n_rows)
    finally:
        connection.remove_notice_handler(keep)
    told = " ".join(notices).upper()
    assert kind in told and "FILE" in told, notices


@PLACES
def test_select(connection, place, pattern, columns, n_rows, kind):
    for one in [place, pattern]:
        assert connection.execute(f"SELECT count(*) FROM '{one}'").fetchone() == (n_rows,)


@pytest.mark.parametrize("statement", ["DESCRIBE '{}'", "PREVIEW '{}'", "SELECT * FROM '{}'", "EXPLAIN SELECT * FROM '{}'"])
@pytest.mark.parametrize("place", ["s3://weblogs/csv/part-0.csv", HDFS + "/csv/part-0.csv", "/etc/passwd"])
def test_who_may_look(server, connection, statement, place):
    sql = statement.format(place)
    if not place.startswith("/"):
        with server.connect(user="look_reader", password="look-secret") as reader:
            assert reader.execute(sql).fetchall()
    with server.connect(user="look_nobody", password="look-secret") as nobody, pytest.raises(psycopg.Error) as caught:
        nobody.execute(sql)
    told = caught.value.diag
    # A catalog that one may not use is not there.
    assert told.sqlstate in ("42501", "42704"), (told.sqlstate, told.message_primary)
    everything = " ".join(filter(None, [told.message_primary, told.message_detail, told.message_hint]))
    assert "look_s3" not in everything and "look_hdfs" not in everything, everything


@pytest.mark.parametrize("statement", ["DESCRIBE '{}'", "PREVIEW '{}'", "SELECT * FROM '{}'"])
@pytest.mark.parametrize("place,sqlstate", [
    ("s3://weblogs/nothing/", "HV00R"), ("s3://weblogs/nothing/*.csv", "HV00R"), (HDFS + "/nothing/", "HV00R"),
    # No catalog covers these.
    ("s3://no-catalog-has-this/x.csv", "42704"), ("gs://weblogs/x.csv", "42704"), ("hdfs://127.0.0.1:1/x.csv", "42704"),
    ("s3://weblogs/bad/corrupt.parquet", "XX001"),
])
def test_what_is_not_there(connection, statement, place, sqlstate):
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(statement.format(place))
    told = caught.value.diag
    assert told.sqlstate == sqlstate, (told.sqlstate, told.message_primary)
    assert urllib.parse.urlsplit(place).path.split("/")[1] in told.message_primary + (told.message_hint or ""), told.message_primary


def test_files_are_named_as_they_can_be_written(connection, tmp_path):
    (tmp_path / "s" / "t").mkdir(parents=True)
    bad, good = tmp_path / "s" / "t" / "bad.csv", tmp_path / "s" / "good.csv"
    bad.write_text("a,b\n1,2\n")
    good.write_text("a,b\n1,2\n")
    (tmp_path / "late.csv").write_text("d\n" + "2026-01-01\n" * 1500 + "2026-01-01 10:00\n")
    connection.execute(f"CREATE CATALOG named USING file WITH (path = '{tmp_path}/')")
    connection.execute(f"CREATE EXTERNAL TABLE named_bad (a int, b int) STORED AS CSV LOCATION '{tmp_path}/s/t/'")
    bad.write_text("a,b\n1,2\n3\n")

    def told(sql):
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(sql).fetchall()
        return caught.value.diag

    try:
        for sql in ["SELECT * FROM named.s.t", f"SELECT * FROM '{bad}'", f"SELECT * FROM '{tmp_path}/s/t/*.csv'", "SELECT * FROM named_bad", "SELECT count(*) FROM named.s.t WHERE a = 1"]:
            assert told(sql).message_primary == f'file "{bad}" line 3: 1 field where 2 are expected', sql
        for sql in ["SELECT max(d) FROM named.public.late", f"SELECT max(d) FROM '{tmp_path}/late.csv'"]:
            late = told(sql)
            assert late.message_primary.startswith(f'file "{tmp_path}/late.csv" line 1502: column "d": ') and "2026-01-01 10:00" in late.message_primary
            assert late.message_hint.startswith("Declare the column as text")
        assert f'"{tmp_path}/nothing.csv"' in told(f"SELECT * FROM '{tmp_path}/nothing.csv'").message_primary
        (tmp_path / "s" / "t" / "other.json").write_text("{}\n")
        mixed = told(f"SELECT * FROM '{tmp_path}/s/t/'").message_primary
        assert mixed.startswith(f'"{tmp_path}/s/t" holds files of more than one format') and f'"{bad}"' in mixed
        for sql in ["SELECT * FROM named.s.good", f"SELECT * FROM '{good}'"]:
            plan = "\n".join(row[0] for row in connection.execute("EXPLAIN " + sql).fetchall())
            assert f"[[{good}]]" in plan and "[a, b]" in plan
            assert str(good) in repr(connection.execute("EXPLAIN (FORMAT json) " + sql).fetchone())
        remote = "s3://weblogs/csv/part-0.csv"
        assert f"[[{remote}]]" in "\n".join(row[0] for row in connection.execute(f"EXPLAIN SELECT * FROM '{remote}'").fetchall())
        assert told("SELECT * FROM 's3://weblogs/nothing/'").message_primary.endswith('lies at "s3://weblogs/nothing"')
    finally:
        connection.execute("DROP TABLE named_bad")
        connection.execute("DROP CATALOG named")


# Behind the bucket, or the root, a path is the name as it is: no escape is resolved, and nothing cut off.
NAMES = ["a%20b.csv", "a b.csv", "a+b.csv", "a#b.csv", "a?b.csv", "x%2Fy.csv", "한 글.csv", "p=x%2Fy/part.csv", "100%.csv"]


def put_names(put):
    for number, name in enumerate(NAMES):
        put(name, f"n\n{number}\n".encode())


def check_names(connection, place):
    for number, name in enumerate(NAMES):
        if "?" not in name:  # A pattern.
            assert connection.execute(f"SELECT n FROM '{place}/{name}'").fetchall() == [(number,)], name
        connection.execute(f"CREATE EXTERNAL TABLE look_name STORED AS CSV LOCATION '{place}/{name}'")
        try:
            assert connection.execute("SELECT n FROM look_name").fetchall() == [(number,)], name
        finally:
            connection.execute("DROP TABLE look_name")
    assert connection.execute(f"SELECT n, p FROM '{place}/**/part.csv'").fetchall() == [(NAMES.index("p=x%2Fy/part.csv"), "x/y")]
    # What is written there has the name that was given, too.
    connection.execute(f"COPY (SELECT 77 AS n) TO '{place}/out%20put#1.csv'")
    assert connection.execute(f"SELECT n FROM '{place}/out%20put#1.csv'").fetchall() == [(77,)]


def test_names_of_objects_are_taken_as_they_are(connection):
    client = storage.s3_client()
    try:
        put_names(lambda name, body: client.put_object(Bucket="weblogs", Key=f"hf_names/{name}", Body=body))
        check_names(connection, "s3://weblogs/hf_names")
        keys = [found["Key"] for found in client.list_objects_v2(Bucket="weblogs", Prefix="hf_names/out")["Contents"]]
        assert keys == ["hf_names/out%20put#1.csv"], keys
        with pytest.raises(psycopg.Error) as caught:
            connection.execute("SELECT * FROM 's3://weblogs/hf_names/../csv/part-0.csv'")
        assert caught.value.diag.sqlstate == "22023"
    finally:
        for found in client.list_objects_v2(Bucket="weblogs", Prefix="hf_names/").get("Contents", []):
            client.delete_object(Bucket="weblogs", Key=found["Key"])


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_names_of_local_files_are_taken_as_they_are(connection, tmp_path, scheme):
    (tmp_path / "p=x%2Fy").mkdir()
    put_names(lambda name, body: (tmp_path / name).write_bytes(body))
    check_names(connection, f"{scheme}{tmp_path}")
    assert (tmp_path / "out%20put#1.csv").exists()
