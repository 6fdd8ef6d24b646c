"""An instance's document: what counts, and what is refused with the reason said."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import PushRefused
from gateway.push.es256 import public_key
from gateway.push.wellknown import document, judge, pinned
from tests.takos import Instance

TAKOS, OTHER = Instance(), Instance()
DOMAIN = "demo.example.com"


def told(body: bytes) -> str:
    with pytest.raises(PushRefused) as refused:
        judge(body, DOMAIN)
    assert (refused.value.status, refused.value.code) == (502, "well-known-invalid")
    return refused.value.sentence


def test_a_document_gives_both_keys_and_no_tenant_in_newer_clients() -> None:
    webhook = {"algorithm": "ES256", "publicKey": OTHER.pem}
    keys = judge(TAKOS.document(webhook=webhook), DOMAIN)
    assert keys.registration_key == public_key(TAKOS.pem)
    assert keys.webhook_key == public_key(OTHER.pem)
    assert keys.tenant is None


def test_older_documents_claim_a_tenant_and_spell_their_name_freely() -> None:
    keys = judge(TAKOS.document(instance=" Demo.Example.com", tenant="Demo.Example.Com"), DOMAIN)
    assert keys.tenant == DOMAIN


def test_line_breaks_may_be_written_out() -> None:
    pem = TAKOS.pem.replace("\n", "\\n")
    assert judge(TAKOS.document(registrationPublicKey=pem), DOMAIN).registration_key == public_key(TAKOS.pem)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"instance": "victim.example"}, "another instance"),
        ({"instance": None}, "no instance"),
        ({"registrationPublicKey": None}, "no registrationPublicKey"),
        ({"registrationPublicKey": "x"}, "PEM"),
        ({"webhook": None}, "no webhook"),
        ({"webhook": {"publicKey": TAKOS.pem}}, "ES256"),
        ({"webhook": {"algorithm": "none", "publicKey": TAKOS.pem}}, "ES256"),
        ({"webhook": {"algorithm": "HS256", "publicKey": TAKOS.pem}}, "ES256"),
        ({"webhook": {"algorithm": "RS256", "publicKey": TAKOS.pem}}, "ES256"),
        ({"webhook": {"algorithm": "ES256"}}, "no publicKey"),
        ({"webhook": {"algorithm": "ES256", "publicKey": "y"}}, "webhook.publicKey"),
        ({"tenant": 5}, "tenant"),
    ],
)
def test_a_wrong_document_is_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    assert reason in told(TAKOS.document(**changes))


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"a":1,"a":2}', b"[" * 9000, TAKOS.document(x="y" * 20_000)])
def test_what_is_no_bounded_json_object_is_refused(body: bytes) -> None:
    assert told(body)


def test_the_document_that_we_print_is_one_that_we_accept() -> None:
    body = json.dumps(document(DOMAIN, public_key(TAKOS.pem))).encode()
    assert judge(body, DOMAIN) == pinned(TAKOS.pem)


@given(st.data())
def test_any_change_is_judged(data: st.DataObject) -> None:
    fields = json.loads(TAKOS.document())
    wrong = st.none() | st.integers() | st.text(max_size=20) | st.lists(st.text(max_size=3), max_size=2)
    fields[data.draw(st.sampled_from(["instance", "registrationPublicKey", "webhook", "tenant"]))] = data.draw(wrong)
    try:
        judge(json.dumps(fields).encode(), DOMAIN)
    except PushRefused:
        return


@pytest.mark.parametrize("instance", ["bücher.example", "Bücher.example", "xn--bcher-kva.example"])
def test_an_instance_may_write_its_own_name_in_its_own_letters(instance: str) -> None:
    assert judge(TAKOS.document(instance=instance), "xn--bcher-kva.example").registration_key is not None
