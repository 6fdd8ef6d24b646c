"""Of what was noted, what is known already and what came twice is left out: rows and keys alike."""

from gateway.views import eventkeys
from gateway.views.eventkeys import mark_of
from gateway.views.freshrows import FreshRows
from tests.gateway.views.test_eventkeys import order_of
from tests.signing import signed


def test_an_event_has_a_row_and_a_key_for_every_way_in_which_it_is_found() -> None:
    event = signed(tags=[["t", "x"], ["t", "x"], ["p", "y"], ["long", "z"]], created_at=9)
    fresh = FreshRows([(7, 1, 2, event, None)])
    mark = mark_of(9, event.id)
    tags = [eventkeys.tag_key(1, "t", "x"), eventkeys.tag_key(1, "p", "y")]
    assert fresh.rows == [
        (7, 1, 2, 1, 9, mark.tie, mark.half, b"".join(sorted(tags)), None, bytes.fromhex(event.id)[16:])
    ]
    assert fresh.orders == [order_of(9, event.id, 7)]
    streams = [eventkeys.time_line(1), eventkeys.of_kind(1, 1), eventkeys.of_author_kind(1, 2, 1)]
    assert set(fresh.keys) == {
        prefix + fresh.orders[0] for prefix in [*streams, *(eventkeys.of_tag(tag) for tag in tags)]
    }
    assert fresh.ids == [eventkeys.of_id(mark.half, 1) + (7).to_bytes(6, "big")]


def test_of_several_of_one_name_the_first_stays_with_its_keys_alone() -> None:
    one, two = signed(content="1", tags=[["t", "x"]]), signed(content="2", tags=[["t", "x"]])
    fresh = FreshRows([(seq, 1, 2, event, None) for seq, event in enumerate((one, two, one, two))])
    left = fresh.without({fresh.names[1]})
    assert [row[0] for row in left.rows] == eventkeys.seqs_of(left.orders) == eventkeys.seqs_of(left.ids) == [0]
    assert eventkeys.seqs_of(left.keys) == [0] * 4
    assert left.prefixes == fresh.prefixes[:1]
