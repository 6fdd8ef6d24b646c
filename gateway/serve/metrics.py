"""Every figure that the gateway publishes, as attributes of one object on a registry of its own.

Names and labels follow relay-and-mirror §6. Labels are closed sets chosen by our code, never texts of a client (a
client could else fill the memory with time series). This module must not know who counts.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

FSYNC_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0)
WAITED_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 600.0, 1800.0, 3600.0)
ANSWER_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


def _begun(figure: Counter | Gauge, *labels: str) -> None:
    """Show a figure at 0 from the start under each label: Prometheus misses the first step of a series that begins."""
    for label in labels:
        figure.labels(label)


class Metrics:
    """The figures. A room adds its own in a method of its own below."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._door()
        self._sockets()
        self._tokens()
        self._push()
        self._log()

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=buckets)

    def _door(self) -> None:
        self.connections = self._gauge("gateway_connections", "Open connections")
        self.connections_refused = self._counter(
            "gateway_connections_refused", "Connections or heads that the door refused", "reason"
        )
        self.http_answers = self._counter("gateway_http_answers", "HTTP answers", "method", "status")
        self.http_seconds = self._histogram("gateway_http_seconds", "From a whole body to the answer", ANSWER_SECONDS)
        self.bugs = self._counter("gateway_bugs", "Exceptions that nobody foresaw: each is in the log", "where")

    def _sockets(self) -> None:
        self.active_sessions = self._gauge("gateway_active_sessions", "Open sessions", "socket")
        _begun(self.active_sessions, "relay", "mirror")
        self.active_peers = self._gauge("gateway_active_peers", "Live peers of registered relays")
        self.relay_events = self._counter("gateway_relay_events", "Events on the normal socket", "result")
        self.relay_requests = self._counter("gateway_relay_requests", "Requests for stored events", "path")
        self.replication_frames = self._counter(
            "gateway_replication_frames", "Replication frames", "frame", "outcome", "reason"
        )

    def _tokens(self) -> None:
        self.token_issues = self._counter("gateway_relay_token_issues", "Tokens asked for", "result")
        self.token_refresh = self._counter("gateway_relay_token_refresh", "Refreshes asked for", "result")
        self.token_revocations = self._counter("gateway_relay_token_revocations", "Revocations asked for", "result")

    def _push(self) -> None:
        self.push_registrations = self._counter("gateway_push_registrations", "Signed envelopes", "result")
        self.push_events = self._counter("gateway_push_events", "Notifications handed in", "result")
        self.push_accepted = self._counter("gateway_push_accepted", "Deliveries accepted, one a device", "tenants")
        self.push_deliveries = self._counter("gateway_push_deliveries", "Deliveries by what came of them", "outcome")
        self.push_undelivered = self._counter(
            "gateway_push_undelivered",
            "Those that failed, expired, wait or took a device with them",
            "outcome",
            "reason",
        )
        self.push_matrix = self._counter("gateway_push_matrix", "Pushkeys in answers of the Matrix door", "answered")
        self.push_queued = self._gauge("gateway_push_queued", "Deliveries accepted and not settled")
        self.push_queue_depth = self._gauge("gateway_push_queue_depth", "The same, by class of tenant", "tenants")
        self.push_queue_age = self._gauge("gateway_push_queue_age_seconds", "How long the oldest has waited", "tenants")
        self.push_waited_seconds = self._histogram(
            "gateway_push_waited_seconds", "From acceptance to the send that settled it", WAITED_SECONDS, "tenants"
        )
        self.push_send_seconds = self._histogram(
            "gateway_push_send_seconds", "Each send, as its push service takes it", ANSWER_SECONDS, "way"
        )
        self.push_breaker = self._gauge("gateway_push_breaker", "0 closed, 1 on the ramp, 2 probing, 3 open", "project")
        self.push_cut = self._counter("gateway_push_cut", "Texts cut to what FCM takes")
        self.push_oauth = self._counter("gateway_push_oauth", "OAuth tokens asked for", "result")
        _begun(self.push_matrix, "rejected", "retryable", "failed")
        _begun(self.push_oauth, "given", "failed")

    def _log(self) -> None:
        self.log_appends = self._counter("gateway_log_appends", "Records made durable")
        self.log_bytes = self._counter("gateway_log_bytes", "Bytes written to the log")
        self.log_fsync_seconds = self._histogram("gateway_log_fsync_seconds", "Each fsync of the log", FSYNC_SECONDS)
        self.log_size = self._gauge("gateway_log_size", "Records durable")
        self.log_failed = self._gauge("gateway_log_failed", "1 while the log takes no records")
        self.log_failures = self._counter("gateway_log_failures", "Times that the disk failed under log or views")
        self.log_reopenings = self._counter("gateway_log_reopenings", "Tries to reopen the log after that", "result")
        self.log_view_lag = self._gauge("gateway_log_view_lag", "Records that a view has yet to take in", "view")
