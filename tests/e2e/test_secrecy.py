"""What is secret stays so: no statement, password, token or key comes into the log, and no table, error or list shows a secret."""

import base64
import os
import socket
import sqlite3
import threading
import time
import urllib.parse
import urllib.request
import uuid

import adbc_driver_manager
import psycopg
import pymysql
import pytest

pytestmark = pytest.mark.services

LEVELS = pytest.mark.parametrize("level", [None, "debug"], ids=["default", "debug"])
SCHEMA = "e2e_secrecy"


class Marks:
    """Texts that occur nowhere else, by where they were written."""

    def __init__(self):
        self.texts = {}

    def __getitem__(self, name):
        return self.texts.setdefault(name, f"q{uuid.uuid4().hex}z")

    def found(self, text):
        """The names of those that a text holds, plainly or as bytes are written."""
        return sorted(name for name, mark in self.texts.items() if any(shape in text for shape in shapes(mark)))


def shapes(secret):
    """A text as itself, as numbers, in base 16, and within something in base 64."""
    data = secret.encode()
    yield from (secret, data.hex(), ", ".join(map(str, data)))
    for shift in range(3):
        # Without the ends, which depend on what stands beside it.
        yield base64.b64encode(bytes(shift) + data).decode()[4:-8]


def test_a_mark_is_found_in_every_shape():
    """The other tests can see what they look for."""
    marks = Marks()
    for text in ["{}", "maru:{}", "x:{} y"]:
        plain = text.format(marks["a"])
        for shown in [plain, plain.encode().hex(), str(list(plain.encode())), base64.b64encode(plain.encode()).decode()]:
            assert marks.found(f"before {shown} after") == ["a"], shown
    assert marks.found("nothing") == []


@pytest.fixture
def marks():
    return Marks()


def options_of(level):
    return {"environment": {"MARU_LOG": level}} if level else {}


def log_of(server, level):
    """The whole log of a server that is stopped, which has logged as much as it was told to."""
    server.stop()
    log = server.log_path.read_text(errors="replace")
    assert ("ended query" in log) == (level == "debug"), log[-2000:]
    return log


def run(connection, *statements, parameters=None, **options):
    """The SQLSTATE of the last statement that failed."""
    sqlstate = None
    for statement in statements:
        try:
            connection.execute(statement, parameters, **options)
        except psycopg.Error as error:
            sqlstate = error.sqlstate
    return sqlstate


def address(variable):
    return urllib.parse.urlsplit(os.environ[variable])


def place(url, database=True):
    scheme = "mysql" if "m" in url.scheme else "postgres"
    return f"{scheme}://{url.hostname}:{url.port}" + (url.path if database else "")


def keys(secret=None):
    return (f"endpoint = '{os.environ['MARU_TEST_S3']}', bucket = 'weblogs', access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', "
            f"secret_access_key = '{secret or os.environ['MARU_TEST_S3_SECRET_KEY']}'")


def system_tables(connection):
    """All that schema `system` and PostgreSQL's own tables tell of users and statements, by table."""
    names = [f"system.{name}" for name, in connection.execute("SELECT name FROM system.tables WHERE catalog = 'maru' AND schema = 'system'")]
    assert {"system.queries", "system.audit", "system.catalogs", "system.secrets", "system.sessions"} <= set(names)
    for name in ["pg_authid", "pg_shadow", "pg_roles", "pg_user", "pg_user_mappings", "pg_foreign_server", "pg_stat_activity", "pg_settings",
                 "pg_prepared_statements", "pg_stat_statements", "pg_db_role_setting"]:
        if run(connection, f"SELECT * FROM pg_catalog.{name} LIMIT 0") is None:
            names.append(f"pg_catalog.{name}")
    return {name: repr(connection.execute(f"SELECT * FROM {name}").fetchall()) for name in names}


# --- The log ---

