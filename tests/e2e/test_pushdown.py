"""Groups, orders and joins that databases compute: what they are sent, and that the rows are the engine's own."""

import os
import sqlite3
import urllib.parse

import psycopg
import pytest

pytestmark = pytest.mark.services

# Texts that collations take for one another, NULLs, the ends of types, sums beyond 64 bits.
NAMES = ["a", "A", "ä", "a ", "", "힣", "😀", "b%", "it's", None]
TABLE = "(id int PRIMARY KEY, small smallint, big bigint, price decimal(12,2), name varchar(20), code char(5), day date, at timestamp{precision} NULL, grp int)"


def rows():
    for number in range(60):
        some = number % 7 != 3
        yield (number, number % 5 - 2 if some else None, (2**63 - 1) - number if some else None,
               f"{number * 37 % 101}.{number % 100:02}" if some else None, NAMES[number % len(NAMES)],
               f"c{number % 4}" if some else None, f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}" if some else None,
               f"2026-01-01 00:00:{number % 60:02}.{number:06}", number % 6)


def literal(value):
    return "NULL" if value is None else str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def filled(precision):
    return [
        "CREATE TABLE pushed " + TABLE.format(precision=precision),
        "CREATE TABLE pushed_groups (id int PRIMARY KEY, label varchar(10))",
        "INSERT INTO pushed VALUES " + ", ".join("(" + ", ".join(map(literal, row)) + ")" for row in rows()),
        "INSERT INTO pushed_groups VALUES (0, 'none'), (1, 'one'), (2, 'two'), (9, 'nine')",
    ]


def connection_to_sqlite(server, path):
    with sqlite3.connect(path) as direct:
        for statement in filled(""):
            direct.execute(statement)
    direct.close()
    with server.connect() as connection:
        connection.execute(f"CREATE CATALOG pd USING sqlite WITH (path = '{path}')")
        connection.kind, connection.schema = "sqlite", "main"
        yield connection
        connection.execute("RESET ALL")
        connection.execute("DROP CATALOG pd")


@pytest.fixture(scope="module", params=["postgres", "mysql", "sqlite"])
def connection(server, request, tmp_path_factory):
    """A session whose catalog `pd` is a database with tables `pushed` and `groups`."""
    kind = request.param
    if kind == "sqlite":
        yield from connection_to_sqlite(server, tmp_path_factory.mktemp("pushed") / "pushed.db")
        return
    url = urllib.parse.urlsplit(os.environ["MARU_TEST_PG" if kind == "postgres" else "MARU_TEST_MYSQL"])
    database = url.path.strip("/")
    schema = "public" if kind == "postgres" else database
    statements = ["DROP TABLE IF EXISTS pushed", "DROP TABLE IF EXISTS pushed_groups", *filled("" if kind == "postgres" else "(6)")]
    with server.connect() as connection:
        connection.execute(f"CREATE SECRET pd_login WITH (user = '{url.username}', password = '{url.password}')")
        place = f"{kind}://{url.hostname}:{url.port}" + (url.path if kind == "postgres" else "")
        if kind == "postgres":
            with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as direct:
                for statement in statements:
                    direct.execute(statement)
        else:
            import pymysql
            with pymysql.connect(host=url.hostname, port=url.port, user=url.username, password=url.password, database=database,
                                 autocommit=True) as direct, direct.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        connection.execute(f"CREATE CATALOG pd USING {kind} WITH (url = '{place}', secret = 'pd_login')")
        connection.kind, connection.schema = kind, schema
        yield connection
        connection.execute("RESET ALL")
        connection.execute("DROP CATALOG pd")
        connection.execute("DROP SECRET pd_login")


def explain(connection, sql):
    return "\n".join(row[0] for row in connection.execute("EXPLAIN " + sql).fetchall())


def sent(connection, sql):
    lines = explain(connection, sql).split("\n")
    return [line.split(" is sent: ")[1].replace("`", '"') for line in lines if " is sent: " in line]


