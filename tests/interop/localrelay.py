"""nostr-sdk's relay (Rust underneath, in memory) as a process: prints its URL, then serves until it is killed.

With the argument ``auth`` it wants a key proved before it gives or takes anything (NIP-42).
"""

import asyncio
import sys

from nostr_sdk import (
    LocalRelayBuilder,
    LocalRelayBuilderNip42,
    LocalRelayBuilderNip42Mode,
    RateLimit,
    uniffi_set_event_loop,
)


async def main() -> None:
    uniffi_set_event_loop(asyncio.get_running_loop())  # type: ignore[arg-type]
    limit = RateLimit(max_reqs=10_000, notes_per_minute=100_000_000)
    builder = LocalRelayBuilder().rate_limit(limit)
    if "auth" in sys.argv[1:]:
        builder = builder.nip42(LocalRelayBuilderNip42(mode=LocalRelayBuilderNip42Mode.BOTH))
    relay = builder.build()
    await relay.run()
    print(await relay.url(), flush=True)  # noqa: T201 - a script of its own
    await asyncio.Event().wait()


asyncio.run(main())
