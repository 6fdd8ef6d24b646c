"""A closed relay (NIP-43) over a log in memory: who joins, leaves, invites and writes, and what is told of it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from coincurve import PrivateKey

from gateway.config import Config, Relay
from gateway.facts import SALT_BYTES, Moderated, draft, fact_of
from gateway.limits.nostr import INVITATION_S
from gateway.nostr.info import Presentation
from gateway.nostr.membership import ADDED, INVITE, JOIN, LEAVE, MEMBERS, REMOVED
from gateway.nostr.signature import Claim, holds
from gateway.serve.relay.service import NostrService
from gateway.views.events import EventsView
from gateway.views.moderation import ModerationView
from gateway.views.restating import MARKED
from tests.fakes import MemoryLog, memory_ledger
from tests.gateway.serve.relay.test_service import RELAY, URL, Bench, FakeSocket
from tests.signing import ALICE, BOB, pubkey, signed_fields

CAROL = PrivateKey(b"\x03" * 32)
CLOSED = Relay(membership="invite", admins=(pubkey(ALICE),))


class Club(Bench):
    """A closed relay whose admin is Alice, and its clients."""

    def __init__(self, ledger: Any, nursery: trio.Nursery, limits: Relay, data: Path) -> None:
        super().__init__(ledger, nursery, limits)
        self.service = NostrService(Config(relay=limits, data=str(data)), self.clock, ledger, self.metrics)
        self.service.introduce(lambda url, relay_key: url == URL and relay_key == RELAY)

    @property
    def now_s(self) -> int:
        return self.clock.now_ms() // 1000

    async def send(self, socket: FakeSocket, key: PrivateKey, kind: int, *tags: list[str], content: str = "") -> Any:
        """Publish an event of now; the OK's last two."""
        socket.say(["EVENT", signed_fields(key, kind, content, [*tags], self.now_s)])
        return (await socket.hear("OK"))[-1][2:]

    async def found(self, socket: FakeSocket, *kinds: int) -> list[dict[str, Any]]:
        socket.say(["REQ", "found", {"kinds": [*kinds]}], ["CLOSE", "found"])
        return [frame[2] for frame in await socket.hear("EOSE") if frame[0] == "EVENT"]

    async def invitation(self, socket: FakeSocket) -> str:
        """Ask for a code as whoever is proved on the socket."""
        [event] = await self.found(socket, INVITE)
        assert event["pubkey"] == self.own_key
        assert holds(Claim(event["pubkey"], event["id"], event["sig"]))
        return str(dict(tag for tag in event["tags"] if len(tag) > 1)["claim"])

    @property
    def own_key(self) -> str:
        document = json.loads(self.service.info(RELAY, Presentation("r"), "1"))
        return str(document["self"])


@asynccontextmanager
async def club(data: Path, limits: Relay = CLOSED, log: MemoryLog | None = None) -> AsyncIterator[Club]:
    async with memory_ledger(EventsView, ModerationView, log=log) as ledger, trio.open_nursery() as nursery:
        made = Club(ledger, nursery, limits, data)
        await nursery.start(made.service.run)
        yield made
        nursery.cancel_scope.cancel()


def members(event: dict[str, Any]) -> set[str]:
    return {tag[1] for tag in event["tags"] if tag[0] == "member"}


async def test_whoever_has_a_code_joins_writes_is_told_of_and_leaves(tmp_path: Path) -> None:
    async with club(tmp_path) as made:
        admin, socket, ears = made.connect(), made.connect(), made.connect()
        await made.prove(admin, ALICE)
        ears.say(["REQ", "ears", {"kinds": [ADDED, REMOVED, MEMBERS], "limit": 0}])
        await ears.hear("EOSE")
        assert await made.send(socket, BOB, 1) == [False, "restricted: only members may write here"]
        code = await made.invitation(admin)
        assert await made.send(socket, BOB, JOIN, ["claim", code]) == [True, "info: welcome"]
        heard = [frame[2] for frame in await ears.hear("EVENT", 2)]
        assert [(one["kind"], one["pubkey"]) for one in heard] == [(ADDED, made.own_key), (MEMBERS, made.own_key)]
        assert heard[0]["tags"] == [["-"], ["p", pubkey(BOB)]]
        assert members(heard[1]) == {pubkey(ALICE), pubkey(BOB)}
        assert await made.send(socket, BOB, 1) == [True, ""]
        assert await made.send(socket, BOB, JOIN, ["claim", code]) == [
            True, "duplicate: you are already a member of this relay",
        ]  # fmt: skip
        assert await made.send(socket, BOB, LEAVE) == [True, "info: you have left"]
        heard = [frame[2] for frame in await ears.hear("EVENT", 2)]
        assert (heard[0]["kind"], members(heard[1])) == (REMOVED, {pubkey(ALICE)})
        assert (await made.send(socket, BOB, 1))[0] is False
        assert (await made.send(socket, BOB, LEAVE))[1].startswith("duplicate: ")
        assert [members(one) for one in await made.found(socket, MEMBERS)] == [{pubkey(ALICE)}]  # the newest alone


