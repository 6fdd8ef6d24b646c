"""Every fixed limit of the gateway, with its unit, its reason, and what happens at it; a section per room.

What an operator may tune is in `gateway.config`; here is what follows from a protocol, from another limit, or from
arithmetic. Relations between limits are asserted at import. This module knows no other.
"""

# -- serve: door, HTTP, sockets ---------------------------------------------------------------------------------------

READ_BYTES = 65_536
"""One read from a connection: a loop pass per read, so a pass handles all messages of 64 KiB (127,000 messages/s)."""

WRITE_BYTES = 262_144
"""Frames joined into one write: enough to make a system call cheap; progress shows 32 times in 8 MiB."""

WRITE_S_MAX = 30.0
"""A peer that takes nothing of a write for this long is cut: hypercorn shields its sends, so nothing else would."""

LINGER_S_MAX = 1.0
"""After our last byte we read and drop what still comes, this long: closing at once would reset the connection, and
the peer's kernel would throw our answer away unread (RFC 9112 §9.6)."""

CLOSE_S_MAX = 2.0
"""A WebSocket peer has this long to answer a close frame; then the connection is dropped (RFC 6455 §7.1.1)."""

PING_IDLE_S = 30.0
"""A socket that was silent this long gets a ping; silent twice as long, it is closed. Under the 60 s at which common
proxies drop a silent connection."""

FIRST_MESSAGE_BYTES_MAX = 65_536
"""A socket's message limit until its service sets its own."""

HANDSHAKE_S_MAX = 10.0
"""A TLS handshake must be done in this time, else the connection is dropped (hypercorn and nginx: 60 s)."""

CONNECTIONS_SPARE = 64
"""Connections above ``connections_max`` that are still answered (503, or close 1013); beyond, dropped at accept."""

DESCRIPTORS_SPARE = 256
"""Open files beyond connections: views (three each), log segments, FCM and well-known connections."""

GC_YOUNG_OBJECTS = 20_000
"""Allocations between two looks of the garbage collector at the youngest objects: a few MB of cycles at worst."""

PUSH_BODY_BYTES_MAX = 16_384
"""Bodies of the push API (push §6): a notification is about 400 bytes, FCM takes 4,096. Above: 413 ``too-large``."""

API_BODY_BYTES_MAX = 262_144
"""Bodies of everything else (relay-and-mirror §1): a registration with a thousand peers. Above: 413."""

BODY_S_MAX = 15.0
"""A body must have come whole in this time, else 408: 256 KiB at 17 KiB/s."""

PIECES_S_MAX = 1.0
"""A webhook whose head and body are not whole after this time goes on through hypercorn, which has `BODY_S_MAX`."""

BODIES_BYTES_MAX = 67_108_864
"""All bodies in memory at one time, as far as they have come; above, whoever sends more gets 503 and Retry-After."""

DRAIN_BYTES_MAX = 1_048_576
"""What is read and dropped of a body that is too large, so that the client hears the 413; longer ones are cut."""

REFUSAL_LINES_PER_MINUTE = 10
"""Log lines for refusals, per source and minute; those beyond are counted and told with the next line that goes out."""

REFUSAL_SOURCES_MAX = 10_000
"""Sources whose refusals are counted; the least recent is forgotten (it may then be logged again)."""

assert PUSH_BODY_BYTES_MAX <= API_BODY_BYTES_MAX <= DRAIN_BYTES_MAX <= BODIES_BYTES_MAX
assert FIRST_MESSAGE_BYTES_MAX <= READ_BYTES <= WRITE_BYTES
assert LINGER_S_MAX <= CLOSE_S_MAX < HANDSHAKE_S_MAX

# -- push -------------------------------------------------------------------------------------------------------------

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
"""FCM's own limits on one Android device; beyond them it bans. What is over waits, recorded as deferred."""

DEVICES_BRAKED_MAX = 50_000
"""Devices whose rate is counted in memory; the least recently pushed to is forgotten, and starts full."""

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
"""An OAuth token is refreshed this long before it ends (google-auth: 225 s)."""

LANE_ITEMS_MAX = 256
"""Deliveries of one tenant and project held in memory; the rest waits in the outbox view and is read as these go."""

TENANT_SHARE = 0.75
"""The part of all FCM connections that one tenant may hold, so that another's push never waits for a slow answer."""

SWEEP_S = 5.0
"""How often the outbox is searched for what became due or too old while its lane was braked."""

PSEUDONYMS_MAX = 100_000
"""Fresh pseudonyms remembered until their record is applied; forgetting one gives a user a second, which is allowed."""

