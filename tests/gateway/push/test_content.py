"""What the log keeps of either door can be read again, and becomes an FCM message."""

from gateway.facts import Accepted
from gateway.push.content import content_of, fcm
from gateway.push.envelope import Notification
from gateway.push.manner import Manner
from gateway.push.matrix import MatrixEvent, event_bytes


def accepted(tenant: str, body: bytes) -> Accepted:
    return Accepted(tenant, "u", "id", None, None, 0, (), "", body)


def test_each_doors_content_is_read_as_what_it_is_by_its_tenant() -> None:
    event = MatrixEvent("$1", {"event_id": "$1"}, sound="bing")
    assert content_of(accepted("matrix:app", event_bytes(event))) == (event, False)
    content, dry_run = content_of(
        accepted("a.example.com", b'{"dryRun":true,"notification":{"id":"n","type":"like","message":"m"}}')
    )
    assert isinstance(content, Notification)
    assert (content.id, dry_run) == ("n", True)


def test_a_notification_is_shown_and_an_event_is_data_alone() -> None:
    shown = fcm(Notification("n", "like", "m", "", "", "", None), "fid", "d", "title", Manner(False, None, "c"))
    assert shown["fid"] == "d"
    assert shown["notification"]["title"] == "title"
    assert (shown["android"]["priority"], shown["android"]["collapse_key"]) == ("NORMAL", "c")
    event = MatrixEvent("$1", {"event_id": "$1"})
    assert "notification" not in fcm(event, "token", "d", "title", Manner(True, None, "c"))
