"""A share of the filter fuzz; the whole of it is run by hand."""

from tests.fuzz.agreement import run


def test_stored_rows_live_rows_and_counts_agree_with_a_dumb_matcher() -> None:
    assert run(cases=5_000, seed=20_261_122) == 5_000
