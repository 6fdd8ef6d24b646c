"""Fetching instances' documents: never anywhere but to the public server of that name, and never too often."""

import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.errors import PushRefused
from gateway.limits.tenants import WELLKNOWN_FETCHES_MAX, WELLKNOWN_STRANGERS_MAX
from gateway.push.tenant import Signer
from gateway.push.wellknown import WellKnown, pinned
from gateway.serve.delivery.httpclient import PeerFailed, secure
from gateway.serve.fakes.certificate import server_context, write_certificate
from gateway.serve.push import fetch
from gateway.serve.push.fetch import Documents, Fetcher, Withdrawn
from tests.takos import Instance

TAKOS = Instance()
SIGNER = Signer("demo.example.com", "demo.example.com")
PUBLIC = ("93.184.216.34", "2606:2800:220:1::1")


class World:
    """A name server and one web server in memory; remembers every look-up, dial and request."""

    def __init__(self, answer: bytes | Callable[[], bytes], addresses: Sequence[Sequence[str]] = (PUBLIC,)) -> None:
        self.answer, self.addresses = answer, list(addresses)
        self.lookups: list[str] = []
        self.dialled: list[tuple[str, str]] = []
        self.requests: list[bytes] = []
        self.byte_s = 0.0
        self.refusing: set[str] = set()

    async def resolve(self, name: str) -> Sequence[str]:
        self.lookups.append(name)
        if not self.addresses:
            raise OSError("no such name")
        return self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]

    async def dial(self, address: str, hostname: str) -> trio.abc.Stream:
        self.dialled.append((address, hostname))
        if address in self.refusing:
            raise OSError("refused")
        ours, theirs = trio.testing.memory_stream_pair()
        trio.lowlevel.spawn_system_task(self._serve, theirs)
        return ours

    async def _serve(self, stream: trio.abc.Stream) -> None:
        try:
            self.requests.append(bytes(await stream.receive_some(65_536)))
            answer = self.answer() if callable(self.answer) else self.answer
            for at in range(0, len(answer), 1 if self.byte_s else 65_536):
                await stream.send_all(answer[at : at + (1 if self.byte_s else 65_536)])
                await trio.sleep(self.byte_s)
            await stream.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    def fetcher(self) -> Fetcher:
        return Fetcher(self.resolve, self.dial)


def http(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


async def told(fetcher: Fetcher, signer: Signer = SIGNER) -> str:
    with pytest.raises(PushRefused) as refused:
        await fetcher(signer)
    assert (refused.value.status, refused.value.code) == (502, "well-known-unreachable")
    assert not any(address in refused.value.sentence for address in (*PUBLIC, "127.0.0.1", "10.0.0.1"))
    return refused.value.sentence


async def test_a_document_is_fetched_with_one_look_up_and_one_dial_and_asks_for_no_encoding() -> None:
    world = World(http(TAKOS.document()))
    assert await world.fetcher()(SIGNER) == TAKOS.document()
    assert (world.lookups, world.dialled) == (["demo.example.com"], [(PUBLIC[0], "demo.example.com")])
    (request,) = world.requests
    assert request.startswith(b"GET /.well-known/takos-push.json HTTP/1.1\r\n")
    lowered = request.lower()
    assert b"host: demo.example.com\r\n" in lowered
    assert b"accept-encoding: identity\r\n" in lowered
    assert b"cookie" not in lowered
    assert b"authorization" not in lowered


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::ffff:10.0.0.1"], ["64:ff9b::7f00:1"], ["169.254.169.254"], []],
)
async def test_one_address_that_is_not_public_is_enough_to_refuse_and_nothing_is_dialled(addresses: list[str]) -> None:
    world = World(http(TAKOS.document()), [addresses])
    assert "not public" in await told(world.fetcher())
    assert not world.dialled


async def test_a_name_that_changes_between_check_and_use_gains_nothing() -> None:
    world = World(http(TAKOS.document()), [["93.184.216.34"], ["127.0.0.1"]])
    await world.fetcher()(SIGNER)
    assert len(world.lookups) == 1
    assert world.dialled == [("93.184.216.34", "demo.example.com")]


