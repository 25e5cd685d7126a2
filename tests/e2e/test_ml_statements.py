"""What models say of rows, beside the formulas of textbooks: options, transforms, clusters, anomalies; versions, their files and whoever uses them."""

import calendar
import itertools
import json
import uuid
from datetime import date
from decimal import Decimal

import numpy
import psycopg
import pytest

# Numbers with ties and NULL, two categories, groups of unequal size, weights, labels of two kinds.
ROWS = """SELECT i AS id, ((i * 37 % 101) / 10.0)::double precision AS a, ((i * 53 % 97) / 7.0)::double precision AS b,
    ((i * 37 % 101) / 5.0 + i * 17 % 31)::double precision AS c, CASE i % 3 WHEN 0 THEN 'A' WHEN 1 THEN 'B' ELSE 'c' END AS line,
    CASE WHEN i % 8 < 3 THEN 'Night' WHEN i % 8 < 7 THEN 'day' END AS shift, CASE WHEN i % 15 < 7 THEN 0 WHEN i % 15 < 11 THEN 1 ELSE 2 + i % 2 END AS part,
    i % 4 = 0 AS held, (1 + i % 3)::double precision AS w, CASE WHEN i * 37 % 101 + i * 53 % 97 + i * 29 % 61 > 125 THEN 'bad' ELSE 'good' END AS label,
    (3 * (i * 37 % 101) / 10.0 - (i * 53 % 97) / 7.0 + i * 29 % 61 / 9.0)::double precision AS y
    FROM generate_series(1, {n}) AS t (i)"""


@pytest.fixture
def schema(connection):
    name = "say_" + uuid.uuid4().hex[:8]
    connection.execute(f"CREATE SCHEMA {name}")
    connection.execute(f"CREATE TABLE {name}.t AS {ROWS.format(n=600)}")
    yield name
    connection.execute("RESET target_partitions")
    connection.execute(f"DROP SCHEMA {name} CASCADE")


def columns(connection, sql):
    """The answer by column: arrays of numbers, NULL as NaN; lists of anything else."""
    cursor = connection.execute(sql, prepare=False)
    found = {}
    for column, values in zip(cursor.description, zip(*cursor.fetchall())):
        numbers = all(value is None or isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        found[column.name] = numpy.array([numpy.nan if v is None else v for v in values], float) if numbers else list(values)
    return found


def train(connection, schema, name, options, query, transform=""):
    connection.execute(f"CREATE OR REPLACE MODEL {schema}.{name} {transform} OPTIONS ({options}) AS {query}")


def refusal(connection, sql):
    with pytest.raises(psycopg.Error) as error:
        connection.execute(sql)
    return error.value.diag


def weights(connection, model):
    return dict(connection.execute(f"SELECT processed_input, weight FROM ML.WEIGHTS(MODEL {model})").fetchall())


def close(found, wanted, near=1e-9):
    numpy.testing.assert_allclose(numpy.asarray(found, float), numpy.asarray(wanted, float), rtol=near, atol=near)


def matrix(found, names="abc"):
    return numpy.column_stack([found[name] for name in names])


def least_squares(x, y, w=None):
    """Weights, then the constant."""
    root = numpy.ones(len(y)) if w is None else numpy.sqrt(w)
    return numpy.linalg.lstsq(numpy.column_stack([x, numpy.ones(len(y))]) * root[:, None], y * root, rcond=None)[0]


def logistic(x, positive, w, l2):
    """Newton's steps to the least of the weighted log loss plus half of l2 times the squared weights, of the constant none."""
    z, beta = numpy.column_stack([x, numpy.ones(len(x))]), numpy.zeros(x.shape[1] + 1)
    penalty = numpy.diag([l2] * x.shape[1] + [0.0])
    for _ in range(100):
        p = 1 / (1 + numpy.exp(-z @ beta))
        step = numpy.linalg.solve((z * (w * p * (1 - p))[:, None]).T @ z + penalty, z.T @ (w * (p - positive)) + penalty @ beta)
        beta = beta - step
    assert numpy.abs(step).max() < 1e-12
    return beta


def test_aliases_comments_and_owners(server, connection, schema):
    for l2 in (1, 100):
        train(connection, schema, "m", f"model_type = 'logistic_reg', l2_reg = {l2}", f"SELECT a, b, label FROM {schema}.t")
    model = f"{schema}.m"
    connection.execute(f"ALTER MODEL {model} SET ALIAS prod = 1")
    assert weights(connection, f"{model}@prod") == weights(connection, f"{model} VERSION 1") != weights(connection, model)
    # An alias moves, and is gone when it is dropped; the version stays.
    connection.execute(f"ALTER MODEL {model} SET ALIAS prod = 2")
    assert weights(connection, f"{model}@prod") == weights(connection, model)
    connection.execute(f"ALTER MODEL {model} DROP ALIAS prod")
    for sql in (f"SELECT * FROM ML.WEIGHTS(MODEL {model}@prod)", f"ALTER MODEL {model} DROP ALIAS prod"):
        said = refusal(connection, sql)
        assert said.sqlstate == "42704" and said.message_detail == "It has 1, 2.", said.message_primary
    assert refusal(connection, f"ALTER MODEL {model} SET ALIAS prod = 7").sqlstate == "42704"
    listed = f"SELECT comment, owner FROM system.models WHERE schema = '{schema}'"
    connection.execute(f"ALTER MODEL {model} SET COMMENT 'of the ''press'''")
    assert connection.execute(listed).fetchall() == [("of the 'press'", "maru")]
    connection.execute(f"ALTER MODEL {model} SET COMMENT NULL")
    assert connection.execute(listed).fetchall() == [(None, "maru")]
    # Whoever the model is given to may change it; the one who may only use it may not.
    user, other = "own_" + uuid.uuid4().hex[:6], "use_" + uuid.uuid4().hex[:6]
    for name in (user, other):
        connection.execute(f"CREATE USER {name} PASSWORD 'pw-of-both'")
        connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
    connection.execute(f"GRANT EXECUTE ON MODEL {model} TO {other}")
    connection.execute(f"ALTER MODEL {model} OWNER TO {user}")
    assert connection.execute(listed).fetchall() == [(None, user)]
    change = f"ALTER MODEL {model} SET DEFAULT VERSION 1"
    with server.connect(user=other, password="pw-of-both") as session:
        assert session.execute(f"SELECT count(*) FROM ML.WEIGHTS(MODEL {model})").fetchone() == (3,)
        assert refusal(session, change).sqlstate == "42501"
        assert refusal(session, f"ALTER MODEL {model} OWNER TO {other}").sqlstate == "42501"
    with server.connect(user=user, password="pw-of-both") as session:
        session.execute(change)
        assert session.execute(f"SELECT default_version FROM system.models WHERE schema = '{schema}'").fetchone() == (1,)
    connection.execute(f"ALTER MODEL {model} OWNER TO maru")
    for name in (user, other):
        connection.execute(f"REVOKE ALL ON SCHEMA {schema} FROM {name}")
    connection.execute(f"REVOKE ALL ON MODEL {model} FROM {other}")
    for name in (user, other):
        connection.execute(f"DROP USER {name}")


def test_a_version_is_exported_as_it_is_kept(server, connection, schema, tmp_path):
    transform = "TRANSFORM (ML.HASH_BUCKETIZE(line, 5) OVER () AS h, a, label)"
    for l2 in (1, 100):
        train(connection, schema, "m", f"model_type = 'logistic_reg', l2_reg = {l2}", f"SELECT a, line, label FROM {schema}.t", transform)
    model, paths = f"{schema}.m", [tmp_path / name for name in ("one.maruml", "two.bin", "first.maruml")]
    connection.execute(f"EXPORT MODEL {model} TO '{paths[0]}'")
    connection.execute(f"EXPORT MODEL {model} TO '{paths[1]}' (format = 'native')")
    connection.execute(f"EXPORT MODEL {model} VERSION 1 TO '{paths[2]}' WITH (format = 'native')")
    one, two, first = (path.read_bytes() for path in paths)
    kept = {path.read_bytes() for path in (server.data_dir / "models").iterdir()}
    assert one == two != first and {one, first} <= kept
    # There is no ONNX for this transform, and the native file is none.
    said = refusal(connection, f"EXPORT MODEL {model} TO '{tmp_path / 'm.onnx'}'")
    assert said.sqlstate == "0A000" and "HASH_BUCKETIZE" in said.message_primary and "native" in said.message_hint
    assert not (tmp_path / "m.onnx").exists()
    said = refusal(connection, f"CREATE MODEL {schema}.back OPTIONS (model_type = 'onnx', path = '{paths[0]}')")
    assert said.sqlstate == "22P04" and "no ONNX model" in said.message_primary
    for wrong in ("(format = 'pickle')", "(form = 'native')"):
        assert refusal(connection, f"EXPORT MODEL {model} TO '{tmp_path / 'm.onnx'}' {wrong}").sqlstate == "22023"


def test_transforms_alone(connection, schema, tmp_path):
    import onnxruntime

    transform = "TRANSFORM (ML.STANDARD_SCALER(ARRAY[a, b]) OVER () AS x, ML.ONE_HOT_ENCODER(line) OVER () AS l)"
    train(connection, schema, "only", "model_type = 'transform_only'", f"SELECT a, b, line FROM {schema}.t", transform)
    model = f"{schema}.only"
    found = columns(connection, f"SELECT * FROM ML.TRANSFORM(MODEL {model}, (SELECT id, a, b, line FROM {schema}.t)) ORDER BY id")
    assert list(found) == ["x_a", "x_b", "l_line_A", "l_line_B", "l_line_c", "id", "a", "b", "line"]
    for name in "ab":
        close(found[f"x_{name}"], (found[name] - found[name].mean()) / found[name].std())
    for one in "ABc":
        assert [value == 1 for value in found[f"l_line_{one}"]] == [line == one for line in found["line"]]
    for sql, code in [(f"SELECT * FROM ML.PREDICT(MODEL {model}, TABLE {schema}.t)", "42809"), (f"SELECT * FROM ML.EVALUATE(MODEL {model})", "42809"),
                      (f"CREATE MODEL {schema}.no OPTIONS (model_type = 'transform_only', input_label_cols = ['y']) AS SELECT a, y FROM {schema}.t", "22023")]:
        assert refusal(connection, sql).sqlstate == code, sql
    path = tmp_path / "only.onnx"
    connection.execute(f"EXPORT MODEL {model} TO '{path}'")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_outputs()] == ["features"]
    said = session.run(None, {"a": found["a"][:, None], "b": found["b"][:, None], "line": numpy.array([[v] for v in found["line"]], dtype=object)})[0]
    close(said, matrix(found, list(found)[:5]), 1e-12)


