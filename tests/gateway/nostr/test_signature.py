"""Signatures: what holds, what does not, and the BIP's own vectors."""

import pytest

from gateway.nostr.signature import Claim, all_hold, holds
from tests.signing import ALICE, BOB, pubkey, signed


def claim() -> Claim:
    event = signed()
    return Claim(event.pubkey, event.id, event.sig)


def test_a_signature_of_the_id_by_the_key_holds() -> None:
    assert holds(claim())


@pytest.mark.parametrize(
    "change",
    [
        {"pubkey": pubkey(BOB)},
        {"id": "00" * 32},
        {"sig": "00" * 64},
        {"sig": "ff" * 64},
        {"pubkey": "00" * 32},
        {"pubkey": "ff" * 32},
    ],
)
def test_any_other_key_id_or_signature_does_not(change: dict[str, str]) -> None:
    assert not holds(claim()._replace(**change))


def test_verdicts_come_in_the_order_of_the_claims() -> None:
    good, bad = claim(), claim()._replace(pubkey=pubkey(BOB))
    assert all_hold([good, bad, bad, good]) == [True, False, False, True]
    assert all_hold([]) == []


def test_bip_340_vectors_hold() -> None:
    """Rows 0 and 4 of the BIP's table (the message is 32 bytes there as here), and row 5, a key that is no point."""
    assert ALICE.public_key_xonly.format().hex() == pubkey(ALICE)
    assert holds(
        Claim(
            "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
            "00" * 32,
            "e907831f80848d1069a5371b402410364bdf1c5f8307b0084c55f1ce2dca8215"
            "25f66a4a85ea8b71e482a74f382d2ce5ebeee8fdb2172f477df4900d310536c0",
        )
    )
    assert holds(
        Claim(
            "d69c3509bb99e412e68b0fe8544e72837dfa30746d8be2aa65975f29d22dc7b9",
            "4df3c3f68fcc83b27e9d42c90431a72499f17875c81a599b566c9889b9696703",
            "00000000000000000000003b78ce563f89a0ed9414f5aa28ad0d96d6795f9c63"
            "76afb1548af603b3eb45c9f8207dee1060cb71c04e80f593060b07d28308d7f4",
        )
    )
    assert not holds(
        Claim(
            "eefdea4cdb677750a420fee807eacf21eb9898ae79b9768766e4faa04a2d4a34",
            "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
            "6cff5c3ba86c69ea4b7376f31a9bcb4f74c1976089b2d9963da2e5543e177769"
            "69e89b4c5564d00349106b8497785dd7d1d713a8ae82b32fa79d5f7fc407d39b",
        )
    )
