"""A device: one registration token, installation id or push subscription of one user of a tenant (push §3, §5)."""

import msgspec


class Device(msgspec.Struct, frozen=True, gc=False):
    """Where a user's notifications go; ``target_kind`` says by which way, and never changes."""

    target: str
    target_kind: str
    platform: str
    app_id: str
