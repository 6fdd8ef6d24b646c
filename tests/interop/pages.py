"""A page that runs the client: in Chromium, over its DevTools, or in node; and the site that gives it tokens.

``await page.call(name, *args)`` calls the scenario. What is started here is ended here.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

HERE = Path(__file__).parent
MODULE = HERE.parents[1] / "gateway" / "client" / "replica.js"
WAIT_S = 60.0
PAGE = """<!doctype html><meta charset="utf-8"><title>replica</title>
<script type="module">
import * as client from "%(gateway)s/client/replica.js";
import { begin, refused } from "/scenario.mjs";
const options = { ...client, ...%(options)s };
window.calls = { refused: () => refused(options) };
window.calls.begin = async () => Object.assign(calls, await begin(options)) && true;
document.title = "ready";
</script>"""


class Page(Protocol):
    """Somebody who runs the scenario."""

    async def call(self, name: str, *args: Any) -> Any: ...


class Site:
    """The page's own server: the page, the scenario, and tokens while ``give`` does not raise."""

    def __init__(self, gateway: str, options: dict[str, Any], give: Any) -> None:
        bodies = {"/scenario.mjs": ("text/javascript", (HERE / "scenario.mjs").read_text("utf-8"))}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                try:
                    kind, body = bodies.get(self.path) or ("application/json", json.dumps(give()))
                except OSError:
                    self.send_error(503)
                    return
                self.send_response(200)
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *args: Any) -> None:
                """Keep silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.options = {**options, "tokens": f"{self.url}/token"}
        bodies["/"] = ("text/html", PAGE % {"gateway": gateway, "options": json.dumps(self.options)})


@contextmanager
def serving(site: Site) -> Iterator[None]:
    thread = Thread(target=site.server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        site.server.shutdown()
        site.server.server_close()
        thread.join()


# -- node --------------------------------------------------------------------------------------------------------------


class NodePage:
    """The scenario in node."""

    def __init__(self, process: trio.Process) -> None:
        self._process, self._buffer = process, b""

    async def call(self, name: str, *args: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with trio.fail_after(WAIT_S):
            await self._process.stdin.send_all(json.dumps({"call": name, "args": args}).encode() + b"\n")
            while b"\n" not in self._buffer:
                chunk = await self._process.stdout.receive_some()
                assert chunk, "node has ended"
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer = json.loads(line)
        assert "error" not in answer, answer
        return answer.get("value")


@asynccontextmanager
async def in_node(options: dict[str, Any]) -> AsyncIterator[NodePage]:
    command = [str(shutil.which("node")), "page.mjs", str(MODULE), json.dumps(options)]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=HERE)
    try:
        yield NodePage(process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


# -- Chromium ----------------------------------------------------------------------------------------------------------


class BrowserPage:
    """A tab of a browser."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection, self._number = connection, 0

    async def call(self, name: str, *args: Any) -> Any:
        return await self.evaluate(f"calls.{name}(...{json.dumps(args)})")

    async def evaluate(self, expression: str) -> Any:
        answer = await self.command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def open(self, url: str) -> None:
        """Go to a page and wait until its script has run."""
        await self.command("Page.enable")
        await self.command("Page.navigate", url=url)
        with trio.fail_after(WAIT_S):
            while json.loads(await self._connection.get_message()).get("method") != "Page.loadEventFired":
                pass
        assert await self.evaluate("document.title") == "ready"

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        with trio.fail_after(WAIT_S):
            await self._connection.send_message(json.dumps({"id": self._number, "method": method, "params": params}))
            while True:
                answer = json.loads(await self._connection.get_message())
                if answer.get("id") == self._number:
                    assert "error" not in answer, answer
                    result: dict[str, Any] = answer["result"]
                    return result


def chromium() -> str | None:
    """The browser of this machine."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@asynccontextmanager
async def in_chromium(url: str, profile: Path) -> AsyncIterator[BrowserPage]:
    """Open a page in a headless browser of its own."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    options += ["--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0"]
    command = [str(chromium()), *options, f"--user-data-dir={profile}", "about:blank"]
    process = await trio.lowlevel.open_process(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        base = await _devtools(process)
        async with open_websocket_url(base, max_message_size=1 << 24) as connection:
            browser = BrowserPage(connection)
            target = (await browser.command("Target.createTarget", url="about:blank"))["targetId"]
            tab = f"{base.partition('/devtools/')[0]}/devtools/page/{target}"
            async with open_websocket_url(tab, max_message_size=1 << 24) as own:
                page = BrowserPage(own)
                await page.open(url)
                yield page
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its own session: the browser's children too
        with trio.CancelScope(shield=True):
            await process.wait()


async def _devtools(process: trio.Process) -> str:
    """Read the address that the browser says on stderr."""
    text = b""
    assert process.stderr is not None
    with trio.fail_after(WAIT_S):
        while True:
            chunk = await process.stderr.receive_some()
            assert chunk, text.decode("utf-8", "replace")
            text += chunk
            for line in text.decode("utf-8", "replace").splitlines():
                if line.startswith("DevTools listening on ") and text.endswith(b"\n"):
                    return line.split()[-1]
