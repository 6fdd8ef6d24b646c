"""NIP-77 over the rows of a relayID, on real sockets, against sets compared outright; what ends one is said."""

import sqlite3
from typing import Any

import pytest

from gateway.limits.mirror import NEG_OPEN_MAX, NEG_ROWS_MAX
from gateway.negentropy import FRAME_BYTES_MIN, Initiator, Items
from gateway.replication.filter import filter_of
from gateway.replication.session import Compare, CompareEnd
from gateway.serve import comparing
from gateway.serve.comparing import Comparing, ComparisonRefused, Comparisons
from gateway.views.rows import RowsView
from tests.gateway.serve.test_mirror import Client, connected, mirror_url, row, served
from tests.worker import KEY, NAME, relay_id

RELAY_ID = relay_id(NAME)
FIRST = "61"  # a message without ranges


def item(number: int) -> tuple[int, bytes]:
    fields = row(number)
    return fields["created_at"], bytes.fromhex(fields["id"])


async def compared(client: Client, mine: list[int], **fields: Any) -> tuple[set[int], set[int]]:
    """What only we have, and what only the gateway has."""
    asking = Initiator(Items(map(item, mine)), FRAME_BYTES_MIN)
    await client.send("NEG-OPEN", "n", {"relayID": RELAY_ID, **fields}, asking.first().hex())
    while True:
        kind, sub, answer = await client.get()
        assert (kind, sub) == ("NEG-MSG", "n")
        message = asking.learn(bytes.fromhex(answer))
        if message is None:
            await client.send("NEG-CLOSE", "n")
            return {int(name.hex(), 16) for name in asking.have}, {int(name.hex(), 16) for name in asking.need}
        await client.send("NEG-MSG", "n", message.hex())


async def test_both_differences_are_found_and_only_of_what_was_asked_for():
    async with served() as (_, worker), connected(await mirror_url(worker)) as client:
        await client.send("EVENTS", [row(number, kind=number % 2) for number in range(1, 301)])
        assert (await client.get())[0] == "OKS"
        mine = [*range(1, 200), *range(400, 450)]
        assert await compared(client, mine) == ({*range(400, 450)}, {*range(200, 301)})
        assert await compared(client, [], kinds=[1]) == (set(), {*range(1, 301, 2)})
        assert await compared(client, [], since=row(100)["created_at"], until=row(110)["created_at"]) == (
            set(), {*range(100, 111)},
        )  # fmt: skip
        assert await compared(client, [], limit=10) == (set(), {*range(291, 301)})
        assert await compared(client, [], authors=["a"]) == (set(), set())
        await client.nothing()


async def error(client: Client, *frame: Any) -> str:
    await client.send(*frame)
    kind, _, reason = await client.get()
    assert kind == "NEG-ERR"
    return str(reason)


async def test_what_ends_a_comparison_is_said_in_a_neg_err():
    async with served() as (gateway, worker), connected(await mirror_url(worker)) as client:
        asked = {"relayID": RELAY_ID}
        assert (await error(client, "NEG-OPEN", "n", {}, FIRST)).startswith("replication-required: ")
        assert (await error(client, "NEG-OPEN", "n", {"relayID": "cd" * 32}, FIRST)).startswith("relay-mismatch: ")
        assert (await error(client, "NEG-OPEN", "n", asked, "xy")).startswith("invalid: ")
        assert (await error(client, "NEG-OPEN", "n", asked, "00")).startswith("invalid: not a message")
        assert (await error(client, "NEG-OPEN", "n", {**asked, "after": ""}, FIRST)).startswith("invalid: ")
        assert (await error(client, "NEG-MSG", "n", FIRST)).startswith("closed: ")
        await client.send("NEG-OPEN", "n", asked)
        assert (await client.get())[0] == "NOTICE"
        for number in range(NEG_OPEN_MAX):
            await client.send("NEG-OPEN", f"n{number}", asked, FIRST)
            assert await client.get() == ["NEG-MSG", f"n{number}", FIRST]
        assert (await error(client, "NEG-OPEN", "more", asked, FIRST)).startswith("blocked: ")
        await client.send("NEG-OPEN", "n0", asked, FIRST)  # in place of the one of this id
        assert (await client.get())[0] == "NEG-MSG"
        assert gateway.gateway.mirror.comparisons.held == 0


class Rows(RowsView):
    """A view whose rows are made up."""

    def identities(self, relay_key, each, visible, count):
        yield from ([(1, bytes([page]) * 32)] * 10 for page in range(5))


def comparison(sub_id: str = "n") -> Compare:
    return Compare(sub_id, filter_of({"relayID": RELAY_ID}, limit_default=100, limit_max=100), b"\x61")


async def test_too_many_rows_are_refused_with_the_number_that_is_not_and_nothing_stays_counted(monkeypatch):
    everything = Comparisons(Rows(sqlite3.connect(":memory:")))
    one, other = Comparing(everything, KEY), Comparing(everything, KEY)
    await one.take(comparison(), frozenset({False}))
    assert everything.held == 50
    monkeypatch.setattr(comparing, "NEG_ROWS_HELD_MAX", 80)
    with pytest.raises(ComparisonRefused, match="blocked: too many rows are being compared"):
        await other.take(comparison(), frozenset({False}))
    assert everything.held == 50
    monkeypatch.setattr(comparing, "NEG_ROWS_MAX", 40)
    await one.take(CompareEnd("n"), frozenset({False}))
    with pytest.raises(ComparisonRefused, match=r"narrow the filter by time\",40\]") as refused:
        await one.take(comparison(), frozenset({False}))
    assert refused.value.metric == "too-big"
    assert everything.held == 0
    assert NEG_ROWS_MAX > 1_000_000


async def test_a_connection_that_ends_lets_go_of_its_comparisons():
    everything = Comparisons(Rows(sqlite3.connect(":memory:")))
    one = Comparing(everything, KEY)
    for name in ("a", "b"):
        await one.take(comparison(name), frozenset({False}))
    assert everything.held == 100
    one.leave()
    assert everything.held == 0
