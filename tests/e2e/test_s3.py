"""S3 as companies run it: with certificates of their own, temporary keys, buckets in the name of the host, and limits."""

import http.server
import os
import threading
import time
import urllib.parse

import boto3
import psycopg
import pyarrow
import pytest
from seeding import data, storage

from certificates import server_keys
from http_faults import HttpFaults
from tls_front import TlsFront

pytestmark = pytest.mark.services

KEYS = ("access_key_id = '{MARU_TEST_S3_ACCESS_KEY}', secret_access_key = '{MARU_TEST_S3_SECRET_KEY}'").format(
    **{name: os.environ.get(name, "") for name in ["MARU_TEST_S3_ACCESS_KEY", "MARU_TEST_S3_SECRET_KEY"]})
CALLS = sum(table.num_rows for table in data.call_log().values())


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return server_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def front(keys):
    url = urllib.parse.urlsplit(os.environ["MARU_TEST_S3"])
    front = TlsFront((url.hostname, url.port), keys)
    yield front
    front.close()


@pytest.fixture
def attach(connection):
    """Attaches catalogs of buckets, and drops them again."""
    names = []

    def attach(name, options):
        connection.execute(f"CREATE CATALOG {name} USING s3 WITH ({options})")
        names.append(name)

    yield attach
    for name in names:
        connection.execute(f"DROP CATALOG {name}")


def test_a_certificate_of_ones_own(connection, attach, front, keys):
    attach("s3_tls", f"endpoint = 'https://127.0.0.1:{front.port}', bucket = 'weblogs', ca_file = '{keys / 'ca.crt'}', {KEYS}")
    assert connection.execute('SELECT id, name FROM s3_tls.csv."part-0" ORDER BY id').fetchall() == [(1, "one"), (2, None), (3, "three, 3")]
    assert connection.execute("SELECT count(*) FROM 's3://weblogs/csv/'").fetchone() == (3,)


@pytest.mark.parametrize("host,ca_file", [("127.0.0.1", None), ("127.0.0.1", "other.crt"), ("localhost", "ca.crt")])
def test_a_certificate_that_is_not_trusted(connection, front, keys, host, ca_file):
    ca = f"ca_file = '{keys / ca_file}', " if ca_file else ""
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(f"CREATE CATALOG s3_bad USING s3 WITH (endpoint = 'https://{host}:{front.port}', bucket = 'weblogs', {ca}{KEYS})")
    told = caught.value.diag
    assert told.sqlstate == "HV00N", (told.sqlstate, told.message_primary)
    assert told.message_primary == f'the certificate of "https://{host}:{front.port}" is not trusted', told.message_primary
    assert "ca_file" in told.message_hint, told.message_hint


@pytest.mark.parametrize("file,words", [("nothing.crt", "cannot read"), ("server.key", "no PEM certificates in")])
def test_a_file_without_certificates(connection, front, keys, file, words):
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(f"CREATE CATALOG s3_bad USING s3 WITH (endpoint = 'https://127.0.0.1:{front.port}', bucket = 'weblogs', "
                           f"ca_file = '{keys / file}', {KEYS})")
    told = caught.value.diag
    assert told.sqlstate == "HV024" and words in told.message_primary and file in told.message_primary, told.message_primary


class Recorder:
    """A server that speaks as much of S3 as a bucket with one small file takes, and keeps what it is asked."""

    BODY = b"id\n1\n2\n3\n"
    NOTHING = (b'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>logs</Name><Prefix></Prefix>'
               b"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>")
    LISTING = NOTHING.replace(
        b"</ListBucketResult>", b"<Contents><Key>t.csv</Key><LastModified>2026-11-01T00:00:00.000Z</LastModified><ETag>\"e\"</ETag><Size>9</Size>"
        b"<StorageClass>STANDARD</StorageClass></Contents></ListBucketResult>")

    def __init__(self):
        self.asked = []
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                recorder.asked.append((self.path, dict(self.headers.items())))
                url = urllib.parse.urlsplit(self.path)
                is_object = url.path.endswith("t.csv")
                prefix = urllib.parse.parse_qs(url.query).get("prefix", [""])[0]
                body = recorder.BODY if is_object else recorder.LISTING if "t.csv".startswith(prefix) else recorder.NOTHING
                status = 200
                if is_object and "Range" in self.headers:
                    first, last = self.headers["Range"].removeprefix("bytes=").split("-")
                    first, last = int(first), min(int(last or 8), 8)
                    status, body = 206, body[first:last + 1]
                self.send_response(status)
                if status == 206:
                    self.send_header("Content-Range", f"bytes {first}-{last}/9")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("ETag", '"e"')
                self.send_header("Last-Modified", "Sun, 01 Nov 2026 00:00:00 GMT")
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def headers(self, name):
        """Returns the values of a header, and forgets the requests."""
        asked, self.asked = self.asked, []
        assert asked
        return {{key.lower(): value for key, value in headers.items()}.get(name) for _, headers in asked}

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def recorder():
    recorder = Recorder()
    yield recorder
    recorder.close()


