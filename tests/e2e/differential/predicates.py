"""Conditions of every form that a source might be asked."""

from .grammar import Node
from .tables import INSTANTS, STAMPS, TEXTS

COMPARISONS = ["=", "<>", "<", "<=", ">", ">="]
WIDE = ("1e308", "-1e308", "1e-300")
NUMBERS = ("int", "dec", "float")
ZONES = ["America/New_York", "Asia/Seoul", "Europe/London", "UTC"]
PATTERNS = ["%", "_", "__", "", "a%", "%a", "%a%", "A%", "_nna", "%\\%%", "\\_", "100\\%", "%한%", "한_", "%'%", "a_b", "a%b", "% ", "anna%", "\\\\", "😀", "_%_", "%\\\\%"]


def text_literal(text):
    return "'" + text.replace("'", "''") + "'"


def literal(rng, column, exotic=0.1):
    """A value of the column's own kind, mostly one that it holds; sometimes of a type near it."""
    kind = column.kind
    value = rng.choice(column.pool) if column.pool else rng.randrange(70)
    if kind == "int":
        if rng.random() < exotic:
            return rng.choice(["1.5", "2.0", "3000000000", "99999999999999999999", "CAST(1.5 AS double precision)", "'1'", "CAST(2 AS smallint)"])
        return str(value)
    if kind == "dec":
        return rng.choice(["1", "0.001", "1.505", "CAST(1.5 AS double precision)", "'1.5'", "42"]) if rng.random() < exotic else str(value)
    if kind == "float":
        if rng.random() < 2 * exotic:
            return rng.choice(["1.5", "0", "0.1", "42"])
        # What no `real` can hold is an error, in PostgreSQL even where no row asks for it.
        types = ["double precision", "double precision", "real" if value not in WIDE else "double precision"]
        return f"CAST('{value}' AS {rng.choice(types)})"
    if kind == "text":
        return text_literal(rng.choice(TEXTS) if rng.random() < exotic else value)
    if kind == "bool":
        return str(value).upper()
    if kind == "far date":
        return f"DATE '{value}'"
    if kind == "far ts":
        return "TIMESTAMP '2024-03-01 00:00:00'"
    if kind == "date":
        return f"TIMESTAMP '{value} 00:00:00'" if rng.random() < exotic else f"DATE '{value}'"
    if kind == "time":
        return f"TIME '{value}'"
    if kind == "ts":
        return f"DATE '{value[:10]}'" if rng.random() < exotic else f"TIMESTAMP '{value}'"
    if kind == "tz":
        return f"TIMESTAMPTZ '{value[:-3]}'" if rng.random() < exotic else f"TIMESTAMPTZ '{value}'"
    return f"CAST('\\x{value.hex()}' AS bytea)"


def alike(ref, refs):
    """The columns that can be compared with one."""
    family = NUMBERS if ref.kind in NUMBERS else (ref.kind,)
    return [other for other in refs if other.kind in family and other != ref]


def leaf(rng, refs):
    ref = rng.choice(refs)
    sql = ref.sql
    column = ref.column
    form = rng.random()
    op = rng.choice(COMPARISONS)
    if ref.kind == "bool" and form < 0.4:
        return Node(rng.choice([sql, f"NOT {sql}", f"{sql} IS TRUE", f"{sql} IS NOT TRUE", f"{sql} IS FALSE", f"{sql} IS NOT FALSE", f"{sql} IS UNKNOWN", f"{sql} IS NOT UNKNOWN"]))
    if ref.kind == "text" and form < 0.2:
        return Node(f"{sql} {rng.choice(['LIKE', 'NOT LIKE', 'LIKE', 'NOT LIKE', 'ILIKE', 'NOT ILIKE'])} {text_literal(rng.choice(PATTERNS))}")
    if form < 0.42:
        return Node(f"{sql} {op} {literal(rng, column)}" if rng.random() < 0.8 else f"{literal(rng, column)} {op} {sql}")
    if form < 0.54:
        values = [literal(rng, column, 0.03) for _ in range(rng.randint(1, 6))]
        if rng.random() < 0.2:
            values.append("NULL")
        return Node(f"{sql} {rng.choice(['IN', 'NOT IN'])} ({', '.join(values)})")
    if form < 0.62:
        low, high = literal(rng, column, 0.03), literal(rng, column, 0.03)
        return Node(f"{sql} {rng.choice(['BETWEEN', 'NOT BETWEEN'])} {low} AND {high}")
    if form < 0.7:
        return Node(f"{sql} IS {rng.choice(['', 'NOT '])}NULL")
    if form < 0.78:
        others = alike(ref, refs)
        other = rng.choice(others).sql if others and rng.random() < 0.4 else rng.choice([literal(rng, column, 0.03), "NULL"])
        return Node(f"{sql} IS {rng.choice(['', 'NOT '])}DISTINCT FROM {other}")
    if form < 0.86 and alike(ref, refs):
        return Node(f"{sql} {op} {rng.choice(alike(ref, refs)).sql}")
    return computed(rng, ref, op)


