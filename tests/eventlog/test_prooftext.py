"""Proof files: read by an independent checker, refused wherever a byte was changed."""

import base64

import pytest
from hypothesis import given, strategies

from eventlog.checkpoint import Checkpoint, VerifierKey, sign, verifier_key
from eventlog.errors import Corrupt
from eventlog.merkle import Tree
from eventlog.proof import Nodes, Unproven
from eventlog.prooftext import Consistency, Inclusion, check, decode, encode, leaf
from eventlog.record import Record
from eventlog.record import encode as encode_records
from eventlog.tile import Edge
from tests.conformance import tlog
from tests.eventlog.logs import draft
from tests.fakes import LOG_KEY

PUBLIC = LOG_KEY.public_key().public_bytes_raw()
KEY = VerifierKey("log.example", PUBLIC)
DRAFTS = [draft(n) for n in range(300)]
ENCODED = encode_records(DRAFTS)


def note(size: int) -> bytes:
    tree = Tree()
    tree.extend(ENCODED.leaves[:size])
    return sign(Checkpoint("log.example", size, tree.root()), LOG_KEY)


def nodes(size: int) -> Nodes:
    tree, edge = Tree(), Edge()
    tiles = dict(edge.add(tree.extend(ENCODED.leaves[:size])))
    tiles.update(edge.partials())
    return Nodes(size, tiles.__getitem__)


def included(index: int, size: int = 300, *, payload: bool = True) -> Inclusion:
    stored = ENCODED.stored[index]
    bare = b"\x85" + stored[1 : -len(DRAFTS[index].payload) - 1]
    return Inclusion(index, stored if payload else bare, tuple(nodes(size).inclusion(index)), note(size))


@pytest.mark.parametrize("payload", [True, False])
def test_an_inclusion_proof_is_a_tlog_proof_that_others_can_check(payload: bool) -> None:
    proof = included(17, payload=payload)
    text = encode(proof)
    bare = included(17, payload=False).stored
    assert tlog.check_proof(text, tlog.Key.parse(verifier_key("log.example", PUBLIC)), bare) == (17, proof.stored)
    assert decode(text) == proof
    proven = check(proof, KEY)
    assert proven.record is not None
    assert proven.record.payload == (DRAFTS[17].payload if payload else None)
    assert (proven.record.seq, proven.record.kind, proven.checkpoint.size) == (17, DRAFTS[17].kind, 300)
    assert leaf(proven.record) == bare


def test_growth_is_proven_between_two_checkpoints() -> None:
    proof = Consistency(note(100), tuple(nodes(300).consistency(100)), note(300))
    assert decode(encode(proof)) == proof
    proven = check(proof, KEY)
    assert proven.old is not None
    assert (proven.old.size, proven.checkpoint.size) == (100, 300)
    with pytest.raises(Unproven):
        check(Consistency(note(101), proof.hashes, note(300)), KEY)


def test_the_payload_is_bound() -> None:
    proof = included(17)
    forged = proof.stored[:-1] + b"!"
    with pytest.raises(Unproven, match="payload"):
        check(Inclusion(17, forged, proof.hashes, proof.note), KEY)


def test_another_logs_key_proves_nothing() -> None:
    with pytest.raises(Corrupt, match="not signed by this log's key"):
        check(included(1), VerifierKey("log.example", bytes(32)))
    with pytest.raises(Unproven, match="the key is that of"):
        check(included(1), VerifierKey("another.example", PUBLIC))


def test_a_witness_that_is_asked_for_must_have_cosigned() -> None:
    with pytest.raises(Unproven, match=r"not cosigned by witness\.example"):
        check(included(1), KEY, [VerifierKey("witness.example", bytes(32), is_witness=True)])


TEXT = encode(included(17))
REAL = check(decode(TEXT), KEY)


@given(strategies.integers(0, len(TEXT) * 8 - 1))
def test_one_flipped_bit_never_proves_anything_else(bit: int) -> None:
    changed = bytearray(TEXT)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        proven = check(decode(bytes(changed)), KEY)
    except (Corrupt, Unproven):
        return
    assert proven == REAL  # spare bits of base64, which say nothing


@given(strategies.binary(max_size=300))
def test_whatever_stands_for_the_record_is_refused_in_words(stored: bytes) -> None:
    proof = included(17)
    with pytest.raises((Corrupt, Unproven)):
        check(Inclusion(17, stored, proof.hashes, proof.note), KEY)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"c2sp.org/tlog-proof@v1\n",
        b"c2sp.org/tlog-proof@v1\n\n",
        b"c2sp.org/tlog-proof@v2\nindex 0\n\n",
        b"c2sp.org/tlog-proof@v1\nextra !\nindex 0\n\n",
        b"c2sp.org/tlog-proof@v1\nextra aGk=\nindex 01\n\n",
        b"c2sp.org/tlog-proof@v1\nextra aGk=\nindex -1\n\n",
        b"c2sp.org/tlog-proof@v1\nextra aGk=\nindex 0\naGk=\n\n",
        b"c2sp.org/tlog-proof@v1\nextra aGk=\nindex 0\n" + base64.b64encode(bytes(32)) * 66 + b"\n\n",
        b"heliograph/consistency-proof@v1\nnew aGk=\n\n",
        b"\xff\n\n",
        bytes(4_000_000),
    ],
)
def test_what_is_no_proof_is_refused_in_words(text: bytes) -> None:
    with pytest.raises(Corrupt):
        decode(text)


def test_a_leaf_is_encoded_as_it_came() -> None:
    for at, (stored, commitment) in enumerate(zip(ENCODED.stored, ENCODED.commitments, strict=True)):
        one = DRAFTS[at]
        record = Record(at, one.schema, one.ts_ns, one.kind, one.subject, commitment, one.payload)
        assert leaf(record)[1:] == stored[1 : len(leaf(record))]
