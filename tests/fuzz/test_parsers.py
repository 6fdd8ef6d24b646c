"""Every parser answers 100,000 damaged inputs with a value or its own refusal, in time and in bounded memory."""

import os
import sys

import pytest

from tests.fuzz.__main__ import TARGETS, fuzz
from tests.fuzz.mutation import Mutator
from tests.fuzz.target import GROWTH_BYTES_MAX, Found, Tally, Target, batch, peak_bytes

INPUTS = int(os.environ.get("FUZZ_INPUTS", "100000"))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_parser_gives_a_value_or_a_typed_refusal(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    before = peak_bytes()
    tally = fuzz(target, INPUTS)
    with capsys.disabled():
        sys.stdout.write(f"\n  {target.name}: {tally.inputs} inputs, {tally.values} values, {tally.seconds:.1f} s ")
    assert tally.inputs >= INPUTS
    assert tally.values, "no input was ever good: the corpus is not what the parser reads"
    assert peak_bytes() - before < GROWTH_BYTES_MAX


def test_a_seed_stands_for_the_same_inputs_and_most_of_them_differ() -> None:
    base = TARGETS[-3].corpus[0]
    inputs = list(Mutator(base, 5).take(400))
    assert inputs == list(Mutator(base, 5).take(400))
    assert inputs[0] == base
    assert len(set(inputs)) > 300


def fails_on_a_star(data: bytes) -> object:
    if b"*" in data:
        raise ValueError("a star")
    return data


def test_a_finding_names_the_command_that_shows_it_again() -> None:
    target = Target("planted", fails_on_a_star, (), (b"***",))
    with pytest.raises(Found, match=r"python -m tests.fuzz planted --seed 9 --base Kioq"):
        batch(target, b"***", 9, 10, Tally())