@LEVELS
def test_statements_stay_out_of_the_log(start, marks, level):
    server = start(**options_of(level))
    with server.connect() as connection:
        assert run(connection, "CREATE TABLE t (id int, name text)", f"SELECT '{marks['select']}'", f"INSERT INTO t VALUES (1, '{marks['insert']}')",
                   f"SELECT count(*) FROM t WHERE name = '{marks['filter']}' OR name LIKE '{marks['like']}%'",
                   f"SELECT name, count(*) FROM t GROUP BY name HAVING name IN ('{marks['in']}', 'x')",
                   f"UPDATE t SET name = '{marks['update']}' WHERE name = '{marks['insert']}'", f"DELETE FROM t WHERE name = '{marks['delete']}'",
                   f"CREATE VIEW v AS SELECT '{marks['view']}' AS name", "SELECT * FROM v", f"COMMENT ON TABLE t IS '{marks['comment']}'",
                   f"CREATE TABLE u AS SELECT '{marks['as']}' AS name", f"EXPLAIN ANALYZE SELECT * FROM t WHERE name = '{marks['explain']}'",
                   f"PREPARE p AS SELECT $1::text || '{marks['prepare']}'", f"EXECUTE p('{marks['execute']}')",
                   f"BEGIN; DECLARE c CURSOR FOR SELECT '{marks['cursor']}'; FETCH c; COMMIT", f"SELECT 1 /* {marks['remark']} */") is None
        assert run(connection, f"SELECT '{marks['no table']}' FROM nowhere") == "42P01"
        assert run(connection, f"SELECT id FROM t WHERE nothing = '{marks['no column']}'") == "42703"
        assert run(connection, f"SELECT '{marks['cast']}'::int") == "22P02"
        assert run(connection, f"SELEC '{marks['syntax']}'") == "42601"
        assert run(connection, f"SELECT '{marks['unfinished']}") == "42601"
        assert run(connection, f"SELECT 1 / (id - 1), '{marks['division']}' FROM t") == "22012"
        assert run(connection, "SET statement_timeout = '50ms'", "SELECT count(*) FROM generate_series(1, 1000000000) a "
                   f"WHERE a::text = '{marks['timeout']}'") == "57014"
        assert run(connection, "RESET statement_timeout") is None
        assert run(connection, "SELECT %s::text", "SELECT name FROM t WHERE name = %s", parameters=[marks["parameter"]], prepare=True) is None
        assert run(connection, "SELECT %s::text::int", parameters=[marks["bad parameter"]]) == "22P02"
        with connection.cursor() as cursor:
            with cursor.copy("COPY t FROM STDIN") as copy:
                copy.write(f"2\t{marks['copied']}\n")
            with pytest.raises(psycopg.errors.InvalidTextRepresentation):
                with cursor.copy("COPY t FROM STDIN") as copy:
                    copy.write(f"{marks['badly copied']}\tx\n")
            with cursor.copy(f"COPY (SELECT '{marks['copy to']}') TO STDOUT") as copy:
                assert marks["copy to"].encode() in b"".join(copy)
    with server.flight() as flight, flight.cursor() as cursor:
        cursor.execute(f"SELECT '{marks['flight']}' AS x")
        assert cursor.fetchone() == (marks["flight"],)
        cursor.execute("SELECT $1::text AS x", (marks["bound"],))
        assert cursor.fetchone() == (marks["bound"],)
        for sql in [f"SELECT '{marks['flight without table']}' FROM nowhere", f"SELEC '{marks['flight syntax']}'"]:
            with pytest.raises(adbc_driver_manager.Error):
                cursor.execute(sql)
                cursor.fetchone()
    time.sleep(0.3)
    with server.connect() as connection:
        # So they were read, and are where they may be.
        kept = repr(connection.execute("SELECT sql FROM system.queries").fetchall())
        assert {"select", "no table", "flight", "syntax", "timeout", "division"} <= set(marks.found(kept)), marks.found(kept)
    assert marks.found(log_of(server, level)) == []


