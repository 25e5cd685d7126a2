"""The ML Modeler beside pandas and scikit-learn: one Parquet file, the same rows, the same parameters, as many threads."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from measure.engines import Maru

ROWS, COLUMNS = 5_000_000, 20
AIMS = {"train": 3.0, "score": 8.0, "tune": 1.5, "scale": 2.0, "pca": 1.0, "logistic": 1.0, "boosted": 0.8}
FEATURES = [f"x{at}" for at in range(COLUMNS)]


def make(path, rows):
    """Five causes behind twenty columns, gaps in each, two classes."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(5)
    schema = pa.schema([(name, pa.float64()) for name in FEATURES] + [("label", pa.string())])
    mixing = chance.normal(size=(5, COLUMNS))
    unfinished = path.with_suffix(".unfinished")
    with pq.ParquetWriter(unfinished, schema) as writer:
        for start in range(0, rows, 500_000):
            n = min(500_000, rows - start)
            causes = chance.normal(size=(n, 5))
            x = causes @ mixing + chance.normal(size=(n, COLUMNS)) + 10
            risk = causes @ np.array([1.5, -1.0, 0.5, 0.8, 0.2]) - 1
            label = np.where(chance.random(n) < 1 / (1 + np.exp(-risk)), "bad", "good")
            x[chance.random(size=x.shape) < 0.01] = np.nan
            columns = [pa.array(x[:, at], from_pandas=True) for at in range(COLUMNS)]
            writer.write_table(pa.table(columns + [pa.array(label)], schema=schema))
    unfinished.rename(path)


# Each peer is a process of its own, so that its peak of memory is its own too.
PEER = textwrap.dedent("""
    import json, resource, sys, time
    import pandas as pd, numpy as np
    from sklearn.pipeline import make_pipeline
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import MinMaxScaler, StandardScaler
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import RandomizedSearchCV, ShuffleSplit
    from sklearn.ensemble import HistGradientBoostingClassifier
    from scipy.stats import uniform
    part, path, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    start = time.perf_counter()
    frame = pd.read_parquet(path)
    x, y = frame.drop(columns="label"), (frame["label"] == "good").to_numpy()
    read = time.perf_counter() - start
    out = {"read_s": read}
    def flagship():
        return make_pipeline(SimpleImputer(), MinMaxScaler(), PCA(5), LogisticRegression(C=1.0))
    if part in ("train", "score"):
        start = time.perf_counter(); model = flagship().fit(x, y); out["train_s"] = time.perf_counter() - start + read
        start = time.perf_counter(); again = pd.read_parquet(path).drop(columns="label"); p = model.predict_proba(again)[:, 1]
        out["score_s"] = time.perf_counter() - start; out["roc_auc"] = roc_auc_score(y, p)
    elif part == "tune":
        filled = SimpleImputer().fit_transform(x)
        search = RandomizedSearchCV(LogisticRegression(max_iter=200), {"C": uniform(0.1, 100)}, n_iter=24, n_jobs=threads, random_state=0,
                                    scoring="roc_auc", cv=ShuffleSplit(1, test_size=0.2, random_state=0))
        search.fit(filled, y); out["total_s"] = time.perf_counter() - start; out["roc_auc"] = search.best_score_
    elif part == "scale":
        make_pipeline(SimpleImputer(), StandardScaler()).fit(x); out["total_s"] = time.perf_counter() - start
    elif part == "pca":
        PCA(5).fit(SimpleImputer().fit_transform(x)); out["total_s"] = time.perf_counter() - start
    elif part == "logistic":
        model = make_pipeline(SimpleImputer(), LogisticRegression(C=1.0, max_iter=500)).fit(x, y); out["total_s"] = time.perf_counter() - start
        out["roc_auc"] = roc_auc_score(y, model.predict_proba(x)[:, 1])
    elif part == "boosted":
        model = HistGradientBoostingClassifier(max_iter=50, learning_rate=0.3, max_depth=6, early_stopping=False).fit(x, y)
        out["total_s"] = time.perf_counter() - start; out["roc_auc"] = roc_auc_score(y, model.predict_proba(x)[:, 1])
    out["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(out))
""")


