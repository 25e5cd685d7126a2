"""What BI tools ask when they connect and look around, replayed: tests/e2e/tools, one file for each tool."""

import pathlib
import re
import time

import psycopg
import pytest

TOOLS = pathlib.Path(__file__).parent / "tools"
HEAD = re.compile(r"^-- ([^:\n]+): (rows|any)(?:: (.*))?$", re.MULTILINE)
# A tool gives up after a minute or so.
SECONDS_MAX = 40


def questions():
    for path in sorted(TOOLS.glob("*.sql")):
        text = path.read_text()
        heads = list(HEAD.finditer(text))
        assert heads, path
        for head, following in zip(heads, [*heads[1:], None]):
            sql = text[head.end():following.start() if following else None].strip().removesuffix(";")
            columns = [name.strip() for name in (head[3] or "").split(",") if name.strip()]
            yield pytest.param(sql, head[2], columns, id=f"{path.stem}: {head[1]}")


@pytest.fixture(scope="module")
def looked_at(server):
    statements = [
        "CREATE SCHEMA c_tools",
        "CREATE TABLE c_tools.orders (id int NOT NULL, placed timestamp, amount numeric(12,2), status text, tags text[], due date, \"Ugly\"\"Name\" bigint)",
        "INSERT INTO c_tools.orders VALUES (1, '2026-01-05 10:00:00', 12.50, 'open', ARRAY['a','b'], DATE '2026-02-01', 1), (2, '2026-02-06 11:30:00', 7.25, 'paid', NULL, NULL, NULL)",
        "CREATE TABLE c_tools.people (name text, age int)",
        "CREATE VIEW c_tools.open_orders AS SELECT id, amount FROM c_tools.orders WHERE status = 'open'",
        "COMMENT ON TABLE c_tools.orders IS 'What was ordered'",
        "COMMENT ON COLUMN c_tools.orders.amount IS 'In won'",
    ]
    with server.connect() as connection:
        connection.execute("DROP SCHEMA IF EXISTS c_tools CASCADE")
        for statement in statements:
            connection.execute(statement)
        one = lambda sql: str(connection.execute(sql).fetchone()[0])
        places = {
            "{schema}": one("SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'c_tools'"),
            "{table}": one("SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE nspname = 'c_tools' AND relname = 'orders'"),
            "{view}": one("SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE nspname = 'c_tools' AND relname = 'open_orders'"),
        }
        yield server, places
        connection.execute("DROP SCHEMA c_tools CASCADE")


@pytest.mark.parametrize("sql,rows,columns", list(questions()))
def test_a_tool_gets_its_answer(looked_at, sql, rows, columns):
    server, places = looked_at
    for name, oid in places.items():
        sql = sql.replace(name, oid)
    with server.connect(cursor_factory=psycopg.ClientCursor) as connection:
        start = time.monotonic()
        cursor = connection.execute(sql)
        while cursor.nextset():
            pass
        took = time.monotonic() - start
        assert took < SECONDS_MAX, took
        if rows == "any" and cursor.description is None:
            return
        names = [column.name for column in cursor.description]
        assert names[:len(columns)] == columns, names
        found = cursor.fetchall()
        assert found or rows == "any"
