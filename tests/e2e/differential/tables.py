"""Tables of ugly values in each database, and what the generator has to know of their columns."""

import dataclasses
import itertools
import random

TEXTS = [
    "", " ", "  ", "a", "A", "a ", " a", "anna", "Anna", "ANNA", "anna ", "änna", "Änna", "a\u0308nna", "é", "e\u0301", "%", "_", "100%", "10_",
    "a%b", "a_b", "axb", "\\", "a\\b", "\\%", "'", "it's", '"', 'a"b', "한글", "한글 ", "\u1112\u1161\u11ab\u1100\u1173\u11af", "가나다", "힣",
    "𠮷野", "𠀋", "😀", "👩\u200d👧", "\uffee", "ß", "ss", "SS", "İ", "i", "I", "ı", "z", "Z", "zebra", "\t", "a\nb", "ﬁ", "fi", "ａ", "\u00a0",
    "NULL", "0", "1", "-1", "1.5", "01", "true", "--", "$1", "?", "%s", "{}", "\U0010fffd",
]
SMALL = [-3, -2, -1, 0, 1, 2, 3, 4, 5]
INT16 = [-32768, 32767, 0, 1, -1, 2, 42]
INT64 = [-(2**63), 2**63 - 1, -(2**63) + 1, 2**63 - 2, 0, 1, -1, 2, 42, 2**53, 2**53 + 1, -(2**53) - 1, 2**31, 2**32 - 1]
FLOATS = ["0", "-0.0", "1.5", "-1.5", "0.1", "0.30000000000000004", "1e308", "-1e308", "1e15", "42", "9007199254740993", "1e-300"]
ODD_FLOATS = ["NaN", "Infinity", "-Infinity"]
# Sums of these are exact in any order.
TAME = ["0", "-0.0", "0.25", "-0.25", "1.5", "2", "-7.75", "1000.5", "42"]
CENTS = ["0.00", "-0.01", "0.01", "1.50", "1.49", "1.51", "2.50", "-2.50", "100.00", "42.00", "9999999999.99", "-9999999999.99"]
LONG = ["0", "0.0000000001", "-0.0000000001", "1.5", "42", "2.5", "1234567890123456789012345678.0123456789", "-9999999999999999999999999999.9999999999"]
UNSIGNED = ["0", "1", "2", "42", "9223372036854775807", "9223372036854775808", "18446744073709551615"]
DATES = ["1970-01-01", "2024-02-29", "2024-03-10", "2024-11-03", "1899-12-31", "2038-01-19", "2024-03-01", "2024-03-31"]
FAR_DATES = ["1582-10-10", "0001-01-01", "9999-12-31", "1000-01-01", "2024-02-29"]
TIMES = ["00:00:00", "23:59:59.999999", "12:00:00", "01:30:00", "00:00:00.000001"]
# New York's and London's clock changes, Seoul's summer time of 1988, both ends of a month and of what 32 bits hold.
STAMPS = ["1970-01-01 00:00:00", "2024-03-10 02:30:00", "2024-03-10 03:30:00", "2024-11-03 01:30:00", "2024-03-31 01:30:00", "1988-05-08 02:30:00",
          "2024-02-29 23:59:59.999999", "2024-03-01 00:00:00", "1900-01-01 00:00:00.000001", "2038-01-19 03:14:07"]
