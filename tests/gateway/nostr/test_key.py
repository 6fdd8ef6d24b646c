"""Keys are read in both spellings, and a slip of the pen makes none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.nostr.key import npub, public_key, secret_key

# NIP-19's own example
HEX = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e"
NPUB = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg"
SECRET = "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa"
NSEC = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"


def test_the_example_of_nip_19_is_read_and_written() -> None:
    assert public_key(NPUB) == HEX
    assert npub(HEX) == NPUB
    assert public_key(HEX.upper()) == HEX


def test_a_secret_key_is_read_in_both_spellings_and_never_taken_for_a_public_one() -> None:
    assert secret_key(NSEC) == secret_key(SECRET.upper()) == SECRET
    assert public_key(NSEC) is None
    assert secret_key(NPUB) is None
    assert secret_key(NSEC[:-1] + "q") is None


@given(st.binary(min_size=32, max_size=32))
def test_every_key_comes_back(key: bytes) -> None:
    assert public_key(npub(key.hex())) == key.hex()


@given(st.integers(5, 62), st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l"))
def test_one_wrong_letter_is_no_key(at: int, letter: str) -> None:
    wrong = NPUB[:at] + letter + NPUB[at + 1 :]
    assert public_key(wrong) == (HEX if wrong == NPUB else None)


@pytest.mark.parametrize("text", ["", "npub1", NPUB.upper(), NPUB[:-1], HEX[:-1], "nsec1" + NPUB[5:], "g" * 64])
def test_other_words_are_no_keys(text: str) -> None:
    assert public_key(text) is None
