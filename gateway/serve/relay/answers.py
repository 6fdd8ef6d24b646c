"""The OKs of a batch of events, by what they say: of hundreds nearly all say the same, so they are framed in one go.

Invariant: each event that was added is told once, in any order. This module must not know how verdicts come about.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from gateway.nostr import message as wire
from gateway.serve.port.framing import text_frames

Verdict = tuple[bool, str]
"""Whether an event was taken, and what an OK says besides ("" where nothing need be said)."""


class Answers:
    """Ids of events by verdict."""

    def __init__(self) -> None:
        self.ids: defaultdict[Verdict, list[str]] = defaultdict(list)

    def add(self, verdict: Verdict, event_ids: Sequence[str]) -> None:
        """Answer events alike."""
        if event_ids:
            self.ids[verdict] += event_ids

    def __or__(self, others: "Answers") -> "Answers":
        both = Answers()
        for answers in (self, others):
            for verdict, event_ids in answers.ids.items():
                both.add(verdict, event_ids)
        return both

    @property
    def results(self) -> Counter[str]:
        """Count them as the metrics name them: accepted, duplicate, or the refusal's prefix."""
        found = Counter[str]()
        for verdict, event_ids in self.ids.items():
            found[_result(*verdict)] += len(event_ids)
        return found

    def frames(self) -> bytes:
        """Give the OKs in WebSocket frames, one behind another."""
        return b"".join(_frames(*wire.ok_around(*verdict), event_ids) for verdict, event_ids in self.ids.items())


def _frames(before: bytes, after: bytes, event_ids: Sequence[str]) -> bytes:
    return text_frames(before, [event_id.encode() for event_id in event_ids], after)


def _result(accepted: bool, reason: str) -> str:
    prefix = reason.partition(":")[0]
    return prefix if not accepted or prefix == "duplicate" else "accepted"
