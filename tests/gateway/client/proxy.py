"""A TCP proxy that cuts its connections when told to, and may be pointed elsewhere: a network for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Proxy:
    """Forwards to ``port`` of this machine; ``cut`` breaks whatever is open."""

    def __init__(self, port: int) -> None:
        self.port, self.url, self.taken = port, "", 0
        self._open: set[trio.CancelScope] = set()

    def cut(self) -> None:
        """Break every connection, in the middle of whatever it carries."""
        for scope in self._open:
            scope.cancel()

    async def forward(self, client: trio.SocketStream) -> None:
        self.taken += 1
        with trio.CancelScope() as scope:
            self._open.add(scope)
            try:
                server = await trio.open_tcp_stream("127.0.0.1", self.port)
                async with server, trio.open_nursery() as nursery:
                    nursery.start_soon(pump, client, server, nursery.cancel_scope)
                    await pump(server, client, nursery.cancel_scope)
            except (OSError, trio.BrokenResourceError):
                pass  # nobody there: the client sees its connection end
            finally:
                self._open.discard(scope)
                await trio.aclose_forcefully(client)


async def pump(source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
    try:
        async for chunk in source:
            await sink.send_all(chunk)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()


@asynccontextmanager
async def proxy(port: int) -> AsyncIterator[Proxy]:
    """Listen on a free port in front of ``port``."""
    one = Proxy(port)
    listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
    one.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, one.forward, [listener])
        yield one
        nursery.cancel_scope.cancel()
