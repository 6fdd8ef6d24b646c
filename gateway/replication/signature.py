"""The HMAC that workers sign with: the canonical text of a JSON value, and who of the workers signed it.

Invariant: equal values have one canonical text, the one that ``JSON.stringify`` gives over sorted keys (numbers
included: 1.0 is ``1``), since the clients that exist sign with JavaScript. Comparison takes the same time whatever
differs. This module must not know what is signed, nor where secrets come from.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from decimal import Decimal


def js_number(number: float) -> str:
    """Write a finite float as ECMAScript's Number::toString does (ECMA-262 §6.1.6.1.20)."""
    if number.is_integer() and abs(number) < 1e21:
        return str(int(number))
    if 1e-6 <= abs(number) < 1e21:
        return format(Decimal(repr(number)), "f")
    mantissa, _, exponent = repr(number).partition("e")
    return f"{mantissa}e{int(exponent):+d}"


def canonical_text(value: object) -> str:
    """Write a JSON value with keys sorted at every depth, no spaces, non-ASCII raw (relay-and-mirror §1)."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case int():
            return str(value)
        case float():
            return js_number(value)
        case list():
            return f"[{','.join(map(canonical_text, value))}]"
        case dict():
            return f"{{{','.join(f'{canonical_text(key)}:{canonical_text(value[key])}' for key in sorted(value))}}}"
        case _:
            raise TypeError(f"not a JSON value: {type(value).__name__}")


def canonical(value: object) -> bytes:
    """Give the bytes that are signed; a lone surrogate becomes its escape, as in well-formed ``JSON.stringify``."""
    return canonical_text(value).encode("utf-8", "backslashreplace")


def sign(secret: str, value: object) -> str:
    """Sign a JSON value: 64 lower-case hex characters of HMAC-SHA256, keyed by the secret's UTF-8 text."""
    return hmac.new(secret.encode(), canonical(value), hashlib.sha256).hexdigest()


def signer_of(value: object, signature: object, secrets: Mapping[str, str]) -> str | None:
    """Name the worker whose secret made this signature, or None. ``secrets`` maps worker ids to non-empty secrets."""
    if not isinstance(signature, str) or len(signature) != 64 or not signature.isascii():
        return None
    message, found = canonical(value), None
    for worker, secret in secrets.items():  # all of them: how long it takes must not tell whose it was
        expected = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
        if hmac.compare_digest(expected, signature) and found is None:
            found = worker
    return found
