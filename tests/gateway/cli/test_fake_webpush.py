"""The fake push service's command: its help lists every failure, and what it serves can be tried out with curl."""

import json

from click.testing import CliRunner

from gateway.cli.fake_webpush import command
from gateway.serve.fakes.webpush import FAILURES, FakePushService


def test_the_help_lists_every_failure() -> None:
    told = CliRunner().invoke(command, ["--help"]).output.split()
    assert set(FAILURES) <= set(told)


def test_a_browser_is_made_and_told_of_over_http() -> None:
    fake = FakePushService(url="http://127.0.0.1:9100")
    made = json.loads(fake.reply("POST", "/subscribe/alice", {}, b"unavailable:1").body)
    assert made["endpoint"] == "http://127.0.0.1:9100/push/alice"
    assert fake.reply("POST", "/push/alice", {"ttl": "60"}, b"x").status == 503
    assert fake.reply("POST", "/push/alice", {"ttl": "60", "content-encoding": "aes128gcm"}, b"x").status == 403
    told = json.loads(fake.reply("GET", "/sent", {}, b"").body)
    assert [(one["name"], one["status"], one["ttl"]) for one in told["sent"]] == [
        ("alice", 503, "60"),
        ("alice", 403, "60"),
    ]
    fake.reply("DELETE", "/sent", {}, b"")
    assert not fake.sent


def test_a_failure_that_there_is_not_is_refused_by_name() -> None:
    for body in (b"gremlins", b"gone:often"):
        answer = FakePushService().reply("POST", "/subscribe/alice", {}, body)
        assert answer.status == 400
