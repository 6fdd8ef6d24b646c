"""A TOML text and an environment give one configuration, or one sentence that names the key."""

from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Config
from gateway.configtext import KUBERNETES_LINKS, known_paths, masked, parse, secret_files, with_secrets
from gateway.errors import ConfigInvalid


def refused(text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigInvalid) as refusal:
        parse(text, environ or {})
    return str(refusal.value)


def outcome(text: str, environ: dict[str, str]) -> Config | str:
    """What comes of it; any other exception than the typed refusal fails the test."""
    try:
        return parse(text, environ)
    except ConfigInvalid as refusal:
        return str(refusal)


def test_nothing_said_is_the_defaults() -> None:
    assert parse("", {}) == Config()


def test_the_environment_wins_over_the_file() -> None:
    config = parse('[server]\npublic_url = "http://file"\n', {"GATEWAY_PUBLIC_URL": "http://environment"})
    assert config.server.public_url == "http://environment"


@pytest.mark.parametrize(
    ("name", "value", "path"),
    [
        ("GATEWAY_PUBLIC_URL", "https://gw.example.com", "server.public_url"),
        ("GATEWAY_REGISTRATION_SECRET", "s", "registration.secret"),
        ("GATEWAY_DEFAULT_TOKEN_TTL", "60", "tokens.default_ttl_s"),
        ("GATEWAY_TOKEN_REFRESH_WINDOW", "30", "tokens.refresh_window_s"),
        ("GATEWAY_REGISTRATION_TTL", "30", "registration.ttl_s"),
        ("GATEWAY_METRICS_PATH", "/m", "metrics.path"),
    ],
)
def test_the_original_gateways_variables_keep_their_names(name: str, value: str, path: str) -> None:
    node: object = parse("", {name: value})
    for part in path.split("."):
        node = getattr(node, part)
    assert str(node) == value


def test_every_key_has_a_variable() -> None:
    samples = {
        "server.bind": "127.0.0.1:1",
        "server.public_url": "http://x",
        "push.policy": "open",
        "metrics.path": "/x",
    }
    samples |= {"fcm.base_url": "http://x", "server.shutdown_s_max": "5"}
    for path in known_paths():
        default: object = Config()
        if "*" not in path:
            for part in path.split("."):
                default = getattr(default, part)
        value = samples.get(path, "true" if isinstance(default, bool) else str(default or "x").strip("()"))
        name = "GATEWAY_" + path.replace("*", "some").replace(".", "_").upper()
        assert "unknown" not in str(outcome("", {name: value}))


def test_a_variable_reaches_into_a_section_that_the_file_names() -> None:
    config = parse(
        '[instances."demo.example.com"]\nurl = "http://x"\n', {"GATEWAY_INSTANCES_DEMO_EXAMPLE_COM_SECRET": "s"}
    )
    assert config.instances["demo.example.com"].secret == "s"
    assert (
        parse("", {"GATEWAY_FCM_PROJECTS_DEFAULT_CREDENTIALS": "a.json"}).fcm.projects["default"].credentials
        == "a.json"
    )


def test_lists_and_switches_are_read_from_variables() -> None:
    assert parse("", {"GATEWAY_PUSH_BLOCK": "a.example, b.example"}).push.block == ("a.example", "b.example")
    assert parse("", {"GATEWAY_MIRROR_ENABLED": "off"}).mirror.enabled is False
    assert "true or false" in refused("", {"GATEWAY_MIRROR_ENABLED": "maybe"})


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[server]\nbnd = 1", ["server.bnd", "server.bind"]),
        ("[push]\nanswer_wait = 1", ["push.answer_wait", "push.answer_wait_s"]),
        ("[fcm.projects.default]\ncredential = 1", ["fcm.projects.default.credential", "credentials"]),
        ("[servr]\nbind = 1", ["servr", "server"]),
        ("bind = 1", ["bind", "server.bind"]),
        ("[metrics.path]\nx = 1", ["metrics.path", "str"]),
        ("server = 1", ["server", "section"]),
        ("[instances]\nx = 1", ["instances.x", "section"]),
        ('[server]\nconnections_max = "many"', ["server.connections_max", "int", "many"]),
        ("[server", ["TOML", "]"]),
    ],
)
def test_a_refusal_names_the_key_and_what_would_be_right(text: str, names: list[str]) -> None:
    sentence = refused(text)
    assert all(name in sentence for name in names), sentence


