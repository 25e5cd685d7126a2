"""Generated queries give the same rows with pushdown, without it, on a local copy, and in PostgreSQL; see differential/ and
docs/how-to/reproduce-a-difference.md."""

import collections
import os
import re

import pytest
from differential import incidents, peer, queries, sources
from differential.grammar import Node, Query
from differential.run import WAYS, Answer, Runner
from differential.tables import tables
from psycopg import pq

pytestmark = pytest.mark.services
LONG = os.environ.get("MARU_TEST_LONG") == "1"
SEED = int(os.environ.get("MARU_DIFF_SEED", "20261125"))
# `postgres:17` runs that query alone.
ONLY = os.environ.get("MARU_DIFF_QUERY")
QUERIES = int(os.environ.get("MARU_DIFF_QUERIES", "20000" if LONG else "200"))
FROM = int(os.environ.get("MARU_DIFF_FROM", "0"))
FAILURES_SHOWN = 5
# More errors than this and the generator no longer tests much.
ERRORS_MAX = 0.15


@pytest.fixture(scope="module")
def attached(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("diff")
    sources.fill_postgres(SEED)
    sources.fill_mysql(SEED)
    sources.fill_sqlite(SEED, folder / "diff.db")
    peer.fill(SEED)
    with server.connect() as connection:
        sources.attach(connection, folder)
        sources.copy(server, connection, folder)
        yield server
        sources.remove(connection)
    peer.remove()


@pytest.fixture
def runner(attached):
    runner = Runner(attached.connect)
    yield runner
    runner.close()


@pytest.mark.timeout(3600 if LONG else 600)
@pytest.mark.parametrize("source", list(sources.CATALOGS))
def test_generated_queries(runner, source):
    numbers = range(FROM, FROM + QUERIES)
    if ONLY:
        only, number = ONLY.split(":")
        numbers = [int(number)] if only == source else []
    failures, states = [], collections.Counter()
    for number in numbers:
        query = queries.query(SEED, source, number)
        answers = runner.answers(query)
        if runner.differ(query, answers):
            failures.append(runner.report(query, f"MARU_DIFF_SEED={SEED} MARU_DIFF_QUERY={source}:{number}"))
            if len(failures) >= FAILURES_SHOWN:
                break
        state = answers["pushdown off"].sqlstate
        if state:
            states[state] += 1
    assert not failures, "\n\n".join(failures)
    assert not {state for state in states if state.startswith("XX")}, states
    assert states.total() <= max(1, ERRORS_MAX * len(numbers)), states


# Of so many queries the plans are looked at, and at least these shares of them show what each source computes.
PLANS = 200
SENT = {"WHERE": 0.15, "GROUP BY": 0.01, "LIMIT": 0.01}


@pytest.mark.parametrize("source", list(sources.CATALOGS))
def test_queries_are_pushed(runner, source):
    """Three ways that all compute here would agree, too: what the sources are sent is in `EXPLAIN`."""
    seen, planned = collections.Counter(), 0
    for number in range(PLANS):
        query = queries.query(SEED, source, number)
        plan = runner.ask("pushdown on", f"EXPLAIN {query.sql(sources.name_in_maru)}")
        if plan.status != pq.ExecStatus.TUPLES_OK:
            continue
        planned += 1
        lines = [plan.get_value(row, 0).decode() for row in range(plan.ntuples)]
        sent = [line.split(" is sent: ", 1)[1] for line in lines if line.startswith(f"  {sources.CATALOGS[source]} is sent: ")]
        seen.update(word for word in SENT if any(f" {word} " in line for line in sent))
        off = runner.ask("pushdown off", f"EXPLAIN {query.sql(sources.name_in_maru)}")
        lines = [off.get_value(row, 0).decode() for row in range(off.ntuples)]
        assert not [line for line in lines if " is sent: " in line and any(f" {word} " in line for word in SENT)], lines
    shares = {word: seen[word] / planned for word in SENT}
    assert planned > PLANS / 2 and all(shares[word] >= least for word, least in SENT.items()), shares


def counted(word, left, right):
    """What SQL makes of two bags of rows, by how often each row comes."""
    if word.endswith(" ALL"):
        return {"UNION ALL": left + right, "EXCEPT ALL": left - right, "INTERSECT ALL": left & right}[word]
    left, right = set(left), set(right)
    return collections.Counter({"UNION": left | right, "EXCEPT": left - right, "INTERSECT": left & right}[word])


# Columns of which rows come often, with NULLs among them.
OFTEN = {"postgres": ["k", "b", "tn", "u"], "mysql": ["k", "b", "tg", "m"], "sqlite": ["k", "b", "tn", "d"]}


@pytest.mark.parametrize("source", list(sources.CATALOGS))
def test_set_operations_count_rows(runner, source):
    """The three ways all compute set operations in this engine: here they are counted anew, row by row."""
    one, two, empty = tables(source)
    often = OFTEN[source]
    failures, seen = [], collections.Counter()
    for way, name_of in WAYS.items():
        for columns in [*([column] for column in often), often[:2]]:
            listed = ", ".join(f'"{column}"' for column in columns)
            sides = {}
            for left, right in [(one, two), (two, one), (one, empty)]:
                for table in (left, right):
                    if table not in sides:
                        # Not each row is on both sides as often.
                        condition = ' WHERE "id" % 3 <> 1' if table == two else ""
                        select = f"SELECT {listed} FROM {name_of(table)}{condition}"
                        sides[table] = select, collections.Counter(Answer(runner.ask(way, select)).rows)
                for word in queries.SETS:
                    sql = f"{sides[left][0]} {word} {sides[right][0]}"
                    answer = Answer(runner.ask(way, sql))
                    expected = counted(word, sides[left][1], sides[right][1])
                    if answer.sqlstate or collections.Counter(answer.rows) != expected:
                        failures.append(f"{way}: {sql}: {answer.message or f'{len(answer.rows)} rows instead of {expected.total()}'}")
                    seen[word] += max(expected.values(), default=0) > 1
    assert not failures, "\n".join(failures[:FAILURES_SHOWN])
    # Without rows that come twice the test would prove nothing.
    assert all(seen[word] for word in queries.SETS if word.endswith(" ALL")), seen


@pytest.mark.parametrize("source", list(sources.CATALOGS))
def test_incidents(runner, source):
    """What went wrong elsewhere, or here before."""
    one, two, _ = tables(source)
    other = tables("sqlite" if source == "mysql" else "mysql")[0]
    names = {"{one}": one, "{two}": two, "{other}": other}
    failures = []
    for name, sql in incidents.cases(source):
        parts = [names.get(part, part) for part in re.split(r"(\{one\}|\{two\}|\{other\})", sql)]
        query = Query(Node(*parts), form=name)
        answers = runner.answers(query)
        off = answers["pushdown off"]
        if runner.differ(query, answers) or off.sqlstate or (name in incidents.EVERYWHERE and not off.rows):
            failures.append(runner.report(query, f"the case of this name: {name}"))
    assert not failures, "\n\n".join(failures)
