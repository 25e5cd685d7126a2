"""Clients that break the rules of the PostgreSQL wire, come in crowds, or do not read: others go on, memory and files stay bounded.

A few hundred broken conversations in `tests/run`, twenty thousand in `tests/run --long`; which ones is decided by a fixed seed."""

import base64
import hashlib
import hmac
import os
import random
import socket
import struct
import threading
import time

import psycopg
import pytest

pytestmark = pytest.mark.timeout(1800)

LONG = os.environ.get("MARU_TEST_LONG") == "1"
SEED = 20261126
MB = 1 << 20


class Wire:
    """A socket that speaks the protocol as far as a test wants it to."""

    def __init__(self, server, password=None):
        self.socket = socket.create_connection(server.host_port("pg"), timeout=20)
        if password is not None:
            self.log_in(password)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def message(self):
        """The next message as its letter and body; None when the server has closed."""
        head = self.exactly(5)
        if head is None:
            return None
        body = self.exactly(struct.unpack("!i", head[1:])[0] - 4)
        return None if body is None else (head[:1], body)

    def exactly(self, size):
        data = b""
        while len(data) < size:
            try:
                more = self.socket.recv(size - len(data))
            except ConnectionError:
                return None
            if not more:
                return None
            data += more
        return data

    def until_ready(self):
        """Messages up to ReadyForQuery or the end."""
        seen = []
        while (message := self.message()) is not None:
            seen.append(message)
            if message[0] == b"Z":
                break
        return seen

    def log_in(self, password, user="maru"):
        self.send(startup(user=user, database="maru"))
        assert self.message()[0] == b"R"
        nonce = base64.b64encode(os.urandom(18)).decode()
        bare = f"n=,r={nonce}"
        first = f"n,,{bare}".encode()
        self.send(packet(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first))
        challenge = self.message()[1][4:].decode()
        parts = dict(part.split("=", 1) for part in challenge.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        without_proof = f"c=biws,r={parts['r']}"
        signature = hmac.digest(hashlib.sha256(client_key).digest(), f"{bare},{challenge},{without_proof}".encode(), "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        self.send(packet(b"p", f"{without_proof},p={base64.b64encode(proof).decode()}".encode()))
        final = self.message()
        assert final[0] == b"R" and final[1][:4] == struct.pack("!i", 12), final
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        expected = hmac.digest(server_key, f"{bare},{challenge},{without_proof}".encode(), "sha256")
        assert final[1][4:].decode() == "v=" + base64.b64encode(expected).decode()
        self.until_ready()


def packet(letter, body):
    return letter + struct.pack("!i", len(body) + 4) + body


def startup(**parameters):
    body = struct.pack("!i", 196608) + b"".join(f"{k}\0{v}\0".encode() for k, v in parameters.items()) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def query(sql):
    return packet(b"Q", sql.encode() + b"\0")


def extended(sql="SELECT $1::int + 1", value=b"41"):
    return [packet(b"P", b"s\0" + sql.encode() + b"\0" + struct.pack("!h", 0)),
            packet(b"D", b"Ss\0"),
            packet(b"B", b"p\0s\0" + struct.pack("!hh", 0, 1) + struct.pack("!i", len(value)) + value + struct.pack("!h", 0)),
            packet(b"D", b"Pp\0"), packet(b"E", b"p\0" + struct.pack("!i", 0)), packet(b"C", b"Ss\0"), packet(b"S", b"")]


def resident(server):
    with open(f"/proc/{server.process.pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def files(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def settle(measure, most, seconds=60):
    """Waits until a measure has come down, and returns it."""
    deadline = time.monotonic() + seconds
    while (value := measure()) > most and time.monotonic() < deadline:
        time.sleep(0.2)
    return value


@pytest.fixture
def healthy(server):
    """A client that minds its own business; it has to be served before and after."""
    with server.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        yield connection
        assert connection.execute("SELECT 2").fetchone() == (2,)


@pytest.mark.parametrize("data", [
    b"", b"\0", b"\0\0\0", struct.pack("!i", 0), struct.pack("!i", 4), struct.pack("!i", -1), struct.pack("!i", 2**31 - 1),
    struct.pack("!ii", 8, 196608), struct.pack("!ii", 8, 999999), struct.pack("!ii", 9, 196608) + b"x",
    b"GET / HTTP/1.1\r\nHost: maru\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    struct.pack("!ii", 8, 80877103) * 50, struct.pack("!ii", 16, 80877102) + b"\0" * 8, startup(user="maru") + b"\xff" * 5000,
    startup(user="x" * 9000), startup(database="maru"), startup(user="maru", replication="true"), b"\xff" * 70000,
])
def test_what_is_no_beginning(server, healthy, data):
    with Wire(server) as wire:
        try:
            wire.send(data)
            wire.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        wire.socket.settimeout(45)
        while True:
            try:
                if not wire.socket.recv(65536):
                    break
            except ConnectionError:
                break
    assert healthy.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("body", [
    b"Q" + struct.pack("!i", 3), b"Q" + struct.pack("!i", -5),   # lengths that cannot be
    packet(b"P", b"s\0SELECT 1\0" + struct.pack("!h", 30000)),   # types that are not there
    packet(b"B", b"\0\0" + struct.pack("!h", -1)),
    packet(b"B", b"p\0nothing\0" + struct.pack("!hhh", 0, 0, 0)),
    packet(b"E", b"nothing\0" + struct.pack("!i", 0)),
    packet(b"E", b""), packet(b"D", b"X\0"), packet(b"D", b""), packet(b"C", b""), packet(b"F", b"\0" * 20),
    packet(b"d", b"data without a copy"), packet(b"c", b""), packet(b"f", b"why\0"), packet(b"p", b"password again\0"),
    packet(b"Q", b"SELECT 'no end'"), packet(b"Q", b"SELECT 1\0SELECT 2\0"), packet(b"Q", b"SELECT '\xff'\0"),   # texts that do not end, end twice, are none
    packet(b"P", b"s\0SELECT 1"), packet(b"P", b"s\0SELECT '\xff'\0\0\0"), packet(b"E", b"portal"), packet(b"H", b"more"),
    packet(b"?", b"no such message"), packet(b"\0", b""), packet(b"R", b"\0\0\0\0"),
])
def test_messages_that_are_none(server, healthy, body):
    with Wire(server, server.password) as wire:
        wire.send(body + packet(b"S", b"") + query("SELECT 42"))
        wire.socket.settimeout(20)
        seen = wire.until_ready()
        letters = {letter for letter, _ in seen}
        # An error and the next statement, or an error and the end; never silence.
        assert b"E" in letters or body[:1] in b"dcf" or not seen, seen


@pytest.mark.parametrize("body,sqlstate", [(b"SELECT 1", "08P01"), (b"SELECT 1\0DROP TABLE x\0", "08P01"), (b"SELECT '\xe9'\0", "22021")])
def test_a_query_ends_where_its_message_ends(server, healthy, body, sqlstate):
    """What is wrong with one message is its own error; the next one is read as usual."""
    with Wire(server, server.password) as wire:
        for _ in range(3):
            wire.send(packet(b"Q", body) + query("SELECT 'the next'"))
            first, second = ([m for m in wire.until_ready() if m[0] != b"S"] for _ in range(2))
            assert [letter for letter, _ in first] == [b"E", b"Z"] and b"C" + sqlstate.encode() + b"\0" in first[0][1], first
            assert [letter for letter, _ in second] == [b"T", b"D", b"C", b"Z"] and b"the next" in second[1][1]


def test_a_giant_message_is_refused_before_it_is_read(server, healthy):
    before = resident(server)
    with Wire(server, server.password) as wire:
        wire.send(b"Q" + struct.pack("!i", 2**31 - 1))
        try:
            for _ in range(256):
                wire.send(b"SELECT 1 -- " + b"x" * MB)
        except OSError:
            pass
        assert resident(server) - before < 150 * MB
    assert settle(lambda: resident(server) - before, 100 * MB) < 100 * MB


def test_a_statement_that_comes_byte_by_byte(server, healthy):
    with Wire(server, server.password) as wire:
        for byte in query("SELECT 'slow but sure'"):
            wire.send(bytes([byte]))
            time.sleep(0.005)
        assert any(letter == b"D" and b"slow but sure" in body for letter, body in wire.until_ready())


def mutated(rng, parts):
    """A conversation with a few mistakes in it."""
    parts = [bytearray(part) for part in parts]
    for _ in range(rng.randint(1, 3)):
        part = rng.choice(parts)
        kind = rng.randrange(7)
        if not part:
            continue
        if kind == 0:
            part[rng.randrange(len(part))] = rng.randrange(256)
        elif kind == 1:
            del part[rng.randrange(len(part)):]
        elif kind == 2:
            part[1:5] = struct.pack("!i", rng.choice([0, 1, 3, 4, 5, len(part) * 2, 2**31 - 1, -1, -(2**31)]))
        elif kind == 3:
            at = rng.randrange(len(part))
            part[at:at] = rng.randbytes(rng.randint(1, 40))
        elif kind == 4:
            part[0] = rng.choice(b"QPBDECSHFdcfpX?\0")
        elif kind == 5:
            rng.shuffle(parts)
        else:
            parts.insert(rng.randrange(len(parts) + 1), bytearray(rng.choice(parts)))
    return b"".join(bytes(part) for part in parts)


def test_conversations_with_mistakes(server, healthy):
    rng = random.Random(SEED)
    before = resident(server)
    conversations = [extended(), extended("SELECT n FROM generate_series(1, 5) t(n)", b""), [query("SELECT 1"), query("SELEC"), query("")],
                     extended() + extended("VALUES ($1)", b"x"), [query("COPY (SELECT 1) TO STDOUT"), packet(b"S", b"")]]
    for n in range(20_000 if LONG else 300):
        with Wire(server, server.password) as wire:
            data = mutated(rng, rng.choice(conversations))
            wire.socket.settimeout(20)
            try:
                wire.send(data)
                # An end on our side, so that a server that waits for the rest need not.
                wire.socket.shutdown(socket.SHUT_WR)
                while wire.socket.recv(65536):
                    pass
            except TimeoutError:
                raise AssertionError(f"no answer to conversation {n}: {data!r}") from None
            except OSError:
                pass
        if n % 50 == 0:
            assert healthy.execute("SELECT %s::int", [n]).fetchone() == (n,)
    assert settle(lambda: resident(server) - before, 256 * MB) < 256 * MB


def test_half_open_connections_do_not_last(server, healthy):
    """Those that never say who they are end after the time for a login, those that are gone at once."""
    idle = [socket.create_connection(server.host_port("pg")) for _ in range(200)]
    started = [socket.create_connection(server.host_port("pg")) for _ in range(50)]
    for one in started:
        one.sendall(startup(user="maru", database="maru"))
    with server.connect() as other:
        assert other.execute("SELECT 1").fetchone() == (1,)
    if LONG:
        for one in idle[:5] + started[:5]:
            one.settimeout(45)
            while one.recv(1000):
                pass
    for one in idle + started:
        one.close()


def test_many_connections_at_once(start):
    count = 1000 if LONG else 250
    server = start(arguments=["--pg-connections-max", str(count + 10)])
    with server.connect() as first:
        first.execute("SELECT 1")
        before, files_before = resident(server), files(server)
        connections = [server.connect() for _ in range(count)]
        assert first.execute("SELECT count(*) FROM system.sessions").fetchone() == (count + 1,)
        for n, connection in enumerate(connections):
            assert connection.execute("SELECT %s::int", [n]).fetchone() == (n,)
        held = (resident(server) - before) / count
        print(f"{count} connections: {held / 1024:.0f} kB each")
        assert held < 1 * MB
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            for _ in range(11):
                connections.append(server.connect())
        for connection in connections:
            connection.close()
        assert settle(lambda: files(server), files_before + 5) <= files_before + 5
        # A session goes a moment after its connection.
        assert settle(lambda: first.execute("SELECT count(*) FROM system.sessions").fetchone()[0], 1) == 1


def test_connections_one_after_the_other(start):
    server = start()
    rounds = 10_000 if LONG else 400

    def connect(times):
        for _ in range(times):
            with server.connect() as connection:
                connection.execute("SELECT 1")

    connect(100)
    before, files_before = resident(server), files(server)
    began = time.monotonic()
    connect(rounds)
    print(f"{rounds} connections in {time.monotonic() - began:.1f} s, resident {(resident(server) - before) / MB:+.1f} MB")
    assert settle(lambda: files(server), files_before + 3) <= files_before + 3
    assert settle(lambda: resident(server) - before, 60 * MB) < 60 * MB


def test_a_reader_that_is_slow_costs_no_memory(server, healthy):
    rows = 10_000_000
    with server.connect() as connection:
        before = resident(server)
        worst, seen = 0, 0
        sql = f"SELECT n, 'a row of some length ' || n FROM generate_series(1, {rows}) t(n)"
        for n, _ in connection.cursor().stream(sql):
            seen += 1
            if not LONG and seen > 200_000:
                break
            if n % 20_000 == 0:
                time.sleep(0.05)
                worst = max(worst, resident(server) - before)
        assert seen == (rows if LONG else 200_001)
        print(f"a slow reader: at most {worst / MB:.1f} MB more")
        assert worst < 120 * MB


def test_statements_that_take_long_to_plan_hold_nobody_up(server, healthy):
    """Functions in functions, more at once than there are processors: cancels and timeouts end them, and others are served meanwhile."""
    depth, n_columns, n_clients = 90, 12, 6
    columns = ["cardinality(" + "array_append(" * depth + f"ARRAY[{n}]" + ", 1)" * depth + ")" for n in range(n_columns)]
    sql, answer = "SELECT " + ", ".join(columns), (depth + 1,) * n_columns
    ends = []

    def plan(connection):
        began = time.monotonic()
        try:
            end = connection.execute(sql).fetchone()
        except psycopg.Error as error:
            end = error.sqlstate
        ends.append((end, time.monotonic() - began))

    connections = [server.connect() for _ in range(n_clients)]
    for connection in connections[::2]:
        connection.execute("SET statement_timeout = '1s'")
    clients = [threading.Thread(target=plan, args=(connection,), daemon=True) for connection in connections]
    for client in clients:
        client.start()
    began, slowest = time.monotonic(), 0
    while time.monotonic() - began < 3:
        asked = time.monotonic()
        assert healthy.execute("SELECT 1").fetchone() == (1,)
        slowest = max(slowest, time.monotonic() - asked)
    for connection in connections[1::2]:
        connection.cancel()
    for client in clients:
        client.join(30)
        assert not client.is_alive(), "neither a cancel nor a timeout ends it"
    for connection in connections:
        assert connection.execute("SELECT 2").fetchone() == (2,)
        connection.close()
    print(f"planned with others: {ends}; the slowest SELECT 1 meanwhile: {slowest * 1000:.0f} ms")
    assert all(end in (answer, "57014") for end, _ in ends), ends
    assert all(seconds < 10 for _, seconds in ends), ends
    assert slowest < 5


MIXED = [
    ("SELECT %s::int", lambda n: [(n,)]),
    ("SELECT count(*) FROM generate_series(1, 20000) t(g) WHERE g <= %s", lambda n: [(n,)]),
    ("SELECT g, g * 2 FROM generate_series(1, 50) t(g) WHERE g > %s %% 50 ORDER BY g", lambda n: [(g, g * 2) for g in range(n % 50 + 1, 51)]),
    ("SELECT sum(a.g)::bigint FROM generate_series(1, 300) a(g) JOIN generate_series(1, 300) b(g) ON a.g = b.g WHERE a.g <> %s", None),
    ("SELECT schema, count(*) FROM system.tables WHERE catalog = 'maru' AND schema <> %s::text GROUP BY 1", None),
]


def test_a_crowd_with_mixed_queries(start):
    """200 clients for a minute (40 for some seconds): every answer is right, and afterwards memory and files are what they were."""
    n_clients, seconds = (200, 60) if LONG else (40, 5)
    server = start(arguments=["--pg-connections-max", str(n_clients + 20)])
    times, wrong = [], []

    def client(number, deadline):
        chance = random.Random(SEED + number)
        taken = []
        try:
            connection = server.connect()
            # Two answers at least, however slow the machine is.
            while time.monotonic() < deadline or len(taken) < 2:
                n = chance.randrange(10_000)
                sql, expected = chance.choice(MIXED)
                began = time.monotonic()
                rows = connection.execute(sql, [n]).fetchall()
                taken.append(time.monotonic() - began)
                if not rows or (expected and rows != expected(n)):
                    wrong.append((sql, n, rows[:3]))
                if chance.random() < 0.01:
                    connection.close()
                    connection = server.connect()
            connection.close()
        except Exception as error:
            wrong.append(repr(error))
        times.extend(taken)

    def crowd(length):
        deadline = time.monotonic() + length
        clients = [threading.Thread(target=client, args=(number, deadline), daemon=True) for number in range(n_clients)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join(length + 120)
            assert not thread.is_alive(), "a client waits for ever"
        assert wrong == [], wrong[:5]

    crowd(2)   # Caches and threads are there from now on.
    before, files_before = settle(lambda: resident(server), 0, 3), files(server)
    times.clear()
    crowd(seconds)
    times.sort()
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    print(f"{n_clients} clients, {seconds} s: {len(times)} statements, p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, "
          f"resident {(resident(server) - before) / MB:+.1f} MB")
    assert len(times) > n_clients
    assert settle(lambda: files(server), files_before) <= files_before + 3
    assert settle(lambda: resident(server) - before, 100 * MB) < 100 * MB
    with server.connect() as connection:
        assert settle(lambda: connection.execute("SELECT count(*) FROM system.sessions").fetchone()[0], 1) == 1
