"""Two relays compared by NIP-77 through somebody in between who holds neither set. Pure.

A relay that is asked answers with a message that another relay can be asked with: so each one's answer is handed to the
other, and what one lists of a range and then the other lists of it is compared here. Memory is one message, whatever
the relays hold; no events and no times of theirs are needed.
Invariant: a range that both have listed is not asked about again; where one's list was cut for its size, and so it is
not known which of the other's ids lie before the cut, that part is asked about once more. It must not know relays.
"""

from dataclasses import dataclass

from gateway.negentropy import END, PRINT_BYTES, Key, Range, Writer, ranges_of

START: Key = (0, b"")
NO_SET = bytes(PRINT_BYTES)  # a fingerprint that no set has, so that whoever reads it says what is there


@dataclass(frozen=True, slots=True)
class Difference:
    """What one step of a comparison has shown: ids that the one lacks, and that the other lacks."""

    ours_lacks: tuple[bytes, ...] = ()
    theirs_lacks: tuple[bytes, ...] = ()


class Mediator:
    """One comparison: `first` to ours, then `hand_on` with each answer, ours and theirs in turn."""

    def __init__(self) -> None:
        self._listed: dict[Key, Range] = {}  # what the last message listed, by where the range begins

    @staticmethod
    def first() -> bytes:
        """Write the question that makes a relay say what it holds: a fingerprint that no set has."""
        writer = Writer()
        writer.add(Range(END, fingerprint=NO_SET))
        return writer.done()

    def hand_on(self, answer: bytes, *, is_ours: bool) -> tuple[bytes | None, Difference]:
        """Take an answer in; give what to ask the other with, None when all is known. Malformed where it is none."""
        writer, before, self._listed = Writer(), self._listed, {}
        begin, asks = START, False
        ours_lacks: list[bytes] = []
        theirs_lacks: list[bytes] = []
        for one in ranges_of(answer):
            known = before.get(begin)
            if one.ids is not None and known is not None and known.ids is not None:
                if one.bound != known.bound and _without(known.ids, one.ids):
                    asks = True
                    writer.add(Range(one.bound, fingerprint=NO_SET))
                else:
                    here, there = (one.ids, known.ids) if is_ours else (known.ids, one.ids)
                    ours_lacks += _without(there, here)
                    theirs_lacks += _without(here, there)
                    writer.skip(one.bound)
            elif one.ids is None and one.fingerprint is None:
                writer.skip(one.bound)
            else:
                asks = True
                writer.add(one)
                if one.ids is not None:
                    self._listed[begin] = one
            begin = one.bound
        return writer.done() if asks else None, Difference(tuple(ours_lacks), tuple(theirs_lacks))


def _without(ids: tuple[bytes, ...], others: tuple[bytes, ...]) -> list[bytes]:
    known = set(others)
    return [one for one in ids if one not in known]
