"""A log's identity: its name, when it was made, the key that signs its checkpoints, and the salt of its CRCs.

``origin.cbor`` is written once, when the log is made: ``["heliograph-log", version, origin, created ns, Ed25519 public
key, salt]``, and behind it, as a CBOR item of its own, a CRC-32: an auditor tells a changed time of creation by it,
which nothing else would. Logs of the first release have no CRC and are read all the same.
The salt only keeps a payload from imitating a frame (see `eventlog.frame`); it is not published.
"""

from zlib import crc32

import cbor2
import msgspec

from eventlog.errors import Corrupt
from eventlog.limits import ORIGIN_BYTES_MAX

VERSION = 1
FILE = "origin.cbor"
FILE_BYTES_MAX = 1_024
_TAG = "heliograph-log"


class Origin(msgspec.Struct, frozen=True):
    """Who a log is; ``name`` stands in every segment and checkpoint."""

    name: str
    created_ns: int
    public_key: bytes
    salt: int


def encode(origin: Origin) -> bytes:
    """Write the identity down. ValueError for a name that a signed note could not carry."""
    name = origin.name
    if not 0 < len(name.encode()) <= ORIGIN_BYTES_MAX or "+" in name or any(c.isspace() or ord(c) < 32 for c in name):
        raise ValueError(f"{name!r} cannot name a log: no spaces and no plus, at most {ORIGIN_BYTES_MAX} bytes")
    body = _body(origin)
    return body + _crc_item(body)


def _body(origin: Origin) -> bytes:
    return cbor2.dumps([_TAG, VERSION, origin.name, origin.created_ns, origin.public_key, origin.salt])


def _crc_item(body: bytes) -> bytes:
    return b"\x1a" + crc32(body).to_bytes(4, "big")


def decode(data: bytes) -> Origin:
    """Read an identity; Corrupt if it is none."""
    try:
        fields = cbor2.loads(data)
        if not isinstance(fields, list) or fields[:2] != [_TAG, VERSION]:
            raise Corrupt("this is not a log's origin of a known version")
        named = dict(zip(Origin.__struct_fields__, fields[2:], strict=True))
        origin = msgspec.convert(named, type=Origin, builtin_types=(bytes,))
    except (cbor2.CBORDecodeError, ValueError, msgspec.ValidationError) as error:
        raise Corrupt("the log's origin is not of the shape") from error
    if len(origin.public_key) != 32 or not 0 <= origin.salt <= 0xFFFF_FFFF:
        raise Corrupt("the log's origin is out of bounds")
    body = _body(origin)
    if data not in (body, body + _crc_item(body)):
        raise Corrupt("the log's origin fails its CRC")
    return origin
