"""The page refers to nothing outside itself, escapes what came from outside, and draws what it was given."""

import re
from collections import Counter
from xml.etree import ElementTree

from gateway.cli.log.page import BARS_MAX, Part, Table, page, timeline
from gateway.cli.log.tally import HOUR_NS

HOSTILE = "<script>alert(1)</script>&\"'"


def test_words_from_outside_are_text_wherever_they_stand() -> None:
    parts = [
        Part(HOSTILE, [HOSTILE], Table((HOSTILE, "n"), [(HOSTILE, 1234)]), bad=True),
        Part("x", figure=timeline({5: Counter({"push": 1})}, [(5 * HOUR_NS, HOSTILE)])),
    ]
    made = page(HOSTILE, {HOSTILE: HOSTILE}, parts, HOSTILE)
    assert "<script" not in made
    assert made.count("&lt;script&gt;") >= 8
    assert "1,234" in made


def test_the_page_refers_to_nothing_outside() -> None:
    made = page("Log", {}, [Part("x", table=Table(("a",), [], "Nothing."))], "made")
    assert re.findall(r"(?:src|href|url\(|@import|https?:)", made) == []
    assert "Nothing." in made
    assert "@media print" in made


def bars(figure: str) -> list[float]:
    svg = figure[figure.index("<svg") : figure.index("</svg>") + 6]
    return [float(one.get("height", "0")) for one in ElementTree.fromstring(svg).iter("rect")]


def test_bars_are_as_high_as_their_counts_and_never_too_many() -> None:
    assert bars(timeline({0: Counter({"push": 4}), 2: Counter({"push": 1, "nostr": 1})}, [])) == [180.0, 45.0, 45.0]
    for hours in (1, 119, 121, 5_000, 100_000, 9_000_000):
        figure = timeline({hour: Counter({"push": 1}) for hour in range(0, hours, max(hours // 500, 1))}, [])
        assert 0 < len(bars(figure)) <= BARS_MAX, hours
    assert timeline({}, []) == ""
