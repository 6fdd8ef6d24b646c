"""The story itself: the main job from end to end, with a kill -9 in the middle.

Each step does something over a real socket and checks what came of it; `tell` reads as the table of contents.
Invariant: nothing is reported that the step did not see with its own eyes. This module must not start processes.
"""

import secrets
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import trio

from gateway.cli.demo.instance import Instance
from gateway.cli.demo.phone import Phone
from gateway.cli.demo.server import Server
from gateway.cli.demo.subscribers import IPHONE_APP, Browser, IPhone
from gateway.cli.demo.telling import Telling, check
from gateway.cli.demo.wire import Author, replication_row, wire
from gateway.cli.demo.worker import Worker
from gateway.replication.binding import relay_id

ROWS = 200
QUEUED = 25
DELIVERED_S_MAX = 10.0
MATRIX_APP = "app.takos.matrix"
DEVICE = "device-of-alice-" + secrets.token_hex(8)


@dataclass
class Cast:
    """Who takes part."""

    telling: Telling
    server: Server
    instance: Instance
    phone: Phone
    browser: Browser
    distributor: Browser
    iphone: IPhone
    worker: Worker = field(init=False)
    client: httpx.AsyncClient = field(init=False)
    author: Author = field(default_factory=Author)
    registration: dict[str, Any] = field(default_factory=dict)
    relay: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    note: dict[str, Any] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)

    @property
    def relay_id(self) -> str:
        """The relayID of the worker's relay."""
        return relay_id(self.worker.identifier)


async def tell(cast: Cast) -> None:
    """Tell it all; raises where a step does not hold."""
    cast.telling.chapter("A push, from a community server to a phone")
    await device_registered(cast)
    await registration_guarded(cast)
    await notification_delivered(cast)
    await browser_reached(cast)
    await unifiedpush_reached(cast)
    await iphone_reached(cast)
    await homeserver_heard(cast)
    cast.telling.chapter("A relay, and its mirror")
    await relay_registered(cast)
    await tokens_issued(cast)
    await events_replicated(cast)
    await event_published(cast)
    cast.telling.chapter("kill -9, in the middle of work that was accepted and not done")
    await work_accepted(cast)
    await server_killed(cast)
    await server_back(cast)
    await work_done(cast)
    await nothing_lost(cast)
    cast.telling.chapter("The log, by which all of this can be proved")
    await log_verified(cast)


async def device_registered(cast: Cast) -> None:
    """Register a device with an envelope that the instance signed."""
    with cast.telling.step(f"{cast.instance.domain} registers alice's phone: an envelope signed with ES256") as step:
        cast.registration = cast.instance.registration("alice", DEVICE)
        answer = await cast.client.post("/push/register", json=cast.registration)
        check(answer.status_code == 200, f"a signed registration was answered {answer.status_code}: {answer.text}")
        check(answer.json()["duplicate"] is False, "a new registration is no duplicate")
        step.outcome = "200, durable in the log; the gateway fetched the instance's key itself"


async def registration_guarded(cast: Cast) -> None:
    """The same envelope again changes nothing; an altered one is refused."""
    with cast.telling.step("the same envelope again, and an altered one") as step:
        again = await cast.client.post("/push/register", json=cast.registration)
        check(again.status_code == 200 and again.json()["duplicate"] is True, f"a repeat was answered {again.text}")
        altered = await cast.client.post("/push/register", json={**cast.registration, "userId": "mallory"})
        check(altered.status_code == 401, f"an altered envelope was answered {altered.status_code}")
        step.outcome = f"200 duplicate, and 401 {altered.json()['code']}"


