"""Webhooks straight from the connection: what thousands of requests a second take instead of hypercorn and Quart.

    head, body ── plain, and for a hot path? ──▶ the same handler, the same answer ──▶ the next one
                          └─ no ──▶ the bytes go back to the door, and the connection is hypercorn's from then on
hypercorn costs 0.57 ms of CPU a request (three tasks, two channels and h11 both ways), this 0.1. h11 alone would have
been enough for half of that; a strict regular expression before it (`gateway.serve.port.plain`) is faster and refuses
nothing by itself: every request that is not whole, plain, small and JSON is answered where it always was, so there is
one set of refusals, and limits, metrics and answers are those of `gateway.serve.port.asgi`.
Invariant: requests of a connection are answered one after the other, in order. Must not know what a handler does.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from email.utils import formatdate

import trio

from gateway.limits.serve import BODIES_BYTES_MAX, PIECES_S_MAX, PUSH_BODY_BYTES_MAX, READ_BYTES, WRITE_S_MAX
from gateway.serve.clock import Clock
from gateway.serve.metrics import Metrics
from gateway.serve.port import plain
from gateway.serve.port.asgi import SLASHES, Bodies, Direct, Reply, is_json_type
from gateway.serve.port.head import Network, client_address, is_trusted
from gateway.serve.port.wire import Wire

Rested = Callable[[], Awaitable[bytes]]  # the door's: what the connection says next


class Express:
    """Serves the hot paths on every connection that the door hands to it."""

    def __init__(
        self,
        hot: Mapping[str, Direct],
        bodies: Bodies,
        metrics: Metrics,
        trusted: Sequence[Network],
        clock: Clock,
    ) -> None:
        self._hot, self._bodies, self._metrics, self._trusted, self._clock = hot, bodies, metrics, trusted, clock
        self._answered = metrics.http_answers.labels("POST", "200")
        self._date, self._date_s = b"", 0

    async def serve(self, stream: trio.abc.Stream, data: bytes, peer: str, rested: Rested) -> bytes:
        """Answer webhooks until something else comes; give what came of that, or nothing where the talk is over.

        Raises trio's BrokenResourceError and ClosedResourceError where the peer is gone.
        """
        read = bytearray(data)
        while read:
            asked = await self._asked(stream, read)
            if asked is None:
                break
            del read[: asked.size]
            reply = await self._reply(asked, peer)
            await _write(stream, self._spelled(reply))
            if not read:
                read += await rested()
        return bytes(read)

    async def _asked(self, stream: trio.abc.Stream, read: bytearray) -> plain.Request | None:
        """The webhook at the beginning of what was read; None where it is anything else, or comes in slow pieces."""
        try:
            asked = plain.request(read, PUSH_BODY_BYTES_MAX)
            if asked is None:
                with trio.move_on_after(PIECES_S_MAX):
                    asked = await self._completed(stream, read)
        except plain.NotPlain:
            return None
        if asked is None or not is_json_type(asked.headers.get(b"content-type", b"").decode("latin-1")):
            return None
        hot = _path(asked) in self._hot and self._bodies.bytes + len(asked.body) <= BODIES_BYTES_MAX
        return asked if hot else None

    async def _completed(self, stream: trio.abc.Stream, read: bytearray) -> plain.Request | None:
        while len(read) <= READ_BYTES:
            data = await stream.receive_some(READ_BYTES)
            read += data
            asked = plain.request(read, PUSH_BODY_BYTES_MAX)
            if asked is not None or not data:
                return asked
        return None

    async def _reply(self, asked: plain.Request, peer: str) -> Reply:
        headers, path, began = asked.headers, _path(asked), trio.current_time()
        if peer and is_trusted(peer, self._trusted):
            peer = client_address(peer, headers.get(b"x-forwarded-for", b"").decode("latin-1"), self._trusted)

        def lookup(name: str) -> str:
            return headers.get(name.lower().encode(), b"").decode("latin-1")

        self._bodies.bytes += len(asked.body)
        try:
            reply = await self._hot[path](path, lookup, asked.body, peer)
        finally:
            self._bodies.bytes -= len(asked.body)
            self._metrics.http_seconds.observe(trio.current_time() - began)
        answered = (
            self._answered if reply.status == 200 else self._metrics.http_answers.labels("POST", str(reply.status))
        )
        answered.inc()
        return reply

    def _spelled(self, reply: Reply) -> bytes:
        """The answer's bytes, exactly as hypercorn spells them."""
        now_s = self._clock.now_ms() // 1000
        if now_s != self._date_s:
            self._date, self._date_s = formatdate(now_s, usegmt=True).encode(), now_s
        lines = b"".join([b"%b: %b\r\n" % pair for pair in (*reply.headers, (b"date", self._date))])
        return b"HTTP/1.1 %d \r\n%b\r\n%b" % (reply.status, lines, reply.body)


async def _write(stream: trio.abc.Stream, answer: bytes) -> None:
    """Send an answer under a deadline, which is only set where the kernel does not take it at once."""
    left = stream.send_now(answer) if isinstance(stream, Wire) else answer
    if left:
        with trio.CancelScope(deadline=trio.current_time() + WRITE_S_MAX) as writing:
            await stream.send_all(left)
        if writing.cancelled_caught:
            raise trio.BrokenResourceError("the peer does not read")


def _path(asked: plain.Request) -> str:
    path = asked.path.decode("ascii")
    return SLASHES.sub("/", path) if "//" in path else path
