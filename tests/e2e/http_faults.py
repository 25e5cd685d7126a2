"""A server of HTTP between Maru and an S3 store: it passes requests on, or answers them itself with errors, or late."""

import http.client
import http.server
import random
import threading
import time
import urllib.parse


class HttpFaults:
    """`mode`: a function of method and path that says None (pass on), a status, or a number of seconds below one to wait.
    `most`: requests that were open at once."""

    def __init__(self, url):
        self.target = urllib.parse.urlsplit(url)
        self.mode = lambda method, path: None
        self.n_faults = self.n_open = self.most = self.n_requests = 0
        self.counts = threading.Lock()
        faults = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def serve(self):
                with faults.counts:
                    faults.n_requests += 1
                    faults.n_open += 1
                    faults.most = max(faults.most, faults.n_open)
                self.answer()

            def over(self):
                # Before the last byte, after which the client may ask the next one.
                with faults.counts:
                    faults.n_open -= 1

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                what = faults.mode(self.command, self.path)
                if what is not None and what >= 1:
                    faults.n_faults += 1
                    text = b"<Error><Code>SlowDown</Code></Error>"
                    self.send_response(int(what))
                    self.send_header("Content-Length", str(len(text)))
                    self.over()
                    self.end_headers()
                    self.wfile.write(text)
                    return
                if what:
                    faults.n_faults += 1
                    time.sleep(what)
                connection = http.client.HTTPConnection(faults.target.hostname, faults.target.port, timeout=60)
                # The signature is over the address that the client knows.
                headers = dict(self.headers.items())
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                text = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(text))
                self.send_header("Content-Length", length or "0")
                self.over()
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text)
                connection.close()

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def sometimes(self, status, share, seed=5):
        dice = random.Random(seed)
        self.mode = lambda method, path: status if dice.random() < share else None

    def close(self):
        self.server.shutdown()
        self.server.server_close()
