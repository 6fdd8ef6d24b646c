"""The message for one device: whole ids, a text that fits, one collapse key everywhere."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Project
from gateway.errors import ConfigInvalid
from gateway.limits.push import FIELD_BYTES_MAX, PAYLOAD_BYTES_MAX, TITLE_BYTES_MAX
from gateway.push.envelope import Notification
from gateway.push.plan import Projects, collapse_key, cut, is_reserved, judge_title, message, payload_bytes, timed

NOTE = Notification("n1", "like", "Bob さん", "bob", "post", "p1", None)
field = st.text(st.characters(codec="utf-8"), max_size=FIELD_BYTES_MAX // 4)


def test_a_message_has_the_keys_that_apps_read() -> None:
    made = message(NOTE, "token", "t1", "通知")
    assert made["token"] == "t1"
    assert made["notification"] == {"title": "通知", "body": "Bob さん"}
    assert made["data"] == {
        "notification_id": "n1",
        "type": "like",
        "ref_type": "post",
        "ref_id": "p1",
        "actor_id": "bob",
    }


def test_a_repeat_collapses_on_every_platform() -> None:
    made, key = message(NOTE, "token", "t1", "x"), collapse_key("n1")
    assert re.fullmatch(r"[A-Za-z0-9_-]{32}", key)
    assert made["android"]["collapse_key"] == made["android"]["notification"]["tag"] == key
    assert made["apns"]["headers"]["apns-collapse-id"] == made["webpush"]["headers"]["Topic"] == key
    assert collapse_key("n2") != key


def test_what_is_not_urgent_says_so_to_every_platform() -> None:
    for urgent, said in ((True, ("HIGH", "10", "high")), (False, ("NORMAL", "5", "normal"))):
        made = message(NOTE, "token", "t1", "x", collapse="k", is_urgent=urgent)
        headers = made["apns"]["headers"], made["webpush"]["headers"]
        assert (made["android"]["priority"], headers[0]["apns-priority"], headers[1]["Urgency"]) == said
        assert made["android"]["collapse_key"] == headers[0]["apns-collapse-id"] == headers[1]["Topic"] == "k"


def test_how_long_it_is_kept_is_said_to_every_platform_and_an_operators_own_word_wins() -> None:
    made = timed(message(NOTE, "token", "t1", "x"), 60, 1000)
    assert made["android"]["ttl"] == "60s"
    assert made["apns"]["headers"]["apns-expiration"] == "1060"
    assert made["webpush"]["headers"]["TTL"] == "60"
    assert made["webpush"]["headers"]["Urgency"] == "high"
    assert timed({"token": "t", "android": {"ttl": "5s"}}, 60, 1000)["android"] == {"ttl": "5s"}
    assert timed({"token": "t"}, 2_419_200, 1000) == {"token": "t"}, "that is what FCM does by itself"


@pytest.mark.parametrize("kind", ["token", "fid"])
def test_exactly_one_field_names_the_device(kind: str) -> None:
    made = message(NOTE, kind, "t1", "x")
    assert [name for name in ("token", "fid", "topic", "condition") if name in made] == [kind]


@given(field, field, field, field, field, st.text(st.characters(codec="utf-8"), max_size=5000))
def test_the_payload_fits_and_only_the_text_is_cut(a: str, b: str, c: str, d: str, e: str, text: str) -> None:
    note = Notification(a, b, text, c, d, e, None)
    made = message(note, "token", "t", "題" * (TITLE_BYTES_MAX // 3))
    assert payload_bytes(made["data"], made["notification"]) <= PAYLOAD_BYTES_MAX
    assert list(made["data"].values()) == [a, b, d, e, c]
    assert text.startswith(made["notification"]["body"])


def test_a_text_is_cut_as_late_as_possible_and_between_characters() -> None:
    made = message(Notification("n", "t", "あ" * 3000, "", "", "", None), "token", "t", "x")
    size = payload_bytes(made["data"], made["notification"])
    assert PAYLOAD_BYTES_MAX - 2 <= size <= PAYLOAD_BYTES_MAX
    assert set(made["notification"]["body"]) == {"あ"}


@given(st.text(st.characters(codec="utf-8")), st.integers(0, 50))
def test_a_cut_is_the_longest_start_that_fits(text: str, bytes_max: int) -> None:
    got = cut(text, bytes_max)
    assert text.startswith(got)
    assert len(got.encode()) <= bytes_max
    assert got == text or len(text[: len(got) + 1].encode()) > bytes_max


@pytest.mark.parametrize("key", ["from", "message_type", "notification", "google.x", "googlething", "gcm", "gcm.n.e"])
def test_reserved_keys_are_known(key: str) -> None:
    assert is_reserved(key)
    assert not is_reserved("notification_id")


def test_a_title_that_takes_the_texts_room_is_a_configuration_error() -> None:
    judge_title("通知")
    with pytest.raises(ConfigInvalid):
        judge_title("x" * (TITLE_BYTES_MAX + 1))


def test_projects_are_chosen_by_app_and_one_is_the_default() -> None:
    several = Projects({"default": Project(), "ios": Project(app_ids=("app.ios",))})
    assert [several.chosen(app) for app in ("app.ios", "", "other")] == ["ios", "default", "default"]
    assert Projects({"main": Project()}).chosen("anything") == "main"
    assert Projects({"a": Project(app_ids=("x",)), "b": Project(app_ids=("y",))}).chosen("z") == ""
    assert Projects({}).chosen("") == ""
    with pytest.raises(ConfigInvalid):
        Projects({"a": Project(app_ids=("x",)), "b": Project(app_ids=("x",))})
