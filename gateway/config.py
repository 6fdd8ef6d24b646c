"""The configuration: one frozen value, and the relations between its parts that must hold.

Invariant: what runs was checked here; nobody else reads the environment or a TOML file. Times end in ``_s`` or
``_ms``, sizes in ``_bytes``. This module must not know how a configuration is written down: `gateway.configtext` does.
"""

import math
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec

from gateway.errors import ConfigInvalid
from gateway.limits.mirror import NEG_ROWS_HELD_MAX


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


class PushType(Section, frozen=True):
    """How notifications of one ``type`` are pushed, where it is to be otherwise than all others are."""

    priority: str = "high"  # "high" | "normal"
    device_ttl_s: int = 0  # 0 = as for every other type
    collapse: str = "id"  # what replaces an earlier one on a device: the same "id", "reference" or "type"


class Push(Section, frozen=True):
    """The push gateway's policy (push §1–6)."""

    title: str = "通知"
    answer_wait_s: float = 1.5
    ttl_s: int = 3600
    device_ttl_s: int = 2_419_200  # FCM's most, and what it does where nothing is said
    stale_s: int = 86_400
    devices_per_user_max: int = 64
    policy: str = "open"  # "open" | "allowlist"
    allow: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    rate_per_instance: int = 60_000  # requests a minute: a tenth of what FCM takes for a whole project
    rate_per_address: int = 60_000
    first_fetches_per_minute: int = 60
    queued_per_tenant_max: int = 200_000
    devices_per_tenant_max: int = 2_000_000
    notifications_per_minute: int = 0  # of one tenant; 0 = as many as requests
    notifications_per_day: int = 0
    types: dict[str, PushType] = {}


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


class MatrixApp(Section, frozen=True):
    """One app of the Matrix door, by its app id; the name may hold ``*``."""

    way: str = "fcm"  # "fcm" | "webpush" | "unifiedpush" | "apns"
    project: str = ""  # "" = the one that serves this app id
    fcm_options: str = ""  # JSON: goes into each FCM message
    # Limits of its own; 0 = those of [push].
    rate_per_instance: int = 0
    devices_per_tenant_max: int = 0
    notifications_per_minute: int = 0
    notifications_per_day: int = 0
    queued_per_tenant_max: int = 0


class Matrix(Section, frozen=True):
    """The Matrix push-gateway door (push §7): shut until an app is named."""

    secret: str = ""
    secret_file: str = ""
    apps: dict[str, MatrixApp] = {}


class WebPush(Section, frozen=True):
    """Web Push and UnifiedPush: endpoints that browsers and distributors choose."""

    enabled: bool = True
    contact: str = ""  # mailto: or https:, told to push services; "" = server.public_url where it is https
    key_file: str = ""
    local_origins: tuple[str, ...] = ()  # plain http on this machine, for a fake


class APNsApp(Section, frozen=True):
    """One app, by its app id: the key that Apple gave its team for pushes."""

    key_file: str = ""
    key_id: str = ""
    team_id: str = ""
    topic: str = ""  # the bundle id; "" = the app id


class APNs(Section, frozen=True):
    """Apple's push service without Firebase."""

    base_url: str = "https://api.push.apple.com"
    ca_file: str = ""  # extra trust for a fake
    apps: dict[str, APNsApp] = {}


class Firebase(Section, frozen=True):
    """The public Firebase configuration that web clients ask for (push §8): the first five, or nothing."""

    api_key: str = ""
    project_id: str = ""
    app_id: str = ""
    messaging_sender_id: str = ""
    vapid_key: str = ""
    auth_domain: str = ""
    storage_bucket: str = ""


class Instance(Section, frozen=True):
    """What the operator says of one takos instance, by its domain or slug."""

    domain: str = ""
    url: str = ""
    public_key: str = ""
    secret: str = ""
    secret_file: str = ""
    tenant: str = ""  # a well-known tenant other than the domain that is allowed
    # Limits of its own; 0 = those of [push].
    rate_per_instance: int = 0
    devices_per_tenant_max: int = 0
    devices_per_user_max: int = 0
    notifications_per_minute: int = 0
    notifications_per_day: int = 0
    queued_per_tenant_max: int = 0


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