async def test_a_code_is_good_for_one_until_it_ends_and_a_made_up_one_for_nobody(tmp_path: Path) -> None:
    async with club(tmp_path) as made:
        admin, socket = made.connect(), made.connect()
        await made.prove(admin, ALICE)
        first, second = await made.invitation(admin), await made.invitation(admin)
        assert first != second
        for claim, reason in (("", "invalid"), ("made-up", "invalid"), (first[:-1], "invalid")):
            accepted, text = await made.send(socket, BOB, JOIN, ["claim", claim])
            assert (accepted, text) == (False, f"restricted: that is an {reason} invite code")
        assert (await made.send(socket, BOB, JOIN, ["claim", first]))[0] is True
        assert (await made.send(socket, BOB, LEAVE))[0] is True
        for key in (BOB, CAROL):
            used = await made.send(socket, key, JOIN, ["claim", first])
            assert used == [False, "restricted: that invite code was used already"]
        made.clock.advance(INVITATION_S + 1)
        late = await made.send(socket, CAROL, JOIN, ["claim", second])
        assert late == [False, "restricted: that invite code has expired"]


async def test_a_request_is_fresh_signed_and_where_it_is_protected_its_authors(tmp_path: Path) -> None:
    async with club(tmp_path) as made:
        admin, socket = made.connect(), made.connect()
        await made.prove(admin, ALICE)
        claim = ["claim", await made.invitation(admin)]
        old = signed_fields(BOB, JOIN, "", [claim], made.now_s - 3_600)
        forged = {**signed_fields(BOB, JOIN, "", [claim], made.now_s), "sig": "0" * 128}
        for event in (old, forged):
            socket.say(["EVENT", event])
            assert (await socket.hear("OK"))[-1][3].startswith("invalid: ")
        assert (await made.send(socket, BOB, JOIN, ["-"], claim))[1].startswith("auth-required: ")
        await made.prove(socket, BOB)
        assert (await made.send(socket, BOB, JOIN, ["-"], claim)) == [True, "info: welcome"]
        assert (await made.send(socket, CAROL, JOIN, ["-"], claim))[1].startswith("restricted: ")


async def test_only_who_may_invite_is_given_codes(tmp_path: Path) -> None:
    async with club(tmp_path) as made:
        nobody, admin, member = made.connect(), made.connect(), made.connect()
        nobody.say(["REQ", "i", {"kinds": [INVITE]}])
        assert (await nobody.hear("CLOSED"))[-1][2].startswith("auth-required: ")
        await made.prove(admin, ALICE)
        assert (await made.send(member, BOB, JOIN, ["claim", await made.invitation(admin)]))[0] is True
        await made.prove(member, BOB)
        assert await made.found(member, INVITE) == []
        assert await made.found(admin, 1) == []
    inviting = Relay(membership="invite", admins=(pubkey(ALICE),), members_invite=True)
    log = made.ledger.log
    assert isinstance(log, MemoryLog)
    async with club(tmp_path, inviting, log) as made:
        member = made.connect()
        await made.prove(member, BOB)
        assert (await made.send(made.connect(), CAROL, JOIN, ["claim", await made.invitation(member)]))[0] is True


async def test_what_anybody_may_send_is_taken_from_strangers_and_nothing_else(tmp_path: Path) -> None:
    async with club(tmp_path) as made:
        socket = made.connect()
        for kind in (10_002, 10_050):
            assert (await made.send(socket, BOB, kind)) == [True, ""]
        assert (await made.send(socket, BOB, 62, ["relay", "wss://elsewhere.example"])) == [True, ""]
        for kind in (0, 1, 3, 5, 7, 20_001, 30_023):
            assert (await made.send(socket, BOB, kind))[1].startswith("restricted: "), kind
        assert (await made.send(made.connect("ab" * 32), BOB, 1)) == [True, ""]  # another relay is not closed


async def test_an_admins_changes_are_told_too_and_a_restart_says_nothing_twice(tmp_path: Path) -> None:
    async with club(tmp_path) as made:
        membership = made.service.membership
        assert membership is not None
        for method in ("allowpubkey", "banpubkey", "unbanpubkey"):
            await membership.change(Moderated(RELAY, b"a" * 32, method, pubkey(BOB), ""))
        told = await made.found(made.connect(), ADDED, REMOVED)
        assert [(one["kind"], one["tags"][1][1]) for one in told if one["tags"][1][1] == pubkey(BOB)] in (
            [(REMOVED, pubkey(BOB)), (ADDED, pubkey(BOB))],
            [(ADDED, pubkey(BOB)), (REMOVED, pubkey(BOB))],
        )
        log, key = made.ledger.log, made.own_key
        assert isinstance(log, MemoryLog)
    size = log.durable_size
    async with club(tmp_path, log=log) as again:
        assert again.own_key == key
        assert again.ledger.log.durable_size == size
        assert [members(one) for one in await again.found(again.connect(), MEMBERS)] == [{pubkey(ALICE)}]
    more = Relay(membership="invite", admins=(pubkey(ALICE), pubkey(CAROL)))
    async with club(tmp_path, more, log) as later:
        assert [members(one) for one in await later.found(later.connect(), MEMBERS)] == [{pubkey(ALICE), pubkey(CAROL)}]


