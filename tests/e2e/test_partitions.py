"""Partition values that are not of their column's type, in directories on the local disk and in S3: an error, never another value."""

import os

import psycopg
import pytest
from seeding import storage

BUCKET = "partition-values"
FILES = {"p=1/a.csv": b"v\n1\n", "p=2/a.csv": b"v\n2\n", "p=x/a.csv": b"v\n3\n"}


@pytest.fixture(scope="module", params=["file", pytest.param("s3", marks=pytest.mark.services)])
def place(request, server, tmp_path_factory):
    """The location of a table with one strange partition, and a connection that reads it."""
    with server.connect(prepare_threshold=None) as connection:
        connection.execute("CREATE SCHEMA parts")
        if request.param == "file":
            folder = tmp_path_factory.mktemp("parts") / "t"
            for name, body in FILES.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(body)
            location = f"{folder}/"
        else:
            client = storage.s3_client()
            storage.s3_fresh_bucket(client, BUCKET)
            for name, body in FILES.items():
                client.put_object(Bucket=BUCKET, Key=f"t/{name}", Body=body)
            connection.execute(
                f"CREATE CATALOG parts_s3 USING s3 WITH (endpoint = '{os.environ['MARU_TEST_S3']}', bucket = '{BUCKET}', "
                f"access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}')")
            location = f"s3://{BUCKET}/t/"
        yield connection, location
        connection.execute("DROP SCHEMA parts CASCADE")
        if request.param == "s3":
            connection.execute("DROP CATALOG parts_s3")


@pytest.mark.parametrize("columns, partitioned", [
    ("v bigint", "PARTITIONED BY (p bigint)"),
    ("v bigint, p bigint", "PARTITIONED BY (p)"),
    ("v bigint, p bigint", ""),
    ("v bigint, p date", ""),
])
def test_a_value_not_of_the_declared_type(place, columns, partitioned):
    connection, location = place
    connection.execute(f"CREATE OR REPLACE EXTERNAL TABLE parts.t ({columns}) STORED AS CSV {partitioned} LOCATION '{location}'")
    for sql in ["SELECT v, p FROM parts.t", "SELECT v FROM parts.t WHERE p IS NOT NULL", "SELECT count(*) FROM parts.t"]:
        with pytest.raises(psycopg.errors.InvalidTextRepresentation, match="p="):
            connection.execute(sql).fetchall()


def test_the_type_is_found_where_none_is_declared(place):
    connection, location = place
    rows = [(1, "1"), (2, "2"), (3, "x")]
    assert connection.execute(f"SELECT v, p FROM '{location}' ORDER BY v").fetchall() == rows
    connection.execute(f"CREATE OR REPLACE EXTERNAL TABLE parts.t (v bigint) STORED AS CSV PARTITIONED BY (p) LOCATION '{location}'")
    assert connection.execute("SELECT v, p FROM parts.t ORDER BY v").fetchall() == rows
    connection.execute(f"CREATE OR REPLACE EXTERNAL TABLE parts.t (v bigint, p text) STORED AS CSV LOCATION '{location}'")
    assert connection.execute("SELECT v FROM parts.t WHERE p = 'x'").fetchall() == [(3,)]