SAME = [
    "SELECT count(*) FROM {t}",
    "SELECT count(name), count(day), count(price) FROM {t}",
    "SELECT sum(small), sum(big), sum(price), sum(id) FROM {t}",
    "SELECT min(small), max(big), min(price), max(day), min(at), max(at) FROM {t}",
    "SELECT sum(big) FROM {t} WHERE id < 0",
    "SELECT count(*), sum(price) FROM {t} WHERE name = 'a'",
    "SELECT grp, count(*), sum(price), max(day) FROM {t} GROUP BY grp",
    "SELECT name, count(*) FROM {t} GROUP BY name",
    "SELECT code, small, count(*), min(price) FROM {t} GROUP BY code, small",
    "SELECT DISTINCT name FROM {t}",
    "SELECT DISTINCT code, grp FROM {t}",
    "SELECT count(DISTINCT name), count(DISTINCT day) FROM {t}",
    "SELECT grp, sum(price) AS total FROM {t} WHERE small IS NOT NULL GROUP BY grp HAVING sum(price) > 100 AND grp <> 2",
    "SELECT day, count(*) AS n FROM {t} GROUP BY day HAVING count(*) > 1",
    "SELECT name, max(price) FROM {t} GROUP BY name HAVING name IN ('a', 'A', 'a ')",
    "SELECT l.label, count(*), sum(t.price) FROM {t} t JOIN {g} l ON t.grp = l.id GROUP BY l.label",
    "SELECT t.id, l.label FROM {t} t LEFT JOIN {g} l ON t.grp = l.id WHERE t.small > 0",
    "SELECT t.id, l.label FROM {t} t RIGHT JOIN {g} l ON t.grp = l.id",
    "SELECT t.id, l.label FROM {t} t FULL JOIN {g} l ON t.grp = l.id",
    "SELECT t.id, l.label FROM {t} t LEFT JOIN {g} l ON t.grp = l.id WHERE l.id IS NULL",
    "SELECT a.id, b.id FROM {t} a JOIN {t} b ON a.id = b.id AND a.grp = b.grp WHERE b.name = 'A'",
    "SELECT count(*) FROM (SELECT grp FROM {t} WHERE id < 30 GROUP BY grp) s",
    "SELECT sum(price * (1 - price)), sum(price * id), min(price + id), max(price * 1.25), count(price * small) FROM {t}",
    "SELECT grp, sum(price * id) AS a, avg(price * id), sum(price * small) FILTER (WHERE id > 7), sum(id + 1), max(-id), min(id - grp * 2) FROM {t} GROUP BY grp",
    "SELECT sum(s.total), count(*) FROM (SELECT grp, price * id AS total FROM {t} WHERE small IS NOT NULL) s WHERE s.grp > 1",
    "SELECT price * 2 AS twice, count(*) FROM {t} GROUP BY price * 2",
    "SELECT DISTINCT grp + 1 FROM {t}",
    "SELECT avg(id), avg(small), avg(big), avg(grp) FILTER (WHERE small > 0), avg(id + 1), avg(big) FILTER (WHERE id < 0) FROM {t}",
    "SELECT grp, avg(big), avg(small) FROM {t} GROUP BY grp HAVING avg(id) > 20",
    "SELECT l.label, sum(t.price * t.id) FROM {t} t JOIN {g} l ON t.grp = l.id GROUP BY l.label",
    "SELECT a.id, b.n, c.label FROM {t} a JOIN (VALUES (1, 10), (2, 20), (3, 30)) b(small, n) ON a.small = b.small JOIN {g} c ON a.grp = c.id",
    "SELECT c.label, sum(b.n), avg(a.price) FROM (VALUES (1, 10), (2, 20), (3, 30)) b(small, n) JOIN {t} a ON a.small = b.small JOIN {g} c ON c.id = a.grp GROUP BY c.label",
    "SELECT avg(price), count(*), sum(price) FROM {t}",
    "SELECT grp, avg(price), avg(id) FROM {t} GROUP BY grp",
    "SELECT grp, avg(price) AS a, avg(price) + 1 AS b, max(day) FROM {t} WHERE id > 3 GROUP BY grp HAVING avg(price) > 20",
    "SELECT avg(price) FROM {t} WHERE id < 0",
    "SELECT avg(price) FILTER (WHERE small > 0), avg(price) FILTER (WHERE id < 0) FROM {t}",
    "SELECT count(*) FILTER (WHERE name = 'a'), count(name) FILTER (WHERE id > 5), count(*) FROM {t}",
    "SELECT grp, sum(price) FILTER (WHERE small IS NOT NULL), sum(big) FILTER (WHERE day > DATE '2026-06-01') FROM {t} GROUP BY grp",
    "SELECT min(price) FILTER (WHERE small > 0), max(day) FILTER (WHERE small = 1), min(small) FILTER (WHERE id > 7), "
    "max(at) FILTER (WHERE id < 9), max(big) FILTER (WHERE small < 0) FROM {t}",
    "SELECT min(name) FILTER (WHERE id > 3), max(code) FILTER (WHERE name LIKE 'a%') FROM {t}",
    "SELECT count(*) FILTER (WHERE small > 0 OR small IS NULL), count(*) FILTER (WHERE NOT (small > 0)) FROM {t}",
    "SELECT id, name FROM {t} WHERE grp IN (SELECT id FROM {g})",
    "SELECT id, name FROM {t} WHERE small IN (SELECT id FROM {g} WHERE label <> 'one')",
    "SELECT id FROM {t} t WHERE EXISTS (SELECT 1 FROM {g} g WHERE g.id = t.small)",
    "SELECT id FROM {t} t WHERE NOT EXISTS (SELECT 1 FROM {g} g WHERE g.id = t.small)",
    "SELECT id FROM {t} WHERE small NOT IN (SELECT id FROM {g})",
    "SELECT id FROM {t} WHERE id NOT IN (SELECT small FROM {t})",
    "SELECT id FROM {t} WHERE id NOT IN (SELECT small FROM {t} WHERE small IS NOT NULL)",
    "SELECT id, label FROM {g} WHERE id IN (SELECT grp FROM {t})",
    "SELECT id, label FROM {g} g WHERE NOT EXISTS (SELECT 1 FROM {t} t WHERE t.grp = g.id AND t.name = 'a')",
    "SELECT count(*) FROM {t} WHERE grp IN (SELECT id FROM {g}) AND id > 10",
    "SELECT name, sum(price) FROM {t} WHERE grp IN (SELECT id FROM {g}) GROUP BY name",
    "SELECT id FROM {t} WHERE name IN (SELECT name FROM {t} WHERE id < 4)",
]
# By unique keys, so that the rows are certain.
ORDERED = [
    "SELECT id, name FROM {t} ORDER BY id LIMIT 5",
    "SELECT id, name FROM {t} ORDER BY name DESC, id LIMIT 12",
    "SELECT id, name FROM {t} ORDER BY name NULLS FIRST, id DESC LIMIT 9 OFFSET 3",
    "SELECT id, price FROM {t} ORDER BY price DESC NULLS LAST, id LIMIT 7",
    "SELECT id, price * id AS total FROM {t} ORDER BY price * id DESC NULLS LAST, id LIMIT 7",
    "SELECT id FROM {t} ORDER BY id + grp * 100 LIMIT 7",
    "SELECT id, code FROM {t} WHERE small >= 0 ORDER BY code, day DESC, id LIMIT 11",
    "SELECT grp, sum(price) AS total FROM {t} GROUP BY grp ORDER BY total DESC, grp LIMIT 3",
    "SELECT t.id, l.label FROM {t} t JOIN {g} l ON t.grp = l.id ORDER BY t.at DESC, t.id LIMIT 4",
]


