"""Databases, tables and partitions in a Hive metastore, through its own Thrift interface."""

from hive_metastore import ThriftHiveMetastore
from hive_metastore.ttypes import (ClientCapabilities, ClientCapability, Database, FieldSchema, GetTableRequest, NoSuchObjectException, Partition, PrincipalType, SerDeInfo,
                                   StorageDescriptor, Table)
from thrift.protocol import TBinaryProtocol
from thrift.transport import TSocket, TTransport

HIVE = "org.apache.hadoop.hive."
# (input format, output format, SerDe)
PARQUET = (HIVE + "ql.io.parquet.MapredParquetInputFormat", HIVE + "ql.io.parquet.MapredParquetOutputFormat",
           HIVE + "ql.io.parquet.serde.ParquetHiveSerDe")
TEXT = ("org.apache.hadoop.mapred.TextInputFormat", HIVE + "ql.io.HiveIgnoreKeyTextOutputFormat",
        HIVE + "serde2.lazy.LazySimpleSerDe")
ORC = (HIVE + "ql.io.orc.OrcInputFormat", HIVE + "ql.io.orc.OrcOutputFormat", HIVE + "ql.io.orc.OrcSerde")
NO_FORMAT = ("org.apache.hadoop.mapred.SequenceFileInputFormat", HIVE + "ql.io.HiveSequenceFileOutputFormat", None)


class Metastore:
    """One connection. `with Metastore("thrift://host:port") as m:`"""

    def __init__(self, url):
        host, port = url.removeprefix("thrift://").rsplit(":", 1)
        self.transport = TTransport.TBufferedTransport(TSocket.TSocket(host, int(port)))
        self.client = ThriftHiveMetastore.Client(TBinaryProtocol.TBinaryProtocol(self.transport))

    def __enter__(self):
        self.transport.open()
        return self

    def __exit__(self, *_):
        self.transport.close()

    def drop_database(self, name):
        """With its tables, without their files; nothing happens when it is not there (3.1.3 would fail on that itself)."""
        try:
            self.client.get_database(name)
        except NoSuchObjectException:
            return
        self.client.drop_database(name, False, True)

    def create_database(self, name, location, comment, parameters):
        self.client.create_database(Database(name=name, description=comment, locationUri=location, parameters=parameters,
                                             ownerName="maru", ownerType=PrincipalType.USER))

    def database_parameters(self, name):
        try:
            return self.client.get_database(name).parameters or {}
        except NoSuchObjectException:
            return {}

    @staticmethod
    def storage(location, columns, formats, serde_parameters=None):
        return StorageDescriptor(
            cols=[FieldSchema(name=n, type=t, comment=None) for n, t in columns], location=location,
            inputFormat=formats[0], outputFormat=formats[1], compressed=False, numBuckets=-1,
            serdeInfo=SerDeInfo(name=None, serializationLib=formats[2], parameters=serde_parameters or {}),
            bucketCols=[], sortCols=[], parameters={})

    def create_table(self, database, name, location, columns, formats, partition_keys=(), serde_parameters=None,
                     parameters=None):
        """An external table: dropping it leaves the files."""
        self.client.create_table(Table(
            tableName=name, dbName=database, owner="maru", createTime=0, lastAccessTime=0, retention=0,
            sd=self.storage(location, columns, formats, serde_parameters),
            partitionKeys=[FieldSchema(name=n, type=t, comment=None) for n, t in partition_keys],
            parameters={"EXTERNAL": "TRUE", **(parameters or {})}, tableType="EXTERNAL_TABLE"))

    def table(self, database, name):
        """Metastores from 4.0 know the newer call alone."""
        return self.client.get_table_req(GetTableRequest(dbName=database, tblName=name, capabilities=ClientCapabilities([ClientCapability.INSERT_ONLY_TABLES]))).table

    def create_view(self, database, name, columns, text):
        self.client.create_table(Table(
            tableName=name, dbName=database, owner="maru", createTime=0, lastAccessTime=0, retention=0,
            sd=self.storage(None, columns, NO_FORMAT), partitionKeys=[], parameters={}, viewOriginalText=text,
            viewExpandedText=text, tableType="VIRTUAL_VIEW"))

    def add_partition(self, database, table, values, location, columns, formats, serde_parameters=None):
        self.client.add_partition(Partition(
            values=values, dbName=database, tableName=table, createTime=0, lastAccessTime=0,
            sd=self.storage(location, columns, formats, serde_parameters), parameters={}))
