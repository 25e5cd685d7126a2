"""Arrays as clients send and get them: text of arrays, parameters without a type, both formats."""

import datetime
import decimal

import psycopg
import pytest


def test_an_untyped_parameter_beside_any_is_an_array_of_the_left_side(connection):
    # psycopg sends lists with types; text without one is what others send.
    cursor = psycopg.RawCursor(connection)
    rows = "(VALUES (1, 'a'), (2, 'b'), (3, NULL)) t(id, name)"
    assert cursor.execute(f"SELECT id FROM {rows} WHERE id = ANY($1) ORDER BY id", ["{1,3}"]).fetchall() == [(1,), (3,)]
    assert cursor.execute(f"SELECT id FROM {rows} WHERE name = ANY($1)", ['{"b",c}']).fetchall() == [(2,)]
    assert cursor.execute(f"SELECT id FROM {rows} WHERE id <> ALL($1)", ["{1,3}"]).fetchall() == [(2,)]
    assert cursor.execute(f"SELECT id FROM {rows} WHERE id <> ALL($1)", ["{1,NULL}"]).fetchall() == []
    assert cursor.execute(f"SELECT id FROM {rows} WHERE id = ANY($1)", [None]).fetchall() == []
    with pytest.raises(psycopg.errors.InvalidTextRepresentation, match="malformed array literal"):
        cursor.execute(f"SELECT id FROM {rows} WHERE id = ANY($1)", ["1,3"])


def test_lists_go_in_and_come_back(connection):
    day, now = datetime.date(2026, 11, 26), datetime.datetime(2026, 11, 26, 12, 30)
    values = [[1, 2, None], ["a,b", 'c "d"', "", "NULL", None], [1.5, float("inf")], [True, False], [day], [now],
              [decimal.Decimal("1.50")], [b"\x00\xff"], []]
    for binary in [False, True]:
        with connection.cursor(binary=binary) as cursor:
            for value in values[:-1]:
                cast = {int: "bigint", str: "text", float: "float8", bool: "bool", datetime.date: "date", datetime.datetime: "timestamp",
                        decimal.Decimal: "numeric(4,2)", bytes: "bytea"}[type(value[0])]
                assert cursor.execute(f"SELECT %s::{cast}[]", [value]).fetchone() == (value,)
            assert cursor.execute("SELECT %s::int[]", [[]]).fetchone() == ([],)


def test_columns_of_text_are_cast(server):
    with server.connect() as connection:
        connection.execute("CREATE SCHEMA c_arrays")
        try:
            connection.execute("CREATE TABLE c_arrays.t (id int, raw text, tags text[], numbers bigint[])")
            connection.execute("INSERT INTO c_arrays.t VALUES (1, '{a,\"b,c\"}', '{x,\"y,z\"}', '{1,2}'), (2, NULL, NULL, '{}')")
            rows = connection.execute("SELECT raw::text[], tags, numbers FROM c_arrays.t ORDER BY id").fetchall()
            assert rows == [(["a", "b,c"], ["x", "y,z"], [1, 2]), (None, None, [])]
            assert connection.execute("SELECT id FROM c_arrays.t WHERE 'b,c' = ANY(raw::text[])").fetchall() == [(1,)]
            assert connection.execute("SELECT id FROM c_arrays.t WHERE 2 = ANY(numbers)").fetchall() == [(1,)]
            assert connection.execute("SELECT id FROM c_arrays.t WHERE tags = '{x,\"y,z\"}'::text[]").fetchall() == [(1,)]
            # Also in a statement about PostgreSQL's catalog, which goes another way.
            query = "SELECT cardinality('{\"a,b\",c}'::text[]), 'a,b' = ANY('{\"a,b\",c}') FROM pg_catalog.pg_class LIMIT 1"
            assert connection.execute(query).fetchone() == (2, True)
            connection.execute("INSERT INTO c_arrays.t VALUES (3, '{a', NULL, NULL)")
            with pytest.raises(psycopg.errors.InvalidTextRepresentation, match="malformed array literal"):
                connection.execute("SELECT raw::text[] FROM c_arrays.t").fetchall()
        finally:
            connection.execute("DROP SCHEMA c_arrays CASCADE")
