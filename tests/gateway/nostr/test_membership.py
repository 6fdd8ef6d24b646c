"""Invitations are read back by their maker alone, and what a relay signs is a protected event of its own."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.nostr import INVITATION_CHARS_MAX, MEMBERS_LISTED_MAX
from gateway.nostr.event import flaw, is_protected
from gateway.nostr.membership import ADDED, MEMBERS, Invitation, Invitations, member_tags, signed
from gateway.nostr.signature import Claim, Signer, holds

KEY = "11" * 32
OURS = Invitations(KEY, "relay")


@given(st.integers(0, 2**40 - 1), st.binary(min_size=8, max_size=8))
def test_what_was_made_is_read_back(ends_s: int, name: bytes) -> None:
    code = OURS.make(ends_s, name)
    assert len(code) == 34 <= INVITATION_CHARS_MAX
    assert OURS.read(code) == Invitation(ends_s, name.hex())


@given(st.text(max_size=80) | st.binary(max_size=40).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_what_somebody_made_up_is_none(code: str) -> None:
    assert OURS.read(code) is None


@pytest.mark.parametrize("other", [Invitations("22" * 32, "relay"), Invitations(KEY, "another")])
def test_a_code_of_another_key_or_relay_or_a_changed_one_is_none(other: Invitations) -> None:
    code = other.make(9, bytes(8))
    assert OURS.read(code) is None
    good = OURS.make(9, bytes(8))
    assert OURS.read(good[:8] + ("A" if good[8] != "A" else "B") + good[9:]) is None
    assert OURS.read(good + "A" * INVITATION_CHARS_MAX) is None


def test_what_the_relay_signs_holds_and_is_protected() -> None:
    signer = Signer(KEY)
    for kind, tags in ((ADDED, [("p", "ab" * 32)]), (MEMBERS, member_tags(["b" * 64, "a" * 64]))):
        event = signed(signer, kind, tags, 1_700_000_000, bytes(32))
        assert flaw(event) is None
        assert holds(Claim(event.pubkey, event.id, event.sig))
        assert is_protected(event)
        assert (event.pubkey, event.kind) == (signer.pubkey, kind)
    assert event.tags == (("-",), ("member", "a" * 64), ("member", "b" * 64))


def test_a_list_holds_as_many_members_as_fit_one_event() -> None:
    tags = member_tags(f"{number:064x}" for number in range(MEMBERS_LISTED_MAX + 5))
    assert len(tags) == MEMBERS_LISTED_MAX
    assert sum(len(name) + len(value) + 8 for name, value in tags) < 131_072
