"""Whose devices are whose: slugs, domains, claims and the access policy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Instance as Entry
from gateway.config import Push
from gateway.errors import ConfigInvalid, PushRefused
from gateway.push.tenant import SECRET_NEVER, Directory
from gateway.push.wellknown import pinned
from tests.takos import Instance

PEM = Instance().pem
LOCAL = "http://127.0.0.1:9001/.well-known/takos-push.json"


def refused(directory: Directory, *names: str) -> tuple[int, str]:
    with pytest.raises(PushRefused) as why:
        directory.resolve(names)
    return why.value.status, why.value.code


def test_an_unknown_domain_is_its_own_tenant_however_it_is_spelled() -> None:
    directory = Directory(Push(), {})
    for name in ("demo.example.com", " DEMO.example.com ", "Demo.Example.Com"):
        signer = directory.resolve((name,))
        assert (signer.domain, signer.tenant, signer.configured) == ("demo.example.com", "demo.example.com", False)


def test_a_slug_and_its_domain_are_one_tenant() -> None:
    instances = {"external:demo": Entry(domain="demo.example.com"), "demo.example.com": Entry(url=LOCAL)}
    directory = Directory(Push(), instances)
    by_slug, by_domain = directory.resolve(("external:demo",)), directory.resolve(("Demo.example.com",))
    assert by_slug == by_domain
    assert (by_slug.domain, by_slug.tenant, by_slug.url) == ("demo.example.com", "external:demo", LOCAL)
    assert directory.resolve(("demo.example.com", "external:demo")) == by_slug


def test_an_unknown_slug_is_not_allowed_and_what_is_neither_slug_nor_domain_is_invalid() -> None:
    for slug in ("external:demo", " External:demo-2 "):
        assert refused(Directory(Push(), {}), slug) == (403, "instance-not-allowed")
    for name in ("[::1]", "::1", "localhost:8443", ":", "a:", "external:demo:2", "demo.example.com:443"):
        assert refused(Directory(Push(), {}), name) == (400, "invalid-field")


def test_instance_and_tenant_must_name_the_same_instance() -> None:
    directory = Directory(Push(), {})
    assert directory.resolve(("a.example", "A.example")).tenant == "a.example"
    assert refused(directory, "evil.example", "victim.example") == (403, "instance-not-allowed")


def test_a_claimed_tenant_counts_only_where_the_configuration_names_it() -> None:
    keys = pinned(PEM)
    claim = type(keys)(keys.registration_key, keys.webhook_key, "acme")
    directory = Directory(Push(), {"a.example": Entry(tenant="acme")})
    assert directory.resolve(("a.example",)).tenant_by(claim) == "acme"
    assert directory.resolve(("a.example",)).tenant_by(keys) == "a.example"
    assert directory.resolve(("a.example", "acme")).domain == "a.example"
    assert directory.resolve(("b.example",)).tenant_by(claim) == "b.example"


def test_a_blocklist_always_applies_and_an_allowlist_where_it_is_the_policy() -> None:
    blocking = Directory(Push(block=("Bad.example", "external:x")), {"external:x": Entry(domain="x.example")})
    assert refused(blocking, "bad.example") == (403, "instance-not-allowed")
    assert refused(blocking, "x.example") == (403, "instance-not-allowed")
    assert blocking.resolve(("good.example",))
    allowing = Directory(Push(policy="allowlist", allow=("good.example", "bad.example"), block=("bad.example",)), {})
    assert allowing.resolve(("GOOD.example",))
    assert refused(allowing, "bad.example")[0] == 403
    assert refused(allowing, "other.example")[0] == 403


@pytest.mark.parametrize(
    ("push", "instances", "told"),
    [
        (Push(policy="closed"), {}, "policy"),
        (Push(), {"a.example": Entry(url="https://a.example/x")}, "this machine"),
        (Push(), {"a.example": Entry(url="http://10.0.0.1/x")}, "this machine"),
        (Push(), {"a.example": Entry(url="http://a.example/x")}, "this machine"),
        (Push(), {"a.example": Entry(url="http://127.0.0.1:x/")}, "this machine"),
        (Push(), {"a.example": Entry(url=LOCAL, public_key=PEM)}, "one of them"),
        (Push(), {"a.example": Entry(public_key="x")}, "public_key"),
        (Push(), {"a.example": Entry(secret=SECRET_NEVER)}, "secret"),
        (Push(), {"not a host": Entry(secret="x")}, 'instances."not a host"'),
        (Push(), {"https://a.example": Entry()}, "https://a.example"),
        (Push(), {"s:1": Entry(domain="127.0.0.1")}, "an address"),
        (Push(block=("https://bad.example/",)), {}, "push.block: 'https://bad.example/'"),
        (Push(allow=("demo",)), {}, "push.allow: 'demo'"),
        (Push(), {"s:1": Entry(domain="a.example"), "s:2": Entry(domain="a.example")}, "two slugs"),
        (Push(), {"s:1": Entry(domain="a.example", secret="x"), "a.example": Entry(secret="y")}, "differs"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(push: Push, instances: dict[str, Entry], told: str) -> None:
    with pytest.raises(ConfigInvalid, match=told):
        Directory(push, instances)


def test_a_name_that_is_no_domain_will_do_where_nothing_is_fetched_from_it() -> None:
    instances = {"dev": Entry(url=LOCAL), "pinned": Entry(public_key=PEM), "s:1": Entry(domain="dev2", url=LOCAL)}
    directory = Directory(Push(policy="allowlist", allow=("dev", "s:1", "pinned", "later:slug")), instances)
    assert [directory.resolve((name,)).tenant for name in ("dev", "pinned", "dev2")] == ["dev", "pinned", "s:1"]


@given(st.lists(st.text(max_size=30), min_size=1, max_size=2))
def test_any_names_are_an_instance_or_a_refusal(names: list[str]) -> None:
    try:
        assert Directory(Push(), {}).resolve(tuple(names)).domain
    except PushRefused:
        return


def test_an_internationalised_name_is_one_tenant_and_one_entry_in_a_list_however_it_is_written() -> None:
    instances = {"bücher.example": Entry(notifications_per_day=3)}
    directory = Directory(Push(block=("日本.example",)), instances)
    for name in ("bücher.example", "BÜCHER.example", "xn--bcher-kva.example"):
        signer = directory.resolve((name,))
        assert (signer.domain, signer.tenant) == ("xn--bcher-kva.example", "xn--bcher-kva.example")
        assert directory.quota(signer.tenant).notifications_per_day == 3
    for name in ("日本.example", "xn--wgv71a.example"):
        assert refused(directory, name) == (403, "instance-not-allowed")


def test_a_list_may_name_an_instance_by_the_tenant_that_it_may_claim() -> None:
    instances = {"a.example": Entry(tenant="acme")}
    assert refused(Directory(Push(block=("acme",)), instances), "a.example") == (403, "instance-not-allowed")
    allowed = Directory(Push(policy="allowlist", allow=("acme",)), instances)
    assert allowed.resolve(("a.example",)).domain == "a.example"
    assert refused(allowed, "b.example") == (403, "instance-not-allowed")


def test_a_slug_and_its_domain_have_one_quota_and_a_claimed_tenant_has_it_too() -> None:
    instances = {
        "external:demo": Entry(domain="demo.example.com", queued_per_tenant_max=9),
        "demo.example.com": Entry(devices_per_tenant_max=5),
        "a.example": Entry(tenant="acme", rate_per_instance=7),
    }
    directory = Directory(Push(), instances)
    quota = directory.quota("external:demo")
    assert (quota.queued_max, quota.devices_max) == (9, 5)
    assert directory.quota("acme") == directory.quota("a.example") != directory.quota("b.example")
    assert directory.tenants() == ["a.example", "external:demo"]
    assert (directory.domain("external:demo"), directory.domain("b.example")) == ("demo.example.com", "b.example")
    with pytest.raises(ConfigInvalid, match="devices_per_tenant_max differs"):
        Directory(Push(), instances | {"external:demo": Entry(domain="demo.example.com", devices_per_tenant_max=6)})


def test_who_is_admitted_is_what_a_request_would_be_told() -> None:
    instances = {"external:demo": Entry(domain="demo.example.com"), "p.example": Entry(public_key=PEM)}
    directory = Directory(Push(block=("demo.example.com",)), instances)
    assert [directory.is_admitted(one) for one in ("external:demo", "b.example")] == [False, True]
    assert [directory.is_pinned(one) for one in ("p.example", "external:demo", "b.example")] == [True, False, False]
