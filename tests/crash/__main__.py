"""``python -m tests.crash --rounds 200``: kill -9 at random under load, and hold the server to what it said.

Prints one line a round and the seed; exit code 1 where a promise was broken, each named.
"""

import argparse
import random
import secrets
import sys
import tempfile
import time
from pathlib import Path

import trio
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.cli.demo.instance import Instance
from gateway.cli.demo.server import Server, never_outliving
from gateway.serve.fakes.fcm import serve_fake, service_account
from tests.crash.audit import all_delivered, log_agrees, log_is_whole, nothing_is_lost
from tests.crash.load import (
    EVENTS,
    PUSHES,
    REGISTRATIONS,
    ROWS,
    TOKENS,
    World,
    devices,
    publish,
    push,
    register,
    relay_of_a_worker,
    replicate,
    tokens,
    until_gone,
)
from tests.crash.memory import RecordingFake

CLIENTS = (push, push, push, push, register, tokens, replicate, replicate, publish, publish)
LIFE_S = (0.05, 1.5)  # a round's length is drawn from here
TRAPS = ("", "", "", "", PUSHES, REGISTRATIONS, TOKENS, ROWS, EVENTS)
FILLED_S_MAX = 60.0  # the first round lasts until something of each kind is acknowledged, however slow the machine
TRAP_S_MAX = 2.0
LAST_WORDS_S = 2.0  # to read the acknowledgements that the dead server had sent
FCM_LATENCY_S = 0.005  # so that a kill falls between FCM's answer and its settlement now and then

CONFIG = """
[registration]
secret = "{secret}"
[push]
answer_wait_s = 0.05
rate_per_instance = 10000000
rate_per_address = 10000000
[mirror]
invalid_attempts_max = 1000000
[fcm]
base_url = "{fcm}"
allow_any_token_uri = true
[fcm.projects.default]
credentials = "service-account.json"
[instances."{domain}"]
url = "{document}"
"""


async def kill_in_rounds(directory: Path, rounds: int, seed: int, say: bool = True) -> World:
    """Run the rounds; the world's memory holds what was broken."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    fake, instance, secret = RecordingFake(key.public_key()), Instance("demo.example.com"), secrets.token_hex(16)
    fake.latency_s = FCM_LATENCY_S
    async with trio.open_nursery() as nursery:
        await nursery.start(instance.serve)
        listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(serve_fake, fake, listener)
        fcm = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        (directory / "service-account.json").write_bytes(service_account(key, fcm))
        config = CONFIG.format(secret=secret, fcm=fcm, domain=instance.domain, document=instance.url)
        async with never_outliving(Server(directory, config)) as server:
            await server.start()
            world = World(server.url, secret, instance, random.Random(seed))
            await devices(world)
            for _ in range(3):
                await relay_of_a_worker(world)
            for number in range(rounds):
                await one_round(world, server, number, say)
            await all_delivered(world, fake)
            await nothing_is_lost(world, everything=True)
            if await server.stop() != 0:
                world.memory.broken.append("SIGTERM did not end the server in order")
        nursery.cancel_scope.cancel()
    world.memory.broken += log_is_whole(server.data)
    world.memory.broken += log_agrees(server.data, directory, world, fake)
    return world


async def one_round(world: World, server: Server, number: int, say: bool) -> None:
    """Load, kill, start, audit. Half of the kills fall at random, half at the very moment of an acknowledgement."""
    life_s, trap = world.dice.uniform(*LIFE_S), world.dice.choice(TRAPS)
    world.alive, world.pid, world.sprung = True, server.pid, trio.Event()
    async with trio.open_nursery() as nursery:
        for client in CLIENTS:
            nursery.start_soon(until_gone, client, world)
        await trio.sleep(life_s)
        with trio.move_on_after(0 if number else FILLED_S_MAX):
            while not world.memory.has_each():  # noqa: ASYNC110 - the clients cannot call
                await trio.sleep(0.05)
        world.trap = trap
        with trio.move_on_after(TRAP_S_MAX if trap else 0):
            await world.sprung.wait()
        if not world.sprung.is_set():
            world.strike()
        await server.kill()
        nursery.cancel_scope.deadline = trio.current_time() + LAST_WORDS_S  # a client may wait for a handshake for ever
    began, world.started_ns = time.monotonic(), time.time_ns()
    await server.start()
    start_s = time.monotonic() - began
    await nothing_is_lost(world)
    if say:
        when = f"on one of the {trap}" if trap else "at random"
        told = f"killed after {life_s:.2f} s, {when}, up in {start_s:.2f} s; {world.memory.counts()}"
        print(f"round {number + 1}: {told}; {len(world.memory.broken)} broken", flush=True)


def main() -> None:
    """Run by hand."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--keep", type=Path, help="an empty directory for the data, kept for looking into")
    asked = parser.parse_args()
    print(f"seed {asked.seed}")
    if asked.keep:
        asked.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="heliograph-crash-") as directory:
        world = trio.run(kill_in_rounds, asked.keep or Path(directory), asked.rounds, asked.seed)
    print("\n".join(world.memory.broken) or "nothing acknowledged was lost, nothing sent after it was settled")
    sys.exit(bool(world.memory.broken))


if __name__ == "__main__":
    main()
