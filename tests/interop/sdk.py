"""nostr-sdk (Rust underneath) against one relay: prints a JSON object of checks. python sdk.py ws://127.0.0.1:PORT/relay."""

import asyncio
import json
import os
import sys
from datetime import timedelta

from nostr_sdk import (
    ClientBuilder,
    EventBuilder,
    Filter,
    Keys,
    Kind,
    RelayUrl,
    ReqTarget,
    SignerAuthenticator,
    Tag,
    uniffi_set_event_loop,
)

WAIT = timedelta(seconds=10)


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
    await client.shutdown()
    print(json.dumps(checks), flush=True)  # noqa: T201 - a script of its own
    os._exit(0)  # its threads of Rust outlive the interpreter now and then, and crash after all is said


asyncio.run(main(sys.argv[1]))
