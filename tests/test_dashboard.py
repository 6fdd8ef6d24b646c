"""The Grafana dashboard: each of its queries is PromQL, and asks for figures that a running server has, as they are.

A query that is misspelled shows an empty panel, which looks like peace. So each is parsed by Prometheus' grammar, and
every name, label and use of a type (a rate of counters alone, quantiles of buckets alone) is held against the server.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.server import Running, running

promql_parser = pytest.importorskip("promql_parser", reason="it comes with the locked test requirements")

BOARD = json.loads((Path(__file__).parent.parent / "gateway" / "console" / "grafana.json").read_text("utf-8"))
OF_THE_SCRAPE = {"instance", "job"}  # labels that Prometheus adds to whatever it reads
RATES = {"rate", "increase"}


def queries() -> list[str]:
    return [target["expr"] for panel in BOARD["panels"] for target in panel.get("targets", [])]


def parsed(query: str) -> Any:
    return promql_parser.parse(query.replace("$__rate_interval", "5m").replace("$instance", ".*"))


@dataclass(frozen=True)
class Use:
    """One selector in a query: what it asks for, and what is done with it."""

    name: str
    labels: frozenset[str]
    within: frozenset[str]  # the functions around it


def uses(expr: Any, within: frozenset[str] = frozenset(), labels: frozenset[str] = frozenset()) -> Iterator[Use]:
    match type(expr).__name__:
        case "VectorSelector":
            matched = {matcher.name for matcher in expr.matchers.matchers}
            yield Use(expr.name, labels | matched, within)
        case "MatrixSelector":
            yield from uses(expr.vector_selector, within, labels)
        case "Call":
            for argument in expr.args:
                yield from uses(argument, within | {expr.func.name}, labels)
        case "AggregateExpr":
            grouped = frozenset(expr.modifier.labels) if expr.modifier else frozenset()
            yield from uses(expr.expr, within, labels | grouped)
        case "NumberLiteral":
            return
        case other:
            raise AssertionError(f"the dashboard uses {other}, which this test does not know yet")


def labels_of(gateway: Running, name: str) -> set[str]:
    """The labels of a sample by its name, as the server's registry declares them."""
    found = gateway.gateway.metrics.registry._names_to_collectors[name]
    return set(found._labelnames) | ({"le"} if name.endswith("_bucket") else set())  # type: ignore[attr-defined]


async def scraped(gateway: Running) -> dict[str, str]:
    """The type of each family that /metrics shows."""
    async with httpx.AsyncClient(timeout=60) as client:
        text = (await client.get(f"{gateway.url}/metrics")).text
    return {family.name: family.type for family in text_string_to_metric_families(text)}


def family(name: str, types: dict[str, str]) -> str:
    """The family that a sample's name belongs to."""
    for suffix in ("", "_total", "_bucket", "_sum", "_count"):
        if name.endswith(suffix) and (found := name[: len(name) - len(suffix)]) in types:
            return found
    raise AssertionError(f"no figure of the server is called {name}")


async def test_every_query_asks_for_what_a_running_server_publishes() -> None:
    async with running() as gateway:
        types = await scraped(gateway)
        for query in queries():
            found = list(uses(parsed(query)))
            assert found, query
            for use in found:
                kind = types[family(use.name, types)]
                assert use.labels - OF_THE_SCRAPE <= labels_of(gateway, use.name), query
                assert "instance" in use.labels, f"not narrowed to the gateway chosen: {query}"
                assert bool(use.within & RATES) == (kind in ("counter", "histogram")), query
                assert ("histogram_quantile" in use.within) == use.name.endswith("_bucket"), query
                assert use.name.endswith("_total") == (kind == "counter"), query
                if "histogram_quantile" in use.within:
                    assert "le" in use.labels, query


async def test_every_figure_of_the_server_is_on_the_dashboard() -> None:
    async with running() as gateway:
        types = await scraped(gateway)
    shown = {family(use.name, types) for query in queries() for use in uses(parsed(query))}
    ours = {name for name in types if name.startswith("gateway_") and not name.endswith("_created")}
    assert ours - shown == set()


def test_every_legend_names_labels_that_its_query_keeps() -> None:
    for panel in BOARD["panels"]:
        for target in panel.get("targets", []):
            kept = {label for use in uses(parsed(target["expr"])) for label in use.labels}
            named = {part.partition("}}")[0] for part in target["legendFormat"].split("{{")[1:]}
            assert named <= kept, target


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert max(x for x, _ in taken) < 24
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("query", ["sum(", "rate(gateway_log_size)", "sum by (rate(x[5m]))", "x{a=b}"])
def test_what_is_no_promql_is_found(query: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the parser's own
        parsed(query)
