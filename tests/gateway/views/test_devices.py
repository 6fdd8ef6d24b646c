"""The devices view: the last issuedAt decides, whatever the order, the batches or the restarts."""

import json
import sqlite3
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.record import Record
from gateway.facts import Accepted, Deregistered, Fact, Registered, Removed, draft
from gateway.views.devices import DevicesView

NOW = 1_763_126_872_000
MINUTE = 60_000


def record(seq: int, fact: Fact, at_ms: int = NOW, subject: bytes = b"s" * 16) -> Record:
    made = draft(fact, ts_ns=at_ms * 1_000_000, subject=subject, salt=b"x" * 16)
    return Record(seq, made.schema, made.ts_ns, made.kind, made.subject, b"", made.payload)


def registered(
    user: str = "alice", target: str = "t1", issued: int = NOW, tenant: str = "a", most: int = 64
) -> Registered:
    return Registered(
        tenant=tenant,
        user=user,
        target=target,
        target_kind="token",
        platform="ios",
        app_id="app",
        issued_ms=issued,
        expires_ms=issued + 300_000,
        nonce="n",
        devices_max=most,
        digest=b"d",
        signature="",
        body=b"",
    )


def deregistered(user: str = "alice", target: str = "t1", issued: int = NOW, tenant: str = "a") -> Deregistered:
    return Deregistered(
        tenant=tenant,
        user=user,
        target=target,
        target_kind="token",
        issued_ms=issued,
        expires_ms=issued + 300_000,
        nonce="n",
        digest=b"d",
        signature="",
        body=b"",
    )


def folded(*facts: Fact, batch: int = 100) -> DevicesView:
    view = DevicesView(sqlite3.connect(":memory:"))
    records = [record(seq, fact) for seq, fact in enumerate(facts)]
    for start in range(0, len(records), batch):
        part = records[start : start + batch]
        view.apply(part, part[-1].seq + 1)
    return view


def targets(view: DevicesView, user: str = "alice", tenant: str = "a") -> list[str]:
    return [device.target for device in view.devices(tenant, user)]


def test_a_registered_device_is_its_users() -> None:
    view = folded(registered())
    assert targets(view) == ["t1"]
    assert view.holder("a", "token", "t1") == "alice"
    assert view.devices("a", "alice")[0].app_id == "app"
    assert view.holder("a", "fid", "t1") is None


def test_registering_again_moves_a_token_to_the_next_user() -> None:
    view = folded(registered("alice"), registered("bob", issued=NOW + 1))
    assert (targets(view, "alice"), targets(view, "bob")) == ([], ["t1"])


def test_across_tenants_the_same_token_stays_separate() -> None:
    view = folded(registered(tenant="a"), registered(tenant="b"), deregistered(tenant="a", issued=NOW + 1))
    assert (targets(view, tenant="a"), targets(view, tenant="b")) == ([], ["t1"])


def test_an_older_envelope_never_undoes_a_later_one() -> None:
    assert targets(folded(deregistered(issued=NOW), registered(issued=NOW - 1))) == []
    assert targets(folded(registered(issued=NOW), deregistered(issued=NOW - 1))) == ["t1"]
    moved = folded(registered("bob", issued=NOW), registered("alice", issued=NOW - 1))
    assert (targets(moved, "alice"), targets(moved, "bob")) == ([], ["t1"])
    assert moved.superseded("a", "token", "t1", NOW - 1)
    assert not moved.superseded("a", "token", "t1", NOW)


def test_only_the_holder_deregisters_and_yet_the_time_counts() -> None:
    view = folded(registered("alice"), deregistered("bob", issued=NOW + 5))
    assert targets(view, "alice") == ["t1"]
    assert view.superseded("a", "token", "t1", NOW + 4)


def test_who_has_left_a_device_is_known_while_another_has_it_or_the_mark_of_its_going_stands() -> None:
    kept, moved, closed = (
        folded(registered()),
        folded(registered(), registered("bob", issued=NOW + 1)),
        folded(registered(), deregistered(issued=NOW + 1)),
    )
    assert not kept.has_left("alice", "a", "token", "t1")
    assert moved.has_left("alice", "a", "token", "t1")
    assert not moved.has_left("bob", "a", "token", "t1")
    assert closed.has_left("alice", "a", "token", "t1")
    assert not kept.has_left("alice", "a", "token", "never registered")


def test_beyond_the_limit_the_least_recently_registered_goes() -> None:
    view = folded(
        *(registered(target=f"t{n}", issued=NOW + n, most=3) for n in range(3)),
        registered(target="t0", issued=NOW + 10, most=3),
        registered(target="t9", issued=NOW + 11, most=3),
    )
    assert targets(view) == ["t2", "t0", "t9"]


def test_what_fcm_called_gone_is_removed_and_can_be_registered_again() -> None:
    gone = Removed("a", "alice", "t1", "token", "unregistered")
    assert targets(folded(registered(), gone)) == []
    assert targets(folded(registered(), gone, registered(issued=NOW + 1))) == ["t1"]
    assert targets(folded(registered(), gone, registered(issued=NOW - 1))) == []