@pytest.mark.parametrize("sql", SAME + ORDERED)
def test_rows_are_the_same_whoever_computes(connection, sql):
    sql = sql.format(t=f"pd.{connection.schema}.pushed", g=f"pd.{connection.schema}.pushed_groups")
    order = (lambda rows: rows) if sql.endswith(tuple("0123456789")) and "ORDER BY" in sql else lambda rows: sorted(rows, key=repr)
    pushed = connection.execute(sql).fetchall()
    connection.execute("SET pd.pushdown = off")
    local = connection.execute(sql).fetchall()
    connection.execute("RESET pd.pushdown")
    assert order(pushed) == order(local)
    connection.execute("SET verify_pushdown = 'all'")
    verified = connection.execute(sql).fetchall()
    connection.execute("RESET verify_pushdown")
    assert order(verified) == order(local)


@pytest.mark.parametrize("sql,wanted", [
    ("SELECT count(*) FROM {t}", ["count(*)"]),
    ("SELECT grp, sum(price) FROM {t} WHERE id > 3 GROUP BY grp", ["sum(\"price\")", "GROUP BY", "WHERE \"id\" > 3"]),
    ("SELECT grp, sum(price) FROM {t} GROUP BY grp HAVING grp > 2", ["GROUP BY", "\"grp\" > 2"]),
    ("SELECT grp, sum(price) FROM {t} GROUP BY grp HAVING sum(price) > 100 AND count(*) > 2", ["GROUP BY", "\"sum\" > ", "\"count\" > 2"]),
    ("SELECT sum(price * (1 - price)) FROM {t}", ["sum(", " * (", " - "]),
    ("SELECT grp, sum(price * id) FILTER (WHERE id > 3) FROM {t} GROUP BY grp", ["sum(CASE WHEN", " * ", "GROUP BY"]),
    ("SELECT max(total) FROM (SELECT price * id AS total FROM {t} WHERE id > 3) s", ["max(", " * ", "\"id\" > 3"]),
    ("SELECT id, price FROM {t} ORDER BY price * 2 DESC LIMIT 3", ["ORDER BY", " * ", "LIMIT 3"]),
    ("SELECT avg(id), avg(big), avg(id + 1) FROM {t}", ["sum(\"big\")", "count(\"id\")", "count(\"number"]),
    ("SELECT grp, avg(price) FROM {t} GROUP BY grp", ["sum(\"price\")", "count(\"price\")", "GROUP BY"]),
    ("SELECT grp, count(*) FILTER (WHERE id > 3) FROM {t} GROUP BY grp", ["count(CASE WHEN ", "\"id\" > 3", "GROUP BY"]),
    ("SELECT max(day) FILTER (WHERE id > 3) FROM {t}", ["max(CASE WHEN \"id\" > 3 THEN \"day\" END)"]),
    ("SELECT id FROM {t} WHERE grp IN (SELECT id FROM {g})", [" WHERE EXISTS (SELECT 1 FROM "]),
    ("SELECT id FROM {t} t WHERE NOT EXISTS (SELECT 1 FROM {g} g WHERE g.id = t.grp)", [" WHERE NOT EXISTS (SELECT 1 FROM "]),
    ("SELECT name, count(*) FROM {t} WHERE grp IN (SELECT id FROM {g} WHERE id > 0) GROUP BY name", ["EXISTS", "GROUP BY", "\"id\" > 0"]),
    ("SELECT DISTINCT day FROM {t}", ["GROUP BY"]),
    ("SELECT id FROM {t} ORDER BY day LIMIT 3", ["ORDER BY", "LIMIT 3"]),
    ("SELECT t.id, l.label FROM {t} t JOIN {g} l ON t.grp = l.id", [" JOIN "]),
    ("SELECT l.label, count(*) FROM {t} t JOIN {g} l ON t.grp = l.id GROUP BY l.label ORDER BY count(*) DESC LIMIT 2",
     [" JOIN ", "GROUP BY", "ORDER BY", "LIMIT 2"]),
])
def test_one_query_is_sent(connection, sql, wanted):
    sql = sql.format(t=f"pd.{connection.schema}.pushed", g=f"pd.{connection.schema}.pushed_groups")
    queries = sent(connection, sql)
    assert len(queries) == 1, explain(connection, sql)
    # SQLite keeps decimals as doubles and dates as texts, so that it computes with neither; a mean would need sums that cannot run over.
    if connection.kind == "sqlite" and any(word in sql for word in ("price", "total", "day", "avg(")):
        assert not any(step in queries[0] for step in ("GROUP BY", "sum(", "max(", "count(", "ORDER BY")), queries
        return
    assert all(part in queries[0] for part in wanted), queries


