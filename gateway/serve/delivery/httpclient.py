"""A small HTTP/1.1 client over trio streams, for peers that we choose: FCM, token endpoints, documents.

Requests have one fixed shape and are put together here; answers of the plain shape are read by
`gateway.serve.port.plain`, all others by h11, from the same bytes.
Invariants: a connection carries one exchange at a time and is used again only when both sides ended it cleanly;
answers are bounded in head and body; deadlines are the caller's cancel scopes. A used connection that turns out to be
closed before anything of the answer was read is replaced once by a fresh one.
httpx was rejected for the fan-out: its pool costs 2-4 ms of CPU a request at 100 connections, h11 alone 0.1, this 0.05.
Pipelining was rejected: an answer that is late would hold up the others, and a reset would leave all of them in doubt.
"""

import ssl
from collections import deque
from collections.abc import Sequence
from typing import Self
from urllib.parse import urlsplit

import h11
import msgspec
import trio

from gateway.limits.push import FCM_CONNECT_S_MAX, FCM_IDLE_S_MAX
from gateway.limits.serve import READ_BYTES
from gateway.serve.patience import Patience
from gateway.serve.port import plain
from gateway.serve.port.stream import GONE
from gateway.serve.port.wire import SecureWire, Wire

HEAD_BYTES_MAX = 16_384  # h11's own default, and nginx's order of magnitude

Headers = Sequence[tuple[bytes, bytes]]


class PeerFailed(Exception):
    """The world's: the peer could not be reached, went away, or does not speak HTTP; the text names no address."""

    def __init__(self, why: str, *, answer_begun: bool = False) -> None:
        super().__init__(why)
        self.answer_begun = answer_begun


class Answer(msgspec.Struct, frozen=True, gc=False):
    """Status, the lines of the headers, and the whole body."""

    status: int
    lines: bytes
    body: bytes

    def header(self, name: bytes) -> str:
        """The first value of a header, or ""."""
        return next((value.decode("latin-1") for key, value in plain.fields(self.lines) if key == name), "")


class Overdue(PeerFailed):
    """The peer had its time to answer; nobody knows what became of the request, so it is not sent again at once."""

    def __init__(self) -> None:
        super().__init__("did not answer in time", answer_begun=True)


class Connection:
    """One connection to one peer."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._cut = False
        self.reusable = True
        self.idle_since = 0.0

    async def exchange(self, method: str, path: str, headers: Headers, body: bytes, bytes_max: int) -> Answer:
        """Send one request and read its answer; raise PeerFailed. Cancelled: the connection is of no more use.

        The caller vouches for path and headers: they are put together as they are.
        """
        self.reusable = False
        lines = b"".join([b"%b: %b\r\n" % pair for pair in headers])
        read = bytearray()
        try:
            await self._stream.send_all(b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method.encode(), path.encode(), lines, body))
            found = None
            while found is None:
                await self._read(read, HEAD_BYTES_MAX + 2 * bytes_max)
                found = plain.response(read, bytes_max)
        except plain.NotPlain:
            return await self._by_h11(method, read, bytes_max)
        except GONE as why:
            raise self._gone(answer_begun=bool(read)) from why
        # Left-over bytes would be an answer to nothing: such a connection is out of step, and not used again.
        self.reusable = found.keeps and found.size == len(read)
        return Answer(found.status, found.lines, found.body)

    async def _read(self, read: bytearray, bytes_max: int) -> None:
        data = await self._stream.receive_some(READ_BYTES)
        if not data:
            raise PeerFailed("did not answer in HTTP" if read else "went away", answer_begun=bool(read))
        read += data
        if len(read) > bytes_max:
            raise plain.NotPlain  # h11 says what is too long of it

    async def _by_h11(self, method: str, read: bytearray, bytes_max: int) -> Answer:
        """Read the answer that has begun, whatever its shape; what was asked is known to h11 by its method alone."""
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
        http.send(h11.Request(method=method, target="/", headers=[("host", "sent")]))
        http.send(h11.EndOfMessage())
        http.receive_data(bytes(read))
        body = bytearray()
        response: h11.Response | None = None
        try:
            while not isinstance(event := http.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    http.receive_data(bytes(await self._stream.receive_some(READ_BYTES)))
                elif isinstance(event, h11.Response):
                    response = event
                elif isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > bytes_max:
                        raise PeerFailed(f"answered more than {bytes_max} bytes", answer_begun=True)
        except GONE as why:
            raise self._gone(answer_begun=True) from why
        except h11.RemoteProtocolError as why:
            raise PeerFailed("did not answer in HTTP", answer_begun=True) from why
        assert response is not None
        ended = http.our_state is h11.DONE and http.their_state is h11.DONE
        self.reusable = ended and not http.trailing_data[0]
        lines = b"".join([b"%b: %b\r\n" % pair for pair in response.headers])
        return Answer(response.status_code, lines, bytes(body))

    def _gone(self, *, answer_begun: bool) -> PeerFailed:
        return Overdue() if self._cut else PeerFailed("went away", answer_begun=answer_begun)

    def cut(self) -> None:
        """End an exchange that takes too long: whoever waits for it is told `Overdue`."""
        assert isinstance(self._stream, Wire | SecureWire)
        self._cut = True
        self._stream.close()

    async def aclose(self) -> None:
        """Close without ceremony."""
        await trio.aclose_forcefully(self._stream)


async def secure(stream: trio.SocketStream, context: ssl.SSLContext, host: str) -> trio.abc.Stream:
    """Shake hands as a TLS client that demands a certificate for ``host``; raise PeerFailed."""
    tls = SecureWire(Wire(stream), context, host)
    try:
        await tls.shake()
    except trio.BrokenResourceError as why:
        await trio.aclose_forcefully(tls)
        cause = why.__cause__
        told = cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else "TLS failed"
        raise PeerFailed(f"has no valid certificate for this name: {told}") from why
    except BaseException:
        await trio.aclose_forcefully(tls)
        raise
    return tls


def client_context(ca_file: str = "") -> ssl.SSLContext:
    """The system's trust, and one more authority where a file names it; HTTP/1.1 only."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


