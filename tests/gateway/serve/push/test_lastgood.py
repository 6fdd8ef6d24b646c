"""Documents in the log: news alone, bounded, and never an older key where a newer one was seen."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from gateway.errors import PushRefused
from gateway.facts import Published, Revoked
from gateway.limits.tenants import DOCUMENT_KEPT_MS, DOCUMENTS_PER_DAY
from gateway.push.instant import DAY_MS
from gateway.push.tenant import Signer
from gateway.push.wellknown import WellKnown, judge, pinned
from gateway.serve.ledger import Ledger
from gateway.serve.push import lastgood
from gateway.serve.push.fetch import Documents, Withdrawn
from gateway.serve.push.lastgood import LastGood
from gateway.views.documents import DocumentsView
from tests.fakes import FakeClock, MemoryLog, memory_ledger
from tests.takos import Instance

HOUR_S = 3600


class Kept:
    """What is tested, and what it stands on."""

    def __init__(self, ledger: Ledger) -> None:
        self.clock = FakeClock(20_000 * DAY_MS)
        self.ledger = ledger
        self.last_good = LastGood(self.clock, ledger)

    async def keep(self, who: Instance, age_s: float = 0, *, configured: bool = False) -> bool:
        done = self.last_good.keep(who.domain, keys(who), age_s, configured=configured)
        await self.settled()
        return done

    async def revoke(self, who: Instance, reason: str) -> None:
        self.last_good.revoke(who.domain, reason)
        await self.settled()

    async def settled(self) -> None:
        await self.ledger.caught_up(self.ledger.log.next_seq)

    @property
    def log(self) -> MemoryLog:
        assert isinstance(self.ledger.log, MemoryLog)
        return self.ledger.log

    def kinds(self) -> list[str]:
        return [record.kind for record in self.log.records]


@asynccontextmanager
async def kept() -> AsyncIterator[Kept]:
    async with memory_ledger(DocumentsView) as ledger:
        yield Kept(ledger)


def keys(who: Instance) -> WellKnown:
    return judge(who.document(), who.domain)


TAKOS = Instance()
SIGNER = Signer(TAKOS.domain, TAKOS.domain)


async def test_what_was_kept_is_recalled_with_its_age() -> None:
    async with kept() as it:
        assert it.last_good.recall(TAKOS.domain) is None
        await it.keep(TAKOS, age_s=100)
        it.clock.advance(50)
        found = it.last_good.recall(TAKOS.domain)
        assert found is not None
        assert (found.age_s, found.is_withdrawn) == (150, False)
        assert found.keys.webhook_key.public_numbers() == pinned(TAKOS.pem).webhook_key.public_numbers()


async def test_the_same_document_is_recorded_again_after_six_hours_and_another_at_once() -> None:
    async with kept() as it:
        for _ in range(3):
            assert await it.keep(TAKOS)
        assert it.kinds() == [Published.kind]
        it.clock.advance(DOCUMENT_KEPT_MS / 1000)
        await it.keep(TAKOS)
        await it.keep(Instance(TAKOS.domain))
        assert it.kinds() == [Published.kind] * 3


async def test_whoever_changes_keys_all_day_is_recorded_eight_times_and_leaves_no_old_key_behind() -> None:
    async with kept() as it:
        for _ in range(DOCUMENTS_PER_DAY + 5):
            await it.keep(Instance(TAKOS.domain))
        assert it.kinds() == [Published.kind] * DOCUMENTS_PER_DAY + [Revoked.kind]
        assert it.last_good.recall(TAKOS.domain) is None
        it.clock.advance(24 * HOUR_S)
        await it.keep(TAKOS)
        assert it.last_good.recall(TAKOS.domain) is not None


async def test_strangers_names_are_bounded_and_configured_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lastgood, "DOCUMENTS_KEPT_MAX", 2)
    async with kept() as it:
        for name in ("a.example", "b.example", "c.example"):
            assert await it.keep(Instance(name))
        assert it.last_good.recall("c.example") is None
        await it.keep(Instance("c.example"), configured=True)
        assert it.last_good.recall("c.example") is not None


async def test_a_revocation_is_recorded_once_and_only_where_something_stands() -> None:
    async with kept() as it:
        await it.revoke(TAKOS, "gone")
        assert it.kinds() == []
        await it.keep(TAKOS)
        for _ in range(3):
            await it.revoke(TAKOS, "gone")
        found = it.last_good.recall(TAKOS.domain)
        assert found is not None
        assert found.is_withdrawn
        for _ in range(3):
            await it.revoke(TAKOS, "invalid")
        await it.revoke(TAKOS, "gone")
        assert it.kinds() == [Published.kind, Revoked.kind, Revoked.kind]
        assert it.last_good.recall(TAKOS.domain) is None


async def test_a_clock_that_was_set_back_makes_a_document_one_to_fetch_anew() -> None:
    async with kept() as it:
        await it.keep(TAKOS)
        it.clock.advance(-HOUR_S)
        found = it.last_good.recall(TAKOS.domain)
        assert found is not None
        assert found.age_s == 300


class WallClock(FakeClock):
    """A clock that goes as trio's does, also over a restart."""

    def now_ns(self) -> int:
        return self.now + int(trio.current_time() * 1e9)

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000


async def test_the_rules_of_an_old_document_hold_over_a_restart(autojump_clock: trio.testing.MockClock) -> None:
    site: dict[str, bytes | PushRefused] = {}

    async def fetch(_: Signer) -> bytes:
        body = site["answer"]
        if isinstance(body, bytes):
            return body
        raise type(body)(body.status, body.code, body.sentence)

    async def outcome(documents: Documents) -> str:
        try:
            documents.used(SIGNER, await documents.keys(SIGNER, "192.0.2.1"))
        except PushRefused as refused:
            return refused.code
        return "ok"

    down = PushRefused(502, "well-known-unreachable", "It is down.")
    async with memory_ledger(DocumentsView) as ledger:

        def restarted() -> Documents:
            return Documents(fetch, 60, LastGood(WallClock(20_000 * DAY_MS), ledger))

        async def kept(documents: Documents) -> None:
            documents.keep(SIGNER.domain)
            await ledger.caught_up(ledger.log.next_seq)

        site["answer"] = TAKOS.document()
        first = Documents(fetch, 60, LastGood(WallClock(20_000 * DAY_MS), ledger))
        assert await outcome(first) == "ok"
        await kept(first)
        site["answer"] = down
        await trio.sleep(86_000)
        assert await outcome(restarted()) == "ok"
        assert restarted().standing(SIGNER.domain)["age_s"] == 86_000
        await trio.sleep(500)
        assert await outcome(restarted()) == "well-known-unreachable"  # a day is over
        site["answer"] = TAKOS.document()
        again = restarted()
        assert await outcome(again) == "ok"
        await kept(again)
        site["answer"] = Withdrawn(502, "well-known-unreachable", "It is gone.")
        await trio.sleep(301)
        assert await outcome(restarted()) == "well-known-unreachable"
        await ledger.caught_up(ledger.log.next_seq)
        site["answer"] = down
        assert await outcome(restarted()) == "well-known-unreachable"  # what was taken back stays so
