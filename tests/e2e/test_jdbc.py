"""JDBC: PostgreSQL's driver and that of Arrow Flight SQL. Jdbc.java and FlightJdbc.java run the checks and say which went well."""

import pathlib
import subprocess

HERE = pathlib.Path(__file__).parent


def test_jdbc(server):
    done = subprocess.run(
        [HERE / "../services/pgjdbc", HERE / "Jdbc.java", f"jdbc:postgresql://{server.endpoints['pg']}/maru", "maru", server.password],
        capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") == 19, done.stdout


def test_flight_sql_jdbc(server):
    done = subprocess.run(
        [HERE / "../services/flightjdbc", HERE / "FlightJdbc.java", f"jdbc:arrow-flight-sql://{server.endpoints['flight']}", "maru", server.password],
        capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") == 8, done.stdout
