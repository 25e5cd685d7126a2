"""Files into S3 and HDFS."""

import io
import json
import os
import pwd
import urllib.error
import urllib.parse
import urllib.request

import boto3
import pyarrow.parquet as pq
from botocore.config import Config
from botocore.exceptions import ClientError


def parquet_bytes(table, **options):
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def s3_client():
    return boto3.client(
        "s3",
        endpoint_url=os.environ["MARU_TEST_S3"],
        aws_access_key_id=os.environ["MARU_TEST_S3_ACCESS_KEY"],
        aws_secret_access_key=os.environ["MARU_TEST_S3_SECRET_KEY"],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
    )


def s3_fresh_bucket(client, bucket):
    """An empty bucket of this name, whatever was in it."""
    try:
        client.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", []):
            client.delete_object(Bucket=bucket, Key=entry["Key"])


class Hdfs:
    """WebHDFS, as the user who runs the NameNode."""

    def __init__(self):
        self.base = os.environ["MARU_TEST_HDFS_WEB"] + "/webhdfs/v1"
        # The user of the daemons is the superuser of the file system.
        self.user = pwd.getpwuid(os.getuid()).pw_name

    def call(self, method, path, op, body=None, **query):
        query = urllib.parse.urlencode({"op": op, "user.name": self.user, **query})
        url = f"{self.base}{urllib.parse.quote(path)}?{query}"
        request = urllib.request.Request(url, method=method, data=body)
        if body is not None:
            request.add_header("Content-Type", "application/octet-stream")
        with urllib.request.urlopen(request) as answer:
            return answer.read()

    def put(self, path, body):
        """One file, whole. The NameNode names the DataNode first: it wants no body, `noredirect` gives the address. The
        path in that address is not escaped: ours goes in its place."""
        where = urllib.parse.urlsplit(json.loads(self.call("PUT", path, "CREATE", overwrite="true", noredirect="true"))["Location"])
        where = where._replace(path="/webhdfs/v1" + urllib.parse.quote(path))
        request = urllib.request.Request(where.geturl(), method="PUT", data=body)
        request.add_header("Content-Type", "application/octet-stream")
        with urllib.request.urlopen(request) as answer:
            answer.read()

    def get(self, path):
        """A file whose name needs no escape: the redirect to the DataNode is followed as it is."""
        return self.call("GET", path, "OPEN")

    def make_folder(self, path, mode="777"):
        self.call("PUT", path, "MKDIRS", permission=mode)
        self.call("PUT", path, "SETPERMISSION", permission=mode)

    def delete(self, path):
        self.call("DELETE", path, "DELETE", recursive="true")

    def exists(self, path):
        try:
            self.call("GET", path, "GETFILESTATUS")
            return True
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return False
            raise

    def tree(self, path):
        """The files below a folder, by their paths."""
        found = []
        for entry in json.loads(self.call("GET", path, "LISTSTATUS"))["FileStatuses"]["FileStatus"]:
            whole = f"{path}/{entry['pathSuffix']}"
            found += self.tree(whole) if entry["type"] == "DIRECTORY" else [whole]
        return found
