"""Flight SQL beside its statements: options and the end of a session, types and keys, packed rows, resource groups."""

import contextlib
import socket
import struct
import threading
import time
import uuid

import adbc_driver_manager
import pyarrow as pa
import pyarrow.flight as pf
import pytest

from test_flight_limits import LONG, command, field, varint
from test_wire import SLOW

INVALID_NAME, INVALID_VALUE, OTHER_ERROR = 1, 2, 3


def fields(data):
    """Number and value of each field of a protobuf message."""
    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            value |= (data[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if not data[at - 1] & 128:
                return value

    at = 0
    while at < len(data):
        key = number()
        if key & 7 == 0:
            yield key >> 3, number()
            continue
        size = {1: 8, 5: 4}[key & 7] if key & 7 != 2 else number()
        yield key >> 3, data[at:at + size]
        at += size


def entries(data):
    """A map<string, message>, which is field 1 of a message; each value as its fields."""
    pairs = [dict(fields(entry)) for number, entry in fields(data) if number == 1]
    return {pair[1].decode(): dict(fields(pair.get(2, b""))) for pair in pairs}


def option(value):
    """SessionOptionValue, of the kind of the Python value."""
    match value:
        case None:
            return b""
        case bool():
            return varint(2 << 3) + bytes([value])
        case int():
            return varint(3 << 3 | 1) + struct.pack("<q", value)
        case float():
            return varint(4 << 3 | 1) + struct.pack("<d", value)
        case list():
            return field(5, b"".join(field(1, text.encode()) for text in value))
        case _:
            return field(1, value.encode())


class Client:
    """A login and its session."""

    def __init__(self, server, user="maru", password=None, address=None):
        self.flight = pf.connect("grpc://" + (address or server.endpoints["flight"]))
        self.login(user, password or server.password)

    def login(self, user, password):
        self.options = pf.FlightCallOptions(headers=[self.flight.authenticate_basic_token(user, password)], timeout=60)

    def info(self, name, body):
        return self.flight.get_flight_info(pf.FlightDescriptor.for_command(command(name, body)), self.options)

    def reader(self, sql):
        return self.flight.do_get(self.info("CommandStatementQuery", field(1, sql.encode())).endpoints[0].ticket, self.options)

    def run(self, sql):
        return self.reader(sql).read_all()

    def one(self, sql):
        return self.run(sql).column(0).to_pylist()[0]

    def action(self, name, body=b""):
        [result] = self.flight.do_action(pf.Action(name, body), self.options)
        return result.body.to_pybytes()

    def set(self, options):
        """Returns the errors: names with what is wrong with them."""
        pairs = [field(1, field(1, name.encode()) + field(2, option(value))) for name, value in options.items()]
        return {name: error.get(1, 0) for name, error in entries(self.action("SetSessionOptions", b"".join(pairs))).items()}

    def get(self):
        return {name: value[1].decode() for name, value in entries(self.action("GetSessionOptions")).items()}


@pytest.fixture
def clients(server):
    """Makes logins that end with the test."""
    with contextlib.ExitStack() as stack:
        def client(server=server, **how):
            made = Client(server, **how)
            stack.callback(made.flight.close)
            return made
        yield client


@pytest.fixture
def catalog(connection):
    """A catalog beside the default one: its schema `sample` has a table `numbers` of 7 rows."""
    name = "beside_" + uuid.uuid4().hex[:8]
    connection.execute(f"CREATE CATALOG {name} USING memory WITH (rows = 7)")
    yield name
    connection.execute(f"DROP CATALOG {name}")


# Session options ----------------------------------------------------------------------------------------------------

def test_an_option_acts_on_the_statements_of_its_session(clients):
    client, other = clients(), clients()
    assert client.set({"statement_timeout": "300ms"}) == {}
    assert client.get()["statement_timeout"] == "300" and client.one("SHOW statement_timeout") == "300ms"
    began = time.monotonic()
    with pytest.raises(pf.FlightTimedOutError, match="57014: .*statement timeout") as caught:
        client.run(SLOW)
    assert time.monotonic() - began < 30, caught.value
    assert other.get()["statement_timeout"] == "0", "a session is told what another one was set to"
    # What SET does is seen by GetSessionOptions, as what SetSessionOptions does is seen by SHOW.
    client.run("SET statement_timeout = '2min'")
    assert client.get()["statement_timeout"] == "120000"
    # Without a value the option is what it was at the login.
    assert client.set({"statement_timeout": None}) == {}
    assert client.get()["statement_timeout"] == "0"


def test_every_kind_of_value_is_taken(clients):
    client = clients()
    given = {"pushdown": False, "batch_size": 1000, "target_partitions": 2.0, "search_path": ["one", "two"], "timezone": "Asia/Seoul"}
    assert client.set(given) == {}
    got = client.get()
    assert {name: got[name] for name in given} == {
        "pushdown": "off", "batch_size": "1000", "target_partitions": "2", "search_path": "one, two", "timezone": "Asia/Seoul"}
    assert client.one("SHOW pushdown") == "off" and client.one("SHOW search_path") == "one, two"
    assert str(client.one("SELECT CAST(timestamptz '2026-11-03 00:00:00+00' AS text)")) == "2026-11-03 09:00:00+09"
    assert client.set({"pushdown": True}) == {} and client.get()["pushdown"] == "on"


def test_the_options_are_the_settings(clients):
    client = clients()
    names = {row["name"] for row in client.run("SELECT name FROM system.settings").to_pylist()}
    assert {"statement_timeout", "flight_compression", "catalog"} <= names
    assert set(client.get()) == names | {"schema"}


def test_options_that_are_refused(clients):
    client = clients()
    # One that is wrong keeps none of the others from being set.
    assert client.set({"no_such_option": "1", "flight_compression": "gzip", "flight_endpoints": -1, "statement_timeout": "soon", "pushdown": [],
                       "catalog": "no_such_catalog", "server_version": "17", "batch_size": 4096}) == {
        "no_such_option": INVALID_NAME, "flight_compression": INVALID_VALUE, "flight_endpoints": INVALID_VALUE,
        "statement_timeout": INVALID_VALUE, "pushdown": INVALID_VALUE, "catalog": INVALID_VALUE, "server_version": OTHER_ERROR}
    got = client.get()
    assert got["batch_size"] == "4096" and got["flight_compression"] == "none" and got["catalog"] == "maru" and got["pushdown"] == "on"
    assert "no_such_option" not in got
    assert client.set({"no_such_option": None}) == {"no_such_option": INVALID_NAME}
    with pytest.raises(pa.ArrowInvalid, match="08P01: could not read the request"):
        client.action("SetSessionOptions", b"\x0a\xff")
    stranger = pf.FlightCallOptions(headers=[(b"authorization", b"Bearer nobody")])
    for name in ["SetSessionOptions", "GetSessionOptions"]:
        with pytest.raises(pf.FlightUnauthenticatedError, match="28P01"):
            list(client.flight.do_action(pf.Action(name, b""), stranger))


def test_names_of_options_in_capitals(clients, catalog):
    """SQL asks for settings by names in any case; so may clients, and what is answered as done is done."""
    client = clients()
    assert client.set({"Statement_Timeout": "5s", "CATALOG": catalog}) == {}
    assert client.get()["statement_timeout"] == "5000"
    assert client.one("SELECT current_catalog") == catalog == client.get()["catalog"]


def test_catalog_and_schema_say_where_names_are_looked_up(clients, catalog):
    client = clients()
    with pytest.raises(pa.ArrowException, match="42P01"):
        client.run("SELECT * FROM numbers")
    assert client.set({"catalog": catalog, "schema": "sample"}) == {}
    assert client.one("SELECT count(*) FROM numbers") == 7
    assert client.one("SELECT current_catalog") == catalog and client.one("SELECT current_schema") == "sample"
    got = client.get()
    assert got["catalog"] == catalog and got["schema"] == got["search_path"] == "sample"
    assert client.set({"catalog": None, "schema": None}) == {}
    assert client.one("SELECT current_catalog") == "maru" and client.get()["schema"] == "public"


def test_options_of_adbc(server, catalog):
    with server.flight() as connection:
        own, prefix = connection.adbc_connection, "adbc.flight.sql.session.option"
        own.set_options(**{f"{prefix}.statement_timeout": "300ms", f"{prefix}bool.pushdown": "false"})
        assert own.get_option(f"{prefix}.statement_timeout") == "300"
        assert own.get_option(f"{prefix}.pushdown") == "off"
        with connection.cursor() as cursor, pytest.raises(adbc_driver_manager.Error, match="statement timeout"):
            cursor.execute(SLOW)
            cursor.fetch_arrow_table()
        own.set_options(**{f"{prefix}erase.statement_timeout": ""})
        assert own.get_option(f"{prefix}.statement_timeout") == "0"
        own.set_options(**{"adbc.connection.catalog": catalog, "adbc.connection.db_schema": "sample"})
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM numbers")
            assert cursor.fetchone() == (7,)
        with pytest.raises(adbc_driver_manager.Error):
            own.set_options(**{f"{prefix}.no_such_option": "1"})


# The end of a session -----------------------------------------------------------------------------------------------

def test_a_token_that_nobody_uses_expires(clients, server, connection):
    client = clients()
    assert client.set({"idle_session_timeout": "5s", "application_name": "e2e expiry"}) == {}
    open_now = lambda: connection.execute("SELECT count(*) FROM system.sessions WHERE application_name = 'e2e expiry'").fetchone()[0]
    ticket = client.info("CommandStatementQuery", field(1, b"SELECT 1 AS a")).endpoints[0].ticket
    # Each call keeps it for another five seconds.
    for _ in range(4):
        time.sleep(1.7)
        assert client.one("SELECT 1") == 1
    assert open_now() == 1
    time.sleep(5.4)
    for call in [lambda: client.run("SELECT 1"), client.get, lambda: client.flight.do_get(ticket, client.options).read_all()]:
        with pytest.raises(pf.FlightUnauthenticatedError, match="28P01: the token is unknown or has expired"):
            call()
    assert open_now() == 0
    client.login("maru", server.password)
    assert client.one("SELECT 1") == 1
    assert client.get()["idle_session_timeout"] == "0", "the new session begins anew"


def test_a_ticket_is_of_its_session(clients):
    """What another session has prepared is not to be had, least of all by the name that something else has in this one."""
    owner, other = clients(), clients()
    endpoint = owner.info("CommandStatementQuery", field(1, b"SELECT 'of the owner' AS a")).endpoints[0]
    other.info("CommandStatementQuery", field(1, b"SELECT 'of the other' AS b"))
    with pytest.raises(KeyError, match="42704: .*does not exist"):
        other.flight.do_get(endpoint.ticket, other.options).read_all()
    with pytest.raises((KeyError, pa.ArrowException), match="does not exist|no statement for this ticket"):
        other.action("RenewFlightEndpoint", field(1, endpoint.serialize()))
    assert owner.flight.do_get(endpoint.ticket, owner.options).read_all().to_pylist() == [{"a": "of the owner"}]


def test_a_result_that_is_read_keeps_its_session(clients):
    client = clients()
    client.set({"idle_session_timeout": "2s"})
    reader = client.reader(LONG)
    assert reader.read_chunk().data.num_rows > 0
    time.sleep(3)
    assert client.one("SELECT 1") == 1
    assert reader.read_chunk().data.num_rows > 0
    reader.cancel()


# What drivers ask ---------------------------------------------------------------------------------------------------

def answer(client, name, body=b""):
    """The rows of a metadata call, which are of the schema that was told before."""
    info = client.info(name, body)
    table = client.flight.do_get(info.endpoints[0].ticket, client.options).read_all()
    assert table.schema.equals(info.schema), (table.schema, info.schema)
    return table


def schema(text):
    """Fields as `name type`, with ! for those that are never NULL."""
    types = {"text": pa.string(), "int": pa.int32(), "byte": pa.uint8(), "bool": pa.bool_(), "texts": pa.list_(pa.field("item", pa.string(), False))}
    pairs = [line.split() for line in text.split(",")]
    return pa.schema([pa.field(name, types[kind.rstrip("!")], not kind.endswith("!")) for name, kind in pairs])


TYPE_INFO = schema(
    "type_name text!, data_type int!, column_size int, literal_prefix text, literal_suffix text, create_params texts, nullable int!,"
    "case_sensitive bool!, searchable int!, unsigned_attribute bool, fixed_prec_scale bool!, auto_increment bool, local_type_name text,"
    "minimum_scale int, maximum_scale int, sql_data_type int!, datetime_subcode int, num_prec_radix int, interval_precision int")
PRIMARY = schema("catalog_name text, db_schema_name text, table_name text!, column_name text!, key_sequence int!, key_name text")
FOREIGN = schema(
    "pk_catalog_name text, pk_db_schema_name text, pk_table_name text!, pk_column_name text!, fk_catalog_name text, fk_db_schema_name text,"
    "fk_table_name text!, fk_column_name text!, key_sequence int!, fk_key_name text, pk_key_name text, update_rule byte!, delete_rule byte!")


def test_type_info(clients):
    client = clients()
    table = answer(client, "CommandGetXdbcTypeInfo")
    assert table.schema.equals(TYPE_INFO), table.schema
    rows = {row["type_name"]: row for row in table.to_pylist()}
    codes = {name: row["data_type"] for name, row in rows.items()}
    assert codes == {"bigint": -5, "boolean": -7, "bytea": -3, "date": 91, "double precision": 8, "integer": 4, "numeric": 3, "real": 7,
                     "smallint": 5, "text": 12, "time": 92, "timestamp": 93}
    assert table.column("data_type").to_pylist() == sorted(codes.values()), "by FlightSql.proto in the order of data_type"
    assert rows["integer"]["unsigned_attribute"] is False
    assert rows["text"]["literal_prefix"] == rows["text"]["literal_suffix"] == "'" and rows["text"]["unsigned_attribute"] is None
    for name in rows:
        assert client.run(f"SELECT CAST(NULL AS {name}) AS v").to_pylist() == [{"v": None}], name
    # The type that is asked for: -5 is BIGINT.
    only = answer(client, "CommandGetXdbcTypeInfo", varint(1 << 3) + varint(-5 & (1 << 64) - 1))
    assert only.column("type_name").to_pylist() == ["bigint"] and only.schema.equals(TYPE_INFO)
    assert answer(client, "CommandGetXdbcTypeInfo", varint(1 << 3) + varint(1111)).num_rows == 0


def test_type_info_of_numbers_and_times(clients):
    """FlightSql.proto: exact numbers count decimal digits, the others bits; times are told apart by datetime_subcode."""
    rows = {row["type_name"]: row for row in answer(clients(), "CommandGetXdbcTypeInfo").to_pylist()}
    of = lambda *names: {type_name: tuple(row[name] for name in names) for type_name, row in rows.items()}
    sizes = of("column_size", "num_prec_radix")
    inexact = {"real": (24, 2), "double precision": (53, 2)}
    exact = {"smallint": (5, 10), "integer": (10, 10), "bigint": (19, 10), "numeric": (38, 10)}
    assert {name: sizes[name] for name in inexact} == inexact
    assert {name: sizes[name] for name in exact} == exact
    times = {"date": (9, 1), "time": (9, 2), "timestamp": (9, 3)}
    codes = of("sql_data_type", "datetime_subcode")
    assert {name: codes[name] for name in times} == times
    assert all(codes[name] == (row["data_type"], None) for name, row in rows.items() if name not in times)


def test_keys_are_empty_tables(clients, connection):
    connection.execute("CREATE TABLE e2e_keys (id bigint NOT NULL, other bigint)")
    try:
        client = clients()
        of = lambda first: field(first, b"maru") + field(first + 1, b"public") + field(first + 2, b"e2e_keys")
        for name, body, expected in [
            ("CommandGetPrimaryKeys", of(1), PRIMARY), ("CommandGetExportedKeys", of(1), FOREIGN),
            ("CommandGetImportedKeys", of(1), FOREIGN), ("CommandGetCrossReference", of(1) + of(4), FOREIGN),
        ]:
            table = answer(client, name, body)
            assert table.num_rows == 0 and table.schema.equals(expected), (name, table.schema)
    finally:
        connection.execute("DROP TABLE e2e_keys")


# Packed rows --------------------------------------------------------------------------------------------------------

class Tap:
    """Stands between one client and the server and keeps what the server says, to read it below the client's library."""

    def __init__(self, address):
        self.heard = bytearray()
        self.ear = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.ear.getsockname()[1]
        host, port = address.rsplit(":", 1)
        threading.Thread(target=self.accept, args=((host, int(port)),), daemon=True).start()

    def accept(self, server):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.ear.accept()
                far = socket.create_connection(server)
                for source, sink, kept in [(near, far, None), (far, near, self.heard)]:
                    threading.Thread(target=self.carry, args=(source, sink, kept), daemon=True).start()

    def carry(self, source, sink, kept):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if kept is not None:
                    kept += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def batches(self):
        """Header and body of each record batch: HTTP/2 frames hold gRPC messages, these hold FlightData."""
        streams, at = {}, 0
        while at + 9 <= len(self.heard):
            size, kind, stream = int.from_bytes(self.heard[at:at + 3]), self.heard[at + 3], int.from_bytes(self.heard[at + 5:at + 9])
            if kind == 0:
                streams[stream] = streams.get(stream, b"") + bytes(self.heard[at + 9:at + 9 + size])
            at += 9 + size
        for said in streams.values():
            while said:
                assert said[0] == 0, "gRPC itself packs nothing"
                end = 5 + int.from_bytes(said[1:5])
                message, said = dict(fields(said[5:end])), said[end:]
                if message.get(1000):
                    yield message[2], message[1000]


# With what a packed buffer begins, after its length unpacked.
MAGIC = {"lz4": b"\x04\x22\x4d\x18", "zstd": b"\x28\xb5\x2f\xfd"}
ROWS = "SELECT n, 'the same text each time' AS t, CASE WHEN n % 3 = 0 THEN n END AS h FROM generate_series(1, 20000) g(n)"


def test_packed_rows_are_packed(clients, server):
    taken, tables = {}, {}
    for packing in ["none", "lz4", "zstd"]:
        tap = Tap(server.endpoints["flight"])
        try:
            client = clients(address=tap.address)
            assert client.set({"flight_compression": packing}) == {}
            reader = client.reader(ROWS)
            table = reader.read_all()
            batches = list(tap.batches())
            # Each of them is what Arrow reads, and together they are the rows.
            framed = [pa.py_buffer(b"\xff\xff\xff\xff" + struct.pack("<i", len(header)) + header + body) for header, body in batches]
            read = [pa.ipc.read_record_batch(pa.ipc.read_message(message), table.schema) for message in framed]
            assert pa.Table.from_batches(read).equals(table)
            tables[packing] = table.sort_by("n")
            taken[packing] = sum(len(body) for _, body in batches)
            begins = {body[8:12] for _, body in batches}
            found = {name for name, magic in MAGIC.items() if begins == {magic}}
            assert found == {packing} - {"none"}, (packing, begins)
        finally:
            tap.ear.close()
    assert tables["none"].num_rows == 20_000 and taken["none"] > 20_000 * (8 + 4 + 23 + 8)
    assert tables["lz4"].equals(tables["none"]) and tables["zstd"].equals(tables["none"])
    assert taken["lz4"] < taken["none"] / 2 and taken["zstd"] < taken["lz4"], taken


def test_text_travels_as_dictionaries_to_whoever_asks(clients, server):
    client = clients(address=server.endpoints["flight"])
    rows = """SELECT n, 'word ' || n % 7 AS t, CASE WHEN n % 3 > 0 THEN 'w' END AS h, ARRAY['x'] AS l, CAST(NULL AS text) AS e
              FROM generate_series(1, 20000) g(n) ORDER BY n"""
    plain = client.reader(rows).read_all()
    assert plain.schema.field("t").type == pa.string()
    assert client.set({"flight_dictionaries": "text"}) == {}
    reader = client.reader(rows)
    text = pa.dictionary(pa.int32(), pa.string())
    assert [field.type for field in reader.schema] == [pa.int64(), text, text, pa.list_(pa.field("item", pa.string())), text]
    table = reader.read_all()
    assert table.schema.equals(reader.schema)
    assert table.cast(plain.schema).equals(plain)
    assert max(len(chunk.dictionary) for chunk in table.column("t").chunks) == 7
    assert client.reader("SELECT 'a' AS a WHERE false").read_all().schema.field("a").type == text
    # Nothing here is a dictionary by itself.
    assert client.set({"flight_dictionaries": "keep"}) == {}
    assert client.reader(rows).read_all().equals(plain)
    assert client.set({"flight_dictionaries": "all"}) == {"flight_dictionaries": INVALID_VALUE}
    with server.flight() as connection, connection.cursor() as cursor:
        connection.adbc_connection.set_options(**{"adbc.flight.sql.session.option.flight_dictionaries": "text", "adbc.flight.sql.session.option.flight_compression": "zstd"})
        cursor.execute(rows)
        table = cursor.fetch_arrow_table()
        assert table.schema.field("t").type == text and table.cast(plain.schema).equals(plain)
        cursor.execute("SELECT $1 || 'x' AS a", ("p",))
        assert cursor.fetch_arrow_table().to_pylist() == [{"a": "px"}]


# Resource groups ----------------------------------------------------------------------------------------------------

@pytest.fixture
def grouped(start):
    """A server with a group of two places for user kim, and two catalogs: one that is slow, one that is large."""
    server = start()
    with server.connect() as superuser:
        for statement in ["CREATE ROLE analyst", "CREATE USER kim PASSWORD 'kim-secret' IN ROLE analyst",
                          "CREATE CATALOG slow USING memory WITH (rows = 10, delay = '6s')", "CREATE CATALOG busy USING memory WITH (rows = 40000)",
                          "GRANT SELECT, USAGE ON CATALOG slow TO PUBLIC", "GRANT SELECT, USAGE ON CATALOG busy TO PUBLIC",
                          "CREATE RESOURCE GROUP analysts WITH (concurrency = 2, queue = 1, roles = 'analyst')"]:
            superuser.execute(statement)
        yield server, superuser


def comes_to(superuser, running, queued, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        got = superuser.execute("SELECT running, queued FROM system.resource_groups WHERE name = 'analysts'").fetchone()
        if got == (running, queued):
            return
        assert time.monotonic() < deadline, got
        time.sleep(0.02)


def test_a_group_limits_statements_over_flight(grouped, clients):
    server, superuser = grouped
    kim = lambda: clients(server, user="kim", password="kim-secret")
    slow, rows, failures = "SELECT count(*) FROM slow.sample.numbers", [], []

    def ask(client):
        try:
            rows.append(client.one(slow))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(kim(),)) for _ in range(3)]
    # Logins take their time: they are done before the places are taken.
    refused, curious, other = kim(), kim(), clients(server)
    began = time.monotonic()
    for thread in threads:
        thread.start()
    comes_to(superuser, 2, 1)
    with pytest.raises(pa.ArrowException, match="53000: (.|\n)*resource group \"analysts\""):
        refused.run(slow)
    # What the engine knows of itself needs no place, and the others have theirs.
    assert curious.run("SELECT name, running, queued FROM system.resource_groups").to_pylist() == [{"name": "analysts", "running": 2, "queued": 1}]
    assert other.one("SELECT count(*) FROM busy.sample.numbers") == 40000
    for thread in threads:
        thread.join(60)
    assert rows == [10, 10, 10] and not failures
    assert time.monotonic() - began >= 12, "the third one has waited for a place"
    comes_to(superuser, 0, 0)


def test_a_place_is_held_as_long_as_rows_are_read(grouped, clients):
    server, superuser = grouped
    reading = [clients(server, user="kim", password="kim-secret").reader(LONG) for _ in range(2)]
    assert all(reader.read_chunk().data.num_rows for reader in reading)
    comes_to(superuser, 2, 0)
    waiter, rows = clients(server, user="kim", password="kim-secret"), []
    thread = threading.Thread(target=lambda: rows.append(waiter.one("SELECT count(*) FROM busy.sample.numbers")))
    thread.start()
    comes_to(superuser, 2, 1)
    reading[0].cancel()
    thread.join(50)
    assert rows == [40000]
    comes_to(superuser, 1, 0)
    reading[1].cancel()
    comes_to(superuser, 0, 0)


def test_groups_of_programs_and_their_time(grouped, clients):
    """Over Flight a program is known by what its library says of itself."""
    server, superuser = grouped
    client = clients(server, user="kim", password="kim-secret")
    name = superuser.execute("SELECT application_name FROM system.sessions WHERE user_name = 'kim'").fetchone()[0]
    assert name.startswith("grpc-c++/")
    superuser.execute("CREATE RESOURCE GROUP programs WITH (applications = 'grpc-c++*', run_time = '500ms')")
    began = time.monotonic()
    with pytest.raises((pf.FlightError, pa.ArrowException), match="57014: (.|\n)*programs"):
        client.run("SELECT count(*) FROM busy.sample.numbers a, busy.sample.numbers b WHERE (a.n * b.n + a.square) % 7 = 3")
    assert 0.4 < time.monotonic() - began < 50
    assert client.one("SELECT 1") == 1
