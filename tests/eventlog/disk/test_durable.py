"""What returns is durable; what raises is given up. The same on the real disk and on the simulated one."""

import os
from pathlib import Path

import pytest

from eventlog.disk import durable
from eventlog.disk.durable import Disk, RealDisk
from eventlog.errors import Locked
from tests.sim.disk import FAIL, FAIL_PERSISTED, SHORT, SimDisk


@pytest.fixture(params=["real", "simulated"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Disk, str]:
    if request.param == "real":
        return RealDisk(), str(tmp_path / "a" / "b")
    return SimDisk(), "/a/b"


def content(disk: Disk, path: str) -> bytes | None:
    return durable.read_whole(disk, path, 1000)


def test_the_contract_of_every_disk(place: tuple[Disk, str]) -> None:
    disk, directory = place
    durable.make_directories(disk, directory)
    durable.make_directories(disk, directory)
    path = f"{directory}/f"
    assert content(disk, path) is None
    durable.replace(disk, path, b"first")
    durable.replace(disk, path, b"second")
    assert content(disk, path) == b"second"
    fd = disk.open(path, create=True)
    durable.append(disk, fd, b" third", 6)
    assert disk.size(fd) == 12
    assert disk.read(fd, 100, 7) == b"third"
    disk.close(fd)
    durable.cut(disk, path, 6)
    assert content(disk, path) == b"second"
    assert disk.entries(directory) == ["f"]
    disk.unlink(path)
    with pytest.raises(FileNotFoundError):
        disk.open(path)


def test_the_lock_is_one_process_and_names_it(place: tuple[Disk, str]) -> None:
    disk, directory = place
    durable.make_directories(disk, directory)
    held = disk.lock(f"{directory}/LOCK")
    with pytest.raises(Locked) as locked:
        disk.lock(f"{directory}/LOCK")
    assert locked.value.pid == (os.getpid() if isinstance(disk, RealDisk) else 1)
    disk.close(held)
    disk.close(disk.lock(f"{directory}/LOCK"))


def test_a_secret_is_the_owners_alone(tmp_path: Path) -> None:
    disk = RealDisk()
    durable.make_directories(disk, str(tmp_path / "keys"), secret=True)
    durable.replace(disk, str(tmp_path / "keys" / "k"), b"s", secret=True)
    assert os.stat(tmp_path / "keys").st_mode & 0o777 == 0o700
    assert os.stat(tmp_path / "keys" / "k").st_mode & 0o777 == 0o600


def test_short_writes_are_carried_on() -> None:
    disk = SimDisk(fault=lambda call, path: SHORT if call == "write" else "")
    durable.make_directories(disk, "/d")
    durable.replace(disk, "/d/f", bytes(range(256)) * 9)
    disk.lose_power()
    assert durable.read_whole(disk, "/d/f", 10_000) == bytes(range(256)) * 9
    assert len([call for call, _, _ in disk.trace if call == "write"]) > 1


STEPS = ["open", "write", "datasync", "rename", "sync-directory"]


@pytest.mark.parametrize("fault", [FAIL, FAIL_PERSISTED])
@pytest.mark.parametrize("step", STEPS)
def test_a_replacement_that_fails_at_any_step_leaves_the_old_or_the_new(step: str, fault: str) -> None:
    disk = SimDisk()
    durable.make_directories(disk, "/d")
    durable.replace(disk, "/d/f", b"old" * 400)
    disk.fault = lambda call, path: fault if call == step else ""
    with pytest.raises(OSError, match="simulated"):
        durable.replace(disk, "/d/f", b"new" * 400)
    disk.fault = lambda call, path: ""
    disk.lose_power()
    found = durable.read_whole(disk, "/d/f", 10_000)
    assert found in {b"old" * 400, b"new" * 400}


def test_what_was_synced_survives_and_what_a_failed_sync_forgot_does_not() -> None:
    disk = SimDisk()
    durable.make_directories(disk, "/d")
    durable.replace(disk, "/d/f", b"")
    fd = disk.open("/d/f", create=True)
    durable.append(disk, fd, b"proven", 0)
    disk.fault = lambda call, path: FAIL if call == "datasync" else ""
    with pytest.raises(OSError, match="simulated"):
        durable.append(disk, fd, b"forgotten", 6)
    disk.fault = lambda call, path: ""
    disk.datasync(fd)  # succeeds, and has written nothing: why a failed sync is never tried again
    assert content(disk, "/d/f") == b"provenforgotten"
    disk.lose_power()
    assert content(disk, "/d/f") == b"proven"
