"""The FCM client against the fake, over real sockets; and its tokens, by a clock that jumps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.config import FCM, Project, Push
from gateway.errors import ConfigInvalid
from gateway.push.envelope import Notification
from gateway.push.fcm import Braked, Delivered, Failed, Forbidden, Gone, Mismatched, Transient, Unauthenticated, Verdict
from gateway.push.oauth import account
from gateway.push.turns import Delivery
from gateway.serve.clock import SystemClock
from gateway.serve.delivery.fcm import Credentials, Sender, TokenUnavailable, read_accounts
from gateway.serve.delivery.httpclient import Answer, Connection, PeerFailed
from gateway.serve.fakes.certificate import server_context, write_certificate
from gateway.serve.fakes.fcm import FAILURES, Fake, serve_fake, service_account
from gateway.serve.metrics import Metrics
from gateway.serve.port.wire import Wire
from tests.fakes import FakeClock

KEY = rsa.generate_private_key(65537, 2048)


@asynccontextmanager
async def sending(tmp_path: Path, fake: Fake, *, tls: bool = False, ca: bool = True) -> AsyncIterator[Sender]:
    context, ca_file = None, ""
    if tls:
        cert, key = write_certificate(tmp_path, "fake")
        context, ca_file = server_context(cert, key), str(cert) if ca else ""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(serve_fake, fake, listener, context)
        base_url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.socket.getsockname()[1]}"
        path = tmp_path / "account.json"
        path.write_bytes(service_account(KEY, base_url))
        projects = {"default": Project(credentials=str(path))}
        config = FCM(base_url=base_url, allow_any_token_uri=True, ca_file=ca_file, projects=projects)
        async with Sender(config, read_accounts(config), SystemClock(), Metrics(), Push(title="T")) as sender:
            yield sender
        nursery.cancel_scope.cancel()


async def send(sender: Sender, target: str = "t") -> Verdict:
    shown = Notification("id", "like", "Bob", "", "", "", None)
    return await sender.send(Delivery(1, 0, "a", "default", target, "token", 0, 1, 1), shown, dry_run=False)


@pytest.mark.parametrize("tls", [False, True])
async def test_forty_concurrent_first_sends_fetch_one_token(tmp_path: Path, tls: bool) -> None:
    fake = Fake(KEY.public_key(), latency_s=0.05)
    verdicts: list[Verdict] = []

    async def one() -> None:
        verdicts.append(await send(sender))

    async with sending(tmp_path, fake, tls=tls) as sender, trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(one)
    assert verdicts == [Delivered()] * 40
    assert len(fake.tokens) == 1
    assert fake.count == 40


async def test_an_unknown_authority_is_not_trusted(tmp_path: Path) -> None:
    async with sending(tmp_path, Fake(KEY.public_key()), tls=True, ca=False) as sender:
        with pytest.raises(TokenUnavailable, match="certificate"):
            await send(sender)


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("unregistered", Gone("unregistered")),
        ("not-found", Failed("http-404", alarm=True)),
        ("html", Failed("http-404", alarm=True)),
        ("sender-id-mismatch", Mismatched()),
        ("forbidden", Forbidden("permission-denied")),
        ("invalid-argument", Failed("invalid-argument")),
        ("invalid-token", Gone("invalid-token")),
        ("third-party-auth", Failed("third-party-auth-error", alarm=True)),
        ("unauthenticated", Unauthenticated()),
        ("quota", Braked("project", "")),
        ("quota-soon", Braked("project", "2")),
        ("quota-device", Braked("device", "")),
        ("internal", Transient("internal")),
        ("unavailable", Transient("unavailable")),
        ("unavailable-soon", Transient("unavailable", "10")),
        ("bad-gateway", Transient("http-502")),
        ("unspecified", Failed("unspecified-error")),
        ("reset", Transient("unreachable")),
    ],
)
async def test_every_failure_of_the_fake_is_the_verdict_of_the_table(
    tmp_path: Path, name: str, verdict: Verdict
) -> None:
    async with sending(tmp_path, Fake(KEY.public_key())) as sender:
        assert await send(sender, f"{name}:x") == verdict
        assert await send(sender) == Delivered()


def test_the_table_above_is_whole() -> None:
    marks: Any = test_every_failure_of_the_fake_is_the_verdict_of_the_table
    assert {row[0] for row in marks.pytestmark[0].args[1]} | {"timeout"} == set(FAILURES)


async def test_a_refused_token_is_replaced_once(tmp_path: Path) -> None:
    fake = Fake(KEY.public_key())
    async with sending(tmp_path, fake) as sender:
        assert await send(sender, "unauthenticated*1:x") == Delivered()
        assert len(fake.sent) == 2


class Endpoint:
    """A token endpoint in place of a pool."""

    def __init__(self) -> None:
        self.asked = 0
        self.failing = False
        self.lifetime_s = 3600

    async def post(self, *_: object) -> Answer:
        self.asked += 1
        await trio.sleep(1)
        if self.failing:
            raise PeerFailed("could not be reached")
        return Answer(200, b"", b'{"access_token":"t%d","expires_in":%d}' % (self.asked, self.lifetime_s))


def credentials(endpoint: Endpoint) -> Credentials:
    sender = account(service_account(KEY, "http://x"), any_token_uri=True)
    return Credentials(sender, endpoint, FakeClock(), Metrics())  # type: ignore[arg-type]


async def test_a_token_is_refreshed_ahead_by_one_task_while_the_old_one_serves(
    autojump_clock: trio.testing.MockClock,
) -> None:
    endpoint = Endpoint()
    creds = credentials(endpoint)
    assert await creds.bearer() == "t1"
    await trio.sleep(3290)
    assert await creds.bearer() == "t1"
    await trio.sleep(20)
    got: list[str] = []

    async def ask() -> None:
        got.append(await creds.bearer())

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask)
    assert sorted(got) == ["t1"] * 9 + ["t2"]
    assert endpoint.asked == 2


async def test_the_old_token_serves_while_a_refresh_fails_and_until_it_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    endpoint = Endpoint()
    creds = credentials(endpoint)
    await creds.bearer()
    endpoint.failing = True
    await trio.sleep(3400)
    assert await creds.bearer() == "t1"
    assert await creds.bearer() == "t1"
    assert endpoint.asked == 2
    await trio.sleep(300)
    with pytest.raises(TokenUnavailable):
        await creds.bearer()
    asked = endpoint.asked
    with pytest.raises(TokenUnavailable):
        await creds.bearer()
    assert endpoint.asked == asked, "a failure is the answer to all who ask at once"
    endpoint.failing = False
    await trio.sleep(6)
    assert await creds.bearer() == "t4"


async def test_a_refused_token_is_dropped_but_not_its_successor(autojump_clock: trio.testing.MockClock) -> None:
    creds = credentials(Endpoint())
    first = await creds.bearer()
    creds.refused(first)
    second = await creds.bearer()
    creds.refused(first)
    assert (first, second, await creds.bearer()) == ("t1", "t2", "t2")


async def test_a_send_that_is_never_answered_ends_at_its_deadline(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = trio.socket.socketpair()
    path = tmp_path / "a.json"
    path.write_bytes(service_account(KEY, "http://x"))
    config = FCM(allow_any_token_uri=True, send_s_max=1, projects={"default": Project(credentials=str(path))})
    sender = Sender(config, read_accounts(config), FakeClock(), Metrics(), Push(title="T"))
    sender._projects["default"].credentials._pool = Endpoint()  # type: ignore[assignment]

    async def silent() -> Connection:
        return Connection(Wire(trio.SocketStream(ours)))

    sender._pool._fresh = silent  # type: ignore[method-assign]
    async with sender:
        assert await send(sender) == Transient("timeout")
    assert trio.current_time() >= 10, "a deadline shorter than FCM's own would make duplicates"
    assert (await theirs.recv(100)).startswith(b"POST "), "it was sent"
    theirs.close()


def test_a_missing_or_wrong_account_file_is_told_with_its_project(tmp_path: Path) -> None:
    for content in (None, b"{}"):
        path = tmp_path / "x.json"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigInvalid, match=r"fcm\.projects\.mine\.credentials"):
            read_accounts(FCM(projects={"mine": Project(credentials=str(path))}))
    with pytest.raises(ConfigInvalid, match="ca_file"):
        Sender(FCM(ca_file=str(tmp_path / "none")), {}, FakeClock(), Metrics(), Push(title="T"))
