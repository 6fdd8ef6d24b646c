"""The ways out beside FCM that are configured, and which of them a target takes.

    targetKind: token, fid ─▶ FCM · webpush, unifiedpush ─▶ Web Push · apns ─▶ APNs
Invariant: a target is judged before it is registered, by the same rules as before it is sent to. Must not know requests
or records; the dispatcher sends.
"""

from quart_trio import QuartTrio

from gateway.config import Config
from gateway.errors import PushRefused
from gateway.push.plan import Projects
from gateway.push.subscription import KINDS
from gateway.push.target import FCM_KINDS
from gateway.serve.clock import Clock
from gateway.serve.delivery import apns, webpush
from gateway.serve.delivery.apns import APNs
from gateway.serve.delivery.wayout import WayOut
from gateway.serve.delivery.webpush import WebPush


class Ways:
    """Every way out beside FCM. Raises ConfigInvalid, and Unavailable where a key cannot be read or made."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._projects = Projects(config.fcm.projects)
        self._webpush = WebPush(config, clock) if config.webpush.enabled else None
        self._apns = APNs(config, clock) if config.apns.apps else None

    def by_kind(self) -> dict[str, WayOut]:
        """The ways, by kind of target, for the dispatcher."""
        found: dict[str, WayOut] = {}
        if self._webpush:
            found |= dict.fromkeys(KINDS, self._webpush)
        if self._apns:
            found["apns"] = self._apns
        return found

    def routes(self, app: QuartTrio) -> None:
        """Add the pages that the ways have."""
        if self._webpush:
            self._webpush.routes(app)

    def judge(self, target_kind: str, target: str, app_id: str) -> None:
        """Refuse a target that could not be sent to; raise PushRefused 400."""
        if target_kind in FCM_KINDS:
            return
        if target_kind in KINDS and self._webpush:
            self._webpush.judge(target)
        elif target_kind == "apns" and self._apns:
            self._apns.judge(app_id)
        else:
            raise PushRefused(400, "invalid-field", f"targetKind {target_kind} is not served by this gateway.")

    def lane(self, target_kind: str, app_id: str) -> str:
        """Where a device's deliveries wait: by Firebase project, or by way; "" where nothing serves it."""
        if target_kind in KINDS:
            return webpush.LANE
        return apns.LANE + app_id if target_kind == "apns" else self._projects.chosen(app_id)