@pytest.mark.parametrize("share, wanted", [(0.3, 1), (0.7, 1), (0.9, 2), (0.999999, 3), (1.0, 3)])
def test_components_by_the_variance_they_keep(connection, schema, share, wanted):
    rows = matrix(columns(connection, f"SELECT a, b, c FROM {schema}.t"))
    variances, directions = numpy.linalg.eigh(numpy.cov(rows.T))
    variances, directions = variances[::-1], directions.T[::-1]
    shares = variances / variances.sum()
    # As many as it takes for the share.
    assert min(3, int((numpy.cumsum(shares) < share - 1e-12).sum()) + 1) == wanted
    train(connection, schema, "p", f"model_type = 'pca', pca_explained_variance_ratio = {share}", f"SELECT a, b, c FROM {schema}.t")
    found = columns(connection, f"SELECT * FROM ML.PRINCIPAL_COMPONENTS(MODEL {schema}.p) ORDER BY principal_component_id, feature")
    assert list(found["principal_component_id"]) == [k for k in range(1, wanted + 1) for _ in "abc"]
    close(found["explained_variance_ratio"][::3], shares[:wanted])
    close(found["explained_variance"][::3], variances[:wanted])
    close(numpy.abs(found["value"].reshape(wanted, 3)), numpy.abs(directions[:wanted]), 1e-7)
    close(columns(connection, f"SELECT * FROM ML.EVALUATE(MODEL {schema}.p)")["total_explained_variance_ratio"], [shares[:wanted].sum()])


def test_weights_of_rows_and_classes(connection, schema):
    found = columns(connection, f"SELECT a, b, w, y, label FROM {schema}.t")
    x, good = matrix(found, "ab"), numpy.array([label == "good" for label in found["label"]])
    usual = "data_split_method = 'no_split'"
    train(connection, schema, "line", f"model_type = 'linear_reg', input_label_cols = ['y'], weight_col = 'w', {usual}", f"SELECT a, b, w, y FROM {schema}.t")
    said = weights(connection, f"{schema}.line")
    close([said["a"], said["b"], said["__INTERCEPT__"]], least_squares(x, found["y"], found["w"]))
    assert numpy.abs(least_squares(x, found["y"], found["w"]) - least_squares(x, found["y"])).max() > 1e-6
    by_class = numpy.where(good, 1.0, 4.0)
    balanced = numpy.where(good, len(good) / (2 * good.sum()), len(good) / (2 * (~good).sum()))
    heavier = "class_weights = ARRAY[ROW('bad', 4.0), ROW('good', 1.0)]"
    cases = [("weight_col = 'w'", found["w"]), (heavier, by_class), ("auto_class_weights = true", balanced), (f"weight_col = 'w', {heavier}", by_class * found["w"]),
             ("class_weights = [('bad', 4.0)]", by_class)]
    wanted = []
    for options, w in cases:
        query = f"SELECT a, b{', w' if 'weight_col' in options else ''}, label FROM {schema}.t"
        train(connection, schema, "m", f"model_type = 'logistic_reg', l2_reg = 1.0, {usual}, {options}", query)
        said = weights(connection, f"{schema}.m")
        assert set(said) == {"a", "b", "__INTERCEPT__"}, options
        wanted.append(logistic(x, good, w, 1.0))
        close([said["a"], said["b"], said["__INTERCEPT__"]], wanted[-1], 1e-6)
    assert len({round(float(one[0]), 4) for one in wanted}) == 4
    for options, code in [("class_weights = ARRAY[ROW('ugly', 4.0)]", "22023"), ("class_weights = ARRAY[ROW('bad', -4.0)]", "22023"), ("weight_col = 'v'", "42703")]:
        assert refusal(connection, f"CREATE MODEL {schema}.no OPTIONS (model_type = 'logistic_reg', {options}) AS SELECT a, label FROM {schema}.t").sqlstate == code
    said = refusal(connection, f"CREATE MODEL {schema}.no OPTIONS (model_type = 'logistic_reg', weight_col = 'v') AS SELECT a, label, a - 5 AS v FROM {schema}.t")
    assert said.sqlstate == "22023" and "weights of rows" in said.message_primary


def test_tuning_keeps_the_weights_of_rows(connection, schema):
    options = "model_type = 'logistic_reg', l2_reg = 1.0, weight_col = 'w', data_split_method = 'no_split'"
    for number, more in enumerate(["", ", auto_class_weights = HPARAM_CANDIDATES([false]), num_trials = 1", ", l1_reg = HPARAM_CANDIDATES([0]), num_trials = 1"]):
        train(connection, schema, f"m{number}", options + more, f"SELECT a, b, w, label FROM {schema}.t")
    plain, classes, penalty = (weights(connection, f"{schema}.m{number}") for number in range(3))
    assert penalty == plain
    assert classes == plain


