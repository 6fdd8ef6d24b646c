"""The normal socket: messages, filters, subscriptions, events."""

INTEGER_MAX = 2**53 - 1
"""Times and counts in JSON: the largest integer that every client's numbers hold exactly. Above: ``invalid:``."""

KIND_MAX = 65_535
"""NIP-01: kinds are 16-bit. Above: ``invalid:``."""

KINDS_KEPT = 1_024
"""Kinds for which it is remembered how they are kept; a relay sees a few dozen. Looking that up takes 0.1 µs, three
times for each event."""

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

INVITATION_S = 604_800
"""How long an invitation to a closed relay lets somebody in (NIP-43): a week, for whoever reads it late."""

INVITATION_CHARS_MAX = 64
"""A code as somebody sends it: ours have 34 characters. A longer one is not looked at."""

MEMBERS_LISTED_MAX = 1_500
"""Members in the list that a closed relay publishes: 117 kB as an event, below what a message may have. NIP-43 takes no
list for complete; who may write does not depend on it."""

SEARCH_CHARS_MAX = 1_024
SEARCH_TERMS_MAX = 16
"""Characters and words of a search; beyond: ``invalid:``. Each word is looked for in each text (under 1 µs)."""

RATED_KEYS_MAX = 65_536
"""Authors whose rate is counted; the least recent is forgotten, and starts full."""

PLUGIN_LINE_BYTES_MAX = 65_536
"""One answer of a write policy: an id and a sentence. A longer one is taken for a failure."""

PLUGIN_RESTART_S = 1.0
"""A write policy that failed before it answered anything is not started again before this time: a crash at start must
not cost a process an event. One that has answered is started again at once. Failures are told of as often at most."""

REPOST_CHARS_MAX = 65_536
"""A repost's content that is read as JSON, to see whether what it carries is protected; a longer one is refused."""

PARSED_KEYS_MAX = 16_384
"""Authors whose parsed key is kept (about 300 bytes each); beyond, the least recent is parsed again (6 µs)."""

VERIFY_THREADS_A_CORE = 8
"""Verifying threads for each core: while the loop holds the interpreter, each has one signature under way (0.3 ms of
work for a core), and a publisher's flood is taken in a seventh faster than with a thread a core; 16 gain no more."""

VERIFY_HOP_EVENTS_MIN = 16
"""Signatures worth a hop of their own: 0.6 ms of work. Fewer are not shared out between threads."""

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

RECENT_BYTES_MAX = 33_554_432
"""Payloads of events kept in memory once they were read: some 45,000 events, what a relay's readers ask for first.
Beyond, those not asked for lately go, and are read from the log again (2 µs)."""

RECENT_OVERHEAD_BYTES = 160
"""What one of them takes besides its bytes: two objects and an entry of a dictionary."""

LIVE_ROWS = 256
"""Rows of the log matched in one pass of the loop: about two milliseconds, then others have their turn."""

LIVE_SOCKETS_AT_ONCE = 256
"""Sockets that live rows are written to in one pass of the loop: about three milliseconds; the writers of the others
have their turn, which costs each of them thrice as much."""

BATCHES_MAX = 4
"""Batches of EVENTs (a read's worth, 64 to 256 KiB) of a connection on their way at once; above, it is not read: enough
that one connection keeps the verifying threads busy while the disk syncs."""

BACKLOG_BYTES_MAX = 8_388_608
"""Live rows held back until a subscription's stored rows are out; above, the reader is cut as too slow."""
