"""Events on their way in: decided, verified, recorded and answered a batch at a time.

Invariant: an event is answered OK true only when it is durable and in the view, or was so already; an id is in flight
at most once for a relay, and whoever brings it again meanwhile waits for that outcome, so a forged copy never makes
its original look like a duplicate. Ephemeral events are never recorded. This module must not know sockets.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import trio
from cachetools import LRUCache

from eventlog.errors import LogFailed
from eventlog.record import Draft
from gateway.config import Relay
from gateway.facts import SALT_BYTES, Vanished, draft, event_draft
from gateway.limits.nostr import PSEUDONYMS_IN_FLIGHT_MAX, RATED_KEYS_MAX
from gateway.nostr import message as wire
from gateway.nostr.event import GIFT_WRAP, VANISH, Event, Keeping, keeping, stored_form
from gateway.nostr.policy import Context, Reject, Sender, judge
from gateway.nostr.rules import Rules, rules_of
from gateway.nostr.signature import Claim
from gateway.serve.clock import Clock
from gateway.serve.ledger import Ledger
from gateway.serve.relay.plugin import Plugin
from gateway.serve.verify import Verifier
from gateway.views.events import EventsView, Standing
from gateway.views.moderation import ModerationView

PSEUDONYM_BYTES = 16
GOOD = frozenset({"accepted", "duplicate"})
Verdict = tuple[bool, str]


class Answer(NamedTuple):
    """An OK to send, and its result as the metrics name it: accepted, duplicate, or the refusal's prefix."""

    text: str
    result: str


ANSWERS: dict[Standing, Verdict] = {
    Standing.KNOWN: (True, "duplicate: already have this event"),
    Standing.SUPERSEDED: (True, "duplicate: a newer version is stored"),
    Standing.DELETED: (False, "blocked: its author deleted this event"),
    Standing.VANISHED: (False, "blocked: its author, or whom it is for, asked to vanish"),
}
ALL_RELAYS = "ALL_RELAYS"
NOBODY = Sender()
NO_RULES = Rules()
STORED: Verdict = (True, "")
BARRED: Verdict = (False, "blocked: its author, or whom it is for, was erased here")
FORGED: Verdict = (False, "invalid: the signature does not verify")
LOG_FAILED: Verdict = (False, "error: the log takes no records now")


