"""What a catalog holds is given back when it is dropped: descriptors and threads of the server, sessions in the database."""

import os
import pathlib
import time
import urllib.parse

import psycopg
import pytest

pytestmark = pytest.mark.services

# The runtime keeps an idle thread for blocking calls for ten seconds.
PATIENCE_S = 90


def held(server):
    """Descriptors, sockets among them, threads; without those of the server's own metadata, whose pool grows with use."""
    process = pathlib.Path(f"/proc/{server.process.pid}")
    links, threads = [], 0
    for entry in (process / "fd").iterdir():
        try:
            links.append(os.readlink(entry))
        except FileNotFoundError:
            pass
    for entry in (process / "task").iterdir():
        try:
            threads += not (entry / "comm").read_text().startswith("sqlx-sqlite")
        except FileNotFoundError:
            pass
    links = [link for link in links if not link.startswith(str(server.data_dir))]
    return len(links), sum(link.startswith("socket:") for link in links), threads


def sources(folder):
    pg, mysql = (urllib.parse.urlsplit(os.environ[name]) for name in ("MARU_TEST_PG", "MARU_TEST_MYSQL"))
    (folder / "s").mkdir(exist_ok=True)
    (folder / "s" / "t.csv").write_text("a,b\n1,x\n2,y\n")
    return [
        (f"postgres WITH (url = 'postgres://{pg.hostname}:{pg.port}{pg.path}', user = '{pg.username}', password = '{pg.password}')",
         "public.customers"),
        (f"mysql WITH (url = 'mysql://{mysql.hostname}:{mysql.port}{mysql.path}', user = '{mysql.username}', password = '{mysql.password}')",
         "shop.customers"),
        (f"hdfs WITH (url = '{os.environ['MARU_TEST_HDFS']}/data')", None),
        (f"hive WITH (metastore = '{os.environ['MARU_TEST_HMS3']}')", "demo.log"),
        (f"hive WITH (metastore = '{os.environ['MARU_TEST_HMS4']}')", "demo.log"),
        (f"s3 WITH (endpoint = '{os.environ['MARU_TEST_S3']}', bucket = 'weblogs', "
         f"access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}')", None),
        (f"file WITH (path = '{folder}')", "s.t"),
    ]


def attach_read_and_drop(connection, server, folder):
    """Returns what the server held while all was attached."""
    attached = sources(folder)
    for number, (source, table) in enumerate(attached):
        connection.execute(f"CREATE CATALOG gone_{number} USING {source}")
        if table is not None:
            assert connection.execute(f"SELECT count(*) FROM gone_{number}.{table}").fetchone()[0] > 0
        connection.execute(f"SELECT * FROM system.schemas WHERE catalog = 'gone_{number}'").fetchall()
    most = held(server)
    for number in range(len(attached)):
        connection.execute(f"DROP CATALOG gone_{number}")
    return most


def test_drop_catalog_gives_everything_back(start, tmp_path):
    server = start()
    with server.connect() as connection:
        # What is made once for the whole process is made now.
        attach_read_and_drop(connection, server, tmp_path)
        time.sleep(12)
        before = held(server)
        for _ in range(3):
            # Idle connections to a DataNode are kept for three seconds, for whoever comes next.
            time.sleep(4)
            during = attach_read_and_drop(connection, server, tmp_path)
        assert during[1] > before[1], "no source held a connection: the test measures nothing"
        deadline = time.monotonic() + PATIENCE_S
        while any(now > then for now, then in zip(held(server), before)) and time.monotonic() < deadline:
            time.sleep(0.5)
        after = held(server)
        assert all(now <= then for now, then in zip(after, before)), \
            f"descriptors, sockets, threads: {before} before, {during} attached, {after} after"
    with psycopg.connect(os.environ["MARU_TEST_PG"]) as direct:
        deadline = time.monotonic() + PATIENCE_S
        while direct.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name ILIKE 'maru%'").fetchone() != (0,):
            assert time.monotonic() < deadline, "sessions are left in PostgreSQL"
            direct.rollback()
            time.sleep(0.5)
