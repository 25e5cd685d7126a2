"""Damaged files: every one is an error of a clean class that names the file, or exactly the rows that stand in it.

A hundred or so mutations in `tests/run`, thousands in `tests/run --long`; which ones is decided by a fixed seed."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import random
import struct
import time
import zlib

import psycopg
import pyarrow
import pyarrow.parquet
import pytest

pytestmark = pytest.mark.timeout(3600)

LONG = os.environ.get("MARU_TEST_LONG") == "1"
MUTATIONS = 300 if LONG else 12
SEED = 20261125
ROWS = [(n, None if n % 7 == 0 else f"name {n} 이름", n * 1.25) for n in range(300)]
# Corrupted, text that is no value, text of a bad form, gone, beyond a limit, of a type or kind that is not read.
CLEAN = {"XX001", "22P02", "22P04", "22021", "22003", "22007", "22008", "58P01", "0A000", "54000", "53200", "HV004"}
# The damage hit the name of a column: the statement asks for one that is not there.
RENAMED = {"42703"}


def parquet_bytes(**options):
    ids, names, amounts = zip(*ROWS)
    table = pyarrow.table({"id": pyarrow.array(ids, "int64"), "name": pyarrow.array(names, "string"), "amount": pyarrow.array(amounts, "float64")})
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out, row_group_size=100, **options)
    return out.getvalue()


def csv_bytes():
    lines = [f'{i},{"" if name is None else chr(34) + name + chr(34)},{amount}' for i, name, amount in ROWS]
    return ("id,name,amount\n" + "\n".join(lines) + "\n").encode()


def json_bytes():
    return "".join(json.dumps({"id": i, "name": name, "amount": amount}, ensure_ascii=False) + "\n" for i, name, amount in ROWS).encode()


def avro_long(n):
    n, out = (n << 1) ^ (n >> 63), b""
    while n > 0x7F:
        out, n = out + bytes([n & 0x7F | 0x80]), n >> 7
    return out + bytes([n])


def avro_text(text):
    raw = text.encode() if isinstance(text, str) else text
    return avro_long(len(raw)) + raw


def avro_bytes(codec):
    """By hand, since no writer of Avro is at hand: a header, then blocks of a hundred rows."""
    schema = {"type": "record", "name": "row", "fields": [
        {"name": "id", "type": "long"}, {"name": "name", "type": ["null", "string"]}, {"name": "amount", "type": "double"}]}
    sync = bytes(range(16))
    out = b"Obj\x01" + avro_long(2) + avro_text("avro.schema") + avro_text(json.dumps(schema))
    out += avro_text("avro.codec") + avro_text(codec) + avro_long(0) + sync
    for start in range(0, len(ROWS), 100):
        block = b"".join(
            avro_long(i) + (avro_long(0) if name is None else avro_long(1) + avro_text(name)) + struct.pack("<d", amount)
            for i, name, amount in ROWS[start:start + 100])
        if codec == "deflate":
            packer = zlib.compressobj(wbits=-15)
            block = packer.compress(block) + packer.flush()
        out += avro_long(100) + avro_long(len(block)) + block + sync
    return out


def zstd_bytes(raw):
    out = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(out, "zstd") as stream:
        stream.write(raw)
    return out.getvalue().to_pybytes()


def rows_of_csv(raw):
    rows = list(csv.DictReader(io.StringIO(raw.decode(), newline="")))
    quoted = raw.count(b'""') == 0
    return [(int(r["id"]) if r["id"] else None, r["name"] if r["name"] or not quoted else None, float(r["amount"]) if r["amount"] else None) for r in rows]


def rows_of_json(raw):
    rows = [json.loads(line, strict=False) for line in raw.decode().split("\n") if line.strip()]
    return [(r.get("id"), r.get("name"), None if r.get("amount") is None else float(r["amount"])) for r in rows]


def unpacked(unpack, rows_of):
    return lambda raw: rows_of(unpack(raw))


def nothing_else(_):
    """The format has checksums: there are no other rows than the original ones."""
    raise ValueError


# By the end of the name: the good bytes, and what another reader makes of damaged ones. Without one (a value in a page
# without a checksum may become another value) there have to be as many rows as before.
FORMATS = {
    "plain.parquet": (lambda: parquet_bytes(compression="none", use_dictionary=False), None),
    "snappy.parquet": (lambda: parquet_bytes(compression="snappy", write_page_index=True), None),
    "zstd.parquet": (lambda: parquet_bytes(compression="zstd", data_page_version="2.0"), None),
    "a.csv": (csv_bytes, rows_of_csv),
    "a.json": (json_bytes, rows_of_json),
    "null.avro": (lambda: avro_bytes("null"), None),
    "deflate.avro": (lambda: avro_bytes("deflate"), None),
    "a.csv.gz": (lambda: gzip.compress(csv_bytes(), mtime=0), nothing_else),
    "a.json.gz": (lambda: gzip.compress(json_bytes(), mtime=0), nothing_else),
    "a.csv.bz2": (lambda: bz2.compress(csv_bytes()), nothing_else),
    "a.csv.xz": (lambda: lzma.compress(csv_bytes()), nothing_else),
    "a.csv.zst": (lambda: zstd_bytes(csv_bytes()), unpacked(lambda raw: pyarrow.CompressedInputStream(pyarrow.BufferReader(raw), "zstd").read(), rows_of_csv)),
}


def mutate(raw, dice):
    """Returns what was done, and the bytes."""
    kind = dice.choice(["flip", "flip", "cut", "cut", "zero", "noise", "swap", "drop", "repeat"])
    at = dice.randrange(len(raw)) if dice.random() < 0.6 else len(raw) - 1 - dice.randrange(min(len(raw), 400))
    length = dice.choice([1, 2, 4, 16, 64])
    if kind == "flip":
        bad = raw[:at] + bytes([raw[at] ^ 1 << dice.randrange(8)]) + raw[at + 1:]
    elif kind == "cut":
        bad = raw[:at]
    elif kind == "zero":
        bad = raw[:at] + bytes(len(raw[at:at + length])) + raw[at + length:]
    elif kind == "noise":
        bad = raw[:at] + dice.randbytes(len(raw[at:at + length])) + raw[at + length:]
    elif kind == "swap":
        bad = raw[:at] + raw[at + length:at + 2 * length] + raw[at:at + length] + raw[at + 2 * length:]
    elif kind == "drop":
        bad = raw[:at] + raw[at + length:]
    else:
        bad = raw[:at] + raw[at:at + length] + raw[at:]
    return f"{kind} {length} at {at} of {len(raw)}", bad


def same(a, b):
    """Equal, NaN to NaN."""
    return repr(a) == repr(b)


def rows_in(connection, path):
    """Text has no types of its own, so they are declared."""
    text = next((kind for kind in ("csv", "json") if f".{kind}" in path.name), None)
    if text is None:
        return connection.execute(f"SELECT id, name, amount FROM '{path}'").fetchall()
    connection.execute("CREATE EXTERNAL TABLE bad_input.t (id bigint, name text, amount double precision) "
                       f"STORED AS {text.upper()} LOCATION '{path}'")
    try:
        return connection.execute("SELECT id, name, amount FROM bad_input.t").fetchall()
    finally:
        connection.execute("DROP TABLE bad_input.t")


def judge(connection, path, original, bad, other_reader):
    """Returns what is wrong with the answer to a damaged file, or None."""
    try:
        rows = rows_in(connection, path)
    except psycopg.Error as error:
        text = " ".join(filter(None, [error.diag.message_primary, error.diag.message_detail]))
        if error.sqlstate in RENAMED:
            return None
        if error.sqlstate not in CLEAN:
            return f"{error.sqlstate}: {text}"
        return None if path.name in text else f"the file is not named: {error.sqlstate}: {text}"
    if same(rows, original) or bad == b"":
        return None
    if other_reader is not None:
        try:
            others = other_reader(bad)
        except Exception as error:
            return f"{len(rows)} rows that another reader does not see ({error!r:.200}): {difference(rows, original)}"
        return None if same(rows, others) else f"{len(rows)} rows, another reader sees {len(others)}: {difference(rows, others)}"
    return None if len(rows) == len(original) else f"{len(rows)} rows of {len(original)} in silence"


def difference(rows, others):
    return str([pair for pair in zip(rows, others) if not same(*pair)][:2])


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    from conftest import Server
    server = Server(tmp_path_factory.mktemp("bad_input") / "data")
    with server.connect(prepare_threshold=None) as connection:
        connection.execute("SET statement_timeout = '20s'")
        connection.execute("CREATE SCHEMA bad_input")
        yield connection
    alive = server.process.poll() is None
    log = server.log_path.read_text(errors="replace")
    server.stop()
    assert alive, log[-5000:]
    # A library may panic over the bytes of a file, which ends as an error of that file; Maru itself never does.
    ours = [line for line in log.splitlines() if "panicked at" in line and "/registry/src/" not in line]
    assert ours == []


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files(session, tmp_path, name):
    make, other_reader = FORMATS[name]
    good = make()
    (tmp_path / name).write_bytes(good)
    original = rows_in(session, tmp_path / name)
    assert same(original, ROWS)
    dice = random.Random(f"{SEED} {name}")
    wrong = []
    for number in range(MUTATIONS):
        what, bad = mutate(good, dice)
        path = tmp_path / f"m{number}-{name}"
        path.write_bytes(bad)
        complaint = judge(session, path, original, bad, other_reader)
        path.unlink()
        if complaint is not None:
            wrong.append(f"mutation {number} ({what}): {complaint}")
    assert wrong == []
