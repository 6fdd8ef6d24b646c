"""POST /push/register as push.md §3 has it: what is taken, what happens twice, who may undo what."""

import base64
import json
import uuid
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.conformance.fakes import Instance, canonical, now_ms, raw_signature
from tests.conformance.world import World, world


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("register")) as made:
        yield made
        assert made.traces() == []


def fresh(what: str = "token") -> str:
    return f"{what}-{uuid.uuid4()}"


def delivered(w: World, user: str, by: Instance) -> int:
    answer = w.notify(by.event(user), by)
    assert answer.status == 200, answer
    return int(answer.body["delivered"])


def test_a_signed_registration_is_answered_in_the_stated_shape(w: World) -> None:
    answer = w.register(w.demo.signed("alice", fresh()))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    expected = {"ok": True, "action": "register", "tenant": w.demo.domain, "userId": "alice", "duplicate": False}
    assert answer.body == expected


def test_the_signature_may_travel_in_the_header(w: World) -> None:
    body = w.demo.registration("alice", fresh())
    assert w.register(body, {"X-Push-Signature": w.demo.sign(body)}).status == 200


def test_signatures_in_body_and_header_must_agree(w: World) -> None:
    body = w.demo.signed("alice", fresh())
    assert w.register(body, {"X-Push-Signature": body["signature"]}).status == 200
    again = w.demo.signed("alice", fresh())
    refused = w.register(again, {"X-Push-Signature": body["signature"]})
    assert refused.refusal() == (401, "signature-invalid")


def test_the_old_form_names_the_tenant_in_place_of_the_instance(w: World) -> None:
    answer = w.register(w.demo.signed("alice", fresh(), instance=None, tenant=w.demo.domain))
    assert (answer.status, answer.body["tenant"]) == (200, w.demo.domain)


def test_the_instance_is_kept_trimmed_and_lower_case_but_signed_as_sent(w: World) -> None:
    answer = w.register(w.demo.signed("alice", fresh(), instance="  Demo.Example.COM "))
    assert (answer.status, answer.body["tenant"]) == (200, w.demo.domain)


def test_extra_keys_are_allowed_and_signed(w: World) -> None:
    body = w.demo.signed("alice", fresh(), deviceName="電話", nested={"b": [1, 2.5, None], "a": True})
    assert w.register(body).status == 200
    tampered = w.demo.signed("alice", fresh(), deviceName="a") | {"deviceName": "b"}
    assert w.register(tampered).refusal() == (401, "signature-invalid")


def test_spacing_and_order_of_the_body_do_not_matter(w: World) -> None:
    body = dict(reversed(w.demo.signed("alice", fresh()).items()))
    assert w.register(json.dumps(body, indent=3).encode()).status == 200


def test_keys_with_line_breaks_as_two_characters_are_accepted(w: World) -> None:
    assert w.other.folded
    assert w.register(w.other.signed("alice", fresh())).body["tenant"] == w.other.domain


def test_platform_and_app_id_may_be_empty(w: World) -> None:
    assert w.register(w.demo.signed("alice", fresh(), platform="", appId="")).status == 200
    token = fresh()
    assert w.register(w.demo.signed("gert", token)).status == 200
    gone = w.demo.signed("gert", token, action="deregister", platform="", appId="", issued_ms=now_ms() + 5)
    assert w.register(gone).body == {
        "ok": True,
        "action": "deregister",
        "tenant": w.demo.domain,
        "userId": "gert",
        "duplicate": False,
    }
    assert delivered(w, "gert", w.demo) == 0


def test_the_same_envelope_again_changes_nothing_and_says_so(w: World) -> None:
    body = w.demo.signed("dora", fresh())
    assert w.register(body).body["duplicate"] is False
    again = w.register(body)
    assert (again.status, again.body["duplicate"]) == (200, True)
    assert delivered(w, "dora", w.demo) == 1


def test_a_re_posted_registration_does_not_bring_a_device_back(w: World) -> None:
    token, issued = fresh(), now_ms()
    body = w.demo.signed("rita", token, issued_ms=issued)
    w.register(body)
    w.register(w.demo.signed("rita", token, action="deregister", issued_ms=issued + 10))
    assert w.register(body).body["duplicate"] is True
    assert delivered(w, "rita", w.demo) == 0


def test_a_nonce_serves_one_envelope_only(w: World) -> None:
    nonce = str(uuid.uuid4())
    assert w.register(w.demo.signed("alice", fresh(), nonce=nonce)).status == 200
    assert w.register(w.demo.signed("alice", fresh(), nonce=nonce)).refusal() == (409, "nonce-reused")


def test_nonces_of_tenants_are_apart(w: World) -> None:
    nonce = str(uuid.uuid4())
    assert w.register(w.demo.signed("alice", fresh(), nonce=nonce)).status == 200
    assert w.register(w.other.signed("alice", fresh(), nonce=nonce)).status == 200


def test_a_refused_envelope_does_not_use_its_nonce_up(w: World) -> None:
    body = w.demo.signed("alice", fresh())
    assert w.register(body | {"userId": "mallory"}).refusal() == (401, "signature-invalid")
    assert w.register(body).body["duplicate"] is False


