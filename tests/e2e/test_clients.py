"""Drivers and tools as programs use them: each runs unchanged, at its default settings, in a process of its own."""

import pathlib
import re
import subprocess

import pytest

HERE = pathlib.Path(__file__).parent
CLIENTS = HERE / "../services/clients"


@pytest.fixture(scope="module")
def shop(server):
    statements = ["CREATE SCHEMA e2e_clients",
                  "CREATE VIEW e2e_clients.staff AS SELECT CAST(id AS int) AS id, name, salary FROM (VALUES (1, 'Kim', 10.50), (2, 'Lee', 20.25), (3, 'Park', 30.00)) t(id, name, salary)"]
    with server.connect() as connection:
        for statement in statements:
            connection.execute(statement)
        yield server
        connection.execute("DROP SCHEMA e2e_clients CASCADE")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind,program,checks", [
    ("python", "with_sqlalchemy.py", 8), ("python", "with_asyncpg.py", 7), ("python", "with_adbc.py", 6), ("node", "with_node.js", 7),
])
def test_drivers(shop, kind, program, checks):
    host, port = shop.host_port("pg")
    done = subprocess.run([CLIENTS, kind, HERE / "clients" / program, host, str(port), shop.password],
                          capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") == checks, done.stdout


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_pgbench(shop, protocol):
    host, port = shop.host_port("pg")
    done = subprocess.run(
        ["pgbench", "-n", "-h", host, "-p", str(port), "-U", "maru", "-M", protocol, "-c", "4", "-j", "2", "-t", "15", "-f",
         HERE / "clients/custom.pgbench", "maru"],
        capture_output=True, text=True, timeout=120, check=False, env={"PGPASSWORD": shop.password, "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    assert re.search(r"actually processed: 60/60", done.stdout), done.stdout
