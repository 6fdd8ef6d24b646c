"""A small HTTP/1.1 client on h11 over trio streams, for peers that we choose: FCM, token endpoints, documents.

Invariants: a connection carries one exchange at a time and is used again only when both sides ended it cleanly;
answers are bounded in head and body; deadlines are the caller's cancel scopes. A used connection that turns out to be
closed before anything of the answer was read is replaced once by a fresh one.
httpx was rejected for the fan-out: its pool costs 2-4 ms of CPU a request at 100 connections, this one 0.1.
"""

import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import h11
import trio

from gateway.limits import FCM_CONNECT_S_MAX, FCM_IDLE_S_MAX, READ_BYTES

HEAD_BYTES_MAX = 16_384  # h11's own default, and nginx's order of magnitude

Headers = Sequence[tuple[bytes, bytes]]


class PeerFailed(Exception):
    """The world's: the peer could not be reached, went away, or does not speak HTTP; the text names no address."""

    def __init__(self, why: str, *, answer_begun: bool = False) -> None:
        super().__init__(why)
        self.answer_begun = answer_begun


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (names in lower case) and the whole body."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: bytes) -> str:
        """The first value of a header, or ""."""
        return next((value.decode("latin-1") for key, value in self.headers if key == name), "")


class Connection:
    """One connection to one peer."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
        self.idle_since = 0.0

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow."""
        return self._http.our_state is h11.IDLE

    async def exchange(self, method: str, path: str, headers: Headers, body: bytes, bytes_max: int) -> Answer:
        """Send one request and read its answer; raise PeerFailed. Cancelled: the connection is of no more use."""
        http, begun = self._http, False
        out = http.send(h11.Request(method=method, target=path, headers=list(headers))) or b""
        if body:
            out += http.send(h11.Data(data=body)) or b""
        out += http.send(h11.EndOfMessage()) or b""
        try:
            await self._stream.send_all(out)
            read = bytearray()
            response: h11.Response | None = None
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    data = await self._stream.receive_some(READ_BYTES)
                    begun = begun or bool(data)
                    http.receive_data(bytes(data))
                elif isinstance(event, h11.Response):
                    response = event
                elif isinstance(event, h11.Data):
                    read += event.data
                    if len(read) > bytes_max:
                        raise PeerFailed(f"answered more than {bytes_max} bytes", answer_begun=True)
                elif isinstance(event, h11.EndOfMessage):
                    break
        except (trio.BrokenResourceError, trio.ClosedResourceError) as why:
            raise PeerFailed("went away", answer_begun=begun) from why
        except h11.RemoteProtocolError as why:
            raise PeerFailed("did not answer in HTTP" if begun else "went away", answer_begun=begun) from why
        assert response is not None
        self._rewind()
        return Answer(response.status_code, list(response.headers), bytes(read))

    def _rewind(self) -> None:
        # Left-over bytes would be an answer to nothing: such a connection is out of step, and not used again.
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE and not self._http.trailing_data[0]:
            self._http.start_next_cycle()

    async def aclose(self) -> None:
        """Close without ceremony."""
        await trio.aclose_forcefully(self._stream)


async def secure(stream: trio.SocketStream, context: ssl.SSLContext, host: str) -> trio.abc.Stream:
    """Shake hands as a TLS client that demands a certificate for ``host``; raise PeerFailed."""
    tls = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    try:
        await tls.do_handshake()
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
    """Keep-alive connections to one origin, the last used first; at most ``connections_max``."""

    def __init__(self, base_url: str, context: ssl.SSLContext, connections_max: int) -> None:
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
        """Post under the caller's deadline; raise PeerFailed. Cancelled: it may have been taken all the same."""
        lengthened = [(b"host", self.authority), *headers, (b"content-length", b"%d" % len(body))]
        async with self._slots:
            used = await self._used()
            if used is not None:
                try:
                    return await self._exchange(used, path, lengthened, body, bytes_max)
                except PeerFailed as why:
                    if why.answer_begun:
                        raise
            return await self._exchange(await self._fresh(), path, lengthened, body, bytes_max)

    async def _exchange(
        self, connection: Connection, path: str, headers: Headers, body: bytes, bytes_max: int
    ) -> Answer:
        try:
            answer = await connection.exchange("POST", path, headers, body, bytes_max)
        except BaseException:
            await connection.aclose()
            raise
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
                return Connection(await secure(stream, self._tls, self.host) if self._tls else stream)
        except (OSError, trio.TooSlowError) as why:
            raise PeerFailed("could not be reached") from why
