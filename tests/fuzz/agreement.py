"""Three ways to ask, one dumb answer: stored rows, live rows and counts over random histories, filters and readers.

    python -m tests.fuzz.agreement --cases 100000 --seed 7
The oracle (`tests.oracles`) reads NIP-01 and NIP-09 aloud; what a reader may see (NIP-17, 40, 59) is read aloud here.
"""

import sqlite3
from collections.abc import Callable
from random import Random
from typing import Any

import click
import msgspec

from gateway.nostr.filter import Filter, parse_filter
from gateway.nostr.matcher import Matcher
from gateway.nostr.reader import Reader
from gateway.views.events import EventsView
from gateway.views.eventscan import Ending, EventScan
from tests import oracles
from tests.gateway.views.test_events import KNOWN, RELAY, records_of, to_event
from tests.signing import ALICE, BOB, pubkey, signed_fields

KEYS = (ALICE, BOB)
PEOPLE = [pubkey(key) for key in KEYS]
KINDS = (0, 1, 1, 1, 4, 5, 7, 1_059, 10_002, 30_000)
PRIVATE = (4, 1_059)
LETTERS = "tTde"
CASES_PER_HISTORY = 250
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


class History:
    """One relay's past, in the view and as the oracle has it."""

    def __init__(self, dice: Random) -> None:
        self.dice, arrived = dice, random_history(dice)
        self.view = EventsView(sqlite3.connect(":memory:"))
        at = 0
        while at < len(arrived):
            batch = [(RELAY, to_event(event)) for event in arrived[at : at + dice.randrange(1, 9)]]
            self.view.apply(records_of(batch, at), at + len(batch))
            at += len(batch)
        self.arrived, self.held = arrived, oracles.stored(arrived)
        rows = self.view.db.execute("SELECT seq, tie, half FROM event")
        self.by_seq = {seq: KNOWN[tie, half] for seq, tie, half in rows}

    def case(self) -> None:
        """Ask once in all three ways."""
        dice, ids = self.dice, [event["id"] for event in self.arrived]
        asked = [random_filter(dice, ids) for _ in range(dice.randrange(1, 4))]
        keys, now_s = dice.sample(PEOPLE, dice.randrange(3)), dice.randrange(20, 70)
        reader = Reader(frozenset(keys), now_s, frozenset(PRIVATE))
        shown = [event for event in self.held if is_shown(event, keys, now_s)]
        filters = list(map(parse_filter, asked))
        self.check_stored(asked, filters, reader, shown)
        self.check_count(asked, filters, reader, shown)
        self.check_live(asked, filters, reader, shown)

    def check_stored(
        self, asked: list[dict[str, Any]], filters: list[Filter], reader: Reader, shown: list[dict[str, Any]]
    ) -> None:
        ending = Ending()
        pages = EventScan(self.view).pages(
            RELAY, filters, 10**9, LIMIT_DEFAULT, LIMIT_MAX, reader=reader, ending=ending
        )
        found = [self.by_seq[row.seq] for page in pages for row in page]
        assert found == oracles.answer(asked, shown, LIMIT_DEFAULT, LIMIT_MAX), (asked, reader)
        everything = {event["id"] for event in shown if any(oracles.filter_matches(one, event) for one in asked)}
        if ending.is_whole is not None:
            assert ending.is_whole == (set(found) == everything), (asked, reader)

    def check_count(
        self, asked: list[dict[str, Any]], filters: list[Filter], reader: Reader, shown: list[dict[str, Any]]
    ) -> None:
        unlimited = [msgspec.structs.replace(one, limit=None) for one in filters]
        pages = EventScan(self.view).pages(RELAY, unlimited, 10**9, 10**6, 10**6, reader=reader)
        count = sum(any(oracles.filter_matches(one, event) for one in asked) for event in shown)
        assert sum(map(len, pages)) == count, (asked, reader)

    def check_live(
        self, asked: list[dict[str, Any]], filters: list[Filter], reader: Reader, shown: list[dict[str, Any]]
    ) -> None:
        matcher = Matcher[str]()
        matcher.add("one", filters)
        for event in self.dice.sample(self.held, min(5, len(self.held))):
            told = bool(matcher.match(to_event(event))) and reader.may_read(to_event(event))
            wanted = event in shown and any(oracles.filter_matches(one, event) for one in asked)
            assert told == wanted, (asked, reader, event)


def run(cases: int, seed: int) -> int:
    """Run so many cases; returns how many there were. AssertionError with the case for the first that disagrees."""
    dice, done = Random(seed), 0
    while done < cases:
        history = History(dice)
        for _ in range(min(CASES_PER_HISTORY, cases - done)):
            history.case()
            done += 1
        history.view.db.close()
    return done


@click.command()
@click.option("--cases", default=100_000, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(cases: int, seed: int) -> None:
    """Ask stored rows, live rows and counts the same random questions, and hold each against the dumb oracle."""
    click.echo(f"{run(cases, seed)} cases agree (seed {seed})")


if __name__ == "__main__":
    main()