def computed(rng, ref, op):
    """Casts, arithmetic and functions over one column: what a source must not be asked in its own words."""
    sql = ref.sql
    value = literal(rng, ref.column, 0)
    # Of bytes, Parquet files have another type than literals, and coalesce() does not take both; of times, literals have nanoseconds.
    forms = [] if ref.kind in ("bytes", "far ts") else [f"coalesce({sql}, {value}) {op} {value}", f"nullif({sql}, {value}) IS NULL"]
    forms += [f"CASE WHEN {sql} {op} {value} THEN TRUE WHEN {sql} IS NULL THEN NULL ELSE FALSE END",
              f"({sql} {op} {value}) IS {rng.choice(['', 'NOT '])}{rng.choice(['TRUE', 'FALSE', 'UNKNOWN'])}", f"{sql} {op} NULL"]
    if ref.kind == "text":
        forms += [f"lower({sql}) {op} lower({value})", f"upper({sql}) = {value}", f"length({sql}) {op} {rng.randrange(6)}", f"trim({sql}) = {value}",
                  f"{sql} || 'x' {op} {value}", f"substr({sql}, 2) = {value}", f"CAST({sql} AS varchar(2)) {op} {value}", f"position('a' IN {sql}) > 0",
                  f"starts_with({sql}, 'a')", f"{sql} ~ '^a'", f"{sql} LIKE '%!%%' ESCAPE '!'", f"{sql} NOT LIKE '_!_%' ESCAPE '!'", f"{sql} SIMILAR TO '(a|A)(n|_)*a?'",
                  f"replace({value}, {sql}, 'x') {op} {value}", f"left({sql}, 2) = right({sql}, 2)"]
    if ref.column.name == "k":
        forms += [f"{sql} + 1 {op} {rng.randint(-3, 5)}", f"{sql} * 2 = 4", f"{sql} % 3 = {rng.choice(['0', '1', '-1'])}", f"{sql} / 2 = 1", f"- {sql} {op} 1",
                  f"CAST({sql} AS text) = '{rng.randint(-3, 5)}'", f"CAST({sql} AS smallint) {op} 1", f"abs({sql}) {op} 2", f"CAST({sql} AS double precision) {op} 1.5"]
    if ref.column.name == "n1":
        forms += [f"CAST({sql} AS numeric(14,0)) {op} 2", f"{sql} * 2 {op} 3.00", f"round({sql}, 1) {op} 1.5", f"CAST({sql} AS bigint) {op} 2", f"{sql} + 0.01 = 1.50",
                  f"CAST({sql} AS double precision) {op} 1.5"]
    if ref.column.name == "q":
        forms += [f"CAST({sql} AS int) {op} 2", f"{sql} * 2 {op} 3", f"{sql} + 0.25 = 0.5", f"abs({sql}) > 1"]
    if ref.kind in ("ts", "tz"):
        forms += [f"CAST({sql} AS date) {op} DATE '2024-11-03'", f"extract(year FROM {sql}) {op} 2024", f"date_trunc('month', {sql}) {op} {value}",
                  f"extract(hour FROM {sql}) = 1"]
    # By the clocks of the session, also in the hours that come twice or not at all.
    if ref.kind == "tz":
        forms += [f"{sql} {op} TIMESTAMP '{rng.choice(STAMPS)}'", f"CAST({sql} AS timestamp) {op} TIMESTAMP '{rng.choice(STAMPS)}'",
                  f"{sql} AT TIME ZONE '{rng.choice(ZONES)}' {op} TIMESTAMP '{rng.choice(STAMPS)}'", f"CAST({sql} AS text) LIKE '%-05'"]
    if ref.kind == "ts":
        forms += [f"{sql} {op} TIMESTAMPTZ '{rng.choice(INSTANTS)}'", f"CAST({sql} AS timestamptz) {op} TIMESTAMPTZ '{rng.choice(INSTANTS)}'",
                  f"{sql} AT TIME ZONE '{rng.choice(ZONES)}' {op} TIMESTAMPTZ '{rng.choice(INSTANTS)}'"]
    if ref.kind == "date":
        forms += [f"extract(month FROM {sql}) = 3", f"{sql} {op} CAST('2024-03-01' AS date)", f"CAST({sql} AS text) LIKE '2024-%'"]
    return Node(rng.choice(forms))


def condition(rng, refs, depth=2):
    """A tree of them."""
    form = rng.random()
    if depth == 0 or form < 0.35:
        return leaf(rng, refs) if rng.random() < 0.98 else Node(rng.choice(["TRUE", "FALSE", "CAST(NULL AS boolean)"]))
    parts = [condition(rng, refs, depth - 1) for _ in range(rng.choice([2, 2, 3]))]
    if form < 0.5:
        return Node("NOT (", parts[0], ")", simpler=parts[:1])
    by = " AND " if form < 0.75 else " OR "
    return Node("(", *[piece for part in parts for piece in (by, part)][1:], ")", simpler=parts)
