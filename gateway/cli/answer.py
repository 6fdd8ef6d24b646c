"""How a gateway's answer to one request is told: as it came, on stdout, and by the exit code that it means.

Exit codes: 0 done, 1 refused, 2 a URL that is none, 3 unreachable or 5xx. This module must not know what was asked.
"""

from collections.abc import Callable

import click
import httpx

from gateway.cli.exitcodes import CHECK_FAILED, UNAVAILABLE
from gateway.errors import Unavailable

ANSWER_S_MAX = 30.0  # of one request in all, also where a push service or an instance is asked meanwhile


def tell(url: str, request: Callable[[], httpx.Response]) -> httpx.Response:
    """Make a request to ``url``, print its answer and give it.

    Raises click.UsageError, Unavailable, or SystemExit where it is refused.
    """
    try:
        answer = request()
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as why:
        raise click.UsageError(f"{url} cannot be asked: {why}") from None
    except httpx.HTTPError as why:
        raise Unavailable(f"{url} cannot be reached: {why}") from None
    click.echo(answer.text)
    if answer.status_code != 200:
        click.echo(f"refused with status {answer.status_code}", err=True)
        raise SystemExit(UNAVAILABLE if answer.status_code >= 500 else CHECK_FAILED)
    return answer
