"""A witness is believed as far as it signs, asked from where it stands, and rests when it fails."""

import pytest
import trio
from trio.testing import MockClock

from eventlog import checkpoint as checkpoints
from eventlog.checkpoint import parse_verifier_key, verifier_key
from eventlog.proof import Nodes
from eventlog.tile import Tile
from gateway.serve.custody.witness import Witness
from gateway.serve.delivery.httpclient import Answer, Headers, PeerFailed
from tests.eventlog.logs import draft
from tests.fakes import MemoryLog
from tests.witness import FakeWitness


class World:
    """A log in memory, a witness, and what lies between."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.peer = FakeWitness(verifier_key(self.log.origin, self.log.public_key))
        self.asked = Witness("/w1", parse_verifier_key(self.peer.vkey), self.post)
        self.answer: Answer | Exception | None = None
        self.hangs = False

    async def post(self, path: str, headers: Headers, body: bytes, bytes_max: int) -> Answer:
        assert path == "/w1/add-checkpoint"
        await trio.lowlevel.checkpoint()
        if self.hangs:
            await trio.sleep_forever()
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        status, _, answer = self.peer.answer(body)
        return Answer(status, b"", answer)

    def grow(self, count: int) -> None:
        self.log.submit([draft(n) for n in range(count)])
        self.log.durable_size = len(self.log.records)

    async def cosign(self) -> str | None:
        note = self.log.note
        size = checkpoints.verify(note, self.log.public_key).size
        return await self.asked.cosign(note, Nodes(size, self.tile), lambda low, high: (low + high) / 2)

    def tile(self, tile: Tile) -> bytes:
        found = self.log.tile(tile)
        assert found is not None
        return found


async def test_each_checkpoint_is_cosigned_from_the_last_on() -> None:
    world = World()
    for count in (1, 0, 2, 253, 1, 300, 0, 7):
        world.grow(count)
        line = await world.cosign()
        assert line is not None
        assert checkpoints.cosigned_by(checkpoints.cosigned(world.log.note, [line]), world.asked.key)
        assert world.peer.size == world.log.durable_size
    assert [body.split(b"\n")[0] for body in world.peer.requests][-1] == b"old 557"


async def test_a_witness_that_remembers_another_size_is_asked_from_there() -> None:
    world = World()
    world.grow(100)
    assert await world.cosign()
    world.asked = Witness("/w1", world.asked.key, world.post)  # a restart of ours
    world.grow(50)
    assert await world.cosign()
    assert [body.split(b"\n")[0] for body in world.peer.requests[1:]] == [b"old 0", b"old 100"]


@pytest.mark.parametrize(
    "answer",
    [
        PeerFailed("could not be reached"),
        Answer(500, b"", b""),
        Answer(200, b"", b""),
        Answer(200, b"", b"\xe2\x80\x94 witness.example/w1 AAAA\n"),
        Answer(409, b"", b"x\n"),
        Answer(409, b"", b"999999\n"),
        Answer(409, b"", b""),
        Answer(409, b"", b"0\n"),
    ],
)
async def test_a_witness_that_fails_rests_longer_each_time(
    answer: Answer | Exception, autojump_clock: MockClock
) -> None:
    world = World()
    world.grow(10)
    world.answer = answer
    rests = []
    for _ in range(10):
        assert await world.cosign() is None
        assert world.asked.rests
        before = trio.current_time()
        while world.asked.rests:  # noqa: ASYNC110 - the clock jumps
            await trio.sleep(1)
        rests.append(trio.current_time() - before)
    assert rests[:3] == [2, 4, 8]
    assert rests[-1] == 300
    world.answer = None
    assert await world.cosign()
    assert not world.asked.rests


async def test_a_witness_that_says_nothing_is_waited_for_no_longer_than_the_limit(autojump_clock: MockClock) -> None:
    world = World()
    world.grow(10)
    world.hangs = True
    before = trio.current_time()
    assert await world.cosign() is None
    assert trio.current_time() - before == 5


async def test_a_cosignature_of_something_else_is_refused() -> None:
    world = World()
    world.grow(10)
    world.peer.lies = True
    assert await world.cosign() is None
    assert world.asked.rests