SOURCES = ["postgres", "mysql", "sqlite"]


@pytest.fixture
def source(request, tmp_path):
    """The options of a catalog of a database with the table `t`, its place there, and what waits there for a second and more."""
    kind = request.param
    table = "CREATE TABLE {} (id int PRIMARY KEY, name varchar(100))"
    if kind == "sqlite":
        with sqlite3.connect(tmp_path / "secrecy.db") as direct:
            direct.execute(table.format("t"))
        direct.close()
        yield (f"CREATE CATALOG src USING sqlite WITH (path = '{tmp_path / 'secrecy.db'}')", "src.main.t",
               "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 12000000 * {times}) SELECT count(*) AS n FROM c WHERE i <> '{mark}'")
    elif kind == "postgres":
        url = address("MARU_TEST_PG")
        with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as direct:
            direct.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}; " + table.format(f"{SCHEMA}.t"))
            yield (f"CREATE CATALOG src USING postgres WITH (url = '{place(url)}', user = '{url.username}', password = '{url.password}')",
                   f"src.{SCHEMA}.t", "SELECT pg_sleep(1.2)::text AS x, '{mark}'::text AS y")
            direct.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    else:
        url = address("MARU_TEST_MYSQL")
        with pymysql.connect(host=url.hostname, port=url.port, user=url.username, password=url.password, autocommit=True) as direct:
            with direct.cursor() as cursor:
                for statement in [f"DROP DATABASE IF EXISTS {SCHEMA}", f"CREATE DATABASE {SCHEMA}", table.format(f"{SCHEMA}.t")]:
                    cursor.execute(statement)
                yield (f"CREATE CATALOG src USING mysql WITH (url = '{place(url, False)}', user = '{url.username}', password = '{url.password}')",
                       f"src.{SCHEMA}.t", "SELECT sleep(1.2) AS x, '{mark}' AS y")
                cursor.execute(f"DROP DATABASE {SCHEMA}")


@LEVELS
@pytest.mark.parametrize("source", SOURCES, indirect=True)
def test_what_databases_are_sent_stays_out_of_the_log(start, marks, source, level):
    catalog, t, slow = source
    server = start(**options_of(level))
    with server.connect() as connection:
        assert run(connection, catalog, f"INSERT INTO {t} VALUES (1, '{marks['insert']}'), (2, 'x')", f"SELECT count(*) FROM {t} WHERE name = '{marks['filter']}'",
                   f"SELECT name, count(*) FROM {t} WHERE name IN ('{marks['in']}', 'x') GROUP BY name",
                   f"UPDATE {t} SET name = '{marks['update']}' WHERE name = '{marks['insert']}'",
                   f"DELETE FROM {t} WHERE name = '{marks['delete']}'",
                   f"MERGE INTO {t} USING (VALUES (2, '{marks['merge']}')) v(id, n) ON t.id = v.id WHEN MATCHED THEN UPDATE SET name = v.n",
                   f"SELECT * FROM src.query($$ SELECT '{marks['native']}' AS x $$)") is None
        assert run(connection, f"INSERT INTO {t} VALUES (1, '{marks['twice']}')") == "23505"
        assert run(connection, f"SELECT * FROM src.query($$ SELECT nothing, '{marks['native error']}' AS x $$)") is not None
        rows = connection.execute(f"SELECT name FROM {t} ORDER BY id").fetchall()
        assert rows == [(marks["update"],), (marks["merge"],)]
        # Libraries like to tell of statements that take longer than a second. A machine that is fast gets more to do.
        for times in [1, 4, 16]:
            began = time.monotonic()
            connection.execute(f"SELECT * FROM src.query($$ {slow.format(mark=marks['slow'], times=times)} $$)").fetchall()
            seconds = time.monotonic() - began
            if seconds > 1.1:
                break
        assert seconds > 1, "not slow enough to tell of"
    assert marks.found(log_of(server, level)) == []


