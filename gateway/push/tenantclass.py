"""Classes of tenants: all that a figure may say of whom it is about.

Anybody who publishes a document is a tenant, so a label with tenants' names would grow without end, and would tell
every reader of /metrics who uses the gateway. Invariant: any tenant whatever has one of three classes. Must not know
figures.
"""

from collections.abc import Mapping

from gateway.config import Instance, Push
from gateway.push.hostname import spelling
from gateway.push.matrix import is_matrix

CONFIGURED = "configured"  # the operator's configuration names it
OPEN = "open"  # it came by itself
MATRIX = "matrix"  # an app of the Matrix door
CLASSES = (CONFIGURED, OPEN, MATRIX)


class TenantClasses:
    """Which class a tenant has, by what the configuration says."""

    def __init__(self, push: Push | None = None, instances: Mapping[str, Instance] | None = None) -> None:
        entries = instances or {}
        names = [*entries, *(push.allow if push else ())]
        for entry in entries.values():
            names += [entry.domain, entry.tenant]
        self._configured = frozenset(map(spelling, filter(None, names)))

    def of(self, tenant: str) -> str:
        """One of `CLASSES`."""
        if is_matrix(tenant):
            return MATRIX
        return CONFIGURED if tenant in self._configured else OPEN
