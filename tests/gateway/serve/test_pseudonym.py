"""Pseudonyms of subjects."""

from gateway.serve.pseudonym import pseudonym


def test_a_subject_has_one_pseudonym_in_a_relay_and_another_elsewhere():
    found = {pseudonym(key, relay, subject) for key in (b"a", b"b") for relay in ("r", "s") for subject in ("x", "")}
    assert len(found) == 8
    assert pseudonym(b"a", "r", "x") == pseudonym(b"a", "r", "x")
    assert all(len(each) == 16 for each in found)


def test_relay_and_subject_do_not_run_into_each_other():
    assert pseudonym(b"a", "rx", "y") != pseudonym(b"a", "r", "xy")