@pytest.mark.parametrize("sql,unwanted", [
    # Sums of floats depend on the order of rows; what could run over is computed here; a join that could multiply rows too.
    ("SELECT sum(price / 2) FROM {t}", "sum("),
    ("SELECT sum(id * id) FROM {t}", "sum("),
    ("SELECT sum(big * 2) FROM {t} WHERE id < 0", "sum("),
    ("SELECT sum(price::float8) FROM {t}", "sum("),
    ("SELECT grp, count(*) FILTER (WHERE upper(name) = 'A') FROM {t} GROUP BY grp", "count("),
    # One NULL among the small ones, and no row is certain.
    ("SELECT id FROM {t} WHERE id NOT IN (SELECT small FROM {t})", "EXISTS"),
    ("SELECT upper(name), count(*) FROM {t} GROUP BY upper(name)", "GROUP BY"),
    ("SELECT a.id FROM {t} a JOIN {t} b ON a.grp = b.grp", "JOIN"),
    ("SELECT id FROM {t} WHERE upper(name) = 'A' ORDER BY id LIMIT 3", "LIMIT"),
])
def test_the_rest_stays(connection, sql, unwanted):
    sql = sql.format(t=f"pd.{connection.schema}.pushed", g=f"pd.{connection.schema}.pushed_groups")
    queries = sent(connection, sql)
    assert queries and not any(unwanted in query for query in queries), queries


