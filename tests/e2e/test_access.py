"""Users, roles and privileges, as clients meet them: logins on every door, what they see, what the server keeps."""

import time

import adbc_driver_manager
import psycopg
import pytest


@pytest.fixture
def office(server):
    """A department with a schema, one member, and one who is not."""
    statements = [
        "CREATE ROLE office",
        "CREATE USER insider PASSWORD 'insider-secret' IN ROLE office",
        "CREATE USER outsider PASSWORD 'outsider-secret'",
        "CREATE SCHEMA office",
        "CREATE VIEW office.staff AS SELECT 1 AS id, 'Kim' AS name, 5000 AS salary",
        "GRANT USAGE ON SCHEMA office TO office",
        "GRANT SELECT (id, name) ON office.staff TO office",
    ]
    with server.connect() as superuser:
        for statement in statements:
            superuser.execute(statement)
        yield superuser
        superuser.execute("DROP SCHEMA office CASCADE")
        superuser.execute("DROP OWNED BY insider, outsider, office")
        superuser.execute("DROP ROLE insider, outsider, office")


def insider(server, **options):
    return server.connect(user="insider", password="insider-secret", **options)


def outsider(server, **options):
    return server.connect(user="outsider", password="outsider-secret", **options)


def test_a_user_reads_what_was_granted(server, office):
    with insider(server) as connection:
        assert connection.execute("SELECT * FROM office.staff").fetchall() == [(1, "Kim")]
        assert connection.execute("SELECT current_user, session_user").fetchone() == ("insider", "insider")
        with pytest.raises(psycopg.errors.UndefinedColumn):
            connection.execute("SELECT salary FROM office.staff")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DROP VIEW office.staff")


def test_what_one_may_not_see_is_not_there(server, office):
    with outsider(server) as connection:
        with pytest.raises(psycopg.errors.InvalidSchemaName) as error:
            connection.execute("SELECT * FROM office.staff")
        assert "staff" not in (error.value.diag.message_hint or "")
        for query in ["SELECT * FROM system.tables WHERE schema = 'office'",
                      "SELECT * FROM system.columns WHERE schema = 'office'",
                      "SELECT * FROM information_schema.tables WHERE table_schema = 'office'",
                      "SELECT * FROM pg_catalog.pg_class WHERE relname = 'staff'",
                      "SELECT * FROM pg_catalog.pg_namespace WHERE nspname = 'office'",
                      "SELECT * FROM system.privileges WHERE object LIKE '%office%'"]:
            assert connection.execute(query).fetchall() == [], query
    with insider(server) as connection:
        attributes = connection.execute(
            "SELECT attname FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON a.attrelid = c.oid"
            " WHERE c.relname = 'staff' AND attnum > 0 ORDER BY attnum").fetchall()
        assert attributes == [("id",), ("name",)]


def failed(connection, statement):
    with pytest.raises(psycopg.Error) as error:
        connection.execute(statement)
    diag = error.value.diag
    return diag.sqlstate, diag.message_primary, diag.message_detail, diag.message_hint


def test_columns_that_do_not_show_are_not_there_to_be_written(server, office):
    office.execute("CREATE TABLE office.pay (id bigint, name text, salary bigint)")
    office.execute("GRANT SELECT (id, name), INSERT (id), UPDATE (id) ON office.pay TO office")
    with insider(server) as connection:
        for statement in ["INSERT INTO office.pay ({}) VALUES (1)", "INSERT INTO office.pay (id, {}) VALUES (1, 2)", "UPDATE office.pay SET {} = 1",
                          "UPDATE office.pay SET id = 1, {} = 2", "GRANT SELECT ({}) ON office.pay TO outsider"]:
            there, missing = (failed(connection, statement.format(name)) for name in ["salary", "nothin"])
            assert there == tuple(part and part.replace("nothin", "salary") for part in missing), statement
            assert there[:2] == ("42703", 'column "salary" of relation "pay" does not exist'), statement
        # One that shows, and may not be written.
        assert failed(connection, "UPDATE office.pay SET name = 'x'")[0] == "42501"
        assert failed(connection, "INSERT INTO office.pay VALUES (1, 'x', 2)")[0] == "42501"
        assert "salary" not in str(failed(connection, "UPDATE office.pay SET salari = 1"))
        connection.execute("INSERT INTO office.pay (id) VALUES (1)")
    office.execute("REVOKE INSERT (id), UPDATE (id) ON office.pay FROM office")
    with insider(server) as connection:
        for name in ["salary", "nothing"]:
            assert failed(connection, f"INSERT INTO office.pay ({name}) VALUES (1)")[0] == "42501"
            assert failed(connection, f"UPDATE office.pay SET {name} = 1")[0] == "42501"
    with server.connect() as superuser:
        assert failed(superuser, "UPDATE office.pay SET salari = 1")[3] == 'Did you mean "salary"?'