async def test_the_next_address_is_tried_where_one_refuses() -> None:
    world = World(http(TAKOS.document()))
    world.refusing = {PUBLIC[0]}
    assert await world.fetcher()(SIGNER) == TAKOS.document()
    assert [address for address, _ in world.dialled] == list(PUBLIC)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (http(b"", "302 Found", "Location: http://127.0.0.1/\r\n"), "redirects are not followed"),
        (http(b"no", "404 Not Found"), "404"),
        (http(b"x" * 16_385), "more than 16384 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n" + b"x" * 100_000, "more than 16384 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000, "more than 16384 bytes"),
        (http(b"\x1f\x8b", headers="Content-Encoding: gzip\r\n"), "encoded"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000 + b"\r\n", "HTTP"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "HTTP"),
        (b"", "went away"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", "HTTP"),
    ],
)
async def test_a_server_that_misbehaves_is_called_unreachable_with_the_reason(answer: bytes, why: str) -> None:
    assert why in await told(World(answer).fetcher())


async def test_a_server_that_drips_is_cut_after_five_seconds_in_all(autojump_clock: trio.testing.MockClock) -> None:
    world = World(http(TAKOS.document()))
    world.byte_s = 0.5
    began = trio.current_time()
    assert "5 seconds" in await told(world.fetcher())
    assert trio.current_time() - began == pytest.approx(5)


async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    assert "cannot be reached" in await told(World(b"", []).fetcher())


async def test_a_document_on_this_machine_is_fetched_only_where_the_configuration_says_so() -> None:
    world = World(b"")
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")

        async def serve(stream: trio.SocketStream) -> None:
            await stream.receive_some()
            await stream.send_all(http(TAKOS.document()))
            await stream.aclose()

        nursery.start_soon(trio.serve_listeners, serve, [listener])
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/x.json"
        assert await world.fetcher()(Signer("a.example", "a.example", url)) == TAKOS.document()
        nursery.cancel_scope.cancel()
    assert not world.lookups


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path, "fake")
    context = ssl.create_default_context(cafile=cert)
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server = server_context(cert, key)

        async def serve(stream: trio.SocketStream) -> None:
            with pytest.raises(trio.BrokenResourceError):
                await trio.SSLStream(stream, server, server_side=True).do_handshake()
            await stream.aclose()

        nursery.start_soon(trio.serve_listeners, serve, [listener])
        stream = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        with pytest.raises(PeerFailed, match="certificate"):
            await secure(stream, context, "demo.example.com")
        nursery.cancel_scope.cancel()


class Bodies:
    """A fetch that counts, and serves what a test says."""

    def __init__(self) -> None:
        self.body: bytes | None = TAKOS.document()
        self.asked: Counter[str] = Counter()
        self.gone = False
        self.slow_s = 0.1
        self.under_way = self.most = 0

    async def __call__(self, signer: Signer) -> bytes:
        self.asked[signer.domain] += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await trio.sleep(self.slow_s)
        finally:
            self.under_way -= 1
        if self.gone:
            raise Withdrawn(502, "well-known-unreachable", "The document cannot be fetched: 404.")
        if self.body is None or signer.domain.startswith("bad"):
            raise PushRefused(502, "well-known-unreachable", "The document cannot be fetched.")
        return self.body.replace(b"demo.example.com", signer.domain.encode())


def named(domain: str) -> Signer:
    return Signer(domain, domain)


async def code(documents: Documents, signer: Signer = SIGNER, source: str = "192.0.2.1") -> str:
    try:
        await documents.keys(signer, source)
    except PushRefused as refused:
        return refused.code
    return "ok"


async def test_a_thousand_requests_for_one_new_domain_make_one_fetch(autojump_clock: trio.testing.MockClock) -> None:
    bodies = Bodies()
    documents = Documents(bodies, 60)
    found: list[WellKnown] = []

    async def ask() -> None:
        found.append(await documents.keys(SIGNER, "192.0.2.1"))

    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(ask)
    assert bodies.asked == {SIGNER.domain: 1}
    assert len(found) == 1000


async def test_a_document_is_fresh_for_300_seconds_and_then_asked_for_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bodies = Bodies()
    documents = Documents(bodies, 60)
    await documents.keys(SIGNER, "s")
    await trio.sleep(299)
    await documents.keys(SIGNER, "s")
    assert bodies.asked.total() == 1
    await trio.sleep(2)
    await documents.keys(SIGNER, "s")
    assert bodies.asked.total() == 2


async def test_a_failure_is_remembered_for_30_seconds(autojump_clock: trio.testing.MockClock) -> None:
    bodies = Bodies()
    documents = Documents(bodies, 60)
    bodies.body = None
    for _ in range(5):
        assert await code(documents) == "well-known-unreachable"
    assert bodies.asked.total() == 1
    await trio.sleep(31)
    bodies.body = TAKOS.document()
    assert await code(documents) == "ok"


