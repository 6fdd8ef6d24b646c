"""A breaker for one project: stops sending while its push service is down, tries it with one, and comes back slowly.

    closed ── failures in a row, or a stop ──▶ open ── in time ──▶ probing: one send ── works ──▶ ramp ──▶ closed
                                                ▲─────────── fails ───────────┘
Coming back, the rate begins at `RAMP_PER_S` and doubles every `RAMP_DOUBLING_MS`: after an outage the backlog of all
tenants waits, and whoever lets it go at once is stopped again (FCM asks for a ramp of a minute).
Invariant: only what was begun after the last change is heard, so that late answers of a burst count once. Must not
know clocks, dice or what is sent: all are handed in.
"""

from typing import Literal

from gateway.limits.push import (
    BREAKER_FAILURES,
    BREAKER_MS_MAX,
    BREAKER_MS_MIN,
    RAMP_BURST_MS,
    RAMP_DOUBLING_MS,
    RAMP_MS,
    RAMP_PER_S,
)

State = Literal["closed", "open", "probing", "ramp"]
STATES: tuple[State, ...] = ("closed", "ramp", "probing", "open")  # from best to worst


class Breaker:
    """Ask `admits`, then say `began`, and with what that gave how it ended: `worked`, `failed`, `unasked`. In ms."""

    def __init__(self) -> None:
        self.state: State = "closed"
        self._change = 0  # counts changes of state: what was begun before the last one is not heard
        self._failures = self._openings = 0  # in a row
        self._until_ms = 0  # open until then
        self._ramp_ms = self._level_ms = 0  # when the ramp began, and when its level was counted
        self._level = 0.0  # sends that the ramp has room for

    def admits(self, now_ms: int) -> bool:
        """Whether a send may begin now."""
        match self.state:
            case "closed":
                return True
            case "open":
                return now_ms >= self._until_ms
            case "probing":
                return False
            case "ramp":
                self._count(now_ms)
                return self._level >= 1

    def began(self, now_ms: int) -> int:
        """Note that a send begins, where `admits` said yes; give what how it ended is to be told with."""
        if self.state == "open":
            self._turn("probing")
        elif self.state == "ramp":
            self._count(now_ms)
            self._level -= 1
        return self._change

    def worked(self, begun: int, now_ms: int) -> None:
        """Hear that the service answered for itself, were it to refuse this one send."""
        if begun != self._change:
            return
        self._failures = 0
        if self.state == "probing":
            self.begin_slowly(now_ms)

    def failed(self, begun: int, now_ms: int, asked_ms: int, dice: float) -> None:
        """Hear that the service did not; ``asked_ms`` is what its Retry-After asks, ``dice`` a number from 0 to 1."""
        if begun != self._change:
            return
        self._failures += 1
        if self.state == "probing" or self._failures >= BREAKER_FAILURES:
            doubled = min(BREAKER_MS_MIN << min(self._openings, 16), BREAKER_MS_MAX)
            self.stop(now_ms + max(asked_ms, int(doubled * (1 + dice / 4))))
            self._openings += 1

    def unasked(self, begun: int) -> None:
        """Hear that nothing was sent after all: where it was to be the probe, that is still owed."""
        if begun == self._change and self.state == "probing":
            self._turn("open")

    def stop(self, until_ms: int) -> None:
        """Let nothing begin before then; of several stops the last end counts."""
        self._until_ms = max(until_ms, self._until_ms)
        self._turn("open")

    def begin_slowly(self, now_ms: int) -> None:
        """Begin on the ramp: after a start with a backlog."""
        self._turn("ramp")
        self._ramp_ms = self._level_ms = now_ms
        self._level = 1.0

    def is_open(self, now_ms: int) -> bool:
        """Whether nothing may begin for a time that is known."""
        return self.state == "open" and now_ms < self._until_ms

    def next_ms(self, now_ms: int) -> int | None:
        """When it may admit a send by itself; None where that is not a matter of time."""
        match self.state:
            case "open":
                return self._until_ms if self._until_ms > now_ms else None
            case "ramp":
                self._count(now_ms)
                return now_ms + RAMP_BURST_MS
            case _:
                return None

    def _turn(self, state: State) -> None:
        self.state = state
        self._change += 1
        self._failures = 0

    def _count(self, now_ms: int) -> None:
        """Bring the ramp's level up to now; at its end the breaker is closed."""
        if now_ms - self._ramp_ms >= RAMP_MS:
            self._turn("closed")
            self._openings = 0
            self._level = 1.0
            return
        per_s = RAMP_PER_S * 2 ** ((now_ms - self._ramp_ms) / RAMP_DOUBLING_MS)
        grown = self._level + per_s * max(0, now_ms - self._level_ms) / 1000
        self._level, self._level_ms = min(grown, max(1.0, per_s * RAMP_BURST_MS / 1000)), now_ms
