"""Apache Superset, unmodified: a database connected, datasets and charts made through its API, and what they show compared with the rows."""

import collections
import datetime as dt
import decimal
import json
import os
import threading
import time
import types
import urllib.parse

import psycopg
import pytest
from seeding import data
from superset_api import INSTALL_SECONDS, Superset

pytestmark = [pytest.mark.services, pytest.mark.timeout(INSTALL_SECONDS + 600)]

N_ORDERS = 400
ORDERS = f"""CREATE TABLE c_superset.orders AS
SELECT n AS id, TIMESTAMP '2026-01-01 00:00:00' + n * INTERVAL '7 hours 31 minutes 17 seconds' AS placed, CAST(DATE '2026-01-01' + n AS date) AS due,
  CAST(CAST(n % 97 AS numeric(12, 2)) / 4 AS numeric(12, 2)) AS amount, CASE n % 4 WHEN 0 THEN 'open' WHEN 1 THEN 'paid' WHEN 2 THEN '취소' END AS status,
  n % 3 = 0 AS express, n % 5 AS "Ugly""Name"
FROM generate_series(1, {N_ORDERS}) t(n)"""
RANGE = "2026-01-15 : 2026-04-01"
# What the statements that this file makes fail on purpose end with.
WRONG = {"42703", "42P01", "22012", "57014"}


def cell(value):
    """A value as Superset writes it in JSON."""
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, dt.date):
        value = value if isinstance(value, dt.datetime) else dt.datetime(value.year, value.month, value.day)
        return (value if value.tzinfo else value.replace(tzinfo=dt.timezone.utc)).timestamp() * 1000
    return value


def cells(rows):
    return [tuple(map(cell, row)) for row in rows]


def unordered(rows):
    return sorted(cells(rows), key=repr)


def by_sql(sql, label):
    return {"expressionType": "SQL", "sqlExpression": sql, "label": label}


def of(aggregate, column):
    return {"expressionType": "SIMPLE", "aggregate": aggregate, "column": {"column_name": column}, "label": f"{aggregate}({column})"}


def every(grain, column="placed"):
    """The time axis of a chart."""
    return {"timeGrain": grain, "columnType": "BASE_AXIS", "sqlExpression": column, "label": column, "expressionType": "SQL"}


def where(column, operator, value=None):
    return {"col": column, "op": operator, **({} if value is None else {"val": value})}


@pytest.fixture(scope="module")
def shop(server, tmp_path_factory):
    """Superset, connected to a server with a table of its own, PostgreSQL's customers and the web log on S3."""
    pg = urllib.parse.urlsplit(os.environ["MARU_TEST_PG"])
    host, port = server.host_port("pg")
    uri = f"postgresql+psycopg2://maru:{server.password}@{host}:{port}/maru"
    with server.connect() as connection:
        (began,) = connection.execute("SELECT max(query_id) FROM system.queries").fetchone()
        for statement in [
            "CREATE SCHEMA c_superset",
            ORDERS,
            "CREATE VIEW c_superset.open_orders AS SELECT id, amount FROM c_superset.orders WHERE status = 'open'",
            "COMMENT ON TABLE c_superset.orders IS 'What was ordered'",
            "COMMENT ON COLUMN c_superset.orders.amount IS 'In won'",
            f"CREATE SECRET c_superset_login WITH (user = '{pg.username}', password = '{pg.password}')",
            f"CREATE SECRET c_superset_keys WITH (access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', "
            f"secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}')",
            f"CREATE CATALOG c_superset_pg USING postgres WITH (url = 'postgres://{pg.hostname}:{pg.port}{pg.path}', secret = 'c_superset_login')",
            f"CREATE CATALOG c_superset_s3 USING s3 WITH (endpoint = '{os.environ['MARU_TEST_S3']}', bucket = 'weblogs', secret = 'c_superset_keys')",
        ]:
            connection.execute(statement)
        superset = Superset(tmp_path_factory.mktemp("superset"))
        try:
            database = superset.connect("Maru", uri)
            # Superset opens transactions; rows are written outside of them.
            writing = superset.connect("Maru to write", uri, extra={"engine_params": {"isolation_level": "AUTOCOMMIT"}, "schemas_allowed_for_file_upload": ["c_superset"]},
                                       allow_dml=True, allow_ctas=True, allow_cvas=True, allow_file_upload=True)
            orders = superset.dataset(database, "c_superset", "orders")
            rows = connection.execute("SELECT id, placed, due, amount, status, express FROM c_superset.orders ORDER BY id").fetchall()
            row = collections.namedtuple("row", "id placed due amount status express")
            yield types.SimpleNamespace(server=server, connection=connection, superset=superset, uri=uri, database=database, writing=writing, orders=orders,
                                        rows=[row(*values) for values in rows], began=began)
        finally:
            superset.stop()
        for statement in ["DROP SCHEMA c_superset CASCADE", "DROP CATALOG c_superset_pg", "DROP CATALOG c_superset_s3", "DROP SECRET c_superset_login",
                          "DROP SECRET c_superset_keys"]:
            connection.execute(statement)


