"""Every bound of the log, with its unit and its reason; what must hold between them is asserted here, at import.

This module must not know files: these are numbers.
"""

# A leaf must fit an entry of a C2SP tlog-tiles entry bundle: its length there is 16 bits.
LEAF_BYTES_MAX = 65_535
# Kinds are dotted names said aloud; 64 is twice the longest so far.
KIND_BYTES_MAX = 64
# A pseudonym is 16 random bytes, a public key 32.
SUBJECT_BYTES_MAX = 32
# The largest body that any door of ours takes is 1 MiB (a mirror frame); twice that leaves room for what is put around.
PAYLOAD_BYTES_MAX = 2 * 1024 * 1024
SCHEMA_MAX = 0xFFFF
# Time is an unsigned 64-bit field, kept within what SQLite and every CBOR tool call an integer.
TS_NS_MAX = 2**63 - 1

# One frame is one commit. Beyond 4,096 records the costs of a commit are spread thin enough (measured); 4 MiB is what
# a reader must be able to hold.
FRAME_RECORDS_MAX = 4_096
FRAME_BYTES_MAX = 4 * 1024 * 1024

# Segments rotate here: an erasure rewrites one, start-up scans one (0.2 s), an audit hands one to a core.
SEGMENT_BYTES_MAX = 64 * 1024 * 1024
SEGMENT_HEAD_BYTES_MAX = 4_096
ORIGIN_BYTES_MAX = 255
# A tree of 2^64 leaves has at most 64 perfect subtrees at its edge.
FRONTIER_MAX = 64

# What may wait for the writer, in records and bytes: at 4,096 a commit this is a tenth of a second of work. At the
# limit `room` waits; a `submit` that did not ask is refused once twice as much has gathered.
QUEUE_RECORDS_MAX = 65_536
QUEUE_BYTES_MAX = 64 * 1024 * 1024
# Just-committed records kept for followers, so that live readers never touch the disk. A follower that falls farther
# behind reads the disk.
TAIL_RECORDS_MAX = 16_384
TAIL_BYTES_MAX = 16 * 1024 * 1024
# A reader takes the disk in pieces of this size: a frame and a bit, so that small frames come many at a time.
READ_BYTES = 1024 * 1024
# Bytes between two wanted records that are read along: copying them takes less than the second read would.
GAP_BYTES_MAX = 4_096
# What a reader hands over at a time, where frames are smaller: enough to spread the cost, few enough for a cache.
READ_RECORDS = 512
# At a start the last frame of each segment is read whole up to this size: 20 MB in a log of ten million records.
SEAM_BYTES_MAX = 256 * 1024
# Open segment files for random access; the least recently used is closed.
OPEN_SEGMENTS_MAX = 128

# At shutdown what is queued is written for so long; then the process goes, as in a crash.
DRAIN_S_MAX = 5.0
# After a failure the log is reopened: first after a pause in which everyone hears of it, then ever less often. A try on
# a full disk costs one refused write; two seconds is what an operator who has made room waits at most.
REOPEN_S_MIN = 0.1
REOPEN_S_MAX = 2.0
# A disk that has less room than the largest frame would fail again at once: it counts as full until it has.
REOPEN_ROOM_BYTES = FRAME_BYTES_MAX
# Signing and four syscalls: once a second costs nothing and bounds what an unclean stop leaves unproven.
CHECKPOINT_S = 1.0
CHECKPOINT_BYTES_MAX = 4_096
# Tiles are synced together after so many records (a thousand full tiles), and at a clean stop: one call of some tens of
# milliseconds in every second of the fastest writing. After a power loss the leaves behind that are read again: half a
# second.
TILES_LAG_RECORDS = 262_144

# A view seals its rows after so many records: what a crash makes it fold again (a few ms), at a cost spread thin.
VIEW_LAG_RECORDS = 4_096
# View files up to this size are checked page by page at start (a tenth of a second); beyond it, only when they fail.
VIEW_CHECK_BYTES_MAX = 64 * 1024 * 1024

# -- sorted runs: keys of a view's index, in memory, then in pages of its file (`eventlog.sortedruns`) --
# Keys in a list in memory: putting one more into it in order takes half a microsecond.
RUN_LIST_KEYS = 4_096
# Lists that become one: sorting so many keys takes two milliseconds, for which everybody waits.
RUN_LISTS = 4
# Runs of one level that become one of the next: more would be fewer times that a key is written (once a level, 0.3 us),
# and more places to look for it.
RUN_FAN = 8
# Keys in memory that are written as a run: a hundred bytes each, read again at a start in a twentieth of a second.
RUN_MEMORY_KEYS = 131_072
# Keys that each level merges for one that is added: above one, so that every level keeps up; what a batch waits for
# grows with it.
RUN_RATE = 3
# Nearly two overflow pages of SQLite's and the part that stands in its tree: none of them half empty.
RUN_PAGE_BYTES = 8_672
# Pages kept in memory by one set: 17 MB.
RUN_PAGES_CACHED_MAX = 2_048
# Fences and filters are written in parts of this size, so that a large run's hold up nobody.
RUN_PART_BYTES = 65_536
# A run is written anew without its dead once they are one in so many: a scan skips few, and dropping one costs 20 us.
RUN_DEAD_SHARE = 64
# The dead that one merge leaves out, 80 bytes each in memory; what is above waits for the next.
RUN_DEAD_MAX = 262_144

# -- erasure --
# Ranges of seqs in one `log.erased`: at 19 bytes each within a payload; what needs more is told by several.
ERASED_RANGES_MAX = 65_536
# An erasure's job file: ranges for a tenth of ten million records, one apart from the other.
ERASURE_JOB_BYTES_MAX = 24 * 1024 * 1024
# Ranges in one job; what needs more is carried out as several erasures, one after the other.
ERASURE_JOB_RANGES_MAX = 1_000_000

# What one step of retention takes: a view drops so many rows (some 50 µs each) in one fold, while everybody waits.
RETENTION_STEP_RECORDS = 2_048
# How often a backup starts over because segments were put together, dropped or erased while it copied them: each time
# after twice the pause, a minute in all, since a turn of retention may rewrite hundreds of segments.
BACKUP_TRIES_MAX = 9
# How long a backup waits for an erasure to end (a few segments a second, and the views), looking so often; and for the
# checkpoint over what was recorded meanwhile, which is signed within a second on a machine that has time.
BACKUP_ERASURE_S_MAX = 120.0
BACKUP_CHECKPOINT_S_MAX = 10.0
BACKUP_LOOK_S = 0.25

assert PAYLOAD_BYTES_MAX + LEAF_BYTES_MAX < FRAME_BYTES_MAX, "any record fits a frame"
assert KIND_BYTES_MAX + SUBJECT_BYTES_MAX + 64 < LEAF_BYTES_MAX
assert FRAME_BYTES_MAX < SEGMENT_BYTES_MAX
assert FRAME_RECORDS_MAX <= 0xFFFF, "the count is 16 bits wide"
assert QUEUE_RECORDS_MAX >= FRAME_RECORDS_MAX
assert QUEUE_BYTES_MAX >= FRAME_BYTES_MAX
assert ERASED_RANGES_MAX * 19 + 4_096 < PAYLOAD_BYTES_MAX
assert ERASURE_JOB_RANGES_MAX * 19 + 65_536 < ERASURE_JOB_BYTES_MAX
assert SEGMENT_HEAD_BYTES_MAX >= FRONTIER_MAX * 34 + ORIGIN_BYTES_MAX + 64
