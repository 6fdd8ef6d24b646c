"""The view of tokens, against a slow oracle that keeps every fact."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.record import Record
from gateway.facts import Fact, RelayRegistered, RelayUnregistered, TokenIssued, TokenRevoked, draft
from gateway.limits.keeping import CLOCK_JUMP_MS_MAX
from gateway.limits.relays import NONCE_KEPT_MS
from gateway.views.tokens import Subject, TokensView

A, B = "aa" * 32, "bb" * 32
ALICE, BOB = "a1" * 32, "b1" * 32
SALT = b"s" * 16


def issued(sequence=1, relay_key=A, pubkey=None, at=0, expires=1_000, nonce=None, worker="w", hashed=b"h"):
    return TokenIssued(worker, relay_key, pubkey, "s", sequence, at, expires, hashed, hashed + b"r", None, nonce, at)


def revoked(relay_key=A, pubkey=None, at=0, nonce=None):
    return TokenRevoked("w", relay_key, pubkey, 0, at, "r", nonce, at)


def folded(facts: list[Fact], batch: int = 1_000) -> TokensView:
    view = TokensView(sqlite3.connect(":memory:"))
    records = []
    for seq, fact in enumerate(facts):
        each = draft(fact, ts_ns=0, salt=SALT if fact.personal else b"")
        records.append(Record(seq, each.schema, each.ts_ns, each.kind, b"", b"", each.payload))
    for at in range(0, len(records), batch):
        part = records[at : at + batch]
        view.apply(part, part[-1].seq + 1)
    return view


def test_a_subject_stands_where_its_last_token_stood():
    view = folded([issued(1), issued(2), issued(1, pubkey=ALICE)])
    assert view.subject(A, "") == Subject(2)
    assert view.subject(A, ALICE) == Subject(1)
    assert view.subject(B, "") == Subject()
    assert view.top_sequence(A) == 2
    assert view.top_sequence(B) == 0
    assert folded([issued(2), issued(1)]).subject(A, "") == Subject(2), "a sequence never falls"


def test_a_revocation_covers_what_was_issued_and_nothing_later():
    view = folded([issued(1), issued(2), revoked(pubkey=None, at=5), issued(3), issued(1, pubkey=BOB)])
    assert [view.revoked(A, "", sequence) for sequence in (1, 2, 3)] == [True, True, False]
    assert not view.revoked(A, BOB, 1)
    assert view.subject(A, BOB).revoked_ms == 5, "the relay's revocation counts for subjects without tokens too"


def test_a_subjects_revocation_leaves_others_alone():
    view = folded([issued(1, pubkey=ALICE), issued(1, pubkey=BOB), revoked(pubkey=ALICE, at=9)])
    assert view.revoked(A, ALICE, 1)
    assert not view.revoked(A, BOB, 1)
    assert view.subject(A, BOB).revoked_ms == 0


def test_taking_a_relay_away_revokes_its_tokens():
    view = folded([issued(1), issued(1, B), RelayUnregistered("w", A, None, None)])
    assert view.revoked(A, "", 1)
    assert not view.revoked(B, "", 1)


def test_a_token_is_known_by_its_hash_until_well_after_its_end():
    late = NONCE_KEPT_MS + CLOCK_JUMP_MS_MAX + 1_001
    view = folded([issued(1, hashed=b"x")])
    assert view.issued(b"x").sequence == view.issued(b"xr").sequence == 1
    assert view.has_issued(A)
    assert view.issuers(A, "") == {"w"}
    view = folded([issued(1, hashed=b"x"), issued(2, at=late, expires=late + 1, hashed=b"y")])
    assert view.issued(b"x") is None
    assert view.issued(b"y") is not None
    assert view.subject(A, "").sequence == 2, "a sequence is never given twice"


def test_a_nonce_is_used_up_for_its_worker_until_nothing_with_it_could_be_fresh():
    facts: list[Fact] = [
        RelayRegistered("w", A, "one", 0, 0, b"{}"), issued(nonce="two"), revoked(nonce="three"),
        RelayUnregistered("w", B, "four", 0),
    ]  # fmt: skip
    view = folded(facts)
    for nonce in ("one", "two", "three", "four"):
        assert view.used("w", nonce)
        assert not view.used("v", nonce)
    view = folded([*facts, issued(nonce="five", at=NONCE_KEPT_MS + CLOCK_JUMP_MS_MAX)])
    assert view.used("w", "one"), "the clock may have run ahead by a day"
    view = folded([*facts, issued(nonce="five", at=NONCE_KEPT_MS + CLOCK_JUMP_MS_MAX + 1)])
    assert not view.used("w", "one")
    assert view.used("w", "five")


WHO = st.sampled_from([None, ALICE, BOB])
FACTS = st.lists(
    st.one_of(
        st.builds(issued, st.just(0), st.sampled_from([A, B]), WHO),
        st.builds(revoked, st.sampled_from([A, B]), WHO, st.integers(1, 9)),
        st.builds(RelayUnregistered, st.just("w"), st.sampled_from([A, B]), st.none(), st.none()),
    ),
    max_size=25,
)


@given(FACTS, st.integers(1, 5))
def test_the_view_agrees_with_an_oracle_that_reads_every_fact_again(facts, batch):
    numbered: list[Fact] = []
    counts: dict[tuple[str, str], int] = {}
    gone: dict[tuple[str, str], int] = {}
    for fact in facts:
        match fact:
            case TokenIssued():
                key = (fact.relay_key, fact.pubkey or "")
                counts[key] = counts.get(key, 0) + 1
                numbered.append(issued(counts[key], fact.relay_key, fact.pubkey))
            case TokenRevoked(relay_key=relay_key, pubkey=pubkey):
                hit = [key for key in counts if key[0] == relay_key and pubkey in (None, key[1])]
                gone.update({key: counts[key] for key in hit})
                numbered.append(fact)
            case RelayUnregistered(relay_key=relay_key):
                gone.update({key: counts[key] for key in counts if key[0] == relay_key})
                numbered.append(fact)
    view = folded(numbered, batch)
    for (relay_key, subject), count in counts.items():
        for sequence in range(1, count + 1):
            assert view.revoked(relay_key, subject, sequence) == (sequence <= gone.get((relay_key, subject), 0))
    assert view.digest() == folded(numbered).digest()


@pytest.mark.parametrize("payload", [None])
def test_an_erased_fact_folds_to_nothing(payload):
    view = TokensView(sqlite3.connect(":memory:"))
    view.apply([Record(0, 1, 0, TokenIssued.kind, b"", b"", payload)], 1)
    assert not view.has_issued(A)
