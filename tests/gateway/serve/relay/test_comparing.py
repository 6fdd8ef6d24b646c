"""NIP-77 over the rows of a relayID, on real sockets, against sets compared outright; what ends one is said."""

from collections.abc import Iterator
from typing import Any

import pytest
import trio

from gateway.limits.mirror import NEG_OPEN_MAX
from gateway.negentropy import FRAME_BYTES_MIN, Item, Items
from gateway.serve.relay import comparing
from gateway.serve.relay.comparing import Comparing, ComparisonRefused, Comparisons
from tests.gateway.serve.mirror.test_service import Client, connected, mirror_url, row, served
from tests.initiator import Initiator
from tests.worker import NAME, relay_id

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


def pages() -> Iterator[list[Item]]:
    yield from ([(1, bytes([page]) * 32)] * 10 for page in range(5))


async def test_too_much_is_refused_with_the_number_that_is_not_and_nothing_stays_counted(monkeypatch):
    everything = Comparisons()
    one, other = Comparing(everything), Comparing(everything)
    await one.begin("n", pages(), 100)
    assert everything.held == 50
    monkeypatch.setattr(comparing, "NEG_ROWS_HELD_MAX", 80)
    with pytest.raises(ComparisonRefused, match="blocked: too much is being compared now"):
        await other.begin("n", pages(), 100)
    assert everything.held == 50
    with pytest.raises(ComparisonRefused, match=r"narrow the filter by time\",40\]") as refused:
        await one.begin("n", pages(), 40)
    assert refused.value.metric == "too-big"
    assert everything.held == 0


async def test_a_connection_that_ends_lets_go_of_its_comparisons():
    everything = Comparisons()
    one = Comparing(everything)
    for name in ("a", "b"):
        await one.begin(name, pages(), 100)
    assert everything.held == 100
    one.end("a")
    assert everything.held == 50
    one.leave()
    assert everything.held == 0


async def test_a_comparison_that_is_cancelled_while_it_is_prepared_holds_nothing():
    everything = Comparisons()
    one = Comparing(everything)
    with trio.CancelScope() as scope:

        def endless() -> Iterator[list[Item]]:
            for number in range(1 << 30):
                yield [(number, bytes(32))]
                if number == 5:
                    scope.cancel()

        await one.begin("n", endless(), 100)
    assert scope.cancelled_caught
    assert everything.held == 0
    with pytest.raises(ComparisonRefused, match="closed: "):
        one.answer("n", b"\x61")


async def test_others_have_their_turn_between_two_pages():
    everything = Comparisons()
    turns: list[str] = []

    def telling() -> Iterator[list[Item]]:
        for number in range(20):
            turns.append("page")
            yield [(number, bytes(32))]

    async def other() -> None:
        while turns.count("page") < 20:
            turns.append("other")
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Comparing(everything).begin, "n", telling(), 100)
        nursery.start_soon(other)
    assert "page,page,page" not in ",".join(turns)  # two tasks of one pass run in any order
