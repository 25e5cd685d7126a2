"""PostgreSQL's JDBC driver: Jdbc.java runs the checks and says which went well."""

import pathlib
import subprocess

HERE = pathlib.Path(__file__).parent


def test_jdbc(server):
    done = subprocess.run(
        [HERE / "../services/pgjdbc", HERE / "Jdbc.java", f"jdbc:postgresql://{server.endpoints['pg']}/maru", "maru", server.password],
        capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") == 11, done.stdout
