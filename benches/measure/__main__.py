"""Runs the parts that were asked for and keeps what they found."""

import argparse
import pathlib
import sys

from measure import batch, clients, demo, export, federated, ingest, ml, planning, report, scans, tpch, wire

# What measures a part, and what makes a table for people of its figures.
PARTS = {
    "tpch": (tpch.run, report.tpch_table),
    "demo": (demo.run, report.demo_table),
    "wire": (wire.run, report.wire_table),
    "federated": (federated.run, federated.table),
    "scans": (scans.run, scans.table),
    "planning": (planning.run, planning.table),
    "export": (export.run, export.table),
    "ingest": (ingest.run, ingest.table),
    "clients": (clients.run, clients.table),
    "ml": (ml.run, ml.table),
    "batch": (batch.run, batch.table),
}


def main():
    parser = argparse.ArgumentParser(prog="benches/run")
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--tpchgen", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--scale", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("parts", nargs="+", choices=PARTS)
    arguments = parser.parse_args()
    wrong = []
    for part in dict.fromkeys(arguments.parts):
        machine = report.machine()
        measure, table = PARTS[part]
        figures = measure(arguments)
        figures["machine"] = machine | {"load_after": report.load()}
        report.keep(part, figures, arguments, table)
        wrong += [f"{part}: {text}" for text in figures["wrong"]]
    for text in wrong:
        print(f"WRONG  {text}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


main()
