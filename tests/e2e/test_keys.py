"""Keys of tables as their sources declare them: information_schema as PostgreSQL's own, Flight SQL, and who may know of them."""

import os
import sqlite3
import urllib.parse
import uuid

import psycopg
import pymysql
import pytest

from test_flight_session import FOREIGN, PRIMARY, Client, answer, field

pytestmark = pytest.mark.services

# `{s}` is the schema. The parts of a key are in another order than the columns, and than what refers to them.
TABLES = [
    "CREATE TABLE {s}.customer (region varchar(20), id int, email varchar(100) NOT NULL UNIQUE, PRIMARY KEY (id, region))",
    "CREATE TABLE {s}.orders (number int PRIMARY KEY, of_region varchar(20), of_customer int, follows int, "
    "CONSTRAINT orders_customer FOREIGN KEY (of_region, of_customer) REFERENCES {s}.customer (region, id) ON DELETE CASCADE ON UPDATE SET NULL, "
    "CONSTRAINT orders_follows FOREIGN KEY (follows) REFERENCES {s}.orders (number))",
    "CREATE TABLE {s}.plain (a int)",
]
VIEWS = [
    "SELECT constraint_name, table_schema, table_name, constraint_type, is_deferrable, initially_deferred, enforced FROM {c}information_schema.table_constraints "
    "WHERE table_schema = '{s}' AND constraint_type <> 'CHECK' ORDER BY 1, 3",
    "SELECT constraint_schema, constraint_name, table_name, column_name, ordinal_position, position_in_unique_constraint "
    "FROM {c}information_schema.key_column_usage WHERE table_schema = '{s}' ORDER BY 3, 2, 5",
    "SELECT constraint_name, unique_constraint_schema, unique_constraint_name, match_option, update_rule, delete_rule "
    "FROM {c}information_schema.referential_constraints WHERE constraint_schema = '{s}' ORDER BY 1",
    "SELECT table_schema, table_name, column_name, constraint_name FROM {c}information_schema.constraint_column_usage "
    "WHERE constraint_schema = '{s}' AND constraint_name NOT LIKE '%%not_null' ORDER BY 4, 3",
    # As tools look for the keys to join by.
    "SELECT k.table_name, k.column_name, u.table_name, u.column_name FROM {c}information_schema.referential_constraints r "
    "JOIN {c}information_schema.key_column_usage k ON k.constraint_schema = r.constraint_schema AND k.constraint_name = r.constraint_name "
    "JOIN {c}information_schema.key_column_usage u ON u.constraint_schema = r.unique_constraint_schema AND u.constraint_name = r.unique_constraint_name "
    "AND u.ordinal_position = k.position_in_unique_constraint WHERE r.constraint_schema = '{s}' ORDER BY 1, 2",
]


@pytest.fixture(scope="module")
def schema(server):
    """A schema of PostgreSQL with keys, and catalog `keys_pg` over it."""
    schema = "keys_" + uuid.uuid4().hex[:8]
    url = urllib.parse.urlsplit(os.environ["MARU_TEST_PG"])
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as postgres, server.connect() as maru:
        postgres.execute(f"CREATE SCHEMA {schema}")
        try:
            for table in TABLES:
                postgres.execute(table.format(s=schema))
            maru.execute(f"CREATE CATALOG keys_pg USING postgres WITH (url = 'postgres://{url.hostname}:{url.port}{url.path}', "
                         f"user = '{url.username}', password = '{url.password}')")
            yield schema
        finally:
            maru.execute("DROP CATALOG IF EXISTS keys_pg")
            postgres.execute(f"DROP SCHEMA {schema} CASCADE")


def test_information_schema_tells_what_postgresql_tells(server, schema):
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as postgres, server.connect(dbname="keys_pg") as maru:
        for view in VIEWS:
            wanted = postgres.execute(view.format(c="", s=schema)).fetchall()
            assert wanted and maru.execute(view.format(c="", s=schema)).fetchall() == wanted, view
            assert maru.execute(view.format(c="keys_pg.", s=schema)).fetchall() == wanted, view


