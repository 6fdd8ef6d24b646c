"""relayIDs and whose they are."""

import json
from pathlib import Path

from gateway.replication.binding import Binding, relay_id

VECTOR = json.loads(Path("tests/vectors/relay.json").read_text())["relay_id"]


def test_the_vector_is_met():
    assert relay_id(VECTOR["identifier"]) == VECTOR["relayID"]


def test_case_and_white_space_do_not_matter():
    assert relay_id("  npub1ABC:My-Relay\t") == VECTOR["relayID"]
    assert relay_id("my \t\n relay") == relay_id("My Relay") != relay_id("MyRelay")


def test_a_relay_carries_the_hashes_of_its_own_names_alone():
    binding = Binding(["npub1abc:My-Relay", "npub1abc/my-relay"], accepts_any=False)
    assert binding.admits(VECTOR["relayID"])
    assert binding.admits(relay_id("npub1abc/my-relay"))
    assert not binding.admits(relay_id("npub1other:my-relay"))


def test_the_relay_that_accepts_any_carries_every_relayid():
    assert Binding([], accepts_any=True).admits("00" * 32)
