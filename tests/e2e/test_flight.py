"""Arrow Flight SQL, as the ADBC driver speaks it."""

import struct
import time
import uuid

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


def info_of(client, options, sql):
    import pyarrow.flight as pf
    # Any{type_url, CommandStatementQuery{query}}: two fields of protobuf each.
    field = lambda number, data: bytes([number << 3 | 2, len(data)]) + data
    command = field(1, b"type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery") + field(2, field(1, sql.encode()))
    return client.get_flight_info(pf.FlightDescriptor.for_command(command), options)


def test_compression_renewal_and_the_end_of_a_session(server):
    import pyarrow.flight as pf
    client = pf.connect("grpc://" + server.endpoints["flight"])
    options = pf.FlightCallOptions(headers=[client.authenticate_basic_token("maru", server.password)])

    ticket = lambda sql: info_of(client, options, sql)

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


def test_several_tickets_for_one_result(server, place, connection):
    """Whoever has a ticket gets the next batch: side by side, one after the other, or the first ticket alone, no row is lost or comes twice."""
    from concurrent.futures import ThreadPoolExecutor
    import pyarrow.flight as pf
    n = 100_000
    connection.execute(f"CREATE TABLE {place}.shared AS SELECT n, 'row ' || n AS t FROM generate_series(1, {n}) g(n)")
    client = pf.connect("grpc://" + server.endpoints["flight"])
    options = pf.FlightCallOptions(headers=[client.authenticate_basic_token("maru", server.password)])
    read = lambda ticket: client.do_get(ticket, options).read_all()
    info_of(client, options, "SET flight_endpoints = 3")
    runs = lambda: connection.execute("SELECT count(*) FROM system.queries WHERE sql = %s", [all_of]).fetchone()[0]
    all_of = f"SELECT * FROM {place}.shared"
    tickets = [endpoint.ticket for endpoint in info_of(client, options, all_of).endpoints]
    assert len(tickets) == 3
    with ThreadPoolExecutor(3) as threads:
        parts = list(threads.map(read, tickets))
    assert sorted(pa.concat_tables(parts).column("n").to_pylist()) == list(range(1, n + 1))
    assert runs() == 1

    # Used up: each ticket asks for another run, and the others join it.
    assert [read(ticket).num_rows for ticket in tickets] == [n, 0, 0]
    assert runs() == 2
    assert read(tickets[1]).num_rows == n
    # A reader who leaves does not end what another one reads.
    many = f"SELECT s.n, s.t FROM {place}.shared s, generate_series(1, 10) g"
    leaver, stayer = (client.do_get(endpoint.ticket, options) for endpoint in info_of(client, options, many).endpoints[:2])
    chunks = [reader.read_chunk().data.num_rows for reader in (leaver, stayer)]
    leaver.cancel()
    assert 0 < chunks[1] + stayer.read_all().num_rows < 10 * n

    for ordered in [f"{all_of} ORDER BY n", f"{all_of} LIMIT 10", "SELECT 1", "SELECT query_id FROM system.queries", f"EXPLAIN {all_of}"]:
        assert len(info_of(client, options, ordered).endpoints) == 1, ordered
    numbers = read(info_of(client, options, f"{all_of} ORDER BY n").endpoints[0].ticket).column("n").to_pylist()
    assert numbers == list(range(1, n + 1))

    failing = f"SELECT 1000 / (n - 80000) FROM {place}.shared"
    for endpoint in info_of(client, options, failing).endpoints:
        with pytest.raises(pa.ArrowInvalid, match="division by zero"):
            read(endpoint.ticket)
    with server.flight() as adbc:
        query(adbc, "SET flight_endpoints = 4")
        assert sorted(query(adbc, all_of).column("n").to_pylist()) == list(range(1, n + 1))
        assert query(adbc, f"SELECT count(*) AS c FROM {place}.shared").to_pylist() == [{"c": n}]
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


# ExecuteIngest ------------------------------------------------------------------------------------------------------

@pytest.fixture
def place(connection):
    """A schema in which tables are made that go away."""
    schema = "ingest_" + uuid.uuid4().hex[:8]
    connection.execute(f"CREATE SCHEMA {schema}")
    yield schema
    for name, in connection.execute("SELECT name FROM system.tables WHERE catalog = 'maru' AND schema = %s", (schema,)).fetchall():
        connection.execute(f'DROP TABLE {schema}."{name}"')
    connection.execute(f"DROP SCHEMA {schema}")


