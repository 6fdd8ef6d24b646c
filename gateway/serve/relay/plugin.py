"""The write policy of others: a process that is asked about each event, in strfry's protocol (its docs/plugins.md).

    {"type":"new","event":{…},"receivedAt":s,"sourceType":"IP4","sourceInfo":"192.0.2.1"}  ─▶ stdin
    {"id":"…","action":"accept" | "reject" | "shadowReject","msg":"…"}                     ◀─ stdout
Invariant: one question at a time, since policies written for strfry count on it. Whatever goes wrong (it does not
start, ends, is silent, answers rubbish or about another event) fails closed: nothing is stored that it has not let
pass, and the sender is told so. This module must not know what is stored.
"""

import os
import signal
import subprocess
from ipaddress import ip_address

import msgspec
import structlog
import trio

from gateway.limits.nostr import PLUGIN_LINE_BYTES_MAX, PLUGIN_RESTART_S
from gateway.nostr.event import Event

SILENT = "error: the write policy does not answer"
BROKEN = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, ValueError)


class Ruling(msgspec.Struct, frozen=True):
    """What a policy says of an event; ``shadowReject`` lets the sender believe that it was stored."""

    id: str
    action: str
    msg: str | None = None


_decode = msgspec.json.Decoder(Ruling).decode


class Plugin:
    """A policy's process, started with the first question and again after it failed."""

    def __init__(self, command: str, answer_s_max: float) -> None:
        self._command, self._answer_s_max = command, answer_s_max
        self._turn = trio.Lock()
        self._process: trio.Process | None = None
        self._rest = b""
        self._version = 0.0
        self._answered = False  # since it was started
        self._failed_at = self._told_at = float("-inf")  # before it answered anything; and when a failure was told of

    async def ask(self, event: Event, peer: str, now_ms: int) -> tuple[bool, str] | None:
        """Give None where the event may be stored, else what its sender is told: (accepted, reason).

        Cancelled in the middle of a question, the process is ended: its answer would be taken for the next one's.
        """
        question = _question(event, peer, now_ms)
        async with self._turn:
            done = False
            try:
                ruling = await self._answer(question, event.id)
                done = True
            except BROKEN as error:
                self._fail(error)
                return False, SILENT
            finally:
                if not done:
                    with trio.CancelScope(shield=True):
                        await self.end()
        return _verdict(ruling)

    async def end(self) -> None:
        """Kill the process, if there is one, and what it started; never cancelled half way."""
        process, self._process, self._rest = self._process, None, b""
        if process is None:
            return
        with trio.CancelScope(shield=True):
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                await stream.aclose()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _answer(self, question: bytes, event_id: str) -> Ruling:
        with trio.fail_after(self._answer_s_max):
            process = await self._running()
            assert process.stdin is not None
            await process.stdin.send_all(question)
            ruling = _decode(await self._line(process))
        if ruling.id != event_id:
            raise ValueError("the answer is about another event")
        self._answered = True
        return ruling

    async def _running(self) -> trio.Process:
        if self._process is not None and (self._process.poll() is not None or self._version != self._modified()):
            await self.end()
        if self._process is None:
            if trio.current_time() - self._failed_at < PLUGIN_RESTART_S:
                raise OSError("it failed a moment ago")
            self._version, self._answered = self._modified(), False
            self._process = await trio.lowlevel.open_process(
                ["/bin/sh", "-c", self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        return self._process

    def _modified(self) -> float:
        """When a script was changed: it is then started anew. A command with arguments has no such time."""
        try:
            return 0.0 if " " in self._command else os.stat(self._command).st_mtime
        except OSError:
            return 0.0

    async def _line(self, process: trio.Process) -> bytes:
        assert process.stdout is not None
        while b"\n" not in self._rest:
            more = await process.stdout.receive_some(PLUGIN_LINE_BYTES_MAX)
            if not more:
                raise OSError("it ended")
            self._rest += more
            if len(self._rest) > PLUGIN_LINE_BYTES_MAX:
                raise ValueError("its answer is too long")
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _fail(self, error: BaseException) -> None:
        """Tell of a failure; a process that failed without having answered rests, any other is started anew at once."""
        now_s = trio.current_time()
        if not self._answered and now_s - self._failed_at >= PLUGIN_RESTART_S:
            self._failed_at = now_s
        if now_s - self._told_at >= PLUGIN_RESTART_S:
            self._told_at = now_s
            reason = "it took too long" if isinstance(error, trio.TooSlowError) else str(error)
            structlog.get_logger().error("write policy failed", command=self._command, error=reason)


def _question(event: Event, peer: str, now_ms: int) -> bytes:
    try:
        source = f"IP{ip_address(peer).version}"
    except ValueError:
        source = "IP4"
    asked = {
        "type": "new",
        "event": msgspec.to_builtins(event),
        "receivedAt": now_ms // 1000,
        "sourceType": source,
        "sourceInfo": peer,
    }
    return msgspec.json.encode(asked) + b"\n"


def _verdict(ruling: Ruling) -> tuple[bool, str] | None:
    match ruling.action:
        case "accept":
            return None
        case "shadowReject":
            return True, ""
        case "reject":
            text = ruling.msg or "this relay's policy does not take it"
            return False, text if ":" in text else f"blocked: {text}"
        case _:
            return False, "error: the write policy gave no answer that is known"