class Intake:
    """Takes events for all relays; ``deliver`` is told each ephemeral one."""

    def __init__(
        self,
        limits: Relay,
        clock: Clock,
        ledger: Ledger,
        verifier: Verifier,
        deliver: Callable[[str, Event, bytes], None],
    ) -> None:
        self._limits, self._clock, self._ledger = limits, clock, ledger
        self._verifier, self._deliver, self._view = verifier, deliver, ledger.view(EventsView)
        policy, self._configured = limits.policy, rules_of(limits.policy)
        self._plugin = Plugin(policy.plugin, policy.plugin_s_max) if policy.plugin else None
        self._rates: LRUCache[str, tuple[float, int]] = LRUCache(RATED_KEYS_MAX)  # key -> (events left, at ms)
        self._moderation = ledger.view(ModerationView)
        self.names: Callable[[str, str], bool] = _names_nobody  # (url, relay key) -> whether the URL is that relay's
        self.is_barred: Callable[[str, Event], bool] = _bars_nobody  # (relay key, event)
        self._in_flight: dict[tuple[str, str], trio.Event] = {}
        self._pseudonyms: LRUCache[str, bytes] = LRUCache(PSEUDONYMS_IN_FLIGHT_MAX)

    def rules(self, relay_key: str) -> tuple[Rules, ...]:
        """Give the rules of a relay: the configuration's, and its moderators'."""
        return self._configured, self._moderation.rules(relay_key)

    def reconfigure(self, limits: Relay) -> None:
        """Go by another policy's lists and rate from now on; raise ConfigInvalid, and change nothing."""
        self._configured, self._limits = rules_of(limits.policy), limits

    async def leave(self) -> None:
        """End what was started for it: the operator's policy."""
        if self._plugin is not None:
            await self._plugin.end()

    async def take(self, relay_key: str, events: Sequence[Event], sender: Sender = NOBODY) -> list[Answer]:
        """Answer each event with its OK, in any order.

        Cancelled: what was submitted may still be stored.
        """
        answers: list[Answer] = []
        while events:
            done = trio.Event()
            fresh, others, later = self._claim(relay_key, events, done)
            try:
                verdicts = self._decide(relay_key, fresh, sender)
                open_ones = [event for event, verdict in zip(fresh, verdicts, strict=True) if verdict is None]
                outcome = iter(await self._keep(relay_key, open_ones, sender))
            finally:
                for event in fresh:
                    del self._in_flight[relay_key, event.id]
                done.set()
            for event, verdict in zip(fresh, verdicts, strict=True):
                answers.append(_answer(event, *(next(outcome) if verdict is None else verdict)))
            for other in others:
                await other.wait()
            events = later
        return answers

    def forget(self) -> None:
        """Let go of pseudonyms that the view has not taken in: an erased author who comes back gets another."""
        self._pseudonyms.clear()
        self._view.foreseen.forget()

    def _claim(
        self, relay_key: str, events: Sequence[Event], done: trio.Event
    ) -> tuple[list[Event], set[trio.Event], list[Event]]:
        """Put events in flight: (those that were not, what the others wait for, the others)."""
        fresh: list[Event] = []
        later: list[Event] = []
        others: set[trio.Event] = set()
        for event in events:
            holder = self._in_flight.get((relay_key, event.id))
            if holder is None:
                self._in_flight[relay_key, event.id] = done
                fresh.append(event)
            else:
                later.append(event)
                others.add(holder)
        return fresh, others, later

    def _decide(self, relay_key: str, events: Sequence[Event], sender: Sender) -> list[Verdict | None]:
        """Answer what needs no signature check; None for what is to be verified and kept."""
        now_ms = self._clock.now_ms()
        rules = tuple(one for one in self.rules(relay_key) if one != NO_RULES)
        context = Context(self._limits, now_ms // 1000, sender, rules)
        verdicts: list[Verdict | None] = []
        for event, standing in zip(events, self._view.standings(relay_key, events), strict=True):
            ruling = judge(event, context)
            if isinstance(ruling, Reject):
                verdicts.append((False, ruling.reason))
            elif standing is not Standing.KNOWN and self._writes_too_fast(event.pubkey, now_ms):
                verdicts.append((False, "rate-limited: this key writes too fast"))
            elif standing is not Standing.KNOWN and self.is_barred(relay_key, event):
                verdicts.append(BARRED)
            else:
                verdicts.append(None if keeping(event.kind) is Keeping.NONE else ANSWERS.get(standing))
        return verdicts

    def _writes_too_fast(self, pubkey: str, now_ms: int) -> bool:
        per_minute = self._limits.policy.events_per_minute_per_key
        if not per_minute:
            return False
        left, at_ms = self._rates.get(pubkey, (float(per_minute), now_ms))
        left = min(per_minute, left + max(0, now_ms - at_ms) * per_minute / 60_000)
        self._rates[pubkey] = (max(0.0, left - 1) if left >= 1 else left, now_ms)
        return left < 1

    async def _keep(self, relay_key: str, events: Sequence[Event], sender: Sender) -> list[Verdict]:
        """Verify, ask the operator's policy, and record; one answer for each."""
        if not events:
            return []
        verdicts = await self._verifier.verify([Claim(event.pubkey, event.id, event.sig) for event in events])
        good = [event for event, holds in zip(events, verdicts, strict=True) if holds]
        turned_down = await self._ask_plugin(good, sender)
        kept = []
        for event in good:
            if event.id in turned_down:
                continue
            if keeping(event.kind) is Keeping.NONE:
                self._deliver(relay_key, event, stored_form(event))
            else:
                kept.append(event)
        failed = await self._record(relay_key, kept)
        return [
            (turned_down.get(event.id) or (LOG_FAILED if failed else self._outcome(relay_key, event)))
            if holds
            else FORGED
            for event, holds in zip(events, verdicts, strict=True)
        ]

    async def _ask_plugin(self, events: Sequence[Event], sender: Sender) -> dict[str, Verdict]:
        """Give the answers to those that the operator's own policy does not let pass."""
        if self._plugin is None:
            return {}
        found = {}
        for event in events:
            verdict = await self._plugin.ask(event, sender.address, self._clock.now_ms())
            if verdict is not None:
                found[event.id] = verdict
        return found

    async def _record(self, relay_key: str, events: Sequence[Event]) -> bool:
        """Append the events and wait until the view has them; True where the log has failed."""
        if not events:
            return False
        try:
            await self._ledger.log.room()
            # Asked again, with no pause before the submit: an erasure may have raised a bar meanwhile.
            unbarred = [event for event in events if not self.is_barred(relay_key, event)]
            if unbarred:
                drafts = self._drafts(relay_key, unbarred)
                _, ticket = self._ledger.submit(drafts)
                for one, event in zip(drafts, unbarred, strict=False):  # requests to vanish stand behind
                    self._view.foreseen.note(one.payload, relay_key, event)
                await ticket.wait()
        except LogFailed:
            return True
        return False

    def _drafts(self, relay_key: str, events: Sequence[Event]) -> list[Draft]:
        now_ns = self._clock.now_ns()
        salts = self._clock.random_bytes(SALT_BYTES * len(events))
        drafts = [
            event_draft(
                relay_key,
                now_ns // 1_000_000,
                stored_form(event),
                ts_ns=now_ns,
                subject=self._pseudonym(event.pubkey),
                salt=salts[at * SALT_BYTES : (at + 1) * SALT_BYTES],
            )
            for at, event in enumerate(events)
        ]
        return drafts + [
            self._vanished(relay_key, event, now_ns) for event in events if self._asks_here(event, relay_key)
        ]

    def _asks_here(self, event: Event, relay_key: str) -> bool:
        """Whether an event asks this relay, or every relay, to let its author vanish (NIP-62)."""
        return event.kind == VANISH and any(
            url == ALL_RELAYS or self.names(url, relay_key) for url in _relay_tags(event)
        )

    def _vanished(self, relay_key: str, event: Event, now_ns: int) -> Draft:
        """Draft what a request to vanish amounts to: what it names was decided by the address that we have now."""
        fact = Vanished(
            "" if ALL_RELAYS in _relay_tags(event) else relay_key, bytes.fromhex(event.pubkey), event.created_at
        )
        salt = self._clock.random_bytes(SALT_BYTES)
        return draft(fact, ts_ns=now_ns, subject=self._pseudonym(event.pubkey), salt=salt)

    def _pseudonym(self, pubkey: str) -> bytes:
        """Give the author's subject; a new one is remembered until the view has it."""
        known = self._view.author(pubkey)
        if known is not None:
            return known.pseudonym
        fresh = self._pseudonyms.get(pubkey)
        if fresh is None:
            fresh = self._pseudonyms[pubkey] = self._clock.random_bytes(PSEUDONYM_BYTES)
        return fresh

    def _outcome(self, relay_key: str, event: Event) -> Verdict:
        """Say what became of a recorded event: a deletion or a newer version may have been in flight beside it."""
        if self.is_barred(relay_key, event):
            return BARRED
        if self.contested(event):
            standing = self._view.standing(relay_key, event)
            return STORED if standing is Standing.KNOWN else ANSWERS.get(standing, STORED)
        return STORED

    def contested(self, event: Event) -> bool:
        """Whether the fold may have refused an event that the view did not refuse beforehand."""
        kept = keeping(event.kind)
        if kept is not Keeping.ALL or event.kind == GIFT_WRAP:
            return kept is not Keeping.NONE
        author = self._view.author(event.pubkey)
        return author is not None and author.deletes


def _relay_tags(event: Event) -> list[str]:
    return [tag[1] for tag in event.tags if len(tag) > 1 and tag[0] == "relay"]


def _names_nobody(url: str, relay_key: str) -> bool:
    del url, relay_key
    return False


def _bars_nobody(relay_key: str, event: Event) -> bool:
    del relay_key, event
    return False


def _answer(event: Event, accepted: bool, reason: str) -> Answer:
    result = ("duplicate" if reason else "accepted") if accepted else reason.partition(":")[0]
    return Answer(wire.ok(event.id, accepted, reason), result)
