"""The configuration: one frozen value, parsed once.

Invariant: what runs was checked here; nobody else reads the environment or a TOML file. Times end in ``_s`` or
``_ms``, sizes in ``_bytes``. This module must not open files: it is handed texts; the shell reads `secret_file` paths.
"""

import msgspec


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every section shares: immutable, and an unknown key is refused."""


class TLS(Section, frozen=True):
    """A certificate chain and key of our own, as PEM files; both or none."""

    cert: str = ""
    key: str = ""


class Server(Section, frozen=True):
    """The one port, and what it may cost."""

    bind: str = "127.0.0.1:8080"
    public_url: str = ""
    tls: TLS = TLS()
    trusted_proxies: tuple[str, ...] = ()
    connections_max: int = 10_000
    connections_per_address_max: int = 2_000
    head_s_max: float = 10.0
    head_bytes_max: int = 16_384
    idle_s_max: float = 75.0
    shutdown_s_max: float = 8.0


class Push(Section, frozen=True):
    """The push gateway's policy (push §1–6)."""

    title: str = "通知"
    answer_wait_s: float = 1.5
    ttl_s: int = 3600
    stale_s: int = 86_400
    devices_per_user_max: int = 64
    policy: str = "open"  # "open" | "allowlist"
    allow: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    rate_per_instance: int = 6_000  # requests a minute
    rate_per_address: int = 6_000
    first_fetches_per_minute: int = 60
    queued_per_tenant_max: int = 200_000


class Project(Section, frozen=True):
    """One Firebase project: a service account file, and the app ids that it serves ("default" serves the rest)."""

    credentials: str = ""
    app_ids: tuple[str, ...] = ()


class FCM(Section, frozen=True):
    """Firebase Cloud Messaging HTTP v1."""

    base_url: str = "https://fcm.googleapis.com"
    allow_any_token_uri: bool = False
    ca_file: str = ""  # extra trust for a fake over TLS
    connections_max: int = 100
    send_s_max: float = 15.0
    projects: dict[str, Project] = {}


class Instance(Section, frozen=True):
    """What the operator says of one takos instance, by its domain or slug."""

    domain: str = ""
    url: str = ""
    public_key: str = ""
    secret: str = ""
    secret_file: str = ""
    tenant: str = ""  # a well-known tenant other than the domain that is allowed


class Registration(Section, frozen=True):
    """The secret that the worker ``default`` signs with."""

    secret: str = ""
    secret_file: str = ""
    ttl_s: int = 300


class Worker(Section, frozen=True):
    """A worker with credentials of its own."""

    secret: str = ""
    secret_file: str = ""


class Tokens(Section, frozen=True):
    """Relay tokens (relay-and-mirror §2)."""

    default_ttl_s: int = 3600
    ttl_s_max: int = 86_400
    refresh_window_s: int = 300
    key_file: str = ""


class Relay(Section, frozen=True):
    """The normal socket: NIP-11 fields and the limits that are published there and enforced."""

    name: str = "Heliograph"
    description: str = ""
    pubkey: str = ""
    contact: str = ""
    icon: str = ""
    message_bytes_max: int = 131_072
    subscriptions_max: int = 64
    filters_max: int = 32
    subid_chars_max: int = 64
    limit_max: int = 5_000
    limit_default: int = 500
    event_tags_max: int = 2_000
    content_bytes_max: int = 65_536
    created_at_ahead_s_max: int = 900
    unread_bytes_max: int = 8_388_608


class Mirror(Section, frozen=True):
    """The replication socket (relay-and-mirror §4)."""

    enabled: bool = True
    frame_bytes_max: int = 1_048_576
    internal_relay_accepts_any: bool = True
    serve_open_rows: bool = False
    subscriptions_max: int = 64
    limit_max: int = 5_000
    limit_default: int = 5_000
    invalid_attempts_max: int = 20
    invalid_window_s: int = 30
    invalid_block_s: int = 120


class Log(Section, frozen=True):
    """The event log."""

    segment_bytes_max: int = 67_108_864
    queue_records_max: int = 65_536
    queue_bytes_max: int = 67_108_864


class Metrics(Section, frozen=True):
    """Prometheus text at ``path``."""

    enabled: bool = True
    path: str = "/metrics"


class Config(Section, frozen=True):
    """The whole configuration, as in product.md."""

    data: str = "data"
    server: Server = Server()
    push: Push = Push()
    fcm: FCM = FCM()
    instances: dict[str, Instance] = {}
    registration: Registration = Registration()
    workers: dict[str, Worker] = {}
    tokens: Tokens = Tokens()
    relay: Relay = Relay()
    mirror: Mirror = Mirror()
    log: Log = Log()
    metrics: Metrics = Metrics()
