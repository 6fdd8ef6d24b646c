"""What a signature covers: one spelling, as the original client writes it, and nothing ambiguous."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import PushRefused
from gateway.push.canonical import _spelled_plain, canonical, number_text, parse, spelled
from gateway.push.es256 import public_key, signature_bytes, verifies

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "push.json").read_text())

keys = st.text(st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=["Cc"]), max_size=4)
leaves = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=8)
values = st.recursive(
    leaves,
    lambda inner: (
        st.dictionaries(keys, inner, max_size=4) | st.lists(inner.filter(lambda m: not isinstance(m, list)), max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("name", ["register", "event"])
def test_the_vectors_have_these_bytes_and_their_signatures_verify(name: str) -> None:
    vector = VECTORS[name]
    spelled = canonical(parse(json.dumps(vector["body"]).encode()))
    assert spelled == vector["canonical"].encode()
    assert verifies(public_key(VECTORS["publicKey"]), signature_bytes(vector["signature"]), spelled)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1.2345e25, "1.2345e+25"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.5e-7, "1.5e-7"),
        (0.00012, "0.00012"),
        (100.25, "100.25"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (9007199254740992.0, "9007199254740992"),
        (2.0**63, "9223372036854776000"),
    ],
)
def test_numbers_are_written_as_ecmascript_writes_them(number: float, text: str) -> None:
    assert number_text(number) == text


def test_an_integer_beyond_the_exact_ones_is_rounded_as_javascript_rounds_it() -> None:
    assert canonical(parse(b'{"n":9007199254740993}')) == b'{"n":9007199254740992}'


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_text_reads_back_as_the_same_number(number: float) -> None:
    assert float(number_text(number)) == number


def test_keys_are_sorted_by_utf16_units_not_by_code_points() -> None:
    assert canonical(parse('{"\uffff":1,"\U0001f600":2}'.encode())) == '{"\U0001f600":2,"\uffff":1}'.encode()


def test_strings_are_escaped_no_further_than_json_stringify_does() -> None:
    body = '{"a":"\\u0001\\u001f\\n\\t\\b\\f\\r\\"\\\\/\u007f\u2028é😀"}'.encode()
    assert canonical(parse(body)).decode() == '{"a":"\\u0001\\u001f\\n\\t\\b\\f\\r\\"\\\\/\u007f\u2028é😀"}'


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed-json"),
        (b"[]", "malformed-json"),
        (b'"a"', "malformed-json"),
        (b"{", "malformed-json"),
        (b"{}x", "malformed-json"),
        (b"\xef\xbb\xbf{}", "malformed-json"),
        (b'{"a":"\xff"}', "malformed-json"),
        (b'{"a":NaN}', "malformed-json"),
        (b'{"a":-Infinity}', "malformed-json"),
        (b'{"a":1e999}', "malformed-json"),
        (b'{"a":' + b"9" * 5000 + b"}", "malformed-json"),
        (b'{"a":01}', "malformed-json"),
        (b'{"a":"\\ud800"}', "malformed-json"),
        (b'{"\\udc00":1}', "malformed-json"),
        (b'{"a\\"b":1}', "malformed-json"),
        (b'{"a\\\\b":1}', "malformed-json"),
        (b'{"a\\nb":1}', "malformed-json"),
        (b'{"a":[[1]]}', "malformed-json"),
        (b'{"a":[{"b":[[]]}]}', "malformed-json"),
        (b'{"a":1,"a":1}', "duplicate-key"),
        (b'{"a":{"b":1,"\\u0062":2}}', "duplicate-key"),
        (b'{"a":' * 16 + b"{}" + b"}" * 16, "malformed-json"),
        (b'{"a":' * 8000 + b"1" + b"}" * 8000, "malformed-json"),
        (b"[" * 16000, "malformed-json"),
    ],
)
def test_what_two_parsers_could_read_differently_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(PushRefused) as refused:
        parse(body)
    assert (refused.value.status, refused.value.code) == (400, code)


def test_sixteen_levels_are_taken() -> None:
    assert parse(b'{"a":' * 15 + b"{}" + b"}" * 15)


@given(st.dictionaries(keys, values, max_size=5))
def test_the_canonical_form_is_a_fixed_point_and_means_the_same(value: dict[str, object]) -> None:
    spelled = canonical(parse(json.dumps(value).encode()))
    assert canonical(parse(spelled)) == spelled
    assert json.loads(spelled) == value


@given(st.dictionaries(st.text("abcdefg", max_size=3), st.text(st.characters(codec="utf-8")) | st.integers(0, 9)))
def test_for_plain_payloads_it_equals_sorted_compact_json(value: dict[str, object]) -> None:
    plain = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert canonical(value) == plain


odd = st.sampled_from(
    [
        "1",
        "-0",
        "1.0",
        "1e3",
        "9007199254740993",
        '"a:b"',
        '"\\u003a"',
        '"\\u003A"',
        '"\\\\u003a"',
        '"\\ud800"',
        '":"',
        "[1]",
        "[]",
        "{}",
    ]
)
names = st.sampled_from(["a", "b", "a:b", "\\u0061", "\\u003a", "é", "\\n", "", "a b", "true"])
texts = st.recursive(
    odd | values.map(json.dumps),
    lambda inner: st.lists(st.tuples(names, inner), max_size=3).map(
        lambda pairs: "{" + ", ".join(f'"{name}" : {text}' for name, text in pairs) + "}"
    ),
    max_leaves=6,
)


def both(body: bytes) -> object:
    try:
        value = parse(body)
    except PushRefused as refused:
        return refused.code
    return value, canonical(value)


@given(texts | st.binary(max_size=50).map(lambda raw: raw.decode("latin-1")))
def test_reading_by_the_codecs_in_c_judges_and_spells_as_the_strict_reader_does(text: str) -> None:
    body = text.encode()
    try:
        found: object = spelled(body)
    except PushRefused as refused:
        found = refused.code
    assert found == both(body)


def test_the_codecs_in_c_read_what_instances_send() -> None:
    body = json.dumps(VECTORS["event"]["body"]).encode()
    assert _spelled_plain(body) == (VECTORS["event"]["body"], VECTORS["event"]["canonical"].encode())
    assert _spelled_plain(body[:-1] + b', "instance": ""}') is None, "a key twice"
    assert _spelled_plain(b'{"a": {"b": 1, "c": "\\u003a", "b": 1}}') is None, "a key twice behind an escaped colon"


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_are_an_object_or_a_refusal(body: bytes) -> None:
    try:
        value = parse(body)
    except PushRefused:
        return
    else:
        assert all(not isinstance(member, float) or math.isfinite(member) for member in value.values())
        canonical(value)
