"""What comes of messages in an order, or of a form, that drivers do not send: as PostgreSQL answers them."""

import struct

import pytest
from test_hostile import Wire, packet, query

SYNC = packet(b"S", b"")


def parse(sql, name=b""):
    return packet(b"P", name + b"\0" + sql.encode() + b"\0\0\0")


def bind(*values, codes=(), columns=(), portal=b"", statement=b""):
    shorts = lambda numbers: struct.pack(f"!{len(numbers) + 1}h", len(numbers), *numbers)
    sent = b"".join(struct.pack("!i", len(value)) + value for value in values)
    return packet(b"B", portal + b"\0" + statement + b"\0" + shorts(codes) + struct.pack("!h", len(values)) + sent + shorts(columns))


def execute(portal=b"", rows=0):
    return packet(b"E", portal + b"\0" + struct.pack("!i", rows))


def told(message):
    """The letter of a message, with what a test looks at."""
    letter, body = message
    if letter == b"E":
        fields = {field[:1]: field[1:].decode() for field in body.split(b"\0") if field}
        return f"{fields[b'C']} {fields[b'M']}"
    return {b"C": lambda: body[:-1].decode(), b"Z": lambda: "Z" + body.decode()}.get(letter, letter.decode)()


def answers(server, *messages):
    """Everything that is answered, up to the last ReadyForQuery or the end of the connection."""
    with Wire(server, server.password) as wire:
        wire.send(b"".join(messages) + query("SELECT 'the end'"))
        found = []
        while (message := wire.message()) is not None:
            if message[0] == b"D" and b"the end" in message[1]:
                return found[:-1]
            if message[0] != b"S":
                found.append(told(message))
        return [*found, "closed"]


NOT_TWICE = '55000 portal "" cannot be run'


@pytest.mark.parametrize("messages, expected", [
    # A portal of a command runs once; that of a query is at its end.
    ([query("CREATE TEMP TABLE p_once (a int)"), parse("INSERT INTO p_once VALUES (1)"), bind(), execute(), execute(), SYNC],
     ["CREATE TABLE", "ZI", "1", "2", "INSERT 0 1", NOT_TWICE, "ZI"]),
    ([parse("SET application_name = 'x'"), bind(), execute(), execute(), SYNC], ["1", "2", "SET", NOT_TWICE, "ZI"]),
    ([parse("SELECT 1"), bind(), execute(), execute(), SYNC], ["1", "2", "D", "SELECT 1", "SELECT 0", "ZI"]),
    ([query("CREATE TEMP TABLE p_told (a int)"), parse("INSERT INTO p_told VALUES (1) RETURNING a"), bind(), execute(), execute(), SYNC],
     ["CREATE TABLE", "ZI", "1", "2", "D", "INSERT 0 1", "INSERT 0 0", "ZI"]),
    ([query("CREATE TEMP TABLE p_none (a int)"), parse("DELETE FROM p_none RETURNING a"), bind(), execute(), execute(), SYNC],
     ["CREATE TABLE", "ZI", "1", "2", "DELETE 0", "DELETE 0", "ZI"]),
    ([parse("SHOW application_name"), bind(), execute(), execute(), SYNC], ["1", "2", "D", "SHOW", "SHOW", "ZI"]),
    ([parse(""), bind(), execute(), execute(), SYNC], ["1", "2", "I", "I", "ZI"]),
    # What is not there can be closed and not described.
    ([packet(b"C", b"Snope\0"), packet(b"C", b"Pnope\0"), SYNC], ["3", "3", "ZI"]),
    ([packet(b"D", b"Snope\0"), SYNC], ['26000 prepared statement "nope" does not exist', "ZI"]),
    ([packet(b"D", b"Pnope\0"), SYNC], ['34000 portal "nope" does not exist', "ZI"]),
    ([packet(b"D", b"Xnope\0"), SYNC], ["08P01 invalid DESCRIBE message subtype 88", "ZI"]),
    ([packet(b"C", b"Xnope\0"), SYNC], ["08P01 invalid CLOSE message subtype 88", "ZI"]),
    ([parse("SELECT 1"), bind(portal=b"p"), bind(portal=b"p"), SYNC], ["1", "2", '42P03 cursor "p" already exists', "ZI"]),
    # Formats and values.
    ([parse("SELECT $1::int"), bind(b"1", codes=(0, 0)), SYNC], ["1", "08P01 bind message has 2 parameter formats but 1 parameters", "ZI"]),
    ([parse("SELECT $1::int"), bind(b"1", columns=(0, 0)), SYNC], ["1", "08P01 bind message has 2 result formats but query has 1 columns", "ZI"]),
    ([parse("SELECT $1::text"), bind(b"a\0b"), SYNC], ["1", '22021 invalid byte sequence for encoding "UTF8": 0x00', "ZI"]),
    ([parse("SELECT $1::text"), bind(b"a\0b", codes=(1,)), SYNC], ["1", '22021 invalid byte sequence for encoding "UTF8": 0x00', "ZI"]),
    ([parse("SELECT $1::text"), bind(b"a\xffb"), SYNC], ["1", '22021 invalid byte sequence for encoding "UTF8": 0xff', "ZI"]),
    ([query("SELECT $1")], ["42P02 there is no parameter $1", "ZI"]),
    # Flush and Sync.
    ([packet(b"H", b""), SYNC, SYNC], ["ZI", "ZI"]),
    ([parse("SELECT nope"), bind(), execute(), SYNC], ['42703 column "nope" does not exist', "ZI"]),
    # Messages whose end is not known.
    ([b"Q\0\0\0\3"], ["08P01 invalid message length", "closed"]),
    ([b"S\0\0\0\0"], ["08P01 invalid message length", "closed"]),
    ([b"Q\xff\xff\xff\xff"], ["08P01 invalid message length", "closed"]),
    ([packet(b"y", b"abc")], ["08P01 invalid frontend message type 121", "closed"]),
])
def test_messages_are_answered_as_postgresql_does(server, messages, expected):
    assert answers(server, *messages) == expected


def test_functions_are_called_by_their_names(server):
    call = packet(b"F", struct.pack("!ihhi", 1317, 0, 1, 3) + b"abc" + struct.pack("!h", 0))
    assert answers(server, call) == ["0A000 function calls are taken in SELECT alone", "ZI"]
