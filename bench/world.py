"""A gateway with its fake FCM over TLS, each a process of its own, on a log that was written beforehand."""

import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import trio

from bench.takos import Takos
from eventlog.disk.log import open_log
from gateway.facts import Accepted, Fact, PushTarget, Registered, draft
from gateway.serve.clock import SystemClock

PROCESS_CLOCK = 2  # CPUCLOCK_SCHED: clock_getcpuclockid(3) as Linux makes it; /proc tells hundredths of a second alone
BATCH = 1_000
SETTLED_S_MAX = 60


@dataclass(slots=True)
class World:
    """What runs; `kill` and `start` take the server down and up again."""

    directory: Path
    fake_url: str
    url: str = ""
    process: "subprocess.Popen[str] | None" = None

    def start(self) -> None:
        """Start the server."""
        self.process, self.url = _started("serve", "--config", str(self.directory / "config.toml"))

    def kill(self) -> None:
        """End the server by SIGKILL."""
        assert self.process
        self.process.kill()
        self.process.communicate()

    def cpu_s(self) -> float:
        """User and system time of the server, all threads, by the clock that Linux keeps of each process."""
        assert self.process
        return time.clock_gettime((~self.process.pid << 3) | PROCESS_CLOCK)

    def ask(self, path: str, body: bytes | None = None) -> bytes:
        """Ask the fake FCM."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with urllib.request.urlopen(f"{self.fake_url}{path}", data=body, context=context) as answered:
            taken: bytes = answered.read()
        return taken

    def count(self) -> int:
        """How many sends the fake has taken."""
        return int(self.ask("/count"))

    def sent(self) -> list[dict[str, Any]]:
        """The sends that the fake took, in order: ``message``, and ``at_ms``."""
        sent: list[dict[str, Any]] = json.loads(self.ask("/sent"))["sent"]
        return [one for one in sent if one["status"] == 200]

    def settled(self, wanted: int) -> None:
        """Wait until the fake has taken so many sends, and no more: some answers say that they are still queued."""
        deadline_s = time.monotonic() + SETTLED_S_MAX
        while (taken := self.count()) < wanted:
            if time.monotonic() > deadline_s:
                raise SystemExit(f"{taken} of {wanted} sent")
            time.sleep(0.05)
        if taken > wanted:
            raise SystemExit(f"{taken} sent where {wanted} were asked for")


@contextmanager
def world(instances: Iterable[Takos], prepare: Callable[[Path], None]) -> Iterator[World]:
    """Run a server that knows these instances, on the data directory that ``prepare`` has filled."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        prepare(directory / "data")
        account = directory / "account.json"
        fake, fake_url = _started("fake-fcm", "--account", str(account), "--tls", name)
        entries = [f'[instances."{one.domain}"]\npublic_key = {json.dumps(one.pem)}\n' for one in instances]
        (directory / "config.toml").write_text(
            f'data = "{name}/data"\n'
            '[server]\nbind = "127.0.0.1:0"\n'
            "[push]\nrate_per_instance = 10000000\nrate_per_address = 10000000\n"
            f'[fcm]\nbase_url = "{fake_url}"\nallow_any_token_uri = true\nca_file = "{name}/fake-fcm.pem"\n'
            f'[fcm.projects.default]\ncredentials = "{account}"\n' + "".join(entries)
        )
        made = World(directory, fake_url)
        made.start()
        try:
            yield made
        finally:
            for process in (made.process, fake):
                assert process
                process.terminate()
                process.communicate()


def _started(*command: str) -> tuple[subprocess.Popen[str], str]:
    """Start a heliograph command; its process, and where it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli.main", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    line = process.stdout.readline()
    if not line.startswith("listening on "):
        process.kill()
        raise SystemExit(f"{command} does not start; run it by hand to see why")
    return process, line.split()[-1]


def written(directory: Path, facts: Iterable[Fact]) -> None:
    """Write a log of these facts, as the server would have, without its HTTP."""

    async def write() -> None:
        with open_log(directory, SystemClock()) as log:
            async with trio.open_nursery() as nursery:
                await nursery.start(log.run)
                iterator = iter(facts)
                while batch := list(islice(iterator, BATCH)):
                    await log.append_many([_draft(fact) for fact in batch])
                nursery.cancel_scope.cancel()

    trio.run(write)


def _draft(fact: Fact) -> Any:
    personal = fact.personal
    return draft(
        fact,
        ts_ns=time.time_ns(),
        subject=os.urandom(16) if personal else b"",
        salt=os.urandom(16) if personal else b"",
    )


def devices(tenant: str, users: int, each: int) -> Iterator[Registered]:
    """Registrations of users with so many devices each."""
    now_ms = time.time_ns() // 1_000_000
    for user in range(users):
        for device in range(each):
            yield Registered(
                tenant=tenant,
                user=f"user{user}",
                target=f"{user}-{device}-{uuid.uuid4().hex}{uuid.uuid4().hex}",
                target_kind="token",
                platform="android",
                app_id="",
                issued_ms=now_ms,
                expires_ms=now_ms,
                nonce=str(uuid.uuid4()),
                devices_max=64,
                digest=b"",
                signature="",
                body=b"{}",
            )


def backlog(tenant: str, deliveries: int, each: int) -> Iterator[Accepted]:
    """Notifications accepted and not settled, to so many devices each, no two to one."""
    now_ms = time.time_ns() // 1_000_000
    for number in range(deliveries // each):
        id_ = str(uuid.uuid4())
        body = {"notification": {"id": id_, "type": "like", "message": "m"}}
        yield Accepted(
            tenant=tenant,
            user=f"user{number}",
            notification_id=id_,
            created_ms=None,
            forget_ms=None,
            expires_ms=now_ms + 3_600_000,
            targets=tuple(PushTarget(f"{number}-{one}-{id_}", "token", "", "default") for one in range(each)),
            signature="",
            body=json.dumps(body).encode(),
        )