@LEVELS
def test_passwords_and_keys_stay_out_of_the_log(start, marks, level):
    server = start(password=marks["initial"], **options_of(level))
    pg, mysql = address("MARU_TEST_PG"), address("MARU_TEST_MYSQL")
    with server.connect() as connection:
        assert run(connection, f"CREATE USER kim PASSWORD '{marks['create user']}'", f"ALTER ROLE kim PASSWORD '{marks['alter role']}'",
                   f"CREATE SECRET s WITH (user = '{pg.username}', password = '{pg.password}', token = '{marks['secret']}')",
                   f"CREATE OR REPLACE SECRET r WITH (token = '{marks['replaced']}')",
                   f"CREATE CATALOG a USING postgres WITH (url = '{place(pg)}', user = '{pg.username}', password = '{pg.password}')",
                   f"CREATE CATALOG b USING mysql WITH (url = '{place(mysql, False)}', user = '{mysql.username}', password = '{mysql.password}')",
                   f"CREATE CATALOG c USING s3 WITH ({keys()})", "SELECT count(*) FROM a.public.customers", "SELECT count(*) FROM b.shop.customers",
                   'SELECT count(*) FROM c.csv."part-0"', f"CREATE CATALOG d USING hive WITH (metastore = '{os.environ['MARU_TEST_HMS3']}', "
                   f"access_key_id = 'someone', secret_access_key = '{marks['hive key']}', session_token = '{marks['hive token']}')") is None
        for statement, sqlstate in [
            (f"CREATE CATALOG e USING postgres WITH (url = '{place(pg)}', user = '{pg.username}', password = '{marks['postgres']}')", "HV00L"),
            (f"CREATE CATALOG e USING mysql WITH (url = '{place(mysql, False)}', user = '{mysql.username}', password = '{marks['mysql']}')", "HV00L"),
            (f"CREATE CATALOG e USING s3 WITH ({keys(marks['s3 key'])})", "HV00L"),
            (f"CREATE CATALOG e USING s3 WITH ({keys(marks['temporary key'])}, session_token = '{marks['s3 token']}')", "HV00L"),
            (f"CREATE CATALOG e USING postgres WITH (url = 'postgres://127.0.0.1:1/x', user = 'u', password = '{marks['nobody there']}')", "HV00N"),
            (f"ALTER CATALOG a SET (password = '{marks['altered']}')", "HV00L"),
        ]:
            assert run(connection, statement) == sqlstate, statement.split(" WITH")[0]
        assert run(connection, f"ALTER ROLE maru PASSWORD '{marks['own']}'") is None
    with server.connect(password=marks["own"]), server.connect(user="kim", password=marks["alter role"]):
        pass
    for user, name in [("maru", "wrong"), ("kim", "create user"), ("nobody", "of nobody")]:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            server.connect(user=user, password=marks[name])
        with pytest.raises(adbc_driver_manager.Error):
            server.flight(username=user, password=marks[name]).cursor().execute("SELECT 1")
    server.password = marks["own"]
    with server.flight() as flight, flight.cursor() as cursor:
        cursor.execute("SELECT 1 AS one")
        assert cursor.fetchone() == (1,)
    import pyarrow.flight as pf
    with pf.connect("grpc://" + server.endpoints["flight"]) as client:
        _, bearer = client.authenticate_basic_token("maru", marks["own"])
        token = bearer.decode().removeprefix("Bearer ")
        assert len(token) > 20
        marks.texts["token"] = token
        marks.texts["wrong token"] = "0" + token[1:-1] + "f"
        for text in ["token", "wrong token"]:
            options = pf.FlightCallOptions(headers=[(b"authorization", b"Bearer " + marks[text].encode())])
            if text == "token":
                assert list(client.list_actions(options)) and list(client.do_action(pf.Action("GetSessionOptions", b""), options))
            else:
                with pytest.raises(pf.FlightUnauthenticatedError):
                    list(client.do_action(pf.Action("GetSessionOptions", b""), options))
    marks.texts |= {"password of a source": pg.password, "key of a source": os.environ["MARU_TEST_S3_SECRET_KEY"]}
    assert marks.found(log_of(server, level)) == []