def test_flight_sql_tells_keys(server, schema):
    client = Client(server)
    of = lambda table, first=1: field(first, b"keys_pg") + field(first + 1, schema.encode()) + field(first + 2, table)
    keys = answer(client, "CommandGetPrimaryKeys", of(b"customer"))
    assert keys.schema.equals(PRIMARY)
    assert [tuple(row.values()) for row in keys.to_pylist()] == [
        ("keys_pg", schema, "customer", "id", 1, "customer_pkey"), ("keys_pg", schema, "customer", "region", 2, "customer_pkey")]
    whole = lambda at, here, there: ("keys_pg", schema, "customer", there, "keys_pg", schema, "orders", here, at, "orders_customer", "customer_pkey", 2, 0)
    customer = [whole(1, "of_region", "region"), whole(2, "of_customer", "id")]
    follows = [("keys_pg", schema, "orders", "number", "keys_pg", schema, "orders", "follows", 1, "orders_follows", "orders_pkey", 3, 3)]
    for name, body, expected in [
        ("CommandGetImportedKeys", of(b"orders"), customer + follows), ("CommandGetImportedKeys", of(b"customer"), []),
        ("CommandGetExportedKeys", of(b"customer"), customer), ("CommandGetExportedKeys", of(b"orders"), follows),
        ("CommandGetCrossReference", of(b"customer") + of(b"orders", 4), customer),
        ("CommandGetCrossReference", of(b"orders") + of(b"customer", 4), []),
    ]:
        keys = answer(client, name, body)
        assert keys.schema.equals(FOREIGN)
        assert [tuple(row.values()) for row in keys.to_pylist()] == expected, name


def test_who_does_not_see_a_column_does_not_know_of_its_keys(server, schema):
    with server.connect() as maru:
        maru.execute("CREATE ROLE keys_reader LOGIN PASSWORD 'keys-secret'")
        try:
            maru.execute("GRANT USAGE ON CATALOG keys_pg TO keys_reader")
            maru.execute(f"GRANT USAGE ON SCHEMA keys_pg.{schema} TO keys_reader")
            maru.execute(f"GRANT SELECT ON keys_pg.{schema}.orders TO keys_reader")
            asked = f"SELECT DISTINCT name FROM system.keys WHERE catalog = 'keys_pg' AND schema = '{schema}' ORDER BY 1"
            with server.connect(user="keys_reader", password="keys-secret") as reader:
                assert reader.execute(asked).fetchall() == [("orders_follows",), ("orders_pkey",)]
                maru.execute(f"GRANT SELECT (id) ON keys_pg.{schema}.customer TO keys_reader")
                assert reader.execute(asked).fetchall() == [("orders_follows",), ("orders_pkey",)]
                maru.execute(f"GRANT SELECT (region) ON keys_pg.{schema}.customer TO keys_reader")
                assert reader.execute(asked).fetchall() == [("customer_pkey",), ("orders_customer",), ("orders_follows",), ("orders_pkey",)]
        finally:
            maru.execute("DROP OWNED BY keys_reader")
            maru.execute("DROP ROLE keys_reader")


def test_keys_of_mariadb(server):
    url = urllib.parse.urlsplit(os.environ["MARU_TEST_MYSQL"])
    mark = "k" + uuid.uuid4().hex[:8]
    own = pymysql.connect(host=url.hostname, port=url.port, user=url.username, password=url.password, database=url.path[1:], autocommit=True)
    with own, own.cursor() as cursor, server.connect() as maru:
        try:
            cursor.execute(f"CREATE TABLE {mark}_b (region varchar(20), id int, email varchar(100), PRIMARY KEY (id, region), UNIQUE {mark}_email (email)) ENGINE = InnoDB")
            cursor.execute(f"CREATE TABLE {mark}_a (number int PRIMARY KEY, i int, r varchar(20), "
                           f"CONSTRAINT {mark}_fk FOREIGN KEY (i, r) REFERENCES {mark}_b (id, region) ON DELETE CASCADE) ENGINE = InnoDB")
            maru.execute(f"CREATE CATALOG {mark} USING mysql WITH (url = 'mysql://{url.hostname}:{url.port}{url.path}', user = '{url.username}', password = '{url.password}')")
            rows = maru.execute(f"SELECT name, kind, position, \"column\", referenced_table, referenced_column, referenced_key, on_delete FROM system.keys "
                                f"WHERE catalog = '{mark}' AND \"table\" LIKE '{mark}%' ORDER BY \"table\", name, position").fetchall()
            assert rows == [
                (f"{mark}_a_pkey", "primary key", 1, "number", None, None, None, None),
                (f"{mark}_fk", "foreign key", 1, "i", f"{mark}_b", "id", f"{mark}_b_pkey", "CASCADE"),
                (f"{mark}_fk", "foreign key", 2, "r", f"{mark}_b", "region", f"{mark}_b_pkey", "CASCADE"),
                (f"{mark}_b_pkey", "primary key", 1, "id", None, None, None, None),
                (f"{mark}_b_pkey", "primary key", 2, "region", None, None, None, None),
                (f"{mark}_email", "unique", 1, "email", None, None, None, None),
            ]
        finally:
            maru.execute(f"DROP CATALOG IF EXISTS {mark}")
            cursor.execute(f"DROP TABLE IF EXISTS {mark}_a, {mark}_b")


