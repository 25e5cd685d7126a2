"""Names, values and options stay what they are in the SQL that databases are sent: none of them becomes a statement or a condition."""

import contextlib
import os
import sqlite3
import urllib.parse

import psycopg
import pymysql
import pytest

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

SCHEMA = "e2e_injection"
DROP = f"DROP TABLE {SCHEMA}.canary"
# What ends names, texts and statements, begins comments, or is a placeholder, in one database or another.
NAMES = [
    'a"b', 'a""', '"', "a'b", "''", "a`b", "``", "a\\b", "a\\", "a\\'b", 'a\\"b', "a;b", "a--b", "-- ", "a#b", "a/*b", "a*/b", "a/*!50000b*/", "a\nb",
    "a\r\n--b", "a\tb", "a.b", "[a]", "a]b", "$1", "?", ":a", "@a", "%s%d%", "{user}", "{0}", "$$", "$a$", "select", "A", "한글 이름", "😀", "a\u2028b", "\u202ea",
    f'x"; {DROP}; --', f"x'; {DROP}; --", f"x`; {DROP}; --", f"x); {DROP}; --", '" OR 1=1 --', "x" * 60,
]
VALUES = [*NAMES, "", " ", "a ", "'", "'''", "\\", "\\\\", "\\'", "\\' OR 1=1 -- ", "' OR '1'='1", "'' OR ''=''", "%", "_", "\\%", "%'%", "a%b_c", "\x01", "\x1a",
          "\x7f", "\b", "\ufeff", "a\u00a0", "\u02bc OR 1=1", "\uff07; --", "\\x27", "\\u0027", "0x27", "E'\\''", "U&'\\0027'", "$q$'$q$", "N'", "NULL", "\\N"]


def name(text):
    return '"' + text.replace('"', '""') + '"'


def text(value):
    return "'" + value.replace("'", "''") + "'"