assert WELLKNOWN_BYTES_MAX <= PUSH_BODY_BYTES_MAX
assert 5 * FIELD_BYTES_MAX + TITLE_BYTES_MAX + 256 < PAYLOAD_BYTES_MAX
assert WELLKNOWN_FAILED_S <= WELLKNOWN_FRESH_S <= WELLKNOWN_STALE_S
assert RETRY_MS_MIN <= QUOTA_MS <= RETRY_MS_MAX <= RETRY_AFTER_MS_MAX

# -- push: tenants, and what their documents may cost us ---------------------------------------------------------------

WELLKNOWN_FETCHES_MAX = 32
WELLKNOWN_STRANGERS_MAX = 16
WELLKNOWN_WAIT_S = 5.0
"""Documents fetched at once: of instances that had a good one before, and of those that never had, apart, so that
servers which are slow on purpose hold up strangers alone. One more waits so long: then the old document, or 429."""

RESOLVING_MAX = 32
"""Threads that look up names of instances. A name server that never answers holds one for half a minute, and could
else take all of trio's 40."""

PREFIX6_BITS = 64
"""Addresses of one IPv6 network count as one source: whoever has one has 2**64 of them."""

USAGE_DAYS = 35
"""Days that a tenant's usage is told for one by one; those before are kept as one sum."""

DEAD_KEPT_MS = 90 * 86_400_000
DEAD_PER_TENANT_MAX = 100_000
"""How long, and of how many dead devices, a tenant can ask; the oldest go first."""

OUTCOME_CHARS_MAX = 64
OUTCOMES_PER_TENANT_MAX = 64
"""Reasons of failures that are counted apart: push services choose the words. Longer ones are cut, more are "other"."""

INQUIRIES_PER_MINUTE = 60
"""Reports that a tenant may ask for: each costs about a millisecond. Beyond: 429."""

INQUIRY_NONCES_MAX = 20_000
"""Nonces of reports that could still be replayed: 4 MB; at it, reports are refused with 429 until some have expired."""

DEAD_PAGE_MAX = 200
"""Dead devices in one report; the answer says where the next page begins."""

TENANTS_SHOWN_MAX = 10_000
"""Tenants in the operator's view, those that sent most first: 5 MB of JSON."""

assert DEAD_PAGE_MAX <= DEAD_PER_TENANT_MAX

# -- push: the Matrix door, and ways out beside FCM -------------------------------------------------------------------

MATRIX_DEVICES_MAX = 100
"""Devices of one request: takos sends at most 40, homeservers 1. Above: 400."""

MATRIX_FIELD_BYTES_MAX = 1_024
"""A field of an event, as Sygnal cuts it; app ids are refused above it."""

MATRIX_EXTRA_BYTES_MAX = 2_048
"""A device's ``default_payload`` as JSON, which takos keeps to the same size. Above: the pushkey is rejected."""

MATRIX_COUNTS_KEPT_MS = 60_000
"""A push of unread counts alone is nobody's to repeat: it is remembered until its answer was surely given."""

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

# -- relays and tokens ------------------------------------------------------------------------------------------------

FRESH_MS = 300_000
"""A signed request is taken within five minutes of its ``issuedAt``, either way (relay-and-mirror §1)."""

NONCE_KEPT_MS = 2 * FRESH_MS + 60_000
"""Nonces are remembered until no request that carries them could be fresh: twice the window, and a minute of slack."""

NONCE_CHARS_MAX = 128
"""A nonce is 24 hex characters in the clients that exist; longer than this it is refused, since the log keeps it."""

NESTING_MAX = 64
"""Levels of objects and lists in a signed body: real metadata has four. Above: 400."""

NAME_CHARS_MAX = 512
"""A relay's name or path: ``npub1…`` is 63 characters, and request heads end at 16 KiB. Above: refused."""

ALIASES_MAX = 32
"""Path aliases of one relay: each is a row in a view and a name that nobody else can have. Above: refused."""

PEERS_MAX = 1_024
"""Peers of one relay, as many as fit a registration of 256 KiB at full URL length. Above: refused."""

PEER_CHARS_MAX = 1_024
"""A peer is a 64-hex key or a ws(s):// URL. Above: refused."""

TOKEN_CHARS_MAX = 8_192
"""A token, so that no MAC is computed over more: the request head that carries it ends at 16 KiB."""

AUTH_TOKEN_CHARS_MAX = 2_048
"""``relayAuthToken`` as it is put into a token: base64 of it in JSON must stay under `TOKEN_CHARS_MAX`."""

TEXT_CHARS_MAX = 64
"""A scope; longer ones are refused."""

