"""Damaged files: every one is an error of a clean class that names the file, or exactly the rows that stand in it.

A hundred or so mutations in `tests/run`, thousands in `tests/run --long`; which ones is decided by a fixed seed."""

import bz2
import contextlib
import csv
import decimal
import gzip
import io
import json
import lzma
import os
import pathlib
import random
import re
import shutil
import sqlite3
import struct
import time
import zlib

import psycopg
import pyarrow
import pyarrow.orc
import pyarrow.parquet
import pytest

pytestmark = pytest.mark.timeout(3600)

LONG = os.environ.get("MARU_TEST_LONG") == "1"
MUTATIONS = 300 if LONG else 12
SEED = 20261125
ROWS = [(n, None if n % 7 == 0 else f"name {n} 이름", n * 1.25) for n in range(300)]
# Corrupted, text that is no value, text of a bad form, gone, beyond a limit, of a type or kind that is not read.
CLEAN = {"XX001", "22P02", "22P04", "22021", "22003", "22007", "22008", "58P01", "0A000", "54000", "53200", "HV004"}
# The damage hit the name or the type of a column: the statement asks for one that is not there, or what it is not.
RENAMED = {"42703", "42883"}


def parquet_bytes(**options):
    ids, names, amounts = zip(*ROWS)
    table = pyarrow.table({"id": pyarrow.array(ids, "int64"), "name": pyarrow.array(names, "string"), "amount": pyarrow.array(amounts, "float64")})
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out, row_group_size=100, **options)
    return out.getvalue()


def orc_bytes(compression):
    out = io.BytesIO()
    columns = zip(*((i, name, amount, None if name is None else [amount] * (i % 4)) for i, name, amount in ROWS))
    kinds = ["int64", "string", "float64", pyarrow.list_(pyarrow.float64())]
    arrays = [pyarrow.array(values, kind) for values, kind in zip(columns, kinds)]
    table = pyarrow.table(arrays, names=["id", "name", "amount", "list"])
    with pyarrow.orc.ORCWriter(out, compression=compression, stripe_size=1000, batch_size=100) as writer:
        for start in range(0, len(ROWS), 100):
            writer.write(table.slice(start, 100))
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


SYNC = bytes(range(16))


def avro_head(codec, fields):
    """By hand, since no writer of Avro is at hand."""
    schema = {"type": "record", "name": "row", "fields": [{"name": name, "type": kind} for name, kind in fields]}
    out = b"Obj\x01" + avro_long(2) + avro_text("avro.schema") + avro_text(json.dumps(schema))
    return out + avro_text("avro.codec") + avro_text(codec) + avro_long(0) + SYNC


def avro_block(codec, count, block):
    if codec == "deflate":
        packer = zlib.compressobj(wbits=-15)
        block = packer.compress(block) + packer.flush()
    elif codec == "snappy":
        block = pyarrow.Codec("snappy").compress(block, asbytes=True) + struct.pack(">I", zlib.crc32(block))
    elif codec == "zstandard":
        block = zstd_bytes(block)
    elif codec in ("bzip2", "xz"):
        block = (bz2 if codec == "bzip2" else lzma).compress(block)
    return avro_long(count) + avro_long(len(block)) + block + SYNC


def avro_bytes(codec):
    """Blocks of a hundred rows."""
    out = avro_head(codec, [("id", "long"), ("name", ["null", "string"]), ("amount", "double")])
    for start in range(0, len(ROWS), 100):
        block = b"".join(
            avro_long(i) + (avro_long(0) if name is None else avro_long(1) + avro_text(name)) + struct.pack("<d", amount)
            for i, name, amount in ROWS[start:start + 100])
        out += avro_block(codec, 100, block)
    return out


def zstd_bytes(raw):
    out = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(out, "zstd") as stream:
        stream.write(raw)
    return out.getvalue().to_pybytes()


def rows_of_csv(raw):
    rows = list(csv.DictReader(io.StringIO(raw.decode(), newline="")))
    # An empty text is one in quotes; the module does not tell it from none.
    quoted = re.search(rb'(^|,)""(,|$)', raw, re.M) is None
    return [(int(r["id"]) if r["id"] else None, r["name"] if r["name"] or not quoted else None, float(r["amount"]) if r["amount"] else None) for r in rows]


