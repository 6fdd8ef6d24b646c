"""A device: one registration token or installation id of one user of a tenant (push §3, §5)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Device:
    """Where a user's notifications go; ``target_kind`` says which of FCM's two fields names it, and never changes."""

    target: str
    target_kind: str  # "token" | "fid"
    platform: str
    app_id: str
