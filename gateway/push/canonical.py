"""Canonical JSON: the one spelling of a body that its signature covers (push §2).

`parse` is strict: what two parsers could read in two ways is refused, so the object that was verified is the object
that is acted on. `canonical` writes it as the original client does: keys sorted by UTF-16 code units, no spaces,
non-ASCII raw, strings and numbers as ECMAScript's ``JSON.stringify``. The original leaves keys unescaped and writes an
array inside an array as an object; both are refused here instead of imitated. `spelled` does both.
Must not know what the fields mean.
"""

import json
import re
from json.encoder import encode_basestring  # the C string writer behind ensure_ascii=False
from types import NoneType
from typing import Any, NoReturn

import msgspec

from gateway.errors import PushRefused
from gateway.limits.push import JSON_DEPTH_MAX

_KEY_REFUSED = re.compile(r'["\\\x00-\x1f]')
_EXACT_DIGITS_MAX = 15  # an integer of so many digits is exact as an ECMAScript number


def _malformed(sentence: str) -> NoReturn:
    raise PushRefused(400, "malformed-json", sentence)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise PushRefused(400, "duplicate-key", "The JSON holds a key twice in one object.")
    return made


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= _EXACT_DIGITS_MAX else _real(text)


def _real(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        _malformed("The JSON holds a number that is too large.")
    return number


def _constant(text: str) -> NoReturn:
    _malformed(f"The JSON holds {text}, which is not JSON.")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_real, parse_constant=_constant)


def parse(body: bytes) -> dict[str, Any]:
    """Read one JSON object from UTF-8 bytes; raise PushRefused 400 ``malformed-json`` or ``duplicate-key``."""
    try:
        text = body.decode()
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        _malformed("The body is not valid JSON in UTF-8.")
    if not isinstance(value, dict):
        _malformed("The body is not a JSON object.")
    _judge(value, 0)
    if "\\" in text:  # else nothing was escaped, and UTF-8 and JSON have let none of these pass
        _judge_texts(value)
    return value


def _judge(value: dict[str, Any] | list[Any], depth: int) -> None:
    """Refuse what is nested too deep, and arrays inside arrays."""
    if depth >= JSON_DEPTH_MAX:
        _malformed(f"The JSON is nested deeper than {JSON_DEPTH_MAX} levels.")
    for member in value.values() if isinstance(value, dict) else value:
        if isinstance(member, dict | list):
            if isinstance(value, list) and isinstance(member, list):
                _malformed("The JSON holds an array directly inside an array.")
            _judge(member, depth + 1)


def _judge_texts(value: object) -> None:
    """Refuse texts without a spelling in UTF-8, and keys that the original would leave unescaped."""
    match value:
        case str():
            _judge_text(value)
        case dict():
            for key, member in value.items():
                if _KEY_REFUSED.search(key):
                    _malformed("The JSON holds a key with a quote, a backslash or a control character.")
                _judge_text(key)
                _judge_texts(member)
        case list():
            for member in value:
                _judge_texts(member)
        case _:
            pass


def _judge_text(text: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            _malformed("The JSON holds half a surrogate pair.")


def number_text(number: float) -> str:
    """Write a finite number as ECMAScript does (ECMA-262, Number::toString)."""
    if isinstance(number, int):
        return str(number)
    if number == 0:
        return "0"
    mantissa, _, exponent_text = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    unstripped = whole + ("" if fraction == "0" else fraction)
    point = len(whole) + int(exponent_text or "0")  # where the decimal point stands, counted from the first digit
    point -= len(unstripped) - len(unstripped.lstrip("0"))
    digits = unstripped.strip("0")
    return ("-" if number < 0 else "") + _decimal(digits, point)


def _decimal(digits: str, point: int) -> str:
    count = len(digits)
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    tail = f".{digits[1:]}" if count > 1 else ""
    return f"{digits[0]}{tail}e{point - 1:+d}"


def _units(key: str) -> bytes:
    return key.encode("utf-16-be")


def _sorted(keys: dict[str, Any]) -> list[str]:
    # Code-point order differs from UTF-16 order only where some key leaves the Basic Multilingual Plane.
    return sorted(keys) if all(map(str.isascii, keys)) else sorted(keys, key=_units)


def _text(value: object) -> str:
    match value:
        case str():
            return str(encode_basestring(value))
        case None:
            return "null"
        case True:
            return "true"
        case False:
            return "false"
        case dict():
            return "{" + ",".join([f'"{key}":{_text(value[key])}' for key in _sorted(value)]) + "}"
        case list():
            return "[" + ",".join(map(_text, value)) + "]"
        case int() | float():
            return number_text(value)
        case _:
            raise AssertionError(type(value))


def canonical(value: dict[str, Any]) -> bytes:
    """The bytes that a signature covers, of an object that `parse` gave."""
    return _text(value).encode()


_C_DECODER, _C_ENCODER = msgspec.json.Decoder(), msgspec.json.Encoder(order="sorted")


def spelled(body: bytes) -> tuple[dict[str, Any], bytes]:
    """Read one object as `parse` does, and spell it as `canonical` does; raise PushRefused as `parse` does."""
    found = _spelled_plain(body)
    if found is not None:
        return found
    value = parse(body)
    return value, canonical(value)


def _spelled_plain(body: bytes) -> tuple[dict[str, Any], bytes] | None:
    """Do the same by codecs in C, at a quarter of the cost; None where they might differ from the strict reader.

    They spell texts and short integers alike, and refuse what it refuses, save a key that comes twice. Each key has a
    colon behind it, and texts keep theirs, so where none is written with an escape a pair that was dropped is missing
    among the colons.
    """
    try:
        value = _C_DECODER.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not _is_plain(value, 0) or b"\\u003a" in body.lower():
        return None
    text = _C_ENCODER.encode(value)
    return (value, text) if text.count(b":") == body.count(b":") else None


def _is_plain(value: dict[str, Any], depth: int) -> bool:
    """Whether all keys are plain names, and all members texts, short integers, constants or objects like this."""
    for key, member in value.items():
        if not (key.isascii() and key.isidentifier()):
            return False
        kind = type(member)
        if kind is str or kind is NoneType or kind is bool:
            continue
        if kind is int and abs(member) < 10**_EXACT_DIGITS_MAX:
            continue
        if kind is not dict or depth + 1 >= JSON_DEPTH_MAX or not _is_plain(member, depth + 1):
            return False
    return True
