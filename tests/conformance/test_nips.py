"""What single NIPs ask of a relay, at the real server's sockets: where no other file here looks at it already."""

import base64
import hashlib
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from coincurve import PrivateKey

from gateway.negentropy import FRAME_BYTES_MIN, Items
from tests.conformance.sockets import Line, line
from tests.conformance.test_normal_socket import ALICE, BOB, NOW, event
from tests.conformance.world import World, world
from tests.initiator import Initiator
from tests.server import process

CAROL = PrivateKey(b"\x13" * 32)


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("nips")) as made:
        yield made
        assert made.traces() == []


@asynccontextmanager
async def opened(w: World) -> AsyncIterator[Line]:
    async with line(f"{w.server.ws_url}/relay") as one:
        yield one


def pubkey(key: PrivateKey) -> str:
    return key.public_key_xonly.format().hex()


async def said(one: Line, made: dict[str, Any]) -> list[Any]:
    """Publish; whether it was taken, and the reason. Challenges are passed over."""
    await one.say("EVENT", made)
    return (await one.until("OK"))[-1][2:]


async def proved(one: Line, url: str, *keys: PrivateKey) -> None:
    """Prove keys on a connection (NIP-42)."""
    await one.say("REQ", "challenge", {"kinds": [1_059]})
    [challenge] = [frame[1] for frame in await one.until("CLOSED") if frame[0] == "AUTH"]
    for key in keys:
        tags = [["relay", url], ["challenge", challenge]]
        await one.say("AUTH", event(key, 22_242, "", tags=tags, created_at=int(time.time())))
        assert (await one.until("OK"))[-1][2:] == [True, ""]


