"""A log is found whole or damaged, whether its server runs or not; damage is named."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from eventlog.disk.log import open_log
from eventlog.disk.views import open_views
from tests.eventlog.logs import running
from tests.eventlog.words import WordsView, said
from tests.fakes import FakeClock
from tests.gateway.cli.log.calls import lines, run


async def test_verify_says_ok_and_on_damage_exits_1_with_file_and_byte(data: Path) -> None:
    for level in ("crc", "audit"):
        result = run("verify", "--data", str(data), "--level", level)
        assert result.exit_code == 0
        assert result.stdout.startswith("ok: 5 records in 3 frames and 1 segments")
    path = data / "log" / "00000000000000000000.evl"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    result = run("verify", "--data", str(data))
    assert result.exit_code == 1
    assert result.stdout.startswith(f"damaged: {path}: byte ")
    assert "behind the last frame" not in result.stdout, "what follows damage is no commit in flight"


async def test_verify_and_show_work_while_a_log_is_open(data: Path) -> None:
    async with running(open_log(data, FakeClock())) as log:
        await log.append_many([said(b"four")])
        assert run("verify", "--data", str(data)).stdout.startswith("ok: 6 records")
        assert len(lines(run("show", "--data", str(data)))) == 6


async def test_a_rolled_back_log_is_found_by_a_checkpoint_kept_elsewhere(data: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    old = shutil.copytree(data / "log", tmp_path / "old" / "log").parent
    async with running(open_log(data, FakeClock())) as log:
        await log.append_many([said(b"four")])
    shutil.copy(data / "log" / "checkpoint", kept)
    assert run("verify", "--data", str(data), "--against", str(kept)).exit_code == 0
    assert run("verify", "--data", str(old)).exit_code == 0
    result = run("verify", "--data", str(old), "--against", str(kept))
    assert result.exit_code == 1
    assert f"damaged: {kept}: byte 0: the log was rolled back: the checkpoint vouches for 6 records" in result.stdout


class OtherDice(FakeClock):
    """Dice that make another key."""

    def random_bytes(self, count: int) -> bytes:
        return bytes(count)


async def test_a_kept_checkpoint_of_another_log_or_a_changed_one_is_named(data: Path, tmp_path: Path) -> None:
    async with running(open_log(tmp_path / "other", OtherDice(), origin="log.example")) as log:
        await log.append_many([said(b"four")])
    result = run("verify", "--data", str(data), "--against", str(tmp_path / "other" / "log" / "checkpoint"))
    assert result.exit_code == 1
    assert "not signed by this log's key: it is another log's" in result.stdout
    changed = tmp_path / "changed"
    changed.write_bytes((data / "log" / "checkpoint").read_bytes().replace(b"\n5\n", b"\n4\n"))
    result = run("verify", "--data", str(data), "--against", str(changed))
    assert "the checkpoint's signature is wrong" in result.stdout
    proof = tmp_path / "proof"
    proof.write_bytes(b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + (data / "log" / "checkpoint").read_bytes())
    assert run("verify", "--data", str(data), "--against", str(proof)).exit_code == 0


async def test_an_audit_remembers_outside_the_data_directory_only(data: Path, tmp_path: Path) -> None:
    result = run("verify", "--data", str(data), "--resume", str(data / "log" / "state"))
    assert result.exit_code == 2
    assert "must be outside" in " ".join(result.output.split())
    state = tmp_path.parent / f"{tmp_path.name}.state"
    assert run("verify", "--data", str(data), "--resume", str(state)).exit_code == 0
    assert b"heliograph-audit" in state.read_bytes()


async def test_views_are_folded_anew_where_it_is_asked_for(data: Path) -> None:
    with open_log(data, FakeClock()) as log:
        open_views(log, data / "views", [WordsView], log_directory=data / "log")["words"].db.close()
    result = run("verify", "--data", str(data), "--views")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "views: 1 are what the log says")
    path = data / "views" / "words.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE words SET times = times + 1")
    assert run("verify", "--data", str(data)).exit_code == 0
    result = run("verify", "--data", str(data), "--views")
    assert result.exit_code == 1
    assert f"damaged: {path}: the view's rows are not what the first 5 records add up to" in result.stdout
    path.unlink()
    result = run("verify", "--data", str(data), "--views")
    assert result.exit_code == 0
    assert f"note: {path}: not there" in result.stdout