REASON_CHARS_MAX = 256
"""The reason of a revocation, told to every client that it hits; longer ones are refused."""

OWN_TOKENS_MAX = 10_000
"""Usable tokens of workers kept in memory, so that a renewal does not issue anew; the least recent is forgotten."""

REVOKE_S_MAX = 10.0
"""A revocation that is being recorded is finished though its client has gone; this long, then the log is stuck: 503."""

RELAYS_KEPT_MAX = 10_000
"""Relays whose description is kept in memory: a handshake asks for one. The least recent is read again."""

ATTEMPT_ADDRESSES_MAX = 10_000
"""Addresses whose failing handshakes are counted: 1 MB; the least recent is forgotten."""

assert AUTH_TOKEN_CHARS_MAX * 6 // 3 * 4 // 3 + 1_024 < TOKEN_CHARS_MAX

# -- transparency -----------------------------------------------------------------------------------------------------

WITNESSES_MAX = 14
"""Witnesses: C2SP signed-note asks verifiers for 16 signatures at least; one line is ours. More: refused at start."""

WITNESS_S_MAX = 5.0
"""One witness's answer, a second try after a 409 included; beyond it the checkpoint is published without it."""

WITNESS_ROUND_S = 1.0
"""Between two rounds: checkpoints are signed once a second."""

WITNESS_REST_S_MIN = 2.0
WITNESS_REST_S_MAX = 300.0
"""A witness that failed rests, twice as long each time."""

WITNESS_ANSWER_BYTES_MAX = 16_384
"""An answer is a line or two of 150 bytes; a longer one is cut off as a failure."""

# -- mirror -----------------------------------------------------------------------------------------------------------

REPLICATION_FILTERS_MAX = 32
"""Filters of one REQ, as on the normal socket. Above: CLOSED ``invalid: …``."""

REPLICATION_VALUES_MAX = 1_024
"""ids, kinds or relayIDs in one filter: each is a search or a term of one. Above: CLOSED ``invalid: …``."""

SUB_CHARS_MAX = 64
"""A subscription id (NIP-01)."""

CURSOR_CHARS_MAX = 128
"""A cursor that a client hands back: ours have about 40 characters. Above: CLOSED ``invalid: …``."""
BATCH_ROWS_MAX = 512
BATCH_BYTES_MAX = 262_144
"""Rows, and their bytes, in one EVENTS frame to a replica: more make it no faster, and clients' libraries refuse frames
of a megabyte. One larger row goes alone."""
NEG_ROWS_MAX = 1_500_000
NEG_ROWS_HELD_MAX = 4_000_000
NEG_OPEN_MAX = 4
"""Rows in one comparison (NIP-77; 150 bytes each while it is prepared), in all that are open (44 bytes each), and how
many a connection has open. Above: NEG-ERR ``blocked: …``."""
NEG_FRAME_BYTES = 60_000
"""Our messages in a comparison, before they are hex: as others', and what every client's library takes."""
NEG_PAGE_ROWS = 4_096
"""Rows read from the index before other tasks get a turn: 4 ms."""
DELEGATION_S_MAX = 1.5
DELEGATIONS_MAX = 128
PEERS_ASKED_MAX = 8
"""How long a relay's peers are asked before EOSE goes out without them; requests to peers in flight over all relays
(one more waits, within its 1.5 s); peers asked for one REQ, those that did best."""
PEER_IN_FLIGHT_MAX = 3
PEER_FAILURES_MAX = 5
PEER_REST_MS = 60_000
PEER_LATENCY_MS = 200.0
PEERS_KEPT_MAX = 10_000
"""Requests in flight a peer; failures in a row after which it is left alone, and for how long; what a peer that was
never asked is taken to need; peers whose standing is remembered, the least recently used becomes a stranger."""
PEER_BYTES_MAX = 4 * 1024 * 1024
"""What is read of a peer's answer, and its largest message: four rows of the largest kind, thousands of usual ones."""
PULL_RECORDS = 512
"""Records of the log that a pull looks at before other tasks get a turn: 2 ms."""

SPACES_KEPT_MAX = 65_536
"""Namespaces of rows whose number is kept in memory; the least recent is looked up again."""

WRITERS_KEPT_MAX = 65_536
"""Writers whose pseudonym is kept in memory; the least recent is derived again (4 µs)."""

BODIES_PER_ROW_MAX = 4
"""Differing bodies kept under one (relay, relayID, id), each by another subject (relay-and-mirror §4)."""

ROWS_PER_SLICE = 256
"""Stored rows read and sent before other tasks get a turn: 256 rows of 500 bytes take about 5 ms."""

