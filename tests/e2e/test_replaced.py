"""Files that another program replaces while a statement reads them: the rows of one version, or an error that names the file.
Each format, in each place, with versions of one size."""

import io
import json
import os

import psycopg
import pyarrow
import pyarrow.orc
import pyarrow.parquet
import pytest
from seeding import storage

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]

# More than sockets hold, so that the server is in the middle of the file while the client is.
ROWS, WIDTH = 40_000, 800
BUCKET, FOLDER = "replaced", "/tmp/e2e_replaced"
OLD, NEW = 10_000_000, 50_000_000


def ids(start):
    return range(start, start + ROWS)


def pad(number):
    return f"{number:0{WIDTH}d}"


def table(start):
    return pyarrow.table({"id": pyarrow.array(ids(start), "int64"), "pad": [pad(n) for n in ids(start)]})


def parquet(start):
    return storage.parquet_bytes(table(start), compression="none", row_group_size=2000, use_dictionary=False)


def orc(start):
    out = pyarrow.BufferOutputStream()
    pyarrow.orc.write_table(table(start), out, stripe_size=1 << 20, compression="uncompressed")
    return out.getvalue().to_pybytes()


def csv(start):
    return ("id,pad\n" + "".join(f"{n},{pad(n)}\n" for n in ids(start))).encode()


def lines(start):
    return "".join(f'{{"id": {n}, "pad": "{pad(n)}"}}\n' for n in ids(start)).encode()


def varint(number):
    number, out = number << 1, bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def avro(start):
    """By the specification: a head with the schema, blocks of rows."""
    schema = {"type": "record", "name": "row", "fields": [{"name": "id", "type": "long"}, {"name": "pad", "type": "string"}]}
    text, mark, out = json.dumps(schema).encode(), b"0123456789abcdef", io.BytesIO()
    out.write(b"Obj\x01" + varint(1) + varint(11) + b"avro.schema" + varint(len(text)) + text + varint(0) + mark)
    rows = [varint(n) + varint(WIDTH) + pad(n).encode() for n in ids(start)]
    for first in range(0, ROWS, 1000):
        block = b"".join(rows[first:first + 1000])
        out.write(varint(1000) + varint(len(block)) + block + mark)
    return out.getvalue()


FORMATS = {"parquet": parquet, "orc": orc, "csv": csv, "json": lines, "avro": avro}


class InPlace:
    """Written over, byte by byte, under the same inode."""

    def __init__(self, folder):
        self.folder = folder
        self.catalog = f"file WITH (path = '{folder}', layout = 'tables')"

    def put(self, name, body):
        path = self.folder / name
        with open(path, "r+b" if path.exists() else "wb") as file:
            file.write(body)


class Renamed(InPlace):
    def put(self, name, body):
        (self.folder / "_new").write_bytes(body)
        (self.folder / "_new").rename(self.folder / name)


class S3:
    def __init__(self, _):
        self.client = storage.s3_client()
        storage.s3_fresh_bucket(self.client, BUCKET)
        self.catalog = (f"s3 WITH (bucket = '{BUCKET}', layout = 'tables', endpoint = '{os.environ['MARU_TEST_S3']}', "
                        f"access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}')")

    def put(self, name, body):
        self.client.put_object(Bucket=BUCKET, Key=name, Body=body)


class Hdfs:
    def __init__(self, _):
        self.hdfs = storage.Hdfs()
        self.hdfs.delete(FOLDER)
        self.hdfs.make_folder(FOLDER)
        self.catalog = f"hdfs WITH (url = '{os.environ['MARU_TEST_HDFS']}{FOLDER}', layout = 'tables')"

    def put(self, name, body):
        self.hdfs.put(f"{FOLDER}/{name}", body)


@pytest.mark.parametrize("place", [InPlace, Renamed, S3, Hdfs])
def test_replaced_while_it_is_read(server, tmp_path, place):
    place = place(tmp_path)
    for end, write in FORMATS.items():
        place.put(f"t_{end}.{end}", write(OLD))
    with server.connect(prepare_threshold=None) as connection:
        connection.execute(f"CREATE CATALOG replaced USING {place.catalog}")
        try:
            for end, write in FORMATS.items():
                old, new = write(OLD), write(NEW)
                if end != "orc":
                    assert len(old) == len(new), end
                outcome = read_and_replace(connection, f"SELECT id, pad FROM replaced.public.t_{end}", lambda: place.put(f"t_{end}.{end}", new))
                assert outcome in ("old", "new", "refused"), (end, outcome)
                after = connection.execute(f"SELECT min(id), max(id), count(*) FROM replaced.public.t_{end}").fetchone()
                assert after == (NEW, NEW + ROWS - 1, ROWS), (end, after)
        finally:
            connection.execute("DROP CATALOG replaced")


def read_and_replace(connection, sql, replace):
    """Replaces the file once a few rows are there."""
    seen = []
    try:
        for number, text in connection.cursor().stream(sql):
            assert text == pad(number)
            seen.append(number)
            if len(seen) == 10:
                replace()
    except psycopg.Error as error:
        assert error.sqlstate in {"XX001", "58P01"} and "t_" in str(error), (error.sqlstate, str(error))
        return "refused"
    seen.sort()
    for name, start in [("old", OLD), ("new", NEW)]:
        if seen == list(ids(start)):
            return name
    return f"{len(seen)} rows, {sum(n < NEW for n in seen)} of them old"
