"""A short run of the kill -9 loop; ``python -m tests.crash --rounds 200`` is the long one."""

from pathlib import Path

import pytest

from tests.crash.__main__ import kill_in_rounds

ROUNDS = 5


# httpx leaves a request's body half iterated where its connection dies: that is what happens here.
@pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")
async def test_nothing_acknowledged_is_lost_by_a_kill_at_any_moment(tmp_path: Path) -> None:
    world = await kill_in_rounds(tmp_path, ROUNDS, seed=1, say=False)
    assert world.memory.broken == []
    assert world.memory.has_each()
