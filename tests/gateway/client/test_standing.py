"""What is compared after a cut: together always everything, and everything not too often."""

from gateway.client.standing import Standing
from gateway.limits.client import SYNC_PAUSE_WHOLE_S_MAX, SYNC_SHARE, SYNC_WINDOW_S

NOW_MS = 1_800_000_000_000


def level_at(now_ms: int, asked: dict[str, object], cost_s: float = 1.0) -> Standing:
    standing = Standing(asked)
    assert standing.first(now_ms) == asked
    standing.level(now_ms, cost_s)
    return standing


def test_at_first_and_after_a_cut_before_the_end_everything_is_compared() -> None:
    standing = Standing({"kinds": [1]})
    assert standing.first(NOW_MS) == {"kinds": [1]}
    assert not standing.was_level
    standing.lost(NOW_MS + 1)
    assert standing.first(NOW_MS + 2) == {"kinds": [1]}
    assert standing.rest() is None


def test_window_and_rest_are_everything_and_the_window_begins_before_the_cut() -> None:
    standing = level_at(NOW_MS, {"kinds": [1]})
    cut_ms = NOW_MS + 7_200_000
    standing.lost(cut_ms)
    standing.lost(cut_ms + 60_000)  # a connection that never got level
    begin_s = cut_ms // 1000 - SYNC_WINDOW_S
    assert standing.first(cut_ms + 120_000) == {"kinds": [1], "since": begin_s}
    standing.level(cut_ms + 120_000, 0.1)
    assert standing.rest() == {"kinds": [1], "until": begin_s - 1}
    standing.paid(cut_ms + 130_000, 1.0)
    assert standing.rest() is None


def test_a_cut_before_the_rest_was_compared_leaves_it_owed() -> None:
    standing = level_at(NOW_MS, {})
    standing.lost(NOW_MS + 1_000)
    standing.first(NOW_MS + 2_000)
    standing.level(NOW_MS + 2_000, 0.1)
    standing.lost(NOW_MS + 50_000)
    begin_s = standing.first(NOW_MS + 51_000)["since"]
    standing.level(NOW_MS + 51_000, 0.1)
    assert standing.rest() == {"until": begin_s - 1}


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
        assert standing.first(NOW_MS + 2_000) == asked
        standing.level(NOW_MS + 2_000, 1.0)
        assert standing.rest() is None


def test_a_filters_own_times_bound_window_and_rest() -> None:
    asked = {"since": 5, "until": 2 * NOW_MS // 1000}
    standing = level_at(NOW_MS, asked)
    standing.lost(NOW_MS)
    window = standing.first(NOW_MS)
    assert window == {"since": NOW_MS // 1000 - SYNC_WINDOW_S, "until": asked["until"]}
    assert standing.rest() == {"since": 5, "until": window["since"] - 1}


def test_going_on_behind_cursors_leaves_nothing_owed() -> None:
    standing = level_at(NOW_MS, {"relayID": "ab"})
    standing.lost(NOW_MS + 1_000)
    standing.level(NOW_MS + 2_000, 0.0)
    assert standing.rest() is None
    standing.cursors["up"] = "place"
    standing.strayed("up")
    standing.strayed("up")
    assert standing.cursors == {}