class Policy(Section, frozen=True):
    """Who may write on the normal socket: lists, a rate, and a program that is asked about each event."""

    allow_keys: tuple[str, ...] = ()
    block_keys: tuple[str, ...] = ()
    allow_kinds: tuple[int, ...] = ()
    block_kinds: tuple[int, ...] = ()
    allow_addresses: tuple[str, ...] = ()
    block_addresses: tuple[str, ...] = ()
    events_per_minute_per_key: int = 0
    plugin: str = ""
    plugin_s_max: float = 5.0


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
    content_chars_max: int = 65_536
    created_at_ahead_s_max: int = 900
    min_pow_difficulty: int = 0
    private_kinds: tuple[int, ...] = (1_059, 21_059)
    auth_at_connect: bool = False
    count_max: int = 200_000
    messages_per_s_max: int = 0
    messages_per_s_per_address_max: int = 0
    bytes_per_s_max: int = 0
    bytes_per_s_per_address_max: int = 0
    subscriptions_per_address_max: int = 65_536
    search_events_max: int = 20_000
    erase_gone_s: float = 3600.0
    compare_events_max: int = 1_500_000
    admins: tuple[str, ...] = ()
    membership: str = "open"  # "open" | "invite"
    members_invite: bool = False
    policy: Policy = Policy()
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
    trusted_peers: tuple[str, ...] = ()
    invalid_attempts_max: int = 20
    invalid_window_s: int = 30
    invalid_block_s: int = 120


class Witness(Section, frozen=True):
    """One C2SP tlog-witness that is asked to cosign checkpoints: where it is, and its verifier key."""

    url: str = ""  # the submission prefix
    key: str = ""  # name+id+base64


class Retention(Section, frozen=True):
    """How long payloads of a kind stay, and how many bytes of them; 0: for ever, or all."""

    days: int = 0
    bytes_max: int = 0


class Log(Section, frozen=True):
    """The event log."""

    retention: dict[str, Retention] = {}  # by kind, by family ("push."), or "*"
    total_bytes_max: int = 0
    snapshot_records: int = 0
    keeping_s: float = 3600.0
    witnesses: dict[str, Witness] = {}
    witness_ca_file: str = ""  # extra trust for a witness with a certificate of its own

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
    matrix: Matrix = Matrix()
    webpush: WebPush = WebPush()
    apns: APNs = APNs()
    firebase: Firebase = Firebase()
    instances: dict[str, Instance] = {}
    registration: Registration = Registration()
    workers: dict[str, Worker] = {}
    tokens: Tokens = Tokens()
    relay: Relay = Relay()
    mirror: Mirror = Mirror()
    log: Log = Log()
    metrics: Metrics = Metrics()


# -- relations ------------------------------------------------------------------------------------------------------


def refuse_impossible(config: Config) -> None:
    """Raise ConfigInvalid for the first pair of values that cannot both hold; the sentence names both.

    Only what could never work is refused: a refresh window longer than a token's life is not (clients refresh early).
    """
    for holds, sentence in (*_server_rules(config.server), *_policy_rules(config), *_limit_rules(config)):
        if not holds:
            raise ConfigInvalid(sentence)
    for path, value in _numbers(config, ""):
        if not math.isfinite(value):
            raise ConfigInvalid(f"{path}: must be a finite number, got {value}")
        if value < 0 or (value == 0 and path not in MAY_BE_ZERO | NO_LIMIT_AT_ZERO):
            raise ConfigInvalid(f"{path}: must be more than 0, got {value}")


Rule = tuple[object, str]
NO_LIMIT_AT_ZERO = frozenset(
    {
        "log.total_bytes_max",
        "log.snapshot_records",
        "push.notifications_per_minute",
        "push.notifications_per_day",
    }
)
MAY_BE_ZERO = frozenset(
    {
        "push.answer_wait_s",
        "tokens.refresh_window_s",
        "relay.created_at_ahead_s_max",
        "relay.min_pow_difficulty",
        "relay.search_events_max",
        "relay.erase_gone_s",
        "relay.compare_events_max",
        "relay.messages_per_s_max",
        "relay.messages_per_s_per_address_max",
        "relay.bytes_per_s_max",
        "relay.bytes_per_s_per_address_max",
        "relay.subscriptions_per_address_max",
        "relay.policy.events_per_minute_per_key",
    }
)


