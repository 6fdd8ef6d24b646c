"""What a request's end means for the exit code, and that a sentence names the URL."""

import click
import httpx
import pytest

from gateway.cli.answer import tell
from gateway.errors import Unavailable

URL = "http://127.0.0.1:1/x"


@pytest.mark.parametrize(("status", "code"), [(400, 1), (404, 1), (500, 3), (503, 3)])
def test_a_refusal_is_1_and_a_server_that_cannot_is_3(
    status: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        tell(URL, lambda: httpx.Response(status, text="why"))
    assert ended.value.code == code
    assert capsys.readouterr() == ("why\n", f"refused with status {status}\n")


def test_an_answer_is_printed_as_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    tell(URL, lambda: httpx.Response(200, text='{"b":1, "a":2}'))
    assert capsys.readouterr() == ('{"b":1, "a":2}\n', "")


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1:1/x", "http://[::1/x"])
def test_a_url_that_is_none_is_a_wrong_argument(url: str) -> None:
    with pytest.raises(click.UsageError, match="cannot be asked"):
        tell(url, lambda: httpx.get(url))


def test_a_gateway_that_is_not_there_is_unavailable_and_named() -> None:
    with pytest.raises(Unavailable, match=URL):
        tell(URL, lambda: httpx.get(URL))
