"""Where figures go: a file for machines, and a table in the README for people."""

import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess

HERE = pathlib.Path(__file__).parents[1]
README = HERE / "README.md"
RESULTS = HERE / "results"


def machine():
    """What figures depend on besides the code."""
    return {"cpu": cpu_model(), "cores": os.cpu_count(), "memory_bytes": memory_bytes(), "system": platform.platform(),
            "commit": git("rev-parse", "--short=12", "HEAD"), "changed_files": bool(git("status", "--porcelain", "--", ":!benches")),
            "profile": "release", "load_before": load()}


def cpu_model():
    found = re.search(r"^model name\s*:\s*(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def memory_bytes():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def load():
    """Processes that wanted a core in the last minute: well above `cores` means that neighbours were at work."""
    return round(os.getloadavg()[0], 1)


def git(*arguments):
    return subprocess.run(["git", "-C", HERE, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def keep(part, figures, arguments, table):
    """Writes the result file; renews the table if the run was whole."""
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d-%H%M")
    RESULTS.mkdir(exist_ok=True)
    scaled = part not in ("demo", "wire")
    name = f"{date}-{part}-{arguments.scale}" if scaled else f"{date}-{part}"
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(rounded({"date": date, "part": part} | figures), indent=1) + "\n")
    text = figures["wrong"] and "Failed: " + "; ".join(figures["wrong"]) or table(figures)
    print(f"\n{text}\n\n{path}")
    if not scaled or (arguments.scale == "1" and not arguments.only):
        renew(part, f"{conditions(figures)} `results/{path.name}`\n\n{text}")


def rounded(value):
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list) else value


def conditions(figures):
    m = figures["machine"]
    changed = " and uncommitted changes" if m["changed_files"] else ""
    return (f"{m['cores']} cores ({m['cpu']}), {m['memory_bytes'] / (1 << 30):.0f} GiB, load {m['load_before']} before and "
            f"{m['load_after']} after, commit {m['commit']}{changed}, release profile:")


def renew(part, text):
    begin, end = f"<!-- figures: {part} -->", f"<!-- end of figures: {part} -->"
    readme = README.read_text()
    before, rest = readme.split(begin)
    after = rest.split(end)[1]
    README.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def tpch_table(figures):
    engines = ["maru", "datafusion", "datafusion_defaults", "duckdb"]
    lines = ["| query | Maru ms | DataFusion ms | with its defaults ms | DuckDB ms | Maru / DataFusion | Maru / DuckDB |",
             "|---|--:|--:|--:|--:|--:|--:|"]
    for query, records in figures["queries"].items():
        ms = [statistics.median(run["total_ms"] for run in records[name]["runs"]) for name in engines]
        lines.append(f"| {query} | " + " | ".join(f"{x:.0f}" for x in ms) + f" | {ms[0] / ms[1]:.2f} | {ms[0] / ms[3]:.2f} |")
    s = figures["summary"]
    lines.append("| sum | " + " | ".join(f"{s['sum_ms'][name]:.0f}" for name in engines)
                 + f" | {s['ratio_of_sums']['datafusion']:.2f} | {s['ratio_of_sums']['duckdb']:.2f} |")
    lines.append("| CPU, sum | " + " | ".join(f"{s['cpu_sum_ms'][name]:.0f}" for name in engines)
                 + " | " + " | ".join(f"{s['cpu_ratio_of_sums'].get(n, float('nan')):.2f}" for n in ("datafusion", "duckdb")) + " |")
    lines.append("| geometric mean | | | | | " + " | ".join(f"{s['ratio_geometric_mean'][n]:.2f}" for n in ("datafusion", "duckdb")) + " |")
    return "\n".join(lines)


def demo_table(figures):
    lines = [f"| | whole run | its {figures['again']['statements']} statements (aim: {figures['statements_aim_s']} s) | "
             f"peak memory (aim: {figures['memory_aim_bytes'] >> 20} MiB) |", "|---|--:|--:|--:|"]
    for name, text in (("first", "first run, makes the data"), ("again", "run again")):
        run = figures[name]
        lines.append(f"| {text} | {run['elapsed_s']:.1f} s | {run['statements_s']:.2f} s | {run['peak_memory_bytes'] >> 20} MiB |")
    return "\n".join(lines)


def wire_table(figures):
    lines = [f"| first row of the seed's query (aim: {figures['aim_ms']} ms) | median | 95 % within |", "|---|--:|--:|"]
    for name, text in (("text", "planned each time"), ("prepared", "prepared once")):
        lines.append(f"| {text} | {figures[name]['median_ms']:.1f} ms | {figures[name]['p95_ms']:.1f} ms |")
    return "\n".join(lines)