def rows_of_json(raw):
    """By the rule of the documentation: a whole number is an integer however it is written, text is what is written."""
    rows = [json.loads(line, parse_float=decimal.Decimal) for line in raw.decode().split("\n") if line.strip()]

    def whole(value):
        if value is None or type(value) is int:
            return value
        if type(value) is bool or int(value) != decimal.Decimal(value):
            raise ValueError(value)
        return int(value)

    def text(value):
        return value if value is None or type(value) is str else json.dumps(value)

    return [(whole(r.get("id")), text(r.get("name")), None if r.get("amount") is None else float(r["amount"])) for r in rows]


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
    "plain.orc": (lambda: orc_bytes("uncompressed"), None),
    "zlib.orc": (lambda: orc_bytes("zlib"), None),
    "lz4.orc": (lambda: orc_bytes("lz4"), None),
    "a.csv": (csv_bytes, rows_of_csv),
    "a.json": (json_bytes, rows_of_json),
    "null.avro": (lambda: avro_bytes("null"), None),
    "deflate.avro": (lambda: avro_bytes("deflate"), None),
    "snappy.avro": (lambda: avro_bytes("snappy"), None),
    "zstandard.avro": (lambda: avro_bytes("zstandard"), None),
    "bzip2.avro": (lambda: avro_bytes("bzip2"), None),
    "xz.avro": (lambda: avro_bytes("xz"), None),
    "zstd.orc": (lambda: orc_bytes("zstd"), None),
    "snappy.orc": (lambda: orc_bytes("snappy"), None),
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
        # Lists are read as well, where there are any: their lengths may be what is damaged.
        condition = "coalesce(cardinality(list), 0) >= 0" if path.name.endswith(".orc") else "true"
        # Stripes are read side by side.
        return connection.execute(f"SELECT id, name, amount FROM '{path}' WHERE {condition} ORDER BY id").fetchall()
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
        connection.process = server.process
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
        if name.endswith(".avro") and good.startswith(bad) and bad.endswith(good[-16:]):
            # Cut behind the mark of its header or of a block it is a whole file of fewer rows.
            continue
        path = tmp_path / f"m{number}-{name}"
        path.write_bytes(bad)
        complaint = judge(session, path, original, bad, other_reader)
        path.unlink()
        if complaint is not None:
            wrong.append(f"mutation {number} ({what}): {complaint}")
    assert wrong == []


def refused(connection, sql, states, *words):
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(sql).fetchall()
    text = " ".join(filter(None, [caught.value.diag.message_primary, caught.value.diag.message_detail]))
    assert caught.value.sqlstate in states and all(word in text for word in words), (caught.value.sqlstate, text)


class Raw:
    """What packs a stream of bytes as `zlib.compressobj` does, by zstd."""

    def __init__(self):
        self.out = pyarrow.BufferOutputStream()
        self.stream = pyarrow.CompressedOutputStream(self.out, "zstd")

    def compress(self, raw):
        self.stream.write(raw)
        return b""

    def flush(self):
        self.stream.close()
        return self.out.getvalue().to_pybytes()


PACKERS = {"gz": lambda: zlib.compressobj(9, wbits=31), "zst": Raw, "bz2": bz2.BZ2Compressor, "xz": lzma.LZMACompressor}


@contextlib.contextmanager
def little_memory(connection, most=400 << 20):
    """The statement may have 100 MB, and the process does not grow by more than `most`, what is not counted among it."""
    status = pathlib.Path(f"/proc/{connection.process.pid}/status")
    # The peak begins anew.
    (status.parent / "clear_refs").write_text("5")

    def kilobytes(name):
        return int(re.search(name + r":\s+(\d+) kB", status.read_text()).group(1)) << 10

    before = kilobytes("VmRSS")
    connection.execute("SET maru.query_memory_limit = '100MB'")
    connection.execute("SET statement_timeout = '300s'")
    try:
        yield
        grown = kilobytes("VmHWM") - before
        assert grown < most, f"{grown >> 20} MB"
    finally:
        connection.execute("RESET maru.query_memory_limit")
        connection.execute("SET statement_timeout = '20s'")


