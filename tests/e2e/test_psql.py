"""psql, as people type into it."""

import os
import signal
import subprocess
import time


def test_rows_and_row_count(server):
    done = server.psql("-c", "SELECT 1 AS one, 'zwei' AS two")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout == " one | two  \n-----+------\n   1 | zwei\n(1 row)\n\n"


def test_unaligned_output(server):
    assert server.psql("-Atc", "SELECT 1, NULL, true, 1.50").stdout == "1||t|1.50\n"


def test_error_text_position_and_exit_code(server):
    done = server.psql("-c", "SELECT * FROM no_such_table")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0].startswith("ERROR:  ") and "no_such_table" in lines[0]
    assert lines[1:3] == ["LINE 1: SELECT * FROM no_such_table", "                      ^"]


def test_script_stops_at_an_error_when_told(server):
    script = "SELECT 1;\nSELECT * FROM no_such_table;\nSELECT 3;\n"
    done = server.psql("-At", "-v", "ON_ERROR_STOP=1", "-f", "-", stdin=script)
    assert done.returncode == 3 and done.stdout == "1\n"
    done = server.psql("-At", "-f", "-", stdin=script)
    assert done.returncode == 0 and done.stdout == "1\n3\n"


def test_wrong_password(server):
    done = server.psql("-c", "SELECT 1", password="wrong")
    assert done.returncode == 2 and "password authentication failed" in done.stderr


def test_describe_commands(server):
    server.psql("-c", "CREATE SCHEMA IF NOT EXISTS e2e_psql", "-c", "CREATE VIEW e2e_psql.numbers AS SELECT 1 AS n, 'x' AS t")
    try:
        done = server.psql("-c", r"\dv e2e_psql.*")
        assert done.returncode == 0 and "numbers" in done.stdout, done.stderr
        done = server.psql("-c", r"\d e2e_psql.numbers")
        assert done.returncode == 0, done.stderr
        assert [line.split("|")[0].strip() for line in done.stdout.splitlines()[3:5]] == ["n", "t"]
        done = server.psql("-c", r"\dt *.*")
        assert done.returncode == 0 and "ERROR" not in done.stderr, done.stderr
        done = server.psql("-c", r"\d")
        assert done.returncode == 0 and "ERROR" not in done.stderr, done.stderr
        done = server.psql("-Atc", r"\l")
        assert done.returncode == 0 and "maru" in [line.split("|")[0] for line in done.stdout.splitlines()], done.stderr
        done = server.psql("-Atc", r"\dn")
        assert done.returncode == 0 and "e2e_psql" in [line.split("|")[0] for line in done.stdout.splitlines()], done.stderr
        done = server.psql("-c", r"\d no_such_table")
        assert 'Did not find any relation named "no_such_table"' in done.stderr
    finally:
        server.psql("-c", "DROP VIEW e2e_psql.numbers", "-c", "DROP SCHEMA e2e_psql")


