"""What was carried: echoes, what needs no second try, and whether anything is new."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client import carried as carried_
from gateway.client.carried import Carried


def name(number: int) -> str:
    return sha256(str(number).encode()).hexdigest()


def carry(carried: Carried, *numbers: int, is_accepted: bool = True) -> None:
    names = [name(number) for number in numbers]
    carried.send(names)
    carried.answer(dict.fromkeys(names, (is_accepted, "")))


def test_what_is_on_its_way_is_an_echo_when_it_comes_and_not_answered() -> None:
    carried = Carried()
    carried.send([name(1), name(2)])
    carried.answer({name(1): (True, "")})
    assert name(1) in carried
    assert name(2) in carried
    assert [carried.is_answered(name(one)) for one in (1, 2, 3)] == [True, False, False]
    carried.lose([name(1), name(2)])
    assert name(1) in carried
    assert name(2) not in carried


def test_answers_hold_until_all_is_in_step_and_echoes_longer() -> None:
    carried = Carried()
    carry(carried, 1)
    carry(carried, 2, is_accepted=False)
    carried.connected()
    assert carried.is_answered(name(1))
    assert carried.is_answered(name(2))
    carried.in_step()
    assert not carried.is_answered(name(1))
    assert name(1) in carried


def test_what_was_accepted_on_an_earlier_connection_and_is_missing_was_dropped_and_this_is_said_once() -> None:
    carried = Carried()
    carry(carried, 1)
    carry(carried, 2, is_accepted=False)
    assert not carried.is_dropped(name(1))
    carried.connected()
    assert [carried.is_dropped(name(one)) for one in (1, 1, 2, 3)] == [True, False, False, False]
    assert carried.is_answered(name(1))


def test_the_latest_are_known_and_the_oldest_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carried_, "SYNC_RECENT_MAX", 3)
    carried = Carried()
    for number in range(5):
        carry(carried, number)
    assert [name(number) in carried for number in range(5)] == [False, False, True, True, True]


@given(st.lists(st.integers(0, 60)))
def test_there_is_news_no_more_often_than_there_are_events_in_whatever_order_they_come_again(some: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(carried_, "SYNC_NEWS_MAX", 8)
        patch.setattr(carried_, "SYNC_RECENT_MAX", 4)
        carried = Carried()
        for number in some:
            carry(carried, number)
    few = set(some)
    assert carried.news <= len(few)
    if len(few) <= 8:
        assert carried.news == len(few)


def test_of_many_more_than_are_remembered_there_still_is_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carried_, "SYNC_NEWS_MAX", 512)
    carried = Carried()
    for lot in range(20):
        before = carried.news
        carry(carried, *range(100 * lot, 100 * lot + 100))
        assert carried.news > before
    carried.in_step()
    before = carried.news
    carry(carried, 7)
    assert carried.news == before + 1
