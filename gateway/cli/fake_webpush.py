"""``heliograph fake-webpush``: a push service of browsers and UnifiedPush by itself, with subscribers that decrypt."""

import click
import trio

from gateway.cli.fake_fcm import LATENCY, PORT, serve
from gateway.serve.fakes.webpush import FakePushService


@click.command()
@PORT
@LATENCY
@click.option("--key", default="", help="Take messages of this VAPID key alone, as GET /push/vapid tells it.")
def command(*, port: int, latency_s: float, key: str) -> None:
    """Run a fake Web Push service by itself.

    POST /subscribe/NAME makes a browser and answers its subscription: the token to register, with targetKind webpush or
    unifiedpush. Its body may be a failure: "gone" for ever, "unavailable:2" twice. GET /sent tells what each browser
    read, decrypted; DELETE /sent forgets it. Name its address in webpush.local_origins.

    \b
    Failures:
      gone not-found too-large too-many unavailable forbidden moved reset timeout
    \b
    Examples:
      heliograph fake-webpush --port 9100
      curl -X POST http://127.0.0.1:9100/subscribe/alice
      curl -X POST http://127.0.0.1:9100/subscribe/bob -d gone
      curl http://127.0.0.1:9100/sent
    """
    fake = FakePushService(latency_s=latency_s, key=key)

    def announce(url: str) -> None:
        fake.url = url
        click.echo(f"listening on {url}")

    trio.run(serve, fake, port, None, announce)
