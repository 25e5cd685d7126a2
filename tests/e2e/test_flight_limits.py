"""Flight SQL: what ends a statement, what is recorded of it, and clients that send anything."""

import random
import threading
import time

import adbc_driver_manager
import pyarrow as pa
import pyarrow.flight as pf
import pytest

from test_wire import SLOW

LONG = "SELECT n, n * 2 AS m FROM generate_series(1, 4000000000) AS g(n)"


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def command(name, body):
    return field(1, b"type.googleapis.com/arrow.flight.protocol.sql." + name.encode()) + field(2, body)


@pytest.fixture
def client(server):
    with pf.connect("grpc://" + server.endpoints["flight"]) as client:
        options = pf.FlightCallOptions(headers=[client.authenticate_basic_token("maru", server.password)], timeout=60)
        yield client, options


def info_of(client, sql):
    client, options = client
    return client.get_flight_info(pf.FlightDescriptor.for_command(command("CommandStatementQuery", field(1, sql.encode()))), options)


def running(connection):
    return connection.execute("SELECT count(*) FROM system.queries WHERE state = 'running' AND protocol LIKE 'flight%'").fetchone()[0]


def gone(connection):
    deadline = time.monotonic() + 60
    while running(connection):
        assert time.monotonic() < deadline, "the statement goes on"
        time.sleep(0.05)


def test_a_timeout_ends_a_statement(server, connection):
    with server.flight() as flight, flight.cursor() as cursor:
        cursor.execute("SET statement_timeout = '300ms'")
        began = time.monotonic()
        with pytest.raises(adbc_driver_manager.Error, match="statement timeout"):
            cursor.execute(SLOW)
            cursor.fetch_arrow_table()
        assert time.monotonic() - began < 30
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("SELECT 1 AS a")
        assert cursor.fetchone() == (1,)
    gone(connection)


def test_the_timeout_of_a_role_holds(server, connection):
    connection.execute("CREATE USER c_hasty PASSWORD 'long enough for it'")
    try:
        connection.execute("ALTER ROLE c_hasty SET statement_timeout = '300ms'")
        with server.flight(username="c_hasty", password="long enough for it") as flight, flight.cursor() as cursor:
            with pytest.raises(adbc_driver_manager.Error, match="statement timeout"):
                cursor.execute(SLOW)
                cursor.fetch_arrow_table()
        gone(connection)
    finally:
        connection.execute("DROP ROLE c_hasty")


def test_cancel_of_what_is_read(client, connection):
    info = info_of(client, LONG)
    flight, options = client
    reader = flight.do_get(info.endpoints[0].ticket, options)
    assert reader.read_chunk().data.num_rows > 0
    assert running(connection) == 1
    # CancelFlightInfoRequest{info}
    cancelled = list(flight.do_action(pf.Action("CancelFlightInfo", field(1, info.serialize())), options))
    assert cancelled
    with pytest.raises((pf.FlightCancelledError, pa.ArrowException), match="cancel"):
        while True:
            reader.read_chunk()
    gone(connection)


def test_pg_cancel_backend_reaches_it(server, client, connection):
    info = info_of(client, LONG)
    flight, options = client
    reader = flight.do_get(info.endpoints[0].ticket, options)
    reader.read_chunk()
    found = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%4000000000%' AND state = 'active' AND pid <> pg_backend_pid()"
    pids = connection.execute(found).fetchall()
    assert len(pids) == 1
    assert connection.execute("SELECT pg_cancel_backend(%s)", pids[0]).fetchone() == (True,)
    with pytest.raises((pf.FlightCancelledError, pa.ArrowException), match="cancel"):
        while True:
            reader.read_chunk()
    gone(connection)


def test_a_client_that_goes_away_ends_its_statement(server, connection):
    flight = pf.connect("grpc://" + server.endpoints["flight"])
    options = pf.FlightCallOptions(headers=[flight.authenticate_basic_token("maru", server.password)])
    reader = flight.do_get(info_of((flight, options), LONG).endpoints[0].ticket, options)
    reader.read_chunk()
    assert running(connection) == 1
    reader.cancel()
    flight.close()
    gone(connection)


def test_logins_are_recorded_and_slowed(server, connection):
    last = connection.execute("SELECT count(*) FROM system.audit WHERE event = 'login failed' AND protocol LIKE 'flight%'").fetchone()[0]
    with pf.connect("grpc://" + server.endpoints["flight"]) as flight:
        times = []
        for _ in range(5):
            began = time.monotonic()
            with pytest.raises(pf.FlightUnauthenticatedError):
                flight.authenticate_basic_token("c_nobody", "wrong")
            times.append(time.monotonic() - began)
        # Three failures are free; the first one has the connection to make, too.
        assert times[4] >= 0.5 and times[4] > min(times[:3]) + 0.3, times
        flight.authenticate_basic_token("maru", server.password)
    now = connection.execute("SELECT count(*) FROM system.audit WHERE event = 'login failed' AND protocol LIKE 'flight%'").fetchone()[0]
    assert now == last + 5
    login = "SELECT count(*) FROM system.audit WHERE event = 'login' AND protocol LIKE 'flight%' AND user_name = 'maru'"
    assert connection.execute(login).fetchone()[0] >= 1


def test_anything_at_all_is_answered(server, client, connection):
    """Commands, tickets and actions of random bytes, and good ones with bytes changed."""
    flight, options = client
    chance = random.Random(7)
    names = ["CommandStatementQuery", "CommandPreparedStatementQuery", "CommandGetTables", "CommandGetDbSchemas", "CommandGetSqlInfo",
             "CommandGetPrimaryKeys", "CommandGetXdbcTypeInfo", "CommandStatementUpdate", "CommandStatementIngest", "CommandNoSuchThing"]
    good = command("CommandStatementQuery", field(1, b"SELECT 1 AS a"))
    ticket = info_of(client, "SELECT 1 AS a").endpoints[0].ticket.ticket

    def damaged(data):
        data = bytearray(data)
        for _ in range(chance.randrange(1, 4)):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        return bytes(data[:chance.randrange(len(data) + 1)])

    def body():
        return bytes(chance.randrange(256) for _ in range(chance.randrange(40)))

    calls = refused = 0
    for turn in range(300):
        descriptor = [command(chance.choice(names), body()), damaged(good), body()][turn % 3]
        attempts = [
            lambda: flight.get_flight_info(pf.FlightDescriptor.for_command(descriptor), options),
            lambda: flight.get_schema(pf.FlightDescriptor.for_command(descriptor), options),
            lambda: flight.do_get(pf.Ticket([damaged(ticket), body()][turn % 2]), options).read_all(),
            lambda: list(flight.do_action(pf.Action(chance.choice(["CreatePreparedStatement", "ClosePreparedStatement", "BeginTransaction",
                                                                   "CancelFlightInfo", "SetSessionOptions", "Nothing"]), body()), options)),
        ]
        calls += 1
        try:
            attempts[turn % len(attempts)]()
        except (pf.FlightError, pa.ArrowException, NotImplementedError, KeyError) as error:
            refused += 1
            assert "panicked" not in str(error), error
    assert refused > calls // 2
    assert info_of(client, "SELECT 1 AS a").endpoints
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_many_clients_at_once(server, connection):
    failures = []

    def ask(number):
        try:
            with server.flight() as flight, flight.cursor() as cursor:
                for turn in range(5):
                    cursor.execute(f"SELECT sum(n) AS s FROM generate_series(1, {number * 100 + turn}) AS g(n)")
                    top = number * 100 + turn
                    assert cursor.fetchone()[0] == top * (top + 1) // 2
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 31)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures, failures[:3]
    gone(connection)