class Pool:
    """Keep-alive connections to one origin, the last used first; at most ``connections_max``.

    ``patience`` cuts each exchange that takes too long; without one the callers have deadlines.
    """

    def __init__(
        self,
        base_url: str,
        context: ssl.SSLContext,
        connections_max: int,
        patience: Patience[Connection] | None = None,
    ) -> None:
        self._patience = patience
        parts = urlsplit(base_url)
        self.host = parts.hostname or ""
        self._tls = context if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self.path = parts.path.rstrip("/")
        self.authority = parts.netloc.rpartition("@")[2].encode()
        self._idle: deque[Connection] = deque()
        self._slots = trio.Semaphore(connections_max)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):  # closing forcefully does not wait
            while self._idle:
                await self._idle.pop().aclose()

    async def post(self, path: str, headers: Headers, body: bytes, bytes_max: int) -> Answer:
        """Post; raise PeerFailed, Overdue where there is patience. Cancelled: it may have been taken all the same."""
        lengthened = [(b"host", self.authority), *headers, (b"content-length", b"%d" % len(body))]
        try:
            self._slots.acquire_nowait()  # without the checkpoint of `acquire`: the exchange has enough of them
        except trio.WouldBlock:
            await self._slots.acquire()
        try:
            return await self._either(path, lengthened, body, bytes_max)
        finally:
            self._slots.release()

    async def _either(self, path: str, headers: Headers, body: bytes, bytes_max: int) -> Answer:
        used = await self._used()
        if used is not None:
            try:
                return await self._exchange(used, path, headers, body, bytes_max)
            except PeerFailed as why:
                if why.answer_begun:
                    raise
        return await self._exchange(await self._fresh(), path, headers, body, bytes_max)

    async def _exchange(
        self, connection: Connection, path: str, headers: Headers, body: bytes, bytes_max: int
    ) -> Answer:
        if self._patience is not None:
            self._patience.begin(connection)
        try:
            answer = await connection.exchange("POST", path, headers, body, bytes_max)
        except BaseException:
            await connection.aclose()
            raise
        finally:
            if self._patience is not None:
                self._patience.end(connection)
        if connection.reusable:
            connection.idle_since = trio.current_time()
            self._idle.append(connection)
        else:
            await connection.aclose()
        return answer

    async def _used(self) -> Connection | None:
        oldest_s = trio.current_time() - FCM_IDLE_S_MAX
        while self._idle and self._idle[0].idle_since < oldest_s:
            await self._idle.popleft().aclose()
        return self._idle.pop() if self._idle else None

    async def _fresh(self) -> Connection:
        try:
            with trio.fail_after(FCM_CONNECT_S_MAX):
                stream = await trio.open_tcp_stream(self.host, self._port)
                return Connection(await secure(stream, self._tls, self.host) if self._tls else Wire(stream))
        except (OSError, trio.TooSlowError) as why:
            raise PeerFailed("could not be reached") from why
