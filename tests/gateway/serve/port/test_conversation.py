"""The contract with hypercorn, whose `TCPServer` and HTTP/1.1 the conversation takes apart."""

import inspect

import trio
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.tcp_server import TCPServer

from gateway.config import Server
from gateway.serve.port.conversation import hypercorn_config
from tests.gateway.serve.port.test_door import GET, LAST, UPGRADE, ask, dial, opened, read_all


def test_hypercorns_server_takes_what_we_give_it() -> None:
    """The signature and the private names that the door relies on."""
    assert list(inspect.signature(TCPServer).parameters) == ["app", "config", "context", "state", "stream"]
    for name in ("_read_data", "run", "protocol_send", "_close"):
        assert inspect.iscoroutinefunction(getattr(TCPServer, name))
    for name in ("_check_protocol", "_create_stream"):
        assert inspect.iscoroutinefunction(getattr(H11Protocol, name))
    inner = [name for name in inspect.signature(H11Protocol).parameters if name != "connection_state"]
    outer = [name for name in inspect.signature(ProtocolWrapper).parameters if name not in ("state", "alpn_protocol")]
    assert inner == outer, "one is made from the other's parts"


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Three requests in one segment get three answers."""
    async with opened() as door:
        answer = await ask(door, GET + GET.replace(b"/x", b"/y") + LAST.replace(b"/x", b"/z"))
    assert [answer.index(path) for path in (b"/x|", b"/y|", b"/z|")] == sorted(
        answer.index(path) for path in (b"/x|", b"/y|", b"/z|")
    )


async def test_answers_without_a_body_are_not_kept_back() -> None:
    """A head waits for what follows it: hypercorn sends something behind every one, a HEAD's and an error's too."""
    async with opened() as door, await dial(door) as stream:
        await stream.send_all(GET.replace(b"GET", b"HEAD"))
        with trio.fail_after(30):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        await stream.send_all(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        with trio.fail_after(30):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 100")
        await stream.send_all(b"hi")
        with trio.fail_after(30):
            assert (await stream.receive_some()).endswith(b"/x|hi")
        await stream.send_all(b"rubbish\r\n\r\n")
        with trio.fail_after(30):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 400")


async def test_an_idle_connection_is_closed() -> None:
    """After ``idle_s_max`` without a request, also one of which a second head only began."""
    async with opened(idle_s_max=0.8) as door:
        for begun in (b"", b"GET /again HTTP/1.1\r\nHo"):
            async with await dial(door) as stream:
                await stream.send_all(GET + begun)
                assert (await read_all(stream)).endswith(b"/x|")


async def test_a_client_that_leaves_is_forgotten_at_once() -> None:
    """An idle connection that the client closed holds nothing until the idle time is over."""
    async with opened(idle_s_max=60) as door:
        async with await dial(door) as stream:
            await stream.send_all(GET)
            await stream.receive_some()
        with trio.fail_after(30):
            await door.quiet()


async def test_offers_of_http2_are_ignored() -> None:
    """An upgrade to h2c is answered in HTTP/1.1; the preface of HTTP/2 does not change the protocol either."""
    offer = b"Connection: upgrade, http2-settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    async with opened() as door:
        assert (await ask(door, GET[:-2] + offer)).startswith(b"HTTP/1.1 200")
        assert (await ask(door, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")).startswith(b"HTTP/1.1 ")


async def test_a_socket_waits_for_the_answer_before_it() -> None:
    """An upgrade that comes while a request is being served is taken when its answer is out, not before, not lost."""
    async with opened() as door, await dial(door) as stream:
        await stream.send_all(GET.replace(b"/x", b"/slow"))
        await door.app.entered.wait()
        await stream.send_all(UPGRADE)
        await trio.sleep(0.05)
        door.app.go.set()
        data = b""
        while b"101 Switching" not in data:
            data += await stream.receive_some()
        assert data.index(b"/slow|") < data.index(b"101 Switching")


async def test_a_body_that_looks_like_an_upgrade_is_a_body() -> None:
    """Only what comes between two requests is looked at."""
    begun = b"POST /y HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(UPGRADE)
    async with opened() as door, await dial(door) as stream:
        await stream.send_all(begun)
        await trio.sleep(0.05)
        await stream.send_all(UPGRADE)
        assert (await read_all(stream)).endswith(b"/y|" + UPGRADE)


def test_hypercorn_is_told_our_limits() -> None:
    """Heads and idle time are the operator's; it neither logs nor names itself."""
    config = hypercorn_config(Server(head_bytes_max=1234, idle_s_max=5.5))
    assert (config.h11_max_incomplete_size, config.keep_alive_timeout) == (1234, 5.5)
    assert not config.include_server_header
    assert [name for name, _ in config.response_headers("h11")] == [b"date"]


async def test_a_socket_may_begin_on_a_used_connection() -> None:
    """As proxies do that reuse connections; whole heads only, so one that comes in pieces is told 421."""
    async with opened(idle_s_max=1.0) as door, await dial(door) as stream:
        for _ in range(2):
            await stream.send_all(GET)
            assert (await stream.receive_some()).endswith(b"/x|")
        await stream.send_all(UPGRADE + b"\x81\x82\0\0\0\0hi")
        data = b""
        while b"127.0.0.1 hi" not in data:
            data += await stream.receive_some()
        assert data.startswith(b"HTTP/1.1 101")
        await trio.sleep(1.5)  # hypercorn's idle timer is gone with it
        await stream.send_all(b"\x81\x82\0\0\0\0ho")
        assert (await stream.receive_some()).endswith(b"127.0.0.1 ho")
    async with opened() as door, await dial(door) as stream:
        await stream.send_all(GET)
        await stream.receive_some()
        await stream.send_all(UPGRADE[:30])
        await trio.sleep(0.05)
        await stream.send_all(UPGRADE[30:])
        answer = await stream.receive_some()
        assert b"421" in answer or b"/relay|" in answer  # it reached the application, whose front says 421
