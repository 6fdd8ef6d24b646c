"""``heliograph log prove``: what it prints, somebody else's checker accepts, beside a running server too."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eventlog.disk.log import open_log
from eventlog.errors import Corrupt
from gateway.cli.log.group import command
from gateway.errors import Unavailable
from tests.conformance import tlog
from tests.eventlog.logs import draft, running
from tests.fakes import FakeClock


def run(data: Path, *words: str) -> Result:
    return CliRunner().invoke(command, [*words, "--data", str(data)])


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A log of 700 records in several segments."""
    async with running(open_log(tmp_path, FakeClock(), segment_bytes_max=30_000)) as log:
        for first in range(0, 700, 100):
            await log.append_many([draft(n) for n in range(first, first + 100)])
    return tmp_path


def leaf_in(text: bytes) -> bytes:
    """The leaf that a proof of a record without its payload carries."""
    return tlog.base64.b64decode(text.split(b"\n")[1].removeprefix(b"extra "))


@pytest.mark.parametrize("tiles", ["there", "lost"])
async def test_every_record_can_be_proven_with_tiles_or_without(data: Path, tiles: str) -> None:
    if tiles == "lost":
        shutil.rmtree(data / "log" / "tile")
    key = tlog.Key.parse(run(data, "key").output)
    for seq in (0, 255, 256, 699):
        text = run(data, "prove", str(seq)).stdout_bytes
        index, extra = tlog.check_proof(text, key, leaf_in(text))
        assert (index, extra[:1]) == (seq, b"\x85")
        assert draft(seq).payload not in extra
        assert draft(seq).payload in leaf_in(run(data, "prove", str(seq), "--payload").stdout_bytes)


async def test_growth_since_a_kept_checkpoint_is_proven(data: Path, tmp_path: Path) -> None:
    old = tmp_path / "kept"
    shutil.copy(data / "log" / "checkpoint", old)
    async with running(open_log(data, FakeClock())) as log:
        await log.append_many([draft(1)])
    proof = tmp_path / "since"
    proof.write_bytes(run(data, "prove", "--consistency", str(old)).stdout_bytes)
    checked = CliRunner().invoke(command, ["check-proof", str(proof), "--key", run(data, "key").output])
    assert '"size": 701' in checked.output
    assert '"grew_from": 700' in checked.output


async def test_what_is_not_there_is_said_in_one_sentence(data: Path, tmp_path: Path) -> None:
    assert isinstance(run(data, "prove", "700").exception, Unavailable)
    assert "no log under" in str(run(tmp_path / "nowhere", "prove", "1").exception)
    assert run(data, "prove").exit_code == 2
    forged = tmp_path / "forged"
    forged.write_bytes((data / "log" / "checkpoint").read_bytes().replace(b"700", b"701"))
    assert isinstance(run(data, "prove", "--consistency", str(forged)).exception, Corrupt)


async def test_a_damaged_tile_makes_no_proof(data: Path) -> None:
    tile = data / "log" / "tile" / "0" / "000"
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
    refused = run(data, "prove", "17")
    assert refused.exit_code == 1
    assert "not proven" in refused.output
