"""An event or a row as a synchronisation carries it: the bytes as they came, and the little that must be known. Pure.

This module must not know connections, nor which relay has it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from gateway.limits.client import BULK_ROWS, PUBLISH_BATCH_CHARS


class Stored(msgspec.Struct, frozen=True, gc=False):
    """An event or a row: what is known of it, and its bytes as they came."""

    id: str
    created_at: int
    raw: bytes

    @property
    def is_protected(self) -> bool:
        """Whether only its author may publish it (NIP-70)."""
        try:
            return any(tag[:1] == ["-"] for tag in _tags.decode(self.raw).tags)
        except msgspec.ValidationError:
            return False  # a row, or what no relay takes


class _Head(msgspec.Struct, gc=False):
    id: str
    created_at: int


class _Tags(msgspec.Struct, gc=False):
    tags: list[list[Any]] = []


_head, _tags = msgspec.json.Decoder(_Head), msgspec.json.Decoder(_Tags)


def stored_of(raw: bytes) -> Stored:
    """Read what must be known of an event or row. ValueError (msgspec's) where it is neither."""
    head = _head.decode(raw)
    return Stored(head.id, head.created_at, raw)


def batches(events: Sequence[Stored]) -> Iterator[list[Stored]]:
    """Cut rows into EVENTS frames; one that is larger alone goes alone."""
    batch: list[Stored] = []
    size = 0
    for event in events:
        if batch and (len(batch) >= BULK_ROWS or size + len(event.raw) > PUBLISH_BATCH_CHARS):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += len(event.raw)
    if batch:
        yield batch
