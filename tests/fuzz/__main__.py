"""Fuzz by hand: every target, or those named; ``--seed`` and ``--base`` show one finding again."""

import argparse
import base64
import sys
import time

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz import door_targets, log_targets, push_targets, relay_targets
from tests.fuzz.target import PER_BASE, Found, Tally, Target, batch, peak_bytes

TARGETS = (*log_targets.TARGETS, *push_targets.TARGETS, *relay_targets.TARGETS, *door_targets.TARGETS)


def fuzz(target: Target, inputs: int) -> Tally:
    """Give a target so many inputs; raises Found. Hypothesis draws the bases and the seeds."""
    tally = Tally()

    @settings(
        max_examples=-(-inputs // PER_BASE),
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(base=target.bases(), seed=st.integers(0, 2**32 - 1))
    def run(base: bytes, seed: int) -> None:
        batch(target, base, seed, PER_BASE, tally)

    run()
    while tally.inputs < inputs:  # a strategy may have run dry: more seeds over the corpus
        batch(target, target.corpus[0], tally.inputs, min(PER_BASE, inputs - tally.inputs), tally)
    return tally


def main() -> int:
    """Run the targets named on the command line."""
    reader = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    reader.add_argument("targets", nargs="*", help="names, or beginnings of names; all without")
    reader.add_argument("--inputs", type=int, default=100_000)
    reader.add_argument("--seed", type=int)
    reader.add_argument("--base", type=base64.b64decode)
    asked = reader.parse_args()
    chosen = [one for one in TARGETS if not asked.targets or one.name.startswith(tuple(asked.targets))]
    found = 0
    for target in chosen:
        begun = time.perf_counter()
        try:
            if asked.seed is not None:
                batch(target, asked.base or b"", asked.seed, PER_BASE, tally := Tally())
            else:
                tally = fuzz(target, asked.inputs)
        except Found as finding:
            sys.stdout.write(f"{target.name}: {finding}\n")
            found += 1
            continue
        taken = time.perf_counter() - begun
        sys.stdout.write(f"{target.name:28} {tally.inputs:8} inputs {tally.values:8} values {taken:6.1f} s\n")
    sys.stdout.write(f"peak memory {peak_bytes() >> 20} MiB\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