def test_a_restart_and_a_log_in_json_tell_no_more(start, marks):
    pg = address("MARU_TEST_PG")
    server = start(**options_of("debug"))
    with server.connect() as connection:
        assert run(connection, f"CREATE USER kim PASSWORD '{marks['user']}'", f"CREATE SECRET s WITH (token = '{marks['secret']}')",
                   f"CREATE CATALOG a USING postgres WITH (url = '{place(pg)}', user = '{pg.username}', password = '{pg.password}')",
                   f"SELECT '{marks['select']}' AS x FROM a.public.customers LIMIT 1") is None
    server.process.kill()
    server.process.wait()
    server = start(environment={"MARU_LOG": "debug", "MARU_LOG_FORMAT": "json"})
    with server.connect(user="kim", password=marks["user"]), server.connect() as connection:
        assert connection.execute("SELECT count(*) FROM a.public.customers WHERE name = %s", [marks["parameter"]]).fetchone() == (0,)
    log = log_of(server, "debug")
    assert '"level":"DEBUG"' in log and marks.found(log) == [] and pg.password not in log


# --- What clients are told ---

def test_no_table_list_or_file_shows_a_secret(start, marks):
    pg, mysql = address("MARU_TEST_PG"), address("MARU_TEST_MYSQL")
    server = start()
    texts = []

    def told(statement, sqlstate=None):
        """Keeps what a client gets, rows or error."""
        try:
            cursor = connection.execute(statement)
            texts.append(repr(cursor.fetchall()) if cursor.description else cursor.statusmessage)
            assert sqlstate is None, statement
        except psycopg.Error as error:
            texts.append("\n".join(str(x) for x in [error, error.diag.message_detail, error.diag.message_hint, error.diag.internal_query, error.diag.context]))
            assert error.sqlstate == sqlstate, error

    with server.connect() as connection:
        connection.add_notice_handler(lambda notice: texts.append(str(notice.message_primary)))
        told(f"CREATE USER kim PASSWORD '{marks['create user']}'")
        told(f"CREATE USER kim PASSWORD '{marks['create user twice']}'", "42710")
        told(f"CREATE USER lee PASSWORD $x${marks['dollars']}$x$ VALID UNTIL '2030-01-01'")
        told(f"ALTER USER lee WITH ENCRYPTED PASSWORD E'{marks['alter user']}'")
        told(f"ALTER ROLE nobody PASSWORD '{marks['of nobody']}'", "42704")
        told(f"CREATE SECRET s WITH (user = '{pg.username}', password = '{pg.password}', token = '{marks['secret']}')")
        told(f"CREATE SECRET s WITH (token = '{marks['secret twice']}')", "42710")
        told(f"CREATE SECRET IF NOT EXISTS s WITH (token = '{marks['secret again']}')")
        told(f"SELECT 1; CREATE OR REPLACE SECRET s2 WITH (a = $$b$$, token /* x */ = E'{marks['among others']}'); SELECT 2")
        told(f"BEGIN; CREATE SECRET s3 WITH (token = '{marks['in a block']}'); COMMIT", "25001")
        told("ROLLBACK")
        told(f"CREATE CATALOG a USING postgres WITH (url = '{place(pg)}', user = '{pg.username}', password = '{pg.password}')")
        told(f"CREATE CATALOG b USING mysql WITH (url = '{place(mysql, False)}', user = '{mysql.username}', password = '{mysql.password}')")
        told(f"CREATE CATALOG c USING s3 WITH ({keys()})")
        told(f"CREATE CATALOG e USING postgres WITH (url = '{place(pg)}', user = '{pg.username}', password = '{marks['wrong']}')", "HV00L")
        told(f"CREATE CATALOG e USING postgres WITH (url = 'postgres://u:{marks['in a url']}@127.0.0.1:1/x')", "HV024")
        told(f"CREATE CATALOG e USING mysql WITH (url = 'mysql://127.0.0.1:1/x?password={marks['parameter of a url']}', user = 'u')", "HV024")
        told(f"CREATE CATALOG e USING postgres WITH (url = 'postgres://127.0.0.1:1/x', pasword = '{marks['misspelt option']}')", "HV00D")
        told(f"CREATE CATALOG e USING nothing WITH (password = '{marks['no connector']}')", "42704")
        told(f"CREATE CATALOG e USING s3 WITH ({keys(marks['wrong key'])})", "HV00L")
        told(f"CREATE CATALOG e USING s3 WITH ({keys(marks['wrong key 2'])}, session_token = '{marks['wrong token']}')", "HV00L")
        told(f"CREATE CATALOG TEMPLATE p FOR ROLE kim USING postgres WITH (url = 'postgres://{{host}}:1/x', password = '{marks['template']}')")
        told(f"CREATE PIPELINE w WITH (on_failure = webhook('http://127.0.0.1:1/{marks['webhook']}')) AS BEGIN STEP a AS SELECT 1; END")
        told(f"ALTER CATALOG a SET (password = '{marks['altered']}')", "HV00L")
        told(f"ALTER CATALOG nothing SET (password = '{marks['of no catalog']}')", "3D000")
        for statement in ["SHOW CATALOGS", "SHOW SECRETS", "SHOW QUERIES", "SHOW SESSIONS", "SHOW SETTINGS", "SHOW CATALOG TEMPLATES", "SHOW PIPELINES",
                          "EXPLAIN VERBOSE SELECT count(*) FROM a.public.customers", "EXPLAIN ANALYZE SELECT * FROM b.shop.customers",
                          'EXPLAIN ANALYZE SELECT * FROM c.csv."part-0"']:
            told(statement)
        time.sleep(0.3)
        texts += [f"{name}: {rows}" for name, rows in system_tables(connection).items()]
    with server.connect(user="kim", password=marks["create user"]) as kim:
        texts += [f"kim, {name}: {rows}" for name, rows in system_tables(kim).items()]
    texts.append(urllib.request.urlopen(server.url() + "/metrics").read().decode())
    assert any("********" in text for text in texts if text.startswith("system.catalogs"))
    assert any("CREATE SECRET s WITH" in text for text in texts if text.startswith("system.audit"))
    marks.texts |= {"password of a source": pg.password, "key of a source": os.environ["MARU_TEST_S3_SECRET_KEY"]}
    assert [(marks.found(text), text[:100]) for text in texts if marks.found(text)] == []
    server.process.kill()
    server.process.wait()
    for path in server.data_dir.rglob("*"):
        if path.is_file():
            assert marks.found(path.read_bytes().decode("latin-1")) == [], path