async def notification_delivered(cast: Cast) -> None:
    """Send a notification, and wait for it on the phone."""
    with cast.telling.step("bob likes alice's post: a notification goes out") as step:
        body, headers = cast.instance.notification("alice", "Bob さんがあなたの投稿にいいねしました")
        began = time.monotonic()
        answer = await cast.client.post("/internal/push/events", json=body, headers=headers)
        check(answer.status_code == 200, f"a signed notification was answered {answer.status_code}: {answer.text}")
        message = await cast.phone.message(body["notification"]["id"], DELIVERED_S_MAX)
        check(message["token"] == DEVICE, "the notification went to another device")
        took_ms = (time.monotonic() - began) * 1000
        step.outcome = (
            f"delivered: {answer.json()['delivered']}, through FCM's HTTP v1, OAuth included, in {took_ms:.0f} ms"
        )
    cast.telling.phone(message["notification"]["title"], message["notification"]["body"])


async def browser_reached(cast: Cast) -> None:
    """A browser subscribes with the gateway's key; the next notification reaches it, and only it can read it."""
    with cast.telling.step("dave's browser subscribes: Web Push, encrypted for that browser alone") as step:
        told = (await cast.client.get("/push/vapid")).json()
        await registered(cast, "dave", cast.browser.subscribe(told["publicKey"]), targetKind="webpush", platform="web")
        body, headers = cast.instance.notification("dave", "これはブラウザに届きます")
        await cast.client.post("/internal/push/events", json=body, headers=headers)
        message = await cast.browser.message(DELIVERED_S_MAX)
        check(message["data"]["notification_id"] == body["notification"]["id"], "the browser got something else")
        check(b"notification" not in cast.browser.seen_by_service(), "the push service could read it")
        step.outcome = f"decrypted: {message['notification']['body']}; its push service saw bytes, signed (VAPID)"


async def unifiedpush_reached(cast: Cast) -> None:
    """A phone without Google registers the endpoint that its distributor gave it."""
    with cast.telling.step("erin's phone has no Google: a UnifiedPush endpoint, registered with its keys") as step:
        key = (await cast.client.get("/push/vapid")).json()["publicKey"]
        await registered(cast, "erin", cast.distributor.subscribe(key), targetKind="unifiedpush", platform="android")
        body, headers = cast.instance.notification("erin", "こんにちは、erin")
        answer = await cast.client.post("/internal/push/events", json=body, headers=headers)
        message = await cast.distributor.message(DELIVERED_S_MAX)
        check(message["data"]["notification_id"] == body["notification"]["id"], "the phone got something else")
        check(b"notification" not in cast.distributor.seen_by_service(), "the UnifiedPush server could read it")
        step.outcome = (
            f"delivered: {answer.json()['delivered']}, decrypted by the app: {message['notification']['body']}"
        )


async def iphone_reached(cast: Cast) -> None:
    """An app with a key of Apple's own gets it by HTTP/2."""
    with cast.telling.step("carol's iPhone, without Firebase") as step:
        await registered(cast, "carol", cast.iphone.token, targetKind="apns", appId=IPHONE_APP, platform="ios")
        body, headers = cast.instance.notification("carol", "Hello, carol")
        await cast.client.post("/internal/push/events", json=body, headers=headers)
        alert = await cast.iphone.alert(DELIVERED_S_MAX)
        check(alert["body"] == "Hello, carol", "the iPhone showed something else")
        step.outcome = "delivered by APNs over HTTP/2, with a token signed by the team's key"


async def homeserver_heard(cast: Cast) -> None:
    """A Matrix homeserver's request goes the same way, and is told which pushkeys are gone."""
    with cast.telling.step("a Matrix homeserver knocks at the second door, with a dead pushkey among two") as step:
        event = {"event_id": f"${secrets.token_hex(8)}", "room_id": "!demo:example.com", "counts": {"unread": 1}}
        devices = [{"app_id": MATRIX_APP, "pushkey": key} for key in (DEVICE, "unregistered:old-phone")]
        asked = {"notification": {**event, "devices": devices}}
        answer = (await cast.client.post("/_matrix/push/v1/notify", json=asked)).json()
        with trio.move_on_after(DELIVERED_S_MAX):
            while answer.get("retryable"):  # it asks again for what is retryable, as homeservers do
                answer = (await cast.client.post("/_matrix/push/v1/notify", json=asked)).json()
        check(answer == {"rejected": ["unregistered:old-phone"], "retryable": [], "failed": []}, f"answered {answer}")
        step.outcome = f"rejected: {answer['rejected'][0]}; the other arrived"