def ingest(flight, table, data, mode="create", **options):
    with flight.cursor() as cursor:
        return cursor.adbc_ingest(table, data, mode=mode, **options)


def test_ingest_modes(flight, place, connection):
    data = pa.table({"id": pa.array([1, 2, None], pa.int64()), "name": ["a", None, "ü"]})
    where = {"db_schema_name": place}
    assert ingest(flight, "t", data, "create", **where) == 3
    with pytest.raises(adbc_driver_manager.Error, match="42P07"):
        ingest(flight, "t", data, "create", **where)
    assert ingest(flight, "t", data, "append", **where) == 3
    assert ingest(flight, "t", data, "create_append", catalog_name="maru", **where) == 3
    assert connection.execute(f"SELECT count(*), sum(id)::bigint, count(name) FROM {place}.t").fetchone() == (9, 9, 6)
    assert ingest(flight, "t", data.slice(0, 1), "replace", **where) == 1
    assert query(flight, f"SELECT * FROM {place}.t").to_pylist() == [{"id": 1, "name": "a"}]
    with pytest.raises(adbc_driver_manager.Error, match="42P01"):
        ingest(flight, "nosuch", data, "append", **where)
    assert ingest(flight, "nosuch", data, "create_append", **where) == 3
    with pytest.raises(adbc_driver_manager.Error, match="42P01"):
        ingest(flight, "t", data, "append", temporary=True)
    assert ingest(flight, "t", data, "create_append", temporary=True) == 3
    assert ingest(flight, "t", data, "append", temporary=True) == 3
    assert query(flight, "SELECT count(*) AS n FROM t").to_pylist() == [{"n": 6}]
    with pytest.raises(adbc_driver_manager.Error, match="42601"):
        ingest(flight, "t", data, "create", temporary=True, **where)


def test_ingest_assigns_as_insert_does(flight, place, connection):
    connection.execute(f"CREATE TABLE {place}.t (a integer NOT NULL, b text, c numeric(6,2), d timestamp)")
    where = {"db_schema_name": place}
    data = pa.table({"c": [1.005, None], "a": pa.array([1, 2], pa.int64()), "b": pa.array(["x", "y"]).dictionary_encode()})
    assert ingest(flight, "t", data, "append", **where) == 2
    rows = connection.execute(f"SELECT a, b, c::text, d FROM {place}.t ORDER BY a").fetchall()
    assert rows == [(1, "x", rows[0][2], None), (2, "y", None, None)] and rows[0][2] in ("1.00", "1.01")
    for data, text in [
        (pa.table({"nosuch": [1]}), "42703"), (pa.table({"a": [2 ** 40]}), "22003"), (pa.table({"a": pa.array([None], pa.int64())}), "23502"),
        (pa.table({"a": [1], "d": [True]}), "42804"),
    ]:
        with pytest.raises(adbc_driver_manager.Error, match=text):
            ingest(flight, "t", data, "append", **where)
    assert connection.execute(f"SELECT count(*) FROM {place}.t").fetchone() == (2,), "nothing of what failed is there"


def test_ingest_of_many_rows_and_types(flight, place, connection):
    n = 300_000
    data = pa.table({
        "i": pa.array(range(n), pa.int64()), "t": pa.array([f"row {i}" for i in range(n)], pa.large_string()),
        "b": pa.array([i % 2 == 0 for i in range(n)]), "d": pa.array([i % 20000 for i in range(n)], pa.int32()).cast(pa.date32()),
        "ts": pa.array(range(n), pa.timestamp("us")), "tz": pa.array(range(n), pa.timestamp("us", "UTC")),
        "n": pa.array([None if i % 10 else i for i in range(n)], pa.int32()).cast(pa.decimal128(12, 2)), "f": pa.array(range(n), pa.float32()),
        "y": pa.array([b"x"] * n, pa.binary()), "l": pa.array([[1, None]] * n, pa.list_(pa.int32())),
    })
    batches = pa.RecordBatchReader.from_batches(data.schema, data.to_batches(max_chunksize=7000))
    assert ingest(flight, "many", batches, "create", db_schema_name=place) == n
    got = query(flight, f"SELECT * FROM {place}.many ORDER BY i")
    assert got.column_names == data.column_names
    for name in data.column_names:
        assert got.column(name).to_pylist() == data.column(name).to_pylist(), name
    sql = "SELECT state, n_rows FROM system.queries WHERE sql LIKE %s ORDER BY query_id DESC LIMIT 1"
    assert connection.execute(sql, (f"CREATE TABLE {place}.many%",)).fetchone() == ("finished", n)


