"""Plots as SVG files: bars for rates beside each other, lines for what changes with size.

Drawn by pygal, without its script: a file stands alone and refers to nothing outside.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pygal
from pygal.style import CleanStyle

OUT = Path(__file__).parent / "out"


def bars(name: str, title: str, unit: str, figures: Mapping[str, float]) -> Path:
    """Write one bar a figure, the longest first, to ``bench/out/NAME.svg``; give the path."""
    chart = pygal.HorizontalBar(
        **_looks(title), x_title=unit, show_legend=False, print_values=True, show_x_guides=False, truncate_label=40
    )
    ordered = sorted(figures.items(), key=lambda one: one[1])
    chart.x_labels = [label for label, _ in ordered]
    chart.add(unit, [round(value, 1) for _, value in ordered])
    return _written(chart, name)


def lines(name: str, title: str, unit: str, at: Sequence[object], series: Mapping[str, Sequence[float]]) -> Path:
    """Write one line a series over the points ``at`` to ``bench/out/NAME.svg``; give the path."""
    chart = pygal.Line(**_looks(title), y_title=unit)
    chart.x_labels = [str(one) for one in at]
    for label, values in series.items():
        chart.add(label, list(values))
    return _written(chart, name)


def _looks(title: str) -> dict[str, object]:
    return {
        "title": title,
        "style": CleanStyle,
        "js": (),
        "width": 800,
        "height": 420,
        "value_formatter": lambda value: f"{value:,.0f}" if value >= 100 or not value else f"{value:,.2f}",
    }


def _written(chart: "pygal.Graph", name: str) -> Path:
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.svg"
    path.write_text(chart.render(disable_xml_declaration=True), "utf-8")
    return path