async def listed(one: Line, mine: list[dict[str, Any]], asked: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Compare by NIP-77: what only we have, and what only the relay has."""
    asking = Initiator(Items((each["created_at"], bytes.fromhex(each["id"])) for each in mine), FRAME_BYTES_MIN)
    answer = await one.answer("NEG-OPEN", "n", asked, asking.first().hex())
    while (message := asking.learn(bytes.fromhex(answer[2]))) is not None:
        answer = await one.answer("NEG-MSG", "n", message.hex())
    await one.say("NEG-CLOSE", "n")
    return {name.hex() for name in asking.have}, {name.hex() for name in asking.need}


async def test_nip_02_of_two_follow_lists_the_newer_stays(w: World) -> None:
    async with opened(w) as one:
        lists = [event(CAROL, 3, tags=[["p", pubkey(BOB)]], created_at=NOW - age) for age in (9, 3, 6)]
        for each in lists:
            assert (await said(one, each))[0] is True
        assert await one.stored({"kinds": [3], "authors": [pubkey(CAROL)]}) == [lists[1]]


async def test_nip_09_a_deletion_spreads_it_is_sent_live_served_and_compared_and_what_it_deletes_is_not(
    w: World,
) -> None:
    async with opened(w) as one, opened(w) as follower:
        note = event(CAROL, content="to be taken back")
        assert (await said(one, note))[0] is True
        assert (await follower.answer("REQ", "live", {"authors": [pubkey(CAROL)], "kinds": [5], "limit": 0}))[
            0
        ] == "EOSE"
        deletion = event(CAROL, 5, "", tags=[["e", note["id"]], ["k", "1"]])
        assert (await said(one, deletion))[0] is True
        assert await follower.hear() == ["EVENT", "live", deletion]
        asked = {"authors": [pubkey(CAROL)], "kinds": [1, 5]}
        assert await one.stored(asked) == [deletion]
        # A store that still has the note learns of the deletion, and that the relay will not have the note again.
        assert await listed(one, [note], asked) == ({note["id"]}, {deletion["id"]})
        taken, reason = await said(one, note)
        assert not taken
        assert reason.startswith("blocked: ")


async def test_nip_09_a_deletion_spreads_to_another_relay_that_has_what_it_deletes(w: World, tmp_path: Path) -> None:
    gone = PrivateKey(b"\x22" * 32)
    note, kept = event(gone, content="on both"), event(gone, content="stays on both")
    asked = {"authors": [pubkey(gone)]}
    with process(tmp_path) as other:
        far = f"{other.ws_url}/relay"
        async with opened(w) as one, line(far) as two:
            for relay in (one, two):
                for each in (note, kept):
                    assert (await said(relay, each))[0] is True
            deletion = event(gone, 5, "", tags=[["e", note["id"]]])
            assert (await said(one, deletion))[0] is True
            assert note in await two.stored(asked)
            words = ["mirror", "sync", far, "--ours", f"{w.server.ws_url}/relay", "--once"]
            command = [sys.executable, "-m", "gateway.cli.main", *words, "--filter", json.dumps(asked)]
            with trio.fail_after(120):
                synced = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
            told = synced.stderr.decode()
            assert "in step: 0 down, 1 up, 0 refused, 1 deleted or replaced" in told  # the note
            assert synced.returncode == 0, told
            for relay in (one, two):
                assert {each["id"] for each in await relay.stored(asked)} == {kept["id"], deletion["id"]}
                assert (await said(relay, note))[0] is False


async def test_nip_09_a_deletion_that_comes_before_what_it_deletes_bars_it(w: World) -> None:
    async with opened(w) as one:
        note = event(CAROL, content="deleted elsewhere first")
        assert (await said(one, event(CAROL, 5, "", tags=[["e", note["id"]]])))[0] is True
        assert (await said(one, note))[0] is False
        assert await one.stored({"ids": [note["id"]]}) == []


async def test_nip_59_wraps_go_to_their_addressee_in_every_answer_and_ephemeral_ones_live(w: World) -> None:
    url = f"{w.server.ws_url}/relay"
    async with opened(w) as stranger, opened(w) as addressee, opened(w) as sender:
        wrap = event(CAROL, 1_059, "x", tags=[["p", pubkey(BOB)]], created_at=NOW - 100_000)
        fleeting = event(CAROL, 21_059, "y", tags=[["p", pubkey(BOB)]])
        await proved(addressee, url, ALICE, BOB)
        for reader in (stranger, addressee):
            await reader.say("REQ", "live", {"kinds": [1_059, 21_059, 7_777], "limit": 0})
            assert (await reader.until("EOSE"))[-1][0] == "EOSE"
        for each in (wrap, fleeting, mark := event(CAROL, 7_777)):
            assert (await said(sender, each))[0] is True
        heard = [(await addressee.hear())[2]["id"] for _ in range(3)]  # ephemeral ones do not wait for the log
        assert set(heard) == {each["id"] for each in (wrap, fleeting, mark)}
        assert await stranger.hear() == ["EVENT", "live", mark]
        asked = {"kinds": [1_059, 7_778]}
        for reader, ids in ((stranger, set()), (addressee, {wrap["id"]})):
            assert {each["id"] for each in await reader.stored(asked)} == ids
            assert (await reader.answer("COUNT", "c", asked))[2]["count"] == len(ids)
            assert await listed(reader, [], asked) == (set(), ids)
        assert await addressee.stored({"kinds": [21_059, 7_778]}) == []


async def test_nip_62_a_deletion_of_a_request_to_vanish_does_nothing(w: World) -> None:
    gone = PrivateKey(b"\x21" * 32)
    async with opened(w) as one:
        note = event(gone)
        assert (await said(one, note))[0] is True
        vanish = event(gone, 62, "bye", tags=[["relay", f"{w.server.ws_url}/relay"]], created_at=NOW + 1)
        assert (await said(one, vanish))[0] is True
        await said(one, event(gone, 5, "", tags=[["e", vanish["id"]]], created_at=NOW + 2))
        assert await one.stored({"authors": [pubkey(gone)], "kinds": [1]}) == []
        assert (await said(one, note))[0] is False


async def test_nip_70_a_protected_event_is_its_authors_and_no_repost_carries_one(w: World) -> None:
    url = f"{w.server.ws_url}/relay"
    guarded = event(ALICE, content="mine", tags=[["-"]])
    async with opened(w) as one:
        assert (await said(one, guarded))[1].startswith("auth-required: ")
        for kind in (6, 16):
            repost = event(BOB, kind, json.dumps(guarded), tags=[["e", guarded["id"]]])
            assert (await said(one, repost))[1].startswith("blocked: ")
    async with opened(w) as one:
        await proved(one, url, BOB)
        assert (await said(one, guarded))[1].startswith("restricted: ")
    async with opened(w) as one:
        await proved(one, url, ALICE)
        assert await said(one, guarded) == [True, ""]


def managed(w: World, admin: PrivateKey, method: str, *params: Any) -> Any:
    """Call a method of NIP-86, signed by NIP-98."""
    body = json.dumps({"method": method, "params": params}).encode()
    tags = [["u", f"{w.server.url}/relay"], ["method", "POST"], ["payload", hashlib.sha256(body).hexdigest()]]
    signed = json.dumps(event(admin, 27_235, method, tags=tags, created_at=int(time.time()))).encode()
    headers = {
        "Content-Type": "application/nostr+json+rpc",
        "Authorization": f"Nostr {base64.b64encode(signed).decode()}",
    }
    return w.post("/relay", body, headers)


async def test_nip_43_and_86_a_closed_relay_lets_in_by_invitation_and_an_admin_puts_out(tmp_path: Path) -> None:
    extra = f'[relay]\nmembership = "invite"\nadmins = ["{pubkey(ALICE)}"]\n'
    with world(tmp_path, extra=extra) as w:
        shown = w.get("/relay", {"Accept": "application/nostr+json"}).body
        assert {43, 86, 98} <= set(shown["supported_nips"])
        url = f"{w.server.ws_url}/relay"
        async with opened(w) as admin, opened(w) as guest:
            await proved(admin, url, ALICE)
            [invitation] = await admin.stored({"kinds": [28_935]})
            assert invitation["pubkey"] == shown["self"]
            claim = next(tag for tag in invitation["tags"] if tag[0] == "claim")
            assert (await said(guest, event(BOB)))[1].startswith("restricted: ")
            for tag, answer in ((["claim", "guessed"], "restricted: "), (claim, "info: ")):
                join = event(BOB, 28_934, tags=[tag], created_at=int(time.time()))  # it must be of these ten minutes
                assert (await said(guest, join))[1].startswith(answer)
            assert await said(guest, event(BOB)) == [True, ""]
        w.crash()
        async with opened(w) as guest:
            assert await said(guest, event(BOB, content="after a crash")) == [True, ""]
            [members] = await guest.stored({"kinds": [13_534]})
            assert {tag[1] for tag in members["tags"] if tag[0] == "member"} == {pubkey(ALICE), pubkey(BOB)}
            assert members["pubkey"] == shown["self"]
            assert managed(w, ALICE, "allowpubkey", pubkey(CAROL)).body == {"result": True}
            erase = ["log", "erase", "--data", str(w.server.data), "--subject", f"nostr:{pubkey(CAROL)}", "--by", "her"]
            with trio.fail_after(120):
                await trio.run_process([sys.executable, "-m", "gateway.cli.main", *erase], capture_stdout=True)
            [members] = await guest.stored({"kinds": [13_534]})
            assert {tag[1] for tag in members["tags"] if tag[0] == "member"} == {pubkey(ALICE), pubkey(BOB)}
            assert managed(w, BOB, "unallowpubkey", pubkey(BOB)).status == 401
            assert managed(w, ALICE, "unallowpubkey", pubkey(BOB)).body == {"result": True}
            assert (await said(guest, event(BOB, content="too late")))[1].startswith("restricted: ")
            [told] = await guest.stored({"kinds": [8_001]})
            assert told["tags"] == [["-"], ["p", pubkey(BOB)]]
        assert w.traces() == []