class Postgres:
    kind, schema, place = "postgres", SCHEMA, SCHEMA

    def __init__(self, _):
        self.url = urllib.parse.urlsplit(os.environ["MARU_TEST_PG"])
        self.run(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE", f"CREATE SCHEMA {SCHEMA}")

    def options(self, **changed):
        return {"url": f"postgres://{self.url.hostname}:{self.url.port}{self.url.path}", "user": self.url.username, "password": self.url.password, **changed}

    def run(self, *statements):
        with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as direct:
            for statement in statements:
                cursor = direct.execute(*statement) if isinstance(statement, tuple) else direct.execute(statement)
            return cursor.fetchall() if cursor.description else None

    quoted = staticmethod(name)

    def columns(self):
        return self.run("SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns "
                        "WHERE table_schema LIKE 'e2e!_inj%' ESCAPE '!' ORDER BY 1, 2, 3")

    def clean(self):
        schemas = self.run("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'e2e!_inj%' ESCAPE '!'")
        self.run(*[f"DROP SCHEMA {name(schema)} CASCADE" for schema, in schemas])


class MariaDb:
    kind, schema, place = "mysql", SCHEMA, SCHEMA

    def __init__(self, _):
        self.url = urllib.parse.urlsplit(os.environ["MARU_TEST_MYSQL"])
        self.run(f"DROP DATABASE IF EXISTS {SCHEMA}", f"CREATE DATABASE {SCHEMA} CHARACTER SET utf8mb4")

    def options(self, **changed):
        return {"url": f"mysql://{self.url.hostname}:{self.url.port}", "user": self.url.username, "password": self.url.password, **changed}

    def run(self, *statements):
        with contextlib.closing(pymysql.connect(host=self.url.hostname, port=self.url.port, user=self.url.username, password=self.url.password,
                                                autocommit=True, charset="utf8mb4")) as direct, direct.cursor() as cursor:
            for statement in statements:
                cursor.execute(*statement) if isinstance(statement, tuple) else cursor.execute(statement)
            return list(cursor.fetchall())

    @staticmethod
    def quoted(text):
        return "`" + text.replace("`", "``") + "`"

    def columns(self):
        return self.run("SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns "
                        "WHERE table_schema LIKE 'e2e!_inj%' ESCAPE '!' ORDER BY 1, 2, 3")

    def clean(self):
        schemas = self.run("SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'e2e!_inj%' ESCAPE '!'")
        self.run(*[f"DROP DATABASE {self.quoted(schema)}" for schema, in schemas], "SELECT 1")


class Sqlite:
    kind, schema, place = "sqlite", "main", "main"

    def __init__(self, directory):
        self.path = directory / "injection.db"

    def options(self, **changed):
        return {"path": str(self.path), **changed}

    def run(self, *statements):
        with contextlib.closing(sqlite3.connect(self.path, timeout=20)) as direct:
            for statement in statements:
                rows = (direct.execute(*statement) if isinstance(statement, tuple) else direct.execute(statement)).fetchall()
            direct.commit()
            return rows

    quoted = staticmethod(name)

    def columns(self):
        return self.run("SELECT 'main', m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY 1, 2, 3")

    def clean(self):
        pass


KINDS = {"postgres": Postgres, "mariadb": MariaDb, "sqlite": Sqlite}
CANARY = [(1, "yellow"), (2, "it's")]


def create(catalog, kind, options):
    return f"CREATE CATALOG {name(catalog)} USING {kind} WITH (" + ", ".join(f"{key} = {text(str(value))}" for key, value in options.items()) + ")"


@pytest.fixture(params=KINDS)
def target(request, tmp_path):
    """A database with a table that nobody has a reason to touch, and it is untouched in the end."""
    target = KINDS[request.param](tmp_path)
    target.run(f"CREATE TABLE {target.place}.canary (id int PRIMARY KEY, name varchar(40))", f"INSERT INTO {target.place}.canary VALUES (1, 'yellow'), (2, 'it''s')")
    yield target
    try:
        assert sorted(target.run(f"SELECT id, name FROM {target.place}.canary")) == CANARY
    finally:
        target.clean()


@pytest.fixture
def session(server, target):
    """A session whose catalog `inj` is that database."""
    with server.connect() as connection:
        connection.execute(create("inj", target.kind, target.options()))
        yield connection
        connection.execute("DROP CATALOG inj")


def sqlstate_of(connection, sql):
    with pytest.raises(psycopg.Error) as error:
        connection.execute(sql)
    return error.value.sqlstate


def usable(target, names):
    """MariaDB takes no name with a blank at its end, PostgreSQL and SQLite take all that are here."""
    return [n for n in names if not (target.kind == "mysql" and (n != n.rstrip() or any(ord(c) > 0xFFFF for c in n)))]


def own(target, table):
    return f"{target.place}.{target.quoted(table)}"


def can_be_written_again(name):
    """Whether a statement that changes rows, or a view, may name it: elsewhere such names are read as they are."""
    return '""' not in name and '\\"' not in name


def test_names_of_tables_and_columns(target, session):
    """Each name is that of a table and of its column, read, filtered, grouped, joined and written through."""
    names = usable(target, NAMES)
    filled = "INSERT INTO {} VALUES (?, ?), (?, ?)" if target.kind == "sqlite" else "INSERT INTO {} VALUES (%s, %s), (%s, %s)"
    target.run(*[f"CREATE TABLE {own(target, 't' + n)} (id int PRIMARY KEY, {target.quoted(n)} varchar(80))" for n in names])
    for n in names:
        table = own(target, "t" + n)
        target.run((filled.format(table if target.kind == "sqlite" else table.replace("%", "%%")), (1, n, 2, "x")))
    before = target.columns()
    listed = session.execute("SELECT table_name, column_name FROM inj.information_schema.columns WHERE table_schema = %s AND table_name <> 'canary' "
                             "AND column_name <> 'id'", [target.schema]).fetchall()
    assert sorted(listed) == sorted(("t" + n, n) for n in names)
    for n in names:
        t, c = f"inj.{target.schema}.{name('t' + n)}", name(n)
        assert session.execute(f"SELECT * FROM {t} ORDER BY id").fetchall() == [(1, n), (2, "x")], n
        assert session.execute(f"SELECT id FROM {t} WHERE {c} = {text(n)}").fetchall() == [(1,)], n
        assert session.execute(f"SELECT {c}, count(*), min(id) FROM {t} WHERE {c} IN ({text(n)}, 'y') GROUP BY {c} HAVING count(*) > 0").fetchall() == [(n, 1, 1)], n
        assert session.execute(f"SELECT a.{c} AS {c} FROM {t} a JOIN {t} b ON a.id = b.id WHERE b.{c} <> 'x' ORDER BY a.{c} LIMIT 3").fetchall() == [(n,)], n
        session.execute(f"INSERT INTO {t} (id, {c}) VALUES (3, {text(n)})")
        changes = [f"UPDATE {t} SET {c} = {text('u' + n)} WHERE {c} = 'x'", f"DELETE FROM {t} WHERE {c} = {text(n)} AND id = 1"]
        if not can_be_written_again(n):
            for change in changes:
                with pytest.raises(psycopg.errors.FeatureNotSupported, match="this statement cannot name"):
                    session.execute(change)
            assert sorted(target.run(f"SELECT * FROM {own(target, 't' + n)}")) == [(1, n), (2, "x"), (3, n)], n
            continue
        for change in changes:
            session.execute(change)
        assert sorted(target.run(f"SELECT * FROM {own(target, 't' + n)}")) == [(2, "u" + n), (3, n)], n
    assert [row for row in target.columns() if row[1] != "maru_commits"] == before


def test_names_of_tables_that_are_made(target, session):
    for number, n in enumerate(usable(target, NAMES[::2])):
        t, c = f"inj.{target.schema}.{name('m' + n)}", name(n)
        session.execute(f"CREATE TABLE {t} AS SELECT 1::bigint AS number, {text(n)}::text AS {c}")
        if number % 4 == 0:
            session.execute(f"ALTER TABLE {t} ADD COLUMN {name('+' + n)} bigint")
            session.execute(f"ALTER TABLE {t} RENAME COLUMN {name('+' + n)} TO {name('-' + n)}")
            assert target.run(f"SELECT {target.quoted('-' + n)} FROM {own(target, 'm' + n)}") == [(None,)], n
            session.execute(f"ALTER TABLE {t} DROP COLUMN {name('-' + n)}")
        assert target.run(f"SELECT number, {target.quoted(n)} FROM {own(target, 'm' + n)}") == [(1, n)], n
        session.execute(f"INSERT OVERWRITE {t} SELECT * FROM {t}")
        session.execute(f"TRUNCATE {t}")
        session.execute(f"DROP TABLE {t}")
    assert {row[1] for row in target.columns()} <= {"canary", "maru_commits"}


def test_names_of_schemas(target, session):
    if target.kind == "sqlite":
        pytest.skip("its only schema is main")
    names = [SCHEMA + n for n in usable(target, NAMES) if len((SCHEMA + n).encode()) < 64 and "." not in n and n != "A"]
    assert len(names) > 25
    target.run(*[f"CREATE SCHEMA {target.quoted(n)}" for n in names], *[f"CREATE TABLE {target.quoted(n)}.t (id int PRIMARY KEY)" for n in names])
    listed = {n for n, in session.execute("SELECT schema_name FROM inj.information_schema.schemata")}
    assert set(names) <= listed
    for number, n in enumerate(names):
        session.execute(f"INSERT INTO inj.{name(n)}.t VALUES ({number})")
        assert session.execute(f"SELECT id FROM inj.{name(n)}.t WHERE id < 1000").fetchall() == [(number,)], n
        assert session.execute("SELECT table_name FROM inj.information_schema.tables WHERE table_schema = %s", [n]).fetchall()[0] == ("t",), n
        assert target.run(f"SELECT id FROM {target.quoted(n)}.t") == [(number,)], n


def test_values(target, session):
    values = list(dict.fromkeys(VALUES))
    source = f"{target.place}.texts"
    target.run(f"CREATE TABLE {source} (id int PRIMARY KEY, name varchar(80))")
    t = f"inj.{target.schema}.texts"
    half = len(values) // 2
    session.execute(f"INSERT INTO {t} VALUES " + ", ".join(f"({number}, {text(value)})" for number, value in enumerate(values[:half])))
    for number, value in list(enumerate(values))[half:]:
        if number % 3 == 0:
            session.execute(f"INSERT INTO {t} VALUES (%s, %s)", [number, value])
        else:
            session.execute(f"INSERT INTO {t} VALUES ({number}, {text(value)})")
    assert sorted(target.run(f"SELECT id, name FROM {source}")) == list(enumerate(values))
    assert session.execute(f"SELECT id, name FROM {t} ORDER BY id").fetchall() == list(enumerate(values))

    plan = "\n".join(row[0] for row in session.execute(f"EXPLAIN SELECT id FROM {t} WHERE name = {text(values[0])}"))
    assert " WHERE " in plan, "no filter is sent, so that nothing is tried"

    def found(condition, parameters=None):
        return [number for number, in session.execute(f"SELECT id FROM {t} WHERE {condition} ORDER BY id", parameters)]

    numbers = {value: number for number, value in enumerate(values)}
    for value, number in numbers.items():
        others = [n for n in range(len(values)) if n != number]
        assert found(f"name = {text(value)}") == [number], value
        assert found(f"name <> {text(value)}") == others, value
        assert found(f"name IN ({text(value)}, 'no such value', {text(value + chr(39))})") == sorted({number, numbers.get(value + "'", number)}), value
        starts = [n for v, n in numbers.items() if v.startswith(value)]
        mark = "".join("\\" + c if c in "%_\\" else c for c in value)
        assert found(f"name LIKE {text(mark + '%')}") == starts, value
        if number % 3 == 0:
            assert found("name = %s", [value]) == [number], value
            assert found(f"name NOT IN ({text(value)}, 'no such value')") == others, value
            assert found(f"name >= {text(value)} AND name <= {text(value)}") == [number], value
            assert found("name = any(%s)", [[value, "'"]]) == sorted({number, numbers["'"]}), value
    assert found("name IN (" + ", ".join(map(text, values)) + ")") == list(range(len(values)))
    session.execute(f"UPDATE {t} SET name = name || '!' WHERE name IN (" + ", ".join(map(text, values[:9])) + ")")
    for value in values[9:30]:
        session.execute(f"DELETE FROM {t} WHERE name = {text(value)}")
    assert sorted(target.run(f"SELECT id, name FROM {source}")) == [(n, v + "!" if n < 9 else v) for n, v in enumerate(values) if not 9 <= n < 30]


# A value that begins with a backslash and a quote, and goes on as the statements do that Maru makes of an UPDATE or DELETE.
ENDS = ["' OR true) AS canary --", "\\' OR true) AS canary --", "\\' OR true) IS TRUE AS \"$hit\" FROM {t} AS canary) AS canary --", "\\' OR true --", "\\'' OR true --"]


@pytest.mark.parametrize("end", ENDS)
def test_a_value_is_no_condition_of_a_change(target, session, end):
    canary = f"inj.{target.schema}.canary"
    value = text(end.replace("{t}", canary))
    assert session.execute(f"SELECT count(*) FROM {canary} WHERE name = {value}").fetchone() == (0,)
    assert session.execute(f"UPDATE {canary} SET name = 'changed' WHERE name = {value}").statusmessage == "UPDATE 0"
    assert session.execute(f"DELETE FROM {canary} WHERE name = {value}").statusmessage == "DELETE 0"
    assert session.execute(f"MERGE INTO {canary} c USING (VALUES ({value})) v(n) ON c.name = v.n WHEN MATCHED THEN DELETE").statusmessage == "MERGE 0"


@pytest.mark.parametrize("value", ["''", "'''", "a''b", "\\'", "\\', (SELECT 'more') AS more --", '""', "\\"])
def test_values_in_statements_that_are_written_again(connection, value):
    """Views, changes of Maru's own tables, prepared statements."""
    connection.execute("CREATE SCHEMA e2e_inj_own")
    try:
        connection.execute(f"CREATE VIEW e2e_inj_own.v AS SELECT {text(value)} AS n")
        assert connection.execute("SELECT * FROM e2e_inj_own.v").fetchall() == [(value,)]
        view = f"CREATE VIEW e2e_inj_own.w AS SELECT 1 AS {name(value)}"
        if can_be_written_again(value):
            connection.execute(view)
            assert connection.execute("SELECT * FROM e2e_inj_own.w").description[0].name == value
        else:
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="this statement cannot name"):
                connection.execute(view)
        connection.execute(f"PREPARE inj_own AS SELECT $1::text, {text(value)}")
        assert connection.execute(f"EXECUTE inj_own({text(value)})").fetchone() == (value, value)
        connection.execute("DEALLOCATE inj_own")
        connection.execute("CREATE TABLE e2e_inj_own.t (id int, name text)")
        connection.execute("INSERT INTO e2e_inj_own.t VALUES (1, %s), (2, '''')", [value])
        assert connection.execute(f"UPDATE e2e_inj_own.t SET name = {text(value)} WHERE name = {text(value)}").statusmessage == "UPDATE 1"
        assert connection.execute("SELECT id, name FROM e2e_inj_own.t ORDER BY id").fetchall() == [(1, value), (2, "'")]
        assert connection.execute(f"DELETE FROM e2e_inj_own.t WHERE name = {text(value)}").statusmessage == "DELETE 1"
        assert connection.execute("SELECT id FROM e2e_inj_own.t").fetchall() == [(2,)]
    finally:
        connection.execute("DROP SCHEMA e2e_inj_own CASCADE")