def test_access_privileges_and_functions(server):
    table = "e2e_acl.numbers"
    server.psql("-c", "CREATE SCHEMA e2e_acl", "-c", f"CREATE VIEW {table} AS SELECT 1 AS n, 'x' AS t", "-c", "CREATE ROLE acl_reader",
                "-c", 'CREATE ROLE "acl writer"')
    try:
        done = server.psql("-Atc", rf"\dp {table}")
        assert done.stdout == "e2e_acl|numbers|view|||\n", done.stdout + done.stderr
        server.psql("-c", f"GRANT SELECT ON {table} TO acl_reader WITH GRANT OPTION", "-c", f'GRANT INSERT, UPDATE ON {table} TO "acl writer"',
                    "-c", f"GRANT SELECT ON {table} TO PUBLIC", "-c", f"GRANT SELECT (n) ON {table} TO acl_reader")
        done = server.psql("-Atc", rf"\dp {table}")
        assert done.stdout == ("e2e_acl|numbers|view|maru=rawdDxt/maru\n=r/maru\n\"acl writer\"=aw/maru\nacl_reader=r*/maru|"
                               "n:\n  acl_reader=r/maru|\n"), done.stdout + done.stderr
        done = server.psql("-Atc", "SELECT relname, relacl FROM pg_class WHERE relname = 'numbers'")
        assert done.stdout == 'numbers|{maru=rawdDxt/maru,=r/maru,"\\"acl writer\\"=aw/maru",acl_reader=r*/maru}\n', done.stdout + done.stderr
        done = server.psql("-Atc", r"\z e2e_acl.*")
        assert done.returncode == 0 and "acl_reader=r*/maru" in done.stdout, done.stderr
    finally:
        server.psql("-c", "DROP SCHEMA e2e_acl CASCADE", "-c", "DROP ROLE acl_reader", "-c", 'DROP ROLE "acl writer"')
    for command, there in [(r"\df", ""), (r"\df array_length", "array_length"), (r"\df count", "agg"), (r"\dfS sqr*", "sqrt"), (r"\df nosuch", "")]:
        done = server.psql("-Atc", command)
        assert done.returncode == 0 and "ERROR" not in done.stderr and there in done.stdout, (command, done.stdout, done.stderr)


def test_timing_and_expanded_output(server):
    done = server.psql("-f", "-", stdin="\\timing on\n\\x on\nSELECT 1 AS a, 2 AS b;\n")
    assert done.returncode == 0
    assert "-[ RECORD 1 ]" in done.stdout and "a | 1" in done.stdout and "Time: " in done.stdout


def test_many_tables_in_many_catalogs(server, tmp_path):
    """Three thousand tables: describing one asks for its own catalog, from what is known of it."""
    import sqlite3
    names = [f"wide_{n}" for n in range(10)]
    for name in names:
        with sqlite3.connect(tmp_path / f"{name}.db") as database:
            for n in range(300):
                database.execute(f"CREATE TABLE t{n} (id INTEGER PRIMARY KEY, a TEXT, b REAL)")
    with server.connect() as connection:
        for name in names:
            connection.execute(f"CREATE CATALOG {name} USING sqlite WITH (path = '{tmp_path}/{name}.db')")
        try:
            def describe():
                before = time.monotonic()
                done = server.psql("-d", "wide_3", "-c", r"\d t299")
                assert done.returncode == 0 and "id" in done.stdout and "bigint" in done.stdout, done.stdout + done.stderr
                return time.monotonic() - before

            def alone():
                before = time.monotonic()
                server.psql("-c", r"\d no_such_table")
                return time.monotonic() - before

            first, again, least = describe(), min(describe() for _ in range(3)), min(alone() for _ in range(3))
            print(f"\\d of one of 300 tables in ten catalogs: {first * 1000:.0f} ms, then {again * 1000:.0f} ms; with no tables {least * 1000:.0f} ms")
            assert again < 3 * least + 1
            tables = server.psql("-d", "wide_3", "-Atc", r"\dt *.t*").stdout.splitlines()
            assert len(tables) == 300
        finally:
            for name in names:
                connection.execute(f"DROP CATALOG {name}")


