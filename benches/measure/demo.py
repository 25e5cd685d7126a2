"""The demo: how much memory it takes at most, and how long its statements take together."""

import os
import re
import subprocess
import time

# What the issue of the first capability asks for.
MEMORY_AIM_BYTES = 1 << 30
STATEMENTS_AIM_S = 10

LAST_LINE = re.compile(r"^(\d+) statements in ([0-9.]+) s", re.MULTILINE)


def data_dir(arguments):
    return arguments.work / "demo"


def run(arguments):
    """Runs the demo on an empty data directory, which makes its data, and again."""
    figures = {name: once(arguments) for name in ("first", "again")}
    failed = [f"the {name} run failed: {run['error']}" for name, run in figures.items() if "error" in run]
    return figures | {"memory_aim_bytes": MEMORY_AIM_BYTES, "statements_aim_s": STATEMENTS_AIM_S, "wrong": failed}


def once(arguments):
    log = arguments.work / "demo.log"
    start = time.perf_counter()
    with open(log, "wb") as output:
        process = subprocess.Popen([arguments.bin / "maru", "demo", "--data-dir", data_dir(arguments)],
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    elapsed_s = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_text(errors="replace")
    line = LAST_LINE.search(text)
    if process.returncode != 0 or line is None:
        return {"error": f"exit code {process.returncode}: {text[-500:]}"}
    return {"elapsed_s": elapsed_s, "statements": int(line[1]), "statements_s": float(line[2]),
            "peak_memory_bytes": usage.ru_maxrss * 1024}