@pytest.mark.parametrize("running", [True, False])
async def test_an_erased_member_is_named_no_longer_and_the_list_says_so_anew_or_at_the_next_start(
    running: bool, tmp_path: Path
) -> None:
    mark = "ab" * 32
    async with club(tmp_path) as made:
        membership = made.service.membership
        assert membership is not None
        await membership.change(Moderated(RELAY, b"a" * 32, "allowpubkey", pubkey(BOB), ""))
        log = made.ledger.log
        assert isinstance(log, MemoryLog)
        # What an erasure leaves of Bob: his entry taken away, and his mark in its place.
        for method, value, reason in (("unallowpubkey", pubkey(BOB), ""), ("allowpubkey", mark, MARKED)):
            fact = Moderated(RELAY, bytes(32), method, value, reason)
            await made.ledger.record([draft(fact, ts_ns=made.clock.now_ns(), salt=bytes(SALT_BYTES))])
        if running:
            await made.service.restate()
            assert [members(one) for one in await made.found(made.connect(), MEMBERS)] == [{pubkey(ALICE)}]
            size = log.durable_size
            await made.service.restate()
            assert log.durable_size == size  # it was said
    async with club(tmp_path, log=log) as again:
        assert [members(one) for one in await again.found(again.connect(), MEMBERS)] == [{pubkey(ALICE)}]
        assert again.service.membership is not None
        assert mark in again.service.membership.members


async def test_an_admin_who_was_erased_is_not_named_again_by_the_erasure(tmp_path: Path) -> None:
    async with club(tmp_path) as made:
        for method, value, reason in (("unallowpubkey", pubkey(ALICE), ""), ("allowpubkey", "ab" * 32, MARKED)):
            fact = Moderated(RELAY, bytes(32), method, value, reason)
            await made.ledger.record([draft(fact, ts_ns=made.clock.now_ns(), salt=bytes(SALT_BYTES))])
        await made.service.restate()
        assert [members(one) for one in await made.found(made.connect(), MEMBERS)] == [set()]


async def test_a_change_and_what_tells_of_it_are_one_piece_of_the_log(tmp_path: Path) -> None:
    async with club(tmp_path) as made:
        admin = made.connect()
        await made.prove(admin, ALICE)
        code, log = await made.invitation(admin), made.ledger.log
        before = log.durable_size
        await made.send(made.connect(), BOB, JOIN, ["claim", code])
        assert isinstance(log, MemoryLog)
        records = log.records[before:]
        assert [record.kind for record in records] == ["relay.moderated"] * 2 + ["nostr.stored"] * 2
        assert len({record.ts_ns for record in records}) == 1
        assert all(code.encode() not in (record.payload or b"") for record in log.records)
        joined = fact_of(records[0])
        assert isinstance(joined, Moderated)
        assert (joined.method, joined.value) == ("allowpubkey", pubkey(BOB))


@pytest.mark.parametrize("limits", [CLOSED, Relay()])
async def test_the_document_names_the_nip_and_the_key_exactly_where_the_relay_is_closed(
    limits: Relay, tmp_path: Path
) -> None:
    async with club(tmp_path, limits) as made:
        closed = limits is CLOSED
        for relay_key, here in ((RELAY, closed), ("ab" * 32, False)):
            document = json.loads(made.service.info(relay_key, Presentation("r"), "1"))
            assert (43 in document["supported_nips"], "self" in document) == (here, here)
            assert document["limitation"]["restricted_writes"] is here
        if not closed:
            assert (await made.send(made.connect(), BOB, JOIN, ["claim", "x"])) == [True, ""]  # an ephemeral event


async def test_after_a_failed_log_a_request_is_refused_and_reading_goes_on(tmp_path: Path) -> None:
    async with club(tmp_path) as made:
        admin = made.connect()
        await made.prove(admin, ALICE)
        code = await made.invitation(admin)
        assert isinstance(made.ledger.log, MemoryLog)
        made.ledger.log.break_down()
        refused = await made.send(made.connect(), BOB, JOIN, ["claim", code])
        assert refused == [False, "error: the log takes no records now"]
        assert len(await made.found(admin, MEMBERS)) == 1
