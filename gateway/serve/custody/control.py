"""The operator's door into a running server: a Unix socket in the data directory, for whoever may read that directory.

One request a connection: a JSON object in one line, ``{"verb": …, …}``; one line back, ``{"ok": …}`` or
``{"error": sentence, "code": exit code}``, when the work is done. A verb is one entry in the table that `Control` is
made with. Invariant: the socket is mode 0600 from the moment it has a name; a client that goes away ends nothing that
has begun. This module must not know what a verb does.
"""

import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog
import trio

from eventlog.errors import Corrupt, LogFailed
from gateway.errors import Refused, Unavailable
from gateway.limits.keeping import CONTROL_BYTES_MAX, CONTROL_S_MAX

SOCKET = "control.sock"
PATH_BYTES_MAX = 100  # the kernel takes 107
WRONG, UNAVAILABLE = 2, 3  # exit codes, as the command line has them

Verb = Callable[[dict[str, Any]], Awaitable[Any]]


class ControlRefused(Refused):
    """The server did not do what was asked; ``code`` is the exit code that says why."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Control:
    """The door: `run` it; each verb is given the request and returns what the answer says, or raises."""

    def __init__(self, data: Path, verbs: Mapping[str, Verb]) -> None:
        self._path, self._verbs = data / SOCKET, dict(verbs)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer for ever. Raises Unavailable where the socket cannot be made. Cancelled: its name is removed."""
        try:
            listener = trio.SocketListener(_bound(self._path))
        except OSError as error:
            raise Unavailable(f"the operator's socket {self._path} cannot be made: {error}") from error
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(trio.serve_listeners, self._serve, [listener])
                task_status.started()
        finally:
            self._path.unlink(missing_ok=True)

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            with trio.move_on_after(CONTROL_S_MAX) as arriving:
                line = await _line(stream)
            if arriving.cancelled_caught or line is None:
                return
            answer = await self._answer(line)
            with trio.move_on_after(CONTROL_S_MAX):
                with suppress(trio.BrokenResourceError):  # nobody waits any more; what was done is done
                    await stream.send_all(json.dumps(answer).encode() + b"\n")

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            verb = self._verbs[request["verb"]]
        except (ValueError, KeyError, TypeError):
            return {"error": f"ask for one of: {', '.join(sorted(self._verbs))}", "code": WRONG}
        try:
            return {"ok": await verb(request)}
        except ControlRefused as refused:
            return {"error": str(refused), "code": refused.code}
        except (Unavailable, LogFailed, Corrupt) as failure:
            structlog.get_logger().error("control", verb=request["verb"], error=str(failure))
            return {"error": str(failure), "code": UNAVAILABLE}


async def _line(stream: trio.SocketStream) -> bytes | None:
    """Read up to the first line feed; None where there is none within the limit."""
    data = b""
    while b"\n" not in data:
        try:
            some = await stream.receive_some(CONTROL_BYTES_MAX)
        except trio.BrokenResourceError:
            return None
        data += some
        if not some or len(data) > CONTROL_BYTES_MAX:
            return None
    return data.partition(b"\n")[0]


def _bound(path: Path) -> trio.socket.SocketType:
    """Bind and listen; whatever had the name is a dead server's, since the caller holds the log's lock."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        mask = os.umask(0o177)
        try:
            with _address(path) as address:
                made.bind(address)
        finally:
            os.umask(mask)
        made.listen(8)
    except BaseException:
        made.close()
        raise
    return trio.socket.from_stdlib_socket(made)


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """Give a path that the kernel takes: where it is too long, through a descriptor of its directory."""
    if len(os.fsencode(path)) <= PATH_BYTES_MAX:
        yield str(path)
        return
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)


async def _connected(path: Path) -> trio.SocketStream:
    made = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(path) as address:
            await made.connect(address)
    except BaseException:
        made.close()
        raise
    return trio.SocketStream(made)


async def ask(data: Path, request: Mapping[str, Any]) -> Any:
    """Ask the server that runs on a data directory; give what it answers when it is done.

    Raises, with its words, Unavailable where it cannot do it now, as where none answers, or ControlRefused.
    """
    path = data / SOCKET
    try:
        async with await _connected(path) as stream:
            await stream.send_all(json.dumps(dict(request)).encode() + b"\n")
            data_back = b""
            async for some in stream:
                data_back += some
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise Unavailable(f"no server runs on {data}: nobody listens on {path}") from error
    except (OSError, trio.BrokenResourceError) as error:
        raise Unavailable(f"the server does not answer on {path}: {error}") from error
    try:
        answer = json.loads(data_back)
    except ValueError as error:
        raise Unavailable(f"the server broke off on {path}; ask again") from error
    if answer.get("code") == UNAVAILABLE:
        raise Unavailable(answer["error"])
    if "error" in answer:
        raise ControlRefused(answer["error"], answer["code"])
    return answer["ok"]
