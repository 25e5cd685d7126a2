"""Imported ONNX models beside onnxruntime in Python: types, shapes, NULL, refusals, `maru setup onnx`."""

import os
import pathlib
import re
import subprocess
import uuid
import zipfile

import numpy
import onnxruntime
import psycopg
import pytest
from conftest import ONNXRUNTIME, Server
from onnx_files import BOOL, DOUBLE, FLOAT, INT64, STRING, maps, model, node, plane, tensor, value

ROWS = """(SELECT i AS id, (i * 37 % 101) / 8.0 AS a, CASE WHEN i % 11 = 0 THEN NULL ELSE (i * 53 % 97) / 16.0 END AS b, i * 0.25 AS c
    FROM generate_series(1, {n}) AS t (i))"""


@pytest.fixture
def onnx(server):
    with server.connect() as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS onnx")
        yield connection
        connection.execute("DROP SCHEMA onnx CASCADE")


def create(connection, name, path, **options):
    given = "".join(f", {key} = {text}" for key, text in options.items())
    notices = []
    connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    connection.execute(f"CREATE OR REPLACE MODEL onnx.{name} OPTIONS (model_type = 'onnx', path = '{path}'{given})")
    return notices


def refusal(connection, sql):
    with pytest.raises(psycopg.Error) as error:
        connection.execute(sql).fetchall()
    diag = error.value.diag
    return diag.sqlstate, diag.message_primary, diag.message_detail or "", diag.message_hint or ""


def refused(connection, path, **options):
    given = "".join(f", {key} = {text}" for key, text in options.items())
    return refusal(connection, f"CREATE MODEL onnx.no OPTIONS (model_type = 'onnx', path = '{path}'{given})")


def in_python(path, **feeds):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(zip([one.name for one in session.get_outputs()], session.run(None, feeds)))


def test_a_matrix_of_columns(onnx, tmp_path):
    path = tmp_path / "plane.onnx"
    path.write_bytes(plane())
    notices = create(onnx, "m", path, input_cols="['a', 'b', 'c']")
    assert any('gives "y" (array of 2 real)' in notice for notice in notices), notices
    rows = onnx.execute(f"SELECT id, a, b, c, y FROM ML.PREDICT(MODEL onnx.m, {ROWS.format(n=20000)}) ORDER BY id").fetchall()
    assert len(rows) == 20000
    x = numpy.array([[float("nan") if v is None else float(v) for v in row[1:4]] for row in rows], numpy.float32)
    said = in_python(path, x=x)["y"]
    for row, expected in zip(rows, said):
        found = row[4] if isinstance(row[4], list) else [None if t == "NULL" else float(t) for t in row[4].strip("{}").split(",")]
        assert found == [None if numpy.isnan(v) else pytest.approx(float(v), rel=1e-6) for v in expected], row
    # The same as an array; what stands around it is not computed twice.
    create(onnx, "arrays", path)
    again = onnx.execute(f'SELECT id, y FROM ML.PREDICT(MODEL onnx.arrays, (SELECT id, ARRAY[a, b, c] AS x FROM {ROWS.format(n=50)} r)) ORDER BY id').fetchall()
    assert again == [(row[0], row[4]) for row in rows[:50]]
    plan = "\n".join(row[0] for row in onnx.execute(
        f"EXPLAIN SELECT id, y FROM ML.PREDICT(MODEL onnx.m, {ROWS.format(n=50)}) WHERE id > 40").fetchall())
    assert "ml_predict[onnx.m v1, ort-cpu]" in plan, plan
    code, message, detail, _ = refusal(onnx, "SELECT * FROM ML.PREDICT(MODEL onnx.arrays, (SELECT ARRAY[1.0, 2.0] AS x))")
    assert code == "22023" and "arrays of 3 values" in message and "2" in detail
    assert refusal(onnx, "SELECT * FROM ML.PREDICT(MODEL onnx.m, (SELECT 1 AS a, 'x' AS b, 2 AS c))")[0] == "42804"
    assert refusal(onnx, "SELECT * FROM ML.PREDICT(MODEL onnx.m, (SELECT 1 AS a, 2 AS b))")[0] == "42703"