@pytest.mark.parametrize("change,said", [
    ((":e2e-password@", ":wrong@"), "The password provided for username \"maru\" is incorrect"),
    (("/maru", "/nowhere"), "catalog \"nowhere\" does not exist"),
])
def test_a_connection_that_cannot_be(shop, change, said):
    head, tail = shop.uri.rsplit("@", 1)
    uri = head + "@" + tail.replace(*change) if change[0].startswith("/") else shop.uri.replace(*change)
    assert uri != shop.uri
    status, answer = shop.superset.ask("POST", "database/test_connection/", {"database_name": "x", "sqlalchemy_uri": uri})
    assert status == 400 and said in answer["errors"][0]["message"], answer


def test_catalogs_schemas_and_tables_show(shop):
    path = f"database/{shop.database}"
    catalogs = shop.superset.get(f"{path}/catalogs/")["result"]
    assert {"maru", "c_superset_pg", "c_superset_s3"} <= set(catalogs)
    # Without a catalog, that of the connection.
    assert "c_superset" in shop.superset.get(f"{path}/schemas/")["result"]
    for catalog, schema, table in [("maru", "c_superset", "orders"), ("c_superset_pg", "public", "customers"), ("c_superset_s3", "2026", "access-2026-11-01")]:
        assert schema in shop.superset.get(f"{path}/schemas/", catalog=catalog, force=True)["result"]
        found = shop.superset.get(f"{path}/tables/", catalog_name=catalog, schema_name=schema, force=True)["result"]
        assert ("table", table) in [(entry["type"], entry["value"]) for entry in found]
        if catalog == "maru":
            assert ("view", "open_orders") in [(entry["type"], entry["value"]) for entry in found]


def test_the_columns_of_a_table_show(shop):
    seen = shop.superset.get(f"database/{shop.database}/table_metadata/?name=orders&schema=c_superset&catalog=maru")
    assert [(column["name"], column["type"]) for column in seen["columns"]] == [
        ("id", "BIGINT"), ("placed", "TIMESTAMP"), ("due", "DATE"), ("amount", "NUMERIC"), ("status", "TEXT"), ("express", "BOOLEAN"), ('Ugly"Name', "BIGINT")]
    assert seen["foreignKeys"] == [] and seen["indexes"] == []
    # What SQL Lab offers as the first statement on a table.
    assert len(shop.connection.execute(seen["selectStar"]).fetchall()) == 100


def test_datasets_know_their_columns(shop):
    def columns(dataset):
        found = shop.superset.get(f"dataset/{dataset}")["result"]
        assert [metric["expression"] for metric in found["metrics"]] == ["COUNT(*)"]
        return {column["column_name"]: (column["type"], column["is_dttm"]) for column in found["columns"]}

    assert columns(shop.orders) == {
        "id": ("BIGINT", False), "placed": ("TIMESTAMP WITHOUT TIME ZONE", True), "due": ("DATE", True), "amount": ("NUMERIC(12, 2)", False),
        "status": ("TEXT", False), "express": ("BOOLEAN", False), 'Ugly"Name': ("BIGINT", False)}
    joined = shop.superset.dataset(shop.database, "c_superset", "joined", catalog="maru", sql="SELECT o.placed, o.amount, c.grade FROM c_superset.orders o "
                                   "JOIN c_superset_pg.public.customers c ON c.id = o.id")
    assert columns(joined) == {"placed": ("DATETIME", True), "amount": ("DECIMAL", False), "grade": ("STRING", False)}
    status, answer = shop.superset.ask("POST", "dataset/", {"database": shop.database, "schema": "c_superset", "table_name": "nothing", "catalog": "maru"})
    assert status == 422 and "could not be found" in json.dumps(answer), answer
    # A join over two catalogs as a chart.
    rows = shop.superset.chart_rows(joined, columns=["grade"], metrics=["count", of("SUM", "amount")], orderby=[["count", False], ["grade", True]])
    assert rows == cells(shop.connection.execute(
        "SELECT grade, count(*), sum(amount) FROM c_superset.orders o JOIN c_superset_pg.public.customers c USING (id) GROUP BY grade ORDER BY 2 DESC, 1").fetchall())
    grades = collections.Counter(row[2] for row in data.customers()[:N_ORDERS])
    assert {row[0]: row[1] for row in rows} == grades


