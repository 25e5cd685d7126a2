"""A Spark session that runs the queries it gets on standard input and sends their rows: `engines.py` is the other end.

spark_session.py SETTINGS, run by `peers spark`. Both ways a length of four bytes comes first.
"""

import glob
import json
import os
import pickle
import struct
import sys

from pyspark.sql import SparkSession


def send(pipe, done, value):
    data = pickle.dumps((done, value))
    pipe.write(struct.pack(">I", len(data)) + data)
    pipe.flush()


def main():
    # Whatever else is printed must not get between the rows.
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with open(sys.argv[1]) as file:
        settings = json.load(file)
    builder = SparkSession.builder.config("spark.jars", ",".join(glob.glob(os.environ["PEER_JARS"] + "/*.jar")))
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.enableHiveSupport().getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    send(pipe, True, spark.sparkContext._gateway.proc.pid)
    while head := sys.stdin.buffer.read(4):
        sql = sys.stdin.buffer.read(struct.unpack(">I", head)[0]).decode()
        try:
            send(pipe, True, [tuple(row) for row in spark.sql(sql).collect()])
        except Exception as error:  # Whatever it is, the other end tells it.
            send(pipe, False, f"{type(error).__name__}: {str(error)[:500]}")
    spark.stop()


main()