def test_a_zero_byte_ends_nothing(server, target, session):
    """It comes as a bound value of Flight SQL, since the other door does not take it."""
    canary = f"inj.{target.schema}.canary"
    with server.flight() as flight, flight.cursor() as cursor:
        for value in ["\0", "yellow\0", "\0' OR '1'='1", "yellow' -- \0", "\\\0"]:
            for condition, rows in [("name = $1", 0), ("name IN ($1, 'it''s')", 1), ("name LIKE $1", 0), ("name <> $1", 2), ("id = 1 AND name > $1", 1 if value < "yellow" else 0)]:
                cursor.execute(f"SELECT id FROM {canary} WHERE {condition}", (value,))
                assert len(cursor.fetchall()) == rows, (value, condition)


def test_native_queries_stay_inside(target, session):
    begin = target.columns()
    t = "canary" if target.kind == "sqlite" else f"{SCHEMA}.canary"
    for query in [f"SELECT 1) x; DROP TABLE {t}; --", f"SELECT 1; DROP TABLE {t}", f"DROP TABLE {t}", f"SELECT 1 AS a) x, (SELECT 1 AS b) y; DELETE FROM {t} -- ",
                  f"DELETE FROM {t}", f"/*! DELETE FROM {t} */", f"SELECT 1 /* ) */; TRUNCATE {t}", f"WITH d AS (DELETE FROM {t} RETURNING id) SELECT * FROM d",
                  "COMMIT", f"SELECT 1 AS one -- )\n); UPDATE {t} SET name = 'x'; SELECT (1"]:
        assert sqlstate_of(session, f"SELECT * FROM inj.query($q${query}$q$)") not in (None, "XX000"), query
        assert sorted(target.run(f"SELECT id, name FROM {target.place}.canary")) == CANARY, query
    assert target.columns() == begin


