"""Runs a query three ways and in PostgreSQL, compares, and makes a difference small enough to read."""

import collections

from psycopg import pq

from . import peer, sources
from .grammar import Query

WAYS = {"pushdown on": sources.name_in_maru, "pushdown off": sources.name_in_maru, "local copy": sources.name_of_copy}
# The same text, asked of PostgreSQL about the same rows.
PEER = "PostgreSQL"
NAMES = {**WAYS, PEER: peer.name_in_peer}
SHRINKS_MAX = 400
FLOATS = (700, 701)


class Answer:
    """Rows as the server wrote them, with the types of the columns; or the SQLSTATE of an error."""

    def __init__(self, result):
        self.sqlstate = self.message = None
        self.types, self.rows = (), []
        if result.status == pq.ExecStatus.TUPLES_OK:
            columns = range(result.nfields)
            self.types = tuple(result.ftype(c) for c in columns)
            self.rows = [tuple(result.get_value(r, c) for c in columns) for r in range(result.ntuples)]
        else:
            state = result.error_field(pq.DiagnosticField.SQLSTATE)
            self.sqlstate = state.decode() if state else "no answer"
            self.message = result.error_message.decode(errors="replace").strip()

    def seen(self, query):
        """What of it is determined. 0 and -0 are equal: rows that differ in nothing else come one way or the other in an order, and of the first ones, or of
        those that two sets have in common, either may be among them."""
        if self.sqlstate:
            return self.sqlstate
        unsigned = [tuple(map(self.unsigned, self.types, row)) for row in self.rows]
        rows = unsigned if query.form in ("top", "sets") else self.rows
        return self.types, [row[:query.n_keys] for row in unsigned] if query.n_keys else [], collections.Counter(rows)

    @staticmethod
    def unsigned(oid, value):
        return b"0" if oid in FLOATS and value == b"-0" else value


class Runner:
    """Three sessions of one server, and one of PostgreSQL."""

    def __init__(self, connect):
        self.sessions = {**{way: connect() for way in WAYS}, PEER: peer.connect()}
        self.sessions["pushdown off"].execute("SET maru.pushdown = off")
        self.timezone = None

    def close(self):
        for session in self.sessions.values():
            session.close()

    def ask(self, way, sql):
        return self.sessions[way].pgconn.exec_(sql.encode())

    def answers(self, query):
        if query.timezone != self.timezone:
            for session in self.sessions.values():
                session.execute(f"SET timezone = '{query.timezone}'")
            self.timezone = query.timezone
        # All at work at once.
        for way, name_of in NAMES.items():
            self.sessions[way].pgconn.send_query(query.sql(name_of).encode())
        return {way: Answer(self.answer(way)) for way in NAMES}

    def answer(self, way):
        results = list(iter(self.sessions[way].pgconn.get_result, None))
        assert len(results) == 1, f"{len(results)} results of one statement: {self.sessions[way].pgconn.error_message.decode()}"
        return results[0]

    def differ(self, query, answers=None):
        answers = answers or self.answers(query)
        off = answers["pushdown off"]
        return any(answers[way].seen(query) != off.seen(query) for way in WAYS) or not peer.agrees(query, off, answers[PEER])

    def shrunk(self, query):
        """Takes parts away as long as the difference stays."""
        tries = 0
        smaller = True
        while smaller:
            smaller = False
            for node in query.node.smaller():
                tries += 1
                if tries > SHRINKS_MAX:
                    return query
                less = Query(node, query.n_keys, query.timezone, query.form)
                if self.differ(less):
                    query, smaller = less, True
                    break
        return query

    def report(self, query, again):
        small = self.shrunk(query)
        answers = self.answers(small)
        lines = [f"{query.form} query, again with {again}", f"timezone {query.timezone}", f"as generated: {query.sql(sources.name_in_maru)}",
                 f"shrunk:       {small.sql(sources.name_in_maru)}", f"local copy:   {small.sql(sources.name_of_copy)}",
                 f"PostgreSQL:   {small.sql(peer.name_in_peer)}"]
        off = answers["pushdown off"]
        for way, answer in answers.items():
            if answer.sqlstate:
                lines.append(f"{way}: {answer.sqlstate} {answer.message[:300]}")
                continue
            lines.append(f"{way}: {len(answer.rows)} rows of types {answer.types}")
            if not off.sqlstate:
                more, less = collections.Counter(answer.rows), collections.Counter(off.rows)
                lines += [f"    only here:  {row}" for row in list((more - less).elements())[:5]]
                lines += [f"    missing:    {row}" for row in list((less - more).elements())[:5]]
                if more == less and answer.rows != off.rows:
                    lines += [f"    in another order: {answer.rows[:5]}", f"    pushdown off:     {off.rows[:5]}"]
        plan = self.ask("pushdown on", f"EXPLAIN {small.sql(sources.name_in_maru)}")
        if plan.status == pq.ExecStatus.TUPLES_OK:
            lines += [plan.get_value(row, 0).decode() for row in range(plan.ntuples)]
        return "\n".join(lines)