def test_a_column_an_input(onnx, tmp_path):
    path = tmp_path / "mixed.onnx"
    path.write_bytes(model(
        [node("Mul", ["amount", "price"], ["total"]), node("Not", ["paid"], ["open"]), node("Add", ["number", "number"], ["twice"]),
         node("LabelEncoder", ["kind"], ["code"], domain="ai.onnx.ml", keys_strings=["new", "old"], values_int64s=[1, 2], default_int64=0)],
        [value("amount", DOUBLE, ["n", 1]), value("price", DOUBLE, ["n", 1]), value("paid", BOOL, ["n"]), value("number", INT64, ["n"]),
         value("kind", STRING, ["n"])],
        [value("total", DOUBLE, ["n", 1]), value("open", BOOL, ["n"]), value("twice", INT64, ["n"]), value("code", INT64, ["n"])]))
    create(onnx, "mixed", path)
    rows = onnx.execute("""SELECT id, total, open, twice, code FROM ML.PREDICT(MODEL onnx.mixed, (SELECT * FROM (VALUES
        (1, 2, 3.5, true, 5, 'new'), (2, NULL, 1, false, 6, 'neu'), (3, 1, 1, NULL, 7, 'old'), (4, 1, 1, true, 8, NULL), (5, 4, 0.5, false, 9, 'old'))
        AS t (id, amount, price, paid, number, kind))) ORDER BY id""").fetchall()
    # NULL is NaN where there is one; a row with another NULL is not asked about.
    assert rows == [(1, 7.0, False, 10, 1), (2, None, True, 12, 0), (3, None, None, None, None), (4, None, None, None, None), (5, 2.0, True, 18, 2)]
    # Parameters have the types of the inputs.
    single = "SELECT total, open, twice, code FROM ML.PREDICT(MODEL onnx.mixed, (SELECT %s AS amount, %s AS price, %s AS paid, %s AS number, %s AS kind))"
    for given in ([2, 3.5, True, 5, "new"], ["2", "3.5", "true", "5", "new"]):
        assert onnx.execute(single, given).fetchall() == [(7.0, False, 10, 1)], given
    assert onnx.execute("SELECT count(*) FROM ML.PREDICT(MODEL onnx.mixed, (SELECT 1 AS amount, 1 AS price, true AS paid, 1 AS number, 'a' AS kind "
                        "WHERE false))").fetchone() == (0,)
    code, _, detail, _ = refusal(onnx, "SELECT * FROM ML.EVALUATE(MODEL onnx.mixed)")
    assert code == "42809" and "ML.EVALUATE" in detail
    features = onnx.execute("SELECT input FROM ML.FEATURE_INFO(MODEL onnx.mixed)").fetchall()
    assert [name for name, in features] == ["amount", "price", "paid", "number", "kind"]
    assert onnx.execute("SELECT model_type FROM system.models WHERE schema = 'onnx'").fetchall() == [("onnx",)]


def test_maps_and_single_rows(onnx, tmp_path):
    path = tmp_path / "maps.onnx"
    path.write_bytes(model(
        [node("Softmax", ["x"], ["p"]), node("ZipMap", ["p"], ["output_probability"], domain="ai.onnx.ml", classlabels_strings=["bad", "good"])],
        [value("x", FLOAT, ["n", 2])], [maps("output_probability", STRING)]))
    create(onnx, "maps", path, input_cols="['a', 'c']")
    rows = onnx.execute(f"SELECT a, c, output_probability[2]['label'], output_probability[2]['prob'] FROM ML.PREDICT(MODEL onnx.maps, {ROWS.format(n=9)})").fetchall()
    for a, c, label, p in rows:
        assert label == "good" and p == pytest.approx(1 / (1 + numpy.exp(float(a) - float(c))), abs=1e-6)
    path = tmp_path / "one.onnx"
    path.write_bytes(plane(rows=1))
    create(onnx, "one", path, input_cols="['a', 'c', 'id']")
    many = tmp_path / "many.onnx"
    many.write_bytes(plane())
    create(onnx, "many", many, input_cols="['a', 'c', 'id']")
    both = [onnx.execute(f"SELECT id, y FROM ML.PREDICT(MODEL onnx.{name}, {ROWS.format(n=300)}) ORDER BY id").fetchall() for name in ("one", "many")]
    assert both[0] == both[1]


