"""The replication socket: rows, batches, cursors, peers."""

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
"""Namespaces of rows whose number is kept in memory; at the limit all are looked up again."""

WRITERS_KEPT_MAX = 65_536
"""Writers whose pseudonym is kept in memory; the least recent is derived again (4 µs)."""

BODIES_PER_ROW_MAX = 4
"""Differing bodies kept under one (relay, relayID, id), each by another subject (relay-and-mirror §4)."""

ROWS_PER_SLICE = 256
"""Stored rows read and sent before other tasks get a turn: 256 rows of 500 bytes take about 5 ms."""

EXPIRY_CHECK_S_MAX = 30.0
"""Wall time may jump, trio's does not: a session's expiry is looked at this often at least."""