# In small letters, since settings do not find others yet: test_settings_of_a_catalog_find_it_by_its_own_letters.
CATALOGS = [n.lower() for n in NAMES] + ['a"b; drop table y', " ", ".", "../x", "x" * 64, "x" * 5000, "'; drop catalog inj; --", "information_schema"]


def test_names_of_catalogs(target, session):
    before = {row for row in session.execute("SELECT name FROM system.catalogs").fetchall()}
    for catalog in CATALOGS:
        n = name(catalog)
        session.execute(create(catalog, target.kind, target.options()))
        canary = f"{n}.{target.schema}.canary"
        assert session.execute(f"SELECT id FROM {canary} WHERE name = 'it''s'").fetchall() == [(2,)], catalog[:80]
        assert session.execute("SELECT connector, state FROM system.catalogs WHERE name = %s", [catalog]).fetchall() == [(target.kind, "attached")], catalog[:80]
        native = "SELECT id FROM " + ("canary" if target.kind == "sqlite" else f"{SCHEMA}.canary")
        assert sorted(session.execute(f"SELECT * FROM {n}.query($q${native}$q$)").fetchall()) == [(1,), (2,)], catalog[:80]
        assert session.execute("SELECT count(*) FROM system.tables WHERE catalog = %s AND name = 'canary'", [catalog]).fetchone() >= (1,), catalog[:80]
        plan = "\n".join(row[0] for row in session.execute(f"EXPLAIN SELECT id FROM {canary} WHERE id = 2"))
        assert " WHERE " in plan, plan
        session.execute(f"COMMENT ON CATALOG {n} IS {text(catalog)}")
        session.execute(f"SET {n}.pushdown = off")
        assert session.execute(f"SELECT id FROM {canary} WHERE name = 'it''s'").fetchall() == [(2,)], catalog[:80]
        session.execute(f"RESET {n}.pushdown")
        session.execute(f"DROP CATALOG {n}")
    assert {row for row in session.execute("SELECT name FROM system.catalogs").fetchall()} == before