EXPIRY_CHECK_S_MAX = 30.0
"""Wall time may jump, trio's does not: a session's expiry is looked at this often at least."""

# -- nostr ------------------------------------------------------------------------------------------------------------

INTEGER_MAX = 2**53 - 1
"""Times and counts in JSON: the largest integer that every client's numbers hold exactly. Above: ``invalid:``."""

KIND_MAX = 65_535
"""NIP-01: kinds are 16-bit. Above: ``invalid:``."""

FILTER_VALUES_MAX = 32_768
"""Ids, authors, kinds and tag values in all open filters of a connection, about 12 MB in the live index: a client that
follows 2,000 people in a dozen subscriptions stays below. Above: CLOSED ``rate-limited:``."""

AUTH_SKEW_S_MAX = 600
"""How far an AUTH event's time may be from ours (NIP-42: about ten minutes)."""

SESSION_KEYS_MAX = 64
"""Keys that one connection may prove: a client has a handful of accounts. Above: OK false, ``rate-limited:``."""

ADDRESSES_JUDGED_MAX = 10_000
"""Addresses for which it is remembered whether a list holds them; the least recent is looked up again (20 µs)."""

ACCOUNTS_MAX = 20_000
"""Addresses whose use is counted (300 bytes each); the least recent without a connection is forgotten, thus full."""

MODERATION_CHARS_MAX = 1_024
"""A reason, name, description or icon that a moderator gives; a longer one is refused."""

MODERATION_ENTRIES_MAX = 50_000
"""Entries of all lists of one relay: its rules are kept in memory, about 10 MB. Above: an error."""

HTTP_AUTH_SKEW_S_MAX = 60
"""How far the time of an event that signs an HTTP request may be from ours (NIP-98)."""

HTTP_AUTH_CHARS_MAX = 8_192
"""Such an event as a header: its four tags take 700 characters, and heads end at 16 KiB."""

HTTP_AUTHS_KEPT_MAX = 10_000
"""Signed requests that are remembered, so that none is taken twice; 80 admins' requests a second for two minutes."""

SEARCH_CHARS_MAX = 1_024
SEARCH_TERMS_MAX = 16
"""Characters and words of a search; beyond: ``invalid:``. Each word is looked for in each text (under 1 µs)."""

RATED_KEYS_MAX = 65_536
"""Authors whose rate is counted; the least recent is forgotten, and starts full."""

PLUGIN_LINE_BYTES_MAX = 65_536
"""One answer of a write policy: an id and a sentence. A longer one is taken for a failure."""

PLUGIN_RESTART_S = 1.0
"""A write policy that failed is not asked again before this time: a crash at start must not cost a process an event."""

REPOST_CHARS_MAX = 65_536
"""A repost's content that is read as JSON, to see whether what it carries is protected; a longer one is refused."""

PARSED_KEYS_MAX = 16_384
"""Authors whose parsed key is kept (about 300 bytes each); beyond, the least recent is parsed again (6 µs)."""

VERIFY_HOP_EVENTS_MAX = 256
"""Signatures verified in one hop to a thread: a hop costs 100-210 µs, so under 1 µs each, and a hop takes 12 ms."""

VERIFY_INLINE_MAX = 3
"""So few waiting signatures are verified in the loop: 150 µs, what the hop alone would cost."""

VERIFY_QUEUE_EVENTS_MAX = 8_192
"""Signatures waiting, over all connections: half a second of work for one core. At it publishers wait unread."""

PSEUDONYMS_IN_FLIGHT_MAX = 65_536
"""New authors whose pseudonym is remembered until the view has it; as many as the log's queue holds records."""

STORED_BYTES = 262_144
"""Stored rows sent before a REQ waits for its reader: one write, and far below what may wait unread."""

LIVE_ROWS = 256
"""Rows of the log matched in one pass of the loop: about two milliseconds, then others have their turn."""

BATCHES_MAX = 4
"""Batches of EVENTs (a read's worth, 64 KiB) of a connection on their way at once; above, it is not read: enough that
one connection keeps the verifying threads busy while the disk syncs."""

BACKLOG_BYTES_MAX = 8_388_608
"""Live rows held back until a subscription's stored rows are out; above, the reader is cut as too slow."""

# -- a failing disk ---------------------------------------------------------------------------------------------------

CLOCK_JUMP_MS_MAX = 86_400_000
"""How far a clock may have been wrong: what is remembered against repeats is kept a day longer than by the clock alone,
and a time that lies farther ahead than any of ours can is taken for one that a wrong clock wrote."""

