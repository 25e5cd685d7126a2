"""The server under test, one for the whole run, and what clients need to reach it."""

import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import psycopg
import pytest

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/services"))

# The library that runs imported models lies in the tests' own Python package.
ONNXRUNTIME = str(next(pathlib.Path(importlib.util.find_spec("onnxruntime").origin).parent.glob("capi/libonnxruntime.*so*")))
PASSWORD = "e2e-password"
SERVICE_VARIABLES = ["MARU_TEST_PG", "MARU_TEST_MYSQL", "MARU_TEST_S3", "MARU_TEST_HDFS", "MARU_TEST_HMS3", "MARU_TEST_HMS4"]


class Server:
    """A `maru serve` on ports of its own choice."""

    def __init__(self, data_dir, password=PASSWORD, arguments=(), environment=None):
        self.data_dir = pathlib.Path(data_dir)
        self.password = password
        self.log_path = self.data_dir.parent / (self.data_dir.name + ".log")
        own = {k: v for k, v in os.environ.items() if not k.startswith("MARU_")}
        environment = {**own, "MARU_ONNXRUNTIME_LIBRARY": ONNXRUNTIME, **(environment or {})}
        if password is not None:
            environment["MARU_INITIAL_PASSWORD"] = password
        endpoints = self.data_dir / "endpoints.json"
        endpoints.unlink(missing_ok=True)
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            [os.environ["MARU_BIN"], "serve", "--data-dir", str(data_dir), "--pg-listen", "127.0.0.1:0",
             "--flight-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", *arguments],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT, env=environment)
        deadline = time.monotonic() + 60
        while True:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.text_of_log()}")
            try:
                self.endpoints = json.loads(endpoints.read_text())
                break
            except (FileNotFoundError, json.JSONDecodeError):
                if time.monotonic() > deadline:
                    self.process.kill()
                    raise AssertionError(f"no endpoints.json after 60 s:\n{self.text_of_log()}") from None
                time.sleep(0.05)

    def text_of_log(self):
        return self.log_path.read_text(errors="replace")[-5000:]

    def host_port(self, door):
        host, port = self.endpoints[door].rsplit(":", 1)
        return host, int(port)

    def connect(self, **options):
        host, port = self.host_port("pg")
        options = {"autocommit": True, "user": "maru", "password": self.password, "dbname": "maru", **options}
        return psycopg.connect(host=host, port=port, connect_timeout=20, **options)

    def until_it_runs(self, text, seconds=60):
        """Waits until another session sees a statement run whose text is LIKE this: a request to cancel that comes before it is for nothing."""
        running = "SELECT count(*) FROM system.queries WHERE state = 'running' AND sql LIKE %s AND sql NOT LIKE '%%system.queries%%'"
        deadline = time.monotonic() + seconds
        with self.connect() as watcher:
            while watcher.execute(running, [text]).fetchone() == (0,):
                assert time.monotonic() < deadline, f"it does not come to run: {text}"
                time.sleep(0.05)

    def url(self, door="http"):
        return "http://" + self.endpoints[door]

    def flight(self, **options):
        import adbc_driver_flightsql.dbapi as flight_sql
        options = {"username": "maru", "password": self.password, **options}
        return flight_sql.connect("grpc://" + self.endpoints["flight"], db_kwargs=options, autocommit=True)

    def psql(self, *arguments, stdin=None, password=None):
        """psql, with its defaults and no start-up file; returns the finished process, text in and out."""
        host, port = self.host_port("pg")
        environment = {**os.environ, "PGPASSWORD": password or self.password, "PGCONNECT_TIMEOUT": "20", "PAGER": "cat", "LC_ALL": "C.UTF-8"}
        return subprocess.run(
            ["psql", "-X", "-h", host, "-p", str(port), "-U", "maru", "-d", "maru", *arguments],
            input=stdin, capture_output=True, text=True, env=environment, timeout=120, check=False)

    def stop(self, how=signal.SIGTERM, wait=60):
        """Returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(wait)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not stop within {wait} s:\n{self.text_of_log()}") from None
        finally:
            self.log.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server") / "data")
    yield server
    alive = server.process.poll() is None
    log = server.text_of_log()
    server.stop()
    assert alive, f"the server ended by itself:\n{log}"
    assert "panicked at" not in log, log
    for secret in [PASSWORD, os.environ.get("MARU_TEST_S3_SECRET_KEY"), "tester-secret"]:
        assert not secret or secret not in log, "a secret is in the log"


@pytest.fixture
def connection(server):
    with server.connect() as connection:
        yield connection


@pytest.fixture
def start(tmp_path):
    """Starts servers that a test may stop, kill and start again."""
    servers = []

    def start(name="data", **options):
        servers.append(Server(tmp_path / name, **options))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


def pytest_collection_modifyitems(items):
    missing = [name for name in SERVICE_VARIABLES if not os.environ.get(name)]
    for item in items:
        if item.get_closest_marker("services") and missing:
            if os.environ.get("MARU_TEST_SERVICES") == "required":
                raise pytest.UsageError(f"not set: {', '.join(missing)}; see tests/services/ctl env")
            item.add_marker(pytest.mark.skip(reason=f"not set: {missing[0]}; see tests/services/ctl env"))
