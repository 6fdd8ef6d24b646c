"""What was read of the index lately: found again, within a limit, and not after it was taken away."""

from gateway.views.keptrows import KeptRows


def test_what_was_kept_is_found_until_it_is_taken_away() -> None:
    kept: KeptRows[str] = KeptRows(10)
    kept.keep({1: "a", 2: "b", 3: "c"})
    kept.forget([2, 9])
    assert kept.of([3, 2, 1, 3]) == ["c", None, "a", "c"]
    kept.clear()
    assert kept.of([1, 3]) == [None, None]


def test_at_the_limit_all_go_but_those_that_were_just_read() -> None:
    kept: KeptRows[str] = KeptRows(3)
    kept.keep({1: "a", 2: "b"})
    kept.keep({3: "c", 4: "d"})
    assert kept.of([1, 2, 3, 4]) == [None, None, "c", "d"]
    kept.keep(dict.fromkeys(range(4), "e"))
    assert kept.of([0, 3]) == [None, None]
