"""The figures: names as published, registries apart."""

import re

from gateway.serve.metrics import Metrics

PUBLISHED = [
    "gateway_active_sessions",
    "gateway_active_peers",
    "gateway_relay_events_total",
    "gateway_relay_requests_total",
    "gateway_replication_frames_total",
    "gateway_relay_token_issues_total",
    "gateway_relay_token_refresh_total",
    "gateway_relay_token_revocations_total",
    "gateway_log_appends_total",
    "gateway_log_bytes_total",
    "gateway_log_fsync_seconds",
    "gateway_log_view_lag",
]


def test_the_published_names_are_there() -> None:
    """Dashboards are built on these."""
    names = set(re.findall(r"^# TYPE (\S+)", Metrics().text().decode(), re.MULTILINE))
    assert [name for name in PUBLISHED if name not in names] == []
    assert any(name.startswith("gateway_push_") for name in names)
    assert all(name.startswith("gateway_") for name in names)


def test_labels_are_the_published_ones() -> None:
    """One sample of each labelled figure that the specification names."""
    metrics = Metrics()
    metrics.active_sessions.labels(socket="mirror").inc()
    metrics.relay_events.labels(result="stored").inc()
    metrics.relay_requests.labels(path="relay").inc()
    metrics.replication_frames.labels(frame="EVENT", outcome="rejected", reason="missing-token").inc()
    metrics.token_issues.labels(result="success").inc()
    text = metrics.text().decode()
    assert 'gateway_replication_frames_total{frame="EVENT",outcome="rejected",reason="missing-token"} 1.0' in text
    assert 'gateway_active_sessions{socket="mirror"} 1.0' in text


def test_figures_whose_labels_are_few_are_there_at_0_before_anything_happens() -> None:
    """The first failure is seen as a rise from 0."""
    text = Metrics().text().decode()
    for sample in (
        'gateway_push_matrix_total{answered="rejected"}',
        'gateway_push_oauth_total{result="failed"}',
        'gateway_active_sessions{socket="mirror"}',
    ):
        assert f"{sample} 0.0" in text


def test_two_gateways_in_a_process_count_apart() -> None:
    """Each has its own registry."""
    one, other = Metrics(), Metrics()
    one.log_appends.inc(5)
    assert other.registry.get_sample_value("gateway_log_appends_total") == 0
