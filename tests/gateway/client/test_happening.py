"""What happens and what is done about it, as the JSON of the behaviour table."""

import msgspec
import pytest

from gateway.client.happening import Effect, Granted, Happening, Opened, Rows


def test_an_answer_of_the_token_api_is_a_grant_whatever_else_it_holds() -> None:
    answer = {"in": "granted", "token": "T", "replicationToken": "R", "expiresAt": 5, "refreshAfter": 3, "sequence": 1}
    found = msgspec.convert(answer, Happening)
    assert found == Granted("T", "R", 5, 3)
    assert isinstance(found, Granted)
    assert found.for_mirror == "R"
    assert Granted("T").for_mirror == "T"


def test_effects_are_told_apart_by_one_word() -> None:
    assert msgspec.to_builtins(Rows("s", [{"id": "a"}])) == {
        "do": "rows",
        "sub": "s",
        "rows": [{"id": "a"}],
        "cursor": None,
    }
    assert msgspec.convert({"do": "ask"}, Effect) is not None


def test_there_are_two_sockets_and_no_third() -> None:
    assert msgspec.convert({"in": "opened", "socket": "mirror"}, Happening) == Opened("mirror")
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"in": "opened", "socket": "third"}, Happening)
