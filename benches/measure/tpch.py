"""The 22 queries of TPC-H on Maru, DataFusion and DuckDB, and whether all three say the same."""

import json
import resource
import statistics
import subprocess
import time
from decimal import Decimal

import duckdb
import pyarrow.ipc

from measure.report import HERE

QUERIES = HERE / "tpch"

# Queries whose ORDER BY leaves ties, and the columns it orders by: rows that tie may stand in any order.
TIES = {"q03": (1, 2), "q05": (1,), "q10": (2,), "q11": (1,), "q18": (4, 3)}

# What the answers of Maru are held against.
OTHERS = ["datafusion", "datafusion_defaults", "duckdb"]


def run(arguments):
    """Times of all engines in milliseconds, and the queries whose answers differ."""
    command = [arguments.bin / "maru-queries", "--data", arguments.data, "--queries", QUERIES, "--out", arguments.work,
               "--threads", str(arguments.threads), "--repeats", str(arguments.repeats)]
    if arguments.only:
        command += ["--only", arguments.only]
    # It ends with 1 if a query failed; which one stands in its figures.
    code = subprocess.run(command).returncode
    if code not in (0, 1):
        raise SystemExit(f"maru-queries ended with {code}")
    times = json.loads((arguments.work / "times.json").read_text())
    answers = duck(arguments, times)
    wrong = []
    for query, engines in times.items():
        failed = [f"{query}: {name} failed: {record['error']}" for name, record in engines.items() if "error" in record]
        wrong += failed
        ours = None if failed else answer(arguments.work, "maru", query)
        for other in OTHERS if ours is not None else []:
            theirs = answers[query] if other == "duckdb" else answer(arguments.work, other, query)
            difference = compare(query, ours, theirs)
            if difference:
                wrong.append(f"{query}: maru and {other} differ: {difference}")
    return {"scale": arguments.scale, "threads": arguments.threads, "repeats": arguments.repeats,
            "queries": times, "wrong": wrong, "summary": summary(times)}


def duck(arguments, times):
    """Runs the queries on DuckDB, adds its times and returns its answers."""
    connection = duckdb.connect()
    connection.execute(f"SET threads = {arguments.threads}")
    for path in sorted((arguments.data / "tpch").glob("*.parquet")):
        connection.execute(f"CREATE VIEW {path.stem} AS SELECT * FROM read_parquet('{path}')")
    answers = {}
    for query, engines in times.items():
        sql = (QUERIES / f"{query}.sql").read_text()
        runs = []
        for _ in range(arguments.repeats + 1):
            cpu, start = cpu_ms(), time.perf_counter()
            table = connection.sql(sql).to_arrow_table()
            runs.append({"total_ms": (time.perf_counter() - start) * 1000, "cpu_ms": cpu_ms() - cpu})
        answers[query] = rows(table)
        engines["duckdb"] = {"n_rows": table.num_rows, "runs": runs[1:]}
    return answers


def cpu_ms():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return (usage.ru_utime + usage.ru_stime) * 1000


def answer(work, engine, query):
    with pyarrow.ipc.open_file(work / "answers" / engine / f"{query}.arrow") as file:
        return rows(file.read_all())


def rows(table):
    return list(zip(*(column.to_pylist() for column in table.columns)))


def compare(query, ours, theirs):
    """Where two answers differ, in words; None if they do not."""
    if len(ours) != len(theirs):
        return f"{len(ours)} rows and {len(theirs)}"
    keys = TIES.get(query)
    if keys:
        at = next((i for i, pair in enumerate(zip(ours, theirs)) if not same_row(*(pick(r, keys) for r in pair))), None)
        if at is not None:
            return f"order at row {at}: {ours[at]} and {theirs[at]}"
        ours, theirs = sorted(ours, key=repr), sorted(theirs, key=repr)
    for at, (a, b) in enumerate(zip(ours, theirs)):
        if not same_row(a, b):
            return f"row {at}: {a} and {b}"
    return None


def pick(row, columns):
    return tuple(row[column] for column in columns)


def same_row(a, b):
    return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))


def same(a, b):
    """Exact values are equal exactly. Where a division made a float of one and a decimal of another scale of the other,
    they agree to the last digit that both have, and floats to nine digits."""
    numbers = (int, float, Decimal)
    if isinstance(a, numbers) and isinstance(b, numbers):
        if a == b:
            return True
        steps = [scale_step(x) for x in (a, b) if isinstance(x, Decimal)]
        if isinstance(a, float) or isinstance(b, float):
            a, b = float(a), float(b)
            return abs(a - b) <= max([1e-9 * abs(b), *map(float, steps)])
        return len(set(steps)) == 2 and abs(a - b) < max(steps)
    return a == b


def scale_step(value):
    return Decimal(1).scaleb(value.as_tuple().exponent)


def summary(times):
    """Sums of medians, and Maru's ratio to each other engine: over the sums, and as geometric mean of the queries."""
    whole = {query: engines for query, engines in times.items() if all(r["runs"] for r in engines.values())}
    result = {"queries": len(whole), "sum_ms": {}, "cpu_sum_ms": {}, "ratio_of_sums": {}, "ratio_geometric_mean": {},
              "cpu_ratio_of_sums": {}}
    for name in ["maru", *OTHERS]:
        result["sum_ms"][name] = sum(median(e[name]) for e in whole.values())
        result["cpu_sum_ms"][name] = sum(median(e[name], "cpu_ms") for e in whole.values())
    for name in OTHERS if whole else []:
        result["ratio_of_sums"][name] = result["sum_ms"]["maru"] / result["sum_ms"][name]
        ratios = [median(e["maru"]) / median(e[name]) for e in whole.values()]
        result["ratio_geometric_mean"][name] = statistics.geometric_mean(ratios)
        if result["cpu_sum_ms"][name]:
            result["cpu_ratio_of_sums"][name] = result["cpu_sum_ms"]["maru"] / result["cpu_sum_ms"][name]
    return result


def median(record, figure="total_ms"):
    return statistics.median(run.get(figure) or 0.0 for run in record["runs"])
