"""The simulation itself: it repeats, it finds what is planted, and it finds nothing else."""

import inspect
import subprocess
import sys

import pytest
from trio._core import _run

from tests.sim.__main__ import outcomes
from tests.sim.world import PLANTS, run_seed


def test_trios_scheduler_can_still_be_seeded() -> None:
    """Private names of trio: when they move, the simulation must move with them."""
    assert _run._r.random() is not None
    assert "_ALLOW_DETERMINISTIC_SCHEDULING" in inspect.getsource(_run.unrolled_run)


@pytest.mark.parametrize("seed", [3, 8, 21])
def test_the_same_seed_is_the_same_trace(seed: int) -> None:
    first = run_seed(seed)
    assert run_seed(seed) == first
    other_process = subprocess.run(
        [sys.executable, "-m", "tests.sim", "--seed", str(seed)], capture_output=True, text=True, check=True
    )
    assert first in other_process.stdout


def test_other_seeds_are_other_traces() -> None:
    assert len({run_seed(seed) for seed in range(5)}) == 5


def test_seeds_hold() -> None:
    assert [(seed, broke) for seed, _, broke in outcomes(range(100), "", 2) if broke] == []


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_found_and_the_command_that_shows_it_again_is_told(plant: str) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "tests.sim", "--seeds", "20", "--plant", plant],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1
    line = next(line for line in found.stdout.splitlines() if "python -m tests.sim --seed " in line)
    again = subprocess.run([sys.executable, *line.split()[1:]], capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert any(what in again.stdout for what in ("Wrong", "Corrupt", "AssertionError"))  # by the audit, or by the log