def test_sql_lab(shop):
    status, answer = shop.superset.sql(shop.database, "SELECT id, placed, due, amount, status, express FROM orders ORDER BY id", schema="c_superset", limit=7)
    assert status == 200, answer
    assert [(column["name"], column["type"]) for column in answer["columns"]] == [
        ("id", "LONGINTEGER"), ("placed", "DATETIME"), ("due", "DATE"), ("amount", "DECIMAL"), ("status", "STRING"), ("express", "BOOLEAN")]
    assert [tuple(row.values()) for row in answer["data"]] == [
        (row.id, row.placed.isoformat(), row.due.isoformat(), float(row.amount), row.status, row.express) for row in shop.rows[:7]]
    status, answer = shop.superset.sql(shop.database, "SELECT 1 AS a; SELECT name FROM public.customers ORDER BY id", catalog="c_superset_pg", limit=2)
    assert status == 200 and [row["name"] for row in answer["data"]] == [row[1] for row in data.customers()[:2]], answer
    status, answer = shop.superset.sql(shop.database, "SHOW CATALOGS")
    assert status == 200 and {"maru", "c_superset_pg"} <= {row["name"] for row in answer["data"]}, answer
    status, answer = shop.superset.sql(shop.database, "EXPLAIN SELECT name FROM c_superset_pg.public.customers WHERE id = 7")
    assert status == 200 and 'WHERE "id" = 7' in json.dumps([row["QUERY PLAN"] for row in answer["data"]]).replace('\\"', '"'), answer


@pytest.mark.parametrize("sql,said", [
    # Superset finds column and line in the message, and words it itself.
    ("SELECT id, colour FROM orders", "We can't seem to resolve the column \"colour\" at line 3."),
    ("SELECT id FROM no_orders", "table \"no_orders\" does not exist"),
    ("SELECT 1 / (id - id) FROM orders", "division by zero"),
    ("INSERT INTO orders SELECT * FROM orders", "This database does not allow for DDL/DML"),
])
def test_errors_show_in_sql_lab(shop, sql, said):
    status, answer = shop.superset.sql(shop.database, sql, schema="c_superset")
    assert status == 500 and said in answer["errors"][0]["message"], answer
    # A chart shows the same, with the hint.
    if "colour" in sql:
        status, answer = shop.superset.chart_data(shop.orders, columns=["status"], metrics=[by_sql("SUM(colour)", "sum")])
        assert status == 400 and 'column "colour" does not exist' in answer["message"] and "Columns here: id, placed, due" in answer["message"], answer


def test_a_statement_is_stopped(shop):
    client, got = os.urandom(5).hex(), []
    sql = "SELECT count(*) AS stopped FROM orders a, orders b, orders c, orders d WHERE a.id * b.id + c.id * d.id = 77"
    running = threading.Thread(target=lambda: got.append(shop.superset.sql(shop.database, sql, schema="c_superset", client_id=client)))
    running.start()
    deadline = time.monotonic() + 60
    while not shop.connection.execute("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%AS stopped%' AND pid <> pg_backend_pid()").fetchall():
        assert time.monotonic() < deadline and running.is_alive(), got
        time.sleep(0.2)
    shop.superset.post("query/stop", {"client_id": client})
    running.join(100)
    # Superset says that it was stopped, or the error with which its connection ended, whichever it sees first.
    assert not running.is_alive() and (got[0][0] == 500 or got[0][1]["status"] == "stopped"), got
    ended = "SELECT state, sqlstate FROM system.queries WHERE sql LIKE '%AS stopped%a.id * b.id%' AND state <> 'running'"
    # Superset may know before the statement has ended.
    deadline = time.monotonic() + 60
    while not (states := shop.connection.execute(ended).fetchall()):
        assert time.monotonic() < deadline, "the statement goes on"
        time.sleep(0.2)
    assert states == [("cancelled", "57014")], states


