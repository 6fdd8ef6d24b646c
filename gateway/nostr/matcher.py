"""The live index: which subscribers an event is for, without asking every filter.

Invariant: exactly the subscribers one of whose filters matches; each once. A filter stands under the values of its
most selective field (ids; then authors or a tag, whichever lists fewest; kinds; else "any"), so an event asks only the
filters that share an id, tag, author or kind with it: ten thousand subscriptions to other people cost it nothing. And
what many ask alike is asked of it once.
Size is bounded by subscriptions and filters of a connection times connections.
This module must not know connections: a subscriber is any hashable thing.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from gateway.nostr.event import Event, indexed_tags
from gateway.nostr.filter import Filter

Subscriber = TypeVar("Subscriber", bound=Hashable)
_ANY = ("any", "")


class _Question(Generic[Subscriber]):
    """A filter, and who asks it: told apart by identity, so that a list of thousands is compared once, not by value."""

    __slots__ = ("asked", "subscribers")

    def __init__(self, asked: Filter) -> None:
        self.asked = asked
        self.subscribers: dict[Subscriber, None] = {}


class Matcher(Generic[Subscriber]):
    """Subscribers and their filters, looked up by event."""

    def __init__(self) -> None:
        self._filters: dict[Subscriber, tuple[Filter, ...]] = {}
        self._questions: dict[Filter, _Question[Subscriber]] = {}
        self._shelves: dict[tuple[str, str | int], dict[_Question[Subscriber], None]] = {}

    def __len__(self) -> int:
        return len(self._filters)

    def add(self, subscriber: Subscriber, filters: Sequence[Filter]) -> None:
        """Take in a subscriber, in place of what it asked before."""
        self.remove(subscriber)
        self._filters[subscriber] = tuple(filters)
        for asked in filters:
            question = self._questions.get(asked)
            if question is None:
                question = self._questions[asked] = _Question(asked)
                for key in _keys(asked):
                    self._shelves.setdefault(key, {})[question] = None
            question.subscribers[subscriber] = None

    def remove(self, subscriber: Subscriber) -> None:
        """Forget a subscriber; one that is not known is nothing."""
        for asked in self._filters.pop(subscriber, ()):
            question = self._questions.get(asked)  # None: the subscriber asked it twice
            if question is not None:
                question.subscribers.pop(subscriber, None)
                if not question.subscribers:
                    self._take_off(question)

    def _take_off(self, question: _Question[Subscriber]) -> None:
        del self._questions[question.asked]
        for key in _keys(question.asked):
            shelf = self._shelves[key]
            del shelf[question]
            if not shelf:
                del self._shelves[key]

    def match(self, event: Event) -> list[Subscriber]:
        """Name every subscriber that asked for the event."""
        tags = indexed_tags(event)
        found: dict[Subscriber, None] = {}
        for key in _probes(event, tags):
            for question in self._shelves.get(key, ()):
                if question.asked.matches(event, tags):
                    found |= question.subscribers
        return list(found)


def _keys(asked: Filter) -> Iterable[tuple[str, str | int]]:
    """Choose the field that a filter stands under; an empty list there means under nothing."""
    if asked.ids is not None:
        return [("id", value) for value in asked.ids]
    fields = [] if asked.authors is None else [("author", asked.authors)]
    fields += [("#" + letter, values) for letter, values in asked.tags]
    if fields:
        # At a tie the author: many ask for a topic, each of somebody else.
        name, values = min(fields, key=lambda field: len(field[1]))
        return [(name, value) for value in values]
    if asked.kinds is not None:
        return [("kind", value) for value in asked.kinds]
    return [_ANY]


def _probes(event: Event, tags: set[tuple[str, str]]) -> Iterator[tuple[str, str | int]]:
    yield ("id", event.id)
    yield ("author", event.pubkey)
    yield ("kind", event.kind)
    yield _ANY
    for letter, value in tags:
        yield ("#" + letter, value)
