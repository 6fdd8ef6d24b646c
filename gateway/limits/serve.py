"""The door, HTTP and sockets: what a connection may cost before anybody knows whose it is."""

READ_BYTES = 65_536
"""One read from a connection: a loop pass per read, so a pass handles all messages of 64 KiB (127,000 messages/s)."""

BUSY_READ_BYTES = 262_144
"""One read from a socket whose last one filled `READ_BYTES`: what each pass costs is shared by four times as many
messages, a tenth less an event. Not from the start, since room for it would be made for every small message."""

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

ACCEPT_BACKLOG = 1_024
"""Connections that the kernel holds until we accept them; Linux caps it at net.core.somaxconn."""

CONNECTIONS_SPARE = 64
"""Connections above ``connections_max`` that are still answered (503, or close 1013); beyond, dropped at accept."""

TOLD_LATE_S_MAX = 0.01
"""So late a wait may be told that its time is over: one timer looks after all of a kind, and at most so often."""

DESCRIPTORS_SPARE = 256
"""Open files beyond connections: views (three each), log segments, FCM and well-known connections."""

FRAME_HEADS_KEPT = 8_192
"""Sizes of messages whose frame head is kept (100 bytes each): a head is found in a third of the time to make it."""

GC_YOUNG_OBJECTS = 100_000
"""Allocations between two looks of the garbage collector at the youngest objects: some 10 MB of cycles at worst. Fewer
than busy publishers have in flight, and each of their events was looked at for nothing (0.7 µs)."""

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

RETRY_LOG_S = 5
"""Retry-After while the log takes no records: it is reopened every 2 s at the latest."""

DRAIN_BYTES_MAX = 1_048_576
"""What is read and dropped of a body that is too large, so that the client hears the 413; longer ones are cut."""

REFUSAL_LINES_PER_MINUTE = 10
"""Log lines for refusals, per source and minute; those beyond are counted and told with the next line that goes out."""

PATH_CHARS_TOLD = 80
"""Of a path, in a log line: whoever calls chooses it."""

REFUSAL_SOURCES_MAX = 10_000
"""Sources whose refusals are counted; the least recent is forgotten (it may then be logged again)."""

assert PUSH_BODY_BYTES_MAX <= API_BODY_BYTES_MAX <= DRAIN_BYTES_MAX <= BODIES_BYTES_MAX
assert FIRST_MESSAGE_BYTES_MAX <= READ_BYTES <= WRITE_BYTES
assert LINGER_S_MAX <= CLOSE_S_MAX < HANDSHAKE_S_MAX
