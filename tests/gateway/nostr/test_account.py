"""An account lets through what its budget says, and is full again after a second."""

import pytest

from gateway.nostr.account import Account, Budget


def taken(account: Account, sizes: list[int], now_ms: int) -> int:
    return sum(account.take(size, now_ms) for size in sizes)


def test_no_budget_is_no_limit() -> None:
    account = Account(Budget())
    assert taken(account, [10**9] * 1_000, 0) == 1_000
    assert not account.is_full


@pytest.mark.parametrize("start_ms", [0, 1_763_126_872_000])
def test_a_burst_of_one_second_then_the_rate(start_ms: int) -> None:
    account = Account(Budget(messages_per_s=10))
    assert taken(account, [1] * 30, start_ms) == 10
    assert taken(account, [1] * 30, start_ms + 300) == 3
    assert taken(account, [1] * 30, start_ms + 60_000) == 10


def test_a_large_message_passes_once_and_is_paid_for_afterwards() -> None:
    account = Account(Budget(bytes_per_s=100))
    assert taken(account, [350, 1], 0) == 1
    assert taken(account, [1], 2_000) == 0
    assert taken(account, [1], 2_600) == 1


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    account = Account(Budget(messages_per_s=2))
    assert taken(account, [1], 5_000) == 1
    assert taken(account, [1, 1], 1_000) == 1


def test_an_account_is_full_at_its_last_subscription() -> None:
    account = Account(Budget(subscriptions=2))
    account.subscriptions = 1
    assert not account.is_full
    account.subscriptions = 2
    assert account.is_full
