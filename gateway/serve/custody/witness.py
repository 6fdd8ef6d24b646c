"""One witness, asked over HTTP to cosign the log's checkpoints (C2SP tlog-witness, ``add-checkpoint``).

Invariants: what a witness answers is believed only as far as its signature verifies; every request has a deadline; a
witness that fails rests, ever longer, and costs nothing meanwhile. A witness that remembers another size (409) is asked
once more from there; one that remembers more than we have is a sign that the log went back, and is told as such.
This module must not know when to ask, nor what is done with a cosignature.
"""

from collections.abc import Callable
from typing import Protocol

import structlog
import trio

from eventlog import checkpoint as checkpoints
from eventlog.checkpoint import VerifierKey
from eventlog.errors import Absent, Corrupt
from eventlog.proof import Nodes
from gateway.limits.transparency import WITNESS_ANSWER_BYTES_MAX, WITNESS_REST_S_MAX, WITNESS_REST_S_MIN, WITNESS_S_MAX
from gateway.serve.delivery.httpclient import Answer, Headers, PeerFailed

HEADERS: Headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"user-agent", b"heliograph")]


class Post(Protocol):
    """Post to a path of the witness (`gateway.serve.delivery.httpclient.Pool.post`)."""

    async def __call__(self, path: str, headers: Headers, body: bytes, bytes_max: int) -> Answer: ...


class Witness:
    """What we know of one witness: its key, the size that it cosigned last, and how long it rests."""

    def __init__(self, path: str, key: VerifierKey, post: Post) -> None:
        self.key = key
        self._path, self._post = f"{path}/add-checkpoint", post
        self._old_size = 0
        self._rest_s = 0.0
        self._rests_until = 0.0

    @property
    def rests(self) -> bool:
        """Whether it failed so lately that it is not asked."""
        return trio.current_time() < self._rests_until

    async def cosign(self, note: bytes, nodes: Nodes, jitter: Callable[[float, float], float]) -> str | None:
        """Ask for a cosignature of the checkpoint over the tree of ``nodes``; give its line, None where it failed.

        Takes WITNESS_S_MAX at most. Cancelled: the witness may have cosigned all the same, and is then asked again.
        """
        why = f"did not answer within {WITNESS_S_MAX:g} s"
        try:
            with trio.move_on_after(WITNESS_S_MAX):
                line = await self._cosign(note, nodes)
                self._rest_s = 0.0
                return line
        except (PeerFailed, Corrupt, Absent) as error:
            why = str(error)
        self._rest(why, jitter)
        return None

    def _rest(self, why: str, jitter: Callable[[float, float], float]) -> None:
        self._rest_s = min(max(2 * self._rest_s, WITNESS_REST_S_MIN), WITNESS_REST_S_MAX)
        self._rests_until = trio.current_time() + self._rest_s * jitter(0.8, 1.2)
        structlog.get_logger().warning("no cosignature", witness=self.key.name, why=why, rests_s=self._rest_s)

    async def _cosign(self, note: bytes, nodes: Nodes) -> str:
        answer = await self._ask(note, nodes)
        if answer.status == 409:
            self._old_size = _size_in(answer, nodes.size)
            answer = await self._ask(note, nodes)
        if answer.status != 200:
            raise PeerFailed(f"answered {answer.status}")
        line = checkpoints.cosignature(note, answer.body, self.key)
        self._old_size = nodes.size
        return line

    async def _ask(self, note: bytes, nodes: Nodes) -> Answer:
        return await self._post(self._path, HEADERS, request(note, nodes, self._old_size), WITNESS_ANSWER_BYTES_MAX)


def request(note: bytes, nodes: Nodes, old_size: int) -> bytes:
    """Build the body of `add-checkpoint`: the old size, the proof that the log grew from there, the checkpoint."""
    lines = [f"old {old_size}", *map(checkpoints.base64_text, nodes.consistency(old_size))]
    return "\n".join([*lines, "", ""]).encode() + note


def _size_in(answer: Answer, size: int) -> int:
    """Read the size that a witness remembers; PeerFailed where it is none, or more than the log has."""
    text = answer.body.decode("latin-1").removesuffix("\n")
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise PeerFailed("answered 409 without a size")
    if int(text) > size:
        raise PeerFailed(f"cosigned {text} records, more than the {size} that the log has: it may have gone back")
    return int(text)
