"""What a delivery carries, whichever door it came in by, and what it looks like to FCM.

Invariant: what the log keeps of an accepted notification can be read back whole, by the tenant that it was kept under.
Must not know how anything is sent.
"""

from typing import Any, assert_never

from gateway.facts import Accepted
from gateway.push.envelope import Notification, notification_of
from gateway.push.manner import Manner
from gateway.push.matrix import MatrixEvent, event_of, fcm_message, is_matrix
from gateway.push.plan import message

Content = Notification | MatrixEvent


def content_of(accepted: Accepted) -> tuple[Content, bool]:
    """Read an accepted notification again, and whether it is a dry run."""
    if is_matrix(accepted.tenant):
        return event_of(accepted.body), False
    return notification_of(accepted.body)


def fcm(content: Content, target_kind: str, target: str, title: str, manner: Manner) -> dict[str, Any]:
    """Build the ``message`` of one FCM send."""
    match content:
        case Notification():
            collapse, is_urgent = manner.collapse, manner.is_urgent
            return message(content, target_kind, target, title, collapse=collapse, is_urgent=is_urgent)
        case MatrixEvent():
            return fcm_message(content, target_kind, target)
        case _:
            assert_never(content)