def test_keys_of_sqlite(server, tmp_path):
    path = tmp_path / "keys.db"
    with sqlite3.connect(path) as own:
        own.executescript("""
            CREATE TABLE b (region TEXT, id INT, email TEXT UNIQUE, PRIMARY KEY (id, region));
            CREATE INDEX by_email ON b (email);
            CREATE UNIQUE INDEX made ON b (region);
            CREATE TABLE a (number INTEGER PRIMARY KEY, i INT, r TEXT, e TEXT REFERENCES B (EMAIL) ON UPDATE SET NULL, x INT REFERENCES nowhere,
                FOREIGN KEY (i, r) REFERENCES b);
            PRAGMA writable_schema = ON;
            -- A table of a module that is not there.
            INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql) VALUES ('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING nosuchmodule (a)');
        """)
    with server.connect() as maru:
        maru.execute(f"CREATE CATALOG keys_lite USING sqlite WITH (path = '{path}')")
        try:
            rows = maru.execute("SELECT \"table\", name, kind, position, \"column\", referenced_table, referenced_column, referenced_key, on_update FROM system.keys "
                                "WHERE catalog = 'keys_lite' ORDER BY \"table\", name, position").fetchall()
        finally:
            maru.execute("DROP CATALOG keys_lite")
    nothing = (None, None, None, None)
    assert rows == [
        ("a", "a_e_fkey", "foreign key", 1, "e", "b", "email", "b_email_key", "SET NULL"),
        ("a", "a_i_r_fkey", "foreign key", 1, "i", "b", "id", "b_pkey", "NO ACTION"),
        ("a", "a_i_r_fkey", "foreign key", 2, "r", "b", "region", "b_pkey", "NO ACTION"),
        ("a", "a_pkey", "primary key", 1, "number", *nothing),
        ("b", "b_email_key", "unique", 1, "email", *nothing),
        ("b", "b_pkey", "primary key", 1, "id", *nothing),
        ("b", "b_pkey", "primary key", 2, "region", *nothing),
    ]


def test_checks_of_own_tables_are_told_as_postgresql_tells_them(server):
    """But for NOT NULL, which PostgreSQL names by its numbers of tables."""
    asked = ("SELECT t.table_name, t.constraint_name, t.constraint_type, t.enforced, c.check_clause IS NULL FROM information_schema.table_constraints t "
             "JOIN information_schema.check_constraints c ON c.constraint_schema = t.constraint_schema AND c.constraint_name = t.constraint_name "
             "WHERE t.table_name = 'keys_checked' AND t.constraint_name NOT LIKE %s ORDER BY 2")
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as postgres, server.connect() as maru:
        told = []
        for connection in (postgres, maru):
            connection.execute("CREATE TEMPORARY TABLE keys_checked (a int NOT NULL CHECK (a > 0), b int, CONSTRAINT ordered CHECK (a < b))")
            told.append(connection.execute(asked, ["%not_null"]).fetchall())
        assert len(told[0]) == 2 and told[1] == told[0]
        only = "SELECT count(*) FROM information_schema.table_constraints WHERE table_name = 'keys_checked' AND constraint_type = 'PRIMARY KEY'"
        assert maru.execute(only).fetchone() == (0,)