@pytest.mark.parametrize("model_type, options, value", [
    ("decision_tree_classifier", "max_tree_depth = 3", "predicted_label_probs[1]['prob']"),
    ("naive_bayes", "", "predicted_label_probs[1]['prob']"),
    ("boosted_tree_regressor", "max_iterations = 5, min_tree_child_weight = 0", "predicted_y"),
    ("linear_svm", "", None),
    ("kmeans", "num_clusters = 1, standardize_features = false", "nearest_centroids_distance[1]['distance']"),
    ("gaussian_mixture", "num_clusters = 1", "log_density"),
    ("pca", "num_principal_components = 1", "principal_component_1"),
    ("knn_regressor", "", "predicted_y"),
])
def test_a_weight_counts_as_rows_or_is_refused(connection, schema, model_type, options, value):
    label = "y" if "regressor" in model_type else "" if model_type in ("kmeans", "gaussian_mixture", "pca") else "label"
    options = ", ".join([f"model_type = '{model_type}', data_split_method = 'no_split'", *filter(None, [options, label and f"input_label_cols = ['{label}']"])])
    names = ", ".join(filter(None, ["a", "b", label]))
    try:
        train(connection, schema, "weighted", options + ", weight_col = 'w'", f"SELECT {names}, w FROM {schema}.t")
    except psycopg.Error as error:
        assert error.sqlstate in ("22023", "0A000"), error
        return
    train(connection, schema, "repeated", options, f"SELECT {names} FROM {schema}.t, generate_series(1, 3) AS g (n) WHERE n <= w")
    train(connection, schema, "plain", options, f"SELECT {names} FROM {schema}.t")

    def answer(name):
        # Beside the rows of training, so that no two neighbours are as far.
        asked = f"(SELECT i AS id, i * 0.016131 AS a, i * 7 % 600 * 0.022713 AS b FROM generate_series(1, 600) AS t (i))"
        scored = f"SELECT {value} AS v FROM ML.PREDICT(MODEL {schema}.{name}, {asked}) ORDER BY id"
        return columns(connection, scored if value else f"SELECT weight AS v FROM ML.WEIGHTS(MODEL {schema}.{name}) ORDER BY processed_input")["v"]
    weighted, plain = answer("weighted"), answer("plain")
    # Whoever names a column of weights must not get the model that has none.
    off = numpy.abs(weighted - plain).mean()
    assert off > 1e-4, "the weights were left out without a word"
    if model_type != "knn_regressor":
        close(weighted, answer("repeated"), 1e-5)


def test_a_split_by_a_column(connection, schema):
    found = columns(connection, f"SELECT a, b, y, held FROM {schema}.t")
    held = numpy.array(found["held"])
    x = matrix(found, "ab")
    beta = least_squares(x[~held], found["y"][~held])
    off = found["y"][held] - numpy.column_stack([x[held], numpy.ones(held.sum())]) @ beta
    for method in ("data_split_method = 'custom', ", ""):
        train(connection, schema, "m", f"model_type = 'linear_reg', input_label_cols = ['y'], {method}data_split_col = 'held'", f"SELECT a, b, held, y FROM {schema}.t")
        said = weights(connection, f"{schema}.m")
        close([said["a"], said["b"], said["__INTERCEPT__"]], beta)
        measured = columns(connection, f"SELECT * FROM ML.EVALUATE(MODEL {schema}.m)")
        close(measured["mean_squared_error"], [(off**2).mean()])
        close(measured["mean_absolute_error"], [numpy.abs(off).mean()])
        close(measured["r2_score"], [1 - (off**2).sum() / ((found["y"][held] - found["y"][held].mean()) ** 2).sum()])
    counts = connection.execute(f"SELECT DISTINCT n_train_rows, n_evaluate_rows FROM system.model_versions WHERE schema = '{schema}'").fetchall()
    assert counts == [((~held).sum(), held.sum())]
    for options, column in [("data_split_method = 'custom'", "a"), ("data_split_col = 'none'", "a"), ("data_split_method = 'custom', data_split_col = 'h'", "line AS h, a")]:
        query = f"SELECT {column}, y FROM {schema}.t"
        code = refusal(connection, f"CREATE MODEL {schema}.no OPTIONS (model_type = 'linear_reg', input_label_cols = ['y'], {options}) AS {query}").sqlstate
        assert code in ("22023", "42703", "42804"), options


@pytest.mark.parametrize("key", ["part", "'of ' || part"])
def test_folds_of_groups(connection, schema, key):
    found = columns(connection, f"SELECT a, b, y, part FROM {schema}.t")
    x, y = matrix(found, "ab"), found["y"]
    wanted = []
    for group in range(4):
        own = found["part"] == group
        off = y[own] - numpy.column_stack([x[own], numpy.ones(own.sum())]) @ least_squares(x[~own], y[~own])
        wanted.append((own.sum(), (off**2).mean()))
    options = "model_type = 'linear_reg', input_label_cols = ['y'], fold_method = 'group', fold_col = 'g', num_folds ="
    query = f"SELECT a, b, y, {key} AS g FROM {schema}.t"
    train(connection, schema, "m", f"{options} 4", query)
    folds = columns(connection, f"SELECT train_rows, evaluate_rows, mean_squared_error FROM ML.CROSS_VALIDATE(MODEL {schema}.m) ORDER BY fold")
    # As many folds as groups: each is measured by a model that has not seen it.
    close(sorted(zip(folds["evaluate_rows"], folds["mean_squared_error"])), sorted(wanted))
    assert set(folds["train_rows"] + folds["evaluate_rows"]) == {len(y)}
    # The group is not learnt from.
    assert set(weights(connection, f"{schema}.m")) == {"a", "b", "__INTERCEPT__"}
    # Fewer folds: groups stay whole, the folds are as even as these allow.
    train(connection, schema, "m", f"{options} 2", query)
    sizes = sorted(columns(connection, f"SELECT evaluate_rows FROM ML.CROSS_VALIDATE(MODEL {schema}.m)")["evaluate_rows"])
    counts, total = [int(n) for n, _ in wanted], len(y)
    ways = [sum(some) for size in (1, 2, 3) for some in itertools.combinations(counts, size)]
    assert sizes == sorted(min(((way, total - way) for way in ways), key=lambda way: abs(way[0] - way[1])))


def trials(connection, model):
    cursor = connection.execute(f"SELECT trial_id, hyperparameters, roc_auc, is_best FROM ML.TRIAL_INFO(MODEL {model}) ORDER BY trial_id")
    return [(number, {name: float(value) for name, value in (one.split(" = ") for one in text.split(", "))}, auc, best) for number, text, auc, best in cursor.fetchall()]


TREES = "model_type = 'boosted_tree_classifier', max_iterations = 4, data_split_method = 'stratified'"


def test_a_grid_is_all_there_is(connection, schema):
    query = f"SELECT a, b, label FROM {schema}.t"
    grid = "hparam_tuning_algorithm = 'grid_search', max_tree_depth = HPARAM_RANGE(2, 3), learn_rate = HPARAM_CANDIDATES([0.5, 0.1, 0.3])"
    for name, parallel in (("grid", 6), ("slowly", 1)):
        train(connection, schema, name, f"{TREES}, {grid}, num_trials = 50, max_parallel_trials = {parallel}", query)
    found = trials(connection, f"{schema}.grid")
    assert found == trials(connection, f"{schema}.slowly")
    assert sorted((one["max_tree_depth"], one["learn_rate"]) for _, one, _, _ in found) == sorted(itertools.product([2, 3], [0.1, 0.3, 0.5]))
    (best,) = (one for one in found if one[3])
    assert best[2] == max(auc for _, _, auc, _ in found)
    # Each trial is the model that its parameters give; the best of them is the version.
    for _, one, auc, is_best in found:
        train(connection, schema, "one", f"{TREES}, max_tree_depth = {one['max_tree_depth']:.0f}, learn_rate = {one['learn_rate']}", query)
        assert connection.execute(f"SELECT roc_auc FROM ML.EVALUATE(MODEL {schema}.one)").fetchone() == (auc,)
        if is_best:
            said = [connection.execute(f"SELECT id, predicted_label_probs FROM ML.PREDICT(MODEL {schema}.{name}, (SELECT id, a, b FROM {schema}.t)) ORDER BY id").fetchall()
                    for name in ("one", "grid")]
            assert said[0] == said[1]
    train(connection, schema, "few", f"{TREES}, {grid}, num_trials = 4", query)
    assert [one[:3] for one in trials(connection, f"{schema}.few")] == [one[:3] for one in found[:4]]
    said = refusal(connection, f"CREATE MODEL {schema}.no OPTIONS ({TREES}, {grid.replace('CANDIDATES([0.5, 0.1, 0.3])', 'RANGE(0.1, 0.5)')}) AS {query}")
    assert said.sqlstate == "22023" and "learn_rate" in said.message_primary


