"""What may go is decided by rules alone: never more than they say, never what a view still needs, and step by step."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.errors import Corrupt
from eventlog.limits import RETENTION_STEP_RECORDS
from eventlog.retention import DAY_NS, Census, Rule, Rules, State, decode, encode, plan, steps

NOW = 1_000 * DAY_NS


def census(at: int, youngest_day: int, size: int = 100, **kinds: int) -> Census:
    payloads = {name.replace("_", "."): count for name, count in kinds.items()}
    return Census(at * 10, at * 10 + 10, size, youngest_day * DAY_NS, payloads)


ROW = [
    census(0, 100, a_one=10, b_one=10),
    census(1, 200, a_one=10),
    census(2, 900, a_one=10, b_one=10),
    census(3, 990, a_two=10),
]


def planned(rules: Rules, state: State = State(), cap: int = 40) -> State:  # noqa: B008 - frozen
    return plan(ROW, rules, state, now_ns=NOW, cap=cap, open_bytes=50)


def days(**kinds: int) -> Rules:
    return Rules(
        {name.replace("_", ".").replace("..", "."): Rule(age_ns_max=age * DAY_NS) for name, age in kinds.items()}
    )


def test_without_a_rule_everything_stays() -> None:
    assert planned(Rules()) == State()
    assert not Rules()
    assert Rules(total_bytes_max=1)


def test_a_kind_expires_by_whole_segments_with_their_youngest_record() -> None:
    assert planned(days(a_one=700)) == State(0, {"a.one": 20}, done=False)
    assert planned(days(a_one=800)) == State(0, {"a.one": 20}, done=False)
    assert planned(days(a_one=801)) == State(0, {"a.one": 10}, done=False)
    assert planned(days(a_one=901)) == State()


def test_segments_go_once_nothing_in_them_is_kept() -> None:
    both = planned(days(a_one=700, b_one=700))
    assert (both.first_seq, both.below) == (20, {"a.one": 20, "b.one": 20})
    assert planned(days(a_one=50, b_one=700)).first_seq == 20  # the third segment still holds b.one


def test_the_logs_own_records_keep_no_segment() -> None:
    row = [census(0, 100, a_one=10, log_retained=5), census(1, 100, log_erased=5), census(2, 990, a_one=10)]
    assert plan(row, days(a_one=50), State(), now_ns=NOW, cap=30, open_bytes=50).first_seq == 20


def test_a_family_is_ruled_by_its_longest_name_and_a_kind_by_its_own() -> None:
    rules = Rules({"a.": Rule(age_ns_max=5), "*": Rule(age_ns_max=7), "a.two": Rule()})
    assert [rules.of(kind).age_ns_max for kind in ("a.one", "a.two", "b.one", "log.erased")] == [5, None, 7, None]
    assert rules.age_ns_min == 5


def test_a_kinds_size_is_kept_to_by_its_youngest_payloads() -> None:
    assert planned(Rules({"a.one": Rule(bytes_max=25)})).below == {"a.one": 10}
    assert planned(Rules({"a.one": Rule(bytes_max=5)})).below == {"a.one": 30}
    assert planned(Rules({"a.one": Rule(bytes_max=30)})) == State()


def test_a_log_over_its_size_loses_its_oldest_segments_whatever_they_hold() -> None:
    assert planned(Rules(total_bytes_max=450)) == State()
    assert planned(Rules(total_bytes_max=449)).first_seq == 10
    assert planned(Rules(total_bytes_max=300)).first_seq == 20
    assert planned(Rules(total_bytes_max=1)).first_seq == 40  # the open one stays in any case


@pytest.mark.parametrize("cap", range(0, 45, 5))
def test_nothing_goes_that_a_view_would_need(cap: int) -> None:
    for rules in (Rules(total_bytes_max=1), days(a_=1, b_=1), Rules({"*": Rule(bytes_max=0)})):
        found = planned(rules, cap=cap)
        assert max([found.first_seq, *found.below.values()]) <= cap


def test_a_clock_that_jumped_ahead_keeps_what_follows() -> None:
    jumped = [ROW[0], census(1, 5_000, a_one=1), ROW[2]]
    found = plan(jumped, days(a_one=50), State(), now_ns=NOW, cap=40, open_bytes=0)
    assert found.below == {"a.one": 10}


def test_what_was_taken_before_is_not_taken_again() -> None:
    before = State(0, {"a.one": 20})
    emptied = [census(0, 100, a_one=0, b_one=10), census(1, 200, a_one=0), *ROW[2:]]
    assert plan(emptied, days(a_one=700), before, now_ns=NOW, cap=40, open_bytes=0) is before
    assert plan(ROW, days(a_one=700), before, now_ns=NOW, cap=40, open_bytes=0).done is False  # it is still there


@given(st.integers(0, 20_000), st.dictionaries(st.sampled_from(["a", "b"]), st.integers(1, 20_000)))
def test_steps_end_with_the_whole_and_never_take_much_at_once(first_seq: int, below: dict[str, int]) -> None:
    after, state = State(first_seq, below), State()
    told = list(steps(State(), after))
    assert told[-1] == after.entry()
    for entry in told:
        reached = state.joined(entry)
        for kind in ("a", "b", "c"):
            taken = reached.floor(frozenset({kind})) - state.floor(frozenset({kind}))
            assert 0 <= taken <= RETENTION_STEP_RECORDS
        state = reached
    assert state == after


def test_a_state_says_what_is_gone_and_from_where_a_view_may_be_folded() -> None:
    state = State(10, {"a.one": 30})
    assert [state.expired("a.one", seq) for seq in (9, 29, 30)] == [True, True, False]
    assert [state.expired("b.one", seq) for seq in (9, 10)] == [True, False]
    assert state.floor(frozenset({"a.one", "b.one"})) == 30
    assert state.floor(frozenset({"b.one"})) == 10


def test_the_state_is_written_down_and_read_back() -> None:
    for state in (State(), State(7, {"b": 3, "a": 9}, done=False)):
        assert decode(encode(state)) == state
    assert encode(State(1, {"b": 2, "a": 3})) == encode(State(1, {"a": 3, "b": 2}))


@given(st.binary(max_size=60))
def test_what_is_no_state_is_corrupt_and_nothing_else(data: bytes) -> None:
    with pytest.raises(Corrupt):
        decode(data)


@pytest.mark.parametrize("fields", [[-1, [], True], [0, [["a", -1]], True], [0, [["a" * 65, 1]], True], [0, 1, True]])
def test_a_state_out_of_bounds_is_corrupt(fields: list[object]) -> None:
    with pytest.raises(Corrupt):
        decode(cbor2.dumps(["heliograph-retention", 1, *fields]))
