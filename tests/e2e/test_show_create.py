"""SHOW CREATE: the text makes the object again, is for its owner alone, and holds no secret."""

import psycopg
import pytest

PIPELINE = """CREATE PIPELINE shown.p (target date, least int DEFAULT 1 + 1)
  SCHEDULE '0 2 1 1 *' TIME ZONE 'Asia/Seoul'
  WITH (retries = 3, retry_wait = '90s', timeout = '2h', catch_up = 'all', max_active_runs = 2, parallel = 8{hook})
AS $x$
  STEP load FOR region IN ('a', 'it''s $$') AS INSERT INTO shown.t VALUES (:region, :least); -- both
  STEP late WHEN (SELECT :target > DATE '2026-01-01') AS DELETE FROM shown.t WHERE n > 100;
  STEP held AFTER late EXPECT 'rows; all' (SELECT count(*) > 0 FROM shown.t) ON VIOLATION WARN;
$x$"""


def shown(connection, kind, name):
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW CREATE {kind} {name}")
        assert [column.name for column in cursor.description] == [f"Create {kind.title()}"]
        (text,), = cursor.fetchall()
    return text


@pytest.fixture
def schema(connection):
    connection.execute("DROP SCHEMA IF EXISTS shown CASCADE")
    connection.execute("CREATE SCHEMA shown")
    connection.execute("CREATE TABLE shown.t (region text, n int)")
    yield connection
    connection.execute("RESET ROLE")
    connection.execute("RESET search_path")
    connection.execute("DROP SCHEMA shown CASCADE")


def test_a_view_is_made_again(schema):
    made = {
        "plain": "AS SELECT region, n + 1 AS m FROM shown.t WHERE region = 'it''s \\' OR n < 3",
        '"Odd.Name"': "(a, \"B\") AS WITH q AS (SELECT * FROM shown.t) SELECT region, count(*) FROM q GROUP BY 1",
    }
    for name, text in made.items():
        schema.execute(f"CREATE VIEW shown.{name} {text}")
        first = shown(schema, "VIEW", f"shown.{name}")
        assert first.startswith(f"CREATE VIEW maru.shown.{name} AS\n"), first
        columns = schema.execute(f"DESCRIBE shown.{name}").fetchall()
        schema.execute(f"DROP VIEW shown.{name}")
        schema.execute(first)
        assert shown(schema, "VIEW", f"shown.{name}") == first
        assert schema.execute(f"DESCRIBE shown.{name}").fetchall() == columns


def test_a_view_tells_where_its_names_are(schema):
    schema.execute("SET search_path = shown")
    schema.execute("CREATE VIEW bare AS SELECT n FROM t")
    assert shown(schema, "VIEW", "bare") == "CREATE VIEW maru.shown.bare AS\nSELECT n FROM t"
    schema.execute("SET search_path = public")
    text = shown(schema, "VIEW", "shown.bare")
    assert text == "-- Names are looked up in catalog maru by search_path = shown.\nCREATE VIEW maru.shown.bare AS\nSELECT n FROM t"
    # One that is replaced meanwhile shows as it is now.
    for n in (1, 2):
        schema.execute(f"CREATE OR REPLACE VIEW shown.again AS SELECT {n} AS n")
        (text,), = schema.execute("SHOW CREATE VIEW shown.again", prepare=True).fetchall()
        assert text == f"CREATE VIEW maru.shown.again AS\nSELECT {n} AS n"


def test_a_pipeline_is_made_again(schema):
    steps = "SELECT * FROM system.pipeline_steps WHERE schema = 'shown' ORDER BY position"
    facts = "SELECT parameters, schedule, time_zone, catch_up, options, on_failure FROM system.pipelines WHERE schema = 'shown'"
    schema.execute(PIPELINE.replace("{hook}", ""))
    schema.execute("ALTER PIPELINE shown.p SET (timeout = '3h')")
    before = schema.execute(steps).fetchall(), schema.execute(facts).fetchall()
    text = shown(schema, "PIPELINE", "shown.p")
    assert text.startswith("-- Names are looked up in catalog maru by search_path = "), text
    assert "timeout = '3h'" in text and "retry_wait = '90s'" in text and "-- both" in text, text
    schema.execute("DROP PIPELINE shown.p")
    schema.execute(text)
    assert (schema.execute(steps).fetchall(), schema.execute(facts).fetchall()) == before
    assert shown(schema, "PIPELINE", "shown.p") == text


def test_secrets_are_stars(schema):
    schema.execute(PIPELINE.replace("{hook}", ", on_failure = webhook('https://h/s3cret')"))
    text = shown(schema, "PIPELINE", "shown.p")
    assert "s3cret" not in text and "on_failure = webhook('********')" in text, text
    # Nothing is made with the stars for an address.
    schema.execute("DROP PIPELINE shown.p")
    with pytest.raises(psycopg.Error) as error:
        schema.execute(text)
    assert error.value.sqlstate == "22023", error.value


def test_only_the_owner_is_shown_the_text(schema):
    schema.execute("CREATE VIEW shown.v AS SELECT 1 AS secret_limit")
    schema.execute("CREATE PIPELINE shown.p AS BEGIN STEP a AS SELECT 1; END")
    schema.execute("DROP ROLE IF EXISTS shown_kim")
    schema.execute("CREATE ROLE shown_kim")
    schema.execute("GRANT USAGE ON CATALOG maru TO shown_kim")
    schema.execute("GRANT USAGE ON SCHEMA shown TO shown_kim")
    asked = ["SHOW CREATE VIEW shown.v", "SHOW CREATE PIPELINE shown.p"]
    try:
        for states in [("42P01", "42704"), ("42501", "42501")]:
            schema.execute("SET ROLE shown_kim")
            for sql, state in zip(asked, states):
                with pytest.raises(psycopg.Error) as error:
                    schema.execute(sql)
                assert error.value.sqlstate == state and "secret_limit" not in str(error.value), (sql, error.value)
            schema.execute("RESET ROLE")
            schema.execute("GRANT SELECT ON shown.v TO shown_kim")
            schema.execute("GRANT EXECUTE ON PIPELINE shown.p TO shown_kim")
    finally:
        schema.execute("RESET ROLE")
        schema.execute("DROP OWNED BY shown_kim")
        schema.execute("DROP ROLE shown_kim")
