"""Arrow Flight SQL, as the ADBC driver speaks it."""

import adbc_driver_manager
import pyarrow as pa
import pytest


@pytest.fixture
def flight(server):
    with server.flight() as connection:
        yield connection


def query(flight, sql, parameters=None):
    with flight.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetch_arrow_table()


def test_query(flight):
    table = query(flight, "SELECT CAST(1 AS bigint) AS one, 'zwei' AS two, CAST(NULL AS double precision) AS three")
    assert table.column_names == ["one", "two", "three"]
    assert table.to_pylist() == [{"one": 1, "two": "zwei", "three": None}]
    assert table.schema.field("one").type == pa.int64() and table.schema.field("three").type == pa.float64()


def test_many_rows(flight):
    table = query(flight, "SELECT CAST(value AS bigint) AS n FROM generate_series(1, 300000) AS g(value)")
    assert table.num_rows == 300_000 and sum(table.column("n").to_pylist()) == 300_000 * 300_001 // 2


def test_no_rows_still_have_columns(flight):
    table = query(flight, "SELECT 1 AS a, 'x' AS b WHERE false")
    assert table.num_rows == 0 and table.column_names == ["a", "b"]


@pytest.mark.parametrize("sql,sqlstate,text", [
    ("SELEKT 1", "42601", "SELEKT"),
    ("SELECT * FROM no_such_table", "42P01", "no_such_table"),
    ("SELECT 1 / (a - 1) FROM (SELECT 1 AS a) t", "22012", "division by zero"),
])
def test_errors_say_what_is_wrong(flight, sql, sqlstate, text):
    with pytest.raises(adbc_driver_manager.Error) as caught:
        query(flight, sql)
    assert text in str(caught.value)
    assert sqlstate in (str(caught.value) + str(caught.value.sqlstate or ""))
    assert query(flight, "SELECT 1 AS a").num_rows == 1, "the session goes on"


def test_prepared_statement_with_parameters(flight):
    with flight.cursor() as cursor:
        for n in range(3):
            cursor.execute("SELECT CAST($1 AS bigint) * 2 AS twice, CAST($2 AS text) AS name", (n, f"n{n}"))
            assert cursor.fetch_arrow_table().to_pylist() == [{"twice": 2 * n, "name": f"n{n}"}]


def test_statement_without_rows(flight):
    with flight.cursor() as cursor:
        cursor.execute("CREATE SCHEMA e2e_flight")
        cursor.execute("CREATE VIEW e2e_flight.v AS SELECT 1 AS a")
    try:
        assert query(flight, "SELECT * FROM e2e_flight.v").to_pylist() == [{"a": 1}]
        objects = flight.adbc_get_objects(depth="columns", db_schema_filter="e2e_flight").read_all().to_pylist()
        schemas = [s for c in objects for s in (c["catalog_db_schemas"] or []) if c["catalog_name"] == "maru"]
        tables = [t for s in schemas for t in (s["db_schema_tables"] or [])]
        assert [(t["table_name"], [c["column_name"] for c in t["table_columns"]]) for t in tables] == [("v", ["a"])]
    finally:
        with flight.cursor() as cursor:
            cursor.execute("DROP VIEW e2e_flight.v")
            cursor.execute("DROP SCHEMA e2e_flight")


def test_metadata(flight):
    info = flight.adbc_get_info()
    assert "maru" in info["vendor_name"].lower()
    assert {"VIEW"} <= {t.upper() for t in flight.adbc_get_table_types()}
    catalogs = [c["catalog_name"] for c in flight.adbc_get_objects(depth="catalogs").read_all().to_pylist()]
    assert "maru" in catalogs


def test_wrong_password_is_refused(server):
    with pytest.raises(adbc_driver_manager.Error) as caught:
        with server.flight(password="wrong") as connection:
            query(connection, "SELECT 1")
    text = str(caught.value)
    assert "UNAUTHENTICATED" in text.upper() or "Unauthenticated" in text


def test_compression_renewal_and_the_end_of_a_session(server):
    import pyarrow.flight as pf
    client = pf.connect("grpc://" + server.endpoints["flight"])
    options = pf.FlightCallOptions(headers=[client.authenticate_basic_token("maru", server.password)])

    def ticket(sql):
        # Any{type_url, CommandStatementQuery{query}}: two fields of protobuf each.
        field = lambda number, data: bytes([number << 3 | 2, len(data)]) + data
        command = field(1, b"type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery") + field(2, field(1, sql.encode()))
        return client.get_flight_info(pf.FlightDescriptor.for_command(command), options)

    rows = "SELECT n, 'the same text each time' AS t FROM generate_series(1, 50000) g(n)"
    for packing in ["none", "lz4", "zstd"]:
        ticket(f"SET flight_compression = {packing}")
        reader = client.do_get(ticket(rows).endpoints[0].ticket, options)
        table = reader.read_all()
        assert table.num_rows == 50_000 and table.column("n").to_pylist()[-1] == 50_000
    with pytest.raises(pa.ArrowInvalid, match="none, lz4, zstd"):
        ticket("SET flight_compression = gzip")
    actions = {action.type for action in client.list_actions(options)}
    assert {"RenewFlightEndpoint", "CancelFlightInfo", "SetSessionOptions", "GetSessionOptions", "CloseSession"} <= actions
    info = ticket("SELECT 42 AS answer")
    renewed = client.do_action(pf.Action("RenewFlightEndpoint", renewal(info.endpoints[0])), options)
    endpoint = pf.FlightEndpoint.deserialize(next(iter(renewed)).body.to_pybytes())
    assert client.do_get(endpoint.ticket, options).read_all().to_pylist() == [{"answer": 42}]
    forged = pf.FlightEndpoint(pf.Ticket(b"nothing"), [])
    with pytest.raises(pa.ArrowInvalid, match="no statement for this ticket"):
        list(client.do_action(pf.Action("RenewFlightEndpoint", renewal(forged)), options))
    assert list(client.do_action(pf.Action("CloseSession", b""), options))
    with pytest.raises(pf.FlightUnauthenticatedError):
        ticket("SELECT 1")
    client.close()


def renewal(endpoint):
    """RenewFlightEndpointRequest{endpoint}."""
    data = endpoint.serialize()
    length, size = b"", len(data)
    while True:
        length += bytes([size & 0x7F | (0x80 if size > 0x7F else 0)])
        size >>= 7
        if not size:
            return b"\x0a" + length + data