def test_what_people_type(server, tmp_path):
    def run(script, *arguments):
        done = server.psql(*arguments, "-f", "-", stdin=script)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        return done.stdout

    assert run("SELECT 7 AS number, 'seven' AS word \\gset its_\nSELECT :its_number + 1, :'its_word';\n", "-At") == "8|seven\n"
    assert run("SELECT 1 \\g\nSELECT 2 \\gx\n", "-At") == "1\n?column?|2\n"
    host, port = server.host_port("pg")
    environment = {**os.environ, "PGPASSWORD": server.password, "PAGER": "cat"}
    with subprocess.Popen(["psql", "-X", "-At", "-h", host, "-p", str(port), "-U", "maru", "-d", "maru", "-c", "SELECT 1", "-f", "-"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        process.stdin.write("SELECT 'again' \\watch 0.1\n")
        process.stdin.close()
        # When the fifth one has been asked, four have been shown.
        deadline = time.monotonic() + 60
        with server.connect() as connection:
            while connection.execute("SELECT count(*) FROM system.queries WHERE sql LIKE 'SELECT ''again''%'").fetchone()[0] < 5:
                assert time.monotonic() < deadline, "it is not asked again"
                time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        text = process.stdout.read()
    assert text.count("again") >= 3, text
    assert run("SELECT 'SELECT ' || n FROM generate_series(1, 3) AS g(n) ORDER BY n \\gexec\n", "-At") == "1\n2\n3\n"
    crossed = run("SELECT a, b, a * b FROM generate_series(1, 2) AS x(a), generate_series(1, 2) AS y(b) ORDER BY 1, 2 \\crosstabview\n", "-At")
    assert crossed == "1|1|2\n2|2|4\n"
    run("CREATE SCHEMA e2e_typed; CREATE TABLE e2e_typed.t (id int, name text); CREATE VIEW e2e_typed.v AS SELECT id FROM e2e_typed.t;\n"
        "COMMENT ON TABLE e2e_typed.t IS 'a table to look at'; COMMENT ON COLUMN e2e_typed.t.name IS 'what it is called';\n", "-q")
    try:
        (tmp_path / "rows.csv").write_text("1,one\n2,\n")
        assert run(f"\\copy e2e_typed.t FROM '{tmp_path}/rows.csv' WITH (FORMAT csv)\n", "-At") == "COPY 2\n"
        assert run(f"\\copy (SELECT * FROM e2e_typed.t ORDER BY id) TO '{tmp_path}/back.csv' WITH (FORMAT csv)\n", "-At") == "COPY 2\n"
        assert (tmp_path / "back.csv").read_text() == "1,one\n2,\n"
        listed = [line.split("|") for line in run("\\dt e2e_typed.*\n\\dn e2e_typed\n", "-At").splitlines()]
        assert listed == [["e2e_typed", "t", "table", "maru"], ["e2e_typed", "maru"]], listed
        described = run("\\d+ e2e_typed.t\n")
        assert "what it is called" in described and "integer" in described
        assert "a table to look at" in run("\\dt+ e2e_typed.*\n")
        assert "SELECT id FROM e2e_typed.t" in " ".join(run("\\d+ e2e_typed.v\n").split())
        assert "SELECT id FROM e2e_typed.t" in " ".join(run("\\sv e2e_typed.v\n").split())
        assert "a table to look at" in run("\\dd e2e_typed.*\n\\d+\nSELECT obj_description('e2e_typed.t'::regclass);\n")
        for command in ["\\du+", "\\l+", "\\dn+", "\\db", "\\dx", "\\dT", "\\do", "\\dC", "\\des", "\\dew", "\\det", "\\di", "\\ds", "\\dm", "\\dg", "\\drds", "\\conninfo",
                        "\\encoding", "\\dL", "\\dt+ e2e_typed.*", "\\dv+ e2e_typed.*", "\\db+", "\\dRp", "\\dRs", "\\dy", "\\dF", "\\dp", "\\ddp", "\\dA",
                        "\\dO", "\\dX", "\\df+", "\\des+", "\\dew+", "\\deu+", "\\det+", "\\dP+", "\\dx+", "\\dC+", "\\dF+", "\\dFd+", "\\dFp+", "\\dFt+", "\\dc+", "\\dAc",
                        "\\dAf", "\\dAo", "\\dAp", "\\da+", "\\dD+"]:
            done = server.psql("-c", command)
            assert "ERROR" not in done.stderr and (done.returncode == 0 or "Did not find any" in done.stderr), (command, done.stderr)
    finally:
        run("DROP SCHEMA e2e_typed CASCADE;\n", "-q")
