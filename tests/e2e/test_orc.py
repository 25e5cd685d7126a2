"""What ORC files tell about themselves is used while a scan is planned: for counts, to leave files out, and for the order of joins."""

import pyarrow
import pyarrow.orc
import pytest

FILES, ROWS = 4, 10_000


@pytest.fixture
def lake(connection, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(FILES):
        first = number * ROWS
        ids = range(first, first + ROWS)
        table = pyarrow.table({"id": pyarrow.array(ids, "int64"), "name": [f"name {n:06d}" for n in ids],
                               "half": pyarrow.array([n / 2 for n in ids], "float64"), "odd": [n if n % 2 else None for n in ids]})
        pyarrow.orc.write_table(table, folder / f"{number}.orc")
    pyarrow.orc.write_table(pyarrow.table({"id": pyarrow.array([5, 25_000], "int64")}), tmp_path / "few.orc")
    connection.execute(f"CREATE CATALOG orc_lake USING file WITH (path = '{tmp_path}', layout = 'tables')")
    yield folder
    connection.execute("DROP CATALOG orc_lake")


def explain(connection, sql):
    return "\n".join(row[0] for row in connection.execute("EXPLAIN " + sql).fetchall())


def test_whole_files_are_left_out(connection, lake):
    # A file that is not read may be anything behind its end.
    damaged = lake / "3.orc"
    damaged.write_bytes(b"x" * 2000 + damaged.read_bytes()[2000:])
    for condition, kept in [("id = 5", 1), ("id BETWEEN 9999 AND 10000", 2), ("name < 'name 015000' AND id > 12000", 1), ("id < 0", 0)]:
        sql = f"SELECT count(*), min(id) FROM orc_lake.public.parts WHERE {condition}"
        with_it = connection.execute(sql).fetchall()
        assert f"files_pruned={FILES - kept}" in explain(connection, sql) or kept == 0, explain(connection, sql)
        connection.execute("SET pushdown = off")
        # Without pushdown the damaged file is read, too.
        with pytest.raises(Exception, match="3.orc"):
            connection.execute(sql).fetchall()
        connection.execute("RESET pushdown")
        assert with_it[0][0] == {"id = 5": 1, "id < 0": 0, "id BETWEEN 9999 AND 10000": 2}.get(condition, 2999), with_it
    # Bounds of floats say nothing of NaN.
    assert "files_pruned" not in explain(connection, "SELECT count(*) FROM orc_lake.public.parts WHERE half > 1e9")


def test_counts_are_answered_from_the_ends_of_files(connection, lake):
    sql = "SELECT count(*) FROM orc_lake.public.parts"
    assert connection.execute(sql).fetchone()[0] == FILES * ROWS
    assert "orc" not in explain(connection, sql).lower().replace("orc_lake", ""), explain(connection, sql)
    # Bounds are no answers: those of text may be cut off.
    row = connection.execute("SELECT min(name), max(id), count(odd), count(*) FROM orc_lake.public.parts").fetchone()
    assert row == ("name 000000", FILES * ROWS - 1, FILES * ROWS // 2, FILES * ROWS)


def test_a_join_knows_the_smaller_side(connection, lake):
    sql = "SELECT p.name FROM orc_lake.public.parts p JOIN orc_lake.public.few f ON p.id = f.id ORDER BY 1"
    assert connection.execute(sql).fetchall() == [("name 000005",), ("name 025000",)]
    analyzed = "\n".join(row[0] for row in connection.execute("EXPLAIN ANALYZE " + sql).fetchall())
    # The smaller side is read first; what it holds leaves out two of the four stripes of the other.
    assert analyzed.index("few.orc") < analyzed.index("parts/0.orc") and f"came back: {2 * ROWS} rows" in analyzed, analyzed
