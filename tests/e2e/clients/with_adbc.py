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


for check in [reads, types, parameters, ingests]:
    with adbc.connect(url, autocommit=True) as connection:
        check(connection)
    print("ok", check.__name__, flush=True)