def test_who_may_make_nothing_does_not_learn_which_names_are_taken(server, office):
    office.execute("CREATE TABLE office.taken (id bigint)")
    office.execute("CREATE PIPELINE office.taken AS BEGIN STEP a AS INSERT INTO office.taken SELECT 1; END")
    office.execute("CREATE MODEL office.taken OPTIONS (model_type = 'linear_reg', input_label_cols = ['y']) AS "
                   "SELECT * FROM (VALUES (1, 2), (2, 4), (3, 7)) AS v (x, y)")
    with insider(server) as connection:
        for statement in ["CREATE VIEW office.{} AS SELECT 1 AS x", "CREATE VIEW IF NOT EXISTS office.{} AS SELECT 1 AS x",
                          "CREATE OR REPLACE VIEW office.{} AS SELECT 1 AS x", "CREATE TABLE office.{} (x bigint)",
                          "CREATE TABLE IF NOT EXISTS office.{} (x bigint)", "CREATE TABLE IF NOT EXISTS office.{} AS SELECT 1 AS x",
                          "CREATE EXTERNAL TABLE IF NOT EXISTS office.{} STORED AS PARQUET LOCATION 's3://nothing/'",
                          "CREATE PIPELINE IF NOT EXISTS office.{} AS BEGIN STEP a AS TRUNCATE office.pay; END",
                          "CREATE MODEL IF NOT EXISTS office.{} OPTIONS (model_type = 'linear_reg', input_label_cols = ['y']) AS SELECT 1 AS x, 2 AS y"]:
            taken, free = (failed(connection, statement.format(name)) for name in ["taken", "free"])
            assert taken == free and taken[0] == "42501", statement


def test_the_right_to_run_shows_no_text(server, office):
    """Neither the statements of a pipeline nor the values in its errors; no query of a model."""
    for statement in ["CREATE TABLE office.pay (id bigint, salary text)", "INSERT INTO office.pay VALUES (1, 'plenty')",
                      "CREATE TABLE office.sums (id bigint)", "CREATE TABLE office.open (id bigint)", "GRANT SELECT ON office.open TO office",
                      "CREATE PIPELINE office.fill AS BEGIN STEP some AS INSERT INTO office.open SELECT id FROM office.pay WHERE salary = 'literal'; "
                      "STEP all AFTER some AS INSERT INTO office.sums SELECT CAST(salary AS bigint) FROM office.pay; END",
                      "GRANT EXECUTE ON PIPELINE office.fill TO office",
                      "CREATE MODEL office.line OPTIONS (model_type = 'linear_reg', input_label_cols = ['y']) AS "
                      "SELECT x, y FROM (VALUES (1, 2), (2, 4), (3, 7)) AS v (x, y) WHERE y <> 12345",
                      "GRANT EXECUTE ON MODEL office.line TO office"]:
        office.execute(statement)
    hidden = "only the owner of the pipeline sees the error"
    steps = "SELECT step, reads, writes, condition, sql FROM system.pipeline_steps WHERE pipeline = 'fill' ORDER BY position"
    ran = "SELECT s.state, s.sqlstate, s.error, s.sql FROM system.run_steps s WHERE s.pipeline = 'fill' AND s.step = 'all'"
    with insider(server) as connection:
        sqlstate, message, *_ = failed(connection, "RUN PIPELINE office.fill")
        assert sqlstate == "22P02" and message.endswith(f"has failed: {hidden}")
        assert connection.execute(steps).fetchall() == [("some", [], ["maru.office.open"], None, None), ("all", [], [], None, None)]
        assert connection.execute(ran).fetchall() == [("failed", "22P02", hidden, None)]
        assert connection.execute("SELECT error FROM system.runs WHERE pipeline = 'fill'").fetchall() == [(hidden,)]
        assert connection.execute("SELECT query FROM system.model_versions WHERE model = 'line'").fetchall() == [(None,)]
        tables = ["system.pipelines", "system.pipeline_steps", "system.runs", "system.run_steps", "system.lineage", "system.models", "system.model_versions"]
        texts = [str(connection.execute(f"SELECT * FROM {name}").fetchall()) for name in tables]
        texts += [str(connection.execute(statement).fetchall()) for statement in ["EXPLAIN PIPELINE office.fill", "DESCRIBE MODEL office.line"]]
        for secret in ["plenty", "literal", "office.pay", "office.sums", "CAST", "12345"]:
            assert not any(secret in text for text in texts), secret
    owners = str(office.execute(steps).fetchall()) + str(office.execute(ran).fetchall())
    assert all(text in owners for text in ["maru.office.pay", "CAST", "plenty"])
    office.execute("GRANT pg_monitor TO insider")
    with insider(server) as connection:
        assert "plenty" in str(connection.execute(ran).fetchall())


