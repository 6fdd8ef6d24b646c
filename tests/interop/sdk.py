"""nostr-sdk (Rust underneath) against one relay: prints a JSON object of checks. python sdk.py ws://127.0.0.1:PORT/relay."""

import asyncio
import json
import os
import sys
import tempfile
from datetime import timedelta

from nostr_sdk import (
    Client,
    ClientBuilder,
    EventBuilder,
    Filter,
    Keys,
    Kind,
    NostrLmdb,
    RelayUrl,
    ReqTarget,
    SignerAuthenticator,
    SyncDirection,
    SyncOptions,
    Tag,
    uniffi_set_event_loop,
)

WAIT = timedelta(seconds=10)


async def hears_what_another_sends(client: Client, url: str) -> bool:
    """Subscribe here, publish from another client, wait for it here."""
    keys = Keys.generate()
    other = ClientBuilder().build()
    await other.add_relay(RelayUrl.parse(url))
    await other.connect()
    heard = client.notifications()
    await client.subscribe(ReqTarget.auto([Filter().author(keys.public_key())]))
    note = EventBuilder(Kind(1), "live").finalize(keys)
    await other.send_event(note)
    async with asyncio.timeout(30):
        while note.id().to_hex() not in str(await heard.next()):
            pass
    return True


async def syncs_both_ways(publisher: Client, url: str) -> dict[str, object]:
    """Two stores that have diverged, 200 events each side, agree after one sync by NIP-77."""
    keys = Keys.generate()
    events = [EventBuilder(Kind(7), str(number)).finalize(keys) for number in range(300)]
    asked = Filter().author(keys.public_key()).kind(Kind(7))
    with tempfile.TemporaryDirectory() as directory:
        store = await NostrLmdb.open(directory)
        for event in events[:200]:
            await store.save_event(event)
        await asyncio.gather(*(publisher.send_event(event) for event in events[100:]))
        client = ClientBuilder().database(store).build()
        await client.add_relay(RelayUrl.parse(url))
        await client.connect()
        report = (await client.sync(asked, opts=SyncOptions().direction(SyncDirection.BOTH))).report
        told = [len(report.local), len(report.remote), len(report.sent), len(report.received)]
        found = await publisher.fetch_events(ReqTarget.auto([asked.limit(500)]), WAIT)
        return {
            "sync tells both differences": told == [100, 100, 100, 100] or str(told),
            "sync brought what was missing here": await store.count(asked) == len(events),
            "sync sent what was missing there": {one.id().to_hex() for one in found}
            == {one.id().to_hex() for one in events},
        }


async def main(url: str) -> None:
    uniffi_set_event_loop(asyncio.get_running_loop())  # type: ignore[arg-type]
    keys = Keys.generate()
    client = ClientBuilder().authenticator(SignerAuthenticator(keys)).build()
    await client.add_relay(RelayUrl.parse(url))
    await client.connect()
    checks: dict[str, object] = {}
    notes = [EventBuilder(Kind(1), f"note {number} 🦅").finalize(keys) for number in range(5)]
    for note in notes:
        sent = await client.send_event(note)
        checks[f"publish {note.content()[:6]}"] = [str(one) for one in sent.success] == [url] or str(sent)
    asked = Filter().author(keys.public_key()).kind(Kind(1))
    found = await client.fetch_events(ReqTarget.auto([asked]), WAIT)
    checks["query by author"] = {one.id().to_hex() for one in found} == {one.id().to_hex() for one in notes}
    checks["what comes back verifies"] = all(one.verify() for one in found)
    profile = EventBuilder(Kind(0), "{}").finalize(keys)
    await client.send_event(profile)
    found = await client.fetch_events(ReqTarget.auto([Filter().id(profile.id())]), WAIT)
    checks["query by id"] = [one.as_json() for one in found] == [profile.as_json()]
    deletion = EventBuilder(Kind(5), "").tags([Tag.parse(["e", notes[0].id().to_hex()])]).finalize(keys)
    await client.send_event(deletion)
    found = await client.fetch_events(ReqTarget.auto([asked]), WAIT)
    checks["deleted"] = {one.id().to_hex() for one in found} == {one.id().to_hex() for one in notes[1:]}
    whisper = EventBuilder(Kind(1059), "x").tags([Tag.parse(["p", keys.public_key().to_hex()])])
    await client.send_event(whisper.finalize(Keys.generate()))
    wraps = Filter().kind(Kind(1059)).pubkey(keys.public_key())
    found = await client.fetch_events(ReqTarget.auto([wraps]), WAIT)
    checks["authenticates for its gift wraps"] = len([*found]) == 1
    relay = await client.relay(RelayUrl.parse(url))
    assert relay is not None
    checks["count"] = await relay.count_events(asked, WAIT) == len(notes) - 1
    protected = EventBuilder(Kind(1), "mine alone").tags([Tag.parse(["-"])]).finalize(keys)
    sent = await client.send_event(protected)
    checks["authenticates for a protected event"] = [str(one) for one in sent.success] == [url] or str(sent)
    checks["live"] = await hears_what_another_sends(client, url)
    checks |= await syncs_both_ways(client, url)
    await client.shutdown()
    print(json.dumps(checks), flush=True)  # noqa: T201 - a script of its own
    os._exit(0)  # its threads of Rust outlive the interpreter now and then, and crash after all is said


asyncio.run(main(sys.argv[1]))
