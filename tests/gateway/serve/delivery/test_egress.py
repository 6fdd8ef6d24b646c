"""Requests to endpoints that anybody chose: dialled where they were checked, and never at others' expense."""

from collections.abc import Sequence

import pytest
import trio
import trio.testing

from gateway.errors import PushRefused
from gateway.limits.ways import HOST_FAILURES_MAX, HOST_REST_S_MIN, STRANGERS_MAX
from gateway.push.subscription import Endpoint, endpoint
from gateway.serve.delivery.egress import Crowded, Egress, Resting
from gateway.serve.delivery.httpclient import Answer, PeerFailed

PUBLIC = ("93.184.216.34", "2606:2800:220:1::1")
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
STRANGER = endpoint("https://push.example.net/x")
FAMILIAR = endpoint("https://updates.push.services.mozilla.com/x")


class World:
    """A name server and web servers in memory; remembers look-ups, dials and requests."""

    def __init__(self, answer: bytes | None = CREATED, addresses: Sequence[Sequence[str]] = (PUBLIC,)) -> None:
        self.answer, self.addresses = answer, list(addresses)
        self.lookups: list[str] = []
        self.dialled: list[tuple[str, str]] = []
        self.requests: list[bytes] = []
        self.refusing: set[str] = set()
        self.hangs_up = False

    async def resolve(self, name: str) -> Sequence[str]:
        self.lookups.append(name)
        return self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]

    async def dial(self, address: str, hostname: str) -> trio.abc.Stream:
        self.dialled.append((address, hostname))
        await trio.lowlevel.checkpoint()
        if address in self.refusing:
            raise OSError("refused")
        ours, theirs = trio.testing.memory_stream_pair()
        trio.lowlevel.spawn_system_task(self._serve, theirs)
        return ours

    async def _serve(self, stream: trio.abc.Stream) -> None:
        try:
            while asked := bytes(await stream.receive_some(65_536)):
                self.requests.append(asked)
                if self.answer is None:
                    await trio.sleep_forever()
                await stream.send_all(self.answer)
                if self.hangs_up:
                    await stream.aclose()
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    def egress(self) -> Egress:
        return Egress((), self.resolve, self.dial)


async def post(egress: Egress, to: Endpoint = STRANGER) -> Answer:
    with trio.fail_after(15):
        return await egress.post(to, [(b"ttl", b"60")], b"body")


async def test_one_look_up_and_one_dial_to_the_address_that_was_checked() -> None:
    world = World(addresses=(PUBLIC, ("127.0.0.1",)))
    async with world.egress() as egress:
        assert (await post(egress)).status == 201
        assert (await post(egress)).status == 201
    assert world.lookups == ["push.example.net"]
    assert world.dialled == [(PUBLIC[0], "push.example.net")]
    assert world.requests[0].startswith(
        b"POST /x HTTP/1.1\r\nhost: push.example.net\r\nttl: 60\r\ncontent-length: 4\r\n"
    )


@pytest.mark.parametrize("addresses", [("127.0.0.1",), (PUBLIC[0], "10.0.0.1"), ("64:ff9b::7f00:1",), ()])
async def test_a_name_with_an_address_that_is_not_public_is_never_dialled(addresses: Sequence[str]) -> None:
    world = World(addresses=(addresses,))
    async with world.egress() as egress:
        with pytest.raises(PushRefused):
            await post(egress)
    assert world.dialled == []


async def test_another_port_plain_http_and_a_local_origin_that_nobody_named_are_refused_unresolved() -> None:
    world = World()
    async with world.egress() as egress:
        for url in ("https://push.example.net:8443/x", "http://push.example.net/x", "http://127.0.0.1:9/x"):
            with pytest.raises(PushRefused):
                await post(egress, endpoint(url))
    assert world.lookups == []


async def test_a_redirect_is_an_answer_and_leads_nowhere() -> None:
    moved = b"HTTP/1.1 307 X\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    world = World(moved)
    async with world.egress() as egress:
        assert (await post(egress)).status == 307
    assert len(world.requests) == 1


async def test_an_endless_answer_is_cut_off() -> None:
    world = World(b"HTTP/1.1 201 X\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 20_000)
    async with world.egress() as egress:
        with pytest.raises(PeerFailed):
            await post(egress)


@pytest.mark.parametrize(("half", "times"), [(b"HTTP/1.1 201 X\r\nContent-Length: 9\r\n\r\n", 2), (b"", 3)])
async def test_what_an_old_connection_answered_by_half_is_not_posted_again_and_what_it_did_not_answer_is(
    half: bytes, times: int
) -> None:
    world = World()
    async with world.egress() as egress:
        await post(egress)
        world.answer, world.hangs_up = half, True
        with pytest.raises(PeerFailed):
            await post(egress)
    assert len(world.requests) == times


async def test_the_next_address_is_tried_where_the_first_does_not_answer() -> None:
    world = World()
    world.refusing = {PUBLIC[0]}
    async with world.egress() as egress:
        assert (await post(egress)).status == 201
        world.refusing = set(PUBLIC)
        with pytest.raises(PeerFailed):
            await post(egress, FAMILIAR)


async def test_a_host_that_fails_again_and_again_rests_and_comes_back(autojump_clock: trio.testing.MockClock) -> None:
    world = World(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n")
    async with world.egress() as egress:
        for _ in range(HOST_FAILURES_MAX):
            assert (await post(egress, FAMILIAR)).status == 503
        with pytest.raises(Resting, match=f"^{HOST_REST_S_MIN:.0f}$"):
            await post(egress, FAMILIAR)
        assert (await post(egress)).status == 503  # the rest of the world is still there
        world.answer = CREATED
        await trio.sleep(HOST_REST_S_MIN + 1)
        for _ in range(2):
            assert (await post(egress, FAMILIAR)).status == 201


async def test_slow_strangers_share_a_few_places_and_hold_up_nobody_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(None)
    async with world.egress() as egress, trio.open_nursery() as nursery:

        async def hang(number: int) -> None:
            with trio.move_on_after(60):
                await egress.post(endpoint(f"https://x{number}.evil.example/"), [], b"")

        for number in range(STRANGERS_MAX):
            nursery.start_soon(hang, number)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Crowded):
            await post(egress)
        world.answer = CREATED
        assert (await post(egress, FAMILIAR)).status == 201
        nursery.cancel_scope.cancel()
    async with world.egress() as egress:
        assert (await post(egress)).status == 201


async def test_a_host_that_was_familiar_and_fails_on_is_a_stranger_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n")
    async with world.egress() as egress, trio.open_nursery() as nursery:
        for _ in range(HOST_FAILURES_MAX):
            await post(egress, FAMILIAR)
        await trio.sleep(HOST_REST_S_MIN + 1)
        world.answer = None
        for number in range(STRANGERS_MAX):
            nursery.start_soon(egress.post, endpoint(f"https://x{number}.evil.example/"), [], b"")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Crowded):
            await post(egress, FAMILIAR)
        nursery.cancel_scope.cancel()