def test_a_cancelled_run_does_not_tell_why_its_step_had_failed_before(server, office):
    for statement in ["CREATE TABLE office.pay (salary bigint)", "INSERT INTO office.pay VALUES (4242)",
                      "CREATE PIPELINE office.waits WITH (retries = 50, retry_wait = '1min') AS BEGIN "
                      "STEP a EXPECT 'paid' (SELECT false, salary FROM office.pay) ON VIOLATION RETRY; END",
                      "GRANT EXECUTE ON PIPELINE office.waits TO office"]:
        office.execute(statement)
    hidden = "only the owner of the pipeline sees the error"
    step = "SELECT state, error FROM system.run_steps WHERE pipeline = 'waits'"
    with insider(server) as connection:
        connection.execute("RUN PIPELINE office.waits WITH (async = true)")
        run = connection.execute("SELECT run_id FROM system.runs WHERE pipeline = 'waits'").fetchone()[0]
        for state in ["retrying", "cancelled"]:
            end = time.monotonic() + 30
            while (found := connection.execute(step).fetchall()) != [(state, hidden)]:
                assert time.monotonic() < end, found
                time.sleep(0.05)
            if state == "retrying":
                connection.execute(f"CANCEL RUN {run}")
    assert "4242" in str(office.execute(step).fetchall())


def test_a_view_that_broke_names_what_it_reads_to_its_owner_alone(server, office):
    for statement in ["CREATE TABLE office.pay (id bigint)", "GRANT USAGE, CREATE ON SCHEMA office TO insider", "GRANT SELECT ON office.pay TO insider",
                      "GRANT USAGE ON SCHEMA office TO outsider"]:
        office.execute(statement)
    definition = "SELECT pg_get_viewdef('office.shown'::regclass)"
    with insider(server) as owner, outsider(server) as connection:
        owner.execute("CREATE VIEW office.shown AS SELECT id FROM office.pay WHERE id > 17")
        owner.execute("GRANT SELECT ON office.shown TO outsider")
        assert connection.execute("SELECT * FROM office.shown").fetchall() == []
        assert "17" in owner.execute(definition).fetchone()[0]
        assert connection.execute(definition).fetchone() == (None,)
        office.execute("REVOKE SELECT ON office.pay FROM insider")
        assert "pay" in failed(owner, "SELECT * FROM office.shown")[1]
        broken = failed(connection, "SELECT * FROM office.shown")
        assert broken[:2] == ("42P01", 'view "shown" cannot be read') and "pay" not in str(broken)