def host_and_port(bind: str) -> tuple[str, int]:
    """Split ``HOST:PORT`` (``[::1]:8080`` for IPv6); raises ConfigInvalid."""
    host, colon, port = bind.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or "[" in bare or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65_535:
        raise ConfigInvalid(f"server.bind: expected HOST:PORT with a port of 0 to 65535, got {bind!r}")
    return bare, int(port)


def is_url(text: str, *schemes: str) -> bool:
    """Whether a text is a URL that leads to a host, and holds nothing behind its path."""
    try:
        url = urlsplit(text)
        leads = url.hostname and url.port != 0
    except ValueError:  # half an IPv6 address, or a port that is none
        return False
    return bool(leads) and url.scheme in schemes and not (url.query or url.fragment or re.search(r"\s", text))


def _server_rules(server: Server) -> list[Rule]:
    host_and_port(server.bind)
    plain = is_url(server.public_url, "http", "https")
    return [
        (bool(server.tls.cert) == bool(server.tls.key), "server.tls: cert and key go together; one of them is missing"),
        (not server.public_url or plain, f"server.public_url: expected http(s)://HOST, got {server.public_url!r}"),
        (
            server.shutdown_s_max < 10,
            "server.shutdown_s_max: must be under 10, the time in which the server is to exit",
        ),
    ]


def _policy_rules(config: Config) -> list[Rule]:
    rules: list[Rule] = [
        (config.push.device_ttl_s <= 2_419_200, "push.device_ttl_s: FCM keeps a push for at most 2419200 seconds"),
        (
            config.push.policy in ("open", "allowlist"),
            f'push.policy: "open" or "allowlist", not {config.push.policy!r}',
        ),
        (config.push.policy == "open" or config.push.allow, 'push.policy is "allowlist", but push.allow names nobody'),
        (config.metrics.path.startswith("/"), "metrics.path: must begin with a slash"),
    ]
    for name, one in config.push.types.items():
        rules += [
            (one.priority in ("high", "normal"), f'push.types.{name}.priority: "high" or "normal"'),
            (one.collapse in ("id", "reference", "type"), f'push.types.{name}.collapse: "id", "reference" or "type"'),
            (0 <= one.device_ttl_s <= 2_419_200, f"push.types.{name}.device_ttl_s: 0 to 2419200 seconds"),
        ]
    for name, instance in config.instances.items():
        both = instance.url and instance.public_key
        rules += [
            (not both, f"instances.{name}: url and public_key are two answers to one question; keep one"),
            (instance.domain or ":" not in name, f"instances.{name}: a slug needs its domain"),
            (not name.startswith("matrix:"), f"instances.{name}: slugs that begin with matrix: are the Matrix door's"),
            (all(number >= 0 for _, number in _numbers(instance, "")), f"instances.{name}: limits are 0 or more"),
        ]
    holders: list[tuple[str, Registration | Worker | Instance | Matrix]] = [
        ("registration", config.registration),
        ("matrix", config.matrix),
    ]
    holders += [(f"workers.{name}", worker) for name, worker in config.workers.items()]
    holders += [(f"instances.{name}", instance) for name, instance in config.instances.items()]
    rules += [
        (not (holder.secret and holder.secret_file), f"{path}: secret and secret_file are both given; keep one")
        for path, holder in holders
    ]
    rules += [
        (worker.secret or worker.secret_file, f"workers.{name}: needs a secret or a secret_file")
        for name, worker in config.workers.items()
    ]
    return rules + _peer_rules(config) + _door_rules(config)


def _peer_rules(config: Config) -> list[Rule]:
    fcm, contact = config.fcm, config.webpush.contact
    return [
        (is_url(fcm.base_url, "http", "https"), f"fcm.base_url: expected http(s)://HOST, got {fcm.base_url!r}"),
        (is_url(config.apns.base_url, "https"), "apns.base_url: expected https://HOST, since APNs is HTTP/2"),
        (fcm.send_s_max >= 10, "fcm.send_s_max: at least 10; what is given up earlier may arrive, and comes twice"),
        (
            not contact or contact.startswith(("mailto:", "https://")),
            f"webpush.contact: expected mailto: or https:// (RFC 8292), got {contact!r}",
        ),
        *(
            (project.credentials, f"fcm.projects.{name}.credentials: name the service account's JSON file")
            for name, project in fcm.projects.items()
        ),
    ]


