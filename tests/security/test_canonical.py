"""Canonical JSON held against node, which is what instances sign with: equal bytes, or a refusal; and no two meanings.

One node process answers for all examples over its standard input. Its canonicaliser is code of its own
(`canonical.mjs`); it also writes the form as the first client did, with keys unescaped and arrays in arrays as objects.
On everything that the gateway accepts the two are one; where they would differ, two meanings share one signature.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import PushRefused
from gateway.push.canonical import canonical, parse

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")
EXAMPLES = 400


class Node:
    """A node process that judges JSON texts, one a line."""

    def __init__(self) -> None:
        assert NODE
        program = str(Path(__file__).parent / "canonical.mjs")
        self.process = subprocess.Popen([NODE, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, asked: object) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    made = Node()
    yield made
    made.close()


def ours(text: str) -> str:
    """The canonical form, or the code of the refusal with a question mark before it."""
    try:
        return canonical(parse(text.encode())).decode()
    except PushRefused as refused:
        return f"?{refused.code}"


def has_twins(text: str) -> bool:
    """Whether some object has a key twice."""
    twins: list[bool] = []
    json.loads(text, object_pairs_hook=lambda pairs: twins.append(len(dict(pairs)) != len(pairs)))
    return any(twins)


# -- JSON texts, spelled in every way that a text may be ---------------------------------------------------------------

UNITS = ["a", "B", "é", "\u2028", "\ue000", "\uffff", "\U0001f600", "\U0010ffff", "/", "\x7f", " "]
ESCAPES = ["\\u0041", "\\/", "\\n", "\\u00e9", "\\ud83d\\ude00", "\\uffff", "\\u2028", "\\u007f", "\\u001f", '\\"']
TRAPS = ["\\ud800", "\\udc00", "\\ude00\\ud83d"]
PLAIN = st.lists(st.sampled_from([*UNITS, "\\u0041", "\\u00e9", "\\ud83d\\ude00", "\\uffff"]), max_size=3).map("".join)
STRINGS = st.lists(st.sampled_from(UNITS + ESCAPES), max_size=6).map("".join)
TRAPPED = st.lists(st.sampled_from(UNITS + ESCAPES + TRAPS), max_size=4).map("".join)
NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.tuples(st.integers(-(10**18), 10**18), st.integers(0, 40), st.sampled_from(["e", "E", "e+", "E-"])).map(
        lambda parts: f"{parts[0]}.{abs(parts[0]) % 977:03d}{parts[2]}{parts[1]}"
    ),
    st.sampled_from(["-0", "0.0", "-0.0", "1.0", "1E0", "100e-2", "1e21", "1e-7", "1e309", "5e-324"]),
    st.sampled_from(["9007199254740993", "123456789012345678901234567890", "-9007199254740993"]),
)
SPACES = st.sampled_from(["", "", "", " ", "\n\t", "\r "])


def objects(keys: st.SearchStrategy[str], values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.tuples(keys, SPACES, values).map(lambda parts: f'"{parts[0]}"{parts[1]}:{parts[1]}{parts[2]}')
    return st.tuples(st.lists(member, max_size=4), SPACES).map(lambda parts: "{" + f"{parts[1]},".join(parts[0]) + "}")


def texts(keys: st.SearchStrategy[str], strings: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    leaves = st.one_of(NUMBERS, strings.map(lambda text: f'"{text}"'), st.sampled_from(["null", "true", "false"]))
    lists = lambda inner: st.lists(inner, max_size=3).map(lambda members: "[" + ", ".join(members) + "]")  # noqa: E731
    values = st.recursive(leaves, lambda inner: lists(inner) | objects(keys, inner), max_leaves=10)
    return objects(keys, values)


ANY = texts(PLAIN, STRINGS) | texts(STRINGS | TRAPPED, TRAPPED)


@settings(max_examples=EXAMPLES)
@given(ANY)
def test_what_is_accepted_has_the_bytes_that_node_signs_and_what_is_refused_has_two_meanings(
    node: Node, text: str
) -> None:
    answer, mine = node.ask(text), ours(text)
    if mine == "?duplicate-key":
        return  # JSON.parse keeps the last of the two, and says nothing
    if mine.startswith("?") and not has_twins(text):  # nor of what stood in the first
        assert not answer["ok"] or answer["odd"], f"refused for no reason: {text}"
    elif not mine.startswith("?"):
        assert answer["ok"]
        assert answer["odd"] == ""
        assert mine == answer["spelled"] == answer["original"]


@settings(max_examples=EXAMPLES)
@given(ANY, ANY)
def test_two_texts_of_one_form_mean_the_same(node: Node, one: str, other: str) -> None:
    """Of any two; and of any one and its own form, where they surely meet."""
    form = ours(one)
    if form.startswith("?"):
        return
    assert node.ask({"a": one, "b": form})["same"] or "-0" in one  # as numbers -0 and 0 differ; to JSON they do not
    if form == ours(other):
        assert node.ask({"a": form, "b": ours(other)})["same"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r'{"a\":1,\"userId":"x"}', '{"a":1,"userId":"x"}'),
        ('{"a":[[1,2]]}', '{"a":[{"0":1,"1":2}]}'),
        (r'{"a":"x","b\":\"":"y"}', r'{"a":"x","b":"":"y"}'),
        (r'{"notification\":{\"id\":\"1\"},\"x":1}', '{"notification":{"id":"1"},"x":1}'),
    ],
)
def test_texts_that_collide_in_the_original_form_are_never_both_accepted(node: Node, one: str, other: str) -> None:
    """An attacker who has one of them signed would have the other signed too."""
    assert node.ask(one)["ok"]
    assert ours(one) == "?malformed-json"
    if node.ask(other)["ok"]:
        assert node.ask(one)["original"] == node.ask(other)["original"]
        assert ours(other) == node.ask(other)["original"]


def test_numbers_that_javascript_rounds_are_acted_on_as_it_rounds_them(node: Node) -> None:
    for text in ("9007199254740993", "1e23", "0.1e-6", "-0", "1.0", "123456789.123456789123456789", "1e308"):
        body = f'{{"n":{text}}}'
        assert ours(body) == node.ask(body)["spelled"]
        assert parse(ours(body).encode()) == parse(body.encode())
