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
