"""Run simulated seeds: ``python -m tests.sim --seeds 2000``; one again: ``--seed 17``; with a bug: ``--plant NAME``."""

import argparse
import os
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.sim.world import PLANTS, run_seed


def outcome(seed: int, plant: str) -> tuple[int, str, str]:
    """Run one seed: (seed, trace digest, what broke or nothing)."""
    try:
        return seed, run_seed(seed, plant), ""
    except Exception as error:  # noqa: BLE001 - whatever breaks is what a simulation is looking for
        return seed, "", "".join(traceback.format_exception(error))


def outcomes(seeds: range, plant: str, jobs: int) -> Iterator[tuple[int, str, str]]:
    """Run seeds in processes; give what came of each, in order."""
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(partial(outcome, plant=plant), seeds, chunksize=10)


def main() -> int:
    """Print what failed, each with the one command that shows it again; 1 if anything did."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000, help="how many (default 2000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="only this one, with its trace")
    parser.add_argument("--plant", choices=PLANTS, default="", help="plant a bug that must be found")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    if asked.seed is not None:
        seed, trace, broke = outcome(asked.seed, asked.plant)
        print(broke or f"seed {seed} holds, trace {trace}")
        return 1 if broke else 0
    failed = 0
    for seed, _, broke in outcomes(range(asked.first, asked.first + asked.seeds), asked.plant, asked.jobs):
        if broke:
            failed += 1
            again = f"python -m tests.sim --seed {seed}" + (f" --plant {asked.plant}" if asked.plant else "")
            print(f"seed {seed}: {broke.strip().splitlines()[-1].strip(' |')}\n    {again}", flush=True)
    print(f"{asked.seeds} seeds, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
