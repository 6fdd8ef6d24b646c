"""What the clients remember: everything that the server acknowledged, and what the fake FCM was asked to deliver.

Invariant: a thing is remembered only once its acknowledgement has been read; what was sent and not answered is unknown,
and either outcome is right for it.
"""

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.serve.fakes.fcm import Fake, Reply


@dataclass
class Memory:
    """All that must still be true after the next restart."""

    accepted: dict[str, str] = field(default_factory=dict)  # notification id -> the device's token
    registrations: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # mirror URL -> row ids
    events: set[str] = field(default_factory=set)
    audited: set[str] = field(default_factory=set)  # rows and events that an earlier audit has found again
    open_tokens: list[str] = field(default_factory=list)  # mirror URLs
    revoked_tokens: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # promises that were not kept

    def has_each(self) -> bool:
        """Whether a notification, an event and a row are remembered, without which a run shows nothing."""
        return bool(self.accepted and self.events and any(self.rows.values()))

    def counts(self) -> str:
        """One line on how much is remembered."""
        rows = sum(map(len, self.rows.values()))
        return (
            f"{len(self.accepted)} notifications, {len(self.registrations)} registrations, {rows} rows, "
            f"{len(self.events)} events, {len(self.open_tokens)}+{len(self.revoked_tokens)} tokens"
        )


class RecordingFake(Fake):
    """A fake FCM that knows when it took each notification, by wall time in ns, as the log's records do."""

    def __init__(self, public_key: rsa.RSAPublicKey) -> None:
        super().__init__(public_key=public_key)
        self.taken_ns: dict[str, list[int]] = defaultdict(list)

    def reply(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Answer, and write down what was taken."""
        before = self.count
        reply = super().reply(method, path, headers, body)
        if self.count > before:
            self.taken_ns[self.sent[-1]["message"]["data"]["notification_id"]].append(time.time_ns())
        return reply
