"""Our side of a comparison against nostr-tools' own implementation of Negentropy."""

import json
import random
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.negentropy import FRAME_BYTES_MIN, Items, Responder
from tests.interop.test_nostr_tools import HERE, NODE, modules

__all__ = ["modules"]


@pytest.mark.skipif(NODE is None, reason="there is no node here")
def test_nostr_tools_learns_both_differences_from_us(modules: Path) -> None:
    assert modules.is_dir()
    command = [str(NODE), "negentropy.mjs"]
    with subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:

        def ask(**what: Any) -> dict[str, Any]:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps(what) + "\n")
            child.stdin.flush()
            return dict(json.loads(child.stdout.readline()))

        dice = random.Random(77)
        for count, times, frame_bytes in ((0, 1, 60_000), (30, 1, 60_000), (500, 20, 60_000), (4_000, 10**6, 4_096)):
            assert frame_bytes >= FRAME_BYTES_MIN
            everything = [(dice.randrange(times), sha256(b"%d" % number).digest()) for number in range(count)]
            mine, theirs = ([item for item in everything if dice.random() < 0.95] for _ in range(2))
            responder = Responder(Items(mine), frame_bytes)
            told = ask(items=[(time, name.hex()) for time, name in theirs])
            while told["message"] is not None:
                told = ask(message=responder.answer(bytes.fromhex(told["message"])).hex())
            ours, other = ({name.hex() for _, name in side} for side in (mine, theirs))
            assert (set(told["have"]), set(told["need"])) == (other - ours, ours - other)
