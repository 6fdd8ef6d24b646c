"""The stream that hypercorn is given: replay, deadlines, and an end that loses no answer."""

import pytest
import trio
import trio.testing

from gateway.limits.serve import LINGER_S_MAX, WRITE_S_MAX
from gateway.serve.port.stream import ReplayStream, end, linger


async def test_the_head_comes_first() -> None:
    """Then what the connection brings; what is asked beyond the interface is the wrapped stream's."""
    ours, theirs = trio.testing.memory_stream_pair()
    stream = ReplayStream(ours, b"head")
    await theirs.send_all(b"rest")
    assert [await stream.receive_some(), await stream.receive_some()] == [b"head", b"rest"]
    assert stream.send_stream is ours.send_stream
    with pytest.raises(AttributeError):
        stream.do_handshake  # noqa: B018 - how hypercorn tells a plain stream from a TLS one


async def test_after_the_end_what_comes_is_dropped(autojump_clock) -> None:
    """The reader gets the end when the peer ends, or when the linger is over; never the bytes."""
    for ends in (True, False):
        ours, theirs = trio.testing.memory_stream_pair()
        stream, start = ReplayStream(ours, b""), trio.current_time()
        async with trio.open_nursery() as nursery:
            got: list[bytes] = []

            async def reading(stream: ReplayStream = stream, got: list[bytes] = got) -> None:
                got.append(bytes(await stream.receive_some()))

            nursery.start_soon(reading)
            await trio.testing.wait_all_tasks_blocked()
            await stream.aclose()
            assert await theirs.receive_some() == b""
            await theirs.send_all(b"still writing")
            if ends:
                await theirs.send_eof()
        assert got == [b""]
        assert trio.current_time() - start == pytest.approx(0 if ends else LINGER_S_MAX)
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"too late")


async def test_a_send_that_does_not_move_breaks_the_stream(autojump_clock) -> None:
    """In a shield too: nothing else would end it."""
    ours, _ = trio.testing.lockstep_stream_pair()
    start = trio.current_time()
    with pytest.raises(trio.BrokenResourceError), trio.CancelScope(shield=True):
        await ReplayStream(ours, b"").send_all(b"x" * 1_000_000)
    assert trio.current_time() - start == pytest.approx(WRITE_S_MAX)


async def test_lingering_ends(autojump_clock) -> None:
    """With the peer's end, with its loss, or with time."""
    ours, theirs = trio.testing.memory_stream_pair()
    start = trio.current_time()
    await linger(ours)
    assert trio.current_time() - start == pytest.approx(LINGER_S_MAX)
    assert await theirs.receive_some() == b""
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.aclose()
    await linger(ours)
    await end(ours)


async def test_a_head_leaves_with_what_follows_it() -> None:
    """One write for head and body; an empty send lets a head alone go; an interim answer waits for nothing."""
    ours, theirs = trio.testing.memory_stream_pair()
    stream = ReplayStream(ours, b"")
    await stream.send_all(b"HTTP/1.1 200 \r\n\r\n")
    await trio.testing.wait_all_tasks_blocked()
    with trio.move_on_after(0):
        raise AssertionError(await theirs.receive_some())
    await stream.send_all(b"body")
    assert await theirs.receive_some() == b"HTTP/1.1 200 \r\n\r\nbody"
    await stream.send_all(b"HTTP/1.1 204 \r\n\r\n")
    await stream.send_all(b"")
    assert await theirs.receive_some() == b"HTTP/1.1 204 \r\n\r\n"
    await stream.send_all(b"HTTP/1.1 100 \r\n\r\n")
    assert await theirs.receive_some() == b"HTTP/1.1 100 \r\n\r\n"