def test_a_mark_is_dropped_once_no_older_envelope_can_be_valid() -> None:
    view = folded(registered(), deregistered(issued=NOW + 1))
    view.apply([record(2, registered("x", "other", NOW + 11 * MINUTE), NOW + 11 * MINUTE)], 3)
    assert view.superseded("a", "token", "t1", NOW)
    view.apply([record(3, registered("x", "other", NOW + 12 * MINUTE), NOW + 12 * MINUTE)], 4)
    assert not view.superseded("a", "token", "t1", NOW)
    assert view.db.execute("SELECT COUNT(*) FROM device").fetchone() == (1,)


def test_a_users_records_stand_under_the_first_pseudonym() -> None:
    view = folded(registered())
    assert view.pseudonym("a", "alice") == b"s" * 16
    assert view.pseudonym("b", "alice") is None
    accepted = Accepted("a", "carol", "n", None, None, NOW, (), "", b"")
    view.apply([record(1, accepted, subject=b"c" * 16)], 2)
    assert view.pseudonym("a", "carol") == b"c" * 16


def test_an_erased_record_changes_nothing() -> None:
    whole = record(0, registered())
    view = DevicesView(sqlite3.connect(":memory:"))
    view.apply([Record(0, whole.schema, whole.ts_ns, whole.kind, whole.subject, b"", None)], 1)
    assert targets(view) == []


moves = st.lists(
    st.tuples(
        st.sampled_from(["register", "deregister", "removed"]),
        st.sampled_from(["alice", "bob"]),
        st.sampled_from(["t1", "t2", "t3"]),
        st.integers(0, 6),
    ),
    max_size=25,
)


def facts_of(moves: Sequence[tuple[str, str, str, int]]) -> list[Fact]:
    made: list[Fact] = []
    for action, user, target, issued in moves:
        if action == "register":
            made.append(registered(user, target, NOW + issued, most=2))
        elif action == "deregister":
            made.append(deregistered(user, target, NOW + issued))
        else:
            made.append(Removed("a", user, target, "token", "unregistered"))
    return made


def oracle(facts: Sequence[Fact]) -> dict[str, str]:
    """Slow and plain: target -> holder."""
    last: dict[str, int] = {}
    holders: dict[str, tuple[str, int]] = {}
    for seq, fact in enumerate(facts):
        if isinstance(fact, Removed):
            holders.pop(fact.target, None)
        elif isinstance(fact, Registered) and fact.issued_ms >= last.get(fact.target, 0):
            last[fact.target] = fact.issued_ms
            holders[fact.target] = (fact.user, seq)
            mine = sorted((at, target) for target, (user, at) in holders.items() if user == fact.user)
            for _, target in mine[: -fact.devices_max]:
                del holders[target]
        elif isinstance(fact, Deregistered) and fact.issued_ms >= last.get(fact.target, 0):
            last[fact.target] = fact.issued_ms
            if fact.target in holders and holders[fact.target][0] == fact.user:
                del holders[fact.target]
    return {target: user for target, (user, _) in holders.items()}


@given(moves, st.integers(1, 5))
def test_any_history_ends_as_the_oracle_says_with_one_digest_for_all_batch_sizes(
    moves: list[tuple[str, str, str, int]], batch: int
) -> None:
    facts = facts_of(moves)
    whole, parts = folded(*facts), folded(*facts, batch=batch)
    assert whole.digest() == parts.digest()
    held = {target: user for user in ("alice", "bob") for target in targets(whole, user)}
    assert held == oracle(facts)
    reopened = DevicesView(whole.db)
    for view in (whole, parts, reopened):
        assert view.held("a") == len(held)
        assert view.tenants() == (["a"] if held else [])
        assert sum(view.held_by("a", user) for user in ("alice", "bob")) == len(held)


@pytest.mark.parametrize("kind", sorted(DevicesView.kinds))
def test_every_kind_is_a_push_fact(kind: str) -> None:
    assert kind.startswith("push.")


def test_a_subscription_is_one_device_by_its_endpoint_whatever_its_keys() -> None:
    url = "https://push.example.net/x"

    def whole(auth: str) -> str:
        return json.dumps({"endpoint": url, "keys": {"auth": auth, "p256dh": "k"}}, separators=(",", ":"))

    def made(fact: Registered | Deregistered) -> Registered | Deregistered:
        return msgspec.structs.replace(fact, target_kind="webpush")

    old, fresh = made(registered(target=whole("old"))), made(registered(target=whole("new"), issued=NOW + 1))
    view = folded(old, fresh)
    assert targets(view) == [whole("new")]
    assert view.holder("a", "webpush", url) == view.holder("a", "webpush", whole("old")) == "alice"
    gone = Removed("a", "alice", whole("old"), "webpush", "gone")
    assert targets(folded(old, fresh, gone)) == []
    assert targets(folded(old, fresh, made(deregistered(target=url, issued=NOW + 2)))) == []
    assert view.superseded("a", "webpush", url, NOW)
