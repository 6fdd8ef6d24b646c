"""Who belongs to the gateway's own relay, where that is closed (NIP-43): joining, leaving, inviting, and saying so.

    28934 ─▶ signature, invitation (its MAC, its end, unused) ─▶ one commit: on the list, invitation used, 8000, 13534
Invariant: members are the keys that its moderators' list allows, nothing else; each change of it, by a code or by an
admin (NIP-86), is recorded in one piece with the relay's own events that tell of it. The key that signs them is made at
first start, in ``data/keys``. This module must not know sockets.
"""

from collections.abc import Sequence
from pathlib import Path

import trio

from eventlog.errors import LogFailed
from eventlog.record import Draft
from gateway.config import Config
from gateway.facts import SALT_BYTES, Moderated, draft, event_draft
from gateway.limits.nostr import AUTH_SKEW_S_MAX, INVITATION_S, MODERATION_ENTRIES_MAX
from gateway.nostr.event import Event, first_value, is_protected, stored_event, stored_form
from gateway.nostr.filter import Filter
from gateway.nostr.membership import (
    ADDED,
    INVITE,
    LEAVE,
    MEMBERS,
    REMOVED,
    REQUESTS,
    Invitation,
    Invitations,
    member_tags,
    signed,
)
from gateway.nostr.moderation import INVITATIONS_USED, KEYS_ALLOWED
from gateway.nostr.policy import Sender
from gateway.nostr.reader import Reader
from gateway.nostr.rules import FROM_ANYBODY
from gateway.nostr.signature import Claim, Signer
from gateway.serve.clock import Clock
from gateway.serve.keys import stored_key
from gateway.serve.ledger import Ledger
from gateway.serve.pseudonym import PSEUDONYM_BYTES
from gateway.serve.relay.answers import Answers, Verdict
from gateway.serve.relay.intake import FORGED, LOG_FAILED
from gateway.serve.relay.shown import shown
from gateway.serve.verify import Verifier
from gateway.views.events import EventsView
from gateway.views.eventscan import EventScan
from gateway.views.moderation import ModerationView
from gateway.views.restating import MARKED

RELAY_KEY = "relay.key"
DICE_BYTES, NAME_BYTES = 32, 8
ANYBODY = Reader(frozenset(), 0, frozenset())
ON, OFF = "allowpubkey", frozenset({"unallowpubkey", "banpubkey"})


