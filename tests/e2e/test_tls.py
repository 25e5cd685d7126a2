"""Encryption of the PostgreSQL wire, client certificates, and the Unix socket."""

import os
import subprocess

import psycopg
import pytest

from certificates import authority, certificate


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    authority(folder, "ca")
    authority(folder, "other")
    certificate(folder, "ca", "server", "localhost", "DNS:localhost,IP:127.0.0.1")
    certificate(folder, "ca", "maru", "maru")
    certificate(folder, "ca", "somebody", "somebody")
    certificate(folder, "other", "forged", "maru")
    return folder


@pytest.fixture
def server(start, keys):
    return start(arguments=["--tls-certificate", str(keys / "server.crt"), "--tls-key", str(keys / "server.key"),
                            "--tls-client-ca", str(keys / "ca.crt")])


def encrypted(connection):
    return connection.pgconn.ssl_in_use


def test_encrypted_connections(server, keys):
    root = str(keys / "ca.crt")
    for options in [{"sslmode": "require"}, {"sslmode": "verify-full", "sslrootcert": root},
                    {"sslmode": "verify-full", "sslrootcert": root, "channel_binding": "require"},
                    {"sslmode": "require", "channel_binding": "disable"}]:
        with server.connect(**options) as connection:
            assert encrypted(connection)
            assert connection.execute("SELECT sum(g) FROM generate_series(1, 100000) t(g)").fetchone() == (5000050000,)
    with server.connect(sslmode="disable") as connection:
        assert not encrypted(connection)
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        server.connect(sslmode="verify-full", sslrootcert=str(keys / "other.crt"))
    with pytest.raises(psycopg.OperationalError, match="password"):
        server.connect(sslmode="require", password="wrong")


def test_cancel_and_a_client_that_goes_while_encrypted(server):
    import threading
    import time
    with server.connect(sslmode="require") as connection, server.connect() as other:
        thread = threading.Thread(target=lambda: (server.until_it_runs("SELECT pg_sleep(60)"), connection.cancel_safe(timeout=20)))
        thread.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(60)")
        thread.join()
        sleeper = server.connect(sslmode="require")
        pid = sleeper.info.backend_pid
        sleeper.pgconn.send_query(b"SELECT pg_sleep(90)")
        server.until_it_runs("SELECT pg_sleep(90)")
        sleeper.close()
        deadline = time.monotonic() + 60
        while other.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone() != (0,):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_certificates_of_clients(server, keys):
    def connect(name, **options):
        return server.connect(sslmode="require", sslcert=str(keys / f"{name}.crt"), sslkey=str(keys / f"{name}.key"), **options)

    with connect("maru", password=None) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("maru",)
    with connect("somebody") as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("maru",)
    with pytest.raises(psycopg.OperationalError, match="password"):
        connect("somebody", password="wrong")
    with pytest.raises(psycopg.OperationalError):
        connect("forged", password=None)


def test_a_new_certificate_is_taken_up(server, keys, tmp_path):
    root = str(keys / "other.crt")
    with pytest.raises(psycopg.OperationalError):
        server.connect(sslmode="verify-full", sslrootcert=root)
    (tmp_path / "old.crt").write_bytes((keys / "server.crt").read_bytes())
    (tmp_path / "old.key").write_bytes((keys / "server.key").read_bytes())
    try:
        (keys / "server.crt").write_text("damaged")
        with server.connect(sslmode="verify-full", sslrootcert=str(keys / "ca.crt")) as connection:
            assert encrypted(connection), "a damaged file leaves the old certificate"
        certificate(keys, "other", "server", "localhost", "DNS:localhost,IP:127.0.0.1")
        with server.connect(sslmode="verify-full", sslrootcert=root) as connection:
            assert encrypted(connection)
    finally:
        (keys / "server.crt").write_bytes((tmp_path / "old.crt").read_bytes())
        (keys / "server.key").write_bytes((tmp_path / "old.key").read_bytes())