def test_rows_are_written(shop):
    """With the isolation level AUTOCOMMIT in the settings of the database."""
    status, answer = shop.superset.sql(shop.database, "INSERT INTO orders SELECT * FROM orders", schema="c_superset")
    assert status == 500 and "DML" in answer["errors"][0]["message"]
    for method, name in [("TABLE", "kept"), ("VIEW", "shown")]:
        status, answer = shop.superset.sql(shop.writing, "SELECT id, amount FROM orders WHERE id <= 3", schema="c_superset", select_as_cta=True, ctas_method=method,
                                           tmp_table_name=name)
        assert status == 200, answer
    for sql in ["INSERT INTO kept VALUES (4, 0.5)", "UPDATE kept SET amount = 9 WHERE id = 1", "DELETE FROM kept WHERE id = 2"]:
        status, answer = shop.superset.sql(shop.writing, sql, schema="c_superset")
        assert status == 200, answer
    assert cells(shop.connection.execute("SELECT * FROM c_superset.kept ORDER BY id").fetchall()) == [(1, 9.0), (3, 0.75), (4, 0.5)]
    assert shop.connection.execute("SELECT count(*) FROM c_superset.shown").fetchall() == [(3,)]
    status, answer = shop.superset.upload(shop.writing, "c_superset", "uploaded", "a,b\n1,한글\n2,\n")
    assert status in (200, 201), answer
    assert shop.connection.execute("SELECT * FROM c_superset.uploaded ORDER BY a").fetchall() == [(1, "한글"), (2, None)]


