"""Damaged files of Hive's text tables: each is read as a reader written here by Hive's rules reads it, or is an error where that one has one.

Hive takes what is no value for NULL, so damage must neither lose a row nor be an error; in JSON, and where a quote has no end,
it is an error that names the file. As in `test_bad_input.py`, a few mutations of each format, many more in `tests/run --long`."""

import gzip
import json
import os
import random
import re
import uuid

import psycopg
import pytest
from seeding.metastore import HIVE, TEXT, Metastore
from test_bad_input import CLEAN, MUTATIONS, SEED, difference, little_memory, mutate, same
from test_bad_input import session as session  # pylint: disable=useless-import-alias

pytestmark = [pytest.mark.services, pytest.mark.timeout(3600)]

NAMES = [None, "", "plain", "이름", "a b", "back\\slash", 'quo"te', "😀", "\t", "10.5", "true"]
# Of plain columns and of nested ones.
PLAIN = [(n, NAMES[n % len(NAMES)], n * 1.25) for n in range(200)]
NESTED = [(*row, None if row[0] % 5 == 4 else list(range(row[0] % 4)), {f"k{n}": n for n in range(row[0] % 3)}) for row in PLAIN]
COLUMNS = [("id", "bigint"), ("name", "string"), ("amount", "double")]
COLUMNS_NESTED = [*COLUMNS, ("tags", "array<int>"), ("marks", "map<string,int>")]


def lines_of(raw):
    """As Hadoop cuts them: a line feed, a carriage return or both end a line, and nothing behind the last end is no line."""
    lines = re.split(rb"\r\n|\n|\r", raw)
    return lines[:-1] if lines[-1] == b"" else lines


def text_of(raw):
    return raw.decode(errors="replace")


def integer(raw, bits=64):
    """Digits, and behind a point more of them, which are dropped."""
    found = re.fullmatch(rb"([+-]?)(\d*)(\.\d*)?", raw)
    if not found or raw.strip(b"+-") in (b"", b"."):
        return None
    value = int(found[2] or b"0") * (-1 if found[1] == b"-" else 1)
    return value if -(2**(bits - 1)) <= value < 2**(bits - 1) else None


def double(raw):
    """As Java reads it, which allows blanks around and a letter behind."""
    text = text_of(raw).strip("".join(map(chr, range(33))))
    if re.fullmatch(r"[+-]?(NaN|Infinity)", text):
        return float(text)
    return float(text.rstrip("fFdD")) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[fFdD]?", text, re.ASCII) else None


class Lazy:
    """LazySimpleSerDe with delimiters of three levels."""

    def __init__(self, delimiters, null=b"\\N", escape=None):
        self.delimiters, self.null, self.escape = delimiters, null, escape

    def escaped(self, text):
        if not self.escape:
            return text.encode()
        special = [self.escape.decode(), *(byte.decode() for byte in self.delimiters)]
        return "".join(self.escape.decode() + c if c in special else c for c in text).encode()

    def write(self, rows):
        out = b""
        one, two, three = self.delimiters
        for n, name, amount, tags, marks in rows:
            fields = [str(n).encode(), self.null if name is None else self.escaped(name), str(amount).encode(),
                      self.null if tags is None else two.join(str(tag).encode() for tag in tags),
                      two.join(key.encode() + three + str(value).encode() for key, value in marks.items())]
            out += one.join(fields) + b"\n"
        return out

    def pieces(self, raw, delimiter):
        """The parts between delimiters that no escape stands before."""
        out, start, at = [], 0, 0
        while at < len(raw):
            if raw[at:at + 1] == self.escape:
                at += 2
            elif raw[at:at + 1] == delimiter:
                out.append(raw[start:at])
                start = at = at + 1
            else:
                at += 1
        return [*out, raw[start:]]

    def unescaped(self, raw):
        if not self.escape:
            return text_of(raw)
        names = {b"n": b"\n", b"r": b"\r"}
        return text_of(re.sub(re.escape(self.escape) + b"(.)", lambda found: names.get(found[1], found[1]), raw, flags=re.S))

    def value(self, raw, read):
        return None if raw is None or raw == self.null else read(raw)

    def tags(self, raw):
        return [self.value(item, lambda item: integer(item, 32)) for item in self.pieces(raw, self.delimiters[1])] if raw else []

    def marks(self, raw):
        """Of two keys that are the same the first counts; one that is NULL is none."""
        marks = {}
        for entry in self.pieces(raw, self.delimiters[1]) if raw else []:
            key, *rest = self.pieces(entry, self.delimiters[2])
            # What stands behind the first delimiter is all the value's.
            value = entry[len(key) + 1:] if rest else None
            if key != self.null:
                marks.setdefault(self.unescaped(key), self.value(value, lambda value: integer(value, 32)))
        return marks

    def read(self, raw):
        rows = []
        for line in lines_of(raw):
            fields = [*self.pieces(line, self.delimiters[0]), *[None] * 5][:5]
            reads = [integer, self.unescaped, double, self.tags, self.marks]
            rows.append(tuple(self.value(field, read) for field, read in zip(fields, reads)))
        return rows


