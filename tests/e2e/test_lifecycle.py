"""Starting, stopping, passwords, and who owns a data directory."""

import os
import signal
import stat
import subprocess
import threading
import time

import psycopg
import pytest

from conftest import PASSWORD
from test_wire import SLOW


def test_sigterm_stops_gracefully(start):
    server = start()
    with server.connect() as connection:
        connection.execute("SELECT 1")
        assert server.stop() == 0
    with pytest.raises(psycopg.OperationalError):
        server.connect()
    assert not (server.data_dir / "endpoints.json").exists(), "nobody is sent to a server that is gone"


def test_a_data_directory_may_be_named_from_where_one_stands(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MARU_") or name == "MARU_BIN"}
    for named in [[], ["--data-dir", "other"], ["--data-dir", f"../{tmp_path.name}/third"]]:
        sql = ["-c", "CREATE TABLE t AS SELECT 1 AS a", "-c", "INSERT INTO t VALUES (2)", "-c", "SELECT sum(a) FROM t"]
        done = subprocess.run([os.environ["MARU_BIN"], "sql", "-q", "-t", "--format", "csv", *named, *sql], cwd=tmp_path,
                              env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stdout.strip()) == (0, "3"), done.stdout + done.stderr
    assert {"maru-data", "other", "third"} <= {path.name for path in tmp_path.iterdir()}


def test_sigterm_lets_a_running_statement_end(start):
    server = start()
    answers = []

    def run():
        with server.connect() as connection:
            answers.append(connection.execute("SELECT 42 AS answer, pg_sleep(4) AS slept").fetchone()[0])

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    server.until_it_runs("SELECT 42 AS answer%")
    assert server.stop() == 0
    thread.join(30)
    assert answers == [42]


def test_a_statement_that_never_ends_does_not_hold_the_stop_up(start):
    server = start(arguments=["--shutdown-grace", "1s"])
    caught = []

    def run():
        try:
            with server.connect() as connection:
                connection.execute(SLOW)
        except psycopg.Error as error:
            caught.append(error.sqlstate)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    server.until_it_runs(SLOW)
    began = time.monotonic()
    assert server.stop() == 0
    thread.join(20)
    # Otherwise half a minute is waited.
    assert time.monotonic() - began < 25
    assert caught in (["57014"], ["57P01"])


def test_definitions_outlive_a_restart_and_a_kill(start):
    server = start()
    with server.connect() as connection:
        connection.execute("CREATE SCHEMA kept")
        connection.execute("CREATE VIEW kept.v AS SELECT 42 AS answer")
    server.stop(signal.SIGKILL)
    server = start()
    with server.connect() as connection:
        assert connection.execute("SELECT answer FROM kept.v").fetchone() == (42,)
    assert server.stop() == 0
    server = start()
    with server.connect() as connection:
        assert connection.execute("SELECT answer FROM kept.v").fetchone() == (42,)


def test_a_random_password_is_written_for_the_owner_alone(start):
    server = start(password=None)
    file = server.data_dir / "initial-password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    server.password = file.read_text().strip()
    assert len(server.password) >= 16
    with server.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert server.text_of_log().count(server.password) == 1, "it is printed once"


def test_a_data_directory_has_one_owner(start):
    server = start()
    second = subprocess.run(
        [os.environ["MARU_BIN"], "serve", "--data-dir", server.data_dir, "--pg-listen", "127.0.0.1:0", "--flight-listen",
         "127.0.0.1:0", "--http-listen", "127.0.0.1:0"], capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode != 0
    assert "55006" in second.stderr and str(server.process.pid) in second.stderr, second.stderr
    assert server.endpoints["pg"] in second.stderr
    with server.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_the_shell_talks_to_the_server_that_owns_the_directory(start):
    server = start()
    with server.connect() as connection:
        connection.execute("CREATE SCHEMA shared")
        connection.execute("CREATE VIEW shared.v AS SELECT 7 AS n")
    environment = {**os.environ, "PGPASSWORD": PASSWORD}
    done = subprocess.run(
        [os.environ["MARU_BIN"], "sql", "--data-dir", server.data_dir, "--format", "csv", "-c", "SELECT n FROM shared.v"],
        capture_output=True, text=True, timeout=60, check=False, env=environment, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (0, "n\n7\n"), done.stderr
