"""Catalogs that users find made for them: one template, two users, two real Hive metastores."""

import os
import time
import uuid

import adbc_driver_manager
import psycopg
import pyarrow
import pyarrow.parquet
import pytest
from seeding.metastore import PARQUET, Metastore

pytestmark = pytest.mark.services
COLUMNS = [("id", "bigint"), ("s", "string")]


def port(variable):
    return os.environ[variable].rsplit(":", 1)[1]


def user(server, name, **options):
    return server.connect(user=name, password=f"{name}-secret", **options)


def wait_for(what, seconds=60):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.1)


@pytest.fixture
def clusters(server, tmp_path):
    """Each of two metastores has a table of the same name with rows of its own; kim has the one, lee the other."""
    database = "own_" + uuid.uuid4().hex[:8]
    tmp_path.chmod(0o777)
    with Metastore(os.environ["MARU_TEST_HMS3"]) as ours, Metastore(os.environ["MARU_TEST_HMS4"]) as theirs, server.connect() as superuser:
        for name, metastore in [("kim", ours), ("lee", theirs)]:
            place = tmp_path / name / "log"
            place.mkdir(parents=True)
            pyarrow.parquet.write_table(pyarrow.table({"id": pyarrow.array([1, 2], "int64"), "s": [name, name]}), place / "a.parquet")
            metastore.create_database(database, f"file://{tmp_path}/{name}", "", {})
            metastore.create_table(database, "log", f"file://{place}", COLUMNS, PARQUET)
        for statement in ["CREATE ROLE dhp_user",
                          "CREATE USER kim PASSWORD 'kim-secret' IN ROLE dhp_user",
                          "CREATE USER lee PASSWORD 'lee-secret' IN ROLE dhp_user",
                          "CREATE USER guest PASSWORD 'guest-secret'",
                          f"ALTER ROLE kim SET ATTRIBUTE hms_port = '{port('MARU_TEST_HMS3')}'",
                          "CREATE CATALOG TEMPLATE user_dhp_hive FOR ROLE dhp_user USING hive WITH (metastore = 'thrift://127.0.0.1:{hms_port}')"]:
            superuser.execute(statement)
        yield superuser, database
        superuser.execute("DROP CATALOG TEMPLATE IF EXISTS t")
        superuser.execute("DROP CATALOG TEMPLATE IF EXISTS user_dhp_hive")
        superuser.execute("DROP OWNED BY kim, lee, guest, dhp_user")
        superuser.execute("DROP ROLE kim, lee, guest, dhp_user")
        ours.drop_database(database)
        theirs.drop_database(database)


