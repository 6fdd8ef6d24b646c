"""``heliograph log replay``: the state as it was, folded anew in memory; nothing is sent and nothing is written."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from eventlog.disk.durable import RealDisk
from eventlog.disk.recovery import read_state
from eventlog.disk.segments import Segments
from eventlog.disk.snapshots import names
from eventlog.disk.store import LOG_DIRECTORY
from eventlog.disk.viewcheck import begun
from eventlog.snapshot import candidates
from eventlog.view import TableView
from gateway.cli.log.opening import DATA, Instant, opened
from gateway.cli.log.show import plain
from gateway.cli.nearest import nearest
from gateway.errors import Unavailable
from gateway.facts import refuse_unknown


@click.command()
@DATA
@click.option("--at", "at", type=Instant(), help="The time (ISO 8601) or the last record's seq. [default: now]")
@click.option("--view", "wanted", multiple=True, help="Only this view; again for more. [default: all]")
def replay(data: Path, at: tuple[int | None, int | None] | None, wanted: tuple[str, ...]) -> None:
    """Print the state as it was at a time or a record, as JSON.

    Who was registered, which tokens were live, what was still to do: the records up to that moment
    are folded anew, in memory; nothing is sent and nothing is written. What retention took is carried by
    a snapshot of the view; moments before its oldest one cannot be shown.

    \b
    Examples:
      heliograph log replay --at 2026-11-22T18:00:00Z --view devices
      heliograph log replay --at 4711 --view tokens --view relays
    """
    classes = _view_classes(wanted)
    until_ns, last_seq = at or (None, None)
    with opened(data) as (origin, segments), ExitStack() as stack:
        log_directory = str(data / LOG_DIRECTORY)
        stop = _stop(segments, until_ns, last_seq)
        if last_seq is not None and last_seq >= segments.end_seq:
            click.echo(f"there is no record {last_seq} yet; this is the state after all {stop}", err=True)
        state = read_state(RealDisk(), log_directory)
        views = [_begun(stack, view, segments, (origin.name, state.floor(view.kinds), stop)) for view in classes]
        _fold(segments, views, stop)
        click.echo(json.dumps({"origin": origin.name, "records": stop, "views": _rows(views)}, ensure_ascii=False))


def _view_classes(wanted: tuple[str, ...]) -> list[type[TableView]]:
    from gateway.serve.app import VIEWS  # noqa: PLC0415 - loads the whole server; only this command needs its views

    known = {view.name: view for view in VIEWS}
    for name in wanted:
        if name not in known:
            raise click.BadParameter(f"there is no view {name!r}; {nearest(name, known)}", param_hint="--view")
    return [known[name] for name in wanted or known]


def _stop(segments: Segments, until_ns: int | None, last_seq: int | None) -> int:
    """Find the first record after the moment: the log's order is the order in which things came true."""
    end = segments.end_seq if last_seq is None else min(last_seq + 1, segments.end_seq)
    if until_ns is None:
        return end
    for piece in segments.pieces(segments[0].first_seq, end):
        late = next((record.seq for record in piece if record.ts_ns > until_ns), None)
        if late is not None:
            return late
    return end


def _begun(stack: ExitStack, view: type[TableView], segments: Segments, place: tuple[str, int, int]) -> TableView:
    """Make a view that can be folded up to the moment, or raise Unavailable."""
    origin, floor, stop = place
    if (found := begun(stack, view, segments, origin=origin, stop=stop, path=":memory:")) is not None:
        return found
    there = candidates(names(segments.directory), view.name, floor=floor, size=segments.end_seq)
    first = min((one.position for one in there), default=None)
    way_on = "no snapshot of it is there" if first is None else f"the first that can be shown is record {first - 1}"
    raise Unavailable(f"retention took records before {floor} that the view {view.name!r} needs; {way_on}")


def _fold(segments: Segments, views: list[TableView], stop: int) -> None:
    """Fold what each view has not taken in yet."""
    for records in segments.pieces(min((view.position for view in views), default=stop), stop):
        refuse_unknown(records)
        end = records[-1].seq + 1
        for view in views:
            if view.position < end:
                view.apply([record for record in records if record.seq >= view.position], end)


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
