"""A client of the two sockets (the page module has the same numbers), and the commands."""

REPORT_ACCEPTED_MAX = 1_000_000
"""Accepted notifications whose tenant a report remembers (about 100 MB), to say whose a later delivery was; what is
settled after a million others were accepted is counted under no tenant's name."""

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

CLIENT_WRITE_BYTES = 262_144
"""Of many small messages, what one write takes."""

SYNC_IDS = 500
SYNC_ERRANDS = 6
"""Ids in one REQ of a synchronisation (the usual limit of results; where it is lower, the rest is asked for again), and
how many such lots are on their way in each direction at once: asked for, published, not yet answered."""

BULK_ROWS = 1_000
"""Rows in one EVENTS of a stream of them, within `PUBLISH_BATCH_CHARS`: fewer frames are fewer commits."""

SYNC_IDS_WAITING = 100_000
"""Ids found missing that wait to be fetched (10 MB): above, the comparison waits."""

SYNC_ANSWER_S_MAX = 60.0
SYNC_SUPPORT_S_MAX = 60.0
SYNC_FOLLOW_S_MAX = 10.0
"""How long a relay may take for one answer; for its first to NIP-77 (who does not know it mostly says so, and a million
events are not taken together in a moment); and for its word that it tells what comes live, which not all give."""
BULK_PINGS_MAX = 3
assert CLIENT_PING_S * BULK_PINGS_MAX >= SYNC_ANSWER_S_MAX
"""Pings in a row that may be left unanswered: a relay that works on an answer may read nothing meanwhile."""

SYNC_ROUNDS_MAX = 100_000
"""Messages of one comparison: ten million ids that one side lacks take 11,000."""

SYNC_LIVE_MAX = 20_000
"""Live events that wait for the other relay; above, both connections are opened anew and compared."""

SYNC_RECENT_MAX = 65_536
SYNC_NEWS_MAX = 65_536
"""Ids that were just carried, so that their echo is not carried back, and what was answered before a cut is not sent
again (10 MB); and ids in the sample that tells whether anything was answered that never was before."""

SYNC_TRIES_MAX = 5
"""Lost connections in a row without news after which a single synchronisation gives up: each goes on where the last
stood."""

SYNC_AHEAD_S = 3_600
SYNC_CUTS_MAX = 4_096
"""How far ahead of the clock events may be dated, where time is halved; and places in time that are remembered since
more was between them than a relay compares: enough for 100 million events. Beyond, they are found anew each time."""

SYNC_PAUSE_S = 2.0
SYNC_PAUSE_S_MAX = 60.0
SYNC_PAUSES_MAX = 8
"""How long a relay that says ``rate-limited:`` is left alone, doubled up to a minute, and how often, before its word
counts as a refusal."""

SYNC_PROOF_S_MAX = 10.0
PROOFS_REFUSED_MAX = 3
"""How long a relay that wants a key proved may take for its challenge and its answer; and how many proofs it may refuse
on one connection, before its challenges are left alone."""

SYNC_WINDOW_S = 3_600
SYNC_SHARE = 20
SYNC_PAUSE_WHOLE_S_MAX = 900.0
"""After a cut: how far before it the time begins that is compared at once (who is cut off notices within a minute,
clocks differ by minutes, slow relays lag); and how often the time that a comparison of everything takes must pass
before the next, a quarter of an hour at most."""

PAGE_EVENTS = 1_000
"""Events of one REQ where a relay is read in pages; one that gives fewer at a time is asked more often."""
