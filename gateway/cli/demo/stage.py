"""The stage: every part set up behind a real port, the story told on it, everything gone at the end.

Exit codes: 0 every step held, 1 one did not, 3 a part could not be started. This module must not know the steps.
"""

import json
import secrets
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

import httpx
import trio
from trio_websocket import ConnectionClosed, HandshakeError

from gateway.cli.demo.instance import Instance
from gateway.cli.demo.phone import Phone
from gateway.cli.demo.server import Server, never_outliving
from gateway.cli.demo.story import MATRIX_APP, Cast, tell
from gateway.cli.demo.subscribers import IPHONE_APP, Browser, IPhone
from gateway.cli.demo.telling import StoryBroken, Telling, check
from gateway.cli.demo.worker import Worker
from gateway.errors import Unavailable

HTTP_S_MAX = 60.0
STOPS = (signal.SIGINT, signal.SIGTERM)
BROKEN = (StoryBroken, httpx.HTTPError, ConnectionClosed, HandshakeError, ConnectionRefusedError, trio.TooSlowError)


def play(*, once: bool, port: int, telling: Telling | None = None) -> int:
    """Set the stage, tell the story, and give the exit code; without ``once`` it stays up until interrupted."""
    telling, code = telling or Telling(), 3
    try:
        with tempfile.TemporaryDirectory(prefix="heliograph-demo-") as directory:
            code = trio.run(_play, Path(directory), telling, once, port)
    except* Unavailable as unavailable:
        telling.broken(str(_first(unavailable)))
    except* StoryBroken as broken:
        telling.broken(str(_first(broken)))
        code = 1
    return code


def _first(failure: BaseException) -> BaseException:
    """The failure itself, out of the groups that nurseries put around it."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


async def _play(directory: Path, telling: Telling, once: bool, port: int) -> int:
    instance, phone, secret = Instance("demo.example.com"), Phone(), secrets.token_hex(16)
    browser, distributor, iphone = Browser(), Browser("erin"), IPhone()
    async with trio.open_nursery() as nursery:
        await nursery.start(instance.serve)
        await nursery.start(phone.serve)
        await nursery.start(browser.serve)
        await nursery.start(distributor.serve)
        await nursery.start(iphone.serve, directory)
        phone.write_credentials(directory / "service-account.json")
        config = configuration(instance, phone, secret) + other_ways((browser, distributor), iphone)
        telling.chapter("The stage")
        with telling.step("a takos instance with a P-256 key of its own") as step:
            step.outcome = instance.url
        with telling.step("a fake FCM that speaks HTTP v1") as step:
            step.outcome = phone.url
        with telling.step("a browser's push service, a UnifiedPush server, and Apple's") as step:
            step.outcome = f"{browser.url}, {distributor.url}, {iphone.url}"
        async with never_outliving(Server(directory, config, f"127.0.0.1:{port}")) as server:
            with telling.step("the gateway, in a process of its own") as step:
                await server.start()
                step.outcome = f"pid {server.pid}, {server.url}"
            cast = Cast(telling, server, instance, phone, browser, distributor, iphone)
            code = await _told(cast, secret)
            if code == 0 and not once:
                await _stay(telling, server)
            if code == 0:
                await _ended(telling, server)
        if code == 0 and once:
            telling.say(f"\n{telling.summary()}")
        nursery.cancel_scope.cancel()
    return code


async def _told(cast: Cast, secret: str) -> int:
    telling, server = cast.telling, cast.server
    async with httpx.AsyncClient(base_url=server.url, timeout=HTTP_S_MAX) as client:
        cast.client, cast.worker = client, Worker(client, secret, "demo")
        failure: BaseException | None = None
        try:
            await tell(cast)
        except* BROKEN as broken:
            failure = _first(broken)
        if failure is not None:
            telling.broken(str(failure) if isinstance(failure, StoryBroken) else repr(failure))
            telling.say(server.last_words())
    return 1 if failure else 0


async def _stay(telling: Telling, server: Server) -> None:
    telling.say(f"\n{telling.summary()} The gateway stays up until you press Ctrl-C:")
    telling.say(f"  {server.url}/")
    with trio.open_signal_receiver(*STOPS) as signals:
        async for _ in signals:
            return


async def _ended(telling: Telling, server: Server) -> None:
    telling.chapter("The end")
    with telling.step("SIGTERM") as step:
        code = await server.stop()
        check(code == 0, f"the server did not end in order: exit code {code}")
        step.outcome = "exit code 0"


def configuration(instance: Instance, phone: Phone, secret: str) -> str:
    """The gateway's configuration for this stage, as TOML."""
    return f"""
[registration]
secret = {json.dumps(secret)}

[push]
answer_wait_s = 0.3

[fcm]
base_url = {json.dumps(phone.url)}
allow_any_token_uri = true

[fcm.projects.default]
credentials = "service-account.json"

[instances.{json.dumps(instance.domain)}]
url = {json.dumps(instance.url)}
"""


def other_ways(on_the_web: Sequence[Browser], iphone: IPhone) -> str:
    """The configuration's part for what is not behind Firebase, and for the Matrix door."""
    return f"""
[webpush]
contact = "mailto:demo@example.com"
local_origins = {json.dumps([one.url for one in on_the_web])}

[apns]
base_url = {json.dumps(iphone.url)}
ca_file = "fake-apns.pem"

[apns.apps.{json.dumps(IPHONE_APP)}]
key_file = "apns.p8"
key_id = "ABC1234567"
team_id = "DEF7654321"

[matrix.apps.{json.dumps(MATRIX_APP)}]
"""
