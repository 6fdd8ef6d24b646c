"""Fuzz by hand: every parser, endpoint and socket, or those named; a finding names the command that shows it again."""

import argparse
import base64
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz import door_targets, live, log_targets, push_targets, relay_targets
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


def parsers(asked: argparse.Namespace) -> Iterator[str]:
    """Fuzz the parsers that were asked for; gives a line for each."""
    for target in TARGETS:
        if asked.targets and not target.name.startswith(tuple(asked.targets)):
            continue
        begun = time.perf_counter()
        if asked.seed is None:
            tally = fuzz(target, asked.inputs)
        else:
            batch(target, asked.base, asked.seed, PER_BASE, tally := Tally())
        taken = time.perf_counter() - begun
        yield f"{target.name:28} {tally.inputs:8} inputs {tally.values:8} values {taken:7.1f} s"


def doors(asked: argparse.Namespace) -> Iterator[str]:
    """Fuzz the endpoints and sockets that were asked for, of one server; gives a line for each."""
    names = [name for name in asked.targets if name not in {target.name for target in TARGETS}]
    if asked.targets and not names:
        return
    with TemporaryDirectory() as directory, live.server(Path(directory)) as running:
        for door in live.doors(running):
            if names and not door.name.startswith(tuple(names)):
                continue
            if asked.seed is None:
                inputs, seconds = live.fuzz(running, door, asked.inputs)
            else:
                live.batch(running, door, asked.base, asked.seed, live.PER_BASE)
                inputs, seconds = live.PER_BASE, 0.0
            peak = live.memory_peak(running)
            yield f"{door.name:28} {inputs:8} inputs {seconds:24.1f} s, server at {peak >> 20} MiB"
            assert peak < live.MEMORY_BYTES_MAX, "the server holds more than is stated"


def main() -> int:
    """Fuzz what the command line names: 1 at the first finding."""
    reader = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    reader.add_argument("targets", nargs="*", help="names, or beginnings of names; all without")
    reader.add_argument("--inputs", type=int, default=100_000)
    reader.add_argument("--seed", type=int)
    reader.add_argument("--base", type=base64.b64decode, default=b"")
    asked = reader.parse_args()
    try:
        for line in chain(parsers(asked), doors(asked)):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    except (Found, live.Found) as finding:
        sys.stdout.write(f"{finding}\n")
        return 1
    sys.stdout.write(f"peak memory of the fuzzer {peak_bytes() >> 20} MiB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