def test_certificate_without_its_key_is_refused(keys, tmp_path):
    done = subprocess.run([os.environ["MARU_BIN"], "serve", "--data-dir", str(tmp_path / "data"), "--pg-listen", "127.0.0.1:0",
                           "--flight-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--tls-certificate", str(keys / "server.crt")],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "tls_key" in done.stderr


def test_unix_socket_for_the_owner(start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("s")
    server = start(arguments=["--pg-socket-dir", str(folder)])
    port = server.host_port("pg")[1]
    assert (folder / f".s.PGSQL.{port}").exists()
    with psycopg.connect(host=str(folder), port=port, user="maru", dbname="maru", autocommit=True) as connection:
        assert connection.execute("SELECT current_user, client_addr FROM pg_stat_activity").fetchall() == [("maru", None)]
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(host=str(folder), port=port, user="nobody", dbname="maru", password="x")
    server.stop()
    assert not (folder / f".s.PGSQL.{port}").exists()


def flight(server, keys, certificate=None, **options):
    import adbc_driver_flightsql.dbapi as flight_sql
    options = {"adbc.flight.sql.client_option.tls_root_certs": (keys / "ca.crt").read_text(), **options}
    if certificate:
        options["adbc.flight.sql.client_option.mtls_cert_chain"] = (keys / f"{certificate}.crt").read_text()
        options["adbc.flight.sql.client_option.mtls_private_key"] = (keys / f"{certificate}.key").read_text()
    port = server.host_port("flight")[1]
    return flight_sql.connect(f"grpc+tls://localhost:{port}", db_kwargs=options, autocommit=True)


def first(connection, sql):
    with connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


def test_flight_sql_encrypts_on_the_same_port(server, keys):
    import adbc_driver_manager
    import pyarrow.flight
    login = {"username": "maru", "password": server.password}
    assert first(flight(server, keys, **login), "SELECT sum(g) FROM generate_series(1, 100000) t(g)") == (5000050000,)
    # Without encryption too, as long as nobody asks for it.
    assert first(server.flight(), "SELECT 1") == (1,)
    with pytest.raises(adbc_driver_manager.Error):
        first(flight(server, keys, username="maru", password="wrong"), "SELECT 1")
    with pytest.raises(adbc_driver_manager.Error):
        first(flight(server, keys, **login, **{"adbc.flight.sql.client_option.tls_root_certs": (keys / "other.crt").read_text()}), "SELECT 1")
    client = pyarrow.flight.connect(f"grpc+tls://localhost:{server.host_port('flight')[1]}", tls_root_certs=(keys / "ca.crt").read_bytes())
    header, token = client.authenticate_basic_token("maru", server.password)
    assert header == b"authorization" and token.startswith(b"Bearer ")
    client.close()


def test_certificates_of_flight_clients(server, keys):
    import adbc_driver_manager
    assert first(flight(server, keys, "maru"), "SELECT current_user") == ("maru",)
    login = {"username": "maru", "password": server.password}
    assert first(flight(server, keys, "somebody", **login), "SELECT current_user") == ("maru",)
    for name in ["somebody", "forged", None]:
        with pytest.raises(adbc_driver_manager.Error):
            first(flight(server, keys, name), "SELECT 1")


def test_a_server_that_takes_encrypted_connections_alone(start, keys, tmp_path_factory):
    import adbc_driver_manager
    folder = tmp_path_factory.mktemp("s")
    server = start(arguments=["--tls-certificate", str(keys / "server.crt"), "--tls-key", str(keys / "server.key"), "--tls-required", "all",
                              "--pg-socket-dir", str(folder)])
    with server.connect(sslmode="require") as connection:
        assert encrypted(connection)
    with pytest.raises(psycopg.OperationalError, match="encrypted connections only"):
        server.connect(sslmode="disable")
    with psycopg.connect(host=str(folder), port=server.host_port("pg")[1], user="maru", dbname="maru") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    login = {"username": "maru", "password": server.password}
    assert first(flight(server, keys, **login), "SELECT 1") == (1,)
    with pytest.raises(adbc_driver_manager.Error, match="encrypted connections only"):
        first(server.flight(), "SELECT 1")
    # From this machine is not from another one.
    near = start("near", arguments=["--tls-certificate", str(keys / "server.crt"), "--tls-key", str(keys / "server.key"), "--tls-required", "remote"])
    assert first(near.flight(), "SELECT 1") == (1,)
    with near.connect(sslmode="disable") as connection:
        assert not encrypted(connection)


def test_a_requirement_without_a_certificate_is_refused(tmp_path):
    done = subprocess.run([os.environ["MARU_BIN"], "serve", "--data-dir", str(tmp_path / "data"), "--pg-listen", "127.0.0.1:0",
                           "--flight-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--tls-required", "all"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "tls_certificate" in done.stderr
