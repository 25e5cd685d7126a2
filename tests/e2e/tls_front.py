"""What stands before a service that speaks no TLS, and speaks it."""

import asyncio
import ssl
import threading


class TlsFront:
    """Listens on a port of its own with a certificate, and passes on to a service what it decrypts."""

    def __init__(self, target, keys):
        self.target = target
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(keys / "server.crt", keys / "server.key")
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self.thread.start()
        assert ready.wait(10)

    def _run(self, ready):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()

    async def _serve(self, reader, writer):
        try:
            service_reader, service = await asyncio.open_connection(*self.target)
            await asyncio.gather(self._pass(reader, service), self._pass(service_reader, writer))
        except OSError:
            pass
        finally:
            writer.close()

    @staticmethod
    async def _pass(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