# Beyond what nanoseconds can hold: literals of this kind are errors.
FAR_STAMPS = ["0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "2024-03-01 00:00:00"]
INSTANTS = ["1970-01-02 00:00:00+00", "2024-03-10 06:59:59.999999+00", "2024-03-10 07:00:00+00", "2024-11-03 05:30:00+00", "2024-11-03 06:30:00+00",
            "2024-11-03 07:30:00+00", "1988-05-07 17:30:00+00", "2024-03-31 01:00:00+00", "2024-02-29 15:00:00+00", "2038-01-18 00:00:00+00"]
UUIDS = ["00000000-0000-0000-0000-000000000000", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "ffffffff-ffff-ffff-ffff-ffffffffffff"]
MOODS = ["sad", "ok", "happy", "매우 좋음"]


@dataclasses.dataclass(frozen=True)
class Column:
    name: str
    # How the engine compares it: int, dec, float, text, bool, date, time, ts, tz, bytes; far dates and times only with each other.
    kind: str
    # In the database that holds it.
    type: str
    # Its values; NULL is added.
    pool: tuple
    # Sums of it are exact.
    tame: bool = True

    @property
    def quoted(self):
        return '"' + self.name.replace('"', '""') + '"'


def column(name, kind, type, pool, tame=True):
    return Column(name, kind, type, tuple(pool), tame)


def fitting(n_chars, charset="utf-8"):
    def fits(text):
        try:
            return len(text) <= n_chars and text.encode(charset) is not None
        except UnicodeEncodeError:
            return False
    return [text for text in TEXTS if fits(text)]


POSTGRES = [
    column("id", "int", "bigint primary key", ()),
    column("k", "int", "integer", SMALL),
    column("i2", "int", "smallint", INT16),
    column("i8", "int", "bigint", INT64, tame=False),
    column("b", "bool", "boolean", (True, False)),
    column("f4", "float", "real", ["0", "-0.0", "1.5", "0.1", "16777216", "3.4e38", *ODD_FLOATS], tame=False),
    column("f8", "float", "double precision", FLOATS + ODD_FLOATS, tame=False),
    column("q", "float", "double precision", TAME),
    column("n1", "dec", "numeric(12,2)", CENTS),
    column("n2", "dec", "numeric(38,10)", LONG, tame=False),
    column("nx", "dec", "numeric", LONG, tame=False),
    column("c8", "text", "char(8)", fitting(8)),
    column("tc", "text", 'text collate "C"', TEXTS),
    column("td", "text", "text", TEXTS),
    column("tk", "text", 'text collate "ko-KR-x-icu"', TEXTS),
    column("te", "text", 'varchar(40) collate "en-US-x-icu"', TEXTS),
    column("tn", "text", "text collate {schema}.ci", TEXTS),
    column("cn", "text", "char(8) collate {schema}.ci", fitting(8)),
    column('이름 "열', "text", "text", TEXTS),
    column("d", "date", "date", DATES),
    column("tm", "time", "time", TIMES),
    column("ts", "ts", "timestamp", STAMPS),
    column("fd", "far date", "date", FAR_DATES),
    column("ft", "far ts", "timestamp", FAR_STAMPS),
    column("tz", "tz", "timestamptz", INSTANTS),
    column("u", "text", "uuid", UUIDS),
    column("m", "text", "{schema}.mood", MOODS),
    column("j", "text", "jsonb", ['{"a": 1}', "null", '"x"', "[]"]),
    column("by", "bytes", "bytea", [b"", b"\x00", b"\xff\x00", b"a", b"A"]),
]

MYSQL = [
    column("id", "int", "bigint primary key", ()),
    column("k", "int", "int", SMALL),
    column("i2", "int", "smallint", INT16),
    column("i8", "int", "bigint", INT64, tame=False),
    column("u4", "int", "int unsigned", [0, 1, 2, 42, 2**31, 2**32 - 1]),
    column("u8", "dec", "bigint unsigned", UNSIGNED, tame=False),
    column("y", "int", "year", [1901, 1970, 2024, 2155]),
    column("bt", "int", "bit(5)", [0, 1, 2, 31]),
    column("b", "bool", "boolean", (True, False)),
    column("f4", "float", "float", ["0", "1.5", "0.1", "16777216", "3.4e38"], tame=False),
    column("f8", "float", "double", FLOATS, tame=False),
    column("q", "float", "double", TAME),
    column("n1", "dec", "decimal(12,2)", CENTS),
    column("n2", "dec", "decimal(38,10)", LONG, tame=False),
    column("c8", "text", "char(8) collate utf8mb4_general_ci", fitting(8)),
    column("cb", "text", "char(8) collate utf8mb4_bin", fitting(8)),
    column("tb", "text", "varchar(40) collate utf8mb4_bin", TEXTS),
    column("tg", "text", "text collate utf8mb4_general_ci", TEXTS),
    column("tu", "text", "varchar(40) collate utf8mb4_unicode_ci", TEXTS),
    column("np", "text", "varchar(40) collate utf8mb4_unicode_nopad_ci", TEXTS),
    column("l1", "text", "varchar(40) character set latin1 collate latin1_swedish_ci", fitting(40, "latin-1")),
    column('이름 "열', "text", "varchar(40) collate utf8mb4_general_ci", TEXTS),
    column("d", "date", "date", DATES),
    column("tm", "time", "time(6)", TIMES),
    column("ts", "ts", "datetime(6)", STAMPS),
    column("fd", "far date", "date", FAR_DATES),
    column("ft", "far ts", "datetime(6)", FAR_STAMPS),
    column("tz", "tz", "timestamp(6) null", INSTANTS),
    column("m", "text", "enum('sad', 'ok', 'happy', '매우 좋음')", MOODS),
    column("u", "text", "uuid", UUIDS),
    column("by", "bytes", "varbinary(20)", [b"", b"\x00", b"\xff\x00", b"a", b"A"]),
]

SQLITE = [
    column("id", "int", "integer primary key", ()),
    column("k", "int", "int", SMALL),
    column("i8", "int", "bigint", INT64, tame=False),
    column("b", "bool", "boolean", (True, False)),
    column("f8", "float", "real", [*FLOATS, "Infinity", "-Infinity"], tame=False),
    column("q", "float", "double", TAME),
    column("n1", "dec", "decimal(12,2)", CENTS),
    column("tb", "text", "text", TEXTS),
    column("tn", "text", "text collate nocase", TEXTS),
    column("tr", "text", "varchar(40) collate rtrim", TEXTS),
    column("c8", "text", "char(8)", fitting(8)),
    column('이름 "열', "text", "text collate nocase", TEXTS),
    column("d", "date", "date", DATES),
    column("ts", "ts", "datetime", STAMPS),
    column("fd", "far date", "date", FAR_DATES),
    column("ft", "far ts", "datetime", FAR_STAMPS),
    column("by", "bytes", "blob", [b"", b"\x00", b"\xff\x00", b"a", b"A"]),
]

COLUMNS = {"postgres": POSTGRES, "mysql": MYSQL, "sqlite": SQLITE}
# Of each database: two tables to join, one of them with an unkind name, and one without rows.
TABLES = {"one": 70, '두 "번째': 45, "empty": 0}


@dataclasses.dataclass(frozen=True)
class Table:
    source: str
    name: str

    @property
    def columns(self):
        return COLUMNS[self.source]

    @property
    def copy(self):
        return f"{self.source}_{list(TABLES).index(self.name)}"


def tables(source):
    return [Table(source, name) for name in TABLES]


def rows(seed, table):
    """Values as the generator thinks of them; each driver is given them in its own way."""
    rng = random.Random(f"{seed}/{table.source}/{table.name}")
    # Each value comes once before one comes again.
    values = {c.name: itertools.cycle(rng.sample(c.pool, len(c.pool))) for c in table.columns[1:]}
    for number in range(TABLES[table.name]):
        row = [number]
        for c in table.columns[1:]:
            row.append(None if rng.random() < 0.15 else next(values[c.name]))
        yield row
