"""nostr-sdk's relay (Rust underneath, in memory) as a process: prints its URL, then serves until it is killed."""

import asyncio

from nostr_sdk import LocalRelayBuilder, RateLimit, uniffi_set_event_loop


async def main() -> None:
    uniffi_set_event_loop(asyncio.get_running_loop())  # type: ignore[arg-type]
    limit = RateLimit(max_reqs=10_000, notes_per_minute=100_000_000)
    relay = LocalRelayBuilder().rate_limit(limit).build()
    await relay.run()
    print(await relay.url(), flush=True)  # noqa: T201 - a script of its own
    await asyncio.Event().wait()


asyncio.run(main())
