"""The entry point: the list of commands, and what a failure means for the exit code.

Exit codes: 0 done, 1 a check failed, 2 usage (a wrong argument or configuration), 3 the service or the data is
unavailable. Invariant: whatever goes wrong for a known reason is one sentence on stderr, never a traceback; our own
bugs keep theirs. This module must not import any group, nor trio, until one is called: ``--help`` answers at once.
"""

import errno
import sys
from collections.abc import Sequence

import click

from eventlog.errors import Corrupt, Locked, LogFailed
from gateway.cli.exitcodes import CHECK_FAILED, DONE, UNAVAILABLE, USAGE
from gateway.cli.lazy import LazyGroup
from gateway.errors import ApiRefused, ConfigInvalid, PushRefused, Refused, Unavailable

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # a write that fails names no file

# name -> (module, the command in it, its first help line: a test holds the two equal)
COMMANDS = {
    "serve": ("gateway.cli.serve", "command", "Run the whole server: HTTP and both sockets on one port."),
    "demo": ("gateway.cli.demo", "command", "Run everything on this machine and tell the story."),
    "config": ("gateway.cli.config", "command", "Show the configuration in force, or an example of one."),
    "log": (
        "gateway.cli.log.group",
        "command",
        "Audit the event log, prove what it holds, and erase, beside a running server or without one.",
    ),
    "keygen": ("gateway.cli.keygen", "command", "Make a P-256 key pair for a takos instance."),
    "instance": ("gateway.cli.instance", "command", "Check the document that a takos instance publishes."),
    "tenant": ("gateway.cli.tenant", "command", "See who uses the gateway, and how much."),
    "push": ("gateway.cli.push", "command", "Send signed push requests as a takos instance would."),
    "relay": ("gateway.cli.relay", "command", "Register, list, show and unregister relays, as a worker."),
    "token": ("gateway.cli.token", "command", "Issue, refresh, revoke and inspect relay tokens."),
    "mirror": ("gateway.cli.mirror", "command", "Pull, push and follow a relay's replication rows, as JSON lines."),
    "fake-fcm": ("gateway.cli.fake_fcm", "command", "Run the fake FCM by itself."),
    "fake-webpush": ("gateway.cli.fake_webpush", "command", "Run a fake Web Push service by itself."),
    "fake-apns": ("gateway.cli.fake_apns", "command", "Run a fake APNs by itself."),
}


@click.command(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 a check failed, 2 usage, 3 the service or the data is unavailable.",
)
@click.version_option(package_name="heliograph", prog_name="heliograph")
def cli() -> None:
    """A push gateway and a nostr relay gateway over one append-only log.

    \b
    Examples:
      heliograph demo                     see everything work on this machine
      heliograph config example > h.toml  begin a configuration
      heliograph serve --config h.toml    run the server
      heliograph log verify --data data   audit its log
    """


def exit_code(error: BaseException) -> int | None:
    """The exit code that a failure means; None for our own bugs."""
    match error:
        case ConfigInvalid():
            return USAGE
        case PushRefused(status=status) | ApiRefused(status=status):
            return UNAVAILABLE if status >= 500 else CHECK_FAILED
        case Refused():
            return CHECK_FAILED
        case Unavailable() | LogFailed() | Locked() | Corrupt():
            return UNAVAILABLE
        case OSError() if error.filename is not None or error.errno in DISK_FULL:
            return UNAVAILABLE  # a file of the user's that cannot be had; a call of ours that is wrong names none
        case BaseExceptionGroup():
            codes = [exit_code(one) for one in error.exceptions]
            return None if None in codes else codes[0]
        case _:
            from gateway.facts import FactUnknown  # noqa: PLC0415 - costs more than the list of commands

            return UNAVAILABLE if isinstance(error, FactUnknown) else None


def sentence(error: BaseException) -> str:
    """What a failure of a known kind says, out of the groups that nurseries put around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, OSError):
        return str(error)
    return str(error.strerror) if error.filename is None else f"{error.filename}: {error.strerror}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that ``argv`` (default: the process's arguments) names, and exit with its code."""
    try:
        code = cli.main(argv, prog_name="heliograph", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)  # as a shell reports SIGINT
    except Exception as error:
        known = exit_code(error)
        if known is None:
            raise
        click.echo(f"heliograph: {sentence(error)}", err=True)
        sys.exit(known)
    sys.exit(code if isinstance(code, int) else DONE)


if __name__ == "__main__":
    main()
