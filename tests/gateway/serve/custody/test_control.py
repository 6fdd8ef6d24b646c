"""The operator's door answers one line to one line, to whoever owns the data directory, and outlives bad clients."""

import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from eventlog.errors import LogFailed
from gateway.errors import Unavailable
from gateway.limits.keeping import CONTROL_BYTES_MAX
from gateway.serve.custody.control import SOCKET, UNAVAILABLE, WRONG, Control, ControlRefused, ask


async def double(request: dict[str, Any]) -> int:
    match request["number"]:
        case int(number):
            return 2 * number
        case "disk":
            raise LogFailed("no room")
        case _:
            raise ControlRefused("a number, please", WRONG)


@asynccontextmanager
async def door(data: Path) -> AsyncIterator[Path]:
    async with trio.open_nursery() as nursery:
        await nursery.start(Control(data, {"double": double}).run)
        yield data / SOCKET
        nursery.cancel_scope.cancel()


async def said(path: Path, line: bytes) -> bytes:
    with trio.fail_after(30):
        stream = await trio.open_unix_socket(str(path))
        async with stream:
            await stream.send_all(line)
            return b"".join([some async for some in stream])


async def test_a_verb_is_carried_out_and_answered(tmp_path: Path) -> None:
    async with door(tmp_path) as path:
        assert await ask(tmp_path, {"verb": "double", "number": 21}) == 42
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_refusals_and_failures_come_as_what_they_are(tmp_path: Path) -> None:
    async with door(tmp_path) as path:
        told = json.loads(await said(path, b'{"verb": "double", "number": "disk"}\n'))
        assert told == {"error": "no room", "code": UNAVAILABLE}
        with pytest.raises(Unavailable, match="no room"):
            await ask(tmp_path, {"verb": "double", "number": "disk"})
        with pytest.raises(ControlRefused, match="a number") as refused:
            await ask(tmp_path, {"verb": "double", "number": []})
        assert refused.value.code == WRONG


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b'{"verb": "dance"}\n', b"[1]\n", b"\xff\n", b'{"verb": []}\n'])
async def test_what_is_no_request_is_told_what_there_is_to_ask_for(tmp_path: Path, line: bytes) -> None:
    async with door(tmp_path) as path:
        assert json.loads(await said(path, line)) == {"error": "ask for one of: double", "code": WRONG}


async def test_a_line_without_an_end_is_cut_off(tmp_path: Path) -> None:
    async with door(tmp_path) as path:
        try:
            answer = await said(path, b"x" * (CONTROL_BYTES_MAX + 1))
        except trio.BrokenResourceError:
            answer = b""
        assert answer == b""
        assert await ask(tmp_path, {"verb": "double", "number": 1}) == 2


async def test_who_says_nothing_is_let_go(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with door(tmp_path) as path:
        assert await said(path, b"") == b""


async def test_where_no_server_runs_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no server runs on"):
        await ask(tmp_path, {"verb": "double"})


async def test_a_name_that_a_dead_server_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / SOCKET).touch()
    async with door(tmp_path):
        assert await ask(tmp_path, {"verb": "double", "number": 4}) == 8


async def test_a_path_longer_than_the_kernel_takes_works_too(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    async with door(deep):
        assert await ask(deep, {"verb": "double", "number": 8}) == 16


async def test_a_directory_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be made"):
        await Control(tmp_path / "nowhere", {}).run()
