"""What one tenant may use: devices, requests, notifications and room in the queue; the operator's to say.

``[push]`` says it for every tenant, ``[instances."…"]`` and ``[matrix.apps."…"]`` for one of them, where 0 means: as
for every other. Invariant: a tenant's quota follows from the configuration alone. Must not know what was used
(`gateway.views.usage`).
"""

from dataclasses import dataclass

from gateway.config import Instance, MatrixApp, Push


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of one tenant; the two on notifications are without a limit at 0."""

    requests_per_minute: int
    devices_max: int
    devices_per_user_max: int
    notifications_per_minute: int
    notifications_per_day: int
    queued_max: int


QUOTA_FIELDS = (
    "rate_per_instance",
    "devices_per_tenant_max",
    "devices_per_user_max",
    "notifications_per_minute",
    "notifications_per_day",
    "queued_per_tenant_max",
)


def quota(push: Push, own: Instance | MatrixApp | None = None) -> Quota:
    """Give the quota of every tenant, or of the one that ``own`` configures."""
    return Quota(*(getattr(own, name, 0) or getattr(push, name) for name in QUOTA_FIELDS))