@pytest.fixture
def lent(connection, recorder):
    """A catalog with keys that are lent for some time."""
    connection.execute("CREATE SECRET s3_lent WITH (access_key_id = 'first', secret_access_key = 's', session_token = 'token-1')")
    try:
        connection.execute(f"CREATE CATALOG s3_lent USING s3 WITH (endpoint = 'http://127.0.0.1:{recorder.port}', bucket = 'logs', secret = 's3_lent')")
        yield
        connection.execute("DROP CATALOG s3_lent")
    finally:
        connection.execute("DROP SECRET s3_lent")


def test_temporary_keys_are_sent_and_renewed(connection, recorder, lent):
    """Nobody has to make the catalog anew."""
    assert connection.execute("SELECT id FROM s3_lent.public.t ORDER BY id").fetchall() == [(1,), (2,), (3,)]
    assert recorder.headers("x-amz-security-token") == {"token-1"}
    connection.execute("CREATE OR REPLACE SECRET s3_lent WITH (access_key_id = 'second', secret_access_key = 's', session_token = 'token-2')")
    connection.execute("ALTER CATALOG s3_lent SET (secret = 's3_lent')")
    assert connection.execute("SELECT sum(id) FROM s3_lent.public.t").fetchone() == (6,)
    asked = recorder.asked
    assert recorder.headers("x-amz-security-token") == {"token-2"}
    assert all("Credential=second/" in headers["authorization"] for _, headers in asked)
    assert connection.execute("SELECT count(*) FROM 's3://logs/t.csv'").fetchone() == (3,)
    assert recorder.headers("x-amz-security-token") == {"token-2"}
    shown = str([connection.execute(sql).fetchall() for sql in ["SHOW SECRETS", "SHOW CATALOGS", "SELECT * FROM system.queries"]])
    assert "token-1" not in shown and "token-2" not in shown


def test_the_bucket_in_the_path_or_in_the_host(start, recorder):
    """As if it were a proxy, the recorder is asked for hosts that no name server knows."""
    server = start(environment={"http_proxy": f"http://127.0.0.1:{recorder.port}"})
    with server.connect() as connection:
        for name, endpoint, path_style, host, path in [
            ("by_path", "http://s3.example:9000", "true", "s3.example:9000", "http://s3.example:9000/logs"),
            ("by_host", "http://s3.example:9000", "false", "logs.s3.example:9000", "http://logs.s3.example:9000/"),
            ("named_already", "http://logs.s3.example", "false", "logs.s3.example", "http://logs.s3.example/"),
        ]:
            connection.execute(f"CREATE CATALOG {name} USING s3 WITH (endpoint = '{endpoint}', bucket = 'logs', path_style = {path_style}, "
                               "access_key_id = 'a', secret_access_key = 'b')")
            assert connection.execute(f"SELECT sum(id) FROM {name}.public.t").fetchone() == (6,)
            paths = {asked.split("?")[0].removesuffix("t.csv").rstrip("/") for asked, _ in recorder.asked}
            assert paths == {path.rstrip("/")}, paths
            assert recorder.headers("host") == {host}
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(f"CREATE CATALOG by_number USING s3 WITH (endpoint = 'http://127.0.0.1:{recorder.port}', bucket = 'logs', path_style = false)")
        assert caught.value.diag.sqlstate == "HV024" and "path_style" in caught.value.diag.message_hint


FILES = 40


