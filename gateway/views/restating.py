"""What moderators' lists lose when records of theirs are erased, said once more without the erased key (NIP-86).

Erasing a key takes every `Moderated` that names it or was its own act. Without them a replay would end in other lists:
a ban gone, another one back. So what stood is said anew by nobody, and a list entry that was the key itself stands on
under its mark (`gateway.views.bars`): a ban stays a ban, and a list that allowed this key alone does not become one
that allows everybody. Invariant: the lists after the erasure are those before it, but for the key's name.
This module must not know how an erasure is carried out.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from gateway.facts import Moderated
from gateway.nostr.moderation import CHANGES, KEYS_ALLOWED, KEYS_BANNED, WORDS

NOBODY = bytes(32)
MARKED = "erased"
ONTO = {change.onto: method for method, change in CHANGES.items() if change.onto}
OFF = {change.off: method for method, change in CHANGES.items() if change.off and not change.onto}
Names = Callable[[str], bool]  # whether a text names the key


class Entry(NamedTuple):
    """A value on a list of a relay."""

    relay_key: str
    list: str
    value: str


class Lists:
    """Every relay's lists, followed twice: as they stand, and as they would without the records that go."""

    def __init__(self) -> None:
        self._whole: dict[Entry, str] = {}  # entry -> reason
        self._left: dict[Entry, str] = {}

    def take(self, fact: Moderated, *, goes: bool) -> None:
        """Take in a change, in the order of the log."""
        _change(self._whole, fact)
        if not goes:
            _change(self._left, fact)

    def unregister(self, relay_key: str) -> None:
        """A relay was unregistered: its lists are gone."""
        for lists in (self._whole, self._left):
            for entry in [entry for entry in lists if entry.relay_key == relay_key]:
                del lists[entry]

    def restated(self, pubkey: str, mark: bytes, names: Names, kept: Iterable[Entry] = ()) -> list[Moderated]:
        """Say what is missing, and take away what would come back; ``kept``: entries of the key whose records are gone.

        A text that names the key is not said again: of a relay's description, nothing is left.
        """
        missing = {entry: reason for entry, reason in self._whole.items() if self._left.get(entry) != reason}
        missing |= dict.fromkeys(kept, "")
        said = [_off(entry) for entry in self._left if entry not in self._whole and entry.list in OFF]
        for entry, reason in missing.items():
            if entry.value == pubkey and entry.list in (KEYS_BANNED, KEYS_ALLOWED):
                said.append(_onto(entry._replace(value=mark.hex()), MARKED))
            elif not names(entry.value):
                said.append(_onto(entry, "" if names(reason) else reason))
        return said


def _change(lists: dict[Entry, str], fact: Moderated) -> None:
    change = CHANGES[fact.method]
    if change.onto in WORDS:
        for entry in [entry for entry in lists if entry[:2] == (fact.relay_key, change.onto)]:
            del lists[entry]
    if change.off:
        lists.pop(Entry(fact.relay_key, change.off, fact.value), None)
    if change.onto:
        lists[Entry(fact.relay_key, change.onto, fact.value)] = fact.reason


def _onto(entry: Entry, reason: str) -> Moderated:
    return Moderated(entry.relay_key, NOBODY, ONTO[entry.list], entry.value, reason)


def _off(entry: Entry) -> Moderated:
    return Moderated(entry.relay_key, NOBODY, OFF[entry.list], entry.value, "")
