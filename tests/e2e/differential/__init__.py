"""Generated queries that run four ways: left to the source, kept in the engine, on a copy of the rows in Parquet, and in PostgreSQL.

`tables.py` makes the rows, `sources.py` and `peer.py` put them where they are asked for, `grammar.py`, `predicates.py` and `queries.py` make the
statements, `run.py` runs and compares them and makes a failing one small. Everything follows from one seed and the number of the query.
"""
