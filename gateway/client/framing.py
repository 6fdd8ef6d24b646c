"""WebSocket frames that come to a client (RFC 6455 §5.2), found the short way: messages are nearly all one frame. Pure.

websockets' protocol takes 2.5 µs a frame, its parser being a generator made for any frame; finding its bounds takes a
fifth. Whatever is no text in one frame is the protocol's, which is handed it frame by frame. (To send, its 1.9 µs are
mostly the mask's, which must be made anyway.)
Invariant: a message is what the protocol would have given; a test holds them against each other.
This module must not know sockets or the state of a connection.
"""

WHOLE_TEXT = 0x81  # final, no extension, text
_KINDS = frozenset({0x0, 0x1, 0x2, 0x8, 0x9, 0xA})
_MASKED, _SIZE_16 = 0x80, 126


def frame_at(buffer: bytearray, at: int, bytes_max: int) -> tuple[int, int] | None:
    """Find where the payload of the frame at ``at`` begins and ends; None while it is not all here.

    One that is masked, longer than ``bytes_max`` or of an unknown kind is all that is here, head included: the protocol
    finds the flaw.
    """
    have, start = len(buffer), at + 2
    if have < start:
        return None
    size = buffer[at + 1]
    if size >= _MASKED or buffer[at] & 0x0F not in _KINDS:
        return at, have
    if size >= _SIZE_16:
        start += 2 if size == _SIZE_16 else 8
        if have < start:
            return None
        size = int.from_bytes(buffer[at + 2 : start], "big")
    if size > bytes_max:
        return at, have
    return (start, start + size) if start + size <= have else None
