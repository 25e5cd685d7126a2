"""The first row of the seed's query over the Postgres wire."""

import json
import signal
import statistics
import subprocess
import time

import psycopg

from measure import demo

AIM_MS = 50
WARM_UP = 5
REPEATS = 50

QUERY = """SELECT a.ts, a.url, a.status, b.customer_id, b.device
FROM demo.parquet_sample a, user_dhp_hive.demo.log b
WHERE a.url = b.url
LIMIT 10"""


def run(arguments):
    """Latencies in milliseconds: planned anew each time, as a client that sends text, and prepared once."""
    directory = demo.data_dir(arguments)
    if not directory.exists():
        made = demo.once(arguments)
        if "error" in made:
            return {"wrong": [f"the demo's data could not be made: {made['error']}"]}
    endpoints = directory / "endpoints.json"
    endpoints.unlink(missing_ok=True)
    with open(arguments.work / "serve.log", "wb") as log:
        server = subprocess.Popen(
            [arguments.bin / "maru", "serve", "--data-dir", directory, "--pg-listen", "127.0.0.1:0",
             "--flight-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        host, port = address(server, endpoints, arguments.work / "serve.log").rsplit(":", 1)
        password = (directory / "initial-password").read_text().strip()
        with psycopg.connect(host=host, port=port, user="maru", password=password, dbname="maru", autocommit=True) as connection:
            return {"sql": QUERY, "aim_ms": AIM_MS, "wrong": [], "repeats": REPEATS,
                    "text": latencies(connection, prepare=False), "prepared": latencies(connection, prepare=True)}
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


def address(server, endpoints, log):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            return json.loads(endpoints.read_text())["pg"]
        except (FileNotFoundError, json.JSONDecodeError):
            time.sleep(0.05)
    raise SystemExit(f"the server did not start:\n{log.read_text(errors='replace')[-2000:]}")


def latencies(connection, prepare):
    runs = []
    for _ in range(WARM_UP + REPEATS):
        with connection.cursor() as cursor:
            start = time.perf_counter()
            row = cursor.execute(QUERY, prepare=prepare).fetchone()
            runs.append((time.perf_counter() - start) * 1000)
        if row is None:
            raise SystemExit("the seed's query gave no row")
    runs = runs[WARM_UP:]
    return {"median_ms": statistics.median(runs), "p95_ms": statistics.quantiles(runs, n=20)[-1], "runs_ms": runs}
