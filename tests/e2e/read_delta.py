"""Run by Spark: reads tables that Maru wrote, and writes down what it sees."""

import glob
import json
import os
import sys

from pyspark.sql import SparkSession

place, output = sys.argv[1:3]
jars = ",".join(glob.glob(os.environ["SPARK_DELTA_JARS"] + "/*.jar"))
spark = (SparkSession.builder.master("local[1]").config("spark.jars", jars).config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
         .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
         .config("spark.sql.session.timeZone", "UTC")
         .config("spark.sql.parquet.datetimeRebaseModeInRead", "CORRECTED").config("spark.ui.enabled", "false").getOrCreate())
seen = {}
seen["p"] = [int(value) for value in spark.read.format("delta").load(place + "/p").selectExpr("count(*)", "sum(id)", "count(DISTINCT k)").first()]
kinds = spark.read.format("delta").load(place + "/kinds").orderBy("id")
texts = ["id", "b", "i2", "i4", "i8", "n", "nn", "t"]
rows = kinds.selectExpr(*[f"CAST({name} AS STRING)" for name in texts], "lower(hex(y))", "CAST(d AS STRING)", "f4", "f8",
                        "unix_micros(CAST(ts AS TIMESTAMP))", "unix_micros(tz)", "l").collect()
seen["kinds"] = [[*row[:10], *(value and repr(value) for value in row[10:12]), *row[12:14], None if row[14] is None else list(row[14])] for row in rows]
with open(output, "w") as file:
    json.dump(seen, file)
spark.stop()
