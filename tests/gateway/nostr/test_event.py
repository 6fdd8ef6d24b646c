"""Events: the id, the shape, the classes of kinds, and what is stored of them."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.nostr import event as nostr
from gateway.nostr.event import Event, Keeping
from tests.signing import ALICE, signed


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])))),
    st.integers(0, 65_535),
)
def test_the_id_is_what_json_dumps_and_sha256_say(content: str, tags: list[list[str]], kind: int) -> None:
    event = signed(ALICE, kind, content, tags)
    assert nostr.event_id(event) == event.id
    assert nostr.flaw(event) is None


@pytest.mark.parametrize("code", [*range(0x20), 0x22, 0x2F, 0x5C, 0x7F, 0x80, 0x2028, 0xFFFF, 0x1F600])
def test_every_odd_character_is_hashed_as_other_clients_hash_it(code: int) -> None:
    event = signed(content=chr(code))
    assert nostr.canonical(event).decode() == json.dumps(
        [0, event.pubkey, event.created_at, 1, [], chr(code)], ensure_ascii=False, separators=(",", ":")
    )


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"content": "other"}, "event id"),
        ({"id": "0" * 64}, "event id"),
        ({"sig": "ab"}, "sig"),
        ({"sig": "A" * 128}, "sig"),
        ({"sig": "0" * 127 + "\n"}, "sig"),
    ],
)
def test_a_changed_field_is_named(change: dict[str, str], part: str) -> None:
    found = nostr.flaw(msgspec.structs.replace(signed(), **change))
    assert found is not None
    assert part in found


@pytest.mark.parametrize("pubkey", ["ab", "A" * 64, "g" * 64, "a" * 63 + "\n", "٠" * 64])
def test_a_key_that_is_not_64_lower_case_hex_digits_is_refused_though_the_id_fits(pubkey: str) -> None:
    event = msgspec.structs.replace(signed(), pubkey=pubkey)
    found = nostr.flaw(msgspec.structs.replace(event, id=nostr.event_id(event)))
    assert found is not None
    assert "pubkey" in found


@pytest.mark.parametrize(
    ("kinds", "kept"),
    [
        ([1, 2, 4, 5, 7, 9_999, 40_000, 65_535], Keeping.ALL),
        ([0, 3, 10_000, 19_999], Keeping.NEWEST),
        ([20_000, 29_999], Keeping.NONE),
        ([30_000, 39_999], Keeping.NEWEST_ADDRESSED),
    ],
)
def test_kinds_are_kept_as_nip_01_says(kinds: list[int], kept: Keeping) -> None:
    assert {nostr.keeping(kind) for kind in kinds} == {kept}


@pytest.mark.parametrize(
    ("tags", "name"),
    [([["d", "x"], ["d", "y"]], "x"), ([["d"]], ""), ([], ""), ([["d", ""]], ""), ([[], ["d", "z"]], "z")],
)
def test_the_first_d_tag_names_an_addressable_event(tags: list[list[str]], name: str) -> None:
    assert nostr.identifier(signed(kind=30_000, tags=tags)) == name
    assert nostr.identifier(signed(kind=0, tags=tags)) == ""


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("30000:k:a:b", (30_000, "a:b")),
        ("30000:k", (30_000, "")),
        ("0:k:x", (0, "")),
        ("1:k:", None),
        ("20000:k:", None),
        ("0:other:", None),
        ("\u0663:k:", None),
        ("030000:k:", None),
        ("", None),
    ],
)
def test_an_a_tag_names_only_what_is_replaceable_and_its_authors_own(value: str, named: tuple[int, str] | None) -> None:
    assert nostr.address(value, "k") == named


def test_the_stored_form_holds_the_seven_fields_alone_and_decodes_to_the_same_event() -> None:
    event = signed(content='"\\\x00\u2028', tags=[["p", "x"], []])
    assert list(json.loads(nostr.stored_form(event))) == [
        "id",
        "pubkey",
        "created_at",
        "kind",
        "tags",
        "content",
        "sig",
    ]
    assert nostr.stored_event(nostr.stored_form(event)) == event


def test_only_single_ascii_letters_are_indexed_and_only_their_first_value() -> None:
    tags = [["p", "1", "2"], ["P", "3"], ["e"], ["ä", "4"], ["1", "5"], ["ee", "6"], ["", "7"], []]
    assert nostr.indexed_tags(signed(tags=tags)) == {("p", "1"), ("P", "3")}


def test_an_event_is_a_value() -> None:
    with pytest.raises(AttributeError):
        signed().content = "other"  # type: ignore[misc]
    assert isinstance(hash(signed()), int)
    assert isinstance(signed(), Event)


@pytest.mark.parametrize(
    ("tags", "asks"),
    [([], False), ([["e", "-"], []], False), ([["t", "x"], ["-"]], True), ([["expiration", "no number"]], True)],
)
def test_an_event_that_asks_for_something_is_told_in_one_pass(tags: list[list[str]], asks: bool) -> None:
    assert nostr.asks_something(signed(tags=tags)) is asks


@pytest.mark.parametrize("kind", [0, 1, 3, 5, 7, 62, 1059, 10_002, 20_001, 30_023, 40_000])
def test_plain_and_ephemeral_kinds_are_what_their_keeping_says(kind: int) -> None:
    assert nostr.is_ephemeral(kind) is (nostr.keeping(kind) is Keeping.NONE)
    assert nostr.is_plain(kind) is (nostr.keeping(kind) is Keeping.ALL and kind != 1059)
