"""``heliograph fake-apns``: a fake of Apple's push service by itself, HTTP/2 over TLS, with a key that it accepts."""

from pathlib import Path

import click
import trio
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.cli.fake_fcm import PORT
from gateway.errors import Unavailable
from gateway.push.es256 import private_pem
from gateway.serve.fakes.apns import FakeAPNs, serve_fake_apns
from gateway.serve.fakes.certificate import write_certificate

KEY_FILE = "apns.p8"


@click.command()
@PORT
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where a new key (apns.p8) and certificate (fake-apns.pem) are put: apns.apps' key_file, and apns.ca_file.",
)
def command(*, port: int, directory: Path) -> None:
    """Run a fake APNs by itself.

    GET /token/NAME answers a device token to register with targetKind apns; where NAME is a failure it always fails so.
    GET /sent tells what came, DELETE /sent forgets it. Name its address in apns.base_url, by any key_id and team_id.

    \b
    Failures:
      bad-device gone too-many busy topic
    \b
    Examples:
      heliograph fake-apns --port 9101 --directory apns
      curl --cacert apns/fake-apns.pem https://localhost:9101/token/iphone
      curl --cacert apns/fake-apns.pem https://localhost:9101/sent
    """
    directory.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    (directory / KEY_FILE).write_text(private_pem(key), "ascii")
    trio.run(_serve, FakeAPNs(key.public_key()), *write_certificate(directory, "fake-apns"), port)


async def _serve(fake: FakeAPNs, cert: Path, key: Path, port: int) -> None:
    async with trio.open_nursery() as nursery:
        try:
            url = await nursery.start(serve_fake_apns, fake, cert, key, port)
        except* OSError:
            raise Unavailable(f"port {port} cannot be listened on") from None
        click.echo(f"listening on {url}")