def start_of(grain, moment):
    """The moment a grain's bucket begins with."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if grain == "P1W":
        return midnight - dt.timedelta(days=moment.weekday())
    if grain in ("P1M", "P3M", "P1Y"):
        months = {"P1M": 1, "P3M": 3, "P1Y": 12}[grain]
        return midnight.replace(day=1, month=(moment.month - 1) // months * months + 1)
    seconds = {"PT1S": 1, "PT5S": 5, "PT30S": 30, "PT1M": 60, "PT5M": 300, "PT10M": 600, "PT15M": 900, "PT30M": 1800, "PT1H": 3600, "P1D": 86400}[grain]
    return midnight + dt.timedelta(seconds=int((moment - midnight).total_seconds()) // seconds * seconds)


@pytest.mark.parametrize("grain", ["PT1S", "PT5S", "PT30S", "PT1M", "PT5M", "PT10M", "PT15M", "PT30M", "PT1H", "P1D", "P1W", "P1M", "P3M", "P1Y"])
def test_a_chart_over_time(shop, grain):
    rows = shop.superset.chart_rows(shop.orders, columns=[every(grain)], metrics=["count", of("SUM", "amount")], granularity="placed",
                                    filters=[where("placed", "TEMPORAL_RANGE", RANGE)], orderby=[["count", False]], row_limit=1000)
    expected = collections.defaultdict(lambda: [0, 0])
    for row in shop.rows:
        if dt.datetime(2026, 1, 15) <= row.placed < dt.datetime(2026, 4, 1):
            bucket = expected[start_of(grain, row.placed)]
            bucket[0] += 1
            bucket[1] += row.amount
    assert sorted(rows) == sorted(cells((moment, *sums) for moment, sums in expected.items()))
    assert [row[1] for row in rows] == sorted((row[1] for row in rows), reverse=True)


@pytest.mark.parametrize("filter,holds", [
    (where("status", "IN", ["open", "취소"]), lambda row: row.status in ("open", "취소")),
    (where("status", "IN", ["open", "<NULL>"]), lambda row: row.status in ("open", None)),
    (where("status", "NOT IN", ["open"]), lambda row: row.status not in ("open", None)),
    (where("status", "LIKE", "%ai%"), lambda row: row.status == "paid"),
    (where("status", "ILIKE", "OP%"), lambda row: row.status == "open"),
    (where("status", "IS NULL"), lambda row: row.status is None),
    (where("status", "IS NOT NULL"), lambda row: row.status is not None),
    (where("status", "==", "it's %s 100%"), lambda row: False),
    (where("express", "IS TRUE"), lambda row: row.express),
    (where("express", "IS FALSE"), lambda row: not row.express),
    (where("express", "==", True), lambda row: row.express),
    (where("amount", ">=", 10.5), lambda row: row.amount >= decimal.Decimal("10.5")),
    (where("amount", "==", "10.5"), lambda row: row.amount == decimal.Decimal("10.5")),
    (where("id", "!=", "7"), lambda row: row.id != 7),
    (where("due", "==", 1767312000000), lambda row: row.due == dt.date(2026, 1, 2)),
    (where("due", "TEMPORAL_RANGE", "2026-01-15 : 2026-02-01"), lambda row: dt.date(2026, 1, 15) <= row.due < dt.date(2026, 2, 1)),
])
def test_a_filter_of_a_chart(shop, filter, holds):
    rows = shop.superset.chart_rows(shop.orders, columns=[], metrics=["count"], filters=[filter])
    assert rows == [(sum(map(holds, shop.rows)),)]


def test_the_largest_series_only(shop):
    """A chart over time of the two series with the largest sums; the rest left out, then put together as one."""
    query = {"columns": [every("P1M"), "status"], "series_columns": ["status"], "metrics": ["count", of("AVG", "amount")], "series_limit": 2,
             "series_limit_metric": of("SUM", "amount"), "filters": [where("status", "IS NOT NULL")], "row_limit": 100}
    sums = collections.Counter()
    for row in shop.rows:
        if row.status:
            sums[row.status] += row.amount
    largest = {status for status, _ in sums.most_common(2)}
    for others in (False, True):
        expected = collections.defaultdict(list)
        for row in shop.rows:
            if row.status and (others or row.status in largest):
                expected[start_of("P1M", row.placed), row.status if row.status in largest else "Others"].append(row.amount)
        rows = shop.superset.chart_rows(shop.orders, **query, group_others_when_limit_reached=others)
        assert [row[:3] for row in unordered(rows)] == [row[:3] for row in unordered((*key, len(values)) for key, values in expected.items())]
        averages = {row[:2]: row[3] for row in rows}
        for (moment, status), values in expected.items():
            assert averages[cell(moment), status] == pytest.approx(float(sum(values)) / len(values))


def test_measures(shop):
    metrics = ["count", of("COUNT_DISTINCT", "due"), of("MIN", "placed"), of("MAX", "due"),
               by_sql("SUM(CASE WHEN status LIKE 'p%' THEN 1 ELSE 0 END) * 100.0 / COUNT(*)", "% paid"),
               by_sql("COUNT(*) FILTER (WHERE express) / NULLIF(COUNT(*), 0)::float", "share")]
    rows = shop.superset.chart_rows(shop.orders, columns=["express", 'Ugly"Name'], metrics=metrics, orderby=[['Ugly"Name', True], ["express", True]])
    assert rows == cells(shop.connection.execute("""
        SELECT express, "Ugly""Name", count(*), count(DISTINCT due), min(placed), max(due), sum(CASE WHEN status LIKE 'p%' THEN 1 ELSE 0 END) * 100.0 / count(*),
          count(*) FILTER (WHERE express) / count(*)::float
        FROM c_superset.orders GROUP BY 1, 2 ORDER BY 2, 1""").fetchall())
    # Shares of the whole, which Superset works out of the rows.
    rows = shop.superset.chart_rows(shop.orders, columns=["express"], metrics=["count"], orderby=[["count", False]], post_processing=[
        {"operation": "contribution", "options": {"columns": ["count"], "rename_columns": ["%count"]}}])
    n = sum(row.express for row in shop.rows)
    assert rows == [(False, N_ORDERS - n, (N_ORDERS - n) / N_ORDERS), (True, n, n / N_ORDERS)]
    rows = shop.superset.chart_rows(shop.orders, columns=["due"], metrics=["count"], extras={"where": "amount > 3 AND status LIKE 'p%'", "having": "COUNT(*) > 1"})
    assert rows == []


def test_the_month_before(shop):
    rows = shop.superset.chart_rows(shop.orders, columns=[every("P1M")], metrics=["count"], granularity="placed", time_range="2026-02-01 : 2026-04-01",
                                    time_offsets=["1 month ago"], row_limit=100)
    n = collections.Counter(start_of("P1M", row.placed) for row in shop.rows)
    january, february, march = (dt.datetime(2026, month, 1) for month in (1, 2, 3))
    assert unordered(rows) == unordered([(february, n[february], n[january]), (march, n[march], n[february])])


def test_rows_in_pages(shop):
    names = ["id", "placed", "due", "amount", "status", "express"]
    rows = shop.superset.chart_rows(shop.orders, columns=names, orderby=[["id", True]], row_limit=25, row_offset=50)
    assert rows == cells(shop.rows[50:75])
    assert shop.superset.chart_rows(shop.orders, columns=["id"], is_rowcount=True) == [(N_ORDERS,)]
    status, answer = shop.superset.chart_data(shop.orders, result_type="samples", row_limit=3)
    assert status == 200 and answer["result"][0]["rowcount"] == 3, answer
    status, answer = shop.superset.chart_data(shop.orders, result_format="csv", columns=["id", "status"], orderby=[["id", True]], row_limit=3)
    assert status == 200 and answer.lstrip("\ufeff").split() == ["id,status", "1,paid", "2,취소", "3,"], answer
    # What a filter of a dashboard offers.
    values = shop.superset.get(f"datasource/table/{shop.orders}/column/status/values/")["result"]
    assert sorted(values, key=str) == sorted({row.status for row in shop.rows}, key=str)


def test_columns_of_the_dataset_itself(shop):
    """A calculated column and a metric, kept in the dataset."""
    dataset = shop.superset.dataset(shop.database, "c_superset", "measured", catalog="maru", sql="SELECT * FROM c_superset.orders")
    found = shop.superset.get(f"dataset/{dataset}")["result"]
    kept = ("id", "column_name", "type", "is_dttm", "groupby", "filterable")
    columns = [{name: column[name] for name in kept} for column in found["columns"]]
    shop.superset.put(f"dataset/{dataset}", {
        "columns": [*columns, {"column_name": "size", "expression": "CASE WHEN amount > 12 THEN 'large' ELSE 'small' END", "type": "TEXT"}],
        "metrics": [{"id": found["metrics"][0]["id"], "metric_name": "count", "expression": "COUNT(*)"}, {"metric_name": "mean", "expression": "AVG(amount)"}]})
    rows = shop.superset.chart_rows(dataset, columns=["size"], metrics=["mean", "count"], orderby=[["size", True]])
    assert rows == cells(shop.connection.execute(
        "SELECT CASE WHEN amount > 12 THEN 'large' ELSE 'small' END, avg(amount), count(*) FROM c_superset.orders GROUP BY 1 ORDER BY 1").fetchall())


def test_charts_on_attached_catalogs(shop):
    customers = shop.superset.dataset(shop.database, "public", "customers", catalog="c_superset_pg")
    rows = shop.superset.chart_rows(customers, columns=["grade"], metrics=["count", of("SUM", "balance")], filters=[
        where("city", "==", "서울"), where("joined", "TEMPORAL_RANGE", "2018-01-01 : 2020-01-01")])
    with psycopg.connect(os.environ["MARU_TEST_PG"], options="-c timezone=UTC") as direct:
        assert unordered(rows) == unordered(direct.execute(
            "SELECT grade, count(*), sum(balance) FROM customers WHERE city = '서울' AND joined >= '2018-01-01' AND joined < '2020-01-01' GROUP BY grade").fetchall())
        rows = shop.superset.chart_rows(customers, columns=[every("P1M", "updated")], metrics=["count"], filters=[where("updated", "TEMPORAL_RANGE", "2026-02-01 : 2026-06-01")])
        assert unordered(rows) == unordered(direct.execute(
            "SELECT date_trunc('month', updated), count(*) FROM customers WHERE updated >= '2026-02-01' AND updated < '2026-06-01' GROUP BY 1").fetchall())
    log = shop.superset.dataset(shop.database, "2026", "access-2026-11-01", catalog="c_superset_s3")
    rows = shop.superset.chart_rows(log, columns=[every("PT1H", "ts")], metrics=["count", of("SUM", "bytes")], filters=[
        where("ts", "TEMPORAL_RANGE", "2026-11-01T05:00:00 : 2026-11-01T09:00:00")])
    expected = collections.defaultdict(lambda: [0, 0])
    for row in data.weblogs()[0][1].to_pylist():
        if 5 <= row["ts"].hour < 9:
            bucket = expected[start_of("PT1H", row["ts"])]
            bucket[0] += 1
            bucket[1] += row["bytes"] or 0
    assert unordered(rows) == unordered((moment, *sums) for moment, sums in expected.items())


def test_a_chart_and_a_dashboard_are_kept(shop):
    dashboard = shop.superset.post("dashboard/", {"dashboard_title": "Orders", "published": True})["id"]
    query = {"columns": [every("P1M")], "metrics": ["count", of("SUM", "amount")], "filters": [where("placed", "TEMPORAL_RANGE", RANGE)], "row_limit": 100}
    source = {"id": shop.orders, "type": "table"}
    form = {"viz_type": "echarts_timeseries_bar", "datasource": f"{shop.orders}__table", "x_axis": "placed", "time_grain_sqla": "P1M", "metrics": query["metrics"]}
    context = {"datasource": source, "force": False, "queries": [query], "form_data": form, "result_format": "json", "result_type": "full"}
    chart = shop.superset.post("chart/", {"slice_name": "Orders a month", "viz_type": form["viz_type"], "datasource_id": shop.orders, "datasource_type": "table",
                                          "params": json.dumps(form), "query_context": json.dumps(context), "dashboards": [dashboard]})["id"]
    assert [entry["slice_name"] for entry in shop.superset.get(f"dashboard/{dashboard}/charts")["result"]] == ["Orders a month"]
    (result,) = shop.superset.get(f"chart/{chart}/data/")["result"]
    assert unordered(tuple(row.values()) for row in result["data"]) == unordered(shop.connection.execute(
        "SELECT date_trunc('month', placed), count(*), sum(amount) FROM c_superset.orders WHERE placed >= '2026-01-15' AND placed < '2026-04-01' GROUP BY 1").fetchall())


def test_comments_show(shop):
    seen = shop.superset.get(f"database/{shop.database}/table_metadata/?name=orders&schema=c_superset&catalog=maru")
    assert seen["comment"] == "What was ordered"
    assert {column["name"]: column["comment"] for column in seen["columns"]}["amount"] == "In won"


def test_whole_numbers_as_time(shop):
    """A column of seconds since 1970."""
    dataset = shop.superset.dataset(shop.database, "c_superset", "seconds", catalog="maru", sql="SELECT id AS at FROM c_superset.orders")
    found = shop.superset.get(f"dataset/{dataset}")["result"]
    shop.superset.put(f"dataset/{dataset}", {"columns": [
        {"id": column["id"], "column_name": "at", "type": column["type"], "is_dttm": True, "python_date_format": "epoch_s"} for column in found["columns"]]})
    rows = shop.superset.chart_rows(dataset, columns=[every("PT1M", "at")], metrics=["count"], filters=[where("at", "TEMPORAL_RANGE", "1970-01-01T00:01:00 : 1970-01-01T00:04:00")])
    assert unordered(rows) == unordered([(dt.datetime(1970, 1, 1, 0, minute), 60) for minute in (1, 2, 3)])


def test_table_functions(shop):
    """Superset writes the names of functions in capitals."""
    status, answer = shop.superset.sql(shop.database, "SELECT g FROM generate_series(1, 3) AS g")
    assert status == 200 and [row["g"] for row in answer["data"]] == [1, 2, 3], answer


def test_nothing_else_was_refused(shop):
    """Of all that Superset has asked in this file, only what was wrong on purpose."""
    refused = shop.connection.execute(
        "SELECT sql, sqlstate, error FROM system.queries WHERE query_id > %s AND sqlstate IS NOT NULL", [shop.began]).fetchall()
    assert [row for row in refused if row[1] not in WRONG] == []
