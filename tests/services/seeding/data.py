"""The rows. No random source but a fixed one, no clock: what a test expects can be computed from here."""

import datetime as dt
import decimal
import random

import pyarrow as pa

URLS = [f"/shop/item/{n}" for n in range(300)] + ["/", "/login", "/cart", "/help?q=배송", "/a,b/c"]
GRADES = ["GOLD", "SILVER", "BRONZE"]
CITIES = ["서울", "부산", "인천", "Busan Port", "O'Fallon", None]
AGENTS = ["Mozilla/5.0 (X11; Linux x86_64)", 'curl/8.5 "quoted"', None]
CALL_TYPES = ["order", "complaint", "refund", None]

CUSTOMERS = 1_000
WEBLOG_FILES = 6
WEBLOG_ROWS_PER_FILE = 2_000
LOG_ROWS_PER_DAY = 500
DAYS = ["2026-11-01", "2026-11-02", "2026-11-03"]

UTC = dt.timezone.utc


def customers():
    """(id, name, grade, city, joined, balance, memo, updated): ids 1 to 1000; city, balance and memo have NULLs."""
    rng = random.Random(1)
    rows = []
    for n in range(1, CUSTOMERS + 1):
        rows.append((
            n,
            f"고객 {n:04d}" if n % 3 else f"customer {n:04d}",
            GRADES[n % 3],
            rng.choice(CITIES),
            dt.date(2015, 1, 1) + dt.timedelta(days=rng.randrange(4000)),
            None if n % 17 == 0 else decimal.Decimal(rng.randrange(-100_000_000, 900_000_000)).scaleb(-2),
            None if n % 5 == 0 else "" if n % 7 == 0 else f"memo, with 'quotes' and \\ {n}",
            dt.datetime(2026, 1, 1, tzinfo=UTC) + dt.timedelta(seconds=rng.randrange(30_000_000), microseconds=n),
        ))
    return rows


WEBLOG_SCHEMA = pa.schema([
    ("ts", pa.timestamp("us")),
    ("client_ip", pa.string()),
    ("customer_id", pa.int64()),
    ("url", pa.string()),
    ("status", pa.int32()),
    ("bytes", pa.int64()),
    ("user_agent", pa.string()),
])


def weblogs():
    """[(file name, table)]: the web access log, one file for each day. Every ninth visitor is no customer (NULL)."""
    files = []
    for day in range(WEBLOG_FILES):
        rng = random.Random(1000 + day)
        start = dt.datetime(2026, 11, 1 + day)
        rows = []
        for n in range(WEBLOG_ROWS_PER_FILE):
            rows.append({
                "ts": start + dt.timedelta(seconds=n * 43, microseconds=rng.randrange(1_000_000)),
                "client_ip": f"10.{day}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
                "customer_id": None if n % 9 == 0 else rng.randrange(1, CUSTOMERS + 200),
                "url": rng.choice(URLS),
                "status": rng.choice([200, 200, 200, 200, 301, 404, 500]),
                "bytes": None if n % 31 == 0 else rng.randrange(0, 5_000_000_000 if n % 500 == 0 else 60_000),
                "user_agent": rng.choice(AGENTS),
            })
        files.append((f"access-2026-11-{1 + day:02d}.parquet", pa.Table.from_pylist(rows, schema=WEBLOG_SCHEMA)))
    return files


LOG_SCHEMA = pa.schema([
    ("url", pa.string()),
    ("customer_id", pa.int64()),
    ("call_type", pa.string()),
    ("seconds", pa.int32()),
    ("at", pa.timestamp("us")),
])


def call_log():
    """{day: table}: customer calls about a page, one Hive partition `dt` for each day."""
    days = {}
    for index, day in enumerate(DAYS):
        rng = random.Random(2000 + index)
        rows = []
        for n in range(LOG_ROWS_PER_DAY):
            rows.append({
                "url": rng.choice(URLS),
                "customer_id": rng.randrange(1, CUSTOMERS + 1),
                "call_type": rng.choice(CALL_TYPES),
                "seconds": None if n % 13 == 0 else rng.randrange(1, 3600),
                "at": dt.datetime.fromisoformat(day) + dt.timedelta(seconds=n * 170),
            })
        days[day] = pa.Table.from_pylist(rows, schema=LOG_SCHEMA)
    return days


# Partition values as the metastore knows them, and the folder names Hive writes for them.
TAGS = {
    "a b": "tag=a b",
    "x/y": "tag=x%2Fy",
    "k=v": "tag=k%3Dv",
    "100%": "tag=100%25",
    "한글": "tag=한글",
    None: "tag=__HIVE_DEFAULT_PARTITION__",
}
TAGGED_SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string())])


def tagged():
    """{tag: table}: three rows for each partition value, ids 10·i to 10·i+2."""
    out = {}
    for index, tag in enumerate(TAGS):
        rows = [{"id": index * 10 + n, "name": f"{tag} {n}"} for n in range(3)]
        out[tag] = pa.Table.from_pylist(rows, schema=TAGGED_SCHEMA)
    return out


def text_rows():
    """Rows of `demo.log_text`: (id, name, grade, joined, balance, active, score, seen); NULLs, empty strings, 한글."""
    return [
        (1, "plain", "GOLD", "2020-02-29", "12345678.90", "true", "1.5", "2026-11-01 00:00:00"),
        (2, "한글 이름", "SILVER", "1969-12-31", "-0.01", "false", "-2.25", "2026-11-01 12:34:56.789"),
        (3, None, None, None, None, None, None, None),
        (4, "", "BRONZE", "9999-12-31", "0.00", "TRUE", "1e10", "1999-12-31 23:59:59.999999"),
        (5, "tab\tinside", "GOLD", "2026-11-23", "99999999.99", "false", "0.0", "2026-11-23 07:00:00"),
    ]


