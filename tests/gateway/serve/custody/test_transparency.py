"""The log in public: what anybody fetches adds up, witnesses are heard, and none of them holds anything up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers

from eventlog.checkpoint import verifier_key
from gateway.config import Config, Witness
from gateway.config import Log as LogConfig
from gateway.errors import ConfigInvalid
from gateway.serve.custody.transparency import TransparencyService
from tests.conformance import tlog
from tests.eventlog.logs import draft
from tests.fakes import FakeClock, MemoryLog
from tests.server import Running, running
from tests.witness import FakeWitness


@asynccontextmanager
async def asking(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{server.url}/log/", timeout=60) as client:
        yield client


async def test_anybody_can_check_the_whole_tree_over_http() -> None:
    log = MemoryLog()
    log.submit([draft(n, kind="log.recovered") for n in range(600)])
    log.durable_size = 600
    app = QuartTrio("log")
    TransparencyService(Config(), FakeClock(), log).routes(app)
    client = app.test_client()

    async def get(path: str) -> tuple[bytes, Headers]:
        answer = await client.get(f"/log/{path}")
        assert answer.status_code == 200, path
        return await answer.get_data(), answer.headers

    key = tlog.Key.parse((await get("key"))[0].decode())
    head = tlog.read_checkpoint((await get("checkpoint"))[0], key)
    tiles: dict[str, bytes] = {}
    for path in ("tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"):
        tiles[path], headers = await get(path)
        assert headers["content-type"] == "application/octet-stream"
        assert "immutable" in headers["cache-control"]
    assert len(tlog.check_whole_tree(tiles.get, head)) == head.size == 600


async def test_what_is_no_tile_of_the_tree_is_not_found() -> None:
    async with running() as server, asking(server) as client:
        for path in ("tile/0/999", "tile/0/x000/000", "tile/entries/000", "tile/0/../../origin.cbor", "origin.cbor"):
            assert (await client.get(path)).status_code == 404, path
        answer = await client.get("checkpoint")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["cache-control"] == "public, max-age=1"
        assert answer.headers["access-control-allow-origin"] == "*"


# -- witnesses --------------------------------------------------------------------------------------------------------


async def serve_witness(witness: FakeWitness, task_status: trio.TaskStatus[int]) -> None:
    """Speak just enough HTTP/1.1 for one client."""

    async def handler(stream: trio.SocketStream) -> None:
        async with stream:
            read = b""
            while data := await stream.receive_some(65_536):
                read += data
                head, gap, body = read.partition(b"\r\n\r\n")
                if gap:
                    size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                    if len(body) >= size:
                        assert head.startswith(b"POST /w1/add-checkpoint HTTP/1.1")
                        status, _, answer = witness.answer(body[:size])
                        text = b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n" % (status, len(answer))
                        await stream.send_all(text + answer)
                        read = b""

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, handler, 0)
        task_status.started(listeners[0].socket.getsockname()[1])


def witnessed(**witnesses: Witness) -> Config:
    return Config(log=LogConfig(witnesses=witnesses))


async def test_the_checkpoint_that_is_served_is_the_cosigned_one(nursery: trio.Nursery) -> None:
    log = MemoryLog()
    witness = FakeWitness(verifier_key(log.origin, log.public_key))
    port = await nursery.start(serve_witness, witness)
    dead = FakeWitness(name="dead.example")
    config = witnessed(
        alive=Witness(url=f"http://127.0.0.1:{port}/w1", key=witness.vkey),
        dead=Witness(url="http://127.0.0.1:9/", key=dead.vkey),
    )
    service = TransparencyService(config, FakeClock(), log)
    await nursery.start(log.run)
    await nursery.start(service.run)
    for count in (3, 300):
        await log.append_many([draft(n) for n in range(count)])
        with trio.fail_after(60):
            while tlog.split_note(service.checkpoint())[0] != tlog.split_note(log.note)[0]:  # noqa: ASYNC110
                await trio.sleep(0.05)
        note = service.checkpoint()
        head = tlog.read_checkpoint(note, tlog.Key.parse(verifier_key(log.origin, log.public_key)))
        assert head.size == log.durable_size
        tlog.verify_note(note, tlog.Key.parse(witness.vkey))
        assert log.cosigned == note
    assert witness.size == 303
    assert TransparencyService(config, FakeClock(), log).checkpoint() == note, "a restart shows it at once"
    nursery.cancel_scope.cancel()


async def test_witnesses_that_are_down_delay_a_checkpoint_and_never_stop_it(nursery: trio.Nursery) -> None:
    log = MemoryLog()
    dead = FakeWitness(name="dead.example")
    service = TransparencyService(witnessed(dead=Witness(url="http://127.0.0.1:9/", key=dead.vkey)), FakeClock(), log)
    await nursery.start(log.run)
    await nursery.start(service.run)
    for _ in range(2):
        await log.append_many([draft(1)])
        with trio.fail_after(60):
            while service.checkpoint() != log.note:  # noqa: ASYNC110
                await trio.sleep(0.05)
    nursery.cancel_scope.cancel()


async def test_an_older_checkpoint_is_never_shown_for_being_cosigned() -> None:
    log = MemoryLog()
    log.cosigned = log.note
    log.submit([draft(1)])
    log.durable_size = 1
    witness = FakeWitness()
    service = TransparencyService(witnessed(one=Witness(url="http://127.0.0.1:9", key=witness.vkey)), FakeClock(), log)
    assert service.checkpoint() == log.note


@pytest.mark.parametrize(
    ("witness", "why"),
    [
        (Witness(url="ftp://x", key=FakeWitness().vkey), "url"),
        (Witness(url="https://x", key="nonsense"), "key"),
        (Witness(url="https://x", key=verifier_key("a", bytes(32))), "signs logs"),
    ],
)
def test_a_witness_that_cannot_be_asked_is_refused_at_start(witness: Witness, why: str) -> None:
    with pytest.raises(ConfigInvalid, match=why):
        TransparencyService(witnessed(bad=witness), FakeClock(), MemoryLog())


def test_more_witnesses_than_a_checkpoint_holds_are_refused() -> None:
    many = {f"w{n}": Witness(url="https://x", key=FakeWitness().vkey) for n in range(15)}
    with pytest.raises(ConfigInvalid, match="at most 14"):
        TransparencyService(witnessed(**many), FakeClock(), MemoryLog())