def test_tables_that_are_written_apart_are_joined_first(connection):
    """The rows of another place stand between two tables of the database."""
    t, g = f"pd.{connection.schema}.pushed", f"pd.{connection.schema}.pushed_groups"
    other = "(VALUES (1, 10), (2, 20), (3, 30))"
    for sql in [
        f"SELECT a.id, b.n, c.label FROM {t} a JOIN {other} b(small, n) ON a.small = b.small JOIN {g} c ON a.grp = c.id",
        f"SELECT a.id, b.n, c.label FROM {g} c JOIN ({other} b(small, n) JOIN {t} a ON a.small = b.small) ON a.grp = c.id",
        f"SELECT a.id, b.n, c.label FROM {t} a, {other} b(small, n), {g} c WHERE a.small = b.small AND a.grp = c.id",
    ]:
        queries = sent(connection, sql)
        assert len(queries) == 1 and " JOIN " in queries[0], explain(connection, sql)


def test_native_queries_may_speak_of_anything(connection):
    """What a literal holds is no business of the rules for PostgreSQL's own catalogs."""
    own = "SELECT pg_backend_pid() > 0 AS own" if connection.kind == "postgres" else "SELECT 'pg_class' AS own"
    assert connection.execute(f"SELECT count(*) FROM pd.query($$ {own} $$)").fetchone() == (1,)


@pytest.mark.parametrize("sql,what,why", [
    ("SELECT sum(price / 2) FROM {t}", "aggregate of", "is an expression that is not sent"),
    ("SELECT upper(name), count(*) FROM {t} GROUP BY upper(name)", "aggregate of", "upper"),
    ("SELECT grp, count(*) FROM {t} WHERE upper(name) = 'A' GROUP BY grp", "aggregate of", "filters below it are kept"),
    ("SELECT DISTINCT lower(code) FROM {t}", "DISTINCT of", "lower"),
    ("SELECT id FROM {t} WHERE upper(name) = 'A' ORDER BY id LIMIT 3", "order with a limit of", "filters below it are kept"),
    ("SELECT id FROM {t} ORDER BY id / 2 LIMIT 3", "order with a limit of", "id"),
    ("SELECT a.id, b.id FROM {t} a JOIN {t} b ON a.grp = b.grp", "join of a and b", "no unique key of either side"),
    ("SELECT a.id, b.label FROM {t} a JOIN {g} b ON a.grp = b.id AND a.name < b.label", "join of a and b", "a condition besides equal columns"),
    ("SELECT a.id, b.label FROM {t} a LEFT JOIN {g} b ON a.grp + 1 = b.id", "join of a and b", "is an expression"),
])
def test_explain_says_why_something_stays(connection, sql, what, why):
    sql = sql.format(t=f"pd.{connection.schema}.pushed", g=f"pd.{connection.schema}.pushed_groups")
    text = explain(connection, sql)
    kept = text.split("Stays in the engine:")[1]
    assert any(what in line and why in line for line in kept.split("\n")), text


