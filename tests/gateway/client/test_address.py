"""Where the two sockets are: the addresses of the behaviour table."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.client.address import NoAddress, addresses, with_token

TABLE = json.loads((Path(__file__).parent / "behaviour.json").read_text("utf-8"))["addresses"]


@pytest.mark.parametrize("case", [case for case in TABLE if "error" not in case])
def test_both_urls_are_found_side_by_side_and_without_tokens(case: dict[str, Any]) -> None:
    found = addresses(case["state"])
    assert (found.normal, found.mirror) == (case["normal"], case["mirror"])
    assert found.normal_needs_token is case["normalNeedsToken"]


@pytest.mark.parametrize("case", [case for case in TABLE if "error" in case])
def test_a_state_without_an_address_says_what_is_missing(case: dict[str, Any]) -> None:
    with pytest.raises(NoAddress) as caught:
        addresses(case["state"])
    assert str(caught.value) == case["error"]


def test_a_token_takes_the_place_of_another_and_other_parts_of_the_query_stay_as_they_are() -> None:
    assert with_token("ws://gw/a?x=%C3%A4&token=old&y", "n.1") == "ws://gw/a?x=%C3%A4&y&token=n.1"
