"""PostgreSQL as the judge: the rows of all sources in tables of its own, in the types that the engine gives them, and how its answers are compared.

Maru's dialect is PostgreSQL's, so the same text is asked there. The rows come from the generator and not from the engine: what a source or the reading
of it changes is seen, too. Text is compared by its bytes in Maru, whatever the collation of the source's column, so all text is of collation "C" here;
`uuid`, enums and `jsonb` are text. `char(n)` of PostgreSQL and MySQL has lost the blanks at its end.
"""

import collections
import math
import os
import re
from decimal import Decimal

import psycopg

from .sources import SCHEMA
from .tables import COLUMNS, rows, tables

PEER = f"{SCHEMA}_peer"

# In the types of the engine; those not named here are `text`.
TYPES = {
    "postgres": {"bigint primary key": "bigint", "integer": "integer", "smallint": "smallint", "bigint": "bigint", "real": "real", "numeric": "numeric(38,10)"},
    "mysql": {"bigint primary key": "bigint", "int": "integer", "smallint": "smallint", "bigint": "bigint", "int unsigned": "bigint",
              "bigint unsigned": "numeric(20,0)", "year": "integer", "bit(5)": "bigint", "float": "real"},
    "sqlite": {"integer primary key": "bigint", "int": "bigint", "bigint": "bigint"},
}
OF_KIND = {"bool": "boolean", "float": "double precision", "date": "date", "far date": "date", "time": "time", "ts": "timestamp", "far ts": "timestamp",
           "tz": "timestamptz", "bytes": "bytea", "text": 'text collate "C"'}

# Where PostgreSQL's answer depends on the collation and the engine's does not: letters beyond ASCII have small and capital forms, which "C" does not
# know. Those of lower() and upper() are all of Unicode's (`ß` is `SS`), as in databases of ICU; ILIKE compares letter by letter, as in databases of
# the operating system's collations, of which the tests' own is. Schema PEER stands before `pg_catalog`, so these are found first.
FUNCTIONS = """
CREATE FUNCTION {peer}.lower(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS 'SELECT pg_catalog.lower($1 COLLATE "und-x-icu") COLLATE "C"';
CREATE FUNCTION {peer}.upper(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS 'SELECT pg_catalog.upper($1 COLLATE "und-x-icu") COLLATE "C"';
CREATE FUNCTION {peer}.alike(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT
  AS 'SELECT $1 COLLATE "default" OPERATOR(pg_catalog.~~*) $2 COLLATE "default"';
CREATE FUNCTION {peer}.not_alike(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT
  AS 'SELECT $1 COLLATE "default" OPERATOR(pg_catalog.!~~*) $2 COLLATE "default"';
CREATE OPERATOR {peer}.~~* (LEFTARG = text, RIGHTARG = text, FUNCTION = {peer}.alike);
CREATE OPERATOR {peer}.!~~* (LEFTARG = text, RIGHTARG = text, FUNCTION = {peer}.not_alike);
"""


def name_in_peer(table):
    return f"{PEER}.{table.copy}"


def type_of(source, column):
    if column.type in TYPES[source]:
        return TYPES[source][column.type]
    return column.type.replace("decimal", "numeric") if column.kind == "dec" else OF_KIND[column.kind]


def value_of(source, column, value):
    """What the source keeps of a value."""
    if value is not None and source in ("postgres", "mysql") and column.type.startswith("char("):
        return value.rstrip(" ")
    # SQLite writes floats without a fraction as whole numbers, which have one zero.
    return "0" if value == "-0.0" and source == "sqlite" else value


def fill(seed):
    with psycopg.connect(os.environ["MARU_TEST_PG"]) as direct, direct.cursor() as cursor:
        cursor.execute("SET client_min_messages = warning")
        cursor.execute(f"DROP SCHEMA IF EXISTS {PEER} CASCADE")
        cursor.execute(f"CREATE SCHEMA {PEER}")
        cursor.execute(FUNCTIONS.format(peer=PEER))
        for source in COLUMNS:
            for table in tables(source):
                columns = ", ".join(f"{c.quoted} {type_of(source, c)}" for c in table.columns)
                cursor.execute(f"CREATE TABLE {name_in_peer(table)} ({columns})")
                kept = [[value_of(source, c, value) for c, value in zip(table.columns, row)] for row in rows(seed, table)]
                cursor.executemany(f"INSERT INTO {name_in_peer(table)} VALUES ({', '.join(['%s'] * len(table.columns))})", kept)


def connect():
    direct = psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True)
    direct.execute(f"SET search_path = {PEER}, pg_catalog")
    return direct


def remove():
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as direct:
        direct.execute("SET client_min_messages = warning")
        direct.execute(f"DROP SCHEMA IF EXISTS {PEER} CASCADE")


INTEGERS, NUMERICS, FLOATS = (20, 21, 23), (1700,), (700, 701)
NUMBERS = (*INTEGERS, *NUMERICS, *FLOATS)
# text, varchar, char(n), and texts that nothing has given a type.
TEXT = (25, 1043, 1042, 705)
# Of quotients and averages PostgreSQL keeps about sixteen digits and the engine sixteen places, and averages of whole numbers are floats there:
# docs/sql.md says so. All other numbers have to be equal, whatever their type and their number of places are.
ROUNDED = re.compile(r"\bavg\(| / ")
RELATIVE, ABSOLUTE = 1e-14, 1e-15


def family(oid):
    return "number" if oid in NUMBERS else "text" if oid in TEXT else oid


def plain(oid, value):
    """A value of which the equal ones are equal: numbers are compared by their value, 0 and -0 are one."""
    if value is None or oid not in NUMBERS:
        return value
    number = Decimal(value.decode())
    return "NaN" if number.is_nan() else Decimal(0) if number == 0 else number


def close(left, right):
    if isinstance(left, Decimal) and isinstance(right, Decimal):
        return left == right or math.isclose(left, right, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return left == right


def close_rows(left, right):
    return len(left) == len(right) and all(map(close, left, right))


def same_rows(left, right, rounded):
    """Whether two bags have the same rows; `rounded` says that numbers may differ in their last digits."""
    more, less = left - right, right - left
    if not rounded or more.total() != less.total():
        return not more and not less
    rest = list(less.elements())
    for row in more.elements():
        found = next((index for index, other in enumerate(rest) if close_rows(row, other)), None)
        if found is None:
            return False
        rest.pop(found)
    return True


# What PostgreSQL refuses and the engine answers: the other three ways alone tell of it.
REFUSED = {"0A000": "FULL JOIN is only supported with merge-joinable or hash-joinable join conditions"}


def agrees(query, ours, theirs):
    """Whether the engine answers as PostgreSQL does, as far as the query says what has to come."""
    if theirs.sqlstate in REFUSED and REFUSED[theirs.sqlstate] in theirs.message:
        return True
    if ours.sqlstate or theirs.sqlstate:
        return ours.sqlstate == theirs.sqlstate
    if list(map(family, ours.types)) != list(map(family, theirs.types)):
        return False
    left, right = ([tuple(map(plain, answer.types, row)) for row in answer.rows] for answer in (ours, theirs))
    rounded = bool(ROUNDED.search(query.sql(name_in_peer)))
    in_order = all(close_rows(a[:query.n_keys], b[:query.n_keys]) for a, b in zip(left, right)) if query.n_keys else True
    return in_order and same_rows(collections.Counter(left), collections.Counter(right), rounded)