async def test_an_old_document_serves_for_a_day_while_the_new_one_cannot_be_fetched(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bodies = Bodies()
    documents = Documents(bodies, 60)
    assert await code(documents) == "ok"
    bodies.body = None
    await trio.sleep(400)
    assert await code(documents) == "ok"
    await trio.sleep(86_000 - 500)
    assert await code(documents) == "ok"
    await trio.sleep(1000)
    assert await code(documents) == "well-known-unreachable"


async def test_a_document_that_was_fetched_and_holds_no_key_revokes_the_old_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bodies = Bodies()
    documents = Documents(bodies, 60)
    assert await code(documents) == "ok"
    bodies.body = b"{}"
    await trio.sleep(301)
    assert await code(documents) == "well-known-invalid"


async def test_a_document_that_its_server_says_is_gone_is_revoked_when_it_is_not_fresh_any_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bodies = Bodies()
    documents = Documents(bodies, 60)
    keys = await documents.keys(SIGNER, "s")
    bodies.gone = True
    assert await documents.refetched(SIGNER, keys) is None
    assert await code(documents) == "ok"  # what a stranger's bad signature made us find out changes nothing yet
    await trio.sleep(301)
    assert await code(documents) == "well-known-unreachable"
    bodies.gone, bodies.body = False, None
    await trio.sleep(31)
    assert await code(documents) == "well-known-unreachable"  # a failure after that brings nothing back
    bodies.body = TAKOS.document()
    await trio.sleep(31)
    assert await code(documents) == "ok"


@pytest.mark.parametrize(("status", "is_gone"), [("404 Not Found", True), ("410 Gone", True), ("403 Forbidden", False)])
async def test_404_and_410_are_answers_and_other_failures_are_none(status: str, is_gone: bool) -> None:
    with pytest.raises(PushRefused) as refused:
        await World(http(b"no", status)).fetcher()(SIGNER)
    assert isinstance(refused.value, Withdrawn) == is_gone


async def test_a_name_that_never_had_a_good_document_costs_its_budget_with_each_try(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bodies = Bodies()
    documents = Documents(bodies, 1)
    assert await code(documents, named("bad.example")) == "well-known-unreachable"
    await trio.sleep(31)
    assert await code(documents, named("bad.example")) == "rate-limited"
    await trio.sleep(31)
    assert await code(documents, named("bad.example")) == "well-known-unreachable"
    assert bodies.asked.total() == 2


async def test_sources_of_one_ipv6_network_share_a_budget(autojump_clock: trio.testing.MockClock) -> None:
    documents = Documents(Bodies(), 1000)
    codes = [await code(documents, named(f"x{n}.example"), f"2001:db8::{n:x}") for n in range(30)]
    assert codes.count("rate-limited") >= 5
    assert await code(documents, named("y.example"), "2001:db8:0:1::1") == "ok"


async def test_slow_strangers_wait_for_each_other_and_not_those_whose_documents_were_good(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bodies = Bodies()
    documents = Documents(bodies, 1000)
    assert await code(documents) == "ok"
    await trio.sleep(301)
    bodies.slow_s = 100
    codes: Counter[str] = Counter()

    async def ask(signer: Signer, source: str) -> None:
        codes[await code(documents, signer, source)] += 1

    async with trio.open_nursery() as nursery:
        for n in range(40):
            nursery.start_soon(ask, named(f"bad{n}.example"), f"source{n}")
        await trio.testing.wait_all_tasks_blocked()
        assert bodies.under_way == WELLKNOWN_STRANGERS_MAX
        bodies.slow_s = 0.1
        with trio.fail_after(1):
            assert await code(documents) == "ok"
    assert bodies.most == WELLKNOWN_STRANGERS_MAX + 1
    assert codes == {"well-known-unreachable": WELLKNOWN_STRANGERS_MAX, "rate-limited": 40 - WELLKNOWN_STRANGERS_MAX}


async def test_a_configured_instance_waits_for_no_stranger(autojump_clock: trio.testing.MockClock) -> None:
    bodies = Bodies()
    documents = Documents(bodies, 1000)
    bodies.slow_s = 100
    async with trio.open_nursery() as nursery:
        for n in range(WELLKNOWN_STRANGERS_MAX):
            nursery.start_soon(code, documents, named(f"bad{n}.example"), f"source{n}")
        await trio.testing.wait_all_tasks_blocked()
        bodies.slow_s = 0.1
        with trio.fail_after(1):
            assert await code(documents, Signer("own.example", "own.example", configured=True)) == "ok"
        nursery.cancel_scope.cancel()


async def test_an_old_document_serves_while_too_many_others_are_fetched(autojump_clock: trio.testing.MockClock) -> None:
    bodies = Bodies()
    documents = Documents(bodies, 1000)
    domains = [f"x{n}.example" for n in range(WELLKNOWN_FETCHES_MAX + 1)]
    for n, domain in enumerate(domains):
        assert await code(documents, named(domain), f"source{n}") == "ok"
    await trio.sleep(301)
    bodies.slow_s = 100
    codes: Counter[str] = Counter()

    async def ask(domain: str) -> None:
        codes[await code(documents, named(domain))] += 1

    async with trio.open_nursery() as nursery:
        for domain in domains:
            nursery.start_soon(ask, domain)
    assert codes == {"ok": len(domains)}
    assert bodies.most == WELLKNOWN_FETCHES_MAX


async def test_the_operator_is_told_how_a_document_stands(autojump_clock: trio.testing.MockClock) -> None:
    bodies = Bodies()
    documents = Documents(bodies, 60)
    assert documents.standing(SIGNER.domain) == {"state": "not fetched yet"}
    await documents.keys(SIGNER, "s")
    assert documents.standing(SIGNER.domain) == {"state": "good", "fresh": True, "age_s": 0}
    bodies.body = None
    await trio.sleep(400)
    await documents.keys(SIGNER, "s")
    told = documents.standing(SIGNER.domain)
    assert (told["state"], told["code"]) == ("failing, the last one serves", "well-known-unreachable")
    bodies.body = b"{}"
    await trio.sleep(31)
    assert await code(documents) == "well-known-invalid"
    assert documents.standing(SIGNER.domain)["state"] == "failing"


async def test_failing_signatures_cause_one_fetch_in_thirty_seconds(autojump_clock: trio.testing.MockClock) -> None:
    bodies = Bodies()
    documents = Documents(bodies, 60)
    keys = await documents.keys(SIGNER, "s")
    assert await documents.refetched(SIGNER, keys) is not keys
    keys = await documents.keys(SIGNER, "s")
    for _ in range(10):
        assert await documents.refetched(SIGNER, keys) is None
    assert bodies.asked.total() == 2
    await trio.sleep(31)
    rotated = Instance(SIGNER.domain)
    bodies.body = rotated.document()
    assert await documents.refetched(SIGNER, keys) == pinned(rotated.pem)
    assert bodies.asked.total() == 3
    await trio.sleep(301)
    keys = await documents.keys(SIGNER, "s")
    assert await documents.refetched(SIGNER, keys) is None, "what was fetched just now is not fetched again"
    assert bodies.asked.total() == 4


async def test_many_unknown_domains_from_one_source_are_cut_off_and_known_ones_are_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bodies = Bodies()
    documents = Documents(bodies, 60)
    assert await code(documents, SIGNER, "good") == "ok"
    codes = Counter([await code(documents, named(f"bad{n}.example"), "evil") for n in range(100)])
    assert codes["rate-limited"] >= 70
    assert bodies.asked.total() <= 31
    assert await code(documents, SIGNER, "evil") == "ok"
    assert await code(documents, named("new.example"), "good") == "ok"


async def test_first_fetches_have_a_budget_over_all_sources_and_configured_instances_none(
    autojump_clock: trio.testing.MockClock,
) -> None:
    documents = Documents(Bodies(), 5)
    codes = [await code(documents, named(f"x{n}.example"), f"source{n}") for n in range(8)]
    assert codes.count("rate-limited") >= 2
    assert await code(documents, Signer("mine.example", "mine.example", configured=True), "source") == "ok"


async def test_a_pinned_key_is_never_fetched() -> None:
    bodies = Bodies()
    documents = Documents(bodies, 60)
    keys = pinned(TAKOS.pem)
    signer = Signer("a.example", "a.example", keys=keys)
    assert await documents.keys(signer, "s") is keys
    assert await documents.refetched(signer, keys) is None
    assert not bodies.asked


async def test_a_fetch_that_was_cancelled_leaves_the_next_one_its_turn(autojump_clock: trio.testing.MockClock) -> None:
    bodies = Bodies()
    documents = Documents(bodies, 60)
    with trio.move_on_after(0.05):
        await documents.keys(SIGNER, "s")
    assert await code(documents) == "ok"
    assert bodies.asked.total() == 2


async def test_documents_in_memory_are_bounded_and_one_that_went_is_fetched_again(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "WELLKNOWN_DOMAINS_MAX", 2)
    bodies = Bodies()
    documents = Documents(bodies, 60)
    for name in ("a.example", "b.example", "c.example", "b.example", "a.example"):
        assert await code(documents, named(name)) == "ok"
    assert bodies.asked == {"a.example": 2, "b.example": 1, "c.example": 1}