def write_csv(rows):
    quoted = lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "".join(f'{n},{quoted(name or "")},"{amount}"\n' for n, name, amount in rows).encode()


def read_csv(raw):
    """OpenCSVSerde: all are texts; in quotes a backslash and a doubled quote stand for what follows, and a line may end there."""
    rows, fields, at = [], [], 0
    while at < len(raw):
        field = b""
        if raw[at:at + 1] == b'"':
            at += 1
            while raw[at:at + 1] != b'"' or raw[at + 1:at + 2] == b'"':
                step = 2 if raw[at:at + 1] in (b"\\", b'"') else 1
                if at + step > len(raw) or step == 1 and at == len(raw):
                    raise ValueError("a quote has no end")
                field += raw[at + step - 1:at + step]
                at += step
            at += 1
        rest = re.compile(rb"[^,\r\n]*").match(raw, at)
        field += rest[0]
        fields.append(text_of(field))
        at = rest.end()
        if raw[at:at + 1] == b",":
            at += 1
            if at < len(raw):
                continue
            fields.append("")
        at += 2 if raw[at:at + 2] == b"\r\n" else 1
        rows.append(tuple([*fields, None, None, None][:3]))
        fields = []
    return rows


def write_json(rows):
    return "".join(json.dumps({"id": n, "name": name, "amount": amount, "tags": tags, "marks": marks}, ensure_ascii=False) + "\n"
                   for n, name, amount, tags, marks in rows).encode()


class Written(str):
    """A number with its digits as they stand in the file."""


class Members(list):
    """Names and values of an object, each as often as it comes."""


def no_number(word):
    raise ValueError(word)


def number(value, bits):
    if value is None:
        return None
    if type(value) is not Written or set(value) & set(".eE") or not -(2**(bits - 1)) <= int(value) < 2**(bits - 1):
        raise ValueError(value)
    return int(value)


def read_json(raw):
    """HCatalog's SerDe: one object in a line, names in any case, the last of two that are the same; what does not fit is an error."""
    rows = []
    for line in lines_of(raw):
        members = {}
        row = json.loads(line.decode(), object_pairs_hook=Members, parse_int=Written, parse_float=Written, parse_constant=no_number)
        if type(row) is not Members:
            raise ValueError(row)
        for name, value in row:
            place = re.fullmatch(r"_col(\d+)", name)
            members[COLUMNS_NESTED[int(place[1])][0] if place and int(place[1]) < 5 else name.lower()] = value
        name, amount, tags, marks = (members.get(column) for column in ("name", "amount", "tags", "marks"))
        if isinstance(name, list) or amount is not None and type(amount) is not Written:
            raise ValueError(row)
        if type(tags) not in (list, type(None)) or type(marks) not in (Members, type(None)):
            raise ValueError(row)
        rows.append((number(members.get("id"), 64), str(name).lower() if type(name) is bool else None if name is None else str(name),
                     None if amount is None else float(amount), None if tags is None else [number(tag, 32) for tag in tags],
                     None if marks is None else {key: number(value, 32) for key, value in marks}))
    return rows


