"""Bugs are loud: the traceback in one line, and a count."""

from structlog.testing import capture_logs

from gateway.serve.bugs import tell_bug
from gateway.serve.metrics import Metrics


def fail() -> None:
    raise RuntimeError("within") from KeyError("deeper")


def test_a_bug_is_told_with_its_traceback_and_counted() -> None:
    """The place, the fields and the cause are in the line."""
    metrics = Metrics()
    with capture_logs() as lines:
        try:
            fail()
        except RuntimeError as error:
            tell_bug(metrics, error, where="http", path="/x")
    assert [(line["event"], line["log_level"], line["path"]) for line in lines] == [("bug", "error", "/x")]
    assert all(text in lines[0]["traceback"] for text in ("RuntimeError: within", "KeyError: 'deeper'", "in fail"))
    assert metrics.registry.get_sample_value("gateway_bugs_total", {"where": "http"}) == 1
