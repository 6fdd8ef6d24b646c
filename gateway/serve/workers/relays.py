"""The relay API: workers register relays and ask for tokens; anybody reads what is public (relay-and-mirror §1).

    body ─▶ whose signature ─▶ exact keys, freshness ─▶ owner, names, nonce (held) ─▶ record ─▶ answer with both URLs
Invariant: URLs are computed from the gateway's own base, never echoed from a worker; a token stands in a URL only in
the answer to the worker that it was issued to. The gateway's own relay is registered before the first request.
This module must not know how tokens are decided (`gateway.serve.workers.tokendesk`) or how sockets are served.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
import trio
from prometheus_client import Counter
from quart import Response, request
from quart_trio import QuartTrio

from gateway.config import Config
from gateway.errors import ApiRefused, Unavailable
from gateway.facts import RelayRegistered, RelayUnregistered, draft
from gateway.limits.relays import REVOKE_S_MAX
from gateway.replication import payload as requests
from gateway.replication.grant import Grant
from gateway.replication.path import url_path
from gateway.replication.payload import fresh, json_body
from gateway.replication.registration import INTERNAL, Registration, internal_payload, registration
from gateway.replication.signature import canonical, signer_of
from gateway.replication.token import ACCESS
from gateway.serve.clock import Clock
from gateway.serve.custody.receipts import OPTION, receipt
from gateway.serve.keys import stored_key
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics
from gateway.serve.port.http import EVERY_ORIGIN
from gateway.serve.port.socket import Socket
from gateway.serve.refusals import Refusals
from gateway.serve.workers.handshake import Handshakes
from gateway.serve.workers.tokendesk import DEFAULT_WORKER, NONCE_USED, NOT_OWNER, Minted, TokenDesk
from gateway.views.relays import Registered, RelaysView
from gateway.views.rows import RowsView
from gateway.views.tokens import TokensView

TOKEN_KEY = "token.key"  # noqa: S105 - a file's name
GATEWAY = ""  # the worker that owns the gateway's own relay: no request can be signed by it
NOT_REGISTERED = "Relay not registered"
Answer = dict[str, object]
Asked = TypeVar("Asked", requests.Issue, requests.Refresh)


class RelayService:
    """Everything under ``/api``, the handshakes of both sockets, and the registration of the gateway's own relay."""

    def __init__(self, config: Config, clock: Clock, ledger: Ledger, metrics: Metrics) -> None:
        self._config, self._clock, self._ledger, self._metrics = config, clock, ledger, metrics
        self._relays, self._tokens = ledger.view(RelaysView), ledger.view(TokensView)
        self._rows = ledger.view(RowsView)
        decisive = (self._relays, self._tokens)
        self.key = token_key(config, clock).encode()
        self.base_url = config.server.public_url or f"http://{config.server.bind}"  # the door knows a free port later
        self.count_events: Callable[[str], int] = lambda _: 0
        self.handshakes = Handshakes(config.mirror, clock, decisive, self.key, metrics)
        self._desk = TokenDesk(config.tokens, clock, ledger, decisive, self.key)
        self._secrets = worker_secrets(config)
        self._refusals = Refusals()
        metrics.active_peers.set_function(self._count_peers)

    def routes(self, app: QuartTrio) -> None:
        """Add the routes; refusals are raised, for the application to answer."""
        metrics = self._metrics
        for path, name, method, work, counter in (
            ("/api/relays", "register", "POST", self._register, None),
            ("/api/relays", "list", "GET", self._list, None),
            ("/api/relays/<path:relay_key>", "show", "GET", self._show, None),
            ("/api/relays/<path:relay_key>", "unregister", "DELETE", self._unregister, None),
            ("/api/relay-tokens/issue", "issue", "POST", self._issue, metrics.token_issues),
            ("/api/relay-tokens/refresh", "refresh", "POST", self._refresh, metrics.token_refresh),
            ("/api/relay-tokens/revoke", "revoke", "POST", self._revoke, metrics.token_revocations),
        ):
            app.add_url_rule(path, f"relays_{name}", self._view(name, work, counter), methods=[method])

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Register the gateway's own relay where its registration is missing or differs; then nothing is left to do."""
        wanted = internal_payload(self._config.relay.name, self._clock.now_ms())
        found = self._relays.relay(INTERNAL)
        if found is None or found.relay.metadata != wanted["metadata"]:
            await self._record_registration(GATEWAY, wanted, "")
        task_status.started()

    async def shake(self, socket: Socket) -> Grant:
        """Decide a handshake; SocketRefused with the code and reason to close with. Never pauses."""
        return self.handshakes.shake(socket)

    def seated(self, socket: Socket, grant: Grant) -> AbstractContextManager[None]:
        """Keep a session where revocations find it; entered without a pause after `shake`."""
        return self.handshakes.seated(socket, grant)

    def public_relays(self) -> list[dict[str, object]]:
        """List what everybody may read, as templates without tokens."""
        return [self.described(each) for each in self._relays.all() if each.relay.is_public]

    # -- registrations ------------------------------------------------------------------------------------------------

    async def _register(self) -> Answer:
        body = json_body(await _body())
        payload, signature = body.get("registration"), body.get("signature")
        if not isinstance(payload, dict) or not payload or not signature:
            raise ApiRefused(400, "Missing registration payload or signature")
        if not payload.get("relayKey"):
            raise ApiRefused(400, "relayKey is required")
        worker = self._signer(payload, signature, "Registration disabled")
        asked = registration(payload, self._clock.now_ms())
        relay = asked.relay
        keys = [("name", name) for name in relay.names]
        async with self._desk.inflight.hold(("nonce", worker, asked.once.nonce), *keys):
            if not self._is_resent(worker, payload, asked):
                self._may_register(worker, asked)
                await self._record_registration(worker, payload, asked.once.nonce)
        found = self._relays.relay(relay.relay_key)
        assert found is not None, "it was recorded or resent"
        minted = await self._desk.own(worker, relay.relay_key, asked.once.issued_ms)
        return {"status": "ok", "hyperbee": None, "relay": self.described(found, minted)}

    def _is_resent(self, worker: str, payload: dict[str, Any], asked: Registration) -> bool:
        """Tell the very request that made the present registration; a used nonce in any other is refused."""
        found = self._relays.relay(asked.relay.relay_key)
        if found is not None and found.worker == worker and found.registration == canonical(payload):
            return True
        if self._tokens.used(worker, asked.once.nonce):
            raise ApiRefused(409, NONCE_USED)
        return False

    def _may_register(self, worker: str, asked: Registration) -> None:
        found = self._relays.relay(asked.relay.relay_key)
        if found is not None and found.worker != worker:
            raise ApiRefused(403, NOT_OWNER)
        for name in sorted(asked.relay.names):
            if self._relays.owner_of_name(name) not in (None, asked.relay.relay_key):
                raise ApiRefused(409, f"this name belongs to another relay: {name}")

    async def _record_registration(self, worker: str, payload: dict[str, Any], nonce: str) -> None:
        fact = RelayRegistered(
            worker=worker,
            relay_key=payload["relayKey"],
            nonce=nonce,
            issued_ms=payload["issuedAt"],
            received_ms=self._clock.now_ms(),
            registration=canonical(payload),
        )
        await self._ledger.record([draft(fact, ts_ns=self._clock.now_ns())])

    async def _unregister(self, relay_key: str) -> Answer:
        signature = request.headers.get("x-signature")
        signed: dict[str, Any] = {"relayKey": relay_key}
        if not signature:
            raise ApiRefused(401, "Missing signature")
        nonce, issued = request.headers.get("x-nonce"), request.headers.get("x-issued-at")
        if nonce is not None or issued is not None:
            signed |= {"nonce": nonce, "issuedAt": _whole(issued)}
        worker = self._signer(signed, signature, "Registration disabled")
        once = requests.once(signed, self._clock.now_ms())
        held = [("tokens", relay_key), ("name", relay_key), *([("nonce", worker, once.nonce)] if once else [])]
        async with self._desk.inflight.hold(*held):
            self._may_unregister(worker, relay_key, once)
            fact = RelayUnregistered(
                worker=worker,
                relay_key=relay_key,
                nonce=once.nonce if once else None,
                nonce_issued_ms=once.issued_ms if once else None,
            )
            # A client that goes away now must not leave sessions open on a relay that is gone.
            with trio.move_on_after(REVOKE_S_MAX, shield=True) as scope:
                await self._ledger.record([draft(fact, ts_ns=self._clock.now_ns())])
            if scope.cancelled_caught:
                raise Unavailable("the log does not answer; whether the relay is gone is not known")
            self.handshakes.evict(relay_key)
        return {"status": "ok"}

    def _may_unregister(self, worker: str, relay_key: str, once: requests.Once | None) -> None:
        found = self._relays.relay(relay_key)
        if found is None:
            raise ApiRefused(404, NOT_REGISTERED)
        if once is not None and self._tokens.used(worker, once.nonce):
            raise ApiRefused(409, NONCE_USED)
        if found.worker != worker:
            raise ApiRefused(403, NOT_OWNER)

    # -- reads --------------------------------------------------------------------------------------------------------

    async def _list(self) -> Answer:
        reader = self._reader("*")
        if reader is None:
            return {"relays": self.public_relays()}
        worker, signed_ms = reader
        own = [each for each in self._relays.all() if each.worker in (worker, GATEWAY)]
        return {"relays": [await self._tokened(each, worker, signed_ms) for each in own]}

    async def _show(self, relay_key: str) -> Answer:
        reader = self._reader(relay_key)
        found = self._relays.relay(relay_key)
        owned = found is not None and reader is not None and found.worker in (reader[0], GATEWAY)
        if found is None or not (found.relay.is_public or owned):
            raise ApiRefused(404, NOT_REGISTERED)
        return await self._tokened(found, *reader) if owned and reader is not None else self.described(found)

    def _reader(self, what: str) -> tuple[str, int] | None:
        """Name the worker that signed a read, and when; None for an unsigned one."""
        signature = request.headers.get("x-signature")
        if signature is None:
            return None
        issued_ms = _whole(request.headers.get("x-issued-at"))
        worker = self._signer({"read": what, "issuedAt": issued_ms}, signature, "Registration disabled")
        return worker, fresh(issued_ms, self._clock.now_ms())

    async def _tokened(self, found: Registered, worker: str, signed_ms: int) -> Answer:
        return self.described(found, await self._desk.own(worker, found.relay.relay_key, signed_ms))

    def described(self, found: Registered, minted: Minted | None = None) -> Answer:
        """Describe a relay as every read does; ``minted`` goes into the URLs, None makes them templates."""
        relay, urls = found.relay, self.urls(found.relay.gateway_path, minted)
        echoed = {key: urls[key] for key in urls if key in relay.metadata}
        return {
            "relayKey": relay.relay_key,
            "identifier": relay.identifier,
            "gatewayPath": relay.gateway_path,
            "online": self._is_online(found),
            "metadata": {**relay.metadata, **echoed},
            "requiresAuth": relay.requires_auth,
            "requiresAuthForReplication": relay.requires_auth_for_replication,
            "replicationEndpoint": relay.replication_endpoint,
            **urls,
            "events": self._rows.count(relay.relay_key) + self.count_events(relay.relay_key),
            "updatedAt": found.received_ms,
        }

    def urls(self, gateway_path: str, minted: Minted | None) -> dict[str, str]:
        """Both URLs, side by side; a token that does not open the normal socket stands in the mirror's alone."""
        base, path = self.base_url.rstrip("/").replace("http", "ws", 1), url_path(gateway_path)
        normal = f"?token={quote(minted.token)}" if minted and minted.scope == ACCESS else ""
        mirror = f"?token={quote(minted.replication_token)}" if minted else ""
        return {"connectionUrl": f"{base}/{path}{normal}", "replicationConnectionUrl": f"{base}/mirror/{path}{mirror}"}

    def peers_asked(self, relay_key: str) -> tuple[str, ...]:
        """Give the peers that reads of a relay are delegated to: none where it is offline, or its metadata says no."""
        found = self._relays.relay(relay_key)
        if found is None or not self._is_online(found) or found.relay.metadata.get("delegateReqToPeers") is False:
            return ()
        return tuple(peer for peer in found.relay.peers if peer.startswith(("ws://", "wss://")))

    def _is_online(self, found: Registered) -> bool:
        age_ms = self._clock.now_ms() - found.received_ms
        return found.worker == GATEWAY or age_ms <= self._config.registration.ttl_s * 1000

    def _count_peers(self) -> int:
        """Count the peers of workers that are online; hex keys are kept and not dialled, so they do not count."""
        online = (found.relay.peers for found in self._relays.all() if self._is_online(found))
        return sum(peer.startswith(("ws://", "wss://")) for peers in online for peer in peers)

    # -- tokens -------------------------------------------------------------------------------------------------------

    async def _issue(self) -> Answer:
        worker, payload, receipts = await self._signed_payload()
        asked = requests.issue(payload, self._clock.now_ms(), internal_relay=INTERNAL)
        return self._token_answer(asked.relay_key, await self._desk.issue(worker, asked), receipts=receipts)

    async def _refresh(self) -> Answer:
        worker, payload, receipts = await self._signed_payload()
        asked = requests.refresh(payload, self._clock.now_ms())
        return self._token_answer(asked.relay_key, await self._desk.refresh(worker, asked), receipts=receipts)

    async def _revoke(self) -> Answer:
        worker, payload, _ = await self._signed_payload()
        asked = requests.revoke(payload, self._clock.now_ms())
        closed, sequence = await self._desk.revoke(worker, asked, self.handshakes.revoke)
        return {"status": "revoked", "disconnected": closed, "sequence": sequence}

    async def _signed_payload(self) -> tuple[str, dict[str, Any], bool]:
        """Read a signed body: who signed, what, and whether a receipt is wanted, which is beside what is signed."""
        body = json_body(await _body())
        payload = body.get("payload")
        if not isinstance(payload, dict):
            payload = {}  # nobody signs an empty object: refused as every wrong signature is
        worker = self._signer(payload, body.get("signature") if payload else None, "Token service disabled")
        return worker, payload, body.get(OPTION) is True

    def _token_answer(self, relay_key: str, minted: Minted, *, receipts: bool) -> Answer:
        found = self._relays.relay(relay_key)
        if found is None:  # unregistered while its token was being recorded
            raise ApiRefused(400, "relay-not-registered")
        return {
            "token": minted.token,
            "expiresAt": minted.expires_ms,
            "refreshAfter": minted.refresh_after_ms,
            "sequence": minted.sequence,
            "replicationToken": minted.replication_token,
            **self.urls(found.relay.gateway_path, minted),
            **({"receipt": receipt(self._ledger.log, minted.seq)} if receipts else {}),
        }

    # -- every request ------------------------------------------------------------------------------------------------

    def _signer(self, value: object, signature: object, disabled: str) -> str:
        if not self._secrets:
            raise ApiRefused(503, disabled)
        worker = signer_of(value, signature, self._secrets)
        if worker is None:
            raise ApiRefused(401, "Invalid signature")
        return worker

    def _view(
        self, name: str, work: Callable[..., Awaitable[Answer]], counter: Counter | None
    ) -> Callable[..., Awaitable[Response]]:
        """Wrap a route: its answer as JSON, its outcome counted, a refusal told once."""

        async def view(**parts: str) -> Response:
            result = "error"
            try:
                answer = await work(**parts)
                result = "success"
            except ApiRefused as refused:
                source = request.remote_addr or ""
                self._refusals.tell(source, what=f"relay api {name}", status=refused.status, reason=refused.text)
                raise
            finally:
                if counter is not None:
                    counter.labels(result).inc()
            # Pages read their relay's state. What was signed no page elsewhere asks for: preflights are not answered.
            headers = EVERY_ORIGIN if request.method == "GET" else None
            return Response(msgspec.json.encode(answer), content_type="application/json", headers=headers)

        return view


def token_key(config: Config, clock: Clock) -> str:
    """Read the key that tokens are made with: the operator's file, else the gateway's own, made at first start."""
    if config.tokens.key_file:
        path = Path(config.tokens.key_file)
        if not path.is_file():
            raise Unavailable(f"tokens.key_file: there is no file {path}")
        return stored_key(path.parent, path.name, clock)
    return stored_key(Path(config.data) / "keys", TOKEN_KEY, clock)


def worker_secrets(config: Config) -> dict[str, str]:
    """Collect the secrets by worker; the shared one is the worker ``default``."""
    secrets = {worker: each.secret for worker, each in config.workers.items() if each.secret}
    if config.registration.secret:
        secrets[DEFAULT_WORKER] = config.registration.secret
    return secrets


async def _body() -> bytes:
    data = await request.get_data()
    assert isinstance(data, bytes)
    return data


def _whole(text: str | None) -> int:
    """Read a header's milliseconds."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 16:
        raise ApiRefused(400, "x-issued-at must be milliseconds since 1970")
    return int(text)