@pytest.mark.parametrize("packing,fill", [("gz", "rows"), *((packing, "newlines") for packing in PACKERS)])
def test_bomb(session, tmp_path, packing, fill):
    """Some GB in some MB: memory stays bounded, whether it is counted or looked into."""
    size = (4 << 30) if LONG else (32 << 20) if fill == "newlines" else (256 << 20)
    piece = {"newlines": b"\n" * (1 << 20), "rows": b"1,a,1.5\n" * (1 << 17)}[fill]
    path = tmp_path / f"bomb.csv.{packing}"
    packer = PACKERS[packing]()
    with open(path, "wb") as file:
        file.write(packer.compress(b"id,name,amount\n1,a,1.5\n"))
        for _ in range(size >> 20):
            file.write(packer.compress(piece))
        file.write(packer.flush())
    with little_memory(session):
        rows = 1 if fill == "newlines" else 1 + (size >> 20 << 17)
        if LONG or fill == "newlines":
            assert session.execute(f"SELECT count(*) FROM '{path}'").fetchone() == (rows,)
        assert session.execute(f"SELECT id FROM '{path}' LIMIT 1").fetchall() in [[(1,)], [("1",)]]


MANY = 30_000_000 if LONG else 4_000_000


def expanding_parquet(path, **options):
    """One row group, and in it pages as large as they can be."""
    table = pyarrow.table({"n": pyarrow.repeat(pyarrow.scalar(7, "int64"), MANY)})
    pyarrow.parquet.write_table(table, path, row_group_size=MANY, **options)


