"""Records: what is asked to be appended (`Draft`) and what the log holds (`Record`).

Invariant: a record's first five fields never change, and ``commitment`` is the SHA-256 of the payload bytes; only the
payload may later be absent (erased). This module must not know how records are framed or stored.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Draft:
    """A record that the log has not taken yet; the log itself adds the sequence number and the commitment.

    ``ts_ns`` is wall time in nanoseconds since 1970, ``kind`` a dotted ASCII name in the past tense, ``subject`` up to
    32 bytes (a random pseudonym for personal data, else empty), ``schema`` the version of the payload's shape.
    """

    kind: str
    payload: bytes
    ts_ns: int
    subject: bytes = b""
    schema: int = 1


@dataclass(frozen=True, slots=True)
class Record:
    """A record as the log holds it; ``payload`` is None once it was erased."""

    seq: int
    schema: int
    ts_ns: int
    kind: str
    subject: bytes
    commitment: bytes
    payload: bytes | None
