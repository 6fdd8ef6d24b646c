"""Plots as SVG files: bars for rates beside each other, lines for what changes with size.

Drawn by pygal, without its script: a file stands alone and refers to nothing outside.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pygal
from pygal.style import CleanStyle

OUT = Path(__file__).parent / "out"
WIDTH, HEIGHT = 800, 420
LABELS_MAX = 12


class Chart(Protocol):
    """What pygal draws."""

    def render(self, *, disable_xml_declaration: bool) -> str: ...


def bars(name: str, title: str, unit: str, figures: Mapping[str, float]) -> Path:
    """Write one bar a figure, the longest first, to ``bench/out/NAME.svg``; give the path."""
    return sheet(name, [bar_chart(title, unit, figures)])


def lines(name: str, title: str, unit: str, at: Sequence[object], series: Mapping[str, Sequence[float]]) -> Path:
    """Write one line a series over the points ``at`` to ``bench/out/NAME.svg``; give the path."""
    return sheet(name, [line_chart(title, unit, at, series)])


def bar_chart(title: str, unit: str, figures: Mapping[str, float]) -> Chart:
    """Draw one bar a figure, the longest first."""
    chart = pygal.HorizontalBar(
        **_looks(title), x_title=unit, show_legend=False, print_values=True, show_x_guides=False, truncate_label=40
    )
    ordered = sorted(figures.items(), key=lambda one: one[1])
    chart.x_labels = [label for label, _ in ordered]
    chart.add(unit, [round(value, 1) for _, value in ordered])
    drawn: Chart = chart
    return drawn


def line_chart(title: str, unit: str, at: Sequence[object], series: Mapping[str, Sequence[float]]) -> Chart:
    """Draw one line a series over the points ``at``; of many points some are named."""
    chart = pygal.Line(**_looks(title), y_title=unit, show_minor_x_labels=False)
    chart.x_labels = [str(one) for one in at]
    chart.x_labels_major_count = min(len(at), LABELS_MAX)
    for label, values in series.items():
        chart.add(label, list(values))
    drawn: Chart = chart
    return drawn


def sheet(name: str, charts: Sequence[Chart]) -> Path:
    """Write charts, one below the other, to ``bench/out/NAME.svg``; give the path."""
    drawn = [chart.render(disable_xml_declaration=True) for chart in charts]
    if len(drawn) > 1:
        placed = "".join(
            f'<svg y="{HEIGHT * number}" height="{HEIGHT}">{one}</svg>' for number, one in enumerate(drawn)
        )
        size = f'viewBox="0 0 {WIDTH} {HEIGHT * len(drawn)}"'
        drawn = [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{placed}</svg>']
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.svg"
    path.write_text("".join(drawn), "utf-8")
    return path


def _looks(title: str) -> dict[str, object]:
    return {
        "title": title,
        "style": CleanStyle,
        "js": (),
        "width": WIDTH,
        "height": HEIGHT,
        "value_formatter": lambda value: f"{value:,.0f}" if value >= 100 or not value else f"{value:,.2f}",
    }
