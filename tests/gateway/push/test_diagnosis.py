"""Diagnoses of documents: every fault is found, and what the gateway refuses is never called good."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import PushRefused
from gateway.push import diagnosis
from gateway.push.diagnosis import Finding, diagnose, unfetched
from gateway.push.es256 import private_pem
from gateway.push.wellknown import judge
from tests.takos import Instance

TAKOS, OTHER = Instance(), Instance()
WHOLE = json.loads(TAKOS.document())


def document(**changes: Any) -> bytes:
    return json.dumps({name: value for name, value in (WHOLE | changes).items() if value is not ...}).encode()


def found(body: bytes, domain: str = TAKOS.domain, claimable: str = "") -> list[Finding]:
    return diagnose(body, domain, claimable)


def faults(body: bytes) -> str:
    return " ".join(one.what for one in found(body) if one.level == "fault")


def test_a_good_document_has_nothing_to_find() -> None:
    assert found(document()) == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "cannot be read"),
        (b"[1]", "cannot be read"),
        (b"\n <!doctype html><title>takos</title>", "web page"),
        (document(instance=...), "no instance"),
        (document(instance="evil.example"), "'evil.example'"),
        (document(instance=7), "no instance"),
        (document(registrationPublicKey=...), "no registrationPublicKey"),
        (document(registrationPublicKey="PEM"), "registrationPublicKey is not one PEM"),
        (document(webhook=...), "no webhook"),
        (document(webhook={"algorithm": "RS256", "publicKey": TAKOS.pem}), "ES256"),
        (document(webhook={"algorithm": "ES256"}), "no webhook.publicKey"),
        (document(tenant=7), "tenant is not a string"),
        (document(more="x" * 20_000), "more than 16384 bytes"),
        (document(oops=private_pem(OTHER.key)), "private key"),
    ],
)
def test_each_fault_is_named_together_with_its_mend(body: bytes, why: str) -> None:
    assert why in faults(body)
    assert all(one.mend for one in found(body) if one.level == "fault")


def test_all_faults_are_found_at_once() -> None:
    told = faults(document(instance="a.example", registrationPublicKey="x", webhook={"algorithm": "none"}))
    assert told.count(".") >= 4
    for word in ("a.example", "registrationPublicKey", "ES256", "webhook.publicKey"):
        assert word in told


def test_what_is_odd_but_taken_is_a_note() -> None:
    pem = TAKOS.pem.replace("\n", "\\n")
    folded = found(document(registrationPublicKey=pem))
    assert {one.level for one in folded} == {"note"}
    assert "written out" in folded[0].what
    other = document(webhook={"algorithm": "ES256", "publicKey": OTHER.pem})
    assert [one.what for one in found(other)] == ["The two keys differ."]
    claim = document(tenant="acme")
    assert [one.level for one in found(claim)] == ["note"]
    assert found(claim, claimable="acme") == []


PARTS = st.sampled_from([..., "", "x", 7, None, TAKOS.pem, TAKOS.domain, {}, {"algorithm": "ES256"}, WHOLE["webhook"]])


@given(st.fixed_dictionaries(dict.fromkeys(("instance", "registrationPublicKey", "webhook", "tenant"), PARTS)))
def test_what_the_gateway_refuses_has_a_fault_and_what_it_takes_has_none(changes: dict[str, Any]) -> None:
    body = document(**changes)
    try:
        judge(body, TAKOS.domain)
        is_taken = True
    except PushRefused:
        is_taken = False
    assert is_taken == (not faults(body))


@pytest.mark.parametrize(
    ("why", "mend"),
    [
        ("the server answered 302 (redirects are not followed)", "no redirect"),
        ("the server answered 404", "keygen"),
        ("the server answered 403", "no login"),
        ("the server answered 503", "its log"),
        ("the server answered an encoded body", "compress"),
        ("the server has no valid certificate for the name", "certificate for a.example"),
        ("it took more than 5 seconds", "5 seconds"),
        ("the name has no address, or one that is not public", "public addresses only"),
        ("the server sent more than 16384 bytes", "16 KiB"),
        ("the name or its server cannot be reached", "port 443"),
        ("the server does not speak HTTP", "HTTP/1.1"),
    ],
)
def test_whatever_kept_it_from_being_fetched_can_be_mended(why: str, mend: str) -> None:
    refusal = PushRefused(502, "well-known-unreachable", f"The instance's takos-push.json cannot be fetched: {why}.")
    assert mend in unfetched(refusal, "a.example").mend


def test_a_rule_that_only_the_gateway_knows_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def stricter(body: bytes, domain: str) -> None:
        raise PushRefused(502, "well-known-invalid", f"{domain} broke a new rule with {len(body)} bytes.")

    monkeypatch.setattr(diagnosis, "judge", stricter)
    assert "new rule" in faults(document())