def expanding_orc(path, text=False):
    value = pyarrow.scalar("x" * 100) if text else pyarrow.scalar(7, "int64")
    with pyarrow.orc.ORCWriter(path, compression="zstd", stripe_size=1 << 30, dictionary_key_size_threshold=0.0) as writer:
        for _ in range(8):
            writer.write(pyarrow.table({"n": pyarrow.repeat(value, MANY // (80 if text else 8))}))


def expanding_avro(path, codec):
    block = avro_long(7) * MANY
    path.write_bytes(avro_head(codec, [("n", "long")]) + avro_block(codec, MANY, block))


EXPANDING = {
    "rle.parquet": lambda path: expanding_parquet(path, use_dictionary=True),
    "zstd.parquet": lambda path: expanding_parquet(path, use_dictionary=False, compression="zstd", data_page_size=1 << 30, max_rows_per_page=MANY),
    "gzip.parquet": lambda path: expanding_parquet(path, use_dictionary=False, compression="gzip", data_page_size=1 << 20),
    "rle.orc": expanding_orc,
    "text.orc": lambda path: expanding_orc(path, text=True),
    **{f"{codec}.avro": lambda path, codec=codec: expanding_avro(path, codec) for codec in ["deflate", "zstandard", "bzip2", "xz"]},
}


@pytest.mark.parametrize("name", EXPANDING)
def test_blocks_that_expand(session, tmp_path, name):
    """Millions of rows in a few KB of one page, stripe or block: the rows, or memory that runs out, and the next statement works."""
    path = tmp_path / name
    EXPANDING[name](path)
    assert path.stat().st_size < 1 << 20
    rows = MANY // 10 if name == "text.orc" else MANY
    with little_memory(session, most=(700 << 20) if LONG else (400 << 20)):
        for sql, wanted in [("SELECT count(*), min(n), max(n) FROM '{}'", None), ("SELECT n FROM '{}' LIMIT 1", 1)]:
            try:
                found = session.execute(sql.format(path)).fetchall()
            except psycopg.Error as error:
                assert error.sqlstate in ("53200", "54000"), (error.sqlstate, str(error))
            else:
                assert len(found) == 1 and (wanted or found[0][0] == rows), found
    assert session.execute("SELECT 1").fetchone() == (1,)


def test_more_files_than_memory(session, tmp_path):
    """The list of a table's files counts as well; one partition of it is no trouble."""
    for part in range(20):
        folder = tmp_path / "many" / f"part={part}"
        folder.mkdir(parents=True)
        for number in range(1000):
            (folder / f"{number}.csv").write_bytes(b"v\n1\n")
    session.execute("SET maru.query_memory_limit = '4MB'")
    try:
        with pytest.raises(psycopg.errors.OutOfMemory, match="memory"):
            session.execute(f"SELECT count(*) FROM '{tmp_path}/many/'").fetchall()
        assert session.execute(f"SELECT count(*) FROM '{tmp_path}/many/' WHERE part = 7").fetchone() == (1000,)
    finally:
        session.execute("RESET maru.query_memory_limit")


@pytest.mark.parametrize("length", [0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 100_000])
def test_absurd_length_in_a_footer(session, tmp_path, length):
    good = parquet_bytes()
    path = tmp_path / "absurd.parquet"
    path.write_bytes(good[:-8] + struct.pack("<I", length) + b"PAR1")
    for sql in ["SELECT count(*)", "SELECT *"]:
        refused(session, f"{sql} FROM '{path}'", {"XX001"}, path.name)


def orc_postscript(**changed):
    """The last message of the file: lengths of what stands before it, by number of the field."""
    values = {"footer": None, "compression": 0, "block": 262_144, "metadata": 0, **changed}
    varint = lambda n: avro_long(n // 2 if n % 2 == 0 else -(n + 1) // 2)
    out = b"".join(varint(number << 3) + varint(values[name]) for number, name in [(1, "footer"), (2, "compression"), (3, "block")])
    out += varint(4 << 3 | 2) + b"\x02\x00\x0c" + varint(5 << 3) + varint(values["metadata"])
    return out + varint(8000 << 3 | 2) + b"\x03ORC"


@pytest.mark.parametrize("length", [0, 1, 2**31 - 1, 2**32, 2**63 - 1, 2**64 - 1])
@pytest.mark.parametrize("field", ["footer", "metadata", "block"])
def test_absurd_length_in_a_postscript(session, tmp_path, field, length):
    """The footer is longer than the file, or its parts are longer than anything."""
    good = orc_bytes("zlib")
    whole = good[:-1 - good[-1]]
    path = tmp_path / "absurd.orc"
    postscript = orc_postscript(**{"footer": 10, "compression": 1, field: length})
    path.write_bytes(whole + postscript + bytes([len(postscript)]))
    for sql in ["SELECT count(*)", "SELECT *"]:
        refused(session, f"{sql} FROM '{path}'", {"XX001"}, path.name)


ROW = avro_long(1) + avro_text("a")


@pytest.mark.parametrize("block", [
    avro_long(1) + avro_long(2**62), avro_long(1) + avro_long(-1), avro_long(1) + avro_long(-2**63), avro_long(1) + avro_long(2**31) + ROW,
    avro_long(2**62) + avro_long(len(ROW)) + ROW + SYNC, avro_long(-1) + avro_long(len(ROW)) + ROW + SYNC,
    avro_long(1) + avro_long(10) + avro_long(1) + avro_long(2**60) + SYNC, avro_long(1) + avro_long(5) + avro_long(1) + avro_long(-5) + SYNC,
    b"\xff" * 20, avro_long(0) + avro_long(2**40)])
def test_absurd_length_of_a_block(session, tmp_path, block):
    path = tmp_path / "absurd.avro"
    path.write_bytes(avro_head("null", [("id", "long"), ("name", "string")]) + block)
    for sql in ["SELECT count(*)", "SELECT count(name)", "SELECT *"]:
        refused(session, f"{sql} FROM '{path}'", {"XX001", "54000"}, path.name)


DELTA = pathlib.Path(__file__).parents[1] / "fixtures/delta"


def damaged_delta():
    """A checkpoint and a deletion vector of each table of the fixtures that has one."""
    for pattern in ["**/*.checkpoint*.parquet", "**/deletion_vector_*.bin"]:
        for path in sorted(DELTA.glob(pattern)):
            yield str(path.relative_to(DELTA))


@pytest.mark.parametrize("name", list(damaged_delta()))
def test_damaged_delta(session, tmp_path, name):
    """Checkpoints and deletion vectors say which rows there are: an error that names the file or its table, or all that there were."""
    table = next(parent for parent in (DELTA / name).parents if (parent / "_delta_log").is_dir())
    copy = tmp_path / "copy"
    shutil.copytree(table, copy)
    place = copy / (DELTA / name).relative_to(table)
    good = place.read_bytes()
    columns = [row[0] for row in session.execute(f"DESCRIBE '{copy}/'").fetchall()]
    sql = "SELECT {} FROM '{}/'".format(", ".join(f'"{column}"::text' for column in columns), copy)
    original = sorted(session.execute(sql).fetchall(), key=repr)
    dice = random.Random(f"{SEED} {name}")
    wrong = []
    for number in range(MUTATIONS):
        what, bad = mutate(good, dice)
        # A place of its own, so that nothing that is kept of it counts.
        moved = tmp_path / f"m{number}"
        copy.rename(moved)
        copy, place = moved, moved / place.relative_to(copy)
        place.write_bytes(bad)
        try:
            rows = sorted(session.execute(sql.replace(str(tmp_path / "copy"), str(copy))).fetchall(), key=repr)
        except psycopg.Error as error:
            text = " ".join(filter(None, [error.diag.message_primary, error.diag.message_detail]))
            if error.sqlstate not in CLEAN | RENAMED:
                wrong.append(f"mutation {number} ({what}): {error.sqlstate}: {text}")
            elif copy.name not in text:
                wrong.append(f"mutation {number} ({what}): nothing is named: {error.sqlstate}: {text}")
        else:
            # A vector has a checksum; a value in a checkpoint, such as one of a partition, may become another one.
            if not same(rows, original) and (name.endswith(".bin") or len(rows) != len(original)):
                wrong.append(f"mutation {number} ({what}): {len(rows)} rows of {len(original)}")
    assert wrong == []


def test_damaged_sqlite(session, tmp_path):
    """Cut, and with pages exchanged, emptied and filled with noise. SQLite has no checksums: what is a value may become another."""
    good = tmp_path / "good.db"
    with sqlite3.connect(good) as direct:
        direct.execute("PRAGMA page_size = 1024")
        direct.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, amount REAL)")
        direct.execute("CREATE INDEX by_name ON t (name)")
        direct.executemany("INSERT INTO t VALUES (?, ?, ?)", ROWS)
    direct.close()
    raw, page = good.read_bytes(), 1024
    n_pages = len(raw) // page
    dice = random.Random(f"{SEED} sqlite")
    wrong, errors = [], 0
    for number in range(3 * MUTATIONS):
        at, other = dice.randrange(n_pages) * page, dice.randrange(n_pages) * page
        kind = dice.choice(["cut", "page cut", "noise", "zero", "swap", "flip", "bytes"])
        if kind == "cut":
            bad = raw[:dice.randrange(len(raw))]
        elif kind == "page cut":
            bad = raw[:at]
        elif kind in ("noise", "zero"):
            bad = raw[:at] + (dice.randbytes(page) if kind == "noise" else bytes(page)) + raw[at + page:]
        elif kind == "swap":
            bad = bytearray(raw)
            bad[at:at + page], bad[other:other + page] = raw[other:other + page], raw[at:at + page]
        elif kind == "flip":
            byte = at + dice.randrange(16)
            bad = raw[:byte] + bytes([raw[byte] ^ 1 << dice.randrange(8)]) + raw[byte + 1:]
        else:
            _, bad = mutate(raw, dice)
        path = tmp_path / f"m{number}.db"
        path.write_bytes(bad)
        try:
            session.execute(f"CREATE CATALOG bad_db USING sqlite WITH (path = '{path}')")
            try:
                rows = session.execute("SELECT id, name, amount FROM bad_db.main.t").fetchall()
            finally:
                session.execute("DROP CATALOG bad_db")
        except psycopg.Error as error:
            errors += 1
            text = " ".join(filter(None, [error.diag.message_primary, error.diag.message_detail]))
            # What is left of it may be a database without the table, or without any.
            if error.sqlstate not in CLEAN | RENAMED | {"42P01", "3F000", "HV000", "HV00N", "HV024"}:
                wrong.append(f"mutation {number} ({kind} at {at}): {error.sqlstate}: {text}")
            elif "bad_db" not in text and path.name not in text:
                wrong.append(f"mutation {number} ({kind} at {at}): nothing is named: {error.sqlstate}: {text}")
        else:
            with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(sqlite3.connect(path)) as direct:
                others = direct.execute("SELECT id, name, amount FROM t").fetchall()
                if not same(sorted(rows, key=repr), sorted(others, key=repr)):
                    wrong.append(f"mutation {number} ({kind} at {at}): {len(rows)} rows, another reader sees {len(others)}")
                continue
            wrong.append(f"mutation {number} ({kind} at {at}): {len(rows)} rows that another reader does not see")
    assert wrong == [] and errors > MUTATIONS


def test_schema_that_changed_in_other_formats(session, tmp_path):
    """As in Parquet; a line of CSV has no names, so its header counts."""
    def orc(path, **columns):
        pyarrow.orc.write_table(pyarrow.table({name: pyarrow.array([value], kind) for name, (kind, value) in columns.items()}), path)

    def avro(path, **columns):
        kinds = {"int64": "long", "int32": "int", "string": "string", "float64": "double"}
        row = b"".join(struct.pack("<d", value) if kind == "float64" else avro_text(value) if kind == "string" else avro_long(value)
                       for kind, value in columns.values())
        path.write_bytes(avro_head("null", [(name, kinds[kind]) for name, (kind, _) in columns.items()]) + avro_block("null", 1, row))

    def text(path, **columns):
        path.write_text(",".join(columns) + "\n" + ",".join(str(value) for _, value in columns.values()) + "\n")

    for name, write in [("orc", orc), ("avro", avro), ("csv", text)]:
        folder = tmp_path / name
        folder.mkdir()
        write(folder / f"1.{name}", id=("int64", 1), v=("string", "a"))
        write(folder / f"2.{name}", id=("int32", 2))
        write(folder / f"3.{name}", v=("string", "c"), id=("int64", 3))
        session.execute(f"CREATE EXTERNAL TABLE bad_input.changed (id bigint, v text) STORED AS {name.upper()} LOCATION '{folder}/'")
        ask = "SELECT id, v FROM bad_input.changed ORDER BY id"
        try:
            assert session.execute(ask).fetchall() == [(1, "a"), (2, None), (3, "c")], name
            # A column that the table does not have is passed over where files name theirs; a header of CSV that names it is an error.
            write(folder / f"4.{name}", id=("int64", 4), extra=("float64", 1.5), v=("string", "d"))
            if name == "csv":
                refused(session, ask, {"22P04"}, "4.csv", "extra")
                (folder / "4.csv").unlink()
            else:
                assert session.execute(ask).fetchall() == [(1, "a"), (2, None), (3, "c"), (4, "d")], name
            write(folder / f"5.{name}", id=("string", "five"), v=("string", "e"))
            refused(session, ask, {"22P04"} if name == "csv" else {"42804"}, f"5.{name}")
            # A column of another kind altogether, and no column of the table's.
            (folder / f"5.{name}").unlink()
            write(folder / f"6.{name}", other=("int64", 7))
            if name == "csv":
                refused(session, ask, {"22P04"}, "6.csv")
            else:
                assert session.execute(ask).fetchall()[-1] == (None, None), name
        finally:
            session.execute("DROP TABLE bad_input.changed")


def test_schema_that_changed(session, tmp_path):
    """A column that is missing is NULL, a type that fits is widened, one that does not is an error of its file."""
    folder = tmp_path / "changed"
    folder.mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"id": pyarrow.array([1], "int64"), "v": ["a"]}), folder / "1.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"id": pyarrow.array([2], "int32")}), folder / "2.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"extra": [1.5], "v": ["c"], "id": pyarrow.array([3], "int64")}), folder / "3.parquet")
    session.execute(f"CREATE EXTERNAL TABLE bad_input.changed (id bigint, v text) STORED AS PARQUET LOCATION '{folder}/'")
    assert session.execute("SELECT id, v FROM bad_input.changed ORDER BY id").fetchall() == [(1, "a"), (2, None), (3, "c")]
    pyarrow.parquet.write_table(pyarrow.table({"id": ["four"], "v": ["d"]}), folder / "4.parquet")
    refused(session, "SELECT id, v FROM bad_input.changed", {"42804"}, "4.parquet", '"id" is declared bigint')
    session.execute("DROP TABLE bad_input.changed")


