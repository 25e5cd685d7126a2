"""dbt-postgres, unmodified: a small project is loaded, built and tested in the catalog maru, twice, and once with a mistake in it."""

import os
import pathlib
import shutil
import subprocess

import pytest

HERE = pathlib.Path(__file__).parent


@pytest.fixture
def project(server, tmp_path):
    folder = tmp_path / "dbt"
    shutil.copytree(HERE / "dbt", folder)
    host, port = server.host_port("pg")
    environment = {**os.environ, "MARU_HOST": host, "MARU_PORT": str(port), "MARU_PASSWORD": server.password,
                   "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DO_NOT_TRACK": "1"}

    def dbt(*arguments, succeeds=True):
        done = subprocess.run([HERE / "../services/clients", "dbt", *arguments, "--project-dir", folder, "--profiles-dir", folder],
                              capture_output=True, text=True, timeout=400, check=False, env=environment)
        assert (done.returncode == 0) == succeeds, done.stdout + done.stderr
        return done.stdout

    yield folder, dbt
    with server.connect() as connection:
        connection.execute("DROP SCHEMA IF EXISTS c_dbt CASCADE")


@pytest.mark.timeout(900)
def test_a_project_is_built_and_tested(server, project):
    folder, dbt = project
    assert "PASS=1 " in dbt("seed")
    assert "PASS=4 " in dbt("run")
    assert "PASS=1 " in dbt("snapshot")
    with server.connect() as connection:
        ask = lambda sql: connection.execute(sql).fetchall()
        customers = "SELECT customer, n_orders, amount, mark FROM c_dbt.customers ORDER BY customer"
        assert [tuple(map(str, row)) for row in ask(customers)] == [("Kim", "2", "42.50", "first"), ("Lee", "1", "7.25", "first")]
        assert ask("SELECT customer, region FROM c_dbt.best ORDER BY 1") == [("Kim", "Seoul")]
        assert "PASS=5 " in dbt("test")
        totals = "SELECT customer, amount, mark FROM c_dbt.totals ORDER BY customer"
        assert [tuple(map(str, row)) for row in ask(totals)] == [("Kim", "42.50", "first"), ("Lee", "7.25", "first")]
        # Once more: what is there is renamed out of the way and dropped at the end; an incremental model takes new rows for old ones.
        assert "PASS=4 " in dbt("run", "--vars", "mark: second")
        assert [tuple(map(str, row)) for row in ask(totals)] == [("Kim", "42.50", "second"), ("Lee", "7.25", "first")]
        # A snapshot keeps both rows of what has changed.
        assert "PASS=1 " in dbt("snapshot")
        history = "SELECT customer, mark, dbt_valid_to IS NULL FROM c_dbt.history ORDER BY 1, 2"
        assert ask(history) == [("Kim", "first", False), ("Kim", "second", True), ("Lee", "first", True)]
        assert {row[3] for row in ask(customers)} == {"second"}
        names = "SELECT name FROM system.tables WHERE catalog = 'maru' AND schema = 'c_dbt' ORDER BY name"
        assert [name for name, in ask(names)] == ["best", "customers", "history", "orders", "regions", "totals"]
        # A model that fails leaves the table as it was.
        (folder / "models/customers.sql").write_text("select customer, 1 / (amount - amount) as n from {{ ref('orders') }}")
        dbt("run", "--select", "customers", succeeds=False)
        assert {row[3] for row in ask(customers)} == {"second"}
        assert [name for name, in ask(names)] == ["best", "customers", "history", "orders", "regions", "totals"]
    warehouse = [entry.name for entry in (server.data_dir / "warehouse").iterdir()]
    assert len([name for name in warehouse if "dbt" in name or name.startswith(("customers", "history", "orders", "regions", "totals"))]) == 5, warehouse
