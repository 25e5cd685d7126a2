"""Statements over the tables of one source and its neighbour, whose rows are determined, whatever plan finds them."""

import random

from .grammar import NOTHING, Node, Query, Ref, listed, optional
from .predicates import NUMBERS, alike, condition, literal
from .tables import COLUMNS, tables

TIMEZONES = ["UTC", "America/New_York", "Asia/Seoul", "Europe/London"]
ZONE_LASTS = 50
JOINS = ["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]
# What is computed of columns of a kind, and of those of a name.
VALUES = {
    "text": ["lpad({c}, 4, 'ab')", "reverse({c})", "split_part({c}, 'a', 1)", "translate({c}, 'an', 'x')", "ascii({c})", "{c} || 'z'", "upper({c})", "lower({c})", "length({c})",
             "octet_length({c})", "position('n' IN {c})", "left({c}, -1)", "md5({c})", "rtrim({c})", "concat({c}, 'a', NULL)", "regexp_replace({c}, '[an]', 'x', 'g')"],
    "date": ["{c} + 1", "{c} - DATE '2024-03-01'", "extract(doy FROM {c})", "to_char({c}, 'YYYY-MM-DD')", "date_trunc('month', {c}) = TIMESTAMP '2024-03-01'", "extract(week FROM {c})"],
    "ts": ["{c} - TIMESTAMP '2024-03-01 00:00:00'", "date_trunc('week', {c})", "extract(epoch FROM {c})", "{c} + INTERVAL '1 month 1 day'", "CAST({c} AS date)", "CAST({c} AS time)",
           "extract(dow FROM {c})", "to_char({c}, 'HH24:MI:SS.US')"],
    "tz": ["date_trunc('day', {c})", "{c} + INTERVAL '1 day'", "{c} + INTERVAL '24 hours'", "extract(hour FROM {c})", "{c} AT TIME ZONE 'Asia/Seoul'", "CAST({c} AS date)", "CAST({c} AS timestamp)",
           "extract(epoch FROM {c})"],
    "n1": ["round({c})", "{c} / 3", "{c} % 1", "floor({c})", "ceil({c})", "trunc({c})", "sign({c})", "abs({c})", "{c} * {c}", "-{c}", "CAST({c} AS double precision)"],
    "k": ["{c} / 2", "{c} % 2", "- {c}", "abs({c})", "{c} * 1.5", "CAST({c} AS numeric(10,2))", "CAST({c} AS double precision) / 3", "greatest({c}, 1)", "least({c}, NULL)", "power({c}, 2)"],
    "q": ["CAST({c} AS int)", "floor({c})", "{c} / 4", "abs({c})", "round({c})", "CAST({c} AS numeric(12,3))", "{c} * 2", "trunc({c})"],
}
SETS = ["UNION", "UNION ALL", "EXCEPT", "EXCEPT ALL", "INTERSECT", "INTERSECT ALL"]


class Maker:
    """Makes the query of one number."""

    def __init__(self, seed, source, number):
        self.rng = rng = random.Random(f"{seed}/{source}/{number}")
        self.source = source
        names = list(COLUMNS)
        self.neighbour = names[(names.index(source) + rng.choice([1, 2])) % len(names)]
        self.n_aliases = 0

    def table(self, source=None):
        return self.rng.choices(tables(source or self.source), [12, 8, 1])[0]

    def other(self, cross=0.35):
        return self.table(self.neighbour if self.rng.random() < cross else self.source)

    def refs(self, table, alias=None):
        if alias is None:
            alias = "abcdefghij"[self.n_aliases]
            self.n_aliases += 1
        return alias, [Ref(alias, column) for column in table.columns]

    def where(self, refs, share=0.85, word=" WHERE "):
        return optional(word, condition(self.rng, refs)) if self.rng.random() < share else NOTHING

    def some(self, refs, most=4, only=None):
        refs = [ref for ref in refs if only is None or ref.kind in only]
        return self.rng.sample(refs, min(len(refs), self.rng.randint(1, most)))

    def limit(self, most=12):
        rng = self.rng
        count = rng.choice([0, 1, 2, 3, 5, 10, most])
        form = rng.random()
        if form < 0.5:
            return f" LIMIT {count}"
        return f" LIMIT {count} OFFSET {rng.choice([0, 1, 3, 10, 1000])}" if form < 0.9 else f" OFFSET {rng.choice([1, 5])}"

    def order(self, columns):
        """A sort by each of the columns, in any direction."""
        direction = lambda: self.rng.choice(["", "", " ASC", " DESC"]) + self.rng.choice(["", "", " NULLS FIRST", " NULLS LAST"])
        return " ORDER BY " + ", ".join(column + direction() for column in columns)

    # Joins: what stands in FROM, and the columns that are seen there.

    def on(self, left, right):
        rng = self.rng
        pairs = [(a, b) for a in left for b in alike(a, right)]
        first = [pair for pair in pairs if pair[0].column.name in ("k", "n1", "q", "d", "ts", "b") or pair[0].kind == "text"]
        keys = rng.sample(first or pairs, 1 if rng.random() < 0.75 else min(2, len(pairs)))
        same = lambda a, b: f"{a.sql} = {b.sql}" if rng.random() < 0.93 else f"{a.sql} IS NOT DISTINCT FROM {b.sql}"
        parts = [Node(same(*pair)) for pair in keys]
        if rng.random() < 0.25:
            parts.append(condition(rng, rng.choice([left, right, left + right]), 1))
        return listed(parts, " AND ")

    def joined(self, cross=0.35, most=3):
        left_table, right_table = self.table(), self.other(cross)
        a, left = self.refs(left_table)
        b, right = self.refs(right_table)
        kind = self.rng.choice(JOINS)
        parts, refs = [left_table, f" {a} {kind} ", right_table, f" {b} ON ", self.on(left, right)], left + right
        if most > 2 and self.rng.random() < 0.2:
            table = self.other(cross)
            c, more = self.refs(table)
            parts += [f" {self.rng.choice(JOINS)} ", table, f" {c} ON ", self.on(refs, more)]
            refs = refs + more
        return Node(*parts), refs

    def from_(self, join=0.0, cross=0.35):
        if self.rng.random() < join:
            return self.joined(cross)
        table = self.table()
        alias, refs = self.refs(table)
        return Node(table, f" {alias}"), refs

    # The forms.

    def plain(self):
        from_, refs = self.from_(join=0.15)
        columns = self.some(refs)
        sort = self.rng.random() < 0.3
        keys = columns[:self.rng.randint(1, len(columns))] if sort else []
        order = self.order(ref.sql for ref in keys) if sort else ""
        items = ", ".join(ref.sql for ref in columns)
        return Query(Node(f"SELECT {items} FROM ", from_, self.where(refs), order), len(keys))

    def expressions(self):
        from_, refs = self.from_(join=0.1)
        rng = self.rng
        items = []
        for ref in self.some(refs, 3):
            value = literal(rng, ref.column, 0)
            forms = [f"CASE WHEN {ref.sql} = {value} THEN 1 ELSE 2 END", f"CAST({ref.sql} AS text)", f"{ref.sql} IS NULL"]
            if ref.kind not in ("bytes", "far ts"):
                forms += [f"coalesce({ref.sql}, {value})", f"nullif({ref.sql}, {value})"]
            forms += VALUES.get(ref.column.name, []) + VALUES.get(ref.kind, [])
            items.append(Node(rng.choice(forms).replace("{c}", ref.sql)))
            if ref.column.name in ("k", "n1", "q", "i8"):
                items.append(Node(f"{ref.sql} + 1"))
        items.append(condition(rng, refs, 1))
        return Query(Node("SELECT ", listed(items), " FROM ", from_, self.where(refs)))

    def top(self):
        """Keys alone are determined, ties or not; with the row's own number, everything is."""
        from_, refs = self.from_(join=0.15)
        keys = self.some(refs, 3)
        items = [ref.sql for ref in keys]
        order = list(items)
        if self.rng.random() < 0.5:
            ids = [ref.sql for ref in refs if ref.column.name == "id"]
            rest = [ref.sql for ref in self.some(refs, 3)]
            items, order = items + ids + rest, order + ids
        return Query(Node(f"SELECT {', '.join(items)} FROM ", from_, self.where(refs, 0.7), self.order(order), self.limit()), len(items))

    def distinct(self):
        from_, refs = self.from_(join=0.15)
        items = [ref.sql for ref in self.some(refs, 3)]
        sort = self.rng.random() < 0.4
        tail = self.order(items) + (self.limit() if self.rng.random() < 0.6 else "") if sort else ""
        return Query(Node(f"SELECT DISTINCT {', '.join(items)} FROM ", from_, self.where(refs, 0.6), tail), len(items) if sort else 0)

    def first_of_each(self):
        """The first row of each key, by the row's own number."""
        table = self.table()
        a, refs = self.refs(table)
        keys = [ref.sql for ref in self.some(refs, 2) if ref.column.name != "id"] or [f'{a}."k"']
        items = keys + [f'{a}."id"'] + [ref.sql for ref in self.some(refs, 2)]
        order = self.order(keys + [f'{a}."id"'])
        cut = self.limit() if self.rng.random() < 0.3 else ""
        return Query(Node(f"SELECT DISTINCT ON ({', '.join(keys)}) {', '.join(items)} FROM ", table, f" {a}", self.where(refs, 0.6), order, cut), len(keys) + 1)

    def aggregates(self, refs):
        rng = self.rng
        calls = []
        for _ in range(rng.randint(1, 4)):
            ref = rng.choice(refs)
            of = [f"count({ref.sql})", f"count(DISTINCT {ref.sql})", "count(*)"]
            if ref.kind in NUMBERS:
                of += [f"min({ref.sql})", f"max({ref.sql})"]
                if ref.column.tame:
                    of += [f"sum({ref.sql})", f"avg({ref.sql})", f"sum(DISTINCT {ref.sql})", f"sum({ref.sql}) FILTER (WHERE {ref.sql} > 1)"]
                elif ref.kind == "int":
                    of += [f"sum({ref.sql})"]
            elif ref.kind == "bool":
                of += [f"bool_and({ref.sql})", f"bool_or({ref.sql})", f"every({ref.sql})"]
            elif ref.kind != "bytes":
                of += [f"min({ref.sql})", f"max({ref.sql})"] * 2
                if ref.kind == "text":
                    of += [f"string_agg(DISTINCT {ref.sql}, ',' ORDER BY {ref.sql})", f"array_agg(DISTINCT {ref.sql} ORDER BY {ref.sql})"]
            calls.append(rng.choice(of))
        if rng.random() < 0.35:
            calls.append(self.arithmetic(refs))
        if rng.random() < 0.25:
            calls.append(self.of_aggregates(refs))
        return calls

    def of_aggregates(self, refs):
        """What is computed of an aggregate of whole numbers and decimals."""
        rng = self.rng
        numbers = [ref for ref in refs if ref.kind in ("int", "dec") and ref.column.tame]
        if not numbers:
            return "count(*) + 1"
        one, other = rng.choice(numbers).sql, rng.choice(numbers).sql
        return rng.choice([
            f"sum({one}) + 1", f"sum({one}) - count(*)", f"sum({one}) * 2", f"sum({one}) / count(*)", f"max({one}) - min({one})", f"sum(DISTINCT {one}) + 1",
            f"sum({one}) - sum({other})", f"sum({one}) > 3", f"avg({one}) * 2", f"CASE WHEN sum({one}) > max({other}) THEN 1 ELSE 0 END", f"coalesce(sum({one}), 0)",
        ])

    def arithmetic(self, refs):
        """An aggregate of whole numbers and decimals computed of a row; what is out of range is an error everywhere."""
        rng = self.rng
        numbers = [ref for ref in refs if ref.kind in ("int", "dec") and ref.column.tame]
        if not numbers:
            return "count(*)"
        one, other = rng.choice(numbers).sql, rng.choice(numbers).sql
        value = rng.choice([
            f"{one} * {other}", f"{one} * (1 - {other})", f"{one} + 1", f"{one} * 2", f"-{one}", f"{one} - {other}", f"{one} * 1.25", f"{one} + {other} * 3",
        ])
        return rng.choice([f"sum({value})", f"min({value})", f"max({value})", f"count({value})", f"avg({value})", f"sum({value}) FILTER (WHERE {one} > 1)"])

    def grouped(self):
        from_, refs = self.from_(join=0.2)
        calls = self.aggregates(refs)
        keys = [ref.sql for ref in self.some(refs, 2)] if self.rng.random() < 0.65 else []
        group = f" GROUP BY {', '.join(keys)}" if keys else ""
        # Of NULLs that stand for all values there may be two: nothing is cut off then.
        many = bool(keys) and self.rng.random() < 0.12
        if many:
            group = " GROUP BY " + self.rng.choice([f"ROLLUP ({', '.join(keys)})", f"CUBE ({', '.join(keys)})", f"GROUPING SETS (({keys[0]}), ({keys[-1]}), ())"])
        having = NOTHING
        if self.rng.random() < 0.3:
            having = optional(" HAVING ", Node(self.rng.choice([
                f"{self.rng.choice(calls)} IS NOT NULL", "count(*) > 1", "count(*) BETWEEN 1 AND 3", "count(*) > 100", f"{self.of_aggregates(refs)} IS NOT NULL"])))
        tail, n_keys = "", 0
        if keys and not many and self.rng.random() < 0.35:
            tail, n_keys = self.order(keys) + self.limit(), len(keys)
        keyed = Node(", ".join(keys) + ", ") if keys else NOTHING
        return Query(Node("SELECT ", keyed, listed(calls), " FROM ", from_, self.where(refs, 0.6), group, having, tail), n_keys)

    def join(self):
        from_, refs = self.joined()
        rng = self.rng
        if rng.random() < 0.3:
            return Query(Node("SELECT ", listed(self.aggregates(refs)), " FROM ", from_, self.where(refs, 0.6)))
        items = ", ".join(ref.sql for ref in self.some(refs, 5))
        return Query(Node(f"SELECT {items} FROM ", from_, self.where(refs, 0.6)))

    def semi(self):
        """EXISTS, IN and their negations, where NULLs decide."""
        rng = self.rng
        table, inner = self.table(), self.other()
        a, refs = self.refs(table)
        b, others = self.refs(inner)
        both = refs + others
        pairs = [(x, y) for x in refs for y in alike(x, others)]
        x, y = rng.choice(pairs)
        not_ = rng.choice(["", "NOT "])
        if rng.random() < 0.5:
            test = Node(f"{not_}EXISTS (SELECT 1 FROM ", inner, f" {b} WHERE {x.sql} = {y.sql}", self.where(rng.choice([others, both]), 0.4, " AND "), ")")
        else:
            limited = f" ORDER BY {b}.\"id\" LIMIT 7" if rng.random() < 0.3 else ""
            among = rng.choice(["IN", "IN", "IN", "= ANY" if not not_ else "<> ALL"])
            test = Node(f"{x.sql} {not_ if among == 'IN' else ''}{among} (SELECT {y.sql} FROM ", inner, f" {b}", self.where(others, 0.6), limited, ")")
        items = ", ".join(ref.sql for ref in self.some(refs))
        tail, n_keys = "", 0
        if rng.random() < 0.25:
            items = f'{a}."id", {items}'
            tail, n_keys = f' ORDER BY {a}."id"' + self.limit(), 1
        return Query(Node(f"SELECT {items} FROM ", table, f" {a} WHERE ", test, self.where(refs, 0.5, " AND "), tail), n_keys)

    def limited(self):
        """How many rows a limit leaves is determined, wherever it stands; which ones, only by the row's number."""
        rng = self.rng
        table = self.table()
        a, refs = self.refs(table)
        form = rng.random()
        if form < 0.3:
            from_, both = self.joined()
            return Query(Node(f"SELECT count(*) FROM (SELECT {both[0].sql} AS x FROM ", from_, self.where(both, 0.5), self.limit(), ") s"))
        if form < 0.45:
            return Query(Node("SELECT count(*) FROM (SELECT * FROM ", table, f" {a}", self.where(refs), self.limit(), ") s"))
        items = [ref for ref in self.some(refs, 3) if ref.column.name != "id"]
        columns = ", ".join([f'{a}."id" AS i', *(f"{ref.sql} AS x{n}" for n, ref in enumerate(items))])
        inner = Node(f"SELECT {columns} FROM ", table, f" {a}", self.where(refs, 0.5), f' ORDER BY {a}."id"{rng.choice(["", " DESC"])}', self.limit())
        other = self.other()
        b, others = self.refs(other)
        if form < 0.7:
            kind = rng.choice(JOINS)
            by = rng.choice(["id", "k"])
            where = self.where(others, 0.4)
            return Query(Node(f"SELECT {', '.join(['s.i', *(f's.x{n}' for n in range(len(items))), *(ref.sql for ref in self.some(others, 2))])} FROM (", inner, f") s {kind} ",
                              other, f' {b} ON s.i = {b}."{by}"', where))
        if form < 0.85:
            return Query(Node(f'SELECT {b}."id", {b}."k" FROM ', other, f' {b} WHERE {b}."k" {rng.choice(["", "NOT "])}IN (SELECT s.i FROM (', inner, ") s)",
                              self.where(others, 0.4, " AND ")))
        return Query(Node("SELECT s.* FROM (", inner, ") s WHERE s.i % 2 = 0" + self.order(["s.i"]) + self.limit()), 1)

    def sets(self):
        """Few columns, so that rows come more than once on both sides; sometimes a third member, and sometimes what is left is counted only."""
        rng = self.rng
        one, two = self.table(), self.other()
        a, left = self.refs(one)
        b, right = self.refs(two)
        pairs = rng.sample([(x, y) for x in left for y in right if x.kind == y.kind], rng.randint(1, 2))
        third = NOTHING
        if rng.random() < 0.2:
            c, more = self.refs(one)
            likes = [rng.choice([z for z in more if z.kind == x.kind]) for x, _ in pairs]
            third = optional(f" {rng.choice(SETS)} SELECT {', '.join(z.sql for z in likes)} FROM ", one, f" {c}", self.where(more, 0.5))
        members = Node(f"SELECT {', '.join(f'{x.sql} AS c{n}' for n, (x, _) in enumerate(pairs))} FROM ", one, f" {a}", self.where(left),
                       f" {rng.choice(SETS)} SELECT {', '.join(y.sql for _, y in pairs)} FROM ", two, f" {b}", self.where(right), third)
        if rng.random() < 0.15:
            return Query(Node("SELECT count(*), count(s.c0), count(DISTINCT s.c0) FROM (", members, ") s"))
        tail, n_keys = "", 0
        if rng.random() < 0.3:
            tail, n_keys = " ORDER BY 1" + (", 2" if len(pairs) > 1 else "") + self.limit(), len(pairs)
        return Query(Node(members, tail), n_keys)

    def window(self):
        rng = self.rng
        table = self.table()
        a, refs = self.refs(table)
        by, then = rng.choice(refs), rng.choice([ref for ref in refs if ref.kind not in ("bytes", "time")])
        over = f'(PARTITION BY {by.sql} ORDER BY {then.sql}, {a}."id")'
        frame = rng.choice(["ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING", "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING", "GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW",
                            "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"])
        framed = f'(PARTITION BY {by.sql} ORDER BY {then.sql}, {a}."id" {frame})'
        # There is no max(boolean) in PostgreSQL.
        most = "count" if then.kind == "bool" else "max"
        call = rng.choice([f"row_number() OVER {over}", f"lag({then.sql}) OVER {over}", f"first_value({a}.\"id\") OVER {over}", f"count(*) OVER (PARTITION BY {by.sql})",
                           f"rank() OVER (PARTITION BY {by.sql} ORDER BY {then.sql})", f"dense_rank() OVER (ORDER BY {then.sql})",
                           f"sum({a}.\"k\") OVER {over[:-1]} ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)", f"{most}({then.sql}) OVER (PARTITION BY {by.sql})",
                           f"lead({then.sql}, 2) OVER {over}", f"ntile(3) OVER {over}", f"last_value({then.sql}) OVER {framed}", f"nth_value({then.sql}, 2) OVER {framed}",
                           f"count({then.sql}) OVER {framed}", f"percent_rank() OVER (ORDER BY {then.sql})", f"cume_dist() OVER (PARTITION BY {by.sql} ORDER BY {then.sql})",
                           f"count(*) OVER (ORDER BY {then.sql} DESC NULLS LAST)", f"sum({a}.\"k\") OVER (ORDER BY {a}.\"k\" RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING)",
                           f"sum({a}.\"k\") FILTER (WHERE {a}.\"k\" > 0) OVER (PARTITION BY {by.sql})"])
        inner = Node(f'SELECT {a}."id" AS i, {by.sql} AS p, {call} AS w FROM ', table, f" {a}", self.where(refs, 0.6))
        if rng.random() < 0.5:
            return Query(inner)
        test = rng.choice(["s.p IS NOT NULL", "s.w IS NOT NULL", "s.i < 20", f"s.p = {literal(rng, by.column, 0)}"])
        return Query(Node("SELECT * FROM (", inner, f") s WHERE {test}" + (self.order(["s.i"]) + self.limit() if rng.random() < 0.5 else "")), 0)

    def scalar(self):
        """A value of one table as a condition on another, of the same source or not."""
        rng = self.rng
        table, inner = self.table(), self.other(0.5)
        a, refs = self.refs(table)
        b, others = self.refs(inner)
        x, y = rng.choice([(x, y) for x in refs for y in alike(x, others) if y.kind not in ("bool", "bytes")])
        call = rng.choice(["min", "max"])
        items = ", ".join(ref.sql for ref in self.some(refs))
        form = rng.random()
        op = rng.choice(["=", "<>", "<", "<=", ">", ">="])
        if form < 0.5:
            test = Node(f"{x.sql} {op} (SELECT {call}({y.sql}) FROM ", inner, f" {b}", self.where(others, 0.6), ")")
        elif form < 0.65:
            test = Node(f"{x.sql} {op} (SELECT {y.sql} FROM ", inner, f' {b} WHERE {b}."id" = {rng.randrange(45)})')
        elif form < 0.85:
            test = Node(f"{rng.choice(['0', '1', '2'])} {op} (SELECT count(*) FROM ", inner, f' {b} WHERE {x.sql} = {y.sql}', self.where(others, 0.4, " AND "), ")")
        else:
            return Query(Node(f"SELECT {items}, (SELECT {call}({y.sql}) FROM ", inner, f" {b}", self.where(others, 0.6), ") AS one FROM ", table, f" {a}", self.where(refs, 0.6)))
        return Query(Node(f"SELECT {items} FROM ", table, f" {a} WHERE ", test, self.where(refs, 0.5, " AND ")))

    def nested(self):
        """A condition on what a query under it made."""
        rng = self.rng
        from_, refs = self.from_(join=0.3)
        key = rng.choice(refs)
        inner = Node(f"SELECT {key.sql} AS g, count(*) AS n, {rng.choice(self.aggregates(refs))} AS v FROM ", from_, self.where(refs, 0.5), f" GROUP BY {key.sql}")
        value = literal(rng, key.column, 0)
        test = listed([Node(t) for t in rng.sample([f"s.g {rng.choice(['=', '<>', '<', '>='])} {value}", "s.n > 1", "s.g IS NOT NULL", "s.v IS NOT NULL", f"s.g IN ({value}, NULL)"],
                                                   rng.randint(1, 2))], " AND ")
        if rng.random() < 0.5:
            return Query(Node("WITH s AS (", inner, ") SELECT * FROM s WHERE ", test))
        return Query(Node("SELECT count(*), min(s.g), sum(s.n) FROM (" if key.kind not in ("bool", "bytes") else "SELECT count(*), sum(s.n) FROM (", inner, ") s WHERE ", test))


FORMS = {"plain": 20, "expressions": 5, "top": 10, "distinct": 6, "grouped": 15, "join": 13, "semi": 9, "limited": 7, "sets": 8, "window": 4, "scalar": 6, "nested": 5, "first_of_each": 3}


def query(seed, source, number):
    """Returns query `number` of a source; always the same for the same seed."""
    maker = Maker(seed, source, number)
    form = maker.rng.choices(list(FORMS), list(FORMS.values()))[0]
    made = getattr(maker, form)()
    made.form = form
    made.timezone = TIMEZONES[number // ZONE_LASTS % len(TIMEZONES)]
    return made
