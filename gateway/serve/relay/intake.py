"""Events on their way in: decided, verified, recorded and answered a batch at a time.

Invariant: an event is answered OK true only when it is durable and in the view, or was so already; an id is in flight
at most once for a relay, and whoever brings it again meanwhile waits for that outcome, so a forged copy never makes
its original look like a duplicate. Ephemeral events are never recorded. This module must not know sockets.
"""

from collections.abc import Callable, Collection, Sequence
from itertools import compress
from math import inf

import trio
from cachetools import LRUCache

from eventlog.errors import LogFailed
from eventlog.record import Draft
from eventlog.sortedruns import Look
from gateway.config import Relay
from gateway.facts import SALT_BYTES, Vanished, draft, event_drafts
from gateway.limits.nostr import PSEUDONYMS_IN_FLIGHT_MAX, RATED_KEYS_MAX
from gateway.nostr.event import VANISH, Event, is_ephemeral, is_plain, stored_form
from gateway.nostr.policy import Context, Reject, Sender, judge
from gateway.nostr.rules import Rules, rules_of
from gateway.nostr.signature import Claim
from gateway.serve.clock import Clock
from gateway.serve.ledger import Ledger
from gateway.serve.pseudonym import PSEUDONYM_BYTES
from gateway.serve.relay.answers import Answers, Verdict
from gateway.serve.relay.plugin import Plugin
from gateway.serve.verify import Verifier
from gateway.views.events import EventsView, Standing
from gateway.views.moderation import ModerationView

