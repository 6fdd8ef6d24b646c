"""What is compared after a cut: together always everything, and everything not too often."""

from gateway.client.paging import Pages
from gateway.client.standing import Standing, Sweep
from gateway.limits.client import SYNC_PAUSE_WHOLE_S_MAX, SYNC_SHARE, SYNC_WINDOW_S

NOW_MS = 1_800_000_000_000


def level_at(now_ms: int, asked: dict[str, object], cost_s: float = 1.0) -> Standing:
    standing = Standing(asked)
    assert standing.first(now_ms).asked == asked
    standing.level(now_ms, cost_s)
    return standing


def rest_of(standing: Standing, now_ms: int = NOW_MS) -> object:
    rest = standing.rest(now_ms)
    return None if rest is None else rest.asked


def read_some(sweep: Sweep) -> None:
    """What a way notes when a page is answered."""
    sweep.read["down"] = Pages(sweep.asked)


def test_at_first_and_after_a_cut_before_the_end_everything_is_compared() -> None:
    standing = Standing({"kinds": [1]})
    assert standing.first(NOW_MS).asked == {"kinds": [1]}
    assert not standing.was_level
    standing.lost(NOW_MS + 1)
    assert standing.first(NOW_MS + 2).asked == {"kinds": [1]}
    assert rest_of(standing) is None


def test_window_and_rest_are_everything_and_the_window_begins_before_the_cut() -> None:
    standing = level_at(NOW_MS, {"kinds": [1]})
    cut_ms = NOW_MS + 7_200_000
    standing.lost(cut_ms)
    standing.lost(cut_ms + 60_000)  # a connection that never got level
    begin_s = cut_ms // 1000 - SYNC_WINDOW_S
    assert standing.first(cut_ms + 120_000).asked == {"kinds": [1], "since": begin_s}
    standing.level(cut_ms + 120_000, 0.1)
    assert rest_of(standing) == {"kinds": [1], "until": begin_s - 1}
    standing.paid(cut_ms + 130_000, 1.0)
    assert rest_of(standing) is None


def test_a_cut_before_the_rest_was_compared_leaves_it_owed() -> None:
    standing = level_at(NOW_MS, {})
    standing.lost(NOW_MS + 1_000)
    standing.first(NOW_MS + 2_000)
    standing.level(NOW_MS + 2_000, 0.1)
    standing.lost(NOW_MS + 50_000)
    begin_s = standing.first(NOW_MS + 51_000).asked["since"]
    standing.level(NOW_MS + 51_000, 0.1)
    assert rest_of(standing) == {"until": begin_s - 1}


def test_comparisons_of_everything_take_a_small_share_of_the_time() -> None:
    standing = level_at(NOW_MS, {}, cost_s=6.0)
    assert standing.rest_in_s(NOW_MS + 20_000) == SYNC_SHARE * 6.0 - 20
    assert standing.rest_in_s(NOW_MS + 10**7) == 0
    assert standing.rest_in_s(NOW_MS - 10**9) == SYNC_SHARE * 6.0  # the clock was put back
    assert level_at(NOW_MS, {}, cost_s=9_000.0).rest_in_s(NOW_MS) == SYNC_PAUSE_WHOLE_S_MAX
    assert level_at(NOW_MS, {}, cost_s=0.0).rest_in_s(NOW_MS) == 0


def test_what_no_window_can_be_cut_from_is_compared_whole() -> None:
    late_s = NOW_MS // 1000
    for asked in ({"limit": 10}, {"since": late_s}, {"until": late_s - 10 * SYNC_WINDOW_S}):
        standing = level_at(NOW_MS, asked)
        standing.lost(NOW_MS + 1_000)
        assert standing.first(NOW_MS + 2_000).asked == asked
        standing.level(NOW_MS + 2_000, 1.0)
        assert rest_of(standing) is None


