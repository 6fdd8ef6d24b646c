"""Texts: kept, let go, read back from the log, and gone where they were erased."""

import msgspec
import trio.testing

from gateway.facts import fact_of
from gateway.push.content import content_of
from gateway.serve.delivery.texts import Texts
from gateway.views.devices import DevicesView
from gateway.views.outbox import OutboxView
from tests.fakes import memory_ledger
from tests.gateway.serve.delivery.dispatching import CLOCK, Script, World


async def test_a_text_is_what_was_kept_and_then_what_the_log_says(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_ledger(DevicesView, OutboxView) as ledger:
        w, texts = World(ledger, Script()), Texts(ledger, CLOCK)
        await w.accept("t", user="bob")
        content, _ = content_of(fact_of(w.log.records[0]))
        texts.keep(0, content, dry_run=True)
        await trio.sleep(5)
        kept = texts.of(0)
        assert kept is not None
        assert (kept.content, kept.dry_run, kept.user) == (content, True, "")
        texts.forget()
        read = texts.of(0)
        assert read is not None
        assert (read.content, read.dry_run, read.user) == (content, False, "bob")
        assert read.accepted_ms == kept.accepted_ms
        assert texts.user(0) == "bob"


async def test_an_erased_text_is_nobodys(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_ledger(DevicesView, OutboxView) as ledger:
        w, texts = World(ledger, Script()), Texts(ledger, CLOCK)
        await w.accept("t")
        w.log.records[0] = msgspec.structs.replace(w.log.records[0], payload=None)
        assert texts.of(0) is None
        assert texts.user(0) is None
