"""A TCP proxy that misbehaves on request: it stands between the server under test and a service."""

import asyncio
import threading


class FaultProxy:
    """Listens on a port of its own and passes bytes on, until told otherwise. What is set counts at once, for open
    connections too."""

    def __init__(self, host, port):
        self.target = (host, port)
        self.calm()
        self.connections = 0
        self.loop = asyncio.new_event_loop()
        self.writers = set()
        ready = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self.thread.start()
        assert ready.wait(10)

    def calm(self):
        """Passes everything on again."""
        self.delay = 0.0  # Seconds before each piece is passed on.
        self.bytes_per_second = None
        self.stopped = False  # Takes bytes and passes none on, in either direction.
        self.refusing = False  # Hangs up on new connections.
        self.cut_after = None  # Bytes from the service, over all connections, before all are cut.
        self.cut_each_after = None  # Bytes from the service on one connection, before that one is cut.
        self.cut_at = None  # Bytes of a request at which all are cut, once, and whether the request still arrives.
        self.stop_at = None  # Pieces of bytes of a request at which it stops as by `stopped`, once; the request does not arrive.
        self.errors = []  # HTTP statuses for the next requests.
        self.answered = []  # HTTP statuses that were given.
        self.passed = 0

    def cut(self):
        """Ends all connections without a word."""
        self.loop.call_soon_threadsafe(self._cut)

    def close(self):
        async def end():
            self.server.close()
            self._cut()
        asyncio.run_coroutine_threadsafe(end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def _cut(self):
        for writer in list(self.writers):
            writer.transport.abort()

    def _run(self, ready):
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self.server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()

    async def _serve(self, reader, writer):
        self.connections += 1
        if self.refusing:
            writer.transport.abort()
            return
        self.writers.add(writer)
        upstream = None
        try:
            upstream_reader, upstream = await asyncio.open_connection(*self.target)
            self.writers.add(upstream)
            answered = asyncio.Event()
            await asyncio.gather(self._pass(reader, upstream, writer, answered), self._pass(upstream_reader, writer, None, answered))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for end in filter(None, [writer, upstream]):
                self.writers.discard(end)
                end.transport.abort()

    async def _pass(self, reader, writer, client, answered):
        """`client` is where a request came from, if this is the way of requests. `answered` is set when the service says something."""
        passed = 0
        while data := await reader.read(1 << 16):
            if client is None:
                answered.set()
            if client is not None and self.errors and data.split(b" ", 1)[0] in (b"GET", b"HEAD", b"PUT", b"POST"):
                await self._refuse(client, self.errors.pop(0))
                continue
            if client is not None and self.stop_at is not None and all(piece in data for piece in self.stop_at):
                self.stop_at, self.stopped = None, True
            await self._misbehave(len(data))
            if client is not None and self.cut_at is not None and self.cut_at[0] in data:
                arrives, self.cut_at = self.cut_at[1], None
                if arrives:
                    self.stopped = True
                    answered.clear()
                    writer.write(data)
                    await writer.drain()
                    # The service has done it when it answers; its answer goes nowhere.
                    await asyncio.wait([asyncio.ensure_future(answered.wait())], timeout=30)
                    await asyncio.sleep(0.1)
                    self.stopped = False
                self._cut()
                return
            if client is None and self.cut_after is not None:
                room = self.cut_after - self.passed
                if len(data) >= room:
                    writer.write(data[:max(room, 0)])
                    await writer.drain()
                    # The last bytes shall arrive, so that the cut is in the middle of an answer.
                    await asyncio.sleep(0.05)
                    self._cut()
                    return
            if client is None and self.cut_each_after is not None and passed + len(data) >= self.cut_each_after:
                writer.write(data[:max(self.cut_each_after - passed, 0)])
                await writer.drain()
                await asyncio.sleep(0.05)
                writer.transport.abort()
                return
            if client is None:
                passed += len(data)
                self.passed += len(data)
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def _misbehave(self, length):
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.bytes_per_second:
            await asyncio.sleep(length / self.bytes_per_second)
        while self.stopped:
            await asyncio.sleep(0.05)

    async def _refuse(self, client, status):
        code = {403: "AccessDenied", 500: "InternalError", 503: "SlowDown"}[status]
        body = f"<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{code} by the proxy</Message></Error>".encode()
        client.write(f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await client.drain()
        self.answered.append(status)
