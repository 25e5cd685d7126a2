"""`SET pushdown` and `SET verify_pushdown`, for all catalogs and for one: what is sent then, and that a database that lies is caught.

The databases lie here for real: a view looks at the query that reads it, and gives other values when it is asked to compute."""

import os
import sqlite3
import urllib.parse

import psycopg
import pymysql
import pytest

pytestmark = pytest.mark.services

PLACE = "verify_pushdown"
# A value is one more where the database is asked to filter, to group or for the first rows; the honest table has the values as they are.
ROWS = [(n, n % 4, n * 3) for n in range(40)]
ASKED_FOR_MORE = "({query} LIKE '%WHERE%' OR {query} LIKE '%GROUP BY%' OR {query} LIKE '%sum(%' OR {query} LIKE '%ORDER BY%')"
LIES = {
    "postgres": ("current_query()", f"{PLACE}.", f"vp_pg.{PLACE}"),
    "mysql": ("(SELECT info FROM information_schema.processlist WHERE id = connection_id())", "", f"vp_my.{PLACE}"),
}
KINDS = {"postgres": "vp_pg", "mysql": "vp_my", "sqlite": "vp_sq"}


def statements(kind):
    query, prefix, _ = LIES[kind]
    more = ASKED_FOR_MORE.format(query=query)
    return [
        f"CREATE TABLE {prefix}honest (id int PRIMARY KEY, grp int, v bigint)",
        f"INSERT INTO {prefix}honest VALUES " + ", ".join(map(str, ROWS)),
        f"CREATE TABLE {prefix}groups (id int PRIMARY KEY, label varchar(10))",
        f"INSERT INTO {prefix}groups VALUES (0, 'none'), (1, 'one'), (2, 'two'), (3, 'three')",
        f"CREATE VIEW {prefix}liar AS SELECT id, grp, CASE WHEN {more} THEN v + 1 ELSE v END AS v FROM {prefix}honest",
    ]


@pytest.fixture(scope="module")
def databases(tmp_path_factory):
    """Statements that attach them."""
    lite = tmp_path_factory.mktemp("verify") / "v.db"
    with sqlite3.connect(lite) as direct:
        direct.execute("CREATE TABLE honest (id INTEGER PRIMARY KEY, grp INTEGER, v BIGINT)")
        direct.executemany("INSERT INTO honest VALUES (?, ?, ?)", ROWS)
    direct.close()
    pg, my = (urllib.parse.urlsplit(os.environ[name]) for name in ("MARU_TEST_PG", "MARU_TEST_MYSQL"))
    login = {"host": my.hostname, "port": my.port, "user": my.username, "password": my.password, "autocommit": True}
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as postgres, pymysql.connect(**login) as direct, direct.cursor() as mysql:
        postgres.execute("SET client_min_messages = warning")
        for drop in [f"DROP SCHEMA IF EXISTS {PLACE} CASCADE", f"CREATE SCHEMA {PLACE}", *statements("postgres")]:
            postgres.execute(drop)
        for statement in [f"DROP DATABASE IF EXISTS {PLACE}", f"CREATE DATABASE {PLACE}", f"USE {PLACE}", *statements("mysql")]:
            mysql.execute(statement)
        yield [
            f"CREATE CATALOG vp_pg USING postgres WITH (url = 'postgres://{pg.hostname}:{pg.port}{pg.path}', user = '{pg.username}', "
            f"password = '{pg.password}')",
            f"CREATE CATALOG vp_my USING mysql WITH (url = 'mysql://{my.hostname}:{my.port}/{PLACE}', user = '{my.username}', "
            f"password = '{my.password}')",
            f"CREATE CATALOG vp_sq USING sqlite WITH (path = '{lite}')",
        ]
        postgres.execute(f"DROP SCHEMA {PLACE} CASCADE")
        mysql.execute(f"DROP DATABASE {PLACE}")


@pytest.fixture(scope="module")
def attached(server, databases):
    with server.connect() as admin:
        for statement in databases:
            admin.execute(statement)
        yield server
        for name in KINDS.values():
            admin.execute(f"DROP CATALOG {name}")