@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
def test_columns_of_new_files_are_there_a_second_later(session, tmp_path, kind):
    """A table of a catalog has the columns that its files have now, whatever it was opened with."""
    def write(path, **columns):
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "parquet":
            pyarrow.parquet.write_table(pyarrow.table({name: [value] for name, value in columns.items()}), path)
        elif kind == "json":
            path.write_text(json.dumps(columns) + "\n")
        else:
            path.write_text(",".join(columns) + "\n" + ",".join(str(value) for value in columns.values()) + "\n")

    folder, catalog = tmp_path / "s" / "grown", "grown_" + kind
    write(folder / f"1.{kind}", a=1)
    session.execute(f"CREATE CATALOG {catalog} USING file WITH (path = '{tmp_path}')")
    ask = f"SELECT * FROM {catalog}.s.grown ORDER BY a"
    try:
        assert session.execute(ask).fetchall() == [(1,)]
        for number, columns, wanted in [
            (2, {"a": 2}, [(1,), (2,)]),
            (3, {"a": 3, "b": "x"}, [(1, None), (2, None), (3, "x")]),
            (4, {"a": 4.5, "b": "y"}, [(1, None), (2, None), (3, "x"), (4.5, "y")]),
        ]:
            write(folder / f"{number}.{kind}", **columns)
            time.sleep(1.1)
            assert session.execute(ask).fetchall() == wanted
        # A file that is another one by now.
        write(folder / f"4.{kind}", a=4.5, b="y", c=7)
        time.sleep(1.1)
        assert session.execute(f"SELECT c FROM {catalog}.s.grown ORDER BY a").fetchall() == [(None,), (None,), (None,), (7,)]
        one = folder.parent / f"alone.{kind}"
        write(one, a=1)
        assert session.execute(f"SELECT * FROM {catalog}.s.alone").fetchall() == [(1,)]
        write(one, a=1, b=2)
        time.sleep(1.1)
        assert session.execute(f"SELECT * FROM {catalog}.s.alone").fetchall() == [(1, 2)]
    finally:
        session.execute(f"DROP CATALOG {catalog}")