@pytest.mark.parametrize("statement,sqlstate", [
    # Two texts in two lines are one value.
    ("CREATE SECRET s WITH (password = 'x'\n '{}')", None),
    ("CREATE USER u PASSWORD 'x'\n '{}'", None),
    ("CREATE SECRET s WITH (password = /* = */ '{}')", None),
    ("CREATE SECRET s WITH (password = -- =\n '{}')", None),
    ("CREATE SECRET s WITH (password = E'\\'{}')", None),
    ("CREATE SECRET s WITH (password = {})", None),
    ("CREATE SECRET s WITH (\"a=b\" = '{}', c = 'd')", None),
    # Statements that are not quite right.
    ("CREAT SECRET s WITH (token = '{}')", "42601"),
    ("CREATE SECRET s WITH (token => '{}')", "42601"),
    ("CREATE SECRET s WITH (token := '{}')", "42601"),
    ("CREATE SECRET s WITH token = '{}'", "42601"),
    ("CREATE SECRET s (token = '{}')", "42601"),
    ("CREATE SECRET s WITH (password = 'x' || '{}')", "42601"),
    ("CREATE SECRET s WITH (password = ('{}'))", "42601"),
    ("CREATE SECRET s WITH (password = '{}", "42601"),
    ("CREATE SECRET s WITH (password = $x${}", "42601"),
    ("CREATE CATALOG c USING postgres OPTIONS (password '{}')", "42601"),
    ("ALTER CATALOG c SET password '{}'", "42601"),
    ("ALTER CATALOG c OPTIONS (SET password '{}')", "42601"),
    ("ALTER SECRET s SET (token '{}')", "42601"),
    ("EXPLAIN CREATE SECRET s WITH (token = '{}')", "42601"),
    ("PREPARE q AS CREATE SECRET s WITH (token = '{}')", "42601"),
    ("SELECT 1; CREATE SECRET s WITH (token = '{}'); SELEC 2", "42601"),
    ("ALTER ROLE u PASWORD '{}'", "42601"),
    ("ALTER PIPELINE p SET (on_failure = webhook('https://h/{}'))", "42704"),
    ("ALTER PIPELINE p SET (on_failure = 'https://h/{}')", "42704"),
    ("ALTER PIPELINE p SET on_failure = 'https://h/{}'", "42601"),
    ("CREATE PIPELINE p WITH (on_failure = 'https://h/{}') AS BEGIN STEP a AS SELECT 1; END", "22023"),
    ("CREATE CATALOG c USING hdfs WITH (url = 'hdfs://u:{}@127.0.0.1:1/x')", None),
])
def test_secrets_of_odd_statements_are_not_kept(secretive, marks, statement, sqlstate):
    """The histories have stars in their place, whether the statement was taken or not."""
    with secretive.connect() as connection:
        connection.execute("DROP SECRET IF EXISTS s")
        connection.execute("DROP ROLE IF EXISTS u")
        got = run(connection, statement.replace("{}", marks["secret"]))
        assert got == sqlstate or got and sqlstate is None and statement.startswith("CREATE CATALOG"), got
        # The history is written a moment later, and in order.
        connection.execute(f"SELECT '{marks['control']}'")
        deadline = time.monotonic() + 60
        while "control" not in marks.found(kept := history(connection, "queries")):
            assert time.monotonic() < deadline, "the history is not there"
            time.sleep(0.05)
        kept = {"queries": kept, **{name: history(connection, name) for name in ["audit", "sessions", "secrets", "catalogs"]}}
    assert [name for name, rows in kept.items() if "secret" in marks.found(rows)] == []


