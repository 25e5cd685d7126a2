"""Databases that speak TLS: which certificates are believed, and what is said of the others."""

import psycopg
import pytest

from own_databases import OwnMariadb, OwnPostgres

pytestmark = pytest.mark.services


@pytest.fixture(scope="module", params=["postgres", "mysql"])
def database(request):
    """A database whose certificate is of 127.0.0.1 and signed by ca.crt: connector, where its table is, and itself."""
    if request.param == "postgres":
        with OwnPostgres() as own:
            with psycopg.connect(host="127.0.0.1", port=own.port, user="tester", dbname="postgres", autocommit=True) as direct:
                direct.execute("CREATE TABLE believed AS SELECT 7 AS id")
            yield "postgres", "public.believed", own
    else:
        with OwnMariadb() as own:
            with own.connect() as direct, direct.cursor() as cursor:
                cursor.execute("CREATE DATABASE own")
                cursor.execute("CREATE TABLE own.believed AS SELECT 7 AS id")
            yield "mysql", "own.believed", own


def attach(connection, database, host, tls, ca_file=None):
    connector, _, own = database
    path = "/postgres" if connector == "postgres" else ""
    ca = f", ca_file = '{own.keys / ca_file}'" if ca_file else ""
    connection.execute(f"CREATE CATALOG tls_own USING {connector} WITH (url = '{connector}://{host}:{own.port}{path}', user = 'tester', "
                       f"password = 'secret', tls = '{tls}', connect_timeout = '5s'{ca})")


def is_encrypted(connection, connector):
    if connector == "postgres":
        sql = "SELECT ssl FROM tls_own.query($$ SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid() $$)"
        return connection.execute(sql).fetchone()[0]
    sql = ("SELECT cipher FROM tls_own.query($$ SELECT variable_value AS cipher FROM information_schema.session_status "
           "WHERE variable_name = 'SSL_CIPHER' $$)")
    return connection.execute(sql).fetchone()[0] != ""


@pytest.mark.parametrize("host,tls,ca_file,encrypted", [
    ("127.0.0.1", "verify-full", "ca.crt", True),
    ("127.0.0.1", "verify-ca", "ca.crt", True),
    # The name does not count.
    ("localhost", "verify-ca", "ca.crt", True),
    # Nothing counts.
    ("localhost", "require", None, True),
    ("localhost", "prefer", None, True),
    ("127.0.0.1", "disable", None, False),
])
def test_a_certificate_that_is_believed(connection, database, host, tls, ca_file, encrypted):
    connector, table, _ = database
    attach(connection, database, host, tls, ca_file)
    try:
        assert connection.execute(f"SELECT id FROM tls_own.{table}").fetchall() == [(7,)]
        assert is_encrypted(connection, connector) == encrypted
    finally:
        connection.execute("DROP CATALOG tls_own")


@pytest.mark.parametrize("host,tls,ca_file", [
    ("localhost", "verify-full", "ca.crt"),  # of another name
    ("127.0.0.1", "verify-full", "other.crt"),  # signed by another authority
    ("127.0.0.1", "verify-ca", "other.crt"),
    ("127.0.0.1", "verify-full", None),  # by none that the system knows
    ("127.0.0.1", "verify-ca", None),
])
def test_a_certificate_that_is_not_believed(connection, database, host, tls, ca_file):
    with pytest.raises(psycopg.Error) as caught:
        attach(connection, database, host, tls, ca_file)
    told = caught.value.diag
    assert told.sqlstate == "HV00N", (told.sqlstate, told.message_primary, told.message_detail)
    assert told.message_primary.startswith("no TLS connection to ") and f"{host}:" in told.message_primary, told.message_primary
    assert "certificate" in (told.message_detail or "").lower(), told.message_detail
    assert '"ca_file"' in told.message_hint and '"tls"' in told.message_hint, told.message_hint
    assert connection.execute("SELECT count(*) FROM system.catalogs WHERE name = 'tls_own'").fetchone() == (0,)


@pytest.mark.parametrize("ca_file", ["server.key", "nothing.crt"])
def test_a_file_without_certificates(connection, database, ca_file):
    with pytest.raises(psycopg.Error) as caught:
        attach(connection, database, "127.0.0.1", "verify-full", ca_file)
    told = caught.value.diag
    assert told.sqlstate == "HV024", (told.sqlstate, told.message_primary)
    assert "ca_file" in told.message_primary + (told.message_hint or ""), told.message_primary