def test_leftovers_of_other_writers(session, tmp_path):
    folder = tmp_path / "lake"
    (folder / "_temporary/0").mkdir(parents=True)
    (folder / ".hive-staging").mkdir()
    (folder / "a.parquet").write_bytes(parquet_bytes())
    for name in ["_SUCCESS", "_temporary/0/part.parquet", ".hive-staging/b.parquet", ".a.parquet.crc", ".x", "b.parquet.tmp", "empty.parquet", "_metadata"]:
        (folder / name).write_bytes(b"" if name in ("_SUCCESS", "empty.parquet") else b"not Parquet")
    assert session.execute(f"SELECT count(*) FROM '{folder}/'").fetchone() == (len(ROWS),)
    session.execute(f"CREATE EXTERNAL TABLE bad_input.lake STORED AS PARQUET LOCATION '{folder}/'")
    assert session.execute("SELECT count(*), count(name) FROM bad_input.lake").fetchone() == (len(ROWS), len([r for r in ROWS if r[1]]))
    session.execute("DROP TABLE bad_input.lake")


def test_packed_otherwise(session, tmp_path):
    """Files that cannot be unpacked have rows, too: a table without them is short."""
    folder = tmp_path / "packed"
    folder.mkdir()
    (folder / "a.csv").write_bytes(csv_bytes())
    (folder / "b.csv.zstd").write_bytes(zstd_bytes(csv_bytes()))
    (folder / "_SUCCESS").write_bytes(b"x")
    (folder / "_c.csv.lz4").write_bytes(b"x")
    (folder / ".d.csv.snappy.crc").write_bytes(b"x")
    (folder / "README.md").write_bytes(b"x")
    whole, only = f"SELECT count(*) FROM '{folder}/'", f"SELECT count(*) FROM '{folder}/*.csv'"
    assert session.execute(whole).fetchone() == (2 * len(ROWS),)
    # With a format that is declared all visible files count.
    (folder / "README.md").unlink()
    session.execute(f"CREATE EXTERNAL TABLE bad_input.packed (id bigint, name text, amount double precision) STORED AS CSV LOCATION '{folder}/'")
    for name in ["c.csv.lz4", "c.csv.snappy", "c.csv.lzo", "c.csv.zip", "c.snappy", "c.parquet.gz"]:
        (folder / name).write_bytes(b"whatever")
        refused(session, whole, {"0A000"}, name)
        refused(session, f"SELECT * FROM '{folder / name}'", {"0A000"}, name)
        if name != "c.parquet.gz":
            refused(session, "SELECT count(*) FROM bad_input.packed", {"0A000"}, name)
        assert session.execute(only).fetchone() == (len(ROWS),)
        (folder / name).unlink()
    assert session.execute("SELECT count(*) FROM bad_input.packed").fetchone() == (2 * len(ROWS),)
    session.execute("DROP TABLE bad_input.packed")