def test_a_random_search_goes_by_its_seed(connection, schema):
    query = f"SELECT a, b, label FROM {schema}.t"
    space = "hparam_tuning_algorithm = 'random_search', max_tree_depth = HPARAM_RANGE(1, 3), learn_rate = HPARAM_RANGE(0.1, 0.5), num_trials = 12"
    found = []
    for number, more in enumerate(["seed = 3, max_parallel_trials = 6", "seed = 3, max_parallel_trials = 1", "seed = 4"]):
        train(connection, schema, f"m{number}", f"{TREES}, {space}, {more}", query)
        found.append(trials(connection, f"{schema}.m{number}"))
    assert found[0] == found[1] and [one[1] for one in found[0]] != [one[1] for one in found[2]]
    for seen in (found[0], found[2]):
        assert len(seen) == 12 and len({one["learn_rate"] for _, one, _, _ in seen}) == 12
        assert all(0.1 <= one["learn_rate"] <= 0.5 for _, one, _, _ in seen) and {one["max_tree_depth"] for _, one, _, _ in seen} == {1, 2, 3}
        # Drawn over the whole range, not around a place in it.
        assert min(one["learn_rate"] for _, one, _, _ in seen) < 0.2 and max(one["learn_rate"] for _, one, _, _ in seen) > 0.4


@pytest.mark.parametrize("standardized", [True, False])
def test_centres_are_the_means_of_their_rows(connection, schema, standardized):
    train(connection, schema, "k", f"model_type = 'kmeans', num_clusters = 4, standardize_features = {standardized}", f"SELECT a, b, c FROM {schema}.t")
    found = columns(connection, f"SELECT * FROM ML.CENTROIDS(MODEL {schema}.k) ORDER BY centroid_id, feature")
    assert list(found["centroid_id"]) == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3 and found["feature"] == list("abc") * 4
    centres = found["numerical_value"].reshape(4, 3)
    rows = matrix(columns(connection, f"SELECT a, b, c FROM {schema}.t ORDER BY id"))
    by = rows.std(axis=0) if standardized else numpy.ones(3)
    off = numpy.sqrt((((rows[:, None] - centres[None]) / by) ** 2).sum(axis=2))
    nearest = off.argmin(axis=1)
    assert list(found["rows"][::3]) == [int((nearest == k).sum()) for k in range(4)]
    for k in range(4):
        close(centres[k], rows[nearest == k].mean(axis=0))
    # The distance to the nearest centre is the score; the limit is a quantile of those of training.
    cursor = connection.execute(f"SELECT centroid_id, nearest_centroids_distance FROM ML.PREDICT(MODEL {schema}.k, TABLE {schema}.t) ORDER BY id")
    for row, (cluster, distances) in enumerate(cursor.fetchall()):
        distances = distances if isinstance(distances, list) else json.loads(distances)
        assert cluster == nearest[row] + 1
        close([one["distance"] for one in sorted(distances, key=lambda one: one["centroid_id"])], off[row])
    check_anomalies(connection, schema, "k", off.min(axis=1))


def check_anomalies(connection, schema, name, scores):
    for share in (0.2, 0.03):
        found = columns(connection, f"SELECT is_anomaly, anomaly_score FROM ML.DETECT_ANOMALIES(MODEL {schema}.{name}, TABLE {schema}.t, contamination => {share}) ORDER BY id")
        close(found["anomaly_score"], scores)
        limit = numpy.quantile(scores, 1 - share)
        # What lies at the limit may fall on either side by its last digit.
        clear = numpy.abs(scores - limit) > 1e-9
        assert (numpy.array(found["is_anomaly"]) == (scores > limit))[clear].all() and clear.sum() > 0.9 * len(scores)
        assert 0.5 * share < numpy.mean(found["is_anomaly"]) <= share + 1e-9


def test_anomalies_of_components_and_forests(connection, schema):
    rows = matrix(columns(connection, f"SELECT a, b, c FROM {schema}.t ORDER BY id"))
    train(connection, schema, "p", "model_type = 'pca', num_principal_components = 2", f"SELECT a, b, c FROM {schema}.t")
    off = rows - rows.mean(axis=0)
    main = numpy.linalg.eigh(numpy.cov(rows.T))[1].T[1:]
    check_anomalies(connection, schema, "p", ((off - off @ main.T @ main) ** 2).mean(axis=1))
    train(connection, schema, "f", "model_type = 'isolation_forest', num_trees = 50", f"SELECT a, b, c FROM {schema}.t")
    scores = columns(connection, f"SELECT anomaly_score FROM ML.PREDICT(MODEL {schema}.f, TABLE {schema}.t) ORDER BY id")["anomaly_score"]
    assert 0 < scores.min() < scores.max() < 1
    check_anomalies(connection, schema, "f", scores)
    asked = "(SELECT * FROM (VALUES (5.0, 7.0, 25.0), (90.0, -70.0, 0.0), (NULL, 7.0, 25.0)) AS v (a, b, c))"
    for name in "pf":
        found = connection.execute(f"SELECT a, is_anomaly, anomaly_score FROM ML.DETECT_ANOMALIES(MODEL {schema}.{name}, {asked}) ORDER BY a NULLS LAST").fetchall()
        assert [row[1] for row in found[:2]] == [False, True] and found[0][2] < found[1][2]
        # NULL is the mean, as in training.
        assert found[2][1] is False and found[2][2] == pytest.approx(found[0][2], rel=0.5, abs=0.2)
    for share in ("0.7", "-0.1", "'much'"):
        assert refusal(connection, f"SELECT * FROM ML.DETECT_ANOMALIES(MODEL {schema}.p, TABLE {schema}.t, contamination => {share})").sqlstate == "42601"


def test_the_curve_of_precision_and_recall(connection, schema):
    train(connection, schema, "m", "model_type = 'decision_tree_classifier', max_tree_depth = 3, data_split_method = 'random'", f"SELECT a, b, label FROM {schema}.t")
    found = columns(connection, f"SELECT label, predicted_label_probs[2]['prob'] AS p FROM ML.PREDICT(MODEL {schema}.m, TABLE {schema}.t)")
    p, good = found["p"], numpy.array([label == "good" for label in found["label"]])
    said = columns(connection, f"SELECT * FROM ML.PRECISION_RECALL_CURVE(MODEL {schema}.m, TABLE {schema}.t)")
    # A point that no row reaches, then one for each probability there is, from the greatest on.
    assert numpy.isnan(said["threshold"][0]) and (said["true_positives"][0], said["false_positives"][0], said["recall"][0]) == (0, 0, 0)
    close(said["threshold"][1:], sorted(set(p), reverse=True))
    for at, threshold in enumerate(said["threshold"][1:], 1):
        chosen = p >= threshold
        tp, fp, fn = (chosen & good).sum(), (chosen & ~good).sum(), (~chosen & good).sum()
        tn = len(p) - tp - fp - fn
        assert [said[name][at] for name in ("true_positives", "false_positives", "true_negatives", "false_negatives")] == [tp, fp, tn, fn]
        close([said[name][at] for name in ("precision", "recall", "f1_score", "accuracy")], [tp / (tp + fp), tp / (tp + fn), 2 * tp / (2 * tp + fp + fn), (tp + tn) / len(p)])
    average = (numpy.diff(said["recall"]) * said["precision"][1:]).sum()
    measured = columns(connection, f"SELECT * FROM ML.EVALUATE(MODEL {schema}.m, TABLE {schema}.t)")
    close(measured["pr_auc"], [average])
    # Without a table it tells of the rows that training kept apart.
    own = columns(connection, f"SELECT * FROM ML.PRECISION_RECALL_CURVE(MODEL {schema}.m)")
    kept = connection.execute(f"SELECT n_evaluate_rows FROM system.model_versions WHERE schema = '{schema}'").fetchone()[0]
    counts = ["true_positives", "false_positives", "true_negatives", "false_negatives"]
    assert 50 < kept < 200 and set(matrix(own, counts).sum(axis=1)) == {kept}


def bucket(text, n):
    """Splitmix64 over eight bytes at a time: what versions that are kept have been trained with, so it must not change."""
    if text is None:
        return 0
    whole, data = (1 << 64) - 1, text.encode()
    hashed = 0x243F6A8885A308D3 ^ len(data)
    for at in range(0, len(data), 8):
        value = int.from_bytes(data[at:at + 8], "little")
        z = (((hashed << 5) | (hashed >> 59)) & whole) ^ (value * 0x9E3779B97F4A7C15 & whole)
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & whole
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & whole
        hashed = z ^ (z >> 31)
    return hashed % n + 1