def _door_rules(config: Config) -> list[Rule]:
    rules: list[Rule] = []
    for name, app in config.matrix.apps.items():
        on_the_web, at_apple = app.way in ("webpush", "unifiedpush"), app.way == "apns"
        # Else every pushkey would be rejected, and homeservers would drop their pushers for a slip of ours.
        rules += [
            (not on_the_web or config.webpush.enabled, f"matrix.apps.{name}: its way is off (webpush.enabled)"),
            (not at_apple or name in config.apns.apps, f"matrix.apps.{name}: its way needs apns.apps.{name}"),
            (
                not app.project or app.project in config.fcm.projects,
                f"matrix.apps.{name}.project: {app.project!r} is none of fcm.projects",
            ),
            (all(number >= 0 for _, number in _numbers(app, "")), f"matrix.apps.{name}: limits are 0 or more"),
        ]
    web = config.firebase
    needed = (web.api_key, web.project_id, web.app_id, web.messaging_sender_id, web.vapid_key)
    rules.append(
        (
            all(needed) or not any(needed),
            "firebase: api_key, project_id, app_id, messaging_sender_id and vapid_key go together; some are missing",
        )
    )
    return rules


def _limit_rules(config: Config) -> list[Rule]:
    tokens, relay, mirror = config.tokens, config.relay, config.mirror
    return [
        *(
            (
                min(one.days, one.bytes_max) >= 0 and max(one.days, one.bytes_max) > 0,
                f'log.retention."{name}": give days or bytes_max, more than 0; without a rule all is kept',
            )
            for name, one in config.log.retention.items()
        ),
        (tokens.default_ttl_s <= tokens.ttl_s_max, "tokens.default_ttl_s is more than tokens.ttl_s_max"),
        (relay.limit_default <= relay.limit_max, "relay.limit_default is more than relay.limit_max"),
        (
            relay.compare_events_max <= NEG_ROWS_HELD_MAX,
            f"relay.compare_events_max: all open comparisons together hold at most {NEG_ROWS_HELD_MAX} events",
        ),
        (
            relay.membership in ("open", "invite"),
            f'relay.membership: "open" or "invite", not {relay.membership!r}',
        ),
        (
            relay.membership == "open" or relay.admins,
            'relay.membership is "invite", but relay.admins names nobody who could invite',
        ),
        (
            relay.membership == "open" or not relay.policy.allow_keys,
            'relay.membership is "invite", and relay.policy.allow_keys is another list of who may write; keep one',
        ),
        (relay.min_pow_difficulty <= 256, "relay.min_pow_difficulty: an id has 256 bits"),
        (all(0 <= kind <= 65_535 for kind in relay.private_kinds), "relay.private_kinds: a kind is 0 to 65535"),
        (
            all(
                re.fullmatch("[0-9a-f]{64}", key)
                for key in (*relay.policy.allow_keys, *relay.policy.block_keys, *relay.admins)
            ),
            "relay.admins, relay.policy.allow_keys and block_keys: a key is 64 lower-case hex digits",
        ),
        (
            relay.content_chars_max < relay.message_bytes_max,
            "relay.content_chars_max is not less than relay.message_bytes_max, which holds the whole event",
        ),
        (
            relay.message_bytes_max <= relay.unread_bytes_max,
            "relay.unread_bytes_max is less than relay.message_bytes_max: one event would cut off its reader",
        ),
        (mirror.limit_default <= mirror.limit_max, "mirror.limit_default is more than mirror.limit_max"),
        (
            mirror.frame_bytes_max <= config.log.queue_bytes_max,
            "log.queue_bytes_max is less than mirror.frame_bytes_max: a frame could never be appended",
        ),
    ]


def _numbers(section: Section, prefix: str) -> Iterator[tuple[str, float]]:
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        if isinstance(value, Section):
            yield from _numbers(value, f"{prefix}{field.name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + field.name, value
