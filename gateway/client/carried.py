"""What one synchronisation has carried: whose echo is none of its business, what needs no second try. Pure.

A connection that is cut mostly takes the next one over ground that the last one covered: what was answered there,
refusals too, is left out until all is in step, and only an answer that never was before counts as news.
Invariants: the latest `SYNC_RECENT_MAX` ids are known exactly; an id counts once as news of one turn, however many
there are, since of more than `SYNC_NEWS_MAX` the smallest stand for all. So who goes on only while there is news ends.
This module must not know relays, nor which way an event goes.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from gateway.limits.client import SYNC_NEWS_MAX, SYNC_RECENT_MAX

ABOVE_ALL = "g"  # ids are hexadecimal
SENT = 0  # in place of a connection


class Carried:
    """Ids that were carried, in turns: from one moment when all is in step to the next."""

    def __init__(self) -> None:
        self._latest: OrderedDict[str, int] = OrderedDict()  # by id: on which connection it was accepted; below 0: not
        self._connection = self._turn = SENT + 1  # which it is, and with which the turn began
        self._counted: set[str] = set()
        self._below = ABOVE_ALL  # what is not below it is not counted any more
        self.news = 0

    def __contains__(self, name: str) -> bool:
        """Whether it was carried lately, or is on its way: when it comes it is an echo."""
        return name in self._latest

    def connected(self) -> None:
        """Hear that another connection is open."""
        self._connection += 1

    def is_answered(self, name: str) -> bool:
        """Whether it needs no second try in this turn, as far as is known."""
        return abs(self._latest.get(name, SENT)) >= self._turn

    def is_dropped(self, name: str) -> bool:
        """Whether what is missing was accepted in this turn on another connection; said once.

        Not on this one: a comparison is of what was there when it began, and some ids it tells twice.
        """
        is_dropped = self._turn <= self._latest.get(name, SENT) < self._connection
        if is_dropped:
            self._latest[name] *= -1
        return is_dropped

    def send(self, names: Iterable[str]) -> None:
        """Note what is about to be sent: its echo may come ahead of its answer."""
        for name in names:
            self._latest[name] = SENT
        while len(self._latest) > SYNC_RECENT_MAX:
            self._latest.popitem(last=False)

    def answer(self, answers: Mapping[str, tuple[bool, str]]) -> None:
        """Note what was answered for good: by id, whether it was accepted, and why not."""
        for name, (is_accepted, _) in answers.items():
            self._latest[name] = self._connection if is_accepted else -self._connection
            if name < self._below and name not in self._counted:
                self._counted.add(name)
                self.news += 1
        if len(self._counted) > SYNC_NEWS_MAX:
            smallest = sorted(self._counted)
            self._below = smallest[SYNC_NEWS_MAX // 2]
            self._counted = set(smallest[: SYNC_NEWS_MAX // 2])

    def lose(self, names: Iterable[str]) -> None:
        """Note that no answer comes any more to what was sent: it may not be there, so it is no echo."""
        for name in names:
            if self._latest.get(name) == SENT:
                del self._latest[name]

    def in_step(self) -> None:
        """Begin another turn: what is found missing from here on is to be carried, whatever was answered before."""
        self._turn = self._connection = self._connection + 1
        self._counted.clear()
        self._below = ABOVE_ALL