PATTERN = r'(\d*) \[([^\]]*)\] (\S+)(?: .*)?'


def write_pattern(rows):
    return "".join(f"{n} [{name or ''}] {amount}{' more' if n % 3 else ''}\n" for n, name, amount in rows).encode()


def read_pattern(raw):
    """RegexSerDe: the whole line or a row of NULLs; no group that did not take part is left empty."""
    rows = []
    for line in lines_of(raw):
        # Java's point takes no end of a line of Unicode either.
        found = re.fullmatch(PATTERN.replace(".*", "[^\n\r\x85\u2028\u2029]*"), text_of(line), re.ASCII)
        rows.append((integer(found[1].encode()), found[2], double(found[3].encode())) if found else (None, None, None))
    return rows


def trimmed(read):
    """Without its first two lines and its last one."""
    def read_trimmed(raw):
        ends = [found.end() for found in re.finditer(rb"[^\r\n]*(\r\n|\n|\r)|[^\r\n]+$", raw)]
        return read(raw[ends[1]:ends[-2]]) if len(ends) > 3 else []
    return read_trimmed


CONTROL = Lazy([b"\x01", b"\x02", b"\x03"])
ESCAPED = Lazy([b"|", b";", b":"], b"nil", b"\\")
SERDE_JSON = "org.apache.hive.hcatalog.data.JsonSerDe"
# By name of the table: SerDe, its parameters, those of the table, columns, rows, writer, reader, ending of the file.
TABLES = {
    "lazy": (TEXT[2], {}, {}, COLUMNS_NESTED, NESTED, CONTROL.write, CONTROL.read, ""),
    "lazy_escaped": (TEXT[2], {"field.delim": "|", "collection.delim": ";", "mapkey.delim": ":", "escape.delim": "\\",
                               "serialization.null.format": "nil"}, {}, COLUMNS_NESTED, NESTED, ESCAPED.write, ESCAPED.read, ""),
    "lazy_trimmed": (TEXT[2], {}, {"skip.header.line.count": "2", "skip.footer.line.count": "1"}, COLUMNS_NESTED, NESTED,
                     lambda rows: b"head\none more\n" + CONTROL.write(rows) + b"foot\n", trimmed(CONTROL.read), ""),
    "lazy_packed": (TEXT[2], {}, {}, COLUMNS_NESTED, NESTED, lambda rows: gzip.compress(CONTROL.write(rows), mtime=0), None, ".gz"),
    "csv": (HIVE + "serde2.OpenCSVSerde", {}, {}, COLUMNS, PLAIN, write_csv, read_csv, ""),
    "json": (SERDE_JSON, {}, {}, COLUMNS_NESTED, NESTED, write_json, read_json, ""),
    "json_packed": (SERDE_JSON, {}, {}, COLUMNS_NESTED, NESTED, lambda rows: gzip.compress(write_json(rows), mtime=0), None, ".gz"),
    "pattern": (HIVE + "serde2.RegexSerDe", {"input.regex": PATTERN}, {}, COLUMNS, PLAIN, write_pattern, read_pattern, ""),
}


@pytest.fixture(scope="module")
def database(session, tmp_path_factory):
    """The catalog of a database of these tables on a local disk, and where they lie."""
    name = "bad_text_" + uuid.uuid4().hex[:8]
    place = tmp_path_factory.mktemp(name)
    place.chmod(0o777)
    with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore:
        metastore.create_database(name, f"file://{place}/db", "", {})
        for table, (serde, of_serde, parameters, columns, *_) in TABLES.items():
            metastore.create_table(name, table, f"file://{place}/{table}", columns, (TEXT[0], TEXT[1], serde), serde_parameters=of_serde,
                                   parameters=parameters)
            (place / table).mkdir(exist_ok=True)
        session.execute(f"CREATE CATALOG {name} USING hive WITH (metastore = '{os.environ['MARU_TEST_HMS3']}')")
        yield name, place
        session.execute(f"DROP CATALOG {name}")
        metastore.drop_database(name)


