"""Keys sort as readers want to see events: the newest first, of one second the lowest id."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.nostr.event import Event
from gateway.views import eventkeys
from gateway.views.eventkeys import mark_of
from tests.signing import signed


def order_of(created: int, event_id: str, seq: int) -> bytes:
    """What stands behind every prefix of an event, put together by hand."""
    return eventkeys.from_time(created) + bytes.fromhex(event_id[:16]) + seq.to_bytes(6, "big")


EVENTS = st.tuples(st.integers(0, 2**53 - 1), st.binary(min_size=32, max_size=32).map(bytes.hex))


@given(st.lists(EVENTS, max_size=20))
def test_orders_sort_as_nip_01_says(events: list[tuple[int, str]]) -> None:
    orders = {order_of(at, name, 5): (-at, name[:16]) for at, name in events}
    assert [orders[order] for order in sorted(orders)] == sorted(orders.values())


@given(EVENTS, st.integers(0, 2**53 - 1), st.integers(0, 2**48 - 1))
def test_a_stretch_of_time_begins_and_ends_with_its_seconds(event: tuple[int, str], at: int, seq: int) -> None:
    order = order_of(*event, seq)
    assert (order > eventkeys.from_time(at)) == (event[0] <= at)
    assert (order <= eventkeys.back_to(at)) == (event[0] >= at)
    assert eventkeys.seqs_of([order]) == [seq]


def test_streams_have_prefixes_of_one_length_and_never_the_same() -> None:
    tag = eventkeys.tag_key(1, "t", "x")
    prefixes = [
        eventkeys.time_line(1),
        eventkeys.time_line(2),
        eventkeys.of_kind(1, 0),
        eventkeys.of_kind(1, 65_535),
        eventkeys.of_author_kind(1, 0, 0),
        eventkeys.of_author_kind(1, 1, 65_535),
        eventkeys.of_tag(tag),
    ]
    assert eventkeys.streams(1, 1, 65_535) == (prefixes[0], prefixes[3], prefixes[5])
    assert {len(prefix) for prefix in prefixes} == {eventkeys.PREFIX_BYTES}
    assert len(set(prefixes)) == len(prefixes)
    assert eventkeys.of_author_kind(1, 1, 65_535).startswith(eventkeys.of_author(1, 1))


def test_a_tag_is_another_in_another_relay_and_under_another_letter() -> None:
    keys = [eventkeys.tag_key(relay, letter, "x") for relay in (1, 2) for letter in "tT"]
    assert len(set(keys)) == 4
    assert eventkeys.tag_keys(b"".join(keys)) == set(keys)


def test_an_id_is_looked_up_by_its_middle_since_its_beginning_may_be_proof_of_work() -> None:
    event: Event = signed()
    prefix = eventkeys.of_id(mark_of(0, event.id).half, 7)
    assert prefix == bytes.fromhex(event.id)[8:16] + b"\0\0\0\7"
    assert eventkeys.of_ids([event.id, "0" * 64], 7) == [prefix, bytes(8) + b"\0\0\0\7"]
