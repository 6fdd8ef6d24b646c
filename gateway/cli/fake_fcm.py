"""``heliograph fake-fcm``: the fake FCM by itself, for trying the gateway without a Google account."""

import ssl
from collections.abc import Callable
from pathlib import Path

import click
import trio
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.errors import Unavailable
from gateway.serve.fakes.certificate import server_context, write_certificate
from gateway.serve.fakes.fcm import Answering, Fake, serve_fake, service_account

RSA_BITS = 2048
PORT = click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    show_default=True,
    help="Where to listen on 127.0.0.1; 0 takes any free one.",
)
LATENCY = click.option(
    "--latency",
    "latency_s",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Wait before each answer.",
)


@click.command()
@PORT
@click.option("--fail", metavar="NAME[:TIMES]", default="", help="Fail every send so (the first TIMES ones).")
@LATENCY
@click.option(
    "--account",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a service account file that this fake accepts, with a new RSA key.",
)
@click.option("--project", default="fake-project", show_default=True, help="The project id in that file.")
@click.option(
    "--tls",
    type=click.Path(path_type=Path, file_okay=False),
    help="Speak TLS, with a new certificate in this directory: fake-fcm.pem is the gateway's fcm.ca_file.",
)
def command(*, port: int, fail: str, latency_s: float, account: Path | None, project: str, tls: Path | None) -> None:
    """Run the fake FCM by itself.

    It serves Google's token endpoint at /token and messages:send for any project. GET /sent tells what arrived and
    GET /count how many it took, DELETE /sent forgets it, POST /fail takes a failure's name as its body. A device token
    may name a failure as well: "unregistered:anything" always fails so, "unavailable*2:anything" twice.

    \b
    Failures:
      unregistered not-found html sender-id-mismatch forbidden invalid-argument
      invalid-token third-party-auth unauthenticated quota quota-soon quota-device
      internal unavailable unavailable-soon bad-gateway unspecified reset timeout
    \b
    Examples:
      heliograph fake-fcm --port 9099 --account account.json
      heliograph fake-fcm --port 9099 --account account.json --tls certs
      heliograph fake-fcm --fail unavailable:3
    """
    key = rsa.generate_private_key(65537, RSA_BITS) if account else None
    fake = Fake(key.public_key() if key else None, latency_s=latency_s)
    try:
        fake.fail(fail)
    except ValueError as why:
        raise click.BadParameter(str(why), param_hint="--fail") from None
    context = None
    if tls is not None:
        tls.mkdir(parents=True, exist_ok=True)
        context = server_context(*write_certificate(tls, "fake-fcm"))

    def announce(url: str) -> None:
        if account is not None and key is not None:
            account.write_bytes(service_account(key, url, project))
        click.echo(f"listening on {url}")

    trio.run(serve, fake, port, context, announce)


async def serve(fake: Answering, port: int, context: ssl.SSLContext | None, announce: Callable[[str], None]) -> None:
    """Listen, tell where, and serve until interrupted; raise Unavailable."""
    try:
        (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
    except OSError as why:
        raise Unavailable(f"port {port} cannot be listened on: {why}") from None
    announce(f"{'https' if context else 'http'}://127.0.0.1:{listener.socket.getsockname()[1]}")
    await serve_fake(fake, listener, context)
