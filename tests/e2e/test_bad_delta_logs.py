"""Damaged logs of Delta Lake tables: an error that names the table, or the rows of just those files that the log names as it now stands.

A log has no checksums, so that a reader written here says what is left of it: each line one JSON object, files that are added and
removed, actions of unknown names passed over, as the protocol wants it. Checkpoints in Parquet and deletion vectors are damaged in
`test_bad_input.py`. A few mutations of each table, many more in `tests/run --long`."""

import json
import random
import re
import shutil
import urllib.parse

import psycopg
import pyarrow.parquet
import pytest
from test_bad_input import CLEAN, DELTA, MUTATIONS, RENAMED, SEED, mutate, same
from test_bad_input import session as session  # pylint: disable=useless-import-alias

pytestmark = pytest.mark.timeout(3600)

# 42701: two columns have the same name. HV000: the disk takes no name as long as that.
STATES = CLEAN | RENAMED | {"42701", "HV000"}
# By name: the table, and which files of its log are damaged. Those before a checkpoint are not read, so it goes where commits are meant.
LOGS = {
    "commits": ("orders", r"\d{20}\.json"),
    "commits_of_spark": ("spark/partitioned", r"\d{20}\.json"),
    "commits_with_vectors": ("spark/vectors", r"\d{20}\.json"),
    "commits_with_mapped_columns": ("spark/mapped", r"\d{20}\.json"),
    "checkpoint": ("spark/checkpointed", r"0{19}8\.checkpoint\..*\.json|0{19}9\.json"),
}


def copied(name, place):
    table, pattern = LOGS[name]
    shutil.copytree(DELTA / table, place)
    if name != "checkpoint":
        for path in [*place.glob("_delta_log/*checkpoint*")]:
            path.unlink()
    return sorted(path.name for path in (place / "_delta_log").iterdir() if re.fullmatch(pattern, path.name))


def no_number(word):
    raise ValueError(word)


def actions(path):
    """Each line has one object. What nobody asks for may be no UTF-8."""
    for line in path.read_bytes().split(b"\n"):
        if line.strip():
            action = json.loads(line.decode(errors="surrogateescape"), parse_constant=no_number)
            if type(action) is not dict:
                raise ValueError(action)
            yield action


def key(action):
    vector = action.get("deletionVector")
    return urllib.parse.unquote(action["path"]), vector and json.dumps([vector["storageType"], vector["pathOrInlineDv"], vector.get("offset")])


class Live:
    """The files of the newest version, and all else that its rows depend on."""

    def __init__(self, table):
        self.table, self.files, self.shape = table, {}, {}
        log = table / "_delta_log"
        checkpoints = sorted(log.glob("*.checkpoint.*.json"))
        for path in checkpoints[-1:]:
            for action in actions(path):
                self.take(action)
                if action.get("sidecar"):
                    rows = pyarrow.parquet.read_table(log / "_sidecars" / action["sidecar"]["path"], columns=["add"])
                    for add in filter(None, rows.column("add").to_pylist()):
                        self.take({"add": {**add, "partitionValues": dict(add["partitionValues"])}})
        after = int(checkpoints[-1].name[:20]) if checkpoints else -1
        for path in sorted(path for path in log.glob("*.json") if re.fullmatch(r"\d{20}\.json", path.name) and int(path.name[:20]) > after):
            commit = list(actions(path))
            for action in commit:
                if action.get("remove"):
                    self.files.pop(key(action["remove"]), None)
            for action in commit:
                self.take(action)

    def take(self, action):
        if action.get("add"):
            self.files[key(action["add"])] = action["add"]
        for name in ("metaData", "protocol"):
            if action.get(name):
                self.shape[name] = action[name]

    def state(self):
        """What the rows are made of, numbers and names that are only told left out."""
        values = {file: add.get("partitionValues") or {} for file, add in self.files.items()}
        metadata = self.shape["metaData"]
        shape = [metadata["schemaString"], metadata.get("partitionColumns"), metadata.get("configuration"), self.shape["protocol"]["minReaderVersion"]]
        return values, shape

    def n_rows(self):
        rows = 0
        for (path, _), add in self.files.items():
            rows += pyarrow.parquet.read_metadata(self.table / path).num_rows
            rows -= add["deletionVector"]["cardinality"] if add.get("deletionVector") else 0
        return rows


STRANGE = [None, -1, 0, 2**31, 2**63 - 1, 2**64, 1e300, 0.5, True, "", "x", "../x.parquet", "/", "%zz", "file:///nowhere/x.parquet", "\x00",
           "x" * 5000, [], {}, [[]], {"x": None}]


def reshaped(raw, dice):
    """One member of one action is another value, is gone, or has a name of its own. Returns what was done, and the bytes."""
    lines = raw.split(b"\n")
    at = dice.choice([n for n, line in enumerate(lines) if line.strip()])
    action = json.loads(lines[at])
    inside, member = action, dice.choice(list(action))
    while dice.random() < 0.85 and type(inside[member]) is dict and inside[member]:
        inside = inside[member]
        member = dice.choice(list(inside))
    text = inside[member]
    if dice.random() < 0.3 and type(text) is str and text.startswith("{"):
        # JSON in a text: columns, or what is known of a file.
        what, inside[member] = mutate(text.encode(), dice)[0], mutate(text.encode(), dice)[1].decode(errors="replace")
    elif dice.random() < 0.2:
        what = "gone"
        del inside[member]
    elif dice.random() < 0.1:
        what = "deep"
        inside[member] = json.loads("[" * 400 + "]" * 400)
    else:
        inside[member] = dice.choice(STRANGE)
        what = repr(inside[member])[:40]
    lines[at] = json.dumps(action).encode()
    return f"line {at + 1}: {member}: {what}", b"\n".join(lines)


