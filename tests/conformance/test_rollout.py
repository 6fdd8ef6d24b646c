"""The replication endpoint's flag, off, and both URLs and both flags of every relay that the asker may see."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.sockets import line, refused
from tests.conformance.test_mirror import row
from tests.conformance.test_normal_socket import event
from tests.conformance.worker import INTERNAL, Worker, fresh_key, relay_id
from tests.conformance.world import World, world

URLS = ("connectionUrl", "replicationConnectionUrl")


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("rollout"), extra="[mirror]\nenabled = false\n") as made:
        yield made
        assert made.traces() == []


async def test_with_the_endpoint_off_a_mirror_says_so_whoever_asks_and_the_normal_socket_goes_on(w: World) -> None:
    worker, key = Worker(w), fresh_key()
    assert worker.register(key, "flagged").status == 200
    own, token = worker.issue(INTERNAL, "aa" * 32)["token"], worker.issue(key)["token"]
    base = w.server.ws_url
    for path in ("relay", f"relay?token={own}", f"npub1conform/flagged?token={token}", "no/such", "relay?token=bad"):
        assert await refused(f"{base}/mirror/{path}") == (4404, "Replication endpoint disabled")
    for path in ("relay", f"npub1conform/flagged?token={token}"):
        async with line(f"{base}/{path}") as normal:
            note, one = event(), row(relay_id("npub1conform:flagged"))
            assert (await normal.answer("EVENT", note))[:3] == ["OK", note["id"], True]
            await normal.say("EVENT", one)
            assert (await normal.until("OK"))[-1][2:] == [True, "stored"]
    assert worker.delete(key).status == 200


def seen(w: World, worker: Worker | None) -> dict[str, dict[str, Any]]:
    """Every relay that an asker sees, by key: the list, and each of it read alone, which must agree."""
    answer = w.get("/api/relays") if worker is None else worker.read(None)
    listed = {one["relayKey"]: one for one in answer.body["relays"]}
    for key, shown in listed.items():
        alone = (w.get(f"/api/relays/{key}") if worker is None else worker.read(key)).body
        assert {name: alone[name] for name in alone if name not in URLS} == {
            name: shown[name] for name in shown if name not in URLS
        }
    return listed


def test_both_urls_and_both_flags_of_every_relay_that_the_asker_may_see(w: World) -> None:
    mine, other = Worker(w), Worker(w, "second-secret")
    flags = {"open": (False, True), "guarded": (True, True), "hidden": (True, False)}
    keys = {name: fresh_key() for name in flags}
    for name, (normal, mirror) in flags.items():
        metadata = {"requiresAuth": normal, "requiresAuthForReplication": mirror, "isPublic": name != "hidden"}
        assert mine.register(keys[name], name, metadata=metadata).status == 200
    status = {one["relayKey"]: one for one in w.get("/status").body["relays"]}
    for who, shown, names in (
        ("anybody at /status", status, ("open", "guarded")),
        ("anybody", seen(w, None), ("open", "guarded")),
        ("its worker", seen(w, mine), ("open", "guarded", "hidden")),
        ("another worker", seen(w, other), ()),
    ):
        assert set(shown) == {INTERNAL, *(keys[name] for name in names)}, who
        assert (shown[INTERNAL]["requiresAuth"], shown[INTERNAL]["requiresAuthForReplication"]) == (False, True)
        for name in names:
            one, path = shown[keys[name]], f"npub1conform/{name}"
            assert (one["requiresAuth"], one["requiresAuthForReplication"]) == flags[name], who
            assert one["replicationEndpoint"] == f"/mirror/{path}"
            bare = [one[url].partition("?token=")[0] for url in URLS]
            assert bare == [f"{w.server.ws_url}/{path}", f"{w.server.ws_url}/mirror/{path}"]
            assert all(("?token=" in one[url]) == (who == "its worker") for url in URLS)
    assert w.get(f"/api/relays/{keys['hidden']}").error() == (404, "Relay not registered")
    assert other.read(keys["hidden"]).status == 404
