"""A way to a service that counts what goes through it, and is as wide as a network would be."""

import socket
import threading
import time

CHUNK = 1 << 18


class Proxy:
    """`with Proxy(host, port, bytes_per_s) as p:` listens on `p.port`. Counts HTTP requests without a body, and bytes that come back."""

    def __init__(self, host, port, bytes_per_s=None):
        self.target, self.bytes_per_s = (host, port), bytes_per_s
        self.requests = self.bytes = 0
        self.lock, self.free_at = threading.Lock(), 0.0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

    def reset(self):
        self.requests = self.bytes = 0

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, False), daemon=True).start()

    def pump(self, source, target, asks):
        try:
            while data := source.recv(CHUNK):
                if asks:
                    with self.lock:
                        self.requests += data.count(b"GET /") + data.count(b"HEAD /")
                else:
                    self.wait_for(len(data))
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def wait_for(self, n_bytes):
        """All connections share the width."""
        with self.lock:
            self.bytes += n_bytes
            if self.bytes_per_s is None:
                return
            self.free_at = max(self.free_at, time.monotonic()) + n_bytes / self.bytes_per_s
            wait = self.free_at - time.monotonic()
        # Short sleeps are never as short as asked for: a debt of less is paid with the next one.
        if wait > 0.002:
            time.sleep(wait)