@pytest.fixture
def session(attached):
    with attached.connect() as connection:
        yield connection


TABLES = {kind: f"{name}.{'main' if kind == 'sqlite' else PLACE}" for kind, name in KINDS.items()}
# What a lying database answers wrongly, and the words by which one sees that it is asked.
COMPUTED = {
    "filter": ("SELECT id, v FROM {t}.liar WHERE id = 7", " WHERE "),
    "groups": ("SELECT grp, sum(v) FROM {t}.liar GROUP BY grp", " GROUP BY "),
    "first rows": ("SELECT id, v FROM {t}.liar ORDER BY v DESC, id LIMIT 3", " LIMIT "),
    "join": ("SELECT l.id, l.v, g.label FROM {t}.liar l JOIN {t}.groups g ON l.grp = g.id WHERE l.id < 3", " JOIN "),
    "semi join": ("SELECT id, v FROM {t}.liar WHERE grp IN (SELECT id FROM {t}.groups WHERE id > 1)", " EXISTS "),
}
LIE = "SELECT sum(v) FROM {t}.liar"
TRUTH, LIED = sum(v for *_, v in ROWS), sum(v + 1 for *_, v in ROWS)


def sent(connection, sql):
    """What each catalog is sent, by its name."""
    lines = [row[0].strip() for row in connection.execute("EXPLAIN " + sql).fetchall()]
    found = {}
    for line in lines:
        if " is sent: " in line:
            found.setdefault(line.split(" is sent: ")[0], []).append(line.split(" is sent: ")[1])
    return found, lines


def is_caught(connection, sql):
    """Whether the statement is an error because the database's answer is not the engine's."""
    try:
        connection.execute(sql).fetchall()
    except psycopg.Error as error:
        assert error.sqlstate == "HV000" and "does not answer as the engine does" in error.diag.message_primary, error
        return True
    return False


@pytest.mark.parametrize("kind", LIES)
@pytest.mark.parametrize("step", COMPUTED)
def test_a_database_that_lies_is_caught(session, kind, step):
    sql, word = COMPUTED[step]
    sql, catalog = sql.format(t=TABLES[kind]), KINDS[kind]
    believed = session.execute(sql).fetchall()
    assert any(word in query for query in sent(session, sql)[0][catalog]), sent(session, sql)
    for scope in ["", f"{catalog}."]:
        session.execute(f"SET {scope}verify_pushdown = 'all'")
        with pytest.raises(psycopg.Error) as caught:
            session.execute(sql).fetchall()
        diagnosis = caught.value.diag
        assert diagnosis.sqlstate == "HV000" and diagnosis.message_primary == f'source "{catalog}" does not answer as the engine does'
        # What it was asked, a row that is wrong, and what to do.
        detail = diagnosis.message_detail
        assert "It was sent: SELECT" in detail and "the engine does not find:\n+" in detail, detail
        assert f"SET {catalog}.pushdown = off" in diagnosis.message_hint
        session.execute(f"RESET {scope}verify_pushdown")
        assert session.execute(sql).fetchall() == believed
    # Asked for rows alone it says the truth, and there is nothing left to compare.
    session.execute(f"SET {catalog}.pushdown = off")
    truth = session.execute(sql).fetchall()
    assert sorted(truth) != sorted(believed)
    session.execute("SET verify_pushdown = 'all'")
    assert sorted(session.execute(sql).fetchall()) == sorted(truth)


@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_database_passes(session, kind):
    session.execute("SET verify_pushdown = 'all'")
    table = f"{TABLES[kind]}.honest"
    assert session.execute(f"SELECT sum(v), count(*) FROM {table} WHERE id < 30").fetchone() == (sum(3 * n for n in range(30)), 30)
    # Any five rows satisfy a bare limit; that they are there is all that is checked.
    assert len(session.execute(f"SELECT id FROM {table} WHERE grp = 1 LIMIT 5").fetchall()) == 5
    assert session.execute(f"SELECT id FROM {table} ORDER BY grp, id DESC LIMIT 2").fetchall() == [(36,), (32,)]


