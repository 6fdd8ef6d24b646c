"""Every endpoint and socket of a real server answers 2,000 damaged inputs: in time, in bounded memory, never a 500."""

import os
import sys
from collections.abc import Iterator

import pytest

from tests.fuzz.doors import Live, doors
from tests.fuzz.live import MEMORY_BYTES_MAX, fuzz, memory_peak, server

INPUTS = int(os.environ.get("FUZZ_LIVE_INPUTS", "2000"))
DOORS = 22


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with server(tmp_path_factory.mktemp("fuzz")) as made:
        yield made


@pytest.mark.parametrize("number", range(DOORS))
def test_a_door_answers_whatever_comes(live: Live, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    door = doors(live)[number]
    inputs, seconds = fuzz(live, door, INPUTS)
    peak = memory_peak(live)
    with capsys.disabled():
        sys.stdout.write(f"\n  {door.name}: {inputs} inputs, {seconds:.1f} s, server at {peak >> 20} MiB ")
    assert inputs >= INPUTS
    assert peak < MEMORY_BYTES_MAX
    assert live.world.traces() == []


def test_after_all_that_the_server_works_and_stops_in_good_order(live: Live) -> None:
    assert len(doors(live)) == DOORS
    assert live.world.register(live.world.demo.signed("after", "good-after")).status == 200
    assert live.world.notify(live.world.demo.event("after"), live.world.demo).body["delivered"] == 1
    assert live.world.get("/ready").status == 200
    assert live.world.server.stop() == 0
    assert live.world.traces() == []