def test_ingest_is_one_commit(flight, server, place, connection):
    schema = pa.schema([("a", pa.int64())])

    def batches():
        for i in range(200):
            if i == 150:
                assert connection.execute("SELECT count(*) FROM system.tables WHERE schema = %s", (place,)).fetchone() == (0,)
                raise OSError("the source is gone")
            yield pa.record_batch({"a": list(range(1000))}, schema)

    with pytest.raises(Exception):
        ingest(flight, "t", pa.RecordBatchReader.from_batches(schema, batches()), "create", db_schema_name=place)
    time.sleep(0.5)
    assert connection.execute("SELECT count(*) FROM system.tables WHERE schema = %s", (place,)).fetchone() == (0,)


def test_ingest_without_rights(server, place, connection):
    connection.execute(f"CREATE TABLE {place}.t (a bigint)")
    connection.execute("CREATE ROLE ingester LOGIN PASSWORD 'ingester-secret'")
    try:
        connection.execute(f"GRANT USAGE ON SCHEMA {place} TO ingester")
        connection.execute(f"GRANT SELECT ON {place}.t TO ingester")
        with server.flight(username="ingester", password="ingester-secret") as flight:
            for mode in ["append", "replace"]:
                with pytest.raises(adbc_driver_manager.Error, match="42501"):
                    ingest(flight, "t", pa.table({"a": [1]}), mode, db_schema_name=place)
            with pytest.raises(adbc_driver_manager.Error, match="42501"):
                ingest(flight, "other", pa.table({"a": [1]}), "create", db_schema_name=place)
    finally:
        connection.execute(f"REVOKE ALL ON {place}.t FROM ingester")
        connection.execute(f"REVOKE ALL ON SCHEMA {place} FROM ingester")
        connection.execute("DROP ROLE ingester")


def test_prepared_insert_with_bound_batches(flight, place, connection):
    connection.execute(f"CREATE TABLE {place}.t (a integer, b text)")
    with flight.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {place}.t VALUES ($1, $2)", [(1, "x"), (2, None), (3, "z")])
    assert connection.execute(f"SELECT * FROM {place}.t ORDER BY a").fetchall() == [(1, "x"), (2, None), (3, "z")]
    operations = f"SELECT operation FROM system.table_history WHERE catalog = 'maru' AND schema = '{place}' AND \"table\" = 't' ORDER BY version"
    assert connection.execute(operations).fetchall()[1:] == [("WRITE",)]
    with flight.cursor() as cursor, pytest.raises(adbc_driver_manager.Error):
        cursor.executemany(f"INSERT INTO {place}.t VALUES (CAST($1 AS text)::integer, $2)", [("4", "x"), ("not a number", "y")])
    assert connection.execute(f"SELECT count(*) FROM {place}.t").fetchone() == (3,)
    assert len(connection.execute(operations).fetchall()) == 2


def test_values_of_clients_are_what_they_were(flight, place, connection):
    """NaN is one whatever its bits; a dictionary may have NULL among its values."""
    signed = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000000))[0]
    data = pa.table({
        "i": pa.array([1, 2, 3], pa.int32()), "f": pa.array([signed, -0.0, float("inf")]),
        "t": pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.uint8()), pa.array(["x", None])),
    })
    for rows in ["bound", "each", "appended"]:
        connection.execute(f"CREATE TABLE {place}.{rows} (i integer, f double precision, t text)")
    insert = f"INSERT INTO {place}.%s VALUES ($1, $2, $3)"
    with flight.cursor() as cursor:
        cursor.adbc_ingest("made", data, mode="create", db_schema_name=place)
        cursor.adbc_ingest("appended", data, mode="append", db_schema_name=place)
        cursor.executemany(insert % "bound", data)
        for n in range(3):
            cursor.executemany(insert % "each", data.slice(n, 1))
    for rows in ["made", "appended", "bound", "each"]:
        sql = f"SELECT i, f = 'NaN' AS nan, f > 1 AS big, t, t IS NULL AS none FROM {place}.{rows} ORDER BY i"
        expected = [(1, True, True, None, True), (2, False, False, None, True), (3, False, True, "x", False)]
        assert [tuple(row.values()) for row in query(flight, sql).to_pylist()] == expected, rows
    with flight.cursor() as cursor:
        cursor.execute(f"SELECT count(*) AS n FROM {place}.made WHERE f = $1", pa.table({"p": pa.array([signed])}))
        assert cursor.fetchall() == [(1,)]