def relined(raw, dice):
    """A line is gone, comes twice, runs into the next one or is empty."""
    lines = raw.split(b"\n")
    at = dice.randrange(len(lines))
    kind = dice.choice(["gone", "twice", "run together", "empty", "blank", "first"])
    one, rest = lines[at], lines[at + 1:at + 2]
    lines[at:at + 2] = {"gone": rest, "twice": [one, one, *rest], "run together": [b"".join([one, *rest])], "empty": [b"{}", *rest],
                        "blank": [one, b"  \t", *rest], "first": [*rest, one]}[kind]
    return f"line {at + 1}: {kind}", b"\n".join(lines)


def rows_in(session, place, columns):
    """In the words of the engine, whatever types they have."""
    listed = ", ".join(f'"{column}"::text' for column in columns)
    return sorted(session.execute(f"SELECT {listed} FROM '{place}/'").fetchall(), key=repr)


def judge(session, place, columns, original, state):
    """Returns what is wrong with the answer over a damaged log, or None."""
    try:
        rows = rows_in(session, place, columns)
    except psycopg.Error as error:
        text = " ".join(filter(None, [error.diag.message_primary, error.diag.message_detail]))
        if error.sqlstate not in STATES:
            return f"{error.sqlstate}: {text:.300}"
        # What names a column says so without its table.
        return None if place.name in text or error.sqlstate in RENAMED else f"nothing is named: {error.sqlstate}: {text}"
    try:
        live = Live(place)
        now, n_rows = live.state(), live.n_rows()
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        return f"{len(rows)} rows of a log that says nothing ({error!r:.200})"
    if len(rows) != n_rows:
        return f"{len(rows)} rows, the log has {n_rows}"
    return None if now != state or same(rows, original) else f"{len(rows)} rows, other ones than before"


@pytest.mark.parametrize("name", LOGS)
def test_damaged_logs(session, tmp_path, name):
    good = tmp_path / "good"
    files = copied(name, good)
    columns = [row[0] for row in session.execute(f"DESCRIBE '{good}/'").fetchall()]
    live = Live(good)
    original = rows_in(session, good, columns)
    assert files and len(original) == live.n_rows() > 0
    dice = random.Random(f"{SEED} log {name}")
    wrong = []
    for number in range(3 * MUTATIONS):
        file = dice.choice(files)
        how = dice.choice([mutate, reshaped, reshaped, relined])
        what, bad = how((good / "_delta_log" / file).read_bytes(), dice)
        # A place of its own, so that nothing that is kept of it counts.
        place = tmp_path / f"m{number}"
        shutil.copytree(good, place)
        (place / "_delta_log" / file).write_bytes(bad)
        complaint = judge(session, place, columns, original, live.state())
        shutil.rmtree(place)
        if complaint is not None:
            wrong.append(f"mutation {number} ({file}: {what}): {complaint}")
    assert wrong == []


@pytest.mark.parametrize("table", ["orders", "spark/checkpointed"])
def test_a_damaged_hint_is_no_hint(session, tmp_path, table):
    """`_last_checkpoint` only says where to begin: whatever it says, the rows are the same."""
    place = tmp_path / "good"
    shutil.copytree(DELTA / table, place)
    ask = "SELECT * FROM '{}/' ORDER BY id"
    original = session.execute(ask.format(place)).fetchall()
    good = (place / "_delta_log/_last_checkpoint").read_bytes()
    dice = random.Random(f"{SEED} hint {table}")
    version = json.loads(good)["version"]
    wrong = []
    cases = [mutate(good, dice) for _ in range(2 * MUTATIONS)]
    for other in [0, version - 1, version + 1, 99, 2**63, -1, None, "x"]:
        cases.append((str(other), json.dumps({**json.loads(good), "version": other}).encode()))
    for number, (what, bad) in enumerate(cases):
        moved = tmp_path / f"m{number}"
        place.rename(moved)
        place = moved
        (place / "_delta_log/_last_checkpoint").write_bytes(bad)
        try:
            rows = session.execute(ask.format(place)).fetchall()
        except psycopg.Error as error:
            wrong.append(f"{what}: {error.sqlstate}: {error}")
        else:
            if not same(rows, original):
                wrong.append(f"{what}: {len(rows)} rows of {len(original)}")
    assert wrong == []


def test_versions_of_absurd_numbers(session, tmp_path):
    """Names of files that are numbers beyond all others: a gap in the log, never a table that ends before it or a loop to there."""
    for number, version in enumerate([6, 7, 10**19, 2**63 - 1, 2**63, 2**64 - 1]):
        place = tmp_path / f"t{number}"
        copied("commits", place)
        shutil.copy(place / f"_delta_log/{5:020}.json", place / f"_delta_log/{version:020}.json")
        sql = f"SELECT count(id) FROM '{place}/'"
        if version == 6:
            assert session.execute(sql).fetchone() == (Live(place).n_rows(),)
            continue
        with pytest.raises(psycopg.errors.DataCorrupted, match="missing"):
            session.execute(sql)


@pytest.mark.parametrize("member,version", [("partitionValues", 5), ("partitionColumns", 2)])
def test_what_a_partitioned_table_needs_is_missing(session, tmp_path, member, version):
    """The protocol demands both of every writer. A column of partitions that is NULL instead would be rows that no version has."""
    place = tmp_path / "t"
    copied("commits", place)
    commit = place / f"_delta_log/{version:020}.json"
    commit.write_bytes(commit.read_bytes().replace(f'"{member}":'.encode(), f'"{member[:-1]}z":'.encode(), 1))
    with pytest.raises(psycopg.errors.DataCorrupted, match=f"{version}.json"):
        session.execute(f"SELECT id, region FROM '{place}/'").fetchall()