def test_a_filters_own_times_bound_window_and_rest() -> None:
    asked = {"since": 5, "until": 2 * NOW_MS // 1000}
    standing = level_at(NOW_MS, asked)
    standing.lost(NOW_MS)
    window = standing.first(NOW_MS).asked
    assert window == {"since": NOW_MS // 1000 - SYNC_WINDOW_S, "until": asked["until"]}
    assert rest_of(standing) == {"since": 5, "until": window["since"] - 1}


def test_going_on_behind_cursors_leaves_nothing_owed() -> None:
    standing = level_at(NOW_MS, {"relayID": "ab"})
    standing.lost(NOW_MS + 1_000)
    standing.level(NOW_MS + 2_000, 0.0)
    assert rest_of(standing) is None
    standing.cursors["up"] = "place"
    standing.strayed("up")
    standing.strayed("up")
    assert standing.cursors == {}


def test_a_cursor_that_was_told_before_all_was_level_is_no_place_to_go_on_from() -> None:
    standing = Standing({"relayID": "ab"})
    for way in ("down", "up"):
        assert standing.follows(way) is None
        standing.cursors[way] = "first"
    standing.lost(NOW_MS)
    assert standing.follows("up") is None
    standing.cursors["up"] = "second"
    standing.level(NOW_MS, 1.0)
    standing.lost(NOW_MS)
    assert standing.follows("up") == "second"
    assert standing.follows("down") is None  # the log did not know it any more
    standing.cursors["down"] = "third"
    standing.cursors["up"] = "fourth"
    standing.lost(NOW_MS)  # before the window was compared
    assert standing.cursors == {"up": "fourth"}


def test_what_was_read_in_pages_goes_on_after_a_cut_and_what_was_compared_begins_anew() -> None:
    standing = Standing({})
    first = standing.first(NOW_MS)
    standing.lost(NOW_MS)
    again = standing.first(NOW_MS + 1)
    assert again is not first
    assert standing.swept(NOW_MS + 2)
    again = standing.first(NOW_MS + 3)
    read_some(again)
    standing.lost(NOW_MS + 4)
    assert standing.first(NOW_MS + 5) is again
    assert again.is_patched


def test_what_was_patched_counts_as_of_its_begin() -> None:
    standing = Standing({"kinds": [1]})
    read_some(standing.first(NOW_MS))
    cut_ms = NOW_MS + 7_200_000
    standing.lost(cut_ms)
    standing.first(cut_ms)
    assert not standing.swept(cut_ms)
    begin_s = NOW_MS // 1000 - SYNC_WINDOW_S
    window = standing.first(cut_ms)
    assert window.asked == {"kinds": [1], "since": begin_s}
    assert standing.swept(cut_ms)
    standing.level(cut_ms, 0.1)
    rest = standing.rest(cut_ms)
    assert rest is not None
    assert rest.asked == {"kinds": [1], "until": begin_s - 1}
    assert standing.rest_in_s(cut_ms) == SYNC_PAUSE_WHOLE_S_MAX  # it took two hours


def test_a_rest_that_was_patched_is_owed_once_more() -> None:
    standing = level_at(NOW_MS, {})
    standing.lost(NOW_MS)
    standing.first(NOW_MS)
    standing.level(NOW_MS, 0.1)
    rest = standing.rest(NOW_MS)
    assert rest is not None
    read_some(rest)
    standing.lost(NOW_MS + 1_000)
    standing.first(NOW_MS + 2_000)
    standing.level(NOW_MS + 2_000, 0.1)
    assert standing.rest(NOW_MS + 2_000) is rest
    standing.paid(NOW_MS + 3_000, 0.1)
    assert standing.rest_in_s(NOW_MS + 3_000) == SYNC_SHARE * 3.0
    assert rest_of(standing) is not None
    standing.paid(NOW_MS + 4_000, 0.1)
    assert rest_of(standing) is None


def test_what_was_patched_and_gives_no_window_is_owed_whole() -> None:
    standing = Standing({"limit": 10})
    read_some(standing.first(NOW_MS))
    standing.lost(NOW_MS)
    standing.first(NOW_MS)
    assert standing.swept(NOW_MS)
    standing.level(NOW_MS, 0.1)
    assert rest_of(standing) == {"limit": 10}