def test_the_history_of_a_table_tells_who_reads_it_all(server, office):
    for statement in ["CREATE TABLE office.pay (id bigint, salary bigint)", "INSERT INTO office.pay VALUES (1, 5), (2, 6)",
                      "GRANT SELECT (id) ON office.pay TO office"]:
        office.execute(statement)
    def told(connection):
        rows = connection.execute("DESCRIBE HISTORY office.pay").fetchall()
        assert len(rows) == 2 and all(row[2] for row in rows)
        return "numOutputRows" in str(rows), any(row[3] or row[4] for row in rows)
    assert told(office) == (True, True)
    with insider(server) as connection:
        assert told(connection) == (False, False)
        office.execute("GRANT SELECT ON office.pay TO office")
        assert told(connection) == (True, True)
        office.execute("ALTER TABLE office.pay ENABLE ROW LEVEL SECURITY")
        assert told(connection) == (False, False)


def test_statements_of_others_do_not_show(server, office):
    office.execute("SELECT 'of the superuser'")
    with outsider(server) as connection:
        users = {row[0] for row in connection.execute("SELECT DISTINCT user_name FROM system.queries")}
        assert users == {"outsider"}
        assert {row[0] for row in connection.execute("SELECT user_name FROM system.sessions")} == {"outsider"}
        assert connection.execute("SELECT * FROM system.audit").fetchall() == []
    office.execute("GRANT pg_monitor TO outsider")
    with outsider(server) as connection:
        assert ("maru",) in connection.execute("SELECT DISTINCT user_name FROM system.queries").fetchall()


def test_a_revoked_privilege_is_gone_at_the_next_statement(server, office):
    with insider(server) as connection:
        statement = "SELECT name FROM office.staff WHERE id = %s"
        for _ in range(7):  # psycopg prepares it on the way
            assert connection.execute(statement, [1]).fetchall() == [("Kim",)]
        office.execute("REVOKE SELECT (name) ON office.staff FROM office")
        with pytest.raises(psycopg.errors.UndefinedColumn):
            connection.execute(statement, [1])
        office.execute("REVOKE office FROM insider")
        with pytest.raises(psycopg.errors.InvalidSchemaName):
            connection.execute("SELECT id FROM office.staff")


def test_logins_that_are_refused(server, office):
    office.execute("CREATE USER shut PASSWORD 'shut' NOLOGIN")
    office.execute("CREATE USER late PASSWORD 'late' VALID UNTIL '2020-01-01'")
    office.execute("CREATE USER single PASSWORD 'single' CONNECTION LIMIT 1")
    try:
        for user, password in [("shut", "shut"), ("late", "late"), ("insider", "wrong"), ("nobody", "x"), ("office", "")]:
            with pytest.raises(psycopg.OperationalError, match="password|no password supplied"):
                server.connect(user=user, password=password)
        with server.connect(user="single", password="single"):
            with pytest.raises(psycopg.OperationalError, match="too many connections"):
                server.connect(user="single", password="single")
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            insider(server, dbname="nothing")
        failed = office.execute("SELECT DISTINCT user_name FROM system.audit WHERE event = 'login failed'").fetchall()
        assert {("insider",), ("nobody",), ("shut",), ("late",)} <= set(failed)
    finally:
        office.execute("DROP ROLE shut, late, single")


def test_guessing_gets_slow(server, office):
    def guess():
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError):
            server.connect(user="outsider", password="guess")
        return time.monotonic() - began
    # Three are free, and the sixth waits for a second; what a login takes besides is the machine's affair.
    times = [guess() for _ in range(6)]
    assert times[-1] >= 1 and min(times[:3]) + 0.5 < times[-1], times
    with outsider(server):
        pass
    again = [guess() for _ in range(2)]
    assert min(again) + 0.5 < times[-1], (times, again)


