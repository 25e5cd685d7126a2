"""Apache Superset of its own, with its state in a folder that goes with it, and what is asked of its REST API."""

import http.cookiejar
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

CLIENTS = pathlib.Path(__file__).parents[1] / "services/clients"
INSTALL_SECONDS = 1800
START_SECONDS = 180
ANSWER_SECONDS = 120
BOUNDARY = "part-of-the-form"


class Superset:
    """Superset's server on a free port, and a session there as administrator."""

    def __init__(self, folder):
        folder = pathlib.Path(folder)
        arguments = [CLIENTS, "superset", folder / "home"]
        # Installed by the first who wants it, which takes minutes; its start has a limit of its own.
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log_path = folder / "superset.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([*arguments, "run", "-h", "127.0.0.1", "-p", str(port), "--with-threads"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        self.cookies = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        self.headers = {"Referer": self.url}
        try:
            self._wait()
            login = {"username": "admin", "password": "admin", "provider": "db", "refresh": False}
            self.headers["Authorization"] = "Bearer " + self.post("security/login", login)["access_token"]
            self.headers["X-CSRFToken"] = self.get("security/csrf_token/")["result"]
        except BaseException:
            self.stop()
            raise

    def _wait(self):
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert self.process.poll() is None and time.monotonic() < deadline, self.text_of_log()
            try:
                with urllib.request.urlopen(self.url + "/health", timeout=10):
                    return
            except OSError:
                time.sleep(0.2)

    def text_of_log(self):
        return self.log_path.read_text(errors="replace")[-4000:]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ask(self, method, path, body=None, headers=None):
        """(HTTP status, answer) of an endpoint below /api/v1: JSON where it is, else text. A body in bytes goes as it is."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {**self.headers, **(headers or ({} if data is None else {"Content-Type": "application/json"}))}
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", data, headers, method=method)
        try:
            with self.cookies.open(request, timeout=ANSWER_SECONDS) as reply:
                status, text = reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode(errors="replace")
        try:
            return status, json.loads(text)
        except json.JSONDecodeError:
            return status, text

    def get(self, path, **query):
        """The answer; `query` becomes the `q` of Superset's lists, in JSON, which is Rison that it takes as well."""
        return self._good("GET", path + ("?q=" + urllib.parse.quote(json.dumps(query)) if query else ""))

    def post(self, path, body):
        return self._good("POST", path, body)

    def put(self, path, body):
        return self._good("PUT", path, body)

    def _good(self, method, path, body=None):
        status, answer = self.ask(method, path, body)
        assert status in (200, 201), f"{method} {path}: {status}: {json.dumps(answer, ensure_ascii=False)[:3000]}\n{self.text_of_log()}"
        return answer

    def connect(self, name, uri, **more):
        """The id of a database made of what its form sends, all catalogs shown."""
        extra = {"allow_multi_catalog": True, **more.pop("extra", {})}
        form = {"database_name": name, "sqlalchemy_uri": uri, "extra": json.dumps(extra)}
        self.post("database/test_connection/", form)
        return self.post("database/", {**form, "expose_in_sqllab": True, **more})["id"]

    def dataset(self, database, schema, table, catalog=None, sql=None):
        body = {"database": database, "schema": schema, "table_name": table, "catalog": catalog}
        return self.post("dataset/", body if sql is None else {**body, "sql": sql})["id"]

    def upload(self, database, schema, table, text):
        """(HTTP status, answer) of a CSV file loaded into a table that is new."""
        parts = {"type": "csv", "schema": schema, "table_name": table, "already_exists": "fail"}
        lines = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in parts.items()]
        lines.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="rows.csv"\r\nContent-Type: text/csv\r\n\r\n{text}')
        body = "\r\n".join([*lines, f"--{BOUNDARY}--\r\n"]).encode()
        return self.ask("POST", f"database/{database}/upload/", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})

    def sql(self, database, sql, catalog=None, schema=None, limit=1000, **more):
        """(HTTP status, answer) of SQL Lab."""
        return self.ask("POST", "sqllab/execute/", {
            "database_id": database, "sql": sql, "catalog": catalog, "schema": schema, "queryLimit": limit, "runAsync": False,
            "client_id": os.urandom(5).hex(), "sql_editor_id": "1", "tab": "test", "select_as_cta": False, "expand_data": True, **more})

    def chart_data(self, dataset, result_format="json", result_type="full", **query):
        """(HTTP status, answer) of the one query of a chart."""
        return self.ask("POST", "chart/data", {"datasource": {"id": dataset, "type": "table"}, "force": True, "queries": [query],
                                               "result_format": result_format, "result_type": result_type})

    def chart_rows(self, dataset, **query):
        """The rows of a chart, as tuples in the order of its columns."""
        status, answer = self.chart_data(dataset, **query)
        assert status == 200, answer
        result = answer["result"][0]
        return [tuple(row[name] for name in result["colnames"]) for row in result["data"]]