ANSWERS: dict[Standing, Verdict] = {
    Standing.KNOWN: (True, "duplicate: already have this event"),
    Standing.SUPERSEDED: (True, "duplicate: a newer version is stored"),
    Standing.DELETED: (False, "blocked: its author deleted this event"),
    Standing.VANISHED: (False, "blocked: its author, or whom it is for, asked to vanish"),
}
AFTERWARDS = ANSWERS | {Standing.NEW: (True, ""), Standing.KNOWN: (True, "")}  # of what was just recorded
ALL_RELAYS = "ALL_RELAYS"
NOBODY = Sender()
NO_RULES = Rules()
STORED: Verdict = (True, "")
BARRED: Verdict = (False, "blocked: its author, or whom it is for, was erased here")
TOO_FAST: Verdict = (False, "rate-limited: this key writes too fast")
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
        self.barred: Callable[[str, Sequence[Event]], Collection[str]] = _bars_nobody  # (relay key, events): their ids
        self._in_flight: dict[str, dict[str, trio.Event]] = {}  # relay key -> event id -> told when it is decided
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

    async def take(self, relay_key: str, events: Sequence[Event], sender: Sender = NOBODY) -> Answers:
        """Answer each event.

        Cancelled: what was submitted may still be stored.
        """
        answers = Answers()
        while events:
            done = trio.Event()
            fresh, others, later = self._claim(relay_key, events, done)
            try:
                look, left = self._view.look(), self._decide(relay_key, fresh, sender, answers)
                await self._keep(relay_key, left, look, sender, answers)
            finally:
                self._release(relay_key, fresh)
                done.set()
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
    ) -> tuple[Sequence[Event], Collection[trio.Event], Sequence[Event]]:
        """Put events in flight: (those that were not, what the others wait for, the others)."""
        in_flight = self._in_flight.setdefault(relay_key, {})
        claims = dict.fromkeys([event.id for event in events], done)
        if len(claims) == len(events) and in_flight.keys().isdisjoint(claims):  # as nearly always
            in_flight.update(claims)
            return events, (), ()
        fresh: list[Event] = []
        later: list[Event] = []
        others: set[trio.Event] = set()
        for event in events:
            holder = in_flight.get(event.id)
            if holder is None:
                in_flight[event.id] = done
                fresh.append(event)
            else:
                later.append(event)
                others.add(holder)
        return fresh, others, later

    def _release(self, relay_key: str, events: Sequence[Event]) -> None:
        in_flight = self._in_flight[relay_key]
        for event in events:
            del in_flight[event.id]
        if not in_flight:
            del self._in_flight[relay_key]

    def _decide(self, relay_key: str, events: Sequence[Event], sender: Sender, answers: Answers) -> list[Event]:
        """Answer what needs no signature check; give what is to be verified and kept."""
        now_ms = self._clock.now_ms()
        rules = tuple(one for one in self.rules(relay_key) if one != NO_RULES)
        context = Context(self._limits, now_ms // 1000, sender, rules)
        barred = self.barred(relay_key, events)
        new, known = Standing.NEW, Standing.KNOWN
        left: list[Event] = []
        for event, standing in zip(events, self._view.standings(relay_key, events), strict=True):
            ruling = judge(event, context)
            if isinstance(ruling, Reject):
                answers.add((False, ruling.reason), [event.id])
            elif standing is not known and self._may_still_write(event.pubkey, now_ms) < 1:
                answers.add(TOO_FAST, [event.id])
            elif standing is not known and event.id in barred:
                answers.add(BARRED, [event.id])
            elif standing is new or is_ephemeral(event.kind):
                left.append(event)
            else:
                answers.add(ANSWERS[standing], [event.id])
        return left

    def _may_still_write(self, pubkey: str, now_ms: int) -> float:
        """Say how many events of a key are taken now; infinitely many where its rate is not limited."""
        per_minute = self._limits.policy.events_per_minute_per_key
        if not per_minute:
            return inf
        left, at_ms = self._rates.get(pubkey, (float(per_minute), now_ms))
        return min(per_minute, left + max(0, now_ms - at_ms) * per_minute / 60_000)

    def _unhurried(self, events: Sequence[Event], answers: Answers) -> Sequence[Event]:
        """Give the events within their keys' rates, and count them: they are verified, so forgeries use nothing up."""
        now_ms, left = self._clock.now_ms(), []
        for event in events:
            room = self._may_still_write(event.pubkey, now_ms)
            if room < 1:
                answers.add(TOO_FAST, [event.id])
            else:
                self._rates[event.pubkey] = (room - 1, now_ms)
                left.append(event)
        return left

    async def _keep(
        self, relay_key: str, events: Sequence[Event], look: Look, sender: Sender, answers: Answers
    ) -> None:
        """Verify, ask the operator's policy, record, and answer."""
        if not events:
            return
        verdicts = await self._verifier.verify([Claim(event.pubkey, event.id, event.sig) for event in events])
        good: Sequence[Event] = events
        if not all(verdicts):
            good = list(compress(events, verdicts))
            answers.add(FORGED, [event.id for event, holds in zip(events, verdicts, strict=True) if not holds])
        if self._limits.policy.events_per_minute_per_key:
            good = self._unhurried(good, answers)
        if self._plugin is not None:
            good = await self._unopposed(self._plugin, good, sender, answers)
        kept = []
        for event in good:
            if is_ephemeral(event.kind):
                self._deliver(relay_key, event, stored_form(event))
                answers.add(STORED, [event.id])
            else:
                kept.append(event)
        if kept and await self._record(relay_key, kept, look):
            answers.add(LOG_FAILED, [event.id for event in kept])
        else:
            self._tell(relay_key, kept, answers)

    async def _unopposed(
        self, plugin: Plugin, events: Sequence[Event], sender: Sender, answers: Answers
    ) -> Sequence[Event]:
        """Give the events that the operator's own policy lets pass; the others are answered as it says."""
        left = []
        for event in events:
            verdict = await plugin.ask(event, sender.address, self._clock.now_ms())
            if verdict is None:
                left.append(event)
            else:
                answers.add(verdict, [event.id])
        return left

    async def _record(self, relay_key: str, events: Sequence[Event], look: Look) -> bool:
        """Append the events and wait until the view has them; True where the log has failed."""
        try:
            await self._ledger.log.room()
            # Asked again, with no pause before the submit: an erasure may have raised a bar meanwhile.
            barred = self.barred(relay_key, events)
            if barred:
                events = [event for event in events if event.id not in barred]
            if events:
                drafts = self._drafts(relay_key, events)
                _, ticket = self._ledger.submit(drafts)
                # Requests to vanish stand behind the events' own drafts.
                self._view.foreseen.note(relay_key, [one.payload for one in drafts[: len(events)]], events, look)
                await ticket.wait()
        except LogFailed:
            return True
        return False

    def _drafts(self, relay_key: str, events: Sequence[Event]) -> list[Draft]:
        now_ns = self._clock.now_ns()
        subjects = {pubkey: self._pseudonym(pubkey) for pubkey in dict.fromkeys(event.pubkey for event in events)}
        drafts = event_drafts(
            relay_key,
            now_ns // 1_000_000,
            [stored_form(event) for event in events],
            ts_ns=now_ns,
            subjects=[subjects[event.pubkey] for event in events],
            salts=self._clock.random_bytes(SALT_BYTES * len(events)),
        )
        requests = [event for event in events if event.kind == VANISH and self._asks_here(event, relay_key)]
        return drafts + [self._vanished(relay_key, event, now_ns) for event in requests]

    def _asks_here(self, event: Event, relay_key: str) -> bool:
        """Whether a request to vanish names this relay, or every relay (NIP-62)."""
        return any(url == ALL_RELAYS or self.names(url, relay_key) for url in _relay_tags(event))

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

    def _tell(self, relay_key: str, events: Sequence[Event], answers: Answers) -> None:
        """Say what became of recorded events: a deletion or a newer version may have been in flight beside them."""
        barred, deletes = self.barred(relay_key, events), self._view.deleting(events)
        stored: list[str] = []
        for event in events:
            if event.id in barred:
                answers.add(BARRED, [event.id])
            elif is_plain(event.kind) and event.pubkey not in deletes:  # then the fold refuses nothing that we passed
                stored.append(event.id)
            else:
                answers.add(AFTERWARDS[self._view.standing(relay_key, event)], [event.id])
        answers.add(STORED, stored)


def _relay_tags(event: Event) -> list[str]:
    return [tag[1] for tag in event.tags if len(tag) > 1 and tag[0] == "relay"]


def _names_nobody(url: str, relay_key: str) -> bool:
    del url, relay_key
    return False


def _bars_nobody(relay_key: str, events: Sequence[Event]) -> Collection[str]:
    del relay_key, events
    return ()