class Membership:
    """The members of one relay; without it a relay is open."""

    def __init__(self, config: Config, clock: Clock, ledger: Ledger, scan: EventScan, relay_key: str) -> None:
        self.relay_key = relay_key
        self._clock, self._ledger, self._scan = clock, ledger, scan
        self._view, self._moderation = ledger.view(EventsView), ledger.view(ModerationView)
        secret = stored_key(Path(config.data) / "keys", RELAY_KEY, clock)
        self._signer, self._invitations = Signer(secret), Invitations(secret, relay_key)
        self._admins, self._members_invite = frozenset(config.relay.admins), config.relay.members_invite
        self._pseudonym = clock.random_bytes(PSEUDONYM_BYTES)
        self._changing = trio.Lock()

    @property
    def pubkey(self) -> str:
        """The key that the relay signs with (NIP-11's ``self``)."""
        return self._signer.pubkey

    @property
    def members(self) -> frozenset[str]:
        """Give the keys of the members."""
        return self._moderation.rules(self.relay_key).allow_keys

    def refusal(self, event: Event) -> str | None:
        """Say why an event is not taken: its author is no member, and it is nothing that anybody may send."""
        if event.pubkey in self.members or event.kind in FROM_ANYBODY:
            return None
        return "restricted: only members may write here"

    async def begin(self) -> None:
        """Put admins on the list, and say what it is where that was not said last; nothing where the log has failed."""
        await self._say([self._fact(ON, admin, "an admin") for admin in sorted(self._admins - self.members)])

    async def restate(self) -> None:
        """Say what the list is where that was not said last, as after an erasure; nothing where the log has failed."""
        await self._say([])

    async def _say(self, facts: Sequence[Moderated]) -> None:
        last = self._last()
        said = [] if last is None else [tag for tag in last.tags if tag[0] == "member"]
        if not facts and last is not None and said == member_tags(self._named()):
            return
        try:
            async with self._changing:
                await self._record(facts)
        except LogFailed:
            return

    # -- requests -----------------------------------------------------------------------------------------------------

    async def sift(self, events: Sequence[Event], sender: Sender, verifier: Verifier) -> tuple[list[Event], Answers]:
        """Part what a session sends: (what anybody or a member may write, the answers to all else).

        Cancelled: a request to join or leave may still take effect.
        """
        passed, answers = list[Event](), Answers()
        for event in events:
            if event.kind in REQUESTS:
                [holds] = await verifier.verify([Claim(event.pubkey, event.id, event.sig)])
                answers.add(await self.answer(event, sender) if holds else FORGED, [event.id])
            elif (refusal := self.refusal(event)) is not None:
                answers.add((False, refusal), [event.id])
            else:
                passed.append(event)
        return passed, answers

    async def answer(self, event: Event, sender: Sender) -> Verdict:
        """Answer a request to join or leave whose signature holds. Cancelled: it may still take effect."""
        if is_protected(event) and event.pubkey not in sender.keys:
            prefix = "restricted" if sender.keys else "auth-required"
            return False, f"{prefix}: a protected event is taken from its author alone"
        if abs(event.created_at - self._clock.now_ms() // 1000) > AUTH_SKEW_S_MAX:
            return False, "invalid: created_at is too far from now"
        try:
            async with self._changing:
                return await (self._leave if event.kind == LEAVE else self._join)(event)
        except LogFailed:
            return LOG_FAILED

    async def _join(self, event: Event) -> Verdict:
        rules = self._moderation.rules(self.relay_key)
        if event.pubkey in rules.block_keys:
            return False, "restricted: this key may not join"
        if event.pubkey in rules.allow_keys:
            return True, "duplicate: you are already a member of this relay"
        found = self._invitations.read(first_value(event, "claim") or "")
        refusal = "that is an invalid invite code" if found is None else self._unfit(found)
        if found is None or refusal:
            return False, f"restricted: {refusal}"
        if self._moderation.count(self.relay_key) + 2 > MODERATION_ENTRIES_MAX:
            return False, "restricted: this relay takes no more members"
        await self._record([self._fact(ON, event.pubkey, "invited"), self._fact("useinvitation", found.name, "")])
        return True, "info: welcome"

    def _unfit(self, found: Invitation) -> str:
        if found.ends_s <= self._clock.now_ms() // 1000:
            return "that invite code has expired"
        used = found.name in self._moderation.lists(self.relay_key).get(INVITATIONS_USED, ())
        return "that invite code was used already" if used else ""

    async def _leave(self, event: Event) -> Verdict:
        if event.pubkey not in self.members:
            return True, "duplicate: you are no member of this relay"
        await self._record([self._fact("unallowpubkey", event.pubkey, "left")])
        return True, "info: you have left"

    def invite(self, filters: Sequence[Filter], reader: Reader) -> Event | None:
        """Make an invitation for a reader who asks for one and may invite; each is another, and good for one."""
        may = self._admins | (self.members if self._members_invite else frozenset())
        if reader.keys.isdisjoint(may) or not any(one.kinds and INVITE in one.kinds for one in filters):
            return None
        code = self._invitations.make(reader.now_s + INVITATION_S, self._clock.random_bytes(NAME_BYTES))
        made = signed(self._signer, INVITE, [("claim", code)], reader.now_s, self._clock.random_bytes(DICE_BYTES))
        return made if any(one.matches(made) for one in filters) else None

    # -- changes ------------------------------------------------------------------------------------------------------

    async def change(self, fact: Moderated) -> None:
        """Record a change of an admin's together with what tells of it. Cancelled: it may still take effect."""
        async with self._changing:
            await self._record([fact])

    def _named(self) -> set[str]:
        """Give the members who can be named: an erased one stands on the list under a mark, which is nobody's key."""
        allowed = self._moderation.lists(self.relay_key).get(KEYS_ALLOWED, {})
        return {key for key, reason in allowed.items() if reason != MARKED}

    def _fact(self, method: str, value: str, reason: str) -> Moderated:
        return Moderated(self.relay_key, bytes.fromhex(self.pubkey), method, value, reason)

    async def _record(self, facts: Sequence[Moderated]) -> None:
        """Record changes, who came and went by them, and the list as it is then."""
        before, now_ns = self._named(), self._clock.now_ns()
        after = set(before)
        for fact in facts:
            if fact.method == ON:
                after.add(fact.value)
            elif fact.method in OFF:
                after.discard(fact.value)
        salt = self._clock.random_bytes
        drafts = [draft(fact, ts_ns=now_ns, salt=salt(SALT_BYTES)) for fact in facts]
        if after != before or not facts:
            drafts += self._told(sorted(after - before), sorted(before - after), after, now_ns)
        await self._ledger.record(drafts)

    def _last(self) -> Event | None:
        """Find the list that was said last."""
        asked = (Filter(authors=frozenset({self.pubkey}), kinds=frozenset({MEMBERS}), limit=1),)
        for page in self._scan.pages(self.relay_key, asked, self._view.position, 1, 1, reader=ANYBODY):
            for _, raw in shown(self._ledger.log, page, asked, ANYBODY):
                return stored_event(raw)
        return None

    def _told(self, came: Sequence[str], went: Sequence[str], members: set[str], now_ns: int) -> list[Draft]:
        """Draft the relay's own events; the list is always newer than the last, though two changes share a second."""
        last = self._last()
        at = max(now_ns // 1_000_000_000, 0 if last is None else last.created_at + 1)
        tellings = [
            *((ADDED, [("p", key)]) for key in came),
            *((REMOVED, [("p", key)]) for key in went),
            (MEMBERS, member_tags(members)),
        ]
        known = self._view.author(self.pubkey)
        subject = self._pseudonym if known is None else known.pseudonym
        events = (signed(self._signer, kind, tags, at, self._clock.random_bytes(DICE_BYTES)) for kind, tags in tellings)
        return [
            event_draft(
                self.relay_key,
                now_ns // 1_000_000,
                stored_form(event),
                ts_ns=now_ns,
                subject=subject,
                salt=self._clock.random_bytes(SALT_BYTES),
            )
            for event in events
        ]
