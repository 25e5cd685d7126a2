"""ADBC's PostgreSQL driver, which reads by binary COPY. `with_adbc.py HOST PORT PASSWORD`"""

import sys
import urllib.parse

import adbc_driver_postgresql.dbapi as adbc
import pyarrow

host, port, password = sys.argv[1:]
url = f"postgresql://maru:{urllib.parse.quote(password)}@{host}:{port}/maru"


def reads(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT CAST(n AS bigint) AS n, 'row ' || n AS t FROM generate_series(1, 50000) g(n) ORDER BY n")
        table = cursor.fetch_arrow_table()
        assert table.num_rows == 50_000 and table.schema.field("n").type == pyarrow.int64()
        assert table.column("t")[49_999].as_py() == "row 50000"


def types(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT true, 1::smallint, 2::int, 3.5::float8, DATE '2026-01-31', TIMESTAMP '2026-01-31 12:00:00.25', 'x', NULL::text")
        row = cursor.fetchone()
        assert row[:4] == (True, 1, 2, 3.5) and str(row[4]) == "2026-01-31" and row[6:] == ("x", None), row


def parameters(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM e2e_clients.staff WHERE id = $1", (3,))
        assert cursor.fetchall() == [("Park",)]


def ingests(connection):
    data = pyarrow.table({"id": pyarrow.array(range(20_000), pyarrow.int64()), "t": [None if i % 3 else f"row {i}" for i in range(20_000)],
                          "f": pyarrow.array([i / 7 for i in range(20_000)], pyarrow.float64())})
    with connection.cursor() as cursor:
        assert cursor.adbc_ingest("adbc_ingested", data, mode="create") == 20_000
        try:
            cursor.execute("SELECT count(*), sum(id)::bigint, count(t), max(f) FROM adbc_ingested")
            assert cursor.fetchone() == (20_000, 19_999 * 10_000, 6_667, 19_999 / 7)
        finally:
            cursor.execute("DROP TABLE adbc_ingested")


def appends(connection):
    data = pyarrow.table({"id": pyarrow.array([1, 2], pyarrow.int64()), "t": ["a", None]})
    with connection.cursor() as cursor:
        cursor.adbc_ingest("adbc_appended", data, mode="create")
        try:
            assert cursor.adbc_ingest("adbc_appended", data, mode="append") == 2
            assert cursor.adbc_ingest("adbc_appended", data.select(["t"]), mode="append") == 2
            cursor.execute("SELECT count(*), count(id), count(t) FROM adbc_appended")
            assert cursor.fetchone() == (6, 4, 3)
        finally:
            cursor.execute("DROP TABLE adbc_appended")


def objects(connection):
    found = connection.adbc_get_objects(depth="all", catalog_filter="maru", db_schema_filter="e2e_clients").read_all().to_pylist()
    (catalog,) = [one for one in found if one["catalog_name"] == "maru"]
    (schema,) = [one for one in catalog["catalog_db_schemas"] if one["db_schema_name"] == "e2e_clients"]
    (table,) = schema["db_schema_tables"]
    assert (table["table_name"], table["table_type"]) == ("staff", "view"), table
    assert [column["column_name"] for column in table["table_columns"]] == ["id", "name", "salary"]
    schema = connection.adbc_get_table_schema("staff", db_schema_filter="e2e_clients")
    assert schema.field("id").type == pyarrow.int32()
    assert "view" in connection.adbc_get_table_types()


for check in [reads, types, parameters, ingests, appends, objects]:
    with adbc.connect(url, autocommit=True) as connection:
        check(connection)
    print("ok", check.__name__, flush=True)
