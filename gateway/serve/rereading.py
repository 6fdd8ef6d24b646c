"""The configuration read again while the server runs: by SIGHUP, or by the operator's door.

What can change under a running server without anybody noticing more than the change does so at once: who may use it,
and how much. Everything else is named as waiting for a restart. Invariant: a file that is wrong in any way changes
nothing, and is told with the sentence that would have stopped a start; a change takes effect whole or not at all.
This module must not know what a key means to whoever goes by it.
"""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import structlog
import trio
from msgspec import structs, to_builtins

from gateway.config import Config, MatrixApp, Policy, Push, refuse_impossible
from gateway.errors import ConfigInvalid
from gateway.push.quota import QUOTA_FIELDS
from gateway.serve.custody.control import WRONG, ControlRefused

PUSH = ("policy", "allow", "block", *QUOTA_FIELDS)
MATRIX_APP = tuple(name for name in QUOTA_FIELDS if name in MatrixApp.__struct_fields__)
POLICY = tuple(name for name in Policy.__struct_fields__ if not name.startswith("plugin"))

Keys = tuple[str, ...]


def merged(old: Config, new: Config) -> Config:
    """What is in force as ``old`` says, with all of ``new`` that takes no restart."""
    apps = {
        name: structs.replace(app, **_those(MATRIX_APP, new.matrix.apps[name])) if name in new.matrix.apps else app
        for name, app in old.matrix.apps.items()
    }
    policy = structs.replace(old.relay.policy, **_those(POLICY, new.relay.policy))
    return structs.replace(
        old,
        instances=new.instances,
        push=structs.replace(old.push, **_those(PUSH, new.push)),
        matrix=structs.replace(old.matrix, apps=apps),
        relay=structs.replace(old.relay, policy=policy),
    )


def _those(names: Keys, section: Push | MatrixApp | Policy) -> dict[str, Any]:
    return {name: getattr(section, name) for name in names}


def differing(one: Config, other: Config) -> list[str]:
    """Every key whose value differs, as dotted paths; values are not told, since some are secrets."""
    before, after = dict(_leaves(to_builtins(one))), dict(_leaves(to_builtins(other)))
    return sorted(".".join(keys) for keys in before.keys() | after.keys() if before.get(keys) != after.get(keys))


def _leaves(value: object, keys: Keys = ()) -> Iterator[tuple[Keys, object]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*keys, key))
    elif value != {}:
        yield keys, value


class Rereading:
    """Reads the configuration again with ``read``, and has ``apply`` go by it; either raises ConfigInvalid.

    ``apply`` is given a whole configuration, and changes nothing where it raises.
    """

    def __init__(self, config: Config, read: Callable[[], Config], apply: Callable[[Config], None]) -> None:
        self._config, self._read, self._apply = config, read, apply

    async def reread(self) -> dict[str, list[str]]:
        """Read and apply; give what ``changed``, and what ``needs_restart``. Raises ConfigInvalid."""
        new = await trio.to_thread.run_sync(self._read)
        config = merged(self._config, new)
        refuse_impossible(config)  # each half may hold, and both together not
        self._apply(config)
        changed, waiting = differing(self._config, config), differing(config, new)
        self._config = config
        structlog.get_logger().info("configuration read again", changed=changed, needs_restart=waiting)
        return {"changed": changed, "needs_restart": waiting}

    async def answer(self, asked: dict[str, Any]) -> dict[str, list[str]]:
        """Do it for the operator's door."""
        del asked
        try:
            return await self.reread()
        except ConfigInvalid as why:
            raise ControlRefused(f"{why}; the old configuration stays in force", WRONG) from None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Do it at each SIGHUP, for ever; also for one that the command held back while the server started."""
        with trio.open_signal_receiver(signal.SIGHUP) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
            task_status.started()
            async for _ in signals:
                try:
                    await self.reread()
                except ConfigInvalid as why:
                    structlog.get_logger().error("the old configuration stays in force", error=str(why))