def peer(part, path, threads):
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-c", PEER, part, str(path), str(threads)], capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def peak_mb(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def reset_peak(pid):
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def statements(path):
    """What Maru runs for each part."""
    array, table = f"ARRAY[{', '.join(FEATURES)}]", f"'{path}'"
    base = "data_split_method = 'no_split', set_default = true"
    label = "input_label_cols = ['label']"
    flagship = (f"TRANSFORM (ML.PCA(ML.MIN_MAX_SCALER(ML.IMPUTER({array}) OVER ()) OVER (), 5) OVER () AS pc, label) "
                f"OPTIONS (model_type = 'logistic_reg', l2_reg = 1.0, {label}, {base})")
    return {
        "train": f"CREATE OR REPLACE MODEL bench.train {flagship} AS SELECT * FROM {table}",
        "tune": f"CREATE OR REPLACE MODEL bench.tune OPTIONS (model_type = 'logistic_reg', l2_reg = HPARAM_RANGE(0.01, 10.0), num_trials = 24, "
                f"max_parallel_trials = 6, hparam_tuning_algorithm = 'random_search', {label}, data_split_method = 'random') AS SELECT * FROM {table}",
        "scale": f"CREATE OR REPLACE MODEL bench.scale TRANSFORM (ML.STANDARD_SCALER(ML.IMPUTER({array}) OVER ()) OVER () AS x) "
                 f"OPTIONS (model_type = 'transform_only') AS SELECT * FROM {table}",
        "pca": f"CREATE OR REPLACE MODEL bench.pca TRANSFORM (ML.IMPUTER({array}) OVER () AS x) "
               f"OPTIONS (model_type = 'pca', num_principal_components = 5) AS SELECT * FROM {table}",
        "logistic": f"CREATE OR REPLACE MODEL bench.logistic OPTIONS (model_type = 'logistic_reg', l2_reg = 1.0, {label}, {base}) AS SELECT * FROM {table}",
        "boosted": f"CREATE OR REPLACE MODEL bench.boosted OPTIONS (model_type = 'boosted_tree_classifier', max_iterations = 50, learn_rate = 0.3, "
                   f"{label}, {base}) AS SELECT * FROM {table}",
    }


def run(arguments):
    rows = ROWS if arguments.scale == "1" else 200_000
    path = arguments.cache / f"ml-{rows}.parquet"
    make(path, rows)
    figures = {"rows": rows, "columns": COLUMNS, "aims": AIMS, "parts": {}, "wrong": []}
    with Maru(arguments.bin / "maru", arguments.work, arguments.threads) as maru:
        maru.run("CREATE SCHEMA bench")
        for part, sql in statements(path).items():
            reset_peak(maru.pid)
            runs = [maru.timed(sql)[1]["total_ms"] / 1000 for _ in range(max(1, min(3, arguments.repeats)))]
            mine = {"total_s": statistics.median(runs), "peak_mb": peak_mb(maru.pid)}
            if part in ("train", "logistic", "boosted", "tune"):
                mine["roc_auc"] = float(maru.run(f"SELECT roc_auc FROM ML.EVALUATE(MODEL bench.{part})")[0][0])
            other = peer(part, path, arguments.threads)
            figures["parts"][part] = {"maru": mine, "peer": other}
            if part == "train":
                reset_peak(maru.pid)
                score = f"SELECT avg(predicted_label_probs[2]['prob']) FROM ML.PREDICT(MODEL bench.train, (SELECT * FROM '{path}'))"
                runs = [maru.timed(score)[1]["total_ms"] / 1000 for _ in range(max(3, arguments.repeats))]
                figures["parts"]["score"] = {"maru": {"total_s": statistics.median(runs), "peak_mb": peak_mb(maru.pid)},
                                             "peer": {"total_s": other["score_s"], "peak_mb": other["peak_mb"]}}
                other["total_s"] = other["train_s"]
            mine_auc, other_auc = mine.get("roc_auc"), other.get("roc_auc")
            # Trees grow differently; what has one best answer agrees.
            near = 0.01 if part in ("boosted", "tune") else 1e-3
            if mine_auc is not None and other_auc is not None and mine_auc < other_auc - near:
                figures["wrong"].append(f"{part}: AUC {mine_auc:.5f} beside {other_auc:.5f}")
    return figures


def table(figures):
    lines = [f"{figures['rows']:,} rows × {figures['columns']} columns, from one Parquet file; reading it is part of every time.", "",
             "| | Maru | pandas + scikit-learn | times as fast | aim | AUC | memory, MB |", "|---|---|---|---|---|---|---|"]
    for part, both in figures["parts"].items():
        mine, other = both["maru"], both["peer"]
        ratio = other["total_s"] / mine["total_s"]
        auc = f"{mine['roc_auc']:.4f} / {other['roc_auc']:.4f}" if mine.get("roc_auc") and other.get("roc_auc") else ""
        lines.append(f"| {part} | {mine['total_s']:.2f} s | {other['total_s']:.2f} s | {ratio:.1f} | {figures['aims'][part]:g} | {auc} "
                     f"| {mine['peak_mb']:.0f} / {other['peak_mb']:.0f} |")
    return "\n".join(lines)
