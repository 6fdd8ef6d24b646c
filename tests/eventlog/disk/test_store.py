"""A data directory holds one log, with one identity and one key, or says what is missing."""

import random

import pytest

from eventlog.disk.store import Birth, open_store, read_origin
from eventlog.errors import Corrupt, Locked
from tests.eventlog.logs import filled, open_sim
from tests.sim.disk import FAIL, SimDisk

BIRTH = Birth("", 5, bytes(range(44)))


def test_a_new_log_gets_a_name_from_the_dice_or_the_one_it_is_given() -> None:
    disk = SimDisk()
    assert read_origin(disk, "/data") is None
    store = open_store(disk, "/data", BIRTH)
    assert store.origin.name == "heliograph/" + bytes(range(36, 44)).hex()
    assert read_origin(disk, "/data") == store.origin
    with pytest.raises(Locked):
        open_store(disk, "/data", BIRTH)
    store.close()
    again = open_store(disk, "/data", Birth("other", 6, bytes(44)))
    assert again.origin == store.origin
    assert again.epoch == store.epoch
    assert open_store(SimDisk(), "/data", Birth("log.example", 5, bytes(44))).origin.name == "log.example"


async def test_a_key_that_is_missing_or_another_is_named() -> None:
    disk = SimDisk()
    await filled(disk, 10)
    keys = disk.directories["/data/keys"].cache
    kept = keys.pop("log.pem")
    with pytest.raises(Corrupt, match=r"/data/keys/log.pem: .*missing"):
        open_sim(disk)
    other = SimDisk()
    open_store(other, "/data", Birth("", 0, bytes(44))).close()
    keys["log.pem"] = other.directories["/data/keys"].cache["log.pem"]
    with pytest.raises(Corrupt, match="not the one that the log was made with"):
        open_sim(disk)
    keys["log.pem"] = kept
    kept.cache[:] = b"nonsense"
    with pytest.raises(Corrupt, match="not a private key"):
        open_sim(disk)


async def test_segments_without_an_origin_are_not_adopted() -> None:
    disk = SimDisk()
    await filled(disk, 10)
    del disk.directories["/data/log"].cache["origin.cbor"]
    with pytest.raises(Corrupt, match="segments but no origin"):
        open_sim(disk)


def test_a_birth_cut_off_at_any_step_is_simply_done_again() -> None:
    step = 0
    while True:
        disk = SimDisk(random.Random(step))
        calls = 0

        def nth(call: str, path: str, wanted: int = step) -> str:
            nonlocal calls
            calls += call != "mkdir"
            return FAIL if calls == wanted + 1 and call != "mkdir" else ""

        disk.fault = nth
        try:
            open_store(disk, "/data", BIRTH).close()
        except OSError:
            disk.fault = lambda call, path: ""
            disk.lose_power()
            open_store(disk, "/data", BIRTH).close()
        if calls <= step:
            break
        step += 1
    assert step > 8


async def test_half_made_files_are_swept_away() -> None:
    disk = SimDisk()
    await filled(disk, 10)
    fd = disk.open("/data/log/checkpoint.tmp", create=True)
    disk.close(fd)
    open_sim(disk).close()
    assert not [name for name in disk.entries("/data/log") if name.endswith(".tmp")]