@pytest.fixture(scope="module")
def many_files():
    client = boto3.client("s3", endpoint_url=os.environ["MARU_TEST_S3"], aws_access_key_id=os.environ["MARU_TEST_S3_ACCESS_KEY"],
                          aws_secret_access_key=os.environ["MARU_TEST_S3_SECRET_KEY"], region_name="us-east-1")
    if "limits" not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket="limits")
    for number in range(FILES):
        ids = list(range(number * 1000, number * 1000 + 1000))
        table = pyarrow.table({"id": pyarrow.array(ids, "int64"), "pad": [f"{i * 7919:100d}" for i in ids]})
        client.put_object(Bucket="limits", Key=f"parquet/{number:02}.parquet", Body=storage.parquet_bytes(table, row_group_size=250))
        text = "id,pad\n" + "".join(f"{i},{i * 7919:100d}\n" for i in ids)
        client.put_object(Bucket="limits", Key=f"csv/{number:02}.csv", Body=text.encode())


@pytest.fixture
def counted(many_files):
    faults = HttpFaults(os.environ["MARU_TEST_S3"])
    # Long enough for what may overlap to do so.
    faults.mode = lambda method, path: 0.02
    yield faults
    faults.close()


TOTAL = (FILES * 1000, sum(range(FILES * 1000)), max(range(FILES * 1000)))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("limit", [None, 4, 1])
def test_requests_that_are_open_at_once(connection, attach, counted, limit):
    options = f", max_requests = {limit}" if limit else ""
    attach("s3_limits", f"endpoint = '{counted.url}', bucket = 'limits', layout = 'tables'{options}, {KEYS}")
    # Readers that wait for each other would wait for ever.
    connection.execute("SET statement_timeout = '180s'")
    if not limit:
        # For a client that is slow to ask, too.
        counted.mode = lambda method, path: 0.06
    for table in ["parquet", "csv"]:
        sql = f"SELECT count(*), sum(id), max(id) FROM s3_limits.public.{table} WHERE pad IS NOT NULL"
        assert connection.execute(sql).fetchone() == TOTAL
    # Readers that wait for each other: a merge of two tables that come in their order, one file after the other.
    sql = ("SELECT count(*) FROM (SELECT id FROM s3_limits.public.csv ORDER BY id) a JOIN (SELECT id FROM s3_limits.public.parquet ORDER BY id) b "
           "USING (id) WHERE a.id % 2 = 0")
    assert connection.execute(sql).fetchone() == (FILES * 500,)
    if limit:
        assert counted.most <= limit, counted.most
    else:
        assert counted.most > 4, "without a limit as many as want to"


def test_how_often_a_request_is_sent_again(connection, attach, counted):
    sql = "SELECT count(*), sum(id), max(id) FROM {}.public.parquet WHERE pad IS NOT NULL"
    for name, options in [("s3_patient", ""), ("s3_curt", ", max_retries = 0"), ("s3_hasty", ", max_retries = 100, retry_timeout = '1s'")]:
        attach(name, f"endpoint = '{counted.url}', bucket = 'limits', layout = 'tables'{options}, {KEYS}")
    counted.sometimes(503, 0.2)
    assert connection.execute(sql.format("s3_patient")).fetchone() == TOTAL
    assert counted.n_faults > 0
    counted.mode = lambda method, path: 503
    for name, requests, seconds in [("s3_curt", 3, 20), ("s3_hasty", 60, 60)]:
        counted.n_requests = 0
        began = time.monotonic()
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(sql.format(name))
        told = caught.value.diag
        assert told.sqlstate == "HV000" and "503" in told.message_primary, (told.sqlstate, told.message_primary)
        assert counted.n_requests <= requests and time.monotonic() - began < seconds, (counted.n_requests, time.monotonic() - began)
    counted.mode = lambda method, path: None
    assert connection.execute(sql.format("s3_curt")).fetchone() == TOTAL


@pytest.mark.parametrize("option,value", [("max_requests", 0), ("max_requests", 10001), ("max_retries", -1), ("max_retries", 101)])
def test_limits_out_of_range(connection, option, value):
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(f"CREATE CATALOG s3_bad USING s3 WITH (endpoint = '{os.environ['MARU_TEST_S3']}', bucket = 'limits', {option} = {value}, {KEYS})")
    told = caught.value.diag
    assert told.sqlstate == "HV024" and option in told.message_primary and "Give a number from" in told.message_hint, told.message_primary
