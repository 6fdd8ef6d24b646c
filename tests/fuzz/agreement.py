"""Four ways to ask, one dumb answer: stored rows, live rows, counts and comparisons over random histories and readers.

    python -m tests.fuzz.agreement --cases 100000 --seed 7
The oracle (`tests.oracles`) reads NIP-01 and NIP-09 aloud; what a reader may see (NIP-17, 40, 59) is read aloud here.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import click
import msgspec

from gateway.negentropy import FRAME_BYTES_MIN, Items, Responder
from gateway.nostr.filter import parse_filter
from gateway.nostr.matcher import Matcher
from gateway.nostr.reader import Reader
from gateway.serve.relay.shown import identities
from gateway.views.events import EventsView
from gateway.views.eventscan import Ending, EventScan, NameScan, Row
from tests import oracles
from tests.gateway.views.test_events import RELAY, records_of, to_event
from tests.initiator import Initiator
from tests.signing import ALICE, BOB, pubkey, signed_fields

KEYS = (ALICE, BOB)
PEOPLE = [pubkey(key) for key in KEYS]
KINDS = (0, 1, 1, 1, 4, 5, 7, 1_059, 10_002, 30_000)
PRIVATE = (4, 1_059)
LETTERS = "tTde"
QUESTIONS_PER_HISTORY = 100
EVENTS_MAX = 60
LIMIT_DEFAULT, LIMIT_MAX = 20, 40


def random_tags(dice: Random, earlier: list[str]) -> list[list[str]]:
    tags = [[dice.choice(LETTERS[:3]), dice.choice("abc")] for _ in range(dice.randrange(4))]
    tags += [["p", dice.choice(PEOPLE)] for _ in range(dice.randrange(3))]
    if earlier and dice.random() < 0.3:
        tags.append(["e", dice.choice(earlier)])
    if dice.random() < 0.1:
        tags.append(["a", f"30000:{dice.choice(PEOPLE)}:{dice.choice('abc')}"])
    if dice.random() < 0.2:
        tags.append(["expiration", str(dice.randrange(30, 60))])
    return tags


def random_history(dice: Random) -> list[dict[str, Any]]:
    """Events in the order in which they come in; some twice."""
    events: list[dict[str, Any]] = []
    for number in range(dice.randrange(1, EVENTS_MAX)):
        tags = random_tags(dice, [event["id"] for event in events])
        made = signed_fields(dice.choice(KEYS), dice.choice(KINDS), str(number), tags, dice.randrange(30))
        events.append(dice.choice(events) if events and dice.random() < 0.05 else made)
    return events


def random_filter(dice: Random, ids: list[str]) -> dict[str, Any]:
    fields: dict[str, Callable[[], Any]] = {
        "ids": lambda: dice.sample([*ids, "1" * 64], dice.randrange(min(4, len(ids)) + 1)),
        "authors": lambda: dice.sample([*PEOPLE, "0" * 64], dice.randrange(3)),
        "kinds": lambda: dice.sample(sorted({*KINDS, 9}), dice.randrange(1, 4)),
        "#t": lambda: dice.sample("abcz", dice.randrange(1, 3)),
        "#T": lambda: dice.sample("abcz", dice.randrange(1, 3)),
        "#d": lambda: dice.sample("abc", 1),
        "#p": lambda: dice.sample(PEOPLE, dice.randrange(1, 3)),
        "#e": lambda: dice.sample([*ids, "1" * 64], 1),
        "since": lambda: dice.randrange(30),
        "until": lambda: dice.randrange(30),
        "limit": lambda: dice.choice([0, 1, 2, 5, 30, 10**6]),
    }
    return {name: make() for name, make in fields.items() if dice.random() < 0.2}


def is_shown(event: dict[str, Any], keys: list[str], now_s: int) -> bool:
    """What a reader may see, read aloud."""
    if any(tag[0] == "expiration" and int(tag[1]) <= now_s for tag in event["tags"]):
        return False
    addressed = any(tag[0] == "p" and tag[1] in keys for tag in event["tags"])
    if event["kind"] == 1_059:
        return addressed
    return addressed or event["pubkey"] in keys if event["kind"] == 4 else True


class Question:
    """A group of filters, who asks, and what the oracle finds for each filter among what they may see."""

    def __init__(self, asked: list[dict[str, Any]], reader: Reader, shown: list[dict[str, Any]]) -> None:
        self.asked, self.reader, self.filters = asked, reader, tuple(map(parse_filter, asked))
        self.found = [[event for event in shown if oracles.filter_matches(one, event)] for one in asked]
        self.everything = {event["id"] for found in self.found for event in found}

    def __repr__(self) -> str:
        return f"{self.asked} asked by {self.reader}"

    def answer(self, limit_default: int, limit_max: int) -> list[str]:
        """The ids that a REQ gets, in order."""
        ids: dict[str, tuple[int, str]] = {}
        for one, found in zip(self.asked, self.found, strict=True):
            limit = min(one.get("limit", limit_default), limit_max)
            ranked = sorted((-event["created_at"], event["id"]) for event in found)
            ids |= {rank[1]: rank for rank in ranked[:limit]}
        return sorted(ids, key=lambda name: ids[name])


class History:
    """One relay's past, in the view and as the oracle has it."""

    def __init__(self, dice: Random) -> None:
        self.dice, arrived = dice, random_history(dice)
        self.view = EventsView(sqlite3.connect(":memory:"))
        at = 0
        self.payload_by_seq: dict[int, bytes | None] = {}
        self.by_seq: dict[int, str] = {}
        while at < len(arrived):
            batch = [(RELAY, to_event(event)) for event in arrived[at : at + dice.randrange(1, 9)]]
            records = records_of(batch, at)
            self.payload_by_seq |= {record.seq: record.payload for record in records}
            self.by_seq |= {record.seq: event.id for record, (_, event) in zip(records, batch, strict=True)}
            self.view.apply(records, at + len(batch))
            at += len(batch)
        self.arrived, self.held = arrived, oracles.stored(arrived)

    def ask(self) -> int:
        """Ask once in all four ways; returns how many cases that were: one a way, and live one an event."""
        dice, ids = self.dice, [event["id"] for event in self.arrived]
        asked = [random_filter(dice, ids) for _ in range(dice.randrange(1, 4))]
        keys, now_s = dice.sample(PEOPLE, dice.randrange(3)), dice.randrange(20, 70)
        shown = [event for event in self.held if is_shown(event, keys, now_s)]
        self.question = Question(asked, Reader(frozenset(keys), now_s, frozenset(PRIVATE)), shown)
        self.check_stored()
        self.check_count()
        self.check_comparison()
        return 3 + self.check_live()

    def check_stored(self) -> None:
        question, ending = self.question, Ending()
        found = [self.by_seq[row.seq] for page in self.pages(LIMIT_DEFAULT, LIMIT_MAX, ending) for row in page]
        assert found == question.answer(LIMIT_DEFAULT, LIMIT_MAX), question
        if ending.is_whole is not None:
            assert ending.is_whole == (set(found) == question.everything), question

    def check_count(self) -> None:
        question = self.question
        unlimited = [msgspec.structs.replace(one, limit=None) for one in question.filters]
        scan = EventScan(self.view)
        pages = scan.pages(RELAY, unlimited, 10**9, 10**6, 10**6, reader=question.reader)
        assert sum(map(len, pages)) == len(question.everything), question

    def check_comparison(self) -> None:
        """Compare what the filters find with a store that holds half of everything, by NIP-77's messages."""
        question = self.question
        named = NameScan(self.view).pages(RELAY, question.filters, 10**9, 10**6, 10**6, reader=question.reader)
        pages = identities(self, named, question.filters, question.reader)
        responder = Responder(Items(item for page in pages for item in page), FRAME_BYTES_MIN)
        mine = [event for event in self.held if self.dice.random() < 0.5]
        asking = Initiator(Items((event["created_at"], bytes.fromhex(event["id"])) for event in mine), FRAME_BYTES_MIN)
        message: bytes | None = asking.first()
        while message is not None:
            message = asking.learn(responder.answer(message))
        theirs, ours = set(question.answer(10**6, 10**6)), {event["id"] for event in mine}
        assert {name.hex() for name in asking.need} == theirs - ours, question
        assert {name.hex() for name in asking.have} == ours - theirs, question

    def check_live(self) -> int:
        question, matcher = self.question, Matcher[str]()
        matcher.add("one", question.filters)
        events = self.dice.sample(self.held, min(5, len(self.held)))
        for event in events:
            told = bool(matcher.match(to_event(event))) and question.reader.may_read(to_event(event))
            assert told == (event["id"] in question.everything), (question, event)
        return len(events)

    def pages(self, limit_default: int, limit_max: int, ending: Ending) -> Iterator[list[Row]]:
        question = self.question
        return EventScan(self.view).pages(
            RELAY, question.filters, 10**9, limit_default, limit_max, reader=question.reader, ending=ending
        )

    def payloads(self, seqs: Sequence[int]) -> list[bytes | None]:
        """Stand in for the log."""
        return [self.payload_by_seq[seq] for seq in seqs]


def run(cases: int, seed: int) -> int:
    """Run so many cases, or a few more; returns how many there were. AssertionError with the first that disagrees."""
    dice, done = Random(seed), 0
    while done < cases:
        history = History(dice)
        for _ in range(QUESTIONS_PER_HISTORY):
            done += history.ask()
        history.view.db.close()
    return done


@click.command()
@click.option("--cases", default=100_000, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(cases: int, seed: int) -> None:
    """Ask stored rows, live rows, counts and comparisons the same random questions; hold each against the oracle."""
    click.echo(f"{run(cases, seed)} cases agree (seed {seed})")


if __name__ == "__main__":
    main()
