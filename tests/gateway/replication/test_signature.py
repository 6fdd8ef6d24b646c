"""The canonical text and the HMAC over it."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.replication.signature import canonical, js_number, sign, signer_of

VECTOR = json.loads(Path("tests/vectors/relay.json").read_text())["hmac"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
)


def test_the_vector_is_met_byte_for_byte():
    assert canonical(VECTOR["object"]).decode() == VECTOR["canonical"]
    assert sign(VECTOR["secret"], VECTOR["object"]) == VECTOR["signature"]


@given(VALUES)
def test_without_fractions_the_text_is_that_of_json_dumps_with_sorted_keys(value):
    assert canonical(value).decode() == json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0, "1"), (-0.0, "0"), (0.1, "0.1"), (1e-7, "1e-7"), (1e-6, "0.000001"), (1.2e-7, "1.2e-7"),
        (0.000001234, "0.000001234"), (1e21, "1e+21"), (1.5e22, "1.5e+22"), (5e-324, "5e-324"), (1e20, "1" + "0" * 20),
        (-2.5, "-2.5"),
    ],
)  # fmt: skip
def test_fractions_are_written_as_javascript_writes_them(number, text):
    assert js_number(number) == text


def test_a_lone_surrogate_becomes_its_escape():
    assert canonical("\ud800") == b'"\\ud800"'


def test_what_is_not_json_has_no_text():
    with pytest.raises(TypeError):
        canonical({"a": b"bytes"})
    assert canonical([None, 0.5]) == b"[null,0.5]"


def test_the_signer_is_named_by_its_secret():
    value = {"relayKey": "a", "n": [1, {"z": 1, "a": None}]}
    secrets = {"default": "one", "other": "two"}
    assert signer_of(value, sign("two", value), secrets) == "other"
    assert signer_of(value, sign("one", value), secrets) == "default"


@pytest.mark.parametrize("signature", [None, 5, "", "0" * 64, "é" * 64, VECTOR["signature"].upper(), ["x"]])
def test_nothing_else_is_a_signature(signature):
    assert signer_of(VECTOR["object"], signature, {"default": VECTOR["secret"]}) is None


def test_a_changed_value_is_not_signed():
    changed = {**VECTOR["object"], "issuedAt": VECTOR["object"]["issuedAt"] + 1}
    assert signer_of(changed, VECTOR["signature"], {"default": VECTOR["secret"]}) is None