def transformed(connection, schema, calls, label="y", asked=None, query=None):
    """What transforms make of the rows they have learnt from, or of others."""
    transform = f"TRANSFORM ({calls}{', ' + label if label else ''})"
    kind = {"y": "model_type = 'linear_reg', input_label_cols = ['y'], data_split_method = 'no_split'", "label": "model_type = 'naive_bayes', data_split_method = 'no_split'",
            None: "model_type = 'transform_only'"}[label]
    query = query or f"SELECT a, b, c, line, shift, part{', ' + label if label else ''} FROM {schema}.t"
    train(connection, schema, "tr", kind, query, transform)
    return columns(connection, f"SELECT * FROM ML.TRANSFORM(MODEL {schema}.tr, {asked or f'TABLE {schema}.t'})" + ("" if asked else " ORDER BY id"))


def test_outlier_scores(connection, schema):
    found = transformed(connection, schema, "ML.OUTLIER_SCORE(ARRAY[a, b, c], 'pca') OVER () AS p, ML.OUTLIER_SCORE(ARRAY[a, b, c], 'mahalanobis') OVER () AS m", None)
    rows = matrix(found)
    off = rows - rows.mean(axis=0)
    close(found["m"], numpy.sqrt((off @ numpy.linalg.inv(numpy.cov(rows.T)) * off).sum(axis=1)))
    variances, directions = numpy.linalg.eigh(numpy.cov(rows.T))
    kept = int((numpy.cumsum(variances[::-1]) / variances.sum() <= 0.9).sum()) + 1
    assert kept == 2
    main = directions.T[::-1][:kept]
    close(found["p"], numpy.linalg.norm(off - off @ main.T @ main, axis=1))
    asked = "(SELECT NULL::double precision AS a, 1.0 AS b, 2.0 AS c)"
    assert connection.execute(f"SELECT p, m FROM ML.TRANSFORM(MODEL {schema}.tr, {asked})").fetchall() == [(None, None)]
    # Columns that are one and the same have no inverse; what is left of them has a distance.
    found = transformed(connection, schema, "ML.OUTLIER_SCORE(ARRAY[a, b, d], 'mahalanobis') OVER () AS m", None, query=f"SELECT a, b, 2 * a AS d FROM {schema}.t",
                        asked=f"(SELECT a, b, 2 * a AS d FROM {schema}.t)")
    rows = matrix(found, "ab")
    off = rows - rows.mean(axis=0)
    close(found["m"], numpy.sqrt((off @ numpy.linalg.inv(numpy.cov(rows.T)) * off).sum(axis=1)), 1e-7)


@pytest.mark.parametrize("label", ["y", "label"])
def test_target_encoder(connection, schema, label):
    source = columns(connection, f"SELECT line, shift, y, label FROM {schema}.t ORDER BY id")
    y = source["y"] if label == "y" else numpy.array([one == "good" for one in source["label"]], float)
    found = transformed(connection, schema, "ML.TARGET_ENCODER(ARRAY[line, shift], 7.5) OVER () AS e, ML.TARGET_ENCODER(part, smoothing => 0) OVER () AS q, a", label)
    def encoded(keys, smoothing):
        values = []
        for key in keys:
            own = numpy.array([other == key for other in keys])
            values.append(y.mean() if key is None else (y[own].sum() + smoothing * y.mean()) / (own.sum() + smoothing))
        return values
    close(found["e_line"], encoded(source["line"], 7.5))
    close(found["e_shift"], encoded(source["shift"], 7.5))
    close(found["q"], encoded(list(found["part"]), 0))
    said = connection.execute(f"SELECT e_line, e_shift, q FROM ML.TRANSFORM(MODEL {schema}.tr, (SELECT 'new' AS line, NULL AS shift, 77 AS part, 1.0 AS a))").fetchall()
    close(said, [[y.mean()] * 3])


def test_a_target_encoder_does_not_tell_the_label(connection, schema):
    # Each row a category of its own: what a row is given comes from others, which know nothing of it.
    train(connection, schema, "m", "model_type = 'linear_reg', input_label_cols = ['y'], data_split_method = 'no_split'",
          f"SELECT 'of ' || id AS own, y FROM {schema}.t", "TRANSFORM (ML.TARGET_ENCODER(own, 0.0, 5) OVER () AS e, y)")
    low, high, spread = connection.execute(f"SELECT min, max, stddev FROM ML.FEATURE_INFO(MODEL {schema}.m)").fetchone()
    lowest, highest, deviation = connection.execute(f"SELECT min(y), max(y), stddev(y) FROM {schema}.t").fetchone()
    assert high - low < 0.1 * (highest - lowest) and spread < 0.1 * deviation


def test_numbers_of_categories_and_buckets(connection, schema):
    found = transformed(connection, schema, """ML.QUANTILE_BUCKETIZE(ARRAY[a, c], 7) OVER () AS q, ML.HASH_BUCKETIZE(ARRAY[line, shift], 1000) OVER () AS h,
        ML.ORDINAL_ENCODER(ARRAY[line, shift, part]) OVER () AS o, ML.LABEL_ENCODER(line, top_k => 2) OVER () AS top,
        ML.LABEL_ENCODER(ML.FEATURE_CROSS(ARRAY[line, shift]) OVER ()) OVER () AS crossed""", None)
    for name in "ac":
        points = numpy.quantile(found[name], [n / 7 for n in range(1, 7)])
        assert list(found[f"q_{name}"]) == [int((points <= value).sum()) + 1 for value in found[name]]
        assert len(set(found[f"q_{name}"])) == 7
    for name in ("line", "shift"):
        assert list(found[f"h_{name}"]) == [bucket(value, 1000) for value in found[name]]
    def numbered(keys):
        known = sorted({key for key in keys if key is not None})
        return [known.index(key) + 1 if key is not None else 0 for key in keys]
    assert list(found["o_line"]) == numbered(found["line"]) and list(found["o_shift"]) == numbered(found["shift"])
    assert list(found["o_part"]) == numbered([int(value) for value in found["part"]])
    # Of the same frequency the first in order; of all others, 0.
    assert list(found["top"]) == [{"A": 1, "B": 2}.get(value, 0) for value in found["line"]]
    assert list(found["crossed"]) == numbered([None if shift is None else f"{line}_{shift}" for line, shift in zip(found["line"], found["shift"])])
    asked = """(SELECT NULL::double precision AS a, -5.0 AS c, 'new' AS line, 'a text of more than eight bytes' AS shift, NULL::int AS part UNION ALL
        SELECT 99.0, 99.0, NULL, '베어링', 7)"""
    said = columns(connection, f"SELECT * FROM ML.TRANSFORM(MODEL {schema}.tr, {asked}) ORDER BY c")
    wanted = {"q_a": [0, 7], "q_c": [1, 7], "h_line": [bucket("new", 1000), 0], "h_shift": [bucket("a text of more than eight bytes", 1000), bucket("베어링", 1000)],
              "o_line": [0, 0], "o_shift": [0, 0], "o_part": [0, 0], "top": [0, 0], "crossed": [0, 0]}
    assert {name: list(said[name]) for name in wanted} == wanted
    # Numbers go by their size: 10 comes after 9.
    found = transformed(connection, schema, "ML.ORDINAL_ENCODER(n) OVER () AS o", None, query="SELECT i % 12 AS n FROM generate_series(1, 60) AS t (i)",
                        asked="(SELECT n FROM generate_series(0, 12) AS t (n) ORDER BY n)")
    assert [o for _, o in sorted(zip(found["n"], found["o"]))] == [*range(1, 13), 0]


def test_a_separator_is_taken_as_it_is(connection, schema):
    found = transformed(connection, schema, "ML.FEATURE_CROSS(ARRAY[line, shift], ' BY ') OVER () AS x", None)
    assert found["x"] == [None if shift is None else f"{line} BY {shift}" for line, shift in zip(found["line"], found["shift"])]


