"""Classes of tenants: three, however many there are."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Instance, Push
from gateway.push.tenantclass import CLASSES, CONFIGURED, MATRIX, OPEN, TenantClasses


def test_whom_the_configuration_names_by_slug_domain_claim_or_list_is_configured() -> None:
    entries = {
        "Demo.example": Instance(),
        "external:demo": Instance(domain="slug.example"),
        "a.example": Instance(tenant="old"),
    }
    classes = TenantClasses(Push(allow=["listed.example"]), entries)
    for tenant in ("demo.example", "external:demo", "slug.example", "old", "listed.example"):
        assert classes.of(tenant) == CONFIGURED
    assert classes.of("stranger.example") == OPEN
    assert classes.of("matrix:com.example.app") == MATRIX


@given(st.text())
def test_any_tenant_has_one_of_three_classes(tenant: str) -> None:
    assert TenantClasses().of(tenant) in CLASSES