def rows_in(session, database, table):
    nested = TABLES[table][3] is COLUMNS_NESTED
    columns = "id, name, amount" + (", tags, map_keys(marks), map_values(marks)" if nested else "")
    rows = session.execute(f"SELECT {columns} FROM {database}.{database}.{table}").fetchall()
    return [(*row[:4], None if row[4] is None else dict(zip(row[4], row[5], strict=True))) for row in rows] if nested else rows


def judge(session, database, table, name, raw):
    """Returns what is wrong with the answer to a damaged file, or None."""
    *_, read, _ = TABLES[table]
    try:
        rows = rows_in(session, database, table)
    except psycopg.Error as error:
        text = " ".join(filter(None, [error.diag.message_primary, error.diag.message_detail]))
        if error.sqlstate not in CLEAN:
            return f"{error.sqlstate}: {text}"
        if name not in text:
            return f"the file is not named: {error.sqlstate}: {text}"
        rows = None
    count = f"SELECT count(*) FROM {database}.{database}.{table}"
    if rows is not None and session.execute(count).fetchone() != (len(rows),):
        return f"{len(rows)} rows, but count(*) is another"
    if read is None:
        # It has a checksum. What is cut off to nothing is a file without rows.
        return None if rows is None or raw == b"" or same(rows, expected(table)) else f"{len(rows)} rows in silence"
    try:
        others = read(raw)
    except ValueError as error:
        return None if rows is None else f"{len(rows)} rows that Hive's rules do not give ({error!r:.200}): {difference(rows, expected(table))}"
    if rows is None:
        return f"an error where Hive has {len(others)} rows: {text}"
    return None if same(rows, others) else f"{len(rows)} rows, by Hive's rules {len(others)}: {difference(rows, others)}"


def expected(table):
    """The rows before any damage; CSV has texts alone, and the others no difference between none and the empty text."""
    *_, rows, _, _, _ = TABLES[table]
    if table == "csv":
        return [(str(n), name or "", str(amount)) for n, name, amount in rows]
    return [(n, name or "", amount) for n, name, amount in rows] if table == "pattern" else rows


@pytest.mark.parametrize("table", TABLES)
def test_damaged_text(session, database, table):
    name, place = database
    *_, rows, write, read, ending = TABLES[table]
    good = write(rows)
    path = place / table / f"good{ending}"
    path.write_bytes(good)
    assert same(rows_in(session, name, table), expected(table))
    assert read is None or same(read(good), expected(table))
    path.unlink()
    dice = random.Random(f"{SEED} hive {table}")
    wrong = []
    # Errors are rare here, so there is something to compare each time.
    for number in range(4 * MUTATIONS):
        what, bad = mutate(good, dice)
        path = place / table / f"m{number}{ending}"
        path.write_bytes(bad)
        complaint = judge(session, name, table, path.name, bad)
        path.unlink()
        if complaint is not None:
            wrong.append(f"mutation {number} ({what}): {complaint}")
    assert wrong == []


@pytest.mark.parametrize("table", [table for table in TABLES if not TABLES[table][-1]])
def test_a_line_without_end(session, database, table):
    """256 MB without an end of a line in a small file: memory stays bounded, and beyond the limit it is an error that names file and line."""
    name, place = database
    path = place / table / "long.gz"
    # Of what has a head, behind it; in JSON and CSV what goes on for ever is an open quote.
    head = {"lazy_trimmed": b"head\none more\n", "json": b'{"name": "', "csv": b'"'}.get(table, b"")
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(head)
        for _ in range(256):
            file.write(b"x" * (1 << 20))
    try:
        with little_memory(session), pytest.raises(psycopg.Error) as caught:
            session.execute("SET statement_timeout = '150s'")
            session.execute(f"SELECT count(name) FROM {name}.{name}.{table}").fetchall()
    finally:
        path.unlink()
    assert caught.value.sqlstate == "54000" and f'/{table}/long.gz" line' in str(caught.value), str(caught.value)
    assert session.execute("SELECT 1").fetchone() == (1,)
