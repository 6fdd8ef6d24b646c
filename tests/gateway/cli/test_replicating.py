"""What the mirror commands share."""

import click
import pytest

from gateway.cli.replicating import at_url, filter_of, hashed, own_relay, run
from gateway.client.line import LineLost
from gateway.client.station import RequestRefused
from gateway.errors import ApiRefused, Unavailable
from tests.worker import relay_id


async def test_the_gateways_own_relay_is_found_from_its_url() -> None:
    assert await own_relay("http://127.0.0.1:8080/").url() == "ws://127.0.0.1:8080/relay"
    assert await own_relay("https://gw.example").url() == "wss://gw.example/relay"


def test_a_url_of_no_relay_is_a_usage_error() -> None:
    for url in ("nonsense", "http://127.0.0.1:8080", ""):
        with pytest.raises(click.UsageError, match="ws://"):
            at_url(url, "other")


def test_a_filter_is_an_object_and_nothing_else() -> None:
    assert (filter_of(None), filter_of('{"kinds":[1]}')) == ({}, {"kinds": [1]})
    for text in ("", "[]", "{", "1"):
        if text:
            with pytest.raises(click.UsageError):
                filter_of(text)


def test_a_name_is_hashed_and_a_hash_is_taken() -> None:
    assert hashed("A  b") == relay_id("A b") == hashed(hashed("a b")) == hashed(hashed("a b").upper())


@pytest.mark.parametrize(
    ("failure", "told"), [(LineLost(1006, "gone"), Unavailable), (RequestRefused("no"), ApiRefused)]
)
def test_a_clients_failure_is_one_with_an_exit_code(failure: Exception, told: type[Exception]) -> None:
    async def fails() -> None:
        raise failure

    with pytest.raises(told):
        run(fails)


@pytest.mark.parametrize(
    ("lost", "sentence"), [(LineLost(1006, "cannot connect"), "cannot connect"), (LineLost(4403, "why"), "4403 why")]
)
def test_a_close_code_is_told_where_the_peer_gave_one(lost: LineLost, sentence: str) -> None:
    async def fails() -> None:
        raise lost

    with pytest.raises(Unavailable) as told:
        run(fails)
    assert str(told.value) == sentence
