"""Turns: fair over tenants, complete, and nothing twice; against a source that is a plain dictionary."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.push import LANE_ITEMS_MAX
from gateway.push.turns import Delivery, Turns


def delivery(seq: int, tenant: str = "a", project: str = "p", index: int = 0) -> Delivery:
    return Delivery(seq, index, tenant, project, f"t{seq}", "token", 0, 10**9, seq)


class Pending:
    """The slow source: everything pending, in order."""

    def __init__(self, *held: Delivery) -> None:
        self.held = {one.key: one for one in held}
        self.reads = 0

    def ready(self, tenant: str, project: str, now_ms: int, limit: int) -> Sequence[Delivery]:
        self.reads += 1
        return [
            self.held[k] for k in sorted(self.held) if (self.held[k].tenant, self.held[k].project) == (tenant, project)
        ][:limit]


def test_tenants_take_turns_whatever_their_backlog() -> None:
    turns = Turns(Pending(), slots=100)
    for seq in range(50):
        turns.offer(delivery(seq, "big"))
    turns.offer(delivery(100, "small"))
    turns.offer(delivery(101, "other"))
    first = [turns.next(0) for _ in range(4)]
    assert {one.tenant for one in first if one} == {"big", "small", "other"}


def test_a_backlog_beyond_the_window_is_read_from_the_source_and_none_is_lost() -> None:
    everything = [delivery(seq) for seq in range(3 * LANE_ITEMS_MAX)]
    source = Pending(*everything)
    turns, handed = Turns(source, slots=1000), []
    for one in everything:
        turns.offer(one)
    while (one := turns.next(0)) is not None:
        handed.append(one.seq)
        turns.landed(one)
        del source.held[one.key]
        turns.forget(one)
    assert handed == [one.seq for one in everything]


def test_a_window_that_is_wholly_in_flight_hides_nothing_behind_it() -> None:
    everything = [delivery(seq) for seq in range(LANE_ITEMS_MAX + 1)]
    turns = Turns(Pending(*everything), slots=10 * LANE_ITEMS_MAX)
    turns.mark("a", "p")
    assert [turns.next(0) for _ in everything] == everything, "none has an outcome yet, so the source shows them all"


def test_one_tenant_leaves_a_share_of_the_slots_to_others() -> None:
    turns = Turns(Pending(), slots=4)
    for seq in range(10):
        turns.offer(delivery(seq, "big"))
    flying = [turns.next(0) for _ in range(5)]
    assert [one is not None for one in flying] == [True, True, True, False, False]
    turns.offer(delivery(99, "small"))
    found = turns.next(0)
    assert found is not None
    assert found.tenant == "small"
    assert flying[0] is not None
    turns.landed(flying[0])
    assert turns.next(0) is not None


def test_a_project_that_admits_none_is_passed_over() -> None:
    turns = Turns(Pending(), slots=10)
    turns.offer(delivery(1, "a", "slow"))
    turns.offer(delivery(2, "a", "fast"))
    found = turns.next(0, lambda project: project != "slow")
    assert found is not None
    assert found.project == "fast"
    assert turns.next(0, lambda project: project != "slow") is None
    assert turns.are_due
    assert turns.next(0) == delivery(1, "a", "slow")
    assert not turns.are_due


def test_what_was_put_back_goes_first_and_what_was_offered_twice_goes_once() -> None:
    turns = Turns(Pending(), slots=10)
    turns.offer(delivery(1))
    turns.offer(delivery(1))
    turns.offer(delivery(2))
    one = turns.next(0)
    assert one is not None
    turns.landed(one)
    turns.put_back(one)
    assert [turns.next(0), turns.next(0), turns.next(0)] == [delivery(1), delivery(2), None]


def test_a_delivery_is_withdrawn_while_it_waits_and_not_once_it_flies() -> None:
    turns = Turns(Pending(), slots=10)
    turns.offer(delivery(1))
    turns.offer(delivery(2))
    flying = turns.next(0)
    assert flying == delivery(1)
    assert not turns.withdraw(delivery(1))
    assert turns.withdraw(delivery(2))
    assert not turns.withdraw(delivery(2))
    assert turns.withdraw(delivery(3))  # it was never read in
    assert turns.next(0) is None


steps = st.lists(
    st.tuples(st.sampled_from(["offer", "next", "land", "forget", "back", "mark", "withdraw"]), st.integers(0, 3)),
    max_size=120,
)


class Crowd:
    """Drives turns and remembers, plainly, what was handed out and what is left."""

    def __init__(self) -> None:
        self.source = Pending()
        self.turns = Turns(self.source, slots=3)
        self.flying: list[Delivery] = []
        self.landed: list[Delivery] = []
        self.handed: set[tuple[int, int]] = set()

    def offer(self, seq: int, which: int) -> None:
        one = delivery(seq, "abcd"[which])
        self.source.held[one.key] = one
        self.turns.offer(one)

    def mark(self, seq: int, which: int) -> None:
        self.turns.mark("abcd"[which], "p")

    def next(self, seq: int, which: int) -> None:
        if (found := self.turns.next(0)) is not None:
            assert found.key not in self.handed
            self.handed.add(found.key)
            self.flying.append(found)

    def land(self, seq: int, which: int) -> None:
        if self.flying:
            self.landed.append(self.flying.pop(which % len(self.flying)))
            self.turns.landed(self.landed[-1])

    def back(self, seq: int, which: int) -> None:
        if self.flying:
            one = self.flying.pop(which % len(self.flying))
            self.turns.landed(one)
            self.handed.discard(one.key)
            self.turns.put_back(one)

    def forget(self, seq: int, which: int) -> None:
        if self.landed:
            one = self.landed.pop()
            del self.source.held[one.key]
            self.handed.discard(one.key)
            self.turns.forget(one)

    def withdraw(self, seq: int, which: int) -> None:
        if self.source.held:
            one = self.source.held[sorted(self.source.held)[which % len(self.source.held)]]
            assert self.turns.withdraw(one) == (one.key not in self.handed)
            if one.key not in self.handed:
                self.handed.add(one.key)
                self.landed.append(one)


@given(steps)
def test_nothing_is_handed_out_twice_and_all_is_handed_out_in_the_end(steps: list[tuple[str, int]]) -> None:
    crowd = Crowd()
    for seq, (step, which) in enumerate(steps):
        getattr(crowd, step)(seq, which)
    while crowd.flying:
        crowd.land(0, 0)
    left = {key for key in crowd.source.held if key not in crowd.handed}
    for which in range(4):
        crowd.mark(0, which)
    while (found := crowd.turns.next(0)) is not None:
        left.remove(found.key)
        crowd.turns.landed(found)
    assert not left


def test_a_lane_that_rests_is_passed_over_until_its_time_and_others_are_not() -> None:
    turns = Turns(Pending(), slots=4)
    for seq, (tenant, project) in enumerate((("a", "p"), ("b", "p"), ("a", "q"))):
        turns.offer(delivery(seq, tenant, project))
    turns.rest("a", "p", 500)
    assert turns.rested_ms(0) == 500
    found = [turns.next(499) for _ in range(3)]
    assert {(one.tenant, one.project) for one in found if one} == {("b", "p"), ("a", "q")}
    late = turns.next(500)
    assert late is not None
    assert (late.tenant, late.project) == ("a", "p")
    assert turns.rested_ms(500) is None