def test_a_changed_password_counts_at_once(server, office):
    with outsider(server) as connection:
        connection.execute("ALTER ROLE outsider PASSWORD 'changed'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("ALTER ROLE outsider SUPERUSER")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("ALTER ROLE insider PASSWORD 'stolen'")
    with pytest.raises(psycopg.OperationalError):
        outsider(server)
    with server.connect(user="outsider", password="changed"):
        pass


def test_flight_sql_has_the_same_users(server, office):
    with server.flight(username="insider", password="insider-secret") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM office.staff")
        assert cursor.fetchall() == [(1, "Kim")]
        objects = connection.adbc_get_objects(depth="tables", catalog_filter="maru").read_all().to_pylist()
        schemas = {schema["db_schema_name"] for schema in objects[0]["catalog_db_schemas"]}
        assert "office" in schemas
    with server.flight(username="outsider", password="outsider-secret") as connection, connection.cursor() as cursor:
        with pytest.raises(adbc_driver_manager.Error):
            cursor.execute("SELECT * FROM office.staff")
        objects = connection.adbc_get_objects(depth="tables", catalog_filter="maru").read_all().to_pylist()
        schemas = {schema["db_schema_name"] for schema in objects[0]["catalog_db_schemas"]}
        assert "office" not in schemas
    with pytest.raises(adbc_driver_manager.Error), server.flight(username="insider", password="wrong") as connection:
        connection.cursor().execute("SELECT 1")


def test_a_dropped_user_does_nothing_more(server, office):
    office.execute("CREATE USER gone PASSWORD 'gone'")
    with server.connect(user="gone", password="gone") as connection:
        connection.execute("SELECT 1")
        office.execute("DROP ROLE gone")
        with pytest.raises(psycopg.errors.UndefinedObject):
            connection.execute("SELECT 1")


def test_psql_lists_roles(server, office):
    listed = server.psql("-c", r"\du")
    assert listed.returncode == 0, listed.stderr
    assert "insider" in listed.stdout and "Superuser" in listed.stdout


def test_rights_outlast_a_crash(start):
    server = start()
    with server.connect() as connection:
        connection.execute("CREATE USER kim PASSWORD 'kims-secret'")
        connection.execute("CREATE SCHEMA s")
        connection.execute("CREATE VIEW s.v AS SELECT 1 AS one")
        connection.execute("GRANT USAGE ON SCHEMA s TO kim")
        connection.execute("GRANT SELECT ON s.v TO kim")
        connection.execute("ALTER ROLE maru PASSWORD 'another'")
    server.process.kill()
    server.process.wait()
    database = (server.data_dir / "maru.db").read_bytes() + (server.data_dir / "maru.db-wal").read_bytes()
    assert b"kims-secret" not in database
    server = start()
    with server.connect(user="kim", password="kims-secret") as connection:
        assert connection.execute("SELECT * FROM s.v").fetchall() == [(1,)]
        assert connection.execute("SELECT count(*) FROM system.secrets").fetchone() == (0,)
    with server.connect(password="another") as connection:
        events = connection.execute("SELECT event FROM system.audit WHERE sql LIKE 'GRANT%'").fetchall()
        assert events == [("grant",), ("grant",)]
        texts = connection.execute("SELECT sql FROM system.audit WHERE sql LIKE '%ROLE%' OR sql LIKE '%USER%'").fetchall()
        assert texts and not any("secret" in text or "another" in text for text, in texts)
    assert "kims-secret" not in server.log_path.read_text(errors="replace")


# Made by PostgreSQL 15: CREATE USER insider PASSWORD 'pencil'.
PENCIL = ("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
          ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")


def test_a_password_may_come_as_its_verifier(server, office):
    office.execute(f"ALTER USER insider PASSWORD '{PENCIL}'")
    with server.connect(user="insider", password="pencil") as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("insider",)
    with server.flight(username="insider", password="pencil") as flight, flight.cursor() as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() == ("insider",)
    for password in ["pencils", PENCIL]:
        with pytest.raises(psycopg.OperationalError):
            server.connect(user="insider", password=password)
    for text, sqlstate in [("SCRAM-SHA-256$4096:x", "22023"), ("md5" + "0" * 32, "0A000"), ("", "22023")]:
        with pytest.raises(psycopg.Error) as error:
            office.execute(f"ALTER USER insider PASSWORD '{text}'")
        assert error.value.sqlstate == sqlstate, (text, error.value)
    # Letters that are written in two ways are one password, as clients prepare it.
    office.execute("ALTER USER insider PASSWORD 'caf\u00e9 비밀'")
    with server.connect(user="insider", password="cafe\u0301 비밀") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_questions_about_rights_are_answered(server, office):
    def answers(connection, *questions):
        return connection.execute("SELECT " + ", ".join(questions)).fetchone()

    with insider(server) as connection:
        assert answers(connection, "has_table_privilege('office.staff', 'SELECT')", "has_any_column_privilege('office.staff', 'select')",
                       "has_column_privilege('office.staff', 'name', 'SELECT')", "has_column_privilege('office.staff', 'salary', 'SELECT')",
                       "has_table_privilege('office.staff', 'INSERT, UPDATE')", "has_schema_privilege('office', 'USAGE')",
                       "has_schema_privilege('office', 'CREATE')", "has_database_privilege('maru', 'CONNECT')",
                       "has_database_privilege('maru', 'TEMP')", "has_function_privilege('abs(int)', 'EXECUTE')") == (
            False, True, True, False, False, True, False, True, False, True)
        assert answers(connection, "pg_has_role('office', 'MEMBER')", "pg_has_role('outsider', 'USAGE')", "pg_has_role('maru', 'office', 'usage')",
                       "has_any_column_privilege('outsider', 'office.staff', 'SELECT')", "has_table_privilege('pg_catalog.pg_class', 'SELECT')",
                       "has_table_privilege(NULL, 'SELECT')") == (True, False, True, False, True, None)
        # As tools ask: by OID, of what they have listed.
        by_oid = connection.execute(
            "SELECT c.relname, has_any_column_privilege(c.oid, 'SELECT'), has_table_privilege(c.oid, 'SELECT'), has_schema_privilege(n.oid, 'USAGE')"
            " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'office'").fetchall()
        assert by_oid == [("staff", True, False, True)]
        assert answers(connection, "has_table_privilege(4000000, 'SELECT')") == (None,)
        for question, sqlstate in [("has_table_privilege('office.nothing', 'SELECT')", "42P01"), ("has_table_privilege('office.staff', 'REED')", "22023"),
                                   ("has_table_privilege('nobody', 'office.staff', 'SELECT')", "42704"), ("pg_has_role('office', 'CREATE')", "22023")]:
            with pytest.raises(psycopg.Error) as error:
                answers(connection, question)
            assert error.value.sqlstate == sqlstate, (question, error.value)
    with outsider(server) as connection, pytest.raises(psycopg.errors.UndefinedTable):
        answers(connection, "has_table_privilege('office.staff', 'SELECT')")
    office.execute("GRANT SELECT ON office.staff TO insider WITH GRANT OPTION")
    with insider(server) as connection:
        assert answers(connection, "has_table_privilege('office.staff', 'SELECT WITH GRANT OPTION')",
                       "has_table_privilege('office.staff', 'DELETE WITH GRANT OPTION')") == (True, False)


def test_a_table_as_a_statement(server, office):
    done = server.psql("-Atc", "TABLE office.staff")
    assert done.stdout == "1|Kim|5000\n", done.stderr


def test_sessions_begin_with_what_their_role_says(server, office):
    with server.connect() as admin:
        admin.execute("ALTER ROLE insider SET statement_timeout = '7s'")
        admin.execute("ALTER ROLE insider SET search_path = office, public")
    try:
        with insider(server) as connection:
            assert connection.execute("SHOW statement_timeout").fetchone() == ("7s",)
            assert connection.execute("SELECT * FROM staff").fetchall() == [(1, "Kim")]
            connection.execute("SET statement_timeout = '1s'")
            connection.execute("RESET statement_timeout")
            assert connection.execute("SHOW statement_timeout").fetchone() == ("7s",)
            connection.execute("ALTER ROLE CURRENT_USER RESET statement_timeout")
        # What the client says when it connects goes before it.
        with insider(server, options="-c search_path=public") as connection:
            assert connection.execute("SHOW search_path").fetchone() == ("public",)
            assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)
    finally:
        with server.connect() as admin:
            admin.execute("ALTER ROLE insider RESET ALL")
    with insider(server) as connection:
        assert connection.execute("SHOW search_path").fetchone() == ("public",)
