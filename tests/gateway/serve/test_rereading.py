"""Reading the configuration again: what may change does, what may not is named, and a bad file changes nothing."""

import os
import signal
from pathlib import Path

import pytest
import structlog.testing
import trio
from msgspec import structs

from gateway.config import Config, Instance, Matrix, MatrixApp, Policy, Push, Relay, Server
from gateway.configtext import parse
from gateway.errors import ConfigInvalid
from gateway.serve.custody.control import WRONG, ControlRefused
from gateway.serve.rereading import Rereading, differing, merged

OLD = Config()


class World:
    """A file that can change, and what was applied of it."""

    def __init__(self) -> None:
        self.file: Config | str = OLD
        self.applied: list[Config] = []
        self.refuses = ""
        self.rereading = Rereading(OLD, self.read, self.apply)

    def read(self) -> Config:
        if isinstance(self.file, str):
            raise ConfigInvalid(self.file)
        return self.file

    def apply(self, config: Config) -> None:
        if self.refuses:
            raise ConfigInvalid(self.refuses)
        self.applied.append(config)


def test_instances_lists_and_quotas_change_and_the_rest_waits() -> None:
    new = Config(
        instances={"a.example": Instance(public_key="k")},
        push=Push(policy="allowlist", allow=("a.example",), notifications_per_day=5, title="other", ttl_s=60),
        server=Server(connections_max=5),
        relay=Relay(policy=Policy(block_keys=("k",), plugin="/bin/true"), name="other"),
        matrix=Matrix(apps={"app": MatrixApp()}),
    )
    made = merged(OLD, new)
    assert differing(OLD, made) == [
        "instances.a.example.devices_per_tenant_max",
        "instances.a.example.devices_per_user_max",
        "instances.a.example.domain",
        "instances.a.example.notifications_per_day",
        "instances.a.example.notifications_per_minute",
        "instances.a.example.public_key",
        "instances.a.example.queued_per_tenant_max",
        "instances.a.example.rate_per_instance",
        "instances.a.example.secret",
        "instances.a.example.secret_file",
        "instances.a.example.tenant",
        "instances.a.example.url",
        "push.allow",
        "push.notifications_per_day",
        "push.policy",
        "relay.policy.block_keys",
    ]
    waiting = differing(made, new)
    assert {"push.title", "push.ttl_s", "server.connections_max", "relay.name", "relay.policy.plugin"} <= set(waiting)
    assert any(path.startswith("matrix.apps.app.") for path in waiting)


def test_an_app_of_the_matrix_door_that_is_served_already_gets_its_new_quotas() -> None:
    old = Config(matrix=Matrix(apps={"app": MatrixApp()}))
    new = Config(matrix=Matrix(apps={"app": MatrixApp(notifications_per_day=3, way="apns")}))
    assert merged(old, new).matrix.apps["app"] == MatrixApp(notifications_per_day=3)
    assert merged(old, Config()) == old


async def test_what_was_read_is_applied_once_and_told() -> None:
    it = World()
    it.file = structs.replace(OLD, push=Push(block=("b.example",), title="x"))
    assert await it.rereading.reread() == {"changed": ["push.block"], "needs_restart": ["push.title"]}
    assert await it.rereading.reread() == {"changed": [], "needs_restart": ["push.title"]}
    assert it.applied[-1] == structs.replace(OLD, push=Push(block=("b.example",)))


@pytest.mark.parametrize("where", ["the file", "the services", "both together"])
async def test_a_file_that_is_wrong_changes_nothing_and_the_operator_is_told_why(where: str) -> None:
    it = World()
    if where == "the file":
        it.file = "push.titel is not known"
    elif where == "the services":
        it.refuses = "two slugs name one domain"
    else:  # a policy that takes effect, of a list that does: whole or not at all
        it.file = structs.replace(OLD, push=structs.replace(OLD.push, policy="allowlist"))
    with pytest.raises(ControlRefused, match="the old configuration stays in force") as refused:
        await it.rereading.answer({})
    assert refused.value.code == WRONG
    assert it.applied == []
    it.file, it.refuses = structs.replace(OLD, push=Push(block=("b.example",))), ""
    assert (await it.rereading.answer({}))["changed"] == ["push.block"]


async def test_sighup_reads_it_again_and_a_bad_file_ends_nothing() -> None:
    it = World()
    with structlog.testing.capture_logs() as lines, trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(it.rereading.run)
            for file in ("bad", structs.replace(OLD, push=Push(block=("b.example",)))):
                it.file = file
                before = len(lines)
                os.kill(os.getpid(), signal.SIGHUP)
                while len(lines) == before:  # noqa: ASYNC110 - a log line wakes nobody
                    await trio.sleep(0.005)
            nursery.cancel_scope.cancel()
    assert [line["log_level"] for line in lines] == ["error", "info"]
    assert lines[0]["error"] == "bad"
    assert lines[1]["changed"] == ["push.block"]
    assert len(it.applied) == 1


def test_no_value_is_told_since_some_are_secrets(tmp_path: Path) -> None:
    one = parse('[instances."a.example"]\nsecret = "hush-hush"\n', {}, tmp_path)
    other = parse('[instances."a.example"]\nsecret = "another"\n', {}, tmp_path)
    assert differing(one, other) == ["instances.a.example.secret"]