async def registered(cast: Cast, user: str, target: str, **changes: str) -> None:
    """Register one more device."""
    answer = await cast.client.post("/push/register", json=cast.instance.registration(user, target, **changes))
    check(answer.status_code == 200, f"a signed registration was answered {answer.status_code}: {answer.text}")


async def relay_registered(cast: Cast) -> None:
    """Register the worker's relay, and see both of its addresses."""
    with cast.telling.step("a worker registers its relay, signed with HMAC-SHA256") as step:
        cast.relay = (await cast.worker.register())["relay"]
        check(cast.relay["relayKey"] == cast.worker.relay_key, "the answer is about another relay")
        check("/mirror/" not in cast.relay["connectionUrl"], "the normal socket's address names the mirror")
        check("/mirror/" in cast.relay["replicationConnectionUrl"], "the mirror's address is missing")
        step.note(f"events       {bare(cast.relay['connectionUrl'])}")
        step.note(f"replication  {bare(cast.relay['replicationConnectionUrl'])}")


async def tokens_issued(cast: Cast) -> None:
    """Issue a pair of tokens."""
    with cast.telling.step("and gets tokens for a member") as step:
        cast.tokens = await cast.worker.issue(cast.author.pubkey)
        check(cast.tokens["replicationToken"] != cast.tokens["token"], "both tokens are one")
        life_s = (cast.tokens["expiresAt"] - time.time_ns() // 1_000_000) // 1000
        step.outcome = (
            f"sequence {cast.tokens['sequence']}, good for {life_s} s; the replication token opens the mirror alone"
        )


async def events_replicated(cast: Cast) -> None:
    """One socket of the mirror writes, another that listens sees every row live."""
    with cast.telling.step(f"{ROWS} rows written on one mirror socket, read live on another") as step:
        cast.rows = [replication_row(cast.relay_id, f"row {number}") for number in range(ROWS)]
        url = cast.tokens["replicationConnectionUrl"]
        async with wire(url) as reader, wire(url) as writer:
            check(await reader.stored("live", relayID=cast.relay_id) == [], "a new relay has rows")
            began, seen, acknowledged = time.monotonic(), [], {}
            async with trio.open_nursery() as nursery:

                async def read() -> None:
                    seen.extend(await reader.live(ROWS))

                nursery.start_soon(read)
                acknowledged = await writer.published(cast.rows)
            took_s = time.monotonic() - began
        check(len(acknowledged) == ROWS, f"{ROWS - len(acknowledged)} rows were refused")
        check(ids(seen) == ids(cast.rows), "the reader saw other rows than were written")
        step.outcome = f"every row once, each acknowledged after fsync: {ROWS / took_s:,.0f} rows/s"


async def event_published(cast: Cast) -> None:
    """Publish an ordinary nostr event on /relay and find it again."""
    with cast.telling.step("an ordinary nostr event on /relay, signed with BIP-340") as step:
        cast.note = cast.author.event(1, "mirror, mirror on the wall", [["t", "heliograph"]])
        async with wire(cast.server.url.replace("http", "ws", 1) + "/relay") as relay:
            check(cast.note["id"] in await relay.published([cast.note]), "the event was refused")
            found = await relay.stored("mine", authors=[cast.author.pubkey], kinds=[1])
        check(ids(found) == {cast.note["id"]}, "the event was not found again")
        step.outcome = f"stored, and found by author: {cast.note['id'][:16]}…"


async def work_accepted(cast: Cast) -> None:
    """Let FCM fall silent, and have notifications accepted that it does not take."""
    with cast.telling.step(f"FCM falls silent; {QUEUED} more notifications are accepted") as step:
        cast.phone.fall_silent()
        async with trio.open_nursery() as nursery:
            for number in range(QUEUED):
                nursery.start_soon(_accepted, cast, f"notification {number}")
        check(len(cast.waiting) == QUEUED, "not all were accepted")
        check(not any(cast.phone.arrivals(one) for one in cast.waiting), "the phone got one while FCM was silent")
        step.outcome = f"200 to each: durable in the log, none delivered, {cast.phone.held} requests in the air"


async def _accepted(cast: Cast, text: str) -> None:
    body, headers = cast.instance.notification("alice", text)
    answer = await cast.client.post("/internal/push/events", json=body, headers=headers)
    check(answer.status_code == 200, f"a notification was answered {answer.status_code}: {answer.text}")
    check(answer.json()["queued"] == 1, f"a notification that FCM did not take is not queued: {answer.text}")
    cast.waiting.append(body["notification"]["id"])


async def server_killed(cast: Cast) -> None:
    """Kill the server as a crash would."""
    pid = cast.server.pid
    with cast.telling.step(f"kill -9 {pid}") as step:
        await cast.server.kill()
        step.outcome = "gone, without a word"


async def server_back(cast: Cast) -> None:
    """Start it again on the same data; FCM answers again, so that nothing but the crash stands in the way."""
    with cast.telling.step("FCM answers again; the server starts again on the same data") as step:
        cast.phone.answer_again()
        await cast.server.start()
        log = (await cast.client.get("/status")).json()["log"]
        step.outcome = f"pid {cast.server.pid}, {log['size']:,} records, listening"


async def work_done(cast: Cast) -> None:
    """What was accepted before the crash is delivered after it."""
    with cast.telling.step("what was accepted before the crash arrives on the phone") as step:
        for one in cast.waiting:
            await cast.phone.message(one, DELIVERED_S_MAX)
        twice = [one for one in cast.waiting if cast.phone.arrivals(one) != 1]
        check(not twice, f"{len(twice)} notifications arrived more than once")
        step.outcome = f"{QUEUED} of {QUEUED}, each once"


async def nothing_lost(cast: Cast) -> None:
    """Everything that was acknowledged is still there."""
    with cast.telling.step(
        "the tokens still open the mirror; every row and event is there; the nonce is remembered"
    ) as step:
        async with wire(cast.tokens["replicationConnectionUrl"]) as mirror:
            rows = await mirror.stored("again", relayID=cast.relay_id)
            repeated = await mirror.published(cast.rows[:1])
        check(ids(rows) == ids(cast.rows), f"{ROWS - len(rows)} rows are missing")
        check(repeated[cast.rows[0]["id"]].startswith("duplicate"), "a row that is stored was taken again")
        async with wire(cast.server.url.replace("http", "ws", 1) + "/relay") as relay:
            check(ids(await relay.stored("still", ids=[cast.note["id"]])) == {cast.note["id"]}, "the event is lost")
        again = await cast.client.post("/push/register", json=cast.registration)
        check(again.json().get("duplicate") is True, f"the registration's nonce was forgotten: {again.text}")
        step.outcome = f"{len(rows)} of {ROWS} rows, nothing twice"


async def log_verified(cast: Cast) -> None:
    """Audit the log with the command that an operator would use."""
    with cast.telling.step("heliograph log verify") as step:
        command = [sys.executable, "-m", "gateway.cli.main", "log", "verify", "--data", str(cast.server.data)]
        done = await trio.run_process(command, capture_stdout=True, stderr=subprocess.STDOUT, check=False)
        told = done.stdout.decode("utf-8", "replace").strip()
        check(done.returncode == 0, f"the audit failed:\n{told}")
        status = (await cast.client.get("/status")).json()
        check(status["log"]["root"] in told, "the audit computed another root than the server states")
        step.outcome = f"{status['log']['size']:,} records, root {status['log']['root'][:16]}…"
        for line in told.splitlines()[-3:]:
            step.note(line)


def ids(events: list[dict[str, Any]]) -> set[str]:
    """The ids of events or rows."""
    found = {event["id"] for event in events}
    check(len(found) == len(events), f"{len(events) - len(found)} events came twice")
    return found


def bare(url: str) -> str:
    """An address without its token."""
    return url.partition("?")[0]
