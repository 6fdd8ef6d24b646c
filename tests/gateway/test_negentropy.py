"""Reconciliation against sets compared outright, and its messages against the protocol's own words."""

import random
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.negentropy import (
    END,
    FRAME_BYTES_MIN,
    VERSION,
    Gathering,
    Item,
    Items,
    Malformed,
    Range,
    Responder,
    Writer,
    ranges_of,
    varint,
)
from tests.initiator import Initiator

items = st.lists(st.tuples(st.integers(0, 50), st.binary(min_size=32, max_size=32)), max_size=60)


def named(number: int) -> bytes:
    return sha256(b"%d" % number).digest()


def reconciled(mine: list[Item], theirs: list[Item], frame_bytes: int = FRAME_BYTES_MIN) -> tuple[Initiator, int, int]:
    """The side that asked, and what it took: messages, bytes."""
    asking, asked = Initiator(Items(mine), frame_bytes), Responder(Items(theirs), frame_bytes)
    message: bytes | None = asking.first()
    count = size = 0
    while message is not None:
        assert len(message) <= frame_bytes
        answer = asked.answer(message)
        assert len(answer) <= frame_bytes
        count, size = count + 2, size + len(message) + len(answer)
        message = asking.learn(answer)
        assert count < 10_000, "it never ends"
    return asking, count, size


@given(items, items, items)
def test_both_differences_are_found_whatever_the_sets(both, mine, theirs):
    asking, _, _ = reconciled(both + mine, both + theirs)
    ours, other = {name for _, name in both + mine}, {name for _, name in both + theirs}
    pairs = ({*both, *mine}, {*both, *theirs})
    if len(ours | other) == len(pairs[0] | pairs[1]):  # an id has one time, as in the protocol
        assert (asking.have, asking.need) == (ours - other, other - ours)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 3, 100_000]))
def test_large_sets_of_which_many_share_a_time_are_reconciled_in_small_frames(seed, times):
    dice = random.Random(seed)
    everything = [(dice.randrange(times), named(number)) for number in range(3_000)]
    mine, theirs = everything[: dice.randrange(1, 3_000)], everything[dice.randrange(1, 3_000) :]
    asking, _, _ = reconciled(mine, theirs)
    ours, other = {name for _, name in mine}, {name for _, name in theirs}
    assert (asking.have, asking.need) == (ours - other, other - ours)


def test_what_is_equal_is_told_in_one_exchange_and_what_differs_by_little_costs_little():
    everything = [(number, named(number)) for number in range(20_000)]
    asking, count, size = reconciled(everything, everything, 60_000)
    assert (asking.have, asking.need, count) == (set(), set(), 2)
    assert size < 600
    asking, _, size = reconciled(everything[5:], everything[:-5], 60_000)
    assert len(asking.have) == len(asking.need) == 5
    assert size < 10_000


@given(items)
def test_a_fingerprint_is_the_sum_of_ids_and_their_count(some):
    kept = Items(some)
    everything = sorted(set(some))
    assert len(kept) == len(everything)
    for begin, end in ((0, len(kept)), (len(kept) // 3, len(kept) // 2), (0, 0)):
        total = sum(int.from_bytes(name, "little") for _, name in everything[begin:end]) % 2**256
        count = end - begin
        assert kept.fingerprint(begin, end) == sha256(total.to_bytes(32, "little") + bytes([count])).digest()[:16]
        assert kept.ids(begin, end) == [name for _, name in everything[begin:end]]
        bound = kept.bound(end)
        assert kept.find(bound, 0) == end


def test_numbers_and_bounds_are_written_as_the_protocol_says():
    assert (varint(0), varint(127), varint(128), varint(300)) == (b"\x00", b"\x7f", b"\x81\x00", b"\x82\x2c")
    writer = Writer()
    writer.skip((5, b""))
    writer.add(Range((7, b"\xab"), ids=(b"\x01" * 32,)))
    writer.add(Range(END, fingerprint=b"f" * 16))
    message = writer.done()
    assert message == b"\x61" + b"\x06\x00\x00" + b"\x03\x01\xab\x02\x01" + b"\x01" * 32 + b"\x00\x00\x01" + b"f" * 16
    assert ranges_of(message) == [
        Range((5, b"")), Range((7, b"\xab"), ids=(b"\x01" * 32,)), Range(END, fingerprint=b"f" * 16),
    ]  # fmt: skip


def test_an_empty_message_of_another_version_is_answered_with_ours():
    responder = Responder(Items([]), FRAME_BYTES_MIN)
    assert responder.answer(b"\x62abc") == bytes([VERSION])
    assert responder.answer(bytes([VERSION])) == bytes([VERSION])


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (b"", "not a message"),
        (b"\x00", "not a message"),
        (b"\x61\x05", "too early"),
        (b"\x61\x05\x00\x03", "mode 3"),
        (b"\x61\x05\x00\x02\x02" + bytes(32), "too early"),
        (b"\x61\x05\x00\x02" + b"\xff" * 12, "64 bits"),
        (b"\x61\x05\x21" + bytes(33), "at most 32"),
        (b"\x61\x05\x01\x09\x00\x01\x01\x08\x00", "order"),
    ],
    ids=["nothing", "version", "bound", "mode", "list", "number", "prefix", "order"],
)
def test_what_is_no_message_is_said_to_be_none(message, what):
    with pytest.raises(Malformed, match=what):
        Responder(Items([]), FRAME_BYTES_MIN).answer(message)


@given(st.binary(max_size=200), items)
def test_any_bytes_are_answered_or_malformed(noise, some):
    try:
        answer = Responder(Items(some), FRAME_BYTES_MIN).answer(b"\x61" + noise)
    except Malformed:
        return
    assert len(answer) <= FRAME_BYTES_MIN


def gathered(pages: list[list[Item]]) -> Items:
    gathering = Gathering()
    for page in pages:
        gathering.add(page)
    for _ in gathering.ready():
        pass
    return gathering.items


def content(one: Items) -> list[bytes]:
    return one.ids(0, len(one))


@given(items, st.lists(st.integers(1, 9), min_size=60, max_size=60), st.booleans())
def test_a_set_that_is_gathered_in_pages_is_the_set_whatever_their_order(held, sizes, newest_first):
    ordered = sorted(held, key=lambda item: (-item[0], item[1])) if newest_first else held
    pages, at = [], 0
    for size in sizes:
        pages.append(ordered[at : at + size])
        at += size
    made, wanted = gathered(pages), Items(held)
    assert content(made) == content(wanted)
    for begin in range(0, len(made) + 1, 7):
        assert made.fingerprint(begin, len(made)) == wanted.fingerprint(begin, len(made))
        assert made.bound(begin) == wanted.bound(begin)


def test_a_set_is_gathered_with_pauses_between_short_steps():
    pages = [[(10**6 - number, named(number)) for number in range(at, at + 500)] for at in range(0, 50_000, 500)]
    gathering = Gathering()
    for page in pages:
        gathering.add(page)
    assert sum(1 for _ in gathering.ready()) > 10
    assert content(gathering.items) == content(Items(item for page in pages for item in page))


@given(items, st.integers(0, 70))
def test_the_newest_of_a_set_are_those_that_a_limit_keeps(held, count):
    kept = sorted(set(held), key=lambda item: (-item[0], item[1]))[:count]
    assert content(Items(held).newest(count)) == content(Items(kept))
