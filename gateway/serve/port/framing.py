"""WebSocket frames (RFC 6455 §5.2) the short way: whole messages in one frame, as nearly all are.

websockets' protocol takes 3.1 µs a frame in and 1.3 out, its parser being a generator made for any frame; this takes a
third. So the two share the work: here are only text that came whole, text that goes out, and the bounds of frames. All
else (control frames, fragments, close, whatever is wrong) is the protocol's, which is handed it frame by frame.
Invariant: text that is given out is what the protocol would have given out; a test holds the two against each other.
This module must not know sockets or the state of a connection.
"""

from collections.abc import Iterable
from functools import lru_cache

from websockets.frames import apply_mask  # type: ignore[attr-defined]  # the protocol's: in C where that was compiled

from gateway.limits.serve import FRAME_HEADS_KEPT

WHOLE_TEXT = 0x81  # final, no extension, text
_KINDS = frozenset({0x0, 0x1, 0x2, 0x8, 0x9, 0xA})
_MASKED, _SIZE_16, _SIZE_64 = 0x80, 126, 127
_HEAD_BYTES_MAX = 14


def whole_texts(buffer: bytearray, at: int, bytes_max: int) -> tuple[list[str], int]:
    """Read the messages at ``at`` that are one whole frame of text each; give them, and where something else begins.

    Something else is also a frame that is not all here, is longer than ``bytes_max``, or holds no UTF-8.
    """
    texts: list[str] = []
    have = len(buffer)
    while have - at >= 6 and buffer[at] == WHOLE_TEXT:
        size, start = buffer[at + 1] - _MASKED, at + 6
        if size >= _SIZE_16:
            if size == _SIZE_64 or have - at < 8:
                break
            size, start = buffer[at + 2] << 8 | buffer[at + 3], at + 8
        end = start + size
        if not 0 <= size <= bytes_max or end > have:
            break
        try:
            texts.append(apply_mask(buffer[start:end], buffer[start - 4 : start]).decode())
        except UnicodeDecodeError:
            break
        at = end
    return texts, at


def frame_end(buffer: bytearray, at: int, bytes_max: int) -> int | None:
    """Find the end of the frame at ``at``; None while the frame, or its head, is not all here.

    One that is unmasked, too long or of an unknown kind ends where the buffer does: the protocol finds that flaw in its
    first bytes and closes, and nothing behind it counts. Any other (a reserved bit, a control frame in pieces) it finds
    where the frame ends, and waits for that.
    """
    have = len(buffer)
    if have - at < 2:
        return None
    size, start = buffer[at + 1] & 0x7F, at + 6
    if not buffer[at + 1] & _MASKED or buffer[at] & 0x0F not in _KINDS:
        return have
    if size >= _SIZE_16:
        start += 2 if size == _SIZE_16 else 8
        if have < start - 4:
            return None
        size = int.from_bytes(buffer[at + 2 : start - 4], "big")
    if size > bytes_max:
        return have
    return start + size if start + size <= have else None


def text_frame(*parts: bytes) -> bytes:
    """Frame a message, given in pieces of UTF-8, as a server sends it: in one frame, without a mask."""
    data = b"".join(parts)
    return _head(len(data)) + data


def text_frames(before: bytes, texts: Iterable[bytes], after: bytes) -> bytes:
    """Frame many messages that begin and end alike, as `text_frame` does each, with one copy of all."""
    around = len(before) + len(after)
    return b"".join([part for text in texts for part in (_head(around + len(text)), before, text, after)])


@lru_cache(FRAME_HEADS_KEPT)
def _head(size: int) -> bytes:
    if size < _SIZE_16:
        return bytes((WHOLE_TEXT, size))
    if size < 0x1_0000:
        return bytes((WHOLE_TEXT, _SIZE_16)) + size.to_bytes(2, "big")
    return bytes((WHOLE_TEXT, _SIZE_64)) + size.to_bytes(8, "big")
