"""The 22 queries of TPC-H over four sources at once, on Maru, Trino and Spark: times, answers, and what each source sent."""

import re
import statistics
import sys
from decimal import Decimal

from measure import lake
from measure.engines import Maru, Spark, Trino, placed
from measure.tpch import QUERIES, compare, median

# What the issue of these sources asks for: Maru is to be so many times as fast.
AIMS = {"trino": 3, "spark": 5}
MOVED = re.compile(r"came back: (\d+) rows, ([0-9.,]+) (\w+)")
LAST_DIGIT = Decimal("0.0001")
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def run(arguments):
    folder = arguments.cache / f"federated-{arguments.scale}"
    folder.mkdir(parents=True, exist_ok=True)
    lake.generate(arguments.tpchgen, folder, arguments.scale)
    lake.load(folder, arguments.scale)
    schema = lake.schema(arguments.scale)
    queries = {path.stem: path.read_text() for path in sorted(QUERIES.glob("*.sql"))}
    if arguments.only:
        queries = {name: queries[name] for name in arguments.only.split(",")}
    work = arguments.work
    with Maru(arguments.bin / "maru", work, arguments.threads, schema) as maru, Trino(work, arguments.threads, schema) as trino, \
            Spark(work, arguments.threads, schema) as spark:
        engines = [maru, trino, spark]
        know_sizes(trino, spark)
        times, answers = measure(engines, queries, arguments.repeats)
        moved = {name: movements(maru, trino, sql) for name, sql in queries.items()}
    wrong = differences(times, answers)
    return {"scale": arguments.scale, "threads": arguments.threads, "repeats": arguments.repeats, "aims": AIMS, "queries": times,
            "moved": moved, "wrong": wrong, "summary": summary(times)}


def know_sizes(trino, spark):
    """Statistics of the tables of files for those that keep them in a metastore; the databases were analysed when they were filled."""
    for table in lake.FILES:
        trino.run(f"ANALYZE {trino.places[table]}")
    spark.run(f"ANALYZE TABLE {spark.places['orders']} COMPUTE STATISTICS FOR ALL COLUMNS")


def measure(engines, queries, repeats):
    """One run to warm up, then `repeats` in turns, each time another engine first."""
    times, answers = {}, {}
    for name, sql in queries.items():
        records = {engine.name: {"runs": []} for engine in engines}
        for turn in range(repeats + 1):
            for at in range(len(engines)):
                engine = engines[(turn + at) % len(engines)]
                record = records[engine.name]
                if "error" in record:
                    continue
                try:
                    rows, figures = engine.timed(placed(sql, engine.places))
                except Exception as error:
                    record["error"] = str(error)[:500]
                    continue
                if turn == 0:
                    answers[name, engine.name] = rows
                    record["n_rows"], record["first_ms"] = len(rows), figures["total_ms"]
                else:
                    record["runs"].append(figures)
        times[name] = records
        told = "  ".join(f"{key} {median(r):.0f} ms" if r["runs"] else f"{key} FAILED: {r['error']}" for key, r in records.items())
        print(f"{name}  {told}", file=sys.stderr, flush=True)
    return times, answers


def differences(times, answers):
    wrong = []
    for query, records in times.items():
        wrong += [f"{query}: {name} failed: {record['error']}" for name, record in records.items() if "error" in record]
        for other in AIMS:
            if (query, "maru") in answers and (query, other) in answers:
                difference = compare(query, *(shortened(answers[query, name]) for name in ("maru", other)))
                if difference:
                    wrong.append(f"{query}: maru and {other} differ: {difference}")
    return wrong


def shortened(rows):
    """The last of the digits that a division made is rounded by one engine and cut off by the other."""
    return [tuple(value.quantize(LAST_DIGIT) if isinstance(value, Decimal) and value.as_tuple().exponent < -4 else value for value in row)
            for row in rows]


def movements(maru, trino, sql):
    """Rows and bytes that each source sent: to Maru with pushdown and without, to Trino in all."""
    moved = {}
    for mode in ("on", "off"):
        maru.run(f"SET pushdown = {mode}")
        try:
            moved[mode] = sent(maru.run("EXPLAIN ANALYZE " + placed(sql, maru.places)))
        except Exception as error:
            moved[mode] = {"error": str(error)[:300]}
    maru.run("RESET pushdown")
    try:
        trino.run(placed(sql, trino.places))
        moved["trino"] = {"rows": trino.stats["processedRows"], "bytes": trino.stats["physicalInputBytes"]}
    except RuntimeError as error:
        moved["trino"] = {"error": str(error)[:300]}
    return moved


