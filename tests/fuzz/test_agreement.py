"""The filter fuzz: 100,000 questions, each held against the dumb matcher."""

from tests.fuzz.agreement import run


def test_stored_rows_live_rows_counts_and_comparisons_agree_with_a_dumb_matcher() -> None:
    assert run(cases=100_000, seed=20_261_122) >= 100_000
