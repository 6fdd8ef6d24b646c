"""Frames taken the short way, held against websockets' protocol, which takes every frame."""

import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from gateway.serve.port.framing import text_frame, text_frames, whole_texts
from gateway.serve.port.socket import Socket

BYTES_MAX = 300
UPGRADE = (
    b"GET /relay HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

SIZES = st.sampled_from([0, 1, 125, 126, 127, 128, BYTES_MAX, BYTES_MAX + 1])
TEXT = SIZES.map(lambda size: b"x" * size) | st.text(max_size=40).map(str.encode)
MASKED = st.sampled_from([True] * 9 + [False])
DATA = st.builds(
    lambda opcode, data, fin, masked: Frame(opcode, data, fin).serialize(mask=masked),
    st.sampled_from([Opcode.TEXT] * 6 + [Opcode.BINARY, Opcode.CONT]),
    TEXT | st.binary(max_size=40),
    st.sampled_from([True, True, True, False]),
    MASKED,
)
CONTROL = st.builds(
    lambda opcode, data, masked: Frame(opcode, data).serialize(mask=masked),
    st.sampled_from([Opcode.PING, Opcode.PONG]),
    st.binary(max_size=125),
    MASKED,
)
CLOSE = st.just(Frame(Opcode.CLOSE, b"\x03\xe8bye").serialize(mask=True))
STREAM = st.lists(DATA | DATA | CONTROL | CLOSE | st.binary(max_size=12), max_size=8)


def opened() -> tuple[ServerProtocol, Request]:
    protocol = ServerProtocol(max_size=BYTES_MAX)
    protocol.receive_data(UPGRADE)
    (request,) = protocol.events_received()
    assert isinstance(request, Request)
    protocol.send_response(protocol.accept(request))
    protocol.data_to_send()
    return protocol, request


def slowly(wire: bytes) -> tuple[list[str | bytes], object]:
    """What the protocol alone makes of the bytes, one after the other: messages, and the close that it sent."""
    protocol, _ = opened()
    messages: list[str | bytes] = []
    part, opcode = b"", Opcode.TEXT
    for byte in wire:
        protocol.receive_data(bytes([byte]))
        for event in protocol.events_received():
            if not isinstance(event, Frame) or event.opcode & 0x8:
                continue
            part += bytes(event.data)
            opcode = opcode if event.opcode is Opcode.CONT else event.opcode
            if event.fin:
                try:
                    messages.append(part.decode() if opcode is Opcode.TEXT else part)
                except UnicodeDecodeError:
                    protocol.fail(1007, "invalid UTF-8")
                part = b""
    return messages, protocol.close_sent


@given(STREAM, st.lists(st.integers(1, 3_000), max_size=6))
@example([Frame(Opcode.TEXT, b"a", False).serialize(mask=True), Frame(Opcode.TEXT, b"b").serialize(mask=True)], [])
@example([b"\x81\x01a"], [])
@example([b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff"], [])
@example([b"\x83\x80"], [2])
@example([b"\x08\x93" + bytes(10), *[Frame(Opcode.TEXT, b"").serialize(mask=True)] * 4], [24])
@example([b"\xc1\x93" + bytes(10), *[Frame(Opcode.TEXT, b"").serialize(mask=True)] * 4], [24])
@example([b"\x89\xfe\x00\x80" + bytes(20), *[Frame(Opcode.TEXT, b"").serialize(mask=True)] * 24], [24])
def test_however_bytes_are_cut_messages_and_close_are_the_protocols_own(pieces: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(pieces)
    expected = slowly(wire)

    async def main() -> None:
        protocol, request = opened()
        stream, _ = trio.testing.memory_stream_pair()
        socket = Socket(stream, protocol, request, rest=b"", peer="", unread_bytes_max=1 << 30)
        found, at = [], 0
        for end in sorted({*(cut % (len(wire) + 1) for cut in cuts), len(wire)}):
            if end > at:
                socket._receive(wire[at:end])
            at = end
            found += socket._messages
            socket._messages = []
        assert (found, protocol.close_sent) == expected

    trio.run(main)


def test_what_is_cut_off_or_too_long_or_no_text_is_left_to_the_protocol() -> None:
    def left(wire: bytes) -> tuple[list[str], int]:
        return whole_texts(bytearray(wire), 0, 1_000)

    good = Frame(Opcode.TEXT, b"good").serialize(mask=True)
    assert left(good * 2) == (["good", "good"], 2 * len(good))
    for rest in [good[:-1], good[:5], b"\x81", Frame(Opcode.TEXT, b"\xff").serialize(mask=True)]:
        assert left(good + rest) == (["good"], len(good))
    assert left(good + Frame(Opcode.TEXT, b"x" * 1_001).serialize(mask=True)) == (["good"], len(good))
    assert left(good + Frame(Opcode.PING, b"").serialize(mask=True)) == (["good"], len(good))


@given(st.lists(TEXT, min_size=1, max_size=3))
@example([b"x" * 65_535])
@example([b"x" * 65_000, b"x" * 536])
def test_a_client_reads_what_was_framed_in_pieces_as_one_message(parts: list[bytes]) -> None:
    client = ClientProtocol(parse_uri("ws://a/relay"), max_size=None)
    request = client.connect()
    client.send_request(request)
    server = ServerProtocol()
    server.receive_data(b"".join(client.data_to_send()))
    (asked,) = server.events_received()
    assert isinstance(asked, Request)
    server.send_response(server.accept(asked))
    client.receive_data(b"".join(server.data_to_send()) + text_frame(*parts))
    _, frame = client.events_received()
    assert isinstance(frame, Frame)
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.TEXT, True, b"".join(parts))


@given(
    st.binary(max_size=20),
    st.lists(st.sampled_from([b"", b"x" * 100, b"y" * 70_000]), max_size=4),
    st.binary(max_size=3),
)
def test_many_messages_framed_at_once_are_the_frames_of_each(before: bytes, texts: list[bytes], after: bytes) -> None:
    assert text_frames(before, texts, after) == b"".join(text_frame(before, text, after) for text in texts)