def test_what_cannot_be_imported_is_refused(onnx, tmp_path):
    path = tmp_path / "bad.onnx"

    def of(data, **options):
        path.write_bytes(data)
        return refused(onnx, path, **options)

    good = plane()
    assert of(good[: len(good) // 2])[0] == "22P04"
    assert of(b"")[0] == "22P04"
    assert of(b"PK\x03\x04 a zip file")[0] == "22P04"
    unknown = model([node("NoSuchOperator", ["x"], ["y"])], [value("x", FLOAT, ["n", 1])], [value("y", FLOAT, ["n", 1])])
    code, message, detail, _ = of(unknown)
    assert code == "22P04" and "NoSuchOperator" in detail, (message, detail)
    custom = model([node("Mine", ["x"], ["y"], domain="my.ops")], [value("x", FLOAT, ["n", 1])], [value("y", FLOAT, ["n", 1])], domains=["my.ops"])
    code, message, _, _ = of(custom)
    assert code == "0A000" and "my.ops.Mine" in message
    outside = model([node("MatMul", ["x", "w"], ["y"])], [value("x", FLOAT, ["n", 1])], [value("y", FLOAT, ["n", 1])],
                    [tensor("w", [1, 1], [1], external="../../etc/passwd")])
    code, message, _, hint = of(outside)
    assert code == "0A000" and "another file" in message and "save_as_external_data" in hint
    cube = model([node("Identity", ["x"], ["y"])], [value("x", FLOAT, ["n", 2, 2])], [value("y", FLOAT, ["n", 2, 2])])
    code, message, _, _ = of(cube)
    assert code == "0A000" and 'input "x"' in message
    code, message, _, hint = of(plane(rows=7))
    assert code == "0A000" and "7 rows" in message and "dynamic" in hint
    code, _, detail, _ = of(good, input_cols="['a']")
    assert code == "22023" and "array of 3 real" in detail
    code, message, _, hint = of(good, execution_provider="'cuda'")
    assert code == "0A000" and "'cuda'" in message and "onnxruntime_library" in hint
    assert of(good, execution_provider="'abacus'")[0] == "22023"
    code, _, detail, _ = of(good, l2_reg="1")
    assert code == "22023" and "input_cols" in detail
    assert refused(onnx, tmp_path / "none.onnx")[0] == "58P01"
    code, message, _, hint = refused(onnx, "s3://no-such-bucket-of-ours/m.onnx")
    assert code == "42704" and "CREATE CATALOG" in hint
    assert refused(onnx, "no place at all")[0] == "22023"
    assert refusal(onnx, f"CREATE MODEL onnx.no OPTIONS (model_type = 'onnx', path = '{path}') AS SELECT 1 AS x")[0] == "42601"
    assert refusal(onnx, "CREATE MODEL onnx.no OPTIONS (model_type = 'onnx')")[0] == "22023"
    assert refusal(onnx, "CREATE MODEL onnx.no OPTIONS (model_type = 'logistic_reg')")[0] == "42601"
    # Rows that do not come out one for one are no predictions.
    sum_up = model([node("ReduceSum", ["x"], ["y"], keepdims=1)], [value("x", FLOAT, ["n", 1])], [value("y", FLOAT, ["m", 1])])
    code, message, _, _ = of(sum_up)
    assert code == "0A000" and "has one row" in message
    path.write_bytes(model([node("Concat", ["x", "x"], ["y"], axis=0)], [value("x", FLOAT, ["n", 1])], [value("y", FLOAT, ["m", 1])]))
    create(onnx, "twice", path)
    code, message, _, _ = refusal(onnx, "SELECT * FROM ML.PREDICT(MODEL onnx.twice, (SELECT i * 1.0 AS x FROM generate_series(1, 5) AS t (i)))")
    assert code == "22023" and "does not belong to the rows" in message
    assert onnx.execute("SELECT count(*) FROM system.models WHERE schema = 'onnx' AND name = 'no'").fetchone() == (0,)
    # A file that has vast dimensions asks for memory, and gets none; the server lives.
    vast = model([node("ConstantOfShape", ["s"], ["k"]), node("Add", ["x", "k"], ["y"])], [value("x", FLOAT, ["n", 1])], [value("y", FLOAT, ["n", 1])],
                 [tensor("s", [2], [1 << 40, 1 << 20], kind=INT64)])
    path.write_bytes(vast)
    onnx.execute("SELECT 1")
    try:
        create(onnx, "vast", path)
        refusal(onnx, "SELECT * FROM ML.PREDICT(MODEL onnx.vast, (SELECT 1.0 AS x))")
    except psycopg.Error as error:
        assert error.sqlstate in ("0A000", "22P04", "22023"), error
    assert onnx.execute("SELECT 1").fetchone() == (1,)


def test_versions_rights_export_and_retraining(onnx, server, tmp_path):
    path, out = tmp_path / "m.onnx", tmp_path / "out.onnx"
    path.write_bytes(plane())
    create(onnx, "m", path, input_cols="['a', 'c', 'id']")
    onnx.execute(f"EXPORT MODEL onnx.m TO '{out}'")
    assert out.read_bytes() == path.read_bytes()
    before = onnx.execute(f"SELECT y FROM ML.PREDICT(MODEL onnx.m, {ROWS.format(n=3)}) ORDER BY id").fetchall()
    # The version holds the file: what becomes of the place does not matter.
    path.write_bytes(model([node("Identity", ["x"], ["y"])], [value("x", FLOAT, ["n", 3])], [value("y", FLOAT, ["n", 3])]))
    onnx.execute("RETRAIN MODEL onnx.m WITH (set_default = false)")
    assert onnx.execute(f"SELECT y FROM ML.PREDICT(MODEL onnx.m, {ROWS.format(n=3)}) ORDER BY id").fetchall() == before
    assert onnx.execute(f"SELECT y FROM ML.PREDICT(MODEL onnx.m@2, {ROWS.format(n=3)}) ORDER BY id").fetchall() != before
    assert refusal(onnx, "RETRAIN MODEL onnx.m WHEN DRIFT > 0.2")[0] == "42809"
    user = "reader_" + uuid.uuid4().hex[:6]
    onnx.execute(f"CREATE USER {user} PASSWORD 'pw-of-reader'")
    onnx.execute(f"GRANT USAGE, CREATE ON SCHEMA onnx TO {user}")
    with server.connect(user=user, password="pw-of-reader") as other:
        assert refusal(other, f"SELECT * FROM ML.PREDICT(MODEL onnx.m, {ROWS.format(n=3)})")[0] in ("42704", "42501")
        # The server's files are not for everybody.
        assert refused(other, path)[0] == "42501"
    onnx.execute(f"REVOKE ALL ON SCHEMA onnx FROM {user}")
    onnx.execute(f"DROP USER {user}")


@pytest.mark.services
def test_from_s3_and_hdfs(onnx):
    from seeding.storage import Hdfs, s3_client, s3_fresh_bucket

    name = "e-onnx-" + uuid.uuid4().hex[:8]
    hdfs, s3 = Hdfs(), s3_client()
    s3_fresh_bucket(s3, name)
    s3.put_object(Bucket=name, Key="models/m.onnx", Body=plane())
    hdfs.put(f"/user/ml/{name}.onnx", plane())
    catalog = name.replace("-", "_")
    try:
        onnx.execute(f"CREATE CATALOG {catalog} USING s3 WITH (bucket = '{name}', endpoint = '{os.environ['MARU_TEST_S3']}', "
                     f"access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}')")
        onnx.execute(f"CREATE CATALOG {catalog}_h USING hdfs WITH (url = '{os.environ['MARU_TEST_HDFS']}/user/ml')")
        said = []
        for place in (f"s3://{name}/models/m.onnx", f"{os.environ['MARU_TEST_HDFS']}/user/ml/{name}.onnx"):
            create(onnx, "m", place, input_cols="['a', 'c', 'id']")
            said.append(onnx.execute(f"SELECT id, y FROM ML.PREDICT(MODEL onnx.m, {ROWS.format(n=100)}) ORDER BY id").fetchall())
        assert said[0] == said[1] and len(said[0]) == 100
        assert refused(onnx, f"s3://{name}/models/other.onnx")[0] == "58P01"
    finally:
        onnx.execute(f"DROP CATALOG IF EXISTS {catalog}")
        onnx.execute(f"DROP CATALOG IF EXISTS {catalog}_h")
        hdfs.delete(f"/user/ml/{name}.onnx")
        s3.delete_object(Bucket=name, Key="models/m.onnx")
        s3.delete_bucket(Bucket=name)


def test_setup_and_a_server_without_the_library(tmp_path):
    data = tmp_path / "data"
    path = tmp_path / "plane.onnx"
    path.write_bytes(plane())
    server = Server(data, environment={"MARU_ONNXRUNTIME_LIBRARY": ""})
    try:
        with server.connect() as connection:
            connection.execute("CREATE SCHEMA onnx")
            code, message, detail, hint = refused(connection, path)
            assert code == "58P01" and "not installed" in message and str(data / "onnx") in detail and "maru setup onnx" in hint
            # A wheel from elsewhere, as on a machine without a network.
            wheel = tmp_path / "onnxruntime-0-py3-none-any.whl"
            with zipfile.ZipFile(wheel, "w") as archive:
                archive.write(ONNXRUNTIME, "onnxruntime/capi/" + pathlib.Path(ONNXRUNTIME).name)
                archive.writestr("onnxruntime/__init__.py", "")
            run = [os.environ["MARU_BIN"], "setup", "onnx", "--data-dir", str(data), "--wheel", str(wheel)]
            done = subprocess.run(run, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0 and "is installed in" in done.stdout, done
            assert [one.name for one in (data / "onnx").iterdir()] == [pathlib.Path(ONNXRUNTIME).name]
            # The running server takes it.
            create(connection, "m", path, input_cols="['a', 'c', 'id']")
            assert connection.execute(f"SELECT count(*) FROM ML.PREDICT(MODEL onnx.m, {ROWS.format(n=10)})").fetchone() == (10,)
        server.stop()
        # A version is read again after a start; a library that is none is named.
        broken = tmp_path / "libonnxruntime.so"
        broken.write_bytes(b"no library")
        server = Server(data, environment={"MARU_ONNXRUNTIME_LIBRARY": str(broken)})
        with server.connect() as connection:
            code, message, _, _ = refusal(connection, f"SELECT * FROM ML.PREDICT(MODEL onnx.m, {ROWS.format(n=10)})")
            assert code == "55000" and str(broken) in message
        server.stop()
        server = Server(data, environment={"MARU_ONNXRUNTIME_LIBRARY": ""})
        with server.connect() as connection:
            assert connection.execute(f"SELECT count(*) FROM ML.PREDICT(MODEL onnx.m, {ROWS.format(n=10)})").fetchone() == (10,)
    finally:
        if server.process.poll() is None:
            server.stop()
    empty = tmp_path / "empty.whl"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("other/__init__.py", "")
    run = [os.environ["MARU_BIN"], "setup", "onnx", "--data-dir", str(data), "--wheel", str(empty)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and re.search("there is no library of ONNX Runtime", done.stderr), done.stderr
    # What was there stays.
    assert [one.name for one in (data / "onnx").iterdir()] == [pathlib.Path(ONNXRUNTIME).name]
