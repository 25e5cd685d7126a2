"""The mission's batch: web access logs, call records and customers as they come, dirt and all; any amount, in pieces, always the same.

Tests and benches make them with it; what is wrong in them is what `sql/scripts/batch_pipeline.sql` has to mend.
"""

import datetime

import numpy as np
import pyarrow as pa

REGIONS = ["서울", "부산", "대구", "인천", "광주", "대전"]
GRADES = ["gold", "silver", "bronze"]
BEGIN = datetime.datetime(2026, 11, 1, tzinfo=datetime.timezone.utc)
DAYS = 3
BROWSERS = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
]
BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


def chance(seed, *which):
    return np.random.default_rng([seed, *which])


def customers(n, seed=1):
    """Names with blanks around them, telephone numbers in many writings, grades that are missing."""
    draw = chance(seed, 0)
    region, grade, gone = draw.integers(0, len(REGIONS), n), draw.integers(0, len(GRADES), n), draw.random(n) < 0.05
    form = draw.integers(0, 3, n)
    return pa.table({
        "id": pa.array(np.arange(1, n + 1), pa.int64()),
        "name": [f"  고객　{i} " if i % 7 == 0 else f"고객 {i}" for i in range(1, n + 1)],
        "phone": [written(i, how) for i, how in zip(range(1, n + 1), form)],
        "region": [REGIONS[i] for i in region],
        "grade": [None if missing else GRADES[i] for i, missing in zip(grade, gone)],
    })


def phone(customer):
    """As it is once it is clean."""
    return f"010-{1000 + customer // 10000:04d}-{customer % 10000:04d}"


def written(customer, how):
    plain = phone(customer)
    return [plain, "+82 " + plain[1:].replace("-", " "), plain.replace("-", ".")][how]


def calls(piece, n, n_customers, seed=1):
    """Call records: some twice, the later one counts; seconds and fees as text with units, some missing, some far out."""
    draw = chance(seed, 1, piece)
    ids = np.arange(piece * n, piece * n + n)
    twice = draw.random(n) < 0.02
    # The record that comes again is the one before it, mended.
    ids = np.where(twice & (np.arange(n) > 0), ids - 1, ids)
    who, how = draw.integers(1, n_customers + 1, n), draw.integers(0, 3, n)
    unknown = draw.random(n) < 0.01
    seconds = np.round(draw.gamma(2.0, 90.0, n)).astype(int) + 1
    seconds = np.where(draw.random(n) < 0.002, seconds * 500, seconds)
    kind, fee = draw.random(n), draw.integers(0, 60_000, n)
    # Of no record it is a guess which day it belongs to, however days are cut.
    started = draw.integers(0, DAYS * 86_400, n)
    epoch = int(BEGIN.timestamp())
    return pa.table({
        "call_id": pa.array(ids, pa.int64()),
        "caller": ["비공개" if gone else written(int(c), int(h)) for c, h, gone in zip(who, how, unknown)],
        "started": pa.array((epoch + started) * 1_000_000, pa.timestamp("us")),
        "seconds": [None if k < 0.05 else f"{s:,} sec" if k < 0.5 else str(s) if k < 0.95 else "n/a" for k, s in zip(kind, seconds)],
        "fee": [f"₩{f:,}" if k < 0.5 else f"{f:,}원" if k < 0.9 else f"{f / 10000:.4f}만원" for k, f in zip(kind, fee)],
        "loaded": pa.array(np.arange(piece * n, piece * n + n), pa.int64()),
    })


def lines(piece, n, n_customers, seed=1):
    """Lines of a web server in the combined format; a few of robots, of errors, without a customer, or cut off."""
    draw = chance(seed, 2, piece)
    who, item, size = draw.integers(1, n_customers + 1, n), draw.integers(1, 500, n), draw.integers(200, 40_000, n)
    size = np.where(draw.random(n) < 0.001, size * 400, size)
    kind, agent = draw.random(n), draw.integers(0, len(BROWSERS), n)
    seconds = np.sort(draw.integers(0, DAYS * 86_400, n))
    days = [(BEGIN + datetime.timedelta(days=d)).strftime("%d/%b/%Y") for d in range(DAYS)]
    found = []
    for c, i, b, k, a, s in zip(who.tolist(), item.tolist(), size.tolist(), kind.tolist(), agent.tolist(), seconds.tolist()):
        clock = f"{days[s // 86_400]}:{s // 3600 % 24:02d}:{s // 60 % 60:02d}:{s % 60:02d} +0000"
        url = f"/item/{i}?customer={c}&ref=%EB%A9%94%EC%9D%BC" if k < 0.9 else f"/item/{i}"
        status = 200 if k < 0.85 else 404
        browser = BOT if 0.2 < k < 0.25 else BROWSERS[a]
        line = f'10.{c % 200}.{i % 250}.{a} - - [{clock}] "GET {url} HTTP/1.1" {status} {b} "-" "{browser}"'
        found.append(line if k > 0.003 else line[:60])
    return found
