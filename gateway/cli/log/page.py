"""The report's page: one HTML file without outside references, for the screen, light and dark, and for paper.

This module must not know files or logs: it is handed sums and sentences, and escapes every word that came from outside.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html import escape

import msgspec

from gateway.cli.log.tally import HOUR_NS

FAMILIES = ("push", "relay", "token", "mirror", "nostr", "log")
BARS_MAX = 120  # more are thinner than a line on paper
_STEPS_H = (1, 3, 6, 24, 7 * 24, 30 * 24, 365 * 24)
_WORD_CHARS_MAX = 20  # a time, a kind: not to be broken over two lines
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 960, 220, 64, 24


Row = Sequence[str | int]


class Table(msgspec.Struct, frozen=True):
    """A table: its head, its rows (numbers are set right), and what to say where it is empty."""

    head: Sequence[str]
    rows: Sequence[Row]
    empty: str = "None."


class Part(msgspec.Struct, frozen=True):
    """A section of the page; ``words`` come before the table, ``bad`` marks them as what needs attention."""

    title: str
    words: Sequence[str] = ()
    table: Table | None = None
    figure: str = ""
    bad: bool = False


def page(title: str, facts: Mapping[str, str], parts: Iterable[Part], made: str) -> str:
    """Write the whole page."""
    terms = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    sections = "\n".join(map(_section, parts))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><style>{_STYLE}</style></head><body>\n'
        f"<header><h1>{escape(title)}</h1><dl>{terms}</dl></header>\n<main>\n{sections}\n</main>\n"
        f"<footer>{escape(made)}</footer></body></html>\n"
    )


def _section(part: Part) -> str:
    words = "".join(f"<p{' class=bad' if part.bad else ''}>{escape(line)}</p>" for line in part.words)
    return f"<section><h2>{escape(part.title)}</h2>{words}{part.figure}{_table(part.table)}</section>"


def _table(table: Table | None) -> str:
    if table is None:
        return ""
    if not table.rows:
        return f"<p class=none>{escape(table.empty)}</p>"
    numbers = [isinstance(cell, int) for cell in table.rows[0]]
    head = "".join(
        f"<th{' class=n' if number else ''}>{escape(name)}</th>"
        for name, number in zip(table.head, numbers, strict=True)
    )
    rows = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in table.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(value: str | int) -> str:
    if isinstance(value, int):
        return f"<td class=n>{value:,}</td>"
    return f"<td{' class=w' if len(value) <= _WORD_CHARS_MAX else ''}>{escape(value)}</td>"


def timeline(hours: Mapping[int, Counter[str]], marks: Sequence[tuple[int, str]]) -> str:
    """Draw how many records came when, by family, as stacked bars; ``marks`` are moments in ns with what happened."""
    if not hours:
        return ""
    step, first, bars = _bars(hours)
    top = max((sum(bar.values()) for bar in bars), default=1) or 1
    plot, height = _WIDTH - _LEFT, _HEIGHT - _BOTTOM - 16
    width = plot / len(bars)
    shapes = [_grid(top, height)]
    for at, bar in enumerate(bars):
        base = 16.0 + height
        for number, family in enumerate(FAMILIES):
            tall = bar[family] / top * height
            base -= tall
            if tall:
                title = f"{_day(first + at * step, step)}: {bar[family]:,} {family}"
                shapes.append(
                    f'<rect class="f{number}" x="{_LEFT + at * width:.1f}" y="{base:.1f}" '
                    f'width="{max(width - 1, 0.5):.1f}" height="{tall:.1f}"><title>{escape(title)}</title></rect>'
                )
    for ts_ns, what in marks:
        x = _LEFT + (ts_ns / HOUR_NS - first) / (step * len(bars)) * plot
        shapes.append(f'<path class="mark" d="M{x:.1f} 4l5 9h-10z"><title>{escape(what)}</title></path>')
    shapes += [_label(first + at * step, _LEFT + at * width, step) for at in _labelled(len(bars))]
    used = [family for family in FAMILIES if any(bar[family] for bar in bars)]
    keys = "".join(f'<li><i class="f{FAMILIES.index(family)}"></i>{family}</li>' for family in used)
    keys += '<li><i class="mark">▲</i>the log on itself</li>' if marks else ""
    name = f"Records over time, by family, in steps of {_step_text(step)}"
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{name}">{"".join(shapes)}</svg>'
        f"<figcaption>{name}<ul>{keys}</ul></figcaption></figure>"
    )


def _bars(hours: Mapping[int, Counter[str]]) -> tuple[int, int, list[Counter[str]]]:
    """Gather the hours into at most BARS_MAX steps: (hours a step, the first hour, a sum for each)."""
    low, high = min(hours), max(hours)
    fitting = (one for one in _STEPS_H if high // one - low // one < BARS_MAX)
    step = next(fitting, -(-(high - low + 1) // BARS_MAX))
    first = low // step * step
    bars: list[Counter[str]] = [Counter() for _ in range((high - first) // step + 1)]
    for hour, counts in hours.items():
        bars[(hour - first) // step].update(counts)
    return step, first, bars


def _grid(top: int, height: int) -> str:
    lines = []
    for part in (0, 0.5, 1):
        y = 16 + height * (1 - part)
        lines.append(f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{round(top * part):,}</text>')
    return "".join(lines)


def _labelled(count: int) -> list[int]:
    return sorted({count * part // 6 for part in range(6)})


def _label(hour: int, x: float, step: int) -> str:
    return f'<text x="{x:.1f}" y="{_HEIGHT - 6}">{_day(hour, step)}</text>'


def _day(hour: int, step: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=hour)
    return f"{moment:%Y-%m-%d %H:00}" if step < 24 else f"{moment:%Y-%m-%d}"


def _step_text(step: int) -> str:
    if step < 24:
        return "an hour" if step == 1 else f"{step} hours"
    return "a day" if step == 24 else f"{step // 24} days"


_STYLE = """
:root { --paper: #f7f5f0; --card: #fffefb; --ink: #22201c; --soft: #6d675d; --line: #e2ddd2; --bad: #b3261e;
  --f0: #b96a08; --f1: #2d7a46; --f2: #7a5ba8; --f3: #2b6ea3; --f4: #a34a6c; --f5: #6d675d; }
@media (prefers-color-scheme: dark) { :root { --paper: #15161a; --card: #1c1e23; --ink: #e8e5de; --soft: #97938a;
  --line: #2e3138; --bad: #ff8a80; --f0: #f0a63c; --f1: #6cc48a; --f2: #b79be0; --f3: #73b4e6; --f4: #e68aac;
  --f5: #97938a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 2rem 1.25rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: .8125rem; font-weight: 600; letter-spacing: .06em; text-transform: uppercase; color: var(--soft);
  margin: 0 0 .75rem; }
section { margin-top: 1.25rem; background: var(--card); border: 1px solid var(--line); border-radius: .75rem;
  padding: 1.25rem; overflow-x: auto; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); gap: .75rem 1.5rem; margin: 0; }
dt, footer, figcaption, .none { font-size: .8125rem; color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
p { margin: 0 0 .75rem; max-width: 46rem; }
p.bad { color: var(--bad); font-weight: 600; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem 1rem .3rem 0; border-top: 1px solid var(--line); vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
td { overflow-wrap: anywhere; }
th { border: 0; font-size: .8125rem; font-weight: 400; color: var(--soft); white-space: nowrap; }
td.w { white-space: nowrap; }
.n { text-align: right; white-space: nowrap; }
figure { margin: 0; }
svg { display: block; width: 100%; height: auto; }
svg line { stroke: var(--line); }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.mark { fill: var(--bad); color: var(--bad); font-style: normal; }
figcaption ul { display: inline; padding: 0; }
figcaption li { display: inline-block; margin-left: 1rem; }
figcaption i:not(.mark) { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; }
figcaption i { margin-right: .35rem; }
rect.f0 { fill: var(--f0); } rect.f1 { fill: var(--f1); } rect.f2 { fill: var(--f2); }
rect.f3 { fill: var(--f3); } rect.f4 { fill: var(--f4); } rect.f5 { fill: var(--f5); }
i.f0 { background: var(--f0); } i.f1 { background: var(--f1); } i.f2 { background: var(--f2); }
i.f3 { background: var(--f3); } i.f4 { background: var(--f4); } i.f5 { background: var(--f5); }
footer { margin-top: 1.5rem; }
@media print {
  @page { margin: 16mm 14mm; }
  :root { --paper: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb; --bad: #900; --f0: #b96a08;
    --f1: #2d7a46; --f2: #7a5ba8; --f3: #2b6ea3; --f4: #a34a6c; --f5: #6d675d; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  section { border: 0; border-radius: 0; padding: 0; margin-top: 8mm; overflow: visible; }
  h2, thead { break-after: avoid; } tr, figure { break-inside: avoid; } thead { display: table-header-group; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