def test_explain_says_that_pushdown_is_off(connection):
    table = f"pd.{connection.schema}.pushed"
    connection.execute("SET pd.pushdown = off")
    text = explain(connection, f"SELECT grp, count(*) FROM {table} GROUP BY grp")
    connection.execute("RESET pd.pushdown")
    assert f"aggregate of {table}: pushdown is off" in text, text
    # What is sent does not stay.
    for sql in ["SELECT grp, count(*) FROM {t} GROUP BY grp", "SELECT id FROM {t} ORDER BY id LIMIT 3"]:
        assert "Stays in the engine" not in explain(connection, sql.format(t=table))


def test_what_mysql_has_and_maru_has_not_is_not_passed_over(server):
    import pymysql
    url = urllib.parse.urlsplit(os.environ["MARU_TEST_MYSQL"])
    database = url.path.strip("/")
    with pymysql.connect(host=url.hostname, port=url.port, user=url.username, password=url.password, database=database,
                         autocommit=True) as direct, direct.cursor() as cursor:
        for statement in [
            "SET sql_mode = ''", "DROP TABLE IF EXISTS pushed_odd",
            "CREATE TABLE pushed_odd (id int PRIMARY KEY, d date, t time, b tinyint(1), n decimal(40,2), z date NOT NULL DEFAULT '0000-00-00')",
            "INSERT INTO pushed_odd (id, d, t, b, n) VALUES (1, '0000-00-00', '30:00:00', 2, 99999999999999999999999999999999999999), (2, '2026-01-01', '10:00:00', 1, 1), (3, NULL, NULL, NULL, NULL)",
        ]:
            cursor.execute(statement)
        with server.connect() as connection:
            connection.execute(f"CREATE CATALOG odd_mysql USING mysql WITH (url = 'mysql://{url.hostname}:{url.port}', user = '{url.username}', password = '{url.password}')")
            try:
                odd = f"odd_mysql.{database}.pushed_odd"
                for sql, state in [
                    (f"SELECT count(d) FROM {odd}", "22007"), (f"SELECT count(DISTINCT d) FROM {odd}", "22007"), (f"SELECT count(t) FROM {odd}", "22007"),
                    (f"SELECT count(z) FROM {odd} WHERE id = 1", "22007"), (f"SELECT count(b) FROM {odd}", "22003"), (f"SELECT count(n) FROM {odd}", "22003"), (f"SELECT count(*) FROM {odd} WHERE n > 0", "22003"),
                    (f"SELECT a.id FROM {odd} a JOIN {odd} b ON a.id = b.id AND a.d = b.d", "22007"),
                ]:
                    for pushdown in ["on", "off"]:
                        connection.execute(f"SET pushdown = {pushdown}")
                        with pytest.raises(psycopg.Error) as error:
                            connection.execute(sql)
                        assert error.value.sqlstate == state, (sql, pushdown, error.value)
                connection.execute("SET pushdown = on")
                assert connection.execute(f"SELECT count(d), count(t), count(b), count(n), count(*) FROM {odd} WHERE id > 1").fetchall() == [(1, 1, 1, 1, 2)]
            finally:
                connection.execute("RESET pushdown")
                connection.execute("DROP CATALOG odd_mysql")
        cursor.execute("DROP TABLE pushed_odd")