AFFINE = [
    "a, b",
    "ML.STANDARD_SCALER(ARRAY[a, b, c]) OVER () AS x",
    "ML.STANDARD_SCALER(ML.IMPUTER(ARRAY[a, holes], 'median') OVER ()) OVER () AS x, c",
    "ML.PCA(ML.MIN_MAX_SCALER(ML.IMPUTER(ARRAY[a, b, holes], 'mean') OVER ()) OVER (), 2, true) OVER () AS pc, ML.ROBUST_SCALER(a) OVER () AS r",
    "ML.MAX_ABS_SCALER(ML.STANDARD_SCALER(holes) OVER ()) OVER () AS x, ML.MIN_MAX_SCALER(holes) OVER () AS z, holes",
    "ML.PCA(ARRAY[a, c, filled], 2) OVER () AS pc, ML.STANDARD_SCALER(holes) OVER () AS x",
]
CURVED = ["ML.NORMALIZER(ARRAY[a, b]) OVER () AS x", "ML.POLYNOMIAL_EXPAND(ARRAY[a, b], 2) OVER () AS x", "a, ML.ONE_HOT_ENCODER(line) OVER () AS l",
          "ML.QUANTILE_BUCKETIZE(a, 4) OVER () AS x", "a, line", "ML.IMPUTER(holes, 'mean', add_indicator => true) OVER () AS x"]


@pytest.mark.parametrize("kind", ["linear_reg", "logistic_reg"])
def test_the_plan_names_the_fused_kernel(connection, schema, kind):
    label = "y" if kind == "linear_reg" else "label"
    asked = f"SELECT id, a, b, c, line, CASE WHEN id % 7 > 0 THEN b END AS holes, b - a AS filled FROM {schema}.t"
    query = f"SELECT q.*, t.{label} FROM ({asked}) q JOIN {schema}.t t ON q.id = t.id"
    for calls, fused in [*((one, True) for one in AFFINE), *((one, False) for one in CURVED)]:
        train(connection, schema, "m", f"model_type = '{kind}', input_label_cols = ['{label}'], l2_reg = 1, data_split_method = 'no_split'", query,
              f"TRANSFORM ({calls}, {label})")
        version = connection.execute(f"SELECT default_version FROM system.models WHERE schema = '{schema}'").fetchone()[0]
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN SELECT predicted_{label} FROM ML.PREDICT(MODEL {schema}.m, ({asked}))").fetchall())
        kernel = "fused-linear" if fused else "linear"
        assert f"ml_predict[{schema}.m v{version}, {kernel}]" in plan, (calls, plan)
        # It is the sum of the weights times what the transforms make; a feature that is NULL is its mean.
        made = columns(connection, f"SELECT * FROM ML.TRANSFORM(MODEL {schema}.m, ({asked})) ORDER BY id")
        said = weights(connection, f"{schema}.m")
        if not set(said) - {"__INTERCEPT__"} <= set(made) or any(isinstance(made[name], list) for name in said if name != "__INTERCEPT__"):
            assert calls == "a, line"
            continue
        score = numpy.full(len(made["id"]), said["__INTERCEPT__"])
        for name, weight in said.items():
            if name != "__INTERCEPT__":
                score += weight * numpy.where(numpy.isnan(made[name]), numpy.nanmean(made[name]), made[name])
        value = "predicted_y" if label == "y" else "predicted_label_probs[2]['prob']"
        predicted = columns(connection, f"SELECT {value} AS p FROM ML.PREDICT(MODEL {schema}.m, ({asked})) ORDER BY id")["p"]
        close(predicted, score if label == "y" else 1 / (1 + numpy.exp(-score)), 1e-8)
    train(connection, schema, "m", f"model_type = 'boosted_tree_{'regressor' if label == 'y' else 'classifier'}', max_iterations = 2, input_label_cols = ['{label}']", query,
          f"TRANSFORM (ML.STANDARD_SCALER(a) OVER () AS x, {label})")
    plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN SELECT predicted_{label} FROM ML.PREDICT(MODEL {schema}.m, ({asked}))").fetchall())
    assert "boosted-trees]" in plan and "fused" not in plan


def test_predictions_have_parameters(connection, schema):
    """As psycopg declares them: numbers of types of their own, text of none."""
    train(connection, schema, "m", "model_type = 'logistic_reg', l2_reg = 1", f"SELECT a, line, label FROM {schema}.t")
    asked = f"SELECT predicted_label, predicted_label_probs[2]['prob'] FROM ML.PREDICT(MODEL {schema}.m, (SELECT {{}} AS a, {{}} AS line), threshold => {{}})"
    for a in (2.5, Decimal("2.5"), "2.5"):
        for threshold in (0.0, Decimal("0.5"), 1, "1.0"):
            found = connection.execute(asked.format("%s", "%s", "%s"), [a, "A", threshold]).fetchall()
            assert found == connection.execute(asked.format("2.5", "'A'", threshold), prepare=False).fetchall(), (a, threshold)
            assert found[0][0] == {0.0: "good", 1.0: "bad"}.get(float(threshold), found[0][0])
    value = connection.execute(f"SELECT ml_predict(MODEL {schema}.m, %s, %s)", ["2.5", "A"]).fetchone()
    assert value == connection.execute(f"SELECT ml_predict(MODEL {schema}.m, 2.5, 'A')").fetchone()
    of_some = f"SELECT count(*) FROM ML.PREDICT(MODEL {schema}.m, (SELECT * FROM {schema}.t WHERE line = %s AND id <= %s), on_null => %s)"
    assert connection.execute(of_some, ["A", 30, "error"]).fetchone() == (10,)
    measured = f"SELECT recall FROM ML.EVALUATE(MODEL {schema}.m, (SELECT * FROM {schema}.t WHERE id <= %s), threshold => %s)"
    assert connection.execute(measured, [100, 0]).fetchone() == (1,)
    explained = f"SELECT top_feature_attributions FROM ML.EXPLAIN_PREDICT(MODEL {schema}.m, (SELECT * FROM {schema}.t WHERE id = 1), STRUCT(%s AS top_k_features))"
    assert len(connection.execute(explained, [1]).fetchone()[0]) == 1
    for wrong in (1.5, None):
        with pytest.raises(psycopg.Error) as error:
            connection.execute(asked.format("2.5", "'A'", "%s"), [wrong])
        assert error.value.sqlstate == "42601" and "threshold is a number from 0 to 1" in error.value.diag.message_primary
    # A statement that writes is planned once.
    connection.execute(f"CREATE TABLE {schema}.told (label text)")
    with pytest.raises(psycopg.Error) as error:
        connection.execute(f"INSERT INTO {schema}.told SELECT predicted_label FROM ML.PREDICT(MODEL {schema}.m, TABLE {schema}.t, threshold => %s)", [0.5])
    assert error.value.sqlstate == "0A000" and "ML.PREDICT takes no parameter" in error.value.diag.message_primary
    connection.execute(f"INSERT INTO {schema}.told SELECT predicted_label FROM ML.PREDICT(MODEL {schema}.m, (SELECT * FROM {schema}.t WHERE line = %s), threshold => 1)", ["A"])
    assert connection.execute(f"SELECT label, count(*) FROM {schema}.told GROUP BY 1").fetchall() == [("bad", 200)]


def test_a_prediction_is_made_once_of_the_rows_that_are_asked_for(connection, schema):
    train(connection, schema, "m", "model_type = 'decision_tree_classifier'", f"SELECT a, b, label FROM {schema}.t")
    # Two columns of it, and one that stands for the row itself.
    for asked, name in [("predicted_label, predicted_label_probs", "ml_predict["), ("baseline_prediction_value, prediction_value, predicted_label", "ml_explain_predict[")]:
        function = "ML.PREDICT" if name == "ml_predict[" else "ML.EXPLAIN_PREDICT"
        lines = [row[0] for row in connection.execute(f"EXPLAIN SELECT id, {asked} FROM {function}(MODEL {schema}.m, TABLE {schema}.t) WHERE id = 3").fetchall()]
        plan = "\n".join(lines).split("Sources:")[0]
        assert plan.count(name) == 1, plan
        scored, kept = (next(at for at, line in enumerate(lines) if word in line) for word in (name, "FilterExec"))
        assert scored < kept, plan
    # A condition on a prediction stays above it.
    lines = [row[0] for row in connection.execute(f"EXPLAIN SELECT id, predicted_label FROM ML.PREDICT(MODEL {schema}.m, TABLE {schema}.t) WHERE predicted_label = 'bad'").fetchall()]
    assert "\n".join(lines).split("Sources:")[0].count("ml_predict[") == 1, lines
    lines = [row[0] for row in connection.execute(f"EXPLAIN SELECT id, ml_predict(MODEL {schema}.m, a, b) FROM {schema}.t WHERE id = 3").fetchall()]
    scored, kept = (next(at for at, line in enumerate(lines) if word in line) for word in (f"ml_predict[{schema}.m v1, forest]", "FilterExec"))
    assert scored < kept, lines


