"""Plain messages: whatever is read here h11 reads alike, however it is cut; everything else is left to h11."""

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.serve.port import plain

WEBHOOK = (
    b"POST /internal/push/events HTTP/1.1\r\nHost: push.example\r\nContent-Type: application/json\r\n"
    b"X-Push-Signature: \t abc= \r\ncontent-length: 2\r\n\r\n{}"
)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nVary: Origin\r\nVary: Referer\r\n"
CHUNKED = ANSWER + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"
LENGTHY = ANSWER + b"Content-Length: 5\r\n\r\nhello"

PIECES = [
    *(b"\r\n", b"\r\n\r\n", b" ", b"\t", b":", b",", b"\x00", b"\xff", b"HTTP/1.1", b"HTTP/1.0", b"POST ", b"GET "),
    *(b"Host: a\r\n", b"Content-Length: 2\r\n", b"Content-Length: 02\r\n", b"Content-Length: +2\r\n", b"\nX: y\r\n"),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
        b" folded\r\n",
        b"X :y\r\n",
    ),
    *(
        b"2\r\nok\r\n",
        b"0\r\n\r\n",
        b"0\r\nT: x\r\n\r\n",
        b"2;ext\r\nok\r\n",
        b"{}",
        b"204",
        b"/a?b",
        b"//push/webhook",
    ),
]


@st.composite
def mutated(draw: st.DrawFn, *seeds: bytes) -> bytes:
    """A good message with a few pieces put in or over it."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 3))):
        at, piece = draw(st.integers(0, len(data))), draw(st.sampled_from(PIECES))
        data[at : at + draw(st.sampled_from([0, 0, len(piece), 4]))] = piece
    return bytes(data)


def by_h11(role: type, data: bytes) -> tuple[object, bytes, bytes]:
    """What h11 says the first message is: its head, its body, and what comes behind it."""
    http = h11.Connection(role)
    if role is h11.CLIENT:
        http.send(h11.Request(method="POST", target="/", headers=[("host", "a")]))
        http.send(h11.EndOfMessage())
    http.receive_data(data)
    head, body = http.next_event(), b""
    while not isinstance(event := http.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data), event
        body += bytes(event.data)
    return head, body, bytes(http.trailing_data[0])


@given(mutated(WEBHOOK))
@example(WEBHOOK)
@settings(max_examples=500, deadline=None)
def test_a_request_that_is_read_here_means_the_same_to_h11(data: bytes) -> None:
    try:
        read = plain.request(bytearray(data), 1000)
    except plain.NotPlain:
        return
    if read is not None:
        head, body, behind = by_h11(h11.SERVER, data)
        assert isinstance(head, h11.Request)
        assert (head.method, head.target, body, behind) == (b"POST", read.path, read.body, data[read.size :])
        assert dict(head.headers) == read.headers


@given(mutated(LENGTHY, CHUNKED))
@example(CHUNKED)
@settings(max_examples=500, deadline=None)
def test_an_answer_that_is_read_here_means_the_same_to_h11(data: bytes) -> None:
    try:
        read = plain.response(bytearray(data), 1000)
    except plain.NotPlain:
        return
    if read is not None:
        head, body, behind = by_h11(h11.CLIENT, data)
        assert isinstance(head, h11.Response)
        assert (head.status_code, body, behind) == (read.status, read.body, data[read.size :])
        named = [(name, value) for name, value in plain.fields(read.lines) if name != b"transfer-encoding"]
        assert [(name, value) for name, value in head.headers if name != b"transfer-encoding"] == named


@pytest.mark.parametrize("whole", [LENGTHY, CHUNKED])
def test_an_answer_is_read_once_it_is_whole_and_not_a_byte_earlier(whole: bytes) -> None:
    for size in range(len(whole)):
        assert plain.response(bytearray(whole[:size]), 1000) is None
    read = plain.response(bytearray(whole + b"more"), 1000)
    assert read is not None
    assert read.size == len(whole)


def test_a_request_is_read_once_it_is_whole() -> None:
    for size in range(len(WEBHOOK)):
        assert plain.request(bytearray(WEBHOOK[:size]), 1000) is None
    read = plain.request(bytearray(WEBHOOK), 1000)
    assert read is not None
    assert (read.path, read.headers[b"x-push-signature"], read.body) == (b"/internal/push/events", b"abc=", b"{}")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        b"POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
        b"\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_any_other_shape_is_left_to_h11(head: bytes) -> None:
    with pytest.raises(plain.NotPlain):
        plain.request(bytearray(head), 1000)


def test_a_connection_that_the_peer_will_close_is_not_kept() -> None:
    closing = LENGTHY.replace(b"Vary: Origin", b"Connection: close")
    read = plain.response(bytearray(closing), 1000)
    assert read is not None
    assert not read.keeps
