"""The relations that a configuration must keep, one planted breach each."""

import math

import msgspec
import pytest

from gateway.config import (
    FCM,
    APNs,
    Config,
    Firebase,
    Instance,
    Matrix,
    MatrixApp,
    Mirror,
    Policy,
    Project,
    Push,
    PushType,
    Relay,
    Server,
    Tokens,
    WebPush,
    Worker,
    host_and_port,
    refuse_impossible,
)
from gateway.errors import ConfigInvalid


def test_the_defaults_hold() -> None:
    refuse_impossible(Config())


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (Config(server=Server(bind="8080")), "server.bind"),
        (Config(server=Server(bind="127.0.0.1:65536")), "65535"),
        (Config(server=Server(public_url="gw.example.com")), "server.public_url"),
        (Config(push=Push(types={"like": PushType(priority="low")})), "push.types.like.priority"),
        (Config(push=Push(types={"like": PushType(collapse="user")})), "push.types.like.collapse"),
        (Config(push=Push(types={"like": PushType(device_ttl_s=-1)})), "push.types.like.device_ttl_s"),
        (Config(server=Server(shutdown_s_max=30)), "under 10"),
        (Config(server=Server(head_s_max=-1)), "server.head_s_max"),
        (Config(server=Server(connections_max=0)), "server.connections_max"),
        (Config(push=Push(policy="closed")), "allowlist"),
        (Config(push=Push(answer_wait_s=math.nan)), "push.answer_wait_s: must be a finite"),
        (Config(push=Push(answer_wait_s=math.inf)), "push.answer_wait_s: must be a finite"),
        (Config(fcm=FCM(base_url="ftp://x")), "fcm.base_url"),
        (Config(fcm=FCM(base_url="http://")), "fcm.base_url"),
        (Config(fcm=FCM(base_url="http://x:99999")), "fcm.base_url"),
        (Config(fcm=FCM(base_url="http://x y")), "fcm.base_url"),
        (Config(fcm=FCM(base_url="http://[::1")), "fcm.base_url"),
        (Config(fcm=FCM(send_s_max=9.9)), "fcm.send_s_max"),
        (Config(fcm=FCM(projects={"a": Project()})), "fcm.projects.a.credentials"),
        (Config(webpush=WebPush(contact="ops@example.com")), "webpush.contact"),
        (Config(relay=Relay(membership="closed")), "relay.membership"),
        (Config(relay=Relay(membership="invite")), "relay.admins"),
        (
            Config(relay=Relay(membership="invite", admins=("a" * 64,), policy=Policy(allow_keys=("b" * 64,)))),
            "allow_keys",
        ),
        (Config(relay=Relay(compare_events_max=10**7)), "compare_events_max"),
        (Config(push=Push(policy="allowlist")), "push.allow"),
        (Config(tokens=Tokens(default_ttl_s=10, ttl_s_max=9)), "tokens.ttl_s_max"),
        (Config(relay=Relay(limit_default=6000)), "relay.limit_max"),
        (Config(relay=Relay(content_chars_max=131_072)), "relay.message_bytes_max"),
        (Config(relay=Relay(unread_bytes_max=1)), "relay.unread_bytes_max"),
        (Config(mirror=Mirror(limit_default=6000)), "mirror.limit_max"),
        (Config(mirror=Mirror(frame_bytes_max=1 << 30)), "log.queue_bytes_max"),
        (Config(workers={"w": Worker()}), "workers.w"),
        (Config(workers={"w": Worker(secret="a", secret_file="b")}), "secret_file"),
        (Config(instances={"external:x": Instance()}), "slug"),
        (Config(instances={"a.b": Instance(notifications_per_day=-1)}), "0 or more"),
        (Config(instances={"matrix:x": Instance(domain="a.b")}), "Matrix door"),
        (Config(firebase=Firebase(api_key="k")), "firebase"),
        (Config(apns=APNs(base_url="http://localhost")), "apns.base_url"),
        (Config(apns=APNs(base_url="https://")), "apns.base_url"),
        (Config(matrix=Matrix(apps={"a": MatrixApp(way="apns")})), "apns.apps.a"),
        (Config(matrix=Matrix(apps={"a": MatrixApp(project="p")})), "matrix.apps.a.project"),
        (
            Config(matrix=Matrix(apps={"a": MatrixApp(way="webpush")}), webpush=WebPush(enabled=False)),
            "webpush.enabled",
        ),
        (Config(matrix=Matrix(secret="a", secret_file="b")), "secret_file"),
        (Config(instances={"a.b": Instance(url="http://x", public_key="y")}), "public_key"),
    ],
)
def test_an_impossible_relation_is_refused_and_named(config: Config, names: str) -> None:
    with pytest.raises(ConfigInvalid, match=names.replace(".", r"\.")):
        refuse_impossible(config)


def test_a_limit_of_nothing_is_allowed_only_where_it_means_something() -> None:
    refuse_impossible(Config(push=Push(answer_wait_s=0)))
    with pytest.raises(ConfigInvalid, match="more than 0"):
        refuse_impossible(Config(push=Push(ttl_s=0)))


def test_a_configuration_cannot_be_changed_once_made() -> None:
    with pytest.raises(AttributeError):
        Config().data = "elsewhere"  # type: ignore[misc]
    assert msgspec.structs.replace(Config(), data="elsewhere").data == "elsewhere"


def test_an_address_may_be_ipv6() -> None:
    assert host_and_port("[::1]:0") == ("::1", 0)


@pytest.mark.parametrize("bind", ["", "8080", ":8080", "localhost", "[::1", "[]:80", "h:65536", "h:-1", "h:http"])
def test_an_address_that_is_none_is_refused(bind: str) -> None:
    with pytest.raises(ConfigInvalid, match="HOST:PORT"):
        host_and_port(bind)
