"""OKs, told by what they say."""

import json

from gateway.nostr import message as wire
from gateway.serve.port.framing import text_frame
from gateway.serve.relay.answers import Answers


def test_every_event_gets_the_ok_that_would_be_sent_for_it_alone() -> None:
    answers, told = (
        Answers(),
        {f"{n:064x}": (n % 3 > 0, ("", 'duplicate: "quoted" ø', "x" * 200)[n % 3]) for n in range(9)},
    )
    for event_id, verdict in told.items():
        answers.add(verdict, [event_id])
    alone = [text_frame(wire.ok(event_id, *verdict).encode()) for event_id, verdict in told.items()]
    frames = answers.frames()
    assert len(frames) == sum(map(len, alone))
    assert all(frame in frames for frame in alone)
    assert json.loads(frames[frames.index(b"[") : frames.index(b"]") + 1])[0] == "OK"


def test_results_are_counted_by_what_metrics_call_them() -> None:
    answers, others = Answers(), Answers()
    answers.add((True, ""), ["a", "b"])
    answers.add((True, "duplicate: known"), ["c"])
    others.add((True, "info: welcome"), ["d"])
    others.add((False, "blocked: no"), ["e"])
    others.add((True, ""), ["f"])
    both = answers | others
    assert both.results == {"accepted": 4, "duplicate": 1, "blocked": 1}
    assert both.ids[True, ""] == ["a", "b", "f"]
    assert answers.ids[True, ""] == ["a", "b"]