FAILURE_TOLD_S = 60.0
"""A log that cannot be reopened is told of again so often: the line that an operator finds must not be days old."""

# -- erasure and the operator's door -----------------------------------------------------------------------------------

ERASING_LAG_RECORDS = 4_096
"""Records that a view made anew may lack when it is put in its place: folded then in one go, some tens of ms."""

ERASING_ROUNDS_MAX = 8
"""Looks for records that came in while an erasure ran: somebody who goes on writing all the while is not chased on."""

CONTROL_BYTES_MAX = 65_536
CONTROL_S_MAX = 10.0
"""A request on the operator's door, and the time that it may take to arrive; the answer comes when the work is done."""

# -- views ------------------------------------------------------------------------------------------------------------

AUTHORS_CACHED_MAX = 65_536
"""Authors whose number and pseudonym a view keeps in memory (250 bytes each); at it the cache starts afresh."""

EVENTS_LAG_RECORDS = 16_384
"""Records after which the view of events is sealed: after a crash so many are folded again, half a second's work."""

TAG_KEYS_CACHED_MAX = 32_768
"""Tags whose hash is kept (about 200 bytes each): the same topics and people come again and again."""

SCAN_KINDS_MAX = 1_024
"""Kinds of one author that are walked side by side; above (nobody honest has so many), the relay's whole time line."""

SCAN_ROWS = 256
"""Index rows read in one pass of the loop while a REQ is answered: under a millisecond, then others have their turn."""

SCAN_PAIRS_MAX = 16_384
"""Author and kind pairs of a filter that are walked side by side, about 8 MB: 1,950 authors fit a message, in eight
kinds each. Above, the walk is over the kinds, or the whole time line, and every row is held against the authors."""

SCAN_SAMPLE_STREAMS = 8
SCAN_SAMPLE_ROWS = 64
"""What is sampled of each index before the narrowest is chosen: at most 512 rows, under half a millisecond."""

# -- keeping ----------------------------------------------------------------------------------------------------------

SEGMENT_AGE_DAYS = 1
"""Where rules name an age, a segment grows no longer than this: a payload outlives its rule by a day, at a cost of 365
files a year before they are put together."""

# -- client and commands ----------------------------------------------------------------------------------------------

REPORT_ACCEPTED_MAX = 1_000_000
"""Accepted notifications whose tenant a report remembers (about 100 MB), to say whose a later delivery was; what is
settled after a million others were accepted is counted under no tenant's name."""

# -- a client of two sockets (gateway.client; its page module has the same numbers) -----------------------------------

RECONNECT_MS_MIN = 1_000
RECONNECT_MS_MAX = 60_000
RECONNECT_DOUBLINGS_MAX = 5
"""Pause before a lost socket is opened again: from 1 s up to 2 s, then 4 s, … 60 s, at random, so that the clients of a
gateway that was restarted do not come back all at once."""

SESSION_GOOD_MS = 10_000
"""A session that was open for so long, or on which anything was heard, was taken: the next failure is a first one."""

REFRESH_MS_MIN = 250
"""The earliest that a token is renewed after it was given, however short its life."""

UNANSWERED_MAX = 10_000
"""Published events that wait for an OK, kept to be sent again; one more is refused, and the caller sees it."""

PUBLISH_BATCH_ROWS = 256
PUBLISH_BATCH_CHARS = 262_144
"""Rows, and characters of their data, in one EVENTS frame: well below the smallest frame that a gateway must take."""

PLAIN_OVERLAP_S = 600
"""Where a server has no cursors: how far before the newest row a new session asks again, for rows that came late."""

SEEN_CHARS_MAX = 16 << 20
"""Characters of rows remembered where a server has no cursors; what is older may be given twice after a reconnect."""

CLIENT_CONNECT_S_MAX = 10.0
"""For DNS, TCP, TLS and the WebSocket handshake together."""

CLIENT_PING_S = 20.0
CLIENT_PONG_S_MAX = 20.0
"""A silent connection is asked whether it is there, and given up when it does not answer: a cut cable says nothing."""

CLIENT_CLOSE_S_MAX = 1.0
"""What a closing handshake may take before the stream is cut."""

CLIENT_MESSAGE_BYTES_MAX = 16 << 20
"""The largest message that a client takes: some batches hold hundreds of rows of 1 MiB frames at most."""

CLIENT_BATCHES_WAITING = 64
CLIENT_BATCHES_MAX = 1_024
"""Batches that a subscriber has not taken: at the first number the socket is not read until it has, unless publishes
wait for their answers on it; at the second it is closed, and goes on later from where it was."""
