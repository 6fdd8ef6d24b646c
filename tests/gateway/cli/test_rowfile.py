"""Rows and the place they reach, over kills between any two writes."""

import json
from pathlib import Path

import click
import pytest

from gateway.cli.rowfile import Place, RowFile, lots_of, read_place

ROWS = [{"id": f"e{number}", "relayID": "r", "created_at": 1} for number in range(5)]


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text("utf-8").splitlines()]


def test_what_was_written_behind_the_last_cursor_is_cut_away_at_the_next_start(tmp_path: Path) -> None:
    out, cursor = tmp_path / "rows", tmp_path / "cursor"
    file = RowFile(out, cursor)
    file.keep(ROWS[:2], "c2", flush=True)
    file.close()
    with out.open("ab") as torn:  # killed after the rows, before the cursor
        torn.write(b'{"id":"e2","relayID":"r"}\n{"id":"e')
    again = RowFile(out, cursor)
    assert again.place.cursor == "c2"
    again.keep(ROWS[2:], "c5", flush=True)
    again.close()
    assert ids(out) == ["e0", "e1", "e2", "e3", "e4"]
    assert read_place(cursor) == Place("c5", out.stat().st_size)


def test_rows_without_a_cursor_wait_for_one(tmp_path: Path) -> None:
    out, cursor = tmp_path / "rows", tmp_path / "cursor"
    file = RowFile(out, cursor)
    file.keep(ROWS[:2], None, flush=True)
    assert ids(out) == []
    file.keep([], "c2", flush=True)
    assert ids(out) == ["e0", "e1"]
    file.close()


def test_without_a_cursor_file_rows_are_appended(tmp_path: Path) -> None:
    for part in (ROWS[:2], ROWS[2:]):
        file = RowFile(tmp_path / "rows", None)
        file.keep(part, None, flush=True)
        file.close()
    assert ids(tmp_path / "rows") == ["e0", "e1", "e2", "e3", "e4"]


def test_a_cursor_of_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cursor").write_text('{"cursor":"c","bytes":10}')
    with pytest.raises(click.UsageError, match="shorter"):
        RowFile(tmp_path / "rows", tmp_path / "cursor")
    (tmp_path / "cursor").write_text("7")
    with pytest.raises(click.UsageError, match="no cursor file"):
        RowFile(tmp_path / "rows", tmp_path / "cursor")


def test_a_file_is_read_in_lots_that_say_where_they_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.rowfile.LOT_ROWS", 2)
    path = tmp_path / "rows"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    lots = list(lots_of(path, 0, rows=True))
    assert [row.id for lot in lots for row in lot.events] == ["e0", "e1", "e2", "e3", "e4"]
    assert lots[-1].end == path.stat().st_size
    assert list(lots_of(path, lots[0].end, rows=True)) == lots[1:]


def test_a_file_that_ends_before_its_cursor_is_not_taken_for_published(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text(json.dumps(ROWS[0]))
    size = path.stat().st_size
    assert list(lots_of(path, size, rows=True)) == []
    with pytest.raises(click.UsageError, match="another file's cursor"):
        list(lots_of(path, size + 1, rows=True))


@pytest.mark.parametrize(
    "line", ["nonsense", "[]", '{"id":"e","created_at":1}', '{"id":7,"relayID":"r","created_at":1}']
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows"
    path.write_text(json.dumps(ROWS[0]) + "\n" + line)
    with pytest.raises(click.UsageError, match=f"the line at byte {len(json.dumps(ROWS[0])) + 1} is no"):
        list(lots_of(path, 0, rows=True))


def test_an_event_that_was_spelled_over_several_lines_is_kept_on_one(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "rows", None)
    file.keep_lines([b'{"id":\n"a"}', b'{"id":"b"}'], None, flush=True)
    file.close()
    assert (tmp_path / "rows").read_text() == '{"id":"a"}\n{"id":"b"}\n'