def test_a_catalog_of_a_hostile_name_outlasts_a_restart(start, tmp_path):
    server = start()
    names = CATALOGS[:20]
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as direct:
        direct.execute("CREATE TABLE t (id int)")
        direct.commit()
    with server.connect() as connection:
        for n in names:
            connection.execute(create(n, "sqlite", {"path": tmp_path / "x.db"}))
    server.process.kill()
    server.process.wait()
    with start().connect() as connection:
        assert {n for n, in connection.execute("SELECT name FROM system.catalogs WHERE state = 'attached'")} == {"maru", *names}
        for n in names:
            assert connection.execute(f"SELECT count(*) FROM {name(n)}.main.t").fetchone() == (0,), n


def test_hostile_options(server, target, tmp_path):
    files = sorted(path.name for path in tmp_path.iterdir())
    evil = [f"'; {DROP}; --", f'"; {DROP}; --', f"`; {DROP}; --", f"; {DROP}", "' OR '1'='1", "\\'", "x\ny", "%27%3B--", "$(touch /tmp/maru-injected)"]
    changes = []
    for e in evil:
        if target.kind == "sqlite":
            changes += [{"path": str(target.path) + e}, {"path": f"file:{target.path}?{e}"}, {"read_only": e}]
        else:
            base = target.options()["url"].rsplit("/", 1)[0] if target.kind == "postgres" else target.options()["url"]
            # A new line in a URL is none to those who read URLs.
            changes += [{"url": f"{base}/{e}"} if e != "x\ny" else {"url": e}, {"user": target.url.username + e}, {"password": e}, {"tls": e}, {"max_connections": e},
                        {"numeric_scale": e}, {"connect_timeout": e}, {"ca_file": e}, {"secret": e}, {"read_only": e}]
    if target.kind == "sqlite":
        changes += [{"path": path} for path in [":memory:", "", "file::memory:?cache=shared", f"file:{tmp_path}/made.db?mode=rwc", str(tmp_path / "made.db"), str(tmp_path)]]
    with server.connect() as connection:
        for changed in changes:
            state = sqlstate_of(connection, create("hostile", target.kind, target.options(**changed)))
            assert state not in (None, "XX000"), (changed, state)
            assert sorted(target.run(f"SELECT id, name FROM {target.place}.canary")) == CANARY, changed
        assert connection.execute("SELECT count(*) FROM system.catalogs WHERE name = 'hostile'").fetchone() == (0,)
    assert sorted(path.name for path in tmp_path.iterdir()) == files and not os.path.exists("/tmp/maru-injected")