def test_columns_of_a_name_that_the_table_has_too(connection, schema):
    train(connection, schema, "m", "model_type = 'linear_reg', input_label_cols = ['y'], data_split_method = 'no_split'", f"SELECT a, b, y FROM {schema}.t")
    said = weights(connection, f"{schema}.m")
    # What both share is computed once, below a column that has the name of one of the table's.
    asked = f"(SELECT id, a + sqrt(id) AS a, b + sqrt(id) AS b FROM {schema}.t)"
    found = columns(connection, f"SELECT predicted_y FROM ML.PREDICT(MODEL {schema}.m, {asked}) ORDER BY id")["predicted_y"]
    known = columns(connection, f"SELECT id, a, b FROM {schema}.t ORDER BY id")
    root = numpy.sqrt(known["id"])
    close(found, said["__INTERCEPT__"] + said["a"] * (known["a"] + root) + said["b"] * (known["b"] + root))


def test_a_statement_goes_on_with_the_version_it_was_planned_with(server, connection, schema):
    model = f"{schema}.m"
    for factor in (1, 10):
        train(connection, schema, "m", "model_type = 'linear_reg', input_label_cols = ['y'], set_default = " + str(factor == 1),
              f"SELECT i * 1.0 AS x, i * {factor}.0 AS y FROM generate_series(1, 100) AS t (i)")
    def factor(sql, session=connection, **how):
        found = {round(row[0]) for row in session.execute(sql, **how).fetchall()}
        assert len(found) == 1
        return found.pop()
    scored = f"SELECT predicted_y / x FROM ML.PREDICT(MODEL {model}, (SELECT i * 1.0 AS x FROM generate_series(1, 60000) AS t (i)))"
    named = scored.replace(f"MODEL {model}", f"MODEL {model} VERSION 1")
    connection.execute(f"PREPARE said AS {scored}")
    connection.execute(f"PREPARE first AS {named}")
    assert (factor("EXECUTE said"), factor("EXECUTE first"), factor(scored, prepare=True)) == (1, 1, 1)
    # Somebody else deploys: psycopg would drop its own prepared statements after an ALTER.
    with server.connect(autocommit=False) as session, server.connect() as other:
        cursor = session.cursor(name="goes_on")
        cursor.itersize = 100
        cursor.execute(scored)
        seen = cursor.fetchmany(100)
        other.execute(f"ALTER MODEL {model} SET DEFAULT VERSION 2")
        seen += cursor.fetchmany(30000)
        # A statement that is prepared is planned when it is executed: by then the default is another. A version that it names stays.
        assert (factor("EXECUTE said"), factor("EXECUTE first"), factor(scored, prepare=True), factor(scored, session)) == (10, 1, 10, 10)
        # A cursor has its version, even when that is gone.
        other.execute(f"DROP MODEL {model} VERSION 1")
        seen += cursor.fetchall()
        assert len(seen) == 60000 and {round(row[0]) for row in seen} == {1}
    assert factor("EXECUTE said") == 10 and refusal(connection, "EXECUTE first").sqlstate == "42704"


KINDS = [
    ("linear_reg", "y", ""), ("linear_reg", "y", "l2_reg = 10.0"), ("linear_reg", "y", "l1_reg = 50.0"), ("logistic_reg", "label", "l2_reg = 1.0"),
    ("logistic_reg", "part", "l2_reg = 1.0"), ("linear_svm", "label", ""), ("decision_tree_classifier", "label", ""), ("decision_tree_regressor", "y", "max_tree_depth = 8"),
    ("random_forest_classifier", "label", "num_parallel_tree = 6, max_tree_depth = 6"), ("random_forest_regressor", "y", "num_parallel_tree = 6, max_tree_depth = 6"),
    ("boosted_tree_classifier", "label", "max_iterations = 10, subsample = 0.7, colsample_bytree = 0.7"), ("boosted_tree_regressor", "y", "max_iterations = 10, early_stop = true"),
    ("naive_bayes", "label", ""), ("knn_classifier", "label", ""), ("knn_regressor", "y", ""), ("kmeans", None, "num_clusters = 4"),
    ("gaussian_mixture", None, "num_clusters = 3, num_starts = 2"), ("pca", None, "num_principal_components = 3"), ("isolation_forest", None, "num_trees = 20, contamination = 0.1"),
    ("dbscan", None, "epsilon = 0.4"),
]


@pytest.fixture(scope="module")
def many(server):
    """Rows in several orders: as they come, as hashes have them, and in three parts that are read at once."""
    with server.connect() as connection:
        connection.execute("CREATE SCHEMA many")
        connection.execute(f"CREATE TABLE many.t AS {ROWS.format(n=9000)}")
        connection.execute("CREATE TABLE many.mixed AS SELECT * FROM many.t ORDER BY md5(id::text)")
        connection.execute("""CREATE VIEW many.parts AS SELECT * FROM many.t WHERE id % 3 = 1 UNION ALL SELECT * FROM many.mixed WHERE id % 3 = 0
            UNION ALL SELECT * FROM many.t WHERE id % 3 = 2""")
        yield "many"
        connection.execute("DROP SCHEMA many CASCADE")


@pytest.mark.parametrize("kind, label, options", KINDS)
def test_neither_order_nor_partitions_make_another_model(connection, many, kind, label, options):
    names = ["a", "b", "c", "line", "CASE WHEN id % 7 > 0 THEN a * b END AS gaps", *filter(None, [label])]
    settings = [f"model_type = '{kind}'", *([f"input_label_cols = ['{label}']"] if label else []), *filter(None, [options])]
    answers = []
    for source, partitions in [("t", 1), ("mixed", 1), ("t", 5), ("parts", 3)]:
        connection.execute(f"SET target_partitions = {partitions}")
        train(connection, many, "m", ", ".join(settings), f"SELECT {', '.join(names)} FROM many.{source}")
        connection.execute("SET target_partitions = 2")
        cursor = connection.execute("""SELECT * FROM ML.PREDICT(MODEL many.m, (SELECT id, a, b, c, line, CASE WHEN id % 11 > 0 THEN a * b END AS gaps
            FROM many.t WHERE id % 60 = 0)) ORDER BY id""")
        answers.append(cursor.fetchall())
    connection.execute("RESET target_partitions")
    # To the last bit, of all kinds: the rows are put in order before they are learnt from.
    assert len(answers[0]) == 150
    assert answers[1] == answers[0], "another order"
    assert answers[2] == answers[0], "more partitions"
    assert answers[3] == answers[0], "parts read at once"


def test_neighbours_are_the_mean_of_the_nearest(connection, schema):
    train(connection, schema, "m", "model_type = 'knn_regressor', num_neighbors = 4, input_label_cols = ['y'], data_split_method = 'no_split'", f"SELECT a, b, c, y FROM {schema}.t")
    known = columns(connection, f"SELECT a, b, c, y FROM {schema}.t")
    found = columns(connection, f"""SELECT * FROM ML.PREDICT(MODEL {schema}.m, (SELECT i AS id, i * 0.0731 AS a, i % 17 * 0.83 AS b, i % 29 * 1.71 AS c
        FROM generate_series(1, 100) AS t (i))) ORDER BY id""")
    rows, asked = matrix(known), numpy.array([[float(v) for v in found[name]] for name in "abc"]).T
    off = (((asked[:, None] - rows[None]) / rows.std(axis=0)) ** 2).sum(axis=2)
    order = numpy.sort(off, axis=1)
    clear = order[:, 4] - order[:, 3] > 1e-9
    assert clear.sum() > 80
    wanted = known["y"][numpy.argsort(off, axis=1)[:, :4]].mean(axis=1)
    close(found["predicted_y"][clear], wanted[clear])


@pytest.mark.parametrize("kind, options, most", [
    ("knn_regressor", "num_neighbors = 5", 0.15), ("random_forest_regressor", "num_parallel_tree = 30, max_tree_depth = 9", 0.2), ("boosted_tree_regressor", "max_iterations = 80", 0.12),
    ("decision_tree_regressor", "max_tree_depth = 12", 0.25)])
