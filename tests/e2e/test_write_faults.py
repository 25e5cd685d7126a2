"""Writes while the store under them fails: S3 that answers 500, 503 or late, a disk that is full. Old rows or new ones, whole."""

import os
import pathlib
import random
import subprocess
import sys
import uuid

import psycopg
import pytest
from http_faults import HttpFaults
from seeding import storage

BUCKET = "maru-write-faults"


def state_of(call):
    with pytest.raises(psycopg.Error) as error:
        call()
    return error.value.sqlstate


@pytest.fixture
def faulty(connection):
    """A catalog on S3 behind a server that fails, and the same one without it."""
    name = uuid.uuid4().hex[:8]
    client = storage.s3_client()
    if BUCKET not in [found["Name"] for found in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key=f"{name}/.keep", Body=b"x")
    faults = HttpFaults(os.environ["MARU_TEST_S3"])
    for catalog, url in (("faulty", faults.url), ("sound", os.environ["MARU_TEST_S3"])):
        connection.execute(f"""CREATE CATALOG {catalog} USING s3 WITH (bucket = '{BUCKET}', prefix = '{name}', endpoint = '{url}', timeout = '3s',
            access_key_id = '{os.environ["MARU_TEST_S3_ACCESS_KEY"]}', secret_access_key = '{os.environ["MARU_TEST_S3_SECRET_KEY"]}')""")
    yield faults
    for catalog in ("faulty", "sound"):
        connection.execute(f"DROP CATALOG {catalog}")
    faults.close()


@pytest.mark.services
@pytest.mark.timeout(600)
def test_s3_answers_errors_and_late(connection, faulty):
    connection.execute("CREATE TABLE faulty.public.t (round int, id bigint)")
    rounds = 30 if os.environ.get("MARU_TEST_LONG") else 6
    counts = {"done": 0, "failed": 0, "faults": 0}
    count = "SELECT count(*), count(DISTINCT round::bigint * 1000000 + id) FROM sound.public.t"
    dice = random.Random(3)
    for number in range(rounds):
        before = connection.execute(count).fetchone()
        if number % 3 == 0:
            faulty.sometimes(500, 0.2, number)
        elif number % 3 == 1:
            faulty.sometimes(503, 0.4, number)
        else:
            faulty.mode = lambda method, path: 0.4 if dice.random() < 0.3 else None
        try:
            connection.execute(f"INSERT INTO faulty.public.t SELECT {number}, i FROM generate_series(1, 20000) g(i)")
            done = True
        except psycopg.Error as error:
            assert error.sqlstate in ("HV00N", "HV000", "58030", "53000"), error
            done = False
        faulty.mode = lambda method, path: None
        after = connection.execute(count).fetchone()
        assert after[0] == after[1] and after[0] - before[0] == (20000 if done else 0), (number, done, before, after)
        counts["done" if done else "failed"] += 1
    counts["faults"] = faulty.n_faults
    print(f"S3 with errors: {counts}")
    assert counts["done"] > 0 and counts["faults"] > 0
    # One that never answers well: an error, and what was there is there.
    before = connection.execute(count).fetchone()
    faulty.mode = lambda method, path: 503 if method in ("PUT", "POST") else None
    with pytest.raises(psycopg.Error):
        connection.execute("INSERT INTO faulty.public.t VALUES (1000, 1)")
    # The very commit fails, its answer or its way.
    faulty.mode = lambda method, path: 500 if method == "PUT" and "_delta_log" in path else None
    with pytest.raises(psycopg.Error):
        connection.execute("INSERT INTO faulty.public.t VALUES (1001, 1)")
    faulty.mode = lambda method, path: None
    assert connection.execute(count).fetchone() == before
    # Plain files, too: nothing that looks complete.
    faulty.mode = lambda method, path: 503 if method == "PUT" and "_SUCCESS" in path else None
    name = connection.execute("SELECT options FROM system.catalogs WHERE name = 'sound'").fetchone()[0].split("prefix = '")[1].split("'")[0]
    with pytest.raises(psycopg.Error):
        # The catalog that comes first by its name serves the place.
        connection.execute(f"COPY (SELECT i AS id FROM generate_series(1, 1000) g(i)) TO 's3://{BUCKET}/{name}/copied' (FORMAT csv)")
    faulty.mode = lambda method, path: None
    left = storage.s3_client().list_objects_v2(Bucket=BUCKET, Prefix=f"{name}/copied").get("Contents", [])
    assert not left, left
