"""``heliograph log replay``: the state as it was, folded anew in memory; nothing is sent and nothing is written."""

import json
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import click

from eventlog.disk.segments import Segments
from eventlog.view import TableView
from gateway.cli.log.opening import DATA, Instant, opened
from gateway.cli.log.show import plain
from gateway.facts import refuse_unknown


@click.command()
@DATA
@click.option("--at", "at", type=Instant(), help="The time (ISO 8601) or the last record's seq. [default: now]")
@click.option("--view", "names", multiple=True, help="Only this view; again for more. [default: all]")
def replay(data: Path, at: tuple[int | None, int | None] | None, names: tuple[str, ...]) -> None:
    """Print the state as it was at a time or a record, as JSON.

    Who was registered, which tokens were live, what was still to do: the records up to that moment
    are folded anew, in memory; nothing is sent and nothing is written.

    \b
    Examples:
      heliograph log replay --at 2026-11-22T18:00:00Z --view devices
      heliograph log replay --at 4711 --view tokens --view relays
    """
    classes = _view_classes(names)
    until_ns, last_seq = at or (None, None)
    with opened(data) as (origin, segments), ExitStack() as stack:
        views = [view(stack.enter_context(closing(sqlite3.connect(":memory:")))) for view in classes]
        position = _fold(segments, views, until_ns, last_seq)
        click.echo(json.dumps({"origin": origin.name, "records": position, "views": _rows(views)}, ensure_ascii=False))


def _view_classes(names: tuple[str, ...]) -> list[type[TableView]]:
    from gateway.serve.app import VIEWS  # noqa: PLC0415 - loads the whole server; only this command needs its views

    known = {view.name: view for view in VIEWS}
    for name in names:
        if name not in known:
            raise click.BadParameter(f"there is no view {name!r}; there are {', '.join(sorted(known))}")
    return [known[name] for name in names or known]


def _fold(segments: Segments, views: list[TableView], until_ns: int | None, last_seq: int | None) -> int:
    """Fold up to the first record after the moment: the log's order is the order in which things came true."""
    stop = segments.end_seq if last_seq is None else min(last_seq + 1, segments.end_seq)
    position = 0
    for piece in segments.pieces(0, stop):
        late = next((at for at, one in enumerate(piece) if until_ns is not None and one.ts_ns > until_ns), None)
        records = piece[:late]
        refuse_unknown(records)
        position += len(records)
        for view in views:
            view.apply(records, position)
        if late is not None:
            break
    return position


def _rows(views: list[TableView]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for view in views:
        tables: dict[str, list[dict[str, Any]]] = {}
        for table in view.tables:
            cursor = view.db.execute(f"SELECT * FROM {table}")  # noqa: S608 - the view's own table names
            names = [column[0] for column in cursor.description]
            tables[table] = [plain(dict(zip(names, row, strict=True))) for row in cursor]
        found[view.name] = {"digest": view.digest().hex(), "tables": tables}
    return found