def test_regressions_come_near_a_formula(connection, schema, kind, options, most):
    def formula(u, v):
        return 3 * numpy.sin(u) + v * v / 10 + numpy.where(u > 3, 2.0, 0.0)
    query = """SELECT u, v, 3 * sin(u) + v * v / 10 + CASE WHEN u > 3 THEN 2 ELSE 0 END AS y
        FROM (SELECT (i * 7919 % 6007) / 1000.0::double precision AS u, (i * 104729 % 5003) / 500.0::double precision AS v FROM generate_series(1, 4000) AS t (i)) r"""
    train(connection, schema, "m", f"model_type = '{kind}', input_label_cols = ['y'], {options}", query)
    # Places between those of training.
    found = columns(connection, f"""SELECT * FROM ML.PREDICT(MODEL {schema}.m, (SELECT (i * 613 % 577) / 100.0::double precision AS u, (i * 419 % 499) / 50.0::double precision AS v
        FROM generate_series(1, 500) AS t (i)))""")
    wanted = formula(found["u"], found["v"])
    error = numpy.sqrt(((found["predicted_y"] - wanted) ** 2).mean()) / wanted.std()
    assert error < most, error
    # What training kept apart says as much.
    measured = connection.execute(f"SELECT r2_score, mean_squared_error FROM ML.EVALUATE(MODEL {schema}.m)").fetchone()
    assert measured[0] > 1 - most**2 and numpy.sqrt(measured[1]) / wanted.std() < most
    if "boosted" not in kind:
        # Means of labels lie among them.
        low, high = connection.execute(f"SELECT min(y), max(y) FROM ({query}) q").fetchone()
        assert low <= found["predicted_y"].min() and found["predicted_y"].max() <= high


@pytest.mark.parametrize("learnt, given, hint", [
    ("dt", ["dt::timestamp", "dt::timestamptz", "id", "dt::text", "'12:00'::time"], "CAST(column AS date)"),
    ("dt::timestamp", ["dt", "id", "dt::text"], "CAST(column AS timestamp)"),
    ("id", ["dt", "dt::timestamp"], "that training was given"),
])
def test_times_of_another_kind_are_refused(connection, schema, learnt, given, hint):
    rows = f"(SELECT id, DATE '2026-01-01' + id::int AS dt, 2.0 * id AS y FROM {schema}.t) r"
    train(connection, schema, "m", "model_type = 'linear_reg', input_label_cols = ['y'], data_split_method = 'no_split'", f"SELECT {learnt} AS x, y FROM {rows}")
    found = columns(connection, f"SELECT y, predicted_y FROM ML.PREDICT(MODEL {schema}.m, (SELECT {learnt} AS x, y FROM {rows}))")
    close(found["predicted_y"], found["y"], 1e-4)
    for other in given:
        for asked in (f"ML.PREDICT(MODEL {schema}.m, (SELECT {other} AS x FROM {rows}))", f"ML.EVALUATE(MODEL {schema}.m, (SELECT {other} AS x, y FROM {rows}))"):
            said = refusal(connection, f"SELECT * FROM {asked}")
            assert said.sqlstate == "42804" and hint in said.message_hint, (asked, said.message_primary, said.message_hint)


def test_timestamps_with_and_without_a_zone_are_of_one_kind(connection, schema):
    rows = f"(SELECT id, TIMESTAMP '2026-01-01' + id * INTERVAL '1 hour' AS ts, 2.0 * id AS y FROM {schema}.t) r"
    train(connection, schema, "m", "model_type = 'linear_reg', input_label_cols = ['y'], data_split_method = 'no_split'", f"SELECT ts, y FROM {rows}")
    asked = f"SELECT id, ts AT TIME ZONE 'UTC' AS ts FROM {rows}"
    found = columns(connection, f"SELECT id, predicted_y FROM ML.PREDICT(MODEL {schema}.m, ({asked})) ORDER BY id")
    close(found["predicted_y"], 2 * found["id"], 1e-4)


def test_what_only_the_condition_names_is_not_asked_for(connection, schema):
    options = "model_type = 'linear_reg', input_label_cols = ['y'], data_split_method = 'no_split'"
    transform = "TRANSFORM (ML.STANDARD_SCALER(a) OVER () AS x, y) TRAIN WHERE y < 20 AND b > 1 AND x < 5"
    train(connection, schema, "m", options, f"SELECT a, b, y FROM {schema}.t", transform)
    train(connection, schema, "plain", options, f"SELECT a, y FROM {schema}.t WHERE y < 20 AND b > 1")
    found, plain = (columns(connection, f"SELECT id, predicted_y FROM ML.PREDICT(MODEL {schema}.{name}, (SELECT id, a FROM {schema}.t)) ORDER BY id")["predicted_y"]
                    for name in ("m", "plain"))
    close(found, plain, 1e-6)
    drift = connection.execute(f"SELECT DISTINCT input FROM ML.VALIDATE_DATA_SKEW(MODEL {schema}.m, (SELECT a FROM {schema}.t))").fetchall()
    assert drift == [("a",)]
    connection.execute(f"RETRAIN MODEL {schema}.m")
    again = columns(connection, f"SELECT id, predicted_y FROM ML.PREDICT(MODEL {schema}.m@2, (SELECT id, a FROM {schema}.t)) ORDER BY id")["predicted_y"]
    assert (again == found).all()


@pytest.mark.parametrize("what, query, code, text", [
    ("TRANSFORM (a, ln(y) AS y) OPTIONS (model_type = 'linear_reg', input_label_cols = ['y'])", "SELECT a, y", "0A000", 'the column "y"'),
    ("OPTIONS (model_type = 'linear_reg', input_label_cols = ['held'])", "SELECT a, held", "42804", "is a boolean"),
    ("OPTIONS (model_type = 'linear_reg', input_label_cols = ['day'])", "SELECT a, DATE '2026-01-01' + id::int AS day", "42804", "is a date"),
    ("OPTIONS (model_type = 'linear_reg', input_label_cols = ['y'])", "SELECT a, CASE WHEN id = 7 THEN 'Infinity'::double precision ELSE y END AS y", "22003", "infinite"),
    ("OPTIONS (model_type = 'linear_reg', input_label_cols = ['y'], weight_col = 'w')", "SELECT a, y, 0.0 AS w", "22023", "are 0"),
    ("OPTIONS (model_type = 'decision_tree_classifier', input_label_cols = ['k'])", "SELECT a, 9007199254740992 + id % 2 AS k", "22003", "too large"),
    ("OPTIONS (model_type = 'decision_tree_classifier', input_label_cols = ['k'])", "SELECT a, -9007199254740993 - id % 2 AS k", "22003", "too large"),
    ("OPTIONS (model_type = 'holt_winters', time_series_timestamp_col = 'id', time_series_data_col = 'y')", "SELECT min(id) AS id, 1.0 AS y", "22023", "too short"),
])
def test_labels_that_cannot_be_learnt(connection, schema, what, query, code, text):
    said = refusal(connection, f"CREATE MODEL {schema}.no {what} AS {query} FROM {schema}.t")
    assert said.sqlstate == code and text in said.message_primary, said.message_primary
    assert said.message_hint
    said = refusal(connection, f"DESCRIBE MODEL {schema}.no")
    assert said.sqlstate == "42704"


def test_last_days_of_months_go_on_as_last_days(connection, schema):
    ends = [date(year, month, calendar.monthrange(year, month)[1]) for year in (2024, 2025, 2026) for month in range(1, 13)]
    rows = ", ".join(f"(DATE '{end}', {number}.0)" for number, end in enumerate(ends[:24]) if number != 10)
    connection.execute(f"CREATE MODEL {schema}.m OPTIONS (model_type = 'holt_winters', seasonality = 1, time_series_timestamp_col = 'day', time_series_data_col = 'v') "
                       f"AS SELECT * FROM (VALUES {rows}) AS t (day, v)")
    found = connection.execute(f"SELECT forecast_timestamp, forecast_value FROM ML.FORECAST(MODEL {schema}.m, horizon => 5) ORDER BY forecast_timestamp").fetchall()
    assert [day for day, _ in found] == ends[24:29]
    assert all(abs(value - wanted) < 1 for wanted, (_, value) in enumerate(found, 24)), found
