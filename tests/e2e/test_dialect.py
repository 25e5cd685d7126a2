"""The dialect against PostgreSQL itself: the same text gives the same rows under the same name, or the same SQLSTATE."""

import os
import pathlib

import psycopg
import pytest

pytestmark = pytest.mark.services

LINES = (pathlib.Path(__file__).parent / "dialect.txt").read_text().splitlines()
EXPRESSIONS = [line for line in LINES if line and not line.startswith("#")]


def answer(connection, sql):
    """Rows as text and the name of the first column; or the SQLSTATE."""
    try:
        cursor = connection.cursor()
        # Encoded text is sent as it is: a percent sign in it is no parameter.
        result = cursor.execute(sql.encode(), prepare=False).pgresult
        return [result.get_value(row, 0) for row in range(result.ntuples)], cursor.description[0].name
    except psycopg.Error as error:
        return error.sqlstate


def test_expressions_mean_what_they_mean_in_postgresql(connection):
    assert len(EXPRESSIONS) > 200
    differences = []
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as postgres:
        postgres.execute("SET timezone = 'UTC'")
        for expression in EXPRESSIONS:
            sql = f"SELECT {expression}"
            expected, got = answer(postgres, sql), answer(connection, sql)
            if expected != got:
                differences.append(f"{sql}\n  PostgreSQL {expected}\n  Maru       {got}")
    assert not differences, "\n" + "\n".join(differences)
