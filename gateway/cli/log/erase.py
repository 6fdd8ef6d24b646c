"""``heliograph log erase``: a subject's payloads gone from the log, its indexes, views and snapshots; no proof breaks.

The one that has the log does it: a running server where there is one, asked through its door
(`gateway.serve.custody.control`), else this process, under the log's lock. Invariant: what was asked for is
said back before anything is changed, and neither ``--by`` nor ``--reason`` may name the subject: both stay for ever.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio
from msgspec import structs

from eventlog.disk.durable import RealDisk
from eventlog.disk.store import read_origin
from eventlog.errors import Locked
from gateway.cli.log.opening import DATA, no_log
from gateway.cli.log.opening import opened as opened_to_read
from gateway.config import Config
from gateway.errors import Unavailable
from gateway.facts import fact_of, refuse_unknown
from gateway.serve.app import opened
from gateway.serve.clock import SystemClock
from gateway.serve.custody.control import SOCKET, ControlRefused, ask
from gateway.serve.custody.erasing import Asked, Done, Erasing
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics
from gateway.views.subjects import PUSH_KINDS, NostrKey, Subject, SubjectUnclear, User, described, subject_of, words


@click.command()
@DATA
@click.option(
    "--subject",
    "text",
    required=True,
    metavar="WHO",
    help="user:TENANT/USERID, token:PUSH-TOKEN (or endpoint, or pushkey), or nostr:PUBKEY (hex or npub).",
)
@click.option("--by", required=True, help="Who asks: your name or a ticket; recorded for ever.")
@click.option("--reason", default="", help="Why; recorded for ever.")
@click.option(
    "--only-deleted", is_flag=True, help="Of a nostr key: only what its deletion requests (NIP-09) took away."
)
@click.option("--dry-run", is_flag=True, help="Only count what would be erased.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def erase(data: Path, *, text: str, by: str, reason: str, only_deleted: bool, dry_run: bool, as_json: bool) -> None:
    """Erase what the log holds about a user, a push token or a nostr key.

    Everything that names the subject goes now, when the command returns: payloads from segments, indexes, views and
    snapshots; what is left of each record proves, as before, that it was there and when. Without this command a running
    server erases, within relay.erase_gone_s seconds (an hour), only what nostr keys themselves asked to be gone:
    requests to vanish (NIP-62) and to delete (NIP-09).

    The erasure is a record of its own: who asked, why, how many. Works beside a running server, through it, or without
    one. An erased key's earlier events do not come back. Backups that were made before are yours to erase.

    \b
    Examples:
      heliograph log erase --subject user:takos.example/alice --by "ticket 17" --dry-run
      heliograph log erase --subject token:fcm-token-1 --by "the owner"
      heliograph log erase --subject nostr:npub1… --by operator --only-deleted
    """
    try:
        subject = subject_of(text, only_deleted=only_deleted)
    except SubjectUnclear as unclear:
        raise click.BadParameter(str(unclear), param_hint="--subject") from unclear
    refuse_names(subject, by, reason)
    if read_origin(RealDisk(), str(data)) is None:
        raise no_log(data)
    if not as_json:
        click.echo(f"subject: {described(subject)}")
    found = trio.run(partial(carried_out, data, text, subject, Asked(by, reason, dry_run)))
    click.echo(json.dumps(found) if as_json else told(found, dry_run=dry_run))
    if not found["records"]:
        click.echo(
            f"nothing in the log is about this subject any more, or ever was{_elsewhere(data, subject)}", err=True
        )


def _elsewhere(data: Path, subject: Subject) -> str:
    """Name the tenants that know a user's id: one that has a slug is called by it, and not by its domain."""
    if not isinstance(subject, User):
        return ""
    word, tenants = subject.user.encode(), set[str]()
    with opened_to_read(data) as (_, segments):
        for records in segments.pieces(segments.first_seq, segments.end_seq):
            told = [one for one in records if one.kind in PUSH_KINDS and word in (one.payload or b"")]
            facts = [fact for fact in map(fact_of, told) if getattr(fact, "user", None) == subject.user]
            tenants.update(getattr(fact, "tenant", "") for fact in facts)
    known = ", ".join(sorted(tenants - {subject.tenant}))
    return f"; this user id is known of: {known}" if known else ""


def refuse_names(subject: Subject, by: str, reason: str) -> None:
    """Refuse words for the record that say nobody, or name the subject."""
    if not by.strip():
        raise click.BadParameter("it says who asks, and stays in the log", param_hint="--by")
    if any(word.casefold() in f"{by}\n{reason}".casefold() for word in words(subject)):
        raise click.BadParameter("--by and --reason stay in the log for ever: they must not name the subject")


async def carried_out(data: Path, text: str, subject: Subject, asked: Asked) -> dict[str, Any]:
    """Have it done by the server that has the log, or do it here. Raises Unavailable."""
    try:
        return structs.asdict(await _here(data, subject, asked))
    except Unavailable as failure:
        if not isinstance(failure.__cause__, Locked):
            raise
        if not (data / SOCKET).exists():
            raise
    request = {"verb": "erase", "subject": text, **structs.asdict(asked)}
    if isinstance(subject, NostrKey):
        request["only_deleted"] = subject.only_deleted
    try:
        answer = await ask(data, request)
    except ControlRefused as refused:
        raise click.UsageError(str(refused)) from refused
    assert isinstance(answer, dict)
    return answer


async def _here(data: Path, subject: Subject, asked: Asked) -> Done:
    clock = SystemClock()
    with opened(structs.replace(Config(), data=str(data)), clock, Metrics()) as (log, views):
        ledger = Ledger(log, views)
        erasing = Erasing(log, ledger, clock, data, judge=refuse_unknown)
        async with trio.open_nursery() as ground:
            await ground.start(log.run)
            await ground.start(ledger.run)
            done = await erasing.erase(subject, asked)
            ground.cancel_scope.cancel()
    return done


def told(found: dict[str, Any], *, dry_run: bool) -> str:
    """Say what was done, a line each."""
    lines = [f"{'would erase' if dry_run else 'erased'}: {found['records']} records"]
    lines += [f"  {kind}: {count}" for kind, count in sorted(found["kinds"].items())]
    if found["views"]:
        lines.append(f"views made anew: {', '.join(found['views'])}")
    if found["torn"]:
        lines.append(
            f"torn tails that were kept aside, removed since they may hold anything: {', '.join(found['torn'])}"
        )
    return "\n".join(lines)
