"""The side of NIP-77 that asks and holds a set of its own, as clients do; ours holds none (`gateway.client.mediation`).

It stands on the parts that `gateway.negentropy` is made of, so it tells nothing of these: foreign clients do.
"""

from gateway.negentropy import END, FRAME_BYTES_MIN, INFINITY, Items, Range, Writer, ranges_of

TAIL_BYTES = 2_048  # what one range may add beyond the limit, and the fingerprint that ends a cut message


class Initiator:
    """The side that asks, and learns both differences: `first`, then `learn` from each answer until it gives None."""

    def __init__(self, items: Items, frame_bytes_max: int) -> None:
        assert frame_bytes_max >= FRAME_BYTES_MIN, frame_bytes_max
        self._items, self._bytes_max = items, frame_bytes_max
        self.have: set[bytes] = set()
        self.need: set[bytes] = set()

    def first(self) -> bytes:
        """Write the message that begins."""
        writer = Writer()
        for part in self._items.split(0, len(self._items), END):
            writer.add(part)
        return writer.done()

    def learn(self, message: bytes) -> bytes | None:
        """Take an answer in; give what to ask next, or None when all is known. Malformed where it is none."""
        items, writer = self._items, Writer()
        begin, asked = 0, False
        for one in ranges_of(message):
            end = items.find(one.bound, begin)
            if one.ids is not None:
                mine, theirs = set(items.ids(begin, end)), set(one.ids)
                self.have |= mine - theirs
                self.need |= theirs - mine
                writer.skip(one.bound)
            elif one.fingerprint is None or one.fingerprint == items.fingerprint(begin, end):
                writer.skip(one.bound)
            else:
                asked = True
                for part in items.split(begin, end, one.bound):
                    writer.add(part)
            begin = end
            if len(writer) > self._bytes_max - TAIL_BYTES:
                if one.bound[0] != INFINITY:
                    writer.add(Range(END, fingerprint=items.fingerprint(end, len(items))))
                break
        return writer.done() if asked else None
