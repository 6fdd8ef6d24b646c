"""Hosts of somebody else's choice: looked up once, judged whole, and dialled where they were judged."""

import socket
import threading
from collections.abc import Sequence

import pytest
import trio
import trio.testing

from gateway.serve.dialling import NotPublic, connected, dialler, resolver

PUBLIC = ("93.184.216.34", "2606:2800:220:1::1")


class World:
    """A name server, and hosts of which some refuse."""

    def __init__(self, *addresses: str, refusing: Sequence[str] = ()) -> None:
        self.addresses, self.refusing = addresses, refusing
        self.stream = trio.testing.memory_stream_pair()[0]
        self.dialled: list[tuple[str, str]] = []

    async def resolve(self, name: str) -> Sequence[str]:
        return self.addresses

    async def dial(self, address: str, name: str) -> trio.abc.Stream:
        self.dialled.append((address, name))
        if address in self.refusing:
            raise OSError(f"{address} refuses")
        return self.stream

    async def connected(self) -> trio.abc.Stream:
        return await connected("a.example", self.resolve, self.dial)


async def test_one_address_is_dialled_and_the_next_where_it_refuses() -> None:
    world = World(*PUBLIC, refusing=PUBLIC[:1])
    assert await world.connected() is world.stream
    assert world.dialled == [(address, "a.example") for address in PUBLIC]
    world = World(*PUBLIC)
    await world.connected()
    assert world.dialled == [(PUBLIC[0], "a.example")]


async def test_the_last_refusal_is_told() -> None:
    world = World(*PUBLIC, refusing=PUBLIC)
    with pytest.raises(OSError, match=PUBLIC[1]):
        await world.connected()


@pytest.mark.parametrize("addresses", [(), ("127.0.0.1",), (*PUBLIC, "10.0.0.1"), ("fe80::1", *PUBLIC)])
async def test_one_address_that_is_not_public_is_enough_to_dial_none(addresses: Sequence[str]) -> None:
    world = World(*addresses)
    with pytest.raises(NotPublic):
        await world.connected()
    assert world.dialled == []


async def test_the_real_dialler_goes_where_it_is_told_and_nowhere_else() -> None:
    # Port 443 of this machine is closed here: that it was asked shows that no name was looked up again.
    with pytest.raises(OSError, match="refused"):
        await dialler()("127.0.0.1", "demo.example.com")


async def test_names_are_looked_up_on_threads_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def lookup(name: str, port: int, **_options: object) -> list[tuple[object, ...]]:
        asked.append(name)
        if threading.current_thread() is threading.main_thread():
            raise AssertionError("the loop would stand still")
        return [(0, 0, 0, "", (address, port)) for address in ("192.0.2.1", "192.0.2.1", "2001:db8::1")]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    assert await resolver()("a.example") == ["192.0.2.1", "2001:db8::1"]
    assert asked == ["a.example."]