def test_one_catalog_is_verified_and_the_other_believed(session):
    pg, my = LIE.format(t=TABLES["postgres"]), LIE.format(t=TABLES["mysql"])
    both = f"SELECT a.sum, b.sum FROM ({pg}) a, ({my}) b"
    session.execute("SET vp_pg.verify_pushdown = 'all'")
    assert is_caught(session, pg) and not is_caught(session, my) and is_caught(session, both)
    assert session.execute(my).fetchone() == (LIED,)
    shown = [session.execute(f"SHOW {name}").fetchone()[0] for name in ["vp_pg.verify_pushdown", "vp_my.verify_pushdown", "verify_pushdown"]]
    assert shown == ["all", "off", "off"]
    # The catalog's own word counts before that for all.
    session.execute("SET verify_pushdown = 'all'")
    session.execute("SET vp_pg.verify_pushdown = off")
    assert not is_caught(session, pg) and is_caught(session, my)
    session.execute("RESET vp_pg.verify_pushdown")
    assert is_caught(session, pg)
    session.execute("RESET ALL")
    assert not is_caught(session, pg) and not is_caught(session, my)


QUERIES = [
    "SELECT grp, count(*), sum(v) FROM {t}.honest WHERE id < 20 GROUP BY grp",
    "SELECT id FROM {t}.honest WHERE grp = 1 AND id > 3 ORDER BY id LIMIT 4",
    "SELECT DISTINCT grp FROM {t}.honest",
    "SELECT a.id FROM {t}.honest a JOIN {t}.honest b ON a.id = b.id WHERE b.grp = 2",
    "SELECT id FROM {t}.honest WHERE grp IN (SELECT grp FROM {t}.honest WHERE id < 2)",
    "SELECT id FROM {t}.honest WHERE id > (SELECT max(grp) FROM {t}.honest)",
    "SELECT id FROM {t}.honest LIMIT 3",
]
COMPUTING = [" WHERE ", " GROUP BY ", " LIMIT ", " ORDER BY ", " JOIN ", "sum(", "max(", "count(", "EXISTS"]


@pytest.mark.parametrize("off", KINDS)
def test_pushdown_is_off_for_one_catalog_only(session, off):
    """That one is asked for rows alone; of the others each statement still sends all that it sent."""
    asked = [(kind, sql) for kind in TABLES for sql in QUERIES]
    before = {(kind, sql): sent(session, sql.format(t=TABLES[kind]))[0][KINDS[kind]] for kind, sql in asked}
    rows = {(kind, sql): sorted(session.execute(sql.format(t=TABLES[kind])).fetchall()) for kind, sql in asked}
    session.execute(f"SET {KINDS[off]}.pushdown = off")
    for (kind, sql), queries in before.items():
        assert any(word in query for query in queries for word in COMPUTING), (sql, queries)
        now, lines = sent(session, sql.format(t=TABLES[kind]))
        if kind == off:
            assert not any(word in query for query in now[KINDS[kind]] for word in COMPUTING), lines
            assert not any("added at run time" in line for line in lines), lines
        else:
            assert now[KINDS[kind]] == queries, lines
        if sql != QUERIES[-1]:
            assert sorted(session.execute(sql.format(t=TABLES[kind])).fetchall()) == rows[kind, sql], sql
    session.execute(f"RESET {KINDS[off]}.pushdown")
    assert all(sent(session, sql.format(t=TABLES[kind]))[0][KINDS[kind]] == queries for (kind, sql), queries in before.items())
    # Off for all but one.
    session.execute("SET pushdown = off")
    session.execute(f"SET {KINDS[off]}.pushdown = on")
    for (kind, sql), queries in before.items():
        now, lines = sent(session, sql.format(t=TABLES[kind]))
        assert now[KINDS[kind]] == queries if kind == off else not any(word in query for query in now[KINDS[kind]] for word in COMPUTING), lines