def test_a_file_of_a_hostile_name(server, tmp_path):
    with server.connect() as connection:
        for number, n in enumerate(n for n in NAMES if "/" not in n):
            path = tmp_path / (n + ".db")
            with contextlib.closing(sqlite3.connect(path)) as direct:
                direct.execute("CREATE TABLE t (id int)")
                direct.execute("INSERT INTO t VALUES (?)", (number,))
                direct.commit()
            connection.execute(create("inj_file", "sqlite", {"path": path}))
            try:
                assert connection.execute("SELECT id FROM inj_file.main.t").fetchall() == [(number,)], n
            finally:
                connection.execute("DROP CATALOG inj_file")


def test_filters_of_metadata(server, target, session):
    """What Flight SQL is asked to list goes into queries of schema `system`."""
    with server.flight() as flight:
        for e in ["' OR '1'='1", "x' UNION SELECT name FROM system.secrets --", "canary' --", "\\' OR 1=1 --", "inj'; DROP CATALOG inj; --"]:
            for place in ["catalog_filter", "db_schema_filter", "table_name_filter"]:
                objects = flight.adbc_get_objects(depth="tables", **{"catalog_filter": "inj", place: e}).read_all().to_pylist()
                tables = [t for c in objects for s in c["catalog_db_schemas"] or [] for t in s["db_schema_tables"] or []]
                assert tables == [], (place, e)
        objects = flight.adbc_get_objects(depth="tables", catalog_filter="inj", table_name_filter="canary").read_all().to_pylist()
        assert any(s["db_schema_tables"] for c in objects for s in c["catalog_db_schemas"] or [])
    for e in ["maru'; DROP CATALOG inj; --", 'inj"', "inj' --"]:
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            server.connect(dbname=e)