def write_parquet(path, start, count):
    """All files of one count are of one size."""
    table = pyarrow.table({"id": pyarrow.array(range(start, start + count), "int64")})
    pyarrow.parquet.write_table(table, path, compression="none", use_dictionary=False, row_group_size=20_000)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_replaced_between_statements(session, tmp_path, kind):
    """The same name and the same size: whatever is kept of the old file counts no more."""
    path = tmp_path / f"again.{kind}"
    sizes = set()
    for start in range(1_000_000, 1_000_010):
        if kind == "parquet":
            write_parquet(path, start, 1000)
        else:
            path.write_text("id\n" + "".join(f"{n}\n" for n in range(start, start + 1000)))
        sizes.add(path.stat().st_size)
        rows = session.execute(f"SELECT min(id), max(id), count(*) FROM '{path}'").fetchone()
        assert [int(v) for v in rows] == [start, start + 999, 1000]
    assert len(sizes) == 1


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize("change", ["remove", "replace", "truncate"])
def test_changed_during_a_scan(session, tmp_path, kind, change):
    """The old rows, the new ones, or an error that names the file; never some of them."""
    folder = tmp_path / "moving"
    folder.mkdir()
    per_file, files = 200_000, 6

    def write(number, start):
        path = folder / f"{number}.{kind}"
        part = folder / f"{number}.tmp"
        if kind == "parquet":
            write_parquet(part, start, per_file)
        else:
            part.write_text("id\n" + "".join(f"{n}\n" for n in range(start, start + per_file)))
        part.rename(path)

    for number in range(files):
        write(number, 10_000_000 + number * per_file)
    old = {number: range(10_000_000 + number * per_file, 10_000_000 + (number + 1) * per_file) for number in range(files)}
    new = {number: range(50_000_000 + number * per_file, 50_000_000 + (number + 1) * per_file) for number in range(files)}
    session.execute(f"CREATE EXTERNAL TABLE bad_input.moving (id bigint) STORED AS {kind.upper()} LOCATION '{folder}/'")
    rows = []
    try:
        # Row by row, so that the server cannot run ahead further than the sockets hold.
        for row in session.cursor().stream("SELECT id FROM bad_input.moving"):
            rows.append(row)
            if len(rows) != 100:
                continue
            for number in range(files):
                if change == "remove":
                    (folder / f"{number}.{kind}").unlink()
                elif change == "replace":
                    write(number, new[number].start)
                else:
                    os.truncate(folder / f"{number}.{kind}", 1000)
    except psycopg.Error as error:
        assert error.sqlstate in {"58P01", "XX001", "22P04", "22P02"} and f".{kind}" in str(error), (error.sqlstate, str(error))
    else:
        got = {row[0] for row in rows}
        assert len(rows) == len(got) == per_file * files
        for number in range(files):
            assert set(old[number]) <= got or set(new[number]) <= got, f"file {number} came in pieces"
    finally:
        session.execute("DROP TABLE bad_input.moving")


