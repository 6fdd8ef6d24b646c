"""The management of relays over HTTP (NIP-86): on a relay's own URL, signed by an admin (NIP-98).

Invariant: whatever changes is a fact in the log before it is answered, with the admin's key; without a good signature
of an admin nothing is told or changed (401). A signed change is made once; a question may be asked again while its
signature is fresh, since two of one second are one event. This module must not know what the lists do:
`gateway.nostr.rules` does.
"""

from collections.abc import Callable

from cachetools import LRUCache
from quart import Response, request
from quart_trio import QuartTrio

from gateway.config import Relay
from gateway.errors import NostrRefused
from gateway.facts import SALT_BYTES, Moderated, draft
from gateway.limits.nostr import HTTP_AUTHS_KEPT_MAX, MODERATION_ENTRIES_MAX
from gateway.nostr.event import Event
from gateway.nostr.httpauth import signer
from gateway.nostr.moderation import CHANGES, LISTINGS, METHODS, Call, call_of, change_of, listing
from gateway.serve.clock import Clock
from gateway.serve.ledger import Ledger
from gateway.serve.port.http import NOSTR_CORS, json
from gateway.serve.refusals import Refusals
from gateway.serve.relay.membership import Membership
from gateway.views.moderation import ModerationView

RPC_TYPE = "application/nostr+json+rpc"


class ManagementService:
    """Answers admins; ``named`` gives the relay key of a socket path, ``names`` whether a URL is that relay's."""

    def __init__(self, limits: Relay, clock: Clock, ledger: Ledger) -> None:
        self.named: Callable[[str], str | None] = lambda _: None
        self.names: Callable[[str, str], bool] = lambda *_: False
        self.membership: Membership | None = None
        self._admins = frozenset(limits.admins)
        self._clock, self._ledger, self._view = clock, ledger, ledger.view(ModerationView)
        self._used: LRUCache[str, bool] = LRUCache(HTTP_AUTHS_KEPT_MAX)
        self._refusals = Refusals()

    def routes(self, app: QuartTrio) -> None:
        """Take what calls itself a management request, at whatever path names a relay."""

        @app.before_request
        async def managed() -> Response | None:
            kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if request.method != "POST" or kind != RPC_TYPE:
                return None
            relay_key = self.named(request.path)
            if relay_key is None:
                return None
            body = await request.get_data(as_text=False)
            assert isinstance(body, bytes)
            answer = await self.answer(relay_key, request.headers.get("Authorization", ""), body)
            answer.headers.extend(NOSTR_CORS)
            return answer

    async def answer(self, relay_key: str, header: str, body: bytes) -> Response:
        """Answer one request: 401 without an admin's signature, else 200 with ``result`` or ``error``."""
        try:
            admin = self._admin(relay_key, header, body)
        except NostrRefused as refusal:
            self._refusals.tell(request.remote_addr or "", what="management", relay=relay_key, reason=str(refusal))
            return json({"error": str(refusal)}, 401)
        try:
            result = await self._carry_out(relay_key, admin, call_of(body))
        except NostrRefused as refusal:
            return json({"error": str(refusal)})
        return json({"result": result})

    def _admin(self, relay_key: str, header: str, body: bytes) -> Event:
        now_s = self._clock.now_ms() // 1000
        event = signer(header, body, lambda url: self.names(url, relay_key), now_s)
        if event.pubkey not in self._admins:
            raise NostrRefused("restricted: this key is no admin's")
        if event.id in self._used:
            raise NostrRefused("invalid: this event was used before")
        return event

    async def _carry_out(self, relay_key: str, admin: Event, call: Call) -> object:
        if call.method in LISTINGS:
            return listing(call.method, self._view.lists(relay_key))
        if call.method not in CHANGES:
            return METHODS
        value, reason = change_of(call)
        self._used[admin.id] = True
        if CHANGES[call.method].onto and self._view.count(relay_key) >= MODERATION_ENTRIES_MAX:
            raise NostrRefused(f"rate-limited: a relay's lists hold at most {MODERATION_ENTRIES_MAX} entries")
        fact = Moderated(relay_key, bytes.fromhex(admin.pubkey), call.method, value, reason)
        if self.membership is not None and relay_key == self.membership.relay_key:
            await self.membership.change(fact)
        else:
            salt = self._clock.random_bytes(SALT_BYTES)
            await self._ledger.record([draft(fact, ts_ns=self._clock.now_ns(), salt=salt)])
        return True
