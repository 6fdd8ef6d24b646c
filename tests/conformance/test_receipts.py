"""What the holder of a receipt can do with nothing but public addresses: show that the log has the record.

The checking is tests/conformance/tlog.py, written from the C2SP pages.
"""

import base64
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import tlog
from tests.conformance.sockets import line
from tests.conformance.test_mirror import ALICE, Relay
from tests.conformance.world import World, world
from tests.server import ROOT

WAIT_S = 60.0


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("receipts")) as made:
        yield made
        assert made.traces() == [], "".join(made.server.lines)


@dataclass
class Monitor:
    """Somebody far away, with a list of addresses; immutable ones are asked for once."""

    url: str
    kept: dict[str, bytes] = field(default_factory=dict)

    def fetch(self, path: str) -> bytes | None:
        if path in self.kept:
            return self.kept[path]
        try:
            with urllib.request.urlopen(f"{self.url}/log/{path}", timeout=30) as answer:
                data: bytes = answer.read()
        except urllib.error.HTTPError as error:
            error.close()
            return None
        if path.startswith("tile/"):
            self.kept[path] = data
        return data

    def head(self, above: int = -1) -> tlog.Head:
        """A checkpoint that has record ``above``: the next is signed within a second or so."""
        ends = time.monotonic() + WAIT_S
        key = tlog.Key.parse((self.fetch("key") or b"").decode())
        while True:
            head = tlog.read_checkpoint(self.fetch("checkpoint") or b"", key)
            if head.size > above:
                return head
            assert time.monotonic() < ends, f"no checkpoint over record {above}: {head}"
            time.sleep(0.1)

    def check(self, receipt: dict[str, Any]) -> bytes:
        """The leaf of a receipt, once it is shown to be in the log."""
        leaf = base64.b64decode(receipt["leaf"], validate=True)
        head = self.head(receipt["seq"])
        assert head.origin == receipt["log"]
        tlog.check_inclusion_by_tiles(self.fetch, head, receipt["seq"], leaf)
        return leaf


async def receipts_of_everything(w: World) -> list[tuple[str, dict[str, Any]]]:
    """(a word that the leaf must hold, the receipt) of one of each answer that can carry one."""
    relay = Relay(w)
    found = []
    for action, kind in (("register", "push.registered"), ("deregister", "push.deregistered")):
        envelope = {**w.demo.signed("alice", f"fcm-{relay.name}", action=action), "receipts": True}
        answer, repeated = w.register(envelope), w.register(envelope)
        assert (answer.status, answer.body["duplicate"], repeated.body["duplicate"]) == (200, False, True), answer
        assert repeated.body["receipt"] == answer.body["receipt"], "of the record that holds the envelope"
        found.append((kind, answer.body["receipt"]))
    payload = {"relayKey": relay.key, "relayAuthToken": "a", "pubkey": ALICE}
    signed = {"payload": payload, "signature": relay.worker.sign(payload), "receipts": True}
    issued = w.post("/api/relay-tokens/issue", signed).body
    found.append(("token.issued", issued["receipt"]))
    payload = {"relayKey": relay.key, "token": issued["token"]}
    signed = {"payload": payload, "signature": relay.worker.sign(payload), "receipts": True}
    found.append(("token.issued", w.post("/api/relay-tokens/refresh", signed).body["receipt"]))
    async with relay.mirror() as mirror:
        one = relay.row()
        *told, receipt = await mirror.answer("EVENT", one, {"receipts": True})
        assert told == ["OK", one["id"], True, "stored"]
        *told, again = await mirror.answer("EVENT", one, {"receipts": True})
        assert told == ["OK", one["id"], True, "duplicate: already stored"]
        assert again == receipt, "of the row that is there"
        found.append(("mirror.stored", receipt))
        rows = [relay.row(), relay.row(), one, {"id": "no row"}]
        (_, lines), (_, repeats) = [await mirror.answer("EVENTS", rows, {"receipts": True}) for _ in range(2)]
        assert [len(each) for each in lines] == [4, 4, 4, 3], lines
        assert (lines[2][3], repeats[0][2]) == (receipt, "duplicate: already stored")
        assert [each[3:] for each in repeats] == [each[3:] for each in lines]
        found += [("mirror.stored", each[3]) for each in lines[:2]]
    async with line(f"{relay.url()}&receipts=true") as mirror:
        found.append(("mirror.stored", (await mirror.answer("EVENT", relay.row()))[4]))
    return found


async def test_every_receipt_is_shown_to_be_in_the_log_also_after_a_crash(w: World) -> None:
    found = await receipts_of_everything(w)
    monitor = Monitor(w.server.url)
    for kind, receipt in found:
        assert kind.encode() in monitor.check(receipt), (kind, receipt)
    tlog.check_whole_tree(monitor.fetch, monitor.head())
    w.crash()
    after = Monitor(w.server.url)
    for _, receipt in found:
        after.check(receipt)
    tlog.check_whole_tree(after.fetch, after.head())
    forged = {**found[0][1], "leaf": base64.b64encode(b"\x85 never").decode()}
    with pytest.raises(tlog.Refused, match="another leaf"):
        after.check(forged)


async def test_who_does_not_ask_is_answered_as_ever(w: World) -> None:
    relay = Relay(w)
    assert "receipt" not in w.register(w.demo.signed("bob", f"fcm-{relay.name}")).body
    assert "receipt" not in relay.worker.issue(relay.key, ALICE)
    async with relay.mirror() as mirror:
        for options in ((), ({"receipts": False},), ({"receipts": "true"},), (1,)):
            one = relay.row()
            assert await mirror.answer("EVENT", one, *options) == ["OK", one["id"], True, "stored"]


def test_a_wish_for_a_receipt_that_is_no_yes_or_no_is_refused(w: World) -> None:
    assert w.register({**w.demo.signed("carol", "fcm-c"), "receipts": "yes"}).status == 400


def run(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli.main", "log", *words], cwd=ROOT, capture_output=True, check=False
    )


async def test_a_proof_made_beside_the_server_is_checked_offline(w: World, tmp_path: Path) -> None:
    (_, receipt), *_ = await receipts_of_everything(w)
    Monitor(w.server.url).head(receipt["seq"])
    proof = tmp_path / "proof"
    made = run("prove", str(receipt["seq"]), "--data", str(w.server.data))
    proof.write_bytes(made.stdout)
    key = (Monitor(w.server.url).fetch("key") or b"").decode()
    index, _ = tlog.check_proof(made.stdout, tlog.Key.parse(key), base64.b64decode(receipt["leaf"]))
    assert index == receipt["seq"]
    checked = run("check-proof", str(proof), "--key", key)
    assert (checked.returncode, b'"proven": true' in checked.stdout) == (0, True), checked
