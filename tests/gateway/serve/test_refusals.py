"""Lines for refusals: enough to see, never enough to drown."""

import trio

from gateway.limits.serve import REFUSAL_LINES_PER_MINUTE, REFUSAL_SOURCES_MAX
from gateway.serve.refusals import Refusals


class Lines(list):
    def __call__(self, event: str, **fields: object) -> None:
        self.append((event, fields))


async def test_a_source_has_its_share_of_a_minute(autojump_clock) -> None:
    """Beyond it lines are counted, and told with the next that goes out; another source is not touched."""
    lines = Lines()
    refusals = Refusals(lines)
    for _ in range(REFUSAL_LINES_PER_MINUTE + 7):
        refusals.tell("192.0.2.1", reason="no")
    refusals.tell("192.0.2.2", reason="no")
    assert len(lines) == REFUSAL_LINES_PER_MINUTE + 1
    await trio.sleep(61)
    refusals.tell("192.0.2.1", reason="again")
    assert lines[-1] == ("refused", {"source": "192.0.2.1", "reason": "again", "untold": 7})


async def test_many_sources_do_not_fill_the_memory() -> None:
    """The least recent are forgotten."""
    refusals = Refusals(Lines())
    for number in range(REFUSAL_SOURCES_MAX + 100):
        refusals.tell(str(number))
    assert len(refusals._said) == REFUSAL_SOURCES_MAX
