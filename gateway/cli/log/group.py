"""``heliograph log``: the list of what can be done with a log's files.

This module must not import any of its commands until one is called: ``--help`` answers at once.
"""

import click

from gateway.cli.lazy import LazyGroup

# name -> (module, the command in it, its first help line: a test holds the two equal)
COMMANDS = {
    "verify": ("gateway.cli.log.verify", "verify", "Check that every record is there as it was written."),
    "show": ("gateway.cli.log.show", "show", "Print records as JSON, one a line, with what their payload says."),
    "key": ("gateway.cli.log.key", "key", "Print the verifier key of the log's checkpoints."),
    "prove": (
        "gateway.cli.log.prove",
        "prove",
        "Print a proof that a record is in the log, or that the log only grew.",
    ),
    "check-proof": ("gateway.cli.log.checkproof", "check_proof", "Check a proof with the log's public key alone."),
    "stats": ("gateway.cli.log.show", "stats", "Print how many records of which kinds there are, and what they cost."),
    "erase": ("gateway.cli.log.erase", "erase", "Erase what the log holds about a user, a push token or a nostr key."),
    "export": ("gateway.cli.log.export", "export", "Write the whole log into one file."),
    "import": (
        "gateway.cli.log.export",
        "import_",
        "Make a log from an exported file, and verify all of it before it counts.",
    ),
    "diff": (
        "gateway.cli.log.diff",
        "diff",
        "Print where two copies of a log part and what differs, as JSON, one a line.",
    ),
    "report": ("gateway.cli.log.report", "report", "Write a report of the log as one printable page."),
    "compact": ("gateway.cli.log.compact", "compact", "Put short segments together, and remove what retention says."),
    "snapshot": (
        "gateway.cli.log.compact",
        "snapshot",
        "Take a snapshot of every view, so that deleted views are made anew from there.",
    ),
    "backup": (
        "gateway.cli.log.backup",
        "backup",
        "Copy the log to a directory, beside a running server or without one.",
    ),
    "restore": ("gateway.cli.log.backup", "restore", "Make a data directory from a backup."),
    "repair": ("gateway.cli.log.repair", "repair", "Make a damaged log whole from a backup or another copy of it."),
    "replay": ("gateway.cli.log.replay", "replay", "Print the state as it was at a time or a record, as JSON."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def command() -> None:
    """Audit the event log, prove what it holds, and erase, beside a running server or without one.

    \b
    Examples:
      heliograph log verify --data data
      heliograph log show --kind push.settled --since 2026-11-22T18:00:00Z
      heliograph log replay --at 2026-11-22T18:00:00Z --view devices
    """
