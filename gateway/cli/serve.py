"""``heliograph serve``: the whole server in one process."""

import signal
from functools import partial
from pathlib import Path

import click
import trio

from gateway.cli.settings import load


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path, dir_okay=False), help="The TOML file.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Where the log, views and keys lie.")
@click.option("--bind", metavar="HOST:PORT", help="Where to listen; port 0 takes any free one.")
def command(path: Path | None, data: Path | None, bind: str | None) -> None:
    """Run the whole server: HTTP and both sockets on one port.

    Prints ``listening on http://HOST:PORT`` once it accepts connections; its log lines go to stderr as JSON.
    SIGTERM stops it: it takes no more, drains, and exits 0 within 10 s. SIGHUP has it read the configuration again, as
    "heliograph config reload" does.

    \b
    Examples:
      heliograph serve
      heliograph serve --config /etc/heliograph.toml
      heliograph serve --data /var/lib/heliograph --bind 0.0.0.0:8080
      GATEWAY_REGISTRATION_SECRET=… heliograph serve --bind 127.0.0.1:0
    """
    # A SIGHUP must end the server at no moment: not while it drains, and not while it starts, where it is held back
    # until `Rereading` takes it, since the file may have been read before it was changed.
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    read = partial(load, path, data=data, bind=bind)
    config = read()
    from gateway.serve.app import run  # noqa: PLC0415 - a wrong configuration is told before the server is loaded

    trio.run(run, config, None, read)
