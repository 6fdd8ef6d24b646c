"""Fuzz a running server: every door, so many inputs each, with an eye on time, memory and complaints."""

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.conformance.world import world
from tests.fuzz.doors import Door, Live, doors, open_live
from tests.fuzz.mutation import Mutator
from tests.fuzz.peer import Closed
from tests.signing import ALICE, pubkey

PER_BASE = 100
MEMORY_BYTES_MAX = 256 * 1024 * 1024
"""What the server may ever hold while it is fuzzed: 90 MiB to start with, and the bounded caches and bodies."""

POLICY = 'policy = "allowlist"\nallow = ["demo.example.com", "other.example.com"]\n'  # no look-up leaves this machine
RATES = "rate_per_instance = 100000000\nrate_per_address = 100000000\n"
LIMITS = "[mirror]\ninvalid_attempts_max = 100000000\n"
DOORS = f'[matrix.apps."fuzz.app"]\n[relay]\nadmins = ["{pubkey(ALICE)}"]\n'


class Found(AssertionError):
    """An input that the server answered wrongly, late or not at all."""


@contextmanager
def server(directory: Path) -> Iterator[Live]:
    """A real server with everybody around it, and limits on how often that the fuzzer does not reach."""
    with world(directory, extra=LIMITS + DOORS, push=POLICY + RATES) as made:
        live = open_live(made)
        yield live
        for each in (live.sender, *live.sockets.values()):
            each.close()


def memory_peak(live: Live) -> int:
    """The most memory that the server ever had, in bytes."""
    status = Path(f"/proc/{live.world.server.process.pid}/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def batch(live: Live, door: Door, base: bytes, seed: int, count: int) -> None:
    """Give a door ``count`` inputs derived from one base; raises Found."""
    for data in Mutator(base, seed, door.corpus).take(count):
        try:
            door.enter(live, data)
        except (AssertionError, Closed, OSError, ValueError) as error:
            shown, said = base64.b64encode(base).decode(), "".join(live.world.traces()[:1])[:3000]
            what = f"{door.name}: {type(error).__name__}: {error}\n{said}"
            again = f"python -m tests.fuzz '{door.name}' --seed {seed} --base {shown}"
            raise Found(f"{what}\ninput: {data[:300]!r}\nagain: {again}") from error
        if live.world.traces():
            raise Found(f"{door.name}: the server complains of {data[:300]!r}:\n{live.world.traces()[0][:3000]}")


def fuzz(live: Live, door: Door, inputs: int) -> tuple[int, float]:
    """Give a door so many inputs: (how many, seconds). Raises Found. Hypothesis draws bases and seeds."""
    done, begun = 0, time.perf_counter()

    @settings(
        max_examples=-(-inputs // PER_BASE),
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(base=st.sampled_from(door.corpus), seed=st.integers(0, 2**32 - 1))
    def run(base: bytes, seed: int) -> None:
        nonlocal done
        batch(live, door, base, seed, PER_BASE)
        done += PER_BASE

    run()
    for seed in range(inputs):
        if done >= inputs:
            break
        batch(live, door, door.corpus[0], seed, PER_BASE)
        done += PER_BASE
    return done, time.perf_counter() - begun


__all__ = ["MEMORY_BYTES_MAX", "Found", "batch", "doors", "fuzz", "memory_peak", "server"]
