"""What moderators' lists lose by an erasure is said again: they end as they stood, but for the erased key's name."""

import sqlite3

from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog.record import Record
from gateway.facts import Moderated, draft
from gateway.nostr.moderation import CHANGES, KEYS_BANNED
from gateway.views.moderation import ModerationView
from gateway.views.restating import NOBODY, Entry, Lists
from tests.signing import ALICE, BOB, pubkey

K, B = pubkey(ALICE), pubkey(BOB)
RAW, ADMIN = bytes.fromhex(K), b"a" * 32
MARK = b"m" * 32


def names(text: str) -> bool:
    return K in text


def goes(fact: Moderated) -> bool:
    return fact.by == RAW or names(fact.value) or names(fact.reason)


def restated(facts: list[Moderated]) -> list[Moderated]:
    lists = Lists()
    for fact in facts:
        lists.take(fact, goes=goes(fact))
    return lists.restated(K, MARK, names)


def folded(facts: list[Moderated]) -> dict[str, dict[str, dict[str, str]]]:
    view = ModerationView(sqlite3.connect(":memory:"))
    for seq, fact in enumerate(facts):
        made = draft(fact, ts_ns=1, salt=bytes(16))
        view.apply([Record(seq, made.schema, 1, made.kind, b"", b"", made.payload)], seq + 1)
    return {relay: view.lists(relay) for relay in ("one", "two")}


def after(facts: list[Moderated]) -> dict[str, dict[str, dict[str, str]]]:
    return folded([fact for fact in facts if not goes(fact)] + restated(facts))


def test_a_ban_of_the_key_stands_on_under_its_mark_without_its_reason() -> None:
    facts = [Moderated("one", ADMIN, "banpubkey", K, "a name"), Moderated("one", ADMIN, "banpubkey", B, "spam")]
    assert after(facts)["one"] == {KEYS_BANNED: {MARK.hex(): "erased", B: "spam"}}


def test_what_the_key_did_as_a_moderator_stands_on_as_nobodys() -> None:
    facts = [
        Moderated("one", ADMIN, "banpubkey", B, "spam"),
        Moderated("one", RAW, "unbanpubkey", B, ""),
        Moderated("one", RAW, "disallowkind", "4", "old"),
        Moderated("two", RAW, "changerelayname", "ours", ""),
    ]
    assert after(facts) == folded(facts)
    assert {fact.by for fact in restated(facts)} == {NOBODY}


def test_a_text_that_names_the_key_is_not_said_again() -> None:
    facts = [Moderated("one", ADMIN, "changerelaydescription", f"run by {K}", "")]
    assert after(facts)["one"] == {}
    assert restated([Moderated("one", ADMIN, "blockip", "192.0.2.1", f"used by {K}")])[0].reason == ""


def test_an_entry_whose_record_retention_took_stands_on_too() -> None:
    said = Lists().restated(K, MARK, names, [Entry("one", KEYS_BANNED, K)])
    assert said == [Moderated("one", NOBODY, "banpubkey", MARK.hex(), "erased")]


def test_an_unregistered_relays_lists_are_not_said_again() -> None:
    lists = Lists()
    lists.take(Moderated("one", RAW, "banpubkey", B, ""), goes=True)
    lists.unregister("one")
    assert lists.restated(K, MARK, names) == []


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.builds(
            Moderated,
            relay_key=st.sampled_from(["one", "two"]),
            by=st.sampled_from([RAW, ADMIN]),
            method=st.sampled_from(sorted(method for method in CHANGES if not method.endswith("ip"))),
            value=st.sampled_from(["1", "2"]),
            reason=st.sampled_from(["", "why"]),
        )
    )
)
def test_where_the_key_was_only_a_moderator_the_lists_end_as_they_stood(facts: list[Moderated]) -> None:
    assert after(facts) == folded(facts)