def test_an_unknown_variable_is_refused_with_the_nearest_name() -> None:
    assert "GATEWAY_SERVER_PUBLIC_URL" in refused("", {"GATEWAY_SERVER_PUBLC_URL": "x"})


def test_kubernetes_own_variables_for_a_service_called_gateway_are_passed_over() -> None:
    links = {
        "GATEWAY_SERVICE_HOST": "10.0.0.1",
        "GATEWAY_PORT": "tcp://10.0.0.1:80",
        "GATEWAY_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert parse("", links) == Config()
    assert not any(KUBERNETES_LINKS.fullmatch("GATEWAY_" + path.replace(".", "_").upper()) for path in known_paths())


def test_the_legacy_server_key_is_refused_with_a_way_on() -> None:
    assert "service account" in refused("", {"FCM_SERVER_KEY": "AAAA"})
    assert "service account" in refused("", {"GATEWAY_FCM_SERVER_KEY": "AAAA"})
    assert "service account" in refused('[fcm]\nserver_key = "AAAA"\n')


def test_relative_paths_in_the_file_start_where_it_lies_and_variables_do_not() -> None:
    text = '[fcm.projects.default]\ncredentials = "sa.json"\n[registration]\nsecret_file = "/run/secret"\n'
    config = parse(text, {"GATEWAY_FCM_CA_FILE": "ca.pem"}, PurePath("/etc/heliograph"))
    assert config.fcm.projects["default"].credentials == "/etc/heliograph/sa.json"
    assert config.registration.secret_file == "/run/secret"
    assert config.fcm.ca_file == "ca.pem"


def test_secrets_in_files_are_put_in_place() -> None:
    text = '[registration]\nsecret_file = "/r"\n[workers.a]\nsecret_file = "/w"\n[workers.b]\nsecret = "b"\n'
    config = parse(text, {})
    assert secret_files(config) == ("/r", "/w")
    filled = with_secrets(config, {"/r": "one\n", "/w": "two"})
    assert (filled.registration.secret, filled.workers["a"].secret, filled.workers["b"].secret) == ("one", "two", "b")
    with pytest.raises(ConfigInvalid, match="empty"):
        with_secrets(config, {"/r": "\n", "/w": "two"})


def test_no_secret_is_shown_neither_masked_nor_in_a_refusal() -> None:
    text = '[registration]\nsecret = "hush"\n[instances."a.b"]\nsecret = "hush"\n[workers.w]\nsecret = "hush"\n'
    assert "hush" not in str(masked(parse(text, {})))
    assert str(masked(parse(text, {}))).count("********") == 3
    assert "4711" not in refused("[registration]\nsecret = 4711\n")


@given(st.text(max_size=200))
def test_any_text_gives_a_configuration_or_a_refusal(text: str) -> None:
    assert outcome(text, {})


@given(st.dictionaries(st.from_regex(r"GATEWAY_[A-Z_]{0,30}", fullmatch=True), st.text(max_size=20), max_size=3))
def test_any_environment_gives_a_configuration_or_a_refusal(environ: dict[str, str]) -> None:
    assert outcome("", environ)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
)
keys = st.sampled_from(sorted({part for path in known_paths() for part in path.split(".")}))


@given(st.recursive(json_like, lambda inner: st.dictionaries(keys, inner, max_size=4)))
def test_any_tree_of_known_names_gives_a_configuration_or_a_refusal(tree: object) -> None:
    from gateway.cli.config import toml  # noqa: PLC0415 - only this test writes TOML

    if not isinstance(tree, dict) or "None" in str(tree):
        return
    assert outcome(toml(tree), {})
