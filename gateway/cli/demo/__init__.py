"""``heliograph demo``: everything on this machine, and the story of it.

Every part is a real one behind a real port: the gateway in a process of its own (so that it can be killed), a fake FCM,
a takos instance, a worker and replica sockets here. What it writes lies in one temporary directory, gone at the end.
"""

import click


@click.command()
@click.option("--once", is_flag=True, help="End after the story: exit 0 if every step held, 1 if one did not.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=0, help="The gateway's port; 0 (default): any free one."
)
def command(once: bool, port: int) -> None:
    """Run everything on this machine and tell the story.

    Registers devices, sends notifications that reach the fake phone, a browser and a UnifiedPush phone (which decrypt
    their own) and an iPhone, answers a Matrix homeserver, registers a relay, replicates events through
    the mirror, publishes to /relay, kills the server with kill -9 while accepted work waits, starts it again, shows
    that nothing was lost, and verifies the log. Then it stays up, and says where its page is.

    \b
    Examples:
      heliograph demo
      heliograph demo --port 8080
      heliograph demo --once
    """
    click.echo("Heliograph: the main job from end to end, on this machine, in a temporary directory.")
    from gateway.cli.demo.stage import play  # noqa: PLC0415 - the first line stands before the libraries are loaded

    raise SystemExit(play(once=once, port=port))
