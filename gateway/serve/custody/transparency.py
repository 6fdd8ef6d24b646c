"""The log in public: ``/log/checkpoint``, ``/log/tile/…`` and ``/log/key``, and the round that witnesses are asked in.

Invariants: the checkpoint that is served never goes back to fewer records, and every tile of it is served; entries are
not public, hashes alone are. Without witnesses the newest checkpoint is served; with them one that was offered to
all that do not rest, with whatever cosignatures came in time: a witness may delay it, never hold it up.
This module must not know who signs up to what.
"""

from contextlib import AsyncExitStack

import structlog
import trio
from quart import Response
from quart_trio import QuartTrio
from werkzeug.exceptions import NotFound

from eventlog import checkpoint as checkpoints
from eventlog.checkpoint import Checkpoint, parse_verifier_key, verifier_key
from eventlog.disk.log import Appendable
from eventlog.errors import Absent, Corrupt
from eventlog.proof import Nodes
from eventlog.tile import ROOM, Tile, parse_path
from gateway.config import Config
from gateway.config import Witness as WitnessConfig
from gateway.errors import ConfigInvalid
from gateway.limits.transparency import WITNESS_ROUND_S, WITNESSES_MAX
from gateway.serve.clock import Clock
from gateway.serve.custody.witness import Witness
from gateway.serve.delivery.httpclient import Pool, client_context

EVERYONE = {"Access-Control-Allow-Origin": "*"}
FRESH = EVERYONE | {"Cache-Control": "public, max-age=1"}
FOR_EVER = EVERYONE | {"Cache-Control": "public, max-age=31536000, immutable"}
AN_HOUR = EVERYONE | {"Cache-Control": "public, max-age=3600"}
TEXT = "text/plain; charset=utf-8"


class TransparencyService:
    """Serves the newest checkpoint that may be served; `run` asks the witnesses."""

    def __init__(self, config: Config, clock: Clock, log: Appendable) -> None:
        self._clock, self._log = clock, log
        self._config = config.log.witnesses
        self._ca_file = config.log.witness_ca_file
        self._published = self._first()
        self.cosignatures = 0  # how many the published checkpoint has
        for name, one in self._config.items():
            witness_key(name, one)
        if len(self._config) > WITNESSES_MAX:
            raise ConfigInvalid(f"log.witnesses: at most {WITNESSES_MAX}, for a checkpoint to hold their cosignatures")

    def _first(self) -> bytes:
        """Choose what is shown until the first round: the newest, as cosigned as it was kept."""
        kept, note = self._log.cosigned, self._log.note
        return kept if kept is not None and self._read(kept) == self._read(note) else note

    def routes(self, app: QuartTrio) -> None:
        """Add the three addresses."""

        @app.get("/log/checkpoint")
        async def checkpoint() -> Response:
            return Response(self.checkpoint(), content_type=TEXT, headers=FRESH)

        @app.get(f"/log/{ROOM}/<path:rest>")
        async def tile(rest: str) -> Response:
            named = parse_path(f"{ROOM}/{rest}")
            found = None if named is None else self._log.tile(named)
            if found is None:
                raise NotFound
            return Response(found, content_type="application/octet-stream", headers=FOR_EVER)

        @app.get("/log/key")
        async def key() -> Response:
            line = verifier_key(self._log.origin, self._log.public_key)
            return Response(f"{line}\n", content_type=TEXT, headers=AN_HOUR)

    def checkpoint(self) -> bytes:
        """Give the signed note that everybody is shown."""
        return self._published if self._config else self._log.note

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ask the witnesses whenever the log has grown, for ever; without witnesses only wait to be cancelled."""
        async with AsyncExitStack() as stack:
            witnesses = [await self._opened(stack, name, one) for name, one in self._config.items()]
            task_status.started()
            if not witnesses:
                await trio.sleep_forever()
            while True:
                await self._round(witnesses)
                await trio.sleep(WITNESS_ROUND_S)

    async def _opened(self, stack: AsyncExitStack, name: str, config: WitnessConfig) -> Witness:
        pool = await stack.enter_async_context(Pool(config.url, client_context(self._ca_file), 1))
        return Witness(pool.path, witness_key(name, config), pool.post)

    async def _round(self, witnesses: list[Witness]) -> None:
        """Offer the newest checkpoint to all that do not rest; then publish it with the cosignatures that came."""
        note = self._log.note
        newest, shown = self._read(note), self._read(self._published)
        awake = [witness for witness in witnesses if not witness.rests]
        if newest.size == shown.size and (not awake or self.cosignatures >= len(awake)):
            return
        lines = await self._cosignatures(note, Nodes(newest.size, self._tile), awake)
        if newest.size == shown.size:
            note = self._published
        published = checkpoints.cosigned(note, lines)
        self._published = published
        self.cosignatures = len(checkpoints.signature_lines(published)) - 1
        if lines:
            await self._keep(published)

    async def _cosignatures(self, note: bytes, nodes: Nodes, witnesses: list[Witness]) -> list[str]:
        lines: list[str] = []

        async def ask(witness: Witness) -> None:
            line = await witness.cosign(note, nodes, self._clock.uniform)
            if line is not None:
                lines.append(line)

        async with trio.open_nursery() as nursery:
            for witness in witnesses:
                nursery.start_soon(ask, witness)
        return lines

    async def _keep(self, note: bytes) -> None:
        try:
            await self._log.keep_cosigned(note)
        except OSError as error:  # the world's: the witnesses will be asked again after a restart
            structlog.get_logger().warning("a cosigned checkpoint could not be kept", error=str(error))

    def _read(self, note: bytes) -> Checkpoint:
        return checkpoints.verify(note, self._log.public_key)

    def _tile(self, tile: Tile) -> bytes:
        found = self._log.tile(tile)
        if found is None:
            raise Absent(f"{tile.path} is not there")
        return found


def witness_key(name: str, config: WitnessConfig) -> checkpoints.VerifierKey:
    """Read a witness's key and judge its URL; raise ConfigInvalid."""
    if not config.url.startswith(("https://", "http://")):
        raise ConfigInvalid(f"log.witnesses.{name}.url: expected http(s)://HOST/PREFIX, got {config.url!r}")
    try:
        key = parse_verifier_key(config.key)
    except Corrupt as flaw:
        raise ConfigInvalid(f"log.witnesses.{name}.key: {flaw}") from None
    if not key.is_witness:
        raise ConfigInvalid(f"log.witnesses.{name}.key: this key signs logs; a witness's has the type 4")
    return key
