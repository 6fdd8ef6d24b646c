"""What can be fuzzed, and the engine that does it: a target is a parser, its valid inputs and its refusals.

Invariant: a target that ran was given exactly as many inputs as were asked for, each reaching the parser; a finding
names the one command that shows it again. This module must not know any parser.
"""

import base64
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import hypothesis.strategies as st
import trio

from tests.fuzz.mutation import Mutator

PER_BASE = 400  # inputs derived from one base that hypothesis drew
SECONDS_MAX = 1.0  # of CPU for one input; a parser that takes longer hangs the server
HANG_S = 20.0  # of CPU too: what other processes take of the machine is nobody's finding
GROWTH_BYTES_MAX = 64 * 1024 * 1024  # of this process, per target: a parser keeps nothing
SKIP = object()  # an input that never reached the parser (what stands before it refused): it is not counted

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@dataclass(frozen=True)
class Target:
    """A parser: ``read`` takes bytes and gives a value, `SKIP`, or raises one of ``refusals``; else it is a finding."""

    name: str
    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    corpus: tuple[bytes, ...]

    def bases(self) -> st.SearchStrategy[bytes]:
        """Valid inputs mostly, and now and then any bytes."""
        valid = st.sampled_from(self.corpus)
        return st.one_of(valid, valid, valid, st.binary(max_size=300))


class Found(AssertionError):
    """An input that a target answered with neither a value nor a typed refusal, or too late."""

    def __init__(self, target: Target, seed: int, base: bytes, data: bytes, what: str) -> None:
        shown = base64.b64encode(base).decode()
        again = f"python -m tests.fuzz {target.name} --seed {seed} --base {shown}"
        super().__init__(f"{what}\ninput: {data[:300]!r}{'…' if len(data) > 300 else ''}\nagain: {again}")


@dataclass
class Tally:
    """How many inputs came through, and how many of them were values."""

    inputs: int = 0
    values: int = 0
    seconds: float = 0.0


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Interrupt what does not come back by itself."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no answer within {seconds} s of CPU")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def batch(target: Target, base: bytes, seed: int, count: int, tally: Tally) -> None:
    """Give ``count`` inputs derived from one base to a target; raises Found."""

    async def inside_trio() -> None:  # deadlines of the shell's parsers ask for a clock
        _batch(target, base, seed, count, tally)

    with alarm(HANG_S + count * 0.01):
        trio.run(inside_trio)


def _batch(target: Target, base: bytes, seed: int, count: int, tally: Tally) -> None:
    begun = time.perf_counter()
    for data in Mutator(base, seed, target.corpus).take(10 * count):
        before = time.thread_time()
        try:
            skipped = target.read(data) is SKIP
            tally.values += not skipped
        except target.refusals:
            skipped = False
        except Exception as error:
            raise Found(target, seed, base, data, f"{target.name}: {type(error).__name__}: {error}"[:500]) from error
        if time.thread_time() - before > SECONDS_MAX:
            raise Found(target, seed, base, data, f"{target.name}: took more than {SECONDS_MAX} s of CPU")
        tally.inputs += not skipped
        count -= not skipped
        if count <= 0:
            break
    tally.seconds += time.perf_counter() - begun


def peak_bytes() -> int:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
