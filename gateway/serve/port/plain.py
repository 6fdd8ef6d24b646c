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
    headers: Fields
    body: bytes
    size: int
    keeps: bool


def request(data: bytearray, body_bytes_max: int) -> Request | None:
    """Read the request at the beginning of what came; None while it is not whole. Raises NotPlain."""
    head = _head(data, _REQUEST)
    if head is None:
        return None
    fields = _fields(head[2])
    headers = dict(fields)
    if len(headers) != len(fields) or b"host" not in headers or not _UNUSUAL.isdisjoint(headers):
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
    fields = _fields(head[2])
    framing = [pair for pair in fields if pair[0] in (b"content-length", b"transfer-encoding")]
    if len(framing) != 1 or head[1] in _BODILESS:
        raise NotPlain
    ((name, value),) = framing
    if name == b"content-length":
        size = _length(value)
        if size > body_bytes_max:
            raise NotPlain
        end = head.end() + size
        body = bytes(data[head.end() : end]) if len(data) >= end else None
    else:
        body, end = _chunks(data, head.end(), value, body_bytes_max)
    if body is None:
        return None
    keeps = all(value.lower() == b"keep-alive" for name, value in fields if name == b"connection")
    return Response(int(head[1]), fields, body, end, keeps)


def _head(data: bytearray, shape: re.Pattern[bytes]) -> re.Match[bytes] | None:
    found = shape.match(data)
    if found is None and data.find(b"\r\n\r\n") >= 0:
        raise NotPlain
    return found


def _fields(lines: bytes) -> Fields:
    return [(name.lower(), value) for name, value in _FIELD.findall(lines)]


def _length(text: bytes) -> int:
    if not _LENGTH.fullmatch(text):
        raise NotPlain
    return int(text)


def _chunks(data: bytearray, start: int, coding: bytes, bytes_max: int) -> tuple[bytes | None, int]:
    """Join chunks without extensions and trailers (RFC 9112 §7.1); None and 0 while they are not whole."""
    if coding.lower() != b"chunked":
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
