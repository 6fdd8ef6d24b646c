"""`log erase` refuses what is unclear before it touches anything, and says what it did."""

from pathlib import Path

import click
import pytest
import trio

from eventlog.disk.log import open_log
from gateway.cli.log.erase import refuse_names, told
from gateway.errors import Unavailable
from gateway.facts import Registered, draft
from gateway.nostr.key import npub
from gateway.views.subjects import NostrKey, PushToken, Subject, User
from tests.eventlog.logs import running
from tests.fakes import FakeClock
from tests.gateway.cli.log.calls import AT, run

KEY = "ab" * 32


@pytest.mark.parametrize(
    ("subject", "says"),
    [
        ("alice", "user:TENANT/USERID, token:PUSH-TOKEN or nostr:PUBKEY"),
        (KEY, "user:TENANT/USERID, token:PUSH-TOKEN or nostr:PUBKEY"),
        ("user:alice", "user: is followed by TENANT/USERID"),
        ("token:", "token: is followed by a push token"),
        ("nostr:alice", "nostr: is followed by a key"),
    ],
)
def test_an_unclear_subject_is_asked_back(tmp_path: Path, subject: str, says: str) -> None:
    result = run("erase", "--data", str(tmp_path), "--subject", subject, "--by", "me")
    assert result.exit_code == 2
    assert says in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_erased_for_nobody(tmp_path: Path) -> None:
    assert run("erase", "--data", str(tmp_path), "--subject", "token:x").exit_code == 2
    assert run("erase", "--data", str(tmp_path), "--subject", "token:x", "--by", " ").exit_code == 2


def test_where_there_is_no_log_none_is_made(tmp_path: Path) -> None:
    result = run("erase", "--data", str(tmp_path), "--subject", "token:x", "--by", "me")
    assert isinstance(result.exception, Unavailable)
    assert list(tmp_path.iterdir()) == []


async def test_a_user_who_is_not_there_is_told_where_the_same_id_is(data: Path) -> None:
    fact = Registered("slug", "alice", "tok-1", "token", "ios", "", 1, 2, "nonce", 64, b"", "", b"{}")
    async with running(open_log(data, FakeClock())) as log:
        await log.append_many([draft(fact, ts_ns=AT, salt=b"s" * 16)])
    for subject, more in (("user:takos.example/alice", "; this user id is known of: slug"), ("token:tok-2", "")):
        result = await trio.to_thread.run_sync(run, "erase", "--data", str(data), "--subject", subject, "--by", "me")
        assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "erased: 0 records")
        assert result.stderr == f"nothing in the log is about this subject any more, or ever was{more}\n"


@pytest.mark.parametrize(
    ("subject", "by"),
    [
        (User("takos.example", "alice"), "Alice herself"),
        (PushToken("tok-1"), "owner of tok-1"),
        (NostrKey(KEY), KEY.upper()),
        (NostrKey(KEY), npub(KEY)),
    ],
)
def test_the_record_of_an_erasure_may_not_name_whom_it_was_about(subject: Subject, by: str) -> None:
    refuse_names(subject, "ticket 17", "asked by mail")
    for words in ((by, ""), ("ticket 17", by)):
        with pytest.raises(click.BadParameter, match="must not name"):
            refuse_names(subject, *words)


def test_what_was_done_is_told_by_kind() -> None:
    found = {
        "records": 3,
        "kinds": {"push.accepted": 2, "push.registered": 1},
        "views": ["devices"],
        "torn": ["torn-1"],
    }
    assert told(found, dry_run=False).splitlines() == [
        "erased: 3 records",
        "  push.accepted: 2",
        "  push.registered: 1",
        "views made anew: devices",
        "torn tails that were kept aside, removed since they may hold anything: torn-1",
    ]
    assert told({**found, "views": [], "torn": []}, dry_run=True).startswith("would erase: 3")
