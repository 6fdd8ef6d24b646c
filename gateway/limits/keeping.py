"""A failing disk, erasure, retention and the operator's door."""

CLOCK_JUMP_MS_MAX = 86_400_000
"""How far a clock may have been wrong: what is remembered against repeats is kept a day longer than by the clock alone,
and a time that lies farther ahead than any of ours can is taken for one that a wrong clock wrote."""

FAILURE_TOLD_S = 60.0
"""A log that cannot be reopened is told of again so often: the line that an operator finds must not be days old."""

ERASING_LAG_RECORDS = 4_096
"""Records that a view made anew may lack when it is put in its place: folded then in one go, some tens of ms."""

ERASING_ROUNDS_MAX = 8
"""Looks for records that came in while an erasure ran: somebody who goes on writing all the while is not chased on."""

GONE_TARGETS_MAX = 100_000
"""Events, versions and keys that one round of heeding looks for: some 40 MB. What is behind them waits for the next."""

HEEDING_REST = 20
HEEDING_PIECE_RECORDS = 16_384
"""A piece that heeding reads (about 40 ms), and an erasure of its, is followed by a rest of so many times what it took:
it costs a twentieth of a core at most, however large the log is and however often somebody asks to be gone."""

HEEDING_FIRST_S_MAX = 60.0
"""The first round comes no later than this after a start, so that a server that is often started heeds requests too;
and no sooner than half the time that a request may wait, so that a start has the machine to itself."""

HEEDED_RECORDS = 1_048_576
"""After so many records without a request, how far was looked is recorded, so that the next start need not look again
(a second's reading)."""

HEEDING_SEQS_TOLD_MAX = 32
"""Requests that the record of an erasure names by their seqs; of more, it says how many."""

CONTROL_BYTES_MAX = 65_536
CONTROL_S_MAX = 10.0
"""A request on the operator's door, and the time that it may take to arrive; the answer comes when the work is done."""

SEGMENT_AGE_DAYS = 1
"""Where rules name an age, a segment grows no longer than this: a payload outlives its rule by a day, at a cost of 365
files a year before they are put together."""

MERGED_FILES_MIN = 4
"""A turn puts short neighbours together once they are so many, and one row of them, of a segment's size at most: what a
day's file costs is written some three times again, not every day."""
