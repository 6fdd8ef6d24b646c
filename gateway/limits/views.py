"""What views keep in memory, how far they may lag, and how much of them one pass reads."""

AUTHORS_CACHED_MAX = 65_536
"""Authors whose number and pseudonym a view keeps in memory (250 bytes each); at it the cache starts afresh."""

SECONDS_CACHED_MAX = 4_096
"""Times whose place in the orders is kept (100 bytes each): events of one second come together."""

WRITE_AHEAD_PAGES = 8_192
"""Pages of 4 KiB that wait beside the events' file until SQLite puts them in their places, for whose sync everybody
waits: 32 MB, four seconds of publishing at full speed. With a quarter of it pages that change often were written more
often, and the waits were twice as long in all; a start after a crash reads it in a twentieth of a second."""

FORESEEN_BYTES_MAX = 16_777_216
"""Payloads whose events were decoded and are not folded yet: what 16 busy connections have on their way at once. At it
all are let go, and decoded again (3 µs each)."""

AUTHOR_KINDS_CACHED_MAX = 131_072
"""Kinds of authors that are known to be written down (100 bytes each); at it the set starts afresh."""

TAG_KEYS_CACHED_MAX = 32_768
"""Tags whose hash is kept (about 200 bytes each): the same topics and people come again and again."""

SCAN_KINDS_MAX = 1_024
"""Kinds of one author that are walked side by side; above (nobody honest has so many), the relay's whole time line."""

SCAN_ROWS = 256
"""Index rows read in one pass of the loop while a REQ is answered: under a millisecond, then others have their turn."""

ROWS_KEPT_MAX = 32_768
"""Index rows kept in memory once a REQ read them: some 13 MB, the newest of what relays' readers ask for. A row kept
costs 0.1 µs to find, one of the table 1.4."""

SCAN_AUTHORS = 64
"""Authors whose kinds are looked up in one pass of the loop: a search for each, some 10 us."""

SCAN_PAIRS_MAX = 16_384
"""Author and kind pairs of a filter that are walked side by side, about 8 MB: 1,950 authors fit a message, in eight
kinds each. Above, the walk is over the kinds, or the whole time line, and every row is held against the authors."""

SCAN_SAMPLE_STREAMS = 8
SCAN_SAMPLE_ROWS = 64
"""What is sampled of each index before the narrowest is chosen: at most 512 rows, under half a millisecond."""

FACTS_KEPT_MAX = 1_024
"""Facts decoded last, about 1 KiB each and 32 MiB if all are webhooks of the largest size: as many as a batch has at a
thousand deliveries a second. The oldest is decoded again; an erasure lets go of all."""

SPELLED_KEPT_MAX = 1_024
"""Values that many rows share (kinds, writers, a relay with its relayID) whose bytes are kept, 300 bytes each."""

OUTCOMES_KEPT_MAX = 256
"""Outcomes whose bytes are kept (100 bytes each): "delivered" for each of 64 devices, and the reasons of the others."""
