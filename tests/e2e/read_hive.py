"""Run by Spark with Hive support: reads tables of a metastore that Maru wrote, and writes down what it sees.

read_hive.py METASTORE HDFS OUTPUT TABLE…
"""

import datetime
import decimal
import glob
import json
import os
import sys
import tempfile

from pyspark.sql import Row, SparkSession

metastore, hdfs, output, *tables = sys.argv[1:]
jars = ",".join(glob.glob(os.environ["SPARK_JARS"] + "/*.jar"))
settings = {
    "spark.hadoop.hive.metastore.uris": metastore, "spark.hadoop.fs.defaultFS": hdfs, "spark.jars": jars, "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1", "spark.sql.session.timeZone": "UTC", "spark.driver.memory": "700m",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED", "spark.hadoop.hive.exec.dynamic.partition.mode": "nonstrict",
    "spark.driver.extraJavaOptions": "-Duser.timezone=UTC -Dderby.system.home=" + tempfile.mkdtemp(),
}
builder = SparkSession.builder.master("local[1]")
for name, value in settings.items():
    builder = builder.config(name, value)
spark = builder.enableHiveSupport().getOrCreate()
spark.sparkContext.setLogLevel("ERROR")


def plain(value):
    if isinstance(value, Row):
        return {name: plain(item) for name, item in value.asDict().items()}
    if isinstance(value, dict):
        return sorted([str(key), plain(item)] for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (datetime.date, decimal.Decimal)):
        return str(value)
    return value


seen = {}
for table in tables:
    if table.startswith("insert:"):
        # Spark adds rows to what Maru made.
        spark.sql(table.removeprefix("insert:"))
        continue
    frame = spark.table(table)
    seen[table] = {"rows": [plain(row) for row in frame.collect()], "count": frame.count()}
with open(output, "w") as file:
    json.dump(seen, file)
spark.stop()
