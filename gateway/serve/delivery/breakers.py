"""The breakers of all projects: which may be sent to now, and what each answer says of its push service.

Invariant: whoever runs the gateway hears of every change, by an alarm and by a figure, and ``changed`` is called with
the new state. This module must not know who waits, nor how anything is sent.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from gateway.limits.push import RETRY_MS_MIN
from gateway.push.breaker import STATES, Breaker, State
from gateway.push.fcm import Verdict
from gateway.push.settle import Decision, ProjectState, decide
from gateway.push.turns import Delivery
from gateway.serve.clock import Clock
from gateway.serve.delivery.settler import Alarms
from gateway.serve.metrics import Metrics


class Breakers:
    """A breaker for each project, and what is known of it; a project that was never sent to has a closed one."""

    def __init__(self, clock: Clock, metrics: Metrics, alarms: Alarms, changed: Callable[[State], None]) -> None:
        self._clock, self._figure, self._alarms, self._changed = clock, metrics.push_breaker, alarms, changed
        self._breakers: defaultdict[str, Breaker] = defaultdict(Breaker)
        self._states: defaultdict[str, ProjectState] = defaultdict(ProjectState)
        self._probes: dict[str, int] = {}  # by project, the accepted seq of its last probe

    def state(self, project: str) -> State:
        """How a project's breaker stands."""
        return self._breakers[project].state

    def admits(self, project: str, now_ms: int) -> bool:
        """Whether a send may begin now."""
        return self._breakers[project].admits(now_ms)

    def begin_slowly(self, project: str) -> None:
        """Begin on the ramp: after a start with a backlog."""
        self._breakers[project].begin_slowly(self._clock.now_ms())

    def began(self, delivery: Delivery, now_ms: int) -> int:
        """Note that a send begins, where `admits` said yes; give what `hear` is to be told."""
        breaker = self._breakers[delivery.project]
        begun = breaker.began(now_ms)
        if breaker.state == "probing":
            self._probes[delivery.project] = delivery.seq
        return begun

    def decide(self, verdict: Verdict, delivery: Delivery) -> Decision:
        """Say what an answer leads to, by what is known of the project."""
        state = self._states[delivery.project]
        return decide(verdict, delivery, state, self._clock.now_ms(), self._clock.uniform(0.0, 1.0))

    def hear(self, project: str, decision: Decision, begun: int) -> None:
        """Tell a project's breaker what an answer says of the service."""
        breaker, now_ms = self._breakers[project], self._clock.now_ms()
        before = breaker.state
        match decision.service:
            case "works":
                breaker.worked(begun, now_ms)
            case "fails":
                breaker.failed(begun, now_ms, decision.wait_ms, self._clock.uniform(0.0, 1.0))
            case "stops":
                breaker.stop(decision.brake_until_ms)
            case "unasked":
                breaker.unasked(begun)
        self._turned(project, before)

    def stop(self, project: str, why: str) -> None:
        """Leave a project alone for a while: nothing can be sent to it."""
        self._alarms.sound(project, why)
        breaker = self._breakers[project]
        before = breaker.state
        breaker.stop(self._clock.now_ms() + RETRY_MS_MIN)
        self._turned(project, before)

    def _turned(self, project: str, before: State) -> None:
        state = self._breakers[project].state
        if state == before:
            return
        self._alarms.sound(project, f"breaker: {state}")
        self._figure.labels(project).set(STATES.index(state))
        self._changed(state)

    def are_open(self, projects: Iterable[str], accepted_seq: int = -1) -> bool:
        """Whether breakers hold up all of these projects, so that there is nothing to wait for now.

        While one is probed that is so for all but the notification that it is probed with.
        """
        now_ms = self._clock.now_ms()
        for project in projects:
            breaker = self._breakers.get(project)
            probed = breaker and breaker.state == "probing" and self._probes.get(project) != accepted_seq
            if not breaker or not (probed or breaker.is_open(now_ms)):
                return False
        return True

    def next_ms(self, now_ms: int) -> Iterator[int]:
        """When each may admit a send by itself, where that is a matter of time."""
        for breaker in self._breakers.values():
            if (time_ms := breaker.next_ms(now_ms)) is not None:
                yield time_ms

    def show(self, now_ms: int) -> None:
        """Set the figures: a ramp ends with time alone, also where nobody asks."""
        for project, breaker in self._breakers.items():
            breaker.next_ms(now_ms)
            self._figure.labels(project).set(STATES.index(breaker.state))
