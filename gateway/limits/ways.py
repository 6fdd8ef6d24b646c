"""The Matrix door, and the ways out beside FCM: Web Push, UnifiedPush, APNs."""

from gateway.limits.push import PAYLOAD_BYTES_MAX, TARGET_BYTES_MAX

MATRIX_DEVICES_MAX = 100
"""Devices of one request: takos sends at most 40, homeservers 1. Above: 400."""

MATRIX_FIELD_BYTES_MAX = 1_024
"""A field of an event, as Sygnal cuts it; app ids are refused above it."""

MATRIX_EXTRA_BYTES_MAX = 2_048
"""A device's ``default_payload`` as JSON, which takos keeps to the same size. Above: the pushkey is rejected."""

MATRIX_COUNTS_KEPT_MS = 60_000
"""A push of unread counts alone is nobody's to repeat: it is remembered until its answer was surely given."""

PUSHKEY_HELD_DAYS = 30
"""A Matrix pushkey notified so lately counts as a device of its app: no homeserver ever says that one went."""

PUSHKEYS_GONE_MS = 90 * 86_400_000
"""A pushkey that is gone is remembered so long; asked about again later, the push service is asked again."""

ENDPOINT_BYTES_MAX = 1_600
"""A push endpoint's URL: 200 characters with Firefox and Chrome, 700 with Windows, 1,000 at most in UnifiedPush. With
its keys it must fit `TARGET_BYTES_MAX`. Longer: 400."""

WEBPUSH_BODY_BYTES_MAX = 4_096
"""What every push service must take (RFC 8030 §7.2), encryption included: 3,993 bytes of text."""

VAPID_S_MAX = 43_200
VAPID_AGAIN_S = 39_600.0
"""A VAPID token lives for 12 of the 24 hours that RFC 8292 allows, and is used for 11 of them."""

AUDIENCES_MAX = 1_000
"""VAPID tokens kept, one a push service; the least recently used is made anew (0.1 ms)."""

APNS_CONNECTIONS_MAX = 4
"""Connections to Apple; each carries as many pushes at once as Apple allows, usually 1,000. Beyond, pushes wait."""

APNS_TOKEN_S = 3_000.0
"""Apple wants a provider token renewed after 20 minutes at the earliest and 60 at the latest."""

HOSTS_KEPT_MAX = 5_000
"""Push services whose failures are remembered; the least recently used is forgotten, and starts as a stranger."""

HOST_FAILURES_MAX = 5
HOST_REST_S_MIN = 30.0
HOST_REST_S_MAX = 600.0
"""After so many failures in a row nothing is sent to a push service for 30 s, doubled up to 10 minutes."""

STRANGERS_MAX = 16
STRANGER_WAIT_S = 2.0
"""Requests in flight to push services that have not answered well yet, all together: their addresses are anybody's
choice, and whoever is slow on purpose must not hold all connections. One more waits so long, then for a back-off."""

IDLE_CONNECTIONS_MAX = 128
"""Idle connections to all push services together; beyond, the longest unused is closed."""

ENDPOINT_ANSWER_BYTES_MAX = 4_096
"""A push service's answer is a status; a longer body is cut off as a failure that passes."""

assert ENDPOINT_BYTES_MAX + 256 < TARGET_BYTES_MAX
assert VAPID_AGAIN_S < VAPID_S_MAX < 86_400
assert MATRIX_EXTRA_BYTES_MAX < PAYLOAD_BYTES_MAX
assert (2 * MATRIX_EXTRA_BYTES_MAX + PAYLOAD_BYTES_MAX) * MATRIX_DEVICES_MAX <= 1 << 20  # bytes of log for a request
