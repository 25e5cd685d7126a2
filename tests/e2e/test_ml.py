"""The ML Modeler: the mission's case on Hive and HDFS, the guide's examples, ONNX beside Maru, faults."""

import datetime
import math
import os
import pathlib
import random
import re
import threading
import time
import uuid

import psycopg
import pyarrow as pa
import pytest
from conftest import ROOT, Server

N_PRODUCTS = 6000


def products():
    """Measurements of a line: three causes that move together, gaps, a few broken sensors, defects that follow from them."""
    chance = random.Random(11)
    columns = {name: [] for name in ["id", "temp", "press", "vib", "amp", "line_id", "label", "dt"]}
    for number in range(N_PRODUCTS):
        heat, load = chance.gauss(0, 1), chance.gauss(0, 1)
        line = chance.choice("ABC")
        risk = 1.8 * heat + 1.2 * load + {"A": -0.5, "B": 0, "C": 0.8}[line] - 2.2
        defect = chance.random() < 1 / (1 + math.exp(-2 * risk))
        broken = chance.random() < 0.01
        columns["id"].append(number)
        columns["temp"].append(180 + 6 * heat + chance.gauss(0, 1) + (400 if broken else 0))
        columns["press"].append(None if chance.random() < 0.05 else 3 + 0.2 * heat + 0.1 * load + chance.gauss(0, 0.03))
        columns["vib"].append(0.5 + 0.1 * load + chance.gauss(0, 0.02))
        columns["amp"].append(12 + 0.8 * load + 0.4 * heat + chance.gauss(0, 0.2))
        columns["line_id"].append(line)
        columns["label"].append("defective" if defect else "good")
        columns["dt"].append(datetime.date(2025, 10, 1) + datetime.timedelta(days=number * 120 // N_PRODUCTS))
    return pa.table({**columns, "id": pa.array(columns["id"], pa.int64()), "dt": pa.array(columns["dt"], pa.date32())})


def statements(text):
    """The statements of a script, without comments."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return [one.strip() for one in "\n".join(lines).split(";") if one.strip()]


def run_script(connection, sql):
    """All results, by statement."""
    results = []
    for statement in statements(sql):
        cursor = connection.execute(statement)
        results.append((statement, cursor.fetchall() if cursor.description else None))
    return results


@pytest.mark.services
def test_the_mission_on_hive_and_hdfs(server):
    from seeding.metastore import PARQUET, Metastore
    from seeding.storage import Hdfs, parquet_bytes

    database = "mes_" + uuid.uuid4().hex[:8]
    base = f"/user/ml/{database}"
    hdfs = Hdfs()
    hdfs.put(f"{base}/products/part-0.parquet", parquet_bytes(products()))
    columns = [("id", "bigint"), ("temp", "double"), ("press", "double"), ("vib", "double"), ("amp", "double"), ("line_id", "string"),
               ("label", "string"), ("dt", "date")]
    with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore:
        metastore.create_database(database, os.environ["MARU_TEST_HDFS"] + base, "products", {})
        metastore.create_table(database, "products", os.environ["MARU_TEST_HDFS"] + base + "/products", columns, PARQUET)
    try:
        with server.connect() as connection:
            connection.execute(f"CREATE CATALOG user_dhp_hive USING hive WITH (metastore = '{os.environ['MARU_TEST_HMS3']}')")
            script = (ROOT / "sql/scripts/ml_modeler.sql").read_text().replace("${products}", f"user_dhp_hive.{database}.products")
            results = run_script(connection, script)
            by_start = {statement: rows for statement, rows in results}
            trials = connection.execute("SELECT trial_id, state, roc_auc FROM ML.TRIAL_INFO(MODEL mes.defect) ORDER BY trial_id").fetchall()
            assert len(trials) == 24 and all(state == "succeeded" for _, state, _ in trials)
            (first, best) = (connection.execute(f"SELECT roc_auc FROM ML.EVALUATE(MODEL mes.defect VERSION {v})").fetchone()[0] for v in (1, 2))
            assert best >= first - 1e-3 and best > 0.9, (first, best)
            assert best == max(auc for _, _, auc in trials)
            held_out = next(rows for statement, rows in by_start.items() if "dt >= DATE" in statement and "ML.EVALUATE" in statement)
            assert held_out[0][1] > 0.9, held_out
            outliers = connection.execute("SELECT n_outliers, n_rows FROM system.model_versions WHERE model = 'defect' AND version = 2").fetchone()
            assert 20 <= outliers[0] <= 200, outliers
            predicted = next(rows for statement, rows in by_start.items() if "ORDER BY id LIMIT 5" in statement)
            assert len(predicted) == 5 and all(row[1] in ("good", "defective") for row in predicted)
            plan = "\n".join(row[0] for row in connection.execute(
                f"EXPLAIN SELECT id, predicted_label FROM ML.PREDICT(MODEL mes.defect, TABLE user_dhp_hive.{database}.products) "
                "WHERE dt = DATE '2026-01-05'").fetchall())
            assert "ml_predict[mes.defect v2" in plan, plan
            connection.execute("DROP SCHEMA mes CASCADE")
            connection.execute("DROP CATALOG user_dhp_hive")
    finally:
        with Metastore(os.environ["MARU_TEST_HMS3"]) as metastore:
            metastore.client.drop_database(database, False, True)
        hdfs.delete(base)


def test_the_examples_of_the_guide(server):
    text = (ROOT / "docs/ml.md").read_text()
    examples = re.findall(r"```sql\n(.*?)```", text, re.S)
    assert len(examples) >= 8
    with server.connect() as connection:
        for example in examples:
            run_script(connection, example)
        state = None
        for _ in range(600):
            state = connection.execute("SELECT state FROM system.training_jobs WHERE model = 'later'").fetchone()[0]
            if state == "succeeded":
                break
            time.sleep(0.1)
        assert state == "succeeded"
        connection.execute("DROP SCHEMA mes CASCADE")
        connection.execute("DROP ROLE planner")


NUMBERS = """SELECT i AS id, (i * 37 % 101) / 10.0 AS a, CASE WHEN i % 13 = 0 THEN NULL ELSE (i * 53 % 97) / 7.0 END AS b,
    CASE i % 3 WHEN 0 THEN 'A' WHEN 1 THEN 'B' ELSE 'C' END AS line,
    CASE WHEN i * 37 % 101 + i * 53 % 97 + i * 17 % 31 > 125 THEN 'bad' ELSE 'good' END AS label, i % 4 AS four, i * 37 % 101 * 0.3 + i % 7 AS y
    FROM generate_series(1, 1500) AS t (i)"""

TRANSFORM = """TRANSFORM (ML.PCA(ML.MIN_MAX_SCALER(ML.IMPUTER(ARRAY[a, b], 'median') OVER ()) OVER (), 2) OVER () AS pc,
    ML.ONE_HOT_ENCODER(line) OVER () AS line, {label})"""


@pytest.mark.parametrize("model_type, label, options", [
    ("logistic_reg", "label", "l2_reg = 0.5"),
    ("logistic_reg", "four", "l2_reg = 1.0"),
    ("linear_reg", "y", "l2_reg = 0.1"),
    ("boosted_tree_classifier", "label", "max_iterations = 20"),
    ("boosted_tree_regressor", "y", "max_iterations = 20"),
    ("random_forest_classifier", "label", "num_parallel_tree = 15"),
    ("decision_tree_classifier", "four", "max_tree_depth = 5"),
    ("random_forest_regressor", "y", "num_parallel_tree = 10"),
    ("linear_svm", "label", "l2_reg = 1.0"),
    ("linear_svm", "four", "l2_reg = 1.0"),
    ("naive_bayes", "label", "var_smoothing = 1e-6"),
    ("naive_bayes", "four", "var_smoothing = 1e-6"),
    ("knn_classifier", "label", "num_neighbors = 4"),
    ("knn_regressor", "y", "num_neighbors = 5"),
    ("kmeans", None, "num_clusters = 3"),
    ("gaussian_mixture", None, "num_clusters = 3"),
    ("dbscan", None, "epsilon = 0.1, min_samples = 5"),
    ("isolation_forest", None, "num_trees = 30, contamination = 0.1"),
    ("pca", None, "num_principal_components = 2"),
])
def test_onnx_predicts_the_same(server, tmp_path, model_type, label, options):
    import numpy
    import onnxruntime

    with server.connect() as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS onnx")
        transform = TRANSFORM.format(label=label) if label else "TRANSFORM (ML.IMPUTER(ARRAY[a, b], 'mean') OVER () AS x)"
        if "knn" in model_type:
            # Of neighbours as far the last digit of a distance decides: nothing is rotated here.
            transform = f"TRANSFORM (ML.IMPUTER(ARRAY[a, b], 'median') OVER () AS x, ML.ONE_HOT_ENCODER(line) OVER () AS line, {label})"
        labels = f", input_label_cols = ['{label}']" if label else ""
        connection.execute(f"CREATE OR REPLACE MODEL onnx.m {transform} OPTIONS (model_type = '{model_type}', {options}{labels}) AS {NUMBERS}")
        path = tmp_path / "model.onnx"
        connection.execute(f"EXPORT MODEL onnx.m TO '{path}'")
        rows = connection.execute(f"SELECT * FROM ML.PREDICT(MODEL onnx.m, (SELECT id, a, b, line FROM ({NUMBERS}) n)) ORDER BY id")
        names = [column.name for column in rows.description]
        rows = [dict(zip(names, row)) for row in rows.fetchall()]
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        feeds = {}
        for one in session.get_inputs():
            if "string" in one.type:
                feeds[one.name] = numpy.array([[row[one.name]] for row in rows], dtype=object)
            else:
                feeds[one.name] = numpy.array([[math.nan if row[one.name] is None else float(row[one.name])] for row in rows])
        said = dict(zip([one.name for one in session.get_outputs()], session.run(None, feeds)))
        # Of neighbours as far the last digit of a distance decides, as it does at a split.
        trees = "tree" in model_type or "forest" in model_type or "knn" in model_type
        near, off = 1e-5 if trees else 1e-9, 0
        if model_type == "isolation_forest":
            assert all(abs(found[0] - row["anomaly_score"]) < 1e-6 for found, row in zip(said["anomaly_score"], rows))
            assert sum(found[0] != row["is_anomaly"] for found, row in zip(said["is_anomaly"], rows)) <= 2
        elif model_type == "pca":
            for found, row in zip(said["components"], rows):
                off += max(abs(found[k] - row[f"principal_component_{k + 1}"]) for k in range(2)) > near
        elif label is None:
            # Cluster 0 stands for rows apart from all.
            assert list(said["cluster"]) == [row["centroid_id"] or 0 for row in rows]
            if model_type == "dbscan":
                assert len(set(said["cluster"])) > 2 and 0 in said["cluster"]
            if model_type == "gaussian_mixture":
                for p, density, row in zip(said["probabilities"], said["log_density"], rows):
                    mine = [one["prob"] for one in row["centroid_probs"]]
                    off += max(abs(a - b) for a, b in zip(p, mine)) > near or abs(density[0] - row["log_density"]) > near
        elif "probabilities" in said:
            same = sum(str(found) == str(row[f"predicted_{label}"]) for found, row in zip(said["label"], rows))
            assert same >= len(rows) * (0.995 if trees else 1.0)
            for found, row in zip(said["probabilities"], rows):
                mine = [one["prob"] for one in row[f"predicted_{label}_probs"]]
                off += max(abs(a - b) for a, b in zip(found, mine)) > near
        else:
            for found, row in zip(said["variable"], rows):
                off += abs(found[0] - row[f"predicted_{label}"]) > near * max(1, abs(found[0]))
        # A value in the middle between two may fall on either side of a split by its last digit.
        assert off <= (len(rows) * 0.005 if trees else 0)
        connection.execute("DROP SCHEMA onnx CASCADE")


@pytest.mark.parametrize("transform", [
    "ML.NORMALIZER(ML.IMPUTER(ARRAY[a, b], 'mean') OVER ()) OVER () AS x",
    "ML.NORMALIZER(ML.IMPUTER(ARRAY[a, b], 'mean') OVER (), 1) OVER () AS x",
    "ML.NORMALIZER(ML.IMPUTER(ARRAY[a, b], 'mean') OVER (), 'inf') OVER () AS x",
    "ML.IMPUTER(b, 'median', add_indicator => true) OVER () AS x",
    "ML.ONE_HOT_ENCODER(ML.FEATURE_CROSS(ARRAY[line, kind]) OVER ()) OVER () AS x, ML.ROBUST_SCALER(a) OVER () AS y",
    "ML.OUTLIER_SCORE(ML.IMPUTER(ARRAY[a, b], 'mean') OVER (), 'isolation_forest', seed => 3) OVER () AS x, a",
    "ML.POLYNOMIAL_EXPAND(ML.STANDARD_SCALER(ML.IMPUTER(ARRAY[a, b], 'mean') OVER ()) OVER (), 2) OVER () AS x",
    "ML.QUANTILE_BUCKETIZE(a, 4) OVER () AS x, ML.TARGET_ENCODER(line) OVER () AS y, ML.ORDINAL_ENCODER(kind) OVER () AS z",
])
def test_onnx_makes_the_same_of_columns(server, tmp_path, transform):
    import numpy
    import onnxruntime

    numbers = NUMBERS.replace("i % 4 AS four", "CASE WHEN i % 5 < 2 THEN 'p' ELSE 'q' END AS kind")
    with server.connect() as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS onnx")
        connection.execute(f"CREATE OR REPLACE MODEL onnx.t TRANSFORM ({transform}, label) OPTIONS (model_type = 'logistic_reg', l2_reg = 1, "
                           f"input_label_cols = ['label']) AS {numbers}")
        path = tmp_path / "model.onnx"
        connection.execute(f"EXPORT MODEL onnx.t TO '{path}'")
        rows = connection.execute(f"SELECT a, b, line, kind, predicted_label, predicted_label_probs[2]['prob'] FROM ML.PREDICT(MODEL onnx.t, "
                                  f"(SELECT a, b, line, kind FROM ({numbers}) n))").fetchall()
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        columns = dict(zip(["a", "b", "line", "kind"], zip(*rows)))
        feeds = {}
        for one in session.get_inputs():
            values = columns[one.name]
            feeds[one.name] = (numpy.array([[value] for value in values], dtype=object) if "string" in one.type
                               else numpy.array([[math.nan if value is None else float(value)] for value in values]))
        label, p = session.run(["label", "probabilities"], feeds)
        near = 1e-6 if "OUTLIER" in transform else 1e-9
        assert max(abs(p[at][1] - row[5]) for at, row in enumerate(rows)) < near
        assert sum(label[at] != row[4] for at, row in enumerate(rows)) <= (3 if "OUTLIER" in transform else 0)
        # The exported file is a model that can be imported again.
        connection.execute(f"CREATE OR REPLACE MODEL onnx.back OPTIONS (model_type = 'onnx', path = '{path}')")
        names = ", ".join(one.name for one in session.get_inputs())
        again = connection.execute(f"SELECT label, probabilities[2] FROM ML.PREDICT(MODEL onnx.back, (SELECT {names} FROM ({numbers}) n))").fetchall()
        assert len(again) == len(rows)
        for found, wanted in zip(sorted(again, key=lambda row: row[1]), sorted(((label[at], p[at][1]) for at in range(len(rows))), key=lambda row: row[1])):
            assert abs(found[1] - wanted[1]) < 1e-12
        connection.execute("DROP SCHEMA onnx CASCADE")


SLOW = """CREATE OR REPLACE MODEL slow.m OPTIONS (model_type = 'random_forest_classifier', input_label_cols = ['label'], num_parallel_tree = 5000)
    AS SELECT (i * 7919 % 10007)::double precision AS a, (i * 104729 % 10009)::double precision AS b, (i * 31 % 997)::double precision AS c,
    i * 7919 % 10007 > 5000 AS label FROM generate_series(1, 200000) AS t (i)"""


# A second, on a machine that has nothing else to do; to the end of the training it would be many minutes.
CANCELLED_S = 5


def test_training_is_cancelled_within_a_second(server):
    with server.connect() as connection, server.connect() as other:
        connection.execute("CREATE SCHEMA IF NOT EXISTS slow")
        ended = []

        def train():
            try:
                connection.execute(SLOW)
                ended.append("trained")
            except psycopg.Error as error:
                ended.append(error.sqlstate)

        thread = threading.Thread(target=train)
        thread.start()
        wait_for(other, "training")
        start = time.monotonic()
        connection.cancel()
        thread.join(30)
        assert ended == ["57014"] and time.monotonic() - start < CANCELLED_S, (ended, time.monotonic() - start)
        assert other.execute("SELECT count(*) FROM system.models WHERE schema = 'slow'").fetchone()[0] == 0
        state = [row[0] for row in other.execute("SELECT state FROM system.training_jobs WHERE schema = 'slow'").fetchall()]
        for _ in range(300):
            if state == ["cancelled"]:
                break
            time.sleep(0.1)
            state = [row[0] for row in other.execute("SELECT state FROM system.training_jobs WHERE schema = 'slow'").fetchall()]
        assert state == ["cancelled"]
        # The same by the job's number, of one in the background.
        connection.execute(SLOW.replace("num_parallel_tree", "async = true, num_parallel_tree"))
        job = wait_for(other, "training")
        other.execute(f"CANCEL TRAINING JOB {job}")
        for _ in range(300):
            state = other.execute(f"SELECT state FROM system.training_jobs WHERE job_id = {job}").fetchone()[0]
            if state == "cancelled":
                break
            time.sleep(0.1)
        assert state == "cancelled"
        connection.execute("DROP SCHEMA slow CASCADE")


def wait_for(connection, state):
    for _ in range(1200):
        found = connection.execute("SELECT max(job_id) FROM system.training_jobs WHERE schema = 'slow' AND state = %s", [state]).fetchone()[0]
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"no job came to be {state}")


def test_a_killed_server_leaves_no_half_version(tmp_path):
    server = Server(tmp_path / "data")
    try:
        with server.connect() as connection:
            connection.execute("CREATE SCHEMA slow")
            connection.execute(f"CREATE MODEL slow.good OPTIONS (model_type = 'logistic_reg', l2_reg = 1) AS SELECT a, label FROM ({NUMBERS}) n")
            before = connection.execute("SELECT * FROM ML.WEIGHTS(MODEL slow.good)").fetchall()
            connection.execute(SLOW.replace("num_parallel_tree", "async = true, num_parallel_tree"))
            wait_for(connection, "training")
        server.process.kill()
        server.process.wait()
        (tmp_path / "data/models/left-over.maruml").write_bytes(b"half")
        server = Server(tmp_path / "data")
        with server.connect() as connection:
            assert connection.execute("SELECT name FROM system.models").fetchall() == [("good",)]
            assert connection.execute("SELECT * FROM ML.WEIGHTS(MODEL slow.good)").fetchall() == before
            states = connection.execute("SELECT state FROM system.training_jobs WHERE model = 'm'").fetchall()
            assert states == [("failed",)]
        files = list((tmp_path / "data/models").iterdir())
        assert len(files) == 1 and files[0].name != "left-over.maruml"
        # A file that was damaged is refused, and told which one.
        server.stop()
        damaged = bytearray(files[0].read_bytes())
        damaged[len(damaged) // 2] ^= 0xFF
        files[0].write_bytes(damaged)
        server = Server(tmp_path / "data")
        with server.connect() as connection, pytest.raises(psycopg.Error) as error:
            connection.execute("SELECT * FROM ML.WEIGHTS(MODEL slow.good)")
        assert error.value.sqlstate == "XX001"
    finally:
        if server.process.poll() is None:
            server.stop()


def test_a_memory_limit_ends_the_training_alone(server):
    with server.connect() as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS slow")
        connection.execute("SET query_memory_limit = '4MB'")
        with pytest.raises(psycopg.Error) as error:
            connection.execute(SLOW)
        assert error.value.sqlstate == "53200"
        assert "sample" in (error.value.diag.message_hint or "")
        assert connection.execute("SELECT 1").fetchone() == (1,)
        connection.execute("DROP SCHEMA slow CASCADE")


def test_six_trainings_and_scoring_at_once(server):
    with server.connect() as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS slow")
        connection.execute(f"CREATE MODEL slow.base OPTIONS (model_type = 'logistic_reg', l2_reg = 1) AS SELECT a, label FROM ({NUMBERS}) n")
        for number in range(7):
            connection.execute(SLOW.replace("slow.m", f"slow.m{number}").replace("200000", "20000")
                               .replace("num_parallel_tree = 5000", "async = true, num_parallel_tree = 5"))
        states = []
        for _ in range(100):
            states = [row[0] for row in connection.execute("SELECT state FROM system.training_jobs WHERE model LIKE 'm_' AND schema = 'slow'").fetchall()]
            if states.count("training") + states.count("reading") + states.count("succeeded") >= 6:
                break
            time.sleep(0.05)
        assert "failed" not in states
        scored = connection.execute(f"SELECT count(*) FROM ML.PREDICT(MODEL slow.base, (SELECT a FROM ({NUMBERS}) n))").fetchone()[0]
        assert scored == 1500
        for _ in range(1200):
            states = [row[0] for row in connection.execute("SELECT state FROM system.training_jobs WHERE model LIKE 'm_' AND schema = 'slow'").fetchall()]
            if states == ["succeeded"] * 7:
                break
            time.sleep(0.1)
        assert states == ["succeeded"] * 7
        # The same rows and seed: the same model, byte for byte.
        sizes = connection.execute("SELECT DISTINCT n_bytes FROM system.model_versions WHERE model LIKE 'm_' AND schema = 'slow'").fetchall()
        assert len(sizes) == 1
        connection.execute("DROP SCHEMA slow CASCADE")


@pytest.mark.services
def test_models_are_exported_to_s3_and_hdfs(server):
    import onnxruntime
    from seeding import storage

    folder, bucket = f"/user/ml/export_{uuid.uuid4().hex[:8]}", "ml-" + uuid.uuid4().hex[:8]
    hdfs, s3 = storage.Hdfs(), storage.s3_client()
    hdfs.make_folder(folder)
    storage.s3_fresh_bucket(s3, bucket)
    with server.connect() as connection:
        connection.execute("CREATE SCHEMA exported")
        connection.execute(f"CREATE MODEL exported.m OPTIONS (model_type = 'logistic_reg', l2_reg = 1) AS SELECT a, label FROM ({NUMBERS}) n")
        connection.execute(f"CREATE CATALOG e_hdfs USING hdfs WITH (url = '{os.environ['MARU_TEST_HDFS']}{folder}')")
        connection.execute(f"CREATE CATALOG e_s3 USING s3 WITH (bucket = '{bucket}', endpoint = '{os.environ['MARU_TEST_S3']}', "
                           f"access_key_id = '{os.environ['MARU_TEST_S3_ACCESS_KEY']}', secret_access_key = '{os.environ['MARU_TEST_S3_SECRET_KEY']}')")
        try:
            connection.execute(f"EXPORT MODEL exported.m TO '{os.environ['MARU_TEST_HDFS']}{folder}/models/m.onnx'")
            connection.execute(f"EXPORT MODEL exported.m TO 's3://{bucket}/models/m.onnx'")
            from_hdfs, from_s3 = hdfs.get(f"{folder}/models/m.onnx"), s3.get_object(Bucket=bucket, Key="models/m.onnx")["Body"].read()
            assert from_hdfs == from_s3
            session = onnxruntime.InferenceSession(from_s3, providers=["CPUExecutionProvider"])
            assert [one.name for one in session.get_inputs()] == ["a"]
            # A store that no catalog covers is refused.
            with pytest.raises(psycopg.Error) as error:
                connection.execute("EXPORT MODEL exported.m TO 's3://another-bucket/m.onnx'")
            assert error.value.sqlstate == "42704"
        finally:
            connection.execute("DROP SCHEMA exported CASCADE")
            connection.execute("DROP CATALOG e_hdfs")
            connection.execute("DROP CATALOG e_s3")
            hdfs.call("DELETE", folder, "DELETE", recursive="true")


def test_training_tells_how_far_it_is(server):
    with server.connect() as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS slow")
        connection.execute("""CREATE MODEL slow.steps OPTIONS (model_type = 'boosted_tree_classifier', input_label_cols = ['label'], max_iterations = 3000, async = true)
            AS SELECT (i * 7919 % 10007)::double precision AS a, (i * 104729 % 10009)::double precision AS b, i * 7919 % 10007 > 5000 AS label
            FROM generate_series(1, 50000) AS t (i)""")
        job = wait_for(connection, "training")
        seen = []
        for _ in range(1800):
            try:
                seen.append(connection.execute("SELECT count(*) FROM ML.TRAINING_INFO(MODEL slow.steps)").fetchone()[0])
            except psycopg.Error as error:
                # Between the end of the training and the first version there is neither.
                assert error.sqlstate == "42704"
            if len(set(seen) - {0}) >= 2:
                break
            time.sleep(0.05)
        assert seen == sorted(seen) and len(set(seen) - {0}) >= 2, seen
        iterations, loss = connection.execute(f"SELECT iterations, loss FROM system.training_jobs WHERE job_id = {job}").fetchone()
        assert iterations >= seen[-1] and loss > 0
        connection.execute(f"CANCEL TRAINING JOB {job}")
        connection.execute("DROP SCHEMA slow CASCADE")