def history(connection, table):
    return repr(connection.execute(f"SELECT * FROM system.{table}").fetchall())


@pytest.fixture(scope="module")
def secretive(tmp_path_factory):
    from conftest import Server
    server = Server(tmp_path_factory.mktemp("secretive") / "data")
    yield server
    server.stop()


def test_a_statement_that_runs_hides_its_secrets_from_those_who_watch(start, marks):
    server = start()
    # It takes connections, and never says a word.
    with socket.create_server(("127.0.0.1", 0)) as silent, server.connect() as watcher, server.connect() as other:
        statement = (f"CREATE CATALOG a USING postgres WITH (url = 'postgres://127.0.0.1:{silent.getsockname()[1]}/x', user = 'u', "
                     f"password = '{marks['password']}', connect_timeout = '10s')")
        thread = threading.Thread(target=run, args=[other, statement])
        thread.start()
        try:
            deadline = time.monotonic() + 10
            while not (rows := watcher.execute("SELECT sql FROM system.sessions WHERE sql LIKE 'CREATE CATALOG a%'").fetchall()):
                assert time.monotonic() < deadline, "the statement does not show"
            assert "********" in rows[0][0]
            assert [name for name, rows in system_tables(watcher).items() if marks.found(rows)] == []
        finally:
            thread.join()