UTF_16 = "id,name\n1,한\n"
NO_TEXT = {
    "gzip": lambda: gzip.compress(csv_bytes()), "bzip2": lambda: bz2.compress(csv_bytes()), "xz": lambda: lzma.compress(csv_bytes()),
    "zstd": lambda: zstd_bytes(csv_bytes()), "Parquet": parquet_bytes, "ORC": lambda: orc_bytes("zlib"), "Avro": lambda: avro_bytes("null"),
    "lz4": lambda: b"\x04\x22\x4d\x18" + bytes(40), "ZIP": lambda: b"PK\x03\x04" + bytes(40),
    "UTF-16": lambda: UTF_16.encode("utf-16"), "UTF-16 ": lambda: UTF_16.encode("utf-16-be"), "UTF-16  ": lambda: UTF_16.encode("utf-16-le"),
}


@pytest.mark.parametrize("what", NO_TEXT)
def test_what_is_no_text(session, tmp_path, what):
    """A name may say what a file is not: it is no table of garbage, nor one of no rows."""
    for name in ["data.csv", "data.json"]:
        path = tmp_path / name
        path.write_bytes(NO_TEXT[what]())
        refused(session, f"SELECT * FROM '{path}'", {"22P04"}, name, what.strip())
        session.execute(f"CREATE OR REPLACE EXTERNAL TABLE bad_input.no_text (id bigint, name text) STORED AS CSV WITH (header = false) LOCATION '{path}'")
        refused(session, "SELECT * FROM bad_input.no_text", {"22P04"}, name, what.strip())
    session.execute("DROP TABLE bad_input.no_text")


def test_a_header_that_is_no_text(session, tmp_path):
    path = tmp_path / "latin.csv"
    path.write_bytes("id,größe\n1,2\n".encode("latin-1"))
    refused(session, f"SELECT * FROM '{path}'", {"22P04"}, "latin.csv", "header", "UTF-8")
    path.write_bytes("가,나\n1,2\n".encode("utf-16-le"))
    refused(session, f"SELECT * FROM '{path}'", {"22P04"}, "latin.csv", "UTF-8")
    # Letters that other formats begin with are letters.
    path.write_text("ORC,PAR1\n1,2\n")
    assert session.execute(f"SELECT \"ORC\", \"PAR1\" FROM '{path}'").fetchall() == [(1, 2)]