def test_of_concurrent_envelopes_with_one_nonce_exactly_one_takes_effect(w: World) -> None:
    user, nonce = fresh("user"), str(uuid.uuid4())
    bodies = [w.demo.signed(user, fresh(), nonce=nonce) for _ in range(8)]
    answers = w.at_once([lambda body=body: w.register(body) for body in bodies])  # type: ignore[misc]
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7
    assert delivered(w, user, w.demo) == 1


def test_of_concurrent_copies_of_one_envelope_one_is_no_duplicate(w: World) -> None:
    body = w.demo.signed(fresh("user"), fresh())
    answers = w.at_once([lambda: w.register(body)] * 8)
    assert sorted(answer.body["duplicate"] for answer in answers) == [False] + [True] * 7


def test_a_token_that_another_user_registers_moves(w: World) -> None:
    token, issued = fresh(), now_ms()
    w.register(w.demo.signed("before", token, issued_ms=issued))
    w.register(w.demo.signed("after", token, issued_ms=issued + 10))
    assert (delivered(w, "before", w.demo), delivered(w, "after", w.demo)) == (0, 1)


def test_an_older_envelope_never_undoes_a_later_one(w: World) -> None:
    token, issued = fresh(), now_ms()
    w.register(w.demo.signed("later", token, issued_ms=issued))
    for action in ("register", "deregister"):
        old = w.register(w.demo.signed("earlier", token, action=action, issued_ms=issued - 5_000))
        assert (old.status, old.body.get("superseded")) == (200, True)
    old = w.register(w.demo.signed("later", token, action="deregister", issued_ms=issued - 4_000))
    assert old.body.get("superseded") is True
    assert (delivered(w, "earlier", w.demo), delivered(w, "later", w.demo)) == (0, 1)


def test_only_the_user_who_holds_a_token_deregisters_it(w: World) -> None:
    token, issued = fresh(), now_ms()
    w.register(w.demo.signed("holder", token, issued_ms=issued))
    w.register(w.demo.signed("stranger", token, action="deregister", issued_ms=issued + 10))
    assert delivered(w, "holder", w.demo) == 1


def test_a_strangers_deregistration_does_not_outdate_the_holders_next_envelope(w: World) -> None:
    token, issued = fresh(), now_ms()
    w.register(w.demo.signed("owner", token, issued_ms=issued))
    w.register(w.demo.signed("owner", token, action="deregister", issued_ms=issued + 20))
    assert delivered(w, "owner", w.demo) == 0
    captured = w.register(w.demo.signed("owner", token, issued_ms=issued + 10))
    assert captured.body.get("superseded") is True
    assert delivered(w, "owner", w.demo) == 0


def test_the_same_token_of_two_tenants_is_two_devices(w: World) -> None:
    token, user = fresh(), fresh("user")
    w.register(w.demo.signed(user, token))
    w.register(w.other.signed("someone", token, issued_ms=now_ms() + 1_000))
    assert (delivered(w, user, w.demo), delivered(w, "someone", w.other)) == (1, 1)


def test_beyond_64_devices_the_least_recently_registered_goes(w: World) -> None:
    user, tokens, issued = fresh("user"), [fresh("many") for _ in range(65)], now_ms()
    for at, token in enumerate(tokens):
        assert w.register(w.demo.signed(user, token, issued_ms=issued + at)).status == 200
    already = len(w.fcm.sent)
    assert delivered(w, user, w.demo) == 64
    assert set(w.fcm.tokens()[already:]) == set(tokens[1:])


def test_a_slug_and_its_domain_are_one_tenant(w: World) -> None:
    user = fresh("user")
    by_domain = w.register(w.slug.signed(user, fresh()))
    by_slug = w.register(w.slug.signed(user, fresh(), instance="external:slug"))
    assert (by_domain.status, by_domain.body["tenant"]) == (200, "external:slug")
    assert (by_slug.status, by_slug.body["tenant"]) == (200, "external:slug")
    assert delivered(w, user, w.slug) == 2


def test_a_slug_that_nobody_configured_is_refused(w: World) -> None:
    assert w.register(w.demo.signed("alice", fresh(), instance="external:unknown")).status in {400, 403}


def test_the_signatures_spelling_is_one_and_only_one(w: World) -> None:
    body = w.demo.registration("alice", fresh())
    raw = raw_signature(w.demo.key, canonical(body))
    text = base64.b64encode(raw).decode()
    der = base64.b64encode(w.demo.key.sign(canonical(body), ec.ECDSA(hashes.SHA256()))).decode()
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    wrong = {
        "der": der,
        "base64url": base64.urlsafe_b64encode(b"\xff" * 3 + raw[3:]).decode(),
        "no padding": text.rstrip("="),
        "spare bits": text[:-3] + chr(ord(text[-3]) + 1) + "==" if text[-3] in "AQgw" else text[:-3] + "B==",
        "63 bytes": base64.b64encode(raw[:63]).decode(),
        "space": text + " ",
        "line break": text[:44] + "\n" + text[44:],
        "r is zero": base64.b64encode(bytes(32) + raw[32:]).decode(),
        "s is zero": base64.b64encode(raw[:32] + bytes(32)).decode(),
        "r is the order": base64.b64encode(order.to_bytes(32) + raw[32:]).decode(),
        "hex": raw.hex(),
        "other message": w.demo.sign({"a": 1}),
    }
    got = {name: w.register(body | {"signature": value}).refusal() for name, value in wrong.items()}
    assert got == dict.fromkeys(wrong, (401, "signature-invalid"))
    assert w.register(body | {"signature": text}).status == 200
