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

CONTROL_BYTES_MAX = 65_536
CONTROL_S_MAX = 10.0
"""A request on the operator's door, and the time that it may take to arrive; the answer comes when the work is done."""

SEGMENT_AGE_DAYS = 1
"""Where rules name an age, a segment grows no longer than this: a payload outlives its rule by a day, at a cost of 365
files a year before they are put together."""
