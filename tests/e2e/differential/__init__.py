"""Generated queries that run three ways: left to the source, kept in the engine, and on a copy of the rows in Parquet.

`tables.py` makes the rows, `grammar.py`, `predicates.py` and `queries.py` the statements, `run.py` runs and compares them and makes a
failing one small. Everything follows from one seed and the number of the query.
"""