def test_two_users_find_each_their_own_cluster(server, clusters):
    superuser, database = clusters
    superuser.execute(f"ALTER USER lee SET ATTRIBUTE hms_port TO {port('MARU_TEST_HMS4')}")
    read = f"SELECT id, s FROM user_dhp_hive.{database}.log ORDER BY id"
    with user(server, "kim") as kim, user(server, "lee") as lee:
        for _ in range(2):
            assert kim.execute(read).fetchall() == [(1, "kim"), (2, "kim")]
            assert lee.execute(read).fetchall() == [(1, "lee"), (2, "lee")]
        assert ("user_dhp_hive",) in kim.execute("SELECT name FROM system.catalogs").fetchall()
        assert (database, "log") in kim.execute("SELECT schema, name FROM system.tables WHERE catalog = 'user_dhp_hive'").fetchall()
        # Where it is is not for the user to see, nor to change.
        assert kim.execute("SELECT options FROM system.catalogs WHERE name = 'user_dhp_hive'").fetchone() == (None,)
        for statement in ["DROP CATALOG user_dhp_hive", "ALTER CATALOG user_dhp_hive SET (metastore = 'thrift://127.0.0.1:1')",
                          "DROP CATALOG TEMPLATE user_dhp_hive", "ALTER ROLE kim SET ATTRIBUTE hms_port = '1'",
                          f"SELECT * FROM user_dhp_hive.query('x')", "GRANT SELECT ON CATALOG user_dhp_hive TO guest"]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                kim.execute(statement)
    with user(server, "kim", dbname="user_dhp_hive") as kim:
        # A client that connects to it has it as its database.
        assert kim.execute(f"SELECT count(*) FROM {database}.log").fetchone() == (2,)
        assert kim.execute("SELECT relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                           " WHERE n.nspname = %s", [database]).fetchall() == [("log",)]
        assert ("user_dhp_hive",) in kim.execute("SELECT datname FROM pg_catalog.pg_database").fetchall()
    with server.flight(username="lee", password="lee-secret") as lee, lee.cursor() as cursor:
        cursor.execute(read)
        assert cursor.fetchall() == [(1, "lee"), (2, "lee")]
    with user(server, "guest") as guest, pytest.raises(psycopg.errors.InvalidCatalogName) as error:
        guest.execute(read)
    assert "template" not in (error.value.diag.message_hint or "")
    with pytest.raises(psycopg.errors.InvalidCatalogName) as error:
        superuser.execute(read)
    assert "members of role \"dhp_user\"" in error.value.diag.message_hint
    shown = superuser.execute("SELECT user_name, state FROM system.template_catalogs ORDER BY 1").fetchall()
    assert shown == [("kim", "attached"), ("lee", "attached")]


def test_a_view_reads_the_catalog_of_its_owner(server, clusters):
    superuser, database = clusters
    superuser.execute(f"ALTER USER lee SET ATTRIBUTE hms_port = '{port('MARU_TEST_HMS4')}'")
    superuser.execute("CREATE SCHEMA shared")
    superuser.execute("GRANT ALL ON SCHEMA shared TO dhp_user")
    with user(server, "kim") as kim, user(server, "lee") as lee:
        kim.execute(f"CREATE VIEW shared.of_kim AS SELECT * FROM user_dhp_hive.{database}.log")
        kim.execute("GRANT SELECT ON shared.of_kim TO lee")
        joined = lee.execute(f"SELECT a.s, b.s FROM shared.of_kim a JOIN user_dhp_hive.{database}.log b USING (id) ORDER BY id")
        assert joined.fetchall() == [("kim", "lee"), ("kim", "lee")]
    superuser.execute("DROP SCHEMA shared CASCADE")


def test_what_is_missing_is_told_and_keeps_nobody_out(server, clusters):
    superuser, database = clusters
    host, pg_port = server.host_port("pg")
    told = []
    lee = psycopg.connect(host=host, port=pg_port, user="lee", password="lee-secret", dbname="maru", autocommit=True)
    lee.add_notice_handler(lambda notice: told.append(notice.message_primary))
    # psycopg has no handler before the login is over; psql shows what came with it.
    text = server.psql("-U", "lee", "-c", "SELECT 1", password="lee-secret")
    assert text.returncode == 0 and "attribute \"hms_port\" of user \"lee\" is not set" in text.stderr, text.stderr
    with pytest.raises(psycopg.errors.UndefinedObject) as error:
        lee.execute(f"SELECT * FROM user_dhp_hive.{database}.log")
    assert "ALTER ROLE lee SET ATTRIBUTE hms_port" in error.value.diag.message_hint
    (state,) = lee.execute("SELECT state FROM system.catalogs WHERE name = 'user_dhp_hive'").fetchone()
    assert state.startswith("failed: ") and "hms_port" in state
    assert lee.execute("SELECT count(*) FROM system.tables WHERE schema = 'system'").fetchone()[0] > 10
    # A source that nobody answers for is told in the tables soon after the login.
    superuser.execute("ALTER ROLE lee SET ATTRIBUTE hms_port = '1'")
    with user(server, "lee") as again:
        assert again.execute("SELECT 1").fetchone() == (1,)
        state = "SELECT state FROM system.template_catalogs WHERE user_name = 'lee'"
        wait_for(lambda: superuser.execute(state).fetchone()[0].startswith("failed: "))
        with pytest.raises(psycopg.OperationalError):
            again.execute(f"SELECT * FROM user_dhp_hive.{database}.log")
    # What is put right is right at once, in open sessions too.
    superuser.execute(f"ALTER ROLE dhp_user SET ATTRIBUTE hms_port = '{port('MARU_TEST_HMS4')}'")
    superuser.execute("ALTER ROLE lee RESET ATTRIBUTE hms_port")
    assert lee.execute(f"SELECT s FROM user_dhp_hive.{database}.log LIMIT 1").fetchone() == ("lee",)
    superuser.execute("REVOKE dhp_user FROM lee")
    with pytest.raises(psycopg.errors.InvalidCatalogName):
        lee.execute(f"SELECT s FROM user_dhp_hive.{database}.log")
    lee.close()


def test_values_and_templates_that_are_refused(server, clusters):
    superuser, database = clusters
    for value in ["1/x", "1,thrift://127.0.0.1:2", "a@b", "..", ""]:
        superuser.execute("ALTER ROLE lee SET ATTRIBUTE hms_port = '" + value + "'")
        with user(server, "lee") as lee, pytest.raises(psycopg.errors.InvalidParameterValue):
            lee.execute(f"SELECT * FROM user_dhp_hive.{database}.log")
    refused = [
        ("CREATE CATALOG TEMPLATE user_dhp_hive FOR ROLE dhp_user USING hive WITH (metastore = 'thrift://x')", "42710"),
        ("CREATE CATALOG user_dhp_hive USING memory", "42710"),
        ("CREATE CATALOG TEMPLATE maru FOR ROLE dhp_user USING hive WITH (metastore = 'thrift://x')", "42501"),
        ("CREATE CATALOG TEMPLATE t FOR ROLE nobody USING hive WITH (metastore = 'thrift://x')", "42704"),
        ("CREATE CATALOG TEMPLATE t FOR ROLE dhp_user USING hive WITH (metastroe = 'thrift://{h}')", "HV00D"),
        ("CREATE CATALOG TEMPLATE t FOR ROLE dhp_user USING hive", "HV024"),
        ("CREATE CATALOG TEMPLATE t FOR ROLE dhp_user USING hive WITH (metastore = 'thrift://{h')", "22023"),
        ("CREATE CATALOG TEMPLATE t FOR ROLE dhp_user USING postgres WITH (url = 'postgres://x/y', password = '{pw}')", "HV024"),
        ("CREATE CATALOG TEMPLATE t FOR ROLE dhp_user USING postgres WITH (url = 'postgres://x/y', secret = 'nothing')", "42704"),
        ("ALTER ROLE kim SET ATTRIBUTE \"user\" = 'maru'", "42939"),
        ("ALTER ROLE kim SET ATTRIBUTE \"a b\" = 'x'", "22023"),
        ("DROP ROLE dhp_user", "2BP01"),
        ("DROP CATALOG user_dhp_hive", "42809"),
        ("DROP CATALOG TEMPLATE nothing", "42704"),
    ]
    for statement, sqlstate in refused:
        with pytest.raises(psycopg.Error) as error:
            superuser.execute(statement)
        assert error.value.sqlstate == sqlstate, (statement, error.value)
    # What a template allows may hold what plain values may not.
    superuser.execute("CREATE OR REPLACE CATALOG TEMPLATE user_dhp_hive FOR ROLE dhp_user USING hive"
                      " WITH (metastore = 'thrift://{place}') ALLOW (place = '127.0.0.1:*')")
    superuser.execute(f"ALTER ROLE kim SET ATTRIBUTE place = '127.0.0.1:{port('MARU_TEST_HMS3')}'")
    superuser.execute("ALTER ROLE lee SET ATTRIBUTE place = '10.0.0.1:9083'")
    with user(server, "kim") as kim, user(server, "lee") as lee:
        assert kim.execute(f"SELECT count(*) FROM user_dhp_hive.{database}.log").fetchone() == (2,)
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            lee.execute(f"SELECT count(*) FROM user_dhp_hive.{database}.log")
    # One for those who make roles is not one for those who may reach everything.
    superuser.execute("CREATE USER chief PASSWORD 'chief-secret' CREATEROLE CREATECATALOG")
    with user(server, "chief") as chief:
        chief.execute("CREATE USER newcomer")
        for statement in ["ALTER ROLE newcomer SET ATTRIBUTE place = '127.0.0.1:1'", "DROP CATALOG TEMPLATE user_dhp_hive",
                          "CREATE CATALOG TEMPLATE t FOR ROLE newcomer USING hive WITH (metastore = 'thrift://x')",
                          "CREATE CATALOG TEMPLATE t FOR ROLE dhp_user USING memory"]:
            with pytest.raises(psycopg.Error) as error:
                chief.execute(statement)
            assert error.value.sqlstate in ["42501", "42704"], (statement, error.value)
    superuser.execute("DROP OWNED BY chief, newcomer")
    superuser.execute("DROP ROLE newcomer, chief")


def test_each_user_has_a_secret_of_their_own(server, clusters):
    superuser, _ = clusters
    url = os.environ["MARU_TEST_PG"]
    login, rest = url.removeprefix("postgres://").rsplit("@", 1)
    name, _, password = login.partition(":")
    superuser.execute(f"CREATE SECRET kim_login WITH (user = '{name}', password = '{password}')")
    superuser.execute(f"CREATE CATALOG TEMPLATE own_pg FOR ROLE dhp_user USING postgres WITH (url = 'postgres://{rest}', secret = '{{user}}_login')")
    try:
        with user(server, "kim") as kim:
            # That the name fits is not enough: whoever makes users must not get at secrets by their names.
            with pytest.raises(psycopg.errors.UndefinedObject):
                kim.execute("SELECT * FROM system.schemas WHERE catalog = 'own_pg'")
            superuser.execute("GRANT USAGE ON SECRET kim_login TO kim")
            assert ("public",) in kim.execute("SELECT name FROM system.schemas WHERE catalog = 'own_pg'").fetchall()
        (options,) = superuser.execute("SELECT options FROM system.catalog_templates WHERE name = 'own_pg'").fetchone()
        assert "{user}_login" in options
    finally:
        superuser.execute("DROP CATALOG TEMPLATE own_pg")
        superuser.execute("DROP SECRET kim_login")


def test_templates_live_through_a_restart_and_a_rollback(start, tmp_path):
    server = start()
    with server.connect() as superuser:
        for statement in ["CREATE ROLE dhp_user", "CREATE USER kim PASSWORD 'kim-secret' IN ROLE dhp_user",
                          "ALTER ROLE kim SET ATTRIBUTE n = '3'",
                          "CREATE CATALOG TEMPLATE own FOR ROLE dhp_user USING memory WITH (rows = '{n}')",
                          "COMMENT ON CATALOG TEMPLATE own IS 'for practice'"]:
            superuser.execute(statement)
        superuser.execute("BEGIN")
        superuser.execute("DROP CATALOG TEMPLATE own")
        superuser.execute("ALTER ROLE kim RESET ATTRIBUTE n")
        superuser.execute("ROLLBACK")
    server.stop()
    server = start()
    with server.connect() as superuser, user(server, "kim") as kim:
        assert superuser.execute("SHOW CATALOG TEMPLATES").fetchall() == [("own", "dhp_user", "memory", "for practice")]
        assert kim.execute("SELECT role, name, value FROM system.role_attributes").fetchall() == [("kim", "n", "3")]
        assert ("own",) in kim.execute("SELECT name FROM system.catalogs").fetchall()
        superuser.execute("ALTER USER kim RENAME TO kay")
        assert superuser.execute("SELECT role FROM system.role_attributes").fetchall() == [("kay",)]
        superuser.execute("DROP CATALOG TEMPLATE own")
        with server.connect(user="kay", password="kim-secret") as kay:
            assert kay.execute("SELECT name FROM system.catalogs").fetchall() == [("maru",)]
        assert superuser.execute("SELECT * FROM system.privileges WHERE object = 'own'").fetchall() == []


def test_flight_tells_what_is_missing(server, clusters):
    with server.flight(username="lee", password="lee-secret") as lee, lee.cursor() as cursor:
        with pytest.raises(adbc_driver_manager.Error, match="hms_port"):
            cursor.execute("SELECT * FROM user_dhp_hive.x.log")
