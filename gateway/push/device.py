"""A device: one registration token, installation id or push subscription of one user of a tenant (push §3, §5)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Device:
    """Where a user's notifications go; ``target_kind`` says by which way, and never changes."""

    target: str
    target_kind: str
    platform: str
    app_id: str