def test_a_join_of_two_catalogs_sends_keys_to_the_one_that_takes_them(session):
    """The keys of the small side are a filter, too: a catalog without pushdown gets none, and still gives keys to the other."""
    sql = "SELECT a.id, b.v FROM {}.honest a JOIN {}.honest b ON a.id = b.id WHERE {}.grp = 1 AND {}.id < 9"
    for kind, other in [("postgres", "mysql"), ("mysql", "postgres"), ("sqlite", "postgres")]:
        session.execute(f"SET {KINDS[kind]}.pushdown = off")
        for few, many in [("a", "b"), ("b", "a")]:
            statement = sql.format(TABLES[kind], TABLES[other], few, many)
            found, lines = sent(session, statement)
            assert not any(word in query for query in found[KINDS[kind]] for word in COMPUTING), lines
            assert any(" WHERE " in query for query in found[KINDS[other]]), lines
            added = lines.index(next(line for line in lines if line.startswith(f"{KINDS[kind]} is sent: "))) + 1
            assert "added at run time" not in lines[added], lines
            assert sorted(session.execute(statement).fetchall()) == [(1, 3), (5, 15)]
        session.execute("RESET ALL")


def test_what_cannot_be_set(session):
    for sql, state in [("SET no_such.pushdown = off", "3D000"), ("SET vp_pg.pushdown = 'half'", "22023"),
                       ("SET vp_pg.verify_pushdown = 'some'", "22023"), ("SET verify_pushdown = 'sometimes'", "22023")]:
        with pytest.raises(psycopg.Error) as caught:
            session.execute(sql)
        assert caught.value.sqlstate == state, (sql, caught.value)
    assert session.execute("SHOW vp_pg.pushdown").fetchone() == ("on",)


@pytest.fixture
def alone(start, databases):
    """A server on which nobody else runs statements, so that their numbers are one behind the other."""
    server = start("sampled")
    with server.connect() as admin:
        for statement in databases:
            admin.execute(statement)
    return server


def caught_numbers(server):
    """Which statements were an error for their lie, by their numbers, and all that read the liar."""
    with server.connect() as admin:
        rows = admin.execute("SELECT query_id, sqlstate FROM system.queries WHERE sql LIKE 'SELECT sum(v) FROM %.liar' ORDER BY query_id").fetchall()
    return [number for number, state in rows if state == "HV000"], [number for number, _ in rows]


@pytest.mark.parametrize("prepared", [False, True])
def test_a_sample_is_one_statement_in_ten(alone, prepared):
    """By the number that the server gave the statement, so that no session is spared for ever; a prepared one is drawn anew each time."""
    sql = LIE.format(t=TABLES["postgres"])
    n_sessions, n_each = 4, 25
    sessions = [alone.connect(prepare_threshold=None) for _ in range(n_sessions)]
    try:
        for number, connection in enumerate(sessions):
            # For all catalogs, and for the one.
            connection.execute("SET verify_pushdown = 'sample'" if number % 2 else "SET vp_pg.verify_pushdown = 'sample'")
        results = []
        for _ in range(n_each):
            for connection in sessions:
                try:
                    results.append(connection.execute(sql, prepare=prepared).fetchone())
                except psycopg.Error as error:
                    assert error.sqlstate == "HV000", error
                    results.append(None)
    finally:
        for connection in sessions:
            connection.close()
    caught, all_of_them = caught_numbers(alone)
    assert len(all_of_them) == len(results) == n_sessions * n_each
    assert caught == [number for number in all_of_them if number % 10 == 0] and 8 <= len(caught) <= 12, (caught, all_of_them)
    # What was not drawn was believed.
    assert results.count(None) == len(caught) and set(results) == {None, (LIED,)}


def test_a_sample_of_honest_answers_is_never_wrong(alone):
    with alone.connect(prepare_threshold=None) as connection:
        connection.execute("SET verify_pushdown = 'sample'")
        for kind, table in TABLES.items():
            for _ in range(12):
                assert connection.execute(f"SELECT sum(v), count(*) FROM {table}.honest").fetchone() == (TRUTH, len(ROWS)), kind
        # Without pushdown there is nothing that could be wrong.
        connection.execute("SET pushdown = off")
        for _ in range(12):
            assert connection.execute(LIE.format(t=TABLES["postgres"])).fetchone() == (TRUTH,)
