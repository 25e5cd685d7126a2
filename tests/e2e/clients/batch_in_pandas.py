"""The mission's batch in pandas, beside `sql/scripts/batch_pipeline.sql`: reads lines, calls and customers from Parquet files of a folder, writes
the rows of the result as JSON.

batch_in_pandas.py FOLDER
"""

import json
import pathlib
import re
import sys
import urllib.parse

import numpy as np
import pandas as pd

LINE = re.compile(r'^(\S+) (\S+) (\S+) \[([^\]]+)\] "(\S+) (\S+) (\S+)" (\d{3}) (\d+|-) "([^"]*)" "([^"]*)"$')


def number(text):
    """Fees and seconds as pandas' users read them."""
    if not isinstance(text, str):
        return np.nan
    found = re.fullmatch(r"₩?([\d,]+(?:\.\d+)?)(만)?\s*(원|sec)?", text)
    return float(found[1].replace(",", "")) * (10_000 if found[2] else 1) if found else np.nan


def phone(text):
    digits = re.sub(r"\D", "", text)
    digits = "0" + digits[2:] if digits.startswith("82") else digits
    return f"{digits[:3]}-{digits[3:7]}-{digits[7:]}" if len(digits) == 11 else None


def in_pandas(lines, calls, customers):
    """What the batch makes, computed another way; a line of the result for each day, region and grade."""
    hits = [found for found in map(LINE.match, lines) if found]
    web = pd.DataFrame({"at": pd.to_datetime([h[4] for h in hits], format="%d/%b/%Y:%H:%M:%S %z", utc=True), "url": [h[6] for h in hits],
                        "status": [int(h[8]) for h in hits], "bytes": [float(h[9]) for h in hits], "agent": [h[11] for h in hits]})
    query = web["url"].map(lambda url: urllib.parse.parse_qs(urllib.parse.urlsplit(url).query).get("customer", [None])[0])
    web["customer"] = pd.to_numeric(query)
    web = web[(web["status"] < 400) & ~web["agent"].str.contains("bot") & web["customer"].notna()].copy()
    web["day"] = web["at"].dt.date
    web = web.sort_values(["customer", "at"], kind="stable")
    begins = web.groupby("customer")["at"].diff() > pd.Timedelta(minutes=30)
    web["session"] = begins.groupby(web["customer"]).cumsum()
    seen = web.groupby(["customer", "day"]).agg(views=("url", "size"), sessions=("session", "nunique"), bytes=("bytes", "sum")).reset_index()

    people = customers.copy()
    people["grade"] = people["grade"].fillna(people["grade"].mode()[0])
    people["phone"] = people["phone"].map(phone)
    talks = calls.sort_values("loaded").drop_duplicates("call_id", keep="last").copy()
    talks["phone"], talks["seconds"], talks["fee"] = talks["caller"].map(phone), talks["seconds"].map(number), talks["fee"].map(number)
    talks["day"] = talks["started"].dt.date
    talks = talks.merge(people[["id", "phone"]], on="phone")
    heard = talks.groupby(["id", "day"]).agg(calls=("call_id", "size"), seconds=("seconds", lambda s: s.sum(min_count=1)), fee=("fee", "sum")).reset_index()

    daily = seen.rename(columns={"customer": "id"}).merge(heard, on=["id", "day"], how="outer").merge(people, on="id")
    for column in ["views", "sessions", "bytes", "calls", "fee"]:
        daily[column] = daily[column].fillna(0)
    by_grade = daily.groupby("grade")["seconds"]
    median = by_grade.transform("median")
    spread = (daily["seconds"] - median).abs().groupby(daily["grade"]).transform("median") * 1.482602218505602
    daily["outlier"] = (daily["seconds"] - median).abs() / spread > 3.5
    daily["seconds"] = daily["seconds"].fillna(median)
    for _, rows in daily.groupby("grade").groups.items():
        order = daily.loc[rows, "seconds"].sort_values()
        cut = int(0.01 * len(order))
        if cut:
            daily.loc[order.index[-cut:], "seconds"] = order.iloc[-cut - 1]
    result = daily.groupby(["day", "region", "grade"]).agg(
        customers=("id", "nunique"), views=("views", "sum"), sessions=("sessions", "sum"), bytes=("bytes", "sum"), calls=("calls", "sum"),
        seconds=("seconds", "sum"), fee=("fee", "sum"), outliers=("outlier", "sum")).reset_index()
    result["share_of_fee"] = result["fee"] / result.groupby(["day", "region"])["fee"].transform("sum")
    return result.sort_values(["day", "region", "grade"]).reset_index(drop=True)


def main():
    folder = pathlib.Path(sys.argv[1])
    lines, calls, customers = (pd.read_parquet(folder / f"{name}.parquet") for name in ("lines", "calls", "customers"))
    result = in_pandas(lines["line"], calls, customers)
    result["day"] = result["day"].astype(str)
    json.dump({"columns": list(result.columns), "rows": result.values.tolist()}, sys.stdout)


main()
