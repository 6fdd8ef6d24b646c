"""HTTP/1.1 messages of the one shape that nearly all have, read with one regular expression.

A strict subset of what h11 takes: a message that is read here means the same to h11, and whatever has another shape
(`NotPlain`) goes to h11 (or hypercorn), bytes untouched, with all its refusals. So nothing is parsed leniently for
speed: a webhook's head costs 10 µs here, 110 in h11, and h11's judgement of everything unusual stays the only one.
This module must not know what is asked, nor any socket.
"""

import re

import msgspec

_FIELDS = rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n"
_REQUEST = re.compile(rb"POST (/[/A-Za-z0-9._-]*) HTTP/1\.1\r\n" + _FIELDS)
_ANSWER = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?\r\n" + _FIELDS)
_FIELD = re.compile(rb"([^:]+):[ \t]*([^\r]*?)[ \t]*\r\n")
_LENGTH = re.compile(rb"[0-9]{1,9}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,7})\r\n")
_LENGTH_NAME, _CODING_NAME = b"\r\ncontent-length:", b"\r\ntransfer-encoding:"
_BODILESS = (b"204", b"304")
# What changes how a request is to be read or answered: such a request is h11's.
_UNUSUAL = frozenset((b"transfer-encoding", b"expect", b"connection", b"upgrade", b"content-encoding"))

Fields = list[tuple[bytes, bytes]]


class NotPlain(Exception):
    """The bytes are not the beginning of a message of the plain shape: another parser's to judge."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """A whole POST with a body of stated length; names of headers in lower case, each at most once."""

    path: bytes
    headers: dict[bytes, bytes]
    body: bytes
    size: int  # bytes, head and body


class Response(msgspec.Struct, frozen=True, gc=False):
    """A whole answer; ``keeps`` says whether the connection may carry another exchange."""

    status: int
    lines: bytes  # the headers as they came; most are never looked at
    body: bytes
    size: int
    keeps: bool


def request(data: bytearray, body_bytes_max: int) -> Request | None:
    """Read the request at the beginning of what came; None while it is not whole. Raises NotPlain."""
    head = _head(data, _REQUEST)
    if head is None:
        return None
    pairs = fields(head[2])
    headers = dict(pairs)
    if len(headers) != len(pairs) or b"host" not in headers or not _UNUSUAL.isdisjoint(headers):
        raise NotPlain
    size = _length(headers.get(b"content-length", b""))
    if size > body_bytes_max:
        raise NotPlain
    end = head.end() + size
    return Request(head[1], headers, bytes(data[head.end() : end]), end) if len(data) >= end else None


def response(data: bytearray, body_bytes_max: int) -> Response | None:
    """Read the answer at the beginning of what came; None while it is not whole. Raises NotPlain."""
    head = _head(data, _ANSWER)
    if head is None:
        return None
    named = b"\r\n" + head[2].lower()  # a fifth of what reading all of them costs
    lengths, codings = named.count(_LENGTH_NAME), named.count(_CODING_NAME)
    if lengths + codings != 1 or head[1] in _BODILESS:
        raise NotPlain
    if lengths:
        size = _length(_value(named, _LENGTH_NAME))
        if size > body_bytes_max:
            raise NotPlain
        end = head.end() + size
        body = bytes(data[head.end() : end]) if len(data) >= end else None
    else:
        body, end = _chunks(data, head.end(), _value(named, _CODING_NAME), body_bytes_max)
    if body is None:
        return None
    keeps = b"\r\nconnection:" not in named or all(
        value == b"keep-alive" for name, value in fields(named[2:]) if name == b"connection"
    )
    return Response(int(head[1]), head[2], body, end, keeps)


def _value(named: bytes, name: bytes) -> bytes:
    start = named.index(name) + len(name)
    return named[start : named.index(b"\r\n", start)].strip(b" \t")


def _head(data: bytearray, shape: re.Pattern[bytes]) -> re.Match[bytes] | None:
    found = shape.match(data)
    if found is None and data.find(b"\r\n\r\n") >= 0:
        raise NotPlain
    return found


def fields(lines: bytes) -> Fields:
    """Part the lines of a head into names, in lower case, and values."""
    return [(name.lower(), value) for name, value in _FIELD.findall(lines)]


def _length(text: bytes) -> int:
    if not _LENGTH.fullmatch(text):
        raise NotPlain
    return int(text)


def _chunks(data: bytearray, start: int, coding: bytes, bytes_max: int) -> tuple[bytes | None, int]:
    """Join chunks without extensions and trailers (RFC 9112 §7.1); None and 0 while they are not whole."""
    if coding != b"chunked":
        raise NotPlain
    parts: list[bytes] = []
    size = 0
    while (line := data.find(b"\r\n", start)) >= 0:
        head = _CHUNK.fullmatch(data, start, line + 2)
        if head is None:
            raise NotPlain
        length = int(head[1], 16)
        start, size = line + 2 + length, size + length
        if size > bytes_max:
            raise NotPlain
        if len(data) < start + 2:
            break
        if data[start : start + 2] != b"\r\n":
            raise NotPlain
        parts.append(bytes(data[start - length : start]))
        start += 2
        if not length:
            return b"".join(parts), start
    return None, 0
