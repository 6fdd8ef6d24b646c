"""The client for web pages against the real server, in node and in a real browser: cuts, restarts, tokens that end."""

import shutil
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.gateway.client.proxy import proxy
from tests.gateway.client.worker import CONFIG, RELAY_ID, issued, rows, state_of, through
from tests.interop.pages import Page, Site, chromium, in_chromium, in_node, serving
from tests.interop.test_nostr_tools import modules
from tests.server import process

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="there is no node here")

__all__ = ["modules"]


@asynccontextmanager
async def opened(where: str, site: Site, options: dict[str, Any], profile: Path) -> AsyncIterator[Page]:
    if where == "node":
        async with in_node(options) as page:
            yield page
    else:
        async with in_chromium(f"{site.url}/", profile) as page:
            yield page


@pytest.mark.parametrize(
    "where",
    [
        "node",
        pytest.param("chromium", marks=pytest.mark.skipif(chromium() is None, reason="there is no Chromium here")),
    ],
)
async def test_a_page_follows_through_cuts_restarts_and_tokens_that_end(
    where: str, modules: Path, tmp_path: Path
) -> None:
    assert modules.name == "node_modules"
    with ExitStack() as stack:
        server = stack.enter_context(process(tmp_path, CONFIG))
        async with proxy(server.port) as network:
            state = through(state_of(server.url), network.url)

            def give() -> dict[str, Any]:
                if not allowed:
                    raise OSError("no token now")
                given.append(1)
                try:
                    return issued(network.url, ttl_s=2)
                except httpx.HTTPError as why:
                    raise OSError(str(why)) from why

            allowed, given = [True], list[int]()
            options = {"state": state, "relayID": RELAY_ID}
            site = Site(server.url, options, give)
            stack.enter_context(serving(site))
            async with opened(where, site, site.options, tmp_path / "profile") as page:
                assert await page.call("refused") == "Error: token-required: not a member"
                assert await page.call("begin") is True
                assert await page.call("publish", rows(range(300))) == 300
                assert len(await page.call("until", 300)) == 300

                network.cut()
                assert await page.call("publish", rows(range(300, 400))) == 100

                allowed.clear()
                assert await page.call("lost", 4403) is True
                allowed.append(True)
                assert await page.call("publish", rows(range(400, 450))) == 50

                server.kill()
                server = stack.enter_context(process(tmp_path, CONFIG))
                network.port = server.port
                assert await page.call("publish", rows(range(450, 500))) == 50
                ids = await page.call("until", 500)
                told = await page.call("close")
            await trio.lowlevel.checkpoint()
        assert [line for line in server.lines if "Traceback" in line] == []
    assert sorted(ids) == sorted(row["id"] for row in rows(range(500)))
    assert len(given) >= 2
    assert {one["code"] for one in told if one["do"] == "lost"} >= {1006, 4403}