def sent(plan):
    """Reads the sources' part of EXPLAIN ANALYZE."""
    sources, catalog = {}, None
    for (line,) in plan:
        if found := re.match(r"  (\w+) (?:is sent:|is read:)", line):
            catalog = found[1]
        elif catalog and (found := MOVED.search(line)):
            source = sources.setdefault(catalog, {"rows": 0, "bytes": 0})
            source["rows"] += int(found[1])
            source["bytes"] += int(float(found[2].replace(",", "")) * UNITS[found[3]])
            catalog = None
    return sources


def summary(times):
    """Sums of medians, and how many times as long as Maru each other engine took: over the sums, and as geometric mean."""
    whole = {query: records for query, records in times.items() if all(r["runs"] for r in records.values())}
    result = {"queries": len(whole), "sum_ms": {}, "cpu_sum_ms": {}, "times_of_sums": {}, "times_geometric_mean": {}}
    for name in ["maru", *AIMS]:
        result["sum_ms"][name] = sum(median(r[name]) for r in whole.values())
        result["cpu_sum_ms"][name] = sum(median(r[name], "cpu_ms") for r in whole.values())
    for name in AIMS if whole else []:
        result["times_of_sums"][name] = result["sum_ms"][name] / result["sum_ms"]["maru"]
        result["times_geometric_mean"][name] = statistics.geometric_mean([median(r[name]) / median(r["maru"]) for r in whole.values()])
    return result


def total(sources, what):
    return sum(source[what] for source in sources.values()) if "error" not in sources else float("nan")


def table(figures):
    lines = ["| query | Maru ms | Trino ms | Spark ms | Trino / Maru | Spark / Maru | rows moved | without pushdown | MiB moved | without pushdown |",
             "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for query, records in figures["queries"].items():
        ms = [median(records[name]) if records[name]["runs"] else float("nan") for name in ("maru", "trino", "spark")]
        on, off = figures["moved"][query]["on"], figures["moved"][query]["off"]
        lines.append(f"| {query} | " + " | ".join(f"{x:.0f}" for x in ms) + f" | {ms[1] / ms[0]:.1f} | {ms[2] / ms[0]:.1f} | "
                     f"{total(on, 'rows'):,.0f} | {total(off, 'rows'):,.0f} | {total(on, 'bytes') / (1 << 20):.1f} | "
                     f"{total(off, 'bytes') / (1 << 20):.1f} |")
    s = figures["summary"]
    lines.append("| sum | " + " | ".join(f"{s['sum_ms'][name]:.0f}" for name in ("maru", "trino", "spark"))
                 + " | " + " | ".join(f"{s['times_of_sums'][name]:.1f}" for name in AIMS) + " | | | | |")
    cpu = s["cpu_sum_ms"]
    lines.append("| CPU, sum | " + " | ".join(f"{cpu[name]:.0f}" for name in ("maru", "trino", "spark"))
                 + " | " + " | ".join(f"{cpu[name] / cpu['maru']:.1f}" for name in AIMS) + " | | | | |")
    lines.append("| geometric mean | | | | " + " | ".join(f"{s['times_geometric_mean'][name]:.1f}" for name in AIMS) + " | | | | |")
    return "\n".join(lines) + "\n\n" + by_source(figures)


def by_source(figures):
    """What each source sent in all queries together."""
    lines = ["| source | rows, all queries | without pushdown | MiB | without pushdown |", "|---|--:|--:|--:|--:|"]
    names = {"lake": "S3: lineitem, partsupp", "warehouse": "Hive on HDFS: orders", "crm": "PostgreSQL: customer, supplier, nation, region",
             "market": "MariaDB: part"}
    for catalog, text in names.items():
        sums = [sum(moved[mode].get(catalog, {}).get(what, 0) for moved in figures["moved"].values())
                for what in ("rows", "bytes") for mode in ("on", "off")]
        lines.append(f"| {text} | {sums[0]:,} | {sums[1]:,} | {sums[2] / (1 << 20):.0f} | {sums[3] / (1 << 20):.0f} |")
    return "\n".join(lines)
