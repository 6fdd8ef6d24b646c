"""What the dispatcher asks of a way out: FCM, Web Push, APNs. One for each kind of target.

Invariant: a way takes one delivery and says what came of it, whatever the world does, within a deadline of its own;
order, fairness, retries, breakers and records are the dispatcher's, the same for all ways.
"""

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from gateway.push.content import Content
from gateway.push.fcm import Verdict
from gateway.push.turns import Delivery


class NotNow(Exception):
    """The world's: nothing can be sent to this project now, and nothing was (no OAuth token, say)."""


class WayOut(AbstractAsyncContextManager[Any], Protocol):
    """A service that pushes to devices; entered before the first send, left after the last."""

    def knows(self, project: str) -> bool:
        """Whether this project (or whatever a lane stands for here) is configured."""
        ...

    async def send(self, delivery: Delivery, content: Content, *, dry_run: bool) -> Verdict:
        """Send once and say what the answer means; raise NotNow. Cancelled: it may have been delivered."""
        ...
