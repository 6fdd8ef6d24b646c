"""Push: bodies, fields, devices, deliveries and retries."""

from gateway.limits.serve import PUSH_BODY_BYTES_MAX

JSON_DEPTH_MAX = 16
"""Levels of nesting in a push body or a well-known document (push §1): real ones have 2; deeper is malformed."""

FIELD_BYTES_MAX = 512
"""A user id, notification id, type, reference or app id, in UTF-8. Five of them and the title still leave 1,300 of
FCM's 4,096 bytes for the text, so that ids are never cut. Longer: 400."""

TARGET_BYTES_MAX = 2_048
"""A registration token or installation id; today's are 163 or 22 characters. Longer: 400."""

PLATFORM_CHARS_MAX = 64
"""Free text that real clients cut at 32. Longer: 400."""

SKEW_MS_MAX = 60_000
"""How far ahead of our clock an instance's may be (push §3, §4)."""

LIFETIME_MS_MAX = 600_000
"""From ``issuedAt`` to ``expiresAt`` (push §3): clients use 300 s; what lives longer would be replayable longer."""

PAYLOAD_BYTES_MAX = 4_096
"""FCM's limit on keys and values of data and notification together; the text is cut to fit."""

TITLE_BYTES_MAX = 200
"""The configured title; a longer one is a configuration error, since it would take the text's room."""

COLLAPSE_CHARS = 32
"""A collapse key: the RFC 8030 limit on ``Topic``; 24 bytes of hash as base64url are exactly that."""

HOSTNAME_CHARS_MAX = 253
"""RFC 1035, without the final dot."""

PEM_CHARS_MAX = 2_048
"""A P-256 SPKI PEM has 178 characters; a longer one is somebody else's key or a bomb."""

WELLKNOWN_BYTES_MAX = 16_384
WELLKNOWN_S_MAX = 5.0
"""One document: bytes of the body, and seconds from resolve to last byte (push §1). Beyond: 502."""

WELLKNOWN_FRESH_S = 300.0
WELLKNOWN_FAILED_S = 30.0
WELLKNOWN_REFETCH_S = 30.0
WELLKNOWN_STALE_S = 86_400.0
"""A document is asked for again after the first; a failure is remembered for the second; a failing signature makes us
ask again at most once in the third; while it cannot be fetched the last good one serves for the fourth (push §1)."""

WELLKNOWN_DOMAINS_MAX = 10_000
"""Documents, failures and refetch times kept, each 1 KiB or so; the least recently used goes, and is fetched again."""

FIRST_FETCHES_PER_ADDRESS = 20
"""Unknown domains that one source address may make us look up in a minute; beyond: 429."""

RATE_KEYS_MAX = 20_000
"""Instances and addresses whose rates are counted; the least recently seen is forgotten, and starts full."""

DEVICE_PER_MINUTE = 240
DEVICE_PER_HOUR = 5_000
"""FCM's own limits on one Android device, in any minute and any hour; beyond them it bans. What is over waits, recorded
as deferred."""

TENANT_ERRORS_PER_MINUTE = 6_000
"""Refusals (4xx) of FCM that one tenant may cause in a project: they count for the quota of 600,000 that all tenants
share. Beyond them its deliveries there wait their turn, as many a minute as this, and lose nothing but time."""

DEVICES_BRAKED_MAX = 50_000
"""Devices whose pushes are counted in memory, 400 bytes each; the least recently pushed to is forgotten."""

FCM_ANSWER_BYTES_MAX = 65_536
"""An answer of FCM or of a token endpoint is 1 KiB; a longer one is cut off as a failure that passes."""

FCM_CONNECT_S_MAX = 10.0
FCM_IDLE_S_MAX = 50.0
"""Time for TCP and TLS together; and how long an idle connection is kept: under the 60 s of common servers."""

FCM_SEND_S_MIN = 10.0
"""FCM's own calls use 10 s: a shorter deadline of ours would make duplicates."""

RETRY_MS_MIN = 10_000
RETRY_MS_MAX = 600_000
RETRY_AFTER_MS_MAX = 3_600_000
"""Back-off starts at FCM's minimum of 10 s, doubles up to 10 minutes; a Retry-After counts up to an hour."""

QUOTA_MS = 60_000
"""The wait after a 429 without Retry-After (FCM: one minute), doubled with each in a row."""

BREAKER_FAILURES = 10
BREAKER_MS_MIN = RETRY_MS_MIN
BREAKER_MS_MAX = 60_000
"""So many failures in a row open a project's breaker, for the second, doubled each time up to the third: after an
outage of any length the first try is at most a minute late."""

RAMP_PER_S = 20
RAMP_DOUBLING_MS = 6_000
RAMP_MS = 60_000
RAMP_BURST_MS = 50
"""Sends a second when a project comes back, the time in which that doubles, and the time after which nothing is held
back any more (20,000 a second by then); sends that may leave together, in ms of the rate: how often it is looked at."""

RAMP_BACKLOG = 1_000
"""Deliveries in the outbox at a start from which the start, too, begins on the ramp."""

TOKEN_AHEAD_S = 300.0
TOKEN_AGAIN_S = 10.0
TOKEN_FAILED_S = 5.0
"""An OAuth token is refreshed this long before it ends (google-auth: 225 s), and tried for again so long after a
failure while the old one serves; where none does, the failure is the answer for so long to whoever asks."""

TOKEN_CONNECTIONS_MAX = 2
"""Connections to a token endpoint: one refresh is in flight at a time."""

LANE_ITEMS_MAX = 1_024
"""Deliveries of one tenant and project held in memory (300 bytes each): what a hundred webhooks at once bring to users
with ten devices. The rest waits in the outbox view and is read as these go, together with all that is under way."""

TENANT_SHARE = 0.75
"""The part of all FCM connections that one tenant may hold, so that another's push never waits for a slow answer."""

SWEEP_S = 5.0
EXPIRED_BATCH = 1_000
"""How often the outbox is searched for what became due or too old while its lane was braked, and how much of what is
too old is settled at a time: one batch of records."""

TAKEN_ALONG = 1_000
"""Deliveries settled unsent at once with a device that is gone: one batch of records; those beyond find it gone too."""

TEXTS_MAX = 4_096
MESSAGES_MAX = 256
"""Notifications whose text is kept between acceptance and sending, and messages made of them for one user's devices
(4 KiB each); the least recent is read from the log, or made, anew."""

UNSETTLED_MAX = 2_048
"""Outcomes that wait for the disk; beyond, nothing more is sent."""

DRAIN_S = 1.5
"""What is in flight has so long when the server stops: FCM answers in 0.1 s, and the whole server has 10 s to end."""

PSEUDONYMS_MAX = 100_000
"""Fresh pseudonyms remembered until their record is applied; forgetting one gives a user a second, which is allowed."""

assert WELLKNOWN_BYTES_MAX <= PUSH_BODY_BYTES_MAX
assert 5 * FIELD_BYTES_MAX + TITLE_BYTES_MAX + 256 < PAYLOAD_BYTES_MAX
assert WELLKNOWN_FAILED_S <= WELLKNOWN_FRESH_S <= WELLKNOWN_STALE_S
assert RETRY_MS_MIN <= QUOTA_MS <= RETRY_MS_MAX <= RETRY_AFTER_MS_MAX
