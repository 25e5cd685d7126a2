"""Health, readiness and metrics."""

import urllib.error
import urllib.request


def get(server, path):
    try:
        with urllib.request.urlopen(server.url() + path, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_health_and_readiness(server):
    assert get(server, "/healthz")[0] == 200
    assert get(server, "/readyz")[0] == 200
    assert get(server, "/no-such-page")[0] == 404


def value_of(text, name):
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
               if line.startswith(name) and not line.startswith("#"))


def test_metrics_count_queries(server, connection):
    status, before = get(server, "/metrics")
    assert status == 200 and "# TYPE maru_" in before
    for _ in range(3):
        connection.execute("SELECT 1")
    after = get(server, "/metrics")[1]
    counters = {line.split("{")[0].split(" ")[0] for line in after.splitlines()
                if line.startswith("maru_") and "quer" in line.split(" ")[0] and "_total" in line.split(" ")[0]}
    assert counters, "there is a counter of queries"
    assert any(value_of(after, name) - value_of(before, name) >= 3 for name in counters)
